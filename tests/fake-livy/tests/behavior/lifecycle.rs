//! Sessions and batches over time: states, ids, restarts.

use std::net::TcpStream;
use std::time::Duration;

use fake_livy::{FakeLivy, Kind, Progress, State};

use crate::client::{Client, End};

#[tokio::test]
async fn sessions_start_at_once_after_polls_or_when_told() {
    for (progress, expected) in [
        (Progress::AtOnce, ["idle", "idle", "idle"]),
        (Progress::AfterPolls(2), ["starting", "starting", "idle"]),
        (Progress::WhenTold, ["starting", "starting", "starting"]),
    ] {
        let livy = FakeLivy::builder().progress(progress).start().await;
        let mut client = Client::connect(&livy);
        assert_eq!(client.post("/sessions", "{}").json()["state"], "starting");
        let states = [(); 3].map(|()| {
            client.get("/sessions/0/state").json()["state"]
                .as_str()
                .unwrap()
                .to_owned()
        });
        assert_eq!(states, expected, "{progress:?}");
        livy.advance();
        assert_eq!(livy.sessions()[0].state, State::Idle);
    }
}

#[tokio::test]
async fn a_batch_runs_and_succeeds() {
    let livy = FakeLivy::builder()
        .progress(Progress::AfterPolls(2))
        .start()
        .await;
    let mut client = Client::connect(&livy);
    client.post("/batches", r#"{"file":"/job.py"}"#);
    let states = [(); 3].map(|()| {
        client.get("/batches/0/state").json()["state"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    assert_eq!(states, ["running", "running", "success"]);
}

#[tokio::test]
async fn statements_compute_what_a_demonstration_shows() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.post("/sessions", r#"{"kind":"pyspark"}"#);
    for (number, (code, kind, data)) in [
        ("1+1", "pyspark", serde_json::json!({ "text/plain": "2" })),
        (
            "print((2 + 3) * -4)",
            "pyspark",
            serde_json::json!({ "text/plain": "-20" }),
        ),
        (
            "print('hello')",
            "pyspark",
            serde_json::json!({ "text/plain": "hello" }),
        ),
        (
            "1+1",
            "spark",
            serde_json::json!({ "text/plain": "res3: Int = 2\n" }),
        ),
        (
            "spark.range(9)",
            "pyspark",
            serde_json::json!({ "text/plain": "spark.range(9)" }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let body = serde_json::json!({ "code": code, "kind": kind }).to_string();
        assert_eq!(
            client.post("/sessions/0/statements", &body).json()["state"],
            "waiting"
        );
        let statement = client.get(&format!("/sessions/0/statements/{number}")).json();
        assert_eq!(
            (&statement["state"], &statement["output"]["data"]),
            (&"available".into(), &data)
        );
    }
}

#[tokio::test]
async fn a_cancelled_statement_ends_after_a_few_looks() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.post("/sessions", r#"{"kind":"pyspark"}"#);
    client.post("/sessions/0/statements", r#"{"code":"time.sleep(60)"}"#);
    assert_eq!(client.get("/sessions/0/state").json()["state"], "busy");
    client.post("/sessions/0/statements/0/cancel", "{}");
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("cancelled") {
        seen.push(
            client.get("/sessions/0/statements/0").json()["state"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        assert!(seen.len() < 10, "{seen:?}");
    }
    assert_eq!(seen[0], "cancelling");
    assert_eq!(client.get("/sessions/0/state").json()["state"], "idle");
}

#[tokio::test]
async fn jobs_are_taken_in_base64_and_succeed() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.post("/sessions", "{}");
    let sent = client.post(
        "/sessions/0/submit-job",
        r#"{"job":"aGVsbG8=","jobType":"spark"}"#,
    );
    assert_eq!(
        (sent.status, sent.text().as_str()),
        (201, r#"{"id":1,"state":"SENT","result":null,"error":null}"#)
    );
    let states = [(); 2].map(|()| {
        client.get("/sessions/0/jobs/1").json()["state"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    assert_eq!(states, ["STARTED", "SUCCEEDED"]);
    assert_eq!(
        client
            .post("/sessions/0/run-job", r#"{"job":"no base64!","jobType":"spark"}"#)
            .status,
        400
    );
}

#[tokio::test]
async fn an_interrupt_kills_the_session() {
    let livy = FakeLivy::builder().start().await;
    let id = livy.plant(Kind::Session, Some("n"), Some("gw"), Some("alice"));
    let reply = Client::connect(&livy).post("/sessions/n/interrupt", "");
    assert_eq!(reply.text(), r#"{"msg":"interrupted"}"#);
    assert_eq!(
        (livy.sessions()[0].id, livy.sessions()[0].state),
        (id, State::Dead)
    );
}

#[tokio::test]
async fn a_restart_cuts_connections_forgets_sessions_and_begins_at_0_on_the_same_port() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.post("/sessions", "{}");
    assert_eq!(client.post("/sessions", "{}").json()["id"], 1);

    livy.restart();

    assert_eq!(client.rest().1, End::Closed);
    assert!(livy.sessions().is_empty());
    assert_eq!(Client::connect(&livy).post("/sessions", "{}").json()["id"], 0);
}

#[tokio::test]
async fn a_stopped_livy_refuses_connections_and_resumes_with_its_sessions() {
    let livy = FakeLivy::builder().start().await;
    livy.plant(Kind::Session, None, None, None);
    livy.stop();
    assert!(TcpStream::connect(("127.0.0.1", livy.port())).is_err());
    livy.resume();
    assert_eq!(Client::connect(&livy).get("/sessions").json()["total"], 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let livy = FakeLivy::builder()
        .idle_timeout(Duration::from_millis(20))
        .start()
        .await;
    let mut client = Client::connect(&livy);
    assert_eq!(client.get("/sessions").status, 200);
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

#[tokio::test]
async fn too_many_live_sessions_refuse_another() {
    let livy = FakeLivy::builder().max_creation(1).start().await;
    let mut client = Client::connect(&livy);
    client.post("/sessions", "{}");
    let refused = client.post("/batches", r#"{"file":"/f"}"#);
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (400, r#"{"msg":"Rejected, too many sessions are being created!"}"#)
    );
    livy.set_state(Kind::Session, 0, State::Dead);
    assert_eq!(client.post("/batches", r#"{"file":"/f"}"#).status, 201);
}
