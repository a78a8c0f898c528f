//! The operators' listener: `/live`, `/ready`, `/metrics`. It only reads, and has a thread of its own, so that it
//! answers while the workers are busy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::login::Logins;
use crate::overview::{Overview, metrics_text};
use crate::policy::Policy;
use crate::rewrite::{self, OwnCall};
use crate::telemetry::metrics::LoginFigures;
use crate::upstream::{Reuse, Upstream};

/// What the logins hold, for the metrics.
pub fn login_figures(logins: &Logins) -> LoginFigures {
    let stats = logins.stats();
    LoginFigures {
        hashing_waiting: stats.waiting as u64,
        hashing_running: stats.running as u64,
        cache_entries: stats.entries as u64,
        cache_hits: stats.hits,
        cache_misses: stats.misses,
        passwords_checked: stats.checked,
    }
}

/// Answers until the process ends.
pub async fn serve<O: Overview>(socket: TcpListener, overview: Arc<O>, upstream: Upstream) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection to the admin listener could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (overview, upstream) = (Arc::clone(&overview), upstream.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let (overview, upstream) = (Arc::clone(&overview), upstream.clone());
                async move { Ok::<_, Infallible>(answer(&request, peer, overview.as_ref(), &upstream).await) }
            });
            let http = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = http.await {
                debug!(%error, %peer, "a connection to the admin listener broke off");
            }
        });
    }
}

async fn answer<O: Overview>(
    request: &Request<Incoming>,
    peer: SocketAddr,
    overview: &O,
    upstream: &Upstream,
) -> Response<Full<Bytes>> {
    let policy = overview.policy();
    if !is_allowed(&policy, request.headers()) {
        warn!(%peer, path = request.uri().path(), "a request to the admin listener without its token");
        let mut response = text(
            StatusCode::UNAUTHORIZED,
            "the admin listener wants its token as 'Authorization: Bearer'\n",
        );
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"admin\""),
        );
        return response;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "the admin listener only reads\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match (request.uri().path(), request.uri().query()) {
        ("/live", None) => text(StatusCode::OK, "live\n"),
        ("/ready", None) if overview.is_draining() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        ("/ready", None) => text(StatusCode::OK, "ready\n"),
        ("/ready", Some("livy")) => livy(&policy, upstream).await,
        ("/metrics", _) => {
            let text_of_all = metrics_text(overview, policy.admin.top_users).await;
            let mut response = text(StatusCode::OK, text_of_all);
            response.headers_mut().insert(
                CONTENT_TYPE,
                HeaderValue::from_static("text/plain; version=0.0.4"),
            );
            response
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there is /live, /ready, /ready?livy and /metrics\n",
        ),
    }
}

/// Asked apart from `/ready`: a balancer that took every replica out would show its own page for Livy's fault.
async fn livy(policy: &Policy, upstream: &Upstream) -> Response<Full<Bytes>> {
    let Ok(outbound) = rewrite::own_call(&policy.livy.endpoint, &OwnCall::Version) else {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request for Livy could not be written\n",
        );
    };
    match upstream
        .send(&policy.livy, outbound, None, Reuse::Never, &mut None)
        .await
    {
        Ok(reply) if reply.status().is_success() => text(StatusCode::OK, "Livy answers\n"),
        Ok(reply) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("Livy answers {}\n", reply.status().as_u16()),
        ),
        Err(failure) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("Livy does not answer: {}\n", failure.in_words()),
        ),
    }
}

fn is_allowed(policy: &Policy, headers: &HeaderMap) -> bool {
    let Some(token) = &policy.admin.token else {
        return true;
    };
    // A scheme's name has no case (RFC 9110 §11.1).
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(b"Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, token)| token);
    given.is_some_and(|given| verify_slices_are_equal(given, token.expose_secret().as_bytes()).is_ok())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

const CONNECTIONS_MAX: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(10);
