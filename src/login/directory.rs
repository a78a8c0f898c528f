//! Passwords that the directory checks: what its verdicts come to, and what holds while it does not answer.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache as Entries;
use tracing::{debug, error, warn};

use super::cache::{Cache, Digest, Proof, ProvenBy};
use super::flight::{Flight, Outcome};
use super::{Attempt, LoginPolicy, Logins, QUEUE_RETRY, too_many};
use crate::authn::{Ldap, Subject};
use crate::clock::Clock;
use crate::denial::Denial;
use crate::directory::{Directory, Question, Verdict};
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
    /// Whether this one was refused under the policy of this generation, and the time of that is not over.
    pub(super) fn hold(&self, digest: &Digest, generation: u64, now: Duration) -> bool {
        self.0
            .get(&(*digest, generation))
            .is_some_and(|until| now < until)
    }

    fn keep(&self, digest: Digest, generation: u64, until: Duration) {
        self.0.insert((digest, generation), until);
    }
}

/// All that is needed when the verdict is there; it belongs to the question and not to the request.
struct Check {
    ldap: Arc<Ldap>,
    generation: u64,
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
        let check = Check {
            ldap: Arc::clone(ldap),
            generation: policy.generation,
            digest: attempt.digest,
            from: attempt.from,
            seen_before: attempt.seen_before,
            began: self.clock.monotonic(),
            clock: Arc::clone(&self.clock),
            cache: Arc::clone(&self.cache),
            refusals: Arc::clone(&self.refusals),
            counters,
        };
        directory.ask(Question {
            ldap: Arc::clone(ldap),
            user: attempt.user,
            password: attempt.password,
            // The flight goes with the question: if that is lost, those who wait learn of it.
            tell: Box::new(move |verdict| {
                let outcome = check.outcome(verdict);
                flight.land(outcome);
            }),
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

impl Check {
    /// What those who wait are told. The caches are set before they are: who comes after them must find it there.
    fn outcome(&self, verdict: Verdict) -> Outcome {
        let now = self.clock.monotonic();
        let took = now.saturating_sub(self.began);
        match verdict {
            Verdict::Proven(subject) => {
                metrics::directory_login(DirectoryLogin::Proven, took);
                Ok(self.believe(subject, now))
            }
            Verdict::Refused => {
                metrics::directory_login(DirectoryLogin::Refused, took);
                debug!("the directory refuses a login");
                self.counters.failure(self.from);
                self.cache.forget(&self.digest);
                let until = now.saturating_add(self.ldap.settings().cache_refused);
                self.refusals.keep(self.digest, self.generation, until);
                Err(Denial::InvalidCredentials)
            }
            Verdict::Unavailable(why) => {
                warn!("the directory cannot be asked: {why}");
                match self.believe_a_little_longer(now) {
                    Some(proof) => {
                        metrics::directory_login(DirectoryLogin::Offline, took);
                        Ok(proof)
                    }
                    None => {
                        metrics::directory_login(DirectoryLogin::Unavailable, took);
                        Err(Denial::DirectoryUnavailable)
                    }
                }
            }
            Verdict::Busy => {
                metrics::directory_login(DirectoryLogin::Unavailable, took);
                Err(too_many(Wait(QUEUE_RETRY)))
            }
        }
    }

    fn believe(&self, subject: Subject, now: Duration) -> Arc<Proof> {
        let settings = self.ldap.settings();
        let ends = now.saturating_add(settings.cache);
        self.keep(Proof {
            subject: Arc::new(subject),
            version: self.ldap.version(),
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
            ProvenBy::Directory { .. } | ProvenBy::Password | ProvenBy::Token { .. } => None,
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
