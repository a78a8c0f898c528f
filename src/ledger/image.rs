//! The state that decides: all places, what finds them, and how much each scope holds.
//!
//! Pure: it neither waits nor writes, and is told the time. A store puts it behind a lock and writes down what it
//! decided.
//!
//! Every index follows from the standing of a place, so a change of standing takes the place out of all of them and
//! puts it in again: [`Image::hook`] and [`Image::unhook`] are the only two that touch an index.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::LivyUser;
use crate::ledger::{NoPlace, Place, PlaceKey, Reservation, Settlement, Standing, Unavailable};
use crate::livy::marker::Marker;
use crate::livy::{Kind, SessionId};
use crate::quota::{Resources, Scope, Use};

/// All places of one ledger.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// Shared with whoever asked for one; a change makes a new one.
    places: HashMap<Slot, Arc<Place>>,
    next: Slot,
    by_key: HashMap<PlaceKey, Slot>,
    /// Who was last seen under a number. Livy counts from 0 again after a restart, so an older place may claim it too.
    by_id: HashMap<(Kind, SessionId), Slot>,
    // Those that are gone are in none of these. The oldest comes first where one was expected: a list may bring a place
    // back whose name was given away meanwhile.
    by_name: HashMap<(LivyUser, Kind, Box<str>), BTreeSet<Slot>>,
    by_owner: HashMap<LivyUser, BTreeSet<Slot>>,
    by_creator: HashMap<Box<str>, BTreeSet<Slot>>,
    by_idempotency: HashMap<[u8; 32], BTreeSet<Slot>>,
    held: HashMap<Scope, Tally>,
}

/// Stands for a place in the indexes; never used again.
type Slot = u64;

/// What came of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It does not apply to what is known.
    Refused,
    /// It stood so already.
    AsBefore,
    /// It stands so now.
    Changed,
}

/// Which other place may lose its number to the one that is settled.
#[derive(Clone, Copy)]
enum Displace {
    /// None.
    Nobody,
    /// One that did not change since the list began that shows the number.
    ChangedBefore(Duration),
    /// Any: Livy has just answered with the number.
    Anybody,
}

impl Image {
    /// Takes a place in all scopes, or in none.
    pub(super) fn reserve(&mut self, reservation: Reservation, at: Duration) -> Result<(), NoPlace> {
        let key = PlaceKey::Marker(reservation.marker);
        if let Some(idempotency) = reservation.idempotency
            && let Some(before) = self.by_idempotency(&idempotency.key)
        {
            return Err(NoPlace::Before(Arc::clone(before)));
        }
        if let Some(name) = &reservation.name
            && let Some(other) = self.by_name(&reservation.owner, reservation.kind, name)
        {
            return Err(NoPlace::NameTaken {
                id: other.standing.id(),
            });
        }
        if self.by_key.contains_key(&key) {
            // Eight random bytes do not come again; if they do, the random source is broken.
            return Err(NoPlace::Unavailable(Unavailable(
                "the new session's unique name is in use already".to_owned(),
            )));
        }
        for allowance in &reservation.allowances {
            allowance
                .limits
                .admits(&self.held(&allowance.scope), reservation.kind, reservation.charge)
                .map_err(|exceeded| NoPlace::Exceeded {
                    scope: allowance.scope.clone(),
                    exceeded,
                })?;
        }
        let scopes = reservation
            .allowances
            .into_iter()
            .map(|allowance| allowance.scope);
        self.insert(Place {
            key,
            kind: reservation.kind,
            owner: Some(reservation.owner),
            created_by: Some(reservation.created_by),
            name: reservation.name,
            charge: reservation.charge,
            scopes: scopes.collect(),
            standing: Standing::Open,
            changed: at,
            idempotency: reservation.idempotency,
        });
        Ok(())
    }

    /// Takes back a reservation that nobody was told of.
    pub(super) fn take_back(&mut self, marker: &Marker) {
        let key = PlaceKey::Marker(marker.clone());
        if self
            .get(&key)
            .is_some_and(|place| place.standing == Standing::Open)
        {
            self.remove(&key);
        }
    }

