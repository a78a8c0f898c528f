//! A granted request on its way: its turn at Livy, the sending, and what becomes of the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tracing::info;

use super::answer::AnswerBody;
use super::body::HeldBytes;
use super::creation::Creation;
use super::reply::{self, Asked};
use super::report::Report;
use super::sessions::{as_the_client_knows_it, names_the_session, with_own_location};
use super::upload::{Trouble, Upload};
use super::{Gateway, Shared};
use crate::access::Grant;
use crate::denial::Denial;
use crate::ledger::{Place, PlaceKey, Settlement};
use crate::limits::Seat;
use crate::livy::operation::{Action, Method, Operation};
use crate::livy::query::Page;
use crate::policy::Policy;
use crate::rewrite::{self, Outbound, Payload, Trail};
use crate::shares::Share;
use crate::upstream::{Failure, ReplyBody, Reuse, UploadBody};

impl Gateway {
    /// A creation, deletion or stop runs to its end though its client may leave.
    pub(super) async fn carry_out_to_the_end(
        &self,
        policy: &Arc<Policy>,
        errand: Errand,
        report: &mut Report<'_>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let (gateway, policy) = (self.clone(), Arc::clone(policy));
        let look = errand.grant.operation().where_to_look();
        let (sender, receiver) = oneshot::channel();
        let detached = Detached::begin(&self.0.shared);
        // It is under way until it has ended, not until its client leaves.
        let presence = report.take_presence();
        tokio::spawn(async move {
            let _detached = detached;
            let (operation, user) = (errand.grant.operation().label(), errand.grant.livy_user().clone());
            let request_id = errand.request_id.clone();
            let done = Box::pin(gateway.carry_out_held(&policy, errand)).await;
            if let Some(presence) = &presence {
                presence.ended(done.answer.is_err());
            }
            let status = done.livy_status;
            if sender.send(done).is_err() {
                let request_id = request_id.to_str().unwrap_or_default();
                info!(request_id, operation, %user, livy_status = status, "ran to its end after its client had left");
            }
        });
        // Nothing comes if the task ended by a defect, and what it had sent is sent.
        let done = receiver.await.map_err(|_| Denial::OutcomeUnknown { look })?;
        report.heard_from_livy(&done);
        done.answer
    }

    /// Carries out, reads the whole answer and draws the consequences.
    pub(super) async fn carry_out_held(&self, policy: &Policy, mut errand: Errand) -> Done {
        if let Cargo::Creation(creation) = errand.cargo {
            errand.cargo = Cargo::None;
            return self.create(policy, errand, *creation).await;
        }
        let deleted = match (errand.grant.operation(), &errand.place) {
            (Operation::On(_, Action::Delete), Some(place)) => Some(place.key.clone()),
            (Operation::On(..) | Operation::Version | Operation::List(_) | Operation::Create(_), _) => None,
        };
        let turn = match self.turn_at_livy(&errand).await {
            Ok(turn) => turn,
            Err(done) => return *done,
        };
        let ending = self.audit_ending(&errand);
        let mut done = self.ask_livy(policy, &mut errand, turn).await;
        done.answer = match done.answer {
            Ok(response) => reply::hold(&errand.asked(), response).await,
            Err(denial) => Err(denial),
        };
        self.audit_end(ending, &done.answer);
        if let (Some(key), Ok(response)) = (deleted, &done.answer)
            && response.status().is_success()
        {
            // Livy has said that it is gone.
            self.settle(&key, Settlement::Gone).await;
        }
        done
    }

    /// Asks Livy as soon as there is room, and translates its answer.
    pub(super) async fn carry_out(&self, policy: &Policy, errand: &mut Errand) -> Done {
        match self.turn_at_livy(errand).await {
            Ok(turn) => self.ask_livy(policy, errand, turn).await,
            Err(done) => *done,
        }
    }

    /// Waits until the errand may go.
    async fn turn_at_livy(&self, errand: &Errand) -> Result<AtLivysDoor, Box<Done>> {
        let clock = &self.0.shared.clock;
        let arrived = clock.monotonic();
        let turned_away = |denial| {
            let waited = clock.monotonic().saturating_sub(arrived);
            Box::new(Done {
                waited,
                ..Done::without_livy(Err(denial))
            })
        };
        let operation = errand.grant.operation();
        if let Some(place) = &errand.place
            && !operation.method().is_safe()
        {
            let same = self.means_the_same_still(operation, place).await;
            same.map_err(turned_away)?;
        }
        let share = self.share(errand).await.map_err(turned_away)?;
        // What had to wait for its turn may mean another session by now.
        if let Some(place) = &errand.place
            && share.as_ref().is_some_and(|share| share.is_late)
        {
            let same = self.means_the_same_still(operation, place).await;
            same.map_err(turned_away)?;
        }
        let since = clock.monotonic();
        Ok(AtLivysDoor {
            share,
            since,
            waited: since.saturating_sub(arrived),
        })
    }

    async fn ask_livy(&self, policy: &Policy, errand: &mut Errand, turn: AtLivysDoor) -> Done {
        let AtLivysDoor { share, since, waited } = turn;
        let method = errand.method;
        if errand.reads_a_renamed_session() {
            // The length of what the client would get is known when it was read.
            errand.method = Method::Get;
        }
        let heard = self.forward(policy, errand, share).await;
        let livy_took = self.0.shared.clock.monotonic().saturating_sub(since);
        let (answer, livy_status) = match heard {
            Ok(reply) => {
                let livy_status = Some(reply.status().as_u16());
                let answer = reply::translate(&policy.livy.endpoint, &errand.asked(), reply).await;
                errand.method = method;
                (errand.in_the_clients_words(answer).await, livy_status)
            }
            Err(denial) => (Err(denial), None),
        };
        Done {
            answer,
            livy_status,
            livy_took: Some(livy_took),
            waited,
        }
    }

