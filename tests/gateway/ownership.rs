//! Nobody sees or touches another's session or batch.

use fake_livy::Kind;
use serde_json::{Value, json};

use crate::rig::{Client, Process, Reply, Rig, Setup, basic, eventually, times};

/// One request of a user's.
fn request(user: &str, method: &str, path: &str, body: &str) -> String {
    let credentials = basic(user);
    if body.is_empty() {
        return format!("{method} {path} HTTP/1.1\r\nHost: gw\r\n{credentials}\r\n");
    }
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gw\r\n{credentials}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn ask(rig: &Rig, user: &str, method: &str, path: &str) -> Reply {
    rig.ask(&request(user, method, path, "")).await
}

async fn create(rig: &Rig, user: &str, path: &str, body: &str) -> Value {
    let reply = rig.ask(&request(user, "POST", path, body)).await;
    reply.expect_status(201);
    reply.json()
}

/// The ids in somebody's list, and its `total`.
async fn listed(rig: &Rig, user: &str, path: &str) -> (Vec<i64>, i64) {
    let list = ask(rig, user, "GET", path).await;
    let list = list.expect_status(200).json();
    let ids = list["sessions"].as_array().unwrap();
    let ids = ids.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    (ids, list["total"].as_i64().unwrap())
}

const SESSION: &str = r#"{"kind":"spark"}"#;
const BATCH: &str = r#"{"file":"hdfs:///a.jar"}"#;

#[tokio::test]
async fn what_is_not_ones_own_is_answered_like_what_does_not_exist_and_never_reaches_livy() {
    let rig = Rig::start().await;
    create(
        &rig,
        "alice",
        "/livy/sessions",
        r#"{"kind":"spark","name":"etl"}"#,
    )
    .await;
    create(&rig, "alice", "/livy/batches", BATCH).await;
    rig.livy().clear();
    for (method, rest, body) in [
        ("GET", "", ""),
        ("HEAD", "", ""),
        ("GET", "/state", ""),
        ("GET", "/log", ""),
        ("DELETE", "", ""),
        ("POST", "/stop", ""),
        ("POST", "/interrupt", ""),
        ("POST", "/connect", ""),
        ("GET", "/statements", ""),
        ("POST", "/statements", r#"{"code":"1"}"#),
        ("GET", "/statements/0", ""),
        ("POST", "/statements/0/cancel", ""),
        ("POST", "/completion", r#"{"code":"1","kind":"spark","cursor":1}"#),
        ("POST", "/submit-job", r#"{"job":"AAAA"}"#),
        ("POST", "/run-job", r#"{"job":"AAAA"}"#),
        ("GET", "/jobs/0", ""),
        ("POST", "/jobs/0/cancel", ""),
        ("POST", "/add-jar", r#"{"uri":"hdfs:///a.jar"}"#),
        ("POST", "/add-pyfile", r#"{"uri":"hdfs:///a.py"}"#),
        ("POST", "/add-file", r#"{"uri":"hdfs:///a"}"#),
    ] {
        for (kind, keys) in [("sessions", ["0", "etl"]), ("batches", ["0", "0"])] {
            let batch_has_it = matches!(rest, "" | "/state" | "/log");
            if kind == "batches" && !batch_has_it {
                continue;
            }
            for key in keys {
                let mut client = rig.connect().await;
                let path = format!("/livy/{kind}/{key}{rest}");
                client.send(request("bob", method, &path, body)).await;
                let foreign = if method == "HEAD" {
                    client.reply_to_head().await
                } else {
                    client.reply().await
                };
                let missing = if key == "0" { "77" } else { "abc" };
                let path = format!("/livy/{kind}/{missing}{rest}");
                let mut client = rig.connect().await;
                client.send(request("bob", method, &path, body)).await;
                let absent = if method == "HEAD" {
                    client.reply_to_head().await
                } else {
                    client.reply().await
                };
                assert_eq!(
                    foreign.status,
                    404,
                    "{method} {kind}/{key}{rest}: {}",
                    foreign.text()
                );
                if method != "HEAD" {
                    assert_eq!(
                        foreign.json(),
                        json!({"msg": format!("Session '{key}' not found.")})
                    );
                }
                let shape = |reply: &Reply, key: &str| {
                    let headers: Vec<_> = reply
                        .headers
                        .iter()
                        .filter(|(name, _)| {
                            !matches!(name.as_str(), "x-request-id" | "date" | "content-length")
                        })
                        .cloned()
                        .collect();
                    (
                        reply.status,
                        reply.reason.clone(),
                        headers,
                        reply.text().replace(key, "?"),
                    )
                };
                assert_eq!(
                    shape(&foreign, key),
                    shape(&absent, missing),
                    "{method} {kind}/{key}{rest}"
                );
            }
        }
    }
    assert!(rig.livy().requests().is_empty(), "{:#?}", rig.livy().requests());
}

#[tokio::test]
async fn what_is_not_there_is_answered_in_livys_own_bytes_and_headers_whoever_answers() {
    let rig = Setup::new().owned("alice", 1).start().await;
    create(&rig, "alice", "/livy/sessions", SESSION).await;
    // 0 has no marker and 1 has one; both vanish at Livy without the gateway's knowing, so that Livy's answer passes.
    for id in [0, 1] {
        let of_livy = direct(&rig, "DELETE", &format!("/sessions/{id}")).await;
        of_livy.expect_status(200);
    }
    for (method, rest, body) in [
        ("GET", "", ""),
        ("HEAD", "", ""),
        ("GET", "/state", ""),
        ("HEAD", "/state", ""),
        ("GET", "/log", ""),
        ("GET", "/statements", ""),
        ("HEAD", "/statements", ""),
        ("POST", "/statements", r#"{"code":"1"}"#),
        ("POST", "/connect", ""),
        ("POST", "/stop", ""),
        ("DELETE", "", ""),
    ] {
        let ask = async |user: &str, key: &str| {
            let path = format!("/livy/sessions/{key}{rest}");
            whole(&rig, &request(user, method, &path, body), method).await
        };
        let absent = ask("bob", "7").await;
        for (user, key) in [("bob", "0"), ("bob", "1"), ("alice", "0"), ("alice", "1")] {
            let other = ask(user, key).await.replace(&format!("'{key}'"), "'7'");
            assert_eq!(other, absent, "{method} {rest} of {key} by {user}");
        }
    }
    let livys = direct(&rig, "GET", "/sessions/7").await;
    let ours = ask(&rig, "bob", "GET", "/livy/sessions/7").await;
    for header in ["content-type", "content-length"] {
        assert_eq!(ours.header(header), livys.header(header));
    }
    assert_eq!(
        (ours.status, &ours.reason, ours.text()),
        (livys.status, &livys.reason, livys.text())
    );
}

/// Asked of Livy itself.
async fn direct(rig: &Rig, method: &str, path: &str) -> Reply {
    let mut livy = Client::connect(([127, 0, 0, 1], rig.livy().port()).into()).await;
    livy.send(format!("{method} {path} HTTP/1.1\r\nHost: livy\r\n\r\n"))
        .await;
    livy.reply().await
}

/// The whole answer as text, but for what differs between any two.
async fn whole(rig: &Rig, request: &str, method: &str) -> String {
    let mut client = rig.connect().await;
    client.send(request).await;
    let reply = if method == "HEAD" {
        client.reply_to_head().await
    } else {
        client.reply().await
    };
    let mut headers: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.to_ascii_lowercase().as_str(), "date" | "x-request-id"))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.sort();
    format!(
        "{} {}\n{}\n\n{}",
        reply.status,
        reply.reason,
        headers.join("\n"),
        reply.text()
    )
}

#[tokio::test]
async fn an_owner_reaches_its_session_by_number_and_by_its_own_name_and_livy_is_asked_by_the_marker() {
    let rig = Rig::start().await;
    let made = create(
        &rig,
        "alice",
        "/livy/sessions",
        r#"{"kind":"spark","name":"etl"}"#,
    )
    .await;
    assert_eq!(
        (made["id"].as_i64(), made["name"].as_str()),
        (Some(0), Some("etl"))
    );
    let sent = rig.livy().last().json();
    let marker = sent["name"].as_str().unwrap().to_owned();
    assert!(marker.starts_with("etl-gw") && marker.len() > 30, "{marker}");
    for key in ["0", "etl"] {
        let reply = ask(&rig, "alice", "GET", &format!("/livy/sessions/{key}")).await;
        assert_eq!(reply.expect_status(200).json()["name"], "etl");
        assert_eq!(rig.livy().last().path, format!("/sessions/{marker}"));
        assert_eq!(rig.livy().last().query_values("doAs"), ["alice"]);
        ask(&rig, "alice", "GET", &format!("/livy/sessions/{key}/state"))
            .await
            .expect_status(200);
        assert_eq!(rig.livy().last().path, format!("/sessions/{marker}/state"));
    }
    let list = ask(&rig, "alice", "GET", "/livy/sessions").await.json();
    assert_eq!(list["sessions"][0]["name"], "etl");
    // The marker itself is nobody's name.
    let by_marker = ask(&rig, "alice", "GET", &format!("/livy/sessions/{marker}")).await;
    by_marker.expect_status(404);
}

#[tokio::test]
async fn a_session_without_a_name_has_none_for_its_owner() {
    let rig = Rig::start().await;
    let made = create(&rig, "alice", "/livy/sessions", SESSION).await;
    assert_eq!(made["name"], Value::Null);
    let made = create(&rig, "alice", "/livy/batches", BATCH).await;
    assert_eq!(made["name"], Value::Null);
    let read = ask(&rig, "alice", "GET", "/livy/sessions/0").await.json();
    assert_eq!(read["name"], Value::Null);
    let head = {
        let mut client = rig.connect().await;
        client
            .send(request("alice", "HEAD", "/livy/sessions/0", ""))
            .await;
        client.reply_to_head().await
    };
    let length = ask(&rig, "alice", "GET", "/livy/sessions/0").await.body.len();
    assert_eq!(head.header("content-length"), Some(length.to_string().as_str()));
}

#[tokio::test]
async fn two_users_may_give_the_same_name_and_one_user_may_not_give_it_twice() {
    let rig = Rig::start().await;
    let named = r#"{"kind":"spark","name":"etl"}"#;
    create(&rig, "alice", "/livy/sessions", named).await;
    create(&rig, "bob", "/livy/sessions", named).await;
    let before = rig.livy().requests().len();
    let again = rig.ask(&request("alice", "POST", "/livy/sessions", named)).await;
    again.expect_status(400);
    assert!(
        again
            .text()
            .contains("Duplicate session name: Some(etl) for session 0"),
        "{}",
        again.text()
    );
    assert_eq!(rig.livy().requests().len(), before, "Livy heard nothing of it");
    for (user, id) in [("alice", 0), ("bob", 1)] {
        let read = ask(&rig, user, "GET", "/livy/sessions/etl").await;
        assert_eq!(read.expect_status(200).json()["id"], id);
    }
}

#[tokio::test]
async fn lists_show_ones_own_and_count_only_them() {
    let rig = Rig::start().await;
    for user in ["alice", "bob", "alice"] {
        create(&rig, user, "/livy/sessions", SESSION).await;
    }
    create(&rig, "bob", "/livy/batches", BATCH).await;
    assert_eq!(listed(&rig, "alice", "/livy/sessions").await, (vec![0, 2], 2));
    assert_eq!(listed(&rig, "bob", "/livy/sessions").await, (vec![1], 1));
    assert_eq!(listed(&rig, "alice", "/livy/batches").await, (vec![], 0));
    assert_eq!(listed(&rig, "bob", "/livy/batches").await, (vec![0], 1));
    assert_eq!(
        listed(&rig, "alice", "/livy/sessions?from=1&size=1").await,
        (vec![2], 2)
    );
    assert_eq!(
        listed(&rig, "alice", "/livy/sessions?size=2147483647").await,
        (vec![0, 2], 2)
    );
    assert_eq!(listed(&rig, "alice", "/livy/sessions?size=-1").await, (vec![], 2));
    let page = ask(&rig, "alice", "GET", "/livy/sessions?from=-5&size=6")
        .await
        .json();
    assert_eq!(
        (page["from"].as_i64(), page["sessions"].as_array().unwrap().len()),
        (Some(-5), 1)
    );
}

#[tokio::test]
async fn ones_own_creation_and_deletion_show_in_the_very_next_list() {
    let rig = Rig::start().await;
    assert_eq!(listed(&rig, "alice", "/livy/sessions").await, (vec![], 0));
    for id in 0..3 {
        create(&rig, "alice", "/livy/sessions", SESSION).await;
        let (ids, _) = listed(&rig, "alice", "/livy/sessions").await;
        assert_eq!(ids, (0..=id).collect::<Vec<_>>());
    }
    ask(&rig, "alice", "DELETE", "/livy/sessions/1")
        .await
        .expect_status(200);
    assert_eq!(listed(&rig, "alice", "/livy/sessions").await, (vec![0, 2], 2));
    ask(&rig, "alice", "GET", "/livy/sessions/1")
        .await
        .expect_status(404);
}

#[tokio::test]
async fn what_was_created_around_the_gateway_belongs_to_its_proxy_user_and_to_nobody_without_one() {
    let rig = Setup::new().start().await;
    rig.livy().plant(Kind::Session, Some("nobodys"), None, None);
    rig.livy().plant(Kind::Session, Some("empty"), None, Some(""));
    rig.livy().plant(Kind::Session, Some("bobs"), None, Some("bob"));
    rig.livy().plant(Kind::Session, Some("mine"), None, Some("alice"));
    // Earlier lists have none of them, or the first ones.
    eventually("the last one is found", async || {
        listed(&rig, "alice", "/livy/sessions").await == (vec![3], 1)
    })
    .await;
    rig.livy().clear();
    for (user, id, status) in [
        ("alice", 3, 200),
        ("bob", 2, 200),
        ("alice", 2, 404),
        ("bob", 3, 404),
        ("alice", 0, 404),
        ("bob", 1, 404),
    ] {
        let reply = ask(&rig, user, "GET", &format!("/livy/sessions/{id}/state")).await;
        assert_eq!(reply.status, status, "{user} {id}");
    }
    assert_eq!(rig.livy().requests().len(), 2);
    ask(&rig, "alice", "GET", "/livy/sessions/mine")
        .await
        .expect_status(200);
    ask(&rig, "alice", "GET", "/livy/sessions/bobs")
        .await
        .expect_status(404);
}

#[tokio::test]
async fn after_livy_restarted_and_counts_from_0_nothing_reaches_a_strangers_new_session() {
    let rig = Rig::start().await;
    create(&rig, "alice", "/livy/sessions", SESSION).await;
    rig.livy().restart();
    rig.livy().clear();
    // Bob's new session has the number that alice's had.
    let made = create(&rig, "bob", "/livy/sessions", SESSION).await;
    assert_eq!(made["id"], 0);
    rig.livy().clear();
    for (method, path) in [
        ("GET", "/livy/sessions/0"),
        ("DELETE", "/livy/sessions/0"),
        ("GET", "/livy/sessions/0/log"),
    ] {
        ask(&rig, "alice", method, path).await.expect_status(404);
    }
    assert_eq!(times(rig.livy(), "DELETE", "/sessions/0"), 0);
    assert_eq!(rig.livy().sessions().len(), 1);
    ask(&rig, "bob", "GET", "/livy/sessions/0")
        .await
        .expect_status(200);
    // One that a stranger made directly, under the number of bob's old one.
    rig.livy().restart();
    rig.livy().plant(Kind::Session, None, None, Some("alice"));
    rig.livy().clear();
    ask(&rig, "bob", "DELETE", "/livy/sessions/0")
        .await
        .expect_status(404);
    assert_eq!(rig.livy().sessions().len(), 1, "alice's is still there");
}

const ZEPPELIN: &str = "[[identity.map]]\nfrom = \"basic\"\nlivy_user = \"${subject}\"\n\
     [[identity.delegate]]\nservice = \"basic:bob\"\nfor = [\"user:carol\"]\n";

#[tokio::test]
async fn a_delegate_uses_what_it_created_without_naming_the_user_again_and_nothing_else_of_theirs() {
    let rig = Setup::new().rest(ZEPPELIN).start().await;
    rig.livy().plant(Kind::Session, None, None, Some("carol"));
    let made = create(
        &rig,
        "bob",
        "/livy/sessions",
        r#"{"kind":"spark","proxyUser":"carol"}"#,
    )
    .await;
    assert_eq!(
        (made["id"].as_i64(), made["proxyUser"].as_str()),
        (Some(1), Some("carol"))
    );
    let statement = request("bob", "POST", "/livy/sessions/1/statements", r#"{"code":"1"}"#);
    rig.ask(&statement).await.expect_status(201);
    assert_eq!(
        rig.livy().last().query_values("doAs"),
        ["carol"],
        "it runs as the owner"
    );
    assert_eq!(listed(&rig, "bob", "/livy/sessions").await, (vec![1], 1));
    ask(&rig, "bob", "GET", "/livy/sessions/0")
        .await
        .expect_status(404);
    ask(&rig, "alice", "GET", "/livy/sessions/1")
        .await
        .expect_status(404);
    ask(&rig, "bob", "DELETE", "/livy/sessions/1")
        .await
        .expect_status(200);
    assert_eq!(rig.livy().sessions().len(), 1);
}

#[tokio::test]
async fn a_delegate_that_names_one_user_is_never_given_what_is_anothers() {
    let rules = ZEPPELIN.replace("[\"user:carol\"]", "[\"user:carol\", \"user:alice\"]");
    let rig = Setup::new().rest(&rules).start().await;
    for user in ["carol", "alice"] {
        let body = format!(r#"{{"kind":"spark","name":"etl","proxyUser":"{user}"}}"#);
        create(&rig, "bob", "/livy/sessions", &body).await;
    }
    create(
        &rig,
        "bob",
        "/livy/sessions",
        r#"{"kind":"spark","name":"own","proxyUser":"carol"}"#,
    )
    .await;
    rig.livy().clear();
    // 0 and "own" are carol's, and alice has neither.
    for path in ["/livy/sessions/0", "/livy/sessions/own"] {
        for (method, rest) in [("GET", ""), ("GET", "/log"), ("DELETE", "")] {
            let path = format!("{path}{rest}?doAs=alice");
            ask(&rig, "bob", method, &path).await.expect_status(404);
        }
        let path = format!("{path}/statements?doAs=alice");
        let statement = request("bob", "POST", &path, r#"{"code":"1"}"#);
        rig.ask(&statement).await.expect_status(404);
    }
    // Which "etl" is meant is not guessed.
    ask(&rig, "bob", "DELETE", "/livy/sessions/etl")
        .await
        .expect_status(404);
    assert!(rig.livy().requests().is_empty());
    for user in ["alice", "carol"] {
        let path = format!("/livy/sessions/etl?doAs={user}");
        ask(&rig, "bob", "DELETE", &path).await.expect_status(200);
        assert_eq!(rig.livy().last().query_values("doAs"), [user]);
    }
    ask(&rig, "bob", "DELETE", "/livy/sessions/own")
        .await
        .expect_status(200);
    assert!(rig.livy().sessions().is_empty());
}

#[tokio::test]
async fn an_administrator_looks_at_and_stops_others_sessions_and_runs_no_code_in_them() {
    let rig = Setup::new()
        .rest("[roles]\noperator = [\"user:bob\"]\n")
        .start()
        .await;
    create(&rig, "alice", "/livy/sessions", SESSION).await;
    rig.livy().clear();
    ask(&rig, "bob", "GET", "/livy/sessions/0/log")
        .await
        .expect_status(200);
    assert_eq!(rig.livy().last().query_values("doAs"), ["alice"]);
    let statement = request("bob", "POST", "/livy/sessions/0/statements", r#"{"code":"1"}"#);
    rig.ask(&statement).await.expect_status(404);
    assert_eq!(
        listed(&rig, "bob", "/livy/sessions").await,
        (vec![], 0),
        "a role changes no list"
    );
    ask(&rig, "bob", "DELETE", "/livy/sessions/0")
        .await
        .expect_status(200);
    assert!(rig.livy().sessions().is_empty());
}

#[tokio::test]
async fn a_list_that_livy_cannot_give_is_a_refusal_and_never_everybodys() {
    for body in ["<html>", "{}", r#"{"from":0,"total":3,"sessions":[]}"#] {
        let body = body.to_owned();
        let url = listless_livy(&body).await;
        let rig = Setup::new().livy_url(&url).start().await;
        let reply = ask(&rig, "alice", "GET", "/livy/sessions").await;
        reply.expect_refusal(502, "upstream_unexpected");
    }
}

/// A server in Livy's place that answers everything with this.
async fn listless_livy(body: &str) -> String {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                while crate::rig::raw_head(&mut stream).await.is_some() {
                    if tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes())
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_number_leads_to_its_owner_though_livy_and_the_gateway_were_restarted_at_once() {
    let (stage, mut process) = Setup::new()
        .rest("[state]\ndirectory = \"state\"\nreconcile = \"1s\"\n")
        .spawn()
        .await;
    let ask = async |process: &Process, user: &str, method: &str, path: &str, body: &str| {
        let mut client = Client::connect(process.address).await;
        client.send(request(user, method, path, body)).await;
        client.reply().await
    };
    // Each has the number then that the other had before, and the ledger's file has both.
    for (user, id) in [("alice", 0), ("bob", 1)] {
        let made = ask(&process, user, "POST", "/livy/sessions", SESSION).await;
        assert_eq!(made.expect_status(201).json()["id"], id);
    }
    stage.livy.restart();
    for (user, id) in [("bob", 0), ("alice", 1)] {
        let made = ask(&process, user, "POST", "/livy/sessions", SESSION).await;
        assert_eq!(made.expect_status(201).json()["id"], id);
    }
    process.signal("KILL").await;
    process.exit_code().await;
    let process = Process::start(&stage.config()).await;
    for (user, own, other) in [("bob", 0, 1), ("alice", 1, 0)] {
        eventually("what was before is gone", async || {
            let list = ask(&process, user, "GET", "/livy/sessions", "").await;
            list.status == 200 && list.json()["total"] == 1
        })
        .await;
        let read = ask(&process, user, "GET", &format!("/livy/sessions/{own}"), "").await;
        assert_eq!(read.expect_status(200).json()["proxyUser"], user);
        let others = ask(&process, user, "GET", &format!("/livy/sessions/{other}"), "").await;
        others.expect_status(404);
    }
}
