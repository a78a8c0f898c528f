//! The story of a request, from its target to Livy's answer. Each step's result is what the next one needs. What is
//! a creation's alone is in `creation`, what one session needs in `sessions`, lists are in `listing`, limits in
//! `limiting`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::answer::AnswerBody;
use super::body::Pace;
use super::errand::{Cargo, Errand};
use super::report::Report;
use super::upload::Upload;
use super::{Gateway, browser};
use crate::access::{self, Grant};
use crate::authn::TokenUse;
use crate::body_policy::{self, Coding};
use crate::denial::Denial;
use crate::identity::{Acting, Principal};
use crate::ledger::Place;
use crate::listener::Peer;
use crate::livy::LimitClass;
use crate::livy::multipart::MultipartRewriter;
use crate::livy::operation::{BodyKind, JsonBody, Method, Operation};
use crate::livy::route::{Call, Routed, route};
use crate::livy::target::Target;
use crate::login::{LoginPolicy, PresentedCertificate};
use crate::policy::Policy;

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
        report.trace(&head.headers);
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

        let principal = self.authenticate(policy, &head, call.method, peer).await?;
        report.identified(&principal);
        let acting = policy.identities.acting(
            &principal,
            peer.address.ip(),
            &named(call.requested_user.as_deref(), None),
        )?;
        report.acts_as(acting.livy_user());
        let class = (call.operation.limit_class(), call.method.is_safe());
        self.enter(policy, &principal, acting.livy_user(), class, report)?;
        let granted = self.grant(policy, peer, &principal, acting, &call, report);
        let (grant, place, held_back) = granted.await?;

        let is_bare = grant.operation().body() == BodyKind::Empty && body.is_end_stream();
        let (grant, cargo) = if is_bare {
            (grant, Cargo::None)
        } else {
            Box::pin(self.receive(policy, peer, &head, body, &call, grant)).await?
        };
        report.acts_as(grant.livy_user());
        if may_name_its_user_in_the_body(policy, &principal, &call.operation) {
            self.enter(policy, &principal, grant.livy_user(), class, report)?;
            self.spend(policy, &principal, grant.livy_user(), class.0, report)
                .await?;
        }
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
            seat: self.seat(grant.charged(), report),
            held_back,
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
            traceparent: report.traceparent(),
        };
        if errand.grant.operation().outlives_client() {
            self.carry_out_to_the_end(policy, errand, report).await
        } else {
            let done = if call.method.is_safe() {
                self.carry_out(policy, &mut errand).await
            } else {
                Box::pin(self.carry_out_held(policy, errand)).await
            };
            report.heard_from_livy(&done);
            done.answer
        }
    }

    /// Grants the operation, and counts it under the limits of the one for whom it is: the owner of a session that a
    /// delegate uses, and whoever asked in every other case. Gives back how long it was held back for that.
    async fn grant(
        &self,
        policy: &Policy,
        peer: Peer,
        principal: &Arc<Principal>,
        acting: Acting,
        call: &Call,
        report: &mut Report<'_>,
    ) -> Result<(Grant, Option<Arc<Place>>, Duration), Denial> {
        let operation = &call.operation;
        let class = operation.limit_class();
        let Operation::On(session, action) = operation else {
            let mut held_back = Duration::ZERO;
            if !may_name_its_user_in_the_body(policy, principal, operation) {
                held_back = self
                    .spend(policy, principal, acting.livy_user(), class, report)
                    .await?;
            }
            let grant = access::authorize(Arc::clone(principal), acting, operation.clone());
            return Ok((grant, None, held_back));
        };
        let address = peer.address.ip();
        let find = |acting: Acting| {
            self.grant_session(policy, address, Arc::clone(principal), acting, session, *action)
        };
        let mut found = find(acting.clone()).await;
        let (charged, class) = match &found {
            Ok((grant, _)) => (grant.charged(), class),
            // Who asks for what is not there is counted too, in the same way as for what is another's, and as for a read:
            // there is no load to take away.
            Err(Denial::NotFound { .. }) => (acting.livy_user(), class.or(Some(LimitClass::Read))),
            Err(_) => (acting.livy_user(), class),
        };
        if charged != acting.livy_user() {
            let class = (class, call.method.is_safe());
            self.enter(policy, principal, charged, class, report)?;
        }
        let held_back = self.spend(policy, principal, charged, class, report).await?;
        if !held_back.is_zero() {
            found = Box::pin(find(acting)).await;
        }
        let (grant, place) = found?;
        report.acts_as(grant.livy_user());
        report.granted(&grant, &place);
        Ok((grant, Some(place), held_back))
    }

    pub(super) async fn authenticate(
        &self,
        policy: &Policy,
        head: &Parts,
        method: Method,
        peer: Peer,
    ) -> Result<Arc<Principal>, Denial> {
        let wish = if method.is_safe() {
            TokenUse::Read
        } else {
            TokenUse::Write
        };
        let login = LoginPolicy {
            authn: &policy.authn,
            identities: &policy.identities,
            generation: policy.generation,
            wish,
        };
        let logins = &self.0.shared.logins;
        let listener = policy.listeners.get(peer.listener);
        let certificates = listener.and_then(|listener| listener.client_certificates.as_deref());
        let presented = presented_certificate(head);
        // Whoever writes an `Authorization` header means that one: a header that is wrong must not end in being somebody
        // else.
        if let Some(presented) = presented
            && !head.headers.contains_key(AUTHORIZATION)
        {
            return logins.by_certificate(&login, certificates, presented);
        }
        if let Some(certificates) = certificates
            && certificates.are_required()
        {
            logins.demand_certificate(&login, certificates, presented)?;
        }
        if let Some(principal) = logins.cached(&login, &head.headers) {
            return Ok(principal);
        }
        // Boxed as all that is rare: its future would be carried along by every request.
        Box::pin(logins.authenticate(&login, &head.headers, peer.address.ip())).await
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
        let (bytes, _held) = self.read_whole(body, EMPTY_BYTES_MAX, method).await?;
        body_policy::check_empty(&bytes)
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
        let (sent, mut held) = self.read_whole(body, limit, call.method).await?;
        let bytes = match coding {
            Coding::Plain => sent,
            Coding::Gzip => {
                let unpacked = body_policy::decode_gzip(&sent, limit)?;
                held.grow(unpacked.len().saturating_sub(sent.len()), call.method)?;
                Bytes::from(unpacked)
            }
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
                let creation = self.plan(policy, &grant, *kind, &head.headers, (checked, held))?;
                Ok((grant, Cargo::Creation(Box::new(creation))))
            }
            Operation::Version | Operation::List(_) | Operation::On(..) => {
                Ok((grant, Cargo::Json(checked.render(None, None).into(), held)))
            }
        }
    }
}

/// What the client presented when it opened the request's connection.
fn presented_certificate(head: &Parts) -> Option<&PresentedCertificate> {
    head.extensions
        .get::<Arc<PresentedCertificate>>()
        .map(AsRef::as_ref)
}

/// A service that may act for others says only in the body for whom it creates.
fn may_name_its_user_in_the_body(policy: &Policy, principal: &Principal, operation: &Operation) -> bool {
    matches!(operation, Operation::Create(_)) && policy.identities.is_delegate(principal)
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
