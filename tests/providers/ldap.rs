//! Logins that a real directory checks.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use livy_gateway::telemetry::metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::rig::{Issuer, Reply, Rig, Setup, basic_with, new_password, program, request};
use crate::slapd::{ACCOUNT, BASE, Slapd, person};

/// Binds with the typed name, groups from the person's entry.
pub(crate) fn by_name(urls: &str, more: &str) -> String {
    format!(
        "[ldap]\nurls = {urls}\n{more}\nbind_dn = \"uid=${{user}},ou=people,{BASE}\"\n\
         groups = {{ base = \"ou=groups,{BASE}\" }}\n"
    )
}

/// Looks for the person first, groups by a search.
pub(crate) fn by_search(urls: &str, more: &str) -> String {
    format!(
        "[ldap]\nurls = {urls}\n{more}\n[ldap.search]\nbase = \"{BASE}\"\n\
         filter = \"(&(objectClass=person)(uid=${{user}}))\"\nbind_dn = \"{ACCOUNT}\"\npassword = \"file:account\"\n\
         [ldap.groups]\nbase = \"ou=groups,{BASE}\"\nfilter = \"(&(objectClass=groupOfNames)(member=${{dn}}))\"\n"
    )
}

/// A gateway with that directory and one local user of another name.
pub(crate) fn setup(slapd: &Slapd, password: &str, ldap: &str, more: &str) -> Setup {
    let (_, hash) = new_password();
    Setup::new()
        .file("users", &format!("local:{hash}\n"))
        .file("account", password)
        .file("ca.pem", &slapd.authority())
        .rest(&format!(
            "{ldap}\n[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${{subject}}\"\n{more}"
        ))
}

pub(crate) fn list(user: &str, password: &str) -> Vec<u8> {
    request("GET", "/livy/sessions", &basic_with(user, password), "")
}

pub(crate) fn create(user: &str, password: &str) -> Vec<u8> {
    let headers = format!("{}Content-Type: application/json\r\n", basic_with(user, password));
    request("POST", "/livy/sessions", &headers, "{\"kind\":\"spark\"}")
}

async fn me(rig: &Rig, user: &str, password: &str) -> serde_json::Value {
    let reply = rig
        .ask(request(
            "GET",
            "/livy/gateway/me",
            &basic_with(user, password),
            "",
        ))
        .await;
    reply.expect_status(200).json()
}

pub(crate) fn plain(slapd: &Slapd) -> String {
    format!("[\"ldap://127.0.0.1:{}\"]", slapd.port)
}

/// As whom Livy was told to create.
pub(crate) fn creators(rig: &Rig) -> BTreeSet<String> {
    rig.livy()
        .requests()
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| {
            request.json()["proxyUser"]
                .as_str()
                .unwrap_or("nobody")
                .to_owned()
        })
        .collect()
}

