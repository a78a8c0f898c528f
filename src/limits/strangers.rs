//! How fast strangers may try, by address.
//!
//! A limit is spent by what costs something before anybody is known: a request whose credential is not in the
//! cache, and a password that turns out wrong. Requests without credentials are never counted, because some
//! clients ask first and log in when challenged.
//!
//! Keys are addresses and digests of what was typed, so anybody can make new ones: each counter holds a bounded
//! number of them, and those that do not fit share one.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{NotUntil, RateLimiter};

use super::{MINUTE, Rate, SECOND, Ticks, Wait, count};
use crate::clock::Clock;

/// The limits of those who are not known yet: `[limits] per_address` and `failed_logins`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginLimits {
    /// Requests with a credential that is not cached, by address. A notebook server is one address.
    pub per_address: Rate,
    /// Wrong passwords, by address.
    pub failed_per_address: Rate,
    /// Passwords tried, by address and account; a cached or recently proven one is not tried.
    pub failed_per_address_and_account: Rate,
}

/// 100/s with a burst of 400; 20/min; 10/min.
impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            per_address: Rate::new(count(100), SECOND, count(400)),
            failed_per_address: Rate::new(count(20), MINUTE, count(20)),
            failed_per_address_and_account: Rate::new(count(10), MINUTE, count(10)),
        }
    }
}

/// Whom an address limit counts: an IPv4 address, or the /64 of an IPv6 one, which is the least that one customer
/// has. An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressKey(Network);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Network {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, _, _, _, _] = address.segments();
                let high = [a, b, c, d];
                Network::V6(high.iter().fold(0, |bits, part| bits << 16 | u64::from(*part)))
            }
        })
    }
}

/// The counters behind [`LoginLimits`].
#[derive(Debug)]
pub struct LoginCounters {
    limits: LoginLimits,
    clock: Ticks,
    requests: Limiter<AddressKey, Cells<AddressKey>>,
    /// Two views of the same cells: one looks whether there is room, the other takes it.
    failures_left: Limiter<AddressKey, Look<AddressKey>>,
    failures: Limiter<AddressKey, Cells<AddressKey>>,
    attempts: Limiter<(AddressKey, u64), Cells<(AddressKey, u64)>>,
    accounts: RandomState,
}

type Limiter<K, S> = Arc<RateLimiter<K, S, Ticks, NoOpMiddleware<Duration>>>;

impl LoginCounters {
    /// Counters that start empty.
    pub fn new(limits: LoginLimits, clock: Arc<dyn Clock>) -> Self {
        Self::with_room(limits, clock, KEYS_MAX)
    }

    fn with_room(limits: LoginLimits, clock: Arc<dyn Clock>, keys_max: usize) -> Self {
        let clock = Ticks(clock);
        let rate = limits.failed_per_address;
        let owed = rate.burst.saturating_add(FAILURES_OWED_MAX);
        let failures = Cells::new(keys_max);
        let quota = |rate: Rate| rate.quota(rate.burst);
        Self {
            limits,
            requests: Arc::new(RateLimiter::new(
                quota(limits.per_address),
                Cells::new(keys_max),
                clock.clone(),
            )),
            failures_left: Arc::new(RateLimiter::new(
                quota(rate),
                Look(failures.clone()),
                clock.clone(),
            )),
            failures: Arc::new(RateLimiter::new(rate.quota(owed), failures, clock.clone())),
            attempts: Arc::new(RateLimiter::new(
                quota(limits.failed_per_address_and_account),
                Cells::new(keys_max),
                clock.clone(),
            )),
            accounts: RandomState::new(),
            clock,
        }
    }

    /// Counters for other limits. Those whose limit is the same go on counting; the others start empty.
    #[must_use]
    pub fn with_limits(&self, limits: LoginLimits) -> Self {
        let mut changed = Self::new(limits, Arc::clone(&self.clock.0));
        if limits.per_address == self.limits.per_address {
            changed.requests = Arc::clone(&self.requests);
        }
        if limits.failed_per_address == self.limits.failed_per_address {
            changed.failures_left = Arc::clone(&self.failures_left);
            changed.failures = Arc::clone(&self.failures);
        }
        if limits.failed_per_address_and_account == self.limits.failed_per_address_and_account {
            changed.attempts = Arc::clone(&self.attempts);
            // The accounts are known by what this made of them.
            changed.accounts = self.accounts.clone();
        }
        changed
    }

