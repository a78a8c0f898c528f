//! The only place that asks the system for the time.
//!
//! Everything else is given a [`Clock`], so that a test moves the time instead of waiting for it.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the time comes from.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time of day as the time since 1970-01-01T00:00:00Z: for token lifetimes, logs and certificates.
    fn wall(&self) -> Duration;

    /// The time since some fixed moment of this process, never going back: for limits, ages and deadlines.
    fn monotonic(&self) -> Duration;
}

/// A time of day as RFC 3339 writes it, in UTC and with milliseconds: `2026-08-01T09:30:00.125Z`.
pub fn rfc3339(wall: Duration) -> String {
    let seconds = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
    // Beyond the year 9999 the clock is wrong, and any text will do.
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        wall.subsec_millis()
    )
}

/// What [`rfc3339`] wrote, or anybody else: the time since 1970, if it is one.
pub fn from_rfc3339(text: &str) -> Option<Duration> {
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    let seconds = u64::try_from(at.unix_timestamp()).ok()?;
    Some(Duration::new(seconds, at.nanosecond()))
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    began: Instant,
}

impl SystemClock {
    /// A clock whose monotonic side starts at zero now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that may ask the system"
    )]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that may ask the system"
    )]
    fn wall(&self) -> Duration {
        // A machine set before 1970 makes every token expired or not yet valid: it fails closed.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A clock that stands still until it is moved. For tests.
#[derive(Debug)]
pub struct ManualClock {
    wall_start: Duration,
    elapsed_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall` (since 1970) until it is advanced.
    pub fn at(wall: Duration) -> Self {
        Self {
            wall_start: wall,
            elapsed_nanos: AtomicU64::new(0),
        }
    }

    /// Moves both sides of the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed_nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Duration {
        self.wall_start.saturating_add(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::SeqCst))
    }
}

/// Monotonic times of which no two are equal, so that of two events it is always known which came first.
#[derive(Debug)]
pub struct Moments {
    clock: Arc<dyn Clock>,
    last_nanos: AtomicU64,
}

impl Moments {
    /// On this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            last_nanos: AtomicU64::new(0),
        }
    }

    /// Later than every moment before, and not earlier than the clock's monotonic time.
    pub fn next(&self) -> Duration {
        let now = u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        let later = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self
            .last_nanos
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, later)
            .unwrap_or_default();
        Duration::from_nanos(now.max(last.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(Duration::from_secs(1_000));
        assert_eq!(clock.wall(), Duration::from_secs(1_000));
        clock.advance(Duration::from_secs(5));
        assert_eq!(
            (clock.wall(), clock.monotonic()),
            (Duration::from_secs(1_005), Duration::from_secs(5))
        );
    }

    #[test]
    fn no_two_moments_are_equal_even_while_the_clock_stands_still() {
        let clock = Arc::new(ManualClock::at(Duration::ZERO));
        let moments = Moments::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let (first, second) = (moments.next(), moments.next());
        assert!(second > first);
        clock.advance(Duration::from_secs(1));
        assert!(moments.next() >= Duration::from_secs(1));
    }

    #[test]
    fn a_time_of_day_is_written_in_utc_with_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_millis(millis)), text);
        }
        assert_eq!(rfc3339(Duration::MAX).len(), 24);
    }

    #[test]
    fn a_written_time_is_read_again_and_what_is_none_is_not() {
        let time = Duration::from_millis(1_709_210_096_007);
        assert_eq!(from_rfc3339(&rfc3339(time)), Some(time));
        assert_eq!(
            from_rfc3339("1970-01-01T01:00:01+01:00"),
            Some(Duration::from_secs(1))
        );
        for text in [
            "",
            "2026-08-01",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-08-01T09:30:00",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn the_system_clock_knows_that_it_is_past_2020() {
        assert!(SystemClock::new().wall() > Duration::from_secs(1_577_836_800));
    }
}
