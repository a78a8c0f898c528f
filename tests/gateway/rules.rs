//! What a creation may ask for: what the operator set reaches Livy, and what is refused does not.

use crate::rig::{Setup, post, without_marker};

const RULES: &str = r#"
[requests.conf]
also_deny = ["spark.speculation"]
default = { "spark.executor.memory" = "2g" }
force = { "spark.yarn.queue" = "users.${user}" }
max = { "spark.executor.instances" = 20 }
"#;

#[tokio::test]
async fn livy_gets_what_the_operator_sets_for_the_user_beside_what_the_client_asked() {
    let rig = Setup::new().rest(RULES).start().await;
    let body = r#"{"kind":"spark","numExecutors":2,"conf":{"livy.uri":"http://a:b@gw/","spark.a":1}}"#;
    rig.ask(&post("/livy/sessions", body)).await.expect_status(201);
    let sent: serde_json::Value = serde_json::from_str(&without_marker(&rig.livy().last())).unwrap();
    let expected = serde_json::json!({
        "kind": "spark",
        "name": "livy-session-gw",
        "numExecutors": 2,
        "conf": { "spark.a": 1, "spark.yarn.queue": "users.alice", "spark.executor.memory": "2g" },
        "proxyUser": "alice",
    });
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn what_a_rule_refuses_never_reaches_livy() {
    let rig = Setup::new().owned("alice", 1).rest(RULES).start().await;
    for (path, body, code) in [
        ("/livy/sessions", r#"{"queue":"users.bob"}"#, "conf_refused"),
        (
            "/livy/sessions",
            r#"{"conf":{"spark.speculation":true}}"#,
            "conf_refused",
        ),
        (
            "/livy/sessions",
            r#"{"conf":{"spark.jars.packages":"a:b:1"}}"#,
            "conf_refused",
        ),
        ("/livy/sessions", r#"{"numExecutors":21}"#, "conf_too_large"),
        ("/livy/batches", r#"{"file":"local:/x.py"}"#, "file_refused"),
        (
            "/livy/sessions/0/add-jar",
            r#"{"uri":"http://evil/x.jar"}"#,
            "file_refused",
        ),
    ] {
        rig.ask(&post(path, body)).await.expect_refusal(400, code);
    }
    assert!(rig.livy().requests().is_empty(), "{:?}", rig.livy().requests());
}
