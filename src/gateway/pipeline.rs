//! The story of a request, from its target to Livy's answer. Each step's result is what the next one needs. What is
//! a creation's alone is in `creation`, what one session needs in `sessions`, lists are in `listing`.
//!
//! One step has its place here and nothing in it yet: the user's own limit, before the grant.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tracing::info;

use super::answer::AnswerBody;
use super::body::Pace;
use super::creation::Creation;
use super::reply::{self, Asked};
use super::report::Report;
use super::sessions::{as_the_client_knows_it, names_the_session, with_own_location};
use super::upload::{Trouble, Upload};
use super::{Gateway, Shared, browser};
use crate::access::{self, Grant};
use crate::body_policy::{self, Coding};
use crate::denial::Denial;
use crate::identity::Principal;
use crate::ledger::{Place, PlaceKey, Settlement};
use crate::listener::Peer;
use crate::livy::multipart::MultipartRewriter;
use crate::livy::operation::{Action, BodyKind, JsonBody, Method, Operation};
use crate::livy::query::Page;
use crate::livy::route::{Call, Routed, route};
use crate::livy::target::Target;
use crate::login::LoginPolicy;
use crate::policy::Policy;
use crate::rewrite::{self, Outbound, Payload, TRACEPARENT, Trail};
use crate::upstream::{Failure, ReplyBody, Reuse, UploadBody};

impl Gateway {
    /// Answers the request, or says why not.
    pub(super) async fn serve(
        &self,
        policy: &Arc<Policy>,
        peer: Peer,
        request: Request<Incoming>,
        report: &mut Report<'_>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let (head, body) = request.into_parts();
        let listener = policy.listeners.get(peer.listener).ok_or(Denial::Internal)?;

        let target = Target::normalize(&head, &listener.base_paths)
            .map_err(|denial| report.unrouted(&head, denial))?;
        let call = match route(&head.method, &target).map_err(|denial| report.unrouted(&head, denial))? {
            Routed::Call(call) => call,
            Routed::Inquiry(inquiry) => {
                return Box::pin(self.inquire(policy, peer, &head, body, inquiry, report)).await;
            }
            Routed::Options { allow } => {
                report.unrouted(&head, ());
                return Ok(options(allow));
            }
        };
        report.routed(&call.operation);
        browser::check_origin(call.method, &head.headers)?;
        check_expectation(&head.headers)?;

        let principal = self.authenticate(policy, &head.headers, peer).await?;
        report.identified(&principal);
        let acting = policy.identities.acting(
            &principal,
            peer.address.ip(),
            &named(call.requested_user.as_deref(), None),
        )?;
        let (grant, place) = match &call.operation {
            Operation::Version | Operation::List(_) | Operation::Create(_) => {
                let grant = access::authorize(Arc::clone(&principal), acting, call.operation.clone());
                (grant, None)
            }
            Operation::On(session, action) => {
                let principal = Arc::clone(&principal);
                let address = peer.address.ip();
                let granted = self.grant_session(policy, address, principal, acting, session, *action);
                let (grant, place) = granted.await?;
                report.granted(&grant, &place);
                (grant, Some(place))
            }
        };

        let is_bare = grant.operation().body() == BodyKind::Empty && body.is_end_stream();
        let (grant, cargo) = if is_bare {
            (grant, Cargo::None)
        } else {
            Box::pin(self.receive(policy, peer, &head, body, &call, grant)).await?
        };
        report.acts_as(grant.livy_user());
        if let Operation::List(kind) = &call.operation {
            let list = self.list(
                policy,
                peer.address.ip(),
                &grant,
                *kind,
                (call.method, &call.page),
            );
            return Box::pin(list).await;
        }
        let mut errand = Errand {
            grant,
            place,
            method: call.method,
            page: call.page,
            cargo,
            base: if call.method.is_safe() {
                Box::default()
            } else {
                target.base().into()
            },
            request_id: report.request_id().clone(),
            peer: peer.address,
            traceparent: traceparent(&head.headers),
        };
        if errand.grant.operation().outlives_client() {
            self.carry_out_to_the_end(policy, errand, report).await
        } else {
            let done = if call.method.is_safe() {
                self.carry_out(policy, &mut errand).await
            } else {
                Box::pin(self.carry_out_held(policy, errand)).await
            };
            report.heard_from_livy(done.livy_status, done.livy_took);
            done.answer
        }
    }

