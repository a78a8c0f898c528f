//! Where an issuer's keys are: at a configured URL, or where the issuer's own description says (OpenID Connect
//! Discovery 1.0).
//!
//! The description may name another host for the keys, as those of Google and Entra ID do: it comes from the issuer
//! itself, over TLS or from loopback, and whoever can forge it can sign tokens anyway. What it names must be https too,
//! or http on loopback, and is asked without redirects.

use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use tokio_rustls::TlsConnector;

use super::fetch::{self, FetchError};
use crate::authn::issuer::check_url;
use crate::authn::{KeySet, KeysAt};
use crate::denial::quotable;

/// Where one issuer's keys are.
pub(super) struct Place {
    at: KeysAt,
    /// What the description said, and when.
    described: Option<(Uri, Duration)>,
}

impl Place {
    pub(super) fn new(at: KeysAt) -> Self {
        Self { at, described: None }
    }

    /// Fetches the keys, and learns how long they are called good. After a failure the description is read anew.
    pub(super) async fn fetch(
        &mut self,
        issuer: &str,
        tls: &TlsConnector,
        now: Duration,
    ) -> Result<(KeySet, Option<Duration>), FetchError> {
        let known = self.described.take();
        let known = known.filter(|(_, read)| now.saturating_sub(*read) < DESCRIPTION_LIFE);
        let (url, read) = match (&self.at, known) {
            (KeysAt::Url(url), _) => (parse(url)?, now),
            (KeysAt::Discovery(_), Some(known)) => known,
            (KeysAt::Discovery(description), None) => {
                let fetched = fetch::get(&parse(description)?, tls).await?;
                let url = keys_url(&fetched.json, issuer).map_err(FetchError::Discovery)?;
                (url, now)
            }
        };
        let fetched = fetch::get(&url, tls).await?;
        let keys = KeySet::from_jwks(&fetched.json).map_err(FetchError::Keys)?;
        self.described = Some((url, read));
        Ok((keys, fetched.good_for))
    }
}

fn parse(url: &str) -> Result<Uri, FetchError> {
    check_url(url).map_err(FetchError::Url)
}

/// The `jwks_uri` of a description, which must be of this issuer to the byte (§4.3): else one issuer could describe
/// another.
pub(super) fn keys_url(description: &[u8], issuer: &str) -> Result<Uri, String> {
    #[derive(Deserialize)]
    struct Description {
        issuer: String,
        jwks_uri: String,
    }
    let description: Description =
        serde_json::from_slice(description).map_err(|error| format!("it is no such document: {error}"))?;
    if description.issuer != issuer {
        return Err(format!(
            "it is of the issuer '{}'; write exactly that as issuer if it is the right one",
            quotable(&description.issuer)
        ));
    }
    let uri = description.jwks_uri;
    let at =
        check_url(&uri).map_err(|_| "its jwks_uri is no https:// URL without a user in it".to_owned())?;
    // Who speaks for the issuer may not have this machine ask itself.
    if issuer.starts_with("https://") && at.scheme_str() != Some("https") {
        return Err(format!(
            "its jwks_uri '{}' is not https, though the issuer is",
            quotable(&uri)
        ));
    }
    Ok(at)
}

/// Providers move their keys rarely; a move is noticed within this time, or when the old place fails.
const DESCRIPTION_LIFE: Duration = Duration::from_secs(60 * 60);
