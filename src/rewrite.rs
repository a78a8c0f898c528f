//! What Livy gets: a request composed from parsed values, and nothing the client wrote.
//!
//! The only place that writes `doAs` and `proxyUser`. An [`Outbound`] exists only for a [`Grant`], or for one of the
//! [`OwnCall`]s: the closed set of what the gateway asks Livy for itself.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::access::Grant;
use crate::denial::Denial;
use crate::identity::LivyUser;
use crate::livy::marker::Marker;
use crate::livy::operation::{Action, Method, Operation, TimeoutClass};
use crate::livy::query::Page;
use crate::livy::session_ref::{Kind, SessionRef};

/// How Livy is told for whom it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impersonate {
    /// `doAs` on every request, and an equal `proxyUser` in every creation.
    Both,
    /// `doAs` only.
    DoAs,
    /// `proxyUser` in creations only, for Livy-like servers without `doAs`.
    ProxyUser,
}

/// How the gateway itself logs in to Livy.
#[derive(Debug, Clone)]
pub enum UpstreamLogin {
    /// Not at all.
    None,
    /// This `Authorization` header, marked sensitive.
    Basic(HeaderValue),
    /// `?user.name=`, Hadoop's pseudo authentication.
    Simple {
        /// The gateway's own name.
        user: String,
    },
}

/// How requests to one Livy are written.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The `Host` header.
    pub host: HeaderValue,
    /// What stands before Livy's own paths, such as `/livy`; usually empty.
    pub path_prefix: String,
    /// How Livy is told for whom it acts.
    pub impersonate: Impersonate,
    /// How the gateway logs in.
    pub login: UpstreamLogin,
}

impl Endpoint {
    fn says_do_as(&self) -> bool {
        match self.impersonate {
            Impersonate::Both | Impersonate::DoAs => true,
            Impersonate::ProxyUser => false,
        }
    }

    /// The `proxyUser` that a creation for `user` carries.
    pub fn proxy_user<'a>(&self, user: &'a LivyUser) -> Option<&'a str> {
        match self.impersonate {
            Impersonate::Both | Impersonate::ProxyUser => Some(user.as_str()),
            Impersonate::DoAs => None,
        }
    }
}

/// What travels with a request beside its meaning.
#[derive(Debug, Clone, Copy)]
pub struct Trail<'a> {
    /// The gateway's id of the request.
    pub request_id: &'a HeaderValue,
    /// The client's W3C `traceparent`, if it sent a well-formed one.
    pub traceparent: Option<&'a HeaderValue>,
}

/// A request's body on its way to Livy.
#[derive(Debug)]
pub enum Payload {
    /// None.
    Empty,
    /// JSON, whole.
    Json(Bytes),
    /// A file that is streamed beside this; its content type, with the gateway's own boundary.
    Upload(HeaderValue),
}

/// A request for Livy. Only this module makes one.
#[derive(Debug)]
pub struct Outbound {
    head: Request<()>,
    payload: Payload,
    timeout: TimeoutClass,
    operation: &'static str,
}

impl Outbound {
    /// Method, target and headers.
    pub const fn head(&self) -> &Request<()> {
        &self.head
    }

    /// Whether asking twice is harmless.
    pub fn is_safe(&self) -> bool {
        self.head.method().is_safe()
    }

    /// How long Livy may take.
    pub const fn timeout(&self) -> TimeoutClass {
        self.timeout
    }

    /// The operation's name, for logs.
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// The parts, for whoever sends it.
    pub fn into_parts(self) -> (Request<()>, Payload) {
        (self.head, self.payload)
    }
}

/// What the gateway asks Livy for itself.
#[derive(Debug, Clone)]
pub enum OwnCall {
    /// Whether Livy answers.
    Version,
    /// The whole list of a kind.
    List(Kind),
    /// Deletes what Livy made as somebody else than it was told, or what nobody was told of.
    Delete(Kind, Marker),
}

/// Writes a granted request.
pub fn outbound(
    endpoint: &Endpoint,
    grant: &Grant,
    method: Method,
    page: &Page,
    payload: Payload,
    trail: Trail<'_>,
) -> Result<Outbound, Denial> {
    let operation = grant.at_livy();
    let mut target = Target::new(endpoint, operation);
    if endpoint.says_do_as() {
        target.parameter("doAs", grant.livy_user().as_str());
    }
    target.page(page);
    target.login(&endpoint.login);
    compose(endpoint, method, operation, target.0, payload, Some(trail))
}

