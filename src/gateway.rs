//! The shell around one request: its id, its timer, the policy it sees, and the one place where a denial becomes a
//! response. The story itself is in `pipeline`.

mod answer;
mod audit;
mod body;
mod browser;
mod creation;
mod errand;
mod idempotency;
mod inquiry;
mod limiting;
mod listing;
mod pipeline;
mod reply;
mod report;
mod sessions;
mod trace;
mod unsettled;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::HeaderValue;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::clock::{Clock, Moments};
use crate::deadlines::Deadlines;
use crate::denial::Denial;
use crate::holdings::Holdings;
use crate::impersonation::ImpersonationWatch;
use crate::ledger::Ledger;
use crate::limits::LiveCounters;
use crate::listener::{Handler, Peer};
use crate::lists::Lists;
use crate::livy::marker::Instance;
use crate::login::Logins;
use crate::policy::{LivePolicy, Policy};
use crate::reconcile::Untold;
use crate::shares::Shares;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::TrafficFigures;
use crate::turns::Turns;
use crate::upstream::Upstream;

pub use answer::AnswerBody;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The policy in force.
    pub policy: Arc<LivePolicy>,
    /// Credentials proved before, and the threads that prove new ones.
    pub logins: Logins,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who owns what, and how much they hold.
    pub ledger: Arc<dyn Ledger>,
    /// What Livy has.
    pub lists: Arc<Lists>,
    /// The order of events.
    pub moments: Arc<Moments>,
    /// This gateway's part of the names that it gives to Livy.
    pub instance: Instance,
    /// Creations in doubt of which no client was told.
    pub untold: Arc<Untold>,
    /// Creations on their way to Livy.
    pub turns: Turns,
    /// All other requests on their way to Livy.
    pub shares: Arc<Shares>,
    /// What each user asks for.
    pub users: LiveCounters,
    /// Reads that wait because their user is over the limit.
    pub held_back: AtomicUsize,
    /// Where decisions are written down.
    pub audit: Arc<Audit>,
    /// Whether Livy acts as whom it is told.
    pub impersonation: Arc<ImpersonationWatch>,
    /// Bytes of bodies that are waiting in memory, of all requests together.
    pub waiting_bytes: AtomicUsize,
    /// Operations that run to their end though their client may have left.
    pub detached: AtomicUsize,
    request_ids: report::RequestIds,
}

impl Shared {
    /// Nothing waits, nothing runs.
    pub fn new(
        policy: Arc<LivePolicy>,
        logins: Logins,
        clock: Arc<dyn Clock>,
        ledger: Arc<dyn Ledger>,
        instance: Instance,
        audit: Arc<Audit>,
    ) -> Self {
        Self {
            audit,
            ledger,
            lists: Arc::default(),
            moments: Arc::new(Moments::new(Arc::clone(&clock))),
            instance,
            untold: Arc::default(),
            turns: Turns::default(),
            shares: {
                let shares: Arc<Shares> = Arc::default();
                shares.set_most(policy.current().livy.requests_at_once);
                shares
            },
            users: LiveCounters::new(policy.current().limits.users.clone(), Arc::clone(&clock)),
            held_back: AtomicUsize::new(0),
            policy,
            logins,
            clock,
            impersonation: Arc::default(),
            waiting_bytes: AtomicUsize::new(0),
            detached: AtomicUsize::new(0),
            request_ids: report::RequestIds::new(),
        }
    }

    /// What is under way, for the metrics.
    pub fn traffic(&self) -> TrafficFigures {
        let shares = self.shares.figures();
        TrafficFigures {
            users: self.users.current().len(),
            held_back: self.held_back.load(Ordering::Relaxed),
            at_livy: shares.taken,
            at_livy_max: self.policy.current().livy.requests_at_once,
            waiting: shares.waiting,
        }
    }

    /// What is held, to be told.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            ledger: Arc::clone(&self.ledger),
            lists: Arc::clone(&self.lists),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// One worker's gateway. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Worker>);

/// What the requests of one worker share.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    upstream: Upstream,
    deadlines: Deadlines,
}

impl Gateway {
    /// For one worker: `upstream` and `deadlines` are its own.
    pub fn new(shared: Arc<Shared>, upstream: Upstream, deadlines: Deadlines) -> Self {
        Self(Arc::new(Worker {
            shared,
            upstream,
            deadlines,
        }))
    }

    fn render(policy: &Policy, denial: &Denial, request_id: &HeaderValue) -> Response<AnswerBody> {
        answer::refusal(denial, policy.authn.challenges(), request_id)
    }
}

impl Handler for Gateway {
    type Body = AnswerBody;

    async fn handle(&self, peer: Peer, request: Request<Incoming>) -> Response<AnswerBody> {
        let policy = self.0.shared.policy.current();
        let mut report = report::Report::begin(&self.0.shared, peer, &request);
        let served = self.serve(&policy, peer, request, &mut report).await;
        let response = match served {
            Ok(response) => report.answered(response),
            Err(denial) => {
                let response = Self::render(&policy, &denial, report.request_id());
                report.denied(&denial, response)
            }
        };
        report.finish(&response);
        response
    }

    fn refuse(&self, peer: Peer, denial: Denial) -> Response<AnswerBody> {
        let mut report = report::Report::unread(&self.0.shared, peer);
        let response = Self::render(&self.0.shared.policy.current(), &denial, report.request_id());
        let response = report.denied(&denial, response);
        report.finish(&response);
        response
    }
}

/// Counts something that all requests together may have only so much of, while it lives.
#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    counter: fn(&Shared) -> &AtomicUsize,
    amount: usize,
}

impl Held {
    /// Of this counter, nothing yet.
    fn none(shared: &Arc<Shared>, counter: fn(&Shared) -> &AtomicUsize) -> Self {
        Self {
            shared: Arc::clone(shared),
            counter,
            amount: 0,
        }
    }

    /// Holds `more`, unless all together would hold more than `limit`.
    fn grow(&mut self, more: usize, limit: usize) -> bool {
        let before = (self.counter)(&self.shared).fetch_add(more, Ordering::Relaxed);
        self.amount = self.amount.saturating_add(more);
        before.saturating_add(more) <= limit
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.counter)(&self.shared).fetch_sub(self.amount, Ordering::Relaxed);
    }
}
