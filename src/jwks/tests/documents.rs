use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::jwks::fetch::good_for;
use crate::jwks::place::keys_url;

#[test]
fn the_headers_say_how_long_a_set_is_good() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let later = "Sun, 06 Nov 1994 09:49:37 GMT";
    for (headers, seconds) in [
        (&[][..], None),
        (&[("cache-control", "public, max-age=900")], Some(900)),
        (&[("cache-control", "MAX-AGE=\"900\"")], Some(900)),
        (&[("cache-control", "max-age=0")], Some(0)),
        (&[("cache-control", "no-store")], None),
        (&[("cache-control", "no-cache, no-store, must-revalidate")], None),
        (&[("cache-control", "max-age=soon")], None),
        (&[("cache-control", "s-maxage=900")], None),
        (&[("cache-control", "max-age=900"), ("age", "300")], Some(600)),
        (&[("cache-control", "max-age=900"), ("age", "5000")], Some(0)),
        (
            &[
                ("cache-control", "max-age=900"),
                ("expires", date),
                ("date", later),
            ],
            Some(900),
        ),
        (&[("expires", later), ("date", date)], Some(3600)),
        (&[("expires", date), ("date", later)], Some(0)),
        (&[("expires", later)], None),
        (&[("expires", "0"), ("date", date)], None),
    ] {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let said = good_for(&map);
        assert_eq!(said, seconds.map(Duration::from_secs), "{headers:?}");
    }
}

#[test]
fn a_description_is_of_the_configured_issuer_to_the_byte_and_names_a_guarded_place() {
    let corp = "https://login.example.org/";
    let read = |issuer: &str, place: &str| {
        let json = json!({"issuer": issuer, "jwks_uri": place, "more": [1]}).to_string();
        keys_url(json.as_bytes(), corp)
    };
    for place in [
        "https://login.example.org/keys",
        "https://keys.elsewhere.example/v3/certs?x=1",
    ] {
        assert_eq!(read(corp, place).unwrap(), place);
    }
    let local = "http://127.0.0.1:9";
    let json = json!({"issuer": local, "jwks_uri": "http://127.0.0.1:9/keys"}).to_string();
    assert_eq!(
        keys_url(json.as_bytes(), local).unwrap(),
        "http://127.0.0.1:9/keys"
    );
    for issuer in [
        "https://login.example.org",
        "https://login.example.org//",
        "HTTPS://login.example.org/",
        "https://evil.example/",
        "",
    ] {
        let refusal = read(issuer, "https://login.example.org/keys").unwrap_err();
        assert!(refusal.starts_with("it is of the issuer"), "{issuer}: {refusal}");
    }
    for place in [
        "http://login.example.org/keys",
        "http://10.0.0.1/",
        // An issuer elsewhere may not have this machine ask itself.
        "http://127.0.0.1:9/keys",
        "http://localhost:9090/metrics",
        "file:///etc/passwd",
        "/keys",
        "https://user:secret@login.example.org/keys",
        "",
    ] {
        let refusal = read(corp, place).unwrap_err();
        assert!(refusal.starts_with("its jwks_uri"), "{place}: {refusal}");
        assert!(!refusal.contains("secret"), "{refusal}");
    }
    for odd in [
        &b""[..],
        b"[]",
        b"{}",
        b"<html>",
        b"{\"issuer\":\"https://login.example.org/\"}",
    ] {
        assert!(
            keys_url(odd, corp)
                .unwrap_err()
                .starts_with("it is no such document")
        );
    }
}
