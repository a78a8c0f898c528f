//! Personal tokens: for clients that know a user name and a password, or a bearer token, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use livy_gateway::authn::personal::NewToken;
use livy_gateway::clock::Clock;
use livy_gateway::reload::Reloader;
use livy_gateway::token_uses;

use crate::rig::{NOW, Reply, Rig, Setup, basic, basic_with, eventually, request};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn token(user: &str) -> NewToken {
    NewToken::make(user, "of this test", Duration::from_secs(NOW), DAY).unwrap()
}

fn file(tokens: &[&NewToken]) -> String {
    tokens.iter().map(|token| format!("{}\n", token.line)).collect()
}

fn with(tokens: &[&NewToken], rest: &str) -> Setup {
    Setup::new()
        .file("tokens", &file(tokens))
        .rest(&format!("[tokens]\nfile = \"tokens\"\n{rest}"))
}

fn bearer(text: &str) -> String {
    format!("Authorization: Bearer {text}\r\n")
}

async fn version(rig: &Rig, headers: &str) -> Reply {
    rig.ask(request("GET", "/livy/version", headers, "")).await
}

/// As whom Livy was asked since the last time.
fn asked_as(rig: &Rig) -> Vec<String> {
    let requests = rig.livy().requests();
    rig.livy().clear();
    requests
        .iter()
        .flat_map(|received| received.query_values("doAs"))
        .collect()
}

fn reloader(rig: &Rig) -> Reloader {
    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    Reloader::new(&rig.stage.config(), Arc::clone(rig.app().policy()), clock)
}

/// Text, end included, with one character changed in its middle.
fn mistyped(text: &str) -> String {
    let other = if &text[20..21] == "x" { "y" } else { "x" };
    format!("{}{other}{}", &text[..20], &text[21..])
}

#[tokio::test]
async fn a_token_is_a_bearer_token_and_a_password_and_livy_hears_its_user() {
    let carol = token("carol");
    let rig = with(&[&carol], "").start().await;
    for headers in [bearer(&carol.text), basic_with("carol", &carol.text)] {
        for _ in 0..2 {
            version(&rig, &headers).await.expect_status(200);
            assert_eq!(asked_as(&rig), ["carol"]);
        }
    }
    let stats = rig.app().shared().logins.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.checked),
        (2, 2, 0),
        "no password is hashed"
    );

    let body = r#"{"kind":"spark"}"#;
    let headers = format!(
        "{}Content-Type: application/json\r\n",
        basic_with("carol", &carol.text)
    );
    rig.ask(request("POST", "/livy/sessions", &headers, body))
        .await
        .expect_status(201);
    let created = rig.livy().last();
    assert_eq!(created.json()["proxyUser"], "carol");
    let sent = format!("{:?}{}{}", created.headers, created.target, created.text());
    assert!(!sent.contains(&*carol.text) && !sent.contains("lgwt_"), "{sent}");
    // Alice logs in with her password as before, and does not see it.
    let alices = rig
        .ask(request("GET", "/livy/sessions", &basic("alice"), ""))
        .await;
    assert_eq!(alices.json()["total"], 0);
}

#[tokio::test]
async fn what_has_the_prefix_and_is_no_token_is_refused_and_never_tried_as_a_password() {
    let (carol, revoked) = (token("carol"), token("carol"));
    // Alice's password in the users file is a text that looks like a token.
    let odd = "lgwt_my-own-password";
    let hash = livy_gateway::authn::hash_password(odd.as_bytes()).unwrap();
    let rig = with(&[&carol], "[limits.failed_logins]\nper_address = \"1000/s\"\n")
        .file("users", &format!("alice:{hash}\n"))
        .start()
        .await;
    for headers in [
        basic_with("alice", &carol.text),
        basic_with("Carol", &carol.text),
        basic_with("token", &carol.text),
        basic_with("carol", &mistyped(&carol.text)),
        basic_with("carol", &revoked.text),
        basic_with("carol", &format!("{} ", *carol.text)),
        basic_with("carol", &carol.text[..40]),
        basic_with("alice", odd),
        bearer(&mistyped(&carol.text)),
        bearer(&revoked.text),
        bearer("lgwt_"),
        bearer(&format!("{}.a.b", *carol.text)),
    ] {
        let reply = version(&rig, &headers).await;
        reply.expect_refusal(401, "invalid_credentials");
        assert!(reply.header("www-authenticate").is_some());
    }
    assert_eq!(asked_as(&rig), [""; 0]);
    assert_eq!(rig.app().shared().logins.stats().checked, 0);
    version(&rig, &bearer(&carol.text)).await.expect_status(200);
}

