//! A file on its way through: the client's multipart body, rewritten as it streams.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::body::{Pace, next_data};
use crate::denial::Denial;
use crate::livy::multipart::MultipartRewriter;
use crate::upstream::BodyAborted;

/// The rewritten body. Livy is connected only after its head was found good.
pub(super) struct Upload {
    incoming: Incoming,
    rewriter: MultipartRewriter,
    ready: VecDeque<Bytes>,
    pace: Pace,
    trouble: Trouble,
    has_ended: bool,
}

/// Why an upload was broken off, for whoever waits for Livy's answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Denial>>>);

impl Trouble {
    /// The reason, if there is one.
    pub(super) fn take(&self) -> Option<Denial> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, denial: Denial) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(denial);
    }
}

impl Upload {
    /// Reads until the file's head is known to be good.
    pub(super) async fn begin(
        mut incoming: Incoming,
        mut rewriter: MultipartRewriter,
        mut pace: Pace,
    ) -> Result<Self, Denial> {
        let mut ready = Vec::new();
        let mut has_ended = false;
        while !rewriter.is_accepted() && !has_ended {
            match next_data(&mut incoming, &mut pace).await? {
                Some(data) => rewriter.push(data, &mut ready)?,
                None => {
                    rewriter.finish(&mut ready)?;
                    has_ended = true;
                }
            }
        }
        Ok(Self {
            incoming,
            rewriter,
            ready: ready.into(),
            pace,
            trouble: Trouble::default(),
            has_ended,
        })
    }

    /// The content type that Livy gets.
    pub(super) fn content_type(&self) -> HeaderValue {
        self.rewriter.content_type()
    }

    /// Where the reason will be if it breaks off.
    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    fn break_off(&mut self, denial: Denial) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        self.trouble.set(denial);
        self.has_ended = true;
        Poll::Ready(Some(Err(BodyAborted)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyAborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.has_ended {
                return Poll::Ready(None);
            }
            let mut made = Vec::new();
            let rewritten = match ready!(this.pace.poll_data(&mut this.incoming, cx)) {
                Ok(Some(data)) => this.rewriter.push(data, &mut made),
                Ok(None) => {
                    this.has_ended = true;
                    this.rewriter.finish(&mut made)
                }
                Err(denial) => Err(denial),
            };
            if let Err(denial) = rewritten {
                return this.break_off(denial);
            }
            this.ready.extend(made);
        }
    }
}
