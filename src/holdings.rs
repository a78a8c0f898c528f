//! What is held, told to people and scripts: the ledger's places, with what Livy's last lists say of them.
//!
//! It decides nothing. Who may see it, and how much of it, is for its callers to say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, rfc3339};
use crate::ledger::{Ledger, Place, PlaceKey, Standing};
use crate::lists::{Lists, Snapshot};
use crate::livy::list;
use crate::livy::query::Page;
use crate::livy::{Kind, SessionId};
use crate::telemetry::metrics::HeldFigures;

/// Where it is known from.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// Who holds what.
    pub ledger: Arc<dyn Ledger>,
    /// In what state it is.
    pub lists: Arc<Lists>,
    /// Since when.
    pub clock: Arc<dyn Clock>,
}

/// One session or batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// `session` or `batch`.
    pub kind: KindWord,
    /// Its number at Livy, once it has one.
    pub id: Option<u32>,
    /// The name that its owner gave it.
    pub name: Option<Box<str>>,
    /// Its name at Livy, if a gateway created it.
    pub marker: Option<Box<str>>,
    /// The Livy user that it belongs to; nobody for what was found at Livy without one.
    pub owner: Option<Box<str>>,
    /// Who asked for it, with the source of the login; unknown for most of what was created around the gateway.
    pub created_by: Option<Box<str>>,
    /// Its state, as Livy's last list has it.
    pub state: Option<Box<str>>,
    /// How many cores it is charged with while it holds any.
    pub cores: u64,
    /// How much memory, in bytes.
    pub memory: u64,
    /// `open`: its creation is under way. `in_doubt`: whether Livy created it is not known. `owned`: it exists.
    /// `finished`: it exists and holds nothing any more.
    pub standing: Box<str>,
    /// Since when it stands so; after a restart of the gateway, since that.
    pub since: Box<str>,
}

/// Session or batch, as people and scripts read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindWord {
    /// An interactive session.
    Session,
    /// A batch.
    Batch,
}

impl From<Kind> for KindWord {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Session => Self::Session,
            Kind::Batch => Self::Batch,
        }
    }
}

impl fmt::Display for KindWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Session => Kind::Session,
            Self::Batch => Kind::Batch,
        };
        kind.fmt(f)
    }
}

impl Holdings {
    /// Everything of one kind, by number; what has none comes last.
    pub async fn all(&self, kind: Kind) -> Vec<Holding> {
        let places = self.places(kind).await;
        self.told(kind, &places)
    }

    /// One page of everything, sessions before batches, and how much there is altogether.
    pub async fn page(&self, page: &Page) -> (Vec<Holding>, usize) {
        let sessions = self.places(Kind::Session).await;
        let batches = self.places(Kind::Batch).await;
        let total = sessions.len() + batches.len();
        let window = list::window(page, total);
        let of_sessions = window.start.min(sessions.len())..window.end.min(sessions.len());
        let of_batches =
            window.start.saturating_sub(sessions.len())..window.end.saturating_sub(sessions.len());
        let mut shown = self.told(Kind::Session, sessions.get(of_sessions).unwrap_or_default());
        shown.extend(self.told(Kind::Batch, batches.get(of_batches).unwrap_or_default()));
        (shown, total)
    }

    async fn places(&self, kind: Kind) -> Vec<Arc<Place>> {
        let mut places = self.ledger.all(kind).await;
        places.retain(|place| place.standing != Standing::Gone);
        by_number(&mut places);
        places
    }

    /// These places, in their order.
    pub fn told(&self, kind: Kind, places: &[Arc<Place>]) -> Vec<Holding> {
        let snapshot = self.lists.last(kind);
        let now = Now {
            wall: self.clock.wall(),
            monotonic: self.clock.monotonic(),
        };
        places
            .iter()
            .map(|place| self.holding(place, snapshot.as_deref(), now))
            .collect()
    }

    /// How long ago Livy was asked for the older of its last two whole lists; nothing before there are both.
    pub fn list_age(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        let ages = Kind::ALL.map(|kind| Some(now.saturating_sub(self.lists.last(kind)?.began)));
        let [one, other] = ages;
        Some(one?.max(other?))
    }

    /// What of one kind is held, for the metrics.
    pub async fn figures(&self, kind: Kind) -> HeldFigures {
        let now = self.clock.monotonic();
        let last = self.lists.last(kind).map(|snapshot| snapshot.began);
        let mut figures = HeldFigures {
            kind,
            open: 0,
            in_doubt: 0,
            owned: 0,
            finished: 0,
            list_age: now.saturating_sub(last.unwrap_or_default()),
        };
        for place in self.ledger.all(kind).await {
            match place.standing {
                Standing::Open => figures.open += 1,
                Standing::InDoubt => figures.in_doubt += 1,
                Standing::Owned {
                    is_finished: false, ..
                } => figures.owned += 1,
                Standing::Owned {
                    is_finished: true, ..
                } => figures.finished += 1,
                Standing::Gone => {}
            }
        }
        figures
    }

    fn holding(&self, place: &Place, snapshot: Option<&Snapshot>, now: Now) -> Holding {
        let marker = match &place.key {
            PlaceKey::Marker(marker) => Some(marker.as_str().into()),
            PlaceKey::Found(..) => None,
        };
        Holding {
            kind: place.kind.into(),
            id: place.standing.id().map(SessionId::get),
            name: place.name.clone(),
            marker,
            owner: place.owner.as_ref().map(|owner| owner.as_str().into()),
            created_by: place.created_by.clone(),
            state: self.state(place, snapshot),
            cores: place.charge.cores,
            memory: place.charge.memory,
            standing: place.standing.word().into(),
            since: now.wall_at(place.changed).into(),
        }
    }

    fn state(&self, place: &Place, snapshot: Option<&Snapshot>) -> Option<Box<str>> {
        if let Some((row, _)) = snapshot.and_then(|snapshot| snapshot.row(&place.key)) {
            return Some(row.state.clone());
        }
        let recent = self.lists.recent(place.kind, &place.key)?;
        Some(list::read_object(std::str::from_utf8(&recent).ok()?)?.state)
    }
}

/// What has no number comes last.
pub fn by_number(places: &mut [Arc<Place>]) {
    places.sort_by(|one, other| {
        let number = |place: &Place| (place.standing.id().is_none(), place.standing.id());
        number(one)
            .cmp(&number(other))
            .then_with(|| one.key.cmp(&other.key))
    });
}

/// The two sides of the clock at one moment.
#[derive(Clone, Copy)]
struct Now {
    wall: Duration,
    monotonic: Duration,
}

impl Now {
    fn wall_at(self, moment: Duration) -> String {
        let ago = self.monotonic.saturating_sub(moment);
        rfc3339(self.wall.saturating_sub(ago))
    }
}
