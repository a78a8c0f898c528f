//! Several issuers of tokens at once, each with its own keys and rules: whose token is whose, and how long it is good.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livy_gateway::clock::Clock;
use livy_gateway::reload::Reloader;
use serde_json::{Value, json};

use crate::rig::{NOW, Reply, Rig, Setup, Signer, request};

mod fetched;
mod twisted;

const CORP: &str = "https://corp.example.org/";
const LAB: &str = "https://lab.example.org/";

/// Two issuers with key sets of their own: corp's subjects are Livy users as they are, lab's with `lab-` before.
struct Issuers {
    corp: Signer,
    lab: Signer,
}

impl Issuers {
    fn new() -> Self {
        Self {
            corp: Signer::rsa(),
            lab: Signer::p256(),
        }
    }

    /// A gateway that trusts both; `corp` are more keys of corp's table.
    async fn trusted(&self, corp: &str) -> Rig {
        self.setup(corp).start().await
    }

    fn setup(&self, corp: &str) -> Setup {
        let set = |signer: &Signer, kid: &str| json!({"keys": [signer.jwk(kid)]}).to_string();
        Setup::new()
            .file("corp.json", &set(&self.corp, "corp-1"))
            .file("lab.json", &set(&self.lab, "lab-1"))
            .rest(&tables(corp))
    }
}

fn tables(corp: &str) -> String {
    format!(
        "[[jwt]]\nname = \"corp\"\nissuer = \"{CORP}\"\naudience = [\"livy-gateway\"]\nalgorithms = [\"RS256\"]\n\
         keys = {{ file = \"corp.json\" }}\n{corp}\n\
         [[jwt]]\nname = \"lab\"\nissuer = \"{LAB}\"\naudience = [\"lab-livy\"]\nalgorithms = [\"ES256\"]\n\
         keys = {{ file = \"lab.json\" }}\nuser_claim = \"account.name\"\nas_basic_password = false\n\
         [[identity.map]]\nfrom = \"jwt:corp\"\nlivy_user = \"${{subject}}\"\n\
         [[identity.map]]\nfrom = \"jwt:lab\"\nsubject = '^(?<name>[a-z]+)$'\nlivy_user = \"lab-${{name}}\"\n\
         [limits]\nper_address = {{ rate = \"10000/s\", burst = 10000 }}\n\
         failed_logins = {{ per_address = \"10000/s\", per_address_and_account = \"10000/s\" }}\n"
    )
}

const CORP_HEADER: &str = r#"{"alg":"RS256","kid":"corp-1","typ":"at+jwt"}"#;
const LAB_HEADER: &str = r#"{"alg":"ES256","kid":"lab-1"}"#;

fn corp_claims() -> Value {
    json!({"iss": CORP, "aud": "livy-gateway", "sub": "alice", "iat": NOW, "exp": NOW + 600, "jti": "t-1"})
}

