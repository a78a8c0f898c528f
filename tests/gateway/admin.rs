//! The operators' listener, of the real program.

use std::collections::BTreeSet;

use livy_gateway::denial::Denial;
use livy_gateway::livy::Topic;
use livy_gateway::livy::operation::Operation;
use livy_gateway::telemetry::metrics::{self as names, NO_OPERATION};

use crate::rig::{Client, PASSWORD, Process, Reply, Setup, basic_with, eventually, get, post};

async fn ask(process: &Process, method: &str, path: &str, headers: &str) -> Reply {
    let mut client = Client::connect(process.admin).await;
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\n{headers}\r\n"
        ))
        .await;
    if method == "HEAD" {
        client.reply_to_head().await
    } else {
        client.reply().await
    }
}

async fn look(process: &Process, path: &str) -> (u16, String) {
    let reply = ask(process, "GET", path, "").await;
    (reply.status, reply.text())
}

#[tokio::test]
async fn a_running_gateway_is_live_and_ready_whatever_livy_does() {
    let (stage, process) = Setup::new().spawn().await;
    for path in ["/live", "/ready", "/ready?livy"] {
        assert_eq!(look(&process, path).await.0, 200, "{path}");
    }
    assert_eq!(
        stage.livy.last().target,
        "/version",
        "the gateway asks as itself, for nobody"
    );
    stage.livy.stop();
    assert_eq!(look(&process, "/live").await.0, 200);
    assert_eq!(
        look(&process, "/ready").await.0,
        200,
        "a balancer must not take every replica out for Livy's fault"
    );
    let (status, text) = look(&process, "/ready?livy").await;
    assert_eq!(status, 503, "{text}");
    stage.livy.resume();
    eventually("Livy is seen again", async || {
        look(&process, "/ready?livy").await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn every_metric_has_its_help_and_only_labels_from_closed_sets() {
    let (_stage, process) = Setup::new().admin("top_users = 0").spawn().await;
    let mut client = Client::connect(process.address).await;
    for request in [
        get("/livy/version"),
        post("/livy/sessions", "{}"),
        get("/livy/sessions/evil-label-session"),
        get("/livy/evil-label-path"),
        format!(
            "GET /livy/version HTTP/1.1\r\nHost: gw\r\n{}\r\n",
            basic_with("evil-label-user", "evil-label-password")
        ),
        "EVIL-LABEL-METHOD /livy/sessions HTTP/1.1\r\nHost: gw\r\nUser-Agent: evil-label-agent\r\n\r\n"
            .to_owned(),
    ] {
        client.send(request).await;
        client.reply().await;
    }
    let reply = ask(&process, "GET", "/metrics", "").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("text/plain; version=0.0.4"))
    );
    let text = reply.text();
    for name in [
        names::REQUESTS,
        names::DENIALS,
        names::UPSTREAM_SECONDS,
        names::GATEWAY_SECONDS,
        names::CONNECTIONS,
        names::CONNECTIONS_TOTAL,
        names::UPSTREAM_CONNECTIONS,
        names::CREDENTIAL_CACHE,
        names::CREDENTIAL_CACHE_ENTRIES,
        names::HASHING_WAITING,
        names::HASHING_RUNNING,
        names::IMPERSONATION_OFF,
        names::CONFIG_OK,
        names::CONFIG_TIME,
        names::INSECURE_SETTINGS,
        names::LOG_LINES_LOST,
        names::AUDIT_LINES_LOST,
        names::BUILD_INFO,
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help:\n{text}"
        );
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name} has no value:\n{text}"
        );
    }
    for hidden in [
        "evil-label",
        "EVIL-LABEL",
        "alice",
        PASSWORD.0.as_str(),
        PASSWORD.1.as_str(),
    ] {
        assert!(
            !text.to_lowercase().contains(&hidden.to_lowercase()),
            "{hidden} is in\n{text}"
        );
    }
    let operations: BTreeSet<_> = Operation::one_of_each()
        .iter()
        .map(Operation::label)
        .chain(Topic::ALL.map(Topic::label))
        .chain([NO_OPERATION])
        .collect();
    assert_eq!(
        labels(&text, names::REQUESTS, "operation"),
        operations.iter().map(|label| (*label).to_owned()).collect()
    );
    let codes: BTreeSet<_> = Denial::samples()
        .iter()
        .map(|denial| denial.answer().code.to_owned())
        .collect();
    assert_eq!(labels(&text, names::DENIALS, "code"), codes);
    for value in [
        "livy_gateway_denials_total{code=\"unknown_operation\"} 1",
        "livy_gateway_denials_total{code=\"invalid_credentials\"} 1",
        "livy_gateway_requests_total{operation=\"create_session\",outcome=\"done\"} 1",
        "livy_gateway_connections 1",
        "livy_gateway_config_last_reload_successful 1",
    ] {
        assert!(text.contains(value), "{value} is not in\n{text}");
    }
}

