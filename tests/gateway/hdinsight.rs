//! In HDInsight's place with the file that is shipped for it.

use rustls::version::TLS13;

use crate::rig::{Client, Reply, Rig, Setup, certificate, plain, post};
use crate::tls::trusting;

const SHIPPED: &str = include_str!("../../config/hdinsight.toml");

/// The shipped file; only where things are is put in.
async fn in_hdinsights_place() -> (Rig, String) {
    let (chain, key, authority) = certificate();
    let setup = Setup::new().file("tls.crt", &chain).file("tls.key", &key);
    let stage = setup.stage().await;
    let mut text = SHIPPED.to_owned();
    for (shipped, here) in [
        ("0.0.0.0:443", "127.0.0.1:0"),
        ("http://127.0.0.1:8998", stage.livy.url().as_str()),
        ("users.htpasswd\"  ", "users\"  "),
    ] {
        assert_eq!(text.matches(shipped).count(), 1, "{shipped}");
        text = text.replace(shipped, here);
    }
    text.push_str("[admin]\naddress = \"127.0.0.1:0\"\n[state]\ndirectory = \"state\"\n");
    stage.write("gateway.toml", &text);
    (stage.start(), authority)
}

async fn ask(rig: &Rig, authority: &str, request: &str) -> Reply {
    let config = trusting(authority, &[&TLS13], &["http/1.1"]);
    let mut client = Client::connect_tls(rig.address(), config).await.unwrap();
    client.send(request).await;
    client.reply().await
}

/// The first example of "Create a new interactive session", as it is published.
const FIRST_EXAMPLE: &str = r#"{
  "kind": "pyspark", "proxyUser": "alice",
  "jars": ["wasb:///example/jars/a.jar"], "pyFiles": [], "files": ["wasbs://store@account.blob.core.windows.net/b"],
  "archives": [],
  "driverMemory": "1G", "driverCores": 2,
  "executorMemory": "1G", "executorCores": 10, "numExecutors": 10 }"#;
const WALK_THROUGH: &str = r#"{"file":"wasb:///example/jars/SparkSimpleTest.jar","className":"com.microsoft.spark.test.SimpleFile"}"#;

#[tokio::test]
async fn the_published_examples_are_let_through_and_a_second_large_session_is_told_why_not() {
    let (rig, authority) = in_hdinsights_place().await;
    let made = ask(&rig, &authority, &post("/livy/sessions", FIRST_EXAMPLE)).await;
    made.expect_status(201);
    assert_eq!(made.header("location"), Some("/livy/sessions/0"));
    let received = rig.livy().last().json();
    assert_eq!(received["jars"][0], "wasb:///example/jars/a.jar");
    assert_eq!(
        (
            received["executorCores"].as_i64(),
            received["numExecutors"].as_i64()
        ),
        (Some(10), Some(10))
    );
    let made = ask(&rig, &authority, &post("/livy/batches", WALK_THROUGH)).await;
    made.expect_status(201);
    let more = ask(&rig, &authority, &post("/livy/sessions", FIRST_EXAMPLE)).await;
    more.expect_refusal(429, "quota_exceeded");
    assert!(
        more.text()
            .contains("alice holds 102 of 128 cores (sessions 0) and this asks for 102 more."),
        "{}",
        more.text()
    );
    for path in ["/livy/sessions/0", "/livy/batches/0"] {
        ask(&rig, &authority, &plain("DELETE", path))
            .await
            .expect_status(200);
    }
}
