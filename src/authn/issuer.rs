//! One `[[jwt]]` entry: its settings, checked and compiled, and the keys that it has at the moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::BoxFuture;
use http::Uri;

use super::fingerprint;
use super::keys::{Algorithm, KeySet, KeySource};
use super::token_rules::TokenRules;

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
    /// Which of its tokens are meant for this gateway.
    pub rules: TokenRules,
    /// Its keys.
    pub keys: KeySource,
    /// How long keys that cannot be fetched again stay in force, up to seven days.
    pub stale_keys: Duration,
}

/// Where the keys of an issuer are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAt {
    /// A JWK set.
    Url(String),
    /// The issuer's own description, which names its JWK set (OpenID Connect Discovery 1.0 §4).
    Discovery(String),
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
    pub(super) rules: TokenRules,
    stale_keys: Duration,
    keys_at: Option<KeysAt>,
    authorities: u64,
    settings_version: u64,
    in_force: ArcSwap<InForce>,
    refresher: ArcSwapOption<Refresher>,
}

/// Keys, and since when they are known.
struct InForce {
    keys: Arc<KeySet>,
    /// When they were fetched, on the monotonic clock; none if they were not.
    fetched: Option<Duration>,
}

struct Refresher(AskForKey);

/// What an issuer asks for a key that it does not have, by its kid: the fetch that may bring it and is to be waited
/// for and says whether it brought keys, or nothing if there is none to hope for now.
pub type AskForKey = Box<dyn Fn(Option<&str>) -> Option<BoxFuture<'static, bool>> + Send + Sync>;

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
            rules,
            keys,
            stale_keys,
        } = settings;
        let (keys, keys_at) = match keys {
            KeySource::Secret(secret) => (KeySet::from_secret(&secret), None),
            KeySource::Public(pem) => (KeySet::from_public_pem(&pem), None),
            KeySource::Jwks(json) => (KeySet::from_jwks(&json), None),
            KeySource::Url(url) => (check_url(&url).map(|_| KeySet::default()), Some(KeysAt::Url(url))),
            KeySource::Discovery => {
                let url = discovery_url(&issuer);
                (
                    check_url(&url).map(|_| KeySet::default()),
                    Some(KeysAt::Discovery(url)),
                )
            }
        };
        let keys = keys.map_err(|problem| format!("keys: {problem}"))?;
        if keys_at.is_none() && !algorithms.iter().any(|algorithm| keys.fits(*algorithm)) {
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
            rules,
            stale_keys,
            keys_at,
            authorities: 0,
            settings_version,
            in_force: ArcSwap::from_pointee(InForce {
                keys: Arc::new(keys),
                fetched: None,
            }),
            refresher: ArcSwapOption::empty(),
        })
    }

    /// What rules call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its tokens may say groups.
    pub const fn gives_groups(&self) -> bool {
        self.groups_claim.is_some()
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether its tokens are accepted as Basic passwords.
    pub fn as_basic_password(&self) -> bool {
        self.as_basic_password
    }

    /// Where its keys are fetched, if they are: over https, or over http on loopback.
    pub fn keys_at(&self) -> Option<&KeysAt> {
        self.keys_at.as_ref()
    }

    /// How long keys that cannot be fetched again stay in force.
    pub fn stale_keys(&self) -> Duration {
        self.stale_keys
    }

    /// The keys in force.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.in_force.load().keys)
    }

    /// How many keys are in force; none closes the issuer.
    pub fn keys_in_force(&self) -> usize {
        self.in_force.load().keys.len()
    }

    /// When the keys in force were fetched, on the monotonic clock.
    pub fn fetched(&self) -> Option<Duration> {
        self.in_force.load().fetched
    }

    /// Changes whenever the settings or the keys do; the same content gives the same number. For cache keys.
    pub fn key_version(&self) -> u64 {
        self.settings_version ^ self.in_force.load().keys.version()
    }

    /// Puts `keys` in force for every token from now on, with the moment at which they were fetched.
    pub fn publish(&self, keys: KeySet, fetched: Duration) {
        self.in_force.store(Arc::new(InForce {
            keys: Arc::new(keys),
            fetched: Some(fetched),
        }));
    }

    /// Takes all keys away, so that every token is refused until others are there.
    pub fn close(&self) {
        self.in_force.store(Arc::new(InForce {
            keys: Arc::default(),
            fetched: None,
        }));
    }

    /// With the authorities that vouch for where its keys are fetched, as a number to compare.
    #[must_use]
    pub fn vouched_for_by(self, authorities: &[u8]) -> Self {
        Self {
            authorities: fingerprint([authorities]),
            ..self
        }
    }

    /// Whom to ask for keys. It must return at once.
    pub fn set_refresher(&self, ask: AskForKey) {
        self.refresher.store(Some(Arc::new(Refresher(ask))));
    }

    /// Takes over the fetched keys of the same entry before a reload, so that a reload locks nobody out while they
    /// are fetched again. They grow no younger by it. Does nothing where the name, where to fetch them, or who vouches for
    /// that place differs.
    pub fn inherit_keys(&self, before: &Self) {
        let is_same_place = self.keys_at.is_some() && self.keys_at == before.keys_at;
        if is_same_place && self.authorities == before.authorities && self.name == before.name {
            self.in_force.store(before.in_force.load_full());
        }
    }

    /// Whether its keys are to be fetched and nobody does it yet: the gateway has only just begun.
    pub fn awaits_its_fetcher(&self) -> bool {
        self.keys_at.is_some() && self.refresher.load().is_none()
    }

    /// The fetch that may bring the key of this kid, if there is one.
    pub fn ask_for_key(&self, kid: Option<&str>) -> Option<BoxFuture<'static, bool>> {
        let refresher = self.refresher.load();
        let Refresher(ask) = refresher.as_deref()?;
        ask(kid)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("keys", &self.keys())
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
    if !(STALE_KEYS_MIN..=STALE_KEYS_MAX).contains(&settings.stale_keys) {
        return Err("stale_keys: write a time from 1m to 7d".into());
    }
    settings.rules.check()
}

