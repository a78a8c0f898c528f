//! Drives one connection from its first byte to its end.

use std::any::Any;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{Service, ServiceBuilder};
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tracing::{debug, error};

use super::framing::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::strict_io::{Connection, Phase, REFUSED, StrictIo};
use super::{Context, Handler, Peer};
use crate::denial::Denial;
use crate::login::PresentedCertificate;

/// Serves the requests of one connection, in order. Each request carries the connection's certificate along, if there is
/// one, as an extension.
pub(super) async fn drive<S, H>(
    socket: S,
    peer: Peer,
    certificate: Option<Arc<PresentedCertificate>>,
    handler: H,
    context: &Context,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let connection = Connection::new(&context.deadlines);
    let io = TokioIo::new(StrictIo::new(socket, Arc::clone(&connection)));
    let guarded = ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([
            AUTHORIZATION,
            PROXY_AUTHORIZATION,
            COOKIE,
        ]))
        .layer(CatchPanicLayer::custom(OnPanic {
            handler: handler.clone(),
            peer,
        }))
        .service_fn({
            let connection = Arc::clone(&connection);
            // Boxed: it is large, and moved from layer to layer before it runs.
            move |request| Box::pin(answer(handler.clone(), peer, Arc::clone(&connection), request))
        });
    let of = Arc::clone(&connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(Arc::clone(certificate));
        }
        let last = Last(Arc::clone(&of));
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        // Ready without being asked: no layer here waits.
        let response = guarded.clone().call(request);
        Answering {
            response,
            last: Some(last),
            is_chunked,
        }
    });
    let http = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX + 8 * 1024)
        .serve_connection(io, service);
    let mut http = pin!(http);
    let mut draining = context.draining.clone();
    let mut drain = pin!(draining.wait_for(|draining| *draining));
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            end = http.as_mut() => {
                if let Err(error) = end {
                    debug!(%error, peer = %peer.address, "a connection broke off");
                }
                return;
            }
            () = connection.too_long() => match connection.phase() {
                _ if connection.is_write_stuck() || is_ending => return,
                Phase::Head => connection.refuse(Denial::SlowHead),
                Phase::Idle | Phase::Busy => {
                    is_ending = true;
                    http.as_mut().graceful_shutdown();
                }
            },
            _ = &mut drain, if !is_ending => {
                is_ending = true;
                http.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What a client is told when its request made the gateway panic.
#[derive(Clone)]
struct OnPanic<H> {
    handler: H,
    peer: Peer,
}

impl<H: Handler> ResponseForPanic for OnPanic<H> {
    type ResponseBody = H::Body;

    fn response_for_panic(&mut self, _: Box<dyn Any + Send>) -> Response<H::Body> {
        // The panic's own text stays out of the log: it may hold what the client sent.
        error!(peer = %self.peer.address, "a request made the gateway panic");
        self.handler.refuse(self.peer, Denial::Internal)
    }
}

async fn answer<H: Handler>(
    handler: H,
    peer: Peer,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<H::Body>, Infallible> {
    let refusal = if request.method().as_str() == REFUSED {
        connection.take_refusal()
    } else {
        None
    };
    Ok(match refusal {
        Some(denial) => handler.refuse(peer, denial),
        None => handler.handle(peer, request).await,
    })
}

pin_project! {
    /// An answer on its way.
    struct Answering<F> {
        #[pin]
        response: F,
        last: Option<Last>,
        is_chunked: bool,
    }
}

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Answered<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.response.poll(cx) {
            Poll::Ready(Ok(response)) => response,
            Poll::Ready(Err(never)) => match never {},
            Poll::Pending => return Poll::Pending,
        };
        // hyper closes without a word after an answer that came before the body was here, and some clients do not
        // survive that. It also gives up chunks that nobody read, though all may be here.
        let is_early = this.last.as_ref().is_some_and(|last| last.0.is_answered_early());
        if is_early || (*this.is_chunked && !response.status().is_success()) {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        let last = this.last.take();
        Poll::Ready(Ok(response.map(|body| Answered { body, last })))
    }
}

pin_project! {
    /// An answer's body, which tells the connection when it is out.
    struct Answered<B> {
        #[pin]
        body: B,
        last: Option<Last>,
    }
}

/// Dropped with the body.
struct Last(Arc<Connection>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl<B: Body<Data = Bytes>> Body for Answered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use http_body_util::{BodyExt, Full};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::watch;

    use super::*;
    use crate::clock::ManualClock;
    use crate::config;
    use crate::deadlines::Deadlines;
    use crate::policy::LivePolicy;

    /// Answers `/read` when the body is read, `/unread` at once, and panics at everything else.
    #[derive(Clone)]
    struct Odd;

    impl Handler for Odd {
        type Body = Full<Bytes>;

        async fn handle(&self, _: Peer, request: Request<Incoming>) -> Response<Full<Bytes>> {
            match request.uri().path() {
                "/read" => Response::new(Full::new(request.into_body().collect().await.unwrap().to_bytes())),
                "/unread" => Response::new(Full::from("too much")),
                other => panic!("secret {other}"),
            }
        }

        fn refuse(&self, _: Peer, denial: Denial) -> Response<Full<Bytes>> {
            let answer = denial.answer();
            let mut response = Response::new(Full::from(answer.code));
            *response.status_mut() = answer.status;
            response
        }
    }

    fn connect() -> (DuplexStream, watch::Sender<bool>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        let hash = crate::authn::hash_password(b"x").unwrap();
        std::fs::write(folder.path().join("users"), format!("alice:{hash}\n")).unwrap();
        std::fs::write(
            &file,
            "[listen]\naddress = \"127.0.0.1:0\"\n[livy]\nurl = \"http://127.0.0.1:1\"\n[basic]\nusers_file = \"users\"\n",
        )
        .unwrap();
        let policy = config::load(&file, 1).unwrap();
        let (client, server) = duplex(64 * 1024);
        let (drain, draining) = watch::channel(false);
        let context = Context {
            deadlines: Deadlines::new(Arc::new(ManualClock::at(Duration::ZERO))),
            policy: Arc::new(LivePolicy::new(policy)),
            draining,
            open: Arc::default(),
        };
        let peer = Peer {
            address: "127.0.0.1:9".parse().unwrap(),
            listener: 0,
        };
        tokio::spawn(async move { drive(server, peer, None, Odd, &context).await });
        (client, drain)
    }

    async fn exchange(requests: &str) -> String {
        let (mut client, _drain) = connect();
        client.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        answers
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing_and_spares_the_connection() {
        let last = "GET /read HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";
        let answers = exchange(&format!("GET /boom HTTP/1.1\r\nHost: gw\r\n\r\n{last}")).await;
        let statuses: Vec<_> = answers
            .split("HTTP/1.1 ")
            .skip(1)
            .filter_map(|answer| answer.get(..3))
            .collect();
        assert_eq!(
            statuses,
            [StatusCode::INTERNAL_SERVER_ERROR.as_str(), "200"],
            "{answers}"
        );
        assert!(
            answers.contains("internal_error") && !answers.contains("boom"),
            "{answers}"
        );
    }

    #[tokio::test]
    async fn an_answer_before_the_body_is_here_says_that_it_is_the_last() {
        let answers = exchange("POST /unread HTTP/1.1\r\nHost: gw\r\nContent-Length: 1000\r\n\r\n{").await;
        assert!(
            answers.contains("connection: close\r\n") && answers.ends_with("too much"),
            "{answers}"
        );
    }

    #[tokio::test]
    async fn a_body_that_is_all_here_leaves_the_connection_open() {
        let unread = "POST /unread HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}";
        let last = "GET /read HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";
        let answers = exchange(&format!("{unread}{last}")).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
    }
}
