//! Client certificates as logins: whom they make of whom, beside the other logins, and how long.

use std::sync::Arc;
use std::time::Duration;

use livy_gateway::clock::Clock;
use livy_gateway::reload::{Reloaded, Reloader};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::rig::{
    Authority, Badge, Client, Issuer, NOW, Reply, Rig, Setup, basic, basic_with, certificate, eventually,
    request,
};
use crate::tls::trusting;

mod required;
mod revoked;

const ASKS: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n\
    tls = { certificate_file = \"tls.crt\", key_file = \"tls.key\" }\nclient_ca_file = \"clients.pem\"\n";
const OPEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

const MAPPED: &str = r#"
[[identity.map]]
from = "certificate"
subject = '(?<name>[a-z]+)\.people'
livy_user = "${name}"

[[identity.map]]
from = "certificate"
subject = "airflow"
livy_user = "airflow"

[[identity.map]]
from = "basic"
livy_user = "${subject}"

[[identity.map]]
from = "jwt:corp"
livy_user = "${subject}"

[[identity.delegate]]
service = "certificate:airflow"
for = ["user:bob"]
"#;

/// A gateway that takes the certificates of one authority, beside passwords and tokens.
struct House {
    rig: Rig,
    clients: Authority,
    /// Of the gateway's own certificate.
    server: String,
    issuer: Issuer,
    reloader: Reloader,
}

impl House {
    /// With these listeners, of which the first is asked.
    async fn with(listeners: &str) -> Self {
        let (clients, issuer) = (Authority::new("clients"), Issuer::new());
        let (chain, key, server) = certificate();
        let setup = Setup::new()
            .roomy()
            .listen(listeners)
            .file("tls.crt", &chain)
            .file("tls.key", &key)
            .file("clients.pem", &clients.pem())
            .file("revoked.pem", &clients.revokes(&[]));
        let setup = issuer.trusted_by(setup, &format!("{MAPPED}[log]\naudit_file = \"audit.jsonl\"\n"));
        let rig = setup.start().await;
        let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
        let reloader = Reloader::new(&rig.stage.config(), Arc::clone(rig.app().policy()), clock);
        Self {
            rig,
            clients,
            server,
            issuer,
            reloader,
        }
    }

    async fn new() -> Self {
        Self::with(ASKS).await
    }

    async fn try_connect(&self, badge: &Badge) -> std::io::Result<Client> {
        Client::connect_tls(self.rig.address(), badge.client(&self.server)).await
    }

    async fn connect(&self, badge: &Badge) -> Client {
        self.try_connect(badge).await.unwrap()
    }

    async fn connect_without(&self) -> Client {
        Client::connect_tls(self.rig.address(), trusting(&self.server, &[&TLS13], &[]))
            .await
            .unwrap()
    }

    fn reload(&mut self) {
        let shared = self.rig.app().shared();
        let outcome = self.reloader.reload(&shared.logins, &shared.users);
        assert!(matches!(outcome, Reloaded::InForce { .. }), "{outcome:?}");
    }

    /// Nothing gets through: the handshake fails, or what TLS 1.3 tells afterwards ends the connection.
    async fn keeps_out(&self, badge: &Badge) {
        let before = self.rig.livy().requests().len();
        if let Ok(mut client) = self.try_connect(badge).await {
            let _ = client.try_send(read("")).await;
            assert_eq!(client.rest().await, "");
        }
        assert_eq!(self.rig.livy().requests().len(), before);
    }

    /// As whom Livy was asked last.
    #[track_caller]
    fn livy_heard(&self, user: &str) {
        let requests = self.rig.livy().requests();
        let last = requests.last().expect("Livy was asked");
        assert_eq!(last.query_values("doAs"), [user], "{}", last.target);
    }
}

fn read(login: &str) -> Vec<u8> {
    request("GET", "/livy/version", login, "")
}

async fn ask(client: &mut Client, request: impl AsRef<[u8]>) -> Reply {
    client.send(request).await;
    client.reply().await
}

fn create(headers: &str, body: &str) -> Vec<u8> {
    let headers = format!("{headers}Content-Type: application/json\r\n");
    request("POST", "/livy/sessions", &headers, body)
}

#[tokio::test]
async fn a_certificate_alone_is_a_login_and_livy_gets_the_mapped_user() {
    let house = House::new().await;
    let mut alice = house.connect(&house.clients.badge("alice.people")).await;
    let created = ask(&mut alice, create("", r#"{"kind":"spark"}"#)).await;
    created.expect_status(201);
    assert_eq!(created.json()["proxyUser"], "alice");
    house.livy_heard("alice");
    let last = house.rig.livy().requests().pop().unwrap();
    assert_eq!(last.json()["proxyUser"], "alice");
    let me = ask(&mut alice, request("GET", "/livy/gateway/me", "", "")).await;
    assert_eq!(me.json()["subject"], "certificate:alice.people");

    let mut bob = house.connect(&house.clients.badge("bob.people")).await;
    let path = created.header("location").unwrap();
    ask(&mut bob, request("GET", path, "", ""))
        .await
        .expect_status(404);
}

#[tokio::test]
async fn a_certificate_counts_in_both_versions_of_tls() {
    let house = House::new().await;
    let badge = house.clients.badge("alice.people");
    for version in [&TLS12, &TLS13] {
        let config = badge.client_of(version, &house.server);
        let mut client = Client::connect_tls(house.rig.address(), config).await.unwrap();
        ask(&mut client, read("")).await.expect_status(200);
        house.livy_heard("alice");
    }
}

#[tokio::test]
async fn the_audit_names_the_subject_of_a_certificate() {
    let house = House::new().await;
    let mut alice = house.connect(&house.clients.badge("alice.people")).await;
    ask(&mut alice, create("", "{}")).await.expect_status(201);
    house.rig.app().shared().audit.flush();
    eventually("the creation is in the audit", async || {
        house.rig.stage.read("audit.jsonl").lines().any(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["event"] == "creation" && record["subject"] == "certificate:alice.people"
        })
    })
    .await;
}

#[tokio::test]
async fn a_name_that_no_rule_maps_gets_nowhere() {
    let house = House::new().await;
    for name in ["alice", "alice.people.evil", "ALICE.people", "hdfs.people"] {
        let mut client = house.connect(&house.clients.badge(name)).await;
        ask(&mut client, read(""))
            .await
            .expect_refusal(403, "unmapped_identity");
    }
    assert!(house.rig.livy().requests().is_empty());
}

#[tokio::test]
async fn with_an_authorization_header_the_header_alone_decides() {
    let house = House::new().await;
    let mut client = house.connect(&house.clients.badge("alice.people")).await;
    for (login, user) in [
        (String::new(), "alice"),
        (basic("bob"), "bob"),
        (house.issuer.bearer("carol"), "carol"),
        (String::new(), "alice"),
    ] {
        ask(&mut client, read(&login)).await.expect_status(200);
        house.livy_heard(user);
    }
    let asked = house.rig.livy().requests().len();
    for (login, code) in [
        (basic_with("alice", "wrong"), "invalid_credentials"),
        (basic_with("alice", ""), "invalid_credentials"),
        ("Authorization: Bearer x\r\n".to_owned(), "invalid_credentials"),
        (
            "Authorization: Negotiate x\r\n".to_owned(),
            "malformed_credentials",
        ),
        ("Authorization: \r\n".to_owned(), "malformed_credentials"),
        (basic("bob").repeat(2), "malformed_credentials"),
    ] {
        ask(&mut client, read(&login)).await.expect_refusal(401, code);
    }
    assert_eq!(house.rig.livy().requests().len(), asked);
}

#[tokio::test]
async fn where_a_certificate_is_optional_others_log_in_without() {
    let house = House::new().await;
    let mut client = house.connect_without().await;
    ask(&mut client, read(""))
        .await
        .expect_refusal(401, "missing_credentials");
    // What a proxy that ends TLS would tell of a certificate is nothing that a client could not tell.
    for told in [
        "X-SSL-Client-S-DN: CN=alice.people\r\n",
        "X-Forwarded-Client-Cert: Subject=\"CN=alice.people\"\r\n",
        "Client-Cert: :AAAA:\r\n",
        "X-Forwarded-User: alice\r\n",
    ] {
        ask(&mut client, read(told))
            .await
            .expect_refusal(401, "missing_credentials");
    }
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
    house.livy_heard("bob");
}

#[tokio::test]
async fn certificates_that_are_no_good_get_no_connection() {
    let house = House::new().await;
    house
        .keeps_out(&Authority::new("clients").badge("alice.people"))
        .await;
    house
        .keeps_out(&house.clients.badge_until("alice.people", 1, NOW - 1))
        .await;
    house
        .keeps_out(&house.clients.below("team").badge("alice.people"))
        .await;
    let mut long = house.clients.badge("alice.people");
    for _ in 0..5 {
        long.chain.push_str(&house.clients.pem());
    }
    house.keeps_out(&long).await;
}

#[tokio::test]
async fn an_authority_in_between_is_sent_by_the_client() {
    let house = House::new().await;
    let team = house.clients.below("team");
    let mut badge = team.badge("alice.people");
    badge.chain.push_str(&team.pem());
    let mut client = house.connect(&badge).await;
    ask(&mut client, read("")).await.expect_status(200);
    house.livy_heard("alice");
}

#[tokio::test]
async fn a_certificate_ends_on_a_connection_that_is_open() {
    let house = House::new().await;
    let badge = house.clients.badge_until("alice.people", 1, NOW + 20);
    let mut client = house.connect(&badge).await;
    // Once it has been answered, the connection may be idle for longer than this takes.
    ask(&mut client, read("")).await.expect_status(200);
    house.rig.clock.advance(Duration::from_secs(20));
    ask(&mut client, read("")).await.expect_status(200);
    house.rig.clock.advance(Duration::from_secs(1));
    ask(&mut client, read(""))
        .await
        .expect_refusal(401, "invalid_credentials");
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
    house.keeps_out(&badge).await;
}

#[tokio::test]
async fn an_authority_that_is_taken_away_counts_no_more_on_connections_that_are_open() {
    let mut house = House::new().await;
    let badge = house.clients.badge("alice.people");
    let mut client = house.connect(&badge).await;
    ask(&mut client, read("")).await.expect_status(200);
    let new = Authority::new("clients");
    house.rig.stage.write("clients.pem", &new.pem());
    house.reload();
    ask(&mut client, read(""))
        .await
        .expect_refusal(401, "invalid_credentials");
    house.keeps_out(&badge).await;
    let mut client = house.connect(&new.badge("alice.people")).await;
    ask(&mut client, read("")).await.expect_status(200);
    house.livy_heard("alice");
}

#[tokio::test]
async fn a_session_of_tls_is_not_gone_on_with_under_other_authorities() {
    let mut house = House::new().await;
    // One client, which remembers its sessions.
    let config = house.clients.badge("alice.people").client(&house.server);
    for handshake in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let stream = TcpStream::connect(house.rig.address()).await.unwrap();
        let stream = TlsConnector::from(Arc::new(config.clone()))
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(handshake));
        ask(&mut Client::over(stream), read("")).await.expect_status(200);
        house.livy_heard("alice");
    }
    house
        .rig
        .stage
        .write("clients.pem", &Authority::new("others").pem());
    house.reload();
    let asked = house.rig.livy().requests().len();
    if let Ok(mut client) = Client::connect_tls(house.rig.address(), config).await {
        let _ = client.try_send(read("")).await;
        assert_eq!(client.rest().await, "");
    }
    assert_eq!(house.rig.livy().requests().len(), asked);
}

