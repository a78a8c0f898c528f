//! Livy ends and comes back while the gateway stays.

use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, Livy, Reply, Spark, eventually, releases};

#[tokio::test(flavor = "multi_thread")]
async fn livy_may_be_restarted_under_a_running_gateway() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let alice = gateway.as_user("alice");
        alice.get("/version").await.expect(200);
        let session = alice.post("/sessions", json!({ "kind": "pyspark" })).await;
        let statements = format!("/sessions/{}/statements", session.expect(201).json()["id"]);

        livy.stop();
        let unreachable = |reply: Reply| {
            let denial = reply.clone().expect(503).json();
            assert_eq!(denial["code"], "upstream_unreachable", "{denial}");
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
        };
        // Nothing of it can have reached Livy, so this is no 409. It is no creation: that one is refused sooner when
        // Livy took so long to stop that its list is too old.
        unreachable(alice.post(&statements, json!({ "code": "1" })).await);
        let soon = Duration::from_secs(10);
        let listed = eventually("the last list is too old to be shown", soon, async || {
            let reply = alice.get("/sessions").await;
            (reply.status != 200).then_some(reply)
        });
        unreachable(listed.await);

        livy.start_again();
        // Kept connections are dead now; nobody notices.
        alice.get("/version").await.expect(200);
        eventually("the list is there again", soon, async || {
            let reply = alice.get("/sessions").await;
            (reply.status == 200).then_some(())
        })
        .await;
        let created = alice.post("/sessions", json!({ "kind": "pyspark" })).await;
        assert_eq!(created.expect(201).json()["proxyUser"], "alice");
    }
}
