//! A creation, from the place it takes to what became of it.
//!
//! It takes its place in every scope before Livy hears of it, and one of three things follows: it is owned, the place
//! is free again, or it is in doubt. All of it runs in a task of its own, whether or not the client waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tracing::{error, info, warn};

use super::answer::{AnswerBody, LIVYS_JSON};
use super::body::HeldBytes;
use super::errand::{Cargo, Done, Errand};
use super::listing::own_row;
use super::sessions::with_own_location;
use super::unsettled::Unsettled;
use super::{Gateway, audit, idempotency, reply};
use crate::access::Grant;
use crate::body_policy::CheckedBody;
use crate::denial::{Denial, Leftover};
use crate::ledger::{NoPlace, Place, PlaceKey, Reservation, Settlement, Standing};
use crate::lists;
use crate::livy::Kind;
use crate::livy::body::NAME;
use crate::livy::list::{self, Row};
use crate::livy::marker::{Marker, default_stem};
use crate::policy::{Ghosts, Impersonation, Policy};
use crate::quota::{Exceeded, Scope, resources};
use crate::rewrite::{self, OwnCall};
use crate::telemetry::audit::{Decision, Event};
use crate::telemetry::metrics::{self, Ghost, GhostEnd};
use crate::upstream::Reuse;

/// A creation that was granted and checked, and has not taken its place.
pub(super) struct Creation {
    kind: Kind,
    body: CheckedBody,
    held: HeldBytes,
    reservation: Reservation,
}

/// What an answer and the audit need of the request.
pub(super) struct Origin {
    base: Box<str>,
    pub(super) request_id: HeaderValue,
    pub(super) peer: SocketAddr,
    pub(super) credential: Option<String>,
}

/// What Livy made of a creation.
enum Fate {
    /// It is there.
    Created(Row, Bytes),
    /// Livy refused, and may have left something behind.
    Refused,
    /// Livy never heard of it.
    Unsent,
    /// Nobody knows.
    Unknown,
}

impl Gateway {
    /// What a creation will ask of the ledger.
    pub(super) fn plan(
        &self,
        policy: &Policy,
        grant: &Grant,
        kind: Kind,
        headers: &HeaderMap,
        (body, held): (CheckedBody, HeldBytes),
    ) -> Result<Creation, Denial> {
        let (owner, principal) = (grant.livy_user(), grant.principal());
        let subject = principal.subject().to_string();
        let groups = policy.identities.groups_for(principal, owner);
        let allowances = policy
            .quotas
            .allowances(owner, groups)
            .map_err(|_| Denial::GroupsUnknown {
                user: owner.to_string(),
            })?;
        let name: Option<Box<str>> = body.object().string(NAME)?.map(|name| name.as_ref().into());
        let stem = name.as_deref().map(str::to_owned).or_else(|| body.app_name());
        let marker = Marker::new(
            stem.as_deref().unwrap_or(default_stem(kind)),
            self.0.shared.instance,
            &subject,
            random()?,
        );
        let reservation = Reservation {
            marker,
            kind,
            owner: owner.clone(),
            created_by: subject.into(),
            name,
            charge: resources(kind, body.object(), policy.quotas.assumed()).resources,
            allowances,
            idempotency: idempotency::read(headers, owner, kind, &body)?,
        };
        Ok(Creation {
            kind,
            body,
            held,
            reservation,
        })
    }

