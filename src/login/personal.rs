//! Logins with personal tokens: checked in place, since one costs a microsecond.
//!
//! A good one passes whatever the address owes: nobody guesses 160 bits. A bad one counts like a wrong password.

use std::sync::Arc;

use super::cache::{Digest, ENTRY_LIFE, Proof, ProvenBy};
use super::{LoginPolicy, Logins, too_many};
use crate::authn::PersonalVerdict;
use crate::authn::personal::Carried;
use crate::denial::Denial;
use crate::identity::Principal;
use crate::limits::AddressKey;

impl Logins {
    /// The principal of a request with a personal token. Beside it may stand no user name but the token's own.
    pub(super) fn personal_token(
        &self,
        policy: &LoginPolicy<'_>,
        digest: Digest,
        from: AddressKey,
        carried: &Carried<'_>,
    ) -> Result<Arc<Principal>, Denial> {
        let now = self.clock.wall();
        let verdict = policy.authn.verify_personal_token(carried.text, now);
        let is_its_own = |user: &str| carried.user.is_none_or(|beside| beside == user);
        let reason = match verdict {
            PersonalVerdict::Good(token) if is_its_own(token.user()) => {
                token.last_use().note(now);
                let subject = Arc::new(token.subject());
                let version = policy.authn.version_of(&subject).ok_or(Denial::Internal)?;
                let by = ProvenBy::PersonalToken {
                    expires: token.expires(),
                    generation: policy.generation,
                    last_use: Arc::clone(token.last_use()),
                };
                let ends = self.clock.monotonic().saturating_add(ENTRY_LIFE);
                let proof = Proof {
                    subject,
                    version,
                    ends,
                    by,
                };
                return self.resolve(policy, digest, Arc::new(proof));
            }
            PersonalVerdict::Expired(token) if is_its_own(token.user()) => {
                tracing::debug!(id = token.id(), label = token.label(), "personal token expired");
                return Err(Denial::ExpiredToken);
            }
            PersonalVerdict::Good(_) | PersonalVerdict::Expired(_) => "the user name beside it is another",
            PersonalVerdict::Invalid(reason) => reason,
        };
        tracing::debug!(reason, "personal token refused");
        let counters = self.counters.load();
        counters.attempt(from, carried.account()).map_err(too_many)?;
        counters.failure(from);
        Err(Denial::InvalidCredentials)
    }
}
