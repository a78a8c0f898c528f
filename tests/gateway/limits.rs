//! One busy user must not slow the others, and is told what to do; nobody's own pace meets a limit.

use std::time::Duration;

use fake_livy::{Fault, Kind};

use crate::rig::{
    Client, Issuer, Reply, Rig, Setup, basic, eventually, get, multipart, plain, post, request, times,
};

mod livys_share;

const SESSION: &str = r#"{"kind":"spark"}"#;
const CODE: &str = r#"{"code":"1 + 1"}"#;

fn limited(limits: &str) -> Setup {
    let setup = Setup::new().roomy().default_limits();
    setup.rest(&format!("[limits]\n{limits}"))
}

async fn as_bob(rig: &Rig, method: &str, path: &str, body: &str) -> Reply {
    let lines = format!("{}Content-Type: application/json\r\n", basic("bob"));
    rig.ask(request(method, path, &lines, body)).await
}

/// The numbers of a `RateLimit` or `RateLimit-Policy` header, after its name.
fn numbers(reply: &Reply, header: &str) -> String {
    reply.header(header).unwrap_or("none").to_owned()
}

#[tokio::test]
async fn a_creation_over_the_limit_is_429_with_everything_that_a_client_and_its_human_need() {
    let rig = limited("create = { rate = \"10/min\", burst = 2 }").start().await;
    let create = async || rig.ask(post("/livy/sessions", SESSION)).await;
    let first = create().await;
    first.expect_status(201);
    assert_eq!(numbers(&first, "ratelimit-policy"), "\"create\";q=2;w=12");
    assert_eq!(numbers(&first, "ratelimit"), "\"create\";r=1;t=6");
    create().await.expect_status(201);
    let reply = create().await;
    reply.expect_refusal(429, "rate_limited");
    assert_eq!(
        reply.reason,
        "Too Many Requests - alice: more than 10/min new sessions and batches"
    );
    let msg = reply.json()["msg"].as_str().unwrap().to_owned();
    assert!(
        msg.contains("alice is 10/min") && msg.contains("Wait 6 s"),
        "{msg}"
    );
    let after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((6..=8).contains(&after), "{after}");
    assert_eq!(numbers(&reply, "ratelimit-policy"), "\"create\";q=2;w=12");
    assert_eq!(numbers(&reply, "ratelimit"), "\"create\";r=0;t=6");
    // A batch is a creation too, whatever the slashes.
    for path in ["/livy/batches", "/livy/sessions/", "/livy//sessions"] {
        rig.ask(post(path, SESSION))
            .await
            .expect_refusal(429, "rate_limited");
    }
    assert_eq!(
        times(rig.livy(), "POST", "/sessions"),
        2,
        "Livy never hears of it"
    );
    as_bob(&rig, "POST", "/livy/sessions", SESSION)
        .await
        .expect_status(201);
    rig.clock.advance(Duration::from_secs(6));
    create().await.expect_status(201);
    create().await.expect_refusal(429, "rate_limited");
}

