//! The URLs that a configuration may name: where Livy and key sets are.

use std::net::IpAddr;

use http::Uri;

use super::reader::Wrong;

/// An `http` or `https` URL without user information, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpUrl {
    /// As written.
    pub(super) text: String,
    /// Whether it is spoken to with TLS.
    pub(super) is_https: bool,
    /// Name or address, IPv6 without its brackets.
    pub(super) host: String,
    /// As written, or the scheme's.
    pub(super) port: u16,
    /// What a `Host` header has: the host, IPv6 in brackets, and the port if it was written.
    pub(super) authority: String,
    /// Without a slash at its end; empty for none.
    pub(super) path: String,
}

impl HttpUrl {
    /// Reads a URL. The error never repeats user information.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Wrong::new(
                format!("{text:?} is no URL"),
                "write it with its scheme, such as \"http://127.0.0.1:8998\"",
            ));
        };
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => {
                return Err(Wrong::new(
                    format!("the scheme {scheme:?} is not supported"),
                    "write \"http://…\" or \"https://…\"",
                ));
            }
        };
        if let Some(mark) = rest.chars().find(|character| matches!(character, '?' | '#')) {
            return Err(Wrong::new(
                format!("the URL has a {mark:?}"),
                "write scheme, host, port and path only",
            ));
        }
        let uri: Uri = text.parse().map_err(|_| {
            Wrong::new(
                format!("{text:?} is no URL"),
                "write scheme, host, port and path only",
            )
        })?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let bracketed = uri.host().unwrap_or("");
        let host = bracketed.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(Wrong::new(
                format!("{text:?} names no host"),
                "write scheme, host, port and path",
            ));
        }
        let port = match authority.strip_prefix(bracketed) {
            Some("") => Some(if is_https { 443 } else { 80 }),
            Some(_) | None => uri.port_u16().filter(|port| *port > 0),
        };
        let Some(port) = port else {
            return Err(Wrong::new(
                format!("{authority:?} has no port after its colon"),
                "write a port from 1 to 65535, or drop the colon",
            ));
        };
        Ok(Self {
            text: text.to_owned(),
            is_https,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether the text has `user:password@`, which must be hidden before anything else is said about it.
    pub(super) fn has_user_info(text: &str) -> bool {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        authority.contains('@')
    }

    /// Whether it stays on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let address: Result<IpAddr, _> = self.host.parse();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = HttpUrl::parse("https://livy.internal:8998/gateway/livy/").unwrap();
        assert!(url.is_https && !url.is_loopback());
        assert_eq!((url.host.as_str(), url.port), ("livy.internal", 8998));
        assert_eq!(
            (url.authority.as_str(), url.path.as_str()),
            ("livy.internal:8998", "/gateway/livy")
        );
    }

    #[test]
    fn a_scheme_brings_its_port() {
        assert_eq!(HttpUrl::parse("http://livy").unwrap().port, 80);
        assert_eq!(HttpUrl::parse("https://livy/").unwrap().port, 443);
    }

    #[test]
    fn ipv6_is_connected_to_without_brackets_and_named_with_them() {
        let url = HttpUrl::parse("http://[::1]:8998").unwrap();
        assert!(url.is_loopback());
        assert_eq!((url.host.as_str(), url.authority.as_str()), ("::1", "[::1]:8998"));
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        for text in [
            "",
            "livy",
            "livy:8998",
            "ftp://livy",
            "HTTP://livy",
            "http://",
            "http:///x",
            "http://livy?x=1",
            "http://livy/#x",
            "http://li vy",
            "http://livy:99999",
            "http://livy:0",
            "http://livy:",
            "unix:///run/livy",
        ] {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn user_information_is_noticed_before_the_path_only() {
        assert!(HttpUrl::has_user_info("http://gw:secret@livy"));
        assert!(HttpUrl::has_user_info("gw:secret@livy"));
        assert!(!HttpUrl::has_user_info("http://livy/@x"));
    }
}
