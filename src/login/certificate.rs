//! Logins by the certificate that a connection was opened with.
//!
//! What a certificate proved is remembered on its connection: the next request costs a look at two clocks. It is asked
//! again under every new policy, so that an authority that was removed or a list that was extended counts at once, and
//! like every other proof after some minutes.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::cache::ENTRY_LIFE;
use super::{LoginPolicy, Logins};
use crate::authn::Certificates;
use crate::authn::certificate::Leaf;
use crate::denial::Denial;
use crate::identity::Principal;

/// What a client presented when it opened its connection, and what that was found to prove.
pub struct PresentedCertificate {
    chain: Vec<CertificateDer<'static>>,
    found: Mutex<Option<Found>>,
}

/// Holds under one policy, for a while.
struct Found {
    generation: u64,
    /// On the monotonic clock.
    ends: Duration,
    /// When the certificate itself is over, on the wall clock.
    expires: Duration,
    is_vouched_for: bool,
    outcome: Result<Arc<Principal>, Denial>,
}

impl PresentedCertificate {
    /// The client's own first, as TLS took it: that the client holds its key is proven.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self {
            chain,
            found: Mutex::default(),
        }
    }
}

impl fmt::Debug for PresentedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedCertificate")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

impl Logins {
    /// The principal of a request whose only credential is its connection's certificate. `certificates` says which are
    /// good where the connection came in; none are if nothing does.
    ///
    /// It spends nothing of an address's limits: the handshake cost more than this, and was done with a key.
    pub fn by_certificate(
        &self,
        policy: &LoginPolicy<'_>,
        certificates: Option<&Certificates>,
        presented: &PresentedCertificate,
    ) -> Result<Arc<Principal>, Denial> {
        self.look(policy, certificates, presented, |found| found.outcome.clone())
    }

    /// Whether an authority vouches for the connection's certificate now, whomever it names. A handshake may be long ago,
    /// under another policy, or that of a session which this connection only goes on from.
    pub fn is_vouched_for(
        &self,
        policy: &LoginPolicy<'_>,
        certificates: &Certificates,
        presented: &PresentedCertificate,
    ) -> bool {
        self.look(policy, Some(certificates), presented, |found| {
            found.is_vouched_for
        })
    }

    fn look<T>(
        &self,
        policy: &LoginPolicy<'_>,
        certificates: Option<&Certificates>,
        presented: &PresentedCertificate,
        at: impl Fn(&Found) -> T,
    ) -> T {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        let mut found = presented.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*found
            && found.generation == policy.generation
            && now < found.ends
            && wall < found.expires
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return at(found);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let judged = judge(policy, certificates, presented, wall);
        let judged = Found {
            ends: now.saturating_add(ENTRY_LIFE),
            ..judged
        };
        let told = at(&judged);
        *found = Some(judged);
        told
    }
}

fn judge(
    policy: &LoginPolicy<'_>,
    certificates: Option<&Certificates>,
    presented: &PresentedCertificate,
    wall: Duration,
) -> Found {
    let is_vouched_for =
        certificates.is_some_and(|certificates| certificates.vouch_for(&presented.chain, wall).is_ok());
    let proof = certificates
        .ok_or_else(|| "this listener takes none any more".to_owned())
        .and_then(|certificates| certificates.verify(&presented.chain, wall));
    let (outcome, expires) = match proof {
        Ok(proof) => {
            let principal = policy.identities.resolve(&Arc::new(proof.subject));
            (principal.map(Arc::new), proof.expires)
        }
        Err(reason) => {
            tracing::debug!(scheme = "certificate", reason, "certificate refused");
            let expires = presented.chain.first().and_then(|own| Leaf::read(own).ok());
            (
                Err(Denial::InvalidCredentials),
                expires.map_or(Duration::MAX, |leaf| {
                    if is_vouched_for {
                        leaf.expires
                    } else {
                        Duration::MAX
                    }
                }),
            )
        }
    };
    Found {
        generation: policy.generation,
        ends: Duration::ZERO,
        expires,
        is_vouched_for,
        outcome,
    }
}
