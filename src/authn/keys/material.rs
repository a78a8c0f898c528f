//! Public keys as JWK and PEM write them: which are accepted, and for which algorithms each of them is.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RsaParameters,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::super::token::is_kid;
use super::{Algorithm, Key};

/// The members of a JWK that matter here. Strings only: a number as a kid is a mistake in that key.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

pub(super) fn read_jwk(json: &str) -> Result<Key, String> {
    let jwk: Jwk =
        serde_json::from_str(json).map_err(|_| "a member is missing, repeated or of the wrong type")?;
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Err("its use is not sig".into());
    }
    if jwk
        .key_ops
        .as_ref()
        .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return Err("its key_ops do not hold verify".into());
    }
    if jwk.kid.as_deref().is_some_and(|kid| !is_kid(kid)) {
        return Err("its kid is not a plain name of up to 128 bytes".into());
    }
    let (fitting, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (RSA, rsa_from(&part(jwk.n)?, &part(jwk.e)?)?),
        ("EC", Some("P-256")) => (
            P256,
            point_from(&part(jwk.x)?, &part(jwk.y)?, 32, &ECDSA_P256_SHA256_FIXED)?,
        ),
        ("EC", Some("P-384")) => (
            P384,
            point_from(&part(jwk.x)?, &part(jwk.y)?, 48, &ECDSA_P384_SHA384_FIXED)?,
        ),
        ("OKP", Some("Ed25519")) => (ED, ed25519_from(&part(jwk.x)?)?),
        ("oct", _) => return Err("it is a shared secret, which no published set may hold".into()),
        _ => return Err("its kty or crv is not supported".into()),
    };
    let algorithms = match jwk.alg.as_deref() {
        None => fitting,
        Some(name) => fitting
            .iter()
            .find(|algorithm| algorithm.name() == name)
            .map(std::slice::from_ref)
            .ok_or("its alg does not fit its kind, or is not supported")?,
    };
    Ok(Key {
        kid: jwk.kid,
        algorithms,
        material,
    })
}

fn part(text: Option<String>) -> Result<Vec<u8>, String> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or_else(|| "a part of the key is missing or not base64url".into())
}

fn rsa_from(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, String> {
    let (modulus, exponent) = (significant(modulus), significant(exponent));
    let bits = modulus.first().map_or(0, |first| {
        modulus
            .len()
            .saturating_mul(8)
            .saturating_sub(first.leading_zeros() as usize)
    });
    if !RSA_BITS.contains(&bits) {
        return Err(format!("it is RSA of {bits} bits; 2048 to 8192 are accepted"));
    }
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err("its RSA exponent is not an odd number from 3 to 2^32".into());
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn point_from(
    x: &[u8],
    y: &[u8],
    length: usize,
    algorithm: &'static dyn VerificationAlgorithm,
) -> Result<DecodingKey, String> {
    // SEC 1 §2.3.3: uncompressed.
    let point = [&[4], x, y].concat();
    if x.len() != length || y.len() != length || ParsedPublicKey::new(algorithm, &point).is_err() {
        return Err("it is not a point of its curve".into());
    }
    Ok(DecodingKey::from_ec_der(&point))
}

fn ed25519_from(x: &[u8]) -> Result<DecodingKey, String> {
    ParsedPublicKey::new(&ED25519, x).map_err(|_| "it is not an Ed25519 key")?;
    Ok(DecodingKey::from_ed_der(x))
}

pub(super) fn read_pem(pem: &[u8]) -> Result<(&'static [Algorithm], DecodingKey), String> {
    let text = std::str::from_utf8(pem).map_err(|_| "it is not PEM")?;
    let labels: Vec<_> = text.matches("-----BEGIN ").collect();
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "it holds a private key; the gateway needs the public one, which `openssl pkey -pubout` prints"
                .into(),
        );
    }
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(
            "it holds a certificate; write its public key, which `openssl x509 -pubkey -noout` prints".into(),
        );
    }
    if labels.len() != 1 {
        return Err("it does not hold exactly one PEM block; write one PUBLIC KEY".into());
    }
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        let bits = key
            .try_get_as_bytes()
            .ok()
            .and_then(|der| RsaParameters::public_modulus_len(der).ok());
        let accepted = bits
            .and_then(|bits| usize::try_from(bits).ok())
            .is_some_and(|bits| RSA_BITS.contains(&bits));
        return if accepted {
            Ok((RSA, key))
        } else {
            Err("its RSA key has not 2048 to 8192 bits".into())
        };
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        let is_for = |algorithm: &'static dyn VerificationAlgorithm| {
            key.try_get_as_bytes()
                .is_ok_and(|point| ParsedPublicKey::new(algorithm, point).is_ok())
        };
        return if is_for(&ECDSA_P256_SHA256_FIXED) {
            Ok((P256, key))
        } else if is_for(&ECDSA_P384_SHA384_FIXED) {
            Ok((P384, key))
        } else {
            Err("its curve is neither P-256 nor P-384".into())
        };
    }
    match DecodingKey::from_ed_pem(pem) {
        Ok(key) => Ok((ED, key)),
        Err(_) => Err("it is not a PUBLIC KEY of RSA, P-256, P-384 or Ed25519".into()),
    }
}

const RSA: &[Algorithm] = &[Algorithm::Rs256, Algorithm::Ps256];
const P256: &[Algorithm] = &[Algorithm::Es256];
const P384: &[Algorithm] = &[Algorithm::Es384];
const ED: &[Algorithm] = &[Algorithm::EdDsa];

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
