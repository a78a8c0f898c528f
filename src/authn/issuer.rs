//! One `[[jwt]]` entry: its settings, checked and compiled, and the keys that it has at the moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::Uri;

use super::fingerprint;
use super::keys::{Algorithm, KeySet, KeySource};

/// One `[[jwt]]` entry as configured.
#[derive(Debug)]
pub struct IssuerSettings {
    /// What rules call it, `jwt:NAME`: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// What the token's `iss` must be, to the byte.
    pub issuer: String,
    /// One of these must be in the token's `aud`.
    pub audience: Vec<String>,
    /// What the token's `alg` may be; each must fit the keys.
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the subject; `a.b.c` looks into nested objects.
    pub user_claim: String,
    /// The claim that names its groups.
    pub groups_claim: Option<String>,
    /// Claims that must be there with that value, or hold it as a member.
    pub required_claims: BTreeMap<String, String>,
    /// Whether its tokens are accepted as Basic passwords too.
    pub as_basic_password: bool,
    /// How wrong the issuer's clock may be, at most 60 s.
    pub leeway: Duration,
    /// Its keys.
    pub keys: KeySource,
}

/// A compiled `[[jwt]]` entry. Its keys may be replaced while it is in use.
pub struct Issuer {
    pub(super) name: Arc<str>,
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) user_claim: String,
    pub(super) groups_claim: Option<String>,
    pub(super) required_claims: BTreeMap<String, String>,
    pub(super) as_basic_password: bool,
    pub(super) leeway: Duration,
    keys_url: Option<String>,
    settings_version: u64,
    pub(super) keys: ArcSwap<KeySet>,
    refresher: ArcSwapOption<Refresher>,
}

struct Refresher(Box<dyn Fn() + Send + Sync>);

impl Issuer {
    /// Compiles the settings. The error begins with the key that is wrong and says what to write.
    pub fn new(settings: IssuerSettings) -> Result<Self, String> {
        check_settings(&settings)?;
        let settings_version = settings_version(&settings);
        let IssuerSettings {
            name,
            issuer,
            audience,
            algorithms,
            user_claim,
            groups_claim,
            required_claims,
            as_basic_password,
            leeway,
            keys,
        } = settings;
        let (keys, keys_url) = match keys {
            KeySource::Secret(secret) => (KeySet::from_secret(&secret), None),
            KeySource::Public(pem) => (KeySet::from_public_pem(&pem), None),
            KeySource::Jwks(json) => (KeySet::from_jwks(&json), None),
            KeySource::Url(url) => (check_url(&url).map(|()| KeySet::default()), Some(url)),
        };
        let keys = keys.map_err(|problem| format!("keys: {problem}"))?;
        if keys_url.is_none() && !algorithms.iter().any(|algorithm| keys.fits(*algorithm)) {
            return Err(format!(
                "algorithms: no key fits {}; write the algorithm that the issuer signs with",
                listed(&algorithms)
            ));
        }
        Ok(Self {
            name: name.into(),
            issuer,
            audience,
            algorithms,
            user_claim,
            groups_claim,
            required_claims,
            as_basic_password,
            leeway,
            keys_url,
            settings_version,
            keys: ArcSwap::from_pointee(keys),
            refresher: ArcSwapOption::empty(),
        })
    }

    /// What rules call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether its tokens are accepted as Basic passwords.
    pub fn as_basic_password(&self) -> bool {
        self.as_basic_password
    }

    /// Where its keys are fetched from, if they are: https, or http on loopback.
    pub fn keys_url(&self) -> Option<&str> {
        self.keys_url.as_deref()
    }

    /// Changes whenever the settings or the keys do; the same content gives the same number. For cache keys.
    pub fn key_version(&self) -> u64 {
        self.settings_version ^ self.keys.load().version()
    }

    /// Puts `keys` in force for every token from now on; the default set closes the issuer.
    pub fn publish(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
    }

