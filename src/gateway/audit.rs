//! What the audit says of requests: refusals, creations, deletions, and what a role was used for.

use http::{Response, StatusCode};

use super::Gateway;
use super::answer::AnswerBody;
use super::creation::Origin;
use super::errand::Errand;
use super::report::Report;
use crate::access::Grant;
use crate::denial::Denial;
use crate::identity::LivyUser;
use crate::ledger::{Place, PlaceKey, Reservation};
use crate::livy::operation::Operation;
use crate::livy::session_ref::SessionKey;
use crate::telemetry::audit::{Decision, Entry, Event};

impl Report<'_> {
    /// A refusal that decides about somebody.
    pub(super) fn audit_denial(&self, denial: &Denial) {
        let mut entry = self.entry(Event::Denial, Decision::Refused).denied(denial);
        if let Some(Operation::On(session, _)) = &self.operation {
            entry.kind = Some(session.kind().noun());
            match session.key() {
                SessionKey::Id(id) => entry.id = Some(id.get()),
                SessionKey::Name(name) => entry.name = Some(name.as_str().to_owned()),
            }
        }
        self.shared.audit.record(&entry);
    }

    /// Somebody looks after a session of somebody else's, or writes to it for them. What ends it has records of its own.
    pub(super) fn granted(&self, grant: &Grant, place: &Place) {
        let operation = grant.operation();
        if operation.outlives_client() {
            return;
        }
        if let Some(role) = grant.role() {
            let mut entry = self.entry(Event::Role, Decision::Allowed).about(place);
            entry.role = Some(role.word());
            self.shared.audit.record(&entry);
        } else if grant.livy_user() != grant.principal().livy_user() && !operation.method().is_safe() {
            let entry = self.entry(Event::Delegation, Decision::Allowed).about(place);
            self.shared.audit.record(&entry);
        }
    }

    fn entry(&self, event: Event, decision: Decision) -> Entry {
        let own = self.principal.as_ref().map(|principal| principal.livy_user());
        let mut entry = Entry::new(event, decision);
        entry.request_id = Some(self.request_id().to_str().unwrap_or_default().to_owned());
        entry.peer = Some(self.peer.address.to_string());
        entry.subject = self
            .principal
            .as_ref()
            .map(|principal| principal.subject().to_string());
        entry.credential = self
            .principal
            .as_ref()
            .and_then(|principal| principal.subject().credential())
            .map(str::to_owned);
        entry.livy_user = self.livy_user.as_ref().or(own).map(LivyUser::to_string);
        entry.operation = Some(self.label());
        entry
    }
}

impl Gateway {
    /// Writes it down.
    pub(super) fn record(&self, entry: &Entry) {
        self.0.shared.audit.record(entry);
    }

    /// A session is about to be deleted or stopped; gives back what [`audit_end`](Self::audit_end) goes on with.
    pub(super) fn audit_ending(&self, errand: &Errand) -> Option<Entry> {
        let place = errand.place.as_ref()?;
        let operation = errand.grant.operation();
        if !operation.outlives_client() {
            return None;
        }
        let mut entry = Entry::new(Event::Deletion, Decision::Allowed).about(place);
        entry.request_id = Some(errand.request_id.to_str().unwrap_or_default().to_owned());
        entry.peer = Some(errand.peer.to_string());
        let subject = errand.grant.principal().subject();
        entry.subject = Some(subject.to_string());
        entry.credential = subject.credential().map(str::to_owned);
        entry.livy_user = Some(errand.grant.livy_user().to_string());
        entry.role = errand.grant.role().map(crate::roles::Role::word);
        entry.operation = Some(operation.label());
        self.record(&entry);
        Some(entry)
    }

    /// What came of a deletion or stop.
    pub(super) fn audit_end(&self, ending: Option<Entry>, answer: &Result<Response<AnswerBody>, Denial>) {
        if let Some(entry) = ending {
            self.record(&ended(entry, answer));
        }
    }
}

/// What is said of a creation before anything came of it.
pub(super) fn creation(origin: &Origin, reservation: &Reservation, decision: Decision) -> Entry {
    let key = PlaceKey::Marker(reservation.marker.clone());
    let mut entry = Entry::new(Event::Creation, decision).known_by(reservation.kind, &key);
    entry.request_id = Some(origin.request_id.to_str().unwrap_or_default().to_owned());
    entry.peer = Some(origin.peer.to_string());
    entry.subject = Some(reservation.created_by.to_string());
    entry.credential.clone_from(&origin.credential);
    entry.livy_user = Some(reservation.owner.to_string());
    entry.operation = Some(Operation::Create(reservation.kind).label());
    entry.name = reservation.name.as_deref().map(str::to_owned);
    entry.cores = Some(reservation.charge.cores);
    entry.memory = Some(reservation.charge.memory);
    entry
}

/// The same with what Livy answered.
pub(super) fn ended(entry: Entry, answer: &Result<Response<AnswerBody>, Denial>) -> Entry {
    match answer {
        Ok(response) if response.status().is_success() => entry.decided(Decision::Done),
        Ok(response) => entry
            .decided(Decision::Failed)
            .because(livy_said(response.status())),
        Err(denial) => {
            let decision = if matches!(denial, Denial::OutcomeUnknown { .. }) {
                Decision::InDoubt
            } else {
                Decision::Failed
            };
            entry.decided(decision).denied(denial)
        }
    }
}

fn livy_said(status: StatusCode) -> String {
    format!("Livy answered {}", status.as_u16())
}
