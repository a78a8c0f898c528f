//! Client certificates: whether an authority vouches for one at this moment, and which of its names is the subject.
//!
//! TLS has proven that the client holds the certificate's key. Whether the certificate is good is asked again here, since
//! a connection may outlive the trust in who opened it. Names are read from the parsed certificate and taken as they
//! stand; a certificate that has two names of the wanted kind names nobody.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};

use super::{Source, Subject};

mod authorities;
mod chains;
mod names;

pub use names::{CertificateName, Leaf};

use chains::ShortChains;

/// Whose certificates are good at a listener, and which of their names counts.
#[derive(Clone)]
pub struct Certificates {
    authorities: Vec<CertificateDer<'static>>,
    ends: Vec<authorities::End>,
    verifier: Arc<dyn ClientCertVerifier>,
    subject: CertificateName,
}

/// Whether TLS insists on a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Who has none may log in otherwise.
    Optional,
    /// Without a good one there is no connection, and no request is served.
    Required,
}

impl ClientAuth {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Optional, Self::Required];

    /// As the configuration writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// Why certificates cannot be judged as configured, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificatesProblem {
    /// One of the authorities is none.
    Authority(String),
    /// The revocation lists cannot be used.
    Revocations(String),
    /// With lists, two of the authorities cannot be told apart.
    Namesakes(String),
}

impl Certificates {
    /// Takes certificates for which one of `authorities` vouches, directly or through others that the client sends. With
    /// `revocations`, each certificate on that path must be in no list, and its issuer must have a list that is in force:
    /// what cannot be known is refused.
    pub fn new(
        authorities: Vec<CertificateDer<'static>>,
        revocations: Vec<CertificateRevocationListDer<'static>>,
        auth: ClientAuth,
        subject: CertificateName,
    ) -> Result<Self, CertificatesProblem> {
        let ends = authorities::check(&authorities, &revocations)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots
                .add(authority.clone())
                .map_err(|error| CertificatesProblem::Authority(error.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(revocations)
            .enforce_revocation_expiration();
        let builder = match auth {
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::Required => builder,
        };
        let verifier = builder
            .build()
            .map_err(|error| CertificatesProblem::Revocations(error.to_string()))?;
        let verifier = Arc::new(ShortChains(verifier));
        Ok(Self {
            authorities,
            ends,
            verifier,
            subject,
        })
    }

    /// What TLS asks during the handshake.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Which name counts.
    pub const fn subject(&self) -> CertificateName {
        self.subject
    }

    /// What of the authorities and their lists has ended by `now_wall`, in sentences for the operator.
    pub fn overdue(&self, now_wall: Duration) -> impl Iterator<Item = String> {
        self.ends.iter().filter_map(move |end| end.overdue(now_wall))
    }

    /// Whether the same authorities vouch here as there, in whatever order.
    pub fn have_the_authorities_of(&self, other: &Self) -> bool {
        let all_in = |these: &Self, those: &Self| {
            these
                .authorities
                .iter()
                .all(|authority| those.authorities.contains(authority))
        };
        all_in(self, other) && all_in(other, self)
    }

    /// Whether no request is served without a good certificate.
    pub fn are_required(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    /// What the client's own certificate says, the first of what it presented, if an authority vouches for it at `now_wall`
    /// since 1970. The error is for the log; the client is not told.
    pub fn vouch_for(&self, chain: &[CertificateDer<'_>], now_wall: Duration) -> Result<Leaf, String> {
        let (own, issuers) = chain.split_first().ok_or("there is no certificate")?;
        self.verifier
            .verify_client_cert(own, issuers, UnixTime::since_unix_epoch(now_wall))
            .map_err(|error| in_words(&error))?;
        Leaf::read(own)
    }

    /// Whom a certificate names that was vouched for.
    pub fn subject_in(&self, leaf: &Leaf) -> Result<Subject, String> {
        let name = leaf.only(self.subject)?;
        Ok(Subject::proven(Source::Certificate, name, []))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

fn in_words(error: &rustls::Error) -> String {
    if let rustls::Error::General(why) = error {
        return why.clone();
    }
    let rustls::Error::InvalidCertificate(error) = error else {
        return error.to_string();
    };
    let known = [
        (
            CertificateError::UnknownIssuer,
            "no authority of this listener vouches for it",
        ),
        (
            CertificateError::BadSignature,
            "the authority that it names did not sign it",
        ),
        (CertificateError::Revoked, "its authority has revoked it"),
        (
            CertificateError::UnknownRevocationStatus,
            "one of the authorities on its path has no list in client_crl_file",
        ),
    ];
    let words = known.iter().find(|(known, _)| known == error);
    words.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