/// The values that a label has.
fn labels(text: &str, name: &str, label: &str) -> BTreeSet<String> {
    let before = format!("{label}=\"");
    text.lines()
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .filter_map(|line| Some(line.split_once(&before)?.1.split_once('"')?.0.to_owned()))
        .collect()
}

#[tokio::test]
async fn connections_that_are_over_are_no_longer_counted() {
    let (_stage, process) = Setup::new().spawn().await;
    let mut client = Client::connect(process.address).await;
    client.send(get("/livy/version")).await;
    client.reply().await.expect_status(200);
    drop(client);
    eventually("none is open", async || {
        let text = look(&process, "/metrics").await.1;
        text.contains("livy_gateway_connections 0\n") && text.contains("livy_gateway_connections_total 1\n")
    })
    .await;
}

#[tokio::test]
async fn it_only_reads_and_knows_four_paths() {
    let (_stage, process) = Setup::new().spawn().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let reply = ask(&process, method, "/metrics", "").await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
    for path in [
        "/",
        "/nothing",
        "/live/",
        "/live?x",
        "/ready?",
        "/ready?other",
        "//live",
        "/livy/sessions",
    ] {
        assert_eq!(look(&process, path).await.0, 404, "{path}");
    }
    let head = ask(&process, "HEAD", "/live", "").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
}

#[tokio::test]
async fn with_a_token_nothing_is_told_to_those_who_do_not_bring_it() {
    let token = uuid::Uuid::now_v7().simple().to_string();
    let (_stage, process) = Setup::new()
        .admin("token = \"file:admin.token\"")
        .file("admin.token", &format!("{token}\n"))
        .spawn()
        .await;
    let wrong = format!("Authorization: Bearer {token}x\r\n");
    let prefix = format!("Authorization: Bearer {}\r\n", &token[..token.len() - 1]);
    let other = format!("Authorization: Basic {token}\r\n");
    for path in ["/live", "/ready", "/ready?livy", "/metrics", "/nothing"] {
        for headers in [
            "",
            wrong.as_str(),
            prefix.as_str(),
            other.as_str(),
            "Authorization: Bearer \r\n",
        ] {
            let reply = ask(&process, "GET", path, headers).await;
            assert_eq!(
                (reply.status, reply.header("www-authenticate")),
                (401, Some("Bearer realm=\"admin\""))
            );
            assert!(!reply.text().contains(&token));
        }
        let reply = ask(
            &process,
            "GET",
            path,
            &format!("Authorization: bearer {token}\r\n"),
        )
        .await;
        assert_eq!(
            reply.status,
            if path == "/nothing" { 404 } else { 200 },
            "{path}: a scheme's name has no case"
        );
    }
    assert!(
        !ask(
            &process,
            "GET",
            "/metrics",
            &format!("Authorization: Bearer {token}\r\n")
        )
        .await
        .text()
        .contains(&token)
    );
}
