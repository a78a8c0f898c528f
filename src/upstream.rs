//! The way to Livy: connections of one worker, kept alive, and what a failure on them means.
//!
//! It sends an [`Outbound`] and nothing else. It never sends anything twice by itself, but for a request of which not
//! one byte was written.

mod body;
mod connect;
mod in_flight;
mod paced;
mod pool;
mod reply;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::deadlines::Deadlines;
use crate::denial::Denial;
use crate::livy::operation::TimeoutClass;
use crate::policy::{Livy, Timeouts};
use crate::rewrite::{Outbound, Payload};
use crate::shares::Share;
use crate::telemetry::metrics;

use body::RequestBody;
pub use body::{BodyAborted, UploadBody};
use paced::Paced;
pub use reply::{ReplyBody, ReplyError};

/// Whether a kept connection may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// If there is one.
    Allowed,
    /// Livy may have closed it unseen: take a new one.
    Never,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Livy could not be reached: it did not get the request.
    Unreachable,
    /// A kept connection ended without an answer. A safe request may go again, over a new one.
    Stale,
    /// The connection ended after the request may have arrived.
    Lost,
    /// No answer in time.
    TimedOut,
}

impl Failure {
    /// For operators.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Unreachable => "it cannot be reached",
            Self::Stale | Self::Lost => "it closed the connection",
            Self::TimedOut => "it took too long",
        }
    }

    /// What the client is told. `look` says where the outcome can be seen.
    pub const fn denial(self, is_safe: bool, look: &'static str) -> Denial {
        match (self, is_safe) {
            (Self::Unreachable, _) => Denial::UpstreamUnreachable,
            (Self::TimedOut, true) => Denial::UpstreamTimeout,
            (Self::Stale | Self::Lost, true) => Denial::UpstreamLost,
            (Self::Stale | Self::Lost | Self::TimedOut, false) => Denial::OutcomeUnknown { look },
        }
    }
}

/// One worker's connections to Livy. Clones share them.
#[derive(Debug, Clone)]
pub struct Upstream(Arc<Worker>);

/// What the connections of one worker share.
#[derive(Debug)]
struct Worker {
    pool: pool::Pool,
    deadlines: Deadlines,
    clock: Arc<dyn Clock>,
}

impl Upstream {
    /// No connection yet.
    pub fn new(deadlines: Deadlines, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Worker {
            pool: pool::Pool::default(),
            deadlines,
            clock,
        }))
    }

    /// Sends the request and waits for the head of the answer. `upload` is the body of a [`Payload::Upload`]. The share
    /// of Livy that the request has is taken along until the answer is read, and left where there is none.
    pub fn send<'a>(
        &'a self,
        livy: &'a Livy,
        outbound: Outbound,
        upload: Option<UploadBody>,
        reuse: Reuse,
        share: &'a mut Option<Share>,
    ) -> impl Future<Output = Result<Response<ReplyBody>, Failure>> + Send + use<'a> {
        let limit = limit(&livy.timeouts, outbound.timeout());
        let operation = outbound.operation();
        let deadline = Arc::new(self.0.deadlines.after(limit));
        let terms = Terms {
            is_safe: outbound.is_safe(),
            // Livy may answer before it took the whole upload; such a connection is not fit for another request.
            is_kept: upload.is_none(),
            reuse,
            patience: limit,
        };
        let upload = upload.map(|body| Paced::new(body, Arc::clone(&deadline), limit).boxed_unsync());
        let request = with_body(outbound, upload);
        async move {
            tokio::select! {
                biased;
                answer = self.exchange(livy, request, terms, share) => answer,
                () = deadline.over() => {
                    warn!(
                        operation,
                        limit_seconds = limit.as_secs(),
                        "Livy did not answer in time"
                    );
                    Err(Failure::TimedOut)
                }
            }
        }
    }

    /// Forgets connections that Livy is about to close. Called now and then.
    pub fn sweep(&self) {
        self.0.pool.sweep(self.0.clock.monotonic());
    }

    async fn exchange(
        &self,
        livy: &Livy,
        mut request: Request<RequestBody>,
        terms: Terms,
        share: &mut Option<Share>,
    ) -> Result<Response<ReplyBody>, Failure> {
        let Terms {
            is_safe,
            is_kept,
            reuse,
            patience,
        } = terms;
        let patience = (patience, &self.0.deadlines);
        if reuse == Reuse::Allowed {
            while let Some(mut kept) = self.0.pool.take(livy, self.0.clock.monotonic(), is_safe) {
                if kept.sender.ready().await.is_err() {
                    continue;
                }
                metrics::upstream_reused();
                match in_flight::send(&mut kept, request, share, patience).await {
                    Ok(answer) => return Ok(self.lend(kept, answer, livy, is_kept, share.take())),
                    Err(mut error) => match error.take_message() {
                        Some(unsent) => request = unsent,
                        None => {
                            debug!(error = %error.error(), "a kept connection to Livy ended without an answer");
                            return Err(if is_safe { Failure::Stale } else { Failure::Lost });
                        }
                    },
                }
            }
        }
        // Boxed, since it is rare and large: it would be carried along by every request.
        let mut fresh = Box::pin(self.connect(livy)).await?;
        match in_flight::send(&mut fresh, request, share, patience).await {
            Ok(answer) => Ok(self.lend(fresh, answer, livy, is_kept, share.take())),
            Err(mut error) => {
                warn!(error = %error.error(), "Livy closed the connection without an answer");
                let is_unsent = error.take_message().is_some();
                Err(if is_unsent {
                    Failure::Unreachable
                } else {
                    Failure::Lost
                })
            }
        }
    }

    async fn connect(&self, livy: &Livy) -> Result<pool::Kept, Failure> {
        match connect::connect(livy).await {
            Ok(kept) => {
                metrics::upstream_opened();
                Ok(kept)
            }
            Err(error) => {
                warn!(%error, livy = %livy.url, "Livy cannot be reached");
                Err(Failure::Unreachable)
            }
        }
    }

    fn lend(
        &self,
        kept: pool::Kept,
        answer: Response<Incoming>,
        livy: &Livy,
        is_kept: bool,
        share: Option<Share>,
    ) -> Response<ReplyBody> {
        let lease = pool::Lease::new(kept, Arc::clone(&self.0), share);
        answer.map(|body| ReplyBody::new(body, lease, is_kept, livy.timeouts.read))
    }
}

/// How one exchange may use connections.
#[derive(Debug, Clone, Copy)]
struct Terms {
    is_safe: bool,
    is_kept: bool,
    reuse: Reuse,
    /// How long Livy has once more when nobody waits any more.
    patience: Duration,
}

const fn limit(timeouts: &Timeouts, class: TimeoutClass) -> Duration {
    match class {
        TimeoutClass::Read => timeouts.read,
        TimeoutClass::Create => timeouts.create,
        TimeoutClass::Delete => timeouts.delete,
    }
}

fn with_body(outbound: Outbound, upload: Option<UploadBody>) -> Request<RequestBody> {
    let (head, payload) = outbound.into_parts();
    let body = match (payload, upload) {
        (Payload::Json(bytes), _) => RequestBody::Whole(Some(bytes)),
        (Payload::Upload(_), Some(upload)) => RequestBody::Upload(upload),
        (Payload::Upload(_) | Payload::Empty, _) => RequestBody::Whole(None),
    };
    head.map(|()| body)
}