    pub(super) async fn authenticate(
        &self,
        policy: &Policy,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<Arc<Principal>, Denial> {
        let login = LoginPolicy {
            authn: &policy.authn,
            identities: &policy.identities,
            generation: policy.generation,
        };
        let logins = &self.0.shared.logins;
        match logins.cached(&login, headers) {
            Some(principal) => Ok(principal),
            // Boxed as all that is rare: its future would be carried along by every request.
            None => Box::pin(logins.authenticate(&login, headers, peer.address.ip())).await,
        }
    }

    /// Reads and checks the body as the operation wants it. For whom a creation runs may stand in it.
    async fn receive(
        &self,
        policy: &Policy,
        peer: Peer,
        head: &Parts,
        body: Incoming,
        call: &Call,
        grant: Grant,
    ) -> Result<(Grant, Cargo), Denial> {
        match grant.operation().body() {
            BodyKind::Empty => {
                self.receive_nothing(body, call.method).await?;
                Ok((grant, Cargo::None))
            }
            BodyKind::Json(kind) => {
                self.receive_json(policy, peer, head, body, call, grant, kind)
                    .await
            }
            BodyKind::Upload(resource) => {
                let limit = policy.requests.max_upload;
                if body.size_hint().lower() > limit.saturating_add(MULTIPART_OVERHEAD_MAX) {
                    return Err(Denial::BodyTooLarge { limit });
                }
                check_not_encoded(&head.headers)?;
                let content_type = head.headers.get(CONTENT_TYPE);
                let rewriter = MultipartRewriter::new(content_type, resource, limit, boundary()?)?;
                let upload = Upload::begin(body, rewriter, Pace::new(self)).await?;
                Ok((grant, Cargo::Upload(Box::new(upload))))
            }
        }
    }

    /// Takes no body, or one that says nothing.
    pub(super) async fn receive_nothing(&self, body: Incoming, method: Method) -> Result<(), Denial> {
        if body.is_end_stream() {
            return Ok(());
        }
        body_policy::check_empty(&self.read_whole(body, EMPTY_BYTES_MAX, method).await?)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one request, used in one place"
    )]
    async fn receive_json(
        &self,
        policy: &Policy,
        peer: Peer,
        head: &Parts,
        body: Incoming,
        call: &Call,
        grant: Grant,
        kind: JsonBody,
    ) -> Result<(Grant, Cargo), Denial> {
        let coding = body_policy::json_coding(&head.headers)?;
        let limit = policy.requests.max_body;
        let sent = self.read_whole(body, limit, call.method).await?;
        let bytes = match coding {
            Coding::Plain => sent,
            Coding::Gzip => Bytes::from(body_policy::decode_gzip(&sent, limit)?),
        };
        let mut checked = body_policy::check(&bytes, kind, &policy.requests.extra_fields)?;
        let grant = match checked.requested_user() {
            None => grant,
            Some(in_body) => {
                let names = named(call.requested_user.as_deref(), Some(in_body));
                let acting = policy
                    .identities
                    .acting(grant.principal(), peer.address.ip(), &names)?;
                grant.acting_as(acting)
            }
        };
        checked.apply_rules(&policy.requests.rules, &grant.who())?;
        match grant.operation() {
            Operation::Create(kind) => {
                let creation = self.plan(policy, &grant, *kind, &head.headers, checked)?;
                Ok((grant, Cargo::Creation(Box::new(creation))))
            }
            Operation::Version | Operation::List(_) | Operation::On(..) => {
                Ok((grant, Cargo::Json(checked.render(None, None).into())))
            }
        }
    }

    /// A creation, deletion or stop runs to its end though its client may leave.
    async fn carry_out_to_the_end(
        &self,
        policy: &Arc<Policy>,
        errand: Errand,
        report: &mut Report<'_>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let (gateway, policy) = (self.clone(), Arc::clone(policy));
        let look = errand.grant.operation().where_to_look();
        let (sender, receiver) = oneshot::channel();
        let detached = Detached::begin(&self.0.shared);
        tokio::spawn(async move {
            let _detached = detached;
            let (operation, user) = (errand.grant.operation().label(), errand.grant.livy_user().clone());
            let request_id = errand.request_id.clone();
            let done = Box::pin(gateway.carry_out_held(&policy, errand)).await;
            let status = done.livy_status;
            if sender.send(done).is_err() {
                let request_id = request_id.to_str().unwrap_or_default();
                info!(request_id, operation, %user, livy_status = status, "ran to its end after its client had left");
            }
        });
        // Nothing comes if the task ended by a defect, and what it had sent is sent.
        let done = receiver.await.map_err(|_| Denial::OutcomeUnknown { look })?;
        report.heard_from_livy(done.livy_status, done.livy_took);
        done.answer
    }

