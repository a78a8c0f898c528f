//! A body on its way to Livy, whose sender is waited for elsewhere.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::{BodyAborted, UploadBody};
use crate::deadlines::Deadline;

/// Counts only Livy's time: an upload may take hours, as long as Livy takes what comes. While the next piece is waited
/// for the deadline rests; whoever sends it has a pace of their own to keep.
#[derive(Debug)]
pub(super) struct Paced {
    body: UploadBody,
    deadline: Arc<Deadline>,
    limit: Duration,
}

impl Paced {
    pub(super) fn new(body: UploadBody, deadline: Arc<Deadline>, limit: Duration) -> Self {
        Self {
            body,
            deadline,
            limit,
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BodyAborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            self.deadline.clear();
        } else {
            self.deadline.set(self.limit);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
