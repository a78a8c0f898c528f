//! Is Livy obeying? Where impersonation is off, Livy ignores `doAs` without a word and runs everybody as itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{error, info};

use crate::denial::{Denial, Leftover};
use crate::telemetry::metrics;

/// Remembers that Livy was caught acting as somebody else than it was told.
#[derive(Debug)]
pub struct ImpersonationWatch {
    /// On the monotonic clock, in milliseconds; `FINE` when it was never seen or has been seen to obey since.
    caught_at: AtomicU64,
}

const FINE: u64 = u64::MAX;
/// After this time one creation is let through to find out whether Livy obeys now.
const TRY_AGAIN: Duration = Duration::from_secs(60);
const REFUSED: Denial = Denial::ImpersonationOff {
    leftover: Leftover::None,
};

impl Default for ImpersonationWatch {
    fn default() -> Self {
        Self {
            caught_at: AtomicU64::new(FINE),
        }
    }
}

impl ImpersonationWatch {
    /// Whether a creation could be let through: whatever else may refuse it comes before its try.
    pub fn may_try(&self, now: Duration) -> Result<(), Denial> {
        let caught = self.caught_at.load(Ordering::Relaxed);
        if caught == FINE || millis(now).saturating_sub(caught) >= TRY_AGAIN.as_millis() as u64 {
            return Ok(());
        }
        Err(REFUSED)
    }

    /// Refuses creations while Livy is known not to obey. Called when nothing but Livy can refuse it any more: what is
    /// let through to try tells something only if Livy hears of it.
    pub fn check(&self, now: Duration) -> Result<(), Denial> {
        let caught = self.caught_at.load(Ordering::Relaxed);
        self.may_try(now)?;
        // Of several at this moment one goes and the others wait for what it finds.
        let is_claimed = caught == FINE
            || self
                .caught_at
                .compare_exchange(caught, millis(now), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_claimed { Ok(()) } else { Err(REFUSED) }
    }

    /// A creation ran as the user that Livy was told.
    pub fn obeyed(&self) {
        if self.caught_at.swap(FINE, Ordering::Relaxed) != FINE {
            info!("Livy impersonates again; creations are let through");
            metrics::impersonation_off(false);
        }
    }

    /// A creation ran as somebody else. Caught again it is no news: the time of the last try counts.
    pub fn caught(&self, now: Duration) {
        let news = self
            .caught_at
            .compare_exchange(FINE, millis(now), Ordering::Relaxed, Ordering::Relaxed);
        if news.is_err() {
            return;
        }
        metrics::impersonation_off(true);
        error!(
            "Livy ignores for whom it should act: set livy.impersonation.enabled = true in livy.conf; creations are refused"
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(FINE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creations_are_refused_after_livy_was_caught_until_one_may_try() {
        let watch = ImpersonationWatch::default();
        let at = Duration::from_secs;
        assert_eq!(watch.check(at(1)), Ok(()));
        watch.caught(at(10));
        assert!(watch.check(at(11)).is_err());
        assert!(watch.may_try(at(11)).is_err());
        assert_eq!(watch.may_try(at(70)), Ok(()), "and to ask takes nobody's try");
        assert_eq!(watch.check(at(70)), Ok(()), "one tries");
        assert!(watch.check(at(70)).is_err(), "the others wait for it");
        // Every list shows again what could not be deleted.
        for second in 70..130 {
            watch.caught(at(second));
        }
        assert_eq!(watch.check(at(130)), Ok(()), "another one tries after its time");
        watch.obeyed();
        assert_eq!(watch.check(at(131)), Ok(()));
        watch.caught(at(140));
        assert!(watch.check(at(199)).is_err(), "that is news");
    }
}
