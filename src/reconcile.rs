//! Compares what Livy lists with what the ledger holds, and draws the consequences.
//!
//! It frees what two whole lists in a row no longer show, takes up what it did not know, notices what Livy created
//! after all, and deletes what nobody was told of. Absence proves little: a list that failed or was cut short changes
//! nothing, a row changes only what did not change since the list began, and a place in doubt is kept for a time,
//! since Livy was seen to create sessions seconds after the connection that asked for them was gone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;
use tracing::{error, info, warn};

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
use crate::quota::{Groups, Scope};
use crate::rewrite::{self, OwnCall};
use crate::upstream::{ReplyBody, Reuse, Upstream};

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
    /// What is being deleted.
    pub deletions: Arc<Deletions>,
    /// Its connections to Livy.
    pub upstream: Upstream,
    /// Told when Livy runs sessions as somebody else than it was told.
    pub impersonation: Arc<ImpersonationWatch>,
}

/// Creations whose answer was lost and whose client was told so: if Livy made them after all, nobody knows of them.
#[derive(Debug, Default)]
pub struct Untold(Mutex<HashSet<PlaceKey>>);

impl Untold {
    /// Nobody was told of this one.
    pub fn add(&self, key: PlaceKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    fn contains(&self, key: &PlaceKey) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }

