//! The server's own thread: the listener, its connections, and each request's way past the armed faults.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::access::Signer;
use crate::answer::Answer;
use crate::faults::{Canned, FaultHandle, Faults, What};
use crate::model::Model;
use crate::record::Received;
use crate::service::{self, Outcome, Twist};
use crate::target::Target;
use crate::wire::{BodyState, Broken, Delivery, Head, Wire, serialize};

/// What the server's thread and its tests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) model: Mutex<Model>,
    signer: Mutex<Signer>,
    pub(crate) faults: Faults,
    received: Mutex<Vec<(u64, Received)>>,
    next_request: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) open: AtomicUsize,
    pub(crate) bad_messages: AtomicU64,
    /// Rung at every change, and at every beat.
    pub(crate) changed: Arc<Notify>,
    /// How often the thread's heart beat: the time that waiting tests measure.
    pub(crate) beats: AtomicU64,
    keep_body: usize,
    keep_requests: usize,
    idle: Duration,
    overlooks: Option<fn(&Received) -> bool>,
}

/// Between two beats.
pub(crate) const BEAT: Duration = Duration::from_millis(50);

impl Shared {
    pub(crate) fn new(
        model: Model,
        keep_body: usize,
        keep_requests: usize,
        idle: Duration,
        overlooks: Option<fn(&Received) -> bool>,
    ) -> Self {
        Self {
            model: Mutex::new(model),
            signer: Mutex::default(),
            faults: Faults::default(),
            received: Mutex::default(),
            next_request: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            bad_messages: AtomicU64::new(0),
            changed: Arc::new(Notify::new()),
            beats: AtomicU64::new(0),
            keep_body,
            keep_requests,
            idle,
            overlooks,
        }
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Vec<(u64, Received)>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything but its settings, the cookies' secret included.
    pub(crate) fn forget(&self) {
        let mut model = self.model();
        model.restart();
        model.show();
        drop(model);
        *self.signer.lock().unwrap_or_else(PoisonError::into_inner) = Signer::default();
        self.changed.notify_waiters();
    }

    fn record(&self, received: Received) -> u64 {
        let key = self.next_request.fetch_add(1, Ordering::SeqCst);
        let mut kept = self.received();
        kept.push((key, received));
        let surplus = kept.len().saturating_sub(self.keep_requests);
        kept.drain(..surplus);
        drop(kept);
        self.changed.notify_waiters();
        key
    }

    fn amend(&self, key: u64, amend: impl FnOnce(&mut Received)) {
        if let Some((_, received)) = self.received().iter_mut().rev().find(|(known, _)| *known == key) {
            amend(received);
        }
        self.changed.notify_waiters();
    }

    fn handle(&self, head: &Head, body: &[u8], twist: Twist) -> Outcome {
        let signer = self.signer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut model = self.model();
        let outcome = service::handle(&mut model, &signer, head, body, twist);
        model.show();
        drop(model);
        self.changed.notify_waiters();
        outcome
    }
}

/// What the test's side asks of the thread; each answers when it is done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Close the listener and cut every connection.
    Unplug(std::sync::mpsc::Sender<()>),
    /// Listen again on the same port.
    Plug(std::sync::mpsc::Sender<()>),
}

/// Runs the server until the commands' sender is gone.
pub(crate) fn run(
    shared: &Arc<Shared>,
    port: u16,
    started: oneshot::Sender<io::Result<u16>>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error))),
    };
    runtime.block_on(async {
        let bound = async {
            let listener = bind(port).await?;
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        };
        let (mut listener, port) = match bound.await {
            Ok((listener, port)) => (Some(listener), port),
            Err(error) => return drop(started.send(Err(error))),
        };
        if started.send(Ok(port)).is_err() {
            return;
        }
        let mut connections = JoinSet::new();
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Unplug(done)) => {
                        listener = None;
                        connections.shutdown().await;
                        let _ = done.send(());
                    }
                    Some(Command::Plug(done)) => {
                        if listener.is_none() {
                            listener = Some(bind(port).await.expect("the port was ours a moment ago"));
                        }
                        let _ = done.send(());
                    }
                },
                accepted = accept(listener.as_ref()) => {
                    connections.spawn(connection(Arc::clone(shared), accepted));
                }
                Some(_) = connections.join_next() => {}
                _ = beat.tick() => {
                    shared.beats.fetch_add(1, Ordering::SeqCst);
                    shared.changed.notify_waiters();
                }
            }
        }
    });
}

async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    loop {
        match listener {
            Some(listener) => {
                if let Ok((stream, _)) = listener.accept().await {
                    return stream;
                }
            }
            None => std::future::pending().await,
        }
    }
}

/// Counts an open connection for as long as it lives, aborted or not.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

/// A connection that counts: all do, but for those that have brought only requests to be overlooked.
struct Counted {
    number: u64,
    _open: Open,
}

