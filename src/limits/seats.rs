//! What each user asks for, counted: a seat for everybody who is known and has been here lately.
//!
//! A check costs one look into a table under a shared lock, and one atomic word per limit that holds. Seats are
//! bounded in number: whoever finds none left shares one with others of the same fate, until a sweep makes room.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use governor::state::InMemoryState;

use super::Rate;
use super::meter::{FromZero, Gauge, Left, Spent, reset};
use super::users::UserLimits;
use crate::clock::Clock;
use crate::identity::LivyUser;
use crate::livy::LimitClass;
use crate::quota::{Groups, Scope, Whose};

/// The counters behind [`UserLimits`].
#[derive(Debug)]
pub struct UserCounters {
    limits: UserLimits,
    clock: FromZero,
    /// Of those for whom no rule is written.
    default: Gauge,
    /// Of each rule, in their order: a user's own limits, or what several share.
    rules: Vec<Rule>,
    seats: Arc<Seats>,
    /// Of all for whom there is no seat left.
    overflow: Arc<Seat>,
    seats_max: usize,
    /// How long a seat must be quiet before nothing is lost with it.
    forgotten_after: Duration,
}

type Seats = RwLock<HashMap<LivyUser, Arc<Seat>>>;

#[derive(Debug)]
struct Rule {
    gauge: Gauge,
    /// What several share, if the rule is about such.
    shared: Option<(Scope, Arc<Seat>)>,
}

/// One user's counters, or those of several who share.
#[derive(Debug, Default)]
pub struct Seat {
    pub(super) spent: [InMemoryState; LimitClass::ALL.len()],
    under_way: AtomicU32,
    /// Those of them that take load away, which are counted apart.
    relief_under_way: AtomicU32,
    /// Requests at Livy now; kept by whoever shares Livy out.
    pub(crate) at_livy: AtomicU32,
    requests: AtomicU64,
    refusals: AtomicU64,
    /// Requests of a while ago weigh less: renewed by each sweep.
    activity: AtomicU64,
    counted: AtomicU64,
    /// Milliseconds of the clock, to within [`SEATS_AGE_EVERY`].
    last_seen: AtomicU64,
    last_told: AtomicU64,
}

/// A request of a user's, counted while it is under way.
#[derive(Debug)]
pub struct Presence {
    seat: Arc<Seat>,
    user: LivyUser,
    is_free: bool,
    shared: Vec<Arc<Seat>>,
}

/// Too many of them at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtOnce {
    /// Whose.
    pub scope: Scope,
    /// How many there may be.
    pub most: NonZeroU32,
}

/// What a limit says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may go.
    Go(Left),
    /// It may go after this time, because of this limit.
    HoldBack(Duration, Exceeded),
    /// It may not.
    Refuse(Exceeded),
}

/// A limit that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// Of what.
    pub class: LimitClass,
    /// Whose.
    pub scope: Scope,
    /// The limit.
    pub rate: Rate,
    /// When one more may come.
    pub wait: Duration,
}

/// The counters in force, replaced by a reload that changes limits.
#[derive(Debug)]
pub struct LiveCounters(ArcSwap<UserCounters>);

impl LiveCounters {
    /// Counts for these limits.
    pub fn new(limits: UserLimits, clock: Arc<dyn Clock>) -> Self {
        Self(ArcSwap::from_pointee(UserCounters::new(limits, clock)))
    }

    /// The counters in force.
    pub fn current(&self) -> Guard<Arc<UserCounters>> {
        self.0.load()
    }

    /// Puts other limits in force. If any changed, nobody has spent anything.
    pub fn set_limits(&self, limits: &UserLimits) {
        let counters = self.0.load();
        if counters.limits() != limits {
            let changed = Arc::new(counters.with_limits(limits.clone()));
            self.0.store(Arc::clone(&changed));
            // Only now: what a request spends under the old limits may be more than the new ones forgive.
            changed.forget_spent();
        }
    }
}

/// What one user has asked for, to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatFigures {
    /// Who.
    pub user: LivyUser,
    /// Requests since the user was first seen.
    pub requests: u64,
    /// How many of them were refused.
    pub refusals: u64,
    /// Under way now.
    pub under_way: u32,
    /// At Livy now.
    pub at_livy: u32,
    /// Requests of lately: those of a minute ago count half.
    pub activity: u64,
}