    /// Creates, and settles what became of it.
    pub(super) async fn create(&self, policy: &Policy, mut errand: Errand, creation: Creation) -> Done {
        let Creation {
            kind,
            body,
            held,
            reservation,
        } = creation;
        let origin = Origin {
            base: errand.base.clone(),
            request_id: errand.request_id.clone(),
            peer: errand.peer,
            credential: errand.grant.principal().subject().credential().map(str::to_owned),
        };
        let shared = &self.0.shared;
        let under_way = shared.turns.begin(&reservation.owner);
        if let Some(before) = self.asked_before(&reservation).await {
            drop(body);
            // It may exist, and then nobody is told that nothing was sent.
            let answer = match under_way {
                Ok(_under_way) => self.again(policy, &origin, &before, &reservation).await,
                Err(_) => Err(Denial::CreationUnderWay),
            };
            return Done::without_livy(answer);
        }
        let must_obey = policy.livy.impersonation == Impersonation::Required;
        let may_try = if must_obey {
            shared.impersonation.may_try(shared.clock.monotonic())
        } else {
            Ok(())
        };
        let _under_way = match may_try.and(under_way) {
            Ok(under_way) => under_way,
            Err(denial) => return Done::without_livy(Err(denial)),
        };
        let owner = reservation.owner.clone();
        let key = PlaceKey::Marker(reservation.marker.clone());
        let taken = match self.take_place(kind, reservation.clone()).await {
            Ok(taken) => taken,
            Err(denial) => return Done::without_livy(Err(denial)),
        };
        match taken {
            Ok(()) => {}
            Err(NoPlace::Before(place)) => {
                return Done::without_livy(self.again(policy, &origin, &place, &reservation).await);
            }
            Err(refusal) => return Done::without_livy(Err(self.refusal(refusal, &reservation).await)),
        }
        let _unsettled = Unsettled::new(&*shared.ledger, &shared.moments, key.clone());
        let in_line = shared.clock.monotonic();
        let turn = shared.turns.take(&owner, policy.livy.creations_at_once).await;
        let waited = shared.clock.monotonic().saturating_sub(in_line);
        let turn = turn.and_then(|turn| {
            if must_obey {
                shared.impersonation.check(shared.clock.monotonic())?;
            }
            Ok(turn)
        });
        let turn = match turn {
            Ok(turn) => turn,
            Err(denial) => {
                self.settle(&key, Settlement::Gone).await;
                return Done {
                    waited,
                    ..Done::without_livy(Err(denial))
                };
            }
        };
        self.record(&audit::creation(&origin, &reservation, Decision::Allowed));
        let proxy_user = policy.livy.endpoint.proxy_user(&owner);
        let json = body.render(proxy_user, Some(reservation.marker.as_str()));
        errand.cargo = Cargo::Json(json.into(), held);
        let mut done = self.carry_out(policy, &mut errand).await;
        done.waited = done.waited.saturating_add(waited);
        done.answer = match done.answer {
            Ok(response) => reply::hold(&errand.asked(), response).await,
            Err(denial) => Err(denial),
        };
        drop(turn);
        let answered = shared.clock.monotonic();
        let is_lost = done.answer.is_err();
        done.answer = self.conclude(policy, &origin, &reservation, done.answer).await;
        if is_lost {
            // What became of it is looked for in Livy's lists.
            let looked = shared.clock.monotonic().saturating_sub(answered);
            done.waited = done.waited.saturating_add(looked);
        }
        done
    }

    /// What the same `Idempotency-Key` led to. Looked up before anything can fail: what it led to may exist, and then no
    /// answer may say that nothing was done.
    async fn asked_before(&self, reservation: &Reservation) -> Option<Arc<Place>> {
        let key = reservation.idempotency?.key;
        self.0.shared.ledger.by_idempotency(&key).await
    }

    async fn take_place(&self, kind: Kind, reservation: Reservation) -> Result<Result<(), NoPlace>, Denial> {
        let shared = &self.0.shared;
        // What Livy holds already counts, so nothing is created before that is known.
        for kind in Kind::ALL {
            let first = shared.lists.first(kind, shared.moments.next()).await;
            first.map_err(|denial| lists::unlisted(&denial))?;
        }
        let first = shared
            .ledger
            .reserve(reservation.clone(), shared.moments.next())
            .await;
        let held_in: &[Kind] = match &first {
            Err(NoPlace::Exceeded { exceeded, .. }) => exceeded.dimension.kinds(),
            Err(NoPlace::NameTaken { .. }) => &[kind],
            Ok(()) | Err(NoPlace::Before(_) | NoPlace::Unavailable(_)) => return Ok(first),
        };
        // What ended meanwhile is free: one fresh look before anybody is refused.
        let now = shared.moments.next();
        for kind in held_in {
            if shared.lists.since(*kind, now).await.is_err() {
                return Ok(first);
            }
        }
        Ok(shared.ledger.reserve(reservation, shared.moments.next()).await)
    }

    async fn refusal(&self, refusal: NoPlace, reservation: &Reservation) -> Denial {
        match refusal {
            NoPlace::Exceeded { scope, exceeded } => {
                metrics::quota_refused(exceeded.dimension, &scope);
                self.over_quota(&scope, &exceeded, reservation).await
            }
            NoPlace::NameTaken { id } => Denial::NameTaken {
                name: reservation.name.as_deref().unwrap_or_default().to_owned(),
                id: id.map(crate::livy::SessionId::get),
            },
            NoPlace::Before(_) => Denial::CreationUnderWay,
            NoPlace::Unavailable(why) => {
                error!(%why, "nothing can be created: the ledger cannot be written");
                Denial::Unavailable("whose it is cannot be written down")
            }
        }
    }

