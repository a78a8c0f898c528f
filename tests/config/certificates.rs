//! Client certificates in the configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use livy_gateway::authn::CertificateName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;

use super::Stage;

/// An authority for clients with its list, another with one, a client's own certificate, and what may not be.
pub(super) fn client_authorities(stage: &Stage) {
    for (name, list) in [
        ("clients-ca.pem", "revoked.pem"),
        ("others-ca.pem", "others-revoked.pem"),
    ] {
        let (issuer, namesake) = (authority(name), authority(name));
        let revoked = nothing_revoked(&issuer);
        stage.put(name, &issuer.pem(), 0o644);
        stage.put("open-ca.pem", &issuer.pem(), 0o666);
        stage.put("namesakes-ca.pem", &(issuer.pem() + &namesake.pem()), 0o644);
        stage.put(list, &revoked, 0o644);
        stage.put(&format!("two-{list}"), &revoked.repeat(2), 0o644);
        stage.put(&format!("forged-{list}"), &nothing_revoked(&namesake), 0o644);
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "alice");
        let client = client.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        stage.put("client.pem", &client.pem(), 0o644);
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn nothing_revoked(issuer: &CertifiedIssuer<'static, KeyPair>) -> String {
    let list = CertificateRevocationListParams {
        this_update: OffsetDateTime::UNIX_EPOCH,
        next_update: OffsetDateTime::UNIX_EPOCH + time::Duration::days(100_000),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().pem().unwrap()
}

const ONLY: &str = "[listen]\naddress = \"127.0.0.1:0\"\nclient_ca_file = \"clients-ca.pem\"\n\
    tls = { certificate_file = \"tls.crt\", key_file = \"tls.key\" }\n[livy]\nurl = \"http://127.0.0.1:8998\"\n";

#[test]
fn certificates_alone_are_logins_enough() {
    let stage = Stage::new();
    let policy = stage.load(ONLY);
    let certificates = policy.listeners[0].client_certificates.as_ref().unwrap();
    assert_eq!(certificates.subject(), CertificateName::Cn);
    assert!(!certificates.verifier().client_auth_mandatory());
    assert!(policy.authn.users.is_none() && policy.authn.issuers.is_empty());
    for file in ["clients-ca.pem", "tls.crt", "tls.key"] {
        assert!(policy.files.contains(&stage.path(file)), "{file} is watched");
    }
    let required = ONLY.replace("client_ca", "client_certificates = \"required\"\nclient_ca");
    let policy = stage.load(&format!("{required}[certificate]\nsubject = \"san_email\"\n"));
    let certificates = policy.listeners[0].client_certificates.as_ref().unwrap();
    assert_eq!(certificates.subject(), CertificateName::SanEmail);
    assert!(certificates.verifier().client_auth_mandatory());
}

#[test]
fn authorities_may_be_read_by_everybody_and_written_by_nobody_else() {
    let stage = Stage::new();
    assert_eq!(stage.load(ONLY).insecure, [""; 0]);
    let path = stage.path("clients-ca.pem");
    fs::set_permissions(path, fs::Permissions::from_mode(0o664)).unwrap();
    let insecure = stage.load(ONLY).insecure;
    assert!(
        matches!(insecure.as_slice(), [said] if said.starts_with("its group may write ")),
        "{insecure:?}"
    );
}

#[test]
fn different_authorities_at_two_listeners_are_a_warning_since_their_names_are_one_namespace() {
    let stage = Stage::new();
    let read = |name: &str| fs::read_to_string(stage.path(name)).unwrap();
    let (clients, others) = (read("clients-ca.pem"), read("others-ca.pem"));
    stage.put("both-ca.pem", &format!("{clients}{others}"), 0o644);
    stage.put("both-turned-ca.pem", &format!("{others}{clients}"), 0o644);
    let warnings = |files: &[&str]| {
        let listen = |(place, file): (usize, &&str)| {
            format!(
                "[[listen]]\naddress = \"127.0.0.1:{}\"\nclient_ca_file = \"{file}\"\n\
                 tls = {{ certificate_file = \"tls.crt\", key_file = \"tls.key\" }}\n",
                8441 + place
            )
        };
        let listeners: String = files.iter().enumerate().map(listen).collect();
        stage
            .load(&format!("{listeners}[livy]\nurl = \"http://127.0.0.1:8998\"\n"))
            .warnings
    };
    for same in [
        &["clients-ca.pem"][..],
        &["clients-ca.pem", "clients-ca.pem"],
        &["both-ca.pem", "both-turned-ca.pem"],
    ] {
        assert_eq!(warnings(same), [""; 0], "{same:?}");
    }
    for different in [
        &["clients-ca.pem", "others-ca.pem"][..],
        &["clients-ca.pem", "both-ca.pem"],
        &["both-ca.pem", "clients-ca.pem"],
    ] {
        let said = warnings(different);
        assert!(
            matches!(said.as_slice(), [said] if said.starts_with("127.0.0.1:8441 and 127.0.0.1:8442 ") && said.contains("one namespace")),
            "{said:?}"
        );
    }
}

#[test]
fn show_says_which_name_counts_where_certificates_are_asked_for() {
    let stage = Stage::new();
    let shown = stage.effective(ONLY);
    for line in [
        "client_ca_file = \"clients-ca.pem\"\n",
        "client_certificates = \"optional\"  # default\n",
        "[certificate]\nsubject = \"cn\"  # default\n",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let without = stage.effective(super::MINIMAL);
    assert!(
        !without.contains("client_") && !without.contains("[certificate]"),
        "{without}"
    );
}
