//! The request target, brought into the one form that the router reads, or refused.
//!
//! Livy's web server decides by one reading of a path and its router by another: `;`, escapes and dot segments
//! mean different things to the two. So nothing is repaired here but the slashes that real clients send too
//! many of; every other target than a plain one is refused, and nothing of it is ever copied upstream.

use std::cmp::Reverse;

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use super::inquiry::Topic;
use super::query;
use crate::denial::Denial;

/// The paths below which a listener serves Livy's API, the longest first; none is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePaths(Vec<Box<str>>);

impl BasePaths {
    /// Base paths as the configuration has them: `/livy`, `/gateway/default/livy`; `/` or nothing for none.
    ///
    /// The error names the path and says what to write.
    pub fn new(paths: &[String]) -> Result<Self, String> {
        if paths.is_empty() {
            return Err(r#"there is no base path; write "/livy", or "/" to serve at the root"#.into());
        }
        let mut bases: Vec<Box<str>> = Vec::with_capacity(paths.len());
        for written in paths {
            let base = if written == "/" { "" } else { written.as_str() };
            if let Some(fault) = fault_of(base) {
                return Err(format!("base path {written:?} {fault}"));
            }
            if bases.iter().any(|known| **known == *base) {
                return Err(format!("base path {written:?} is written twice; write it once"));
            }
            bases.push(base.into());
        }
        bases.sort_by_key(|base| Reverse(base.len()));
        let bases = Self(bases);
        bases.refuse_shadows()?;
        Ok(bases)
    }

    /// In words, for whoever missed them.
    fn hint(&self) -> String {
        let collections: Vec<_> = self.0.iter().map(|base| format!("{base}/sessions")).collect();
        format!("This gateway serves Livy's API at {}.", collections.join(" and "))
    }

    // "/livy" beside "/livy/sessions": the second would hide the first one's sessions.
    fn refuse_shadows(&self) -> Result<(), String> {
        for long in &self.0 {
            for short in &self.0 {
                let below = long
                    .strip_prefix(&**short)
                    .and_then(|rest| rest.strip_prefix('/'));
                if let Some(word) = below.and_then(hidden_word) {
                    return Err(format!(
                        "base path {long:?} hides {word} below base path {short:?}; choose another"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The longest base path of `path`, and what comes after it. `path` begins with exactly one slash.
    fn split<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a str)> {
        self.0.iter().find_map(|base| {
            let rest = path.strip_prefix(&**base)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((&**base, rest))
        })
    }

    /// Whether a longer base path than `base` begins `base` and `path` together.
    fn reaches_beyond(&self, base: &str, path: &str) -> bool {
        self.0.iter().any(|longer| {
            longer
                .strip_prefix(base)
                .filter(|more| !more.is_empty())
                .and_then(|more| path.strip_prefix(more))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

fn fault_of(base: &str) -> Option<&'static str> {
    if base.is_empty() {
        None
    } else if !base.starts_with('/') {
        Some("does not begin with '/'; write one before it")
    } else if base.ends_with('/') {
        Some("ends with '/'; write it without")
    } else if !base.bytes().all(is_plain) {
        Some("has a character other than A-Z a-z 0-9 . _ - /; clients could not reach it")
    } else if has_pair(base, *b"//") {
        Some("has two slashes in a row; write one")
    } else if has_pair(base, *b"/.") {
        Some("has a segment that begins with '.'; choose another name")
    } else {
        None
    }
}

/// The word that a base path would hide which begins with `below` after another one. Knox's
/// `/gateway/default/livy/v1` may stand beside `/`: it hides none of the gateway's own pages.
fn hidden_word(below: &str) -> Option<&str> {
    let mut segments = below.split('/');
    let first = segments.next()?;
    let is_hidden = match (first, segments.next()) {
        ("sessions" | "batches" | "version", _) | (Topic::START, None) => true,
        (Topic::START, Some(second)) => Topic::ALL.iter().any(|topic| topic.word() == second),
        _ => false,
    };
    is_hidden.then_some(first)
}

/// A request target with one reading: a base path, a path of plain segments, and perhaps a query of readable parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    base: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// The longest target, in bytes. The longest of Livy's has some 300.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// The path of `OPTIONS *`, which asks about the server as a whole (RFC 9110 §9.3.7).
    pub const ASTERISK: &'static str = "*";

    /// Reads the target of a request, and the headers that would replace its method.
    ///
    /// Only the origin form is taken, beside `OPTIONS *`: a gateway is no forward proxy, and the authority of an
    /// absolute form could contradict the `Host` header. A fragment never gets here: [`http::Uri`] cuts it off.
    pub fn normalize(head: &'a Parts, bases: &'a BasePaths) -> Result<Self, Denial> {
        refuse_override_headers(&head.headers)?;
        refuse_other_forms(&head.uri)?;
        if head
            .uri
            .path_and_query()
            .is_some_and(|text| text.as_str().len() > Self::MAX_BYTES)
        {
            return Err(Denial::TargetTooLong);
        }
        if head.uri.path() == Self::ASTERISK {
            return Self::asterisk(&head.method);
        }
        let (base, path) = plain_path(head.uri.path(), bases)?;
        let query = head.uri.query().filter(|query| !query.is_empty());
        if let Some(query) = query {
            query::check(query)?;
        }
        Ok(Self { base, path, query })
    }

    fn asterisk(method: &Method) -> Result<Self, Denial> {
        if *method != Method::OPTIONS {
            return Err(Denial::AmbiguousTarget("'*' is for OPTIONS alone".into()));
        }
        Ok(Self {
            base: "",
            path: Self::ASTERISK,
            query: None,
        })
    }

    /// The base path by which the request came in, `/livy`; empty where Livy's API is at the root.
    pub fn base(&self) -> &'a str {
        self.base
    }

    /// The path below the base path, `/sessions/7/state`: no empty segment, none that begins with a dot, and no
    /// byte but letters, digits, `.`, `_`, `-`.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The query as it came, never empty; each of its parameters can be decoded.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }
}

// Scalatra, on which Livy stands, replaces the method of a POST by any of them.
fn refuse_override_headers(headers: &HeaderMap) -> Result<(), Denial> {
    match OVERRIDE_HEADERS
        .iter()
        .find(|(name, _)| headers.contains_key(name))
    {
        Some((_, what)) => Err(Denial::MethodOverride(what)),
        None => Ok(()),
    }
}

fn refuse_other_forms(uri: &Uri) -> Result<(), Denial> {
    if uri.scheme().is_some() {
        return Err(Denial::AmbiguousTarget(
            "the request line has a whole URL with a host, as for a forward proxy".into(),
        ));
    }
    if uri.authority().is_some() {
        return Err(Denial::AmbiguousTarget(
            "the request line has a host and no path, as for a tunnel".into(),
        ));
    }
    Ok(())
}

/// The base path and what is below it, with the slashes folded that clients send too many of: a run at the very
/// start (a base URL that ends in a slash), a run right after the base path (the same), and one at the end of the
/// first segment (Livy's own clients post to `/sessions/`).
fn plain_path<'a>(raw: &'a str, bases: &'a BasePaths) -> Result<(&'a str, &'a str), Denial> {
    if let Some(byte) = raw.bytes().find(|byte| !is_plain(*byte)) {
        return Err(Denial::AmbiguousTarget(
            format!("its path has {}", named(byte)).into(),
        ));
    }
    if has_pair(raw, *b"/.") {
        return Err(Denial::AmbiguousTarget(
            "a segment of its path begins with '.'".into(),
        ));
    }
    let whole = fold_start(raw);
    let Some((base, rest)) = bases.split(whole) else {
        refuse_empty_segments(whole)?;
        return Err(Denial::UnknownOperation(bases.hint().into()));
    };
    let path = fold_start(rest);
    // "/a//b" with the base paths "/a" and "/a/b": folded it would belong to the other one.
    if path.len() < rest.len() && bases.reaches_beyond(base, path) {
        return Err(empty_segment());
    }
    let path = fold_end(path);
    refuse_empty_segments(path)?;
    Ok((base, path))
}

/// `path` with one slash at its start in the place of any number; `/` for nothing.
fn fold_start(path: &str) -> &str {
    let bare = path.trim_start_matches('/');
    let slashes = path.len() - bare.len();
    slashes
        .checked_sub(1)
        .and_then(|surplus| path.get(surplus..))
        .unwrap_or("/")
}

/// `/sessions/` without its last slash. Deeper ones keep it, and are refused for it, as Livy does.
fn fold_end(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(segment) if segment.rfind('/') == Some(0) => segment,
        Some(_) | None => path,
    }
}

fn refuse_empty_segments(path: &str) -> Result<(), Denial> {
    if has_pair(path, *b"//") || (path.len() > 1 && path.ends_with('/')) {
        return Err(empty_segment());
    }
    Ok(())
}

fn empty_segment() -> Denial {
    Denial::AmbiguousTarget("a segment of its path is empty, which means a '/' too many".into())
}

fn has_pair(path: &str, pair: [u8; 2]) -> bool {
    path.as_bytes().windows(2).any(|two| two == pair)
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-')
}

/// A byte as a sentence can show it.
pub(super) fn named(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("a '{}'", char::from(byte))
    } else {
        format!("the byte 0x{byte:02X}")
    }
}

static OVERRIDE_HEADERS: [(HeaderName, &str); 3] = [
    (
        HeaderName::from_static("x-http-method-override"),
        "The header X-HTTP-Method-Override",
    ),
    (
        HeaderName::from_static("x-http-method"),
        "The header X-HTTP-Method",
    ),
    (
        HeaderName::from_static("x-method-override"),
        "The header X-Method-Override",
    ),
];

#[cfg(test)]
mod tests;
