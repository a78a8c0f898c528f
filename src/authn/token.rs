//! A compact JWS (RFC 7515 §3.1) taken apart: strict on the outside, so that verifier and mapper read the same thing.
//!
//! Nothing in here is proven: a [`Token`] is only what somebody wrote.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::keys::Algorithm;

/// A token's parts. The claims are unproven until the signature is found good.
pub(super) struct Token<'a> {
    /// What the signature covers: header and payload as sent.
    pub(super) signed: &'a str,
    /// As sent, in base64url.
    pub(super) signature: &'a str,
    /// What the header says.
    pub(super) algorithm: Algorithm,
    /// The key that the header names; a map key and nothing else.
    pub(super) kid: Option<String>,
    /// The kind that the header says, in lower case and without `application/`.
    pub(super) typ: Option<String>,
    /// The payload.
    pub(super) claims: Claims,
}

impl<'a> Token<'a> {
    /// The reasons are for the log.
    pub(super) fn parse(token: &'a str) -> Result<Self, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("the token is longer than 8 KiB");
        }
        let (header, payload, signature) =
            three_parts(token).ok_or("the token has not exactly three parts")?;
        let header = object(header).ok_or("the header is not one JSON object without duplicate names")?;
        let payload = object(payload).ok_or("the payload is not one JSON object without duplicate names")?;
        let (algorithm, kid) = read_header(&header)?;
        let typ = read_typ(&header)?;
        let signed = token
            .strip_suffix(signature)
            .and_then(|rest| rest.strip_suffix('.'))
            .unwrap_or_default();
        Ok(Self {
            signed,
            signature,
            algorithm,
            kid,
            typ,
            claims: Claims(payload),
        })
    }
}

/// Whether a text can only be meant as a token: three parts, the first of them a JSON object's beginning.
pub(super) fn looks_like_token(text: &str) -> bool {
    let in_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    three_parts(text).is_some_and(|(header, payload, signature)| {
        [header, payload, signature]
            .into_iter()
            .all(|part| part.bytes().all(in_base64url))
            && URL_SAFE_NO_PAD
                .decode(header)
                .is_ok_and(|json| json.starts_with(b"{"))
    })
}

fn three_parts(token: &str) -> Option<(&str, &str, &str)> {
    let mut parts = token.split('.');
    let three = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && !three.0.is_empty() && !three.1.is_empty() && !three.2.is_empty();
    whole.then_some(three)
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&json).ok()? {
        Unique(Value::Object(members)) => Some(members),
        Unique(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => None,
    }
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), &'static str> {
    // Extensions that must be understood, other people's keys and where to fetch them, other payloads than claims.
    const REFUSED: [&str; 9] = ["crit", "jku", "jwk", "x5u", "x5c", "cty", "b64", "enc", "zip"];
    if REFUSED.iter().any(|name| header.contains_key(*name)) {
        return Err("the header holds crit, jku, jwk, x5u, x5c, cty, b64, enc or zip");
    }
    let algorithm = header
        .get("alg")
        .and_then(Value::as_str)
        .and_then(|name| name.parse().ok())
        .ok_or("alg is not a supported algorithm")?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if is_kid(kid) => Some(kid.clone()),
        Some(_) => return Err("kid is not a plain name of up to 128 bytes"),
    };
    Ok((algorithm, kid))
}

fn read_typ(header: &Map<String, Value>) -> Result<Option<String>, &'static str> {
    header
        .get("typ")
        .map(|typ| typ.as_str().map(plain_type).ok_or("typ is not a string"))
        .transpose()
}

/// A media type as it is compared: RFC 7515 §4.1.9 leaves `application/` out, and case does not count.
pub(crate) fn plain_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
}

/// A plain name, or standard base64 as Amazon's Cognito has it; so no path, URL, query or line of a log.
pub(super) fn is_kid(text: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._=-".contains(&byte);
    !text.is_empty() && text.len() <= 128 && (text.bytes().all(in_name) || STANDARD.decode(text).is_ok())
}

