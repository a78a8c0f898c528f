//! The keys that verify tokens: which are accepted, and for which algorithms.
//!
//! A key is bound to its algorithms when it is loaded, by what it is: a token never chooses how a key is used.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use self::material::{read_jwk, read_pem};
use super::fingerprint;

mod material;

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

    const fn in_crate(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
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
    /// The issuer's own description says where.
    Discovery,
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(..)"),
            Self::Public(_) => f.write_str("Public(..)"),
            Self::Jwks(_) => f.write_str("Jwks(..)"),
            Self::Url(url) => f.debug_tuple("Url").field(url).finish(),
            Self::Discovery => f.write_str("Discovery"),
        }
    }
}

/// A key and all that it may be used for.
pub(super) struct Key {
    kid: Option<String>,
    algorithms: &'static [Algorithm],
    material: DecodingKey,
}

impl Key {
    /// Whether `signature`, in base64url, is this key's over `signed`, by an algorithm that [`KeySet::choose`] found
    /// it to be for.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &str, signature: &str) -> bool {
        let algorithm = algorithm.in_crate();
        jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.material, algorithm).unwrap_or(false)
    }

    /// The shared secret, if it is one; for making tokens.
    pub(super) fn secret(&self) -> Option<&[u8]> {
        match self.algorithms {
            [Algorithm::Hs256] => self.material.try_get_as_bytes().ok(),
            _ => None,
        }
    }
}

/// The keys of one issuer at one moment. The default has none, so that every token is refused.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<String>,
    /// Whether a token's kid must name the key. One configured key is meant whatever the token calls it.
    by_kid: bool,
    version: u64,
}

