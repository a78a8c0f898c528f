//! Compares what Livy lists with what the ledger holds, and draws the consequences.
//!
//! It frees what two whole lists in a row no longer show, takes up what it did not know, notices what Livy created
//! after all, and deletes what nobody was told of. Absence proves little: a list that failed or was cut short changes
//! nothing, a row changes only what did not change since the list began, and a place in doubt is kept for a time,
//! since Livy was seen to create sessions seconds after the connection that asked for them was gone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use tokio::time::sleep;
use tracing::warn;

use crate::clock::Moments;
use crate::denial::Denial;
use crate::identity::LivyUser;
use crate::impersonation::ImpersonationWatch;
use crate::ledger::{Ledger, Place, PlaceKey, Settlement, Standing};
use crate::lists::{Lists, Snapshot, key_of};
use crate::livy::list::{Listing, Row};
use crate::livy::marker::Instance;
use crate::livy::{Kind, SessionId};
use crate::policy::{Ghosts, Impersonation, LivePolicy, Policy};
use crate::quota::Scope;
use crate::rewrite::{self, OwnCall};
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::{self, Freed as Why, Ghost, GhostEnd};
use crate::upstream::{Reuse, Upstream};

mod told;

/// What the reconciler works with.
#[derive(Debug, Clone)]
pub struct Reconciler {
    /// Who owns what.
    pub ledger: Arc<dyn Ledger>,
    /// Where the lists are shown.
    pub lists: Arc<Lists>,
    /// The order of events.
    pub moments: Arc<Moments>,
    /// The policy in force.
    pub policy: Arc<LivePolicy>,
    /// This gateway's part of its markers.
    pub instance: Instance,
    /// Creations in doubt of which no client was told.
    pub untold: Arc<Untold>,
    /// Where decisions are written down.
    pub audit: Arc<Audit>,
    /// Its connections to Livy.
    pub upstream: Upstream,
    /// Told when Livy runs sessions as somebody else than it was told.
    pub impersonation: Arc<ImpersonationWatch>,
}

/// What decides whether something that Livy shows again is deleted: whom was told what of it.
#[derive(Debug, Default)]
pub struct Untold(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Creations whose answer was lost and whose client was told so: if Livy made them, nobody knows of them.
    untold: HashSet<PlaceKey>,
    /// What was freed because lists did not show it, or by hand: if it is there all the same, it is its owner's still.
    spared: HashMap<PlaceKey, Kind>,
    /// What is being deleted now.
    deleting: HashSet<PlaceKey>,
}

impl Untold {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody was told of this one.
    pub fn add(&self, key: PlaceKey) {
        self.told().untold.insert(key);
    }

    /// Its place was freed though nobody refused or deleted it.
    pub fn spare(&self, kind: Kind, key: PlaceKey) {
        let mut told = self.told();
        told.untold.remove(&key);
        told.spared.insert(key, kind);
    }

    fn contains(&self, key: &PlaceKey) -> bool {
        self.told().untold.contains(key)
    }

    fn is_spared(&self, key: &PlaceKey) -> bool {
        self.told().spared.contains_key(key)
    }

    /// What became of it is known now.
    pub fn remove(&self, key: &PlaceKey) {
        let mut told = self.told();
        told.untold.remove(key);
        told.spared.remove(key);
    }

    /// Forgets what was freed and is in no ledger any more.
    fn forget_spared(&self, kind: Kind, places: &HashMap<PlaceKey, Arc<Place>>) {
        self.told()
            .spared
            .retain(|key, other| *other != kind || places.contains_key(key));
    }

    /// Whether its deletion may begin: nobody else has begun it, and not too many go on.
    fn begin_deletion(&self, key: &PlaceKey) -> bool {
        let mut told = self.told();
        told.deleting.len() < DELETIONS_AT_ONCE && told.deleting.insert(key.clone())
    }

    /// Whether it is about to be gone.
    pub fn is_being_deleted(&self, key: &PlaceKey) -> bool {
        self.told().deleting.contains(key)
    }

    fn end_deletion(&self, key: &PlaceKey) {
        self.told().deleting.remove(key);
    }
}

