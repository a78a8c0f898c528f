//! Alice and bob on one real Livy: what is alice's is not there for bob, and a quota is a quota.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Caller, Content, Gateway, Livy, Spark, eventually, releases};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_alices_is_not_there_for_bob() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let (alice, bob) = (gateway.as_user("alice"), gateway.as_user("bob"));
        let nightly = json!({ "kind": "pyspark", "name": "nightly" });
        let created = alice.post("/sessions", nightly.clone()).await.expect(201);
        assert_eq!(created.json()["name"], "nightly");
        let path = format!("/sessions/{}", created.id());
        alice.until_state(&path, "idle").await;
        alice
            .post(&format!("{path}/statements"), json!({ "code": "6 * 7" }))
            .await
            .expect(201);

        // Only alice's list has it, under her name for it.
        let list = alice.get("/sessions").await.expect(200).json();
        assert_eq!(
            (&list["total"], &list["sessions"][0]["name"]),
            (&json!(1), &json!("nightly"))
        );
        let list = bob.get("/sessions").await.expect(200).json();
        assert_eq!(list, json!({ "from": 0, "total": 0, "sessions": [] }));

        // By number, by name, and by the name that Livy knows, bob gets what he gets for what nobody has.
        let at_livy = livy.direct().get("/sessions").await.expect(200).json();
        let marker = at_livy["sessions"][0]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        assert_ne!(marker, "nightly");
        for key in [created.id().to_string(), "nightly".to_owned(), marker] {
            for (method, rest, body) in STATEMENTS_AND_ALL {
                let content = || body.map_or(Content::None, |text| Content::Json(parsed(text)));
                let foreign = bob
                    .ask(method, &format!("/sessions/{key}{rest}"), content())
                    .await;
                let missing = bob.ask(method, &format!("/sessions/999{rest}"), content()).await;
                let (foreign, missing) = (foreign.expect(404), missing.expect(404));
                let words = String::from_utf8_lossy(&missing.body).replace("999", &key);
                assert_eq!(
                    String::from_utf8_lossy(&foreign.body),
                    words,
                    "{method} {key}{rest}"
                );
            }
        }
        alice.get(&format!("{path}/state")).await.expect(200);
        let statements = alice.get(&format!("{path}/statements")).await.expect(200).json();
        assert_eq!(
            statements["statements"].as_array().map(Vec::len),
            Some(1),
            "{statements}"
        );

        // The name is bob's to use as well.
        let same = bob.post("/sessions", nightly.clone()).await.expect(201);
        assert_eq!(same.json()["name"], "nightly");
        assert_ne!(same.id(), created.id());
        bob.delete("/sessions/nightly").await.expect(200);
        alice.get("/sessions/nightly").await.expect(200);

        // What alice creates around the gateway is hers too.
        let around = json!({ "kind": "pyspark", "proxyUser": "alice" });
        let around = livy.direct().post("/sessions", around).await.expect(201).id();
        let hers = format!("/sessions/{around}/state");
        eventually(
            "what was created around the gateway is alice's",
            SOON,
            async || (alice.get(&hers).await.status == 200).then_some(()),
        )
        .await;
        bob.get(&hers).await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_a_stranger_after_livy_counts_from_0_again() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let (alice, bob) = (gateway.as_user("alice"), gateway.as_user("bob"));
        let nightly = json!({ "kind": "pyspark", "name": "nightly" });
        let first = alice.post("/sessions", nightly).await.expect(201).id();
        alice.until_state("/sessions/nightly", "idle").await;
        livy.stop();
        livy.start_again();

        let created = eventually("bob has a session", SOON, async || {
            let reply = bob.post("/sessions", json!({ "kind": "pyspark" })).await;
            (reply.status == 201).then_some(reply)
        });
        let second = created.await.id();
        assert_eq!(second, first, "Livy counts from 0 again");
        for path in [format!("/sessions/{first}"), "/sessions/nightly".to_owned()] {
            alice.get(&path).await.expect(404);
            let code = json!({ "code": "1" });
            alice.post(&format!("{path}/statements"), code).await.expect(404);
            alice.delete(&path).await.expect(404);
        }
        bob.get(&format!("/sessions/{second}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_creations_at_once_get_the_six_places_that_there_are() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let mut racing = JoinSet::new();
        for _ in 0..10 {
            let bob = gateway.as_user("bob");
            racing.spawn(async move { bob.post("/sessions", json!({ "kind": "pyspark" })).await });
        }
        let replies = racing.join_all().await;
        let with = |status| replies.iter().filter(|reply| reply.status == status).count();
        assert_eq!((with(201), with(429)), (6, 4), "{replies:?}");
        let refused = replies
            .iter()
            .find(|reply| reply.status == 429)
            .expect("a refusal");
        assert_eq!(refused.json()["code"], "quota_exceeded");
        assert_eq!(live(&livy.direct()).await, 6);

        let bob = gateway.as_user("bob");
        let list = bob.get("/sessions").await.expect(200).json();
        let id = &list["sessions"][0]["id"];
        bob.delete(&format!("/sessions/{id}")).await.expect(200);
        // Ten a minute are spent already; the eleventh waits for its turn.
        let create = async || {
            eventually("bob may ask again", Duration::from_secs(30), async || {
                let reply = bob.post("/sessions", json!({ "kind": "pyspark" })).await;
                (reply.status != 429 || reply.json()["code"] != "rate_limited").then_some(reply)
            })
            .await
        };
        create().await.expect(201);
        assert_eq!(create().await.expect(429).json()["code"], "quota_exceeded");
    }
}

/// How many sessions Livy holds, whosever.
async fn live(direct: &Caller) -> u64 {
    let list = direct.get("/sessions").await.expect(200).json();
    list["total"].as_u64().expect("a total")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What can be done to a session: method, path behind it, body.
const STATEMENTS_AND_ALL: [(&str, &str, Option<&str>); 12] = [
    ("GET", "", None),
    ("GET", "/state", None),
    ("GET", "/log", None),
    ("GET", "/statements", None),
    ("GET", "/statements/0", None),
    ("POST", "/statements", Some(r#"{"code":"open('/tmp/x')"}"#)),
    ("POST", "/statements/0/cancel", None),
    (
        "POST",
        "/completion",
        Some(r#"{"code":"o","kind":"pyspark","cursor":1}"#),
    ),
    ("POST", "/interrupt", None),
    ("POST", "/connect", None),
    ("POST", "/submit-job", Some(r#"{"job":"AA=="}"#)),
    ("DELETE", "", None),
];

/// A list, twice over.
const SOON: Duration = Duration::from_secs(40);
