//! Drives one connection from its first byte to its end.

use std::any::Any;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
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

/// Serves the requests of one connection, in order.
pub(super) async fn drive<S, H>(socket: S, peer: Peer, handler: H, context: &Context)
where
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
            move |request| answer(handler.clone(), peer, Arc::clone(&connection), request)
        });
    let of = Arc::clone(&connection);
    let service = service_fn(move |request| {
        let answered = Last(Arc::clone(&of));
        // Ready without being asked: no layer here waits.
        let response = guarded.clone().call(request);
        async move {
            response
                .await
                .map(|response| response.map(|body| Answered { body, last: answered }))
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
    /// An answer's body, which tells the connection when it is out.
    struct Answered<B> {
        #[pin]
        body: B,
        last: Last,
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
