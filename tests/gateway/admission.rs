//! A quota of N never lets N+1 through, and no place is lost.

use std::time::Duration;

use fake_livy::{FakeLivy, Fault, Kind, State};

use crate::rig::{Client, Process, Reply, Rig, Setup, eventually, plain, post, times};

const SESSION: &str = r#"{"kind":"spark"}"#;

async fn with_quota(table: &str) -> Rig {
    Setup::new().rest(&format!("[quota]\n{table}")).start().await
}

async fn create(rig: &Rig) -> Reply {
    rig.ask(&post("/livy/sessions", SESSION)).await
}

#[tokio::test]
async fn one_more_than_allowed_is_429_with_who_holds_what_and_livy_never_hears_of_it() {
    let rig = with_quota("sessions = 2\n").await;
    for _ in 0..2 {
        create(&rig).await.expect_status(201);
    }
    let reply = create(&rig).await;
    reply.expect_refusal(429, "quota_exceeded");
    assert_eq!(reply.reason, "Too Many Requests - alice holds 2 of 2 sessions");
    let msg = reply.json()["msg"].as_str().unwrap().to_owned();
    assert!(msg.starts_with("alice holds 2 of 2 sessions (0, 1)."), "{msg}");
    assert!(reply.header("retry-after").is_some());
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 2);
    // Batches are counted apart; another user is not concerned.
    rig.ask(&post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#))
        .await
        .expect_status(201);
    rig.ask(&plain("DELETE", "/livy/sessions/0"))
        .await
        .expect_status(200);
    create(&rig).await.expect_status(201);
}

#[tokio::test]
async fn creations_that_race_take_exactly_the_places_that_there_are() {
    let rig = with_quota("sessions = 5\n").await;
    let mut asked = Vec::new();
    for _ in 0..40 {
        let address = rig.address();
        asked.push(tokio::spawn(async move {
            let mut client = crate::rig::Client::connect(address).await;
            client.send(post("/livy/sessions", SESSION)).await;
            client.reply().await.status
        }));
    }
    let mut statuses = Vec::new();
    for one in asked {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        5,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 429).count(),
        35,
        "{statuses:?}"
    );
    assert_eq!(rig.livy().sessions().len(), 5);
}

#[tokio::test]
async fn one_user_fills_no_memory_with_creations_that_livy_does_not_answer() {
    let rig = Setup::new().roomy().start().await;
    let held = rig
        .livy()
        .fault(Fault::hold_answer().on("POST", "/sessions").always());
    // Their clients leave, and they go on.
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = rig.connect().await;
        client.send(post("/livy/sessions", SESSION)).await;
        clients.push(client);
    }
    let mine = || {
        rig.app()
            .shared()
            .detached
            .load(std::sync::atomic::Ordering::SeqCst)
    };
    eventually("all are under way", async || mine() == 100).await;
    drop(clients);
    let refused = create(&rig).await;
    refused.expect_refusal(429, "overloaded");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(mine(), 100);
    held.release();
    eventually("they have ended", async || mine() == 0).await;
    create(&rig).await.expect_status(201);
}

#[tokio::test]
async fn what_has_finished_holds_no_place_and_one_fresh_look_finds_that_out() {
    let rig = with_quota("sessions = 1\n").await;
    create(&rig).await.expect_status(201);
    create(&rig).await.expect_refusal(429, "quota_exceeded");
    rig.livy().set_state(Kind::Session, 0, State::Dead);
    create(&rig).await.expect_status(201);
    rig.livy().set_state(Kind::Session, 1, State::Error);
    create(&rig).await.expect_refusal(429, "quota_exceeded");
}

