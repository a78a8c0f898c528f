//! What clients meet on the wire: connections, framing, limits of size and time.

use std::time::Duration;

use fake_livy::FakeLivy;
use tokio::io::AsyncWriteExt;

use crate::rig::{End, Rig, Setup, SilentLivy, basic, basic_with, get, plain, post, raw_livy, times};

const CREATE: &str = r#"{"kind":"spark"}"#;

// --- One connection, many requests.

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    for _ in 0..3 {
        client.send(get("/livy/version")).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (200, None));
        client.send(post("/livy/sessions", CREATE)).await;
        client.reply().await.expect_status(201);
        client.send(get("/livy/nothing")).await;
        client.reply().await.expect_refusal(404, "unknown_operation");
    }
    assert_eq!(rig.livy().requests().len(), 6);
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_each_and_in_order() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let all: String = [
        post("/livy/sessions", r#"{"kind":"spark","name":"first"}"#),
        get("/livy/nothing"),
        post("/livy/sessions", r#"{"kind":"spark","name":"second"}"#),
        get("/livy/sessions"),
        get("/livy/version"),
    ]
    .concat();
    client.send(all).await;
    assert_eq!(client.reply().await.json()["id"], 0);
    client.reply().await.expect_refusal(404, "unknown_operation");
    assert_eq!(client.reply().await.json()["id"], 1);
    let listed = client.reply().await.json();
    assert_eq!(
        (
            &listed["total"],
            &listed["sessions"][0]["name"],
            &listed["sessions"][1]["name"]
        ),
        (&2.into(), &"first".into(), &"second".into())
    );
    assert!(client.reply().await.json()["version"].is_string());
    let asked: Vec<_> = rig
        .livy()
        .requests()
        .iter()
        .map(|request| request.method.clone())
        .collect();
    assert_eq!(asked, ["POST", "POST", "GET"]);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed_unless_it_asks_to_stay() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let request = |extra: &str| format!("GET /livy/version HTTP/1.0\r\n{}{extra}\r\n", basic("alice"));
    client.send(request("Connection: keep-alive\r\n")).await;
    client.reply().await.expect_status(200);
    client.send(request("")).await;
    client.reply().await.expect_status(200);
    assert_eq!(client.end().await, End::Closed);
}

#[tokio::test]
async fn a_head_request_has_no_body_and_the_length_that_a_get_would_have() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    for path in ["/livy/version", "/livy/sessions"] {
        client.send(get(path)).await;
        let got = client.reply().await;
        assert!(got.header("content-length").is_some(), "{path}");
        client.send(plain("HEAD", path)).await;
        let head = client.reply_to_head().await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, got.header("content-length")),
            "{path}"
        );
    }
    client.send(plain("HEAD", "/livy/nothing")).await;
    client.reply_to_head().await.expect_status(404);
    client.send(get("/livy/sessions")).await;
    assert_eq!(
        client.reply().await.json()["total"],
        0,
        "nothing of a body lay between"
    );
}

#[tokio::test]
async fn options_is_answered_here_and_allows_no_other_site_anything() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send("OPTIONS /livy/sessions HTTP/1.1\r\nHost: gw\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (204, Some("GET, HEAD, POST, OPTIONS"))
    );
    assert!(
        reply
            .headers
            .iter()
            .all(|(name, _)| !name.starts_with("access-control")),
        "{reply:?}"
    );
    client.send(get("/livy/version")).await;
    client.reply().await.expect_status(200);
    assert_eq!(rig.livy().requests().len(), 1);
}

// --- Framing.

