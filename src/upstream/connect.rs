//! A new connection to Livy.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tracing::debug;

use super::pool::Kept;
use crate::policy::Livy;

/// Connects within the configured time, TLS included.
pub(super) async fn connect(livy: &Livy) -> Result<Kept, BoxError> {
    // A timer per connection is affordable; it is per request that it is not.
    ServiceBuilder::new()
        .timeout(livy.timeouts.connect)
        .service_fn(open)
        .oneshot(livy.clone())
        .await
}

async fn open(livy: Livy) -> Result<Kept, BoxError> {
    let stream = TcpStream::connect((livy.host.clone(), livy.port)).await?;
    stream.set_nodelay(true)?;
    let probe = SockRef::from(&stream).try_clone()?;
    match &livy.tls {
        None => greet(&livy, stream, probe).await,
        Some(config) => {
            let name = ServerName::try_from(livy.host.clone())?;
            let stream = tokio_rustls::TlsConnector::from(Arc::clone(config))
                .connect(name, stream)
                .await?;
            greet(&livy, stream, probe).await
        }
    }
}

async fn greet<S>(livy: &Livy, stream: S, probe: Socket) -> Result<Kept, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        // Livy allows itself heads of 128 KiB.
        .max_buf_size(256 * 1024)
        .handshake(TokioIo::new(stream))
        .await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection to Livy ended");
        }
    });
    let driver = driver.abort_handle();
    Ok(Kept {
        sender,
        probe,
        driver,
        url: Arc::from(livy.url.as_str()),
        since: Duration::ZERO,
    })
}
