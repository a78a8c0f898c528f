//! The time of day, for the times that Livy shows.

use std::time::UNIX_EPOCH;

/// Milliseconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulated server has a clock of its own, as a real one has"
)]
pub(crate) fn now_millis() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