#[tokio::test]
async fn a_listener_that_no_longer_asks_takes_none_on_connections_that_are_open() {
    let mut house = House::new().await;
    let mut client = house.connect(&house.clients.badge("alice.people")).await;
    ask(&mut client, read("")).await.expect_status(200);
    let config = house.rig.stage.read("gateway.toml");
    let config = config.replace("client_ca_file = \"clients.pem\"\n", "");
    let config = config.replace("from = \"certificate\"", "from = \"basic\"");
    let config = config.replace("service = \"certificate:airflow\"", "service = \"basic:airflow\"");
    house.rig.stage.write("gateway.toml", &config);
    house.reload();
    ask(&mut client, read(""))
        .await
        .expect_refusal(401, "invalid_credentials");
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
}

#[tokio::test]
async fn each_listener_has_its_own_authorities_and_another_has_none() {
    let other = Authority::new("others");
    let second = ASKS.replace("clients.pem", "others.pem");
    let clients = Authority::new("clients");
    let (chain, key, server) = certificate();
    let rig = Setup::new()
        .listen(&format!("{ASKS}{second}{OPEN}"))
        .file("tls.crt", &chain)
        .file("tls.key", &key)
        .file("clients.pem", &clients.pem())
        .file("others.pem", &other.pem())
        .rest("[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n")
        .start()
        .await;
    let [one, two, plain] = rig.app().addresses() else {
        panic!("three listeners")
    };
    for (address, authority, is_good) in [
        (*one, &clients, true),
        (*two, &other, true),
        (*one, &other, false),
        (*two, &clients, false),
    ] {
        let before = rig.livy().requests().len();
        let config = authority.badge("alice").client(&server);
        let connected = Client::connect_tls(address, config).await;
        if is_good {
            ask(&mut connected.unwrap(), read("")).await.expect_status(200);
        } else if let Ok(mut client) = connected {
            let _ = client.try_send(read("")).await;
            assert_eq!(client.rest().await, "");
        }
        assert_eq!(rig.livy().requests().len(), before + usize::from(is_good));
    }
    let mut client = Client::connect(*plain).await;
    ask(&mut client, read(""))
        .await
        .expect_refusal(401, "missing_credentials");
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
}

