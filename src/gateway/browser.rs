//! Requests that a browser sends on its own: it attaches Basic credentials to whatever another site's page asks for.

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};

use crate::denial::Denial;
use crate::livy::operation::Method;

/// Refuses a write that a page of another site sent. Programs send neither header.
pub(super) fn check_origin(method: Method, headers: &HeaderMap) -> Result<(), Denial> {
    if method.is_safe() {
        return Ok(());
    }
    let sites_fit = headers
        .get_all(SEC_FETCH_SITE)
        .iter()
        .all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    let origins_fit = headers
        .get_all(ORIGIN)
        .iter()
        .all(|origin| is_own(origin.as_bytes(), headers));
    if sites_fit && origins_fit {
        Ok(())
    } else {
        Err(Denial::CrossOrigin)
    }
}

/// `https://host:port` of the request itself, where the port may be left out if it is the scheme's own. `null` and
/// everything else is foreign.
fn is_own(origin: &[u8], headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).map(http::HeaderValue::as_bytes) else {
        return false;
    };
    let schemes: [(&[u8], &[u8]); 2] = [(b"https://", b":443"), (b"http://", b":80")];
    schemes.into_iter().any(|(scheme, port)| {
        let plain = |authority: &[u8]| {
            authority
                .strip_suffix(port)
                .unwrap_or(authority)
                .to_ascii_lowercase()
        };
        origin
            .strip_prefix(scheme)
            .is_some_and(|authority| plain(authority) == plain(host))
    })
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, pairs: &[(&'static str, &'static str)]) -> Result<(), Denial> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "gw.example.org:8443".parse().unwrap());
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        check_origin(method, &headers)
    }

    #[test]
    fn a_program_sends_neither_header_and_passes() {
        assert_eq!(check(Method::Post, &[]), Ok(()));
    }

    #[test]
    fn a_page_of_this_host_passes() {
        let own = [
            ("origin", "https://gw.example.org:8443"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(check(Method::Post, &own), Ok(()));
        assert_eq!(check(Method::Delete, &[("sec-fetch-site", "none")]), Ok(()));
    }

    #[test]
    fn a_schemes_own_port_may_be_written_or_left_out() {
        for (host, origin, is_own_page) in [
            ("gw.example.org:443", "https://gw.example.org", true),
            ("gw.example.org", "https://gw.example.org:443", true),
            ("gw.example.org:80", "http://gw.example.org", true),
            ("gw.example.org:80", "https://gw.example.org", false),
            ("gw.example.org:443", "https://gw.example.org:8443", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            headers.insert(ORIGIN, origin.parse().unwrap());
            assert_eq!(
                check_origin(Method::Post, &headers).is_ok(),
                is_own_page,
                "{host} {origin}"
            );
        }
    }

    #[test]
    fn a_write_for_another_site_is_refused() {
        for foreign in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "https://gw.example.org:8443.evil.example"),
            ("origin", "gw.example.org:8443"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", ""),
        ] {
            for method in [Method::Post, Method::Delete] {
                assert_eq!(check(method, &[foreign]), Err(Denial::CrossOrigin), "{foreign:?}");
            }
            assert_eq!(check(Method::Get, &[foreign]), Ok(()), "a read changes nothing");
        }
    }

    #[test]
    fn one_foreign_header_among_good_ones_is_enough() {
        let both = [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert_eq!(check(Method::Post, &both), Err(Denial::CrossOrigin));
    }
}
