//! HTTP/1.1 over a raw socket, as lenient and as strict as Jetty 9: requests in, answers out.
//!
//! Not hyper: what a hardened parser refuses, Livy's takes, and a test must see what would have happened.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer::Answer;

/// Livy's `livy.server.request-header.size`, in bytes.
const HEAD_BYTES_MAX: usize = 131_072;

/// A request's first lines, as they came.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    /// The minor version of HTTP/1.
    pub(crate) minor: u8,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header, its name compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    pub(crate) fn keeps_alive(&self) -> bool {
        let said = |word: &str| {
            self.headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
                .any(|(_, value)| {
                    value
                        .split(',')
                        .any(|part| part.trim().eq_ignore_ascii_case(word))
                })
        };
        if self.minor == 0 {
            said("keep-alive")
        } else {
            !said("close")
        }
    }
}

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// Why no request came out of the connection.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The peer left, or nothing came within the idle time.
    Gone,
    /// Jetty's "Bad Message": a status and its reason.
    Bad(u16, &'static str),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

const BAD: Broken = Broken::Bad(400, "Bad Request");

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    idle: Duration,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, idle: Duration) -> Self {
        // Small answers must not wait for acknowledgements; a socket that refuses is only slower.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: BytesMut::new(),
            idle,
        }
    }

    /// Waits for the first byte of a request.
    pub(crate) async fn wait(&mut self) -> Result<(), Broken> {
        if self.buffer.is_empty() {
            self.fill().await
        } else {
            Ok(())
        }
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        match timeout(self.idle, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(read)) if read > 0 => Ok(()),
            Ok(_) | Err(_) => Err(Broken::Gone),
        }
    }

    /// A line without its end; a bare line feed ends one too, as in Jetty.
    async fn line(&mut self, room: &mut usize, full: Broken) -> Result<Vec<u8>, Broken> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(searched + at + 1).to_vec();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if line.len() > *room {
                    return Err(full);
                }
                *room -= line.len();
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > *room {
                return Err(full);
            }
            self.fill().await?;
        }
    }

    /// Reads a request's first lines.
    pub(crate) async fn head(&mut self) -> Result<Head, Broken> {
        let mut room = HEAD_BYTES_MAX;
        let mut line = Vec::new();
        while line.is_empty() {
            self.wait().await?;
            line = self.line(&mut room, Broken::Bad(414, "URI Too Long")).await?;
        }
        if line == b"PRI * HTTP/2.0" {
            return Err(Broken::Bad(426, "Upgrade Required"));
        }
        if line.iter().any(|byte| *byte < 0x20 || *byte == 0x7F) {
            return Err(BAD);
        }
        let line = text(&line);
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Broken::Bad(400, "HTTP/0.9 not supported"));
        };
        let minor = match version.to_ascii_uppercase().as_str() {
            "HTTP/1.1" => 1,
            "HTTP/1.0" => 0,
            _ => return Err(Broken::Bad(505, "Unknown Version")),
        };
        let mut head = Head {
            method: method.to_owned(),
            target: target.to_owned(),
            minor,
            headers: Vec::new(),
        };
        head.headers = self.fields(&mut room).await?;
        if minor == 1 && head.header("host").is_none() {
            return Err(Broken::Bad(400, "No Host"));
        }
        Ok(head)
    }

    async fn fields(&mut self, room: &mut usize) -> Result<Vec<(String, String)>, Broken> {
        let mut fields = Vec::new();
        loop {
            let line = self
                .line(room, Broken::Bad(431, "Request Header Fields Too Large"))
                .await?;
            if line.is_empty() {
                return Ok(fields);
            }
            if line.first().is_some_and(u8::is_ascii_whitespace) {
                return Err(Broken::Bad(400, "Header Folding"));
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or(BAD)?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let odd = |byte: &u8| *byte == 0 || *byte == b'\r';
            if name.is_empty() || name.iter().any(|byte| *byte <= b' ') || value.iter().any(odd) {
                return Err(BAD);
            }
            fields.push((text(name), text(value).trim().to_owned()));
        }
    }

    /// Decides where the body ends. `gzip, chunked` counts as chunked, and nobody undoes the gzip.
    pub(crate) fn framing(head: &Head) -> Result<Framing, Broken> {
        let values = |wanted: &str| -> Vec<&str> {
            let named = |name: &str| name.eq_ignore_ascii_case(wanted);
            head.headers
                .iter()
                .filter(|(name, _)| named(name))
                .map(|(_, value)| value.as_str())
                .collect()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(Framing::Length(0)),
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map(Framing::Length).map_err(|_| BAD)
            }
            ([], [.., last]) => {
                let last = last.rsplit(',').next().unwrap_or_default().trim();
                if last.eq_ignore_ascii_case("chunked") {
                    Ok(Framing::Chunked)
                } else {
                    Err(Broken::Bad(400, "Bad Transfer-Encoding, chunked not last"))
                }
            }
            ([_, _, ..], _) => Err(Broken::Bad(400, "Multiple Content-Lengths")),
            ([_], [_, ..]) => Err(Broken::Bad(400, "Transfer-Encoding and Content-Length")),
            ([_], []) => Err(BAD),
        }
    }

    /// The next piece of a body, or nothing at its end.
    pub(crate) async fn piece(&mut self, body: &mut BodyState) -> Result<Option<BytesMut>, Broken> {
        loop {
            match body {
                BodyState::Left(0) | BodyState::Done => return Ok(None),
                BodyState::Left(left) | BodyState::Chunk(left) if *left > 0 => {
                    self.wait().await?;
                    let take = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(self.buffer.len());
                    *left -= take as u64;
                    return Ok(Some(self.buffer.split_to(take)));
                }
                BodyState::Left(_) => {}
                BodyState::Chunk(_) => {
                    let mut room = 64;
                    if !self.line(&mut room, BAD).await?.is_empty() {
                        return Err(BAD);
                    }
                    *body = BodyState::Size;
                }
                BodyState::Size => {
                    let mut room = 4096;
                    let line = self.line(&mut room, BAD).await?;
                    let line = text(&line);
                    let size = line.split(';').next().unwrap_or_default().trim();
                    match u64::from_str_radix(size, 16) {
                        Ok(_) if size.starts_with('+') => return Err(BAD),
                        Ok(0) => {
                            self.fields(&mut HEAD_BYTES_MAX.clone()).await?;
                            *body = BodyState::Done;
                        }
                        Ok(size) => *body = BodyState::Chunk(size),
                        Err(_) => return Err(BAD),
                    }
                }
            }
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Writes an interim answer.
    pub(crate) async fn interim(&mut self, status: u16) -> io::Result<()> {
        self.write(format!("HTTP/1.1 {status} {}\r\n\r\n", reason(status)).as_bytes())
            .await
    }

    /// Ends the connection with a reset: the peer loses what it has not read.
    pub(crate) fn reset(self) {
        // Where the option is refused, the plain close below still ends the connection.
        let _ = self.stream.set_zero_linger();
    }

    /// Ends the connection in order, reading away what still comes, so that the answer arrives.
    pub(crate) async fn finish(mut self) {
        if self.stream.shutdown().await.is_ok() {
            let patience = Duration::from_secs(5).min(self.idle);
            let _ = timeout(patience, async {
                loop {
                    self.buffer.clear();
                    if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0) {
                        break;
                    }
                }
            })
            .await;
        }
    }
}