#[tokio::test]
async fn a_service_with_a_certificate_acts_for_those_whom_its_rule_names() {
    let house = House::new().await;
    let mut airflow = house.connect(&house.clients.badge("airflow")).await;
    let created = ask(&mut airflow, create("", r#"{"kind":"spark","proxyUser":"bob"}"#)).await;
    created.expect_status(201);
    house.livy_heard("bob");
    let last = house.rig.livy().requests().pop().unwrap();
    assert_eq!(last.json()["proxyUser"], "bob");
    let path = created.header("location").unwrap().to_owned();
    ask(&mut airflow, request("GET", &path, "", ""))
        .await
        .expect_status(200);
    house.livy_heard("bob");

    let asked = house.rig.livy().requests().len();
    ask(
        &mut airflow,
        create("", r#"{"kind":"spark","proxyUser":"carol"}"#),
    )
    .await
    .expect_refusal(403, "impersonation_refused");
    // Nor is it the certificate's rule when a password of the same name comes.
    let mut alice = house.connect(&house.clients.badge("alice.people")).await;
    ask(&mut alice, create("", r#"{"kind":"spark","proxyUser":"bob"}"#))
        .await
        .expect_refusal(403, "impersonation_refused");
    assert_eq!(house.rig.livy().requests().len(), asked);
}

#[tokio::test]
async fn a_browser_that_brings_the_certificate_along_for_another_site_changes_nothing() {
    let house = House::new().await;
    let mut alice = house.connect(&house.clients.badge("alice.people")).await;
    for foreign in [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        ask(&mut alice, create(foreign, "{}"))
            .await
            .expect_refusal(403, "cross_origin");
        // It closes where a body was left unread.
        alice = house.connect(&house.clients.badge("alice.people")).await;
    }
    assert!(house.rig.livy().requests().is_empty());
    ask(&mut alice, create("Sec-Fetch-Site: same-origin\r\n", "{}"))
        .await
        .expect_status(201);
}

#[tokio::test]
async fn the_log_says_whose_certificate_it_was_and_why_it_counts_no_more() {
    let clients = Authority::new("clients");
    let (chain, key, server) = certificate();
    let (stage, mut gateway) = Setup::new()
        .listen(ASKS)
        .file("tls.crt", &chain)
        .file("tls.key", &key)
        .file("clients.pem", &clients.pem())
        .rest("[log]\nlevel = \"debug\"\n[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n")
        .spawn()
        .await;
    // The program keeps the machine's time.
    let badge = clients.badge_until("alice", 1, 4_000_000_000);
    let mut client = Client::connect_tls(gateway.address, badge.client(&server))
        .await
        .unwrap();
    ask(&mut client, read("")).await.expect_status(200);
    let line = gateway.logs("\"message\":\"request\"").await;
    assert!(
        line.contains("\"subject\":\"certificate:alice\"") && line.contains("\"livy_user\":\"alice\""),
        "{line}"
    );
    stage.write("clients.pem", &Authority::new("others").pem());
    gateway.signal("HUP").await;
    gateway.logs("the configuration is in force").await;
    ask(&mut client, read(""))
        .await
        .expect_refusal(401, "invalid_credentials");
    let line = gateway.logs("certificate refused").await;
    assert!(
        line.contains("\"scheme\":\"certificate\"")
            && line.contains("\"reason\":\"no authority of this listener vouches for it\""),
        "{line}"
    );
    // Another authority of the same name is no authority.
    stage.write("clients.pem", &Authority::new("clients").pem());
    gateway.signal("HUP").await;
    gateway.logs("the configuration is in force").await;
    ask(&mut client, read(""))
        .await
        .expect_refusal(401, "invalid_credentials");
    gateway.logs("did not sign it").await;
}
