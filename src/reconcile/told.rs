//! What is told of what a list led to: log lines, figures, and records of the audit.

use tracing::{error, info, warn};

use super::{Reconciler, Why, stranger};
use crate::ledger::{Place, PlaceKey};
use crate::livy::{Kind, SessionId};
use crate::telemetry::audit::{Decision, Entry, Event};
use crate::telemetry::metrics::{self, Creator, Ghost, GhostEnd};

const fn freed_because(why: Why) -> &'static str {
    match why {
        Why::Unlisted => "two of Livy's lists in a row did not show it",
        Why::DoubtOver => "its time in doubt is over",
        Why::Restarted => "Livy was restarted since it was asked for",
        Why::Replaced => "its number at Livy means another session now",
        Why::ByHand => "an operator gave it back",
    }
}

const fn unwanted_because(ghost: Ghost) -> &'static str {
    match ghost {
        Ghost::Untold => "nobody was told of it",
        Ghost::Refused => "Livy had refused or deleted it",
        Ghost::WrongUser => "it runs as the wrong user",
    }
}

impl Reconciler {
    /// A number means another session than before.
    pub(super) fn tell_restart(&self, kind: Kind) {
        warn!(%kind, "Livy was restarted: its numbers begin again");
        metrics::livy_restarted(kind);
    }

    /// A place is free again.
    pub(super) fn tell_freed(&self, place: &Place, why: Why) {
        info!(kind = %place.kind, key = ?place.key, ?why, "a place is free again");
        self.note_freed(place, why);
    }

    /// A number means another session now.
    pub(super) fn tell_replaced(&self, place: &Place) {
        warn!(kind = %place.kind, key = ?place.key, "Livy gave the number of a session to another one: it was restarted");
        self.note_freed(place, Why::Replaced);
    }

    /// Something is taken up that this gateway did not create.
    pub(super) fn tell_adopted(&self, place: &Place) {
        let (kind, key, owner) = (place.kind, &place.key, &place.owner);
        let mut entry = Entry::new(Event::Adoption, Decision::Done).about(place);
        entry.cores = Some(place.charge.cores);
        entry.memory = Some(place.charge.memory);
        if let Some(instance) = stranger(key, self.instance) {
            error!(%kind, ?key, ?owner, instance = instance.as_str(), "another gateway creates sessions on the same Livy; it knows nothing of this one's quotas");
            entry = entry.because("another gateway created it");
            metrics::adopted(Creator::AnotherGateway);
        } else {
            info!(%kind, ?key, ?owner, "a session that this gateway did not create is taken up");
            entry = entry.because("it was created around this gateway, or the ledger had lost it");
            metrics::adopted(Creator::Unknown);
        }
        self.audit.record(&entry);
    }

    /// Something that nobody shall use was deleted, or could not be.
    pub(super) async fn tell_deleted(
        &self,
        kind: Kind,
        key: &PlaceKey,
        id: SessionId,
        ghost: Ghost,
        failure: Option<String>,
    ) {
        let why = unwanted_because(ghost);
        match &failure {
            None => info!(%kind, ?key, %id, why, "a session was deleted"),
            Some(failure) => error!(%kind, ?key, %id, why, failure, "a session could not be deleted"),
        }
        let event = match ghost {
            Ghost::WrongUser => Event::Impersonation,
            Ghost::Untold | Ghost::Refused => Event::Ghost,
        };
        let (decision, end) = if failure.is_none() {
            (Decision::Done, GhostEnd::Deleted)
        } else {
            (Decision::Failed, GhostEnd::Remains)
        };
        metrics::ghost(ghost, end);
        let mut entry = Entry::new(event, decision).known_by(kind, key).because(why);
        if let Some(place) = self.ledger.get(key).await {
            entry = entry.about(&place);
        }
        entry.id = Some(id.get());
        self.audit.record(&entry);
    }

    fn note_freed(&self, place: &Place, why: Why) {
        metrics::place_freed(why);
        let entry = Entry::new(Event::Freed, Decision::Done).about(place);
        let mut entry = entry.because(freed_because(why));
        entry.cores = Some(place.charge.cores);
        entry.memory = Some(place.charge.memory);
        self.audit.record(&entry);
    }
}
