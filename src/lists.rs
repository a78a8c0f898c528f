//! Livy's lists, read once for everybody: one list call per kind and second at most, however many ask.
//!
//! What fetches them is [`crate::reconcile`]; here they are kept, waited for and overlaid with what was created since.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::denial::Denial;
use crate::ledger::PlaceKey;
use crate::livy::Kind;
use crate::livy::list::{Listing, Row};
use crate::livy::marker::Marker;

/// The lists of both kinds.
#[derive(Debug, Default)]
pub struct Lists {
    sessions: Slot,
    batches: Slot,
}

#[derive(Debug)]
struct Slot {
    snapshot: ArcSwapOption<Snapshot>,
    /// The latest moment after which somebody wants a list to have begun, in nanoseconds.
    wanted: AtomicU64,
    is_wanted: Notify,
    /// When the last attempt began, and what came of it.
    attempt: watch::Sender<Attempt>,
    /// What was created since the last list began, as Livy answered it.
    recent: Mutex<HashMap<PlaceKey, (Duration, Bytes)>>,
}

#[derive(Debug, Clone, Default)]
struct Attempt {
    began: Duration,
    failure: Option<Denial>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            snapshot: ArcSwapOption::empty(),
            wanted: AtomicU64::new(0),
            is_wanted: Notify::new(),
            attempt: watch::Sender::new(Attempt::default()),
            recent: Mutex::default(),
        }
    }
}

/// A whole list of one kind, and when it began.
#[derive(Debug)]
pub struct Snapshot {
    /// Before Livy was asked.
    pub began: Duration,
    listing: Listing,
    by_key: HashMap<PlaceKey, usize>,
}

impl Snapshot {
    /// Of a list that began then.
    pub fn new(kind: Kind, began: Duration, listing: Listing) -> Self {
        let keys = listing.rows().iter().map(|row| key_of(kind, row));
        let by_key = keys.enumerate().map(|(place, key)| (key, place)).collect();
        Self {
            began,
            listing,
            by_key,
        }
    }

    /// The row of a place, and what Livy wrote of it.
    pub fn row(&self, key: &PlaceKey) -> Option<(&Row, &str)> {
        let row = self.listing.rows().get(*self.by_key.get(key)?)?;
        Some((row, self.listing.text(row)))
    }

    /// All of it.
    pub const fn listing(&self) -> &Listing {
        &self.listing
    }
}

/// What a row's place is known by.
pub fn key_of(kind: Kind, row: &Row) -> PlaceKey {
    match row.name.as_deref().and_then(Marker::parse) {
        Some(marker) => PlaceKey::Marker(marker),
        None => PlaceKey::Found(kind, row.id),
    }
}

impl Lists {
    const fn slot(&self, kind: Kind) -> &Slot {
        match kind {
            Kind::Session => &self.sessions,
            Kind::Batch => &self.batches,
        }
    }

    /// The last whole list, if there was one since the start.
    pub fn last(&self, kind: Kind) -> Option<Arc<Snapshot>> {
        self.slot(kind).snapshot.load_full()
    }

    /// Waits until there was a list since the start. Fails if the last attempt did, and asks for another one then, so
    /// that it is known soon when Livy is there again.
    pub async fn first(&self, kind: Kind, now: Duration) -> Result<(), Denial> {
        if self.last(kind).is_some() {
            return Ok(());
        }
        let first = self.since(kind, Duration::ZERO).await;
        if first.is_err() {
            self.want(kind, now);
        }
        first.map(drop)
    }

    /// A list that began at or after `since`; waits for one if need be. Fails if an attempt that began since then did.
    pub async fn since(&self, kind: Kind, since: Duration) -> Result<Arc<Snapshot>, Denial> {
        let slot = self.slot(kind);
        let mut attempts = slot.attempt.subscribe();
        loop {
            if let Some(snapshot) = slot
                .snapshot
                .load_full()
                .filter(|snapshot| snapshot.began >= since)
            {
                return Ok(snapshot);
            }
            let attempt = attempts.borrow_and_update().clone();
            if let Some(denial) = attempt.failure.filter(|_| attempt.began >= since) {
                // Nobody waits for the next attempt, but it is made soon: Livy may be back.
                self.want(kind, attempt.began.saturating_add(Duration::from_nanos(1)));
                return Err(denial);
            }
            self.want(kind, since);
            if attempts.changed().await.is_err() {
                return Err(Denial::Internal);
            }
        }
    }

    /// Asks for a list that begins at or after `since`, and does not wait for it.
    pub fn want(&self, kind: Kind, since: Duration) {
        let slot = self.slot(kind);
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        if slot.wanted.fetch_max(nanos, Ordering::SeqCst) < nanos {
            slot.is_wanted.notify_one();
        }
    }

    /// Returns when somebody wants a list that is later than the last attempt.
    pub(crate) async fn wanted(&self, kind: Kind) {
        let slot = self.slot(kind);
        loop {
            let last = u64::try_from(slot.attempt.borrow().began.as_nanos()).unwrap_or(u64::MAX);
            if slot.wanted.load(Ordering::SeqCst) > last {
                return;
            }
            slot.is_wanted.notified().await;
        }
    }

    /// Shows a new list to everybody.
    pub(crate) fn publish(&self, kind: Kind, snapshot: Snapshot) {
        let (slot, began) = (self.slot(kind), snapshot.began);
        slot.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, (at, _)| *at >= began);
        slot.snapshot.store(Some(Arc::new(snapshot)));
        slot.attempt.send_replace(Attempt { began, failure: None });
    }

    /// Tells those who wait that there is no list.
    pub(crate) fn fail(&self, kind: Kind, began: Duration, denial: Denial) {
        self.slot(kind).attempt.send_replace(Attempt {
            began,
            failure: Some(denial),
        });
    }

    /// Shows something new at once: what Livy answered when it was created.
    pub fn overlay(&self, kind: Kind, key: PlaceKey, at: Duration, object: Bytes) {
        let mut recent = self
            .slot(kind)
            .recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        recent.insert(key, (at, object));
    }

    /// What Livy answered to a creation that no list shows yet.
    pub fn recent(&self, kind: Kind, key: &PlaceKey) -> Option<Bytes> {
        let recent = self
            .slot(kind)
            .recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        recent.get(key).map(|(_, object)| object.clone())
    }
}
/// Livy's list could not be read, so nothing was sent. A write is answered 5xx only because it surely did nothing.
pub fn unlisted(denial: &Denial) -> Denial {
    if matches!(denial, Denial::UpstreamUnreachable) {
        return Denial::UpstreamUnreachable;
    }
    if matches!(denial, Denial::UpstreamLoginFailed { .. }) {
        return Denial::UpstreamLoginFailed { read: false };
    }
    Denial::Unavailable("Livy's list cannot be read, so it is not known what it holds")
}
