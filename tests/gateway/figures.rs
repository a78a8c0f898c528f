//! The metrics of what is held, refused and found out, scraped from the real program.

use fake_livy::{Fault, Kind};
use livy_gateway::telemetry::metrics as names;

use crate::rig::{Client, Process, Reply, Setup, eventually, post};

const SESSION: &str = r#"{"kind":"spark","name":"name-of-alices"}"#;

async fn scrape(process: &Process) -> String {
    let mut client = Client::connect(process.admin).await;
    client.send("GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").await;
    client.reply().await.expect_status(200).text()
}

/// The value of a series, written as Prometheus writes it; nothing if it is not there.
async fn value(process: &Process, series: &str) -> Option<f64> {
    let text = scrape(process).await;
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

async fn is(process: &Process, series: &str, expected: f64) {
    eventually(&format!("{series} is {expected}"), async || {
        value(process, series).await == Some(expected)
    })
    .await;
}

async fn ask(process: &Process, request: &str) -> Reply {
    let mut client = Client::connect(process.address).await;
    client.send(request).await;
    client.reply().await
}

#[tokio::test]
async fn a_scrape_shows_what_is_held_refused_and_found_out_and_nobodys_name() {
    let (stage, process) = Setup::new()
        .admin("top_users = 0")
        .rest("[quota]\nsessions = 1\n[[quota.for]]\ngroup = \"etl\"\ncores = 40\n[state]\nstore = \"memory\"\nreconcile = \"1s\"\n")
        .spawn()
        .await;
    is(&process, "livy_gateway_ledger_available", 1.0).await;
    for zero in [
        "livy_gateway_places{kind=\"batch\",standing=\"in_doubt\"}",
        "livy_gateway_quota_refusals_total{dimension=\"memory\",scope=\"everybody\"}",
        "livy_gateway_places_freed_total{reason=\"doubt_over\"}",
        "livy_gateway_adopted_total{creator=\"another_gateway\"}",
        "livy_gateway_ghosts_total{reason=\"untold\",outcome=\"deleted\"}",
        "livy_gateway_livy_restarts_total{kind=\"batch\"}",
        "livy_gateway_audit_lines_lost_total",
    ] {
        assert_eq!(value(&process, zero).await, Some(0.0), "{zero}");
    }

    for (series, limit) in [
        (
            "livy_gateway_quota_limit{scope=\"user\",dimension=\"sessions\"}",
            1.0,
        ),
        (
            "livy_gateway_quota_limit{scope=\"group etl\",dimension=\"cores\"}",
            40.0,
        ),
        (
            "livy_gateway_quota_limit{scope=\"group etl\",dimension=\"batches\"}",
            f64::INFINITY,
        ),
        (
            "livy_gateway_quota_limit{scope=\"everybody\",dimension=\"memory\"}",
            f64::INFINITY,
        ),
        (
            "livy_gateway_quota_held{scope=\"everybody\",dimension=\"sessions\"}",
            0.0,
        ),
        (
            "livy_gateway_quota_held{scope=\"group etl\",dimension=\"cores\"}",
            0.0,
        ),
    ] {
        assert_eq!(value(&process, series).await, Some(limit), "{series}");
    }

    ask(&process, &post("/livy/sessions", SESSION))
        .await
        .expect_status(201);
    is(
        &process,
        "livy_gateway_quota_held{scope=\"everybody\",dimension=\"sessions\"}",
        1.0,
    )
    .await;
    ask(&process, &post("/livy/sessions", r#"{"kind":"spark"}"#))
        .await
        .expect_refusal(429, "quota_exceeded");
    let owned = "livy_gateway_places{kind=\"session\",standing=\"owned\"}";
    is(&process, owned, 1.0).await;
    is(
        &process,
        "livy_gateway_quota_refusals_total{dimension=\"sessions\",scope=\"user\"}",
        1.0,
    )
    .await;

    stage
        .livy
        .plant(Kind::Session, Some("name-of-bobs"), None, Some("bob"));
    is(&process, "livy_gateway_adopted_total{creator=\"unknown\"}", 1.0).await;
    is(&process, owned, 2.0).await;
    let age = value(&process, "livy_gateway_list_age_seconds{kind=\"session\"}").await;
    assert!(age.is_some_and(|age| age < 60.0), "{age:?}");
    let looks = value(&process, "livy_gateway_reconcile_seconds_count{kind=\"session\"}").await;
    assert!(looks.is_some_and(|looks| looks >= 1.0), "{looks:?}");

    stage.livy.fault(Fault::ghost().on("POST", "/batches"));
    ask(&process, &post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#))
        .await
        .expect_status(400);
    is(
        &process,
        "livy_gateway_ghosts_total{reason=\"refused\",outcome=\"deleted\"}",
        1.0,
    )
    .await;

    stage
        .livy
        .fault(Fault::act_after_disconnect().on("POST", "/batches"));
    ask(&process, &post("/livy/batches", r#"{"file":"hdfs:///a.jar"}"#))
        .await
        .expect_refusal(409, "outcome_unknown");
    is(
        &process,
        "livy_gateway_places{kind=\"batch\",standing=\"in_doubt\"}",
        1.0,
    )
    .await;

    // The number of alice's means another session now, and neither of the two is there any more.
    stage.livy.restart();
    stage.livy.plant(Kind::Session, None, None, None);
    is(
        &process,
        "livy_gateway_livy_restarts_total{kind=\"session\"}",
        1.0,
    )
    .await;
    is(
        &process,
        "livy_gateway_places_freed_total{reason=\"unlisted\"}",
        2.0,
    )
    .await;
    is(&process, owned, 1.0).await;

    let text = scrape(&process).await;
    for name in ["alice", "bob", "name-of", "-gw"] {
        assert!(!text.contains(name), "{name} is in\n{text}");
    }
    for name in [
        names::PLACES,
        names::QUOTA_REFUSALS,
        names::FREED,
        names::ADOPTED,
        names::GHOSTS,
        names::LIST_AGE,
        names::RECONCILE_SECONDS,
        names::LIVY_RESTARTS,
        names::LEDGER_AVAILABLE,
        names::AUDIT_LINES_LOST,
    ] {
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help:\n{text}"
        );
    }
}

#[tokio::test]
async fn the_age_of_the_list_grows_while_livy_gives_none() {
    let (stage, process) = Setup::new().spawn().await;
    let series = "livy_gateway_list_age_seconds{kind=\"session\"}";
    eventually("there is a list", async || {
        value(&process, "livy_gateway_reconcile_seconds_count{kind=\"session\"}")
            .await
            .is_some_and(|looks| looks >= 1.0)
    })
    .await;
    stage.livy.stop();
    let before = value(&process, series).await.unwrap();
    eventually("it grows", async || {
        value(&process, series).await.is_some_and(|age| age > before)
    })
    .await;
}
