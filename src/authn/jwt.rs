//! Tokens (RFC 7519, RFC 8725): the check of a token against one issuer's rules, and the making of one.
//!
//! The issuer's rules come first and last: a token's own words choose whose rules it must pass (`iss`) and which of
//! that issuer's keys it means (`kid`), never how a key is used, where keys come from or what is checked.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value, json};

use super::issuer::Issuer;
use super::keys::{Algorithm, Choice};
use super::token::{Claims, Token};
use super::{Source, Subject};

/// What a token turned out to be.
#[derive(Debug)]
pub enum TokenVerdict {
    /// Good.
    Subject {
        /// Whom it proves.
        subject: Subject,
        /// Its `exp`, as the time since 1970: no cache may keep the proof longer.
        expires: Duration,
        /// Until when what only reads may still be done with it: `exp`, or later where that is configured.
        reads_until: Duration,
    },
    /// Good but for its time; said only after the signature, the issuer and the audience were found good.
    Expired,
    /// Refused; the reason is for the log, not for the client.
    Invalid(&'static str),
    /// Signed by a key that the issuer's set does not hold; fresher keys may.
    UnknownKey(MissingKey),
}

/// A key that an issuer does not have now.
#[derive(Debug)]
pub struct MissingKey {
    /// Whose.
    pub issuer: Arc<Issuer>,
    /// What the token calls it.
    pub kid: Option<String>,
}

/// What a token is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenUse {
    /// To read: an issuer may let a token do that for a while after its end.
    Read,
    /// Anything else.
    Write,
}

/// How a token came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Bearer,
    BasicPassword,
}

/// The story of a token: its `iss` chooses the issuer, and that issuer's rules decide.
pub(super) fn verify(
    issuers: &[Arc<Issuer>],
    token: &str,
    now_wall: Duration,
    wish: TokenUse,
    carrier: Carrier,
) -> TokenVerdict {
    let judged = Token::parse(token).and_then(|token| {
        // A string: an array could name a trusted issuer beside the real one.
        let named = token
            .claims
            .string("iss")
            .ok_or("iss is missing or not one string")?;
        let issuer = issuers
            .iter()
            .find(|issuer| issuer.issuer == named)
            .ok_or("no jwt entry has this issuer")?;
        if carrier == Carrier::BasicPassword && !issuer.as_basic_password {
            return Err("this issuer's tokens are not accepted as passwords");
        }
        judge(issuer, &token, now_wall, wish)
    });
    judged.unwrap_or_else(TokenVerdict::Invalid)
}

fn judge(
    issuer: &Arc<Issuer>,
    token: &Token<'_>,
    now_wall: Duration,
    wish: TokenUse,
) -> Result<TokenVerdict, &'static str> {
    if !issuer.algorithms.contains(&token.algorithm) {
        return Err("alg is not one of the issuer's algorithms");
    }
    let keys = issuer.keys();
    let key = match keys.choose(token.algorithm, token.kid.as_deref()) {
        Choice::Key(key) => key,
        Choice::Unfit(reason) => return Err(reason),
        Choice::Unknown => {
            return Ok(TokenVerdict::UnknownKey(MissingKey {
                issuer: Arc::clone(issuer),
                kid: token.kid.clone(),
            }));
        }
    };
    if !key.verifies(token.algorithm, token.signed, token.signature) {
        return Err("the signature is not the key's");
    }
    issuer.rules.judge_kind(token)?;
    judge_claims(issuer, &token.claims, now_wall, wish)
}

// Expiry last: what is said of a token's time is said of a token that is good otherwise.
fn judge_claims(
    issuer: &Issuer,
    claims: &Claims,
    now_wall: Duration,
    wish: TokenUse,
) -> Result<TokenVerdict, &'static str> {
    if claims.string("iss") != Some(&issuer.issuer) {
        return Err("iss is not the issuer");
    }
    if !is_for(claims, &issuer.audience) {
        return Err("aud is missing, of another type, or names somebody else");
    }
    if claims.string("sub").is_none() {
        return Err("sub is missing or not a string");
    }
    let (now, leeway) = (now_wall.as_secs_f64(), issuer.leeway.as_secs_f64());
    let expires = claims.date("exp")?.ok_or("exp is missing")?;
    if claims.date("nbf")?.is_some_and(|begins| begins > now + leeway) {
        return Err("the token is not valid yet");
    }
    if claims
        .date("iat")?
        .is_some_and(|issued| issued > now + leeway + CLOCK_SECONDS_AHEAD_MAX)
    {
        return Err("iat is in the future");
    }
    for (claim, wanted) in &issuer.required_claims {
        if !holds(claims, claim, wanted) {
            return Err("a required claim is missing or has another value");
        }
    }
    let name = claims
        .string(&issuer.user_claim)
        .ok_or("the user claim is missing or not a string")?;
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err("the user claim is too long or holds control characters");
    }
    issuer.rules.judge_denied(claims, name)?;
    let groups = groups_of(issuer, claims)?;
    let reads_after = issuer.rules.reads_after_expiry;
    let patience = match wish {
        TokenUse::Read => leeway.max(reads_after.as_secs_f64()),
        TokenUse::Write => leeway,
    };
    if now >= expires + patience {
        return Ok(TokenVerdict::Expired);
    }
    let expires = Duration::try_from_secs_f64(expires).map_err(|_| "exp is out of range")?;
    Ok(TokenVerdict::Subject {
        subject: Subject::proven(Source::Jwt(Arc::clone(&issuer.name)), name, groups),
        expires,
        reads_until: expires.saturating_add(reads_after),
    })
}

