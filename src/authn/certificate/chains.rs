//! Bounds what a client may have verified.
//!
//! A chain is verified before its client has proven that it holds a key, and on a worker's thread. webpki tries paths up to a
//! number that no chain needs, and reads every certificate for each: what is longer than a path could be is not begun.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// A verifier that is asked about short chains only.
#[derive(Debug)]
pub(super) struct ShortChains(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for ShortChains {
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = issuers
            .iter()
            .chain([own])
            .map(|certificate| certificate.len())
            .sum();
        if issuers.len() > ISSUERS_MAX || bytes > BYTES_MAX {
            return Err(Error::General(
                "more certificates were sent than a path has".into(),
            ));
        }
        self.0.verify_client_cert(own, issuers, now)
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Beside the client's own. Four cost some 50 µs at the worst, seven 20 ms, a hundred seconds.
const ISSUERS_MAX: usize = 4;
const BYTES_MAX: usize = 16 * 1024;
