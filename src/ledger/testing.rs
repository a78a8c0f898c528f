//! What the tests of the ledgers share.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Bound;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::identity::LivyUser;
use crate::ledger::file::{self, Attach};
use crate::ledger::store::{Local, Store};
use crate::ledger::writer::{Change, Journal};
use crate::ledger::{Place, PlaceKey, Reservation, Standing, record};
use crate::livy::marker::{Instance, Marker};
use crate::livy::{Kind, SessionId};
use crate::quota::{Allowance, Limits, Resources, Scope};

pub(super) const CHARGE: Resources = Resources {
    cores: 2,
    memory: 1 << 30,
};

pub(super) fn alice() -> LivyUser {
    LivyUser::for_tests("alice")
}

pub(super) fn id(number: u32) -> SessionId {
    SessionId::new(number).unwrap()
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The marker of this number, always the same.
pub(super) fn marker(number: u64) -> Marker {
    Marker::new("test", Instance::new([1; 5]), "basic:alice", number.to_be_bytes())
}

pub(super) fn key(number: u64) -> PlaceKey {
    PlaceKey::Marker(marker(number))
}

/// How many sessions a scope may hold.
pub(super) fn sessions(scope: Scope, limit: u64) -> Allowance {
    Allowance {
        scope,
        limits: Limits {
            sessions: Some(limit),
            ..Limits::default()
        },
    }
}

/// A session of alice's, who may have `limit`.
pub(super) fn reservation(number: u64, limit: u64) -> Reservation {
    Reservation {
        marker: marker(number),
        kind: Kind::Session,
        owner: alice(),
        created_by: "basic:alice".into(),
        name: None,
        charge: CHARGE,
        allowances: vec![sessions(Scope::User(alice()), limit)],
        idempotency: None,
    }
}

pub(super) fn place(number: u64) -> Place {
    Place {
        key: key(number),
        kind: Kind::Session,
        owner: Some(alice()),
        created_by: Some("basic:alice".into()),
        name: None,
        charge: CHARGE,
        scopes: vec![Scope::User(alice())],
        standing: Standing::Owned {
            id: id(u32::try_from(number).unwrap()),
            is_finished: false,
        },
        changed: Duration::ZERO,
        idempotency: None,
    }
}

/// A disk that a test can fill, and that outlives its ledgers.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
pub(super) struct DiskState {
    records: BTreeMap<String, Vec<u8>>,
    fault: Fault,
    writes: usize,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fault {
    /// Not at all.
    #[default]
    None,
    /// It takes nothing.
    Full,
    /// It takes everything and says that it did not.
    Liar,
}

impl Disk {
    pub(super) fn set(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    /// As long as this is held, nothing is written.
    pub(super) fn pause(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap()
    }

    /// How many writes were tried.
    pub(super) fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }

    pub(super) fn markers(&self) -> Vec<String> {
        self.0.lock().unwrap().records.keys().cloned().collect()
    }

    /// What a crash now would leave.
    pub(super) fn copy(&self) -> Self {
        let state = self.0.lock().unwrap();
        Self(Arc::new(Mutex::new(DiskState {
            records: state.records.clone(),
            ..DiskState::default()
        })))
    }

    /// Starts a ledger from what is there.
    pub(super) fn ledger(&self, at: Duration) -> DiskLedger {
        let state = self.0.lock().unwrap();
        let places = state
            .records
            .iter()
            .map(|(marker, bytes)| record::decode(marker, bytes, at).unwrap())
            .collect();
        let journal = Box::new(self.clone());
        DiskLedger(Store::with_journal(places, at, journal, Duration::from_millis(5)).unwrap())
    }
}

impl Journal for Disk {
    fn write(&mut self, changes: &[Change]) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        state.writes += 1;
        let failed = Err("no space left on device".to_owned());
        if state.fault == Fault::Full {
            return failed;
        }
        for change in changes {
            match &change.record {
                Some(record) => state.records.insert(change.marker.to_string(), record.clone()),
                None => state.records.remove(change.marker.as_str()),
            };
        }
        if state.fault == Fault::Liar {
            return failed;
        }
        Ok(())
    }
}

/// A ledger whose file is a [`Disk`].
#[derive(Debug)]
pub(super) struct DiskLedger(pub(super) Store);

impl DiskLedger {
    /// Waits until everything so far was written, or was tried to be.
    pub(super) async fn flush(&self) {
        let nobody = marker(u64::MAX);
        let _ = self.0.writer().unwrap().durable(&nobody).await;
    }
}

impl Local for DiskLedger {
    fn store(&self) -> &Store {
        &self.0
    }
}

/// What a kill leaves of the changes since the last sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Loss {
    /// All of them: the process has ended, and nothing else has.
    #[default]
    Nothing,
    /// None of them: the power was cut.
    Everything,
    /// Every other one: the power was cut while the disk wrote them in an order of its own.
    EveryOther,
}

