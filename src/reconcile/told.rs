//! What is told of what a list led to: log lines and records of the audit.

use tracing::{error, info, warn};

use super::{Ghost, Reconciler, Why, stranger};
use crate::ledger::{Place, PlaceKey};
use crate::livy::{Kind, SessionId};
use crate::telemetry::audit::{Decision, Entry, Event};

impl Why {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Unlisted => "two of Livy's lists in a row did not show it",
            Self::DoubtOver => "its time in doubt is over",
            Self::Restarted => "Livy was restarted since it was asked for",
        }
    }
}

impl Ghost {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Untold => "nobody was told of it",
            Self::Refused => "Livy had refused or deleted it",
            Self::WrongUser => "it runs as the wrong user",
        }
    }
}

impl Reconciler {
    /// A place is free again.
    pub(super) fn tell_freed(&self, place: &Place, why: Why) {
        info!(kind = %place.kind, key = ?place.key, ?why, "a place is free again");
        self.audit_freed(place, why.sentence());
    }

    /// A number means another session now.
    pub(super) fn tell_replaced(&self, place: &Place) {
        warn!(kind = %place.kind, key = ?place.key, "Livy gave the number of a session to another one: it was restarted");
        self.audit_freed(place, "its number at Livy means another session now");
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
        } else {
            info!(%kind, ?key, ?owner, "a session that this gateway did not create is taken up");
            entry = entry.because("it was created around this gateway, or the ledger had lost it");
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
        let why = ghost.sentence();
        match &failure {
            None => info!(%kind, ?key, %id, why, "a session was deleted"),
            Some(failure) => error!(%kind, ?key, %id, why, failure, "a session could not be deleted"),
        }
        let event = match ghost {
            Ghost::WrongUser => Event::Impersonation,
            Ghost::Untold | Ghost::Refused => Event::Ghost,
        };
        let decision = if failure.is_none() {
            Decision::Done
        } else {
            Decision::Failed
        };
        let mut entry = Entry::new(event, decision).known_by(kind, key).because(why);
        if let Some(place) = self.ledger.get(key).await {
            entry = entry.about(&place);
        }
        entry.id = Some(id.get());
        self.audit.record(&entry);
    }

    fn audit_freed(&self, place: &Place, why: &'static str) {
        let mut entry = Entry::new(Event::Freed, Decision::Done).about(place).because(why);
        entry.cores = Some(place.charge.cores);
        entry.memory = Some(place.charge.memory);
        self.audit.record(&entry);
    }
}
