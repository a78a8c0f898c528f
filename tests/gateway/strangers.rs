//! What a stranger can find out or do about somebody else's sessions: nothing. Every answer about what is another's is
//! compared byte by byte with the answer about what is not there.

use std::sync::Arc;
use std::time::Duration;

use fake_livy::{Fault, Kind, Received};
use livy_gateway::clock::Clock;
use livy_gateway::livy::Kind as LivyKind;
use livy_gateway::livy::operation::{Action, Operation};
use livy_gateway::livy::session_ref::SessionRef;
use livy_gateway::reload::Reloader;
use livy_gateway::roles::{self, Role};
use serde_json::Value;

use crate::rig::{
    Client, Process, Reply, Rig, Setup, basic, eventually, is_the_gateways_list, marker, request, sample_body,
};

const SESSION: &str = r#"{"kind":"spark"}"#;
const BATCH: &str = r#"{"file":"hdfs:///a.jar"}"#;

/// A request of a user's, after which the connection ends.
fn last_request(user: &str, method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    request(
        method,
        target,
        &format!("{}Connection: close\r\n{headers}", basic(user)),
        body,
    )
}

async fn ask(rig: &Rig, user: &str, method: &str, target: &str, body: &str) -> Reply {
    let type_ = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let mut client = rig.connect().await;
    client.send(last_request(user, method, target, type_, body)).await;
    if method == "HEAD" {
        client.reply_to_head().await
    } else {
        client.reply().await
    }
}

async fn create(rig: &Rig, user: &str, path: &str, body: &str) -> Value {
    let reply = ask(rig, user, "POST", path, body).await;
    reply.expect_status(201);
    reply.json()
}

/// The whole answer as it came, with what differs between any two answers and the session's own key put out of sight.
async fn raw(client: &mut Client, request: &[u8], key: &str) -> String {
    client.send(request).await;
    let text = client.rest().await;
    assert!(text.starts_with("HTTP/1.1 "), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    // Retry-After is spread by the request's id.
    let differs = ["x-request-id", "date", "retry-after"];
    let mut id = String::new();
    let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
        Some((name, value)) if differs.contains(&name.to_ascii_lowercase().as_str()) => {
            if name.eq_ignore_ascii_case("x-request-id") {
                value.clone_into(&mut id);
            }
            format!("{name}: …")
        }
        Some(_) | None => line.to_owned(),
    });
    let head: Vec<_> = lines.collect();
    let body = body.replace(&format!("'{key}'"), "'…'").replace(&id, "…");
    format!("{}\n\n{body}", head.join("\n"))
}

/// Every way to do every operation to one session: method, target below the base path, headers and body.
fn ways(user: &str, kind: LivyKind, key: &str) -> Vec<(String, String, String, String)> {
    let session = SessionRef::parse(kind, key).unwrap();
    let mut ways = Vec::new();
    for operation in Operation::one_of_each() {
        let Operation::On(of, action) = operation else {
            continue;
        };
        if of.kind() != kind {
            continue;
        }
        let operation = Operation::On(session.clone(), action);
        let (headers, body) = sample_body(&operation);
        let target = format!("/livy{operation}");
        let method = operation.method().as_str();
        let mut add = |method: &str, target: &str, headers: &str, body: &str| {
            ways.push((
                method.to_owned(),
                target.to_owned(),
                headers.to_owned(),
                body.to_owned(),
            ));
        };
        add(method, &target, headers, &body);
        if method == "GET" {
            add("HEAD", &target, "", "");
            for page in operation.parameters() {
                let value = if *page == "order" { "desc" } else { "-1" };
                add("GET", &format!("{target}?{page}={value}"), "", "");
            }
            add("GET", &format!("{target}?doAs={user}&proxyUser={user}"), "", "");
        }
        if method == "POST" {
            add("POST", &target, "", "");
            add("POST", &target, "Content-Type: application/json\r\n", "{");
            add(
                "POST",
                &target,
                "Content-Type: application/json\r\n",
                r#"{"nobody":1}"#,
            );
            add(
                "POST",
                &target,
                "Idempotency-Key: k\r\nExpect: 100-continue\r\n",
                "",
            );
        }
    }
    ways
}