    /// Says what became of a place.
    ///
    /// What is known is not forgotten: an existing place does not become doubtful, and what is gone or has finished
    /// comes back only because a list shows it. An answer that was overtaken by a list would do so otherwise.
    pub(super) fn settle(
        &mut self,
        key: &PlaceKey,
        settlement: Settlement,
        unchanged_since: Option<Duration>,
        at: Duration,
    ) -> Settled {
        let Some(&slot) = self.by_key.get(key) else {
            return Settled::Refused;
        };
        let Some(place) = self.places.get(&slot) else {
            return Settled::Refused;
        };
        if unchanged_since.is_some_and(|since| place.changed >= since) {
            return Settled::Refused;
        }
        let before = place.standing;
        let standing = after(settlement);
        if before == standing {
            if let Some(since) = unchanged_since {
                self.take_id(slot, Displace::ChangedBefore(since));
            } else {
                self.take_id(slot, Displace::Nobody);
            }
            return Settled::AsBefore;
        }
        if !may_follow(before, standing, unchanged_since.is_some()) {
            return Settled::Refused;
        }
        let displace = unchanged_since.map_or(Displace::Anybody, Displace::ChangedBefore);
        self.unhook(slot);
        if let Some(place) = self.places.get_mut(&slot) {
            let place = Arc::make_mut(place);
            place.standing = standing;
            place.changed = at;
        }
        self.hook(slot, displace);
        Settled::Changed
    }

    /// Takes up what was found at Livy, or what a store has read again. Nothing happens if the key is known.
    pub(super) fn adopt(&mut self, mut place: Place, at: Duration) -> bool {
        place.changed = at;
        self.insert(place)
    }

    /// Forgets the places of one kind that are gone, changed before `before` and are none of `listed`.
    pub(super) fn forget_gone(&mut self, kind: Kind, before: Duration, listed: &HashSet<PlaceKey>) {
        let forgotten: Vec<PlaceKey> = self
            .all(kind)
            .filter(|place| place.standing == Standing::Gone && place.changed < before)
            .filter(|place| !listed.contains(&place.key))
            .map(|place| place.key.clone())
            .collect();
        for key in forgotten {
            self.remove(&key);
        }
    }

    /// Forgets one place that is gone.
    pub(super) fn forget(&mut self, key: &PlaceKey) {
        if self
            .get(key)
            .is_some_and(|place| place.standing == Standing::Gone)
        {
            self.remove(key);
        }
    }

    /// The place that was last seen under this number.
    pub(super) fn by_id(&self, kind: Kind, id: SessionId) -> Option<&Arc<Place>> {
        self.places.get(self.by_id.get(&(kind, id))?)
    }

    /// The owner's place of this name.
    pub(super) fn by_name(&self, owner: &LivyUser, kind: Kind, name: &str) -> Option<&Arc<Place>> {
        self.first(self.by_name.get(&(owner.clone(), kind, name.into())))
    }

    /// What an idempotency key led to.
    pub(super) fn by_idempotency(&self, key: &[u8; 32]) -> Option<&Arc<Place>> {
        self.first(self.by_idempotency.get(key))
    }

    /// One place.
    pub(super) fn get(&self, key: &PlaceKey) -> Option<&Arc<Place>> {
        self.places.get(self.by_key.get(key)?)
    }

    /// The owner's places that are not gone.
    pub(super) fn owned_by(&self, owner: &LivyUser, kind: Kind) -> impl Iterator<Item = &Arc<Place>> {
        self.listed(self.by_owner.get(owner), kind)
    }

    /// The places that this subject asked for and that are not gone.
    pub(super) fn created_by(&self, subject: &str, kind: Kind) -> impl Iterator<Item = &Arc<Place>> {
        self.listed(self.by_creator.get(subject), kind)
    }

    /// Every place of one kind.
    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &Arc<Place>> {
        self.places.values().filter(move |place| place.kind == kind)
    }