impl SeatFigures {
    /// What hangs has not ended, and is what is looked for.
    fn weight(&self) -> u64 {
        let now = self.under_way.saturating_add(self.at_livy);
        self.activity.saturating_add(u64::from(now))
    }
}

impl UserCounters {
    /// Counters that start empty.
    pub fn new(limits: UserLimits, clock: Arc<dyn Clock>) -> Self {
        Self::with_room(limits, clock, SEATS_MAX)
    }

    fn with_room(limits: UserLimits, clock: Arc<dyn Clock>, seats_max: usize) -> Self {
        Self::over(limits, clock, Arc::default(), seats_max)
    }

    fn over(limits: UserLimits, clock: Arc<dyn Clock>, seats: Arc<Seats>, seats_max: usize) -> Self {
        let clock = FromZero::standing(clock);
        let rules = limits
            .rules
            .iter()
            .map(|rule| {
                let shared = match &rule.whose {
                    Whose::User(_) | Whose::MembersOf(_) => None,
                    Whose::Group(group) => Some(Scope::Group(Arc::clone(group))),
                    Whose::Everybody => Some(Scope::Everybody),
                };
                let effective = match shared {
                    None => rule.limits.or(&limits.default),
                    Some(_) => rule.limits,
                };
                Rule {
                    gauge: Gauge::new(&effective, &clock),
                    shared: shared.map(|scope| (scope, Arc::default())),
                }
            })
            .collect();
        let windows = limits
            .rules
            .iter()
            .map(|rule| &rule.limits)
            .chain([&limits.default]);
        let longest = windows
            .flat_map(|limits| LimitClass::ALL.map(|class| limits.of(class)))
            .flatten()
            .map(|limit| limit.rate.window().saturating_add(limit.delay))
            .max();
        let default = Gauge::new(&limits.default, &clock);
        clock.go();
        Self {
            default,
            rules,
            seats,
            overflow: Arc::default(),
            seats_max,
            // A request may spend some minutes after it took its seat: a slow body.
            forgotten_after: longest.unwrap_or_default().saturating_add(QUIET),
            clock,
            limits,
        }
    }

    /// The limits that are counted.
    pub const fn limits(&self) -> &UserLimits {
        &self.limits
    }

    /// The same counters for other limits: what is under way counts on.
    #[must_use]
    pub fn with_limits(&self, limits: UserLimits) -> Self {
        let clock = Arc::clone(self.clock.clock());
        let mut changed = Self::over(limits, clock, Arc::clone(&self.seats), self.seats_max);
        changed.overflow = Arc::clone(&self.overflow);
        let before = self.rules.iter().filter_map(|rule| rule.shared.as_ref());
        for (scope, seat) in changed.rules.iter_mut().filter_map(|rule| rule.shared.as_mut()) {
            if let Some((_, known)) = before.clone().find(|(known, _)| known == scope) {
                *seat = Arc::clone(known);
            }
        }
        changed
    }

    /// Nobody has spent anything.
    fn forget_spent(&self) {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        let shared = self.rules.iter().filter_map(|rule| rule.shared.as_ref());
        let shared = shared.map(|(_, seat)| seat);
        for seat in seats.values().chain(shared).chain([&self.overflow]) {
            reset(seat);
        }
    }

    /// A request of this user's begins. `is_free` are those that take load away: they count for the user and for nobody
    /// else, and are refused only when there are so many that they must be an attack on memory.
    pub fn enter(&self, user: &LivyUser, groups: Groups<'_>, is_free: bool) -> Result<Presence, AtOnce> {
        let seat = self.seat(user);
        let mut presence = Presence {
            seat,
            user: user.clone(),
            is_free,
            shared: Vec::new(),
        };
        let under_way = presence.counter().fetch_add(1, Ordering::Relaxed);
        let own = if is_free {
            Some(FREE_MAX)
        } else {
            self.gauge_of(user, groups).at_once
        };
        if let Some(most) = own.filter(|most| under_way >= most.get()) {
            let scope = Scope::User(user.clone());
            return Err(presence.seat.too_many(scope, most));
        }
        if is_free {
            return Ok(presence);
        }
        for (gauge, scope, seat) in self.shared_with(groups) {
            let under_way = seat.under_way.fetch_add(1, Ordering::Relaxed);
            presence.shared.push(Arc::clone(seat));
            if let Some(most) = gauge.at_once.filter(|most| under_way >= most.get()) {
                return Err(presence.seat.too_many(scope.clone(), most));
            }
        }
        Ok(presence)
    }