    async fn over_quota(&self, scope: &Scope, exceeded: &Exceeded, reservation: &Reservation) -> Denial {
        if exceeded.is_hopeless() {
            return Denial::ResourceLimit {
                asks: exceeded.asks(scope),
            };
        }
        // A shared pot is not broken down: what others hold is theirs.
        let mut held = Vec::new();
        for kind in exceeded.dimension.kinds() {
            let places = self.0.shared.ledger.owned_by(&reservation.owner, *kind).await;
            let counting = places.iter().filter(|place| place.standing.counts());
            let ids = counting.filter_map(|place| place.standing.id());
            held.extend(ids.map(|id| (*kind, id.get())));
        }
        held.sort_unstable();
        Denial::QuotaExceeded {
            reason: exceeded.reason(scope),
            holds: exceeded.holds(scope, &held),
        }
    }

    /// Draws the consequences of Livy's answer, or of its absence.
    async fn conclude(
        &self,
        policy: &Policy,
        origin: &Origin,
        reservation: &Reservation,
        answer: Result<Response<AnswerBody>, Denial>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let key = PlaceKey::Marker(reservation.marker.clone());
        let record = audit::creation(origin, reservation, Decision::Failed);
        match fate(&answer) {
            Fate::Unsent => {
                self.settle(&key, Settlement::Gone).await;
                self.record(&audit::ended(record, &answer));
                answer
            }
            Fate::Refused => {
                self.settle(&key, Settlement::Gone).await;
                self.record(&audit::ended(record, &answer));
                self.clear_up(policy, origin, reservation).await;
                answer.map(|response| own_words(response, reservation))
            }
            Fate::Created(row, object) => {
                self.created(policy, origin, reservation, &row, object).await?;
                if policy.livy.impersonation == Impersonation::Required {
                    // What is found in a list shows how Livy was when it made that.
                    self.0.shared.impersonation.obeyed();
                }
                answer.map(|response| self.shown(response, reservation, &row))
            }
            Fate::Unknown => self.find_out(policy, origin, reservation).await,
        }
    }

    /// Livy has it. Checks that it runs as whom Livy was told, and writes down whose it is.
    async fn created(
        &self,
        policy: &Policy,
        origin: &Origin,
        reservation: &Reservation,
        row: &Row,
        object: Bytes,
    ) -> Result<(), Denial> {
        let shared = &self.0.shared;
        let key = PlaceKey::Marker(reservation.marker.clone());
        let mut record = audit::creation(origin, reservation, Decision::Done);
        record.id = Some(row.id.get());
        if policy.livy.impersonation == Impersonation::Required
            && row.proxy_user.as_deref() != Some(reservation.owner.as_str())
        {
            shared.impersonation.caught(shared.clock.monotonic());
            let leftover = self.delete(policy, reservation).await;
            let (settlement, end, decision) = match leftover {
                Leftover::None | Leftover::Deleted => (Settlement::Gone, GhostEnd::Deleted, Decision::Done),
                // In doubt it counts and nobody can reach it; the reconciler tries to delete it again.
                Leftover::Remains => (Settlement::InDoubt, GhostEnd::Remains, Decision::Failed),
            };
            self.settle(&key, settlement).await;
            metrics::ghost(Ghost::WrongUser, end);
            record.event = Event::Impersonation;
            self.record(&record.decided(decision).because("it runs as the wrong user"));
            return Err(Denial::ImpersonationOff { leftover });
        }
        self.settle(&key, Settlement::Owned(row.id)).await;
        shared
            .lists
            .overlay(reservation.kind, key, shared.moments.next(), object);
        self.record(&record);
        Ok(())
    }