    /// Carries out, reads the whole answer and draws the consequences.
    async fn carry_out_held(&self, policy: &Policy, mut errand: Errand) -> Done {
        if let Cargo::Creation(creation) = errand.cargo {
            errand.cargo = Cargo::None;
            return self.create(policy, errand, *creation).await;
        }
        let deleted = match (errand.grant.operation(), &errand.place) {
            (Operation::On(_, Action::Delete), Some(place)) => Some(place.key.clone()),
            (Operation::On(..) | Operation::Version | Operation::List(_) | Operation::Create(_), _) => None,
        };
        let ending = self.audit_ending(&errand);
        let mut done = self.carry_out(policy, &mut errand).await;
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

    /// Asks Livy, and translates its answer.
    pub(super) async fn carry_out(&self, policy: &Policy, errand: &mut Errand) -> Done {
        if let Some(place) = &errand.place
            && let Err(denial) = self.means_the_same_still(errand.grant.operation(), place).await
        {
            return Done::without_livy(Err(denial));
        }
        let began = self.0.shared.clock.monotonic();
        let method = errand.method;
        if errand.reads_a_renamed_session() {
            // The length of what the client would get is known when it was read.
            errand.method = Method::Get;
        }
        let heard = self.forward(policy, errand).await;
        let livy_took = self.0.shared.clock.monotonic().saturating_sub(began);
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
            livy_took,
        }
    }

    /// Sends it. Only what is safe to ask twice goes a second time, when a kept connection turned out to be dead.
    async fn forward(&self, policy: &Policy, errand: &mut Errand) -> Result<Response<ReplyBody>, Denial> {
        let is_safe = errand.method.is_safe();
        let (payload, upload, trouble) = std::mem::replace(&mut errand.cargo, Cargo::None).load();
        let outbound = errand.compose(policy, payload)?;
        let upstream = &self.0.upstream;
        let first = upstream
            .send(&policy.livy, outbound, upload, Reuse::Allowed)
            .await;
        let heard = match first {
            Err(Failure::Stale) if is_safe => {
                let again = errand.compose(policy, Payload::Empty)?;
                Box::pin(upstream.send(&policy.livy, again, None, Reuse::Never)).await
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
    pub(super) grant: Grant,
    /// The session that it is done to.
    pub(super) place: Option<Arc<Place>>,
    method: Method,
    page: Page,
    pub(super) cargo: Cargo,
    /// Where `Location` begins; empty for reads, whose answers have none.
    pub(super) base: Box<str>,
    pub(super) request_id: HeaderValue,
    /// From where it was asked for.
    pub(super) peer: SocketAddr,
    traceparent: Option<HeaderValue>,
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
    livy_status: Option<u16>,
    livy_took: Duration,
}

impl Done {
    /// Livy was not asked.
    pub(super) const fn without_livy(answer: Result<Response<AnswerBody>, Denial>) -> Self {
        Self {
            answer,
            livy_status: None,
            livy_took: Duration::ZERO,
        }
    }
}

/// The body of an errand.
pub(super) enum Cargo {
    None,
    Json(Bytes),
    /// What is known of a creation before it takes its place; its JSON is written after that.
    Creation(Box<Creation>),
    Upload(Box<Upload>),
}

impl Cargo {
    fn load(self) -> (Payload, Option<UploadBody>, Option<Trouble>) {
        match self {
            Self::None | Self::Creation(_) => (Payload::Empty, None, None),
            Self::Json(bytes) => (Payload::Json(bytes), None, None),
            Self::Upload(upload) => {
                let (content_type, trouble) = (upload.content_type(), upload.trouble());
                (
                    Payload::Upload(content_type),
                    Some(upload.boxed_unsync()),
                    Some(trouble),
                )
            }
        }
    }
}

/// The users that a client named, if any.
pub(super) fn named<'a>(in_query: Option<&'a str>, in_body: Option<&'a str>) -> Vec<&'a str> {
    in_query.into_iter().chain(in_body).collect()
}

/// `OPTIONS` never goes to Livy, and grants no other site anything.
fn options(allow: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
        .headers_mut()
        .insert(http::header::ALLOW, HeaderValue::from_static(allow));
    response
}

pub(super) fn check_expectation(headers: &HeaderMap) -> Result<(), Denial> {
    let is_known = headers
        .get_all(EXPECT)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if is_known {
        Ok(())
    } else {
        Err(Denial::UnsupportedExpectation)
    }
}

/// A file passes as it is; what is encoded could not be looked at.
fn check_not_encoded(headers: &HeaderMap) -> Result<(), Denial> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Denial::UnsupportedBody(
            "Uploads are taken without Content-Encoding. Leave the header out.".into(),
        ));
    }
    Ok(())
}

/// W3C Trace Context §3.2, version 00; anything else is not passed on.
fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(TRACEPARENT)?;
    let fields: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b'-').collect();
    let [version, trace, parent, flags] = fields.as_slice() else {
        return None;
    };
    let is_hex = |field: &[u8], length| {
        field.len() == length && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_well_formed = *version == b"00" && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    is_well_formed.then(|| value.clone())
}

/// Not to be guessed, or a file could hold it.
fn boundary() -> Result<String, Denial> {
    use std::fmt::Write;
    let mut random = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Denial::Internal)?;
    Ok(random
        .iter()
        .fold(String::from("livy-gateway-"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
}

/// Room for `{}` and white space.
const EMPTY_BYTES_MAX: usize = 4 * 1024;
/// What a multipart body may hold beside its file.
const MULTIPART_OVERHEAD_MAX: u64 = 16 * 1024;
