//! A place whose creation is under way in a task of its own.

use futures_util::FutureExt;

use crate::clock::Moments;
use crate::ledger::{Ledger, PlaceKey, Settlement};

/// Dropped, it puts the place in doubt unless somebody has said what became of it. So however the task ends, by a defect
/// too, a place is not held for as long as the process runs.
pub(super) struct Unsettled<'a> {
    ledger: &'a dyn Ledger,
    moments: &'a Moments,
    key: PlaceKey,
}

impl<'a> Unsettled<'a> {
    pub(super) fn new(ledger: &'a dyn Ledger, moments: &'a Moments, key: PlaceKey) -> Self {
        Self { ledger, moments, key }
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        // What is known does not become doubtful. A ledger of this process is ready at once.
        let settled = self
            .ledger
            .settle(&self.key, Settlement::InDoubt, None, self.moments.next());
        let _ = settled.now_or_never();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::identity::LivyUser;
    use crate::ledger::{MemoryLedger, Reservation, Standing};
    use crate::livy::marker::{Instance, Marker};
    use crate::livy::{Kind, SessionId};
    use crate::quota::Resources;

    #[tokio::test]
    async fn a_place_that_nobody_settled_is_in_doubt_and_one_that_is_known_stays_so() {
        let id = SessionId::new(7).unwrap();
        let owned = Standing::Owned {
            id,
            is_finished: false,
        };
        for (settlement, standing) in [
            (None, Standing::InDoubt),
            (Some(Settlement::Owned(id)), owned),
            (Some(Settlement::Gone), Standing::Gone),
        ] {
            let instance = Instance::new([1; 5]);
            let ledger = MemoryLedger::new(instance);
            let moments = Moments::new(Arc::new(ManualClock::at(Duration::ZERO)));
            let marker = Marker::new("etl", instance, "basic:alice", [1; 8]);
            let key = PlaceKey::Marker(marker.clone());
            let reservation = Reservation {
                marker,
                kind: Kind::Session,
                owner: LivyUser::for_tests("alice"),
                created_by: "basic:alice".into(),
                name: None,
                charge: Resources::default(),
                allowances: Vec::new(),
                idempotency: None,
            };
            ledger.reserve(reservation, moments.next()).await.unwrap();
            let unsettled = Unsettled::new(&ledger, &moments, key.clone());
            if let Some(settlement) = settlement {
                ledger.settle(&key, settlement, None, moments.next()).await;
            }
            drop(unsettled);
            assert_eq!(ledger.get(&key).await.unwrap().standing, standing);
        }
    }
}