    /// The answer was lost. Livy's list tells whether it created the session; if it does not (yet), that proves nothing.
    async fn find_out(
        &self,
        policy: &Policy,
        origin: &Origin,
        reservation: &Reservation,
    ) -> Result<Response<AnswerBody>, Denial> {
        let shared = &self.0.shared;
        let key = PlaceKey::Marker(reservation.marker.clone());
        for _ in 0..LOOKS {
            let Ok(snapshot) = shared.lists.since(reservation.kind, shared.moments.next()).await else {
                break;
            };
            let found = snapshot
                .row(&key)
                // A batch that Livy refuses is listed like one that it has not started yet.
                .filter(|(row, _)| reservation.kind == Kind::Session || !row.is_unstarted())
                .filter(|_| !shared.untold.is_being_deleted(&key))
                .map(|(row, text)| (row.clone(), text.to_owned()));
            if let Some((row, text)) = found {
                self.created(policy, origin, reservation, &row, Bytes::from(text.clone()))
                    .await?;
                return Ok(self.found(origin, reservation, &row, &text));
            }
        }
        warn!(marker = %reservation.marker, user = %reservation.owner, "whether Livy created this is in doubt");
        if reservation.idempotency.is_none() {
            shared.untold.add(key.clone());
        }
        self.settle(&key, Settlement::InDoubt).await;
        let record = audit::creation(origin, reservation, Decision::InDoubt);
        self.record(&record.because("Livy's answer was lost"));
        Err(in_doubt(reservation))
    }

    /// The same `Idempotency-Key` was used before.
    async fn again(
        &self,
        policy: &Policy,
        origin: &Origin,
        place: &Place,
        reservation: &Reservation,
    ) -> Result<Response<AnswerBody>, Denial> {
        let is_same = place.idempotency == reservation.idempotency;
        if !is_same {
            return Err(Denial::IdempotencyKeyReused);
        }
        let first = Reservation {
            marker: match &place.key {
                PlaceKey::Marker(marker) => marker.clone(),
                PlaceKey::Found(..) => return Err(Denial::Internal),
            },
            name: place.name.clone(),
            ..reservation.clone()
        };
        match place.standing {
            Standing::Open | Standing::Gone => Err(Denial::CreationUnderWay),
            Standing::InDoubt => self.find_out(policy, origin, &first).await,
            Standing::Owned { .. } => {
                let shared = &self.0.shared;
                let recent = shared.lists.recent(place.kind, &place.key);
                let text = match recent
                    .as_ref()
                    .and_then(|object| std::str::from_utf8(object).ok())
                {
                    Some(text) => text.to_owned(),
                    None => {
                        // It was created, whether or not Livy can be asked now.
                        let snapshot = shared.lists.since(place.kind, shared.moments.next()).await;
                        let snapshot = snapshot.map_err(|_| Denial::CreationUnderWay)?;
                        let row = snapshot.row(&place.key).map(|(_, text)| text.to_owned());
                        row.ok_or(Denial::CreationUnderWay)?
                    }
                };
                let row = list::read_object(&text).ok_or(Denial::Internal)?;
                Ok(self.found(origin, &first, &row, &text))
            }
        }
    }

    /// The 201 of a session that was found in Livy's list.
    fn found(
        &self,
        origin: &Origin,
        reservation: &Reservation,
        row: &Row,
        text: &str,
    ) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::whole(Bytes::from(text.to_owned())));
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert(CONTENT_TYPE, LIVYS_JSON);
        let path = format!("{}/{}/{}", origin.base, reservation.kind.collection(), row.id);
        if let Ok(location) = HeaderValue::from_str(&path) {
            response.headers_mut().insert(LOCATION, location);
        }
        self.shown(response, reservation, row)
    }

    /// With the client's own name, as it will be shown from now on.
    fn shown(
        &self,
        response: Response<AnswerBody>,
        reservation: &Reservation,
        row: &Row,
    ) -> Response<AnswerBody> {
        let place = as_place(reservation, row, self.0.shared.moments.next());
        let response = with_own_location(response, &place);
        response.map(|body| match &body {
            AnswerBody::Whole(Some(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => AnswerBody::whole(Bytes::from(own_row(&place, text))),
                Err(_) => body,
            },
            AnswerBody::Whole(None) | AnswerBody::Passing(_) => body,
        })
    }

    pub(super) async fn settle(&self, key: &PlaceKey, settlement: Settlement) {
        let shared = &self.0.shared;
        shared
            .ledger
            .settle(key, settlement, None, shared.moments.next())
            .await;
    }

    /// A batch that Livy refuses stays in its list, without resources but with its name, until somebody deletes it.
    async fn clear_up(&self, policy: &Policy, origin: &Origin, reservation: &Reservation) {
        match (reservation.kind, policy.state.ghosts) {
            (Kind::Batch, Ghosts::Delete) => {
                let (decision, end) = match self.delete(policy, reservation).await {
                    Leftover::None => return,
                    Leftover::Deleted => (Decision::Done, GhostEnd::Deleted),
                    Leftover::Remains => (Decision::Failed, GhostEnd::Remains),
                };
                metrics::ghost(Ghost::Refused, end);
                let mut record = audit::creation(origin, reservation, decision);
                record.event = Event::Ghost;
                self.record(&record.because("Livy listed it although it had refused it"));
            }
            (Kind::Batch, Ghosts::Keep) | (Kind::Session, Ghosts::Delete | Ghosts::Keep) => {}
        }
    }

    async fn delete(&self, policy: &Policy, reservation: &Reservation) -> Leftover {
        let (kind, marker) = (reservation.kind, &reservation.marker);
        let call = OwnCall::Delete(kind, marker.clone());
        let Ok(outbound) = rewrite::own_call(&policy.livy.endpoint, &call) else {
            return Leftover::Remains;
        };
        match self
            .0
            .upstream
            .send(&policy.livy, outbound, None, Reuse::Never, &mut None)
            .await
        {
            Ok(reply) if reply.status().is_success() => {
                info!(%kind, %marker, "what Livy made and nobody shall use was deleted");
                Leftover::Deleted
            }
            Ok(reply) if reply.status() == StatusCode::NOT_FOUND => Leftover::None,
            Ok(reply) => {
                error!(%kind, %marker, status = reply.status().as_u16(), "what Livy made and nobody shall use remains");
                Leftover::Remains
            }
            Err(failure) => {
                error!(%kind, %marker, ?failure, "what Livy made and nobody shall use may remain");
                Leftover::Remains
            }
        }
    }
}

