//! The one thread that writes, so that many reservations share one wait for the disk.
//!
//! It is told which places changed, never how: it writes what the image says when it gets to it. So changes that
//! overtake each other need no care, and a write that failed is made up for by the next one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::ledger::image::Image;
use crate::ledger::{PlaceKey, Standing, Unavailable, record};
use crate::livy::marker::Marker;

/// How long to wait after a write has failed, unless somebody asks for one before.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// What keeps records over a crash.
pub(super) trait Journal: Send {
    /// Writes all of it durably. After an error nobody knows how much was written; the same changes come again.
    fn write(&mut self, changes: &[Change]) -> Result<(), String>;
}

/// What to keep of one place.
#[derive(Debug)]
pub(super) struct Change {
    /// Under which it is kept.
    pub(super) marker: Marker,
    /// Nothing if there is no such place, or it is gone.
    pub(super) record: Option<Vec<u8>>,
}

/// What the thread is told.
enum Note {
    Changed(Marker),
    Reserved(Marker, oneshot::Sender<Result<(), Unavailable>>),
}

/// The near end of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// Taken when it is dropped, which ends the thread.
    notes: Option<Sender<Note>>,
    thread: Option<JoinHandle<()>>,
    is_available: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn start(
        image: Arc<Mutex<Image>>,
        journal: Box<dyn Journal>,
        retry: Duration,
    ) -> std::io::Result<Self> {
        let (notes, told) = mpsc::channel();
        let is_available = Arc::new(AtomicBool::new(true));
        let mut work = Work {
            image,
            journal,
            retry,
            changed: HashSet::new(),
            waiting: Vec::new(),
            is_available: Arc::clone(&is_available),
        };
        let thread = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || work.run(&told))?;
        Ok(Self {
            notes: Some(notes),
            thread: Some(thread),
            is_available,
        })
    }

    /// Has a place written soon.
    pub(super) fn write_down(&self, marker: &Marker) {
        // If the thread is gone nothing can be written any more, and reservations say so.
        self.tell(Note::Changed(marker.clone()));
    }

    /// Returns when the place is written.
    pub(super) async fn durable(&self, marker: &Marker) -> Result<(), Unavailable> {
        let (answer, answered) = oneshot::channel();
        self.tell(Note::Reserved(marker.clone(), answer));
        answered.await.unwrap_or_else(|_| {
            Err(Unavailable(
                "the thread that writes the ledger has ended".to_owned(),
            ))
        })
    }

    pub(super) fn is_available(&self) -> bool {
        self.is_available.load(Ordering::Acquire)
    }

    fn tell(&self, note: Note) {
        if let Some(notes) = &self.notes {
            let _ = notes.send(note);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.notes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Work {
    image: Arc<Mutex<Image>>,
    journal: Box<dyn Journal>,
    retry: Duration,
    /// Places whose record may differ from what the image says.
    changed: HashSet<Marker>,
    waiting: Vec<oneshot::Sender<Result<(), Unavailable>>>,
    is_available: Arc<AtomicBool>,
}

impl Work {
    /// Until the ledger is dropped; then once more, for what is left.
    fn run(&mut self, told: &Receiver<Note>) {
        loop {
            let note = if self.changed.is_empty() {
                told.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                told.recv_timeout(self.retry)
            };
            match note {
                Ok(note) => self.take(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write();
                    return;
                }
            }
            // Whoever came while the last write waited for the disk shares the next.
            while let Ok(note) = told.try_recv() {
                self.take(note);
            }
            self.write();
        }
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Changed(marker) => {
                self.changed.insert(marker);
            }
            Note::Reserved(marker, answer) => {
                self.changed.insert(marker);
                self.waiting.push(answer);
            }
        }
    }

    fn write(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let outcome = self
            .changes()
            .and_then(|changes| self.journal.write(&changes))
            .map_err(Unavailable);
        match &outcome {
            Ok(()) => {
                self.changed.clear();
                if !self.is_available.swap(true, Ordering::AcqRel) {
                    tracing::info!("the ledger is written again; creations go on");
                }
            }
            Err(Unavailable(reason)) => {
                if self.is_available.swap(false, Ordering::AcqRel) {
                    tracing::error!(
                        reason,
                        "the ledger cannot be written; creations are refused until it can"
                    );
                }
            }
        }
        for waiting in self.waiting.drain(..) {
            // Whoever has left takes the place back.
            let _ = waiting.send(outcome.clone());
        }
    }

    fn changes(&self) -> Result<Vec<Change>, String> {
        let image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed
            .iter()
            .map(|marker| {
                let record = image
                    .get(&PlaceKey::Marker(marker.clone()))
                    .filter(|place| place.standing != Standing::Gone)
                    .map(|place| record::encode(place))
                    .transpose()
                    .map_err(|error| error.to_string())?;
                Ok(Change {
                    marker: marker.clone(),
                    record,
                })
            })
            .collect()
    }
}

impl Drop for Work {
    /// However the thread ends, nothing is written after it.
    fn drop(&mut self) {
        self.is_available.store(false, Ordering::Release);
    }
}
