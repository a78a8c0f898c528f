//! The ledgers of a single gateway: an image in memory that decides, and for one of them a file that remembers.
//!
//! Reads and refusals end at the image. A reservation waits until its record is durable; everything else is in force
//! at once and follows it onto the disk.

use std::collections::HashSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};

use crate::identity::LivyUser;
use crate::ledger::file::{self, IfSpoiled, OpenError, Opening};
use crate::ledger::image::{Image, Settled};
use crate::ledger::writer::{Journal, RETRY, Writer};
use crate::ledger::{Ledger, NoPlace, Place, PlaceKey, Reservation, Settlement};
use crate::livy::marker::{Instance, Marker};
use crate::livy::{Kind, SessionId, SessionName};
use crate::quota::{Scope, Use};

/// A ledger that ends with the process: for tests, and where Livy is restarted together with the gateway.
#[derive(Debug)]
pub struct MemoryLedger {
    store: Store,
    instance: Instance,
}

impl MemoryLedger {
    /// An empty one. There is nothing that could remember the instance, so the caller makes it.
    pub fn new(instance: Instance) -> Self {
        Self {
            store: Store::default(),
            instance,
        }
    }

    /// Whose markers are its own.
    pub const fn instance(&self) -> Instance {
        self.instance
    }
}

/// A ledger that survives crashes and restarts, in a file of one gateway.
///
/// When it is dropped it writes down what is still to be written, and waits for that.
#[derive(Debug)]
pub struct FileLedger {
    store: Store,
}

impl FileLedger {
    /// Opens the ledger in `directory`, or begins one. It has the directory for itself as long as it lives.
    ///
    /// `at` is the time of the start, from which what was read counts as changed. Reads the whole file and blocks.
    pub fn open(directory: &Path, at: Duration, if_spoiled: IfSpoiled) -> Result<(Self, Opening), OpenError> {
        let opened = file::open(directory, at, if_spoiled)?;
        let opening = Opening {
            instance: opened.instance,
            set_aside: opened.set_aside,
            places: opened.places.len(),
        };
        let store =
            Store::with_journal(opened.places, at, Box::new(opened.journal), RETRY).map_err(|error| {
                OpenError::Failed {
                    path: directory.to_owned(),
                    doing: "start the writing thread",
                    reason: error.to_string(),
                }
            })?;
        Ok((Self { store }, opening))
    }
}

/// The image, and who writes down what it decides.
#[derive(Debug, Default)]
pub(super) struct Store {
    image: Arc<Mutex<Image>>,
    writer: Option<Writer>,
}

impl Store {
    /// Goes on from what a journal remembered; `retry` is how long it waits after a write has failed.
    pub(super) fn with_journal(
        places: Vec<Place>,
        at: Duration,
        journal: Box<dyn Journal>,
        retry: Duration,
    ) -> std::io::Result<Self> {
        let mut image = Image::default();
        for place in places {
            image.adopt(place, at);
        }
        let image = Arc::new(Mutex::new(image));
        let writer = Writer::start(Arc::clone(&image), journal, retry)?;
        Ok(Self {
            image,
            writer: Some(writer),
        })
    }

    /// For the length of one decision. Nothing in there panics, and what a panic would leave is still consistent
    /// enough to be read.
    pub(super) fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Image) -> T) -> T {
        read(&self.image())
    }

    /// Has the record of a place follow what the image says. What was found at Livy is found there again.
    fn write_down(&self, key: &PlaceKey) {
        if let (Some(writer), PlaceKey::Marker(marker)) = (&self.writer, key) {
            writer.write_down(marker);
        }
    }

    async fn reserve(&self, reservation: Reservation, at: Duration) -> Result<(), NoPlace> {
        let marker = reservation.marker.clone();
        self.image().reserve(reservation, at)?;
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let untold = Untold {
            store: self,
            marker: Some(marker.clone()),
        };
        writer.durable(&marker).await.map_err(NoPlace::Unavailable)?;
        untold.told();
        Ok(())
    }
}

/// A place that nobody was told of. It is taken back if the caller leaves or the write fails, at whatever await:
/// Livy has not heard of it, so nothing can come of it.
struct Untold<'a> {
    store: &'a Store,
    marker: Option<Marker>,
}

