//! What tells that a creation was asked for before.

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;

use crate::body_policy::CheckedBody;
use crate::denial::Denial;
use crate::identity::LivyUser;
use crate::ledger::Idempotency;
use crate::livy::Kind;

/// `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same key and body give the same session.
pub(super) fn read(
    headers: &HeaderMap,
    owner: &LivyUser,
    kind: Kind,
    body: &CheckedBody,
) -> Result<Option<Idempotency>, Denial> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let is_good = (1..=255).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if keys.next().is_some() || !is_good {
        return Err(Denial::InvalidIdempotencyKey);
    }
    let mut asked = format!("{owner} {kind} ").into_bytes();
    asked.extend_from_slice(key.as_bytes());
    Ok(Some(Idempotency {
        key: sha256(&asked)?,
        body: sha256(&body.render(None, None))?,
    }))
}

fn sha256(bytes: &[u8]) -> Result<[u8; 32], Denial> {
    digest(&SHA256, bytes)
        .as_ref()
        .try_into()
        .map_err(|_| Denial::Internal)
}
