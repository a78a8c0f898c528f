//! Tokens: verified in place, and once more when a key was fetched for them.

use std::sync::Arc;
use std::time::Duration;

use crate::authn::{Authn, Issuer, MissingKey, TokenVerdict};
use crate::denial::{Denial, LoginSource};
use crate::login::cache::{ENTRY_LIFE, Proof, ProvenBy};
use crate::login::{LoginPolicy, Logins};

/// Why a token was not taken.
enum Refusal {
    For(Denial),
    /// Its key may come with a fetch.
    Key(MissingKey),
}

impl Logins {
    /// Verifies a token. One that names an unknown key waits for the fetch that may bring it: a provider may sign
    /// with a new key in the moment in which it publishes it, and its users would be refused meanwhile.
    pub(super) async fn token(
        &self,
        policy: &LoginPolicy<'_>,
        verify: impl Fn(Duration) -> TokenVerdict,
    ) -> Result<Arc<Proof>, Denial> {
        match self.verify_now(policy, &verify) {
            Ok(proof) => Ok(proof),
            Err(Refusal::For(denial)) => Err(denial),
            Err(Refusal::Key(missing)) => self.verify_with_fresh_keys(policy, &verify, missing).await,
        }
    }

    async fn verify_with_fresh_keys(
        &self,
        policy: &LoginPolicy<'_>,
        verify: impl Fn(Duration) -> TokenVerdict,
        missing: MissingKey,
    ) -> Result<Arc<Proof>, Denial> {
        let verified = tokio::time::timeout(KEY_WAIT_MAX, async {
            let mut missing = missing;
            while missing.issuer.awaits_its_fetcher() {
                tokio::time::sleep(FETCHER_LOOK).await;
            }
            // A fetch that was under way may have missed the key; then there is one more to wait for.
            while let Some(fetch) = missing.issuer.ask_for_key(missing.kid.as_deref()) {
                if !fetch.await {
                    tracing::debug!("token not judged: its issuer's keys could not be fetched");
                    return Err(UNKNOWN);
                }
                match self.verify_now(policy, &verify) {
                    Ok(proof) => return Ok(proof),
                    Err(Refusal::For(denial)) => return Err(denial),
                    Err(Refusal::Key(still_missing)) => missing = still_missing,
                }
            }
            tracing::debug!("token refused: its key is not in the issuer's set");
            Err(without_key(&missing.issuer))
        });
        verified.await.unwrap_or_else(|_elapsed| {
            tracing::debug!("token not judged: its issuer's keys did not come in time");
            Err(UNKNOWN)
        })
    }

    fn verify_now(
        &self,
        policy: &LoginPolicy<'_>,
        verify: impl Fn(Duration) -> TokenVerdict,
    ) -> Result<Arc<Proof>, Refusal> {
        let keys_before = key_versions(policy.authn);
        let began = self.clock.monotonic();
        match verify(self.clock.wall()) {
            TokenVerdict::Subject {
                subject,
                expires,
                reads_until,
            } => {
                let version = policy
                    .authn
                    .version_of(&subject)
                    .ok_or(Refusal::For(Denial::InvalidCredentials))?;
                // Keys that were replaced meanwhile may not be those that verified it: it is good this once.
                let holds = keys_before == key_versions(policy.authn);
                let life = if holds { ENTRY_LIFE } else { Duration::ZERO };
                Ok(Arc::new(Proof {
                    subject: Arc::new(subject),
                    version,
                    ends: began.saturating_add(life),
                    by: ProvenBy::Token {
                        expires,
                        reads_until,
                        generation: policy.generation,
                    },
                }))
            }
            TokenVerdict::Expired => Err(Refusal::For(Denial::ExpiredToken)),
            TokenVerdict::Invalid(reason) => {
                tracing::debug!(reason, "token refused");
                Err(Refusal::For(Denial::InvalidCredentials))
            }
            TokenVerdict::UnknownKey(missing) => Err(Refusal::Key(missing)),
        }
    }
}

/// Where an issuer has no key at all, nothing can be said about a token of its.
fn without_key(issuer: &Issuer) -> Denial {
    if issuer.keys_in_force() == 0 {
        UNKNOWN
    } else {
        Denial::InvalidCredentials
    }
}

/// Differs when the keys of any issuer do.
fn key_versions(authn: &Authn) -> u64 {
    authn
        .issuers
        .iter()
        .fold(0, |all: u64, issuer| all.rotate_left(7) ^ issuer.key_version())
}

/// Nothing can be said about a token whose key may be new, while its issuer does not say which keys it has.
const UNKNOWN: Denial = Denial::LoginUnavailable(LoginSource::SigningKeys);
/// How often it is looked whether fetching has begun; for some milliseconds behind the start.
const FETCHER_LOOK: Duration = Duration::from_millis(10);
/// How long a request waits for a key: no client minds, and a provider that takes longer is not well.
const KEY_WAIT_MAX: Duration = Duration::from_secs(3);
