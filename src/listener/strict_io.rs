//! A client's socket as hyper sees it: only bytes that the [`Scanner`] found well-formed.
//!
//! A malformed head is never handed on. In its place hyper gets one plain request with the method [`REFUSED`], in
//! its turn among pipelined ones, so that the refusal is answered like any other and the connection ends after it.
//! The same place keeps the connection's one deadline: for the head, for being idle, for a client that does not read.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{HEAD_BYTES_MAX, Scanned, Scanner};
use crate::deadlines::{Deadline, Deadlines};
use crate::denial::Denial;

/// The method of the request that stands for a refused one. A client that sends it itself only gets a 405.
pub(crate) const REFUSED: &str = "GATEWAY-REFUSED";
const REFUSED_REQUEST: &[u8] = b"GATEWAY-REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// From the first byte of a head to its end.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Between two requests: notebooks send a heartbeat each 30 s and do not retry a dropped connection.
const IDLE_TIME: Duration = Duration::from_secs(150);
/// Without the client taking any byte of an answer.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// For what a refused client is still sending.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What a connection is doing, for its deadline and for the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing sent yet, or the last answer is out: the connection may be closed without a word.
    Idle,
    /// A head has begun.
    Head,
    /// A request is with the gateway, or its answer on the way.
    Busy,
}

/// What the socket, the service and the driver of one connection share.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: AtomicU8,
    /// Requests whose head was received and whose answer is not out yet; pipelining makes it more than one.
    unanswered: AtomicU64,
    /// The body of the request received last is not all here.
    is_in_body: AtomicBool,
    deadline: Deadline,
    is_write_stuck: AtomicBool,
    refusal: Mutex<Option<Denial>>,
}

impl Connection {
    pub(super) fn new(deadlines: &Deadlines) -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(Phase::Idle as u8),
            unanswered: AtomicU64::new(0),
            is_in_body: AtomicBool::new(false),
            deadline: deadlines.after(HEAD_TIME),
            is_write_stuck: AtomicBool::new(false),
            refusal: Mutex::new(None),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        }
    }

    /// The client has not taken a byte of the answer for [`WRITE_TIME`], if the deadline is over now.
    pub(super) fn is_write_stuck(&self) -> bool {
        self.is_write_stuck.load(Ordering::Relaxed)
    }

    /// Ready when what the connection is doing took too long.
    pub(super) async fn too_long(&self) {
        self.deadline.over().await;
    }

    /// Whether the client is still sending the body of the request that is answered now. What it sends later could
    /// only be read to be dropped, so the connection ends after the answer.
    pub(super) fn is_answered_early(&self) -> bool {
        self.is_in_body.load(Ordering::Relaxed) && self.unanswered.load(Ordering::Relaxed) == 1
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        match phase {
            Phase::Idle => self.deadline.set(IDLE_TIME),
            Phase::Head => self.deadline.set(HEAD_TIME),
            Phase::Busy => self.deadline.clear(),
        }
    }

    fn received(&self, heads: u64) {
        if heads > 0 {
            self.unanswered.fetch_add(heads, Ordering::Relaxed);
            self.enter(Phase::Busy);
        }
    }

    /// An answer is out. After the last one the connection is idle until the next head begins.
    pub(super) fn answered(&self) {
        if self.unanswered.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    /// Why the request with the method [`REFUSED`] stands there.
    pub(crate) fn take_refusal(&self) -> Option<Denial> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Refuses the request whose head is being received.
    pub(super) fn refuse(&self, denial: Denial) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(denial);
        self.received(1);
    }

    fn is_refused(&self) -> bool {
        self.refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn write_is_stuck(&self, stuck: bool) {
        if self.is_write_stuck.swap(stuck, Ordering::Relaxed) != stuck {
            match (stuck, self.phase()) {
                (true, _) => self.deadline.set(WRITE_TIME),
                (false, phase) => self.enter(phase),
            }
        }
    }
}

