//! What is held, refused and found out by lists: the figures of the ledger and of the reconciler.
//!
//! All of it is rare beside requests, so handles are looked up each time; they are registered at the start, so that a
//! scrape has them before anything happened.

use std::time::Duration;

use super::{
    ADOPTED, FREED, GHOSTS, LEDGER_AVAILABLE, LIST_AGE, LIVY_RESTARTS, PLACES, QUOTA_HELD, QUOTA_LIMIT,
    QUOTA_REFUSALS, RECONCILE_SECONDS,
};
use crate::livy::Kind;
use crate::quota::{Dimension, Limits, Scope, Use};

/// Why a place is free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// Two whole lists in a row did not show it.
    Unlisted,
    /// Its time in doubt is over.
    DoubtOver,
    /// Livy was restarted since it was asked for.
    Restarted,
    /// Its number at Livy means another session now.
    Replaced,
    /// An operator gave it back.
    ByHand,
}

impl Freed {
    const ALL: [Self; 5] = [
        Self::Unlisted,
        Self::DoubtOver,
        Self::Restarted,
        Self::Replaced,
        Self::ByHand,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Unlisted => "unlisted",
            Self::DoubtOver => "doubt_over",
            Self::Restarted => "livy_restarted",
            Self::Replaced => "replaced",
            Self::ByHand => "by_hand",
        }
    }
}

/// Why nobody shall use what Livy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ghost {
    /// Its creator was told that nobody knows what became of it.
    Untold,
    /// Its creator was told that Livy refused it, or it was deleted.
    Refused,
    /// It runs as somebody else than Livy was told.
    WrongUser,
}

impl Ghost {
    const ALL: [Self; 3] = [Self::Untold, Self::Refused, Self::WrongUser];

    const fn label(self) -> &'static str {
        match self {
            Self::Untold => "untold",
            Self::Refused => "refused",
            Self::WrongUser => "wrong_user",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GhostEnd {
    /// It was deleted.
    Deleted,
    /// It could not be deleted.
    Remains,
    /// The configuration wants it kept.
    Kept,
}

impl GhostEnd {
    const ALL: [Self; 3] = [Self::Deleted, Self::Remains, Self::Kept];

    const fn label(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Remains => "remains",
            Self::Kept => "kept",
        }
    }
}

/// Who created what is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creator {
    /// Somebody around the gateway; or this one, if its ledger was lost.
    Unknown,
    /// Another gateway before the same Livy.
    AnotherGateway,
}

impl Creator {
    const ALL: [Self; 2] = [Self::Unknown, Self::AnotherGateway];

    const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::AnotherGateway => "another_gateway",
        }
    }
}

/// What the ledger holds of one kind; read before a scrape is answered.
#[derive(Debug, Clone, Copy)]
pub struct HeldFigures {
    /// Of what.
    pub kind: Kind,
    /// Creations under way.
    pub open: u64,
    /// Whether Livy created them is not known.
    pub in_doubt: u64,
    /// They exist and count.
    pub owned: u64,
    /// They exist and do not count.
    pub finished: u64,
    /// Since the last whole list began; since the start, if there was none.
    pub list_age: Duration,
}

/// Shows what is held.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats, and the figures are small"
)]
pub fn held(figures: HeldFigures) {
    let HeldFigures {
        kind,
        open,
        in_doubt,
        owned,
        finished,
        list_age,
    } = figures;
    let kind = kind.noun();
    for (standing, places) in [
        ("open", open),
        ("in_doubt", in_doubt),
        ("owned", owned),
        ("finished", finished),
    ] {
        metrics::gauge!(PLACES, "kind" => kind, "standing" => standing).set(places as f64);
    }
    metrics::gauge!(LIST_AGE, "kind" => kind).set(list_age.as_secs_f64());
}

/// Shows what is held in a pot that several share, and what may be.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats, and a rounded byte is no matter"
)]
pub fn pot(scope: &Scope, held: &Use, limits: &Limits) {
    let name = match scope {
        Scope::Group(group) => format!("group {group}"),
        Scope::User(_) | Scope::Everybody => scope.word().to_owned(),
    };
    for dimension in Dimension::ALL {
        metrics::gauge!(QUOTA_HELD, "scope" => name.clone(), "dimension" => dimension.word())
            .set(held.of(dimension) as f64);
    }
    limit(&name, limits);
}

/// Shows what each user may hold of whom no rule speaks.
pub fn user_limit(limits: &Limits) {
    limit("user", limits);
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats, and a rounded byte is no matter"
)]
fn limit(scope: &str, limits: &Limits) {
    for dimension in Dimension::ALL {
        let most = limits.of(dimension).map_or(f64::INFINITY, |most| most as f64);
        metrics::gauge!(QUOTA_LIMIT, "scope" => scope.to_owned(), "dimension" => dimension.word()).set(most);
    }
}

/// Whether the ledger can be written.
pub fn ledger_available(is_available: bool) {
    metrics::gauge!(LEDGER_AVAILABLE).set(if is_available { 1.0 } else { 0.0 });
}

/// A creation was refused: one more would be more than this scope may hold.
pub fn quota_refused(dimension: Dimension, scope: &Scope) {
    metrics::counter!(QUOTA_REFUSALS, "dimension" => dimension.word(), "scope" => scope.word()).increment(1);
}

/// A place is free because Livy does not have it.
pub fn place_freed(why: Freed) {
    metrics::counter!(FREED, "reason" => why.label()).increment(1);
}

/// Something was taken up that this gateway did not create.
pub fn adopted(by: Creator) {
    metrics::counter!(ADOPTED, "creator" => by.label()).increment(1);
}

/// Livy has something that nobody shall use.
pub fn ghost(why: Ghost, end: GhostEnd) {
    metrics::counter!(GHOSTS, "reason" => why.label(), "outcome" => end.label()).increment(1);
}

/// A whole list was read and compared.
pub fn reconciled(kind: Kind, took: Duration) {
    metrics::histogram!(RECONCILE_SECONDS, "kind" => kind.noun()).record(took.as_secs_f64());
}

/// A list shows that Livy was restarted.
pub fn livy_restarted(kind: Kind) {
    metrics::counter!(LIVY_RESTARTS, "kind" => kind.noun()).increment(1);
}

/// Everything at zero.
pub(super) fn register() {
    for kind in Kind::ALL.map(Kind::noun) {
        metrics::counter!(LIVY_RESTARTS, "kind" => kind).increment(0);
        // Without a sample there is nothing to show, but its name is known.
        let _ = metrics::histogram!(RECONCILE_SECONDS, "kind" => kind);
    }
    for dimension in Dimension::ALL.map(Dimension::word) {
        for scope in ["user", "group", "everybody"] {
            metrics::counter!(QUOTA_REFUSALS, "dimension" => dimension, "scope" => scope).increment(0);
        }
    }
    for why in Freed::ALL.map(Freed::label) {
        metrics::counter!(FREED, "reason" => why).increment(0);
    }
    for by in Creator::ALL.map(Creator::label) {
        metrics::counter!(ADOPTED, "creator" => by).increment(0);
    }
    for why in Ghost::ALL.map(Ghost::label) {
        for end in GhostEnd::ALL.map(GhostEnd::label) {
            metrics::counter!(GHOSTS, "reason" => why, "outcome" => end).increment(0);
        }
    }
}
