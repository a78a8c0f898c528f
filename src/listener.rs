//! Where clients come in: sockets, TLS, connections, and an orderly end.
//!
//! Each worker accepts on a socket of its own (`SO_REUSEPORT`), so that a connection lives and dies on one thread.
//! What a request means is not decided here.

mod connection;
mod framing;
mod strict_io;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::deadlines::Deadlines;
use crate::denial::Denial;
use crate::limits::AddressKey;
use crate::login::PresentedCertificate;
use crate::policy::{LivePolicy, Policy};
use crate::telemetry::metrics;

/// The client's end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address as the socket says.
    pub address: SocketAddr,
    /// Which of the policy's listeners it came to.
    pub listener: usize,
}

/// What answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: http_body::Body<Data = bytes::Bytes, Error: std::error::Error + Send + Sync> + Send + 'static;

    /// Answers one well-framed request.
    fn handle(
        &self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Says why a request was refused that never became one.
    fn refuse(&self, peer: Peer, denial: Denial) -> Response<Self::Body>;
}

/// One listening address, shared by the workers.
#[derive(Debug)]
pub struct Port {
    index: usize,
    address: SocketAddr,
    places: Arc<Semaphore>,
    /// How many connections each address has open.
    addresses: Arc<Addresses>,
}

type Addresses = Mutex<HashMap<AddressKey, u32>>;

impl Port {
    /// Describes the policy's listener number `index`; `address` may have port 0 until [`bind`] chose one.
    pub fn new(index: usize, address: SocketAddr, max_connections: usize) -> Self {
        Self {
            index,
            address,
            places: Arc::new(Semaphore::new(max_connections)),
            addresses: Arc::default(),
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Has the handshakes under `policy` tell by this clock what is over, as everything else does.
pub fn keep_time_by(clock: &Arc<dyn Clock>, policy: &mut Policy) {
    for listener in &mut policy.listeners {
        if let Some(tls) = &mut listener.tls {
            Arc::make_mut(tls).time_provider = Arc::new(TlsTime(Arc::clone(clock)));
        }
    }
}

#[derive(Debug)]
struct TlsTime(Arc<dyn Clock>);

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall()))
    }
}

/// Opens one more listening socket on `address`.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What the connections of one worker share.
#[derive(Debug, Clone)]
pub struct Context {
    /// The worker's deadlines.
    pub deadlines: Deadlines,
    /// For the certificate in force when a connection begins.
    pub policy: Arc<LivePolicy>,
    /// Turns true when the process is to end.
    pub draining: watch::Receiver<bool>,
    /// Connections that are open now, of all workers.
    pub open: Arc<AtomicUsize>,
}

/// Accepts connections until the process is to end.
pub async fn accept<H: Handler>(socket: TcpListener, port: Arc<Port>, handler: H, context: Context) {
    let mut draining = context.draining.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => return,
            accepted = accept_one(&socket, &port, &context.policy) => accepted,
        };
        match accepted {
            Ok((stream, address, places)) => {
                let peer = Peer {
                    address,
                    listener: port.index,
                };
                let handler = handler.clone();
                let context = context.clone();
                let held = (places, Counted::new(&context.open));
                tokio::spawn(async move {
                    let _held = held;
                    serve(stream, peer, handler, context).await;
                });
            }
            // Out of file descriptors or memory: the next try may work, and a tight loop would only burn a core.
            Err(error) => {
                warn!(%error, address = %port.address, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// With all places taken the next client waits instead of being turned away: one of each worker's accepted and
/// unread, the others in the kernel's queue. A place is taken only when there is somebody for it; a worker that held
/// one while waiting would keep it from clients that the kernel gave to another worker.
async fn accept_one(
    socket: &TcpListener,
    port: &Port,
    policy: &LivePolicy,
) -> io::Result<(TcpStream, SocketAddr, (OwnedSemaphorePermit, OfAddress))> {
    loop {
        let (stream, address) = socket.accept().await?;
        let policy = policy.current();
        let listener = policy.listeners.get(port.index);
        let most = listener.map_or(u32::MAX, |listener| listener.max_connections_per_address);
        let Some(of_address) = OfAddress::one_more(&port.addresses, address.ip(), most) else {
            metrics::connection_refused();
            warn!(address = %address.ip(), most, "closed a connection: its address has as many as listen.max_connections_per_address");
            continue;
        };
        let place = Arc::clone(&port.places).acquire_owned().await;
        return Ok((stream, address, (place.map_err(io::Error::other)?, of_address)));
    }
}

/// One of an address' connections while it lives: nobody alone shall take all places.
#[derive(Debug)]
struct OfAddress {
    addresses: Arc<Addresses>,
    key: AddressKey,
}

impl OfAddress {
    fn one_more(addresses: &Arc<Addresses>, address: IpAddr, most: u32) -> Option<Self> {
        let key = AddressKey::from(address);
        let mut open = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Self {
            addresses: Arc::clone(addresses),
            key,
        })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut open = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

async fn serve<H: Handler>(stream: TcpStream, peer: Peer, handler: H, context: Context) {
    // Nagle's algorithm would hold the second part of an answer back for a round trip.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let policy = context.policy.current();
    let tls = policy
        .listeners
        .get(peer.listener)
        .and_then(|listener| listener.tls.clone());
    drop(policy);
    match tls {
        None => connection::drive(stream, peer, None, handler, &context).await,
        Some(config) => {
            let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
            match context.deadlines.limit(HANDSHAKE_TIME, handshake).await {
                Ok(Ok(stream)) => {
                    let certificate = presented(&stream);
                    connection::drive(stream, peer, certificate, handler, &context).await;
                }
                Ok(Err(error)) => debug!(%error, peer = %peer.address, "the TLS handshake failed"),
                Err(_) => debug!(peer = %peer.address, "the TLS handshake took too long"),
            }
        }
    }
}

/// What the client presented in the handshake, now or in the one that this session goes on from.
fn presented(stream: &TlsStream<TcpStream>) -> Option<Arc<PresentedCertificate>> {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates()?.iter();
    let chain = chain
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    Some(Arc::new(PresentedCertificate::new(chain)))
}

/// Counts a connection while it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        metrics::connection_opened();
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::connection_closed();
    }
}

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const BACKLOG: i32 = 1024;