#[tokio::test]
async fn a_request_that_two_parsers_may_read_differently_ends_the_connection_and_smuggles_nothing() {
    let rig = Rig::start().await;
    let smuggled = get("/livy/sessions/666");
    let post = |framing: &str, body: &str| {
        format!(
            "POST /livy/sessions HTTP/1.1\r\nHost: gw\r\n{}{framing}\r\n{body}",
            basic("alice")
        )
    };
    let bad = [
        post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", "0\r\n\r\n"),
        post("Content-Length: 0\r\nContent-Length: 44\r\n", ""),
        post("Transfer-Encoding: xchunked\r\n", ""),
        post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        post("Content-Length: +0\r\n", ""),
        post("X: a\r\n Content-Length: 44\r\n", ""),
        post("X: a\rContent-Length: 44\r\n", ""),
        post("X: a\nContent-Length: 44\r\n", ""),
        post("Host: other\r\n", ""),
        "GET /livy/version HTTP/1.1\r\n\r\n".to_owned(),
        "GET /livy/sessions\r\n\r\n".to_owned(),
        "GET /livy/version HTTP/1.1\nHost: gw\n\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    for request in bad {
        rig.livy().clear();
        let mut client = rig.connect().await;
        client
            .send(format!("{}{request}{smuggled}", get("/livy/version")))
            .await;
        client.reply().await.expect_status(200);
        let reply = client.reply().await;
        reply.expect_refusal(400, "bad_framing");
        assert_eq!(reply.header("connection"), Some("close"), "{request:?}");
        assert_eq!(client.end().await, End::Closed, "{request:?}");
        let asked: Vec<_> = rig
            .livy()
            .requests()
            .iter()
            .map(|request| request.path.clone())
            .collect();
        assert_eq!(asked, ["/version"], "{request:?}");
    }
    assert_eq!(rig.livy().bad_messages(), 0);
}

#[tokio::test]
async fn a_malformed_chunk_is_told_to_its_request_and_spares_those_before_it() {
    let rig = Rig::start().await;
    let head = format!(
        "POST /livy/sessions HTTP/1.1\r\nHost: gw\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        basic("alice")
    );
    for chunks in [
        "2;x=y\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}XX0\r\n\r\n",
        "0\r\nX: trailer\r\n\r\n",
        "-1\r\n",
    ] {
        rig.livy().clear();
        let mut client = rig.connect().await;
        client
            .send(format!(
                "{}{head}{chunks}{}",
                get("/livy/version"),
                get("/livy/sessions/666")
            ))
            .await;
        client.reply().await.expect_status(200);
        let reply = client.reply().await;
        reply.expect_refusal(400, "bad_framing");
        assert_eq!(reply.header("connection"), Some("close"), "{chunks:?}");
        assert_eq!(client.end().await, End::Closed, "{chunks:?}");
        assert_eq!(rig.livy().requests().len(), 1, "{chunks:?}");
    }
}

#[tokio::test]
async fn a_chunked_body_is_read_like_any_other_wherever_it_is_cut() {
    let livy = FakeLivy::builder().impersonation(true).max_creation(1000);
    let quota = "[quota]\nsessions = 1000\ncores = 10000\nmemory = \"100 TiB\"";
    let rig = Setup::new().livy(livy).rest(quota).start().await;
    let request = format!(
        "POST /livy/sessions HTTP/1.1\r\nHost: gw\r\n{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\n{{\"kin\r\nB\r\nd\":\"spark\"}}\r\n0\r\n\r\n",
        basic("alice")
    );
    let mut client = rig.connect().await;
    for at in 1..request.len() {
        client.send(&request[..at]).await;
        client.send(&request[at..]).await;
        client.reply().await.expect_status(201);
    }
    assert_eq!(times(rig.livy(), "POST", "/sessions"), request.len() - 1);
}

#[tokio::test]
async fn odd_request_targets_are_refused_in_the_usual_shape() {
    let rig = Rig::start().await;
    for (line, status, code) in [
        ("CONNECT livy:8998", 400, "ambiguous_target"),
        ("GET http://other.example/livy/sessions", 400, "ambiguous_target"),
        ("GET http://a:b:c/", 400, "ambiguous_target"),
        ("GET /livy/sessions<", 400, "ambiguous_target"),
        ("GET /livy/sessions?a=\"", 400, "ambiguous_target"),
        ("GET /livy/sessions#x", 400, "ambiguous_target"),
        ("GET *", 400, "ambiguous_target"),
        ("GET livy/sessions", 400, "ambiguous_target"),
        ("GATEWAY-REFUSED /livy/sessions", 405, "method_not_allowed"),
    ] {
        let mut client = rig.connect().await;
        client
            .send(format!("{line} HTTP/1.1\r\nHost: gw\r\n{}\r\n", basic("alice")))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.outcome(), (status, code.to_owned()), "{line}");
        reply.expect_refusal(status, code);
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn no_connection_becomes_a_tunnel() {
    let rig = Rig::start().await;
    for upgrade in ["websocket", "h2c"] {
        let mut client = rig.connect().await;
        let headers = format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        );
        client
            .send(format!(
                "GET /livy/version HTTP/1.1\r\nHost: gw\r\n{}{headers}\r\n{}",
                basic("alice"),
                get("/livy/nothing")
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("upgrade")), (200, None));
        client.reply().await.expect_refusal(404, "unknown_operation");
        assert_eq!(rig.livy().last().header("upgrade"), None);
    }
}

