//! Faults: what a client sees, and what Livy did.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_livy::{Alive, Canned, FakeLivy, Fault, Kind, Received, State};

use crate::client::{Client, End};

#[tokio::test]
async fn a_held_creation_comes_true_after_its_client_left() {
    let livy = FakeLivy::builder().start().await;
    let held = livy.fault(Fault::hold_request().on("POST", "/sessions"));

    let mut client = Client::connect(&livy);
    client.send("POST /sessions", &[], "{}");
    held.hit(1).await;
    client.leave();
    assert!(livy.sessions().is_empty(), "Livy waits");

    held.release();
    livy.wait_until("the session", |livy| livy.sessions().len() == 1)
        .await;
}

#[tokio::test]
async fn a_creation_can_come_true_after_livy_cut_its_connection() {
    let livy = FakeLivy::builder().start().await;
    let held = livy.fault(Fault::act_after_disconnect());

    let mut client = Client::connect(&livy);
    client.send("POST /sessions", &[], "{}");
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    assert!(livy.sessions().is_empty(), "Livy waits");

    held.release();
    livy.wait_until("the session", |livy| livy.sessions().len() == 1)
        .await;
}

#[tokio::test]
async fn what_is_held_for_too_long_is_never_acted_on() {
    let livy = FakeLivy::builder().start().await;
    for fault in [Fault::act_after_disconnect(), Fault::hold_request()] {
        livy.fault(fault.within(Duration::from_millis(100)));
        let mut client = Client::connect(&livy);
        client.send("POST /sessions", &[], "{}");
        assert_eq!(client.rest(), (Vec::new(), End::Reset));
        livy.wait_until("its connection is gone", |livy| livy.open_connections() == 0)
            .await;
        assert!(livy.sessions().is_empty());
    }
}

#[tokio::test]
async fn a_watch_sees_all_that_lives_at_every_change() {
    let seen: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let record = Arc::clone(&seen);
    let livy = FakeLivy::builder()
        .impersonation(true)
        .watch(move |alive| {
            let line = |one: &Alive<'_>| {
                let user = one.user.unwrap_or_default();
                format!("{user} {:?} {} {}", one.kind, one.id, one.ghost)
            };
            record.lock().unwrap().push(alive.iter().map(line).collect());
        })
        .start()
        .await;
    let mut client = Client::connect(&livy);
    let ask = |client: &mut Client, request: &str, body: &str| {
        client.send(request, &[], body);
        client.reply().status
    };
    assert_eq!(ask(&mut client, "POST /sessions?doAs=alice", "{}"), 201);
    assert_eq!(
        ask(&mut client, "POST /batches?doAs=bob", r#"{"file":"/a"}"#),
        201
    );
    livy.fault(Fault::ghost());
    assert_eq!(
        ask(&mut client, "POST /batches?doAs=bob", r#"{"file":"/a"}"#),
        400
    );
    livy.set_state(Kind::Session, 0, State::Dead);
    livy.restart();
    let mut seen = seen.lock().unwrap().clone();
    seen.dedup();
    let ghost = "bob Batch 1 true";
    let expected = [
        vec!["alice Session 0 false"],
        vec!["alice Session 0 false", ghost],
        vec![ghost],
        vec![],
    ];
    assert_eq!(seen, expected, "the other batch has ended at once");
}

#[tokio::test]
async fn one_of_several_held_requests_can_be_let_go() {
    let livy = FakeLivy::builder().start().await;
    let held = livy.fault(Fault::hold_request().on("POST", "/").always());
    let mut clients = [Client::connect(&livy), Client::connect(&livy)];
    for client in &mut clients {
        client.send("POST /sessions", &[], "{}");
    }
    held.hit(2).await;

    held.release_one();
    livy.wait_until("one session", |livy| livy.sessions().len() == 1)
        .await;

    held.release();
    livy.wait_until("both sessions", |livy| livy.sessions().len() == 2)
        .await;
}

#[tokio::test]
async fn a_lost_answer_leaves_the_session_behind() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::lose_answer());

    let mut client = Client::connect(&livy);
    client.send("POST /sessions", &[], "{}");

    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    assert_eq!(livy.sessions().len(), 1);
    assert_eq!(livy.last().status, Some(201));
}

