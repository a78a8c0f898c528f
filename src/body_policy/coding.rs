//! What a JSON post's headers may say about its body.

use std::io::Read;

use flate2::bufread::GzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN};

use crate::denial::Denial;
use crate::livy::media_type::Parameterized;

/// How a JSON body is coded on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Plain,
    /// By gzip: to be decoded with [`decode_gzip`] first.
    Gzip,
}

/// Reads Content-Type and Content-Encoding of a JSON post.
///
/// The type steers nothing, since the body is read as JSON in UTF-8 in any case; it must only not say otherwise.
/// None at all is fine. `text/plain` is what a web page can send to another site without asking (the Fetch
/// standard's safelist), so it is taken only where nothing points to a browser.
pub fn json_coding(headers: &HeaderMap) -> Result<Coding, Denial> {
    if let Some(value) = only(headers, &CONTENT_TYPE)? {
        let from_browser = headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site");
        check_type(value, from_browser)?;
    }
    let Some(value) = only(headers, &CONTENT_ENCODING)? else {
        return Ok(Coding::Plain);
    };
    match value.to_str().unwrap_or("?").to_ascii_lowercase().as_str() {
        // Livy's Java client takes this header for the charset.
        "" | "identity" | "utf-8" => Ok(Coding::Plain),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        _ => Err(unsupported(
            "The Content-Encoding is not one that is taken here. Send the body as it is, or with Content-Encoding: gzip.",
        )),
    }
}

/// Decodes one gzip member (RFC 1952) of at most `limit` bytes with nothing after it.
pub fn decode_gzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Denial> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut decoder = GzDecoder::new(bytes);
    let mut decoded = Vec::new();
    let length = (&mut decoder)
        .take(limit.saturating_add(1))
        .read_to_end(&mut decoded)
        .map_err(|_| Denial::InvalidBody("The body is not gzip, as its Content-Encoding says.".into()))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > limit {
        return Err(Denial::BodyTooLarge { limit });
    }
    if !decoder.into_inner().is_empty() {
        return Err(Denial::InvalidBody(
            "There is something after the end of the gzip data. Send one gzip member.".into(),
        ));
    }
    Ok(decoded)
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Denial> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(unsupported(if *name == CONTENT_TYPE {
            "There are several Content-Type headers. Send one."
        } else {
            "There are several Content-Encoding headers. Send one."
        })),
    }
}

fn check_type(value: &HeaderValue, from_browser: bool) -> Result<(), Denial> {
    let Ok(parsed) = Parameterized::parse(value.to_str().unwrap_or("")) else {
        return Err(unsupported(
            "The Content-Type cannot be read. Send Content-Type: application/json.",
        ));
    };
    match parsed.value.as_str() {
        "application/json" => {}
        "text/plain" if !from_browser => {}
        "application/x-www-form-urlencoded" => {
            return Err(unsupported(
                "The body is sent as a form. Send it as JSON; with curl -d, add -H 'Content-Type: application/json'.",
            ));
        }
        multipart if multipart.starts_with("multipart/") => {
            return Err(unsupported(
                "The body is sent as multipart. Send it as JSON: with curl, -d '{...}' -H 'Content-Type: application/json' and not -F.",
            ));
        }
        _ => {
            return Err(unsupported(
                "The Content-Type is not one that is taken here. Send Content-Type: application/json.",
            ));
        }
    }
    let charset = parsed
        .parameter("charset")
        .unwrap_or("utf-8")
        .to_ascii_lowercase();
    let is_alone = parsed.names().all(|name| name == "charset");
    if is_alone && matches!(charset.as_str(), "utf-8" | "utf8") {
        return Ok(());
    }
    Err(unsupported(
        "The Content-Type has a parameter that is not taken here. The body is read as UTF-8; send Content-Type: application/json.",
    ))
}