impl Untold<'_> {
    fn told(mut self) {
        self.marker = None;
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if let Some(marker) = self.marker.take() {
            self.store.image().take_back(&marker);
            // The record may be on the disk already, or in a write that has failed half way.
            self.store.write_down(&PlaceKey::Marker(marker));
        }
    }
}

/// A ledger of this process alone, which a [`Store`] answers for.
pub(super) trait Local: Debug + Send + Sync {
    fn store(&self) -> &Store;
}

impl Local for MemoryLedger {
    fn store(&self) -> &Store {
        &self.store
    }
}

impl Local for FileLedger {
    fn store(&self) -> &Store {
        &self.store
    }
}

impl<L: Local> Ledger for L {
    fn reserve(&self, reservation: Reservation, at: Duration) -> BoxFuture<'_, Result<(), NoPlace>> {
        Box::pin(self.store().reserve(reservation, at))
    }

    fn settle<'a>(
        &'a self,
        key: &'a PlaceKey,
        settlement: Settlement,
        unchanged_since: Option<Duration>,
        at: Duration,
    ) -> BoxFuture<'a, bool> {
        let settled = self.store().image().settle(key, settlement, unchanged_since, at);
        if settled == Settled::Changed {
            self.store().write_down(key);
        }
        Box::pin(ready(settled != Settled::Refused))
    }

    fn adopt(&self, place: Place, at: Duration) -> BoxFuture<'_, bool> {
        let key = place.key.clone();
        let is_new = self.store().image().adopt(place, at);
        if is_new {
            self.store().write_down(&key);
        }
        Box::pin(ready(is_new))
    }

    fn forget_gone<'a>(
        &'a self,
        kind: Kind,
        before: Duration,
        listed: &'a HashSet<PlaceKey>,
    ) -> BoxFuture<'a, ()> {
        // Their records went when they did.
        self.store().image().forget_gone(kind, before, listed);
        Box::pin(ready(()))
    }

    fn forget<'a>(&'a self, key: &'a PlaceKey) -> BoxFuture<'a, ()> {
        self.store().image().forget(key);
        Box::pin(ready(()))
    }

    fn by_id(&self, kind: Kind, id: SessionId) -> BoxFuture<'_, Option<Arc<Place>>> {
        Box::pin(ready(self.store().read(|image| image.by_id(kind, id).cloned())))
    }

    fn by_name<'a>(
        &'a self,
        owner: &'a LivyUser,
        kind: Kind,
        name: &'a SessionName,
    ) -> BoxFuture<'a, Option<Arc<Place>>> {
        let found = self
            .store()
            .read(|image| image.by_name(owner, kind, name.as_str()).cloned());
        Box::pin(ready(found))
    }

    fn by_idempotency<'a>(&'a self, key: &'a [u8; 32]) -> BoxFuture<'a, Option<Arc<Place>>> {
        let found = self.store().read(|image| image.by_idempotency(key).cloned());
        Box::pin(ready(found))
    }

    fn get<'a>(&'a self, key: &'a PlaceKey) -> BoxFuture<'a, Option<Arc<Place>>> {
        Box::pin(ready(self.store().read(|image| image.get(key).cloned())))
    }

    fn owned_by<'a>(&'a self, owner: &'a LivyUser, kind: Kind) -> BoxFuture<'a, Vec<Arc<Place>>> {
        let found = self
            .store()
            .read(|image| image.owned_by(owner, kind).cloned().collect());
        Box::pin(ready(found))
    }

    fn created_by<'a>(&'a self, subject: &'a str, kind: Kind) -> BoxFuture<'a, Vec<Arc<Place>>> {
        let found = self
            .store()
            .read(|image| image.created_by(subject, kind).cloned().collect());
        Box::pin(ready(found))
    }

    fn all(&self, kind: Kind) -> BoxFuture<'_, Vec<Arc<Place>>> {
        Box::pin(ready(
            self.store().read(|image| image.all(kind).cloned().collect()),
        ))
    }

    fn held<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Use> {
        Box::pin(ready(self.store().read(|image| image.held(scope))))
    }

    fn is_available(&self) -> bool {
        self.store().writer.as_ref().is_none_or(Writer::is_available)
    }
}

#[cfg(test)]
impl Store {
    pub(super) const fn writer(&self) -> Option<&Writer> {
        self.writer.as_ref()
    }
}

#[cfg(test)]
mod tests;