    /// Sends it. Only what is safe to ask twice goes a second time, when a kept connection turned out to be dead.
    async fn forward(
        &self,
        policy: &Policy,
        errand: &mut Errand,
        mut share: Option<Share>,
    ) -> Result<Response<ReplyBody>, Denial> {
        let is_safe = errand.method.is_safe();
        let cargo = std::mem::replace(&mut errand.cargo, Cargo::None);
        let (payload, upload, trouble, _held) = cargo.load();
        let outbound = errand.compose(policy, payload)?;
        let upstream = &self.0.upstream;
        let first = upstream
            .send(&policy.livy, outbound, upload, Reuse::Allowed, &mut share)
            .await;
        let heard = match first {
            Err(Failure::Stale) if is_safe => {
                let again = errand.compose(policy, Payload::Empty)?;
                Box::pin(upstream.send(&policy.livy, again, None, Reuse::Never, &mut share)).await
            }
            Ok(_) | Err(_) => first,
        };
        heard.map_err(|failure| match trouble.and_then(|trouble| trouble.take()) {
            // The body was broken off, so Livy never had a whole request.
            Some(denial) => denial,
            None => failure.denial(is_safe, errand.grant.operation().where_to_look()),
        })
    }
}

/// A granted request, ready to go.
pub(super) struct Errand {
    /// The counters of the one under whose limits it is counted.
    pub(super) seat: Arc<Seat>,
    /// How long it was held back for being over a limit.
    pub(super) held_back: Duration,
    pub(super) grant: Grant,
    /// The session that it is done to.
    pub(super) place: Option<Arc<Place>>,
    pub(super) method: Method,
    pub(super) page: Page,
    pub(super) cargo: Cargo,
    /// Where `Location` begins; empty for reads, whose answers have none.
    pub(super) base: Box<str>,
    pub(super) request_id: HeaderValue,
    /// From where it was asked for.
    pub(super) peer: SocketAddr,
    pub(super) traceparent: Option<HeaderValue>,
}

impl Errand {
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            base: &self.base,
            method: self.method,
            look: self.grant.operation().where_to_look(),
        }
    }

    fn reads_a_renamed_session(&self) -> bool {
        self.method == Method::Head
            && matches!(self.grant.operation(), Operation::On(_, Action::Read))
            && self
                .place
                .as_ref()
                .is_some_and(|place| matches!(place.key, PlaceKey::Marker(_)))
    }

    /// Livy's answer, with what the client calls its session.
    async fn in_the_clients_words(
        &self,
        answer: Result<Response<AnswerBody>, Denial>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let response = answer?;
        let Some(place) = &self.place else {
            return Ok(response);
        };
        let (asked, operation) = (self.asked(), self.grant.operation());
        let response = with_own_location(response, place);
        if names_the_session(operation, place, response.status()) {
            Box::pin(as_the_client_knows_it(&asked, operation, place, response)).await
        } else {
            Ok(response)
        }
    }

    fn compose(&self, policy: &Policy, payload: Payload) -> Result<Outbound, Denial> {
        let trail = Trail {
            request_id: &self.request_id,
            traceparent: self.traceparent.as_ref(),
        };
        rewrite::outbound(
            &policy.livy.endpoint,
            &self.grant,
            self.method,
            &self.page,
            payload,
            trail,
        )
    }
}

/// An errand that may go.
struct AtLivysDoor {
    /// None for what takes none.
    share: Option<Share>,
    since: Duration,
    waited: Duration,
}

/// Counts an operation that runs to its end, however it ends.
struct Detached(Arc<Shared>);

impl Detached {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.detached.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.detached.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What became of an errand.
pub(super) struct Done {
    pub(super) answer: Result<Response<AnswerBody>, Denial>,
    pub(super) livy_status: Option<u16>,
    /// Until it began its answer, if it was asked.
    pub(super) livy_took: Option<Duration>,
    /// For its turn at Livy, and for what a list had to say first.
    pub(super) waited: Duration,
}

impl Done {
    /// Livy was not asked.
    pub(super) const fn without_livy(answer: Result<Response<AnswerBody>, Denial>) -> Self {
        Self {
            answer,
            livy_status: None,
            livy_took: None,
            waited: Duration::ZERO,
        }
    }
}

/// The body of an errand.
pub(super) enum Cargo {
    None,
    Json(Bytes, HeldBytes),
    /// What is known of a creation before it takes its place; its JSON is written after that.
    Creation(Box<Creation>),
    Upload(Box<Upload>),
}

impl Cargo {
    fn load(self) -> (Payload, Option<UploadBody>, Option<Trouble>, Option<HeldBytes>) {
        match self {
            Self::None | Self::Creation(_) => (Payload::Empty, None, None, None),
            Self::Json(bytes, held) => (Payload::Json(bytes), None, None, Some(held)),
            Self::Upload(upload) => {
                let (content_type, trouble) = (upload.content_type(), upload.trouble());
                (
                    Payload::Upload(content_type),
                    Some(upload.boxed_unsync()),
                    Some(trouble),
                    None,
                )
            }
        }
    }
}
