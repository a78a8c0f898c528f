//! How requests to Livy are written.

use http::HeaderValue;

/// How Livy is told for whom it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impersonate {
    /// `doAs` on every call and `proxyUser` in creations.
    Both,
    /// `doAs` alone.
    DoAs,
    /// `proxyUser` alone.
    ProxyUser,
}

/// How the gateway itself logs in to Livy.
#[derive(Debug, Clone)]
pub enum UpstreamLogin {
    /// Not at all: the network keeps everybody else away.
    None,
    /// Basic; the whole header value, marked sensitive.
    Basic(HeaderValue),
    /// Hadoop's simple authentication: `?user.name=`.
    Simple {
        /// The gateway's account.
        user: String,
    },
}

/// What every request to Livy has.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The `Host` header.
    pub host: HeaderValue,
    /// What stands before Livy's own paths; empty for nothing.
    pub path_prefix: String,
    /// How Livy is told for whom it acts.
    pub impersonate: Impersonate,
    /// How the gateway itself logs in.
    pub login: UpstreamLogin,
}
