//! Who calls, and as whom Livy acts: what proves a login, what it becomes, and that no client can name another.

mod acting;
mod naming;

use std::collections::BTreeSet;

use fake_livy::{FakeLivy, Received};

use crate::rig::{
    HEADER, Issuer, NOW, PASSWORD, Reply, Setup, basic, basic_with, lists_only, marker, request,
};

const CREATE: &str = r#"{"kind":"spark"}"#;
const JSON: &str = "Content-Type: application/json\r\n";

/// A creation by whom the line says.
fn create(login: &str, target: &str, body: &str) -> Vec<u8> {
    request("POST", target, &format!("{login}{JSON}"), body)
}

/// What everybody may read, and what reaches Livy.
fn read(login: &str) -> Vec<u8> {
    request("GET", "/livy/version", login, "")
}

fn list(login: &str) -> Vec<u8> {
    request("GET", "/livy/sessions", login, "")
}

/// Livy received this and was told of this one user, in every place.
#[track_caller]
fn told_only(received: &Received, user: &str) {
    let names: Vec<_> = received
        .query()
        .into_iter()
        .filter(|(name, _)| !matches!(name.as_str(), "from" | "size" | "order"))
        .collect();
    assert_eq!(
        names,
        [("doAs".to_owned(), user.to_owned())],
        "{}",
        received.target
    );
    // Livy asks nobody who reads its version.
    if received.operation != Some("version") {
        assert_eq!(
            received.effective_user.as_deref(),
            Some(user),
            "{}",
            received.target
        );
    }
    if received
        .operation
        .is_some_and(|operation| operation.starts_with("create"))
    {
        assert_eq!(received.json()["proxyUser"], user);
        assert_eq!(received.text().to_lowercase().matches("proxyuser").count(), 1);
    }
}

#[track_caller]
fn refused_with_both_names(reply: &Reply, asked: &str, mapped: &str) {
    reply.expect_refusal(403, "impersonation_refused");
    let text = reply.json()["msg"].as_str().unwrap().to_owned();
    for name in [asked, mapped] {
        assert!(text.contains(&format!("'{name}'")), "{text}");
    }
}

// --- What proves a login.

#[tokio::test]
async fn a_password_a_token_and_a_token_as_password_are_each_the_mapped_user() {
    let issuer = Issuer::new();
    let rig = issuer.trusted_by(Setup::new(), "").start().await;
    for login in [
        basic("alice"),
        issuer.bearer("alice"),
        issuer.as_password("alice", "alice"),
        basic("alice").replace("Basic", "bAsIc  "),
        issuer.bearer("alice").replace("Bearer", "BEARER"),
    ] {
        let created = rig.ask(create(&login, "/livy/sessions", CREATE)).await;
        created.expect_status(201);
        let path = format!("/livy/sessions/{}", created.json()["id"]);
        rig.ask(request("GET", &path, &login, ""))
            .await
            .expect_status(200);
        rig.ask(read(&login)).await.expect_status(200);
        let requests = rig.livy().requests();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[1].path, format!("/sessions/{}", marker(&requests[0])));
        for received in requests {
            told_only(&received, "alice");
            let everything = format!("{:?}{}", received.headers, received.text());
            let credential = login.trim_end().rsplit(' ').next().unwrap();
            assert!(!everything.contains(credential), "{everything}");
            assert_eq!(received.header("authorization"), None);
        }
        rig.livy().clear();
    }
}

#[tokio::test]
async fn two_users_on_one_connection_are_each_themselves() {
    let issuer = Issuer::new();
    let setup = Setup::new().owned("alice", 1).owned("bob", 1);
    let rig = issuer.trusted_by(setup, "").start().await;
    let mut client = rig.connect().await;
    for (login, user) in [
        (basic("alice"), Some("alice")),
        (issuer.bearer("bob"), Some("bob")),
        (String::new(), None),
        (basic("bob"), Some("bob")),
        (issuer.bearer("alice"), Some("alice")),
    ] {
        for (id, owner) in [(0, "alice"), (1, "bob")] {
            rig.livy().clear();
            let path = format!("/livy/sessions/{id}");
            client.send(request("GET", &path, &login, "")).await;
            let reply = client.reply().await;
            match user {
                Some(user) if user == owner => {
                    reply.expect_status(200);
                    told_only(&rig.livy().last(), user);
                }
                Some(_) => {
                    reply.expect_status(404);
                    assert!(rig.livy().requests().is_empty());
                }
                None => {
                    reply.expect_refusal(401, "missing_credentials");
                    assert!(rig.livy().requests().is_empty());
                }
            }
        }
        client.send(list(&login)).await;
        let reply = client.reply().await;
        match user {
            Some("alice") => assert_eq!(lists_only(&reply, "alice"), [0]),
            Some(_) => assert_eq!(lists_only(&reply, "bob"), [1]),
            None => {
                reply.expect_refusal(401, "missing_credentials");
            }
        }
    }
}