fn lab_claims() -> Value {
    json!({"iss": LAB, "aud": ["x", "lab-livy"], "sub": "7", "account": {"name": "alice"}, "exp": NOW + 600})
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

async fn version(rig: &Rig, token: &str) -> Reply {
    rig.ask(request("GET", "/livy/version", &bearer(token), "")).await
}

async fn create(rig: &Rig, token: &str) -> Reply {
    let headers = format!("{}Content-Type: application/json\r\n", bearer(token));
    rig.ask(request("POST", "/livy/sessions", &headers, r#"{"kind":"spark"}"#))
        .await
}

/// As whom Livy was asked last.
fn livy_user(rig: &Rig) -> Vec<String> {
    rig.livy().last().query_values("doAs")
}

#[tokio::test]
async fn each_issuer_has_its_own_mapping_audience_and_user_claim() {
    let issuers = Issuers::new();
    let rig = issuers.trusted("").await;
    let corp = issuers.corp.sign(CORP_HEADER, &corp_claims().to_string());
    let lab = issuers.lab.sign(LAB_HEADER, &lab_claims().to_string());
    for (token, user) in [(&corp, "alice"), (&lab, "lab-alice"), (&corp, "alice")] {
        version(&rig, token).await.expect_status(200);
        assert_eq!(livy_user(&rig), [user]);
        create(&rig, token).await.expect_status(201);
        assert_eq!(rig.livy().last().json()["proxyUser"], user);
        assert_eq!(livy_user(&rig), [user]);
    }
    // What one of them may be the other may not.
    rig.livy().clear();
    let mut for_the_other = corp_claims();
    for_the_other["aud"] = json!("lab-livy");
    let mut without_account = lab_claims();
    without_account.as_object_mut().unwrap().remove("account");
    let as_password = |token: &str| {
        let pair = STANDARD.encode(format!("lab-alice:{token}"));
        request(
            "GET",
            "/livy/version",
            &format!("Authorization: Basic {pair}\r\n"),
            "",
        )
    };
    for refused in [
        version(&rig, &issuers.corp.sign(CORP_HEADER, &for_the_other.to_string())).await,
        version(&rig, &issuers.lab.sign(LAB_HEADER, &without_account.to_string())).await,
        rig.ask(as_password(&lab)).await,
    ] {
        refused.expect_refusal(401, "invalid_credentials");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn spellings_of_a_name_are_other_livy_users_or_none() {
    let issuers = Issuers::new();
    let rig = issuers.trusted("").await;
    for spelling in [
        "alice ",
        " alice",
        "\u{a0}alice",
        "ａｌｉｃｅ",
        "аlice",
        "alice\u{200b}",
        "alıce",
        "alice\u{301}",
        "ali\u{ad}ce",
        "alice/host",
        "CORP\\alice",
        "alice%00",
        "*",
    ] {
        let mut claims = corp_claims();
        claims["sub"] = json!(spelling);
        let reply = version(&rig, &issuers.corp.sign(CORP_HEADER, &claims.to_string())).await;
        reply.expect_refusal(403, "unmapped_identity");
        assert!(rig.livy().requests().is_empty(), "{spelling:?}");
    }
    // An issuer's subjects are compared to the byte: none of these has alice's sessions.
    for spelling in ["alice", "Alice", "ALICE", "alice@corp"] {
        let mut claims = corp_claims();
        claims["sub"] = json!(spelling);
        let token = issuers.corp.sign(CORP_HEADER, &claims.to_string());
        version(&rig, &token).await.expect_status(200);
        assert_eq!(livy_user(&rig), [spelling]);
    }
}

#[tokio::test]
async fn an_expired_token_goes_on_to_read_as_long_as_configured_and_writes_nothing() {
    let issuers = Issuers::new();
    let rig = issuers
        .trusted("reads_after_expiry = \"10m\"\nleeway = \"0s\"")
        .await;
    let token = issuers.corp.sign(CORP_HEADER, &corp_claims().to_string());
    create(&rig, &token).await.expect_status(201);
    let own = "/livy/sessions/0".to_owned();
    let asks = async |method: &str, path: &str| rig.ask(request(method, path, &bearer(&token), "")).await;
    let reads = [own.clone(), format!("{own}/state"), format!("{own}/statements")];
    let writes = [
        ("DELETE", own.clone()),
        ("POST", format!("{own}/interrupt")),
        ("POST", format!("{own}/statements/0/cancel")),
    ];
    let mut now = 0;
    // The token ends at 600. At 599 it is in the cache, at 600 it is there still, and later it is verified anew.
    for (moment, may_read, may_write) in [
        (599, true, true),
        (600, true, false),
        (899, true, false),
        (1199, true, false),
        (1200, false, false),
    ] {
        rig.clock.advance(Duration::from_secs(moment - now));
        now = moment;
        rig.livy().clear();
        for _ in 0..2 {
            for path in &reads {
                let reply = asks("GET", path).await;
                if may_read {
                    reply.expect_status(200);
                } else {
                    reply.expect_refusal(401, "expired_token");
                }
            }
            if may_write {
                continue;
            }
            for (method, path) in &writes {
                asks(method, path).await.expect_refusal(401, "expired_token");
            }
            create(&rig, &token).await.expect_refusal(401, "expired_token");
        }
        let seen = rig.livy().requests();
        assert_eq!(seen.len(), if may_read { 6 } else { 0 }, "at {moment}: {seen:?}");
        for received in seen {
            assert_eq!(received.method, "GET");
            assert_eq!(received.query_values("doAs"), ["alice"]);
        }
    }
}

#[tokio::test]
async fn who_is_denied_by_a_reload_is_out_at_the_next_request() {
    let issuers = Issuers::new();
    let rig = issuers.trusted("").await;
    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    let mut reloader = Reloader::new(&rig.stage.config(), Arc::clone(rig.app().policy()), clock);
    let sign = |sub: &str, jti: &str| {
        let mut claims = corp_claims();
        claims["sub"] = json!(sub);
        claims["jti"] = json!(jti);
        issuers.corp.sign(CORP_HEADER, &claims.to_string())
    };
    let (mallory, stolen, alice) = (sign("mallory", "t-1"), sign("bob", "t-2"), sign("bob", "t-3"));
    for token in [&mallory, &stolen, &alice] {
        version(&rig, token).await.expect_status(200);
    }
    let text = rig.stage.read("gateway.toml");
    let denied =
        "audience = [\"livy-gateway\"]\ndenied_subjects = [\"mallory\"]\ndenied_token_ids = [\"t-2\"]";
    rig.stage.write(
        "gateway.toml",
        &text.replace("audience = [\"livy-gateway\"]", denied),
    );
    let shared = rig.app().shared();
    reloader.reload(&shared.logins, &shared.users);
    rig.livy().clear();
    for token in [&mallory, &stolen] {
        for _ in 0..2 {
            version(&rig, token)
                .await
                .expect_refusal(401, "invalid_credentials");
        }
    }
    assert!(rig.livy().requests().is_empty());
    version(&rig, &alice).await.expect_status(200);
    assert_eq!(livy_user(&rig), ["bob"]);
}
