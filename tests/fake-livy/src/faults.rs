//! Faults that a test arms: what goes wrong, for which requests, how often, and until when.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::record::Received;

/// An answer that a test wrote itself.
#[derive(Debug, Clone)]
pub struct Canned {
    /// The status code.
    pub status: u16,
    /// The reason phrase, if not the usual one.
    pub reason: Option<String>,
    /// The headers; `Content-Length` is added.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum What {
    ResetOnAccept,
    ResetBeforeBody,
    ResetAfterRequest,
    ResetInAnswer(usize),
    HoldBody(usize),
    HoldRequest,
    HoldAnswer,
    HoldAnswerBody(usize),
    HoldDelete,
    AnswerEarly(Canned),
    Answer(Canned),
    AnswerRaw(Vec<u8>),
    AnswerInstead(Canned),
    LoseAnswer,
    ActAfterDisconnect,
    Ghost,
    Interim(u16),
    CloseAfterAnswer,
    Header(String, String),
    IgnoreImpersonation,
}

type Predicate = Arc<dyn Fn(&Received) -> bool + Send + Sync>;

/// Something that goes wrong with the next request, or with those that match.
///
/// Made by one of the functions below, narrowed by [`on`](Self::on) or [`when`](Self::when), repeated by
/// [`times`](Self::times) or [`always`](Self::always), armed by [`FakeLivy::fault`](crate::FakeLivy::fault).
/// A request meets one fault at most: the one armed first among those that match it.
#[derive(Clone)]
pub struct Fault {
    pub(crate) what: What,
    method: Option<String>,
    path_prefix: Option<String>,
    predicate: Option<Predicate>,
    times: Option<u64>,
    within: Option<Duration>,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("what", &self.what)
            .field("method", &self.method)
            .field("path_prefix", &self.path_prefix)
            .field("times", &self.times)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

impl Fault {
    const fn new(what: What) -> Self {
        Self {
            what,
            method: None,
            path_prefix: None,
            predicate: None,
            times: Some(1),
            within: None,
        }
    }

    /// The connection is accepted and reset at once, whatever was to come on it.
    /// [`on`](Self::on) and [`when`](Self::when) mean nothing here.
    pub const fn reset_on_accept() -> Self {
        Self::new(What::ResetOnAccept)
    }

    /// The connection is reset when the request's first lines are read; its body is not read.
    pub const fn reset_before_body() -> Self {
        Self::new(What::ResetBeforeBody)
    }

    /// The connection is reset when the request is read whole; Livy does nothing for it.
    pub const fn reset_after_request() -> Self {
        Self::new(What::ResetAfterRequest)
    }

    /// Livy does what was asked, and the connection is reset when so many bytes of the answer's body (as
    /// framed) are out.
    pub const fn reset_in_answer(body_bytes: usize) -> Self {
        Self::new(What::ResetInAnswer(body_bytes))
    }

    /// Livy stops reading the request's body after about so many bytes, until released.
    pub const fn hold_body(body_bytes: usize) -> Self {
        Self::new(What::HoldBody(body_bytes))
    }

    /// The request is read, then Livy does nothing until released; then it acts, whether or not its
    /// connection is still there: a creation that comes true after its client gave up.
    pub const fn hold_request() -> Self {
        Self::new(What::HoldRequest)
    }

    /// Livy does what was asked and keeps the answer back until released.
    pub const fn hold_answer() -> Self {
        Self::new(What::HoldAnswer)
    }

    /// Livy does what was asked, sends the answer's head and so many bytes of its body (as framed), and the
    /// rest when released.
    pub const fn hold_answer_body(body_bytes: usize) -> Self {
        Self::new(What::HoldAnswerBody(body_bytes))
    }

    /// A deletion that takes its time: the session is listed as `shutting_down` until released, then it is
    /// gone and the answer comes.
    pub fn slow_delete() -> Self {
        Self::new(What::HoldDelete).on("DELETE", "/")
    }

    /// This answer comes when the request's first lines are read; the body is not waited for, and the
    /// connection ends.
    pub const fn answer_early(answer: Canned) -> Self {
        Self::new(What::AnswerEarly(answer))
    }

