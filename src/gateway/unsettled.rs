//! The promise that no place stays open.

use std::sync::Arc;

use tracing::error;

use super::Shared;
use crate::ledger::{PlaceKey, Settlement};

/// A place that was taken and must be settled. Should a defect end the task before, it is in doubt, and what Livy makes
/// of it is deleted.
pub(super) struct Unsettled {
    shared: Arc<Shared>,
    key: Option<PlaceKey>,
}

impl Unsettled {
    pub(super) fn new(shared: &Arc<Shared>, key: PlaceKey) -> Self {
        Self {
            shared: Arc::clone(shared),
            key: Some(key),
        }
    }

    /// What became of it is written down.
    pub(super) fn settled(mut self) {
        self.key = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            error!(?key, "a creation ended by a defect; its place is in doubt");
            let shared = Arc::clone(&self.shared);
            shared.untold.add(key.clone());
            tokio::spawn(async move {
                let at = shared.moments.next();
                shared.ledger.settle(&key, Settlement::InDoubt, None, at).await
            });
        }
    }
}
