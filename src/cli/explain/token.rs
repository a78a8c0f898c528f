//! A login by JWT, told step by step; keys that a running gateway fetches are fetched here too.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::{End, step};
use crate::authn::{Subject, TokenVerdict};
use crate::clock::{Clock, SystemClock};
use crate::denial::Denial;
use crate::jwks;
use crate::policy::Policy;

/// Whom a token proves, by what `verify` says of it now.
pub(super) fn subject(
    policy: &Policy,
    verify: impl Fn(Duration) -> TokenVerdict,
    story: &mut String,
) -> Result<Subject, End> {
    let now = SystemClock::new().wall();
    let verdict = verify(now);
    let TokenVerdict::UnknownKey(missing) = &verdict else {
        return judged(verdict, now, story);
    };
    let issuer = &missing.issuer;
    let name = issuer.name();
    let Some(tls) = policy.jwks_tls.get(name) else {
        return judged(verdict, now, story);
    };
    match jwks::fetch_once(issuer, Arc::clone(tls), &SystemClock::new()) {
        Ok(keys) => step(story, "keys", format_args!("of jwt:{name} fetched: {keys}")),
        Err(why) => {
            step(story, "keys", format_args!("of jwt:{name} not fetched: {why}"));
            return Err(End::Unknown(anyhow!(
                "the token cannot be verified without its issuer's keys"
            )));
        }
    }
    judged(verify(now), now, story)
}

fn judged(verdict: TokenVerdict, now: Duration, story: &mut String) -> Result<Subject, End> {
    let refused = |why: &str, story: &mut String| {
        step(
            story,
            "token",
            format_args!("refused: {why} (the client is not told)"),
        );
        Err(Denial::InvalidCredentials.into())
    };
    match verdict {
        TokenVerdict::Subject {
            subject,
            expires,
            reads_until: _,
        } => {
            let standing = if now < expires {
                "good"
            } else {
                "expired, and still good for this by leeway or reads_after_expiry"
            };
            step(story, "token", format_args!("{standing}"));
            Ok(subject)
        }
        TokenVerdict::Expired => Err(Denial::ExpiredToken.into()),
        TokenVerdict::Invalid(why) => refused(why, story),
        TokenVerdict::UnknownKey(_) => refused("its key is not among its issuer's", story),
    }
}
