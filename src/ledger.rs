//! Who owns which session, and who holds how much.
//!
//! One contract ([`Ledger`]) for all stores, held by one suite of tests. A creation takes its place before Livy hears
//! of it ([`Ledger::reserve`]), and exactly one of owned, released or in doubt follows ([`Ledger::settle`]). Every
//! call is asynchronous and is told the time, so that a store shared by several gateways fits the same contract.
//!
//! A place is known by its [`Marker`], which is also the session's name at Livy. What was created around the gateway
//! has none of ours, and is *adopted*: seen in Livy's list, charged, and addressed by its number.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::identity::LivyUser;
use crate::livy::marker::Marker;
use crate::livy::{Kind, SessionId, SessionName};
use crate::quota::{Allowance, Exceeded, Resources, Scope, Use};

#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash_tests;
mod file;
mod image;
#[cfg(test)]
mod model_tests;
mod record;
mod store;
#[cfg(test)]
mod testing;
mod writer;

pub use file::{IfSpoiled, OpenError, Opening};
pub use store::{FileLedger, MemoryLedger};

/// One session or batch, from the moment that somebody asks for it until it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it is known by.
    pub key: PlaceKey,
    /// Session or batch.
    pub kind: Kind,
    /// To whom it belongs; nobody for what was found at Livy without a user.
    pub owner: Option<LivyUser>,
    /// Who asked for it: a subject with its source, such as `basic:zeppelin`. Unknown for most of what was adopted.
    pub created_by: Option<Box<str>>,
    /// The name that the client gave it, as it wrote it; unique among the owner's of one kind.
    pub name: Option<Box<str>>,
    /// What it is charged with while it counts.
    pub charge: Resources,
    /// To whom it is charged.
    pub scopes: Vec<Scope>,
    /// How it stands.
    pub standing: Standing,
    /// When that last changed, on the clock of the callers (monotonic; after a start, the start).
    pub changed: Duration,
    /// By which a client may ask for the same session again.
    pub idempotency: Option<Idempotency>,
}

/// What a place is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaceKey {
    /// Of what a gateway created: the name at Livy.
    Marker(Marker),
    /// Of what was found at Livy: kind and number, good until Livy restarts.
    Found(Kind, SessionId),
}

/// How a place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its creation is under way in this process. Counts.
    Open,
    /// Whether Livy created it is not known. Counts.
    InDoubt,
    /// It exists. Counts unless it has finished.
    Owned {
        /// Its number at Livy.
        id: SessionId,
        /// Whether it holds no resources any more, though Livy still lists it (`success`, `dead`, `killed`).
        is_finished: bool,
    },
    /// Livy refused to create it, or it was deleted. Remembered for a while, so that an older list does not bring it
    /// back. Does not count.
    Gone,
}

impl Standing {
    /// Whether it counts against quotas.
    pub const fn counts(self) -> bool {
        match self {
            Self::Open | Self::InDoubt => true,
            Self::Owned { is_finished, .. } => !is_finished,
            Self::Gone => false,
        }
    }

    /// The word for it, for people, scripts and metric labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InDoubt => "in_doubt",
            Self::Owned {
                is_finished: false, ..
            } => "owned",
            Self::Owned {
                is_finished: true, ..
            } => "finished",
            Self::Gone => "gone",
        }
    }

    /// Its number, if it exists.
    pub const fn id(self) -> Option<SessionId> {
        match self {
            Self::Owned { id, .. } => Some(id),
            Self::Open | Self::InDoubt | Self::Gone => None,
        }
    }
}

/// A client's `Idempotency-Key`, as digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// Of the owner, the kind and the key.
    pub key: [u8; 32],
    /// Of the body that came with it.
    pub body: [u8; 32],
}

/// What a creation asks for before Livy hears of it.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// The name that Livy will be given.
    pub marker: Marker,
    /// Session or batch.
    pub kind: Kind,
    /// To whom it will belong.
    pub owner: LivyUser,
    /// Who asks: a subject with its source.
    pub created_by: Box<str>,
    /// The name that the client gave it, as it wrote it.
    pub name: Option<Box<str>>,
    /// What it will be charged with.
    pub charge: Resources,
    /// Every scope that it is charged to, with what may be held there.
    pub allowances: Vec<Allowance>,
    /// By which the client may ask again.
    pub idempotency: Option<Idempotency>,
}