/// Alice is told the same of these as of a session that is not there, whatever she does, and Livy hears nothing of it.
async fn assert_like_nothing(rig: &Rig, user: &str, kind: LivyKind, keys: &[String]) {
    rig.livy().clear();
    for key in keys {
        let missing = missing_like(key);
        for (foreign, absent) in ways(user, kind, key).into_iter().zip(ways(user, kind, &missing)) {
            let mut told = Vec::new();
            for ((method, target, headers, body), key) in [(&foreign, key), (&absent, &missing)] {
                let request = last_request(user, method, target, headers, body);
                told.push(raw(&mut rig.connect().await, &request, key).await);
            }
            assert_eq!(told[0], told[1], "{} {}", foreign.0, foreign.1);
            assert!(told[0].starts_with("HTTP/1.1 404 Not Found\n"), "{}", told[0]);
        }
    }
    let heard: Vec<_> = rig.livy().requests();
    let heard: Vec<_> = heard
        .iter()
        .filter(|request| !is_the_gateways_list(request))
        .collect();
    assert!(heard.is_empty(), "{heard:#?}");
}

/// A number or a name of the same length that nobody has.
fn missing_like(key: &str) -> String {
    if key.bytes().all(|byte| byte.is_ascii_digit()) {
        "9".repeat(key.len())
    } else {
        format!(
            "z{}",
            &"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"[..key.len() - 1]
        )
    }
}

fn created(rig: &Rig) -> Vec<Received> {
    let is_creation = |request: &Received| {
        request.method == "POST" && matches!(request.path.as_str(), "/sessions" | "/batches")
    };
    rig.livy().requests().into_iter().filter(is_creation).collect()
}

