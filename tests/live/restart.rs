//! Livy ends and comes back while the gateway stays.

use serde_json::json;

use crate::support::{Gateway, Livy, Spark, releases};

#[tokio::test(flavor = "multi_thread")]
async fn livy_may_be_restarted_under_a_running_gateway() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let alice = gateway.as_user("alice");
        alice.get("/version").await.expect(200);

        livy.stop();
        for reply in [
            alice.get("/sessions").await,
            // Nothing of it can have reached Livy, so this is no 409.
            alice.post("/sessions", json!({ "kind": "pyspark" })).await,
        ] {
            let denial = reply.clone().expect(503).json();
            assert_eq!(denial["code"], "upstream_unreachable", "{denial}");
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
        }

        livy.start_again();
        // Kept connections are dead now; nobody notices.
        alice.get("/sessions").await.expect(200);
        let created = alice.post("/sessions", json!({ "kind": "pyspark" })).await;
        assert_eq!(created.expect(201).json()["proxyUser"], "alice");
    }
}
