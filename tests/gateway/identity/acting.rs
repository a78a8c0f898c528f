//! Acting for others by a rule, whether Livy obeys, and settings of a creation that would act behind both.

use std::time::Duration;

use fake_livy::FakeLivy;

use super::{CREATE, create, list, read, refused_with_both_names, told_only};
use crate::rig::{
    Client, Issuer, PASSWORD, Process, Rig, Setup, basic, eventually, get, lists_only, marker, multipart,
    plain, post, request, times, upload_head, without_marker,
};

// --- Delegates.

const DELEGATES: &str = r#"
[[identity.map]]
from = "any"
livy_user = "${subject}"

[[identity.delegate]]
service = "basic:zeppelin"
for = ["group:analysts", "user:carol"]

[[identity.delegate]]
service = "jwt:corp:airflow"
for = ["user:*"]

[[identity.delegate]]
service = "basic:far"
for = ["user:*"]
from_addresses = ["10.9.0.0/16"]
"#;

fn request_by(method: &str, target: &str, login: &str) -> Vec<u8> {
    request(method, target, login, "")
}

async fn with_delegates(issuer: &Issuer) -> Rig {
    let hash = &PASSWORD.1;
    let users = format!(
        "alice:{hash}:analysts\nbob:{hash}\nzeppelin:{hash}\nfar:{hash}\nairflow:{hash}\nhdfs:{hash}:analysts\n"
    );
    let setup = Setup::new().roomy().owned("alice", 1).file("users", &users);
    issuer.trusted_by(setup, DELEGATES).start().await
}

#[tokio::test]
async fn a_delegate_acts_for_those_whom_its_rule_names_wherever_it_names_them() {
    let issuer = Issuer::new();
    let rig = with_delegates(&issuer).await;
    for (login, user) in [
        (basic("zeppelin"), "alice"),
        (basic("zeppelin"), "carol"),
        (basic("zeppelin"), "zeppelin"),
        (issuer.bearer("airflow"), "bob"),
        (issuer.bearer("airflow"), "somebody.else@example.org"),
        (issuer.as_password("airflow", "airflow"), "bob"),
    ] {
        let escaped = user.replace('@', "%40");
        let in_body = format!("{{\"kind\":\"spark\",\"proxyUser\":\"{user}\"}}");
        for request in [
            create(&login, "/livy/sessions", &in_body),
            create(&login, &format!("/livy/sessions?doAs={escaped}"), CREATE),
            create(&login, &format!("/livy/sessions?proxyUser={escaped}"), &in_body),
        ] {
            let reply = rig.ask(request).await;
            reply.expect_status(201);
            told_only(&rig.livy().last(), user);
            let made = marker(&rig.livy().last());
            let id = reply.json()["id"].as_u64().unwrap();

            rig.livy().clear();
            let target = format!("/livy/sessions?doas={escaped}");
            let reply = rig.ask(request_by("GET", &target, &login)).await;
            assert!(lists_only(&reply, user).contains(&id), "{}", reply.text());
            assert!(rig.livy().requests().is_empty());

            let target = format!("/livy/sessions/{id}?doAs={escaped}");
            for method in ["GET", "DELETE"] {
                rig.ask(request_by(method, &target, &login))
                    .await
                    .expect_status(200);
                let received = rig.livy().last();
                assert_eq!(
                    (received.method.as_str(), received.path.as_str()),
                    (method, format!("/sessions/{made}").as_str())
                );
                told_only(&received, user);
            }
        }
    }
    // Whom it does not name, it acts as itself.
    rig.ask(create(&basic("zeppelin"), "/livy/sessions", CREATE))
        .await
        .expect_status(201);
    told_only(&rig.livy().last(), "zeppelin");
}

