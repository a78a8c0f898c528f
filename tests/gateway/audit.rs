//! What the audit file says, and that it says it whatever becomes of the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fake_livy::{Fault, Kind};
use serde_json::{Value, json};

use crate::rig::{Client, PASSWORD, Reply, Rig, Setup, Stage, basic, basic_with, eventually, post, request};

const AUDIT: &str = "[log]\naudit_file = \"audit.jsonl\"\n";
const SESSION: &str = r#"{"kind":"spark","name":"etl","conf":{"spark.my.secret":"hunter2"}}"#;

fn records(stage: &Stage) -> Vec<Value> {
    let text = fs::read_to_string(stage.path("audit.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn find(records: &[Value], event: &str, decision: &str) -> Option<Value> {
    let is_it = |record: &&Value| record["event"] == event && record["decision"] == decision;
    records.iter().rev().find(is_it).cloned()
}

/// Waits for a record; the newest of its kind.
async fn record(rig: &Rig, event: &str, decision: &str) -> Value {
    rig.app().shared().audit.flush();
    eventually(&format!("{event} {decision}"), async || {
        find(&records(&rig.stage), event, decision).is_some()
    })
    .await;
    find(&records(&rig.stage), event, decision).unwrap()
}

async fn ask(rig: &Rig, user: &str, method: &str, path: &str) -> Reply {
    rig.ask(request(method, path, &basic(user), "")).await
}

#[track_caller]
fn id_of(reply: &Reply) -> &str {
    reply.header("x-request-id").unwrap()
}

#[tokio::test]
async fn creations_refusals_and_deletions_are_found_by_the_id_that_the_client_got() {
    let rig = Setup::new()
        .rest(&format!("{AUDIT}[quota]\nsessions = 1\n"))
        .start()
        .await;
    let created = rig.ask(&post("/livy/sessions", SESSION)).await;
    created.expect_status(201);
    for decision in ["allowed", "done"] {
        let record = record(&rig, "creation", decision).await;
        assert_eq!(record["request_id"], id_of(&created), "{record}");
        assert_eq!(
            (&record["subject"], &record["livy_user"], &record["operation"]),
            (&json!("basic:alice"), &json!("alice"), &json!("create_session"))
        );
        assert_eq!(
            (&record["kind"], &record["name"]),
            (&json!("session"), &json!("etl"))
        );
        assert!(record["marker"].as_str().unwrap().starts_with("etl-gw"));
        assert!(record["cores"].as_u64() > Some(0) && record["memory"].as_u64() > Some(0));
        assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert!(record["time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(record(&rig, "creation", "done").await["id"], 0);

    let refused = rig.ask(&post("/livy/sessions", r#"{"kind":"spark"}"#)).await;
    refused.expect_refusal(429, "quota_exceeded");
    let denied = record(&rig, "denial", "refused").await;
    assert_eq!(denied["request_id"], id_of(&refused));
    assert_eq!(
        (&denied["code"], &denied["why"], &denied["subject"]),
        (
            &json!("quota_exceeded"),
            &json!("alice holds 1 of 1 sessions"),
            &json!("basic:alice")
        )
    );

    let deleted = ask(&rig, "alice", "DELETE", "/livy/sessions/etl").await;
    deleted.expect_status(200);
    for decision in ["allowed", "done"] {
        let record = record(&rig, "deletion", decision).await;
        assert_eq!(
            (&record["request_id"], &record["id"], &record["operation"]),
            (&json!(id_of(&deleted)), &json!(0), &json!("delete_session"))
        );
    }
    let text = fs::read_to_string(rig.stage.path("audit.jsonl")).unwrap();
    for secret in ["hunter2", "spark.my.secret", PASSWORD.0.as_str()] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let mode = fs::metadata(rig.stage.path("audit.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn who_was_refused_what_is_told_with_the_rule_and_without_what_they_wrote() {
    let rig = Setup::new().rest(AUDIT).start().await;
    let conf = r#"{"conf":{"spark.driver.extraJavaOptions":"-Dvalue-of-hers"}}"#;
    rig.ask(&post("/livy/sessions", conf))
        .await
        .expect_refusal(400, "conf_refused");
    let denied = record(&rig, "denial", "refused").await;
    assert_eq!(
        (&denied["code"], &denied["rule"]),
        (&json!("conf_refused"), &json!("spark.driver.extraJavaOptions"))
    );
    let wrong = basic_with("alice", "not-her-password");
    let refused = rig.ask(request("GET", "/livy/sessions", &wrong, "")).await;
    refused.expect_refusal(401, "invalid_credentials");
    let denied = record(&rig, "denial", "refused").await;
    assert_eq!(
        (&denied["code"], &denied["request_id"], denied.get("subject")),
        (&json!("invalid_credentials"), &json!(id_of(&refused)), None)
    );
    ask(&rig, "alice", "GET", "/livy/sessions?doAs=bob")
        .await
        .expect_refusal(403, "impersonation_refused");
    assert_eq!(record(&rig, "denial", "refused").await["rule"], "bob");
    ask(&rig, "bob", "GET", "/livy/sessions/17/log")
        .await
        .expect_status(404);
    let denied = record(&rig, "denial", "refused").await;
    assert_eq!(
        (
            &denied["code"],
            &denied["id"],
            &denied["subject"],
            &denied["operation"]
        ),
        (
            &json!("not_found"),
            &json!(17),
            &json!("basic:bob"),
            &json!("session_log")
        )
    );
    // What strangers can cause without end is in the log alone.
    let before = records(&rig.stage).len();
    rig.ask(request("GET", "/livy/sessions", "", ""))
        .await
        .expect_refusal(401, "missing_credentials");
    ask(&rig, "alice", "GET", "/livy/nothing")
        .await
        .expect_refusal(404, "unknown_operation");
    rig.app().shared().audit.flush();
    assert_eq!(records(&rig.stage).len(), before);
    let text = fs::read_to_string(rig.stage.path("audit.jsonl")).unwrap();
    for hidden in ["value-of-hers", "not-her-password"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
}

#[tokio::test]
async fn what_a_role_was_used_for_names_both() {
    let rig = Setup::new()
        .rest(&format!("{AUDIT}[roles]\noperator = [\"user:bob\"]\n"))
        .start()
        .await;
    rig.ask(&post("/livy/sessions", SESSION)).await.expect_status(201);
    let read = ask(&rig, "bob", "GET", "/livy/sessions/0/log").await;
    read.expect_status(200);
    let used = record(&rig, "role", "allowed").await;
    assert_eq!(
        (
            &used["subject"],
            &used["livy_user"],
            &used["role"],
            &used["operation"]
        ),
        (
            &json!("basic:bob"),
            &json!("alice"),
            &json!("operator"),
            &json!("session_log")
        )
    );
    assert_eq!(
        (&used["id"], &used["request_id"]),
        (&json!(0), &json!(id_of(&read)))
    );
    ask(&rig, "bob", "DELETE", "/livy/sessions/0")
        .await
        .expect_status(200);
    let deleted = record(&rig, "deletion", "done").await;
    assert_eq!(
        (&deleted["subject"], &deleted["livy_user"], &deleted["role"]),
        (&json!("basic:bob"), &json!("alice"), &json!("operator"))
    );
    let roles = records(&rig.stage);
    let roles = roles.iter().filter(|record| record["event"] == "role").count();
    assert_eq!(roles, 1, "a deletion is told once, and one's own are none of it");
}

#[tokio::test]
async fn what_livy_refuses_what_is_in_doubt_and_what_the_lists_lead_to_is_told() {
    let rig = Setup::new()
        .rest(&format!(
            "{AUDIT}[state]\nstore = \"memory\"\nreconcile = \"1s\"\n"
        ))
        .start()
        .await;
    rig.livy().fault(Fault::ghost().on("POST", "/batches"));
    let batch = post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#);
    rig.ask(&batch).await.expect_status(400);
    let failed = record(&rig, "creation", "failed").await;
    assert_eq!(failed["why"], "Livy answered 400");
    let ghost = record(&rig, "ghost", "done").await;
    assert_eq!(
        (&ghost["kind"], &ghost["marker"]),
        (&json!("batch"), &failed["marker"])
    );

    rig.livy().plant(Kind::Session, Some("around"), None, Some("bob"));
    let adopted = record(&rig, "adoption", "done").await;
    assert_eq!(
        (&adopted["livy_user"], &adopted["name"], &adopted["id"]),
        (&json!("bob"), &json!("around"), &json!(0))
    );
    assert_eq!((adopted.get("subject"), adopted.get("peer")), (None, None));
    rig.livy().restart();
    let freed = record(&rig, "freed", "done").await;
    assert_eq!(
        (&freed["name"], &freed["id"], &freed["livy_user"]),
        (&json!("around"), &json!(0), &json!("bob"))
    );
    assert_eq!(freed["why"], "two of Livy's lists in a row did not show it");

    rig.livy()
        .fault(Fault::act_after_disconnect().on("POST", "/sessions"));
    let lost = rig.ask(&post("/livy/sessions", SESSION)).await;
    lost.expect_refusal(409, "outcome_unknown");
    let doubt = record(&rig, "creation", "in_doubt").await;
    assert_eq!(doubt["request_id"], id_of(&lost));
}

#[tokio::test]
async fn livy_caught_running_a_session_as_somebody_else_is_told() {
    let rig = Setup::new()
        .livy(fake_livy::FakeLivy::builder().impersonation(false))
        .rest(AUDIT)
        .start()
        .await;
    let refused = rig.ask(&post("/livy/sessions", SESSION)).await;
    refused.expect_refusal(503, "impersonation_off");
    let caught = record(&rig, "impersonation", "done").await;
    assert_eq!(
        (&caught["request_id"], &caught["livy_user"]),
        (&json!(id_of(&refused)), &json!("alice"))
    );
    assert_eq!(caught["why"], "it runs as the wrong user");
}

#[tokio::test]
async fn the_file_is_begun_anew_on_sighup_and_the_log_has_the_same_records() {
    let state = "[state]\ndirectory = \"state\"\n";
    let (stage, mut process) = Setup::new().rest(&format!("{AUDIT}{state}")).spawn().await;
    let mut client = Client::connect(process.address).await;
    client.send(post("/livy/sessions", SESSION)).await;
    let created = client.reply().await;
    created.expect_status(201);
    let logged = process.logs("\"decision\":\"done\"").await;
    let logged: Value = serde_json::from_str(&logged).unwrap();
    assert_eq!(
        (&logged["target"], &logged["event"], &logged["request_id"]),
        (&json!("audit"), &json!("creation"), &json!(id_of(&created)))
    );
    eventually("both records are there", async || records(&stage).len() == 2).await;
    fs::rename(stage.path("audit.jsonl"), stage.path("audit.jsonl.1")).unwrap();
    process.signal("HUP").await;
    process.logs("the audit file was opened again").await;
    eventually("the reload is in the new one", async || {
        find(&records(&stage), "reload", "done").is_some()
    })
    .await;
    assert_eq!(
        find(&records(&stage), "reload", "done").unwrap()["subject"],
        "SIGHUP"
    );
    let old = fs::read_to_string(stage.path("audit.jsonl.1")).unwrap();
    assert_eq!(old.lines().count(), 2);

    let release = tokio::process::Command::new(crate::rig::program())
        .args(["release", "--config"])
        .arg(stage.config())
        .arg("0")
        .output()
        .await
        .unwrap();
    assert_eq!(release.status.code(), Some(1));
    eventually("a release is told, refused as it is", async || {
        find(&records(&stage), "release", "refused").is_some()
    })
    .await;
    let refused = find(&records(&stage), "release", "refused").unwrap();
    assert!(
        refused["subject"].as_str().unwrap().starts_with("uid:"),
        "{refused}"
    );
    stage.write("gateway.toml", "[listen\n");
    process.signal("HUP").await;
    eventually("a refused reload is told", async || {
        find(&records(&stage), "reload", "refused").is_some()
    })
    .await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_stops_the_start_and_says_which_key_it_is() {
    // Whoever makes the folder may write there, so what is in the way is a folder in the place of the file.
    let stage = Setup::new().rest(AUDIT).stage().await;
    fs::create_dir(stage.path("audit.jsonl")).unwrap();
    let output = tokio::process::Command::new(crate::rig::program())
        .args(["serve", "--config"])
        .arg(stage.config())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("log.audit_file") && said.contains("is a folder"),
        "{said}"
    );
}

#[tokio::test]
async fn while_the_disk_is_full_requests_go_on_and_the_loss_is_announced_and_counted() {
    let full = "[log]\naudit_file = \"/dev/full\"\n";
    let (stage, mut process) = Setup::new().rest(full).spawn().await;
    let mut client = Client::connect(process.address).await;
    for _ in 0..3 {
        client.send(post("/livy/sessions", "{}")).await;
        client.reply().await.expect_status(201);
    }
    assert_eq!(stage.livy.sessions().len(), 3);
    let told = process.logs("the audit file cannot be written").await;
    assert!(
        told.contains("/dev/full") && told.contains("\"level\":\"ERROR\""),
        "{told}"
    );
    eventually("each is counted", async || {
        let mut admin = Client::connect(process.admin).await;
        admin.send("GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").await;
        let text = admin.reply().await.text();
        let value = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .to_owned();
            line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
        };
        value("livy_gateway_audit_lines_lost_total") == 6 && value("livy_gateway_audit_records_total") == 6
    })
    .await;
}