/// Writes one of the gateway's own requests. It goes as the gateway itself.
pub fn own_call(endpoint: &Endpoint, call: &OwnCall) -> Result<Outbound, Denial> {
    let (operation, page) = match call {
        OwnCall::Version => (Operation::Version, Page::default()),
        OwnCall::List(kind) => (Operation::List(*kind), WHOLE),
        OwnCall::Delete(kind, marker) => {
            let name = marker.name().ok_or(Denial::Internal)?;
            let session = SessionRef::by_name(*kind, name);
            (Operation::On(session, Action::Delete), Page::default())
        }
    };
    let mut target = Target::new(endpoint, &operation);
    target.page(&page);
    target.login(&endpoint.login);
    compose(
        endpoint,
        operation.method(),
        &operation,
        target.0,
        Payload::Empty,
        None,
    )
}

fn compose(
    endpoint: &Endpoint,
    method: Method,
    operation: &Operation,
    target: String,
    payload: Payload,
    trail: Option<Trail<'_>>,
) -> Result<Outbound, Denial> {
    let mut head = Request::new(());
    *head.method_mut() = match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Delete => http::Method::DELETE,
    };
    // Every byte of it was written here, from parts of small alphabets; a failure is a defect.
    *head.uri_mut() = Uri::from_maybe_shared(Bytes::from(target)).map_err(|_| Denial::Internal)?;
    write_headers(head.headers_mut(), endpoint, &payload, trail);
    Ok(Outbound {
        head,
        payload,
        timeout: operation.timeout(),
        operation: operation.label(),
    })
}

fn write_headers(headers: &mut HeaderMap, endpoint: &Endpoint, payload: &Payload, trail: Option<Trail<'_>>) {
    headers.reserve(8);
    headers.insert(HOST, endpoint.host.clone());
    headers.insert(ACCEPT, JSON);
    // Livy with CSRF protection wants it on every write, and half of the clients do not send it.
    headers.insert(X_REQUESTED_BY, GATEWAY);
    match payload {
        Payload::Empty => {}
        Payload::Json(_) => {
            headers.insert(CONTENT_TYPE, JSON);
        }
        Payload::Upload(content_type) => {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
    }
    if let Some(trail) = trail {
        headers.insert(X_REQUEST_ID, trail.request_id.clone());
        if let Some(traceparent) = trail.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
    }
    match &endpoint.login {
        UpstreamLogin::Basic(authorization) => {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        UpstreamLogin::None | UpstreamLogin::Simple { .. } => {}
    }
}

/// A request target being written: path, then parameters.
struct Target(String);

impl Target {
    fn new(endpoint: &Endpoint, operation: &Operation) -> Self {
        let mut text = String::with_capacity(endpoint.path_prefix.len() + 96);
        text.push_str(&endpoint.path_prefix);
        // Writing to a String cannot fail.
        let _ = write!(text, "{operation}");
        Self(text)
    }

    fn separator(&mut self) {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
    }

    fn parameter(&mut self, name: &str, value: &str) {
        self.separator();
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, VALUE));
    }

    fn page(&mut self, page: &Page) {
        if !page.is_empty() {
            self.separator();
            page.write_query(&mut self.0);
        }
    }

    fn login(&mut self, login: &UpstreamLogin) {
        match login {
            UpstreamLogin::Simple { user } => self.parameter("user.name", user),
            UpstreamLogin::None | UpstreamLogin::Basic(_) => {}
        }
    }
}

/// Where Livy says the new thing is, below the base path that the request came in by. Anything but a plain path of
/// Livy's is dropped: it may name an internal host.
pub fn location(endpoint: &Endpoint, base: &str, livy: &HeaderValue) -> Option<HeaderValue> {
    let text = livy.to_str().ok()?;
    let path = text.strip_prefix(endpoint.path_prefix.as_str()).unwrap_or(text);
    let is_plain = path.starts_with('/')
        && !path.contains("//")
        && !path.contains("..")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-'));
    if !is_plain {
        return None;
    }
    HeaderValue::from_str(&format!("{base}{path}")).ok()
}

/// All that Livy has in one answer, which no creation or deletion between two pages can make inconsistent.
const WHOLE: Page = Page {
    from: Some(0),
    size: Some(i32::MAX),
    order: None,
};
/// The names of users need no escape but for `@`; everything that is not surely plain gets one.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GATEWAY: HeaderValue = HeaderValue::from_static("livy-gateway");
/// Livy's CSRF header.
const X_REQUESTED_BY: HeaderName = HeaderName::from_static("x-requested-by");
/// The request's id, the same in every log.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