/// Why no place was taken. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// A limit would be exceeded.
    Exceeded {
        /// Whose.
        scope: Scope,
        /// Which, and by how much.
        exceeded: Exceeded,
    },
    /// The owner has a session of that name already.
    NameTaken {
        /// Its number, if it has one by now.
        id: Option<SessionId>,
    },
    /// The same idempotency key was used before; this is what it led to.
    Before(Arc<Place>),
    /// The store cannot write.
    Unavailable(Unavailable),
}

/// The store cannot keep its promise now, such as on a full disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What became of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Livy has it under this number.
    Owned(SessionId),
    /// As [`Owned`](Self::Owned), but it holds no resources any more.
    Finished(SessionId),
    /// Nobody knows yet.
    InDoubt,
    /// Livy does not have it: it refused, deleted it, or no longer lists it.
    Gone,
}

/// The contract of all stores.
///
/// Calls are atomic. `at` is the caller's monotonic time. What was reserved or settled is seen by every later call,
/// and what [`reserve`](Self::reserve) has granted survives a crash, as [`Standing::InDoubt`].
pub trait Ledger: std::fmt::Debug + Send + Sync {
    /// Takes a place in all scopes, or in none. Returns when it is durable; who drops the future before takes none.
    fn reserve(&self, reservation: Reservation, at: Duration) -> BoxFuture<'_, Result<(), NoPlace>>;

    /// Says what became of a place. The same again changes nothing; an unknown key is no error. With `unchanged_since`,
    /// only if the place did not change at or after that time: for what follows from a list that began then. What
    /// exists does not become doubtful, and what has finished or is gone comes back only with `unchanged_since`. Says
    /// whether the place stands so now. What could not be written is in force all the same, is written as soon as that
    /// is possible, and is forgotten by a crash until then: the place is as it was before, in doubt if it was open.
    fn settle<'a>(
        &'a self,
        key: &'a PlaceKey,
        settlement: Settlement,
        unchanged_since: Option<Duration>,
        at: Duration,
    ) -> BoxFuture<'a, bool>;

    /// Takes up what was found at Livy. Nothing happens if the key is known. Whether it was taken up.
    fn adopt(&self, place: Place, at: Duration) -> BoxFuture<'_, bool>;

    /// Forgets places of one kind that are gone: those that changed before `before` and are none of `listed`.
    fn forget_gone<'a>(
        &'a self,
        kind: Kind,
        before: Duration,
        listed: &'a HashSet<PlaceKey>,
    ) -> BoxFuture<'a, ()>;

    /// Forgets one place that is gone, whatever lists show.
    fn forget<'a>(&'a self, key: &'a PlaceKey) -> BoxFuture<'a, ()>;

    /// The place of this number.
    fn by_id(&self, kind: Kind, id: SessionId) -> BoxFuture<'_, Option<Arc<Place>>>;

    /// The owner's place of this name, as the owner calls it.
    fn by_name<'a>(
        &'a self,
        owner: &'a LivyUser,
        kind: Kind,
        name: &'a SessionName,
    ) -> BoxFuture<'a, Option<Arc<Place>>>;

    /// What this idempotency key led to, unless it is gone.
    fn by_idempotency<'a>(&'a self, key: &'a [u8; 32]) -> BoxFuture<'a, Option<Arc<Place>>>;

    /// One place.
    fn get<'a>(&'a self, key: &'a PlaceKey) -> BoxFuture<'a, Option<Arc<Place>>>;

    /// All places of an owner, of one kind, in no order; those that are gone are left out.
    fn owned_by<'a>(&'a self, owner: &'a LivyUser, kind: Kind) -> BoxFuture<'a, Vec<Arc<Place>>>;

    /// All places that this subject asked for, of one kind; those that are gone are left out.
    fn created_by<'a>(&'a self, subject: &'a str, kind: Kind) -> BoxFuture<'a, Vec<Arc<Place>>>;

    /// Every place of one kind, those that are gone included.
    fn all(&self, kind: Kind) -> BoxFuture<'_, Vec<Arc<Place>>>;

    /// How much a scope holds.
    fn held<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Use>;

    /// Whether a reservation could be written now; said by the last attempt.
    fn is_available(&self) -> bool;
}
