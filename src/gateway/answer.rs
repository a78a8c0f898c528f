//! What clients get: Livy's answer, or a refusal in the one shape that clients show to people.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use serde::Serialize;

use crate::denial::{Denial, Hint, RateLimit, whole_seconds};
use crate::livy::operation::Method;
use crate::rewrite::X_REQUEST_ID;
use crate::upstream::{ReplyBody, ReplyError};

/// An answer's body.
#[derive(Debug)]
pub enum AnswerBody {
    /// Known whole.
    Whole(Option<Bytes>),
    /// Livy's, as it arrives.
    Passing(Box<Passing>),
}

/// Livy's answer on its way.
#[derive(Debug)]
pub struct Passing {
    /// What was read before the head went out.
    pub(super) first: Option<Bytes>,
    pub(super) rest: ReplyBody,
}

impl AnswerBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passing(passing) => match passing.first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => Pin::new(&mut passing.rest).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passing(passing) => passing.first.is_none() && passing.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Passing(passing) => {
                let first = passing.first.as_ref().map_or(0, Bytes::len) as u64;
                let rest = passing.rest.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(first));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(first));
                }
                hint
            }
        }
    }
}

/// The headers that every answer has.
pub(super) fn seal<B>(response: &mut Response<B>, request_id: &HeaderValue) {
    let headers = response.headers_mut();
    headers.reserve(6);
    headers.insert(X_REQUEST_ID, request_id.clone());
    // Answers hold one user's data; shared caches must not keep them, browsers must not guess what they are.
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}

/// An answer that the gateway writes itself. A HEAD is told the length that the text would have.
pub(super) fn of_ones_own(method: Method, content_type: HeaderValue, text: String) -> Response<AnswerBody> {
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(match method {
        Method::Head => AnswerBody::Whole(None),
        Method::Get | Method::Post | Method::Delete => AnswerBody::whole(text),
    });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    if method == Method::Head {
        headers.insert(CONTENT_LENGTH, length);
    }
    response
}

/// A refusal. `challenges` are the `WWW-Authenticate` lines of a 401, Basic first: some clients see only that one.
pub(super) fn refusal(
    denial: &Denial,
    challenges: &[HeaderValue],
    request_id: &HeaderValue,
) -> Response<AnswerBody> {
    let answer = denial.answer();
    // Livy's own answer for a session that is not there, and nothing that tells the two apart.
    let is_livys = matches!(denial, Denial::NotFound { .. });
    let body = Refusal {
        msg: &answer.message,
        code: (!is_livys).then_some(answer.code),
        request_id: (!is_livys).then(|| request_id.to_str().unwrap_or_default()),
    };
    let mut response = Response::new(AnswerBody::whole(serde_json::to_vec(&body).unwrap_or_default()));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, if is_livys { LIVYS_JSON } else { JSON });
    match answer.hint {
        Hint::None => {}
        Hint::Challenge => {
            for challenge in challenges {
                headers.append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
        Hint::RetryAfter(after) => {
            headers.insert(
                RETRY_AFTER,
                HeaderValue::from(spread(whole_seconds(after), request_id)),
            );
        }
        Hint::RateLimit(limit) => {
            let after = spread(whole_seconds(limit.next), request_id);
            headers.insert(RETRY_AFTER, HeaderValue::from(after));
            tell_limit(headers, &limit);
        }
        Hint::Allow(methods) => {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
    }
    // Several clients show their user the reason phrase and nothing else.
    let reason = format!("{} - {}", canonical(answer.status), answer.reason);
    if let Ok(reason) = ReasonPhrase::try_from(reason.into_bytes())
        && !is_livys
    {
        response.extensions_mut().insert(reason);
    }
    seal(&mut response, request_id);
    response
}

/// Tells the caller its own limit and what is left of it.
pub(super) fn tell_limit(headers: &mut HeaderMap, limit: &RateLimit) {
    let RateLimit {
        policy,
        quota,
        window,
        remaining,
        next,
    } = limit;
    let window = whole_seconds(*window);
    let next = whole_seconds(*next);
    for (name, value) in [
        (RATELIMIT_POLICY, format!("\"{policy}\";q={quota};w={window}")),
        (RATELIMIT, format!("\"{policy}\";r={remaining};t={next}")),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// Up to a quarter longer, and by one second at least, as the request's id falls: those who were refused together
/// shall not come back together. Never shorter.
fn spread(seconds: u64, request_id: &HeaderValue) -> u64 {
    let lot = request_id.as_bytes().iter().fold(0_u64, |lot, byte| {
        lot.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    let choices = (seconds / 4).max(1).saturating_add(1);
    seconds.saturating_add(lot % choices)
}

fn canonical(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Refused")
}

#[derive(Debug, Serialize)]
struct Refusal<'a> {
    msg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// As Livy writes it.
pub(super) const LIVYS_JSON: HeaderValue = HeaderValue::from_static("application/json;charset=utf-8");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn waits(seconds: u64) -> BTreeSet<u64> {
        (0..1000)
            .map(|n| {
                let id = format!("01a1fe42-dad4-7000-8006-{n:012x}");
                spread(seconds, &id.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn those_refused_together_come_back_apart_never_early_and_at_most_a_quarter_late() {
        for (seconds, longest) in [(1, 2), (2, 3), (5, 6), (60, 75)] {
            assert_eq!(waits(seconds), (seconds..=longest).collect(), "{seconds}");
        }
    }

    #[test]
    fn one_request_is_told_one_time() {
        let id = HeaderValue::from_static("01a1fe42-dad4-7000-8006-0294c403cfaf");
        assert_eq!(spread(60, &id), spread(60, &id));
        assert_eq!(spread(u64::MAX, &id), u64::MAX);
    }
}