    /// How much a scope holds.
    pub(super) fn held(&self, scope: &Scope) -> Use {
        self.held.get(scope).map(Tally::capped).unwrap_or_default()
    }

    fn first(&self, slots: Option<&BTreeSet<Slot>>) -> Option<&Arc<Place>> {
        self.places.get(slots?.first()?)
    }

    fn listed(&self, slots: Option<&BTreeSet<Slot>>, kind: Kind) -> impl Iterator<Item = &Arc<Place>> {
        slots
            .into_iter()
            .flatten()
            .filter_map(|slot| self.places.get(slot))
            .filter(move |place| place.kind == kind)
    }

    fn insert(&mut self, mut place: Place) -> bool {
        let Entry::Vacant(entry) = self.by_key.entry(place.key.clone()) else {
            return false;
        };
        let slot = self.next;
        self.next += 1;
        entry.insert(slot);
        // A scope that is named twice is charged once.
        place.scopes.sort_unstable();
        place.scopes.dedup();
        let displace = Displace::ChangedBefore(place.changed);
        self.places.insert(slot, Arc::new(place));
        self.hook(slot, displace);
        true
    }

    fn remove(&mut self, key: &PlaceKey) {
        if let Some(&slot) = self.by_key.get(key) {
            self.unhook(slot);
            self.by_key.remove(key);
            self.places.remove(&slot);
        }
    }

    /// Puts a place into every index that its standing calls for.
    fn hook(&mut self, slot: Slot, displace: Displace) {
        self.take_id(slot, displace);
        let Some(place) = self.places.get(&slot) else {
            return;
        };
        if place.standing.counts() {
            for scope in &place.scopes {
                let tally = self.held.entry(scope.clone()).or_default();
                tally.add(place.kind, place.charge);
            }
        }
        if place.standing == Standing::Gone {
            return;
        }
        if let Some(owner) = &place.owner {
            put(&mut self.by_owner, owner.clone(), slot);
            if let Some(name) = &place.name {
                put(&mut self.by_name, (owner.clone(), place.kind, name.clone()), slot);
            }
        }
        if let Some(subject) = &place.created_by {
            put(&mut self.by_creator, subject.clone(), slot);
        }
        if let Some(idempotency) = &place.idempotency {
            put(&mut self.by_idempotency, idempotency.key, slot);
        }
    }

    /// Undoes [`hook`](Self::hook).
    fn unhook(&mut self, slot: Slot) {
        let Some(place) = self.places.get(&slot) else {
            return;
        };
        if let Some(id) = place.standing.id()
            && self.by_id.get(&(place.kind, id)) == Some(&slot)
        {
            self.by_id.remove(&(place.kind, id));
        }
        if place.standing.counts() {
            for scope in &place.scopes {
                if let Entry::Occupied(mut tally) = self.held.entry(scope.clone()) {
                    tally.get_mut().subtract(place.kind, place.charge);
                    if *tally.get() == Tally::default() {
                        tally.remove();
                    }
                }
            }
        }
        if place.standing == Standing::Gone {
            return;
        }
        if let Some(owner) = &place.owner {
            pull(&mut self.by_owner, owner.clone(), slot);
            if let Some(name) = &place.name {
                pull(&mut self.by_name, (owner.clone(), place.kind, name.clone()), slot);
            }
        }
        if let Some(subject) = &place.created_by {
            pull(&mut self.by_creator, subject.clone(), slot);
        }
        if let Some(idempotency) = &place.idempotency {
            pull(&mut self.by_idempotency, idempotency.key, slot);
        }
    }

    /// Makes a place be found by its number, if it has one. Who is displaced stays a place until lists free it.
    fn take_id(&mut self, slot: Slot, displace: Displace) {
        let Some((kind, id)) = self
            .places
            .get(&slot)
            .and_then(|place| Some((place.kind, place.standing.id()?)))
        else {
            return;
        };
        let is_free = match (self.by_id(kind, id), displace) {
            (None, _) | (Some(_), Displace::Anybody) => true,
            (Some(_), Displace::Nobody) => false,
            (Some(holder), Displace::ChangedBefore(since)) => holder.changed < since,
        };
        if is_free {
            self.by_id.insert((kind, id), slot);
        }
    }
}