    /// This answer comes instead of Livy's own; Livy does nothing for the request.
    pub const fn answer(answer: Canned) -> Self {
        Self::new(What::Answer(answer))
    }

    /// Livy does what was asked, and this comes instead of its answer: a proxy in between that lost patience.
    pub const fn answer_instead(answer: Canned) -> Self {
        Self::new(What::AnswerInstead(answer))
    }

    /// Exactly these bytes come instead of an answer, then the connection ends.
    pub fn answer_raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(What::AnswerRaw(bytes.into()))
    }

    /// Livy does what was asked and closes the connection without a word.
    pub const fn lose_answer() -> Self {
        Self::new(What::LoseAnswer)
    }

    /// The connection is reset when the request is read whole, and Livy acts on it when released.
    pub const fn act_after_disconnect() -> Self {
        Self::new(What::ActAfterDisconnect)
    }

    /// A creation is refused (400), and what it would have created stays listed as `starting` with its name.
    pub const fn ghost() -> Self {
        Self::new(What::Ghost)
    }

    /// An interim (1xx) answer comes before the final one.
    pub const fn interim(status: u16) -> Self {
        Self::new(What::Interim(status))
    }

    /// The connection closes right after the answer, which did not say so: a pooled connection gone stale.
    pub const fn close_after_answer() -> Self {
        Self::new(What::CloseAfterAnswer)
    }

    /// Livy's own answer, with this header added.
    pub fn header(name: &str, value: &str) -> Self {
        Self::new(What::Header(name.to_owned(), value.to_owned()))
    }

    /// Livy treats the request as if impersonation were off: `doAs` and `proxyUser` do nothing, silently.
    pub const fn ignore_impersonation() -> Self {
        Self::new(What::IgnoreImpersonation)
    }

    /// Livy's login says no to the gateway: 401 with this challenge.
    pub fn unauthorized(challenge: &str) -> Self {
        Self::answer(Canned {
            status: 401,
            reason: None,
            headers: vec![
                ("WWW-Authenticate".to_owned(), challenge.to_owned()),
                ("Set-Cookie".to_owned(), "hadoop.auth=; HttpOnly".to_owned()),
                ("Content-Type".to_owned(), "text/html;charset=iso-8859-1".to_owned()),
            ],
            body: b"<html>\n<head>\n<title>Error 401 Authentication required</title>\n</head>\n<body><h2>HTTP ERROR 401 Authentication required</h2>\n</body>\n</html>\n".to_vec(),
        })
    }

    /// Livy does not know the gateway's account as a superuser: 403 in Livy's words.
    pub fn not_superuser(gateway: &str, user: &str) -> Self {
        Self::answer(Canned {
            status: 403,
            reason: None,
            headers: vec![(
                "Content-Type".to_owned(),
                "application/json;charset=utf-8".to_owned(),
            )],
            body: format!("{{\"msg\":\"User '{gateway}' not allowed to impersonate 'Some({user})'.\"}}")
                .into_bytes(),
        })
    }

    /// Jetty's page for an uncaught exception: HTML with class names and a stack trace.
    pub fn html_error() -> Self {
        Self::answer(Canned {
            status: 500,
            reason: None,
            headers: vec![("Content-Type".to_owned(), "text/html;charset=iso-8859-1".to_owned())],
            body: b"<html>\n<head>\n<title>Error 500 java.lang.NullPointerException</title>\n</head>\n<body><h2>HTTP ERROR 500 java.lang.NullPointerException</h2>\n<h3>Caused by:</h3><pre>java.lang.NullPointerException\n\tat org.apache.livy.server.SessionServlet.$anonfun$new$7(SessionServlet.scala:80)\n\tat org.eclipse.jetty.server.Server.handle(Server.java:516)\n</pre>\n</body>\n</html>\n".to_vec(),
        })
    }

    /// Only for requests with this method (as sent, compared without case) and a decoded path that begins so.
    #[must_use]
    pub fn on(mut self, method: &str, path_prefix: &str) -> Self {
        self.method = Some(method.to_owned());
        self.path_prefix = Some(path_prefix.to_owned());
        self
    }

