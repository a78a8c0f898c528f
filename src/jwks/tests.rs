use std::collections::BTreeMap;
use std::sync::Mutex;

use futures_util::FutureExt;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::schedule::EVERY;
use super::*;
use crate::authn::testing::{Signer, jwks};
use crate::authn::{Algorithm, Authn, IssuerSettings, KeySource, TokenRules, TokenUse, TokenVerdict};
use crate::clock::ManualClock;

/// What the provider's headers and its description say.
mod documents;

/// How the provider answers when it is asked for keys.
#[derive(Clone)]
enum Answer {
    Set(Vec<u8>),
    Raw(Vec<u8>),
    /// The set, when the test says so.
    Late(Arc<Notify>, Vec<u8>),
    Silence,
}

/// A provider on loopback that tells what it was asked.
struct Provider {
    url: String,
    answer: Arc<Mutex<Answer>>,
    description: Arc<Mutex<Vec<u8>>>,
    asked: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Provider {
    /// Its description is of `issuer`, by default its own.
    async fn start(answer: Answer, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let own = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let description = Arc::new(Mutex::new(own.to_string().into_bytes()));
        let described = Arc::clone(&description);
        let answer = Arc::new(Mutex::new(answer));
        let (tell, asked) = mpsc::unbounded_channel();
        let current = Arc::clone(&answer);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = current.lock().unwrap().clone();
                let description = described.lock().unwrap().clone();
                match &tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, answer, description, &tell).await,
                        Err(_) => drop(tell.send("no handshake".into())),
                    },
                    None => serve(stream, answer, description, &tell).await,
                }
            }
        });
        Self {
            url,
            answer,
            description,
            asked,
            task,
        }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The request line of the next request.
    async fn next_request(&mut self) -> String {
        self.asked.recv().await.unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Answer,
    description: Vec<u8>,
    tell: &mpsc::UnboundedSender<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    drop(tell.send(head.lines().next().unwrap().to_owned()));
    let answer = if head.starts_with("GET /keys ") {
        answer
    } else {
        Answer::Set(description)
    };
    // A client that refuses the rest of a large answer closes early; that is its right.
    let _ = match answer {
        Answer::Set(set) => stream.write_all(&whole(&set)).await,
        Answer::Raw(bytes) => stream.write_all(&bytes).await,
        Answer::Late(now, set) => {
            now.notified().await;
            stream.write_all(&whole(&set)).await
        }
        Answer::Silence => stream.read_u8().await.map(drop),
    };
}