/// What follows from one whole list.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// It exists under this number, and holds resources or not.
    Exists(PlaceKey, SessionId, bool),
    /// Livy does not have it any more, or never had.
    Free(PlaceKey, Why),
    /// It was created around this gateway, or the ledger lost it.
    Adopt(Box<Place>),
    /// It exists though Livy refused to create it, or nobody was told of it.
    Unwanted(PlaceKey, SessionId, Ghost),
    /// It is new, and runs as somebody else than Livy was told.
    Disobeyed(PlaceKey, SessionId),
    /// It was known before, and runs as somebody else than Livy would be told now.
    RunsAsAnother(PlaceKey, SessionId),
    /// Its number means another session now: Livy was restarted.
    Replaced(PlaceKey),
}

/// What is to be deleted, and why.
#[derive(Debug)]
struct Doomed {
    key: PlaceKey,
    id: SessionId,
    ghost: Ghost,
}

/// What is known beside the list itself.
struct Known<'a> {
    kind: Kind,
    began: Duration,
    places: &'a HashMap<PlaceKey, Arc<Place>>,
    /// What the list before did not show, with the time of its last change then.
    missed: &'a HashMap<PlaceKey, Duration>,
    /// The list before; a creation that was in doubt before it began went to the Livy of that list, or an earlier one.
    before: Option<&'a Snapshot>,
    policy: &'a Policy,
    untold: &'a Untold,
}

/// What one whole list says.
#[derive(Debug)]
struct Judged {
    changes: Vec<Change>,
    /// Whether a number means another session than before.
    is_restarted: bool,
}

/// Decides, without touching anything.
fn judge(snapshot: &Snapshot, known: &Known<'_>) -> Judged {
    let mut changes = Vec::new();
    let listing = snapshot.listing();
    let contested = contested(known.places);
    for row in listing.rows() {
        let key = key_of(known.kind, row);
        match known.places.get(&key) {
            None => changes.push(Change::Adopt(Box::new(adopted(row, key.clone(), known)))),
            // It changed while the list was on its way: the next one tells.
            Some(place) if place.changed >= known.began => {}
            Some(place) => seen(row, place, known, contested.contains(&row.id), &mut changes),
        }
    }
    let is_restarted = known
        .before
        .is_some_and(|before| is_of_another_livy(listing, before.listing()));
    for place in known.places.values() {
        if snapshot.row(&place.key).is_none()
            && place.changed < known.began
            && let Some(why) = replaced(place, listing).or_else(|| is_over(place, is_restarted, known))
        {
            changes.push(Change::Free(place.key.clone(), why));
        }
    }
    Judged {
        changes,
        is_restarted,
    }
}

/// Whether Livy was restarted between two lists: one number means two sessions. Only that it did so between these two
/// tells which creations ended with it, so what the ledger remembers of older numbers proves nothing.
fn is_of_another_livy(listing: &Listing, before: &Listing) -> bool {
    let shown: HashMap<SessionId, &Row> = before.rows().iter().map(|row| (row.id, row)).collect();
    listing.rows().iter().any(|row| {
        let same_number = shown.get(&row.id);
        same_number.is_some_and(|other| other.name != row.name || other.proxy_user != row.proxy_user)
    })
}

/// Numbers that several places have: one of now, and others of a Livy before that no list has freed yet.
fn contested(places: &HashMap<PlaceKey, Arc<Place>>) -> HashSet<SessionId> {
    let mut once = HashSet::with_capacity(places.len());
    let ids = places.values().filter_map(|place| place.standing.id());
    ids.filter(|id| !once.insert(*id)).collect()
}

