//! What is remembered of one request for its log line and its metrics; told once, even if the client leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;
use tracing::info;

use super::answer::AnswerBody;
use super::errand::Done;
use super::trace::Trace;
use super::{Shared, answer};
use crate::denial::{Denial, quotable};
use crate::identity::{LivyUser, Principal};
use crate::limits::{Left, Presence, Seat};
use crate::listener::Peer;
use crate::livy::operation::Operation;
use crate::livy::{LimitClass, Topic};
use crate::telemetry::metrics::{self, NO_OPERATION, Outcome};

/// One request's report.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) shared: &'a Shared,
    pub(super) peer: Peer,
    request_id: HeaderValue,
    began: Duration,
    /// What was asked, for requests that are none of Livy's operations.
    asked: Option<(http::Method, Uri)>,
    agent: Option<HeaderValue>,
    pub(super) operation: Option<Operation>,
    /// What the gateway was asked about itself.
    topic: Option<Topic>,
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) livy_user: Option<LivyUser>,
    trace: Option<Box<Trace>>,
    presence: Option<Presence>,
    left: Option<Left>,
    upstream: Option<Duration>,
    waited: Duration,
    livy_status: Option<u16>,
    status: Option<u16>,
    outcome: Outcome,
    code: Option<&'static str>,
    is_told: bool,
}

impl<'a> Report<'a> {
    pub(super) fn begin(shared: &'a Shared, peer: Peer, request: &Request<Incoming>) -> Self {
        let mut report = Self::unread(shared, peer);
        if tracing::enabled!(tracing::Level::INFO) {
            report.agent = request.headers().get(USER_AGENT).cloned();
        }
        report
    }

    /// Of a request that could not be read.
    pub(super) fn unread(shared: &'a Shared, peer: Peer) -> Self {
        Self {
            shared,
            peer,
            request_id: shared.request_ids.next(shared.clock.wall()),
            began: shared.clock.monotonic(),
            asked: None,
            agent: None,
            operation: None,
            topic: None,
            principal: None,
            livy_user: None,
            trace: None,
            presence: None,
            left: None,
            upstream: None,
            waited: Duration::ZERO,
            livy_status: None,
            status: None,
            outcome: Outcome::Abandoned,
            code: None,
            is_told: false,
        }
    }

    pub(super) const fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// What was asked is none of Livy's operations. Gives `why` back.
    pub(super) fn unrouted<T>(&mut self, head: &Parts, why: T) -> T {
        self.asked = Some((head.method.clone(), head.uri.clone()));
        why
    }

    pub(super) fn routed(&mut self, operation: &Operation) {
        self.operation = Some(operation.clone());
    }

    pub(super) const fn inquired(&mut self, topic: Topic) {
        self.topic = Some(topic);
    }

    pub(super) fn identified(&mut self, principal: &Arc<Principal>) {
        self.principal = Some(Arc::clone(principal));
    }

    pub(super) fn acts_as(&mut self, user: &LivyUser) {
        self.livy_user = Some(user.clone());
    }

    /// It counts among its user's until it is answered.
    pub(super) fn entered(&mut self, presence: Presence) {
        self.presence = Some(presence);
    }

    /// It is counted elsewhere from now on.
    pub(super) fn take_presence(&mut self) -> Option<Presence> {
        self.presence.take()
    }

    /// The counters of this user, if it is the one among whose requests this one counts.
    pub(super) fn seat_of(&self, user: &LivyUser) -> Option<Arc<Seat>> {
        self.presence.as_ref()?.seat_of(user)
    }

    /// What is left of the limit that it was counted under.
    pub(super) fn left(&mut self, left: Left) {
        // Reads are asked for all the time, and who is held back or refused hears of it.
        if left.class != LimitClass::Read {
            self.left = Some(left);
        }
    }

    /// Goes on with the client's trace, if it has one.
    pub(super) fn trace(&mut self, headers: &HeaderMap) {
        self.trace = Trace::of(headers, &self.request_id).map(Box::new);
    }

    /// What Livy gets of the trace.
    pub(super) fn traceparent(&self) -> Option<HeaderValue> {
        self.trace.as_ref().map(|trace| trace.traceparent.clone())
    }

    /// What Livy said, and how long it took to begin.
    pub(super) fn heard_from_livy(&mut self, done: &Done) {
        self.livy_status = done.livy_status;
        self.upstream = done.livy_took;
        self.waited(done.waited);
    }

    /// It was held back, or waited for Livy: no work of the gateway's.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// Livy's answer goes to the client.
    pub(super) fn answered(&mut self, mut response: Response<AnswerBody>) -> Response<AnswerBody> {
        self.outcome = match response.status().as_u16() {
            ..400 => Outcome::Done,
            400..500 => Outcome::RefusedByLivy,
            500.. => Outcome::FailedInLivy,
        };
        answer::seal(&mut response, &self.request_id);
        if let Some(left) = self.left {
            answer::tell_limit(response.headers_mut(), &left.told());
        }
        response
    }

