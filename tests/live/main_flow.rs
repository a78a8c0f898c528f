//! What alice and bob do all day, on real Spark.

use serde_json::{Value, json};

use crate::support::{Gateway, Livy, Reply, Spark, releases};

/// Livy's own list of what it holds, for whom.
async fn held(livy: &Livy, kind: &str) -> Vec<(String, String)> {
    let list = livy.direct().get(kind).await.expect(200).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = list["sessions"].as_array().expect("a list");
    rows.iter()
        .map(|row| (text(&row["owner"]), text(&row["proxyUser"])))
        .collect()
}

#[track_caller]
fn refused_naming_both(reply: Reply) {
    let denial = reply.expect(403).json();
    assert_eq!(denial["code"], "impersonation_refused");
    let words = denial["msg"].as_str().expect("a sentence");
    assert!(words.contains("alice") && words.contains("bob"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_computes_for_the_mapped_users_and_for_nobody_else() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Real).await;
        let mut gateway = Gateway::start(&livy).await;
        let (alice, bob) = (gateway.as_user("alice"), gateway.as_user("bob"));

        // Alice computes, and Spark itself says for whom.
        let created = alice
            .post("/sessions", json!({ "kind": "pyspark" }))
            .await
            .expect(201);
        let path = format!("/sessions/{}", created.id());
        assert_eq!(created.json()["proxyUser"], "alice");
        assert_eq!(created.header("location"), Some(format!("/livy{path}").as_str()));
        alice.until_state(&path, "idle").await;
        let code = "(spark.range(1000).selectExpr('sum(id)').first()[0], sc.sparkUser())";
        let statement = alice
            .post(&format!("{path}/statements"), json!({ "code": code }))
            .await
            .expect(201);
        let done = alice
            .until_state(&format!("{path}/statements/{}", statement.id()), "available")
            .await;
        assert_eq!(
            done["output"]["data"]["text/plain"], "(499500, 'alice')",
            "{done}"
        );

        // The same with a token, as Bearer and as the password of a client that knows no other way.
        let token = gateway.token("alice");
        for caller in [
            gateway.anonymous().with_bearer(&token),
            gateway.anonymous().with_basic("alice", &token),
        ] {
            let seen = caller.get(&format!("{path}/state")).await.expect(200).json();
            assert_eq!(seen["state"], "idle");
        }
        gateway
            .anonymous()
            .with_basic("bob", &token)
            .get("/sessions")
            .await
            .expect(401);

        // Bob may not be alice, and nothing of his attempts reaches Livy.
        refused_naming_both(
            bob.post("/sessions?doAs=alice", json!({ "kind": "pyspark" }))
                .await,
        );
        refused_naming_both(
            bob.post("/sessions", json!({ "kind": "pyspark", "proxyUser": "alice" }))
                .await,
        );
        assert_eq!(held(&livy, "/sessions").await, [("gw".into(), "alice".into())]);
        alice.delete(&path).await.expect(200);

        // Bob's batch runs to its end, for bob.
        let file = livy.put_file("count.py", COUNT);
        let batch = bob
            .post("/batches", json!({ "file": file, "args": ["1000"] }))
            .await
            .expect(201);
        let path = format!("/batches/{}", batch.id());
        bob.until_state(&path, "success").await;
        let log = bob
            .get(&format!("{path}/log?from=0&size=1000"))
            .await
            .expect(200)
            .json();
        let lines = log["log"].as_array().expect("lines");
        assert!(lines.contains(&json!("counted 1000 in Spark as bob")), "{log}");
        assert_eq!(held(&livy, "/sessions").await, []);
        assert_eq!(held(&livy, "/batches").await, [("gw".into(), "bob".into())]);

        assert_eq!(gateway.end().await, Some(0), "SIGTERM ends it in order");
    }
}

/// The demo's batch.
const COUNT: &str = include_str!("../../deploy/demo/count.py");