/// A place that the list shows.
fn seen(row: &Row, place: &Place, known: &Known<'_>, is_contested: bool, changes: &mut Vec<Change>) {
    let key = place.key.clone();
    let exists = Change::Exists(key.clone(), row.id, row.is_finished());
    // Nobody has told Livy anything about what belongs to nobody.
    let is_obeyed = known.policy.livy.impersonation == Impersonation::Off
        || place.owner.is_none()
        || place.owner.as_ref().map(LivyUser::as_str) == row.proxy_user.as_deref();
    match (&key, place.standing) {
        // Whoever creates it settles it.
        (_, Standing::Open) => {}
        // Whether Livy refuses it or is about to start it shows in time.
        (PlaceKey::Marker(_), Standing::InDoubt) if known.kind == Kind::Batch && row.is_unstarted() => {
            if known.began.saturating_sub(place.changed) >= known.policy.state.in_doubt_hold {
                changes.push(Change::Unwanted(key, row.id, Ghost::Refused));
            }
        }
        (PlaceKey::Marker(_), Standing::InDoubt) if !is_obeyed => {
            changes.push(Change::Disobeyed(key, row.id));
        }
        // Livy obeyed when it was created, or it was created before Livy had to: whoever works with it keeps it.
        (PlaceKey::Marker(_), Standing::Owned { .. }) if !is_obeyed => {
            let is_told = known.before.is_some_and(|before| before.row(&key).is_some());
            if !is_told {
                changes.push(Change::RunsAsAnother(key.clone(), row.id));
            }
            changes.push(exists);
        }
        (PlaceKey::Marker(_), Standing::InDoubt) if known.untold.contains(&key) => {
            changes.push(Change::Unwanted(key, row.id, Ghost::Untold));
        }
        (PlaceKey::Marker(_), Standing::Gone) if !known.untold.is_spared(&key) => {
            changes.push(Change::Unwanted(key, row.id, Ghost::Refused));
        }
        (PlaceKey::Found(..), _) if !is_same(row, place, known) => {
            changes.push(Change::Replaced(key.clone()));
            changes.push(Change::Adopt(Box::new(adopted(row, key, known))));
        }
        // After a start nothing but a list tells whose a number is, where several had it.
        (_, Standing::Owned { id, is_finished })
            if id == row.id && is_finished == row.is_finished() && !is_contested => {}
        (_, Standing::Owned { .. } | Standing::InDoubt | Standing::Gone) => changes.push(exists),
    }
}

fn is_same(row: &Row, place: &Place, known: &Known<'_>) -> bool {
    let name = row.name.clone();
    owner_of(row, known.policy) == place.owner && name == place.name && place.standing != Standing::Gone
}

/// A number that is listed under another key means another session than it did.
fn replaced(place: &Place, listing: &Listing) -> Option<Why> {
    let PlaceKey::Found(_, id) = &place.key else {
        return None;
    };
    let is_listed = listing.rows().iter().any(|row| row.id == *id);
    (is_listed && place.standing != Standing::Gone).then_some(Why::Replaced)
}

fn is_over(place: &Place, is_restarted: bool, known: &Known<'_>) -> Option<Why> {
    match place.standing {
        Standing::Open | Standing::Gone => None,
        Standing::InDoubt => {
            let is_of_before = known.before.is_some_and(|before| place.changed < before.began);
            let age = known.began.saturating_sub(place.changed);
            if is_restarted && is_of_before {
                Some(Why::Restarted)
            } else {
                (age >= known.policy.state.in_doubt_hold).then_some(Why::DoubtOver)
            }
        }
        Standing::Owned { .. } => {
            (known.missed.get(&place.key) == Some(&place.changed)).then_some(Why::Unlisted)
        }
    }
}

/// What exists as far as is known and is not in the list, with the time of its last change.
fn missing(snapshot: &Snapshot, known: &Known<'_>) -> HashMap<PlaceKey, Duration> {
    known
        .places
        .values()
        .filter(|place| snapshot.row(&place.key).is_none() && place.changed < known.began)
        .filter(|place| matches!(place.standing, Standing::Owned { .. }))
        .map(|place| (place.key.clone(), place.changed))
        .collect()
}

fn owner_of(row: &Row, policy: &Policy) -> Option<LivyUser> {
    match policy.livy.impersonation {
        Impersonation::Required => row.proxy_user.as_deref().and_then(LivyUser::from_record),
        Impersonation::Off => None,
    }
}

fn adopted(row: &Row, key: PlaceKey, known: &Known<'_>) -> Place {
    let owner = owner_of(row, known.policy);
    let (name, created_by) = match &key {
        PlaceKey::Marker(marker) => {
            let creator = known
                .policy
                .identities
                .services()
                .find(|service| marker.is_by(service));
            (None, creator.map(Box::from))
        }
        PlaceKey::Found(..) => (row.name.clone(), None),
    };
    Place {
        scopes: scopes_of(owner.as_ref(), known.policy),
        key,
        kind: known.kind,
        owner,
        created_by,
        name,
        charge: known.policy.quotas.charge_of_adopted(),
        standing: Standing::Owned {
            id: row.id,
            is_finished: row.is_finished(),
        },
        changed: Duration::ZERO,
        idempotency: None,
    }
}

