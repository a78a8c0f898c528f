//! A simulated Apache Livy, for tests and demonstrations.
//!
//! It has Livy's whole REST API with Livy's own leniency and traps: paths read by two parsers, method
//! overrides, ghosts of refused batches, ids that restart at 0, answers without a length. It is lenient
//! where a real Livy is, so that a hole in the gateway shows as a breach in a test. What it received can be
//! read, and what goes wrong can be armed.
//!
//! ```
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! use fake_livy::{Fault, FakeLivy};
//!
//! let livy = FakeLivy::builder().impersonation(true).start().await;
//! let held = livy.fault(Fault::hold_answer().on("POST", "/sessions"));
//! // … send a request to livy.url(), wait for held.hit(1), look at livy.last() and livy.sessions() …
//! held.release();
//! # });
//! ```
//!
//! It runs on a thread and a runtime of its own: a test's runtime may have a paused clock. Dropped, it stops.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    reason = "a test tool: when it breaks, the test must"
)]

mod access;
mod answer;
mod bodies;
mod clock;
mod creation;
mod faults;
mod interactive;
mod jackson;
mod model;
mod params;
mod record;
mod routing;
mod server;
mod service;
mod servlets;
mod statements;
mod target;
mod views;
mod watch;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::model::{Entry, Model, Settings, Table};
use crate::server::{BEAT, Command, Shared};
use crate::watch::Watch;

pub use crate::faults::{Canned, Fault, FaultHandle};
pub use crate::model::{Auth, Kind, Progress, Snapshot, State, Upload, Version};
pub use crate::record::Received;
pub use crate::watch::Alive;

/// A running simulated Livy.
#[derive(Debug)]
pub struct FakeLivy {
    shared: Arc<Shared>,
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
    port: u16,
}

/// What a simulated Livy shall be like. The defaults are Livy's own: no login, no impersonation, no access
/// control, no CSRF protection.
#[derive(Debug, Clone)]
pub struct Builder {
    settings: Settings,
    port: u16,
    keep_body: usize,
    keep_requests: usize,
    idle: Duration,
    overlooks: Option<fn(&Received) -> bool>,
    watch: Option<Watch>,
}

impl Builder {
    fn new() -> Self {
        Self {
            settings: Settings {
                version: Version::default(),
                impersonation: false,
                superusers: Vec::new(),
                auth: Auth::None,
                access_control: false,
                csrf_protection: false,
                max_creation: 100,
                progress: Progress::AtOnce,
                upload_bytes_max: 100 << 20,
                local_files: None,
            },
            port: 0,
            keep_body: 64 << 20,
            keep_requests: usize::MAX,
            idle: Duration::from_secs(30),
            overlooks: None,
            watch: None,
        }
    }

    /// Which release; 0.9.0 is the default.
    #[must_use]
    pub const fn version(mut self, version: Version) -> Self {
        self.settings.version = version;
        self
    }

    /// `livy.impersonation.enabled`: whether `doAs` and `proxyUser` mean anything.
    #[must_use]
    pub const fn impersonation(mut self, enabled: bool) -> Self {
        self.settings.impersonation = enabled;
        self
    }

    /// Adds one of `livy.superusers`, who may be anybody. Without a login everybody is one.
    #[must_use]
    pub fn superuser(mut self, user: &str) -> Self {
        self.settings.superusers.push(user.to_owned());
        self
    }

