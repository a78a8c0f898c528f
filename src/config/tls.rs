//! TLS settings from PEM files, for the listeners and for Livy.
//!
//! The provider is named each time rather than taken from the process, so that nothing depends on who ran first.
//! There is no switch that turns verification off: a private authority goes into `ca_file`.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::reader::Wrong;

/// Which file of a pair a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PairFile {
    /// `certificate_file`
    Certificate,
    /// `key_file`
    Key,
}

/// The settings of a listener with this certificate chain and private key: TLS 1.2 and 1.3, HTTP/1.1 only. Clients are
/// asked for a certificate if there is somebody to judge it.
///
/// Sessions are remembered in these settings alone, so after a reload nobody resumes one that other settings allowed.
pub(super) fn server(
    chain: &[u8],
    key: &[u8],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, (PairFile, Wrong)> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(chain).map_err(|wrong| (PairFile::Certificate, wrong))?;
    let key = private_key(key).map_err(|wrong| (PairFile::Key, wrong))?;
    let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|error| unusable_pair(&error))?;
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .map_err(|error| unusable_pair(&error))?;
    let clients = clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    let mut config = builder
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// Who may vouch for a server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Authorities<'a> {
    /// Those in a PEM file, and no other.
    These(&'a [u8]),
    /// Those that the operating system trusts.
    System,
    /// Nobody: there is no server to vouch for.
    Nobody,
}

/// The settings for a server for whom one of the authorities vouches.
pub(super) fn client(authorities: Authorities<'_>) -> Result<Arc<ClientConfig>, Wrong> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Authorities::These(pem) => {
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(|error| {
                    Wrong::new(
                        format!("a certificate in it cannot be an authority: {error}"),
                        "write a file with the certificates of the authorities, in PEM",
                    )
                })?;
            }
        }
        Authorities::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Wrong::new(
                    "this machine trusts no certificate authority",
                    "install its ca-certificates, or write ca_file where there is one",
                ));
            }
        }
        Authorities::Nobody => {}
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(VERSIONS)
        .map_err(|error| {
            Wrong::new(
                format!("TLS is not available: {error}"),
                "report this as a defect",
            )
        })?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// Whether a PEM file holds a private key.
pub(super) fn holds_private_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok() || is_encrypted_key(pem)
}

/// The certificates of a PEM file.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let instead =
        "write a file with certificates in PEM: -----BEGIN CERTIFICATE-----, the server's own first";
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) if holds_private_key(pem) => Err(Wrong::new(
            "the file holds a private key and no certificate",
            "write the certificate's file here; are the two files swapped?",
        )),
        Ok(_) => Err(Wrong::new("the file holds no certificate in PEM", instead)),
        Err(_) => Err(Wrong::new("the file is damaged PEM", instead)),
    }
}

/// The revocation lists of a PEM file.
pub(super) fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Wrong> {
    let instead = "write a file with revocation lists in PEM: -----BEGIN X509 CRL-----; one in DER is converted with: openssl crl -inform DER";
    let found: Result<Vec<_>, pem::Error> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Wrong::new("the file holds no revocation list in PEM", instead)),
        Err(_) => Err(Wrong::new("the file is damaged PEM", instead)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Wrong> {
    let instead = "write a file with an unencrypted private key in PEM: -----BEGIN PRIVATE KEY-----";
    if let Ok(key) = PrivateKeyDer::from_pem_slice(pem) {
        return Ok(key);
    }
    if is_encrypted_key(pem) {
        return Err(Wrong::new(
            "the private key is encrypted with a passphrase",
            "decrypt it into a file of mode 600, with: openssl pkey -in FILE -out DECRYPTED",
        ));
    }
    if CertificateDer::from_pem_slice(pem).is_ok() {
        return Err(Wrong::new(
            "the file holds a certificate and no private key",
            "write the key's file here; are the two files swapped?",
        ));
    }
    Err(Wrong::new("the file holds no private key in PEM", instead))
}

/// PKCS #8's name for it (RFC 5958, RFC 7468 §11), and OpenSSL's older header.
fn is_encrypted_key(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn unusable_pair(error: &rustls::Error) -> (PairFile, Wrong) {
    if matches!(
        error,
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)
    ) {
        let what = "the private key does not belong to the certificate";
        return (
            PairFile::Key,
            Wrong::new(
                what,
                "write the key that the certificate was made for; the first certificate in certificate_file must be the server's own",
            ),
        );
    }
    if matches!(error, rustls::Error::InvalidCertificate(_)) {
        let what = format!("the first certificate cannot be used: {error}");
        return (
            PairFile::Certificate,
            Wrong::new(what, "have the authority make a new one"),
        );
    }
    let what = format!("the private key cannot be used: {error}");
    (
        PairFile::Key,
        Wrong::new(
            what,
            "write an RSA key of at least 2048 bits, an ECDSA key on P-256 or P-384, or an Ed25519 key",
        ),
    )
}

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const HTTP_1_1: &[u8] = b"http/1.1";
