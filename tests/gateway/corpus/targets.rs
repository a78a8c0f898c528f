//! Targets and methods: what two parsers could read differently.

use super::{Case, Ends};

/// Methods, each with a body that its creations take.
const METHODS: [(&str, &str, &str); 4] = [
    ("GET", "", ""),
    ("HEAD", "", ""),
    (
        "POST",
        "Content-Type: application/json\r\n",
        r#"{"kind":"spark"}"#,
    ),
    ("DELETE", "", ""),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (method, lines, body) in METHODS {
        for path in AMBIGUOUS {
            cases.push(Case::of(
                method,
                path,
                lines,
                body,
                refused(method, 400, "ambiguous_target"),
            ));
        }
        for path in UNKNOWN {
            cases.push(Case::of(
                method,
                path,
                lines,
                body,
                refused(method, 404, "unknown_operation"),
            ));
        }
        for query in OVERRIDES {
            let target = format!("/livy/sessions?{query}");
            cases.push(Case::of(
                method,
                &target,
                lines,
                body,
                refused(method, 400, "method_override"),
            ));
        }
        for header in [
            "X-HTTP-Method-Override",
            "x-http-method",
            "X-Method-Override",
            "X-HTTP-METHOD-OVERRIDE",
        ] {
            for value in ["DELETE", "get", ""] {
                let lines = format!("{lines}{header}: {value}\r\n");
                let ends = refused(method, 400, "method_override");
                cases.push(Case::of(method, "/livy/sessions", &lines, body, ends));
            }
        }
    }
    for method in [
        "get",
        "Get",
        "post",
        "delete",
        "dELETE",
        "PUT",
        "PATCH",
        "TRACE",
        "TRACK",
        "PROPFIND",
        "QUERY",
        "GATEWAY-REFUSED",
        "GETX",
        "POST_",
        "G3T",
    ] {
        for path in [
            "/livy/sessions",
            "/livy/sessions/5",
            "/livy/version",
            "/livy/sessions/5/statements",
        ] {
            cases.push(Case::of(
                method,
                path,
                "",
                "",
                Ends::Refused(405, "method_not_allowed"),
            ));
        }
    }
    for (method, path) in [
        ("DELETE", "/livy/sessions"),
        ("DELETE", "/livy/version"),
        ("POST", "/livy/version"),
        ("POST", "/livy/sessions/5"),
        ("DELETE", "/livy/sessions/5/statements/0"),
        ("GET", "/livy/sessions/5/stop"),
        ("GET", "/livy/sessions/5/connect"),
        ("DELETE", "/livy/batches"),
        ("GET", "/livy/sessions/5/upload-jar"),
        ("POST", "/livy/batches/5/log"),
        ("GET", "/livy/sessions/5/statements/0/cancel"),
        ("DELETE", "/livy/sessions/5/state"),
    ] {
        cases.push(Case::of(
            method,
            path,
            "",
            "",
            Ends::Refused(405, "method_not_allowed"),
        ));
    }
    // Numbers that no session can have.
    for id in [
        "2147483648",
        "4294967301",
        "18446744073709551621",
        "99999999999999999999999",
    ] {
        for path in [format!("/livy/sessions/{id}"), format!("/livy/batches/{id}/log")] {
            cases.push(Case::of("GET", &path, "", "", Ends::NoSession));
        }
    }
    for number in [
        "x",
        "0x1",
        "1.0",
        "1e1",
        "-1",
        "--1",
        "_1",
        "2147483648",
        "9999999999999999999999",
    ] {
        for word in ["statements", "jobs"] {
            let path = format!("/livy/sessions/5/{word}/{number}");
            cases.push(Case::of(
                "GET",
                &path,
                "",
                "",
                Ends::Refused(400, "invalid_parameter"),
            ));
        }
    }
    for (query, code) in QUERIES {
        for path in ["/livy/sessions", "/livy/sessions/5/log", "/livy/batches"] {
            cases.push(Case::of(
                "GET",
                &format!("{path}?{query}"),
                "",
                "",
                Ends::Refused(400, code),
            ));
        }
    }
    for name in ["/livy/sessions", "/livy/batches/5/log"] {
        let target = format!("{name}?size={}", "1".repeat(9000));
        cases.push(Case::of(
            "GET",
            &target,
            "",
            "",
            Ends::Refused(414, "target_too_long"),
        ));
    }
    cases
}

/// A HEAD's refusal has no body to tell its code, so it is known by its status alone.
fn refused(method: &str, status: u16, code: &'static str) -> Ends {
    if method == "HEAD" {
        Ends::BodilessRefusal(status)
    } else {
        Ends::Refused(status, code)
    }
}

