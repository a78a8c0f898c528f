//! Single flight: requests that bring the same new password at the same time wait for one check of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::denial::Denial;
use crate::login::cache::{Digest, Proof};

/// A credential, under the policy that it is checked by: a check under an older one answers nobody else.
pub(super) type FlightKey = (Digest, u64);

/// What a check found.
pub(super) type Outcome = Result<Arc<Proof>, Denial>;

/// Where one waits for it; closed without a value if the check was lost.
pub(super) type Landing = watch::Receiver<Option<Outcome>>;

/// The checks on their way.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<FlightKey, watch::Sender<Option<Outcome>>>>);

/// The one that checks. If it is dropped before it lands, those who wait learn that it was lost.
pub(super) struct Flight {
    flights: Arc<Flights>,
    key: FlightKey,
    is_over: bool,
}

/// How one waits for a check.
pub(super) enum Boarding {
    /// Somebody else does it.
    Joined(Landing),
    /// The caller must see to it.
    First(Flight, Landing),
}

impl Flights {
    pub(super) fn board(self: &Arc<Self>, key: FlightKey) -> Boarding {
        let mut flying = self.flying();
        if let Some(sender) = flying.get(&key) {
            return Boarding::Joined(sender.subscribe());
        }
        let (sender, landing) = watch::channel(None);
        flying.insert(key, sender);
        let flight = Flight {
            flights: Arc::clone(self),
            key,
            is_over: false,
        };
        Boarding::First(flight, landing)
    }

    fn flying(&self) -> MutexGuard<'_, HashMap<FlightKey, watch::Sender<Option<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The flight, unless all who waited have left.
    pub(super) fn unless_abandoned(mut self) -> Option<Self> {
        let flights = Arc::clone(&self.flights);
        // Under the lock, so that nobody boards between the look and the end.
        let mut flying = flights.flying();
        if flying
            .get(&self.key)
            .is_some_and(|sender| sender.receiver_count() > 0)
        {
            return Some(self);
        }
        self.is_over = true;
        flying.remove(&self.key);
        None
    }

    /// Tells everybody who waits.
    pub(super) fn land(mut self, outcome: Outcome) {
        self.is_over = true;
        let sender = self.flights.flying().remove(&self.key);
        if let Some(sender) = sender {
            sender.send_replace(Some(outcome));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // What boarded under the same key since belongs to another flight.
        if !self.is_over {
            self.flights.flying().remove(&self.key);
        }
    }
}