fn whole(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An issuer whose keys come from a provider, and the fetcher between them.
struct Setup {
    provider: Provider,
    clock: Arc<ManualClock>,
    authn: Authn,
    fetcher: JwksFetcher,
}

const NOW: Duration = Duration::from_secs(1_800_000_000);

impl Setup {
    async fn with(answer: Answer) -> Self {
        let provider = Provider::start(answer, None).await;
        Self::at(provider, client_config(rustls::RootCertStore::empty()))
    }

    fn at(provider: Provider, tls: Arc<rustls::ClientConfig>) -> Self {
        let keys = KeySource::Url(format!("{}/keys", provider.url));
        Self::by(keys, provider, tls)
    }

    async fn discovered(answer: Answer) -> Self {
        let provider = Provider::start(answer, None).await;
        let tls = client_config(rustls::RootCertStore::empty());
        Self::by(KeySource::Discovery, provider, tls)
    }

    fn by(keys: KeySource, provider: Provider, tls: Arc<rustls::ClientConfig>) -> Self {
        let issuer = Arc::new(Issuer::new(settings(provider.url.clone(), keys)).unwrap());
        let clock = Arc::new(ManualClock::at(NOW));
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let fetcher = JwksFetcher::spawn(Arc::clone(&issuer), tls, time, || 0.5).unwrap();
        Self {
            provider,
            clock,
            authn: Authn::new("livy".into(), None, vec![issuer]).unwrap(),
            fetcher,
        }
    }

    fn issuer(&self) -> &Issuer {
        &self.authn.issuers[0]
    }

    fn verdict(&self, signer: &Signer, kid: &str) -> TokenVerdict {
        let header = json!({"alg": "EdDSA", "kid": kid}).to_string();
        let claims = json!({
            "iss": self.provider.url, "aud": "livy", "sub": "alice", "exp": NOW.as_secs() + 600,
        });
        let token = signer.token(Algorithm::EdDsa, &header, &claims.to_string());
        self.authn.verify_token(&token, NOW, TokenUse::Write)
    }

    fn accepts(&self, signer: &Signer, kid: &str) -> bool {
        matches!(self.verdict(signer, kid), TokenVerdict::Subject { .. })
    }

    /// What a request does: verifies the token, and again after each fetch that may bring its key.
    async fn admits(&self, signer: &Signer, kid: &str) -> bool {
        while let TokenVerdict::UnknownKey(missing) = self.verdict(signer, kid) {
            match missing.issuer.ask_for_key(missing.kid.as_deref()) {
                Some(fetch) => drop(fetch.await),
                None => return false,
            }
        }
        self.accepts(signer, kid)
    }

    /// How often the provider was asked since this was looked at last.
    fn times_asked(&mut self) -> usize {
        std::iter::from_fn(|| self.provider.asked.try_recv().ok()).count()
    }

    /// Lets the other tasks go on until the token is accepted, or refused.
    async fn until(&self, accepted: bool, signer: &Signer, kid: &str) {
        while self.accepts(signer, kid) != accepted {
            tokio::task::yield_now().await;
        }
    }

    /// Has the keys fetched once more.
    async fn fetch_again(&self) {
        self.clock.advance(EVERY);
        let unheard_of = self.clock.monotonic().as_millis().to_string();
        self.issuer().ask_for_key(Some(&unheard_of)).unwrap().await;
    }
}

fn settings(issuer: String, keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        name: "corp".into(),
        issuer,
        audience: vec!["livy".into()],
        algorithms: vec![Algorithm::EdDsa],
        user_claim: "sub".into(),
        groups_claim: None,
        required_claims: BTreeMap::new(),
        as_basic_password: false,
        leeway: Duration::ZERO,
        rules: TokenRules::default(),
        keys,
        stale_keys: STALE,
    }
}

const STALE: Duration = Duration::from_secs(2 * 3600);