    /// How Livy learns who is connected.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.settings.auth = auth;
        self
    }

    /// `livy.server.access-control.enabled`: whether users are kept from each other's sessions.
    #[must_use]
    pub const fn access_control(mut self, enabled: bool) -> Self {
        self.settings.access_control = enabled;
        self
    }

    /// `livy.server.csrf-protection.enabled`: whether writes need `X-Requested-By`.
    #[must_use]
    pub const fn csrf_protection(mut self, enabled: bool) -> Self {
        self.settings.csrf_protection = enabled;
        self
    }

    /// `livy.server.session.max-creation`: how many sessions and batches together may be alive; 100.
    #[must_use]
    pub const fn max_creation(mut self, count: usize) -> Self {
        self.settings.max_creation = count;
        self
    }

    /// When sessions leave `starting` and batches end.
    #[must_use]
    pub const fn progress(mut self, progress: Progress) -> Self {
        self.settings.progress = progress;
        self
    }

    /// `livy.file.upload.max.size`, in bytes; 100 MiB.
    #[must_use]
    pub const fn upload_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.upload_bytes_max = bytes;
        self
    }

    /// Makes the local file system the default one, and lets files lie only below this folder
    /// (`livy.file.local-dir-whitelist`). Otherwise paths without a scheme lie in HDFS and are not checked.
    #[must_use]
    pub fn local_files(mut self, folder: &str) -> Self {
        self.settings.local_files = Some(folder.to_owned());
        self
    }

    /// The port on 127.0.0.1; 0, the default, takes a free one.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How much of each request's body is kept and understood, in bytes; 64 MiB. The rest is only counted.
    #[must_use]
    pub const fn keep_body(mut self, bytes: usize) -> Self {
        self.keep_body = bytes;
        self
    }

    /// How many of the newest requests are kept; all, unless said.
    #[must_use]
    pub const fn keep_requests(mut self, count: usize) -> Self {
        self.keep_requests = count;
        self
    }

    /// Requests that a test does not look at, such as what a gateway asks for itself: they are answered, but meet no
    /// fault and leave no record, and a connection that brings nothing else does not count.
    #[must_use]
    pub const fn overlook(mut self, overlooks: fn(&Received) -> bool) -> Self {
        self.overlooks = Some(overlooks);
        self
    }

    /// Shows all that lives, each time that anything may have changed and before anything else can. It must not ask this
    /// Livy.
    #[must_use]
    pub fn watch(mut self, watch: impl Fn(&[Alive<'_>]) + Send + Sync + 'static) -> Self {
        self.watch = Some(Watch(Arc::new(watch)));
        self
    }

    /// After what time without a byte a connection is closed; Jetty's 30 s.
    #[must_use]
    pub const fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Starts it, and returns when it listens.
    ///
    /// # Panics
    /// If the port is taken.
    pub async fn start(self) -> FakeLivy {
        self.try_start().await.expect("the simulated Livy can listen")
    }

    /// Starts it, and returns when it listens, or why it cannot.
    ///
    /// # Errors
    /// When the port is taken or no thread can be had.
    pub async fn try_start(self) -> std::io::Result<FakeLivy> {
        let model = Model {
            settings: self.settings,
            sessions: Table::default(),
            batches: Table::default(),
            watch: self.watch,
        };
        let shared = Arc::new(Shared::new(
            model,
            self.keep_body,
            self.keep_requests,
            self.idle,
            self.overlooks,
        ));
        let (started, bound) = oneshot::channel();
        let (commands, asked) = mpsc::unbounded_channel();
        let server = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fake-livy".to_owned())
            .spawn(move || server::run(&server, self.port, started, asked))?;
        let port = bound.await.map_err(std::io::Error::other)??;
        Ok(FakeLivy {
            shared,
            commands: Some(commands),
            thread: Some(thread),
            port,
        })
    }
}

impl FakeLivy {
    /// Begins a description with Livy's own defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// `http://127.0.0.1:PORT`, no slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1; it stays the same over [`restart`](Self::restart).
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Every request since the start or the last [`clear`](Self::clear), in the order of their first lines.
    pub fn requests(&self) -> Vec<Received> {
        self.shared
            .received()
            .iter()
            .map(|(_, received)| received.clone())
            .collect()
    }

    /// The newest request.
    ///
    /// # Panics
    /// If there is none.
    pub fn last(&self) -> Received {
        self.requests().pop().expect("Livy received a request")
    }

    /// Forgets the requests received so far. Sessions, faults and counts stay.
    pub fn clear(&self) {
        self.shared.received().clear();
    }

    /// How many connections were accepted since the start.
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many times something came that Jetty cannot read: bad framing, bad syntax, too large a head.
    pub fn bad_messages(&self) -> u64 {
        self.shared.bad_messages.load(Ordering::SeqCst)
    }

    /// Arms a fault.
    pub fn fault(&self, fault: Fault) -> FaultHandle {
        self.shared.faults.arm(fault, Arc::clone(&self.shared.changed))
    }

    /// Disarms every fault and lets go what they hold.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// The sessions that Livy lists now.
    pub fn sessions(&self) -> Vec<Snapshot> {
        self.shared
            .model()
            .sessions
            .entries
            .iter()
            .map(Entry::snapshot)
            .collect()
    }

    /// The batches that Livy lists now.
    pub fn batches(&self) -> Vec<Snapshot> {
        self.shared
            .model()
            .batches
            .entries
            .iter()
            .map(Entry::snapshot)
            .collect()
    }

    /// Puts a session or batch there as if somebody had created it past the gateway; its id is returned.
    /// An interactive one is idle, a batch running.
    pub fn plant(
        &self,
        kind: Kind,
        name: Option<&str>,
        owner: Option<&str>,
        proxy_user: Option<&str>,
    ) -> i32 {
        let mut model = self.shared.model();
        let table = model.table(kind);
        let id = table.take_id();
        table
            .entries
            .push(Entry::planted(id, kind, name, owner, proxy_user));
        model.show();
        id
    }

    /// Gives a session or batch another state.
    ///
    /// # Panics
    /// If there is none with this id.
    pub fn set_state(&self, kind: Kind, id: i32, state: State) {
        let mut model = self.shared.model();
        model
            .table(kind)
            .by_id(id)
            .unwrap_or_else(|| panic!("no {kind:?} {id}"))
            .state = state;
        model.show();
    }

    /// Moves every session from `starting` to `idle`, and every batch to `success`.
    pub fn advance(&self) {
        let mut model = self.shared.model();
        for kind in [Kind::Session, Kind::Batch] {
            for entry in &mut model.table(kind).entries {
                entry.advance(kind);
            }
        }
        model.show();
    }

    /// Switches impersonation while Livy runs.
    pub fn set_impersonation(&self, enabled: bool) {
        self.shared.model().settings.impersonation = enabled;
    }

    /// Changes when new sessions leave `starting`.
    pub fn set_progress(&self, progress: Progress) {
        self.shared.model().settings.progress = progress;
    }

    /// Ends every connection and refuses new ones; sessions stay for [`resume`](Self::resume).
    /// What a fault held is gone, not done.
    pub fn stop(&self) {
        self.ask(Command::Unplug);
    }

    /// Listens again on the same port, with the sessions as they were.
    ///
    /// # Panics
    /// If somebody else took the port meanwhile.
    pub fn resume(&self) {
        self.ask(Command::Plug);
    }

    /// A restart of Livy: every connection ends, sessions and batches are gone, ids start at 0 again.
    ///
    /// # Panics
    /// If somebody else took the port meanwhile.
    pub fn restart(&self) {
        self.stop();
        self.shared.forget();
        self.resume();
    }

    fn ask(&self, command: impl FnOnce(std::sync::mpsc::Sender<()>) -> Command) {
        let (done, waits) = std::sync::mpsc::channel();
        let commands = self.commands.as_ref().expect("only drop takes it");
        commands
            .send(command(done))
            .expect("the server's thread is there");
        waits.recv().expect("the server's thread answers");
    }

    /// Waits until so many requests were received (since the last [`clear`](Self::clear)) and returns them.
    ///
    /// # Panics
    /// After 20 s.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<Received> {
        self.wait_until("enough requests", |livy| livy.requests().len() >= count)
            .await;
        self.requests()
    }

    /// The first line of every request, for people.
    fn lines(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| format!("{} {}", request.method, request.target))
            .collect()
    }

    /// Waits until something holds of this Livy; it is looked at after every change.
    ///
    /// # Panics
    /// After 20 s (of Livy's own time; the test's clock may stand still).
    pub async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let now = || self.shared.beats.load(Ordering::SeqCst);
        let deadline = now() + PATIENCE.as_millis() as u64 / BEAT.as_millis() as u64;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            assert!(
                now() < deadline,
                "waited {PATIENCE:?} in vain: {what}; received {:#?}",
                self.lines()
            );
            changed.await;
        }
    }
}

/// How long a test waits for something that ought to happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

impl Drop for FakeLivy {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the simulated Livy panicked; its message is above");
        }
    }
}