#[tokio::test]
async fn a_401_challenges_with_two_lines_basic_first_and_tells_no_cause_apart() {
    let issuer = Issuer::new();
    let rig = issuer.trusted_by(Setup::new(), "").start().await;
    let forged = issuer.sign(HEADER, &Issuer::claims("alice").to_string()) + "x";
    let mut texts = BTreeSet::new();
    for (login, code) in [
        (String::new(), "missing_credentials"),
        (basic_with("alice", "wrong"), "invalid_credentials"),
        (basic_with("nobody-here", "wrong"), "invalid_credentials"),
        (basic_with("alice", ""), "invalid_credentials"),
        (basic_with("", &PASSWORD.0), "invalid_credentials"),
        (basic_with("ALICE", &PASSWORD.0), "invalid_credentials"),
        (basic_with(" alice", &PASSWORD.0), "invalid_credentials"),
        (
            basic_with("alice", &format!("{} ", PASSWORD.0)),
            "invalid_credentials",
        ),
        (basic_with("alice", &"x".repeat(2000)), "invalid_credentials"),
        (
            format!("Authorization: Bearer {forged}\r\n"),
            "invalid_credentials",
        ),
        (issuer.as_password("bob", "alice"), "invalid_credentials"),
        (
            "Authorization: Negotiate YII=\r\n".to_owned(),
            "malformed_credentials",
        ),
    ] {
        let reply = rig.ask(read(&login)).await;
        reply.expect_refusal(401, code);
        let challenges: Vec<_> = reply
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(
            challenges,
            ["Basic realm=\"livy\", charset=\"UTF-8\"", "Bearer realm=\"livy\""],
            "{code}"
        );
        if code == "invalid_credentials" {
            texts.insert(reply.json()["msg"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn an_authorization_header_that_is_not_exactly_one_is_malformed() {
    let issuer = Issuer::new();
    let rig = issuer.trusted_by(Setup::new(), "").start().await;
    let (password, bearer) = (basic("alice"), issuer.bearer("alice"));
    for lines in [
        format!("{password}{password}"),
        format!("{password}{bearer}"),
        format!("{bearer}{}", basic("bob")),
        format!("{password}authorization: \r\n"),
        "Authorization:\r\n".to_owned(),
        "Authorization: Basic\r\n".to_owned(),
        "Authorization: Basic !!!!\r\n".to_owned(),
        "Authorization: Basic YWxpY2U=\r\n".to_owned(),
        "Authorization: Basic YWxpY2U6eA\r\n".to_owned(),
        "Authorization: Basic /zpY\r\n".to_owned(),
        "Authorization: Basic YTpiAA==\r\n".to_owned(),
        "Authorization: Digest username=\"alice\"\r\n".to_owned(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Bearer a b\r\n".to_owned(),
        bearer.replace("\r\n", ", Basic YTpi\r\n"),
        password.replace("Basic ", "Basic\t"),
        format!("Authorization: Basic {}\r\n", "QUFB".repeat(4100)),
    ] {
        let reply = rig.ask(read(&lines)).await;
        assert_eq!(
            reply.outcome(),
            (401, "malformed_credentials".to_owned()),
            "{:.60}",
            lines
        );
        reply.expect_refusal(401, "malformed_credentials");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_tokens_time_is_told_only_if_it_is_good_otherwise_and_time_passes_for_the_cache_too() {
    let issuer = Issuer::new();
    let rig = issuer.trusted_by(Setup::new(), "").start().await;
    let short = |exp: u64| {
        let mut claims = Issuer::claims("alice");
        claims["exp"] = exp.into();
        issuer.sign(HEADER, &claims.to_string())
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let good = bearer(&short(NOW + 60));
    rig.ask(read(&good)).await.expect_status(200);
    rig.ask(read(&bearer(&short(NOW - 60))))
        .await
        .expect_refusal(401, "expired_token");
    let forged = format!("{}x", short(NOW - 60));
    rig.ask(read(&bearer(&forged)))
        .await
        .expect_refusal(401, "invalid_credentials");
    rig.clock.advance(std::time::Duration::from_secs(60 + 30 + 1));
    rig.ask(read(&good)).await.expect_refusal(401, "expired_token");
    assert_eq!(rig.livy().requests().len(), 1);
}

// --- As whom Livy acts.

const MAPPING: &str = r#"
[[identity.map]]
from = "jwt:corp"
subject = '^(?<name>[a-z]+)@corp\.example$'
livy_user = "${name}"

[[identity.map]]
from = "jwt:corp"
subject = "etl-service"
livy_user = "hive"

[[identity.map]]
from = "basic"
livy_user = "${subject}"
"#;

#[tokio::test]
async fn a_rule_says_who_a_token_is_and_the_name_beside_it_must_be_its_own() {
    let issuer = Issuer::new();
    let rig = issuer.trusted_by(Setup::new(), MAPPING).start().await;
    let subject = "alice@corp.example";
    for (login, user) in [
        (issuer.bearer(subject), "alice"),
        (issuer.as_password(subject, subject), "alice"),
        (issuer.as_password("alice", subject), "alice"),
        (issuer.bearer("etl-service"), "hive"),
        (basic("bob"), "bob"),
    ] {
        rig.ask(create(&login, "/livy/sessions", CREATE))
            .await
            .expect_status(201);
        told_only(&rig.livy().last(), user);
    }
    rig.livy().clear();
    for name in ["bob", "Alice", "alice@corp", "hive"] {
        rig.ask(read(&issuer.as_password(name, subject)))
            .await
            .expect_refusal(401, "invalid_credentials");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_subject_that_no_rule_maps_is_told_its_own_name_and_nothing_reaches_livy() {
    let issuer = Issuer::new();
    let rig = issuer.trusted_by(Setup::new(), MAPPING).start().await;
    for subject in [
        "alice@corp.example.evil",
        "mallory@evil.example",
        "alice",
        "ALICE@corp.example",
        "alice@corp.example\u{200b}",
        " alice@corp.example",
        "alice&doAs=bob@corp.example",
        "root@corp.example",
        "hdfs@corp.example",
        "livy@corp.example",
        "etl-service2",
    ] {
        let reply = rig.ask(read(&issuer.bearer(subject))).await;
        reply.expect_refusal(403, "unmapped_identity");
        let text = reply.text();
        assert!(text.contains("jwt:corp:"), "{text}");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_reserved_or_illegal_name_is_nobodys_by_accident() {
    let issuer = Issuer::new();
    let users: String = ["alice", "root", "Livy", "hdfs@X", "chief", "gw"]
        .iter()
        .map(|name| format!("{name}:{}\n", PASSWORD.1))
        .collect();
    let setup = Setup::new()
        .livy(FakeLivy::builder().impersonation(true))
        .livy_keys("authenticate = { kind = \"simple\", user = \"gw\" }")
        .file("users", &users);
    let identity = "[identity]\nalso_reserved = [\"chief\"]\n[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n";
    let rig = issuer.trusted_by(setup, identity).start().await;
    for login in ["root", "Livy", "hdfs@X", "chief", "gw"] {
        rig.ask(read(&basic(login)))
            .await
            .expect_refusal(403, "unmapped_identity");
    }
    for subject in [
        "root",
        "YARN",
        "spark@REALM",
        "chief",
        "gw",
        "GW@X",
        "alice&doAs=bob",
        "alice/host@REALM",
        "a b",
        "*",
        "-x",
        "..",
        "älice",
        "alice%00",
        "alice\u{ff0e}",
        "alice#",
    ] {
        rig.ask(read(&issuer.bearer(subject)))
            .await
            .expect_refusal(403, "unmapped_identity");
    }
    assert!(rig.livy().requests().is_empty());
    rig.ask(read(&basic("alice"))).await.expect_status(200);
}
