//! A client that sends exactly what it is told and reads what comes, one step at a time.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// One answer, its body unframed.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to the end that its framing promised.
    pub(crate) is_whole: bool,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code of a refusal; the code is empty where Livy answered.
    #[track_caller]
    pub(crate) fn outcome(&self) -> (u16, String) {
        let code = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let code = code.and_then(|json| Some(json.get("code")?.as_str()?.to_owned()));
        (self.status, code.unwrap_or_default())
    }

    /// It is this refusal, in the one shape that all have.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.outcome(), (status, code.to_owned()), "{}", self.text());
        let json = self.json();
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(json["msg"].as_str().is_some_and(|msg| msg.len() > 10), "{json}");
        assert_eq!(json["request_id"].as_str(), self.header("x-request-id"), "{json}");
        assert!(
            self.reason.contains(" - "),
            "the reason phrase tells why: {}",
            self.reason
        );
        self
    }

    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// Over TLS, to the server with the name localhost.
    pub(crate) async fn connect_tls(
        address: SocketAddr,
        config: rustls::ClientConfig,
    ) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Ok(Self::over(stream))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Sends, though the other end may have had enough.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Reads one final answer, or nothing if the connection ends before it is whole.
    pub(crate) async fn reply_if_any(&mut self) -> Option<Reply> {
        let head = patiently("a head", self.until(b"\r\n\r\n")).await?;
        self.buffer.splice(..0, head);
        Some(self.reply().await).filter(|reply| reply.is_whole)
    }

    /// Reads one final answer; interim ones are passed over.
    pub(crate) async fn reply(&mut self) -> Reply {
        loop {
            let reply = self.any_reply(false).await;
            if reply.status >= 200 {
                return reply;
            }
        }
    }

    /// Reads the answer to a HEAD.
    pub(crate) async fn reply_to_head(&mut self) -> Reply {
        self.any_reply(true).await
    }

    /// Reads one answer, interim or final.
    pub(crate) async fn any_reply(&mut self, is_head: bool) -> Reply {
        let head = patiently("a head", self.until(b"\r\n\r\n")).await;
        let head = String::from_utf8(head.expect("a whole head comes")).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let (version, rest) = lines.next().unwrap().split_once(' ').unwrap();
        assert!(version.starts_with("HTTP/1."), "{head}");
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        });
        let mut reply = Reply {
            status: status.parse().unwrap(),
            reason: reason.to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
            is_whole: true,
        };
        if is_head || reply.status < 200 || reply.status == 204 {
            return reply;
        }
        let length = reply
            .header("content-length")
            .map(|length| length.parse().unwrap());
        let body = async {
            match length {
                Some(length) => self.exactly(length).await,
                None => self.chunks().await,
            }
        };
        (reply.body, reply.is_whole) = patiently("a body", body).await;
        reply
    }

    /// Waits for the end; nothing more may come before it.
    pub(crate) async fn end(&mut self) -> End {
        let mut rest = std::mem::take(&mut self.buffer);
        let ended = patiently("the end", self.stream.read_to_end(&mut rest)).await;
        assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more was to come");
        match ended {
            Ok(_) => End::Closed,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => End::Closed,
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.buffer);
        // After a reset, what came before it counts.
        let _ = patiently("the end", self.stream.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }

    async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Some(self.buffer.drain(..at + mark.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < length {
            if !self.more().await {
                return (std::mem::take(&mut self.buffer), false);
            }
        }
        (self.buffer.drain(..length).collect(), true)
    }

    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.until(b"\r\n").await else {
                return (body, false);
            };
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let (mut chunk, is_whole) = self.exactly(size + 2).await;
            if !is_whole {
                return (body, false);
            }
            if size == 0 {
                return (body, true);
            }
            chunk.truncate(size);
            body.extend(chunk);
        }
    }

    async fn more(&mut self) -> bool {
        self.stream
            .read_buf(&mut self.buffer)
            .await
            .is_ok_and(|read| read > 0)
    }
}

/// Only so that a broken gateway fails a test instead of hanging it.
async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
