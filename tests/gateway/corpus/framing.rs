//! Bytes that two parsers would cut into requests differently.

use super::{Case, Ends, LOGIN};

const JSON: &str = "Content-Type: application/json\r\n";

/// What follows a request in the same bytes, and must never become one.
const SMUGGLED: &str = "GET /livy/sessions/666 HTTP/1.1\r\nHost: gw\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let refused = Ends::Refused(400, "bad_framing");
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "X: a\r\n Content-Length: 5\r\n",
        "X: a\r\n\tb\r\n",
        "X: a\nContent-Length: 5\r\n",
        "X: a\rContent-Length: 5\r\n",
        "X: a\x00b\r\n",
        "X\x00: a\r\n",
        ": a\r\n",
        "no colon\r\n",
        "X Y: a\r\n",
        "X: a\x0bb\r\n",
        "Host: other\r\n",
        "Host:\r\n",
    ] {
        for method in ["GET", "POST"] {
            let bytes = format!(
                "{method} /livy/sessions HTTP/1.1\r\nHost: gw\r\n{LOGIN}{lines}\r\n0\r\n\r\n{SMUGGLED}"
            );
            cases.push(Case::new(bytes, refused.clone()));
        }
    }
    for head in [
        "GET /livy/sessions HTTP/1.1\r\n",
        "GET /livy/sessions HTTP/1.1\r\nHost: a b\r\n",
        "GET /livy/sessions HTTP/1.1\r\nHost: a/b\r\n",
        "GET /livy/sessions HTTP/1.1\r\nHost: gw@evil\r\n",
        "GET  /livy/sessions HTTP/1.1\r\nHost: gw\r\n",
        "GET\t/livy/sessions HTTP/1.1\r\nHost: gw\r\n",
        "GET /livy/sessions\r\nHost: gw\r\n",
        "GET /livy/sessions HTTP/2.0\r\nHost: gw\r\n",
        "GET /livy/sessions HTTP/1.1 x\r\nHost: gw\r\n",
        "GET /livy/sessions http/1.1\r\nHost: gw\r\n",
        "/livy/sessions\r\nHost: gw\r\n",
        "GET /livy/sessions HTTP/1.1\nHost: gw\n",
        "G(T /livy/sessions HTTP/1.1\r\nHost: gw\r\n",
        " GET /livy/sessions HTTP/1.1\r\nHost: gw\r\n",
        "POST /livy/sessions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
    ] {
        cases.push(Case::new(format!("{head}{LOGIN}\r\n{SMUGGLED}"), refused.clone()));
    }
    for chunks in [
        "2;x=y\r\n{}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\r\n0\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
        "ffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
        "-1\r\n",
        "2\r\n{}\r\n0\r\nHost: x\r\n\r\n",
    ] {
        let head = format!(
            "POST /livy/sessions HTTP/1.1\r\nHost: gw\r\n{LOGIN}{JSON}Transfer-Encoding: chunked\r\n\r\n"
        );
        cases.push(Case::new(format!("{head}{chunks}{SMUGGLED}"), refused.clone()));
    }
    for target in [
        "http://evil/livy/sessions",
        "http://gw/livy/sessions",
        "https://alice:x@gw/livy/sessions",
        "gw:80",
        "*",
        "livy/sessions",
        "livy",
        "/livy/sessions#x",
        "/livy/sessions?x=1#&doAs=bob",
        "/livy/sessions/\u{665}",
        "/livy/sessions?size=\u{665}",
        "/livy/sessions\u{7f}",
        "/livy/sessions<5>",
        "/livy/sessions?\"",
        "/livy/sessions`",
        "/livy/sessions\u{1}",
    ] {
        for method in ["GET", "POST", "CONNECT"] {
            cases.push(Case::of(
                method,
                target,
                "",
                "",
                Ends::Refused(400, "ambiguous_target"),
            ));
        }
    }
    let long = format!("X: {}\r\n", "a".repeat(20_000));
    cases.push(Case::of(
        "GET",
        "/livy/sessions",
        &long,
        "",
        Ends::Refused(431, "head_too_large"),
    ));
    let many: String = (0..120).map(|n| format!("X-{n}: a\r\n")).collect();
    cases.push(Case::of(
        "GET",
        "/livy/sessions",
        &many,
        "",
        Ends::Refused(431, "head_too_large"),
    ));
    for expectation in ["200-ok", "100-continue, x", "", "100"] {
        let line = format!("{JSON}Expect: {expectation}\r\n");
        cases.push(Case::of(
            "POST",
            "/livy/sessions",
            &line,
            "{}",
            Ends::Refused(417, "unsupported_expectation"),
        ));
    }
    cases
}
