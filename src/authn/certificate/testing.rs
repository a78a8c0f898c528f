//! Authorities and client certificates made at run time, for the tests of this crate.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;

/// Now, to the tests: 2027-01-15.
pub(crate) const NOW: u64 = 1_800_000_000;

/// An authority, at the root or below another.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn below(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(authority(name), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Another certificate of its key, which has this name and ends then.
    pub(crate) fn renewed_until(&self, name: &str, until: u64) -> CertificateDer<'static> {
        let mut params = authority(name);
        params.not_after = at(until);
        params.self_signed(self.0.key()).unwrap().der().clone()
    }

    /// A certificate as described.
    pub(crate) fn signs(&self, params: &CertificateParams) -> CertificateDer<'static> {
        self.signs_for(&KeyPair::generate().unwrap(), params)
    }

    /// The same, for a key that the test has.
    pub(crate) fn signs_for(&self, key: &KeyPair, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(key, &self.0).unwrap().der().clone()
    }

    /// A list of certificates that are good no more, in force until `until`.
    pub(crate) fn revokes(&self, serials: &[u64], until: u64) -> CertificateRevocationListDer<'static> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at(NOW - 1000),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: at(NOW - 1000),
            next_update: at(until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().der().clone()
    }
}

/// A client's certificate with this CN, good from an hour ago until in an hour.
pub(crate) fn client(cn: impl Into<DnValue>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(cn);
    params.not_before = at(NOW - 3600);
    params.not_after = at(NOW + 3600);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(crate) fn named(cn: impl Into<DnValue>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, cn);
    name
}

pub(crate) fn at(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap()).unwrap()
}
