//! W3C Trace Context: a trace that a client began goes on at Livy, with this gateway's part in between.

use http::{HeaderMap, HeaderValue};

use crate::rewrite::TRACEPARENT;

/// This gateway's part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    /// The whole trace's, as the client wrote it.
    pub(super) trace_id: Box<str>,
    /// This part's.
    pub(super) span_id: Box<str>,
    /// What Livy gets.
    pub(super) traceparent: HeaderValue,
}

impl Trace {
    /// Goes on with the trace of a request (Trace Context §3.2, version 00); nothing if it has none, or one that is
    /// malformed, which is dropped as the standard says. This part's id is the middle of the request's own, which is its time
    /// and its number: who has one finds the other.
    pub(super) fn of(headers: &HeaderMap, request_id: &HeaderValue) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        let fields: Vec<&str> = value.to_str().ok()?.split('-').collect();
        let [version, trace_id, parent_id, flags] = fields.as_slice() else {
            return None;
        };
        let is_id = |field: &str, length| is_hex(field, length) && field.bytes().any(|byte| byte != b'0');
        if *version != "00" || !is_id(trace_id, 32) || !is_id(parent_id, 16) || !is_hex(flags, 2) {
            return None;
        }
        let own: String = request_id.to_str().ok()?.split('-').collect();
        let span_id = own.get(4..20)?;
        Some(Self {
            trace_id: (*trace_id).into(),
            span_id: span_id.into(),
            traceparent: HeaderValue::try_from(format!("00-{trace_id}-{span_id}-{flags}")).ok()?,
        })
    }
}

fn is_hex(field: &str, length: usize) -> bool {
    field.len() == length
        && field
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST_ID: HeaderValue = HeaderValue::from_static("01a1fe42-dad4-7000-8006-0294c403cfaf");
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn of(values: &[&str]) -> Option<Trace> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        Trace::of(&headers, &REQUEST_ID)
    }

    #[test]
    fn a_trace_goes_on_with_a_part_of_its_own() {
        let trace = of(&[&format!("00-{TRACE}-b7ad6b7169203331-01")]).unwrap();
        assert_eq!(&*trace.trace_id, TRACE);
        assert_eq!(&*trace.span_id, "fe42dad470008006");
        assert_eq!(trace.traceparent, format!("00-{TRACE}-fe42dad470008006-01"));
    }

    #[test]
    fn what_is_malformed_or_given_twice_is_no_trace() {
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        assert_eq!(of(&[&good, &good]), None);
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &format!("{good}-more"),
            &good.replace("00-0af", "ff-0af"),
            &good.replace(TRACE, &"0".repeat(32)),
            &good.replace("b7ad6b7169203331", &"0".repeat(16)),
            &good.replace("b7ad6b71", "b7ad6b7"),
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
    }
}
