//! The `Authorization` header, read in exactly one way or refused.
//!
//! Nothing is trimmed, folded or repaired: what two programs could read differently, one of them would let through.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use crate::denial::Denial;

/// What the client presented. Debug output never shows it; the password is wiped when dropped.
pub enum Credentials<'a> {
    /// RFC 7617: both parts UTF-8, not empty, without control characters. The user name holds no colon.
    Basic {
        /// As sent.
        user: String,
        /// As sent; it may be a token.
        password: Zeroizing<String>,
    },
    /// RFC 6750: the token, not empty, visible ASCII.
    Bearer(&'a str),
}

impl<'a> Credentials<'a> {
    /// Reads the one `Authorization` header. None at all is [`Denial::MissingCredentials`]; an empty user or password
    /// is [`Denial::InvalidCredentials`] before anything is asked about it, because some directories take an empty
    /// password for a successful anonymous login (RFC 4513 §5.1.2); all else that is odd is malformed.
    pub fn from_headers(headers: &'a HeaderMap) -> Result<Self, Denial> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Denial::MissingCredentials)?;
        if values.next().is_some() {
            return Err(malformed("there is more than one"));
        }
        if value.len() > HEADER_BYTES_MAX {
            return Err(malformed("it is longer than 16 KiB"));
        }
        let text = value
            .to_str()
            .map_err(|_| malformed("it holds characters beyond visible ASCII"))?;
        let (scheme, rest) = text
            .split_once(' ')
            .ok_or_else(|| malformed("it has a scheme but no credentials"))?;
        // RFC 9110 §11.4: one blank or several.
        let payload = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            basic(payload)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            bearer(payload)
        } else {
            Err(malformed("its scheme is neither Basic nor Bearer"))
        }
    }
}

fn basic<'a>(payload: &str) -> Result<Credentials<'a>, Denial> {
    // Reserved at once: a buffer that grows leaves a copy of the password behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(payload.len()));
    STANDARD
        .decode_vec(payload, &mut decoded)
        .map_err(|_| malformed("what follows Basic is not base64 with padding"))?;
    let pair = std::str::from_utf8(&decoded).map_err(|_| malformed("user and password are not UTF-8"))?;
    if pair.chars().any(char::is_control) {
        return Err(malformed("user or password hold control characters"));
    }
    // The first colon: a user name has none (RFC 7617 §2), a password may.
    let (user, password) = pair
        .split_once(':')
        .ok_or_else(|| malformed("there is no colon between user and password"))?;
    if user.is_empty() || password.is_empty() {
        return Err(Denial::InvalidCredentials);
    }
    Ok(Credentials::Basic {
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    })
}

fn bearer(payload: &str) -> Result<Credentials<'_>, Denial> {
    if payload.is_empty() {
        return Err(malformed("there is no token after Bearer"));
    }
    // RFC 6750 §2.1, so that a list of two schemes is not half read.
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !payload.bytes().all(in_token) {
        return Err(malformed("what follows Bearer is not one token"));
    }
    Ok(Credentials::Bearer(payload))
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // People type passwords into the user field.
            Self::Basic { .. } => f.write_str("Basic(..)"),
            Self::Bearer(_) => f.write_str("Bearer(..)"),
        }
    }
}

fn malformed(what: &'static str) -> Denial {
    Denial::MalformedCredentials(what)
}

