//! The composition root: the only place that picks implementations, starts threads and ends the process in order.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use crate::admin;
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::control::{self, ControlSocket, Desk, ReloadOrder};
use crate::deadlines::Deadlines;
use crate::gateway::{Gateway, Shared};
use crate::holdings::Holdings;
use crate::ledger::{FileLedger, IfSpoiled, Ledger, MemoryLedger};
use crate::limits::{LiveCounters, SEATS_AGE_EVERY};
use crate::listener::{self, Context, Port};
use crate::livy::Kind;
use crate::livy::marker::Instance;
use crate::login::Logins;
use crate::overview::Overview;
use crate::policy::{Impersonation, LivePolicy, Policy, Store};
use crate::reconcile::Reconciler;
use crate::reload::{Reloaded, Reloader};
use crate::telemetry::audit::{Audit, Decision, Entry, Event};
use crate::telemetry::metrics::{LoginFigures, TrafficFigures};
use crate::telemetry::{logging, metrics};
use crate::token_uses::TokenUses;
use crate::upstream::Upstream;

/// Runs the gateway until SIGTERM or SIGINT, and then until its requests have ended.
pub fn serve(config: &Path) -> anyhow::Result<()> {
    let policy = config::load(config, 1)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = &policy.log;
    logging::start(log.format, log.level, Arc::clone(&clock)).context("the log could not be started")?;
    metrics::install().context("the metrics could not be started")?;
    for notice in policy.notices(clock.wall()) {
        warn!(target: logging::NOTICE, "{notice}");
    }
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let app = App::start(policy, clock, workers)?;
    runtime()?.block_on(app.operate(config))?;
    // The last log lines are with their own thread.
    thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    shared: Arc<Shared>,
    policy: Arc<LivePolicy>,
    addresses: Vec<SocketAddr>,
    admin: std::net::TcpListener,
    control: Option<ControlSocket>,
    token_uses: TokenUses,
    draining: watch::Sender<bool>,
    open: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<()>>,
    /// Dropped, it ends the thread that compares Livy's lists with the ledger.
    _comparing: watch::Sender<()>,
}