    /// Whom to tell that a token names a key that is not in the set. It must return at once.
    pub fn set_refresher(&self, refresher: Box<dyn Fn() + Send + Sync>) {
        self.refresher.store(Some(Arc::new(Refresher(refresher))));
    }

    /// Takes over the fetched keys of the same entry before a reload, so that a reload locks nobody out while they
    /// are fetched again. Does nothing where name or URL differ.
    pub fn inherit_keys(&self, before: &Self) {
        if self.keys_url.is_some() && self.keys_url == before.keys_url && self.name == before.name {
            self.keys.store(before.keys.load_full());
        }
    }

    /// Tells the fetcher that a key is missing.
    pub(super) fn ask_for_keys(&self) {
        if let Some(Refresher(ask)) = self.refresher.load().as_deref() {
            ask();
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("keys", &self.keys.load())
            .finish_non_exhaustive()
    }
}

fn check_settings(settings: &IssuerSettings) -> Result<(), String> {
    let in_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if settings.name.is_empty() || settings.name.len() > 64 || !settings.name.bytes().all(in_name) {
        return Err("name: write 1 to 64 lower-case letters, digits, - and _, such as corp".into());
    }
    if settings.issuer.is_empty() {
        return Err("issuer: it is empty; write the iss of the tokens, to the byte".into());
    }
    // A token for another service of the same issuer must not log in here.
    if settings.audience.is_empty() || settings.audience.iter().any(String::is_empty) {
        return Err("audience: write what the tokens have as aud, such as [\"livy-gateway\"]".into());
    }
    if settings.algorithms.is_empty() {
        return Err("algorithms: it is empty; write what the issuer signs with, such as [\"RS256\"]".into());
    }
    // Nothing may be both a secret and public: that is how a public key becomes a password.
    let secret = matches!(settings.keys, KeySource::Secret(_));
    if settings
        .algorithms
        .iter()
        .any(|algorithm| (*algorithm == Algorithm::Hs256) != secret)
    {
        return Err(format!(
            "algorithms: {} does not go with {}; a secret is for HS256 alone, and HS256 needs a secret",
            listed(&settings.algorithms),
            if secret { "a secret" } else { "public keys" }
        ));
    }
    if settings.user_claim.is_empty() || settings.groups_claim.as_deref() == Some("") {
        return Err(
            "user_claim and groups_claim: an empty name is no claim; leave the key out for the default"
                .into(),
        );
    }
    if settings.leeway > LEEWAY_MAX {
        return Err("leeway: at most 60s; set the clocks instead".into());
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| format!("'{url}' is not a URL"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    // User info would be a secret in a place that is shown.
    if host.is_empty()
        || uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(format!(
            "'{}' has no host, or a user before it; write https://host/path",
            uri.path()
        ));
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if loopback => Ok(()),
        // Who can change the answer on the way can log in as anybody.
        _ => Err(format!(
            "'{url}' must begin with https:// (http:// is for loopback only)"
        )),
    }
}

fn settings_version(settings: &IssuerSettings) -> u64 {
    let mut parts: Vec<&[u8]> = vec![
        settings.name.as_bytes(),
        settings.issuer.as_bytes(),
        settings.user_claim.as_bytes(),
        settings.groups_claim.as_deref().unwrap_or_default().as_bytes(),
        if settings.as_basic_password {
            b"password"
        } else {
            b""
        },
    ];
    let leeway = settings.leeway.as_nanos().to_be_bytes();
    parts.push(&leeway);
    parts.extend(
        settings
            .algorithms
            .iter()
            .map(|algorithm| algorithm.name().as_bytes()),
    );
    // Without the mark an audience more could be read as a required claim more.
    parts.push(b"audience");
    parts.extend(settings.audience.iter().map(|name| name.as_bytes()));
    parts.push(b"required claims");
    for (claim, wanted) in &settings.required_claims {
        parts.extend([claim.as_bytes(), wanted.as_bytes()]);
    }
    fingerprint(parts)
}

fn listed(algorithms: &[Algorithm]) -> String {
    let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    names.join(", ")
}

const LEEWAY_MAX: Duration = Duration::from_secs(60);