/// Room for a token of 8 KiB as a Basic password, which base64 makes a third longer.
const HEADER_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    /// What a value is read as: `user|password`, `bearer|token`, or the denial's code.
    fn read(values: &[&[u8]]) -> String {
        match Credentials::from_headers(&headers(values)) {
            Ok(Credentials::Basic { user, password }) => format!("{user}|{}", password.as_str()),
            Ok(Credentials::Bearer(token)) => format!("bearer|{token}"),
            Err(denial) => denial.answer().code.to_owned(),
        }
    }

    fn encoded(pair: &[u8]) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn a_pair_is_split_at_the_first_colon_and_kept_to_the_byte() {
        for (pair, expected) in [
            ("alice:secret", "alice|secret"),
            ("bob:x:pw", "bob|x:pw"),
            ("alice::", "alice|:"),
            (" alice : secret ", " alice | secret "),
            ("älice:pässword", "älice|pässword"),
            ("ａｌｉｃｅ:x", "ａｌｉｃｅ|x"),
        ] {
            assert_eq!(read(&[encoded(pair.as_bytes()).as_bytes()]), expected);
        }
    }

    #[test]
    fn the_scheme_has_no_case_and_one_blank_or_several_follow_it() {
        for value in ["basic YTpi", "BASIC YTpi", "bAsIc    YTpi"] {
            assert_eq!(read(&[value.as_bytes()]), "a|b", "{value}");
        }
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            assert_eq!(read(&[value.as_bytes()]), "bearer|a.b.c", "{value}");
        }
    }

    #[test]
    fn no_header_is_missing_credentials() {
        assert_eq!(read(&[]), "missing_credentials");
    }

    #[test]
    fn two_headers_are_malformed_even_when_equal() {
        assert_eq!(read(&[b"Basic YTpi", b"Basic YTpi"]), "malformed_credentials");
        assert_eq!(read(&[b"Basic YTpi", b"Bearer a.b.c"]), "malformed_credentials");
    }

    #[test]
    fn what_is_not_exactly_one_known_scheme_is_malformed() {
        for value in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"Bearer",
            b"Bearer ",
            b"Basi YTpi",
            b"BasicYTpi",
            b"Basic\tYTpi",
            b" Basic YTpi",
            b"Negotiate YTpi",
            b"Digest username=\"alice\"",
            b"Basic YTpi, Bearer a.b.c",
            b"Bearer a.b.c, Basic YTpi",
            b"Bearer a.b.c d",
            b"Bearer \"a.b.c\"",
            b"Basic YTpi\xff",
            b"\xc3\xa9",
        ] {
            assert_eq!(read(&[value]), "malformed_credentials", "{value:?}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        // `a:b`, `a:b?` and `a:b>`: without padding, with too much, with the other alphabet, with bits that mean nothing.
        for payload in [
            "YTpiPw",
            "YTpiPw=",
            "YTpiPw===",
            "YTpiPw==\u{20}",
            "YTpiPx==",
            "YTpi Pw==",
            "YTpiPw==YTpi",
            "YTpiP\u{2d}8=",
            "YTpi\u{5f}w==",
            "====",
            "Y",
        ] {
            assert_eq!(
                read(&[format!("Basic {payload}").as_bytes()]),
                "malformed_credentials",
                "{payload}"
            );
        }
        assert_eq!(read(&[b"Basic YTpiPw=="]), "a|b?");
    }

    #[test]
    fn pairs_without_a_colon_of_other_charsets_or_with_control_characters_are_malformed() {
        for pair in [
            &b"alice"[..],
            b"al\xefce:secret",
            b"alice:s\xe9cret",
            b"alice\0:x",
            b"alice:x\0",
            b"al\nice:x",
            b"alice:x\r\n",
            b"alice:\x7f",
            "alice:\u{85}".as_bytes(),
        ] {
            assert_eq!(
                read(&[encoded(pair).as_bytes()]),
                "malformed_credentials",
                "{pair:?}"
            );
        }
    }

    #[test]
    fn an_empty_user_or_password_is_not_accepted() {
        for pair in [":secret", "alice:", ":"] {
            assert_eq!(
                read(&[encoded(pair.as_bytes()).as_bytes()]),
                "invalid_credentials",
                "{pair}"
            );
        }
    }

    #[test]
    fn a_token_of_8_kib_fits_as_a_password_and_more_than_16_kib_of_header_is_malformed() {
        let token = "x".repeat(8 * 1024);
        assert_eq!(
            read(&[encoded(format!("alice:{token}").as_bytes()).as_bytes()]),
            format!("alice|{token}")
        );
        let longest = format!("Bearer {}", "x".repeat(16 * 1024 - 7));
        assert!(read(&[longest.as_bytes()]).starts_with("bearer|"));
        assert_eq!(read(&[format!("{longest}x").as_bytes()]), "malformed_credentials");
    }

    #[test]
    fn debug_output_shows_neither_user_nor_secret() {
        let shown = |value: &[u8]| format!("{:?}", Credentials::from_headers(&headers(&[value])).unwrap());
        assert_eq!(shown(encoded(b"alice:secret").as_bytes()), "Basic(..)");
        assert_eq!(shown(b"Bearer a.b.c"), "Bearer(..)");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_sent_only_a_pair_that_was_encoded_is_read(payload in ".{0,40}", raw in proptest::collection::vec(0x20_u8..=0xff, 0..60)) {
            let raw: Vec<u8> = raw.into_iter().filter(|byte| *byte != 0x7f).collect();
            let value = [b"Basic ", raw.as_slice()].concat();
            if let Ok(Credentials::Basic { user, password }) = Credentials::from_headers(&headers(&[&value])) {
                let pair = format!("{user}:{}", password.as_str());
                proptest::prop_assert!(value.ends_with(STANDARD.encode(pair).as_bytes()));
            }
            let said = read(&[encoded(payload.as_bytes()).as_bytes()]);
            match payload.split_once(':') {
                Some((user, password)) if !user.is_empty() && !password.is_empty() && !payload.chars().any(char::is_control) => {
                    proptest::prop_assert_eq!(said, format!("{user}|{password}"));
                }
                _ => proptest::prop_assert!(said.ends_with("_credentials"), "{}", said),
            }
        }
    }
}
