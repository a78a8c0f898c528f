//! Fetches an issuer's JWK set in the background and publishes it.
//!
//! It is fetched when it grows old, and when a token names a key that is not in it, within a budget: whoever sends
//! tokens with invented kids has the provider asked three times in a row and then each 30 s. Whatever the provider
//! answers, keys that were good stay until a better set is there or `stale_keys` has passed.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use crate::authn::{Issuer, KeySet};
use crate::clock::Clock;
use crate::telemetry::metrics;

mod demand;
mod fetch;
mod place;
mod schedule;

use demand::Demand;
use fetch::FetchError;
use place::Place;
use schedule::Schedule;
pub use schedule::{Random, system_random};

/// The background task of one issuer. It ends when this is dropped, after the fetch that requests wait for: a reload
/// refuses nobody whose key is on its way.
#[derive(Debug)]
pub struct JwksFetcher {
    demand: Arc<Demand>,
}

impl JwksFetcher {
    /// Starts the task on the current runtime, fetches at once, and makes the issuer ask here for keys that it does
    /// not know. None if the issuer's keys are not fetched. Must be called within a tokio runtime.
    pub fn spawn(
        issuer: Arc<Issuer>,
        tls: Arc<rustls::ClientConfig>,
        clock: Arc<dyn Clock>,
        random: Random,
    ) -> Option<Self> {
        let place = Place::new(issuer.keys_at()?.clone());
        let demand = Arc::new(Demand::new(Arc::clone(&clock)));
        let asked = Arc::clone(&demand);
        issuer.set_refresher(Box::new(move |kid| asked.ask(kid)));
        let schedule = Schedule::starting(clock.monotonic(), random);
        let keeper = Keeper {
            issuer,
            place,
            tls: tls.into(),
            clock,
            demand: Arc::clone(&demand),
            schedule,
        };
        tokio::spawn(keeper.keep_fresh());
        Some(Self { demand })
    }
}

/// Fetches an issuer's keys once, and says how many can be used; for a command line, which serves nobody meanwhile.
pub fn fetch_once(
    issuer: &Issuer,
    tls: Arc<rustls::ClientConfig>,
    clock: &dyn Clock,
) -> anyhow::Result<usize> {
    let at = issuer
        .keys_at()
        .ok_or_else(|| anyhow::anyhow!("they are not fetched"))?;
    let mut place = Place::new(at.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tls = TlsConnector::from(tls);
    let fetched = runtime.block_on(async {
        tokio::time::timeout(
            FETCH_TIMEOUT,
            place.fetch(issuer.issuer(), &tls, clock.monotonic()),
        )
        .await
    });
    let (keys, _) = fetched
        .unwrap_or(Err(FetchError::TooSlow))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let usable = keys.len();
    issuer.publish(keys, clock.monotonic());
    Ok(usable)
}

impl Drop for JwksFetcher {
    fn drop(&mut self) {
        self.demand.close();
    }
}

struct Keeper {
    issuer: Arc<Issuer>,
    place: Place,
    tls: TlsConnector,
    clock: Arc<dyn Clock>,
    demand: Arc<Demand>,
    schedule: Schedule,
}

impl Keeper {
    async fn keep_fresh(mut self) {
        loop {
            tokio::select! {
                is_wanted = self.demand.wanted() => {
                    if !is_wanted {
                        return;
                    }
                }
                () = tokio::time::sleep(self.schedule.wait(self.clock.monotonic())) => {}
            }
            let began = self.clock.monotonic();
            self.demand.begin();
            let fetch = self.place.fetch(self.issuer.issuer(), &self.tls, began);
            let fetched = match tokio::time::timeout(FETCH_TIMEOUT, fetch).await {
                Ok(fetched) => fetched,
                Err(_) => Err(FetchError::TooSlow),
            };
            let is_good = fetched.is_ok();
            match fetched {
                Ok((keys, good_for)) => {
                    self.publish(keys);
                    self.schedule.succeeded(self.clock.monotonic(), good_for);
                }
                Err(error) => {
                    warn!(issuer = self.issuer.name(), %error, "signing keys not fetched; if there were good ones, they stay for jwt.stale_keys");
                    let left = self.close_if_too_old();
                    self.schedule.failed(self.clock.monotonic(), left);
                }
            }
            metrics::keys_fetched(self.issuer.name(), is_good, self.issuer.keys_in_force());
            self.demand.end(began, is_good);
        }
    }

    fn publish(&self, keys: KeySet) {
        let before = self.issuer.key_version();
        let (usable, skipped) = (keys.len(), keys.skipped().join("; "));
        self.issuer.publish(keys, self.clock.monotonic());
        metrics::keys_are_of(self.issuer.name(), self.clock.wall());
        if self.issuer.key_version() != before {
            info!(
                issuer = self.issuer.name(),
                usable, skipped, "signing keys changed"
            );
        }
    }

    /// Takes keys away that have not been fetched again for too long; a provider that is gone may have withdrawn them
    /// meanwhile. Gives back how long they may stay, if there are any.
    fn close_if_too_old(&self) -> Option<Duration> {
        let age = self.clock.monotonic().saturating_sub(self.issuer.fetched()?);
        let left = self.issuer.stale_keys().saturating_sub(age);
        if left.is_zero() {
            warn!(
                issuer = self.issuer.name(),
                age_seconds = age.as_secs(),
                "signing keys older than stale_keys, its tokens are refused from now on"
            );
            self.issuer.close();
            return None;
        }
        Some(left)
    }
}

const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