impl App {
    /// Binds the listeners and starts `workers` threads that answer on them. The operators' side starts with
    /// [`App::operate`].
    pub fn start(mut policy: Policy, clock: Arc<dyn Clock>, workers: usize) -> anyhow::Result<Self> {
        listener::keep_time_by(&clock, &mut policy);
        let admin = bind_alone(policy.admin.address)?;
        let ports = policy
            .listeners
            .iter()
            .enumerate()
            .map(|(index, settings)| {
                let address = bind_alone(settings.address)?.local_addr()?;
                Ok(Arc::new(Port::new(index, address, settings.max_connections)))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let logins = Logins::new(Arc::clone(&clock), policy.limits.strangers, workers)
            .context("the hashing threads could not be started")?;
        let policy = Arc::new(LivePolicy::new(policy));
        let (ledger, instance) = open_ledger(&policy.current())?;
        let token_uses = TokenUses::open(&policy.current());
        let control = match &policy.current().state.control {
            Some(path) => ControlSocket::open(path)?,
            None => None,
        };
        let audit = open_audit(&policy.current(), &clock)?;
        let shared = Shared::new(Arc::clone(&policy), logins, clock, ledger, instance, audit);
        let shared = Arc::new(shared);
        let (draining, _) = watch::channel(false);
        let (comparing, compared) = watch::channel(());
        let mut app = Self {
            shared,
            policy,
            addresses: ports.iter().map(|port| port.address()).collect(),
            admin,
            control,
            token_uses,
            draining,
            open: Arc::default(),
            workers: Vec::new(),
            _comparing: comparing,
        };
        app.start_comparing(compared)?;
        for number in 0..workers {
            app.start_worker(number, &ports)?;
        }
        Ok(app)
    }

    /// Where the gateway listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the operators' listener is.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<LivePolicy> {
        &self.policy
    }

    /// Serves operators, reloads and keeps house until the process is told to end, and goes on while its requests end,
    /// for at most 30 s. Told twice, it ends at once.
    pub async fn operate(&self, config: &Path) -> anyhow::Result<()> {
        let mut told = Told::new()?;
        let mut operators = pin!(self.serve_operators(config));
        tokio::select! {
            served = &mut operators => return served,
            () = told.awaited() => self.begin_to_end(),
        }
        tokio::select! {
            served = &mut operators => return served,
            ended = timeout(DRAIN_TIME, self.have_ended()) => self.tell_end(ended.is_ok()),
            () = told.awaited() => {
                warn!("told twice to end");
                self.tell_end(false);
            }
        }
        Ok(())
    }

    async fn serve_operators(&self, config: &Path) -> anyhow::Result<()> {
        let deadlines = Deadlines::new(Arc::clone(&self.shared.clock));
        tokio::spawn(deadlines.clone().run());
        let upstream = Upstream::new(deadlines, Arc::clone(&self.shared.clock));
        let socket = TcpListener::from_std(self.admin.try_clone()?)?;
        let overview = Arc::new(View {
            shared: Arc::clone(&self.shared),
            draining: self.draining.subscribe(),
        });
        tokio::spawn(admin::serve(socket, Arc::clone(&overview), upstream));
        let mut reloader = Reloader::new(config, Arc::clone(&self.policy), Arc::clone(&self.shared.clock));
        info!(version = env!("CARGO_PKG_VERSION"), addresses = ?self.addresses, admin = ?self.admin_address()?, "ready");
        let (reload, mut reloads) = mpsc::channel(1);
        self.serve_control(config, reload, overview)?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut look = every(LOOK);
        let mut upkeep = every(UPKEEP);
        let mut sweep = every(SWEEP);
        let mut ages = every(SEATS_AGE_EVERY);
        let mut repeats = every(logging::TELL_REPEATS_EVERY);
        loop {
            tokio::select! {
                _ = hang_up.recv() => {
                    info!("SIGHUP: the configuration is loaded again");
                    self.shared.audit.reopen();
                    let outcome = reloader.reload(&self.shared.logins, &self.shared.users);
                    self.reloaded("SIGHUP".to_owned(), &outcome);
                }
                Some(order) = reloads.recv() => {
                    info!(uid = order.by, "an operator has the configuration loaded again");
                    self.shared.audit.reopen();
                    let outcome = reloader.reload(&self.shared.logins, &self.shared.users);
                    self.reloaded(format!("uid:{}", order.by), &outcome);
                    // Nobody may be left to be told.
                    let _ = order.answer.send(outcome);
                }
                _ = look.tick() => {
                    if let Some(outcome) = reloader.look(&self.shared.logins, &self.shared.users) {
                        self.reloaded("changed file".to_owned(), &outcome);
                    }
                }
                _ = upkeep.tick() => metrics::upkeep(),
                _ = sweep.tick() => {
                    self.shared.logins.sweep();
                    self.shared.users.current().sweep();
                    self.token_uses.write(&self.policy.current());
                }
                _ = repeats.tick() => logging::tell_repeats(),
                _ = ages.tick() => self.shared.users.current().age(),
            }
        }
    }

    /// What a reload leads to. `by` is what had it loaded.
    fn reloaded(&self, by: String, outcome: &Reloaded) {
        self.shared
            .shares
            .set_most(self.policy.current().livy.requests_at_once);
        let mut entry = match outcome {
            Reloaded::InForce { generation, .. } => {
                Entry::new(Event::Reload, Decision::Done).because(format!("load {generation}"))
            }
            Reloaded::Refused(problems) => {
                let first = problems.lines().next().unwrap_or_default();
                Entry::new(Event::Reload, Decision::Refused).because(first)
            }
        };
        entry.subject = Some(by);
        self.shared.audit.record(&entry);
    }

    /// Answers on the operators' socket, if there is one.
    fn serve_control(
        &self,
        config: &Path,
        reload: mpsc::Sender<ReloadOrder>,
        overview: Arc<View>,
    ) -> anyhow::Result<()> {
        let Some(control) = &self.control else {
            return Ok(());
        };
        let shared = &self.shared;
        let desk = Desk {
            overview,
            holdings: shared.holdings(),
            moments: Arc::clone(&shared.moments),
            untold: Arc::clone(&shared.untold),
            audit: Arc::clone(&shared.audit),
            reload,
            config: std::path::absolute(config).unwrap_or_else(|_| config.to_owned()),
        };
        let socket = UnixListener::from_std(control.listener()?)?;
        tokio::spawn(control::serve(socket, control.owner(), desk));
        Ok(())
    }

    /// Ends without [`App::operate`]: takes no more connections, lets requests end for at most `patience`, and returns
    /// when the workers have ended or the time is over.
    pub fn end(self, patience: Duration) {
        self.begin_to_end();
        let mut looks = patience.as_millis() / GLANCE.as_millis();
        while !self.has_ended() && looks > 0 {
            thread::sleep(GLANCE);
            looks -= 1;
        }
        self.tell_end(self.has_ended());
    }

    fn begin_to_end(&self) {
        info!(connections = self.open.load(Ordering::Relaxed), "ending");
        self.draining.send_replace(true);
    }

    fn has_ended(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    async fn have_ended(&self) {
        let mut glance = every(GLANCE);
        while !self.has_ended() {
            glance.tick().await;
        }
    }

    fn tell_end(&self, is_complete: bool) {
        if is_complete {
            info!("ended");
        } else {
            warn!(
                connections = self.open.load(Ordering::Relaxed),
                operations = self.shared.detached.load(Ordering::SeqCst),
                "not everything has ended"
            );
        }
        self.token_uses.write(&self.policy.current());
        self.shared.audit.flush();
    }

    /// Lists are read and compared on a thread of their own: ten thousand sessions take a while to parse.
    fn start_comparing(&self, mut ended: watch::Receiver<()>) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.shared);
        let runtime = runtime()?;
        thread::Builder::new().name("lists".into()).spawn(move || {
            runtime.block_on(async {
                let deadlines = Deadlines::new(Arc::clone(&shared.clock));
                tokio::spawn(deadlines.clone().run());
                let reconciler = Reconciler {
                    ledger: Arc::clone(&shared.ledger),
                    lists: Arc::clone(&shared.lists),
                    moments: Arc::clone(&shared.moments),
                    policy: Arc::clone(&shared.policy),
                    instance: shared.instance,
                    untold: Arc::clone(&shared.untold),
                    audit: Arc::clone(&shared.audit),
                    upstream: Upstream::new(deadlines, Arc::clone(&shared.clock)),
                    impersonation: Arc::clone(&shared.impersonation),
                };
                drop(shared);
                for kind in Kind::ALL {
                    tokio::spawn(reconciler.clone().run(kind));
                }
                drop(reconciler);
                // Nothing is ever sent; it ends with the process.
                let _ = ended.changed().await;
            });
            runtime.shutdown_background();
        })?;
        Ok(())
    }

