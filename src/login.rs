//! Steps 3 to 5 of a request, with the world around them: the cache of credentials, the threads that check
//! passwords, and the limits of those who are not known yet.
//!
//! The order is the cheapest first. A cached credential costs one keyed digest and one look-up, and no limit. A
//! token is verified in place, which takes microseconds, but for one whose key must be fetched first. A password goes
//! through its address's limits to the threads of the pool, once however many requests bring it at the same time. A
//! client certificate is looked at only where there is no `Authorization` header, and once for a connection and policy.
//!
//! What the users file refused is not kept: a wrong password is slowed down by the limits, and a right one that an
//! administrator has just set works at once. What a directory refused is, for some seconds, because it may lock accounts.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::authn::personal::Carried;
use crate::authn::{Authn, Checker, Credentials, TokenUse};
use crate::clock::Clock;
use crate::denial::Denial;
use crate::directory::Directory;
use crate::identity::{Identities, Principal};
use crate::limits::{AddressKey, LoginCounters, LoginLimits, Wait};

mod cache;
mod certificate;
mod directory;
mod flight;
mod personal;
mod pool;
mod token;

pub use certificate::PresentedCertificate;

use directory::Refusals;

use cache::{Cache, Digest, ENTRY_LIFE, Proof, ProvenBy, Recall};
use flight::{Boarding, Flight, Flights, Landing};
use pool::{Full, Pool, Turn, WAIT_MAX};

/// Logs requests in. Shared by all workers; survives reloads, because what it remembers says under which policy
/// it holds.
pub struct Logins {
    clock: Arc<dyn Clock>,
    cache: Arc<Cache>,
    counters: ArcSwap<LoginCounters>,
    flights: Arc<Flights>,
    pool: Pool,
    /// Started when the first login needs it.
    directory: OnceLock<Option<Directory>>,
    refusals: Arc<Refusals>,
    hits: AtomicU64,
    misses: AtomicU64,
    checked: Arc<AtomicU64>,
}

/// What of the policy a login needs.
#[derive(Debug, Clone, Copy)]
pub struct LoginPolicy<'a> {
    /// Who may prove what.
    pub authn: &'a Arc<Authn>,
    /// As whom Livy acts.
    pub identities: &'a Identities,
    /// The policy's own number: what another one decided about identities is decided anew.
    pub generation: u64,
    /// What the request wants: a token may be good for reading a while longer.
    pub wish: TokenUse,
}

/// How the logins do, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginStats {
    /// Passwords that wait to be checked.
    pub waiting: usize,
    /// Passwords that are being checked.
    pub running: usize,
    /// Credentials in the cache, those included that have ended and are not swept yet.
    pub entries: usize,
    /// Requests whose credential was cached, since the start.
    pub hits: u64,
    /// Requests with a credential that was not, since the start.
    pub misses: u64,
    /// Passwords checked, since the start.
    pub checked: u64,
}

impl Logins {
    /// Starts the threads that check passwords, one at least. Fails where the system gives no thread or no
    /// random bytes.
    pub fn new(clock: Arc<dyn Clock>, limits: LoginLimits, hashing_threads: usize) -> io::Result<Self> {
        let cache = Cache::new().map_err(|_| io::Error::other("the system gave no random bytes"))?;
        Ok(Self {
            cache: Arc::new(cache),
            counters: ArcSwap::from_pointee(LoginCounters::new(limits, Arc::clone(&clock))),
            flights: Arc::default(),
            pool: Pool::new(hashing_threads, Arc::clone(&clock))?,
            directory: OnceLock::new(),
            refusals: Arc::default(),
            clock,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            checked: Arc::default(),
        })
    }

    /// Puts other limits in force, after a reload. If any of them changed, all counters begin anew.
    pub fn set_limits(&self, limits: LoginLimits) {
        let counters = self.counters.load_full();
        if counters.limits() != limits {
            self.counters.store(Arc::new(counters.with_limits(limits)));
        }
    }

