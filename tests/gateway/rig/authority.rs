//! Authorities and certificates, made for this run: of servers, and of clients that present one.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use time::OffsetDateTime;

use super::NOW;

/// A certificate and key of an authority of its own, for 127.0.0.1 and localhost: chain, key, authority, in PEM.
pub(crate) fn certificate() -> (String, String, String) {
    // Another name than the leaf's, or OpenSSL takes that for its own issuer.
    let root = Authority::new("an authority of this run");
    let own = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).unwrap();
    let leaf = leaf.signed_by(&own, &root.0).unwrap();
    (leaf.pem(), own.serialize_pem(), root.pem())
}

/// An authority, at the root or below another.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A client's certificate with those above it, and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Badge {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn below(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(authority(name), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For this name, until `until`.
    pub(crate) fn badge_until(&self, cn: &str, serial: u64, until: u64) -> Badge {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(cn);
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = at(until);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Badge {
            chain: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// For this name, for a day of the rig's.
    pub(crate) fn badge(&self, cn: &str) -> Badge {
        self.badge_until(cn, 1, NOW + 86_400)
    }

    /// The list of the certificates that it takes back, in PEM.
    pub(crate) fn revokes(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at(NOW - 60),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: at(NOW - 60),
            next_update: at(NOW + 86_400),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Badge {
    /// What its owner connects with; the server's authority is `server`.
    pub(crate) fn client(&self, server: &str) -> ClientConfig {
        self.client_of(&TLS13, server)
    }

    /// The same in this version of TLS.
    pub(crate) fn client_of(&self, version: &'static SupportedProtocolVersion, server: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(server.as_bytes()).unwrap())
            .unwrap();
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.collect(), key)
            .unwrap()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(cn: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, cn);
    name
}

fn at(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap()).unwrap()
}
