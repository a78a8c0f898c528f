//! Reads a request's body whole, before Livy hears of the request: bounded in size, in time, in rate, and in what
//! all waiting bodies hold together.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{Gateway, Held};
use crate::clock::Clock;
use crate::deadlines::Deadline;
use crate::denial::Denial;
use crate::livy::operation::Method;

impl Gateway {
    /// The whole body, at most `limit` bytes.
    pub(super) async fn read_whole(
        &self,
        mut body: Incoming,
        limit: usize,
        method: Method,
    ) -> Result<(Bytes, HeldBytes), Denial> {
        let too_large = Denial::BodyTooLarge { limit: limit as u64 };
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large);
        }
        let mut held = HeldBytes::none(self);
        let mut pace = Pace::new(self);
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(data) = next_data(&mut body, &mut pace).await? {
            let length = first.len() + whole.len() + data.len();
            if length > limit {
                return Err(too_large);
            }
            held.grow(data.len(), method)?;
            // Nearly always there is one piece: it is passed on without a copy.
            if first.is_empty() && whole.is_empty() {
                first = data;
            } else {
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&data);
            }
        }
        let bytes = if whole.is_empty() { first } else { whole.freeze() };
        Ok((bytes, held))
    }
}

/// What a body holds of the memory that all bodies may hold together, until it was sent.
#[derive(Debug)]
pub(super) struct HeldBytes(Held);

impl HeldBytes {
    fn none(gateway: &Gateway) -> Self {
        Self(Held::none(&gateway.0.shared, |shared| &shared.waiting_bytes))
    }

    /// It has so many more: another piece has come, or it was unpacked.
    pub(super) fn grow(&mut self, more: usize, method: Method) -> Result<(), Denial> {
        if self.0.grow(more, WAITING_BYTES_MAX) {
            return Ok(());
        }
        Err(Denial::Overloaded {
            read: method.is_safe(),
        })
    }
}

/// The next piece of the body, if the client keeps its pace.
pub(super) async fn next_data(body: &mut Incoming, pace: &mut Pace) -> Result<Option<Bytes>, Denial> {
    poll_fn(|cx| pace.poll_data(body, cx)).await
}

/// How fast a body must come: a grace at first, then no slower than [`BYTES_PER_SECOND`] on the whole. Only the time
/// counts in which the client is waited for, not the time in which Livy takes no more.
#[derive(Debug)]
pub(super) struct Pace {
    deadline: Deadline,
    clock: Arc<dyn Clock>,
    waiting_since: Option<Duration>,
    waited: Duration,
    received: u64,
}

impl Pace {
    pub(super) fn new(gateway: &Gateway) -> Self {
        Self {
            deadline: gateway.0.deadlines.unset(),
            clock: Arc::clone(&gateway.0.shared.clock),
            waiting_since: None,
            waited: Duration::ZERO,
            received: 0,
        }
    }

    pub(super) fn poll_data(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Denial>> {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers never get here: the listener refuses them.
                    if let Ok(data) = frame.into_data() {
                        self.received(data.len());
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Err(Denial::BadFraming(
                        "the body broke off or its chunks are malformed",
                    )));
                }
                Poll::Pending => return self.poll_patience(cx).map(|()| Err(Denial::SlowBody)),
            }
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting_since.is_none() {
            self.waiting_since = Some(self.clock.monotonic());
            let earned = Duration::from_millis(self.received.saturating_mul(1000) / BYTES_PER_SECOND);
            self.deadline
                .set(GRACE.saturating_add(earned).saturating_sub(self.waited));
        }
        self.deadline.poll_over(cx)
    }

    fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
        if let Some(since) = self.waiting_since.take() {
            self.waited += self.clock.monotonic().saturating_sub(since);
        }
    }
}

const GRACE: Duration = Duration::from_secs(10);
/// A modem of the last century is faster; whoever is slower holds memory on purpose.
const BYTES_PER_SECOND: u64 = 8 * 1024;
/// A thousand statements of a quarter of a MiB.
const WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;