fn fate(answer: &Result<Response<AnswerBody>, Denial>) -> Fate {
    match answer {
        Ok(response) if response.status() == StatusCode::CREATED => match response.body() {
            AnswerBody::Whole(Some(bytes)) => {
                let row = std::str::from_utf8(bytes).ok().and_then(list::read_object);
                row.map_or(Fate::Unknown, |row| Fate::Created(row, bytes.clone()))
            }
            AnswerBody::Whole(None) | AnswerBody::Passing(_) => Fate::Unknown,
        },
        // Whether somebody else answered 5xx in Livy's place was judged when the answer came.
        Ok(response) if response.status().is_client_error() || response.status().is_server_error() => {
            Fate::Refused
        }
        Err(
            Denial::UpstreamError { .. }
            | Denial::UpstreamLoginFailed { .. }
            | Denial::UpstreamNotSuperuser { .. },
        ) => Fate::Refused,
        Err(Denial::UpstreamUnreachable) => Fate::Unsent,
        Ok(_) | Err(_) => Fate::Unknown,
    }
}

fn as_place(reservation: &Reservation, row: &Row, at: Duration) -> Place {
    Place {
        key: PlaceKey::Marker(reservation.marker.clone()),
        kind: reservation.kind,
        owner: Some(reservation.owner.clone()),
        created_by: Some(reservation.created_by.clone()),
        name: reservation.name.clone(),
        charge: reservation.charge,
        scopes: Vec::new(),
        standing: Standing::Owned {
            id: row.id,
            is_finished: row.is_finished(),
        },
        changed: at,
        idempotency: reservation.idempotency,
    }
}

/// Livy's words of refusal say the marker where the client wrote its own name, or none.
fn own_words(response: Response<AnswerBody>, reservation: &Reservation) -> Response<AnswerBody> {
    let own = serde_json::Value::from(reservation.name.as_deref().unwrap_or_default()).to_string();
    let own = own.trim_matches('"');
    response.map(|body| match &body {
        AnswerBody::Whole(Some(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => AnswerBody::whole(Bytes::from(text.replace(reservation.marker.as_str(), own))),
            Err(_) => body,
        },
        AnswerBody::Whole(None) | AnswerBody::Passing(_) => body,
    })
}

/// A creation whose fate is not known.
fn in_doubt(reservation: &Reservation) -> Denial {
    Denial::OutcomeUnknown {
        look: match (reservation.kind, reservation.idempotency.is_some()) {
            (Kind::Session | Kind::Batch, true) => {
                "It counts against your quota until that is known, and is yours if it appears after all. Ask again with the same Idempotency-Key"
            }
            (Kind::Session, false) => {
                "It counts against your quota until that is known, and is deleted if it appears after all. List your sessions"
            }
            (Kind::Batch, false) => {
                "It counts against your quota until that is known, and is deleted if it appears after all. List your batches"
            }
        },
    }
}

fn random<const N: usize>() -> Result<[u8; N], Denial> {
    let mut random = [0; N];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Denial::Internal)?;
    Ok(random)
}

/// How often Livy's list is read for a creation whose answer was lost; a second lies between two.
const LOOKS: usize = 3;