impl Counted {
    fn begin(shared: &Arc<Shared>) -> Self {
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        shared.open.fetch_add(1, Ordering::SeqCst);
        shared.changed.notify_waiters();
        Self {
            number,
            _open: Open(Arc::clone(shared)),
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let mut counted = shared.overlooks.is_none().then(|| Counted::begin(&shared));
    let mut wire = Wire::new(stream, shared.idle);
    if shared.overlooks.is_none() && shared.faults.on_accept() {
        return wire.reset();
    }
    loop {
        let head = match wire.head().await {
            Ok(head) => head,
            Err(broken) => return refuse(&shared, wire, broken).await,
        };
        let received = receive(&shared, &head);
        let is_overlooked = shared.overlooks.is_some_and(|overlooks| overlooks(&received));
        if !is_overlooked && counted.is_none() {
            counted = Some(Counted::begin(&shared));
            if shared.faults.on_accept() {
                return wire.reset();
            }
        }
        let received = match &counted {
            Some(counted) if !is_overlooked => Some(Received {
                connection: counted.number,
                ..received
            }),
            _ => None,
        };
        match exchange(&shared, wire, head, received).await {
            Some(kept) => wire = kept,
            None => return,
        }
    }
}

fn receive(shared: &Shared, head: &Head) -> Received {
    let version = shared.model().settings.version;
    Received {
        connection: 0,
        method: head.method.clone(),
        target: head.target.clone(),
        path: Target::parse(&head.target, version)
            .map(|target| target.decoded)
            .unwrap_or_default(),
        headers: head.headers.clone(),
        body: Bytes::new(),
        body_length: 0,
        body_complete: false,
        effective_method: head.method.to_ascii_uppercase(),
        operation: None,
        remote_user: None,
        effective_user: None,
        status: None,
    }
}

/// Jetty's answer to what it cannot read; then the connection ends.
async fn refuse(shared: &Shared, mut wire: Wire, broken: Broken) {
    if let Broken::Bad(status, reason) = broken {
        shared.bad_messages.fetch_add(1, Ordering::SeqCst);
        shared.changed.notify_waiters();
        let answer = Answer::bad_message(status, reason, shared.model().settings.version);
        let (head, body) = serialize(
            &answer,
            Delivery {
                head_only: false,
                keep_alive: false,
                minor: 1,
            },
        );
        if wire.write(&[head, body].concat()).await.is_ok() {
            wire.finish().await;
        }
    }
}

/// One request and its answer; the connection comes back if it lives on. What is not `received` is overlooked: it
/// meets no fault and leaves no record.
async fn exchange(shared: &Shared, mut wire: Wire, head: Head, received: Option<Received>) -> Option<Wire> {
    let came = Instant::now();
    let (what, fault) = match &received {
        Some(received) => shared.faults.on_request(received).unzip(),
        None => (None, None),
    };
    let key = match received {
        Some(received) => shared.record(received),
        None => shared.next_request.fetch_add(1, Ordering::SeqCst),
    };
    let delivery = Delivery {
        head_only: head.method.eq_ignore_ascii_case("HEAD"),
        keep_alive: head.keeps_alive(),
        minor: head.minor,
    };

    match &what {
        Some(What::ResetBeforeBody) => {
            wire.reset();
            return None;
        }
        Some(What::AnswerEarly(canned)) => {
            let (head, body) = serialize(
                &answer_of(canned),
                Delivery {
                    keep_alive: false,
                    ..delivery
                },
            );
            wire.write(&[head, body].concat()).await.ok()?;
            wire.finish().await;
            return None;
        }
        _ => {}
    }

    let body = match read_body(shared, &mut wire, &head, key, &what, fault.as_ref()).await {
        Ok(body) => body,
        Err(broken) => {
            refuse(shared, wire, broken).await;
            return None;
        }
    };

    let mut twist = Twist::default();
    match &what {
        Some(What::ResetAfterRequest) => {
            wire.reset();
            return None;
        }
        Some(What::Answer(canned)) => {
            shared.amend(key, |received| received.status = Some(canned.status));
            return deliver(wire, &answer_of(canned), delivery).await;
        }
        Some(What::AnswerRaw(bytes)) => {
            wire.write(bytes).await.ok()?;
            wire.finish().await;
            return None;
        }
        Some(What::HoldRequest) => {
            let is_in_time = hold(fault.as_ref(), came).await;
            if !is_in_time {
                wire.reset();
                return None;
            }
        }
        Some(What::HoldDelete) => {
            shared.handle(
                &head,
                &body,
                Twist {
                    begin_delete: true,
                    ..Twist::default()
                },
            );
            hold(fault.as_ref(), came).await;
        }
        Some(What::ActAfterDisconnect) => {
            wire.reset();
            if hold(fault.as_ref(), came).await {
                act(shared, &head, &body, twist, key);
            }
            return None;
        }
        Some(What::Ghost) => twist.ghost = true,
        Some(What::IgnoreImpersonation) => twist.no_impersonation = true,
        _ => {}
    }

    let mut answer = act(shared, &head, &body, twist, key);
    match what {
        Some(What::LoseAnswer) => {
            wire.finish().await;
            None
        }
        Some(What::AnswerInstead(canned)) => deliver(wire, &answer_of(&canned), delivery).await,
        Some(What::HoldAnswer) => {
            hold(fault.as_ref(), came).await;
            deliver(wire, &answer, delivery).await
        }
        Some(What::Interim(status)) => {
            wire.interim(status).await.ok()?;
            deliver(wire, &answer, delivery).await
        }
        Some(What::Header(name, value)) => {
            answer.headers.push((name, value));
            deliver(wire, &answer, delivery).await
        }
        Some(What::ResetInAnswer(bytes)) => {
            let (head, body) = serialize(&answer, delivery);
            let sent = &body[..bytes.min(body.len())];
            wire.write(&[&head, sent].concat()).await.ok()?;
            wire.reset();
            None
        }
        Some(What::HoldAnswerBody(bytes)) => {
            let (head, body) = serialize(&answer, delivery);
            let (now, later) = body.split_at(bytes.min(body.len()));
            wire.write(&[&head, now].concat()).await.ok()?;
            hold(fault.as_ref(), came).await;
            wire.write(later).await.ok()?;
            ended(wire, delivery.keep_alive && !answer.closes).await
        }
        Some(What::CloseAfterAnswer) => {
            let wire = deliver(wire, &answer, delivery).await?;
            wire.finish().await;
            None
        }
        _ => deliver(wire, &answer, delivery).await,
    }
}

/// Waits until it is released; whether that was in time for a request that came then.
async fn hold(fault: Option<&FaultHandle>, came: Instant) -> bool {
    match fault {
        Some(fault) => fault.pass(came).await,
        None => true,
    }
}

fn act(shared: &Shared, head: &Head, body: &[u8], twist: Twist, key: u64) -> Answer {
    let outcome = shared.handle(head, body, twist);
    shared.amend(key, |received| {
        received.effective_method = outcome.effective_method;
        received.operation = outcome.operation;
        received.remote_user = outcome.remote_user;
        received.effective_user = outcome.effective_user;
        received.status = Some(outcome.answer.status);
    });
    outcome.answer
}

async fn deliver(mut wire: Wire, answer: &Answer, delivery: Delivery) -> Option<Wire> {
    let delivery = Delivery {
        keep_alive: delivery.keep_alive && !answer.closes,
        ..delivery
    };
    let (head, body) = serialize(answer, delivery);
    wire.write(&[head, body].concat()).await.ok()?;
    ended(wire, delivery.keep_alive).await
}

async fn ended(wire: Wire, keep_alive: bool) -> Option<Wire> {
    if keep_alive {
        return Some(wire);
    }
    wire.finish().await;
    None
}

fn answer_of(canned: &Canned) -> Answer {
    let mut answer = Answer::new(canned.status, "", canned.body.clone());
    answer.reason.clone_from(&canned.reason);
    answer.headers.clone_from(&canned.headers);
    answer
}

async fn read_body(
    shared: &Shared,
    wire: &mut Wire,
    head: &Head,
    key: u64,
    what: &Option<What>,
    fault: Option<&FaultHandle>,
) -> Result<Bytes, Broken> {
    if head.header("expect").is_some() && !head.expects_continue() {
        return Err(Broken::Bad(417, "Expectation Failed"));
    }
    let mut state = BodyState::from(Wire::framing(head)?);
    if head.expects_continue() && !matches!(state, BodyState::Left(0)) {
        wire.interim(100).await?;
    }
    let mut held = match what {
        Some(What::HoldBody(bytes)) => Some(*bytes as u64),
        _ => None,
    };
    let (mut body, mut length) = (BytesMut::new(), 0);
    loop {
        if held.is_some_and(|bytes| length >= bytes) {
            held = None;
            shared.amend(key, |received| received.body_length = length);
            hold(fault, Instant::now()).await;
        }
        let piece = wire.piece(&mut state).await;
        match &piece {
            Ok(Some(piece)) => {
                length += piece.len() as u64;
                let room = shared.keep_body.saturating_sub(body.len());
                body.extend_from_slice(&piece[..room.min(piece.len())]);
            }
            Ok(None) | Err(_) => {
                let (kept, complete) = (body.split().freeze(), piece.is_ok());
                shared.amend(key, |received| {
                    received.body = kept.clone();
                    received.body_length = length;
                    received.body_complete = complete;
                });
                return piece.map(|_| kept);
            }
        }
    }
}
