//! `explain` with client certificates, made for this run.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType,
};
use time::OffsetDateTime;

use super::{Desk, Said};

const CONFIGURATION: &str = r#"
[[listen]]
address = "127.0.0.1:8442"
tls = { certificate_file = "tls.crt", key_file = "tls.key" }
client_ca_file = "others-ca.pem"

[[listen]]
address = "127.0.0.1:8443"
tls = { certificate_file = "tls.crt", key_file = "tls.key" }
client_ca_file = "clients-ca.pem"

[livy]
url = "http://127.0.0.1:8998"

[certificate]
subject = "san_uri"

[[identity.map]]
from = "certificate"
subject = 'spiffe://example\.org/(?<name>[a-z]+)'
livy_user = "${name}"
"#;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn named(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, cn);
    params
}

fn authority(name: &str) -> Authority {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Authority::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A desk with a gateway that asks for certificates, and the authority that vouches for clients at its second listener.
fn desk() -> (Desk, Authority) {
    let desk = Desk::new();
    let (clients, others) = (authority("clients"), authority("others"));
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    desk.put("gateway.toml", CONFIGURATION);
    desk.put("clients-ca.pem", &clients.pem());
    desk.put("others-ca.pem", &others.pem());
    desk.put("tls.crt", &own.cert.pem());
    desk.put("tls.key", &own.signing_key.serialize_pem());
    fs::set_permissions(desk.path("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
    (desk, clients)
}

/// What is said of this client's certificate.
fn explain(desk: &Desk, by: &Authority, params: &CertificateParams) -> Said {
    let key = KeyPair::generate().unwrap();
    desk.put("client.pem", &params.signed_by(&key, by).unwrap().pem());
    desk.explain(&["--certificate", "client.pem", "GET", "/livy/sessions/7"])
}

fn with_uris(uris: &[&str]) -> CertificateParams {
    let mut params = named("alice");
    let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
    params.subject_alt_names = uris.iter().map(uri).collect();
    params
}

#[track_caller]
fn says(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
    for words in words {
        assert!(said.out.contains(words), "{words} is not in\n{}", said.out);
    }
}

#[test]
fn explain_tells_which_name_of_a_certificate_is_whom() {
    let (desk, clients) = desk();
    let mut params = with_uris(&["spiffe://example.org/alice"]);
    params.not_after = OffsetDateTime::from_unix_timestamp(4_000_000_000).unwrap();
    let words = [
        "presented  CN=alice, by CN=clients, until 2096-10-02T07:06:40.000Z\n",
        "cn: alice\n",
        "san_uri: spiffe://example.org/alice\n",
        "at 127.0.0.1:8442: no authority of this listener vouches for it",
        "at 127.0.0.1:8443: good; its san_uri is the subject\n",
        "certificate:spiffe://example.org/alice",
        "GET /sessions/7?doAs=alice",
    ];
    says(&explain(&desk, &clients, &params), 0, &words);
}

#[test]
fn explain_tells_why_a_certificate_is_nobodys() {
    let (desk, clients) = desk();
    for (params, by, why) in [
        (with_uris(&[]), &clients, "and it has no san_uri"),
        (
            with_uris(&["spiffe://example.org/alice", "spiffe://example.org/bob"]),
            &clients,
            "and it has more than one san_uri",
        ),
        (
            with_uris(&["spiffe://example.org/alice"]),
            &authority("strangers"),
            "at 127.0.0.1:8443: no authority of this listener vouches for it; the handshake",
        ),
    ] {
        let said = explain(&desk, by, &params);
        says(&said, 1, &[why, "refused    401 invalid_credentials"]);
    }
    let mut over = with_uris(&["spiffe://example.org/alice"]);
    over.not_after = OffsetDateTime::from_unix_timestamp(1_000_000_000).unwrap();
    says(&explain(&desk, &clients, &over), 1, &["certificate expired"]);
}

#[test]
fn explain_takes_a_name_as_if_its_certificate_had_come() {
    let (desk, _) = desk();
    let asked = [
        "--user",
        "certificate:spiffe://example.org/bob",
        "GET",
        "/livy/sessions/7",
    ];
    says(&desk.explain(&asked), 0, &["GET /sessions/7?doAs=bob"]);
    let asked = ["--user", "certificate:bob", "GET", "/livy/sessions/7"];
    says(&desk.explain(&asked), 1, &["403 unmapped_identity"]);

    let without = Desk::new();
    let said = without.explain(&["--user", "certificate:bob", "GET", "/livy/sessions/7"]);
    assert!(said.err.contains("client_ca_file"), "{}", said.err);
    assert_eq!(said.code, Some(1));
}

#[test]
fn check_tells_whose_certificates_are_taken_where() {
    let (desk, _) = desk();
    let said = desk.run(&["check", "--config", "gateway.toml"], "");
    let line = "certificate: the san_uri of those by clients-ca.pem, without a revocation list; optional at 127.0.0.1:8443";
    says(&said, 0, &[line]);
}

#[test]
fn check_warns_of_an_authority_that_is_over_and_vouches_all_the_same() {
    let (desk, _) = desk();
    let mut over = named("old");
    over.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    over.not_after = OffsetDateTime::from_unix_timestamp(1_000_000_000).unwrap();
    let over = Authority::self_signed(over, KeyPair::generate().unwrap()).unwrap();
    let good = fs::read_to_string(desk.path("clients-ca.pem")).unwrap();
    desk.put("clients-ca.pem", &(good + &over.pem()));
    let said = desk.run(&["check", "--config", "gateway.toml"], "");
    let line = "warning    the certificate of CN=old in client_ca_file ended at 2001-09-09T01:46:41.000Z: it vouches";
    says(&said, 0, &[line]);
    assert!(!said.out.contains("CN=clients in client_ca_file"), "{}", said.out);
    let mut alice = with_uris(&["spiffe://example.org/alice"]);
    alice.not_after = OffsetDateTime::from_unix_timestamp(4_000_000_000).unwrap();
    says(
        &explain(&desk, &over, &alice),
        0,
        &["certificate:spiffe://example.org/alice"],
    );
}