fn client_config(roots: rustls::RootCertStore) -> Arc<rustls::ClientConfig> {
    Arc::new(
        rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

fn fresh() -> Signer {
    Signer::fresh(Algorithm::EdDsa)
}

fn set_of(signer: &Signer, kid: &str) -> Answer {
    Answer::Set(jwks(&[signer.jwk(kid)]))
}

#[tokio::test]
async fn keys_are_fetched_at_once_and_published() {
    let key = fresh();
    let mut setup = Setup::with(set_of(&key, "k")).await;
    assert_eq!(setup.provider.next_request().await, "GET /keys HTTP/1.1");
    setup.until(true, &key, "k").await;
}

#[tokio::test]
async fn a_thousand_invented_kids_ask_the_provider_three_times_and_then_each_half_minute() {
    let key = fresh();
    let mut setup = Setup::with(set_of(&key, "k")).await;
    assert!(setup.admits(&key, "k").await, "it waits for the first fetch");
    assert_eq!(setup.times_asked(), 1);
    for number in 0..1_000 {
        assert!(!setup.admits(&key, &format!("one-by-one-{number}")).await);
    }
    assert_eq!(setup.times_asked(), 3, "the burst");
    setup.clock.advance(3 * EVERY);
    let kids: Vec<_> = (0..1_000).map(|number| format!("together-{number}")).collect();
    let admitted = futures_util::future::join_all(kids.iter().map(|kid| setup.admits(&key, kid))).await;
    assert!(admitted.iter().all(|admitted| !admitted));
    assert!(setup.times_asked() <= 3, "the burst");
    for _ in 0..10 {
        setup.clock.advance(EVERY);
        for number in 0..10 {
            assert!(!setup.admits(&key, &format!("later-{number}")).await);
        }
        assert!(setup.times_asked() <= 1, "once each half minute");
    }
}

#[tokio::test]
async fn the_first_tokens_of_a_new_key_wait_for_one_fetch_and_are_good() {
    let (old, new) = (fresh(), fresh());
    let mut setup = Setup::with(set_of(&old, "old")).await;
    assert!(setup.admits(&old, "old").await);
    assert!(!setup.admits(&old, "invented").await, "just before");
    setup.times_asked();
    let both = Answer::Set(jwks(&[old.jwk("old"), new.jwk("new")]));
    setup.provider.answers(both);
    let waiting = (0..200).map(|number| {
        let (key, kid) = if number % 2 == 0 {
            (&old, "old")
        } else {
            (&new, "new")
        };
        setup.admits(key, kid)
    });
    let admitted = futures_util::future::join_all(waiting).await;
    assert!(admitted.iter().all(|admitted| *admitted), "{admitted:?}");
    assert_eq!(setup.times_asked(), 1);
}

#[tokio::test]
async fn a_fetch_that_was_under_way_before_the_key_was_there_is_followed_by_another() {
    let (old, new) = (fresh(), fresh());
    let now = Arc::new(Notify::new());
    let mut setup = Setup::with(Answer::Late(Arc::clone(&now), jwks(&[old.jwk("old")]))).await;
    // The provider is asked already, and answers with the old set when the new one is published.
    setup.provider.next_request().await;
    setup.provider.answers(set_of(&new, "new"));
    let mut waiting = std::pin::pin!(setup.admits(&new, "new"));
    assert!(waiting.as_mut().now_or_never().is_none());
    now.notify_one();
    assert!(waiting.await);
}

#[tokio::test]
async fn who_waits_for_a_key_while_the_configuration_is_loaded_again_gets_it() {
    let (old, new) = (fresh(), fresh());
    let setup = Setup::with(set_of(&old, "old")).await;
    assert!(setup.admits(&old, "old").await);
    let now = Arc::new(Notify::new());
    setup.provider.answers(Answer::Late(
        Arc::clone(&now),
        jwks(&[new.jwk("new"), old.jwk("old")]),
    ));
    let Setup {
        mut provider,
        authn,
        fetcher,
        ..
    } = setup;
    provider.next_request().await;
    let fetch = authn.issuers[0].ask_for_key(Some("new")).unwrap();
    provider.next_request().await;
    drop(fetcher);
    now.notify_one();
    fetch.await;
    assert_eq!(authn.issuers[0].keys_in_force(), 2);
    assert!(authn.issuers[0].ask_for_key(Some("newer")).is_none());
}

#[tokio::test]
async fn old_tokens_whose_key_is_gone_leave_the_budget_to_new_keys() {
    let (old, new) = (fresh(), fresh());
    let mut setup = Setup::with(set_of(&old, "old")).await;
    assert!(setup.admits(&old, "old").await);
    setup.provider.answers(set_of(&new, "new"));
    assert!(setup.admits(&new, "new").await);
    for _ in 0..100 {
        // Three notebooks poll with tokens of keys that are gone, all the time.
        for kid in ["old", "older", "oldest"] {
            assert!(!setup.admits(&old, kid).await);
        }
        setup.clock.advance(Duration::from_secs(5));
    }
    assert!(setup.times_asked() < 15, "once a minute, and a few");
    let newest = fresh();
    setup.provider.answers(set_of(&newest, "newest"));
    assert!(setup.admits(&newest, "newest").await, "there is budget left");
}

#[tokio::test]
async fn a_failed_fetch_does_not_hold_against_the_kid_it_was_for() {
    let (old, new) = (fresh(), fresh());
    let setup = Setup::with(set_of(&old, "old")).await;
    assert!(setup.admits(&old, "old").await);
    setup.provider.answers(Answer::Raw(Vec::new()));
    let fetch = setup.issuer().ask_for_key(Some("new")).unwrap();
    fetch.await;
    setup.provider.answers(set_of(&new, "new"));
    assert!(setup.admits(&new, "new").await);
}

#[tokio::test]
async fn whatever_the_provider_answers_the_last_good_keys_stay() {
    let key = fresh();
    let mut setup = Setup::with(set_of(&key, "k")).await;
    setup.until(true, &key, "k").await;
    setup.provider.next_request().await;
    let large = [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"[..],
        &vec![b' '; 2_000_000],
    ]
    .concat();
    let stranger = fresh();
    let foreign = jwks(&[stranger.jwk("k")]);
    let head = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}/other\r\nContent-Length: {}\r\n\r\n",
        setup.provider.url,
        foreign.len()
    );
    for (name, answer) in [
        (
            "an error",
            b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        ("a redirect with a set", [head.as_bytes(), &foreign].concat()),
        ("too much", large),
        (
            "half a set",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[".to_vec(),
        ),
        (
            "a page",
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_vec(),
        ),
        (
            "an empty set",
            b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}".to_vec(),
        ),
        ("no HTTP", b"what?\r\n\r\n".to_vec()),
        ("nothing", Vec::new()),
    ] {
        setup.provider.answers(Answer::Raw(answer));
        setup.fetch_again().await;
        assert_eq!(
            setup.provider.next_request().await,
            "GET /keys HTTP/1.1",
            "{name}"
        );
        assert!(setup.accepts(&key, "k"), "{name}");
    }
    let rotated = fresh();
    setup.provider.answers(set_of(&rotated, "rotated"));
    setup.fetch_again().await;
    assert!(setup.accepts(&rotated, "rotated") && !setup.accepts(&key, "k"));
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_stay_for_stale_keys_and_no_longer() {
    let key = fresh();
    let setup = Setup::with(set_of(&key, "k")).await;
    assert!(setup.admits(&key, "k").await);
    setup.provider.answers(Answer::Raw(Vec::new()));
    setup.clock.advance(STALE - EVERY - Duration::from_millis(1));
    setup.fetch_again().await;
    assert!(setup.accepts(&key, "k"), "a moment before");
    // A reload makes them no younger.
    let again = Issuer::new(settings(
        setup.provider.url.clone(),
        KeySource::Url(format!("{}/keys", setup.provider.url)),
    ));
    let again = again.unwrap();
    again.inherit_keys(setup.issuer());
    assert_eq!(again.fetched(), setup.issuer().fetched());
    setup.fetch_again().await;
    assert!(!setup.accepts(&key, "k"));
    setup.provider.answers(set_of(&key, "k"));
    assert!(setup.admits(&key, "k").await, "and they come back");
}

#[tokio::test]
async fn an_issuer_that_describes_itself_says_where_its_keys_are() {
    let key = fresh();
    let mut setup = Setup::discovered(set_of(&key, "k")).await;
    assert!(setup.admits(&key, "k").await);
    let description = "GET /.well-known/openid-configuration HTTP/1.1";
    let keys = "GET /keys HTTP/1.1";
    assert_eq!(setup.provider.next_request().await, description);
    assert_eq!(setup.provider.next_request().await, keys);
    setup.fetch_again().await;
    assert_eq!(
        setup.provider.next_request().await,
        keys,
        "the description is known"
    );
    setup.provider.answers(Answer::Raw(Vec::new()));
    setup.fetch_again().await;
    assert_eq!(setup.provider.next_request().await, keys);
    setup.provider.answers(set_of(&key, "k"));
    for (what, pause) in [
        ("after a failure", Duration::ZERO),
        ("after an hour", Duration::from_secs(3600)),
    ] {
        setup.clock.advance(pause);
        setup.fetch_again().await;
        assert_eq!(setup.provider.next_request().await, description, "{what}");
        assert_eq!(setup.provider.next_request().await, keys, "{what}");
    }
}

#[tokio::test]
async fn what_describes_another_issuer_is_not_asked_for_keys() {
    let key = fresh();
    let mut setup = Setup::discovered(set_of(&key, "k")).await;
    let url = setup.provider.url.clone();
    let foreign = json!({"issuer": format!("{url}/"), "jwks_uri": format!("{url}/keys")});
    *setup.provider.description.lock().unwrap() = foreign.to_string().into_bytes();
    assert!(!setup.admits(&key, "k").await);
    assert_eq!(setup.issuer().keys_in_force(), 0);
    while let Ok(line) = setup.provider.asked.try_recv() {
        assert!(line.starts_with("GET /.well-known/"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_is_given_up_and_asked_again() {
    let mut setup = Setup::with(Answer::Silence).await;
    setup.provider.next_request().await;
    setup.provider.next_request().await;
}

#[tokio::test]
async fn the_task_ends_with_the_fetcher() {
    let key = fresh();
    let Setup {
        authn,
        fetcher,
        provider,
        ..
    } = Setup::with(set_of(&key, "k")).await;
    let issuer = &authn.issuers[0];
    assert_eq!(Arc::strong_count(issuer), 2, "the task holds it");
    drop(fetcher);
    while Arc::strong_count(issuer) > 1 {
        tokio::task::yield_now().await;
    }
    drop(provider);
}

#[tokio::test]
async fn over_https_only_a_provider_with_a_trusted_certificate_is_believed() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let acceptor = || {
        let private = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)
            .unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    };
    let key = fresh();

    let stranger = Provider::start(set_of(&key, "k"), Some(acceptor())).await;
    let mut setup = Setup::at(stranger, client_config(rustls::RootCertStore::empty()));
    assert_eq!(setup.provider.next_request().await, "no handshake");
    assert!(!setup.accepts(&key, "k"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let known = Provider::start(set_of(&key, "k"), Some(acceptor())).await;
    let setup = Setup::at(known, client_config(roots));
    setup.until(true, &key, "k").await;
}

#[test]
fn an_issuer_with_its_own_keys_has_nothing_to_fetch() {
    let keys = KeySource::Public(fresh().pem().into_bytes());
    let issuer = Issuer::new(settings("https://login.example.org/".into(), keys));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let tls = client_config(rustls::RootCertStore::empty());
    assert!(JwksFetcher::spawn(Arc::new(issuer.unwrap()), tls, clock, || 0.5).is_none());
}

#[tokio::test]
async fn while_the_provider_is_silent_or_failing_a_token_of_a_new_key_is_not_called_wrong() {
    use crate::identity::Identities;
    use crate::limits::LoginLimits;
    use crate::login::{LoginPolicy, Logins};
    for answer in [
        Answer::Silence,
        Answer::Raw(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ] {
        let (old, new) = (fresh(), fresh());
        let mut setup = Setup::with(set_of(&old, "old")).await;
        assert!(setup.admits(&old, "old").await);
        setup.times_asked();
        setup.provider.answers(answer);
        let clock = Arc::clone(&setup.clock) as Arc<dyn Clock>;
        let logins = Logins::new(clock, LoginLimits::default(), 1).unwrap();
        let identities = Identities::new(Vec::new(), Vec::new(), Vec::new()).unwrap();
        let header = json!({"alg": "EdDSA", "kid": "new"}).to_string();
        let claims =
            json!({"iss": setup.provider.url, "aud": "livy", "sub": "alice", "exp": NOW.as_secs() + 600});
        let token = new.token(Algorithm::EdDsa, &header, &claims.to_string());
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let policy = LoginPolicy {
            authn: &Arc::new(std::mem::replace(
                &mut setup.authn,
                Authn::new("livy".into(), None, Vec::new()).unwrap(),
            )),
            identities: &identities,
            generation: 1,
            wish: TokenUse::Write,
        };
        let outcome = logins
            .authenticate(&policy, &headers, "127.0.0.1".parse().unwrap())
            .await;
        assert_eq!(outcome.unwrap_err().answer().code, "login_unavailable");
        assert_eq!(setup.times_asked(), 1, "one request asks a failing provider once");
    }
}
