//! TLS on both sides, with certificates made for this run.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Client, End, Setup, certificate, get, post};

const TLS_LISTENER: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = { certificate_file = \"tls.crt\", key_file = \"tls.key\" }\n";

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client's settings: whom it trusts, which versions it speaks, which protocols it offers.
pub(crate) fn trusting(
    authority: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// A gateway with a TLS listener; its authority.
fn with_tls(listen: &str) -> (Setup, String) {
    let (chain, key, authority) = certificate();
    let setup = Setup::new()
        .listen(listen)
        .file("tls.crt", &chain)
        .file("tls.key", &key);
    (setup, authority)
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_with_http_1_1() {
    let (setup, authority) = with_tls(TLS_LISTENER);
    let rig = setup.start().await;
    for (version, protocols) in [
        (&TLS12, vec!["http/1.1"]),
        (&TLS13, vec!["h2", "http/1.1"]),
        (&TLS13, vec![]),
    ] {
        let mut client = Client::connect_tls(rig.address(), trusting(&authority, &[version], &protocols))
            .await
            .unwrap();
        client
            .send(format!(
                "{}{}",
                get("/livy/version"),
                post("/livy/sessions", "{}")
            ))
            .await;
        client.reply().await.expect_status(200);
        client.reply().await.expect_status(201);
    }
}

#[tokio::test]
async fn the_version_is_the_highest_of_both_and_the_protocol_is_agreed_on() {
    let (setup, authority) = with_tls(TLS_LISTENER);
    let rig = setup.start().await;
    let config = trusting(&authority, &[&TLS12, &TLS13], &["h2", "http/1.1"]);
    let stream = TcpStream::connect(rig.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
}

#[tokio::test]
async fn a_client_that_speaks_only_http_2_is_refused_in_the_handshake() {
    let (setup, authority) = with_tls(TLS_LISTENER);
    let rig = setup.start().await;
    let refused = Client::connect_tls(rig.address(), trusting(&authority, &[&TLS13], &["h2"])).await;
    let error = refused.err().expect("there is nothing to agree on").to_string();
    assert!(
        error.contains("NoApplicationProtocol") || error.contains("no application protocol"),
        "{error}"
    );
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_never_answered_as_http() {
    let (setup, _) = with_tls(TLS_LISTENER);
    let rig = setup.start().await;
    let mut client = rig.connect().await;
    client.send(get("/livy/version")).await;
    let answer = client.rest().await;
    assert!(!answer.contains("HTTP/1"), "{answer:?}");
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn several_listeners_each_keep_their_own_tls_and_base_paths() {
    let listen = format!(
        "{TLS_LISTENER}base_paths = [\"/gateway/default/livy/v1\"]\n[[listen]]\naddress = \"127.0.0.1:0\"\n"
    );
    let (setup, authority) = with_tls(&listen);
    let rig = setup.start().await;
    let [outside, inside] = rig.app().addresses() else {
        panic!("two listeners")
    };
    let config = || trusting(&authority, &[&TLS13], &["http/1.1"]);
    let mut client = Client::connect_tls(*outside, config()).await.unwrap();
    client.send(post("/gateway/default/livy/v1/sessions", "{}")).await;
    assert_eq!(
        client.reply().await.header("location"),
        Some("/gateway/default/livy/v1/sessions/0")
    );
    client.send(get("/livy/version")).await;
    client.reply().await.expect_refusal(404, "unknown_operation");
    let mut client = Client::connect(*inside).await;
    client.send(post("/livy/sessions", "{}")).await;
    assert_eq!(client.reply().await.header("location"), Some("/livy/sessions/1"));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let (setup, authority) = with_tls(TLS_LISTENER);
    let rig = setup.start().await;
    let mut silent = rig.connect().await;
    // The first bytes of a ClientHello.
    silent.send([0x16, 0x03, 0x01, 0x02, 0x00]).await;
    let (end, took) = rig.pass_until(Duration::from_secs(1), silent.end()).await;
    assert_eq!(end, End::Closed);
    assert!((9..40).contains(&took.as_secs()), "{took:?}");
    let mut client = Client::connect_tls(rig.address(), trusting(&authority, &[&TLS13], &[]))
        .await
        .unwrap();
    client.send(get("/livy/version")).await;
    client.reply().await.expect_status(200);
}

/// Speaks TLS with this certificate and passes what comes to a port of this machine. Returns its own.
async fn terminator(chain: &str, key: &str, to: u16) -> u16 {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate ends here.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut livy = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut livy).await;
                }
            });
        }
    });
    port
}

/// A gateway before a Livy behind TLS, of which it trusts this authority; nothing means the one that vouches for it.
async fn before_https(trusted: Option<&str>, host: &str) -> crate::rig::Rig {
    let (chain, key, authority) = certificate();
    let livy = fake_livy::FakeLivy::builder().impersonation(true);
    // The port must be known before the configuration is written.
    let port = {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap().port()
    };
    let front = terminator(&chain, &key, port).await;
    Setup::new()
        .livy(livy.port(port))
        .livy_url(&format!("https://{host}:{front}"))
        .livy_keys("ca_file = \"ca.pem\"")
        .file("ca.pem", trusted.unwrap_or(&authority))
        .start()
        .await
}

#[tokio::test]
async fn an_https_livy_is_reached_when_the_configured_authority_vouches_for_it() {
    for host in ["localhost", "127.0.0.1"] {
        let rig = before_https(None, host).await;
        for _ in 0..3 {
            rig.ask(&get("/livy/version")).await.expect_status(200);
            rig.ask(&post("/livy/sessions", "{}")).await.expect_status(201);
        }
        assert_eq!(
            rig.livy().connections(),
            1,
            "TLS connections are kept, for writes too"
        );
    }
}

#[tokio::test]
async fn an_https_livy_of_another_authority_or_name_gets_no_request() {
    let (_, _, stranger) = certificate();
    for (trusted, host) in [(Some(stranger.as_str()), "localhost"), (None, "127.0.0.2")] {
        let rig = before_https(trusted, host).await;
        // What Livy holds cannot be known, so that no creation is tried.
        for request in [
            get("/livy/version"),
            get("/livy/sessions"),
            post("/livy/sessions", "{}"),
        ] {
            rig.ask(&request)
                .await
                .expect_refusal(503, "upstream_unreachable");
        }
        assert!(rig.livy().requests().is_empty());
    }
}