/// The socket. `S` is a TCP or TLS stream.
#[derive(Debug)]
pub(super) struct StrictIo<S> {
    socket: S,
    scanner: Scanner,
    connection: Arc<Connection>,
    /// Read from the socket, not yet given to hyper; the first `checked` bytes are well-formed.
    held: BytesMut,
    checked: usize,
    /// How much was held when the unfinished head was last scanned.
    scanned: usize,
    has_refused: bool,
    /// The body is malformed behind what is held.
    is_malformed: bool,
    discarded: Option<usize>,
}

impl<S> StrictIo<S> {
    pub(super) fn new(socket: S, connection: Arc<Connection>) -> Self {
        Self {
            socket,
            scanner: Scanner::new(),
            connection,
            held: BytesMut::new(),
            checked: 0,
            scanned: 0,
            has_refused: false,
            is_malformed: false,
            discarded: None,
        }
    }

    /// A long head that arrives in small pieces is scanned again only when that can matter.
    fn is_worth_scanning(&self) -> bool {
        let new = self.held.get(self.scanned..).unwrap_or_default();
        new.iter().any(|byte| matches!(byte, b'\n' | 0))
            || new.len() >= 4096
            || self.held.len() > HEAD_BYTES_MAX
    }

    fn scan(&mut self, input: &[u8]) -> Scanned {
        let heads = self.scanner.heads();
        let scanned = self.scanner.scan(input);
        self.connection.received(self.scanner.heads() - heads);
        self.connection
            .is_in_body
            .store(self.scanner.is_in_body(), Ordering::Relaxed);
        scanned
    }

    /// What the scan of all that is held means for it.
    fn settle(&mut self, scanned: Scanned) {
        match scanned {
            Scanned::All => self.checked = self.held.len(),
            Scanned::HeadUnfinished(at) => {
                self.checked = at;
                self.scanned = self.held.len() - at;
                if self.connection.phase() == Phase::Idle {
                    self.connection.enter(Phase::Head);
                }
            }
            Scanned::Refused(at, denial) => {
                self.connection.refuse(denial);
                self.stand_in_for_the_refused(at);
            }
            // What came before is handed on first: requests that are in order, and the head of this one, so that
            // it gets an answer.
            Scanned::BodyMalformed(at) => {
                self.held.truncate(at);
                self.checked = at;
                self.is_malformed = true;
            }
        }
    }

    fn stand_in_for_the_refused(&mut self, at: usize) {
        self.held.truncate(at);
        self.held.extend_from_slice(REFUSED_REQUEST);
        self.checked = self.held.len();
        self.has_refused = true;
    }