#[tokio::test]
async fn an_expired_token_is_told_so_also_where_it_was_cached_and_is_no_guess() {
    let carol = token("carol");
    let rig = with(&[&carol], "").start().await;
    let headers = basic_with("carol", &carol.text);
    // In two steps, so that the entry does not end by its own age.
    rig.clock.advance(DAY - Duration::from_secs(1));
    version(&rig, &headers).await.expect_status(200);
    asked_as(&rig);
    rig.clock.advance(Duration::from_secs(1));
    for _ in 0..30 {
        version(&rig, &headers).await.expect_refusal(401, "expired_token");
    }
    version(&rig, &basic_with("alice", &carol.text))
        .await
        .expect_refusal(401, "invalid_credentials");
    assert_eq!(asked_as(&rig), [""; 0]);
    // The address owes nothing for them: others behind it still log in.
    version(&rig, &basic("alice")).await.expect_status(200);
}

#[tokio::test]
async fn a_revoked_token_is_out_at_the_next_request_and_others_stay_in() {
    let (carol, dave) = (token("carol"), token("dave"));
    let rig = with(&[&carol, &dave], "").start().await;
    let mut reloader = reloader(&rig);
    let both = [bearer(&carol.text), basic_with("carol", &carol.text)];
    for headers in both.iter().chain([&bearer(&dave.text)]) {
        version(&rig, headers).await.expect_status(200);
    }
    asked_as(&rig);

    rig.stage.write("tokens", &file(&[&dave]));
    for _ in 0..2 {
        reloader.look(&rig.app().shared().logins, &rig.app().shared().users);
    }
    for headers in &both {
        version(&rig, headers)
            .await
            .expect_refusal(401, "invalid_credentials");
    }
    version(&rig, &bearer(&dave.text)).await.expect_status(200);
    assert_eq!(asked_as(&rig), ["dave"]);

    // A damaged file changes nothing: nobody comes back, nobody is thrown out.
    rig.stage
        .write("tokens", &format!("{}damaged\n", file(&[&carol, &dave])));
    reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
    version(&rig, &both[0])
        .await
        .expect_refusal(401, "invalid_credentials");
    version(&rig, &bearer(&dave.text)).await.expect_status(200);
    rig.stage.write("tokens", "");
    reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
    version(&rig, &bearer(&dave.text))
        .await
        .expect_refusal(401, "invalid_credentials");
}

#[tokio::test]
async fn bad_tokens_count_as_wrong_passwords_and_good_ones_pass_all_the_same() {
    let carol = token("carol");
    let rig = with(&[&carol], "").start().await;
    for _ in 0..20 {
        // Each of another account, so that the address's own limit is the one that is met.
        version(&rig, &bearer(&token("carol").text))
            .await
            .expect_refusal(401, "invalid_credentials");
    }
    version(&rig, &bearer(&token("carol").text))
        .await
        .expect_refusal(429, "too_many_logins");
    version(&rig, &basic("alice"))
        .await
        .expect_refusal(429, "too_many_logins");
    version(&rig, &bearer(&carol.text)).await.expect_status(200);
    assert_eq!(asked_as(&rig), ["carol"]);
}

#[tokio::test]
async fn tries_with_one_users_name_are_counted_together() {
    let rig = with(&[], "").start().await;
    for _ in 0..10 {
        version(&rig, &basic_with("alice", &token("alice").text))
            .await
            .expect_refusal(401, "invalid_credentials");
    }
    for headers in [basic_with("alice", &token("alice").text), basic("alice")] {
        version(&rig, &headers)
            .await
            .expect_refusal(429, "too_many_logins");
    }
    version(&rig, &basic("bob")).await.expect_status(200);
}

#[tokio::test]
async fn a_token_names_its_livy_user_whatever_the_maps_say_and_has_the_groups_of_the_users_file() {
    let (alice, other) = (token("alice"), token("carol"));
    let hash = bcrypt::hash("x", 4).unwrap();
    let rules = "[[identity.map]]\nfrom = \"basic\"\nlivy_user = \"${subject}\"\n\
                 [roles]\nviewer = [\"group:ops\"]\n\
                 [[identity.delegate]]\nservice = \"token:carol\"\nfor = [\"user:dave\"]\n";
    let rig = with(&[&alice, &other], rules)
        .file("users", &format!("alice:{hash}:ops\n"))
        .start()
        .await;
    let me = async |headers: &str| rig.ask(request("GET", "/livy/gateway/me", headers, "")).await;
    let told = me(&bearer(&alice.text)).await.json();
    assert_eq!(
        (&told["subject"], &told["livy_user"]),
        (&"token:alice".into(), &"alice".into()),
        "{told}"
    );
    assert_eq!(told["groups"], serde_json::json!(["ops"]), "{told}");
    let told = me(&bearer(&other.text)).await.json();
    assert_eq!(told["groups"], serde_json::json!([]), "{told}");

    let target = "/livy/version?doAs=dave";
    rig.ask(request("GET", target, &bearer(&other.text), ""))
        .await
        .expect_status(200);
    rig.ask(request("GET", target, &bearer(&alice.text), ""))
        .await
        .expect_refusal(403, "impersonation_refused");
    assert_eq!(asked_as(&rig), ["dave"]);
}