    /// The principal of a credential that was proven a short while ago and still holds: nothing about it has
    /// changed, neither the stored line, nor the keys, nor the policy. The hot path: it never waits, and what it
    /// does not know is [`Logins::authenticate`]'s.
    pub fn cached(&self, policy: &LoginPolicy<'_>, headers: &HeaderMap) -> Option<Arc<Principal>> {
        let digest = self.cache.digest(only_authorization(headers)?);
        match self.cache.recall(&digest, policy, &*self.clock) {
            Recall::Known(Ok(principal)) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Some(principal)
            }
            Recall::Known(Err(_)) | Recall::Proven(_) | Recall::SeenBefore(_) | Recall::Nothing => None,
        }
    }

    /// The principal of a request.
    ///
    /// No credentials and unreadable ones are refused without being counted: they cost nothing, and some clients
    /// always ask without first.
    pub async fn authenticate(
        &self,
        policy: &LoginPolicy<'_>,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<Arc<Principal>, Denial> {
        let credentials = Credentials::from_headers(headers)?;
        let authorization = only_authorization(headers).ok_or(Denial::MissingCredentials)?;
        let digest = self.cache.digest(authorization);
        let recalled = self.cache.recall(&digest, policy, &*self.clock);
        let seen_before = match recalled {
            Recall::Known(outcome) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return outcome;
            }
            Recall::Proven(proof) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return self.resolve(policy, digest, proof);
            }
            Recall::SeenBefore(proof) => Some(proof),
            Recall::Nothing => None,
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let from = AddressKey::from(peer);
        self.counters.load().request(from).map_err(too_many)?;
        if let Some(carried) = Carried::by(&credentials) {
            return self.personal_token(policy, digest, from, &carried);
        }
        match credentials {
            Credentials::Bearer(token) => {
                let verify = |wall| policy.authn.verify_token(token, wall, policy.wish);
                let proof = self.token(policy, verify).await?;
                self.resolve(policy, digest, proof)
            }
            Credentials::Basic { user, password } if policy.authn.is_password_token(&password) => {
                self.password_token(policy, digest, &user, &password).await
            }
            Credentials::Basic { user, password } => {
                let attempt = Attempt {
                    digest,
                    from,
                    seen_before,
                    user,
                    password,
                };
                let landing = self.check_password(policy, attempt)?;
                let proof = await_check(landing).await?;
                self.resolve(policy, digest, proof)
            }
        }
    }

    /// Forgets what has ended. Call it about once a minute, off the threads that serve.
    pub fn sweep(&self) {
        self.counters.load().sweep();
        self.cache.sweep(&*self.clock);
    }

    /// How the logins do.
    pub fn stats(&self) -> LoginStats {
        let load = self.pool.load();
        LoginStats {
            waiting: load.waiting,
            running: load.running,
            entries: self.cache.len(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            checked: self.checked.load(Ordering::Relaxed),
        }
    }

    fn resolve(
        &self,
        policy: &LoginPolicy<'_>,
        digest: Digest,
        proof: Arc<Proof>,
    ) -> Result<Arc<Principal>, Denial> {
        let outcome = policy.identities.resolve(&proof.subject).map(Arc::new);
        // A refusal is kept too: the password behind it was right, and is not to be hashed for every request.
        self.cache
            .keep_resolved(digest, proof, policy.generation, outcome.clone());
        outcome
    }

    /// A token as the Basic password. The user name typed with it must be the token's own: its subject, or the
    /// Livy user that this is mapped to.
    async fn password_token(
        &self,
        policy: &LoginPolicy<'_>,
        digest: Digest,
        user: &str,
        token: &str,
    ) -> Result<Arc<Principal>, Denial> {
        let verify = |wall| policy.authn.verify_password_token(token, wall, policy.wish);
        let proof = self.token(policy, verify).await?;
        let outcome = policy.identities.resolve(&proof.subject);
        let is_livy_user = outcome
            .as_ref()
            .is_ok_and(|principal| principal.livy_user().as_str() == user);
        if user == proof.subject.name() || is_livy_user {
            self.resolve(policy, digest, proof)
        } else {
            tracing::debug!(subject = %proof.subject, "token refused: the user name beside it is another");
            Err(Denial::InvalidCredentials)
        }
    }

    /// Has a password checked by the pool, or joins those who wait for the same check.
    fn check_password(&self, policy: &LoginPolicy<'_>, attempt: Attempt) -> Result<Landing, Denial> {
        let digest = attempt.digest;
        let checker = policy
            .authn
            .checker_of(&attempt.user)
            .ok_or(Denial::InvalidCredentials)?;
        let (flight, landing) = match self.flights.board((digest, policy.generation)) {
            Boarding::Joined(landing) => return Ok(landing),
            Boarding::First(flight, landing) => (flight, landing),
        };
        // An earlier check may have landed after the cache was asked and before this one boarded.
        if let Some(proof) = self.cache.proof(&digest, policy, &*self.clock) {
            flight.land(Ok(proof));
            return Ok(landing);
        }
        // Asked after boarding, so that what an earlier flight learned counts: what was just refused must not be asked
        // again, nor its old proof be believed.
        if let Checker::Ldap(ldap) = checker
            && self
                .refusals
                .hold(&digest, ldap.version(), self.clock.monotonic())
        {
            flight.land(Err(Denial::InvalidCredentials));
            return Ok(landing);
        }
        let counters = self.counters.load_full();
        if attempt.seen_before.is_none()
            && let Err(wait) = counters.attempt(attempt.from, &attempt.user)
        {
            flight.land(Err(too_many(wait)));
            return Ok(landing);
        }
        match checker {
            Checker::Users => self.ask_users(policy, attempt, counters, flight),
            Checker::Ldap(ldap) => self.ask_directory(policy, ldap, attempt, counters, flight),
        }
        Ok(landing)
    }

    /// Has the users file's hash computed by the pool.
    fn ask_users(
        &self,
        policy: &LoginPolicy<'_>,
        attempt: Attempt,
        counters: Arc<LoginCounters>,
        flight: Flight,
    ) {
        let from = attempt.from;
        let check = Check {
            attempt,
            authn: Arc::clone(policy.authn),
            clock: Arc::clone(&self.clock),
            cache: Arc::clone(&self.cache),
            counters,
            checked: Arc::clone(&self.checked),
        };
        let job = Box::new(move |turn| check.run(flight, turn));
        if let Err(Full(job)) = self.pool.submit(from, job) {
            job(Turn::TooLate);
        }
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A password to be checked.
struct Attempt {
    digest: Digest,
    from: AddressKey,
    /// What it proved a while ago: then it is no guess.
    seen_before: Option<Arc<Proof>>,
    user: String,
    password: Zeroizing<String>,
}

/// All that a thread of the pool needs to check one: it belongs to the pool and not to the request, so a client
/// that leaves takes nothing from those who wait with it.
struct Check {
    attempt: Attempt,
    authn: Arc<Authn>,
    clock: Arc<dyn Clock>,
    cache: Arc<Cache>,
    counters: Arc<LoginCounters>,
    checked: Arc<AtomicU64>,
}

impl Check {
    fn run(self, flight: Flight, turn: Turn) {
        match turn {
            Turn::TooLate => flight.land(Err(too_many(Wait(QUEUE_RETRY)))),
            Turn::InTime => {
                if let Some(flight) = flight.unless_abandoned() {
                    let proof = self.verify().map(Arc::new);
                    match &proof {
                        // Before the flight lands: who comes after it must find the proof.
                        Some(proof) => self.cache.keep(self.attempt.digest, Arc::clone(proof)),
                        None => self.counters.failure(self.attempt.from),
                    }
                    flight.land(proof.ok_or(Denial::InvalidCredentials));
                }
            }
        }
    }

    fn verify(&self) -> Option<Proof> {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let users = self.authn.users.as_ref()?;
        let subject = users.verify(&self.attempt.user, self.attempt.password.as_bytes())?;
        Some(Proof {
            version: self.authn.version_of(&subject)?,
            subject: Arc::new(subject),
            ends: self.clock.monotonic().saturating_add(ENTRY_LIFE),
            by: ProvenBy::Password,
        })
    }
}

/// Waits for a check as long as one may wait.
async fn await_check(mut landing: Landing) -> Result<Arc<Proof>, Denial> {
    match tokio::time::timeout(WAIT_MAX, landing.wait_for(Option::is_some)).await {
        Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(Denial::Internal)),
        // The check met a defect of ours.
        Ok(Err(_lost)) => Err(Denial::Internal),
        Err(_elapsed) => Err(too_many(Wait(QUEUE_RETRY))),
    }
}

/// The header, if there is exactly one.
fn only_authorization(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

const fn too_many(Wait(retry_after): Wait) -> Denial {
    Denial::TooManyLogins { retry_after }
}

/// When the queue of passwords was full: it is worked off within seconds.
const QUEUE_RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
