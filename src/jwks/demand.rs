//! Requests whose tokens name a key that is not there: they wait for one fetch, which all of them share.
//!
//! A provider may sign with a new key in the moment in which it publishes it. So who comes with an unknown kid has
//! the keys fetched, and waits for that, but not at any rate: [`Budget`] bounds how often the provider is asked, and a
//! kid that a fetch did not bring causes no other one for a while, or a notebook with an old token would use up the
//! budget by itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use super::schedule::Budget;
use crate::clock::Clock;

/// What is asked of one fetcher.
#[derive(Debug)]
pub(super) struct Demand {
    clock: Arc<dyn Clock>,
    wanted: Notify,
    /// How many fetches have ended, and whether the last of them brought keys.
    ended: watch::Sender<(u64, bool)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many fetches have begun.
    begun: u64,
    /// Whether one is to begin at once.
    is_wanted: bool,
    is_closed: bool,
    budget: Budget,
    /// The kids for whose sake the next fetch, or the one under way, began.
    looked_for: HashSet<String>,
    /// The kids that fetches did not bring, and when the last of those began.
    in_vain: HashSet<String>,
    in_vain_at: Duration,
}

impl Demand {
    /// The first fetch is wanted at once, so that who comes before it waits for it.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            wanted: Notify::new(),
            ended: watch::Sender::new((0, false)),
            state: Mutex::new(State {
                is_wanted: true,
                ..State::default()
            }),
        }
    }

    /// The fetch that may bring this kid: one that is to begin, the one under way, or, if the budget has it, a new one.
    /// It says whether it brought keys.
    pub(super) fn ask(&self, kid: Option<&str>) -> Option<BoxFuture<'static, bool>> {
        let kid = kid.unwrap_or_default();
        let mut state = self.state();
        let is_under_way = state.begun > self.ended.borrow().0;
        if !state.is_wanted && !is_under_way {
            if state.is_closed {
                return None;
            }
            let now = self.clock.monotonic();
            let is_in_vain = state.in_vain.contains(kid) && now.saturating_sub(state.in_vain_at) < IN_VAIN;
            if is_in_vain || !state.budget.take(now) {
                return None;
            }
            state.is_wanted = true;
            self.wanted.notify_one();
        }
        // What is under way already may have been answered before the key was published.
        let awaited = if state.is_wanted {
            if state.looked_for.len() < KIDS_MAX {
                state.looked_for.insert(kid.to_owned());
            }
            state.begun + 1
        } else {
            state.begun
        };
        let mut ended = self.ended.subscribe();
        Some(Box::pin(async move {
            // An error means that the fetcher is gone, and nothing is to be waited for.
            let fetched = ended.wait_for(|(ended, _)| *ended >= awaited).await;
            fetched.is_ok_and(|fetched| fetched.1)
        }))
    }

    /// Waits until a fetch is wanted; false if none is any more.
    pub(super) async fn wanted(&self) -> bool {
        loop {
            if self.state().is_wanted {
                return true;
            }
            if self.state().is_closed {
                return false;
            }
            self.wanted.notified().await;
        }
    }

    /// A fetch begins.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.is_wanted = false;
        state.begun += 1;
    }

    /// The fetch has ended, and brought keys that were published or none.
    pub(super) fn end(&self, began: Duration, is_good: bool) {
        let mut state = self.state();
        let looked_for = std::mem::take(&mut state.looked_for);
        if is_good {
            if state.in_vain.len() + looked_for.len() > KIDS_MAX {
                state.in_vain.clear();
            }
            state.in_vain.extend(looked_for);
            state.in_vain_at = began;
        }
        self.ended.send_replace((state.begun, is_good));
    }

    /// Nothing is fetched any more, but for what somebody waits for.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.wanted.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a kid that a fetch did not bring causes no other one. Longer than it takes the budget to grow by one, so
/// that it grows while somebody asks for such a kid all the time.
const IN_VAIN: Duration = Duration::from_secs(60);
/// How many kids are remembered. More are made up, and the budget is all that bounds them.
const KIDS_MAX: usize = 256;
