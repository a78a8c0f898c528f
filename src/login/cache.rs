//! Credentials that were proven a short while ago, under a digest that tells nothing about them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use http::HeaderValue;
use quick_cache::sync::Cache as Entries;

use crate::authn::personal::LastUse;
use crate::authn::{Subject, TokenUse};
use crate::clock::Clock;
use crate::denial::Denial;
use crate::identity::Principal;
use crate::login::LoginPolicy;

/// A whole `Authorization` value under a key that this process made up and keeps: passwords stay out of the
/// memory that is kept, and nobody can compute which entry a credential would have.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

/// What a verifier found, and on what it stands.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) subject: Arc<Subject>,
    /// `Authn::version_of` the subject when it was proven.
    pub(super) version: u64,
    /// When the entry ends, on the monotonic clock.
    pub(super) ends: Duration,
    pub(super) by: ProvenBy,
}

#[derive(Debug)]
pub(super) enum ProvenBy {
    Password,
    /// A password that the directory found right.
    Directory {
        /// Until when it is believed, on the monotonic clock, if the directory cannot be asked again.
        believed_offline: Duration,
    },
    Token {
        /// Its `exp`, on the wall clock.
        expires: Duration,
        /// Until when it is good for what only reads, on the wall clock.
        reads_until: Duration,
        /// Of the policy it was verified under. A token is verified anew under another one, which costs
        /// microseconds: so the user name that may have come with it is compared with the new mapping too.
        generation: u64,
    },
    PersonalToken {
        /// On the wall clock.
        expires: Duration,
        /// Of the policy it was verified under: under another one it may have been revoked.
        generation: u64,
        /// Noted whenever the entry is used.
        last_use: Arc<LastUse>,
    },
}

/// A proof, and whom the identity rules made of it.
#[derive(Debug, Clone)]
struct Entry {
    proof: Arc<Proof>,
    resolved: Option<Resolved>,
}

#[derive(Debug, Clone)]
struct Resolved {
    generation: u64,
    outcome: Result<Arc<Principal>, Denial>,
}

/// What is known about a credential.
#[derive(Debug)]
pub(super) enum Recall {
    /// All of it. A denial here is that of the identity rules: the credential itself is good.
    Known(Result<Arc<Principal>, Denial>),
    /// Proven, but not resolved under this policy.
    Proven(Arc<Proof>),
    /// A password that was proven, whose entry has ended, and whose stored hash or directory is the same still: it must
    /// be checked again, but it is no guess.
    SeenBefore(Arc<Proof>),
    Nothing,
}

enum Standing {
    Holds(Arc<Entry>),
    Ended(Arc<Proof>),
    Nothing,
}

pub(super) struct Cache {
    key: hmac::Key,
    entries: Entries<Digest, Arc<Entry>>,
}

impl Cache {
    pub(super) fn new() -> Result<Self, Unspecified> {
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
            entries: Entries::new(ENTRIES_MAX),
        })
    }

    pub(super) fn digest(&self, authorization: &HeaderValue) -> Digest {
        let tag = hmac::sign(&self.key, authorization.as_bytes());
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Digest(digest)
    }

    /// What an entry is worth under this policy now.
    pub(super) fn recall(&self, digest: &Digest, policy: &LoginPolicy<'_>, clock: &dyn Clock) -> Recall {
        match self.standing(digest, policy, clock) {
            Standing::Holds(entry) => match &entry.resolved {
                Some(resolved) if resolved.generation == policy.generation => {
                    Recall::Known(resolved.outcome.clone())
                }
                Some(_) | None => Recall::Proven(Arc::clone(&entry.proof)),
            },
            Standing::Ended(proof) => Recall::SeenBefore(proof),
            Standing::Nothing => Recall::Nothing,
        }
    }

    /// The proof of a credential, if it holds.
    pub(super) fn proof(
        &self,
        digest: &Digest,
        policy: &LoginPolicy<'_>,
        clock: &dyn Clock,
    ) -> Option<Arc<Proof>> {
        match self.standing(digest, policy, clock) {
            Standing::Holds(entry) => Some(Arc::clone(&entry.proof)),
            Standing::Ended(_) | Standing::Nothing => None,
        }
    }

    fn standing(&self, digest: &Digest, policy: &LoginPolicy<'_>, clock: &dyn Clock) -> Standing {
        let Some(entry) = self.entries.get(digest) else {
            return Standing::Nothing;
        };
        let proof = &entry.proof;
        if policy.authn.version_of(&proof.subject) != Some(proof.version) {
            return Standing::Nothing;
        }
        let has_ended = clock.monotonic() >= proof.ends;
        let is_over = |expires: Duration, generation: u64| {
            has_ended || clock.wall() >= expires || generation != policy.generation
        };
        match &proof.by {
            ProvenBy::Password | ProvenBy::Directory { .. } if has_ended => {
                return Standing::Ended(Arc::clone(proof));
            }
            ProvenBy::Token {
                expires,
                reads_until,
                generation,
            } => {
                let good_until = match policy.wish {
                    TokenUse::Read => reads_until,
                    TokenUse::Write => expires,
                };
                if is_over(*good_until, *generation) {
                    return Standing::Nothing;
                }
            }
            ProvenBy::PersonalToken {
                expires, generation, ..
            } if is_over(*expires, *generation) => return Standing::Nothing,
            ProvenBy::PersonalToken { last_use, .. } => last_use.note(clock.wall()),
            ProvenBy::Password | ProvenBy::Directory { .. } => {}
        }
        Standing::Holds(entry)
    }

    /// Keeps a proof that nobody has resolved yet.
    pub(super) fn keep(&self, digest: Digest, proof: Arc<Proof>) {
        let resolved = None;
        self.entries.insert(digest, Arc::new(Entry { proof, resolved }));
    }

    /// Forgets a credential that turned out to be wrong, so that nothing believes its old proof again.
    pub(super) fn forget(&self, digest: &Digest) {
        self.entries.remove(digest);
    }

    /// Keeps a proof with what it was resolved to under the policy of this generation.
    pub(super) fn keep_resolved(
        &self,
        digest: Digest,
        proof: Arc<Proof>,
        generation: u64,
        outcome: Result<Arc<Principal>, Denial>,
    ) {
        let resolved = Some(Resolved { generation, outcome });
        self.entries.insert(digest, Arc::new(Entry { proof, resolved }));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops what ended too long ago to be remembered.
    pub(super) fn sweep(&self, clock: &dyn Clock) {
        let now = clock.monotonic();
        self.entries
            .retain(|_, entry| entry.proof.ends.saturating_add(SEEN_BEFORE_MAX) > now);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// How long a credential is believed without being checked again.
pub(super) const ENTRY_LIFE: Duration = Duration::from_secs(5 * 60);

/// Some 25 MB when all of it is used.
const ENTRIES_MAX: usize = 50_000;

const SEEN_BEFORE_MAX: Duration = Duration::from_secs(60 * 60);
