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
