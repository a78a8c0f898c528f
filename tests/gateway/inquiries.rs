//! What the gateway says about itself: `/gateway/me` and `/gateway/sessions`. Livy hears nothing of it.

use fake_livy::{Fault, Kind};
use serde_json::{Value, json};

use crate::rig::{Reply, Rig, Setup, basic, eventually, request};

const SESSION: &str = r#"{"kind":"spark"}"#;
const JSON: &str = "Content-Type: application/json\r\n";

async fn ask(rig: &Rig, user: &str, path: &str) -> Reply {
    rig.ask(request("GET", path, &basic(user), "")).await
}

async fn create(rig: &Rig, user: &str, path: &str, body: &str) -> Value {
    let headers = format!("{}{JSON}", basic(user));
    let reply = rig.ask(request("POST", path, &headers, body)).await;
    reply.expect_status(201).json()
}

#[tokio::test]
async fn everybody_learns_how_fast_they_may_ask() {
    let limits = "[[limits.for]]\nuser = \"bob\"\ncreate = { rate = \"60/min\", burst = 30 }\nconcurrent_requests = 7\n";
    let rig = Setup::new().default_limits().rest(limits).start().await;
    let alice = me(&rig, "alice").await;
    assert_eq!(
        alice["limits"],
        json!({
            "set_by": "default",
            "concurrent_requests": 64,
            "create": {"rate": "10/min", "burst": 10},
            "statement": {"rate": "300/min", "burst": 60},
            "read": {"rate": "20/s", "burst": 100, "delay_ms": 3000},
            "upload": {"rate": "30/min", "burst": 10},
        })
    );
    let bob = me(&rig, "bob").await;
    assert_eq!(
        (
            &bob["limits"]["set_by"],
            &bob["limits"]["create"],
            &bob["limits"]["concurrent_requests"]
        ),
        (
            &json!("user bob"),
            &json!({"rate": "60/min", "burst": 30}),
            &json!(7)
        )
    );
    assert_eq!(bob["limits"]["read"], alice["limits"]["read"]);
}

async fn me(rig: &Rig, user: &str) -> Value {
    ask(rig, user, "/livy/gateway/me").await.expect_status(200).json()
}

fn scope<'a>(me: &'a Value, scope: &str) -> &'a Value {
    let pots = me["quota"].as_array().unwrap();
    pots.iter()
        .find(|pot| pot["scope"] == scope)
        .unwrap_or(&Value::Null)
}