impl Loss {
    pub(super) const ALL: [(Self, &'static str); 3] = [
        (Self::Nothing, "nothing"),
        (Self::Everything, "everything"),
        (Self::EveryOther, "every other"),
    ];
}

/// What happens to the accesses of a real file.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<FaultsState>);

#[derive(Debug, Default)]
struct FaultsState {
    is_failing: AtomicBool,
    /// Nothing if 0.
    killed_at: usize,
    loss: Loss,
    changes: AtomicUsize,
}

impl Faults {
    /// From now on every change of the file fails, or none.
    pub(super) fn fail(&self, is_failing: bool) {
        self.0.is_failing.store(is_failing, Ordering::SeqCst);
    }

    /// Ends this process in place of the change of this number, counted from 1, with what `loss` leaves.
    pub(super) fn kill_at(change: usize, loss: Loss) -> Self {
        Self(Arc::new(FaultsState {
            killed_at: change,
            loss,
            ..FaultsState::default()
        }))
    }

    pub(super) fn attach(&self) -> impl Attach + use<> {
        let faults = self.clone();
        move |file: File| {
            let file = FileBackend::new(file)?;
            let mut bytes = vec![0; usize::try_from(file.len()?).unwrap()];
            file.read(0, &mut bytes)?;
            file::settings().create_with_backend(FaultyFile {
                file,
                faults: faults.clone(),
                cache: Mutex::new(Cache {
                    bytes,
                    unsynced: Vec::new(),
                }),
            })
        }
    }
}

/// A file behind a cache, as a system has one, that a power cut loses.
#[derive(Debug)]
struct FaultyFile {
    file: FileBackend,
    faults: Faults,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    bytes: Vec<u8>,
    unsynced: Vec<Access>,
}

#[derive(Debug)]
enum Access {
    Resize(u64),
    Write(u64, Vec<u8>),
}

impl FaultyFile {
    /// The cache, unless this change is the one that fails.
    fn change(&self) -> io::Result<MutexGuard<'_, Cache>> {
        let faults = &self.faults.0;
        let number = faults.changes.fetch_add(1, Ordering::SeqCst) + 1;
        let mut cache = self.cache.lock().unwrap();
        if number == faults.killed_at {
            let unsynced = mem::take(&mut cache.unsynced);
            match faults.loss {
                Loss::Nothing => self.apply(unsynced)?,
                Loss::Everything => {}
                Loss::EveryOther => self.apply(unsynced.into_iter().skip(1).step_by(2))?,
            }
            process::abort();
        }
        if faults.is_failing.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(cache)
    }

    fn apply(&self, accesses: impl IntoIterator<Item = Access>) -> io::Result<()> {
        accesses.into_iter().try_for_each(|access| match access {
            Access::Resize(len) => self.file.set_len(len),
            Access::Write(offset, data) => self.file.write(offset, &data),
        })
    }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.cache.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let cache = self.cache.lock().unwrap();
        let bytes = cache.bytes.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut cache = self.change()?;
        cache.bytes.resize(usize::try_from(len).unwrap(), 0);
        cache.unsynced.push(Access::Resize(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut cache = self.change()?;
        self.apply(mem::take(&mut cache.unsynced))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut cache = self.change()?;
        let at = usize::try_from(offset).unwrap();
        cache.bytes[at..at + data.len()].copy_from_slice(data);
        cache.unsynced.push(Access::Write(offset, data.to_owned()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.apply(mem::take(&mut self.cache.lock().unwrap().unsynced))?;
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
