//! Passwords that the directory checks: what its verdicts come to, and what holds while it does not answer.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache as Entries;
use tracing::{debug, error, warn};

use super::cache::{Cache, Digest, Proof, ProvenBy};
use super::flight::{Flight, Outcome};
use super::{Attempt, LoginPolicy, Logins, QUEUE_RETRY, too_many};
use crate::authn::{Authn, Ldap, Subject};
use crate::clock::Clock;
use crate::denial::{Denial, LoginSource};
use crate::directory::{Asker, Directory, Question, Verdict};
use crate::limits::{AddressKey, LoginCounters, Wait};
use crate::telemetry::metrics::{self, DirectoryLogin};

/// Credentials that the directory has just refused: a client that asks again and again with an old password would
/// lock its user out.
#[derive(Debug)]
pub(super) struct Refusals(Entries<(Digest, u64), Duration>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Entries::new(REFUSALS_MAX))
    }
}

impl Refusals {
    /// Whether this one was refused by a directory of this version, and the time of that is not over.
    pub(super) fn hold(&self, digest: &Digest, version: u64, now: Duration) -> bool {
        self.0.get(&(*digest, version)).is_some_and(|until| now < until)
    }

    fn keep(&self, digest: Digest, version: u64, until: Duration) {
        self.0.insert((digest, version), until);
    }
}

/// All that is needed when the verdict is there; it belongs to the question and not to the request.
struct Check {
    flight: Flight,
    seen: Seen,
}

/// What a check knows and may change.
struct Seen {
    ldap: Arc<Ldap>,
    authn: Arc<Authn>,
    digest: Digest,
    from: AddressKey,
    seen_before: Option<Arc<Proof>>,
    began: Duration,
    clock: Arc<dyn Clock>,
    cache: Arc<Cache>,
    refusals: Arc<Refusals>,
    counters: Arc<LoginCounters>,
}

impl Logins {
    /// Puts a login to the directory.
    pub(super) fn ask_directory(
        &self,
        policy: &LoginPolicy<'_>,
        ldap: &Arc<Ldap>,
        attempt: Attempt,
        counters: Arc<LoginCounters>,
        flight: Flight,
    ) {
        if !Ldap::may_ask(&attempt.user, attempt.password.as_bytes()) {
            counters.failure(attempt.from);
            return flight.land(Err(Denial::InvalidCredentials));
        }
        let Some(directory) = self.directory() else {
            return flight.land(Err(Denial::Internal));
        };
        let from = attempt.from;
        let seen = Seen {
            ldap: Arc::clone(ldap),
            authn: Arc::clone(policy.authn),
            digest: attempt.digest,
            from,
            seen_before: attempt.seen_before,
            began: self.clock.monotonic(),
            clock: Arc::clone(&self.clock),
            cache: Arc::clone(&self.cache),
            refusals: Arc::clone(&self.refusals),
            counters,
        };
        directory.ask(Question {
            ldap: Arc::clone(ldap),
            from,
            user: attempt.user,
            password: attempt.password,
            // The flight goes with it: if it is lost, those who wait learn of that.
            asker: Box::new(Check { flight, seen }),
        });
    }

    fn directory(&self) -> Option<&Directory> {
        self.directory
            .get_or_init(|| {
                Directory::start(Arc::clone(&self.clock))
                    .inspect_err(
                        |error| error!(%error, "the thread that asks the directory could not be started"),
                    )
                    .ok()
            })
            .as_ref()
    }
}

impl Asker for Check {
    fn if_wanted(self: Box<Self>) -> Option<Box<dyn Asker>> {
        let Self { flight, seen, .. } = *self;
        let flight = flight.unless_abandoned()?;
        Some(Box::new(Self { flight, seen }))
    }

    fn tell(self: Box<Self>, verdict: Verdict) {
        let Self { flight, seen } = *self;
        // The caches are set before those who wait are told: who comes after them must find it there.
        flight.land(seen.outcome(verdict));
    }
}

impl Seen {
    fn outcome(&self, verdict: Verdict) -> Outcome {
        let now = self.clock.monotonic();
        let took = now.saturating_sub(self.began);
        let (outcome, counted) = match verdict {
            Verdict::Proven(subject) if self.authn.is_of_users_file(subject.name()) => {
                debug!(%subject, "refused: the users file has the name that the directory found");
                self.refuse(now)
            }
            Verdict::Proven(subject) => (Ok(self.believe(subject, now)), DirectoryLogin::Proven),
            Verdict::Refused(why) => {
                debug!(why, "the directory refuses a login");
                self.refuse(now)
            }
            Verdict::Unusable(why) => {
                warn!("a login cannot be checked: {why}");
                (Err(UNAVAILABLE), DirectoryLogin::Unavailable)
            }
            Verdict::Unavailable(why) => {
                warn!("the directory cannot be asked: {why}");
                self.without_an_answer(now, UNAVAILABLE)
            }
            Verdict::Busy => self.without_an_answer(now, too_many(Wait(QUEUE_RETRY))),
        };
        metrics::directory_login(counted, took);
        outcome
    }

    fn refuse(&self, now: Duration) -> (Outcome, DirectoryLogin) {
        self.counters.failure(self.from);
        self.cache.forget(&self.digest);
        let until = now.saturating_add(self.ldap.settings().cache_refused);
        self.refusals.keep(self.digest, self.ldap.version(), until);
        (Err(Denial::InvalidCredentials), DirectoryLogin::Refused)
    }

    fn without_an_answer(&self, now: Duration, denial: Denial) -> (Outcome, DirectoryLogin) {
        match self.believe_a_little_longer(now) {
            Some(proof) => (Ok(proof), DirectoryLogin::Offline),
            None => (Err(denial), DirectoryLogin::Unavailable),
        }
    }

    fn believe(&self, subject: Subject, now: Duration) -> Arc<Proof> {
        let settings = self.ldap.settings();
        let ends = now.saturating_add(settings.cache);
        self.keep(Proof {
            version: self.authn.version_of(&subject).unwrap_or_default(),
            subject: Arc::new(subject),
            ends,
            by: ProvenBy::Directory {
                believed_offline: ends.saturating_add(settings.offline_grace),
            },
        })
    }

    /// What the directory said last holds on while it says nothing, for a time that is set, and is asked for again soon.
    fn believe_a_little_longer(&self, now: Duration) -> Option<Arc<Proof>> {
        let before = self.seen_before.as_ref()?;
        match before.by {
            ProvenBy::Directory { believed_offline } if now < believed_offline => Some(self.keep(Proof {
                subject: Arc::clone(&before.subject),
                version: before.version,
                ends: now.saturating_add(OFFLINE_ASK_AGAIN).min(believed_offline),
                by: ProvenBy::Directory { believed_offline },
            })),
            ProvenBy::Directory { .. }
            | ProvenBy::Password
            | ProvenBy::Token { .. }
            | ProvenBy::PersonalToken { .. } => None,
        }
    }

    fn keep(&self, proof: Proof) -> Arc<Proof> {
        let proof = Arc::new(proof);
        self.cache.keep(self.digest, Arc::clone(&proof));
        proof
    }
}

/// Some 200 KB.
const REFUSALS_MAX: usize = 4096;
/// How soon the directory is asked again for somebody whom it could not confirm.
const OFFLINE_ASK_AGAIN: Duration = Duration::from_secs(10);
const UNAVAILABLE: Denial = Denial::LoginUnavailable(LoginSource::Directory);