#[tokio::test]
async fn a_held_answer_comes_when_released_and_the_session_is_there_before() {
    let livy = FakeLivy::builder().start().await;
    let held = livy.fault(Fault::hold_answer());
    let mut client = Client::connect(&livy);
    client.send("POST /sessions", &[], "{}");
    livy.wait_until("the session", |livy| livy.sessions().len() == 1)
        .await;

    held.release();

    assert_eq!(client.reply().status, 201);
}

#[tokio::test]
async fn an_answers_body_can_stall_in_the_middle() {
    let livy = FakeLivy::builder().start().await;
    let held = livy.fault(Fault::hold_answer_body(5));
    let mut client = Client::connect(&livy);
    client.send("GET /sessions", &[], "");
    let (head, begin) = client.head_and(5);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(begin, b"{\"fro");

    held.release();

    assert_eq!(client.exactly(29), b"m\":0,\"total\":0,\"sessions\":[]}");
    assert_eq!(client.get("/sessions").status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_connection_can_be_reset_in_the_middle_of_an_answer() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::reset_in_answer(5));

    let mut client = Client::connect(&livy);
    client.send("GET /sessions", &[], "");

    let (bytes, end) = client.rest();
    assert!(
        bytes.ends_with(b"\r\n\r\n{\"fro"),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    assert_eq!(end, End::Reset);
}

#[tokio::test]
async fn resets_before_an_answer_do_nothing_in_livy() {
    let livy = FakeLivy::builder().start().await;
    for fault in [
        Fault::reset_on_accept(),
        Fault::reset_before_body(),
        Fault::reset_after_request(),
    ] {
        let met = livy.fault(fault.clone());
        let mut client = Client::connect(&livy);
        if met.hits() == 0 {
            client.send("POST /sessions", &[], "{}");
        }
        assert_eq!(client.rest(), (Vec::new(), End::Reset), "{fault:?}");
    }
    assert!(livy.sessions().is_empty());
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::answer_early(Canned {
        status: 413,
        reason: Some("Too Much".to_owned()),
        headers: Vec::new(),
        body: b"no".to_vec(),
    }));

    let mut client = Client::connect(&livy);
    client.write("POST /sessions HTTP/1.1\r\nHost: livy\r\nContent-Length: 1000000\r\n\r\n{");
    let reply = client.reply();

    assert_eq!((reply.status, reply.text()), (413, "no".to_owned()));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(!livy.last().body_complete);
}

#[tokio::test]
async fn livy_can_stop_reading_a_body() {
    let livy = FakeLivy::builder().start().await;
    let held = livy.fault(Fault::hold_body(3));
    let mut client = Client::connect(&livy);
    client.write("POST /sessions HTTP/1.1\r\nHost: livy\r\nContent-Length: 6\r\n\r\n{  ");
    livy.wait_until("three bytes", |livy| {
        livy.requests().iter().any(|request| request.body_length == 3)
    })
    .await;
    client.write("  }");

    held.release();

    assert_eq!(client.reply().status, 201);
    assert_eq!(livy.last().text(), "{    }");
}

#[tokio::test]
async fn a_ghost_is_refused_and_stays_listed_with_its_name() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::ghost());
    let mut client = Client::connect(&livy);

    assert_eq!(client.post("/batches", r#"{"file":"/f","name":"n"}"#).status, 400);

    let batch = &livy.batches()[0];
    assert_eq!(
        (batch.name.as_deref(), batch.state, batch.ghost),
        (Some("n"), State::Starting, true)
    );
    livy.advance();
    assert_eq!(livy.batches()[0].state, State::Starting, "a ghost never moves");
    let again = client.post("/batches", r#"{"file":"/f","name":"n"}"#);
    assert_eq!(
        again.json()["msg"],
        "Rejected, Reason: Duplicate session name: Some(n) for session 1"
    );
}

#[tokio::test]
async fn an_interim_answer_comes_before_the_final_one() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::interim(103));
    let mut client = Client::connect(&livy);
    client.send("GET /sessions", &[], "");
    assert_eq!([client.reply().status, client.reply().status], [103, 200]);
}