#[tokio::test]
async fn cores_are_counted_however_they_are_written_and_what_could_never_fit_is_told_so() {
    let rig = with_quota("cores = 10\n").await;
    let hopeless = r#"{"executorCores":10,"numExecutors":10}"#;
    let reply = rig.ask(&post("/livy/sessions", hopeless)).await;
    reply.expect_refusal(400, "resource_limit");
    assert!(reply.text().contains("101 cores"), "{}", reply.text());
    let by_conf = r#"{"conf":{"spark.executor.cores":"4","spark.executor.instances":2}}"#;
    rig.ask(&post("/livy/sessions", by_conf)).await.expect_status(201);
    let reply = rig.ask(&post("/livy/sessions", SESSION)).await;
    reply.expect_refusal(429, "quota_exceeded");
    assert!(
        reply.text().contains("alice holds 9 of 10 cores"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn one_fresh_look_finds_out_of_either_kind_what_has_finished() {
    let rig = with_quota("cores = 5\n").await;
    create(&rig).await.expect_status(201);
    let batch = post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#);
    rig.ask(&batch).await.expect_refusal(429, "quota_exceeded");
    rig.livy().set_state(Kind::Session, 0, State::Dead);
    rig.ask(&batch).await.expect_status(201);
}

#[tokio::test]
async fn a_creation_that_livy_refuses_gives_its_place_back_and_its_ghost_is_deleted() {
    let rig = with_quota("batches = 1\n").await;
    rig.livy().fault(Fault::ghost().on("POST", "/batches"));
    let batch = post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#);
    rig.ask(&batch).await.expect_status(400);
    assert!(rig.livy().batches().is_empty(), "the ghost is gone");
    rig.ask(&batch).await.expect_status(201);
}

#[tokio::test]
async fn a_batch_that_livy_refused_is_nobodys_though_it_is_listed_and_the_answer_was_lost() {
    let livy = FakeLivy::builder().impersonation(true).local_files("/srv");
    let setup = Setup::new()
        .livy(livy)
        .rest("[quota]\nbatches = 1\n[state]\nstore = \"memory\"\nreconcile = \"1s\"\n");
    let rig = setup.start().await;
    rig.livy().fault(Fault::lose_answer().on("POST", "/batches"));
    // Livy lists it, and then refuses the file.
    let refused = post("/livy/batches", r#"{"file":"/etc/hosts"}"#);
    rig.ask(&refused).await.expect_refusal(409, "outcome_unknown");
    let batch = post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#);
    rig.ask(&batch).await.expect_refusal(429, "quota_exceeded");
    // As long as a doubt lasts, Livy may start it yet.
    rig.clock.advance(Duration::from_secs(601));
    eventually("the ghost is gone", async || rig.livy().batches().is_empty()).await;
    eventually("the place is free", async || rig.ask(&batch).await.status == 201).await;
    assert_eq!(rig.livy().batches().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_found_out_from_livys_list_and_nothing_is_created_twice() {
    let rig = with_quota("sessions = 1\n").await;
    rig.livy().fault(Fault::lose_answer().on("POST", "/sessions"));
    let reply = create(&rig).await;
    reply.expect_status(201);
    assert_eq!(
        (reply.json()["id"].as_i64(), reply.json()["proxyUser"].as_str()),
        (Some(0), Some("alice"))
    );
    assert_eq!(reply.header("location"), Some("/livy/sessions/0"));
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 1);
    create(&rig).await.expect_refusal(429, "quota_exceeded");
    rig.ask(&plain("GET", "/livy/sessions/0"))
        .await
        .expect_status(200);
}

#[tokio::test]
async fn a_creation_in_doubt_keeps_its_place_and_what_livy_makes_of_it_later_is_deleted() {
    let rig = with_quota("sessions = 1\n").await;
    let late = rig
        .livy()
        .fault(Fault::act_after_disconnect().on("POST", "/sessions"));
    let reply = create(&rig).await;
    reply.expect_refusal(409, "outcome_unknown");
    create(&rig).await.expect_refusal(429, "quota_exceeded");
    late.release();
    rig.livy()
        .wait_until("Livy creates it after all, and it is deleted", |livy| {
            livy.requests().iter().any(|request| request.method == "DELETE") && livy.sessions().is_empty()
        })
        .await;
    eventually("the place is free", async || create(&rig).await.status == 201).await;
    assert_eq!(rig.livy().sessions().len(), 1);
}

#[tokio::test]
async fn ghosts_are_kept_where_the_operator_wants_that_and_are_their_creators_then() {
    let keep = "[quota]\nsessions = 1\nbatches = 1\n[state]\nstore = \"memory\"\nghosts = \"keep\"\n";
    let rig = Setup::new().rest(keep).start().await;
    let late = rig
        .livy()
        .fault(Fault::act_after_disconnect().on("POST", "/sessions"));
    create(&rig).await.expect_refusal(409, "outcome_unknown");
    late.release();
    rig.livy().fault(Fault::ghost().on("POST", "/batches"));
    let batch = post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#);
    rig.ask(&batch).await.expect_status(400);
    for kind in ["sessions", "batches"] {
        eventually("it is in its creator's list", async || {
            let list = rig.ask(&plain("GET", &format!("/livy/{kind}"))).await;
            list.status == 200 && list.json()["total"] == 1
        })
        .await;
    }
    create(&rig).await.expect_refusal(429, "quota_exceeded");
    rig.ask(&batch).await.expect_refusal(429, "quota_exceeded");
    for path in ["/livy/sessions/0", "/livy/batches/0"] {
        rig.ask(&plain("DELETE", path)).await.expect_status(200);
    }
}

fn with_key(key: &str, body: &str) -> String {
    post("/livy/sessions", body).replacen("\r\n", &format!("\r\nIdempotency-Key: {key}\r\n"), 1)
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_session() {
    let rig = Rig::start().await;
    let first = rig.ask(&with_key("k1", SESSION)).await;
    first.expect_status(201);
    let again = rig.ask(&with_key("k1", SESSION)).await;
    again.expect_status(201);
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 1);
    let other = rig.ask(&with_key("k1", r#"{"kind":"pyspark"}"#)).await;
    other.expect_refusal(422, "idempotency_key_reused");
    rig.ask(&with_key("k2", SESSION)).await.expect_status(201);
    let bad = rig.ask(&with_key("a b", SESSION)).await;
    bad.expect_refusal(400, "invalid_idempotency_key");
}

#[tokio::test]
async fn what_a_key_has_created_is_not_denied_while_livy_cannot_be_asked() {
    let kept = "[quota]\nsessions = 1\n[state]\ndirectory = \"state\"\n";
    let (stage, mut process) = Setup::new().with_its_lists().rest(kept).spawn().await;
    let mut client = Client::connect(process.address).await;
    client.send(with_key("k1", SESSION)).await;
    client.reply().await.expect_status(201);
    // Refused after a look at a list, which shows it: what Livy answered is forgotten.
    client.send(post("/livy/sessions", SESSION)).await;
    client.reply().await.expect_refusal(429, "quota_exceeded");

    let page = Fault::html_error().on("GET", "/sessions").always();
    stage.livy.fault(page);
    client.send(with_key("k1", SESSION)).await;
    client.reply().await.expect_refusal(409, "creation_under_way");
    process.signal("KILL").await;
    process.exit_code().await;
    let process = Process::start(&stage.config()).await;
    let mut client = Client::connect(process.address).await;
    client.send(with_key("k1", SESSION)).await;
    client.reply().await.expect_refusal(409, "creation_under_way");
    // Of another one it is known that nothing was sent.
    client.send(with_key("k2", SESSION)).await;
    client.reply().await.expect_refusal(503, "unavailable");

    stage.livy.clear_faults();
    eventually("the same key gives the same session", async || {
        let mut client = Client::connect(process.address).await;
        client.send(with_key("k1", SESSION)).await;
        client.reply().await.status == 201
    })
    .await;
    assert_eq!(stage.livy.sessions().len(), 1);
}

#[tokio::test]
async fn a_deletion_that_takes_its_time_holds_up_no_list() {
    let rig = with_quota("sessions = 1\n").await;
    let late = rig
        .livy()
        .fault(Fault::act_after_disconnect().on("POST", "/sessions"));
    create(&rig).await.expect_refusal(409, "outcome_unknown");
    let slow = rig.livy().fault(Fault::slow_delete());
    late.release();
    eventually("it is found and unwanted", async || {
        create(&rig).await.expect_refusal(429, "quota_exceeded");
        slow.hits() == 1
    })
    .await;
    // Each is refused after a look at a new list.
    for _ in 0..2 {
        create(&rig).await.expect_refusal(429, "quota_exceeded");
    }
    assert_eq!(slow.hits(), 1, "it is not asked for again while it goes on");
    slow.release();
    eventually("the place is free", async || create(&rig).await.status == 201).await;
}
