//! Logins by the certificate that a connection was opened with.
//!
//! What a certificate proved is remembered on its connection: the next request costs a look at two clocks. It is asked
//! again under every new policy, so that an authority that was removed or a list that was extended counts at once, and
//! like every other proof after some minutes. Where certificates are required, so are requests with another login.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::cache::ENTRY_LIFE;
use super::{LoginPolicy, Logins};
use crate::authn::Certificates;
use crate::denial::Denial;
use crate::identity::Principal;

/// What a client presented when it opened its connection, and what that was found to prove.
pub struct PresentedCertificate {
    chain: Vec<CertificateDer<'static>>,
    found: Mutex<Option<Found>>,
}

/// Holds under one policy, for a while.
#[derive(Clone)]
struct Found {
    generation: u64,
    /// On the monotonic clock.
    ends: Duration,
    /// When the certificate itself is over, on the wall clock.
    expires: Duration,
    /// Whether an authority vouches for it, whomever it names.
    is_good: bool,
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
        let (found, is_new) = self.judge(policy, certificates, presented);
        let counter = if is_new { &self.misses } else { &self.hits };
        counter.fetch_add(1, Ordering::Relaxed);
        found.outcome
    }

    /// Refuses a request with another login where certificates are required and its connection has no good one now: it was
    /// opened before they were, goes on with an older session of TLS, or its certificate has ended or was taken back. Whom
    /// it names is no matter.
    pub fn demand_certificate(
        &self,
        policy: &LoginPolicy<'_>,
        certificates: &Certificates,
        presented: Option<&PresentedCertificate>,
    ) -> Result<(), Denial> {
        let Some(presented) = presented else {
            let reason = "the connection was opened without one, and this listener requires it now";
            tracing::debug!(scheme = "certificate", reason, "certificate refused");
            return Err(Denial::InvalidCredentials);
        };
        let (found, _) = self.judge(policy, Some(certificates), presented);
        if found.is_good {
            Ok(())
        } else {
            Err(Denial::InvalidCredentials)
        }
    }

    /// What is known of a certificate, and whether that is new.
    fn judge(
        &self,
        policy: &LoginPolicy<'_>,
        certificates: Option<&Certificates>,
        presented: &PresentedCertificate,
    ) -> (Found, bool) {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        let mut found = presented.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*found
            && found.generation == policy.generation
            && now < found.ends
            && wall < found.expires
        {
            return (found.clone(), false);
        }
        let vouched_for = certificates
            .ok_or_else(|| "this listener takes none any more".to_owned())
            .and_then(|certificates| Ok((certificates, certificates.vouch_for(&presented.chain, wall)?)));
        let (is_good, expires, outcome) = match vouched_for {
            Ok((certificates, leaf)) => {
                let outcome = match certificates.subject_in(&leaf) {
                    Ok(subject) => policy.identities.resolve(&Arc::new(subject)).map(Arc::new),
                    Err(reason) => {
                        tracing::debug!(scheme = "certificate", reason, "certificate names nobody");
                        Err(Denial::InvalidCredentials)
                    }
                };
                (true, leaf.expires, outcome)
            }
            Err(reason) => {
                tracing::debug!(scheme = "certificate", reason, "certificate refused");
                (false, Duration::MAX, Err(Denial::InvalidCredentials))
            }
        };
        let judged = Found {
            generation: policy.generation,
            ends: now.saturating_add(ENTRY_LIFE),
            expires,
            is_good,
            outcome,
        };
        *found = Some(judged.clone());
        (judged, true)
    }
}