/// How a place stands after a settlement.
const fn after(settlement: Settlement) -> Standing {
    match settlement {
        Settlement::Owned(id) => Standing::Owned {
            id,
            is_finished: false,
        },
        Settlement::Finished(id) => Standing::Owned {
            id,
            is_finished: true,
        },
        Settlement::InDoubt => Standing::InDoubt,
        Settlement::Gone => Standing::Gone,
    }
}

/// Whether a place that stands as `before` may come to stand as `next`, which is another standing.
fn may_follow(before: Standing, next: Standing, is_seen_in_list: bool) -> bool {
    match (before, next) {
        (Standing::Open | Standing::InDoubt, _) | (Standing::Owned { .. }, Standing::Gone) => true,
        (Standing::Owned { id, is_finished }, Standing::Owned { id: next, .. }) => {
            // Livy's final states are final: what has finished goes on only if it did so all along.
            !is_finished || id != next || is_seen_in_list
        }
        (Standing::Gone, Standing::Owned { .. }) => is_seen_in_list,
        (Standing::Owned { .. }, Standing::InDoubt | Standing::Open)
        | (Standing::Gone, Standing::InDoubt | Standing::Open | Standing::Gone) => false,
    }
}

/// What a scope holds. Wide enough for any number of places, so that what was added can be subtracted exactly; a sum
/// that had been capped could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    sessions: u128,
    batches: u128,
    cores: u128,
    memory: u128,
}

impl Tally {
    const fn count_of(&mut self, kind: Kind) -> &mut u128 {
        match kind {
            Kind::Session => &mut self.sessions,
            Kind::Batch => &mut self.batches,
        }
    }

    fn add(&mut self, kind: Kind, charge: Resources) {
        *self.count_of(kind) += 1;
        self.cores += u128::from(charge.cores);
        self.memory += u128::from(charge.memory);
    }

    fn subtract(&mut self, kind: Kind, charge: Resources) {
        let count = self.count_of(kind);
        *count = count.saturating_sub(1);
        self.cores = self.cores.saturating_sub(u128::from(charge.cores));
        self.memory = self.memory.saturating_sub(u128::from(charge.memory));
    }

    fn capped(&self) -> Use {
        let cap = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        Use {
            sessions: cap(self.sessions),
            batches: cap(self.batches),
            cores: cap(self.cores),
            memory: cap(self.memory),
        }
    }
}

fn put<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<Slot>>, key: K, slot: Slot) {
    index.entry(key).or_default().insert(slot);
}

fn pull<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<Slot>>, key: K, slot: Slot) {
    if let Entry::Occupied(mut slots) = index.entry(key) {
        slots.get_mut().remove(&slot);
        if slots.get().is_empty() {
            slots.remove();
        }
    }
}

#[cfg(test)]
impl Image {
    /// Whether every index says exactly what the places say; for the tests of those who change it.
    pub(super) fn assert_consistent(&self) {
        let mut fresh = Self {
            next: self.next,
            ..Self::default()
        };
        for (&slot, place) in &self.places {
            assert_eq!(self.by_key.get(&place.key), Some(&slot));
            fresh.by_key.insert(place.key.clone(), slot);
            fresh.places.insert(slot, place.clone());
            fresh.hook(slot, Displace::Nobody);
        }
        assert_eq!(self.by_key, fresh.by_key);
        assert_eq!(self.by_name, fresh.by_name);
        assert_eq!(self.by_owner, fresh.by_owner);
        assert_eq!(self.by_creator, fresh.by_creator);
        assert_eq!(self.by_idempotency, fresh.by_idempotency);
        assert_eq!(self.held, fresh.held);
        for (&(kind, id), slot) in &self.by_id {
            let holder = &self.places[slot];
            assert_eq!((holder.kind, holder.standing.id()), (kind, Some(id)));
        }
    }
}