    /// Only for requests of which this holds. The body may not have been read yet.
    #[must_use]
    pub fn when(mut self, predicate: impl Fn(&Received) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// For the first so many requests that match; once is the default.
    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// For every request that matches, until [`FaultHandle::disarm`].
    #[must_use]
    pub const fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// A request that came longer ago than this is never acted on: [`hold_request`](Self::hold_request) and
    /// [`act_after_disconnect`](Self::act_after_disconnect).
    #[must_use]
    pub const fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    fn matches(&self, request: &Received) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| method.eq_ignore_ascii_case(&request.method))
            && self
                .path_prefix
                .as_ref()
                .is_none_or(|prefix| request.path.starts_with(prefix))
            && self.predicate.as_ref().is_none_or(|predicate| predicate(request))
    }
}

#[derive(Debug)]
struct Armed {
    disarmed: AtomicBool,
    hits: AtomicU64,
    /// One permit lets one held request go on; closed, it holds nobody.
    gate: Semaphore,
    /// How long ago a request may have come and still be acted on.
    within: Option<Duration>,
    changed: Arc<Notify>,
}

/// An armed fault: to release what it holds, to count what it met.
#[derive(Debug, Clone)]
pub struct FaultHandle(Arc<Armed>);

impl FaultHandle {
    /// Lets go whatever this fault holds, and what it would hold later.
    pub fn release(&self) {
        self.0.gate.close();
    }

    /// Lets one held request go on, the longest waiting first.
    pub fn release_one(&self) {
        self.0.gate.add_permits(1);
    }

    /// How many requests have met this fault.
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have met this fault.
    pub async fn hit(&self, times: u64) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.hits() >= times {
                return;
            }
            changed.await;
        }
    }

    /// Meets no further request. What it holds stays held.
    pub fn disarm(&self) {
        self.0.disarmed.store(true, Ordering::SeqCst);
    }

    /// Waits until it is released; whether that was in time for a request that came then.
    pub(crate) async fn pass(&self, came: Instant) -> bool {
        let latest = self.0.within.map_or(came + FOR_EVER, |within| came + within);
        match timeout_at(latest, self.0.gate.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            // Closed: everybody may pass.
            Ok(Err(_)) => {}
            Err(_) => return false,
        }
        Instant::now() <= latest
    }

    fn meet(&self) {
        self.0.hits.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

/// The faults that are armed, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<(Fault, FaultHandle)>>);

impl Faults {
    pub(crate) fn arm(&self, fault: Fault, changed: Arc<Notify>) -> FaultHandle {
        let handle = FaultHandle(Arc::new(Armed {
            disarmed: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            gate: Semaphore::new(0),
            within: fault.within,
            changed,
        }));
        self.lock().push((fault, handle.clone()));
        handle
    }

    pub(crate) fn clear(&self) {
        for (_, handle) in self.lock().drain(..) {
            handle.release();
        }
    }

    /// The fault that a new connection meets.
    pub(crate) fn on_accept(&self) -> bool {
        self.take(|fault| matches!(fault.what, What::ResetOnAccept))
            .is_some()
    }

    /// The fault that a request meets.
    pub(crate) fn on_request(&self, request: &Received) -> Option<(What, FaultHandle)> {
        self.take(|fault| !matches!(fault.what, What::ResetOnAccept) && fault.matches(request))
    }

    fn take(&self, meets: impl Fn(&Fault) -> bool) -> Option<(What, FaultHandle)> {
        let mut armed = self.lock();
        armed.retain(|(_, handle)| !handle.0.disarmed.load(Ordering::SeqCst));
        let at = armed.iter().position(|(fault, _)| meets(fault))?;
        let (fault, handle) = &mut armed[at];
        let met = (fault.what.clone(), handle.clone());
        if let Some(left) = &mut fault.times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                armed.remove(at);
            }
        }
        met.1.meet();
        Some(met)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Fault, FaultHandle)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_hours(24);
