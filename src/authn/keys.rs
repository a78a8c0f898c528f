//! The keys that verify tokens: which are accepted, and for which algorithms.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// A signature algorithm of RFC 7518 or RFC 8037 that tokens may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Hs256,
        Self::Rs256,
        Self::Ps256,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name that tokens and the configuration use, exactly as registered.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By the exact name; the error says which there are.
impl FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|algorithm| algorithm.name()).collect();
                format!("is not a supported algorithm; choose from {}", known.join(", "))
            })
    }
}

/// Where an issuer's keys come from.
pub enum KeySource {
    /// A shared secret of at least 32 bytes, for HS256.
    Secret(Zeroizing<Vec<u8>>),
    /// One public key in PEM.
    Public(Vec<u8>),
    /// A JWK set (RFC 7517 §5), as JSON.
    Jwks(Vec<u8>),
    /// Where to fetch a JWK set: https, or http on loopback.
    Url(String),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(..)"),
            Self::Public(_) => f.write_str("Public(..)"),
            Self::Jwks(_) => f.write_str("Jwks(..)"),
            Self::Url(url) => f.debug_tuple("Url").field(url).finish(),
        }
    }
}

/// The keys of one issuer at one moment. The default has none, so that every token is refused.
#[derive(Default)]
pub struct KeySet {
    version: u64,
}

impl KeySet {
    /// Reads a JWK set. The error says why nothing in it can be used.
    pub fn from_jwks(json: &[u8]) -> Result<Self, String> {
        let _ = json;
        Err("unusable".into())
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").finish_non_exhaustive()
    }
}
