//! Fetches an issuer's JWK set in the background and publishes it.
//!
//! Requests never wait for it. Whoever sends tokens with invented kids makes it ask the provider at most every 30 s,
//! and whatever the provider answers, keys that were good stay until a better set is there or a day has passed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use crate::authn::{Issuer, KeySet};
use crate::clock::Clock;

/// The background task of one issuer; it ends when this is dropped.
#[derive(Debug)]
pub struct JwksFetcher {
    wanted: Arc<Notify>,
    task: JoinHandle<()>,
}

impl JwksFetcher {
    /// Starts the task on the current runtime, fetches at once, and makes the issuer ask here for keys that it does
    /// not know. None if the issuer's keys are not fetched. Must be called within a tokio runtime.
    pub fn spawn(issuer: Arc<Issuer>, tls: Arc<rustls::ClientConfig>, clock: Arc<dyn Clock>) -> Option<Self> {
        let url: Uri = issuer.keys_url()?.parse().ok()?;
        let wanted = Arc::new(Notify::new());
        let asked = Arc::clone(&wanted);
        issuer.set_refresher(Box::new(move || asked.notify_one()));
        let task = tokio::spawn(keep_fresh(issuer, url, tls.into(), clock, Arc::clone(&wanted)));
        Some(Self { wanted, task })
    }

    /// Asks for fresh keys: they are fetched now, unless that was tried in the last 30 s.
    pub fn request_refresh(&self) {
        self.wanted.notify_one();
    }
}

impl Drop for JwksFetcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_fresh(
    issuer: Arc<Issuer>,
    url: Uri,
    tls: TlsConnector,
    clock: Arc<dyn Clock>,
    wanted: Arc<Notify>,
) {
    let mut schedule = Schedule::starting(clock.monotonic());
    loop {
        tokio::select! {
            () = wanted.notified() => {
                if !schedule.may_follow_request(clock.monotonic()) {
                    continue;
                }
            }
            () = tokio::time::sleep(schedule.wait(clock.monotonic())) => {}
        }
        schedule.began(clock.monotonic());
        let fetched = match tokio::time::timeout(FETCH_TIMEOUT, fetch(&url, &tls)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::TooSlow),
        };
        match fetched {
            Ok((keys, max_age)) => {
                publish(&issuer, keys);
                schedule.succeeded(clock.monotonic(), max_age);
            }
            Err(error) => {
                warn!(issuer = issuer.name(), %error, "signing keys not fetched, the last good ones stay");
                if schedule.failed(clock.monotonic()) {
                    warn!(
                        issuer = issuer.name(),
                        "signing keys older than a day, its tokens are refused from now on"
                    );
                    issuer.publish(KeySet::default());
                }
            }
        }
    }
}

fn publish(issuer: &Issuer, keys: KeySet) {
    let before = issuer.key_version();
    let (usable, skipped) = (keys.len(), keys.skipped().join("; "));
    issuer.publish(keys);
    if issuer.key_version() != before {
        info!(issuer = issuer.name(), usable, skipped, "signing keys changed");
    }
}

/// When to fetch. All times are of the monotonic clock.
#[derive(Debug)]
struct Schedule {
    attempted: Option<Duration>,
    /// When the keys in force were fetched, or this began.
    good: Duration,
    due: Duration,
}

impl Schedule {
    fn starting(now: Duration) -> Self {
        Self {
            attempted: None,
            good: now,
            due: now,
        }
    }

    fn may_follow_request(&self, now: Duration) -> bool {
        self.attempted
            .is_none_or(|attempted| now.saturating_sub(attempted) >= COOLDOWN)
    }

    fn wait(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    fn began(&mut self, now: Duration) {
        self.attempted = Some(now);
    }

    fn succeeded(&mut self, now: Duration, max_age: Option<Duration>) {
        self.good = now;
        self.due = now.saturating_add(max_age.map_or(REFRESH, |age| age.clamp(REFRESH_MIN, REFRESH_MAX)));
    }

    /// Whether the keys in force have become too old.
    fn failed(&mut self, now: Duration) -> bool {
        self.due = now.saturating_add(RETRY);
        now.saturating_sub(self.good) >= AGE_MAX
    }
}

/// Why a set was not fetched; for the log.
#[derive(Debug)]
enum FetchError {
    Connect(std::io::Error),
    Http(hyper::Error),
    Status(StatusCode),
    TooLarge,
    TooSlow,
    Body(String),
    Url(String),
    Keys(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(cause) => write!(f, "no connection: {cause}"),
            Self::Http(cause) => write!(f, "no HTTP answer: {cause}"),
            Self::Status(status) if status.is_redirection() => {
                write!(
                    f,
                    "the answer is {status}, and redirects are not followed; configure the final URL"
                )
            }
            Self::Status(status) => write!(f, "the answer is {status}"),
            Self::TooLarge => write!(f, "the answer is larger than 1 MiB"),
            Self::TooSlow => write!(f, "the answer took more than 10 s"),
            Self::Body(cause) => write!(f, "the answer broke off: {cause}"),
            Self::Url(cause) => write!(f, "the URL cannot be used: {cause}"),
            Self::Keys(cause) => f.write_str(cause),
        }
    }
}

/// One GET. Whatever is not a 200 with a usable set is a failure.
async fn fetch(url: &Uri, tls: &TlsConnector) -> Result<(KeySet, Option<Duration>), FetchError> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(FetchError::Connect)?;
    let (json, max_age) = if secure {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|cause| FetchError::Url(cause.to_string()))?;
        let stream = tls.connect(name, stream).await.map_err(FetchError::Connect)?;
        get(url, stream).await?
    } else {
        get(url, stream).await?
    };
    let keys = KeySet::from_jwks(&json).map_err(FetchError::Keys)?;
    Ok((keys, max_age))
}

async fn get<S>(url: &Uri, stream: S) -> Result<(Bytes, Option<Duration>), FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Http)?;
    let exchange = async {
        let request = Request::get(url.path_and_query().map_or("/", |target| target.as_str()))
            .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .body(Empty::<Bytes>::new())
            .map_err(|cause| FetchError::Url(cause.to_string()))?;
        let response = sender.send_request(request).await.map_err(FetchError::Http)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        match body {
            Ok(body) => Ok((body.to_bytes(), max_age)),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Body(error.to_string())),
        }
    };
    tokio::pin!(exchange);
    // One future drives both, so that nothing outlives the fetch.
    tokio::select! {
        outcome = &mut exchange => outcome,
        _ = connection => exchange.await,
    }
}

/// RFC 9111 §5.2.2.1.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .and_then(|(_, seconds)| seconds.trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two fetches that unknown kids ask for.
const COOLDOWN: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_secs(600);
const REFRESH_MIN: Duration = Duration::from_secs(60);
const REFRESH_MAX: Duration = Duration::from_secs(3600);
/// A provider that is gone for a day may have withdrawn its keys meanwhile.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
const BODY_BYTES_MAX: usize = 1024 * 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
