//! What becomes of Livy's answer: passed on, or replaced where it is no answer of Livy's API.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::value::RawValue;

use super::answer::{AnswerBody, Passing};
use crate::denial::Denial;
use crate::livy::operation::Method;
use crate::rewrite::{self, Endpoint};
use crate::upstream::{ReplyBody, ReplyError};

/// How a request came in, as far as its answer depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Where `Location` begins.
    pub(super) base: &'a str,
    pub(super) method: Method,
    /// Where a lost outcome can be seen.
    pub(super) look: &'static str,
}

/// Translates Livy's answer. A success passes as it arrives; an error is read first.
pub(super) async fn translate(
    endpoint: &Endpoint,
    asked: &Asked<'_>,
    reply: Response<ReplyBody>,
) -> Result<Response<AnswerBody>, Denial> {
    let read = asked.method.is_safe();
    let (head, body) = reply.into_parts();
    match head.status.as_u16() {
        200..300 => {
            let is_empty = body.size_hint().exact() == Some(0);
            let is_plain = !head.headers.contains_key(CONTENT_ENCODING);
            if !is_plain || !(is_empty || asked.method == Method::Head || is_json(&head.headers)) {
                return Err(Denial::UpstreamUnexpected { read });
            }
            let body = if asked.method.is_safe() {
                begin(body).await?
            } else {
                // It is read whole by whoever carries the request out: see `hold`.
                AnswerBody::Passing(Box::new(Passing {
                    first: None,
                    rest: body,
                }))
            };
            let mut response = Response::new(body);
            *response.status_mut() = head.status;
            response.headers_mut().reserve(HEADERS);
            copy_headers(endpoint, asked, &head.headers, response.headers_mut());
            Ok(response)
        }
        401 => Err(Denial::UpstreamLoginFailed { read }),
        400..600 if asked.method == Method::Head => {
            let mut response = with_status(head.status, AnswerBody::Whole(None));
            if is_json(&head.headers) {
                copy_headers(endpoint, asked, &head.headers, response.headers_mut());
            }
            Ok(response)
        }
        400..600 => {
            let text = if is_json(&head.headers) {
                read_whole(body, ERROR_BYTES_MAX).await.ok()
            } else {
                None
            };
            let text = judge(head.status, text, asked)?;
            let mut response = with_status(head.status, AnswerBody::whole(text));
            copy_headers(endpoint, asked, &head.headers, response.headers_mut());
            Ok(response)
        }
        _ => Err(Denial::UpstreamUnexpected { read }),
    }
}

