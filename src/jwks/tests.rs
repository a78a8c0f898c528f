use std::collections::BTreeMap;
use std::sync::Mutex;

use http::HeaderValue;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::authn::testing::{Signer, jwks};
use crate::authn::{Algorithm, Authn, IssuerSettings, KeySource, TokenVerdict};
use crate::clock::ManualClock;

/// How the provider answers.
#[derive(Clone)]
enum Answer {
    Set(Vec<u8>),
    Raw(Vec<u8>),
    Silence,
}

/// A provider on loopback that tells what it was asked.
struct Provider {
    url: String,
    answer: Arc<Mutex<Answer>>,
    asked: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Provider {
    async fn start(answer: Answer, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = match tls {
            Some(_) => format!("https://localhost:{port}/keys"),
            None => format!("http://127.0.0.1:{port}/keys"),
        };
        let answer = Arc::new(Mutex::new(answer));
        let (tell, asked) = mpsc::unbounded_channel();
        let current = Arc::clone(&answer);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = current.lock().unwrap().clone();
                match &tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, answer, &tell).await,
                        Err(_) => drop(tell.send("no handshake".into())),
                    },
                    None => serve(stream, answer, &tell).await,
                }
            }
        });
        Self {
            url,
            answer,
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
    // A client that refuses the rest of a large answer closes early; that is its right.
    let _ = match answer {
        Answer::Set(set) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", set.len());
            stream.write_all(&[head.as_bytes(), &set].concat()).await
        }
        Answer::Raw(bytes) => stream.write_all(&bytes).await,
        Answer::Silence => stream.read_u8().await.map(drop),
    };
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
        let issuer = Arc::new(
            Issuer::new(IssuerSettings {
                name: "corp".into(),
                issuer: "https://login.example.org/".into(),
                audience: vec!["livy".into()],
                algorithms: vec![Algorithm::EdDsa],
                user_claim: "sub".into(),
                groups_claim: None,
                required_claims: BTreeMap::new(),
                as_basic_password: false,
                leeway: Duration::ZERO,
                keys: KeySource::Url(provider.url.clone()),
            })
            .unwrap(),
        );
        let clock = Arc::new(ManualClock::at(NOW));
        let fetcher =
            JwksFetcher::spawn(Arc::clone(&issuer), tls, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Self {
            provider,
            clock,
            authn: Authn::new("livy".into(), None, vec![issuer]).unwrap(),
            fetcher,
        }
    }

    fn accepts(&self, signer: &Signer, kid: &str) -> bool {
        let header = json!({"alg": "EdDSA", "kid": kid}).to_string();
        let claims = json!({
            "iss": "https://login.example.org/", "aud": "livy", "sub": "alice", "exp": NOW.as_secs() + 600,
        });
        let token = signer.token(Algorithm::EdDsa, &header, &claims.to_string());
        matches!(self.authn.verify_token(&token, NOW), TokenVerdict::Subject { .. })
    }

    /// Lets the other tasks go on until the token is accepted, or refused.
    async fn until(&self, accepted: bool, signer: &Signer, kid: &str) {
        while self.accepts(signer, kid) != accepted {
            tokio::task::yield_now().await;
        }
    }

    fn after_the_cooldown(&self) {
        self.clock.advance(COOLDOWN);
        self.fetcher.request_refresh();
    }
}

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
async fn a_thousand_invented_kids_ask_the_provider_once_in_a_cooldown() {
    let key = fresh();
    let mut setup = Setup::with(set_of(&key, "k")).await;
    setup.until(true, &key, "k").await;
    for number in 0..1_000 {
        assert!(!setup.accepts(&key, &format!("invented-{number}")));
        tokio::task::yield_now().await;
    }
    let rotated = fresh();
    setup.provider.answers(set_of(&rotated, "rotated"));
    setup.clock.advance(COOLDOWN);
    setup.until(true, &rotated, "rotated").await;
    setup.provider.next_request().await;
    setup.provider.next_request().await;
    assert!(
        setup.provider.asked.try_recv().is_err(),
        "the first fetch and the one after the cooldown"
    );
    assert!(!setup.accepts(&key, "k"), "a key that left the set");
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
        setup.after_the_cooldown();
        assert_eq!(
            setup.provider.next_request().await,
            "GET /keys HTTP/1.1",
            "{name}"
        );
        assert!(setup.accepts(&key, "k"), "{name}");
    }
    // The next fetch begins when the one before was dealt with.
    let rotated = fresh();
    setup.provider.answers(set_of(&rotated, "rotated"));
    setup.after_the_cooldown();
    assert_eq!(setup.provider.next_request().await, "GET /keys HTTP/1.1");
    assert!(setup.accepts(&key, "k") || setup.accepts(&rotated, "rotated"));
    setup.until(true, &rotated, "rotated").await;
}

#[tokio::test]
async fn keys_that_could_not_be_fetched_for_a_day_are_closed() {
    let key = fresh();
    let setup = Setup::with(set_of(&key, "k")).await;
    setup.until(true, &key, "k").await;
    setup.provider.answers(Answer::Raw(Vec::new()));
    setup.clock.advance(AGE_MAX);
    setup.fetcher.request_refresh();
    setup.until(false, &key, "k").await;
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
    let key = fresh();
    let issuer = Issuer::new(IssuerSettings {
        name: "corp".into(),
        issuer: "https://login.example.org/".into(),
        audience: vec!["livy".into()],
        algorithms: vec![Algorithm::EdDsa],
        user_claim: "sub".into(),
        groups_claim: None,
        required_claims: BTreeMap::new(),
        as_basic_password: false,
        leeway: Duration::ZERO,
        keys: KeySource::Public(key.pem().into_bytes()),
    });
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let tls = client_config(rustls::RootCertStore::empty());
    assert!(JwksFetcher::spawn(Arc::new(issuer.unwrap()), tls, clock).is_none());
}

#[test]
fn the_provider_says_how_long_its_set_is_good_within_bounds() {
    let seconds = Duration::from_secs;
    for (cache_control, wait) in [
        (None, 600),
        (Some("public, max-age=900"), 900),
        (Some("MAX-AGE=\"900\""), 900),
        (Some("max-age=0"), 60),
        (Some("max-age=86400"), 3600),
        (Some("no-store"), 600),
        (Some("max-age=soon"), 600),
        (Some("s-maxage=900"), 600),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(value) = cache_control {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        let mut schedule = Schedule::starting(seconds(5));
        schedule.succeeded(seconds(5), max_age(&headers));
        assert_eq!(schedule.wait(seconds(5)), seconds(wait), "{cache_control:?}");
    }
}

#[test]
fn a_failure_is_tried_again_after_a_minute_and_a_request_after_the_cooldown() {
    let seconds = Duration::from_secs;
    let mut schedule = Schedule::starting(seconds(5));
    assert_eq!(schedule.wait(seconds(5)), seconds(0));
    schedule.began(seconds(5));
    assert!(!schedule.failed(seconds(15)));
    assert_eq!(schedule.wait(seconds(15)), seconds(60));
    assert!(!schedule.may_follow_request(seconds(34)));
    assert!(schedule.may_follow_request(seconds(35)));
    assert!(!schedule.failed(seconds(5 + 24 * 3600 - 1)));
    assert!(schedule.failed(seconds(5 + 24 * 3600)));
}
