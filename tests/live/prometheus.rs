//! A real Prometheus scrapes the running gateway, runs every query of the dashboard and raises the alerts.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use fake_livy::{FakeLivy, Fault, Kind};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Caller, Gateway, Livy, Prometheus, Spark, eventually, observability, releases};

/// Whatever Livy is behind it, and with tables of its own.
async fn gateway(url: &str, tables: &str) -> Gateway {
    Gateway::start_before(url, tables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_work_fills_the_dashboard_and_raises_no_alert() {
    let release = releases().into_iter().next().expect("Livy 0.7.1");
    let livy = Livy::start(&release, Spark::Fake).await;
    let gateway = gateway(
        &livy.url(),
        "[[quota.for]]\neverybody = true\nsessions = 50\n[log]\naudit_file = \"audit.jsonl\"\n",
    )
    .await;
    let prometheus = Prometheus::start(&[gateway.admin_port()]).await;
    let (alice, bob) = (gateway.as_user("alice"), gateway.as_user("bob"));
    let work = async {
        loop {
            tokio::join!(day_of(&alice), day_of(&bob));
        }
    };
    let scrapes = async {
        // Each second of it, what is scraped is valid.
        for _ in 0..20 {
            let scrape = gateway.metrics().await;
            promtool(&["check", "metrics"], &scrape);
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = scrapes => {}
        () = work => {}
    }
    let wrong = gateway.anonymous().with_basic("alice", "mistyped");
    wrong.get("/sessions").await.expect(401);
    gateway.anonymous().get("/sessions").await.expect(401);
    gateway.as_user("bob").get("/sessions/9999").await.expect(404);
    sleep(Duration::from_secs(5)).await;
    let scrape = gateway.file("scrape");
    std::fs::write(&scrape, gateway.metrics().await).expect("a file for the scrape");
    check(&["names", &scrape.display().to_string()]);
    check(&["queries", &prometheus.url()]);
    assert_eq!(prometheus.firing().await, Vec::<String>::new());
    let asked = prometheus
        .query("sum by (user) (livy_gateway_user_requests_total)")
        .await;
    let users: Vec<_> = asked
        .iter()
        .filter_map(|row| row["metric"]["user"].as_str())
        .collect();
    assert!(users.contains(&"alice") && users.contains(&"bob"), "{users:?}");
}

/// A session with a statement, and a batch, at a notebook's pace.
async fn day_of(caller: &Caller) {
    let created = caller
        .post("/sessions", json!({ "kind": "pyspark" }))
        .await
        .expect(201);
    let session = format!("/sessions/{}", created.id());
    caller.until_state(&session, "idle").await;
    let statements = format!("{session}/statements");
    caller
        .post(&statements, json!({ "code": "6 * 7" }))
        .await
        .expect(201);
    caller.until_state(&format!("{statements}/0"), "available").await;
    for _ in 0..5 {
        caller.get("/sessions").await.expect(200);
        sleep(Duration::from_millis(500)).await;
    }
    caller.delete(&session).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_that_can_be_made_here_raises_its_alert() {
    // One gateway for each trouble, with the same Prometheus.
    let gone = FakeLivy::builder().impersonation(true).start().await;
    let unreachable = gateway(&gone.url(), "").await;
    let strict = FakeLivy::builder().impersonation(true).start().await;
    let refused_login = gateway(&strict.url(), "").await;
    let careless = FakeLivy::builder().start().await;
    let not_impersonating = gateway(&careless.url(), "").await;
    let shared = FakeLivy::builder().impersonation(true).start().await;
    let busy = gateway(
        &shared.url(),
        "[[quota.for]]\neverybody = true\nsessions = 1\n\
         [limits]\nread = { rate = \"1/s\", burst = 5, delay = \"0s\" }\n\
         [[limits.for]]\neverybody = true\nupload = { rate = \"1/h\", burst = 1 }\n\
         [log]\naudit_file = \"/dev/full\"\n",
    )
    .await;
    let slow = FakeLivy::builder().impersonation(true).start().await;
    let stuck = Gateway::start_before_with(&slow.url(), "requests_at_once = 2", "").await;
    let mut ended = gateway(&shared.url(), "").await;
    let gateways = [
        &unreachable,
        &refused_login,
        &not_impersonating,
        &busy,
        &stuck,
        &ended,
    ];
    let ports: Vec<_> = gateways.iter().map(|gateway| gateway.admin_port()).collect();
    let prometheus = Prometheus::start(&ports).await;
    let all = json!(gateways.len().to_string());
    eventually(
        "all are scraped, and nothing fires",
        Duration::from_secs(30),
        async || {
            let up = prometheus.query("count(up == 1)").await;
            let are_up = up.first().is_some_and(|row| row["value"][1] == all);
            (are_up && prometheus.firing().await.is_empty()).then_some(())
        },
    )
    .await;

    gone.stop();
    strict.fault(Fault::unauthorized("Negotiate").always());
    slow.fault(Fault::hold_answer().on("GET", "/version").always());
    let busy_file = busy.file("gateway.toml");
    let good = std::fs::read_to_string(&busy_file).expect("its configuration");
    std::fs::write(&busy_file, format!("{good}\n[nonsense]\n")).expect("its configuration");
    assert_eq!(ended.end().await, Some(0));
    busy.as_user("bob").post("/sessions", json!({})).await.expect(201);
    not_impersonating
        .as_user("alice")
        .post("/sessions", json!({}))
        .await
        .expect(503);
    // A marker that another gateway gave.
    shared.plant(
        Kind::Session,
        Some("etl-gw2b4xaxw3nqy5k7ozwkp4zcl3hj6ua"),
        Some("alice"),
        Some("alice"),
    );
    let expected = [
        "LivyGatewayAuditLinesLost",
        "LivyGatewayConfigRefused",
        "LivyGatewayDown",
        "LivyGatewayImpersonationOff",
        "LivyGatewayLivyLoginFailed",
        "LivyGatewayLivyUnreachable",
        "LivyGatewayLoginFailures",
        "LivyGatewayOverloaded",
        "LivyGatewayPotNearlyFull",
        "LivyGatewayUserRefusedALot",
    ];
    let mut missing = Vec::new();
    for _ in 0..90 {
        let wrong = busy.anonymous().with_basic("nobody", "wrong");
        for _ in 0..10 {
            unreachable.as_user("alice").get("/version").await;
            refused_login.as_user("alice").get("/version").await;
            busy.as_user("alice").get("/version").await;
            wrong.get("/version").await;
            stuck.as_user("alice").get_impatiently("/version").await;
        }
        let firing = prometheus.firing().await;
        missing = expected
            .iter()
            .filter(|alert| !firing.contains(&(**alert).to_owned()))
            .collect();
        if missing.is_empty() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(missing.is_empty(), "these do not fire: {missing:?}");
}

/// `deploy/observability/check`
fn check(arguments: &[&str]) {
    let done = Command::new(observability().join("check"))
        .args(arguments)
        .output()
        .expect("Python 3");
    assert!(
        done.status.success(),
        "check {arguments:?}: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

fn promtool(arguments: &[&str], input: &str) {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: `make live` does that");
    let mut stdin = tool.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let done = tool.wait_with_output().expect("it ends");
    assert!(
        done.status.success(),
        "promtool {arguments:?}: {}{}\n{input}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}