fn logins(outcome: &str) -> u64 {
    let name = format!("{}{{outcome=\"{outcome}\"}} ", metrics::DIRECTORY_LOGINS);
    let page = metrics::render(&[]);
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_by_every_transport_and_way_and_livy_acts_as_that_person() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let ldaps = format!("[\"ldaps://127.0.0.1:{}\"]", slapd.tls_port);
    let started = plain(&slapd).replace("127.0.0.1", "localhost");
    for (urls, more) in [
        (plain(&slapd), ""),
        (ldaps, "ca_file = \"ca.pem\""),
        (started, "start_tls = true\nca_file = \"ca.pem\""),
    ] {
        for ldap in [by_name(&urls, more), by_search(&urls, more)] {
            let rig = setup(&slapd, &password, &ldap, "").start().await;
            rig.ask(create("alice", &password)).await.expect_status(201);
            assert_eq!(creators(&rig), BTreeSet::from(["alice".to_owned()]), "{ldap}");
            let me = me(&rig, "alice", &password).await;
            assert_eq!(me["groups"], serde_json::json!(["analysts", "staff"]), "{ldap}");
        }
    }
    assert!(slapd.log().contains("STARTTLS"), "{}", slapd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_in_ten_spellings_is_one_livy_user_with_one_quota() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    for ldap in [by_name(&plain(&slapd), ""), by_search(&plain(&slapd), "")] {
        let rig = setup(&slapd, &password, &ldap, "[quota]\nsessions = 3\n")
            .start()
            .await;
        let mut answers = Vec::new();
        for name in [
            "alice",
            "ALICE",
            "Alice",
            "alice ",
            " alice",
            "aLiCe",
            "ａｌｉｃｅ",
            "ＡＬＩＣＥ",
            "Ａlice",
            "  ALICE  ",
        ] {
            answers.push(rig.ask(create(name, &password)).await.outcome());
        }
        let created = answers.iter().filter(|(status, _)| *status == 201).count();
        let refused = answers
            .iter()
            .filter(|(_, code)| code == "quota_exceeded")
            .count();
        let unknown = answers.iter().filter(|(status, _)| *status == 401).count();
        assert_eq!((created, created + refused + unknown), (3, 10), "{answers:?}");
        assert!(
            refused >= 3,
            "the directory knows most of the spellings: {answers:?}"
        );
        assert_eq!(creators(&rig), BTreeSet::from(["alice".to_owned()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_proven_is_refused_in_the_same_words_and_livy_hears_nothing() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    for ldap in [by_name(&plain(&slapd), ""), by_search(&plain(&slapd), "")] {
        let rig = setup(&slapd, &password, &ldap, "").start().await;
        let mut words = BTreeSet::new();
        for (user, typed) in [
            ("alice", "wrong"),
            ("nobody", password.as_str()),
            ("*", &password),
            ("*)(uid=alice", &password),
            ("alice)(|(uid=*", &password),
            ("alice,ou=people,dc=example,dc=org", &password),
            ("uid=alice", &password),
            ("alice\\2a", &password),
            ("  ", &password),
            ("a+uid=alice", &password),
        ] {
            let reply = rig.ask(list(user, typed)).await;
            reply.expect_refusal(401, "invalid_credentials");
            words.insert(reply.json()["msg"].to_string());
        }
        assert_eq!(words.len(), 1, "{words:?}");
        for (user, typed) in [("alice", ""), ("", password.as_str()), ("ali\0ce", &password)] {
            assert_eq!(rig.ask(list(user, typed)).await.status, 401);
        }
        assert!(rig.livy().requests().is_empty());
    }
    let log = slapd.log();
    let filters = log.lines().filter(|line| line.contains("filter=\"(&"));
    // Three parentheses are the filter's own: what was typed never brought one.
    assert!(filters.clone().count() > 5);
    assert!(
        filters
            .clone()
            .all(|line| line.matches('(').count() == 3 && !line.contains("uid=*")),
        "{log}"
    );
    // An empty password would be an anonymous bind of a named person: it never got there.
    assert!(!log.contains("unauthenticated bind"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_two_entries_and_a_group_in_the_wrong_place_give_nothing() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let rig = setup(&slapd, &password, &by_search(&plain(&slapd), ""), "")
        .start()
        .await;
    for user in ["twin", "triplet"] {
        let reply = rig.ask(list(user, &password)).await;
        reply.expect_refusal(401, "invalid_credentials");
    }
    for ldap in [by_name(&plain(&slapd), ""), by_search(&plain(&slapd), "")] {
        let roles = "[roles]\nadmin = [\"group:livy-admins\"]\n";
        let rig = setup(&slapd, &password, &ldap, roles).start().await;
        let bob = me(&rig, "bob", &password).await;
        assert_eq!(bob["groups"], serde_json::json!(["analysts"]));
        assert_eq!(bob["role"], serde_json::Value::Null, "{bob}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_of_64_clients_asks_once_and_a_wrong_password_is_not_asked_again_at_once() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let rig = setup(&slapd, &password, &by_name(&plain(&slapd), ""), "")
        .start()
        .await;
    let replies = join_all((0..64).map(|_| rig.ask(list("alice", &password)))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(slapd.binds("uid=alice"), 1);

    for _ in 0..5 {
        rig.ask(list("bob", "old password")).await.expect_status(401);
    }
    assert_eq!(slapd.binds("uid=bob"), 1, "an account could be locked by that");
    rig.clock.advance(Duration::from_secs(11));
    rig.ask(list("bob", "old password")).await.expect_status(401);
    assert_eq!(slapd.binds("uid=bob"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_directory_takes_back_ends_with_the_cache() {
    let (password, _) = new_password();
    let mut slapd = Slapd::start(&password);
    let rig = setup(&slapd, &password, &by_name(&plain(&slapd), ""), "")
        .start()
        .await;
    rig.ask(list("alice", &password)).await.expect_status(200);
    let (new, _) = new_password();
    slapd.modify(&format!(
        "dn: uid=alice,ou=people,{BASE}\nchangetype: modify\nreplace: userPassword\nuserPassword: {new}\n"
    ));
    rig.ask(list("alice", &password)).await.expect_status(200);
    rig.ask(list("alice", &new)).await.expect_status(200);
    rig.clock.advance(Duration::from_secs(301));
    rig.ask(list("alice", &password)).await.expect_status(401);
    // What was refused once is not believed again when the directory is gone.
    slapd.kill();
    rig.clock.advance(Duration::from_secs(11));
    let reply = rig.ask(list("alice", &password)).await;
    reply.expect_refusal(503, "login_unavailable");
    rig.ask(list("alice", &new)).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_down_known_people_go_on_for_a_time_and_new_ones_are_told_to_come_back() {
    metrics::install().unwrap();
    let (password, _) = new_password();
    let mut slapd = Slapd::start(&password);
    for is_hung in [false, true] {
        let ldap = by_search(
            &plain(&slapd),
            "timeouts = { connect = \"500ms\", operation = \"500ms\" }",
        );
        let rig = setup(&slapd, &password, &ldap, "").start().await;
        rig.ask(list("alice", &password)).await.expect_status(200);
        if is_hung {
            slapd.signal("STOP");
        } else {
            slapd.kill();
        }
        let (offline, unavailable) = (logins("offline"), logins("unavailable"));
        rig.ask(list("alice", &password)).await.expect_status(200);
        let reply: Reply = rig.ask(list("bob", &password)).await;
        reply.expect_refusal(503, "login_unavailable");
        assert!(reply.header("retry-after").is_some());
        rig.clock.advance(Duration::from_secs(301));
        rig.ask(list("alice", &password)).await.expect_status(200);
        assert_eq!(logins("offline"), offline + 1);
        assert!(logins("unavailable") > unavailable);
        // Half an hour after the cache ended nobody is believed any more.
        rig.clock.advance(Duration::from_secs(1801));
        let reply = rig.ask(list("alice", &password)).await;
        reply.expect_refusal(503, "login_unavailable");
        assert!(
            rig.livy()
                .requests()
                .iter()
                .all(|request| request.effective_user.as_deref() == Some("alice"))
        );

        if is_hung {
            slapd.signal("CONT");
        } else {
            slapd.restart();
        }
        rig.clock.advance(Duration::from_secs(6));
        rig.ask(list("bob", &password)).await.expect_status(200);
        rig.ask(list("alice", &password)).await.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_server_is_asked_when_the_first_is_gone() {
    let (password, _) = new_password();
    let (mut first, second) = (Slapd::start(&password), Slapd::start(&password));
    let urls = format!(
        "[\"ldap://127.0.0.1:{}\", \"ldap://127.0.0.1:{}\"]",
        first.port, second.port
    );
    for (number, ldap) in [by_name(&urls, ""), by_search(&urls, "")].into_iter().enumerate() {
        let rig = setup(&first, &password, &ldap, "").start().await;
        rig.ask(list("alice", &password)).await.expect_status(200);
        assert_eq!(second.binds("uid=alice"), 0);
        assert_eq!(second.binds("uid=bob"), number);
        first.kill();
        rig.ask(list("bob", &password)).await.expect_status(200);
        assert_eq!(second.binds("uid=bob"), number + 1);
        first.restart();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_prove_itself_gets_no_password() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let (_, _, other_authority) = crate::rig::certificate();
    let ldaps = format!("[\"ldaps://127.0.0.1:{}\"]", slapd.tls_port);
    for (urls, more) in [
        (ldaps.clone(), "ca_file = \"other.pem\""),
        (plain(&slapd), "start_tls = true\nca_file = \"other.pem\""),
        // The certificate is for 127.0.0.1 and localhost.
        (ldaps.replace("127.0.0.1", "127.0.0.2"), "ca_file = \"ca.pem\""),
    ] {
        let rig = setup(&slapd, &password, &by_name(&urls, more), "")
            .file("other.pem", &other_authority)
            .start()
            .await;
        let reply = rig.ask(list("alice", &password)).await;
        reply.expect_refusal(503, "login_unavailable");
        assert!(!reply.text().contains("127.0.0"), "{}", reply.text());
    }
    assert_eq!(slapd.binds("uid=alice"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nonsense_is_no_login_and_no_panic() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[
            0x30, 0x0c, 0x02, 0x01, 0x01, 0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0xff, 0x04, 0x00,
        ],
        &[0xff; 64],
        &[0x30, 0x03, 0x02, 0x01],
        b"",
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut question = [0; 512];
                let _ = stream.read(&mut question).await;
                let _ = stream.write_all(nonsense).await;
            }
        });
        let ldap = by_name(
            &format!("[\"ldap://127.0.0.1:{port}\"]"),
            "timeouts = { connect = \"500ms\", operation = \"500ms\" }",
        );
        let rig = setup(&slapd, &password, &ldap, "").start().await;
        for user in ["alice", "bob"] {
            let reply = rig.ask(list(user, &password)).await;
            reply.expect_refusal(503, "login_unavailable");
        }
        assert!(rig.livy().requests().is_empty());
        server.abort();
    }
}

/// What the command line says about a login, with this on its standard input.
fn explain(config: &std::path::Path, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = Command::new(program())
        .args(["explain", "--config"])
        .arg(config)
        .args(arguments)
        .args(["GET", "/livy/sessions"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let done = child.wait_with_output().unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_its_issuer_and_never_shown_to_the_directory() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let token = Issuer::new().token("alice");
    let rig = setup(&slapd, &password, &by_name(&plain(&slapd), ""), "")
        .start()
        .await;
    let reply = rig.ask(list("alice", &token)).await;
    reply.expect_refusal(401, "invalid_credentials");
    let (code, said) = explain(&rig.stage.config(), &["--basic", "alice"], &token);
    assert!(code == Some(1) && said.contains("put to no directory"), "{said}");
    assert_eq!(slapd.binds("uid=alice"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_asks_the_directory_too() {
    let (password, _) = new_password();
    let mut slapd = Slapd::start(&password);
    let stage = setup(&slapd, &password, &by_search(&plain(&slapd), ""), "")
        .stage()
        .await;
    let ask = |arguments: &[&str], input: &str| explain(&stage.config(), arguments, input);
    let (code, said) = ask(&["--basic", "ALICE"], &password);
    assert!(
        code == Some(0)
            && said.contains("who        ldap:alice\n")
            && said.contains("groups     analysts, staff"),
        "{said}"
    );
    let (code, said) = ask(&["--user", "ldap:Bob"], "");
    assert!(
        code == Some(0) && said.contains("who        ldap:bob\n") && said.contains("groups     analysts\n"),
        "{said}"
    );
    let (code, said) = ask(&["--basic", "alice"], "wrong");
    assert!(
        code == Some(1) && said.contains("401 invalid_credentials"),
        "{said}"
    );
    slapd.kill();
    let (code, said) = ask(&["--basic", "alice"], &password);
    assert!(
        code == Some(1) && said.contains("503 login_unavailable"),
        "{said}"
    );
    assert!(
        said.contains("login      not checked: ldap://127.0.0.1"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_directory_acts_for_others_and_a_local_name_is_not_looked_up_there() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    slapd.modify(&person("people", "local", &password).replacen(
        "\nobjectClass",
        "\nchangetype: add\nobjectClass",
        1,
    ));
    let delegate = "[[identity.delegate]]\nservice = \"ldap:zeppelin\"\nfor = [\"user:carol\"]\n";
    let rig = setup(&slapd, &password, &by_name(&plain(&slapd), ""), delegate)
        .start()
        .await;
    for (asked, status) in [("carol", 201), ("bob", 403)] {
        let headers = format!(
            "{}Content-Type: application/json\r\n",
            basic_with("ZEPPELIN", &password)
        );
        let body = format!("{{\"kind\":\"spark\",\"proxyUser\":\"{asked}\"}}");
        rig.ask(request("POST", "/livy/sessions", &headers, &body))
            .await
            .expect_status(status);
    }
    assert_eq!(creators(&rig), BTreeSet::from(["carol".to_owned()]));
    // The users file has that name, so the directory's password is not its password.
    rig.ask(list("local", &password)).await.expect_status(401);
    assert_eq!(slapd.binds("uid=local"), 0);
}
