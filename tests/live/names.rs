//! Livy takes a session's name wherever it takes its id.

use serde_json::json;

use crate::support::{Content, Gateway, Livy, Spark, releases};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_the_id_in_every_path() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let alice = gateway.as_user("alice");
        let created = alice
            .post("/sessions", json!({ "kind": "pyspark", "name": "nightly" }))
            .await
            .expect(201);
        alice.until_state("/sessions/nightly", "idle").await;

        let by_name = alice.get("/sessions/nightly").await.expect(200).json();
        assert_eq!(by_name["id"], created.id());
        let path = "/sessions/nightly/statements";
        alice.post(path, json!({ "code": "6 * 7" })).await.expect(201);
        let done = alice.until_state(&format!("{path}/0"), "available").await;
        assert_eq!(done["output"]["data"]["text/plain"], "42");
        for (method, path) in [
            ("GET", "/sessions/nightly/log"),
            ("GET", "/sessions/nightly/statements"),
            ("POST", "/sessions/nightly/statements/0/cancel"),
            ("POST", "/sessions/nightly/connect"),
        ] {
            alice.ask(method, path, Content::None).await.expect(200);
        }
        let missing = alice.get("/sessions/nightly-2").await.expect(404).json();
        assert_eq!(missing, json!({ "msg": "Session 'nightly-2' not found." }));
        let deleted = alice.delete("/sessions/nightly").await.expect(200).json();
        assert_eq!(deleted, json!({ "msg": "deleted" }));
        alice.get("/sessions/nightly").await.expect(404);

        let file = livy.put_file("job.py", "print('done')\n");
        alice
            .post("/batches", json!({ "file": file, "name": "nightly" }))
            .await
            .expect(201);
        alice.until_state("/batches/nightly", "success").await;
        alice.delete("/batches/nightly").await.expect(200);
    }
}