#[tokio::test]
async fn a_pooled_connection_can_go_stale_without_a_word() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::close_after_answer());
    let mut client = Client::connect(&livy);
    let reply = client.get("/sessions");
    assert_eq!((reply.status, reply.header("connection")), (200, None));
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

#[tokio::test]
async fn what_a_proxy_answers_instead_hides_what_livy_did() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::answer_instead(Canned {
        status: 504,
        reason: None,
        headers: Vec::new(),
        body: b"too late".to_vec(),
    }));
    let reply = Client::connect(&livy).post("/sessions", "{}");
    assert_eq!((reply.status, reply.text().as_str()), (504, "too late"));
    assert_eq!(livy.sessions().len(), 1);
}

#[tokio::test]
async fn canned_and_raw_answers_come_as_they_are() {
    let livy = FakeLivy::builder().start().await;
    livy.fault(Fault::unauthorized("Negotiate"));
    livy.fault(Fault::not_superuser("gw", "alice"));
    livy.fault(Fault::html_error());
    livy.fault(Fault::header("Set-Cookie", "hadoop.auth=x"));
    livy.fault(Fault::answer_raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    ));
    let mut client = Client::connect(&livy);

    let refused = client.post("/sessions", "{}");
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, Some("Negotiate"))
    );
    let refused = client.post("/sessions", "{}");
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["msg"],
        "User 'gw' not allowed to impersonate 'Some(alice)'."
    );
    let failed = client.post("/sessions", "{}");
    assert!(
        failed.status == 500 && failed.text().contains("\tat org.apache.livy."),
        "{}",
        failed.text()
    );
    assert!(livy.sessions().is_empty(), "canned answers are all that happens");
    let own = client.get("/sessions");
    assert_eq!(
        (own.status, own.header("set-cookie")),
        (200, Some("hadoop.auth=x"))
    );
    client.send("GET /sessions", &[], "");
    let (bytes, end) = client.rest();
    assert!(bytes.ends_with(b"\r\n\r\nshort") && end == End::Closed);
}

#[tokio::test]
async fn impersonation_can_be_lost_for_one_creation() {
    let livy = FakeLivy::builder().impersonation(true).start().await;
    livy.fault(Fault::ignore_impersonation().on("POST", "/"));
    let mut client = Client::connect(&livy);
    let (lost, kept) = (
        client.post("/sessions?doAs=alice", "{}"),
        client.post("/sessions?doAs=alice", "{}"),
    );
    assert_eq!(
        (lost.status, &lost.json()["proxyUser"]),
        (201, &serde_json::Value::Null)
    );
    assert_eq!(
        (kept.status, &kept.json()["proxyUser"]),
        (201, &serde_json::Value::from("alice"))
    );
}

#[tokio::test]
async fn a_slow_deletion_shows_as_shutting_down_until_it_is_done() {
    let livy = FakeLivy::builder().start().await;
    let id = livy.plant(Kind::Session, None, None, None);
    let held = livy.fault(Fault::slow_delete());
    let mut client = Client::connect(&livy);
    client.send(&format!("DELETE /sessions/{id}"), &[], "");
    livy.wait_until("shutting down", |livy| {
        livy.sessions()[0].state == State::ShuttingDown
    })
    .await;

    held.release();

    assert_eq!(client.reply().json()["msg"], "deleted");
    assert!(livy.sessions().is_empty());
}

#[tokio::test]
async fn a_fault_meets_only_what_it_was_made_for() {
    let livy = FakeLivy::builder().start().await;
    let named = |name: &'static str| move |request: &Received| request.header("x-test") == Some(name);
    let twice = livy.fault(Fault::html_error().on("get", "/sessions").times(2));
    let always = livy.fault(Fault::html_error().when(named("bad")).always());
    let mut client = Client::connect(&livy);

    let paths = ["/batches", "/sessions/0", "/sessions", "/sessions", "/batches"];
    assert_eq!(
        paths.map(|path| client.get(path).status),
        [200, 500, 500, 200, 200]
    );
    let mut bad = || client.ask("GET /batches", &["X-Test: bad"], "").status;
    assert_eq!([bad(), bad()], [500, 500]);
    always.disarm();
    assert_eq!(bad(), 200);
    assert_eq!((twice.hits(), always.hits()), (2, 2));
}
