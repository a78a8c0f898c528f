//! A client that sends what it is told to, a connection a request.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::eventually;

/// One who asks: where, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    address: SocketAddr,
    base: String,
    query: String,
    authorization: Option<String>,
    sends_requested_by: bool,
}

/// A request's body.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    None,
    Json(Value),
    /// One file as `multipart/form-data`.
    File {
        field: &'static str,
        name: &'static str,
        bytes: Bytes,
    },
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Caller {
    /// `base` goes before each path; `query` behind it, with the path's own.
    pub(crate) fn new(port: u16, base: &str, query: &str) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            base: base.to_owned(),
            query: query.to_owned(),
            authorization: None,
            sends_requested_by: true,
        }
    }

    pub(crate) fn with_basic(mut self, user: &str, password: &str) -> Self {
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.authorization = Some(format!("Basic {pair}"));
        self
    }

    pub(crate) fn with_bearer(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    /// Like the clients that do not know `X-Requested-By`.
    pub(crate) fn without_requested_by(mut self) -> Self {
        self.sends_requested_by = false;
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, Content::None).await
    }

    pub(crate) async fn try_get(&self, path: &str) -> anyhow::Result<Reply> {
        self.try_ask("GET", path, Content::None).await
    }

    /// Leaves before there is an answer.
    pub(crate) async fn get_impatiently(&self, path: &str) {
        let asked = self.clone();
        let path = path.to_owned();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(8), asked.try_get(&path)).await;
        });
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask("POST", path, Content::Json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.ask("DELETE", path, Content::None).await
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, content: Content) -> Reply {
        match self.try_ask(method, path, content).await {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    async fn try_ask(&self, method: &str, path: &str, content: Content) -> anyhow::Result<Reply> {
        let joint = match (self.query.is_empty(), path.contains('?')) {
            (true, _) => "",
            (false, true) => "&",
            (false, false) => "?",
        };
        let target = format!("{}{path}{joint}{}", self.base, self.query);
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.address.to_string());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if self.sends_requested_by {
            request = request.header("X-Requested-By", "live tests");
        }
        let body = match content {
            Content::None => Bytes::new(),
            Content::Json(value) => {
                request = request.header(CONTENT_TYPE, "application/json");
                value.to_string().into()
            }
            Content::File { field, name, bytes } => {
                request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=between");
                multipart(field, name, &bytes)
            }
        };
        let connection = TokioIo::new(TcpStream::connect(self.address).await?);
        let (mut sender, connection) = http1::handshake(connection).await?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let (head, body) = sender
                .send_request(request.body(Full::new(body))?)
                .await?
                .into_parts();
            Ok(Reply {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            })
        };
        let reply = tokio::time::timeout(LONGEST_ANSWER, answered).await?;
        connection.abort();
        reply
    }

    /// Asks for the object at `path` until its state is `wanted`; another end is a failure.
    pub(crate) async fn until_state(&self, path: &str, wanted: &str) -> Value {
        eventually(&format!("{path} is {wanted}"), LONGEST_START, async || {
            let seen = self.get(path).await.expect(200).json();
            let state = seen["state"].as_str().unwrap_or_default().to_owned();
            assert!(
                state == wanted || !ENDS.contains(&state.as_str()),
                "{path} is {state}, not {wanted}: {seen}"
            );
            (state == wanted).then_some(seen)
        })
        .await
    }
}

impl Reply {
    /// The answer, if its status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the answer is {self:?}");
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {self:?}"),
        }
    }

    /// The number of what was created.
    #[track_caller]
    pub(crate) fn id(&self) -> u64 {
        self.json()["id"].as_u64().expect("an id")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn multipart(field: &str, name: &str, bytes: &[u8]) -> Bytes {
    let mut body = format!(
        "--between\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--between--\r\n");
    body.into()
}

/// Livy's states, and those of statements, that nothing follows.
const ENDS: [&str; 6] = ["dead", "error", "killed", "success", "cancelled", "shutting_down"];
/// Livy's DELETE takes this long at worst.
const LONGEST_ANSWER: Duration = Duration::from_secs(150);
/// A Spark session on a loaded machine.
const LONGEST_START: Duration = Duration::from_secs(240);