/// The gateway that created it, if that is another one.
fn stranger(key: &PlaceKey, own: Instance) -> Option<Instance> {
    match key {
        PlaceKey::Marker(marker) => marker.instance().filter(|instance| *instance != own),
        PlaceKey::Found(..) => None,
    }
}

/// To whom it is charged; what belongs to nobody is charged to nobody.
fn scopes_of(owner: Option<&LivyUser>, policy: &Policy) -> Vec<Scope> {
    let Some(owner) = owner else { return Vec::new() };
    policy.quotas.scopes_of(owner, policy.identities.groups_of(owner))
}

impl Reconciler {
    /// Keeps the list of one kind, for as long as the process runs.
    pub async fn run(self, kind: Kind) {
        let mut missed = HashMap::new();
        loop {
            let earliest = sleep(CALL_INTERVAL);
            let began = self.moments.next();
            match self.fetch(kind).await {
                Ok(listing) => {
                    let snapshot = Snapshot::new(kind, began, listing);
                    let ghosts;
                    (missed, ghosts) = self.apply(kind, &snapshot, &missed).await;
                    metrics::reconciled(kind, self.moments.next().saturating_sub(began));
                    self.lists.publish(kind, snapshot);
                    self.delete_all(kind, ghosts);
                }
                Err(denial) => self.lists.fail(kind, began, denial),
            }
            let interval = self.policy.current().state.reconcile;
            tokio::select! {
                () = sleep(interval) => {}
                () = self.lists.wanted(kind) => earliest.await,
            }
        }
    }

