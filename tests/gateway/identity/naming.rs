//! Clients that name for whom they act: in the query, the body and the headers, in every spelling.

use super::{CREATE, JSON, create, read, refused_with_both_names, told_only};
use crate::rig::{Rig, Setup, basic, lists_only, multipart, request};

/// Every place and spelling of a query in which a client can name a user.
const QUERIES: [&str; 14] = [
    "doAs={}",
    "doas={}",
    "DOAS={}",
    "%64oAs={}",
    "d%6fAs={}",
    "doAs[]={}",
    "doAs%5B%5D={}",
    "proxyUser={}",
    "proxyuser={}",
    "PROXYUSER[]={}",
    "proxy%55ser={}",
    "doAs={}&proxyUser={}",
    "&&doAs={}&",
    "doAs={}&proxyuser[]={}",
];

#[tokio::test]
async fn naming_oneself_in_the_query_changes_nothing_and_naming_another_is_refused_with_both_names() {
    for query in QUERIES {
        let rig = Setup::new().owned("alice", 1).owned("bob", 1).start().await;
        for (method, path, body) in [
            ("GET", "/sessions", ""),
            ("GET", "/sessions/0", ""),
            ("POST", "/sessions", CREATE),
            ("POST", "/sessions/0/statements", r#"{"code":"1"}"#),
            ("POST", "/sessions/0/stop", ""),
            ("DELETE", "/batches/0", ""),
        ] {
            let ask = |user: &str| {
                let target = format!("/livy{path}?{}", query.replace("{}", user));
                request(method, &target, &format!("{}{JSON}", basic("alice")), body)
            };
            rig.livy().clear();
            for other in ["bob", "hdfs", "Alice", "", "alice%20", "alice%E2%80%8B"] {
                let reply = rig.ask(ask(other)).await;
                assert_eq!(
                    reply.outcome(),
                    (403, "impersonation_refused".to_owned()),
                    "{method} {path} {query} {other}"
                );
                if other == "bob" {
                    refused_with_both_names(&reply, "bob", "alice");
                }
            }
            assert!(rig.livy().requests().is_empty(), "{method} {path} {query}");
            let reply = rig.ask(ask("alice")).await;
            let received = rig.livy().requests();
            if (method, path) == ("GET", "/sessions") {
                assert_eq!(lists_only(&reply, "alice"), [0], "{query}");
                assert!(received.is_empty(), "{query}");
                continue;
            }
            assert_eq!(received.len(), 1, "{method} {path} {query}");
            assert_eq!(received[0].target, format!("{path}?doAs=alice"));
        }
    }
}

#[tokio::test]
async fn naming_a_user_twice_is_refused_even_when_both_are_ones_own() {
    let rig = Rig::start().await;
    for query in [
        "doAs=alice&doAs=alice",
        "doAs=alice&doas=alice",
        "doAs=alice&doAs=bob",
        "doAs=bob&doAs=alice",
        "doAs=alice&doAs[]=bob",
        "proxyUser=alice&proxyUser=alice",
        "doAs=alice&proxyUser=bob",
        "doAs=bob&proxyUser=alice",
        "doAs=alice&%64oAs=alice",
    ] {
        for (method, path, body) in [("GET", "/sessions", ""), ("POST", "/sessions", CREATE)] {
            let headers = format!("{}{JSON}", basic("alice"));
            let reply = rig
                .ask(request(method, &format!("/livy{path}?{query}"), &headers, body))
                .await;
            assert_eq!(reply.status, 400, "{query}: {}", reply.text());
            reply.expect_refusal(400, "repeated_parameter");
        }
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_creations_proxy_user_is_ones_own_or_is_refused_with_both_names() {
    let rig = Setup::new().roomy().start().await;
    for (path, rest) in [
        ("/livy/sessions", r#""kind":"spark""#),
        ("/livy/batches", r#""file":"hdfs:///a.jar""#),
    ] {
        for key in ["proxyUser", "proxy\\u0055ser", "\\u0070roxyUser"] {
            rig.livy().clear();
            for value in [
                "bob",
                "hdfs",
                "Alice",
                "",
                " ",
                "alice ",
                "alice\\u0000",
                "b\\u006fb",
            ] {
                let body = format!("{{\"{key}\":\"{value}\",{rest}}}");
                let reply = rig.ask(create(&basic("alice"), path, &body)).await;
                assert_eq!(
                    reply.outcome(),
                    (403, "impersonation_refused".to_owned()),
                    "{body}"
                );
                if value == "bob" {
                    refused_with_both_names(&reply, "bob", "alice");
                }
            }
            assert!(rig.livy().requests().is_empty(), "{path} {key}");
            for value in ["\"alice\"", "\"\\u0061lice\"", "null"] {
                let body = format!("{{\"{key}\":{value},{rest}}}");
                rig.ask(create(&basic("alice"), path, &body))
                    .await
                    .expect_status(201);
                told_only(&rig.livy().last(), "alice");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_names_a_user_in_another_way_is_refused() {
    let rig = Setup::new().owned("alice", 1).start().await;
    let upload = multipart("file", "x").replace("; filename=\"a.jar\"", "");
    let with_field = |name: &str, value: &str| {
        let field = format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        format!("{field}{}", multipart("file", "x"))
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let parts = "Content-Type: multipart/form-data; boundary=cut\r\n";
    let cases = [
        (
            "/sessions",
            JSON,
            r#"{"proxyuser":"alice"}"#.to_owned(),
            400,
            "unknown_field",
        ),
        (
            "/sessions",
            JSON,
            r#"{"ProxyUser":"bob"}"#.into(),
            400,
            "unknown_field",
        ),
        (
            "/sessions",
            JSON,
            r#"{"doAs":"alice"}"#.into(),
            400,
            "unknown_field",
        ),
        (
            "/sessions",
            JSON,
            r#"{"proxyUser":"alice","proxyUser":"bob"}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            JSON,
            r#"{"proxyUser":"alice","proxyUser":null}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            JSON,
            r#"{"proxyUser":"alice","proxy\u0055ser":"alice"}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            JSON,
            r#"{"proxyUser":1001}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            JSON,
            r#"{"proxyUser":["alice"]}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            JSON,
            r#"{"proxyUser":{"a":null}}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            JSON,
            r#"{"conf":{"proxyUser":"alice"}}"#.into(),
            400,
            "conf_refused",
        ),
        (
            "/batches",
            JSON,
            r#"{"file":"a","proxyUser":true}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions/0/statements",
            JSON,
            r#"{"code":"1","proxyUser":"alice"}"#.into(),
            400,
            "unknown_field",
        ),
        (
            "/sessions/0/stop",
            JSON,
            r#"{"doAs":"bob"}"#.into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            form,
            "doAs=bob&kind=spark".into(),
            415,
            "unsupported_body",
        ),
        ("/batches", form, "proxyUser=bob".into(), 415, "unsupported_body"),
        ("/sessions/0/stop", form, "doAs=bob".into(), 400, "invalid_body"),
        (
            "/sessions/0/interrupt",
            form,
            "_method=GET".into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions/0/statements/0/cancel",
            form,
            "doAs=bob".into(),
            400,
            "invalid_body",
        ),
        (
            "/sessions",
            parts,
            with_field("doAs", "bob"),
            415,
            "unsupported_body",
        ),
        (
            "/sessions/0/connect",
            parts,
            with_field("doAs", "bob"),
            400,
            "invalid_body",
        ),
        (
            "/sessions/0/upload-file",
            parts,
            with_field("doAs", "bob"),
            400,
            "invalid_body",
        ),
        (
            "/sessions/0/upload-file",
            parts,
            with_field("proxyUser", "bob"),
            400,
            "invalid_body",
        ),
        (
            "/sessions/0/upload-file",
            parts,
            with_field("_method", "DELETE"),
            400,
            "invalid_body",
        ),
        ("/sessions/0/upload-file", parts, upload, 400, "invalid_body"),
    ];
    for (path, line, body, status, code) in cases {
        let headers = format!("{}{line}", basic("alice"));
        let reply = rig
            .ask(request("POST", &format!("/livy{path}"), &headers, &body))
            .await;
        assert_eq!(
            reply.outcome(),
            (status, code.to_owned()),
            "{path} {body}: {}",
            reply.text()
        );
        reply.expect_refusal(status, code);
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn headers_that_name_a_user_name_nobody() {
    let rig = Rig::start().await;
    for name in [
        "X-Forwarded-User",
        "X-Remote-User",
        "Remote-User",
        "Remote_User",
        "X-Auth-Request-User",
        "X-WEBAUTH-USER",
        "X-Forwarded-Client-Cert",
        "doAs",
        "proxyUser",
        "user.name",
        "X-Hadoop-Do-As",
    ] {
        let headers = format!("{}{name}: bob\r\n", basic("alice"));
        rig.ask(read(&headers)).await.expect_status(200);
        let received = rig.livy().last();
        told_only(&received, "alice");
        assert_eq!(received.header(name), None);
        rig.livy().clear();
        let reply = rig.ask(read(&format!("{name}: alice\r\n"))).await;
        reply.expect_refusal(401, "missing_credentials");
        assert!(rig.livy().requests().is_empty());
    }
}
