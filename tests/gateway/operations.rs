//! Every operation, as the client asks for it and as Livy receives it.

mod pages;

use std::collections::BTreeSet;

use fake_livy::{FakeLivy, Received};
use livy_gateway::livy::operation::{BodyKind, Method, Operation};

use crate::rig::{Rig, Setup, basic, eventually, get, lists_only, marker, plain, post, request, sample_body};

const CREATE: &str = r#"{"kind":"spark"}"#;

/// Lines that clients, proxies and attackers send and that are nobody's business upstream.
const NOISE: &str = "Cookie: hadoop.auth=\"u=root\"; JSESSIONID=1\r\nAccept-Encoding: gzip, deflate\r\nAccept: text/html\r\n\
    User-Agent: python-requests/2.32\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-User: root\r\nX_Forwarded_User: root\r\n\
    Remote-User: root\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\nProxy-Authorization: Basic cm9vdDpyb290\r\n\
    X-Original-URL: /sessions/1\r\nX-Rewrite-URL: /sessions/1\r\nRange: bytes=0-1\r\nIf-None-Match: \"x\"\r\n\
    Referer: https://gw/\r\nX-Requested-By: somebody\r\nX-Request-Id: mine\r\nTE: trailers\r\n\
    Connection: keep-alive, X-Requested-By, Host, Content-Type\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: vendor=secret\r\n";

/// The only headers that Livy ever gets, where it wants no login.
pub(crate) const HEADERS: [&str; 8] = [
    "accept",
    "content-length",
    "content-type",
    "host",
    "traceparent",
    "transfer-encoding",
    "x-request-id",
    "x-requested-by",
];

/// The method and path that the operation has in Livy's API.
fn canonical(operation: &Operation) -> (&'static str, String) {
    (operation.method().as_str(), operation.to_string())
}

/// A gateway before a Livy in which sessions and batches 0 to 7 are alice's.
async fn furnished() -> Rig {
    Setup::new().roomy().owned("alice", 8).start().await
}

/// The one request that Livy received.
#[track_caller]
fn only(livy: &FakeLivy) -> Received {
    let mut received = livy.requests();
    assert_eq!(received.len(), 1, "{received:#?}");
    received.remove(0)
}

fn names(received: &Received) -> BTreeSet<String> {
    received
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect()
}

// --- What leaves.