#[tokio::test]
async fn whatever_is_done_to_anothers_session_is_answered_byte_for_byte_like_what_is_not_there() {
    let rig = Setup::new()
        .plant(Kind::Batch)
        .named(Kind::Session, "direct", "bob")
        .named(Kind::Session, "shell", "dave")
        .start()
        .await;
    rig.livy().plant(Kind::Session, Some("nobodys"), None, None);
    rig.livy().plant(Kind::Batch, Some("job"), None, Some("bob"));
    create(&rig, "bob", "/livy/sessions", r#"{"kind":"spark","name":"etl"}"#).await;
    create(
        &rig,
        "bob",
        "/livy/batches",
        r#"{"file":"hdfs:///a.jar","name":"Etl-2"}"#,
    )
    .await;
    let markers: Vec<_> = created(&rig).iter().map(marker).collect();
    eventually("all is listed", async || {
        ask(&rig, "bob", "GET", "/livy/batches", "").await.json()["total"] == 2
    })
    .await;

    let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let sessions = keys(&[
        "0",
        "1",
        "2",
        "3",
        "direct",
        "shell",
        "nobodys",
        "etl",
        "ETL",
        &markers[0],
    ]);
    assert_like_nothing(&rig, "alice", LivyKind::Session, &sessions).await;
    let batches = keys(&["1", "2", "job", "Etl-2", "etl-2", &markers[1]]);
    assert_like_nothing(&rig, "alice", LivyKind::Batch, &batches).await;
    // A session's number is no batch's, nor a batch's name a session's.
    assert_like_nothing(&rig, "alice", LivyKind::Session, &keys(&["Etl-2", "job"])).await;
    assert_like_nothing(&rig, "bob", LivyKind::Batch, &keys(&["0", "3", "etl", "direct"])).await;
    assert_eq!((rig.livy().sessions().len(), rig.livy().batches().len()), (4, 3));
}

#[tokio::test]
async fn while_livy_was_not_listed_yet_nothing_tells_what_the_ledger_knows_of_others() {
    let (stage, mut process) = Setup::new()
        .with_its_lists()
        .rest("[state]\ndirectory = \"state\"\n")
        .spawn()
        .await;
    for (path, body) in [("/livy/sessions", SESSION), ("/livy/batches", BATCH)] {
        let mut client = Client::connect(process.address).await;
        let headers = "Content-Type: application/json\r\n";
        client
            .send(last_request("bob", "POST", path, headers, body))
            .await;
        client.reply().await.expect_status(201);
    }
    process.signal("KILL").await;
    process.exit_code().await;
    stage.livy.fault(Fault::html_error().on("GET", "/").always());
    let process = Process::start(&stage.config()).await;
    for kind in [LivyKind::Session, LivyKind::Batch] {
        for (foreign, absent) in ways("alice", kind, "0").into_iter().zip(ways("alice", kind, "9")) {
            let mut told = Vec::new();
            for ((method, target, headers, body), key) in [(&foreign, "0"), (&absent, "9")] {
                let request = last_request("alice", method, target, headers, body);
                told.push(raw(&mut Client::connect(process.address).await, &request, key).await);
            }
            assert_eq!(told[0], told[1], "{} {}", foreign.0, foreign.1);
        }
    }
}

#[tokio::test]
async fn a_name_tells_nothing_to_whoever_asks_for_the_same_one() {
    let rig = Setup::new().named(Kind::Session, "direct", "bob").start().await;
    create(&rig, "bob", "/livy/sessions", r#"{"kind":"spark","name":"etl"}"#).await;
    for name in ["etl", "ETL", "direct", "free"] {
        let body = format!(r#"{{"kind":"spark","name":"{name}"}}"#);
        let made = create(&rig, "alice", "/livy/sessions", &body).await;
        assert_eq!(
            (&made["name"], &made["proxyUser"]),
            (&name.into(), &"alice".into())
        );
        let own = ask(&rig, "alice", "GET", &format!("/livy/sessions/{name}"), "").await;
        assert_eq!(own.expect_status(200).json()["id"], made["id"]);
    }
    // Nor does the other one lose its name.
    for (name, id) in [("direct", 0), ("etl", 1)] {
        let bobs = ask(&rig, "bob", "GET", &format!("/livy/sessions/{name}"), "").await;
        assert_eq!(bobs.expect_status(200).json()["id"], id);
    }
}

#[tokio::test]
async fn a_name_that_looks_like_a_marker_is_only_a_name() {
    let rig = Rig::start().await;
    create(&rig, "bob", "/livy/sessions", SESSION).await;
    let bobs = marker(&rig.livy().last());
    let body = format!(r#"{{"kind":"spark","name":"{bobs}"}}"#);
    let made = create(&rig, "alice", "/livy/sessions", &body).await;
    assert_eq!(
        (made["id"].as_i64(), made["name"].as_str()),
        (Some(1), Some(bobs.as_str()))
    );
    let alices = marker(&rig.livy().last());
    assert_ne!(alices, bobs);
    ask(&rig, "alice", "DELETE", &format!("/livy/sessions/{bobs}"), "")
        .await
        .expect_status(200);
    let left: Vec<_> = rig
        .livy()
        .sessions()
        .into_iter()
        .filter_map(|one| one.name)
        .collect();
    assert_eq!(left, [bobs]);
}

#[tokio::test]
async fn after_a_restart_of_livy_no_operation_on_an_old_number_or_name_touches_the_new_one() {
    let rig = Setup::new().plant(Kind::Session).start().await;
    create(
        &rig,
        "alice",
        "/livy/sessions",
        r#"{"kind":"spark","name":"etl"}"#,
    )
    .await;
    ask(&rig, "alice", "GET", "/livy/sessions/0", "")
        .await
        .expect_status(200);
    rig.livy().restart();
    // Bob's have the numbers that alice's had: one made around the gateway, one through it.
    rig.livy().plant(Kind::Session, Some("etl"), None, Some("bob"));
    create(&rig, "bob", "/livy/sessions", SESSION).await;
    // A number is believed for a second.
    rig.clock.advance(Duration::from_secs(2));
    let before = rig.livy().sessions();
    for key in ["0", "1", "etl"] {
        for (method, target, headers, body) in ways("alice", LivyKind::Session, key) {
            let request = last_request("alice", &method, &target, &headers, &body);
            let told = raw(&mut rig.connect().await, &request, key).await;
            assert!(!told.starts_with("HTTP/1.1 2"), "{method} {target}: {told}");
        }
    }
    assert_eq!(rig.livy().sessions(), before);
}

#[tokio::test]
async fn a_write_to_a_number_is_for_what_the_number_means_when_its_body_has_come() {
    let statement = r#"{"code":"1"}"#;
    for (livy_restarts_before_the_head, has_marker) in [(true, false), (false, false), (false, true)] {
        let rig = Setup::new().plant(Kind::Session).start().await;
        ask(&rig, "alice", "GET", "/livy/sessions/0/state", "")
            .await
            .expect_status(200);
        let restart = async || {
            rig.livy().restart();
            if has_marker {
                create(&rig, "bob", "/livy/sessions", SESSION).await;
            } else {
                rig.livy().plant(Kind::Session, None, None, Some("bob"));
            }
            rig.livy().clear();
        };
        if livy_restarts_before_the_head {
            // The last list is of a moment ago.
            restart().await;
        }
        let mut client = rig.connect().await;
        let head = format!(
            "POST /livy/sessions/0/statements HTTP/1.1\r\nHost: gw\r\n{}Content-Type: application/json\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            basic("alice"),
            statement.len()
        );
        client.send(head).await;
        assert_eq!(client.any_reply(false).await.status, 100);
        if !livy_restarts_before_the_head {
            restart().await;
        }
        client.send(statement).await;
        client.reply().await.expect_status(404);
        assert!(rig.livy().requests().is_empty());
    }
}

#[tokio::test]
async fn nobody_creates_for_another_by_naming_them_and_what_is_ones_own_stays_so() {
    let rig = Rig::start().await;
    for (target, body) in [
        ("/livy/sessions", r#"{"kind":"spark","proxyUser":"bob"}"#),
        ("/livy/sessions", r#"{"kind":"spark","proxyUser":"Alice"}"#),
        ("/livy/sessions", r#"{"kind":"spark","proxyUser":""}"#),
        ("/livy/sessions", r#"{"kind":"spark","pr\u006fxyUser":"bob"}"#),
        ("/livy/sessions?doAs=bob", SESSION),
        (
            "/livy/sessions?doAs=alice",
            r#"{"kind":"spark","proxyUser":"bob"}"#,
        ),
        ("/livy/batches?proxyUser=bob", BATCH),
    ] {
        let reply = ask(&rig, "alice", "POST", target, body).await;
        reply.expect_refusal(403, "impersonation_refused");
    }
    for target in [
        "/livy/sessions?doAs=bob",
        "/livy/sessions/0?doAs=bob",
        "/livy/sessions/0/state?doas=bob",
    ] {
        let reply = ask(&rig, "alice", "GET", target, "").await;
        reply.expect_refusal(403, "impersonation_refused");
    }
    assert!(rig.livy().requests().is_empty());
    let own = create(
        &rig,
        "alice",
        "/livy/sessions",
        r#"{"kind":"spark","proxyUser":"alice"}"#,
    )
    .await;
    assert_eq!(own["proxyUser"], "alice");
    assert_like_nothing(&rig, "bob", LivyKind::Session, &["0".to_owned()]).await;
}

const WITH_SERVICE: &str =
    "[state]\nstore = \"memory\"\n[[identity.map]]\nfrom = \"basic\"\nlivy_user = \"${subject}\"\n";
const RULE: &str =
    "[[identity.delegate]]\nservice = \"basic:alice\"\nfor = [\"user:carol\", \"user:dave\"]\n";

#[tokio::test]
async fn a_delegate_whose_rule_is_withdrawn_finds_nothing_of_what_it_created() {
    let rig = Setup::new().rest(&format!("{WITH_SERVICE}{RULE}")).start().await;
    let for_carol = r#"{"kind":"spark","name":"etl","proxyUser":"carol"}"#;
    create(&rig, "alice", "/livy/sessions", for_carol).await;
    create(
        &rig,
        "alice",
        "/livy/batches",
        r#"{"file":"hdfs:///a.jar","proxyUser":"dave"}"#,
    )
    .await;
    let marker = marker(&created(&rig)[0]);
    ask(&rig, "alice", "GET", "/livy/sessions/etl", "")
        .await
        .expect_status(200);
    assert_eq!(
        ask(&rig, "alice", "GET", "/livy/batches", "").await.json()["total"],
        1
    );

    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    let mut reloader = Reloader::new(&rig.stage.config(), Arc::clone(rig.app().policy()), clock);
    let text = rig.stage.read("gateway.toml");
    rig.stage.write("gateway.toml", &text.replace(RULE, ""));
    for _ in 0..2 {
        reloader.look(&rig.app().shared().logins, &rig.app().shared().users);
    }

    let keys = ["0".to_owned(), "etl".to_owned(), marker];
    assert_like_nothing(&rig, "alice", LivyKind::Session, &keys).await;
    assert_like_nothing(&rig, "alice", LivyKind::Batch, &["0".to_owned()]).await;
    for path in ["/livy/sessions", "/livy/batches"] {
        assert_eq!(
            ask(&rig, "alice", "GET", path, "").await.text(),
            r#"{"from":0,"total":0,"sessions":[]}"#
        );
    }
    // Its name is free for the one that created it, and taken for nobody.
    create(
        &rig,
        "alice",
        "/livy/sessions",
        r#"{"kind":"spark","name":"etl"}"#,
    )
    .await;
}

#[tokio::test]
async fn a_role_opens_what_it_opens_and_all_else_is_like_what_is_not_there() {
    for role in ["viewer", "operator", "admin"] {
        let roles = format!("[roles]\n{role} = [\"user:alice\"]\n");
        let rig = Setup::new().rest(&roles).start().await;
        create(&rig, "bob", "/livy/sessions", r#"{"kind":"spark","name":"etl"}"#).await;
        let marker = marker(&rig.livy().last());
        // By its number only.
        let names = ["etl".to_owned(), marker];
        assert_like_nothing(&rig, "alice", LivyKind::Session, &names).await;
        for operation in Operation::one_of_each() {
            let Operation::On(of, action) = operation else {
                continue;
            };
            if of.kind() != LivyKind::Session || ends_it(&action) {
                continue;
            }
            let parse = |key: &str| SessionRef::parse(LivyKind::Session, key).unwrap();
            let (headers, body) = sample_body(&Operation::On(parse("0"), action));
            let mut told = Vec::new();
            for key in ["0", "9"] {
                let operation = Operation::On(parse(key), action);
                let method = operation.method().as_str();
                let request = last_request("alice", method, &format!("/livy{operation}"), headers, &body);
                told.push(raw(&mut rig.connect().await, &request, key).await);
            }
            let role = Role::ALL.into_iter().find(|known| known.word() == role).unwrap();
            if roles::may(role, &action) {
                assert_ne!(told[0], told[1], "{role:?} {action:?}");
            } else {
                assert_eq!(told[0], told[1], "{role:?} {action:?}");
            }
        }
        assert_eq!(
            ask(&rig, "alice", "GET", "/livy/sessions", "").await.json()["total"],
            0
        );
    }
}

const fn ends_it(action: &Action) -> bool {
    matches!(action, Action::Delete | Action::Stop | Action::Interrupt)
}

#[tokio::test]
async fn the_pots_refusal_names_ones_own_sessions_alone() {
    let pot = "[[quota.for]]\neverybody = true\nsessions = 3\n";
    let rig = Setup::new().rest(pot).start().await;
    for user in ["bob", "alice", "bob"] {
        create(&rig, user, "/livy/sessions", SESSION).await;
    }
    let refused = ask(&rig, "alice", "POST", "/livy/sessions", SESSION).await;
    refused.expect_refusal(429, "quota_exceeded");
    let told = refused.json()["msg"].as_str().unwrap().to_owned();
    assert!(
        told.starts_with("everybody together holds 3 of 3 sessions (yours: 1)."),
        "{told}"
    );
    assert!(!told.contains("bob"), "{told}");
}

#[tokio::test]
async fn a_key_of_one_user_is_none_of_anothers() {
    let rig = Rig::start().await;
    for (user, id) in [("bob", 0), ("alice", 1), ("bob", 0), ("alice", 1)] {
        let headers = "Content-Type: application/json\r\nIdempotency-Key: k\r\n";
        let mut client = rig.connect().await;
        client
            .send(last_request(user, "POST", "/livy/sessions", headers, SESSION))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.expect_status(201).json()["id"], id);
        assert_eq!(
            reply.header("location"),
            Some(format!("/livy/sessions/{id}").as_str())
        );
    }
}

#[tokio::test]
async fn no_answer_of_ones_own_says_the_marker_but_livys_log() {
    let rig = Rig::start().await;
    create(&rig, "alice", "/livy/sessions", SESSION).await;
    let marker = marker(&rig.livy().last());
    for key in ["0", "1"] {
        for (method, target, headers, body) in ways("alice", LivyKind::Session, key) {
            if target.ends_with("/log") || target.contains("/log?") {
                continue;
            }
            let request = last_request("alice", &method, &target, &headers, &body);
            let told = raw(&mut rig.connect().await, &request, key).await;
            // The last lines of the log are in what Livy shows of a session.
            let told = told.replace(&format!("--name {marker}"), "");
            assert!(!told.contains(&marker), "{method} {target}: {told}");
        }
        if rig.livy().sessions().is_empty() {
            create(&rig, "alice", "/livy/sessions", SESSION).await;
        }
    }
}