/// OpenID Connect Discovery 1.0 §4.1: below the issuer, whose last slash is left out.
fn discovery_url(issuer: &str) -> String {
    let below = issuer.strip_suffix('/').unwrap_or(issuer);
    format!("{below}/.well-known/openid-configuration")
}

/// Where keys may be fetched: https, or http on loopback. The error says what to write.
pub fn check_url(url: &str) -> Result<Uri, String> {
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
        Some("https") => Ok(uri),
        Some("http") if loopback => Ok(uri),
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
    let rules = &settings.rules;
    let reads_after_expiry = rules.reads_after_expiry.as_nanos().to_be_bytes();
    parts.push(&reads_after_expiry);
    parts.push(if rules.accept_id_tokens { b"id" } else { b"" });
    for (mark, list) in [
        (&b"types"[..], &rules.types),
        (b"denied subjects", &rules.denied_subjects),
        (b"denied tokens", &rules.denied_token_ids),
    ] {
        parts.push(mark);
        parts.extend(list.iter().map(|item| item.as_bytes()));
    }
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
const STALE_KEYS_MIN: Duration = Duration::from_secs(60);
const STALE_KEYS_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::super::testing::{Signer, jwks};
    use super::super::{Authn, Source, Subject};
    use super::*;

    fn settings(keys: KeySource) -> IssuerSettings {
        IssuerSettings {
            name: "corp".into(),
            issuer: "https://login.example.org/".into(),
            audience: vec!["livy".into()],
            algorithms: vec![Algorithm::Es256],
            user_claim: "sub".into(),
            groups_claim: None,
            required_claims: BTreeMap::new(),
            as_basic_password: false,
            leeway: Duration::from_secs(30),
            rules: TokenRules::default(),
            keys,
            stale_keys: STALE_KEYS_MAX,
        }
    }

    fn by_url(url: &str) -> IssuerSettings {
        settings(KeySource::Url(url.into()))
    }

    fn refusal(change: impl FnOnce(&mut IssuerSettings)) -> String {
        let mut settings = by_url("https://login.example.org/keys");
        change(&mut settings);
        Issuer::new(settings).unwrap_err()
    }

    #[test]
    fn settings_that_would_accept_too_much_are_refused_by_key() {
        assert!(refusal(|s| s.name = "Corp:x".into()).starts_with("name: "));
        assert!(refusal(|s| s.issuer = String::new()).starts_with("issuer: "));
        assert!(refusal(|s| s.audience.clear()).starts_with("audience: "));
        assert!(refusal(|s| s.audience.push(String::new())).starts_with("audience: "));
        assert!(refusal(|s| s.algorithms.clear()).starts_with("algorithms: "));
        assert!(refusal(|s| s.user_claim.clear()).starts_with("user_claim"));
        assert!(refusal(|s| s.groups_claim = Some(String::new())).starts_with("user_claim"));
        assert!(refusal(|s| s.leeway = Duration::from_secs(61)).starts_with("leeway: "));
        for stale in [Duration::ZERO, STALE_KEYS_MAX + Duration::from_secs(1)] {
            assert!(refusal(|s| s.stale_keys = stale).starts_with("stale_keys: "));
        }
        assert!(refusal(|s| s.rules.types.clear()).starts_with("token_types: "));
        assert!(refusal(|s| s.rules.types.push("AT+JWT".into())).starts_with("token_types: "));
        let longer = Duration::from_secs(3601);
        assert!(refusal(|s| s.rules.reads_after_expiry = longer).starts_with("reads_after_expiry: "));
    }

    #[test]
    fn a_secret_and_public_keys_never_share_an_algorithm() {
        let secret = || KeySource::Secret(vec![7; 32].into());
        for (keys, algorithms) in [
            (secret(), vec![Algorithm::Es256]),
            (secret(), vec![Algorithm::Hs256, Algorithm::Es256]),
            (
                KeySource::Url("https://a.example/".into()),
                vec![Algorithm::Hs256],
            ),
            (
                KeySource::Url("https://a.example/".into()),
                vec![Algorithm::Rs256, Algorithm::Hs256],
            ),
        ] {
            let mut settings = settings(keys);
            settings.algorithms = algorithms;
            let refusal = Issuer::new(settings).unwrap_err();
            assert!(refusal.contains("a secret is for HS256 alone"), "{refusal}");
        }
    }

    #[test]
    fn keys_that_no_algorithm_fits_are_refused() {
        let ed = jwks(&[Signer::fresh(Algorithm::EdDsa).jwk("k")]);
        let refusal = Issuer::new(settings(KeySource::Jwks(ed))).unwrap_err();
        assert_eq!(
            refusal,
            "algorithms: no key fits ES256; write the algorithm that the issuer signs with"
        );
    }

    #[test]
    fn keys_are_fetched_over_https_or_from_loopback() {
        for url in [
            "https://login.example.org/keys",
            "http://127.0.0.1:80/k",
            "http://[::1]/k",
            "http://localhost/k",
        ] {
            let at = KeysAt::Url(url.into());
            assert_eq!(Issuer::new(by_url(url)).unwrap().keys_at(), Some(&at));
        }
        for url in [
            "http://login.example.org/keys",
            "http://127.0.0.1.example.org/",
            "http://10.0.0.1/",
            "file:///etc/keys",
            "ftp://localhost/",
            "https://user:secret@login.example.org/keys",
            "https:///keys",
            "/keys",
            "login.example.org",
            "",
        ] {
            let refusal = Issuer::new(by_url(url)).unwrap_err();
            assert!(
                refusal.starts_with("keys: ") && !refusal.contains("secret"),
                "{url}: {refusal}"
            );
        }
    }

    #[test]
    fn the_version_follows_every_setting_that_changes_who_is_let_in() {
        let version = |change: fn(&mut IssuerSettings)| {
            let mut settings = by_url("https://login.example.org/keys");
            change(&mut settings);
            Issuer::new(settings).unwrap().key_version()
        };
        let same = version(|_| {});
        assert_eq!(version(|_| {}), same);
        let changes: [fn(&mut IssuerSettings); 13] = [
            |s| s.name = "other".into(),
            |s| s.issuer = "https://other.example/".into(),
            |s| s.audience = vec!["other".into()],
            |s| s.algorithms.push(Algorithm::Rs256),
            |s| s.user_claim = "email".into(),
            |s| s.groups_claim = Some("groups".into()),
            |s| drop(s.required_claims.insert("scope".into(), "livy".into())),
            |s| s.as_basic_password = true,
            |s| s.rules.types.truncate(1),
            |s| s.rules.accept_id_tokens = true,
            |s| s.rules.denied_subjects.push("x".into()),
            |s| s.rules.denied_token_ids.push("x".into()),
            |s| s.rules.reads_after_expiry = Duration::from_secs(1),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(version(change), same, "change {number}");
        }
    }

    #[test]
    fn fetched_keys_outlive_a_reload_of_the_same_entry_only() {
        let key = Signer::fresh(Algorithm::Es256);
        let before = Issuer::new(by_url("https://login.example.org/keys")).unwrap();
        let fetched = Duration::from_secs(7);
        before.publish(KeySet::from_jwks(&jwks(&[key.jwk("k")])).unwrap(), fetched);
        let after = Issuer::new(by_url("https://login.example.org/keys")).unwrap();
        after.inherit_keys(&before);
        assert_eq!(after.key_version(), before.key_version());
        assert_eq!(after.fetched(), Some(fetched), "they are as old as before");
        let elsewhere = Issuer::new(by_url("https://other.example/keys")).unwrap();
        elsewhere.inherit_keys(&before);
        assert_eq!((elsewhere.keys_in_force(), elsewhere.fetched()), (0, None));
    }

    #[test]
    fn the_description_of_an_issuer_lies_below_it() {
        for (issuer, url) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/realms/spark",
                "https://a.example/realms/spark/.well-known/openid-configuration",
            ),
        ] {
            let mut settings = settings(KeySource::Discovery);
            settings.issuer = issuer.into();
            let at = KeysAt::Discovery(url.into());
            assert_eq!(Issuer::new(settings).unwrap().keys_at(), Some(&at));
        }
        let mut settings = settings(KeySource::Discovery);
        settings.issuer = "login".into();
        assert!(Issuer::new(settings).unwrap_err().starts_with("keys: 'login/"));
    }

    #[test]
    fn two_entries_that_could_not_be_told_apart_are_refused() {
        let issuer = |name: &str, iss: &str| {
            let mut settings = by_url("https://login.example.org/keys");
            settings.name = name.into();
            settings.issuer = iss.into();
            Arc::new(Issuer::new(settings).unwrap())
        };
        let authn = |issuers: Vec<Arc<Issuer>>| Authn::new("livy".into(), None, issuers);
        assert!(
            authn(vec![issuer("a", "x"), issuer("a", "y")])
                .unwrap_err()
                .contains("two jwt entries are named 'a'")
        );
        assert!(
            authn(vec![issuer("a", "x"), issuer("b", "x")])
                .unwrap_err()
                .contains("the same issuer 'x'")
        );
        let two = authn(vec![issuer("a", "x"), issuer("b", "y")]).unwrap();
        let subject = Subject::proven(Source::Jwt("b".into()), "alice", Vec::new());
        assert_eq!(two.version_of(&subject), Some(two.issuers[1].key_version()));
        let gone = Subject::proven(Source::Jwt("c".into()), "alice", Vec::new());
        assert_eq!(two.version_of(&gone), None);
    }
}