/// Which key a token means.
pub(super) enum Choice<'a> {
    /// This one.
    Key(&'a Key),
    /// One that is not here; fresher keys may have it.
    Unknown,
    /// None that could be used; the reason is for the log.
    Unfit(&'static str),
}

impl KeySet {
    /// A shared secret of at least 32 bytes (RFC 7518 §3.2), for HS256 alone.
    pub fn from_secret(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "the secret has {} bytes; HS256 needs at least {SECRET_BYTES_MIN}, such as `openssl rand -hex 32` prints",
                secret.len()
            ));
        }
        let material = DecodingKey::from_secret(secret);
        Ok(Self::one(&[Algorithm::Hs256], material, secret))
    }

    /// One public key in PEM: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519.
    pub fn from_public_pem(pem: &[u8]) -> Result<Self, String> {
        let (algorithms, material) = read_pem(pem)?;
        Ok(Self::one(algorithms, material, pem))
    }

    fn one(algorithms: &'static [Algorithm], material: DecodingKey, written: &[u8]) -> Self {
        Self {
            keys: vec![Key {
                kid: None,
                algorithms,
                material,
            }],
            skipped: Vec::new(),
            by_kid: false,
            version: fingerprint([written]),
        }
    }

    /// Reads a JWK set (RFC 7517 §5). A key that cannot be used is skipped, see [`Self::skipped`]; secrets always are,
    /// because a set is public. The error says why nothing in it can be used.
    pub fn from_jwks(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Written<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let written: Written<'_> =
            serde_json::from_slice(json).map_err(|error| format!("it is no JWK set: {error}"))?;
        if written.keys.len() > KEYS_MAX {
            return Err(format!(
                "it holds {} keys; at most {KEYS_MAX} are read",
                written.keys.len()
            ));
        }
        let mut set = Self {
            by_kid: true,
            ..Self::default()
        };
        let mut used = Vec::new();
        for (number, raw) in (1..).zip(written.keys) {
            match read_jwk(raw.get()).and_then(|key| set.without_twin(key)) {
                Ok(key) => {
                    set.keys.push(key);
                    used.push(raw.get().as_bytes());
                }
                Err(reason) => set.skipped.push(format!("key {number}: {reason}")),
            }
        }
        if set.keys.is_empty() {
            return Err(format!(
                "it holds no key that can be used: {}",
                set.skipped.join("; ")
            ));
        }
        set.version = fingerprint(used);
        Ok(set)
    }

    // Two keys of one name would let the order of a file decide.
    fn without_twin(&self, key: Key) -> Result<Key, String> {
        let twin = |other: &Key| {
            other.kid.is_some()
                && other.kid == key.kid
                && other
                    .algorithms
                    .iter()
                    .any(|algorithm| key.algorithms.contains(algorithm))
        };
        if self.keys.iter().any(twin) {
            return Err("an earlier key has the same kid".into());
        }
        Ok(key)
    }

    /// What was not taken from a JWK set, and why; one line each.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether every token is refused.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether some key can be used for `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithms.contains(&algorithm))
    }

    /// The key for a token's kid and alg, if that is exactly one.
    pub(super) fn choose(&self, algorithm: Algorithm, kid: Option<&str>) -> Choice<'_> {
        let named = self
            .keys
            .iter()
            .filter(|key| !self.by_kid || kid.is_none() || key.kid.as_deref() == kid);
        if named.clone().next().is_none() {
            return Choice::Unknown;
        }
        let mut fitting = named.filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Choice::Key(key),
            (Some(_), Some(_)) => Choice::Unfit("the token has no kid and more than one key fits its alg"),
            (None, _) => Choice::Unfit("the key is not for the token's alg"),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("kids", &self.keys.iter().map(|key| &key.kid).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

const SECRET_BYTES_MIN: usize = 32;
const KEYS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::super::testing::{Signer, jwks, pem};
    use super::*;

    fn set(keys: &[Value]) -> KeySet {
        KeySet::from_jwks(&jwks(keys)).unwrap()
    }

    /// Why this key, beside a good one, was not taken.
    fn skipped(key: Value) -> String {
        let good = Signer::fresh(Algorithm::EdDsa).jwk("good");
        let set = set(&[key, good]);
        assert_eq!(set.len(), 1, "the good one stays");
        set.skipped().join("; ")
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    #[test]
    fn one_bad_key_does_not_lose_the_others() {
        let p256 = Signer::fresh(Algorithm::Es256).jwk("k");
        let ill_typed = "a member is missing, repeated or of the wrong type";
        for (key, reason) in [
            (with(p256.clone(), "use", json!("enc")), "its use is not sig"),
            (
                with(p256.clone(), "key_ops", json!(["sign"])),
                "its key_ops do not hold verify",
            ),
            (with(p256.clone(), "alg", json!("ES384")), "its alg does not fit"),
            (with(p256.clone(), "alg", json!("HS256")), "its alg does not fit"),
            (
                with(p256.clone(), "alg", json!("ECDH-ES")),
                "its alg does not fit",
            ),
            (with(p256.clone(), "crv", json!("P-384")), "not a point"),
            (with(p256.clone(), "crv", json!("P-521")), "not supported"),
            (with(p256.clone(), "crv", json!("secp256k1")), "not supported"),
            (with(p256.clone(), "kty", json!("AKP")), "not supported"),
            (with(p256.clone(), "x", p256["y"].clone()), "not a point"),
            (with(p256.clone(), "x", json!("%%%")), "missing or not base64url"),
            (with(p256.clone(), "y", Value::Null), "missing or not base64url"),
            (with(p256.clone(), "kid", json!(7)), ill_typed),
            (
                with(p256.clone(), "kid", json!("../k")),
                "its kid is not a plain name",
            ),
            (with(p256.clone(), "key_ops", json!("verify")), ill_typed),
            (json!("a string"), ill_typed),
            (json!({"kid": "no kty"}), ill_typed),
            (Signer::fresh(Algorithm::Hs256).jwk("s"), "shared secret"),
        ] {
            let said = skipped(key.clone());
            assert!(
                said.starts_with("key 1: ") && said.contains(reason),
                "{key}: {said}"
            );
        }
    }

    #[test]
    fn what_a_key_says_of_itself_is_kept_when_it_fits() {
        let rsa = Signer::fresh(Algorithm::Rs256).jwk("k");
        let plain = set(std::slice::from_ref(&rsa));
        assert!(plain.fits(Algorithm::Rs256) && plain.fits(Algorithm::Ps256));
        let bound = set(&[with(with(rsa, "alg", json!("PS256")), "use", json!("sig"))]);
        assert!(bound.fits(Algorithm::Ps256) && !bound.fits(Algorithm::Rs256));
        assert!(!plain.fits(Algorithm::Hs256));
    }

    #[test]
    fn rsa_below_2048_bits_and_odd_exponents_are_skipped() {
        let rsa = Signer::fresh(Algorithm::Rs256).jwk("k");
        let modulus = |bytes: usize| json!(URL_SAFE_NO_PAD.encode(vec![0xff; bytes]));
        assert!(skipped(with(rsa.clone(), "n", modulus(128))).contains("RSA of 1024 bits"));
        assert!(skipped(with(rsa.clone(), "n", modulus(255))).contains("RSA of 2040 bits"));
        assert!(skipped(with(rsa.clone(), "n", modulus(1025))).contains("RSA of 8200 bits"));
        for exponent in [&[1][..], &[2], &[0], &[], &[1, 0, 0, 0, 1]] {
            let key = with(rsa.clone(), "e", json!(URL_SAFE_NO_PAD.encode(exponent)));
            assert!(skipped(key).contains("exponent"), "{exponent:?}");
        }
    }

    #[test]
    fn two_keys_of_one_kid_are_told_apart_by_kind_or_the_second_is_skipped() {
        let (first, second) = (Signer::fresh(Algorithm::Es256), Signer::fresh(Algorithm::Es256));
        let rsa = Signer::fresh(Algorithm::Rs256);
        let set = set(&[first.jwk("k"), second.jwk("k"), rsa.jwk("k")]);
        assert_eq!(set.len(), 2);
        assert_eq!(set.skipped(), ["key 2: an earlier key has the same kid"]);
    }

    #[test]
    fn a_set_without_a_usable_key_or_with_too_many_is_refused() {
        let refusal = |json: &[u8]| KeySet::from_jwks(json).unwrap_err();
        for odd in [
            &b""[..],
            b"[]",
            b"{}",
            b"{\"keys\":{}}",
            b"{\"keys\":[]",
            b"<html>",
            b"\xff",
        ] {
            assert!(refusal(odd).starts_with("it is no JWK set"), "{odd:?}");
        }
        assert!(refusal(b"{\"keys\":[]}").starts_with("it holds no key"));
        let secret = Signer::fresh(Algorithm::Hs256).jwk("s");
        assert!(refusal(&jwks(&[secret])).contains("shared secret"));
        let key = Signer::fresh(Algorithm::EdDsa).jwk("k");
        assert_eq!(
            refusal(&jwks(&vec![key; 101])),
            "it holds 101 keys; at most 100 are read"
        );
    }

    #[test]
    fn the_version_follows_the_usable_keys() {
        let (one, two) = (
            Signer::fresh(Algorithm::EdDsa).jwk("1"),
            Signer::fresh(Algorithm::EdDsa).jwk("2"),
        );
        let version = |keys: &[Value]| set(keys).version();
        let both = version(&[one.clone(), two.clone()]);
        let (one, two) = ([one], [two]);
        assert_eq!(version(&one), version(&one));
        assert_ne!(version(&one), both);
        assert_ne!(version(&one), version(&two));
    }

    #[test]
    fn a_secret_is_at_least_32_bytes() {
        assert!(KeySet::from_secret(&[7; 32]).is_ok());
        for length in [0, 1, 31] {
            let refusal = KeySet::from_secret(&vec![7; length]).unwrap_err();
            assert!(refusal.contains("at least 32"), "{refusal}");
        }
    }

    #[test]
    fn a_pem_file_is_one_public_key() {
        for algorithm in [
            Algorithm::Rs256,
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::EdDsa,
        ] {
            let set = KeySet::from_public_pem(Signer::fresh(algorithm).pem().as_bytes()).unwrap();
            assert!(set.fits(algorithm), "{algorithm}");
        }
        let good = Signer::fresh(Algorithm::EdDsa).pem();
        let private = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for (text, reason) in [
            (private, "a private key"),
            (pem("RSA PRIVATE KEY", b"x"), "a private key"),
            (pem("CERTIFICATE", b"x"), "a certificate"),
            (format!("{good}{good}"), "exactly one PEM block"),
            (String::new(), "exactly one PEM block"),
            (pem("PUBLIC KEY", b"x"), "not a PUBLIC KEY"),
            (pem("PUBLIC KEY", &[]), "not a PUBLIC KEY"),
        ] {
            let refusal = KeySet::from_public_pem(text.as_bytes()).unwrap_err();
            assert!(refusal.contains(reason), "{reason}: {refusal}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let secret = Zeroizing::new(b"0123456789abcdef0123456789abcdef".to_vec());
        let set = KeySet::from_secret(&secret).unwrap();
        let shown = format!("{set:?} {:?}", KeySource::Secret(secret));
        assert!(!shown.contains("0123") && !shown.contains("48, 49"), "{shown}");
    }

    #[test]
    fn an_algorithm_is_read_by_its_exact_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        for name in ["none", "rs256", "RS512", ""] {
            assert!(
                name.parse::<Algorithm>()
                    .unwrap_err()
                    .contains("choose from HS256, RS256"),
                "{name}"
            );
        }
    }
}