/// The payload's members.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// The claim of that name, or, if there is none, what the name leads to as a path `a.b.c` of nested objects. Names
    /// come first because some providers put dots into them (`https://example.org/groups`).
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.0.get(path).or_else(|| {
            let mut steps = path.split('.');
            let first = self.0.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.as_object()?.get(step))
        })
    }

    /// The claim, if it is a string that is not empty.
    pub(super) fn string(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str().filter(|text| !text.is_empty())
    }

    /// A date (RFC 7519 §2) in seconds since 1970, whole or not: Ok(None) if absent, an error if it is no such thing.
    pub(super) fn date(&self, name: &str) -> Result<Option<f64>, &'static str> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        // Up to the year 5138: milliseconds, and numbers that lose their meaning in arithmetic, are past it.
        value
            .as_f64()
            .filter(|seconds| (0.0..=1e11).contains(seconds))
            .map(Some)
            .ok_or("exp, nbf or iat is not a number of seconds")
    }
}

/// A JSON value in which no object names a member twice, at any depth and in any spelling. serde_json bounds the depth.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unique(value))) = members.next_entry::<String, _>()? {
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a duplicate name"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// Ten times what providers issue; longer ones cost work before anybody is known.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    fn refusal(header: &str, payload: &str) -> &'static str {
        Token::parse(&token(header, payload))
            .map(|_| "accepted")
            .unwrap_or_else(|reason| reason)
    }

    #[test]
    fn the_signed_part_is_header_and_payload_as_sent() {
        let text = token(r#"{"alg":"RS256","kid":"k-1"}"#, r#"{"sub":"alice"}"#);
        let read = Token::parse(&text).unwrap();
        assert_eq!(format!("{}.{}", read.signed, read.signature), text);
        assert_eq!(
            (read.algorithm, read.kid.as_deref()),
            (Algorithm::Rs256, Some("k-1"))
        );
        assert_eq!(read.claims.string("sub"), Some("alice"));
    }

    #[test]
    fn only_three_parts_of_base64url_are_a_token() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        let (header, rest) = good.split_once('.').unwrap();
        for text in [
            "",
            "..",
            "a.b",
            header,
            &format!("{good}.x"),
            &format!("{good}."),
            &format!(".{good}"),
            &format!("{header}=.{rest}"),
            &format!("{header}..c2ln"),
            &good.replace("c2ln", ""),
            &format!("{good}.{good}.{good}"),
        ] {
            assert!(Token::parse(text).is_err(), "{text}");
        }
        assert!(Token::parse(&good).is_ok());
    }

    #[test]
    fn a_token_beyond_8_kib_is_refused_before_it_is_decoded() {
        let pad = |n: usize| token(r#"{"alg":"RS256"}"#, &format!(r#"{{"sub":"{}"}}"#, "x".repeat(n)));
        assert!(Token::parse(&pad(6_000)).is_ok());
        assert_eq!(
            Token::parse(&pad(6_200)).err(),
            Some("the token is longer than 8 KiB")
        );
    }

    #[test]
    fn duplicate_names_are_refused_at_every_depth_and_in_every_spelling() {
        let plain = r#"{"alg":"RS256"}"#;
        for (header, payload) in [
            (r#"{"alg":"RS256","alg":"RS256"}"#, "{}"),
            (r#"{"alg":"RS256","\u0061lg":"none"}"#, "{}"),
            (plain, r#"{"sub":"alice","sub":"bob"}"#),
            (plain, r#"{"sub":"alice","s\u0075b":"bob"}"#),
            (plain, r#"{"a":{"user":"alice","user":"bob"}}"#),
            (plain, r#"{"a":[{"user":"alice","user":"bob"}]}"#),
        ] {
            assert!(
                refusal(header, payload).contains("duplicate names"),
                "{header} {payload}"
            );
        }
    }

    #[test]
    fn only_one_json_object_is_a_header_or_a_payload() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for odd in [
            "[]",
            "null",
            "\"x\"",
            "7",
            "{} {}",
            "{\"a\":}",
            "{\"a\":1e999}",
            "\u{feff}{}",
            &deep,
        ] {
            assert!(refusal(odd, "{}").starts_with("the header is not"), "{odd}");
            assert!(
                refusal(r#"{"alg":"RS256"}"#, odd).starts_with("the payload is not"),
                "{odd}"
            );
        }
    }

    #[test]
    fn alg_is_one_of_the_supported_names_exactly() {
        for alg in [
            r#""none""#,
            r#""None""#,
            r#""NONE""#,
            r#""nOnE""#,
            r#""""#,
            r#""rs256""#,
            r#""HS512""#,
            r#""ES256K""#,
            r#"["RS256"]"#,
            "null",
            "7",
        ] {
            assert_eq!(
                refusal(&format!(r#"{{"alg":{alg}}}"#), "{}"),
                "alg is not a supported algorithm",
                "{alg}"
            );
        }
        assert_eq!(
            refusal(r#"{"typ":"JWT"}"#, "{}"),
            "alg is not a supported algorithm"
        );
    }

    #[test]
    fn headers_that_bring_keys_extensions_or_other_payloads_are_refused() {
        for member in [
            r#""crit":["exp"]"#,
            r#""crit":[]"#,
            r#""jku":"https://evil.example/keys""#,
            r#""x5u":"https://evil.example/cert""#,
            r#""jwk":{"kty":"oct","k":"AAAA"}"#,
            r#""x5c":["AAAA"]"#,
            r#""cty":"JWT""#,
            r#""b64":false"#,
            r#""enc":"A256GCM""#,
            r#""zip":"DEF""#,
        ] {
            assert!(
                refusal(&format!(r#"{{"alg":"RS256",{member}}}"#), "{}").starts_with("the header holds"),
                "{member}"
            );
        }
    }

    #[test]
    fn typ_is_read_without_case_and_without_its_prefix() {
        for (member, typ) in [
            ("", Ok(None)),
            (r#","typ":"JWT""#, Ok(Some("jwt"))),
            (r#","typ":"AT+JWT""#, Ok(Some("at+jwt"))),
            (r#","typ":"application/at+jwt""#, Ok(Some("at+jwt"))),
            (r#","typ":"""#, Ok(Some(""))),
            (r#","typ":null"#, Err("typ is not a string")),
            (r#","typ":["JWT"]"#, Err("typ is not a string")),
        ] {
            let text = token(&format!(r#"{{"alg":"RS256"{member}}}"#), "{}");
            let read = Token::parse(&text).map(|token| token.typ);
            assert_eq!(
                read.as_ref().map(Option::as_deref),
                typ.as_ref().copied(),
                "{member}"
            );
        }
    }

    #[test]
    fn kid_is_a_plain_name() {
        let cognito = STANDARD.encode([0xfb, 0xff, 0xfe, 0x3e, 0x3f, 0xff, 0xbf, 0xfd]);
        assert!(cognito.contains('/') && cognito.contains('+'));
        for good in [
            "k",
            "2026-11",
            "nOo3ZDrODXEK1jKWhXslHR_KXEg",
            &"x".repeat(128),
            &cognito,
        ] {
            assert!(is_kid(good), "{good}");
        }
        for bad in [
            "",
            "../../etc/passwd",
            "/dev/null",
            "/etc/passwd",
            "' OR 1=1 --",
            "http://evil.example/k",
            "a\r\nb",
            "a b",
            "a\0",
            "é",
            &"x".repeat(129),
            &"x".repeat(4096),
        ] {
            assert!(!is_kid(bad), "{bad}");
        }
        for kid in ["7", "null", "[\"k\"]", "{}", "\"\""] {
            assert_eq!(
                refusal(&format!(r#"{{"alg":"RS256","kid":{kid}}}"#), "{}"),
                "kid is not a plain name of up to 128 bytes",
                "{kid}"
            );
        }
    }

    #[test]
    fn a_claim_is_found_by_its_name_and_else_by_its_path() {
        let text = token(
            r#"{"alg":"RS256"}"#,
            r#"{"a":{"b":{"c":"nested"}},"https://example.org/groups":"named","x.y":"flat","x":{"y":"deep"}}"#,
        );
        let claims = Token::parse(&text).unwrap().claims;
        assert_eq!(claims.string("a.b.c"), Some("nested"));
        assert_eq!(claims.string("https://example.org/groups"), Some("named"));
        assert_eq!(claims.string("x.y"), Some("flat"));
        for absent in ["a", "a.b", "a.b.c.d", "a.x", "z", "", ".", "a..c"] {
            assert_eq!(claims.string(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_password_is_a_token_only_by_its_shape() {
        assert!(looks_like_token(&token(r#"{"alg":"RS256"}"#, "{}")));
        assert!(looks_like_token(&token(r#"{ "alg":"none"}"#, "{}")));
        for text in [
            "",
            "secret",
            "a.b.c",
            "eyJhbGciOiJub25lIn0.e30.",
            "eyJ.e30.x y",
            "1.2.3",
            "correct.horse.battery",
        ] {
            assert!(!looks_like_token(text), "{text}");
        }
    }
}