#[tokio::test]
async fn tokens_alone_are_a_login() {
    let carol = token("carol");
    let stage = with(&[&carol], "").stage().await;
    let text = stage.read("gateway.toml");
    stage.write(
        "gateway.toml",
        &text.replace("[basic]\nusers_file = \"users\"\n", ""),
    );
    let rig = stage.start();
    version(&rig, &basic_with("carol", &carol.text))
        .await
        .expect_status(200);
    assert_eq!(asked_as(&rig), ["carol"]);
    version(&rig, &basic("alice"))
        .await
        .expect_refusal(401, "invalid_credentials");
}

#[tokio::test]
async fn the_last_use_counts_cached_requests_is_written_and_survives_a_restart() {
    let (carol, unused) = (token("carol"), token("dave"));
    let state = "[state]\ndirectory = \"held\"\n";
    let stage = with(&[&carol, &unused], state).stage().await;
    let minutes = |n: u64| Duration::from_secs(NOW + n * 60);
    let mut rig = stage.start();
    let held = rig.stage.path("held");
    let read = || token_uses::in_directory(&held).unwrap();
    assert_eq!(read(), None);
    version(&rig, &bearer(&carol.text)).await.expect_status(200);
    for _ in 0..3 {
        // In steps that no request to Livy outlives.
        rig.clock.advance(Duration::from_secs(20));
        version(&rig, &bearer(&carol.text)).await.expect_status(200);
    }
    let stats = rig.app().shared().logins.stats();
    assert_eq!((stats.hits, stats.misses), (3, 1), "the later ones are cached");
    // A reload keeps what is known of tokens that stay.
    reloader(&rig).reload(&rig.app().shared().logins, &rig.app().shared().users);
    rig.end().join().unwrap();
    let uses = read().unwrap();
    assert_eq!(
        uses.into_iter().collect::<Vec<_>>(),
        [(carol.id.clone(), minutes(1))]
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(held.join("token-uses")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    let policy = livy_gateway::config::load(&rig.stage.config(), 1).unwrap();
    token_uses::TokenUses::open(&policy);
    let tokens = policy.authn.tokens.as_ref().unwrap();
    assert_eq!(tokens.get(&carol.id).unwrap().last_use().at(), Some(minutes(1)));
    assert_eq!(tokens.get(&unused.id).unwrap().last_use().at(), None);
}

#[tokio::test]
async fn the_program_says_whose_token_it_was_lists_its_use_and_never_shows_it() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let carol = NewToken::make("carol", "airflow on host 7", now, DAY).unwrap();
    let setup = with(
        &[&carol],
        "[state]\ndirectory = \"held\"\n[log]\nlevel = \"debug\"\naudit_file = \"audit\"\n",
    );
    let (stage, mut process) = setup.spawn().await;
    let kept = Arc::default();
    process.keep_log(Arc::clone(&kept));
    let ask = async |request: Vec<u8>| {
        let mut client = crate::rig::Client::connect(process.address).await;
        client.send(request).await;
        client.reply().await
    };
    let headers = format!(
        "{}Content-Type: application/json\r\n",
        basic_with("carol", &carol.text)
    );
    ask(request("POST", "/livy/sessions", &headers, r#"{"kind":"spark"}"#))
        .await
        .expect_status(201);
    ask(request(
        "GET",
        "/livy/version",
        &bearer(&mistyped(&carol.text)),
        "",
    ))
    .await
    .expect_refusal(401, "invalid_credentials");
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));

    let credential = format!("\"credential\":\"{} airflow on host 7\"", carol.id);
    eventually("the log is read", async || {
        kept.lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("\"message\":\"ended\""))
    })
    .await;
    let log = kept.lock().unwrap().join("\n");
    let audit = stage.read("audit");
    for text in [&log, &audit] {
        assert!(
            text.contains("\"subject\":\"token:carol\"") && text.contains(&credential),
            "{text}"
        );
        assert!(
            !text.contains(&carol.text[5..]) && !text.contains("lgwt_"),
            "{text}"
        );
    }
    assert!(log.contains("its checksum is wrong"), "{log}");

    let list = std::process::Command::new(crate::rig::program())
        .args(["tokens", "list", "--file"])
        .arg(stage.path("tokens"))
        .arg("--config")
        .arg(stage.config())
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let row = list.lines().nth(1).unwrap();
    assert!(row.starts_with(&format!("{}  carol  ", carol.id)), "{list}");
    assert!(!row.contains("never") && !row.contains('?'), "{list}");
}