#[tokio::test]
async fn a_delegate_rule_reaches_nobody_else_from_nowhere_else_and_never_a_reserved_name() {
    let issuer = Issuer::new();
    let rig = with_delegates(&issuer).await;
    for (login, own, other) in [
        (basic("zeppelin"), "zeppelin", "bob"),
        (basic("zeppelin"), "zeppelin", "hdfs"),
        (basic("zeppelin"), "zeppelin", "ALICE"),
        (basic("zeppelin"), "zeppelin", "Analysts"),
        (issuer.bearer("zeppelin"), "zeppelin", "alice"),
        (basic("airflow"), "airflow", "bob"),
        (issuer.bearer("airflow"), "airflow", "root"),
        (issuer.bearer("airflow"), "airflow", "hive"),
        (issuer.bearer("airflow"), "airflow", "HDFS@EXAMPLE.ORG"),
        (basic("far"), "far", "alice"),
        (basic("alice"), "alice", "zeppelin"),
    ] {
        let target = format!("/livy/sessions?doAs={}", other.replace('@', "%40"));
        let in_body = format!("{{\"proxyUser\":\"{other}\"}}");
        for request in [
            request("GET", &target, &login, ""),
            create(&login, &target, CREATE),
            create(&login, "/livy/sessions", &in_body),
        ] {
            refused_with_both_names(&rig.ask(request).await, other, own);
        }
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_groups_file_says_for_whom_a_delegate_acts_and_an_administrator_must_be_named() {
    let hash = &PASSWORD.1;
    let rules = "[identity]\ngroups_file = \"groups\"\n[[identity.delegate]]\nservice = \"basic:zeppelin\"\n\
                 for = [\"group:staff\"]\n[[identity.delegate]]\nservice = \"basic:runner\"\nfor = [\"user:ops\"]\n\
                 [roles]\nadmin = [\"group:livy-admins\"]\n";
    let rig = Setup::new()
        .roomy()
        .file("users", &format!("zeppelin:{hash}\nrunner:{hash}\nops:{hash}\n"))
        .file("groups", "staff: dave ops\nlivy-admins: ops\n")
        .rest(rules)
        .start()
        .await;
    let mut told = Vec::new();
    for (service, user, is_allowed) in [
        ("zeppelin", "dave", true),
        ("zeppelin", "ops", false),
        ("zeppelin", "erin", false),
        ("runner", "ops", true),
    ] {
        let body = format!("{{\"kind\":\"spark\",\"proxyUser\":\"{user}\"}}");
        let headers = format!("{}Content-Type: application/json\r\n", basic(service));
        let reply = rig.ask(request("POST", "/livy/sessions", &headers, &body)).await;
        if is_allowed {
            reply.expect_status(201);
            told.push(Some(user.to_owned()));
        } else {
            reply.expect_refusal(403, "impersonation_refused");
        }
    }
    let asked: Vec<_> = rig
        .livy()
        .requests()
        .into_iter()
        .map(|request| request.effective_user)
        .collect();
    assert_eq!(asked, told);
    // The file's group is a role, too.
    rig.ask(request("GET", "/livy/gateway/sessions", &basic("ops"), ""))
        .await
        .expect_status(200);
    rig.ask(request("GET", "/livy/gateway/sessions", &basic("zeppelin"), ""))
        .await
        .expect_refusal(403, "role_required");
}

#[tokio::test]
async fn a_delegate_that_contradicts_itself_is_refused_though_it_may_act_for_both() {
    let issuer = Issuer::new();
    let rig = with_delegates(&issuer).await;
    for (in_query, in_body) in [
        ("alice", "carol"),
        ("carol", "alice"),
        ("alice", "zeppelin"),
        ("zeppelin", "alice"),
    ] {
        let target = format!("/livy/sessions?doAs={in_query}");
        let body = format!("{{\"proxyUser\":\"{in_body}\"}}");
        let reply = rig.ask(create(&basic("zeppelin"), &target, &body)).await;
        reply.expect_refusal(403, "impersonation_refused");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_delegates_every_operation_reaches_livy_as_the_one_it_named() {
    let issuer = Issuer::new();
    let rig = with_delegates(&issuer).await;
    let body = multipart("file", "x");
    let uploading = format!(
        "{}{body}",
        upload_head("/livy/sessions/0/upload-file?doAs=alice", body.len())
            .replace(&basic("alice"), &basic("zeppelin"))
    );
    for request in [
        request(
            "GET",
            "/livy/sessions/0/log?size=5&doAs=alice",
            &basic("zeppelin"),
            "",
        ),
        create(
            &basic("zeppelin"),
            "/livy/sessions/0/statements?doAs=alice",
            r#"{"code":"1"}"#,
        ),
        uploading.into_bytes(),
        request("POST", "/livy/sessions/0/stop?doAs=alice", &basic("zeppelin"), ""),
    ] {
        let reply = rig.ask(request).await;
        assert!((200..300).contains(&reply.status), "{}", reply.text());
        told_only(&rig.livy().last(), "alice");
    }
}

// --- Whether Livy obeys.

#[tokio::test]
async fn a_livy_that_ignores_for_whom_it_acts_creates_nothing_more_and_still_shows_what_is_there() {
    for (path, body) in [("/sessions", CREATE), ("/batches", r#"{"file":"hdfs:///a.jar"}"#)] {
        let rig = Setup::new()
            .livy(FakeLivy::builder().impersonation(false))
            .owned("alice", 1)
            .start()
            .await;
        let creating = post(&format!("/livy{path}"), body);
        rig.ask(&creating).await.expect_refusal(503, "impersonation_off");
        let made = marker(&rig.livy().requests()[0]);
        assert_eq!(times(rig.livy(), "DELETE", &format!("{path}/{made}")), 1);
        assert_eq!((rig.livy().sessions().len(), rig.livy().batches().len()), (1, 1));
        // The next is refused without asking Livy, the other kind too.
        for request in [&creating, &post("/livy/sessions", CREATE)] {
            let reply = rig.ask(request).await;
            reply.expect_refusal(503, "impersonation_off");
            assert!(reply.header("retry-after").is_some());
        }
        assert_eq!(times(rig.livy(), "POST", path), 1);
        assert_eq!(
            lists_only(&rig.ask(get(&format!("/livy{path}"))).await, "alice"),
            [0]
        );
        rig.ask(get(&format!("/livy{path}/0"))).await.expect_status(200);
        rig.ask(plain("DELETE", &format!("/livy{path}/0")))
            .await
            .expect_status(200);
        rig.ask(plain("DELETE", &format!("/livy{path}/1")))
            .await
            .expect_status(404);
        // Once its operator has mended it, it is found out by itself.
        rig.livy().set_impersonation(true);
        rig.clock.advance(Duration::from_secs(120));
        rig.ask(&creating).await.expect_status(201);
        told_only(&rig.livy().last(), "alice");
    }
}

#[tokio::test]
async fn what_runs_as_livys_own_user_and_cannot_be_deleted_is_nobodys_to_use() {
    let rig = Setup::new()
        .livy(FakeLivy::builder().impersonation(false))
        .start()
        .await;
    rig.livy().fault(
        fake_livy::Fault::reset_before_body()
            .on("DELETE", "/sessions")
            .always(),
    );
    let reply = rig.ask(post("/livy/sessions", CREATE)).await;
    reply.expect_refusal(409, "impersonation_off");
    assert_eq!(rig.livy().sessions().len(), 1, "it remains");
    rig.livy().clear();
    for path in ["/livy/sessions/0", "/livy/sessions/0/statements"] {
        rig.ask(get(path)).await.expect_status(404);
    }
    rig.ask(post("/livy/sessions/0/statements", r#"{"code":"1"}"#))
        .await
        .expect_status(404);
    assert_eq!(times(rig.livy(), "POST", "/sessions/0/statements"), 0);
}

#[tokio::test]
async fn a_session_that_runs_as_another_than_livy_was_told_is_deleted_though_impersonation_is_on() {
    let rig = Rig::start().await;
    for proxy_user in ["\"bob\"", "null", "\"\"", "\"Alice\""] {
        rig.livy().clear();
        let made = format!("{{\"id\":7,\"proxyUser\":{proxy_user},\"state\":\"starting\"}}");
        rig.livy().fault(fake_livy::Fault::answer(fake_livy::Canned {
            status: 201,
            reason: None,
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: made.into_bytes(),
        }));
        rig.ask(post("/livy/sessions", CREATE))
            .await
            .expect_refusal(503, "impersonation_off");
        let made = marker(&rig.livy().requests()[0]);
        assert_eq!(
            times(rig.livy(), "DELETE", &format!("/sessions/{made}")),
            1,
            "{proxy_user}"
        );
        assert_eq!(
            times(rig.livy(), "DELETE", "/sessions/7"),
            0,
            "that number may be another's"
        );
        rig.clock.advance(Duration::from_secs(120));
    }
}

/// How many lists of sessions were compared since the start.
async fn lists(process: &Process) -> u64 {
    let mut client = Client::connect(process.admin).await;
    client.send("GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").await;
    let text = client.reply().await.text();
    let series = "livy_gateway_reconcile_seconds_count{kind=\"session\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn what_ran_as_livys_own_user_before_livy_had_to_obey_runs_no_more_code_and_stops_no_creation() {
    let state = "[state]\ndirectory = \"state\"\nreconcile = \"1s\"\n";
    let shared = "impersonation = \"off\"\nallow_shared_livy_user = true";
    let (stage, mut process) = Setup::new()
        .livy(FakeLivy::builder().impersonation(false))
        .livy_keys(shared)
        .rest(state)
        .spawn()
        .await;
    let ask = async |process: &Process, request: String| {
        let mut client = Client::connect(process.address).await;
        client.send(request).await;
        client.reply().await
    };
    let made = ask(&process, post("/livy/sessions", CREATE)).await;
    assert_eq!(
        made.expect_status(201).json()["proxyUser"],
        serde_json::Value::Null
    );
    process.signal("KILL").await;
    process.exit_code().await;
    let demanding = stage.read("gateway.toml").replace(shared, "");
    stage.write("gateway.toml", &demanding);
    stage.livy.set_impersonation(true);
    let process = Process::start(&stage.config()).await;

    // Killed in the moment of its answer, the gateway learns the session's number from Livy's list again.
    eventually("the session is known", async || {
        ask(&process, get("/livy/sessions/0/state")).await.status == 200
    })
    .await;
    let code = post("/livy/sessions/0/statements", r#"{"code":"1"}"#);
    let refused = ask(&process, code).await;
    refused.expect_refusal(409, "runs_as_another");
    assert!(refused.text().contains("Delete it"), "{}", refused.text());
    let posts = |livy: &FakeLivy| {
        livy.requests()
            .into_iter()
            .filter(|one| one.method == "POST")
            .count()
    };
    assert_eq!(posts(&stage.livy), 1, "the creation alone");
    ask(&process, get("/livy/sessions/0/statements"))
        .await
        .expect_status(200);
    // Several lists show it. It says nothing of whether Livy obeys now, and it is not deleted.
    for _ in 0..2 {
        let before = lists(&process).await;
        eventually("there are more lists", async || {
            lists(&process).await > before + 1
        })
        .await;
        ask(&process, post("/livy/sessions", CREATE))
            .await
            .expect_status(201);
    }
    assert_eq!(stage.livy.sessions().len(), 3);
    ask(&process, plain("DELETE", "/livy/sessions/0"))
        .await
        .expect_status(200);
}

#[tokio::test]
async fn where_sharing_is_allowed_outright_livys_own_user_is_no_surprise() {
    let rig = Setup::new()
        .livy(FakeLivy::builder().impersonation(false))
        .livy_keys("impersonation = \"off\"\nallow_shared_livy_user = true")
        .start()
        .await;
    rig.ask(post("/livy/sessions", CREATE)).await.expect_status(201);
    assert_eq!(rig.livy().last().query_values("doAs"), ["alice"]);
    rig.ask(read(&basic("bob"))).await.expect_status(200);
    assert_eq!(rig.livy().last().query_values("doAs"), ["bob"]);
    // What Livy runs as one user is still owned by those who created it.
    let of = async |user| rig.ask(list(&basic(user))).await.json()["total"].clone();
    assert_eq!((of("alice").await, of("bob").await), (1.into(), 0.into()));
    rig.ask(request_by("GET", "/livy/sessions/0", &basic("bob")))
        .await
        .expect_status(404);
}

// --- Settings that carry identity.

/// Keys that say for whom, by whose credentials, or under whose control a session runs.
const CONF: [&str; 34] = [
    "livy.rsc.client.do-not-use.run-driver-in-process",
    "livy.rsc.client.do_not_use.run_driver_in_process",
    "livy.rsc.proxy-user",
    "livy.rsc.proxy_user",
    "livy.rsc.launcher.address",
    "livy.rsc.jars",
    "livy.rsc.driver-class",
    "livy.rsc.server.idle_timeout",
    "livy.spark.master",
    "livy.impersonation.enabled",
    "spark.__livy__.livy.rsc.proxy_user",
    "spark.__livy__.x",
    "spark.master",
    "SPARK.MASTER",
    "spark.submit.deployMode",
    "spark.submit.proxyUser.allowCustomClasspathInClusterMode",
    "spark.submit.pyFiles",
    "spark.kerberos.principal",
    "spark.kerberos.keytab",
    "spark.yarn.principal",
    "spark.yarn.keytab",
    "spark.kubernetes.kerberos.tokenSecret.name",
    "spark.yarn.appMasterEnv.HADOOP_USER_NAME",
    "spark.executorEnv.HADOOP_USER_NAME",
    "spark.kubernetes.driverEnv.HADOOP_USER_NAME",
    "spark.kubernetes.driver.secretKeyRef.HADOOP_USER_NAME",
    "spark.executorEnv.HADOOP_PROXY_USER",
    "spark.executorEnv.KRB5CCNAME",
    "spark.hadoop.hadoop.proxyuser.livy.hosts",
    "spark.driver.extraJavaOptions=-javaagent:/x.jar",
    "spark.a ",
    "spark.a\\n",
    "spark.mas\\u0074er",
    "hive.x",
];

#[tokio::test]
async fn a_setting_that_carries_identity_is_refused_by_name_whatever_its_value() {
    let rig = Rig::start().await;
    for (path, rest) in [
        ("/livy/sessions", ""),
        ("/livy/batches", r#""file":"hdfs:///a.jar","#),
    ] {
        for key in CONF {
            for value in ["\"x\"", "\"\"", "null", "true"] {
                let body = format!("{{{rest}\"conf\":{{\"spark.a\":\"b\",\"{key}\":{value}}}}}");
                let reply = rig.ask(post(path, &body)).await;
                assert_eq!(reply.outcome(), (400, "conf_refused".to_owned()), "{body}");
                let start = key.split(['\\', '=', ' ']).next().unwrap();
                assert!(reply.text().contains(start), "{key}: {}", reply.text());
            }
        }
    }
    for value in ["-Xmx1g -DHADOOP_USER_NAME=hdfs", "-Dhadoop_proxy_user=bob"] {
        let body = format!("{{\"conf\":{{\"spark.driver.extraJavaOptions\":\"{value}\"}}}}");
        rig.ask(post("/livy/sessions", &body))
            .await
            .expect_refusal(400, "conf_refused");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn what_livys_clients_say_of_themselves_is_left_out_and_other_settings_stay_as_they_are() {
    let rig = Rig::start().await;
    let body = r#"{"conf":{"livy.uri":"https://alice:pw@gw/livy","spark.executor.memory":"2g","livy.client.http.x":1,"spark.b":1.10,"spark.c":null,"spark.d":false},"kind":"spark"}"#;
    rig.ask(post("/livy/sessions", body)).await.expect_status(201);
    assert_eq!(
        without_marker(&rig.livy().last()),
        r#"{"conf":{"spark.executor.memory":"2g","spark.b":1.10,"spark.d":false},"kind":"spark","name":"livy-session-gw","proxyUser":"alice"}"#
    );
    rig.ask(post("/livy/sessions", r#"{"conf":null}"#))
        .await
        .expect_status(201);
    assert_eq!(
        without_marker(&rig.livy().last()),
        r#"{"name":"livy-session-gw","proxyUser":"alice"}"#,
        "a null would skip Livy's own checks"
    );
}
