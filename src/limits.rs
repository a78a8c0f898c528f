//! How fast one may ask: GCRA limits by `governor`, with counters in memory and a clock that is given.
//!
//! `strangers` limits those who are not known yet, by address; `users` says how fast those may ask who are known, and
//! `seats` counts it.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;

use crate::clock::Clock;

mod meter;
mod seats;
mod strangers;
mod users;

pub use meter::Left;
pub use seats::{
    AtOnce, Exceeded, LiveCounters, Presence, SEATS_AGE_EVERY, Seat, SeatFigures, UserCounters, Verdict,
};
pub use strangers::{AddressKey, LoginCounters, LoginLimits};
pub use users::{ClassLimit, ClassLimits, LimitRule, UserLimits};

/// So many per time, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// `count` per `per`, and up to `burst` at once after a pause.
    pub const fn new(count: NonZeroU32, per: Duration, burst: NonZeroU32) -> Self {
        Self { count, per, burst }
    }

    /// The same rate with another burst.
    #[must_use]
    pub const fn with_burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }

    /// How many at once.
    pub const fn burst(self) -> NonZeroU32 {
        self.burst
    }

    /// From one to the next.
    fn interval(self) -> Duration {
        // Less than a nanosecond between two is more than anybody can ask for: the shortest interval stands for it.
        (self.per / self.count.get()).max(Duration::from_nanos(1))
    }

    /// How long it takes after a burst until the next whole one may come.
    pub fn window(self) -> Duration {
        self.interval().saturating_mul(self.burst.get())
    }

    fn quota(self, burst: NonZeroU32) -> Quota {
        Quota::with_period(self.interval())
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst)
    }
}

/// As the configuration writes it: `100/s`, `20/min`, `5/h`; the burst is the count until another is set.
impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || {
            format!(
                "\"{text}\" is no rate; write a count and a unit, such as \"100/s\", \"20/min\" or \"5/h\""
            )
        };
        let (count, unit) = text.split_once('/').ok_or_else(problem)?;
        let per = match unit {
            "s" => SECOND,
            "min" => MINUTE,
            "h" => HOUR,
            _ => return Err(problem()),
        };
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(problem());
        }
        let count = count.parse().map_err(|_| problem())?;
        Ok(Self::new(count, per, count))
    }
}

/// `100/s`, in the largest unit that the rate was written in.
impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.per {
            SECOND => "s",
            MINUTE => "min",
            HOUR => "h",
            other => return write!(f, "{}/{other:?}", self.count),
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// When to try again: as long as this, from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// Our clock as governor reads it.
#[derive(Debug, Clone)]
struct Ticks(Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

const fn count(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
