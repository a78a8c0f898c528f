//! The limiters of governor over what lies in a seat.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock as GovernorClock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};

use super::seats::Seat;
use super::users::{ClassLimit, ClassLimits};
use super::{Rate, Ticks};
use crate::denial::RateLimit;
use crate::livy::LimitClass;

/// The limiters of one set of limits. They measure; what is measured lies in the seats.
#[derive(Debug)]
pub(super) struct Gauge {
    classes: [Option<Meter>; LimitClass::ALL.len()],
    pub(super) at_once: Option<NonZeroU32>,
}

#[derive(Debug)]
struct Meter {
    limit: ClassLimit,
    /// Within the burst.
    within: Limiter,
    /// And as much more as comes free while a request is held back.
    held_back: Option<Limiter>,
}

type Limiter = RateLimiter<SeatKey, InSeat, Ticks, StateInformationMiddleware>;

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Of what.
    pub class: LimitClass,
    /// The limit.
    pub rate: Rate,
    /// How many may still come at once.
    pub remaining: u32,
}

impl Gauge {
    pub(super) fn new(limits: &ClassLimits, clock: &Ticks) -> Self {
        Self {
            classes: LimitClass::ALL
                .map(|class| limits.of(class).map(|limit| Meter::new(limit, class, clock))),
            at_once: limits.concurrent_requests,
        }
    }

    pub(super) fn spend(&self, key: &SeatKey, class: LimitClass, clock: &Ticks) -> Spent {
        match self.classes.get(class as usize) {
            Some(Some(meter)) => meter.spend(key, class, clock),
            Some(None) | None => Spent::Unlimited,
        }
    }
}

/// What came of spending one.
pub(super) enum Spent {
    Left(Duration, Left),
    Used { rate: Rate, wait: Duration },
    Unlimited,
}

impl Meter {
    fn new(limit: ClassLimit, class: LimitClass, clock: &Ticks) -> Self {
        let (rate, in_seat) = (limit.rate, InSeat(class));
        let in_delay = limit.delay.as_nanos() / rate.interval().as_nanos().max(1);
        let in_delay = NonZeroU32::new(u32::try_from(in_delay).unwrap_or(u32::MAX));
        Self {
            limit,
            within: RateLimiter::new(rate.quota(rate.burst()), in_seat, clock.clone()),
            held_back: in_delay.map(|more| {
                let burst = rate.burst().saturating_add(more.get());
                RateLimiter::new(rate.quota(burst), in_seat, clock.clone())
            }),
        }
    }

    fn spend(&self, key: &SeatKey, class: LimitClass, clock: &Ticks) -> Spent {
        let rate = self.limit.rate;
        let left = |remaining| Left {
            class,
            rate,
            remaining,
        };
        match self.within.check_key(key) {
            Ok(state) => Spent::Left(Duration::ZERO, left(state.remaining_burst_capacity())),
            Err(until) => {
                let wait = until.wait_time_from(clock.now());
                let held_back = self.held_back.as_ref().filter(|_| wait <= self.limit.delay);
                match held_back.map(|limiter| limiter.check_key(key)) {
                    Some(Ok(_)) => Spent::Left(wait, left(0)),
                    Some(Err(_)) | None => Spent::Used { rate, wait },
                }
            }
        }
    }
}

impl Left {
    /// As headers tell it.
    pub fn told(&self) -> RateLimit {
        RateLimit {
            policy: self.class.word(),
            quota: self.rate.burst().get(),
            window: self.rate.window(),
            remaining: self.remaining,
            next: self.rate.interval(),
        }
    }
}

/// A seat as governor's key: the state that it asks for lies in the key itself.
#[derive(Debug, Clone)]
pub(super) struct SeatKey(pub(super) Arc<Seat>);

impl PartialEq for SeatKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SeatKey {}

impl Hash for SeatKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The state of one class, in whatever seat is asked about.
#[derive(Clone, Copy)]
struct InSeat(LimitClass);

impl fmt::Debug for InSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.word())
    }
}

impl StateStore for InSeat {
    type Key = SeatKey;

    fn measure_and_replace<T, F, E>(&self, key: &SeatKey, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match key.0.spent.get(self.0 as usize) {
            Some(state) => state.measure_and_replace(&NotKeyed::NonKey, decide),
            // There is one for each class.
            None => decide(None).map(|(outcome, _)| outcome),
        }
    }
}

pub(super) const fn unlimited(class: LimitClass) -> Left {
    Left {
        class,
        rate: Rate::new(NonZeroU32::MAX, super::SECOND, NonZeroU32::MAX),
        remaining: u32::MAX,
    }
}