    /// Spends one of the user's own limit, and one of each that the user shares; nothing if one of them was used up, so
    /// that who is refused takes nothing from others.
    pub fn spend(&self, seat: &Arc<Seat>, user: &LivyUser, groups: Groups<'_>, class: LimitClass) -> Verdict {
        let exceeded = |scope, Spent { rate, wait, .. }| Exceeded {
            class,
            scope,
            rate,
            wait,
        };
        for (gauge, scope, seat) in self.shared_with(groups) {
            if let Some(used) = gauge.look(seat, class, &self.clock) {
                return Verdict::Refuse(exceeded(scope.clone(), used));
            }
        }
        let own = self.gauge_of(user, groups);
        let own = own.spend(seat, class, &self.clock);
        // The defaults set every class.
        let own = own.unwrap_or(Spent::unlimited());
        let own_scope = || Scope::User(user.clone());
        if own.is_refused {
            return Verdict::Refuse(exceeded(own_scope(), own));
        }
        let left = Left {
            class,
            rate: own.rate,
            remaining: own.remaining,
        };
        let mut longest = (!own.wait.is_zero()).then(|| exceeded(own_scope(), own));
        for (gauge, scope, seat) in self.shared_with(groups) {
            let Some(spent) = gauge.spend(seat, class, &self.clock) else {
                continue;
            };
            if spent.is_refused {
                return Verdict::Refuse(exceeded(scope.clone(), spent));
            }
            if spent.wait > longest.as_ref().map_or(Duration::ZERO, |longest| longest.wait) {
                longest = Some(exceeded(scope.clone(), spent));
            }
        }
        match longest {
            None => Verdict::Go(left),
            Some(full) => Verdict::HoldBack(full.wait, full),
        }
    }

    /// Whether a refusal is worth a record: the first of a while is, so that a flood of them is told and tells nothing
    /// twice.
    pub fn is_news(&self, user: &LivyUser) -> bool {
        let now = self.now().saturating_add(1);
        let seat = self.seat(user);
        let last = seat.last_told.load(Ordering::Relaxed);
        if last != 0 && now.saturating_sub(last) < TOLD_EVERY {
            return false;
        }
        seat.last_told.store(now, Ordering::Relaxed);
        true
    }

    /// How many users are counted now.
    pub fn len(&self) -> usize {
        self.seats.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The users who ask most lately, the busiest first.
    pub fn busiest(&self, most: usize) -> Vec<SeatFigures> {
        let mut all: Vec<_> = {
            let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
            seats.iter().map(|(user, seat)| seat.figures(user)).collect()
        };
        let by_activity = |a: &SeatFigures, b: &SeatFigures| {
            (b.weight(), b.requests, &a.user).cmp(&(a.weight(), a.requests, &b.user))
        };
        if all.len() > most && most > 0 {
            let _ = all.select_nth_unstable_by(most.saturating_sub(1), by_activity);
        }
        all.truncate(most);
        all.sort_by(by_activity);
        all
    }

    /// What this user has asked for; of one who was not here lately, nothing.
    pub fn figures_of(&self, user: &LivyUser) -> SeatFigures {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        let seat = seats.get(user).map(Arc::clone).unwrap_or_default();
        seat.figures(user)
    }

    /// Lets what was asked for long ago weigh less, and notes who is here. Call it every [`SEATS_AGE_EVERY`].
    pub fn age(&self) {
        let now = self.now();
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        for seat in seats.values() {
            let requests = seat.requests.load(Ordering::Relaxed);
            let new = requests.saturating_sub(seat.counted.swap(requests, Ordering::Relaxed));
            if new > 0 {
                seat.last_seen.store(now, Ordering::Relaxed);
            }
            let before = seat.activity.load(Ordering::Relaxed);
            let kept = before.saturating_sub(before.div_ceil(KEPT_OF));
            seat.activity.store(kept.saturating_add(new), Ordering::Relaxed);
        }
    }

    /// Forgets who has been quiet long enough to start afresh. Call it about once a minute.
    pub fn sweep(&self) {
        let now = self.now();
        let forgotten_after = millis(self.forgotten_after);
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|_, seat| {
            let is_quiet = now.saturating_sub(seat.last_seen.load(Ordering::Relaxed)) > forgotten_after;
            // What ended since the last look has not moved that yet.
            let requests = seat.requests.load(Ordering::Relaxed);
            let was_here = requests != seat.counted.load(Ordering::Relaxed);
            !is_quiet || was_here || Arc::strong_count(seat) > 1
        });
        if seats.capacity() > 4 * seats.len().max(1024) {
            seats.shrink_to_fit();
        }
    }

