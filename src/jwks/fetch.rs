//! One GET of a JSON document from an issuer: bounded in time by its caller and in size here, never redirected.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, DATE, EXPIRES, HOST, HeaderName};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A document, and how long its sender calls it good.
pub(super) struct Fetched {
    pub(super) json: Bytes,
    pub(super) good_for: Option<Duration>,
}

/// Why keys were not fetched; for the log.
#[derive(Debug)]
pub(super) enum FetchError {
    Connect(std::io::Error),
    Http(hyper::Error),
    Status(StatusCode),
    TooLarge,
    TooSlow,
    Body(String),
    Url(String),
    Discovery(String),
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
            Self::Discovery(cause) => write!(f, "the issuer's description cannot be used: {cause}"),
            Self::Keys(cause) => f.write_str(cause),
        }
    }
}

/// Whatever is not a 200 is a failure.
pub(super) async fn get(url: &Uri, tls: &TlsConnector) -> Result<Fetched, FetchError> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(FetchError::Connect)?;
    if secure {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|cause| FetchError::Url(cause.to_string()))?;
        let stream = tls.connect(name, stream).await.map_err(FetchError::Connect)?;
        exchange(url, stream).await
    } else {
        exchange(url, stream).await
    }
}

async fn exchange<S>(url: &Uri, stream: S) -> Result<Fetched, FetchError>
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
        let good_for = good_for(response.headers());
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        match body {
            Ok(body) => Ok(Fetched {
                json: body.to_bytes(),
                good_for,
            }),
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

/// RFC 9111 §4.2.1: `max-age`, else `Expires`, less the time that it has been kept on its way already. `no-store` and
/// `no-cache` say nothing here: keys must be kept to be used, and whoever says so means no shorter time than usual.
pub(super) fn good_for(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let max_age = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"));
    let life = match max_age {
        Some((_, seconds)) => Duration::from_secs(seconds.trim_matches('"').parse().ok()?),
        None => {
            // By the sender's own clock, so that ours does not matter.
            let at = |name| {
                httpdate::parse_http_date(text(name)?)
                    .ok()?
                    .duration_since(UNIX_EPOCH)
                    .ok()
            };
            at(EXPIRES)?.saturating_sub(at(DATE)?)
        }
    };
    let age = text(AGE).and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    Some(life.saturating_sub(Duration::from_secs(age)))
}

const BODY_BYTES_MAX: usize = 1024 * 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;