#[tokio::test]
async fn everybody_learns_who_they_are_what_they_hold_and_what_they_may_and_livy_hears_nothing() {
    let rig = Setup::new()
        .rest("[quota]\nsessions = 3\nmemory = \"100 GiB\"\n[roles]\nviewer = [\"user:bob\"]\n")
        .start()
        .await;
    let named = r#"{"kind":"spark","name":"etl","executorCores":2,"numExecutors":3}"#;
    create(&rig, "alice", "/livy/sessions", named).await;
    create(&rig, "alice", "/livy/batches", r#"{"file":"hdfs:///a.jar"}"#).await;
    create(&rig, "bob", "/livy/sessions", r#"{"name":"secret-of-bob"}"#).await;
    rig.livy().clear();

    let alice = me(&rig, "alice").await;
    assert_eq!(alice["subject"], "basic:alice");
    assert_eq!(alice["livy_user"], "alice");
    assert_eq!(
        (&alice["role"], &alice["groups"]),
        (&Value::Null, &json!([])),
        "{alice}"
    );
    let own = scope(&alice, "user");
    assert_eq!(own["sessions"], json!({"held": 1, "limit": 3}));
    assert_eq!(own["batches"], json!({"held": 1, "limit": 20}));
    assert_eq!(own["memory"]["limit"], json!(100_u64 << 30));
    assert_eq!(own["set_by"], "default");
    let words = own["in_words"].as_str().unwrap();
    assert!(
        words.starts_with("alice holds 1 of 3 sessions, 1 of 20 batches, "),
        "{words}"
    );
    assert_eq!(alice["quota"].as_array().unwrap().len(), 1, "no pot has a limit");
    let session = &alice["sessions"][0];
    assert_eq!(
        (&session["id"], &session["name"], &session["standing"]),
        (&json!(0), &json!("etl"), &json!("owned"))
    );
    assert_eq!(session["cores"], 7);
    assert_eq!(
        (
            alice["sessions"].as_array().unwrap().len(),
            &alice["batches"][0]["id"]
        ),
        (1, &json!(0))
    );
    assert!(!alice.to_string().contains("bob"), "{alice}");

    let bob = me(&rig, "bob").await;
    assert_eq!(bob["role"], "viewer");
    assert!(!bob.to_string().contains("alice"), "{bob}");
    assert_eq!(rig.livy().requests().len(), 0, "{:#?}", rig.livy().requests());
}

#[tokio::test]
async fn the_answer_is_nobodys_to_keep_has_a_head_and_is_there_below_every_base_path() {
    let rig = Setup::new()
        .listen(
            "[listen]\naddress = \"127.0.0.1:0\"\nbase_paths = [\"/livy\", \"/gateway/default/livy/v1\"]\n",
        )
        .start()
        .await;
    for base in ["/livy", "/gateway/default/livy/v1"] {
        let reply = ask(&rig, "alice", &format!("{base}/gateway/me")).await;
        reply.expect_status(200);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(reply.header("x-request-id").is_some());
    }
    let whole = ask(&rig, "alice", "/livy/gateway/me").await;
    let mut client = rig.connect().await;
    client
        .send(request("HEAD", "/livy/gateway/me", &basic("alice"), ""))
        .await;
    let head = client.reply_to_head().await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-length"),
        Some(whole.body.len().to_string().as_str())
    );
}

#[tokio::test]
async fn nobody_is_told_anything_without_a_login_and_nothing_else_is_there() {
    let rig = Rig::start().await;
    for path in ["me", "sessions"] {
        let path = format!("/livy/gateway/{path}");
        rig.ask(request("GET", &path, "", ""))
            .await
            .expect_refusal(401, "missing_credentials");
        let wrong = crate::rig::basic_with("alice", "wrong");
        rig.ask(request("GET", &path, &wrong, ""))
            .await
            .expect_refusal(401, "invalid_credentials");
        let refused = rig
            .ask(request("POST", &path, &format!("{}{JSON}", basic("alice")), "{}"))
            .await;
        refused.expect_refusal(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
        let body = request("GET", &path, &format!("{}{JSON}", basic("alice")), r#"{"a":1}"#);
        rig.ask(body).await.expect_refusal(400, "invalid_body");
    }
    for path in ["", "/you", "/me/x", "/sessions/0", "/metrics"] {
        let reply = ask(&rig, "alice", &format!("/livy/gateway{path}")).await;
        reply.expect_refusal(404, "unknown_operation");
        assert!(reply.text().contains("/livy/gateway/me"), "{}", reply.text());
    }
    ask(&rig, "alice", "/livy/gateway/me?doAs=bob")
        .await
        .expect_refusal(403, "impersonation_refused");
    assert_eq!(rig.livy().requests().len(), 0);
}

#[tokio::test]
async fn pots_that_are_shared_show_their_sum_where_they_are_limited_and_nobody_by_name() {
    let hash = &crate::rig::PASSWORD.1;
    let rig = Setup::new()
        .file(
            "groups",
            &format!("alice:{hash}:etl,ml\nbob:{hash}:etl\ncarol:{hash}\n"),
        )
        .rest(
            "[[quota.for]]\ngroup = \"etl\"\nsessions = 10\n\
             [[quota.for]]\nmembers_of = \"etl\"\nsessions = 5\n\
             [[quota.for]]\neverybody = true\ncores = 1000\n",
        )
        .stage()
        .await;
    let config = rig.read("gateway.toml").replace("\"users\"", "\"groups\"");
    rig.write("gateway.toml", &config);
    let rig = rig.start();
    for user in ["alice", "bob", "bob", "carol"] {
        create(&rig, user, "/livy/sessions", SESSION).await;
    }
    let alice = me(&rig, "alice").await;
    assert_eq!(alice["groups"], json!(["etl", "ml"]));
    let own = scope(&alice, "user");
    assert_eq!(
        (&own["set_by"], &own["sessions"]),
        (&json!("members_of etl"), &json!({"held": 1, "limit": 5}))
    );
    let pot = scope(&alice, "group");
    assert_eq!(
        (&pot["name"], &pot["set_by"], &pot["sessions"]),
        (
            &json!("etl"),
            &json!("group etl"),
            &json!({"held": 3, "limit": 10})
        )
    );
    assert_eq!(pot.get("cores"), None, "what is not limited is not told: {pot}");
    let all = scope(&alice, "everybody");
    assert_eq!(all["cores"]["limit"], 1000);
    assert_eq!(all.get("sessions"), None, "{all}");
    let text = alice.to_string();
    assert!(!text.contains("bob") && !text.contains("carol"), "{text}");
    let carol = me(&rig, "carol").await;
    assert_eq!(scope(&carol, "group"), &Value::Null);
    assert_eq!(scope(&carol, "user")["set_by"], "default");
}

#[tokio::test]
async fn what_is_in_doubt_shows_as_such_and_what_has_finished_is_not_held() {
    let rig = Rig::start().await;
    create(&rig, "alice", "/livy/sessions", SESSION).await;
    rig.livy().set_state(Kind::Session, 0, fake_livy::State::Dead);
    let late = rig
        .livy()
        .fault(Fault::act_after_disconnect().on("POST", "/sessions"));
    let headers = format!("{}{JSON}", basic("alice"));
    rig.ask(request("POST", "/livy/sessions", &headers, SESSION))
        .await
        .expect_refusal(409, "outcome_unknown");
    let alice = me(&rig, "alice").await;
    let held = alice["sessions"].as_array().unwrap();
    assert_eq!(held.len(), 1, "{alice}");
    assert_eq!(
        (&held[0]["id"], &held[0]["standing"], &held[0]["state"]),
        (&Value::Null, &json!("in_doubt"), &Value::Null)
    );
    assert_eq!(scope(&alice, "user")["sessions"]["held"], 1);
    drop(late);
}

const ROLES: &str = "[roles]\nadmin = [\"user:ops\"]\nviewer = [\"user:watch\"]\n";

/// With alice, bob, and two who look after them.
async fn with_roles(more: &str) -> Rig {
    let hash = &crate::rig::PASSWORD.1;
    let stage = Setup::new().rest(&format!("{ROLES}{more}")).stage().await;
    let users: Vec<_> = ["alice", "bob", "ops", "watch"]
        .iter()
        .map(|user| format!("{user}:{hash}\n"))
        .collect();
    stage.write("users", &users.concat());
    stage.start()
}

#[tokio::test]
async fn those_with_a_role_see_everybodys_and_all_others_are_refused_kindly() {
    let rig = with_roles("").await;
    create(&rig, "alice", "/livy/sessions", r#"{"name":"etl"}"#).await;
    create(
        &rig,
        "bob",
        "/livy/batches",
        r#"{"file":"hdfs:///a.jar","name":"nightly"}"#,
    )
    .await;
    rig.livy().plant(Kind::Session, Some("around"), None, None);
    let all = async |user: &str| {
        let reply = ask(&rig, user, "/livy/gateway/sessions").await;
        reply.expect_status(200).json()
    };
    eventually("what was made around the gateway is found", async || {
        all("ops").await["total"] == 3
    })
    .await;
    rig.livy().clear();
    let list = all("ops").await;
    let rows = list["sessions"].as_array().unwrap();
    let first = &rows[0];
    assert_eq!(
        (&first["kind"], &first["id"], &first["name"], &first["owner"]),
        (&json!("session"), &json!(0), &json!("etl"), &json!("alice"))
    );
    assert_eq!(first["created_by"], "basic:alice");
    assert!(first["marker"].as_str().unwrap().starts_with("etl-gw"));
    assert!(
        first["state"].is_string() && first["cores"].as_u64() > Some(0),
        "{first}"
    );
    assert!(first["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        (&rows[1]["owner"], &rows[1]["name"], &rows[1]["marker"]),
        (&Value::Null, &json!("around"), &Value::Null)
    );
    assert_eq!(
        (&rows[2]["kind"], &rows[2]["owner"], &rows[2]["name"]),
        (&json!("batch"), &json!("bob"), &json!("nightly"))
    );

    let seen = all("watch").await;
    assert_eq!(seen["total"], 3);
    let text = seen.to_string();
    for name in ["etl", "around", "nightly", "-gw"] {
        assert!(!text.contains(name), "a viewer sees {name}: {text}");
    }
    assert_eq!(seen["sessions"][0]["owner"], "alice");
    assert_eq!(seen["sessions"][0]["state"], first["state"]);

    for user in ["alice", "bob"] {
        let refused = ask(&rig, user, "/livy/gateway/sessions").await;
        refused.expect_refusal(403, "role_required");
        assert!(refused.text().contains("gateway/me"), "{}", refused.text());
    }
    let page = ask(&rig, "ops", "/livy/gateway/sessions?from=1&size=1")
        .await
        .json();
    assert_eq!((&page["from"], &page["total"]), (&json!(1), &json!(3)));
    assert_eq!(page["sessions"], json!([rows[1]]));
    let over_both = ask(&rig, "ops", "/livy/gateway/sessions?from=1&size=7").await;
    assert_eq!(over_both.json()["sessions"], json!([rows[1], rows[2]]));
    let behind = ask(&rig, "ops", "/livy/gateway/sessions?from=2").await;
    assert_eq!(behind.json()["sessions"], json!([rows[2]]));
    let mut client = rig.connect().await;
    client
        .send(request("HEAD", "/livy/gateway/sessions", &basic("ops"), ""))
        .await;
    client.reply_to_head().await.expect_status(200);
    assert_eq!(rig.livy().requests().len(), 0, "{:#?}", rig.livy().requests());
}

#[tokio::test]
async fn a_service_may_ask_about_those_for_whom_it_acts_and_its_role_counts_for_itself_only() {
    let rig = with_roles(
        "[[identity.map]]\nfrom = \"basic\"\nlivy_user = \"${subject}\"\n\
         [[identity.delegate]]\nservice = \"basic:ops\"\nfor = [\"user:alice\"]\n",
    )
    .await;
    create(&rig, "alice", "/livy/sessions", SESSION).await;
    let about = ask(&rig, "ops", "/livy/gateway/me?doAs=alice").await;
    let about = about.expect_status(200).json();
    assert_eq!(
        (
            &about["subject"],
            &about["livy_user"],
            &about["on_behalf"],
            &about["role"]
        ),
        (&json!("basic:ops"), &json!("alice"), &json!(true), &Value::Null)
    );
    assert_eq!(about["sessions"][0]["id"], 0);
    ask(&rig, "ops", "/livy/gateway/me?doAs=bob")
        .await
        .expect_refusal(403, "impersonation_refused");
    ask(&rig, "ops", "/livy/gateway/sessions?doAs=alice")
        .await
        .expect_refusal(403, "role_required");
    ask(&rig, "ops", "/livy/gateway/sessions")
        .await
        .expect_status(200);
}
