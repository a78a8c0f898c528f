//! What the tests of the ledgers share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::identity::LivyUser;
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
struct DiskState {
    records: BTreeMap<String, Vec<u8>>,
    is_full: bool,
    writes: usize,
}

impl Disk {
    pub(super) fn fill(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
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
        if state.is_full {
            return Err("no space left on device".to_owned());
        }
        for change in changes {
            match &change.record {
                Some(record) => state.records.insert(change.marker.to_string(), record.clone()),
                None => state.records.remove(change.marker.as_str()),
            };
        }
        Ok(())
    }
}

/// A ledger whose file is a [`Disk`].
#[derive(Debug)]
pub(super) struct DiskLedger(pub(super) Store);

impl Local for DiskLedger {
    fn store(&self) -> &Store {
        &self.0
    }
}