const AMBIGUOUS: [&str; 70] = [
    // Parameters of path segments.
    "/livy/sessions;",
    "/livy/sessions;/5/log",
    "/livy/sessions/;/5",
    "/livy/sessions;/5/statements",
    "/livy/sessions/7;/statements/0",
    "/livy/sessions/5;doAs=bob/log",
    "/livy;x/sessions",
    "/livy/sessions;jsessionid=1",
    // Escapes.
    "/livy/%73essions",
    "/%6Civy/sessions",
    "/livy/sessions/%31%37",
    "/livy/sessions/5/l%6Fg",
    "/livy%2Fsessions",
    "/livy/sessions%2F5",
    "/livy/sessions/5%2Flog",
    "/livy/sessions/5%252Flog",
    "/livy/sessions/5%3Flog",
    "/livy/sessions/5%23",
    "/livy/sessions%3B/5",
    "/livy/sessions/%",
    "/livy/sessions/%zz",
    "/livy/sessions/%u0035",
    "/livy/sessions/5%00",
    "/livy/sessions/5%0a",
    "/livy/sessions/5%0d%0aX:y",
    "/livy/sessions/5%20",
    "/livy/sessions/%C0%AE%C0%AE/5",
    // Digits of other scripts, signs, zeros, other bases.
    "/livy/sessions/%D9%A5",
    "/livy/sessions/%EF%BC%95",
    "/livy/sessions/+5",
    "/livy/sessions/-5",
    "/livy/sessions/005",
    "/livy/sessions/00",
    "/livy/sessions/0x5",
    "/livy/sessions/5.0",
    "/livy/sessions/5e0",
    "/livy/sessions/5_0",
    "/livy/batches/007/state",
    "/livy/sessions/5/statements/00",
    "/livy/sessions/5/jobs/01",
    "/livy/sessions/5/statements/+1",
    "/livy/sessions/5/statements/%D9%A0",
    "/livy/sessions/_x",
    "/livy/sessions/5x",
    "/livy/sessions/*",
    // Dots and slashes.
    "/livy/sessions/15/../17/log",
    "/livy/sessions/./5",
    "/livy/../sessions",
    "/livy/sessions/..",
    "/livy/..",
    "/livy/sessions/%2e%2e/5",
    "/livy/sessions/..;/5",
    "/./livy/sessions",
    "/livy/sessions/.hidden",
    "/live/../livy/sessions",
    "/livy/sessions//5",
    "/livy/sessions/5/",
    "/livy/sessions/5//log",
    "/livy/sessions/5/log/",
    "/livy/batches/5//",
    "/livy/sessions//",
    "/livy//sessions//5",
    "/livy/version//",
    // Other bytes.
    "/livy/sessions\\5",
    "/livy\\sessions",
    "/livy/sessions/5@evil",
    "/livy/sessions/5,6",
    "/livy/sessions/{5}",
    "/livy/sessions/5'",
    "@evil/livy/sessions",
];

const UNKNOWN: [&str; 22] = [
    "/",
    "//",
    "/sessions",
    "/livyx/sessions",
    "/xlivy/sessions",
    "/LIVY/sessions",
    "/livy.sessions",
    "/livy-sessions",
    "/livy",
    "/livy/",
    "/livy/livy/sessions",
    "/livy/Sessions",
    "/livy/SESSIONS/5",
    "/livy/metrics",
    "/livy/metrics/threads",
    "/livy/ui",
    "/livy/static/a.js",
    "/livy/thriftserver/sessions",
    "/live",
    "/livy/batches/5/statements",
    "/livy/sessions/5/kill",
    "/livy/sessions/5/statements/0/cancel/x",
];

const OVERRIDES: [&str; 10] = [
    "_method=DELETE",
    "_method=GET",
    "_method",
    "_METHOD=get",
    "%5Fmethod=DELETE",
    "%5fm%65thod=PUT",
    "_method[]=DELETE",
    "_method%5B%5D=DELETE",
    "size=1&_method=DELETE",
    "_method=POST&_method=GET",
];

/// Queries of reads, with what is said of each.
const QUERIES: [(&str, &str); 44] = [
    ("size=1;doAs=bob", "ambiguous_target"),
    ("doAs=bob;size=1", "ambiguous_target"),
    ("size=1\\", "ambiguous_target"),
    ("size=%zz", "ambiguous_target"),
    ("size=%", "ambiguous_target"),
    ("size=%4", "ambiguous_target"),
    ("%u0064oAs=bob", "ambiguous_target"),
    ("size=%FF", "ambiguous_target"),
    ("do%C1%81s=bob", "ambiguous_target"),
    ("size=%ED%A0%80", "ambiguous_target"),
    ("doAs=bob%00", "ambiguous_target"),
    ("doAs=alice%00", "ambiguous_target"),
    ("doAs=alice%0d%0aX:1", "ambiguous_target"),
    ("%00=1", "ambiguous_target"),
    ("size=1%7f", "ambiguous_target"),
    ("x=1%0a", "ambiguous_target"),
    ("size=1&size=1", "repeated_parameter"),
    ("size=1&s%69ze=2", "repeated_parameter"),
    ("from=1&from=2", "repeated_parameter"),
    ("doAs=alice&doAs=alice", "repeated_parameter"),
    ("doAs=alice&DOAS=alice", "repeated_parameter"),
    ("doAs=alice&doAs=bob", "repeated_parameter"),
    ("doAs=bob&doAs=alice", "repeated_parameter"),
    ("doAs=alice&%64oAs=bob", "repeated_parameter"),
    ("doAs=alice&doAs[]=bob", "repeated_parameter"),
    ("doAs=alice&proxyUser=bob", "repeated_parameter"),
    ("proxyUser=alice&proxyuser=alice", "repeated_parameter"),
    ("?doAs=bob", "unknown_parameter"),
    ("user.name=root", "unknown_parameter"),
    ("delegation=x", "unknown_parameter"),
    ("id=17", "unknown_parameter"),
    ("%2564oAs=bob", "unknown_parameter"),
    ("%255Fmethod=DELETE", "unknown_parameter"),
    ("doAs[0]=bob", "unknown_parameter"),
    ("doAs%20=bob", "unknown_parameter"),
    ("+doAs=bob", "unknown_parameter"),
    ("x=%26doAs%3Dbob", "unknown_parameter"),
    ("Size=1", "unknown_parameter"),
    ("from[]=1", "unknown_parameter"),
    ("access_token=x", "unknown_parameter"),
    ("size=1%26doAs%3Dbob", "invalid_parameter"),
    ("size=1?doAs=bob", "invalid_parameter"),
    ("size=2147483648", "invalid_parameter"),
    ("from=%D9%A5", "invalid_parameter"),
];
