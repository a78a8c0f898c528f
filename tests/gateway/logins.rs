//! Logins of many people at once: how often a password is hashed, and as whom Livy is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use livy_gateway::clock::Clock;
use livy_gateway::reload::Reloader;

use crate::rig::{Reply, Rig, Setup, basic_with, request};

/// A whole office behind one address.
const UNLIMITED: &str = "[limits]\nper_address = { rate = \"100000/s\", burst = 1000000 }\n\
    failed_logins = { per_address = \"100000/s\", per_address_and_account = \"100000/s\" }\n";

async fn version(rig: &Rig, headers: &str) -> Reply {
    rig.ask(request("GET", "/livy/version", headers, "")).await
}

fn checked(rig: &Rig) -> u64 {
    rig.app().shared().logins.stats().checked
}

/// As whom Livy was asked, and how often.
fn asked_as(rig: &Rig) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for received in rig.livy().requests() {
        for user in received.query_values("doAs") {
            *found.entry(user).or_default() += 1;
        }
    }
    found
}

fn new_password() -> (String, String) {
    let password = uuid::Uuid::now_v7().simple().to_string();
    let hash = bcrypt::hash(&password, 4).unwrap();
    (password, hash)
}

#[tokio::test]
async fn of_five_hundred_users_only_the_one_that_changed_is_hashed_again() {
    let (password, hash) = new_password();
    let (other_password, other_hash) = new_password();
    let lines = |changed: Option<usize>| -> String {
        (0..500)
            .map(|n| match changed {
                Some(at) if at == n => format!("user{n}:{other_hash}\n"),
                Some(_) | None => format!("user{n}:{hash}\n"),
            })
            .collect()
    };
    let setup = Setup::new().file("users", &lines(None)).rest(UNLIMITED);
    let rig = setup.start().await;
    let all = async || {
        for n in 0..500 {
            let reply = version(&rig, &basic_with(&format!("user{n}"), &password)).await;
            reply.expect_status(if n == 250 && checked(&rig) > 500 { 401 } else { 200 });
        }
    };
    all().await;
    all().await;
    assert_eq!(checked(&rig), 500);

    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    let mut reloader = Reloader::new(&rig.stage.config(), Arc::clone(rig.app().policy()), clock);
    rig.stage.write("users", &lines(Some(250)));
    reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
    rig.livy().clear();
    version(&rig, &basic_with("user250", &password))
        .await
        .expect_refusal(401, "invalid_credentials");
    assert_eq!(
        checked(&rig),
        501,
        "the old password is tried against the new hash"
    );
    all().await;
    version(&rig, &basic_with("user250", &other_password))
        .await
        .expect_status(200);
    assert_eq!(
        checked(&rig),
        503,
        "twice the old one, once the new one, and nobody else"
    );
    let asked = asked_as(&rig);
    assert_eq!(asked.len(), 500);
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
}

#[tokio::test]
async fn sixty_four_clients_with_one_password_at_a_cold_start_cost_one_hash() {
    let (password, hash) = new_password();
    let rig = Setup::new().file("users", &format!("svc:{hash}\n")).start().await;
    let headers = basic_with("svc", &password);
    for reply in join_all((0..64).map(|_| version(&rig, &headers))).await {
        reply.expect_status(200);
    }
    assert_eq!(checked(&rig), 1);
    assert_eq!(asked_as(&rig), BTreeMap::from([("svc".to_owned(), 64)]));
}

#[tokio::test]
async fn every_scheme_logs_in_as_its_own_user_and_nobody_by_what_the_file_stores() {
    // The password is "secret"; made by Apache's htpasswd, but for bcrypt.
    let bcrypt = bcrypt::hash("secret", 4).unwrap();
    let stored = [
        ("bcrypt", bcrypt.as_str()),
        ("apr1", "$apr1$kv9QP7CP$Hk5s910FQNegclZVnc7Ro1"),
        ("sha1", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ("plain", "secret"),
    ];
    let lines: String = stored
        .iter()
        .map(|(name, hash)| format!("{name}:{hash}\n"))
        .collect();
    let setup = Setup::new().file("users", &lines).rest(UNLIMITED);
    let stage = setup.stage().await;
    let text = stage.read("gateway.toml");
    stage.write(
        "gateway.toml",
        &text.replace("[basic]", "[basic]\nallow_weak_hashes = true"),
    );
    let rig = stage.start();
    for (name, hash) in stored {
        version(&rig, &basic_with(name, "secret"))
            .await
            .expect_status(200);
        assert_eq!(rig.livy().last().query_values("doAs"), [name]);
        rig.livy().clear();
        for wrong in ["Secret", "secret ", "x"]
            .into_iter()
            .chain([hash])
            .filter(|word| *word != "secret")
        {
            version(&rig, &basic_with(name, wrong))
                .await
                .expect_refusal(401, "invalid_credentials");
        }
        assert!(rig.livy().requests().is_empty(), "{name}");
    }
}
