//! What becomes of a request when Livy, the client or the network between fails: each case has one decided outcome.
//!
//! Above all of them: what is no read reaches Livy at most once, and is answered 5xx only if it surely did not.

mod ambiguous;
mod connections;

use std::sync::atomic::Ordering;
use std::time::Duration;

use fake_livy::{Auth, Canned, FakeLivy, Fault, Kind};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::rig::{
    Reply, Rig, Setup, SilentLivy, eventually, get, multipart, plain, post, raw_livy, times, upload_head,
};

const CREATE: &str = r#"{"kind":"spark"}"#;
const STATEMENT: &str = r#"{"code":"1 + 1"}"#;

/// A gateway before a Livy with an idle session 0 of alice's and a batch 0.
async fn with_sessions() -> Rig {
    Setup::new().plant(Kind::Session).plant(Kind::Batch).start().await
}

/// Everything that changes something: the request, with method and path as Livy gets them.
fn writes() -> Vec<(String, &'static str, &'static str)> {
    let upload = multipart("file", "content");
    vec![
        (post("/livy/sessions", CREATE), "POST", "/sessions"),
        (
            post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#),
            "POST",
            "/batches",
        ),
        (
            post("/livy/sessions/0/statements", STATEMENT),
            "POST",
            "/sessions/0/statements",
        ),
        (
            post(
                "/livy/sessions/0/completion",
                r#"{"code":"x","kind":"spark","cursor":1}"#,
            ),
            "POST",
            "/sessions/0/completion",
        ),
        (
            post("/livy/sessions/0/submit-job", r#"{"job":"AAAA"}"#),
            "POST",
            "/sessions/0/submit-job",
        ),
        (
            plain("POST", "/livy/sessions/0/connect"),
            "POST",
            "/sessions/0/connect",
        ),
        (
            format!(
                "{}{upload}",
                upload_head("/livy/sessions/0/upload-file", upload.len())
            ),
            "POST",
            "/sessions/0/upload-file",
        ),
        (plain("DELETE", "/livy/sessions/0"), "DELETE", "/sessions/0"),
        (plain("DELETE", "/livy/batches/0"), "DELETE", "/batches/0"),
    ]
}

/// Whether this path of Livy's creates something.
fn creates(path: &str) -> bool {
    matches!(path, "/sessions" | "/batches")
}

/// What is told of a creation whose answer was lost: what Livy's list says of it. Livy had one of its kind before.
#[track_caller]
fn expect_found(rig: &Rig, reply: &Reply, path: &str, is_created: bool) {
    let made = match path {
        "/sessions" => rig.livy().sessions(),
        _ => rig.livy().batches(),
    };
    if !is_created {
        reply.expect_refusal(409, "outcome_unknown");
        assert_eq!(made.len(), 1, "{path}");
        return;
    }
    assert_eq!(made.len(), 2, "{path}: once and no second time");
    reply.expect_status(201);
    let (json, id) = (reply.json(), made[1].id);
    let location = format!("/livy{path}/{id}");
    assert_eq!(reply.header("location"), Some(location.as_str()));
    assert_eq!(
        (&json["id"], &json["name"]),
        (&id.into(), &serde_json::Value::Null),
        "{json}"
    );
}

fn canned(status: u16, headers: &[(&str, &str)], body: &str) -> Canned {
    Canned {
        status,
        reason: None,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.as_bytes().to_vec(),
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

// --- The client leaves.

#[tokio::test]
async fn a_client_that_leaves_before_its_body_is_whole_has_asked_livy_nothing() {
    let rig = Rig::start().await;
    let whole = post("/livy/sessions", CREATE);
    let mut client = rig.connect().await;
    client.send(&whole[..whole.len() - 1]).await;
    drop(client);
    rig.ask(&get("/livy/version")).await.expect_status(200);
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 0);
}

#[tokio::test]
async fn a_creation_whose_client_left_is_still_checked_and_undone_if_it_ran_as_the_wrong_user() {
    let rig = Setup::new()
        .livy(FakeLivy::builder().impersonation(false))
        .start()
        .await;
    let held = rig.livy().fault(Fault::hold_answer().on("POST", "/sessions"));
    let mut client = rig.connect().await;
    client.send(post("/livy/sessions", CREATE)).await;
    held.hit(1).await;
    drop(client);
    rig.livy()
        .wait_until("the creation is still asked for", |livy| {
            livy.open_connections() == 1
        })
        .await;
    held.release();
    rig.livy()
        .wait_until("the session is deleted", |livy| {
            let requests = livy.requests();
            requests.last().is_some_and(|last| last.method == "DELETE") && livy.sessions().is_empty()
        })
        .await;
    let requests = rig.livy().requests();
    let deletions: Vec<_> = requests
        .iter()
        .filter(|request| request.method == "DELETE")
        .collect();
    assert_eq!(deletions.len(), 1, "{deletions:?}");
    assert!(
        deletions[0].path.starts_with("/sessions/livy-session-gw"),
        "by the name that is this session's alone: {}",
        deletions[0].path
    );
}

#[tokio::test]
async fn deletions_and_stops_run_to_their_end_without_their_client() {
    for (request, method, path) in [
        (plain("DELETE", "/livy/sessions/0"), "DELETE", "/sessions/0"),
        (
            plain("POST", "/livy/sessions/0/interrupt"),
            "POST",
            "/sessions/0/interrupt",
        ),
        (plain("DELETE", "/livy/batches/0"), "DELETE", "/batches/0"),
    ] {
        let rig = with_sessions().await;
        let held = rig.livy().fault(Fault::hold_answer().on(method, path));
        let mut client = rig.connect().await;
        client.send(&request).await;
        held.hit(1).await;
        drop(client);
        // The client's leaving is seen before the next request of another client is answered.
        rig.ask(&get("/livy/version")).await.expect_status(200);
        held.release();
        let detached = &rig.app().shared().detached;
        eventually("it has ended", async || detached.load(Ordering::SeqCst) == 0).await;
        rig.ask(&get("/livy/version")).await.expect_status(200);
        assert_eq!(
            rig.livy().last().connection,
            1,
            "{path}: its answer was read to the end, so its connection is used again"
        );
        assert_eq!(times(rig.livy(), method, path), 1, "{path}");
    }
}

// --- Livy is not there.

#[tokio::test]
async fn a_livy_that_is_gone_is_503_with_a_time_to_come_back_and_nothing_is_lost() {
    let rig = with_sessions().await;
    rig.ask(&get("/livy/version")).await.expect_status(200);
    rig.livy().stop();
    rig.livy().clear();
    for (request, ..) in writes()
        .into_iter()
        .chain([(get("/livy/version"), "GET", "/version")])
    {
        let reply = rig.ask(&request).await;
        reply.expect_refusal(503, "upstream_unreachable");
        assert!(
            matches!(reply.header("retry-after"), Some("5" | "6")),
            "{reply:?}"
        );
    }
    // A list that is too old to be shown is as bad as none, and what a number means is then not known.
    rig.clock.advance(Duration::from_secs(10));
    for request in [
        get("/livy/sessions"),
        get("/livy/sessions/0"),
        plain("DELETE", "/livy/sessions/0"),
    ] {
        let reply = rig.ask(&request).await;
        reply.expect_refusal(503, "upstream_unreachable");
        assert!(
            matches!(reply.header("retry-after"), Some("5" | "6")),
            "{reply:?}"
        );
    }
    rig.livy().resume();
    assert!(rig.livy().requests().is_empty());
    rig.ask(&post("/livy/sessions", CREATE)).await.expect_status(201);
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 1);
    assert_eq!(rig.livy().sessions().len(), 2, "the planted one is still there");
}

#[tokio::test]
async fn a_livy_that_could_never_be_listed_is_sent_no_creation_until_it_was() {
    // Who is refused asks for the next list; nobody waits for the interval to pass.
    let state = "[state]\nstore = \"memory\"\nreconcile = \"10m\"";
    let stage = Setup::new().rest(state).stage().await;
    stage.livy.stop();
    let rig = stage.start();
    for body in [
        post("/livy/sessions", CREATE),
        post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#),
    ] {
        let reply = rig.ask(&body).await;
        reply.expect_refusal(503, "upstream_unreachable");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
    }
    rig.livy().resume();
    assert!(rig.livy().requests().is_empty());
    eventually("creations are taken again", async || {
        let reply = rig.ask(&post("/livy/sessions", CREATE)).await;
        if reply.status != 201 {
            reply.expect_refusal(503, "upstream_unreachable");
        }
        reply.status == 201
    })
    .await;
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 1);
    assert_eq!(rig.livy().sessions().len(), 1);
}

