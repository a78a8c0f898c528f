//! Bodies and headers that try to be somebody else.

use super::{Case, Ends, LOGIN};
use crate::rig::{multipart, request};

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const PARTS: &str = "Content-Type: multipart/form-data; boundary=cut\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    other_users(&mut cases);
    bodies(&mut cases);
    content_types(&mut cases);
    settings(&mut cases);
    uploads(&mut cases);
    browsers(&mut cases);
    tolerated(&mut cases);
    cases
}

/// Both creations: the path, and what their body needs beside what is tried.
const CREATIONS: [(&str, &str); 2] = [
    ("/livy/sessions", "\"kind\":\"spark\""),
    ("/livy/batches", "\"file\":\"hdfs:///a\""),
];

fn other_users(cases: &mut Vec<Case>) {
    let refused = Ends::Refused(403, "impersonation_refused");
    for spelling in [
        "doAs",
        "doas",
        "DOAS",
        "%64oAs",
        "doAs[]",
        "doAs%5B%5D",
        "proxyUser",
        "PROXYUSER",
        "proxyuser[]",
    ] {
        for user in [
            "bob",
            "",
            "Alice",
            "alice%20",
            "%20alice",
            "hdfs",
            "alice%26doAs%3Dbob",
            "alice%2Fhost@X",
            "%2A",
        ] {
            let query = format!("{spelling}={user}");
            cases.push(Case::of(
                "GET",
                &format!("/livy/sessions?{query}"),
                "",
                "",
                refused.clone(),
            ));
            for (path, rest) in CREATIONS {
                let body = format!("{{{rest}}}");
                cases.push(Case::of(
                    "POST",
                    &format!("{path}?{query}"),
                    JSON,
                    body,
                    refused.clone(),
                ));
            }
        }
        for (method, path) in [
            ("DELETE", "/livy/sessions/5"),
            ("POST", "/livy/sessions/5/stop"),
            ("GET", "/livy/batches/5/log"),
            ("GET", "/livy/version"),
            ("POST", "/livy/sessions/5/statements/0/cancel"),
        ] {
            cases.push(Case::of(
                method,
                &format!("{path}?{spelling}=bob"),
                "",
                "",
                refused.clone(),
            ));
        }
    }
    for (path, rest) in CREATIONS {
        for member in [
            r#""proxyUser":"bob""#,
            r#""proxy\u0055ser":"bob""#,
            r#""proxyUser":"""#,
            r#""proxyUser":" ""#,
            r#""proxyUser":"ALICE""#,
            r#""proxyUser":"alice\u0000""#,
            r#""proxyUser":"alice\n""#,
            r#""proxyUser":"hdfs""#,
            r#""proxyUser":"alice/host@REALM""#,
            r#""proxyUser":"аlice""#,
            r#""proxyUser":"ａｌｉｃｅ""#,
        ] {
            cases.push(Case::of(
                "POST",
                path,
                JSON,
                format!("{{{member},{rest}}}"),
                refused.clone(),
            ));
            cases.push(Case::of(
                "POST",
                path,
                JSON,
                format!("{{{rest},{member}}}"),
                refused.clone(),
            ));
        }
        for member in [
            r#""proxyUser":"alice","proxyUser":"bob""#,
            r#""proxyUser":"bob","proxyUser":"alice""#,
            r#""proxyUser":"alice","proxyUser":null"#,
            r#""proxyUser":"alice","proxy\u0055ser":"bob""#,
            r#""proxyUser":1001"#,
            r#""proxyUser":true"#,
            r#""proxyUser":["bob"]"#,
            r#""proxyUser":{"a":"bob"}"#,
            r#""proxyUser":"\ud800""#,
        ] {
            let body = format!("{{{rest},{member}}}");
            cases.push(Case::of(
                "POST",
                path,
                JSON,
                body,
                Ends::Refused(400, "invalid_body"),
            ));
        }
        for key in [
            "proxyuser",
            "ProxyUser",
            "PROXYUSER",
            "doAs",
            "doas",
            "proxyUser ",
            "user",
            "owner",
            "proxy_user",
        ] {
            let body = format!("{{{rest},\"{key}\":\"alice\"}}");
            cases.push(Case::of(
                "POST",
                path,
                JSON,
                body,
                Ends::Refused(400, "unknown_field"),
            ));
        }
    }
}