    fn remove(&self, key: &PlaceKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Deletions under way: few at once, and none twice, however many lists show what is being deleted.
#[derive(Debug)]
pub struct Deletions {
    keys: Mutex<HashSet<PlaceKey>>,
    turns: Semaphore,
}

impl Default for Deletions {
    fn default() -> Self {
        Self {
            keys: Mutex::default(),
            turns: Semaphore::new(DELETIONS_AT_ONCE),
        }
    }
}

impl Deletions {
    /// Waits for the turn of this one; none if it is under way or waits already.
    async fn take(&self, key: &PlaceKey) -> Option<Deletion<'_>> {
        let is_new = self.keys().insert(key.clone());
        if !is_new {
            return None;
        }
        let mut deletion = Deletion {
            deletions: self,
            key: key.clone(),
            _turn: None,
        };
        deletion._turn = self.turns.acquire().await.ok();
        Some(deletion)
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<PlaceKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One deletion under way, for as long as it lives.
struct Deletion<'a> {
    deletions: &'a Deletions,
    key: PlaceKey,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Drop for Deletion<'_> {
    fn drop(&mut self) {
        self.deletions.keys().remove(&self.key);
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
    Unwanted(PlaceKey, SessionId, &'static str),
    /// It runs as somebody else than Livy was told.
    Disobeyed(PlaceKey, SessionId),
    /// Its number means another session now: Livy was restarted.
    Replaced(PlaceKey),
}

/// Why a place is free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Two whole lists in a row did not show it.
    Unlisted,
    /// Its time in doubt is over.
    DoubtOver,
    /// Livy was restarted since.
    Restarted,
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

/// Decides, without touching anything.
fn changes(listing: &Listing, known: &Known<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut listed = HashSet::with_capacity(listing.rows().len());
    let contested = contested(known.places);
    for row in listing.rows() {
        let key = key_of(known.kind, row);
        match known.places.get(&key) {
            None => changes.push(Change::Adopt(Box::new(adopted(row, key.clone(), known)))),
            // It changed while the list was on its way: the next one tells.
            Some(place) if place.changed >= known.began => {}
            Some(place) => seen(row, place, known, contested.contains(&row.id), &mut changes),
        }
        listed.insert(key);
    }
    let is_restarted = known
        .before
        .is_some_and(|before| is_of_another_livy(listing, before.listing()));
    for place in known.places.values() {
        if !listed.contains(&place.key)
            && place.changed < known.began
            && let Some(why) = is_over(place, is_restarted, known)
        {
            changes.push(Change::Free(place.key.clone(), why));
        }
    }
    changes
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
        (PlaceKey::Marker(_), Standing::Owned { .. } | Standing::InDoubt) if !is_obeyed => {
            changes.push(Change::Disobeyed(key, row.id));
        }
        (PlaceKey::Marker(_), Standing::InDoubt) if known.untold.contains(&key) => {
            changes.push(exists);
            changes.push(Change::Unwanted(key, row.id, "nobody was told of it"));
        }
        (PlaceKey::Marker(_), Standing::Gone) => {
            changes.push(Change::Unwanted(key, row.id, "Livy had refused or deleted it"));
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
fn missing(listing: &Listing, known: &Known<'_>) -> HashMap<PlaceKey, Duration> {
    let rows = listing.rows().iter();
    let listed: HashSet<_> = rows.map(|row| key_of(known.kind, row)).collect();
    known
        .places
        .values()
        .filter(|place| !listed.contains(&place.key) && place.changed < known.began)
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
    let groups = policy.identities.groups_of(owner);
    let groups: Option<Vec<_>> = groups.map(|groups| groups.iter().cloned().collect());
    let groups = groups.as_deref().map_or(Groups::Unknown, Groups::Known);
    policy.quotas.scopes_of(owner, groups)
}

/// Into one buffer, of which the rows are parts: a list may be large, and is there twice as it is while a new one comes.
async fn read_whole(mut body: ReplyBody) -> Result<Bytes, String> {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = BytesMut::with_capacity(told.min(LIST_BYTES_MAX));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > LIST_BYTES_MAX {
                return Err("it is too large".to_owned());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
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
                    missed = self.apply(kind, began, &listing, &missed).await;
                    self.lists.publish(kind, Snapshot::new(kind, began, listing));
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
            .send(&policy.livy, outbound, None, Reuse::Never)
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
        let body = read_whole(reply.into_body()).await.map_err(|why| {
            warn!(%kind, why, "Livy's list could not be read");
            Denial::UpstreamLost
        })?;
        Listing::parse(body).map_err(|why| {
            warn!(%kind, why, "Livy's list cannot be used");
            Denial::UpstreamUnexpected { read: true }
        })
    }

    /// Applies what follows from a list. Gives back what it did not show.
    async fn apply(
        &self,
        kind: Kind,
        began: Duration,
        listing: &Listing,
        missed: &HashMap<PlaceKey, Duration>,
    ) -> HashMap<PlaceKey, Duration> {
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
        for change in changes(listing, &known) {
            self.carry_out(kind, began, change, &policy).await;
        }
        // What is gone is remembered until a list that began later does not show it.
        let listed: HashSet<_> = listing.rows().iter().map(|row| key_of(kind, row)).collect();
        let gone_and_listed = places
            .values()
            .any(|place| place.standing == Standing::Gone && listed.contains(&place.key));
        if !gone_and_listed && let Some(before) = &before {
            self.ledger.forget_gone(kind, before.began).await;
        }
        missing(listing, &known)
    }

    async fn carry_out(&self, kind: Kind, began: Duration, change: Change, policy: &Policy) {
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
                settle(&key, settlement).await;
            }
            Change::Free(key, why) => {
                if settle(&key, Settlement::Gone).await {
                    self.untold.remove(&key);
                    info!(%kind, ?key, ?why, "a place is free again");
                }
            }
            Change::Replaced(key) => {
                warn!(%kind, ?key, "Livy gave the number of a session to another one: it was restarted");
                settle(&key, Settlement::Gone).await;
                self.ledger.forget_gone(kind, self.moments.next()).await;
            }
            Change::Adopt(place) => self.adopt(kind, *place).await,
            Change::Unwanted(key, id, why) => match policy.state.ghosts {
                Ghosts::Delete => self.begin_to_delete(kind, key, id, why),
                Ghosts::Keep => {
                    settle(&key, Settlement::Owned(id)).await;
                }
            },
            Change::Disobeyed(key, id) => {
                self.impersonation.caught(self.moments.next());
                self.begin_to_delete(kind, key, id, "it runs as the wrong user");
            }
        }
    }

    async fn adopt(&self, kind: Kind, place: Place) {
        let key = place.key.clone();
        let owner = place.owner.clone();
        let stranger = stranger(&key, self.instance);
        if !self.ledger.adopt(place, self.moments.next()).await {
            return;
        }
        if let Some(instance) = stranger {
            error!(%kind, ?key, ?owner, instance = instance.as_str(), "another gateway creates sessions on the same Livy; it knows nothing of this one's quotas");
        } else {
            info!(%kind, ?key, ?owner, "a session that this gateway did not create is taken up");
        }
    }

    /// Livy may take minutes to delete one, and lists are waited for meanwhile.
    fn begin_to_delete(&self, kind: Kind, key: PlaceKey, id: SessionId, why: &'static str) {
        let reconciler = self.clone();
        tokio::spawn(async move {
            if let Some(turn) = reconciler.deletions.take(&key).await {
                reconciler.delete(kind, &key, id, why).await;
                drop(turn);
            }
        });
    }

    async fn delete(&self, kind: Kind, key: &PlaceKey, id: SessionId, why: &'static str) {
        let PlaceKey::Marker(marker) = key else { return };
        let policy = self.policy.current();
        let call = OwnCall::Delete(kind, marker.clone());
        let Ok(outbound) = rewrite::own_call(&policy.livy.endpoint, &call) else {
            return;
        };
        let sent = self
            .upstream
            .send(&policy.livy, outbound, None, Reuse::Never)
            .await;
        match sent {
            Ok(reply) if reply.status().is_success() || reply.status() == StatusCode::NOT_FOUND => {
                info!(%kind, %marker, %id, why, "a session was deleted");
                self.ledger
                    .settle(key, Settlement::Gone, None, self.moments.next())
                    .await;
                self.untold.remove(key);
            }
            Ok(reply) => {
                error!(%kind, %marker, %id, why, status = reply.status().as_u16(), "a session could not be deleted")
            }
            Err(failure) => error!(%kind, %marker, %id, why, ?failure, "a session could not be deleted"),
        }
    }
}

/// Livy is asked for a list of one kind at most this often.
const CALL_INTERVAL: Duration = Duration::from_secs(1);
/// As a Livy that stops an application for each bears it beside its users' own.
const DELETIONS_AT_ONCE: usize = 4;
/// 10 000 sessions with their logs are a tenth of it.
const LIST_BYTES_MAX: usize = 512 * 1024 * 1024;

#[cfg(test)]
mod tests;