fn groups_of(issuer: &Issuer, claims: &Claims) -> Result<Vec<Arc<str>>, &'static str> {
    match issuer.groups_claim.as_ref().and_then(|claim| claims.get(claim)) {
        None => Ok(Vec::new()),
        Some(Value::String(group)) => Ok(vec![group.as_str().into()]),
        Some(Value::Array(groups)) => groups
            .iter()
            .map(|group| group.as_str().map(Arc::from))
            .collect::<Option<_>>()
            .ok_or("the groups claim holds something else than strings"),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            Err("the groups claim is neither a string nor a list of strings")
        }
    }
}

/// RFC 7519 §4.1.3: one string, or a list of strings.
fn is_for(claims: &Claims, audience: &[String]) -> bool {
    let wanted = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| audience.iter().any(|name| name == text))
    };
    match claims.get("aud") {
        Some(Value::Array(names)) => names.iter().all(Value::is_string) && names.iter().any(wanted),
        Some(one) => wanted(one),
        None => false,
    }
}

/// Equal, or a member of a list, or a word of a scope (RFC 8693 §4.2: `scope` is a list separated by blanks; Microsoft
/// calls it `scp`).
fn holds(claims: &Claims, claim: &str, wanted: &str) -> bool {
    match claims.get(claim) {
        Some(Value::String(text)) => {
            text == wanted || (matches!(claim, "scope" | "scp") && text.split(' ').any(|word| word == wanted))
        }
        Some(Value::Array(members)) => members.iter().any(|member| member.as_str() == Some(wanted)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// Makes a token that `issuer` accepts for `lifetime` from `now_wall` (since 1970): for first steps and tests, with a
/// shared secret only. What it makes was put before the verifier, so that nobody is handed a token that does not work.
pub fn mint(
    issuer: &Arc<Issuer>,
    subject: &str,
    groups: &[String],
    lifetime: Duration,
    now_wall: Duration,
) -> Result<String, String> {
    let keys = issuer.keys();
    let Choice::Key(key) = keys.choose(Algorithm::Hs256, None) else {
        return Err(format!(
            "'{}' has no secret; only HMAC issuers can be used",
            issuer.name
        ));
    };
    let secret = key.secret().ok_or("the issuer has no secret")?;
    let mut claims = Map::new();
    claims.insert("iss".into(), json!(issuer.issuer));
    claims.insert("aud".into(), json!(issuer.audience.first()));
    claims.insert("sub".into(), json!(subject));
    claims.insert("iat".into(), json!(now_wall.as_secs()));
    claims.insert("exp".into(), json!(now_wall.saturating_add(lifetime).as_secs()));
    for (claim, wanted) in &issuer.required_claims {
        put(&mut claims, claim, json!(wanted))?;
    }
    if issuer.user_claim != "sub" {
        put(&mut claims, &issuer.user_claim, json!(subject))?;
    }
    match &issuer.groups_claim {
        Some(claim) if !groups.is_empty() => put(&mut claims, claim, json!(groups))?,
        Some(_) | None => {}
    }
    let typ = match issuer.rules.types.first().map(String::as_str) {
        None | Some("jwt") => "JWT",
        Some(other) => other,
    };
    let header = json!({"alg": Algorithm::Hs256.name(), "typ": typ}).to_string();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string())
    );
    let signature = jsonwebtoken::crypto::sign(
        signed.as_bytes(),
        &EncodingKey::from_secret(secret),
        jsonwebtoken::Algorithm::HS256,
    )
    .map_err(|error| error.to_string())?;
    let token = format!("{signed}.{signature}");
    let judged = Token::parse(&token).and_then(|token| judge(issuer, &token, now_wall, TokenUse::Write));
    match judged {
        Ok(TokenVerdict::Subject { .. }) => Ok(token),
        Ok(TokenVerdict::Expired) => {
            Err("the token would have expired at once; ask for a longer life".into())
        }
        Ok(TokenVerdict::Invalid(reason)) | Err(reason) => {
            Err(format!("the token would be refused: {reason}"))
        }
        Ok(TokenVerdict::UnknownKey(_)) => Err("the token would be refused: its key is unknown".into()),
    }
}

fn put(claims: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), String> {
    let (parents, last) = path
        .rsplit_once('.')
        .map_or((None, path), |(parents, last)| (Some(parents), last));
    let mut object = claims;
    for step in parents.into_iter().flat_map(|parents| parents.split('.')) {
        object = object
            .entry(step)
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()
            .ok_or_else(|| format!("the claims leave no room for {path}"))?;
    }
    object.insert(last.to_owned(), value);
    Ok(())
}

/// A token from the future was made by a broken clock, or to outlive its keys.
const CLOCK_SECONDS_AHEAD_MAX: f64 = 60.0;
const NAME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests;