/// A small answer is read whole, and of a larger one the first piece, before its head is passed on: if Livy's
/// connection breaks until then, the client is told so instead of losing its own.
async fn begin(mut body: ReplyBody) -> Result<AnswerBody, Denial> {
    let broken = |error: ReplyError| match error {
        ReplyError::Broken(_) => Denial::UpstreamLost,
        ReplyError::Stalled => Denial::UpstreamTimeout,
    };
    let mut first = Bytes::new();
    while first.is_empty() {
        match body.frame().await.transpose().map_err(broken)? {
            Some(frame) => first = frame.into_data().unwrap_or_default(),
            None => return Ok(AnswerBody::whole(first)),
        }
    }
    if body.is_end_stream() {
        return Ok(AnswerBody::whole(first));
    }
    let is_small = body
        .size_hint()
        .exact()
        .is_some_and(|rest| rest <= HELD_BYTES_MAX);
    if !is_small {
        return Ok(AnswerBody::Passing(Box::new(Passing {
            first: Some(first),
            rest: body,
        })));
    }
    let mut whole = BytesMut::from(first);
    while let Some(frame) = body.frame().await.transpose().map_err(broken)? {
        if let Ok(data) = frame.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(AnswerBody::whole(whole))
}

/// Reads the rest of an answer, so that the connection is free and the outcome known before the client takes any of it.
pub(super) async fn hold(
    asked: &Asked<'_>,
    response: Response<AnswerBody>,
) -> Result<Response<AnswerBody>, Denial> {
    let (head, body) = response.into_parts();
    let whole = match body {
        AnswerBody::Whole(bytes) => bytes.unwrap_or_default(),
        AnswerBody::Passing(reply) => {
            let rest = read_whole(reply.rest, REPLY_BYTES_MAX)
                .await
                .map_err(|_| Denial::OutcomeUnknown { look: asked.look })?;
            match reply.first {
                None => rest,
                Some(first) => {
                    let mut whole = BytesMut::from(first);
                    whole.extend_from_slice(&rest);
                    whole.freeze()
                }
            }
        }
    };
    Ok(Response::from_parts(head, AnswerBody::whole(whole)))
}

/// Reads the rest of a small answer whose content is going to be looked at.
pub(super) async fn hold_read(
    asked: &Asked<'_>,
    response: Response<AnswerBody>,
) -> Result<Response<AnswerBody>, Denial> {
    hold(asked, response).await.map_err(|denial| {
        if asked.method.is_safe() {
            Denial::UpstreamLost
        } else {
            denial
        }
    })
}

/// Livy's errors are JSON: an object with `msg`, or a bare string. What is not is a page of Jetty's, or a trace.
///
/// A write is answered 4xx before anything is done for it, by whomever: Livy's filters and a proxy's limits stand in
/// front. A 5xx proves that only where Livy's own handler says it: 500, in those words. Livy never says 502, 503 or 504,
/// which is a proxy that lost patience or Livy's connection while Livy may have done it; and Jetty's page for a 500 comes
/// of what that handler did not see, such as a session that exists already and cannot be written into the answer.
fn judge(status: StatusCode, text: Option<Bytes>, asked: &Asked<'_>) -> Result<Bytes, Denial> {
    let read = asked.method.is_safe();
    let page = if status == StatusCode::FORBIDDEN {
        // Livy refuses its own users with JSON; a page means that it refused the gateway (LDAP, access filter).
        Denial::UpstreamLoginFailed { read }
    } else if status.is_server_error() && !read {
        Denial::OutcomeUnknown { look: asked.look }
    } else {
        Denial::UpstreamError { status }
    };
    let Some(text) = text else { return Err(page) };
    let is_one_value = serde_json::from_slice::<&RawValue>(&text).is_ok();
    // Jetty's own pages are JSON too when the client accepts it, with the servlet's name in them.
    let is_page = contains(&text, b"\"servlet\":") && contains(&text, b"\"url\":");
    let is_in_livys_words = text.trim_ascii_start().starts_with(b"\"") || contains(&text, b"\"msg\":");
    let is_ambiguous = status.is_server_error()
        && !read
        && !(status == StatusCode::INTERNAL_SERVER_ERROR && is_in_livys_words);
    if !is_one_value || is_page || is_ambiguous {
        return Err(page);
    }
    if contains(&text, b"\\n\\tat ") || contains(&text, b"\\tat org.") {
        return Err(Denial::UpstreamError { status });
    }
    if status == StatusCode::FORBIDDEN && contains(&text, b"not allowed to impersonate") {
        return Err(Denial::UpstreamNotSuperuser { read });
    }
    Ok(text)
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

fn with_status(status: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// By allow-list: no cookie, challenge, server name or anything else of Livy's passes.
fn copy_headers(endpoint: &Endpoint, asked: &Asked<'_>, from: &HeaderMap, to: &mut HeaderMap) {
    if let Some(content_type) = from.get(CONTENT_TYPE).filter(|_| is_json(from)) {
        to.insert(CONTENT_TYPE, content_type.clone());
    }
    if let Some(location) = from
        .get(LOCATION)
        .and_then(|livy| rewrite::location(endpoint, asked.base, livy))
    {
        to.insert(LOCATION, location);
    }
    // The length that a GET would have; there is no body to tell it from.
    if let Some(length) = from.get(CONTENT_LENGTH).filter(|_| asked.method == Method::Head) {
        to.insert(CONTENT_LENGTH, length.clone());
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    })
}

async fn read_whole(mut body: ReplyBody, limit: usize) -> Result<Bytes, Option<ReplyError>> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Some)?.into_data() {
            if whole.len() + data.len() > limit {
                return Err(None);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// Room for those of Livy that pass, and for the gateway's own.
const HEADERS: usize = 8;
/// What is left of an answer that is read whole: nearly all are smaller.
const HELD_BYTES_MAX: u64 = 64 * 1024;
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// A new session with the longest conf that a creation may carry, several times over.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, text: &str) -> Result<(), Denial> {
        judged_of(Method::Get, status, text)
    }

    fn judged_of(method: Method, status: u16, text: &str) -> Result<(), Denial> {
        let status = StatusCode::from_u16(status).unwrap();
        let asked = Asked {
            base: "",
            method,
            look: "Look",
        };
        judge(status, Some(Bytes::copy_from_slice(text.as_bytes())), &asked).map(drop)
    }

    #[test]
    fn livys_own_errors_pass() {
        for (status, text) in [
            (404, r#"{"msg":"Session '7' not found."}"#),
            (400, r#"{"msg":"Rejected, Reason: requirement failed"}"#),
            (404, r#""Statement not found""#),
            (
                500,
                r#""java.lang.IllegalStateException: Session is in state starting""#,
            ),
            (403, "{}"),
        ] {
            assert_eq!(judged(status, text), Ok(()), "{text}");
            assert_eq!(judged_of(Method::Post, status, text), Ok(()), "{text}");
        }
    }

    #[test]
    fn pages_and_traces_are_replaced() {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        for text in [
            "<html><body>Error 500</body></html>",
            "",
            r#"{"servlet":"x","cause0":"java.lang.NullPointerException","message":"Server Error","url":"/sessions","status":"500"}"#,
            r#""java.lang.Error: x\n\tat org.apache.livy.Server.run(Server.scala:7)""#,
            r#"{"msg":"half"#,
        ] {
            assert_eq!(judged(500, text), Err(Denial::UpstreamError { status }), "{text}");
        }
    }

    #[test]
    fn a_write_has_failed_where_livy_itself_says_so_and_is_unknown_where_somebody_else_does() {
        let unknown = || Err(Denial::OutcomeUnknown { look: "Look" });
        let failed = |status| {
            let status = StatusCode::from_u16(status).unwrap();
            Err(Denial::UpstreamError { status })
        };
        for (status, text, judged) in [
            (500, r#""java.lang.Error: x""#, Ok(())),
            (500, r#"{"msg":"x"}"#, Ok(())),
            (
                500,
                r#""java.lang.Error: x\n\tat org.apache.livy.X""#,
                failed(500),
            ),
            (500, "<html>", unknown()),
            (500, r#"{"message":"Internal server error"}"#, unknown()),
            (502, "<html>", unknown()),
            (503, r#"{"msg":"x"}"#, unknown()),
            (504, r#""x""#, unknown()),
            (400, "<html>", failed(400)),
            (413, "<html>", failed(413)),
        ] {
            assert_eq!(judged_of(Method::Post, status, text), judged, "{status} {text}");
            assert_eq!(judged_of(Method::Delete, status, text), judged, "{status} {text}");
        }
        assert_eq!(judged(504, "<html>"), failed(504));
    }

    #[test]
    fn a_refusal_of_the_gateway_itself_is_told_to_the_operator() {
        let text = r#"{"msg":"User 'gw' not allowed to impersonate 'Some(alice)'."}"#;
        assert_eq!(
            judged(403, text),
            Err(Denial::UpstreamNotSuperuser { read: true })
        );
        assert_eq!(
            judged(403, "<html>Forbidden</html>"),
            Err(Denial::UpstreamLoginFailed { read: true })
        );
    }
}
