//! The limiters of governor over what lies in a seat.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock as GovernorClock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};

use super::seats::Seat;
use super::users::{ClassLimit, ClassLimits};
use super::{Rate, SECOND};
use crate::clock::Clock;
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
    held_back: Limiter,
    /// The same, to see whether there is room and take none.
    looked_at: RateLimiter<Arc<Seat>, Look, FromZero, StateInformationMiddleware>,
}

type Limiter = RateLimiter<Arc<Seat>, InSeat, FromZero, StateInformationMiddleware>;

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
    pub(super) fn new(limits: &ClassLimits, clock: &FromZero) -> Self {
        Self {
            classes: LimitClass::ALL
                .map(|class| limits.of(class).map(|limit| Meter::new(limit, class, clock))),
            at_once: limits.concurrent_requests,
        }
    }

    /// Spends one; nothing where nothing limits the class.
    pub(super) fn spend(&self, key: &Arc<Seat>, class: LimitClass, clock: &FromZero) -> Option<Spent> {
        self.meter(class).map(|meter| meter.spend(key, clock))
    }

    /// What spending one would be refused with, if it would be.
    pub(super) fn look(&self, key: &Arc<Seat>, class: LimitClass, clock: &FromZero) -> Option<Spent> {
        self.meter(class).and_then(|meter| meter.look(key, clock))
    }

    fn meter(&self, class: LimitClass) -> Option<&Meter> {
        self.classes.get(class as usize)?.as_ref()
    }
}

/// What came of spending one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    pub(super) rate: Rate,
    /// How many may still come at once.
    pub(super) remaining: u32,
    /// Until it may go; of one that is refused, until the next one may.
    pub(super) wait: Duration,
    pub(super) is_refused: bool,
}

impl Spent {
    /// Where nothing limits.
    pub(super) const fn unlimited() -> Self {
        Self {
            rate: Rate::new(NonZeroU32::MAX, SECOND, NonZeroU32::MAX),
            remaining: u32::MAX,
            wait: Duration::ZERO,
            is_refused: false,
        }
    }
}

impl Meter {
    fn new(limit: ClassLimit, class: LimitClass, clock: &FromZero) -> Self {
        let (rate, in_seat) = (limit.rate, InSeat(class));
        let in_delay = limit.delay.as_nanos() / rate.interval().as_nanos().max(1);
        let in_delay = u32::try_from(in_delay).unwrap_or(u32::MAX);
        let all = rate.burst().saturating_add(in_delay);
        Self {
            limit,
            within: RateLimiter::new(rate.quota(rate.burst()), in_seat, clock.clone()),
            held_back: RateLimiter::new(rate.quota(all), in_seat, clock.clone()),
            looked_at: RateLimiter::new(rate.quota(all), Look(in_seat), clock.clone()),
        }
    }

    fn spend(&self, key: &Arc<Seat>, clock: &FromZero) -> Spent {
        let rate = self.limit.rate;
        let spent = |remaining, wait, is_refused| Spent {
            rate,
            remaining,
            wait,
            is_refused,
        };
        match self.within.check_key(key) {
            Ok(state) => spent(state.remaining_burst_capacity(), Duration::ZERO, false),
            Err(until) => {
                let wait = until.wait_time_from(clock.now());
                let may_wait = wait <= self.limit.delay && self.held_back.check_key(key).is_ok();
                spent(0, wait, !may_wait)
            }
        }
    }

    fn look(&self, key: &Arc<Seat>, clock: &FromZero) -> Option<Spent> {
        let until = self.looked_at.check_key(key).err()?;
        Some(Spent {
            rate: self.limit.rate,
            remaining: 0,
            // Within the burst one may come later by as much as requests are held back.
            wait: until.wait_time_from(clock.now()).saturating_add(self.limit.delay),
            is_refused: true,
        })
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

/// A seat is governor's key: the state that it asks for lies in the key itself.
impl PartialEq for Seat {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Seat {}

impl Hash for Seat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self).hash(state);
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
    type Key = Arc<Seat>;

    fn measure_and_replace<T, F, E>(&self, key: &Arc<Seat>, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match key.spent.get(self.0 as usize) {
            Some(state) => state.measure_and_replace(&NotKeyed::NonKey, decide),
            // There is one for each class.
            None => decide(None).map(|(outcome, _)| outcome),
        }
    }
}

/// The same state for a limiter that only asks whether there is room.
#[derive(Debug, Clone, Copy)]
struct Look(InSeat);

impl StateStore for Look {
    type Key = Arc<Seat>;

    fn measure_and_replace<T, F, E>(&self, key: &Arc<Seat>, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, |state| {
            let (outcome, _) = decide(state)?;
            // Nothing is zero.
            Ok((outcome, state.unwrap_or(Nanos::from(0_u64))))
        })
    }
}

/// Nothing is spent any more.
pub(super) fn reset(seat: &Seat) {
    for state in &seat.spent {
        let nothing = |_| Ok::<_, std::convert::Infallible>(((), Nanos::from(0_u64)));
        let Ok(()) = state.measure_and_replace(&NotKeyed::NonKey, nothing);
    }
}

/// Our clock as governor reads it. A limiter counts from when it was made, and the states of seats must mean the same to
/// limiters that were made at other times: as long as limiters are made it stands at zero.
#[derive(Debug, Clone)]
pub(super) struct FromZero {
    clock: Arc<dyn Clock>,
    is_going: Arc<AtomicBool>,
}

impl FromZero {
    pub(super) fn standing(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            is_going: Arc::default(),
        }
    }

    pub(super) fn go(&self) {
        self.is_going.store(true, Ordering::Release);
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl GovernorClock for FromZero {
    type Instant = Duration;

    fn now(&self) -> Duration {
        if self.is_going.load(Ordering::Acquire) {
            self.clock.monotonic()
        } else {
            Duration::ZERO
        }
    }
}