#[tokio::test]
async fn a_restart_of_livy_between_two_requests_shows_in_no_answer() {
    let rig = Rig::start().await;
    for _ in 0..5 {
        rig.ask(&get("/livy/version")).await.expect_status(200);
        rig.livy().restart();
        rig.livy().clear();
        rig.ask(&post("/livy/sessions", CREATE)).await.expect_status(201);
        assert_eq!(times(rig.livy(), "POST", "/sessions"), 1);
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_when_it_is_made_gives_no_error_that_clients_post_again_for() {
    let rig = with_sessions().await;
    rig.livy().fault(Fault::reset_on_accept().always());
    for (request, ..) in writes() {
        let outcome = rig.ask(&request).await.outcome();
        let surely_unsent = (503, "upstream_unreachable".to_owned());
        assert!(
            outcome == (409, "outcome_unknown".to_owned()) || outcome == surely_unsent,
            "{outcome:?}"
        );
    }
    assert!(rig.livy().requests().is_empty());
}

// --- Livy is slow.

#[tokio::test]
async fn a_slow_read_is_504_after_the_read_timeout() {
    let rig = Rig::start().await;
    rig.livy().fault(Fault::hold_answer().on("GET", "/version"));
    let request = get("/livy/version");
    let ask = rig.pass_until(Duration::from_secs(5), rig.ask(&request)).await;
    ask.0.expect_refusal(504, "upstream_timeout");
    assert!((30..60).contains(&ask.1.as_secs()), "{:?}", ask.1);
}

#[tokio::test]
async fn a_slow_write_is_409_after_the_time_of_its_class_and_was_sent_once() {
    let seconds = |method: &str| match method {
        "DELETE" => 120..155,
        _ => 30..65,
    };
    let others = writes().into_iter().filter(|(.., path)| !creates(path));
    for (request, method, path) in others {
        let rig = with_sessions().await;
        let held = rig.livy().fault(Fault::hold_answer().on(method, path));
        let mut client = rig.connect().await;
        client.send(&request).await;
        held.hit(1).await;
        let (reply, took) = rig.pass_until(Duration::from_secs(10), client.reply()).await;
        reply.expect_refusal(409, "outcome_unknown");
        assert!(
            seconds(method).contains(&took.as_secs()),
            "{method} {path}: {took:?}"
        );
        assert_eq!(times(rig.livy(), method, path), 1, "{method} {path}");
    }
}

#[tokio::test]
async fn a_slow_creation_is_looked_up_after_90_seconds_and_was_sent_once() {
    for (request, method, path) in writes().into_iter().filter(|(.., path)| creates(path)) {
        for (fault, is_created) in [(Fault::hold_answer(), true), (Fault::hold_request(), false)] {
            let rig = with_sessions().await;
            let held = rig.livy().fault(fault.on(method, path));
            let mut client = rig.connect().await;
            client.send(&request).await;
            held.hit(1).await;
            for _ in 0..8 {
                rig.clock.advance(Duration::from_secs(10));
                let early = timeout(Duration::from_millis(150), client.any_reply(false)).await;
                assert!(early.is_err(), "{path}: {early:?}");
            }
            // The clock stands still from here on, so that Livy's list is not late as well.
            rig.clock.advance(Duration::from_secs(15));
            let reply = client.reply().await;
            expect_found(&rig, &reply, path, is_created);
            assert_eq!(times(rig.livy(), method, path), 1, "{path}");
        }
    }
}

#[tokio::test]
async fn a_small_answer_that_stops_coming_is_504_after_the_read_timeout() {
    let rig = Rig::start().await;
    rig.livy().fault(Fault::hold_answer_body(5).on("GET", "/version"));
    let request = get("/livy/version");
    let (reply, took) = rig.pass_until(Duration::from_secs(5), rig.ask(&request)).await;
    reply.expect_refusal(504, "upstream_timeout");
    assert!(took >= Duration::from_secs(30), "{took:?}");
}

#[tokio::test]
async fn a_large_answer_that_stops_coming_is_broken_off_and_not_ended_as_if_it_were_whole() {
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let livy = SilentLivy::start().await;
        let rig = Setup::new().livy_url(&livy.url()).start().await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{framing}\r\n\r\n");
        let begun = format!("{head}5\r\n{{\"a\":\r\n");
        let request = get("/livy/version");
        let asked = async { tokio::join!(rig.ask(&request), livy.is_asked(&begun)) };
        let ((reply, asked), took) = rig.pass_until(Duration::from_secs(5), asked).await;
        assert_eq!(reply.status, 200);
        assert!(!reply.is_whole && !reply.body.is_empty(), "{reply:?}");
        assert!(took >= Duration::from_secs(30), "{took:?}");
        asked.ends().await;
    }
}

#[tokio::test]
async fn an_upload_may_take_longer_than_livy_may() {
    let rig = with_sessions().await;
    let body = multipart("file", &"x".repeat(1 << 20));
    let (first, last) = body.split_at(body.len() - 100);
    let mut client = rig.connect().await;
    client
        .send(upload_head("/livy/sessions/0/upload-file", body.len()))
        .await;
    client.send(first).await;
    rig.livy().wait_for_requests(1).await;
    // A MiB has earned two minutes at the least pace; Livy's own time is 30 s.
    let waited = rig.pass_until(Duration::from_secs(4), client.any_reply(false));
    let nothing = tokio::time::timeout(Duration::from_millis(1900), waited).await;
    assert!(
        nothing.is_err(),
        "answered before the upload was whole: {nothing:?}"
    );
    client.send(last).await;
    client.reply().await.expect_status(200);
    assert_eq!(
        rig.livy().last().body_length as usize,
        rig.livy().last().body.len()
    );
    assert!(rig.livy().last().text().contains(&"x".repeat(1 << 20)));
}

#[tokio::test]
async fn an_upload_that_livy_takes_no_more_of_is_given_up_after_the_read_timeout() {
    let rig = with_sessions().await;
    rig.livy()
        .fault(Fault::hold_body(1000).on("POST", "/sessions/0/upload-file"));
    let body = multipart("file", &"x".repeat(16 << 20));
    let request = format!(
        "{}{body}",
        upload_head("/livy/sessions/0/upload-file", body.len())
    );
    let mut client = rig.connect().await;
    // The gateway answers before it has taken everything, and then takes no more.
    let sent = rig
        .pass_until(Duration::from_secs(5), client.try_send(request))
        .await;
    assert!(
        sent.1 >= Duration::from_secs(30),
        "sixteen MiB cannot be in buffers: {sent:?}"
    );
    let (reply, _) = rig.pass_until(Duration::from_secs(5), client.reply()).await;
    reply.expect_refusal(409, "outcome_unknown");
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(!rig.livy().last().body_complete);
}

#[tokio::test]
async fn an_upload_whose_client_stops_is_408_and_livy_never_has_it_whole() {
    let rig = with_sessions().await;
    let body = multipart("file", "content");
    let mut client = rig.connect().await;
    client
        .send(upload_head("/livy/sessions/0/upload-file", body.len()))
        .await;
    client.send(&body[..body.len() - 20]).await;
    let (reply, _) = rig.pass_until(Duration::from_secs(5), client.reply()).await;
    reply.expect_refusal(408, "slow_body");
    assert_eq!(reply.header("connection"), Some("close"));
    rig.livy()
        .wait_until("the upload is broken off", |livy| livy.open_connections() == 0)
        .await;
    assert!(rig.livy().requests().iter().all(|request| !request.body_complete));
}

// --- Livy answers oddly.

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_is_whole_is_passed_on() {
    let rig = with_sessions().await;
    let early = canned(413, &[JSON], r#"{"msg":"too large for Livy"}"#);
    rig.livy()
        .fault(Fault::answer_early(early).on("POST", "/sessions/0/upload-file"));
    let body = multipart("file", &"x".repeat(1 << 20));
    let mut client = rig.connect().await;
    client
        .send(upload_head("/livy/sessions/0/upload-file", body.len()))
        .await;
    client.send(&body[..200]).await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (413, r#"{"msg":"too large for Livy"}"#)
    );
    assert_eq!(reply.header("connection"), Some("close"));
}

#[tokio::test]
async fn an_interim_answer_is_not_taken_for_the_answer() {
    let rig = Rig::start().await;
    for status in [100, 102, 103] {
        rig.livy().fault(Fault::interim(status).on("GET", "/version"));
        let mut client = rig.connect().await;
        client.send(get("/livy/version")).await;
        let reply = client.any_reply(false).await;
        assert_eq!(reply.status, 200, "no interim answer of Livy's passes either");
        assert!(reply.json()["version"].is_string(), "{reply:?}");
    }
}

#[tokio::test]
async fn livys_no_to_the_gateway_itself_is_told_as_the_operators_matter() {
    let rig = Rig::start().await;
    for (fault, code) in [
        (Fault::unauthorized("Negotiate"), "upstream_login_failed"),
        (Fault::not_superuser("gw", "alice"), "upstream_not_superuser"),
        (
            Fault::answer(canned(403, &[("Content-Type", "text/html")], "<html>no</html>")),
            "upstream_login_failed",
        ),
    ] {
        for (request, status) in [(get("/livy/version"), 502), (post("/livy/sessions", CREATE), 424)] {
            rig.livy().fault(fault.clone());
            let reply = rig.ask(&request).await;
            reply.expect_refusal(status, code);
            for header in ["www-authenticate", "set-cookie"] {
                assert_eq!(
                    reply.header(header),
                    None,
                    "{code}: what Livy asks of the gateway is not the client's"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_page_or_a_trace_of_livys_is_never_shown() {
    let rig = Rig::start().await;
    for (request, status, code) in [
        (get("/livy/version"), 500, "upstream_error"),
        (post("/livy/sessions", CREATE), 409, "outcome_unknown"),
    ] {
        rig.livy().fault(Fault::html_error());
        let reply = rig.ask(&request).await;
        reply.expect_refusal(status, code);
        for inside in ["html", "NullPointer", "scala", "jetty"] {
            assert!(!reply.text().contains(inside), "{}", reply.text());
        }
    }
}

#[tokio::test]
async fn an_answer_that_livy_does_not_give_is_not_passed_on() {
    let odd = [
        Fault::answer(canned(302, &[("Location", "http://evil.example/"), JSON], "{}")),
        Fault::answer(canned(
            200,
            &[("Content-Type", "text/html")],
            "<html>log in here</html>",
        )),
        Fault::answer(canned(200, &[], "{}")),
        Fault::answer(canned(200, &[JSON, ("Content-Encoding", "gzip")], "\u{1f}")),
        Fault::answer(canned(600, &[JSON], "{}")),
        Fault::answer_raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ];
    for fault in odd {
        let rig = with_sessions().await;
        for (request, status) in [
            (get("/livy/version"), 502),
            (plain("POST", "/livy/sessions/0/connect"), 409),
            (post("/livy/sessions", CREATE), 409),
        ] {
            rig.livy().fault(fault.clone());
            rig.livy().clear();
            let reply = rig.ask(&request).await;
            let outcome = reply.outcome();
            // What became of a creation was looked up, and is not known.
            let code = if request.contains("connect") || status == 502 {
                "upstream_unexpected"
            } else {
                "outcome_unknown"
            };
            assert_eq!(rig.livy().requests().len(), 1, "{fault:?}");
            assert!(
                outcome == (status, code.to_owned()),
                "{fault:?}: {outcome:?} {}",
                reply.text()
            );
            assert_eq!(reply.header("location"), None);
        }
    }
}
