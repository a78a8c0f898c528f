//! Issuers whose keys are fetched: found by the issuer's own description, over TLS of a private authority, while keys
//! change and while strangers make up kids.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use livy_gateway::clock::Clock;
use livy_gateway::reload::Reloader;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::version;
use crate::rig::{NOW, Rig, Setup, Signer, certificate};

/// An issuer that describes itself and publishes keys, and counts how often it is asked for them.
struct Provider {
    url: String,
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", socket.local_addr().unwrap());
        let provider = Self {
            url: url.clone(),
            keys: Arc::new(Mutex::new(json!({"keys": []}))),
            asked: Arc::default(),
        };
        let (keys, asked) = (Arc::clone(&provider.keys), Arc::clone(&provider.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let set = keys.lock().unwrap().to_string();
                let description = json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string();
                let (tls, asked) = (tls.clone(), Arc::clone(&asked));
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, &description, &set, &asked).await,
                            Err(_distrusted) => {}
                        },
                        None => answer(stream, &description, &set, &asked).await,
                    }
                });
            }
        });
        provider
    }

    fn publishes(&self, keys: &[(&Signer, &str)]) {
        let keys: Vec<_> = keys.iter().map(|(signer, kid)| signer.jwk(kid)).collect();
        *self.keys.lock().unwrap() = json!({ "keys": keys });
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A gateway that trusts it, and what fetches its keys.
    async fn trusted(&self, files: &[(&str, &str)], more: &str) -> (Rig, Reloader) {
        let rig = self.trusted_before_it_is_asked(files, more).await;
        let reloader = reloader(&rig);
        (rig, reloader)
    }

    async fn trusted_before_it_is_asked(&self, files: &[(&str, &str)], more: &str) -> Rig {
        let table = format!(
            "[[jwt]]\nname = \"corp\"\nissuer = \"{}\"\naudience = [\"livy-gateway\"]\nalgorithms = [\"ES256\"]\n\
             keys = {{ discovery = true{more} }}\n[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${{subject}}\"\n\
             [limits]\nper_address = {{ rate = \"10000/s\", burst = 10000 }}\n",
            self.url
        );
        let setup = files
            .iter()
            .fold(Setup::new(), |setup, (name, content)| setup.file(name, content));
        setup.rest(&table).start().await
    }

    fn token(&self, signer: &Signer, kid: &str) -> String {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        let claims = json!({"iss": self.url, "aud": "livy-gateway", "sub": "alice", "exp": NOW + 3600});
        signer.sign(&header, &claims.to_string())
    }
}

fn reloader(rig: &Rig) -> Reloader {
    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    Reloader::new(&rig.stage.config(), Arc::clone(rig.app().policy()), clock)
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    description: &str,
    set: &str,
    asked: &AtomicUsize,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let body = if head.starts_with(b"GET /keys ") {
        asked.fetch_add(1, Ordering::SeqCst);
        set
    } else {
        description
    };
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn a_key_that_is_published_and_used_at_once_refuses_nobody() {
    let provider = Provider::start(None).await;
    let (old, new) = (Signer::p256(), Signer::p256());
    provider.publishes(&[(&old, "old")]);
    let (rig, _reloader) = provider.trusted(&[], "").await;
    let old = provider.token(&old, "old");
    version(&rig, &old).await.expect_status(200);
    let before = provider.asked();

    provider.publishes(&[(&new, "new")]);
    let new = provider.token(&new, "new");
    let replies = join_all((0..100).map(|_| version(&rig, &new))).await;
    for reply in &replies {
        reply.expect_status(200);
    }
    assert_eq!(provider.asked() - before, 1, "all of them waited for one fetch");
    let users = rig.livy().requests();
    assert!(
        users
            .iter()
            .all(|request| request.query_values("doAs") == ["alice"])
    );
    // The old key has left the set, and with it what was in the cache.
    version(&rig, &old)
        .await
        .expect_refusal(401, "invalid_credentials");
}

#[tokio::test]
async fn a_token_that_comes_before_anybody_fetches_keys_waits_for_them() {
    let provider = Provider::start(None).await;
    let key = Signer::p256();
    provider.publishes(&[(&key, "k")]);
    let rig = provider.trusted_before_it_is_asked(&[], "").await;
    let token = provider.token(&key, "k");
    let begins = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        reloader(&rig)
    };
    let (reply, _reloader) = tokio::join!(version(&rig, &token), begins);
    reply.expect_status(200);
}

#[tokio::test]
async fn a_thousand_made_up_kids_ask_the_provider_three_times_at_most() {
    let provider = Provider::start(None).await;
    let (key, stranger) = (Signer::p256(), Signer::p256());
    provider.publishes(&[(&key, "k")]);
    let (rig, _reloader) = provider.trusted(&[], "").await;
    let good = provider.token(&key, "k");
    version(&rig, &good).await.expect_status(200);
    let before = provider.asked();
    rig.livy().clear();
    for batch in 0..20 {
        let tokens: Vec<_> = (0..50)
            .map(|number| provider.token(&stranger, &format!("kid-{batch}-{number}")))
            .collect();
        for reply in join_all(tokens.iter().map(|token| version(&rig, token))).await {
            reply.expect_refusal(401, "invalid_credentials");
        }
    }
    assert!(provider.asked() - before <= 3, "{}", provider.asked() - before);
    assert!(rig.livy().requests().is_empty());
    version(&rig, &good).await.expect_status(200);
    // A rotation right behind that is noticed with the next fetch, half a minute later.
    let new = Signer::p256();
    provider.publishes(&[(&key, "k"), (&new, "new")]);
    rig.clock.advance(Duration::from_secs(30));
    version(&rig, &provider.token(&new, "new"))
        .await
        .expect_status(200);
}

#[tokio::test]
async fn a_private_authority_vouches_for_the_issuer_that_names_it_and_for_no_other() {
    let (chain, key, authority) = certificate();
    let (_, _, stranger) = certificate();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let provider = Provider::start(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let signer = Signer::p256();
    provider.publishes(&[(&signer, "k")]);
    let token = provider.token(&signer, "k");

    let files = [
        ("ca.pem", authority.as_str()),
        ("stranger.pem", stranger.as_str()),
    ];
    let (rig, _reloader) = provider.trusted(&files, ", ca_file = \"ca.pem\"").await;
    version(&rig, &token).await.expect_status(200);
    let (rig, _reloader) = provider.trusted(&files, ", ca_file = \"stranger.pem\"").await;
    version(&rig, &token)
        .await
        .expect_refusal(503, "login_unavailable");
    assert!(rig.livy().requests().is_empty());
}