/// Where the reading of a body stands.
#[derive(Debug)]
pub(crate) enum BodyState {
    /// So many bytes of a Content-Length are to come.
    Left(u64),
    /// A chunk's size is next.
    Size,
    /// So many bytes of a chunk are to come, then its line end.
    Chunk(u64),
    Done,
}

impl From<Framing> for BodyState {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Left(length),
            Framing::Chunked => Self::Size,
        }
    }
}

/// How an answer meets its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) head_only: bool,
    pub(crate) keep_alive: bool,
    pub(crate) minor: u8,
}

/// Serializes an answer into its head and its framed body.
pub(crate) fn serialize(answer: &Answer, delivery: Delivery) -> (Vec<u8>, Vec<u8>) {
    let reason = answer
        .reason
        .clone()
        .unwrap_or_else(|| reason(answer.status).to_owned());
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let bare = delivery.head_only || answer.status == 204 || answer.status == 304;
    let chunked = !answer.sized && delivery.keep_alive && delivery.minor == 1;
    if answer.sized && answer.status != 204 && !answer.hides_length {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    } else if chunked && answer.status != 204 && !delivery.head_only {
        head.push_str("Transfer-Encoding: chunked\r\n");
    }
    if !delivery.keep_alive {
        head.push_str("Connection: close\r\n");
    }
    for (name, value) in &answer.last_headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut body = Vec::new();
    if !bare {
        if chunked {
            for chunk in answer.body.chunks(32 * 1024) {
                body.extend(format!("{:X}\r\n", chunk.len()).bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
        } else {
            body.extend_from_slice(&answer.body);
        }
    }
    (head.into_bytes(), body)
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}

/// Bytes as text: UTF-8 where they are that, else each byte as a character (ISO 8859-1).
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}