fn bodies(cases: &mut Vec<Case>) {
    let utf16: Vec<u8> = r#"{"proxyUser":"bob"}"#.bytes().flat_map(|byte| [byte, 0]).collect();
    let utf32: Vec<u8> = r#"{"proxyUser":"bob"}"#.bytes().flat_map(|byte| [0, 0, 0, byte]).collect();
    let mut tried: Vec<Vec<u8>> = vec![
        utf16.clone(),
        [b"\xFF\xFE".to_vec(), utf16].concat(),
        utf32,
        b"{\"proxy\xC1\x95ser\":\"bob\"}".to_vec(),
        b"\xEF\xBB\xBF{\"proxyUser\":\"bob\"}".to_vec(),
        [b"{\"conf\":".repeat(50_000), b"}".repeat(50_000)].concat(),
    ];
    tried.extend(
        [
            "null",
            "[]",
            "[{\"proxyUser\":\"bob\"}]",
            "\"x\"",
            "0",
            " ",
            "{}{\"proxyUser\":\"bob\"}",
            "{} \u{0}",
            "{}]",
            "{'proxyUser':'bob'}",
            "{proxyUser:\"bob\"}",
            "{\"proxyUser\":\"bob\",}",
            "{}//",
            "/**/{}",
            "{\"driverCores\":NaN}",
            "{\"driverCores\":1e999}",
            "{\"driverCores\":01}",
            "{\"driverCores\":\"2\"}",
            "{\"driverCores\":2.7}",
            "{\"args\":1",
            "{\"jars\":[\"hdfs:///a,file:///etc/passwd\"]}",
            "{\"files\":[\"a b\"]}",
            "{\"pyFiles\":[\"a\\n\"]}",
            "{\"name\":\"1\"}",
            "{\"name\":\"\"}",
            "{\"queue\":\"a\\u0000\"}",
            "{\"conf\":\"x\"}",
            "{\"conf\":{\"spark.a\":[1]}}",
            "{\"conf\":{\"spark.a\":\"x\\nspark.master=local\"}}",
        ]
        .map(Into::into),
    );
    for body in tried {
        cases.push(Case::of(
            "POST",
            "/livy/sessions",
            JSON,
            body,
            Ends::Refused(400, "invalid_body"),
        ));
    }
    for (method, path) in [
        ("GET", "/livy/sessions"),
        ("GET", "/livy/sessions/5"),
        ("DELETE", "/livy/sessions/5"),
        ("POST", "/livy/sessions/5/stop"),
        ("POST", "/livy/sessions/5/interrupt"),
        ("POST", "/livy/sessions/5/connect"),
        ("GET", "/livy/version"),
        ("POST", "/livy/sessions/5/jobs/1/cancel"),
    ] {
        for (line, body) in [
            (FORM, "doAs=bob"),
            (FORM, "_method=GET"),
            (JSON, "{\"proxyUser\":\"bob\"}"),
            ("", "GET /sessions"),
        ] {
            cases.push(Case::of(
                method,
                path,
                line,
                body,
                Ends::Refused(400, "invalid_body"),
            ));
        }
        let parts = multipart("doAs", "bob");
        cases.push(Case::of(
            method,
            path,
            PARTS,
            parts,
            Ends::Refused(400, "invalid_body"),
        ));
    }
}

fn content_types(cases: &mut Vec<Case>) {
    for line in [
        FORM,
        PARTS,
        "Content-Type: multipart/mixed; boundary=x\r\n",
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: application/json;charset=utf-16\r\n",
        "Content-Type: application/json; charset=utf-8; x=y\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Content-Type: \r\n",
        "Content-Type: json\r\n",
        "Content-Encoding: deflate\r\n",
        "Content-Encoding: br\r\n",
        "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n",
        "Content-Encoding: gzip, identity\r\n",
        "Content-Encoding: utf-16\r\n",
    ] {
        for path in [
            "/livy/sessions",
            "/livy/batches",
            "/livy/sessions/5/statements",
            "/livy/sessions/5/run-job",
        ] {
            for body in ["{\"proxyUser\":\"bob\"}", "doAs=bob&_method=GET"] {
                cases.push(Case::of(
                    "POST",
                    path,
                    line,
                    body,
                    Ends::Refused(415, "unsupported_body"),
                ));
            }
        }
    }
}

fn settings(cases: &mut Vec<Case>) {
    for key in [
        "livy.rsc.proxy-user",
        "livy.rsc.proxy_user",
        "livy.rsc.client.do-not-use.run-driver-in-process",
        "livy.rsc.launcher.address",
        "spark.__livy__.livy.rsc.proxy_user",
        "spark.master",
        "Spark.Master",
        "spark.submit.deployMode",
        "spark.yarn.keytab",
        "spark.yarn.principal",
        "spark.kerberos.principal",
        "spark.executorEnv.HADOOP_USER_NAME",
        "spark.yarn.appMasterEnv.HADOOP_PROXY_USER",
        "spark.kubernetes.driverEnv.HADOOP_USER_NAME",
        "spark.hadoop.hadoop.proxyuser.livy.hosts",
        "spark.files=file:///etc/passwd,x",
        "spark.a b",
        "spark.",
        "",
        "spark.mas\\u0074er",
        "server.idle_timeout",
    ] {
        for (path, rest) in CREATIONS {
            let body = format!("{{{rest},\"conf\":{{\"{key}\":\"x\"}}}}");
            cases.push(Case::of(
                "POST",
                path,
                JSON,
                body,
                Ends::Refused(400, "conf_refused"),
            ));
        }
    }
}