#[tokio::test]
async fn every_operation_reaches_livy_as_its_canonical_request_and_carries_nothing_of_the_clients() {
    for operation in Operation::one_of_each() {
        let rig = furnished().await;
        let host = format!("127.0.0.1:{}", rig.livy().port());
        let (method, path) = canonical(&operation);
        let (content_type, body) = sample_body(&operation);
        let headers = format!("{}{NOISE}{content_type}", basic("alice"));
        let reply = rig
            .ask(request(method, &format!("/livy{path}"), &headers, &body))
            .await;

        if matches!(operation, Operation::List(_)) {
            // Answered from the one list that the gateway reads for everybody.
            assert_eq!(lists_only(&reply, "alice"), [0, 1, 2, 3, 4, 5, 6, 7]);
            assert!(rig.livy().requests().is_empty());
            continue;
        }
        let received = only(rig.livy());
        let what = operation.label();
        assert_eq!(
            (received.method.as_str(), received.target.as_str()),
            (method, format!("{path}?doAs=alice").as_str())
        );
        assert_eq!(received.effective_method, method, "{what}");
        assert_eq!(Some(reply.status), received.status, "{what}");
        assert!(received.body_complete, "{what}");
        if operation != Operation::Version {
            assert_eq!(received.effective_user.as_deref(), Some("alice"), "{what}");
        }
        let request_id = reply.header("x-request-id").unwrap();
        // The client's trace goes on; this part of it is the middle of the request's id.
        let digits: String = request_id.split('-').collect();
        let trace = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", &digits[4..20]);
        for (name, values) in [
            ("host", vec![host.as_str()]),
            ("accept", vec!["application/json"]),
            ("x-requested-by", vec!["livy-gateway"]),
            ("x-request-id", vec![request_id]),
            ("traceparent", vec![trace.as_str()]),
        ] {
            assert_eq!(received.header_values(name), values, "{what} {name}");
        }
        let unknown: Vec<_> = names(&received)
            .into_iter()
            .filter(|name| !HEADERS.contains(&name.as_str()))
            .collect();
        assert_eq!(unknown, [""; 0], "{what}");
        match operation.body() {
            BodyKind::Empty => assert_eq!(
                (received.text().as_str(), received.header("content-type")),
                ("", None)
            ),
            BodyKind::Json(_) => {
                assert_eq!(
                    received.header("content-type"),
                    Some("application/json"),
                    "{what}"
                );
                let mut sent: serde_json::Value = serde_json::from_str(&body).unwrap();
                if matches!(operation, Operation::Create(_)) {
                    sent["proxyUser"] = "alice".into();
                    sent["name"] = marker(&received).into();
                }
                assert_eq!(received.json(), sent, "{what}");
            }
            BodyKind::Upload(_) => {
                let theirs = received.header("content-type").unwrap();
                assert!(
                    theirs.starts_with("multipart/form-data; boundary=livy-gateway-"),
                    "{theirs}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_head_is_asked_of_livy_as_a_head_of_the_same_target() {
    let rig = furnished().await;
    let reads = |operation: &Operation| operation.method() == Method::Get;
    for operation in Operation::one_of_each().into_iter().filter(reads) {
        rig.livy().clear();
        let mut client = rig.connect().await;
        client.send(plain("HEAD", &format!("/livy{operation}"))).await;
        let reply = client.reply_to_head().await;
        if matches!(operation, Operation::List(_)) {
            let whole = rig.ask(get(&format!("/livy{operation}"))).await;
            reply.expect_status(200);
            for name in ["content-type", "content-length"] {
                assert!(reply.header(name).is_some());
                assert_eq!(reply.header(name), whole.header(name), "{operation}");
            }
            assert!(rig.livy().requests().is_empty());
            continue;
        }
        let received = only(rig.livy());
        assert_eq!(
            (received.method.as_str(), received.target),
            ("HEAD", format!("{operation}?doAs=alice"))
        );
        assert_eq!(Some(reply.status), received.status);
    }
}

#[tokio::test]
async fn options_of_every_operation_names_its_method_and_never_reaches_livy() {
    let rig = Rig::start().await;
    for operation in Operation::one_of_each() {
        let (method, path) = canonical(&operation);
        let reply = rig.ask(request("OPTIONS", &format!("/livy{path}"), "", "")).await;
        reply.expect_status(204);
        let allowed = reply.header("allow").unwrap();
        assert!(allowed.split(", ").any(|one| one == method), "{path}: {allowed}");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_method_that_an_operation_does_not_have_never_reaches_livy() {
    let rig = Rig::start().await;
    let methods = [
        "GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "TRACE", "get", "Post", "delete", "QUERY",
    ];
    let all = Operation::one_of_each();
    let exists = |method: &str, path: &str| {
        let method = if method == "HEAD" { "GET" } else { method };
        all.iter()
            .any(|operation| canonical(operation) == (known(method), path.to_owned()))
    };
    let mut refused = 0;
    for path in all.iter().map(Operation::to_string).collect::<BTreeSet<_>>() {
        for method in methods.into_iter().filter(|method| !exists(method, &path)) {
            let mut client = rig.connect().await;
            client.send(plain(method, &format!("/livy{path}"))).await;
            if method == "HEAD" {
                client.reply_to_head().await.expect_status(405);
            } else {
                let reply = client.reply().await;
                reply.expect_refusal(405, "method_not_allowed");
                assert!(reply.header("allow").is_some_and(|allow| !allow.contains(method)));
            }
            refused += 1;
        }
    }
    assert!(refused > 150, "{refused}");
    assert!(rig.livy().requests().is_empty());
}

fn known(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "",
    }
}

// --- The query.

#[tokio::test]
async fn livy_gets_the_parameters_that_an_operation_has_and_no_others() {
    let rig = furnished().await;
    // What is deleted has no parameters any more.
    let (deletions, others): (Vec<_>, Vec<_>) = Operation::one_of_each()
        .into_iter()
        .partition(|operation| operation.method() == Method::Delete);
    for operation in others.into_iter().chain(deletions) {
        rig.livy().clear();
        let (method, path) = canonical(&operation);
        let (content_type, body) = sample_body(&operation);
        let headers = format!("{}{content_type}", basic("alice"));
        for parameter in ["from", "size", "order"] {
            let target = format!("/livy{path}?{parameter}=1");
            let reply = rig.ask(request(method, &target, &headers, &body)).await;
            if !operation.parameters().contains(&parameter) {
                reply.expect_refusal(400, "unknown_parameter");
                assert!(rig.livy().requests().is_empty(), "{target}");
            } else if matches!(operation, Operation::List(_)) {
                let shown: &[u64] = if parameter == "from" {
                    &[1, 2, 3, 4, 5, 6, 7]
                } else {
                    &[0]
                };
                assert_eq!(lists_only(&reply, "alice"), shown, "{target}");
                assert!(rig.livy().requests().is_empty(), "{target}");
            } else {
                let received = only(rig.livy());
                let value = if parameter == "order" { "asc" } else { "1" };
                assert_eq!(received.target, format!("{path}?doAs=alice&{parameter}={value}"));
            }
            rig.livy().clear();
        }
    }
}

// --- Base paths.

#[tokio::test]
async fn a_request_comes_by_any_base_path_and_its_location_leads_back_there() {
    let tables = "[listen]\naddress = \"127.0.0.1:0\"\nbase_paths = [\"/livy\", \"/livy/v1\", \"/gateway/default/livy\", \"/\"]\n";
    let rig = Setup::new().roomy().listen(tables).start().await;
    let mut id = 0;
    for base in ["/livy", "/livy/v1", "/gateway/default/livy", ""] {
        for collection in ["/sessions", "//sessions", "/sessions/", "///sessions/"] {
            let reply = rig.ask(post(&format!("{base}{collection}"), CREATE)).await;
            reply.expect_status(201);
            let location = format!("{base}/sessions/{id}");
            assert_eq!(reply.header("location"), Some(location.as_str()), "{collection}");
            assert_eq!(
                rig.livy().last().target,
                "/sessions?doAs=alice",
                "{base}{collection}"
            );

            let made = marker(&rig.livy().last());

            rig.livy().clear();
            let reply = rig.ask(get(&format!("{base}{collection}"))).await;
            assert_eq!(lists_only(&reply, "alice").len(), id + 1, "{base}{collection}");
            assert!(rig.livy().requests().is_empty(), "{base}{collection}");

            let reply = rig
                .ask(post(&format!("{location}/statements"), r#"{"code":"1"}"#))
                .await;
            reply.expect_status(201);
            let statement = format!("{location}/statements/0");
            assert_eq!(reply.header("location"), Some(statement.as_str()));
            rig.ask(get(&statement)).await.expect_status(200);
            assert_eq!(
                rig.livy().last().target,
                format!("/sessions/{made}/statements/0?doAs=alice")
            );
            id += 1;
        }
    }
}

#[tokio::test]
async fn what_is_not_below_a_base_path_never_reaches_livy() {
    let rig = Rig::start().await;
    for path in [
        "/",
        "/sessions",
        "/livyx/sessions",
        "/LIVY/sessions",
        "/Livy/sessions",
        "/xlivy/sessions",
        "/livy",
        "/livy/",
        "/livy/livy/sessions",
        "/livy/ui",
        "/livy/metrics",
        "/livy/metrics/threads",
        "/metrics",
        "/livy/static/x.js",
        "/livy/thriftserver/sessions",
        "/livy/Sessions",
        "/livy/sessions/0/kill",
        "/livy/batches/0/statements",
        "/livy/version/x",
        "/livy/sessions/0/jobs",
        "/livy/ping",
        "/live",
        "/ready",
    ] {
        rig.ask(get(path)).await.expect_refusal(404, "unknown_operation");
    }
    assert!(rig.livy().requests().is_empty());
}

// --- Livy's own description of its API.

/// The operations that Livy 0.8 documents, in an order in which each of them succeeds: method, path, body, Livy's
/// status, and what Livy takes it for.
const PUBLISHED: [(&str, &str, &str, u16, &str); 18] = [
    ("GET", "/version", "", 200, "version"),
    ("POST", "/sessions", CREATE, 201, "create_session"),
    ("GET", "/sessions", "", 200, "list_sessions"),
    ("GET", "/sessions/0", "", 200, "get_session"),
    ("GET", "/sessions/0/state", "", 200, "get_session_state"),
    ("GET", "/sessions/0/log", "", 200, "get_session_log"),
    (
        "POST",
        "/sessions/0/statements",
        r#"{"code":"1 + 1"}"#,
        201,
        "run_statement",
    ),
    ("GET", "/sessions/0/statements", "", 200, "list_statements"),
    ("GET", "/sessions/0/statements/0", "", 200, "get_statement"),
    (
        "POST",
        "/sessions/0/statements/0/cancel",
        "",
        200,
        "cancel_statement",
    ),
    (
        "POST",
        "/sessions/0/completion",
        r#"{"code":"sp","kind":"spark","cursor":2}"#,
        200,
        "complete",
    ),
    ("DELETE", "/sessions/0", "", 200, "delete_session"),
    (
        "POST",
        "/batches",
        r#"{"file":"hdfs:///a.jar"}"#,
        201,
        "create_batch",
    ),
    ("GET", "/batches", "", 200, "list_batches"),
    ("GET", "/batches/0", "", 200, "get_batch"),
    ("GET", "/batches/0/state", "", 200, "get_batch_state"),
    ("GET", "/batches/0/log", "", 200, "get_batch_log"),
    ("DELETE", "/batches/0", "", 200, "delete_batch"),
];

#[tokio::test]
async fn every_operation_of_livys_published_api_works_unchanged() {
    let rig = Rig::start().await;
    let mut made = String::new();
    for (method, path, body, status, operation) in PUBLISHED {
        rig.livy().clear();
        let headers = format!("{}Content-Type: application/json\r\n", basic("alice"));
        let reply = rig
            .ask(request(method, &format!("/livy{path}"), &headers, body))
            .await;
        reply.expect_status(status);
        if operation.starts_with("list_") && operation != "list_statements" {
            assert_eq!(lists_only(&reply, "alice"), [0], "{path}");
            assert!(rig.livy().requests().is_empty(), "{path}");
        } else {
            let received = only(rig.livy());
            if operation.starts_with("create_") {
                made = marker(&received);
            }
            // By the name that nobody else has, and Livy's answer does not show.
            let path = path.replace("/0", &format!("/{made}")).replacen(
                &format!("/statements/{made}"),
                "/statements/0",
                1,
            );
            assert_eq!(received.operation, Some(operation), "{method} {path}");
            assert_eq!((received.method, received.path), (method.to_owned(), path));
        }
        if operation.starts_with("get_") {
            let shown = reply.json();
            assert!(
                shown.get("name").is_none_or(serde_json::Value::is_null),
                "{shown}"
            );
            assert!(shown.get("id").is_none_or(|id| *id == 0), "{shown}");
        }
        let content_type = reply.header("content-type").unwrap_or_default();
        assert!(
            content_type.starts_with("application/json"),
            "{path}: {content_type}"
        );
        assert!(reply.json().is_object(), "{path}");
    }
}

// --- How Livy is told for whom it acts.

#[tokio::test]
async fn livy_is_told_by_do_as_by_proxy_user_or_by_both() {
    for (impersonate, query, proxy_user) in [
        ("both", "?doAs=alice", Some("alice")),
        ("doAs", "?doAs=alice", None),
        ("proxyUser", "", Some("alice")),
    ] {
        let rig = Setup::new()
            .livy_keys(&format!("impersonate = \"{impersonate}\""))
            .start()
            .await;
        for (path, body) in [("/sessions", CREATE), ("/batches", r#"{"file":"hdfs:///a.jar"}"#)] {
            rig.ask(post(&format!("/livy{path}"), body))
                .await
                .expect_status(201);
            let received = rig.livy().last();
            assert_eq!(received.target, format!("{path}{query}"), "{impersonate}");
            let made = marker(&received);
            assert_eq!(
                received.json().get("proxyUser").and_then(|user| user.as_str()),
                proxy_user
            );
            assert_eq!(received.effective_user.as_deref(), Some("alice"), "{impersonate}");
            rig.ask(get(&format!("/livy{path}/0"))).await.expect_status(200);
            assert_eq!(
                rig.livy().last().target,
                format!("{path}/{made}{query}"),
                "{impersonate}"
            );
        }
        rig.ask(post("/livy/sessions/0/statements", r#"{"code":"1"}"#))
            .await
            .expect_status(201);
        assert_eq!(
            rig.livy().last().text(),
            r#"{"code":"1"}"#,
            "only creations name a user in their body"
        );
        let own = rig.livy().sessions();
        assert_eq!(own[0].proxy_user.as_deref(), Some("alice"), "{impersonate}");
    }
}

#[tokio::test]
async fn a_livy_below_a_path_is_asked_there_and_its_login_is_added_last() {
    let stage = Setup::new().stage().await;
    let rig = Setup::new()
        .livy_url(&format!("{}/deep/livy", stage.livy.url()))
        .livy_keys("authenticate = { kind = \"simple\", user = \"gw@EXAMPLE.ORG\" }")
        .start()
        .await;
    rig.ask(get("/livy/version")).await;
    assert_eq!(
        only(&stage.livy).target,
        "/deep/livy/version?doAs=alice&user.name=gw%40EXAMPLE.ORG"
    );
    let rig = Setup::new()
        .livy_keys("authenticate = { kind = \"simple\", user = \"gw@EXAMPLE.ORG\" }")
        .owned("alice", 1)
        .start()
        .await;
    rig.ask(get("/livy/sessions/0/log?size=3")).await;
    assert_eq!(
        only(rig.livy()).target,
        "/sessions/0/log?doAs=alice&size=3&user.name=gw%40EXAMPLE.ORG"
    );
}

#[tokio::test]
async fn what_needs_the_first_list_works_soon_after_livy_came_though_the_gateway_was_there_before_it() {
    for (request, status) in [
        (post("/livy/sessions", CREATE), 201),
        (get("/livy/sessions/0"), 200),
    ] {
        let stage = Setup::new().owned("alice", 1).stage().await;
        stage.livy.stop();
        let rig = Setup::new()
            .livy_url(&stage.livy.url())
            .rest("[state]\nstore = \"memory\"\nreconcile = \"10m\"")
            .start()
            .await;
        let down = rig.ask(&request).await;
        assert!(down.status >= 500, "{}", down.text());
        stage.livy.resume();
        eventually("Livy is seen", async || rig.ask(&request).await.status == status).await;
    }
}