#[tokio::test]
async fn each_class_is_counted_apart_and_what_takes_load_away_is_not() {
    let one = "{ rate = \"1/min\", burst = 1 }";
    let rig = limited(&format!("statement = {one}\nupload = {one}\ncreate = {one}"))
        .plant(Kind::Session)
        .start()
        .await;
    let upload = |path: &str| {
        let lines = format!(
            "{}Content-Type: multipart/form-data; boundary=cut\r\n",
            basic("alice")
        );
        request("POST", path, &lines, multipart("jar", "x"))
    };
    for _ in 0..2 {
        rig.ask(post("/livy/sessions", SESSION)).await;
        rig.ask(upload("/livy/sessions/0/upload-jar")).await;
        rig.ask(post("/livy/sessions/0/statements", CODE)).await;
    }
    for (path, body) in [
        ("/livy/sessions/0/statements", CODE),
        (
            "/livy/sessions/0/completion",
            r#"{"code":"x","kind":"spark","cursor":1}"#,
        ),
        ("/livy/sessions/0/run-job", r#"{"job":"AAAA","jobType":"spark"}"#),
        ("/livy/sessions/0/add-jar", r#"{"uri":"hdfs:///a.jar"}"#),
        ("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#),
    ] {
        rig.ask(post(path, body))
            .await
            .expect_refusal(429, "rate_limited");
    }
    rig.ask(upload("/livy/sessions/0/upload-jar"))
        .await
        .expect_refusal(429, "rate_limited");
    for _ in 0..30 {
        rig.ask(plain("POST", "/livy/sessions/0/statements/0/cancel"))
            .await
            .expect_status(200);
    }
    let answer = rig.ask(get("/livy/sessions/0/state")).await;
    answer.expect_status(200);
    assert_eq!(
        answer.header("ratelimit"),
        None,
        "a poll has nothing to read there"
    );
    rig.ask(plain("DELETE", "/livy/sessions/0"))
        .await
        .expect_status(200);
    let received = rig.livy().requests();
    let posted = |path: &str| received.iter().filter(|one| one.path == path).count();
    assert_eq!(posted("/sessions/0/statements"), 1);
    assert_eq!(posted("/sessions/0/upload-jar"), 1);
}

#[tokio::test]
async fn reads_over_the_limit_are_held_back_in_turn_and_refused_beyond_what_one_waits_for() {
    let rig = limited("read = { rate = \"1/s\", burst = 2, delay = \"3s\" }")
        .plant(Kind::Session)
        .start()
        .await;
    let state = get("/livy/sessions/0/state");
    for _ in 0..2 {
        rig.ask(&state).await.expect_status(200);
    }
    let mut held = Vec::new();
    for waiting in 1..=3 {
        let mut client = rig.connect().await;
        client.send(&state).await;
        held.push(client);
        eventually("it is held back", async || {
            rig.app().shared().traffic().held_back == waiting
        })
        .await;
    }
    let refused = rig.ask(&state).await;
    refused.expect_refusal(429, "rate_limited");
    assert_eq!(numbers(&refused, "ratelimit-policy"), "\"read\";q=2;w=2");
    rig.ask(get("/livy/sessions"))
        .await
        .expect_refusal(429, "rate_limited");
    rig.ask(get("/livy/gateway/me"))
        .await
        .expect_refusal(429, "rate_limited");
    as_bob(&rig, "GET", "/livy/version", "").await.expect_status(200);
    assert_eq!(times(rig.livy(), "GET", "/sessions/0/state"), 2);
    for (number, mut client) in held.into_iter().enumerate() {
        let (reply, waited) = rig.pass_until(Duration::from_millis(200), client.reply()).await;
        reply.expect_status(200);
        assert!(waited <= Duration::from_millis(1600), "{number}: {waited:?}");
    }
    assert_eq!(times(rig.livy(), "GET", "/sessions/0/state"), 5);
}

#[tokio::test]
async fn who_looks_for_what_is_anothers_or_nobodys_is_counted_alike() {
    let rig = limited("read = { rate = \"1/min\", burst = 4, delay = \"0s\" }")
        .plant(Kind::Session)
        .start()
        .await;
    for id in [0, 7, 0, 7] {
        as_bob(&rig, "GET", &format!("/livy/sessions/{id}"), "")
            .await
            .expect_status(404);
    }
    for id in [0, 7] {
        as_bob(&rig, "GET", &format!("/livy/sessions/{id}"), "")
            .await
            .expect_refusal(429, "rate_limited");
    }
    rig.ask(get("/livy/sessions/0")).await.expect_status(200);
}

#[tokio::test]
async fn what_a_service_asks_for_somebody_is_counted_for_that_one() {
    let issuer = Issuer::new();
    let identity = "[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n\
        [[identity.delegate]]\nservice = \"jwt:corp:zeppelin\"\nfor = [\"user:*\"]\n\
        [roles]\nadmin = [\"user:ops\"]\n\
        [limits]\ncreate = { rate = \"1/min\", burst = 1 }\nread = { rate = \"1/min\", burst = 2, delay = \"0s\" }\n";
    let setup = issuer.trusted_by(Setup::new().roomy().default_limits(), identity);
    let rig = setup.start().await;
    let ask = async |who: &str, method: &str, path: &str, body: &str| {
        let lines = format!("{}Content-Type: application/json\r\n", issuer.bearer(who));
        rig.ask(request(method, path, &lines, body)).await
    };
    let of = |user: &str| format!("{{\"kind\":\"spark\",\"proxyUser\":\"{user}\"}}");
    for user in ["alice", "bob", "carol"] {
        ask("zeppelin", "POST", "/livy/sessions", &of(user))
            .await
            .expect_status(201);
    }
    ask("alice", "POST", "/livy/sessions", SESSION)
        .await
        .expect_refusal(429, "rate_limited");
    let again = ask("zeppelin", "POST", "/livy/sessions", &of("bob")).await;
    again.expect_refusal(429, "rate_limited");
    assert!(again.text().contains("bob"), "{}", again.text());
    // Created in this order, their numbers are 0, 1 and 2.
    for id in [0, 1, 2, 0, 1, 2] {
        ask("zeppelin", "GET", &format!("/livy/sessions/{id}/state"), "")
            .await
            .expect_status(200);
    }
    ask("zeppelin", "GET", "/livy/sessions/1/state", "")
        .await
        .expect_refusal(429, "rate_limited");
    // Who looks after others' sessions uses up nothing of theirs.
    for id in [2, 2] {
        ask("ops", "GET", &format!("/livy/sessions/{id}/state"), "")
            .await
            .expect_status(200);
    }
    ask("ops", "GET", "/livy/sessions/0/state", "")
        .await
        .expect_refusal(429, "rate_limited");
    assert_eq!(rig.livy().sessions().len(), 3);
}

#[tokio::test]
async fn a_group_together_and_everybody_together_are_limited_too() {
    let rig = limited(
        "[[limits.for]]\nuser = \"alice\"\nread = { rate = \"1/min\", burst = 50, delay = \"0s\" }\n\
         [[limits.for]]\neverybody = true\nread = { rate = \"1/min\", burst = 4, delay = \"0s\" }\n",
    )
    .start()
    .await;
    for _ in 0..2 {
        rig.ask(get("/livy/version")).await.expect_status(200);
        as_bob(&rig, "GET", "/livy/version", "").await.expect_status(200);
    }
    let reply = as_bob(&rig, "GET", "/livy/version", "").await;
    reply.expect_refusal(429, "rate_limited");
    assert!(reply.text().contains("everybody together"), "{}", reply.text());
    assert_eq!(
        reply.header("ratelimit"),
        None,
        "what others use up is not told in numbers"
    );
}

#[tokio::test]
async fn only_so_many_requests_of_one_user_are_under_way() {
    let rig = limited("concurrent_requests = 3")
        .plant(Kind::Session)
        .start()
        .await;
    let held = rig
        .livy()
        .fault(Fault::hold_answer().on("GET", "/version").always());
    let mut waiting: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = rig.connect().await;
        client.send(get("/livy/version")).await;
        waiting.push(client);
    }
    held.hit(3).await;
    let reply = rig.ask(get("/livy/sessions/0/state")).await;
    reply.expect_refusal(503, "too_many_at_once");
    assert!(reply.header("retry-after").is_some());
    assert!(
        reply.reason.ends_with("alice: more than 3 requests at once"),
        "{}",
        reply.reason
    );
    rig.ask(post("/livy/sessions/0/statements", CODE))
        .await
        .expect_refusal(429, "too_many_at_once");
    as_bob(&rig, "GET", "/livy/sessions", "").await.expect_status(200);
    rig.ask(plain("DELETE", "/livy/sessions/0"))
        .await
        .expect_status(200);
    held.release();
    for client in &mut waiting {
        client.reply().await.expect_status(200);
    }
    rig.ask(get("/livy/version")).await.expect_status(200);
}

#[tokio::test]
async fn what_a_service_does_for_somebody_is_under_way_for_that_one_alone() {
    let issuer = Issuer::new();
    let identity = "[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n\
        [[identity.delegate]]\nservice = \"jwt:corp:zeppelin\"\nfor = [\"user:*\"]\n\
        [limits]\nconcurrent_requests = 1\n";
    let setup = issuer.trusted_by(Setup::new().roomy().default_limits(), identity);
    let rig = setup.start().await;
    let ask = |method: &str, path: &str, body: &str| {
        let lines = format!("{}Content-Type: application/json\r\n", issuer.bearer("zeppelin"));
        request(method, path, &lines, body)
    };
    for user in ["alice", "bob"] {
        let body = format!("{{\"kind\":\"spark\",\"proxyUser\":\"{user}\"}}");
        rig.ask(ask("POST", "/livy/sessions", &body))
            .await
            .expect_status(201);
    }
    let held = rig.livy().fault(
        Fault::hold_answer()
            .when(|request| request.method == "GET" && request.query_values("doAs") == ["alice"]),
    );
    let mut stuck = rig.connect().await;
    stuck.send(ask("GET", "/livy/sessions/0/state", "")).await;
    held.hit(1).await;
    rig.ask(ask("GET", "/livy/sessions/0/state", ""))
        .await
        .expect_refusal(503, "too_many_at_once");
    rig.ask(ask("GET", "/livy/sessions/1/state", ""))
        .await
        .expect_status(200);
    rig.ask(ask("GET", "/livy/sessions", "")).await.expect_status(200);
    held.release();
    stuck.reply().await.expect_status(200);
    let counters = rig.app().shared().users.current();
    let asked: Vec<_> = counters
        .busiest(9)
        .into_iter()
        .map(|one| (one.user.to_string(), one.requests, one.refusals))
        .collect();
    let of = |user: &str| {
        let found = asked.iter().find(|(name, ..)| name == user);
        found.map(|(_, requests, refusals)| (*requests, *refusals))
    };
    assert_eq!(of("alice"), Some((3, 1)), "created, held, refused: {asked:?}");
    assert_eq!(
        (of("bob"), of("zeppelin")),
        (Some((2, 0)), Some((1, 0))),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_client_that_leaves_is_under_way_no_more() {
    let rig = limited("concurrent_requests = 1").start().await;
    let held = rig.livy().fault(Fault::hold_answer().on("GET", "/version"));
    let mut client = rig.connect().await;
    client.send(get("/livy/version")).await;
    held.hit(1).await;
    rig.ask(get("/livy/sessions"))
        .await
        .expect_refusal(503, "too_many_at_once");
    drop(client);
    eventually("there is room again", async || {
        rig.ask(get("/livy/sessions")).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_refusals_stands_in_the_audit_once_in_a_while() {
    let rig = limited("create = { rate = \"1/min\", burst = 1 }\n[log]\naudit_file = \"audit.jsonl\"")
        .start()
        .await;
    let refused = async || {
        rig.app().shared().audit.flush();
        let audit = rig.stage.read("audit.jsonl");
        audit.matches("\"rate_limited\"").count()
    };
    for _ in 0..20 {
        rig.ask(post("/livy/sessions", SESSION)).await;
    }
    assert_eq!(refused().await, 1);
    rig.clock.advance(Duration::from_secs(11));
    for _ in 0..20 {
        rig.ask(post("/livy/sessions", SESSION)).await;
    }
    assert_eq!(refused().await, 2);
}

#[tokio::test]
async fn one_address_gets_only_so_many_connections_and_its_others_go_on() {
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\nmax_connections_per_address = 3\n";
    let rig = Setup::new().listen(listen).start().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = rig.connect().await;
        client.send(get("/livy/version")).await;
        client.reply().await.expect_status(200);
        clients.push(client);
    }
    let mut fourth = rig.connect().await;
    // It may be closed before it has said anything.
    let _ = fourth.try_send(get("/livy/version")).await;
    fourth.end().await;
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::over(other.connect(rig.address()).await.unwrap());
    other.send(get("/livy/version")).await;
    other.reply().await.expect_status(200);
    for client in &mut clients {
        client.send(get("/livy/version")).await;
        client.reply().await.expect_status(200);
    }
    drop(clients.pop());
    eventually("there is room for another", async || {
        let mut client = rig.connect().await;
        let sent = client.try_send(get("/livy/version")).await;
        sent.is_ok()
            && client
                .reply_if_any()
                .await
                .is_some_and(|reply| reply.status == 200)
    })
    .await;
}
