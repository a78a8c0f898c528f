//! What the simulated Livy received, for a test to read.

use bytes::Bytes;

use crate::target::decode_query;

/// One request as it arrived, and what Livy made of it.
///
/// It appears as soon as its first lines are read; `body_complete` and what follows are filled in later.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which accepted connection brought it; the first is 1.
    pub connection: u64,
    /// The method as it was sent, case kept.
    pub method: String,
    /// The request target as it was sent: path, query, and what else there was.
    pub target: String,
    /// The path as Jetty decodes and cleans it; empty where Jetty refuses to.
    pub path: String,
    /// The headers as they were sent, in order.
    pub headers: Vec<(String, String)>,
    /// The body, its framing and its chunks undone, its Content-Encoding not.
    /// Cut at [`Builder::keep_body`](crate::Builder::keep_body).
    pub body: Bytes,
    /// How many bytes the body had, kept or not.
    pub body_length: u64,
    /// Whether the body came to its end.
    pub body_complete: bool,
    /// The method that Livy acted on: upper case, after `_method` and the override headers.
    pub effective_method: String,
    /// What Livy took it for, for example `create_session` or `run_statement`; nothing for what it has no
    /// route for.
    pub operation: Option<&'static str>,
    /// Who Livy believed was connected: by `user.name`, Basic or cookie.
    pub remote_user: Option<String>,
    /// As whom Livy acted: `doAs`, else a creation's `proxyUser`, else the remote user.
    pub effective_user: Option<String>,
    /// The status that was (or, with a fault, would have been) answered.
    pub status: Option<u16>,
}

impl Received {
    /// Every decoded value of a query parameter, in order; the name is compared exactly.
    ///
    /// # Panics
    /// If the query cannot be decoded.
    pub fn query_values(&self, name: &str) -> Vec<String> {
        self.query()
            .into_iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// The decoded query, in order.
    ///
    /// # Panics
    /// If the query cannot be decoded.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        decode_query(query).unwrap_or_else(|| panic!("the query of {} cannot be decoded", self.target))
    }

    /// The first value of a header; the name is compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a header, in order; the name is compared without case.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let named = |key: &str| key.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(|(key, _)| named(key))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is no JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body of {} {} is no JSON: {error}", self.method, self.target))
    }

    /// The body as text, what is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