    fn start_worker(&mut self, number: usize, ports: &[Arc<Port>]) -> anyhow::Result<()> {
        let sockets = ports
            .iter()
            .map(|port| Ok((listener::bind(port.address())?, Arc::clone(port))))
            .collect::<io::Result<Vec<_>>>()
            .context("a listening socket could not be opened")?;
        let worker = Worker {
            shared: Arc::clone(&self.shared),
            policy: Arc::clone(&self.policy),
            draining: self.draining.subscribe(),
            open: Arc::clone(&self.open),
        };
        let runtime = runtime()?;
        let handle = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                runtime.block_on(worker.run(sockets));
                // A name that is still being looked up would be waited for.
                runtime.shutdown_background();
            })?;
        self.workers.push(handle);
        Ok(())
    }
}

/// One thread that answers requests, with connections to Livy of its own.
struct Worker {
    shared: Arc<Shared>,
    policy: Arc<LivePolicy>,
    draining: watch::Receiver<bool>,
    open: Arc<AtomicUsize>,
}

impl Worker {
    async fn run(mut self, sockets: Vec<(std::net::TcpListener, Arc<Port>)>) {
        let deadlines = Deadlines::new(Arc::clone(&self.shared.clock));
        tokio::spawn(deadlines.clone().run());
        let upstream = Upstream::new(deadlines.clone(), Arc::clone(&self.shared.clock));
        let gateway = Gateway::new(Arc::clone(&self.shared), upstream.clone(), deadlines.clone());
        for (socket, port) in sockets {
            let context = Context {
                deadlines: deadlines.clone(),
                policy: Arc::clone(&self.policy),
                draining: self.draining.clone(),
                open: Arc::clone(&self.open),
            };
            match TcpListener::from_std(socket) {
                Ok(socket) => {
                    tokio::spawn(listener::accept(socket, port, gateway.clone(), context));
                }
                Err(error) => warn!(%error, "a listening socket cannot be used"),
            }
        }
        let mut sweep = every(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = self.draining.wait_for(|draining| *draining) => break,
                _ = sweep.tick() => upstream.sweep(),
            }
        }
        let mut glance = every(GLANCE);
        while self.open.load(Ordering::Relaxed) > 0 || self.shared.detached.load(Ordering::SeqCst) > 0 {
            glance.tick().await;
        }
    }
}