// --- Sizes.

#[tokio::test]
async fn too_long_a_target_is_414_and_too_large_a_head_431() {
    let rig = Rig::start().await;
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    let big: String = (0..5)
        .map(|number| format!("X-{number}: {}\r\n", "y".repeat(16_000)))
        .collect();
    let head = |path: &str, headers: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: gw\r\n{}{headers}\r\n",
            basic("alice")
        )
    };
    for (request, status, code) in [
        (
            head(&format!("/livy/sessions?from={}", "1".repeat(9_000)), ""),
            414,
            "target_too_long",
        ),
        (head("/livy/sessions", &many), 431, "head_too_large"),
        (head("/livy/sessions", &big), 431, "head_too_large"),
        (
            head("/livy/sessions", &format!("X: {}\r\n", "y".repeat(20_000))),
            431,
            "head_too_large",
        ),
        (format!("GET /{}", "a".repeat(20_000)), 414, "target_too_long"),
    ] {
        let mut client = rig.connect().await;
        client.send(&request).await;
        let reply = client.reply().await;
        reply.expect_refusal(status, code);
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(client.end().await, End::Closed);
    }
    let token = format!("Authorization: Bearer {}\r\n", "t".repeat(16_000));
    let mut client = rig.connect().await;
    client
        .send(format!("GET /livy/version HTTP/1.1\r\nHost: gw\r\n{token}\r\n"))
        .await;
    assert_eq!(client.reply().await.status, 401, "a token of 16 KiB fits");
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn too_large_a_body_is_413_that_the_client_can_still_read_while_it_sends() {
    let rig = Rig::start().await;
    let head = |framing: &str| {
        format!(
            "POST /livy/sessions HTTP/1.1\r\nHost: gw\r\n{}Content-Type: application/json\r\n{framing}\r\n\r\n",
            basic("alice")
        )
    };
    for (head, body) in [
        (head("Content-Length: 10000000000"), "x".repeat(600_000)),
        (
            head("Transfer-Encoding: chunked"),
            format!("200000\r\n{}", "x".repeat(0x20_0000 - 1)),
        ),
    ] {
        let mut client = rig.connect().await;
        client.send(head).await;
        let _ = client.try_send(body).await;
        let reply = client.reply().await;
        reply.expect_refusal(413, "body_too_large");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    assert!(rig.livy().requests().is_empty());
}

// --- Expect.

fn expecting(authorization: &str, expectation: &str, length: usize) -> String {
    format!(
        "POST /livy/sessions HTTP/1.1\r\nHost: gw\r\n{authorization}Content-Type: application/json\r\nExpect: {expectation}\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_once_it_is_known_and_its_body_fits() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client
        .send(expecting(&basic("alice"), "100-Continue", CREATE.len()))
        .await;
    assert_eq!(client.any_reply(false).await.status, 100);
    client.send(CREATE).await;
    assert_eq!(client.any_reply(false).await.status, 201);
    assert_eq!(rig.livy().last().header("expect"), None);
}

#[tokio::test]
async fn nobody_is_asked_for_a_body_that_will_be_refused() {
    let rig = Rig::start().await;
    for (request, status, code) in [
        (expecting("", "100-continue", 16), 401, "missing_credentials"),
        (
            expecting(&basic_with("alice", "wrong"), "100-continue", 16),
            401,
            "invalid_credentials",
        ),
        (
            expecting(&basic("alice"), "100-continue", 10_000_000),
            413,
            "body_too_large",
        ),
        (
            expecting(&basic("alice"), "200-ok", 16),
            417,
            "unsupported_expectation",
        ),
    ] {
        let mut client = rig.connect().await;
        client.send(request).await;
        let reply = client.any_reply(false).await;
        reply.expect_refusal(status, code);
        assert_eq!(reply.header("connection"), Some("close"), "{code}");
        assert_eq!(client.end().await, End::Closed);
    }
    assert!(rig.livy().requests().is_empty());
}

// --- Time.

#[tokio::test]
async fn a_slow_head_is_408_after_15_seconds() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send("GET /livy/sess").await;
    let (reply, took) = rig.pass_until(Duration::from_secs(1), client.reply()).await;
    reply.expect_refusal(408, "slow_request");
    assert!((14..40).contains(&took.as_secs()), "{took:?}");
    assert_eq!(client.end().await, End::Closed);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_without_a_word() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    let (end, took) = rig.pass_until(Duration::from_secs(1), client.end()).await;
    assert_eq!(end, End::Closed);
    assert!((14..40).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn an_idle_connection_outlives_two_heartbeats_and_more_and_is_then_closed() {
    let rig = Rig::start().await;
    let mut client = rig.connect().await;
    client.send(get("/livy/version")).await;
    client.reply().await.expect_status(200);
    let (end, took) = rig.pass_until(Duration::from_secs(10), client.end()).await;
    assert_eq!(end, End::Closed);
    assert!((120..200).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_slow_body_is_408_and_livy_hears_nothing_of_it() {
    let rig = Rig::start().await;
    let request = post("/livy/sessions", CREATE);
    let mut client = rig.connect().await;
    client.send(&request[..request.len() - 3]).await;
    let (reply, took) = rig.pass_until(Duration::from_secs(1), client.reply()).await;
    reply.expect_refusal(408, "slow_body");
    assert_eq!(reply.header("connection"), Some("close"));
    assert!((9..40).contains(&took.as_secs()), "{took:?}");
    assert_eq!(client.end().await, End::Closed);
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_given_up_and_frees_livys_connection() {
    let livy = SilentLivy::start().await;
    let rig = Setup::new().livy_url(&livy.url()).start().await;
    let mut client = rig.connect().await;
    client.send(get("/livy/version")).await;
    let mut stream = livy.asked().await.0;
    let endless = async {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b' '; 1 << 20];
        let mut sent = 0;
        while stream.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        sent
    };
    let (sent, took) = rig.pass_until(Duration::from_secs(5), endless).await;
    assert!((60..120).contains(&took.as_secs()), "{took:?}");
    assert!(
        sent < 100_000_000,
        "what the client does not take is not taken from Livy: {sent}"
    );
}

// --- How many.

#[tokio::test]
async fn with_all_places_taken_the_next_client_waits_until_one_is_free() {
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\nmax_connections = 2\n";
    let rig = Setup::new().listen(listen).start().await;
    let (mut first, mut second, mut third) = (rig.connect().await, rig.connect().await, rig.connect().await);
    first.send(get("/livy/version")).await;
    first.reply().await.expect_status(200);
    second.send(get("/livy/version")).await;
    second.reply().await.expect_status(200);
    third.send(get("/livy/version")).await;
    let waits = tokio::time::timeout(Duration::from_millis(300), third.any_reply(false)).await;
    assert!(waits.is_err(), "{waits:?}");
    assert_eq!(times(rig.livy(), "GET", "/version"), 2);
    drop(first);
    third.reply().await.expect_status(200);
    assert_eq!(times(rig.livy(), "GET", "/version"), 3);
    second.send(get("/livy/version")).await;
    second.reply().await.expect_status(200);
}

#[tokio::test]
async fn a_large_answer_streams_through_unchanged() {
    let body = format!("{{\"log\":\"{}\"}}", "x".repeat(5 << 20));
    let sent = body.clone();
    let url = raw_livy(move |_| {
        let length = sent.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{sent}")
            .into_bytes()
    })
    .await;
    let rig = Setup::new().livy_url(&url).start().await;
    let reply = rig.ask(&get("/livy/version")).await;
    assert!(reply.is_whole && reply.text() == body);
    assert_eq!(
        reply.header("content-length"),
        Some(body.len().to_string().as_str())
    );
}