    /// The user's counters; made if they are new.
    pub fn seat(&self, user: &LivyUser) -> Arc<Seat> {
        {
            let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(seat) = seats.get(user) {
                return Arc::clone(seat);
            }
        }
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        if seats.len() >= self.seats_max && !seats.contains_key(user) {
            return Arc::clone(&self.overflow);
        }
        let seat = seats.entry(user.clone()).or_default();
        seat.last_seen.store(self.now(), Ordering::Relaxed);
        Arc::clone(seat)
    }

    fn now(&self) -> u64 {
        millis(self.clock.clock().monotonic())
    }

    fn gauge_of(&self, user: &LivyUser, groups: Groups<'_>) -> &Gauge {
        let rule = self.limits.rule_of(user, groups);
        rule.and_then(|rule| self.rules.get(rule))
            .map_or(&self.default, |rule| &rule.gauge)
    }

    /// What this user shares with others.
    fn shared_with<'a>(
        &'a self,
        groups: Groups<'a>,
    ) -> impl Iterator<Item = (&'a Gauge, &'a Scope, &'a Arc<Seat>)> {
        let written = self.limits.rules.iter().zip(&self.rules);
        let shared = written.filter(move |(written, _)| written.whose.is_shared_with(groups));
        shared.filter_map(|(_, rule)| {
            let (scope, seat) = rule.shared.as_ref()?;
            Some((&rule.gauge, scope, seat))
        })
    }
}

impl Seat {
    fn too_many(&self, scope: Scope, most: NonZeroU32) -> AtOnce {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.refusals.fetch_add(1, Ordering::Relaxed);
        AtOnce { scope, most }
    }

    fn figures(&self, user: &LivyUser) -> SeatFigures {
        let requests = self.requests.load(Ordering::Relaxed);
        let new = requests.saturating_sub(self.counted.load(Ordering::Relaxed));
        SeatFigures {
            user: user.clone(),
            requests,
            refusals: self.refusals.load(Ordering::Relaxed),
            under_way: self
                .under_way
                .load(Ordering::Relaxed)
                .saturating_add(self.relief_under_way.load(Ordering::Relaxed)),
            at_livy: self.at_livy.load(Ordering::Relaxed),
            activity: self.activity.load(Ordering::Relaxed).saturating_add(new),
        }
    }
}

impl Presence {
    /// The counters of the one whose request it is, if it is this one.
    pub fn seat_of(&self, user: &LivyUser) -> Option<Arc<Seat>> {
        (self.user == *user).then(|| Arc::clone(&self.seat))
    }

    /// It was answered; by the gateway itself if it was refused, whatever the reason.
    pub fn ended(&self, is_refused: bool) {
        self.seat.requests.fetch_add(1, Ordering::Relaxed);
        if is_refused {
            self.seat.refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter(&self) -> &AtomicU32 {
        if self.is_free {
            &self.seat.relief_under_way
        } else {
            &self.seat.under_way
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.counter().fetch_sub(1, Ordering::Relaxed);
        for seat in &self.shared {
            seat.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// About 40 MB when all of it is used.
const SEATS_MAX: usize = 100_000;
/// Who was here within this time is shown with what they asked for.
const QUIET: Duration = Duration::from_mins(10);
/// Of those that take load away, under way at once.
const FREE_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(511);
/// In milliseconds.
const TOLD_EVERY: u64 = 10_000;
/// How often what was asked for loses a ninth of its weight, so that it is half after a minute.
pub const SEATS_AGE_EVERY: Duration = Duration::from_secs(10);
const KEPT_OF: u64 = 9;

#[cfg(test)]
mod tests;