/// The signals that end the process.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn awaited(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What operators may look at.
struct View {
    shared: Arc<Shared>,
    draining: watch::Receiver<bool>,
}

impl Overview for View {
    fn policy(&self) -> Arc<Policy> {
        self.shared.policy.current()
    }

    fn logins(&self) -> LoginFigures {
        admin::login_figures(&self.shared.logins)
    }

    fn traffic(&self) -> TrafficFigures {
        self.shared.traffic()
    }

    fn users(&self) -> &LiveCounters {
        &self.shared.users
    }

    fn holdings(&self) -> Holdings {
        self.shared.holdings()
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}

fn open_audit(policy: &Policy, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<Audit>> {
    let path = policy.log.audit_file.as_deref();
    let audit = Audit::open(path, Arc::clone(clock));
    let audit = audit.with_context(|| {
        let path = path.unwrap_or_else(|| Path::new("")).display();
        format!("log.audit_file: {path} cannot be written")
    })?;
    Ok(Arc::new(audit))
}

fn open_ledger(policy: &Policy) -> anyhow::Result<(Arc<dyn Ledger>, Instance)> {
    match &policy.state.store {
        Store::Memory => {
            let mut random = [0; 5];
            aws_lc_rs::rand::fill(&mut random).context("there is no randomness")?;
            let instance = Instance::new(random);
            Ok((Arc::new(MemoryLedger::new(instance)), instance))
        }
        Store::File(directory) => {
            // Livy's list tells whose a session is by its proxyUser, which it has only where Livy impersonates.
            let if_spoiled = match policy.livy.impersonation {
                Impersonation::Required => IfSpoiled::BeginAnew,
                Impersonation::Off => IfSpoiled::Refuse,
            };
            let (ledger, opening) = FileLedger::open(directory, Duration::ZERO, if_spoiled)
                .with_context(|| format!("the ledger in {} cannot be opened", directory.display()))?;
            if let Some(set_aside) = &opening.set_aside {
                error!(set_aside = %set_aside.display(), "the ledger was damaged and is set aside; whose sessions are whose is learnt from Livy again");
            }
            info!(directory = %directory.display(), places = opening.places, "the ledger is open");
            Ok((Arc::new(ledger), opening.instance))
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Workers share a port, and so could another process unnoticed: this finds a port that is taken.
fn bind_alone(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let socket =
        std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// How long requests may take to end when the process is told to.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How often it is looked whether everything has ended.
const GLANCE: Duration = Duration::from_millis(20);
/// How often files are compared.
const LOOK: Duration = Duration::from_secs(2);
const UPKEEP: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_secs(60);