    async fn fetch(&self, kind: Kind) -> Result<Listing, Denial> {
        let policy = self.policy.current();
        let outbound = rewrite::own_call(&policy.livy.endpoint, &OwnCall::List(kind))?;
        let sent = self
            .upstream
            .send(&policy.livy, outbound, None, Reuse::Never, &mut None)
            .await;
        let reply = sent.map_err(|failure| failure.denial(true, "Ask again"))?;
        match reply.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Denial::UpstreamLoginFailed { read: true });
            }
            status if status.is_client_error() || status.is_server_error() => {
                return Err(Denial::UpstreamError { status });
            }
            _ => return Err(Denial::UpstreamUnexpected { read: true }),
        }
        let body = Limited::new(reply.into_body(), LIST_BYTES_MAX).collect().await;
        let body: Bytes = match body {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                warn!(%kind, %error, "Livy's list could not be read");
                return Err(Denial::UpstreamLost);
            }
        };
        Listing::parse(body).map_err(|why| {
            warn!(%kind, why, "Livy's list cannot be used");
            Denial::UpstreamUnexpected { read: true }
        })
    }

    /// Applies what follows from a list. Gives back what it did not show, and what is to be deleted.
    async fn apply(
        &self,
        kind: Kind,
        snapshot: &Snapshot,
        missed: &HashMap<PlaceKey, Duration>,
    ) -> (HashMap<PlaceKey, Duration>, Vec<Doomed>) {
        let began = snapshot.began;
        let places = self.ledger.all(kind).await;
        let places: HashMap<_, _> = places
            .into_iter()
            .map(|place| (place.key.clone(), place))
            .collect();
        let policy = self.policy.current();
        let before = self.lists.last(kind);
        let known = Known {
            kind,
            began,
            places: &places,
            missed,
            before: before.as_deref(),
            policy: &policy,
            untold: &self.untold,
        };
        let Judged {
            changes,
            is_restarted,
        } = judge(snapshot, &known);
        if is_restarted {
            self.tell_restart(kind);
        }
        let mut ghosts = Vec::new();
        for change in changes {
            ghosts.extend(self.carry_out(kind, began, change, &policy).await);
        }
        // What is gone is remembered until a list that began later does not show it.
        if let Some(before) = &before {
            let gone = places.values().filter(|place| place.standing == Standing::Gone);
            let listed = gone.filter(|place| snapshot.row(&place.key).is_some());
            let listed: HashSet<_> = listed.map(|place| place.key.clone()).collect();
            self.ledger.forget_gone(kind, before.began, &listed).await;
        }
        self.untold.forget_spared(kind, &places);
        (missing(snapshot, &known), ghosts)
    }

    /// Carries out one change. What is to be deleted is given back: Livy takes its time for that.
    async fn carry_out(
        &self,
        kind: Kind,
        began: Duration,
        change: Change,
        policy: &Policy,
    ) -> Option<Doomed> {
        let settle = async |key: &PlaceKey, settlement| {
            self.ledger
                .settle(key, settlement, Some(began), self.moments.next())
                .await
        };
        match change {
            Change::Exists(key, id, is_finished) => {
                let settlement = if is_finished {
                    Settlement::Finished(id)
                } else {
                    Settlement::Owned(id)
                };
                if settle(&key, settlement).await {
                    self.untold.remove(&key);
                }
            }
            Change::Free(key, why) => {
                let place = self.ledger.get(&key).await;
                if settle(&key, Settlement::Gone).await {
                    match why {
                        Why::Unlisted => self.untold.spare(kind, key),
                        // If Livy makes it yet, it is too late for whoever asked.
                        Why::DoubtOver | Why::Restarted | Why::Replaced | Why::ByHand => {
                            self.untold.remove(&key);
                        }
                    }
                    if let Some(place) = place {
                        self.tell_freed(&place, why);
                    }
                }
            }
            Change::Replaced(key) => {
                if let Some(place) = self.ledger.get(&key).await {
                    self.tell_replaced(&place);
                }
                if settle(&key, Settlement::Gone).await {
                    self.ledger.forget(&key).await;
                }
            }
            Change::Adopt(place) => {
                if self.ledger.adopt((*place).clone(), self.moments.next()).await {
                    self.tell_adopted(&place);
                }
            }
            Change::Unwanted(key, id, ghost) => match policy.state.ghosts {
                Ghosts::Delete => return Some(Doomed { key, id, ghost }),
                Ghosts::Keep => {
                    settle(&key, Settlement::Owned(id)).await;
                    metrics::ghost(ghost, GhostEnd::Kept);
                }
            },
            Change::Disobeyed(key, id) => {
                self.impersonation.caught(self.moments.next());
                let ghost = Ghost::WrongUser;
                return Some(Doomed { key, id, ghost });
            }
            // Of whether Livy obeys now it says nothing.
            Change::RunsAsAnother(key, id) => {
                warn!(%kind, ?key, %id, "a session that is somebody's runs as another user than Livy is told now; it is kept, and runs no more code");
            }
        }
        None
    }

    /// Deletes what nobody shall have, beside the next lists. What cannot be deleted is tried again after the next one.
    fn delete_all(&self, kind: Kind, ghosts: Vec<Doomed>) {
        for doomed in ghosts {
            if self.untold.begin_deletion(&doomed.key) {
                let reconciler = self.clone();
                tokio::spawn(async move {
                    reconciler.delete(kind, &doomed).await;
                    reconciler.untold.end_deletion(&doomed.key);
                });
            }
        }
    }

    async fn delete(&self, kind: Kind, doomed: &Doomed) {
        let Doomed { key, id, ghost } = doomed;
        let PlaceKey::Marker(marker) = key else { return };
        let place = self.ledger.get(key).await;
        if place.is_some_and(|place| matches!(place.standing, Standing::Owned { .. })) {
            // Meanwhile its client was told that it has it.
            return;
        }
        let policy = self.policy.current();
        let call = OwnCall::Delete(kind, marker.clone());
        let Ok(outbound) = rewrite::own_call(&policy.livy.endpoint, &call) else {
            return;
        };
        let sent = self
            .upstream
            .send(&policy.livy, outbound, None, Reuse::Never, &mut None)
            .await;
        let failure = match sent {
            Ok(reply) if reply.status().is_success() || reply.status() == StatusCode::NOT_FOUND => None,
            Ok(reply) => Some(format!("Livy answered {}", reply.status().as_u16())),
            Err(failure) => Some(format!("{failure:?}")),
        };
        let is_gone = failure.is_none();
        self.tell_deleted(kind, key, *id, *ghost, failure).await;
        if is_gone {
            self.ledger
                .settle(key, Settlement::Gone, None, self.moments.next())
                .await;
            self.untold.remove(key);
        }
    }
}

/// How many deletions of the gateway's own go on at once.
const DELETIONS_AT_ONCE: usize = 8;
/// Livy is asked for a list of one kind at most this often.
const CALL_INTERVAL: Duration = Duration::from_secs(1);
/// 10 000 sessions with their logs are a tenth of it.
const LIST_BYTES_MAX: usize = 512 * 1024 * 1024;

#[cfg(test)]
mod tests;