fn uploads(cases: &mut Vec<Case>) {
    let file = |name: &str| {
        format!(
            "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\nx\r\n--cut--\r\n"
        )
    };
    let field =
        |name: &str| format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nbob\r\n");
    let mut tried: Vec<String> = [
        "../../bob/x",
        "/etc/x",
        "hdfs://evil/x",
        "..",
        "a\\b",
        "",
        "a%2fb",
        "~x",
    ]
    .iter()
    .map(|name| file(name))
    .collect();
    for name in ["doAs", "_method", "proxyUser", "user.name"] {
        tried.push(format!("{}{}", field(name), file("a")));
        tried.push(field(name) + "--cut--\r\n");
    }
    for body in tried {
        for path in ["/livy/sessions/5/upload-file", "/livy/sessions/5/upload-pyfile"] {
            cases.push(Case::of(
                "POST",
                path,
                PARTS,
                &body,
                Ends::Refused(400, "invalid_body"),
            ));
        }
    }
    // The name of the field is a path's business.
    let ends = Ends::Refused(400, "invalid_body");
    cases.push(Case::of(
        "POST",
        "/livy/sessions/5/upload-jar",
        PARTS,
        file("a"),
        ends,
    ));
}

fn browsers(cases: &mut Vec<Case>) {
    for line in [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://gw.evil.example\r\n",
        "Origin: http://gw:81\r\n",
        "Origin: gw\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: Same-Origin\r\n",
        "Origin: http://gw\r\nOrigin: http://evil\r\n",
    ] {
        for (method, path, body) in [
            ("POST", "/livy/sessions", "{}"),
            ("POST", "/livy/sessions/5/stop", ""),
            ("DELETE", "/livy/batches/5", ""),
            ("POST", "/livy/sessions/5/statements", "{\"code\":\"1\"}"),
        ] {
            cases.push(Case::of(
                method,
                path,
                line,
                body,
                Ends::Refused(403, "cross_origin"),
            ));
        }
    }
}

/// Odd, and safe because of what is made of it.
fn tolerated(cases: &mut Vec<Case>) {
    let list = || Ends::Lists(true);
    for path in [
        "/livy/sessions/",
        "/livy//sessions",
        "//livy/sessions",
        "/livy///sessions/",
        "/livy/sessions?",
        "/livy/sessions?&&",
    ] {
        cases.push(Case::of("GET", path, "", "", list()));
        let created = Ends::Reaches("POST", "/sessions?doAs=USER".into());
        cases.push(Case::of("POST", path, JSON, "{\"kind\":\"spark\"}", created));
    }
    for line in [
        "X-Forwarded-User: bob\r\n",
        "Remote-User: bob\r\n",
        "X_Forwarded_User: bob\r\n",
        "X-Forwarded-For: 127.0.0.1, evil\r\n",
        "Forwarded: for=bob\r\n",
        "X-Original-URL: /livy/sessions/666\r\n",
        "X-Rewrite-URL: /sessions/666\r\n",
        "X-Forwarded-Prefix: /x\r\n",
        "X-Forwarded-Method: DELETE\r\n",
        "X_HTTP_Method_Override: DELETE\r\n",
        "Cookie: hadoop.auth=u=root&s=x\r\n",
        "Connection: close, X-Requested-By, Host\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n",
        "Accept-Encoding: gzip\r\n",
        "Range: bytes=0-5\r\n",
        "If-None-Match: *\r\n",
        "traceparent: 00-x\r\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, x\r\n",
        "X-Request-Id: \"><script>\r\n",
        "Origin: https://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Max-Forwards: 0\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Encoding: gzip\r\n",
        "Trailer: X-HTTP-Method-Override\r\n",
    ] {
        cases.push(Case::of("GET", "/livy/sessions", line, "", list()));
        // The same where Livy itself is asked.
        let read = Ends::Reaches("GET", "/sessions/5?doAs=USER".into());
        cases.push(Case::of("GET", "/livy/sessions/5", line, "", read));
    }
    let absent = format!("GET /livy/sessions HTTP/1.0\r\n{LOGIN}\r\n");
    cases.push(Case::new(absent, list()));
    let bytes = request("GET", "/livy/sessions", &format!("{LOGIN}X: caf\u{e9}\r\n"), "");
    cases.push(Case::new(bytes, list()));
}