    /// Hands on as much of what was checked as fits.
    fn hand_on(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let length = self.checked.min(out.remaining());
        if let Some(bytes) = self.held.get(..length).filter(|bytes| !bytes.is_empty()) {
            out.put_slice(bytes);
            self.held.advance(length);
            self.checked -= length;
            return true;
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_on(out) {
                return Poll::Ready(Ok(()));
            }
            if this.is_malformed {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the chunked body is malformed",
                )));
            }
            if this.has_refused {
                // hyper closes after the answer; nothing more is read until then.
                return Poll::Pending;
            }
            if this.connection.is_refused() {
                this.stand_in_for_the_refused(0);
                continue;
            }
            if this.held.is_empty() {
                // The usual case: read straight into hyper's buffer, and take back only what must wait.
                let before = out.filled().len();
                ready!(Pin::new(&mut this.socket).poll_read(cx, out))?;
                let new = out.filled().get(before..).unwrap_or_default();
                let scanned = this.scan(new);
                if scanned == Scanned::All {
                    return Poll::Ready(Ok(()));
                }
                this.held.extend_from_slice(new);
                out.set_filled(before);
                this.settle(scanned);
            } else {
                let mut piece = [0_u8; 4096];
                let mut piece = ReadBuf::new(&mut piece);
                ready!(Pin::new(&mut this.socket).poll_read(cx, &mut piece))?;
                if piece.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.held.extend_from_slice(piece.filled());
                if this.is_worth_scanning() {
                    let held = std::mem::take(&mut this.held);
                    let scanned = this.scan(&held);
                    this.held = held;
                    this.settle(scanned);
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for StrictIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.connection.write_is_stuck(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.connection.write_is_stuck(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Closes. A client that is still sending would be hit by a reset before it read why it was refused (RFC 9112
    /// §9.6), so what it sends is taken and dropped for a little while.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.discarded.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.discarded = Some(0);
            this.connection.deadline.set(LINGER_TIME);
        }
        if !this.has_refused && !this.scanner.is_in_body() {
            return Poll::Ready(Ok(()));
        }
        while this.discarded < Some(LINGER_BYTES_MAX) && !this.connection.deadline.is_over() {
            let mut piece = [0_u8; 4096];
            let mut piece = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut piece));
            if read.is_err() || piece.filled().is_empty() {
                break;
            }
            this.discarded = this.discarded.map(|sum| sum + piece.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::clock::ManualClock;

    fn pair() -> (DuplexStream, StrictIo<DuplexStream>, Arc<Connection>) {
        let (client, server) = duplex(256 * 1024);
        let connection = Connection::new(&Deadlines::new(Arc::new(ManualClock::at(Duration::ZERO))));
        (client, StrictIo::new(server, Arc::clone(&connection)), connection)
    }

    async fn read_some(io: &mut StrictIo<DuplexStream>) -> String {
        let mut buffer = vec![0; 64 * 1024];
        let length = io.read(&mut buffer).await.unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    const GET: &str = "GET /livy/sessions HTTP/1.1\r\nHost: gw\r\n\r\n";

    #[tokio::test]
    async fn a_whole_request_passes_unchanged() {
        let (mut client, mut io, connection) = pair();
        client.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(read_some(&mut io).await, GET);
        assert_eq!(connection.phase(), Phase::Busy);
    }

    #[tokio::test]
    async fn hyper_sees_a_head_only_when_it_is_whole() {
        let (mut client, mut io, connection) = pair();
        let (first, rest) = GET.split_at(20);
        client.write_all(first.as_bytes()).await.unwrap();
        assert_eq!(read_some(&mut io).now_or_never(), None);
        assert_eq!(connection.phase(), Phase::Head);
        client.write_all(rest.as_bytes()).await.unwrap();
        assert_eq!(read_some(&mut io).await, GET);
    }

    #[tokio::test]
    async fn a_refused_request_is_replaced_and_nothing_after_it_is_read() {
        let (mut client, mut io, connection) = pair();
        let sent = format!("{GET}POST /sessions HTTP/1.1\nHost: gw\n\n{GET}");
        client.write_all(sent.as_bytes()).await.unwrap();
        let refused = String::from_utf8(REFUSED_REQUEST.to_vec()).unwrap();
        assert_eq!(read_some(&mut io).await, format!("{GET}{refused}"));
        assert!(matches!(connection.take_refusal(), Some(Denial::BadFraming(_))));
        assert_eq!(read_some(&mut io).now_or_never(), None);
    }

    #[tokio::test]
    async fn a_slow_head_is_refused_in_its_place() {
        let (mut client, mut io, connection) = pair();
        client.write_all(b"GET /livy").await.unwrap();
        assert_eq!(read_some(&mut io).now_or_never(), None);
        connection.refuse(Denial::SlowHead);
        assert_eq!(read_some(&mut io).await.as_bytes(), REFUSED_REQUEST);
    }

    #[tokio::test]
    async fn a_malformed_chunk_breaks_the_body_off() {
        let (mut client, mut io, _) = pair();
        let head = "POST /sessions HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_some(&mut io).await, head);
        client.write_all(b"2;ext\r\n{}\r\n").await.unwrap();
        let error = io.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn what_came_before_a_malformed_chunk_is_handed_on_first() {
        let (mut client, mut io, _) = pair();
        let head = "POST /sessions HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n";
        let sent = format!("{GET}{head}2\n{{}}\r\n0\r\n\r\n{GET}");
        client.write_all(sent.as_bytes()).await.unwrap();
        let mut passed = Vec::new();
        let error = io.read_to_end(&mut passed).await.unwrap_err();
        assert_eq!(String::from_utf8(passed).unwrap(), format!("{GET}{head}2"));
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
