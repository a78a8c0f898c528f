//! Signing keys that are fetched, by `issuer`: the name of its `[[jwt]]` entry.

use std::time::Duration;

use super::{KEYS_FETCHED_AT, KEYS_FETCHES, KEYS_IN_FORCE, KEYS_STALE};

/// A fetch of this issuer's keys has ended, and so many are in force now.
pub fn keys_fetched(issuer: &str, is_good: bool, in_force: usize) {
    let outcome = if is_good { "good" } else { "failed" };
    metrics::counter!(KEYS_FETCHES, "issuer" => issuer.to_owned(), "outcome" => outcome).increment(1);
    metrics::gauge!(KEYS_STALE, "issuer" => issuer.to_owned()).set(if is_good { 0.0 } else { 1.0 });
    let in_force = u32::try_from(in_force).unwrap_or(u32::MAX);
    metrics::gauge!(KEYS_IN_FORCE, "issuer" => issuer.to_owned()).set(f64::from(in_force));
}

/// The keys in force of this issuer were fetched at `wall`, since 1970.
pub fn keys_are_of(issuer: &str, wall: Duration) {
    metrics::gauge!(KEYS_FETCHED_AT, "issuer" => issuer.to_owned()).set(wall.as_secs_f64());
}

/// The keys of this issuer are fetched no more, because it is not configured any more: nothing is wrong with it.
pub fn keys_not_fetched(issuer: &str) {
    metrics::gauge!(KEYS_STALE, "issuer" => issuer.to_owned()).set(0.0);
}
