//! The body of Livy's answer, as it arrives.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use crate::deadlines::Deadline;

/// The body of Livy's answer. Read to its end it gives the connection back; dropped before, it ends it.
#[derive(Debug)]
pub struct ReplyBody {
    incoming: Incoming,
    lease: Option<Lease>,
    is_kept: bool,
    /// Made when the first piece does not come at once.
    stall: Option<Deadline>,
    stall_time: Duration,
}

/// Why the body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// Livy closed the connection, or sent something malformed.
    #[error("Livy's answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// Livy sent nothing for too long.
    #[error("Livy's answer stopped coming")]
    Stalled,
}

impl ReplyBody {
    /// `is_kept` says whether the connection may serve another request after this answer.
    pub(super) fn new(incoming: Incoming, lease: Lease, is_kept: bool, stall_time: Duration) -> Self {
        let mut body = Self {
            incoming,
            lease: Some(lease),
            is_kept,
            stall: None,
            stall_time,
        };
        if body.incoming.is_end_stream() {
            body.end();
        }
        body
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.is_kept
        {
            lease.give_back();
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stall.is_none() {
            self.stall = self.lease.as_ref().map(|lease| lease.deadline(self.stall_time));
        }
        match &self.stall {
            Some(stall) => stall.poll_over(cx),
            None => Poll::Pending,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(stall) = &this.stall {
                    stall.set(this.stall_time);
                }
                if this.incoming.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => this.poll_stalled(cx).map(|()| Some(Err(ReplyError::Stalled))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
