//! Livys that are set up in other ways, rightly and wrongly.

use serde_json::{Value, json};

use crate::support::{Gateway, Livy, LivyLogin, Reply, Spark, releases};

/// A session through the gateway as alice.
async fn create(gateway: &Gateway) -> Reply {
    let alice = gateway.as_user("alice");
    alice.post("/sessions", json!({ "kind": "pyspark" })).await
}

async fn listed(livy: &Livy, query: &str) -> Vec<Value> {
    let list = livy.direct_query(query).get("/sessions").await.expect(200).json();
    list["sessions"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_livy_that_demands_x_requested_by_gets_it_from_the_gateway() {
    for release in releases() {
        let settings = [
            "--auth=pseudo",
            "--superuser=gw",
            "--impersonation",
            "--conf=livy.server.csrf-protection.enabled=true",
        ];
        let livy = Livy::start_with(&release, Spark::Fake, &settings).await;
        let gateway = Gateway::start(&livy).await;
        let body = json!({ "kind": "pyspark" });

        let bare = livy.direct_as("alice").without_requested_by();
        bare.post("/sessions", body.clone()).await.expect(400);
        let alice = gateway.as_user("alice").without_requested_by();
        let id = alice.post("/sessions", body).await.expect(201).id();
        alice.delete(&format!("/sessions/{id}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_livy_without_a_login_obeys_the_gateway_as_well() {
    for release in releases() {
        let livy = Livy::start_with(&release, Spark::Fake, &["--impersonation"]).await;
        let gateway = Gateway::start_with(&livy, LivyLogin::None, "").await;

        let created = create(&gateway).await.expect(201).json();

        assert_eq!(created["proxyUser"], "alice");
        let seen = listed(&livy, "").await;
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0]["proxyUser"], "alice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_livy_that_does_not_impersonate_is_found_out_and_its_session_deleted() {
    for release in releases() {
        let settings = ["--auth=pseudo", "--superuser=gw"];
        let livy = Livy::start_with(&release, Spark::Fake, &settings).await;
        let gateway = Gateway::start(&livy).await;

        let denial = create(&gateway).await.expect(503).json();

        assert_eq!(denial["code"], "impersonation_off", "{denial}");
        assert_eq!(listed(&livy, "user.name=gw").await, [] as [Value; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_told_what_to_set_where_livy_refuses_the_gateway() {
    for release in releases() {
        let settings = ["--auth=pseudo", "--superuser=somebody-else", "--impersonation"];
        let livy = Livy::start_with(&release, Spark::Fake, &settings).await;

        let unknown = Gateway::start_with(&livy, LivyLogin::None, "").await;
        assert_eq!(create(&unknown).await.json()["code"], "upstream_login_failed");
        let powerless = Gateway::start(&livy).await;
        assert_eq!(create(&powerless).await.json()["code"], "upstream_not_superuser");
        assert_eq!(listed(&livy, "user.name=gw").await, [] as [Value; 0]);
    }
}