    /// The gateway refuses.
    pub(super) fn denied(&mut self, denial: &Denial, response: Response<AnswerBody>) -> Response<AnswerBody> {
        let code = denial.answer().code;
        self.outcome = Outcome::Denied;
        self.code = Some(code);
        metrics::denied(code);
        if denial.is_audited() && self.is_news(denial) {
            self.audit_denial(denial);
        }
        response
    }

    fn is_news(&self, denial: &Denial) -> bool {
        let counters = self.shared.users.current();
        match &self.principal {
            Some(principal) if denial.comes_in_floods() => counters.is_news(principal.livy_user()),
            Some(_) | None => true,
        }
    }

    pub(super) fn finish(mut self, response: &Response<AnswerBody>) {
        self.status = Some(response.status().as_u16());
        self.tell();
    }

    fn tell(&mut self) {
        self.is_told = true;
        if let Some(presence) = &self.presence {
            presence.ended(self.outcome == Outcome::Denied);
        }
        let total = self.shared.clock.monotonic().saturating_sub(self.began);
        let elsewhere = self.upstream.unwrap_or_default().saturating_add(self.waited);
        let own = total.saturating_sub(elsewhere);
        let operation = self.label();
        // Of a client that left it is not known what the time went to.
        let known = (self.outcome != Outcome::Abandoned).then_some(own);
        metrics::request(operation, self.outcome, self.upstream, known);
        if tracing::enabled!(tracing::Level::INFO) {
            self.log(operation, own);
        }
    }

    pub(super) fn label(&self) -> &'static str {
        match (&self.operation, self.topic) {
            (Some(operation), _) => operation.label(),
            (None, Some(topic)) => topic.label(),
            (None, None) => NO_OPERATION,
        }
    }

    fn log(&self, operation: &'static str, own: Duration) {
        let session = match &self.operation {
            Some(Operation::On(session, _)) => Some(session.key().to_string()),
            Some(Operation::Version | Operation::List(_) | Operation::Create(_)) | None => None,
        };
        // The query stays out: it may hold what a client should not have put there.
        let asked = match &self.asked {
            Some((method, uri)) if operation == NO_OPERATION => {
                Some(quotable(&format!("{method} {}", uri.path())))
            }
            Some(_) | None => None,
        };
        info!(
            request_id = self.request_id.to_str().unwrap_or_default(),
            trace_id = self.trace.as_ref().map(|trace| &*trace.trace_id),
            span_id = self.trace.as_ref().map(|trace| &*trace.span_id),
            peer = %self.peer.address,
            operation,
            session,
            asked,
            subject = self.principal.as_ref().map(|principal| principal.subject().to_string()),
            credential = self.principal.as_ref().and_then(|principal| principal.subject().credential()),
            livy_user = self.livy_user.as_ref().map(LivyUser::as_str),
            outcome = self.outcome.label(),
            code = self.code,
            status = self.status,
            livy_status = self.livy_status,
            livy_ms = self.upstream.map(millis),
            waited_ms = (self.waited >= SHOWN).then(|| millis(self.waited)),
            own_ms = millis(own),
            agent = self.agent.as_ref().map(|agent| quotable(&String::from_utf8_lossy(agent.as_bytes()))),
            "request"
        );
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        // The client left, or the request made the gateway panic: it is told all the same.
        if !self.is_told {
            self.tell();
        }
    }
}

/// Everybody waits for some microseconds.
const SHOWN: Duration = Duration::from_millis(1);

fn millis(duration: Duration) -> f64 {
    // Microseconds are enough, and short to read.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Makes ids in the form of UUID version 7 (RFC 9562): ordered by time, unique, and cheap.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: [u8; 6],
    count: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        let mut process = [0; 6];
        // Without randomness ids of two processes may collide in a millisecond; no promise rests on that.
        let _ = aws_lc_rs::rand::fill(&mut process);
        Self {
            process,
            count: AtomicU64::new(0),
        }
    }

    fn next(&self, wall: Duration) -> HeaderValue {
        let [.., c3, c2, c1, c0] = self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let [p0, p1, p2, p3, p4, p5] = self.process;
        let unique = [c3, c2, c1, c0, p0, p1, p2, p3, p4, p5];
        let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &unique).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        HeaderValue::from_str(id.hyphenated().encode_lower(&mut text))
            .unwrap_or(HeaderValue::from_static("none"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_are_unique_and_well_formed() {
        let ids = RequestIds::new();
        let made: HashSet<_> = (0..10_000)
            .map(|_| ids.next(Duration::from_secs(1_800_000_000)))
            .collect();
        assert_eq!(made.len(), 10_000);
        let id = uuid::Uuid::parse_str(made.iter().next().unwrap().to_str().unwrap()).unwrap();
        assert_eq!(id.get_version_num(), 7);
    }
}