fn unsupported(message: &'static str) -> Denial {
    Denial::UnsupportedBody(message.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                )
            })
            .collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn json_in_utf8_or_nothing_is_the_type() {
        assert_eq!(json_coding(&HeaderMap::new()), Ok(Coding::Plain));
        for value in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json; charset=\"UTF-8\"",
            "application/json; charset=utf8",
            "application/json;",
            "text/plain",
            "text/plain;charset=UTF-8",
        ] {
            assert_eq!(
                json_coding(&headers(&[("content-type", value)])),
                Ok(Coding::Plain),
                "{value}"
            );
        }
        for value in [
            "",
            "json",
            "application/jsonx",
            "application/json-patch+json",
            "application/octet-stream",
            "application/json, text/plain",
            "application/json;charset=utf-16",
            "application/json;charset=iso-8859-1",
            "application/json;charset=utf-8;charset=utf-16",
            "application/json;boundary=x",
            "text/plain;charset=utf-7",
            "application/json;charset",
            "é/json",
            "text/html",
            "application/xml",
        ] {
            let answer = json_coding(&headers(&[("content-type", value)]));
            assert!(matches!(answer, Err(Denial::UnsupportedBody(_))), "{value}");
        }
    }

    #[test]
    fn a_browser_cannot_use_text_plain() {
        for (name, value) in [
            ("origin", "https://evil"),
            ("origin", "null"),
            ("sec-fetch-site", "none"),
        ] {
            let answer = json_coding(&headers(&[("content-type", "text/plain"), (name, value)]));
            assert!(
                matches!(answer, Err(Denial::UnsupportedBody(_))),
                "{name}: {value}"
            );
            let answer = json_coding(&headers(&[("content-type", "application/json"), (name, value)]));
            assert_eq!(answer, Ok(Coding::Plain), "{name}: {value}");
        }
    }

    #[test]
    fn somebody_who_forgot_curls_header_is_told_which() {
        let answer = json_coding(&headers(&[("content-type", "application/x-www-form-urlencoded")]));
        let Err(Denial::UnsupportedBody(message)) = answer else {
            panic!("{answer:?}")
        };
        assert!(
            message.contains("-H 'Content-Type: application/json'"),
            "{message}"
        );
        for value in ["multipart/form-data; boundary=x", "multipart/mixed; boundary=x"] {
            let answer = json_coding(&headers(&[("content-type", value)]));
            assert!(matches!(answer, Err(Denial::UnsupportedBody(_))), "{value}");
        }
    }

    #[test]
    fn two_headers_of_a_kind_are_refused_even_when_equal() {
        for name in ["content-type", "content-encoding"] {
            let mut twice = HeaderMap::new();
            twice.append(name, HeaderValue::from_static("identity"));
            twice.append(name, HeaderValue::from_static("identity"));
            assert!(
                matches!(json_coding(&twice), Err(Denial::UnsupportedBody(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn the_coding_is_none_gzip_or_what_livys_java_client_says() {
        for (value, coding) in [
            ("UTF-8", Coding::Plain),
            ("utf-8", Coding::Plain),
            ("identity", Coding::Plain),
            ("Identity", Coding::Plain),
            ("gzip", Coding::Gzip),
            ("GZIP", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
        ] {
            assert_eq!(
                json_coding(&headers(&[("content-encoding", value)])),
                Ok(coding),
                "{value}"
            );
        }
        for value in [
            "deflate",
            "br",
            "zstd",
            "gzip, gzip",
            "gzip, identity",
            "utf-16",
            "UTF8",
            "é",
        ] {
            let answer = json_coding(&headers(&[("content-encoding", value)]));
            assert!(matches!(answer, Err(Denial::UnsupportedBody(_))), "{value}");
        }
    }

    #[test]
    fn gzip_is_one_whole_member_within_the_limit() {
        let body = b"{\"code\":\"1+1\"}";
        assert_eq!(decode_gzip(&gzip(body), body.len()), Ok(body.to_vec()));
        assert_eq!(decode_gzip(&gzip(b""), 0), Ok(Vec::new()));
        assert_eq!(
            decode_gzip(&gzip(body), body.len() - 1),
            Err(Denial::BodyTooLarge { limit: 13 })
        );
        let two = [gzip(body), gzip(body)].concat();
        let trailing = [gzip(body), vec![0]].concat();
        let mut wrong_sum = gzip(body);
        let last = wrong_sum.len() - 5;
        wrong_sum[last] ^= 1;
        let cut = &gzip(body)[..20];
        for bytes in [two.as_slice(), &trailing, &wrong_sum, cut, body, b""] {
            assert!(matches!(decode_gzip(bytes, 1024), Err(Denial::InvalidBody(_))));
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert_eq!(
            decode_gzip(&bomb, 1 << 20),
            Err(Denial::BodyTooLarge { limit: 1 << 20 })
        );
    }
}
