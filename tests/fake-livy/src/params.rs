//! Request parameters as Jetty and Scalatra collect them: from the query, a form body, and multipart fields.

use crate::Version;
use crate::target::decode_query;
use crate::wire::Head;

/// One part of a multipart body.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// As Scalatra cuts it out of the header, unsafe characters and all.
    pub(crate) file_name: Option<String>,
    pub(crate) content: Vec<u8>,
}

/// Everything that counts as a parameter, in the order that decides: query, form, multipart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    pub(crate) files: Vec<Part>,
    /// Whether the body was eaten as a form or as multipart, so that Livy finds none.
    pub(crate) body_eaten: bool,
}

/// Why parameters could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadParams {
    Query,
    Multipart,
    FormTooLarge,
}

/// Jetty's `maxFormContentSize`, in bytes.
const FORM_BYTES_MAX: usize = 200_000;

impl Params {
    pub(crate) fn collect(
        query: Option<&str>,
        head: &Head,
        method: &str,
        body: &[u8],
    ) -> Result<Self, BadParams> {
        let mut params = Self {
            pairs: decode_query(query.unwrap_or_default()).ok_or(BadParams::Query)?,
            ..Self::default()
        };
        let content_type = head.header("content-type").unwrap_or_default();
        let kind = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let writes = method == "POST" || method == "PUT";
        if kind == "application/x-www-form-urlencoded" && writes {
            if body.len() > FORM_BYTES_MAX {
                return Err(BadParams::FormTooLarge);
            }
            let form = String::from_utf8_lossy(body);
            params.pairs.extend(decode_query(&form).ok_or(BadParams::Query)?);
            params.body_eaten = true;
        } else if kind == "multipart/form-data" && writes {
            let boundary = parameter(content_type, "boundary").ok_or(BadParams::Multipart)?;
            for part in split(body, &boundary) {
                if part.file_name.is_some() {
                    params.files.push(part);
                } else {
                    params
                        .pairs
                        .push((part.name, String::from_utf8_lossy(&part.content).into_owned()));
                }
            }
            params.body_eaten = true;
        }
        Ok(params)
    }

    /// The servlet's `getParameter`: exact name, first value.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Scalatra's `params`: `name[]` stands for `name`, and outranks it since 2.6.
    pub(crate) fn scalatra(&self, name: &str, version: Version) -> Option<&str> {
        let (plain, listed) = (self.first(name), self.first(&format!("{name}[]")));
        match version {
            Version::V0_7_1 => plain.or(listed),
            Version::V0_9_0 => listed.or(plain),
        }
    }
}

/// A parameter of a header value, quotes removed.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|piece| {
        let (key, value) = piece.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Splits a multipart body; a part without its closing delimiter is taken to the end.
fn split(body: &[u8], boundary: &str) -> Vec<Part> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = match find(body, delimiter.as_bytes()) {
        Some(at) => &body[at + delimiter.len()..],
        None => return parts,
    };
    let next = format!("\r\n--{boundary}");
    while !rest.starts_with(b"--") {
        let Some(start) = find(rest, b"\r\n") else { break };
        let inside = &rest[start + 2..];
        let (part, after) = match find(inside, next.as_bytes()) {
            Some(end) => (&inside[..end], &inside[end + next.len()..]),
            None => (inside, &b"--"[..]),
        };
        parts.extend(read_part(part));
        rest = after;
    }
    parts
}

fn read_part(part: &[u8]) -> Option<Part> {
    let (head, content) = match find(part, b"\r\n\r\n") {
        Some(at) => (&part[..at], &part[at + 4..]),
        None => (part, &b""[..]),
    };
    let head = String::from_utf8_lossy(head);
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    Some(Part {
        name: parameter(disposition, "name")?,
        file_name: parameter(disposition, "filename").or_else(|| parameter(disposition, "filename*")),
        content: content.to_vec(),
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