    /// The limits that are counted.
    pub const fn limits(&self) -> LoginLimits {
        self.limits
    }

    /// Counts a request whose credential is not cached.
    pub fn request(&self, from: AddressKey) -> Result<(), Wait> {
        self.requests.check_key(&from).map_err(|until| self.wait(&until))
    }

    /// Counts a password that is about to be tried, and asks whether this address may still fail.
    ///
    /// An account's tries are counted before their outcome is known, so that guesses at once cannot outrun the
    /// count. An address's are not: hundreds of notebooks behind one address may log in at the same moment.
    pub fn attempt(&self, from: AddressKey, account: &str) -> Result<(), Wait> {
        self.failures_left
            .check_key(&from)
            .map_err(|until| self.wait(&until))?;
        self.attempts
            .check_key(&(from, self.accounts.hash_one(account)))
            .map_err(|until| self.wait(&until))
    }

    /// Counts a password that was wrong.
    ///
    /// What was tried while there was room and failed after it was used up is owed: the address waits longer.
    pub fn failure(&self, from: AddressKey) {
        // Beyond what can be owed there is nothing more to count.
        let _: Result<(), _> = self.failures.check_key(&from);
    }

    /// Forgets who has been quiet long enough to start afresh. Call it about once a minute.
    pub fn sweep(&self) {
        self.requests.retain_recent();
        self.failures.retain_recent();
        self.attempts.retain_recent();
    }

    fn wait(&self, until: &NotUntil<Duration>) -> Wait {
        Wait(until.wait_time_from(self.clock.now()))
    }
}

/// The state of a limiter by key, for at most so many keys; all further ones share one cell, until a sweep
/// makes room. governor's own stores grow with whatever is asked of them.
#[derive(Debug)]
struct Cells<K>(Arc<Mutex<Table<K>>>);

#[derive(Debug)]
struct Table<K> {
    known: HashMap<K, Nanos>,
    overflow: Option<Nanos>,
    keys_max: usize,
}

impl<K> Cells<K> {
    fn new(keys_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Table {
            known: HashMap::new(),
            overflow: None,
            keys_max,
        })))
    }

    fn table(&self) -> MutexGuard<'_, Table<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Clone for Cells<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq> Table<K> {
    fn get(&self, key: &K) -> Option<Nanos> {
        match self.known.get(key) {
            Some(cell) => Some(*cell),
            None if self.is_full() => self.overflow,
            None => None,
        }
    }

    fn is_full(&self) -> bool {
        self.known.len() >= self.keys_max
    }
}

impl<K: Hash + Eq + Clone> StateStore for Cells<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut table = self.table();
        let (outcome, cell) = decide(table.get(key))?;
        if table.is_full() && !table.known.contains_key(key) {
            table.overflow = Some(cell);
        } else {
            table.known.insert(key.clone(), cell);
        }
        Ok(outcome)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Cells<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.table().known.retain(|_, cell| *cell > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.table().known.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.table().known.len()
    }

    fn is_empty(&self) -> bool {
        self.table().known.is_empty()
    }
}

/// The same cells for a limiter that only asks whether there is room and takes none.
#[derive(Debug)]
struct Look<K>(Cells<K>);

impl<K: Hash + Eq + Clone> StateStore for Look<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let cell = self.0.table().get(key);
        decide(cell).map(|(outcome, _)| outcome)
    }
}

/// About 6 MB for each of the three counters when all of it is used.
const KEYS_MAX: usize = 100_000;

/// As many passwords as can wait to be checked, so that nobody is locked out for longer than those take.
const FAILURES_OWED_MAX: u32 = 64;

#[cfg(test)]
mod tests;
