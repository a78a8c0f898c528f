//! Users files that Apache's own `htpasswd` writes, with each of its options, in front of a whole gateway.

use std::process::Command;

use crate::rig::{Setup, basic_with, request};

/// Name, options, and whether the file must allow it.
const WAYS: &[(&str, &[&str], Weak)] = &[
    ("bcrypt", &["-B"], Weak::No),
    ("bcrypt-dear", &["-B", "-C", "7"], Weak::No),
    ("apr1", &["-m"], Weak::No),
    ("sha256", &["-2"], Weak::No),
    ("sha256-rounds", &["-2", "-r", "12345"], Weak::No),
    ("sha512", &["-5"], Weak::No),
    ("sha512-rounds", &["-5", "-r", "1000"], Weak::No),
    ("sha1", &["-s"], Weak::Yes),
    ("plain", &["-p"], Weak::Yes),
];

const UNLIMITED: &str = "[limits]\nper_address = { rate = \"100000/s\", burst = 1000000 }\n\
    failed_logins = { per_address = \"100000/s\", per_address_and_account = \"100000/s\" }\n";

#[derive(Clone, Copy, PartialEq)]
enum Weak {
    Yes,
    No,
}

/// Passwords in which a wrong implementation would show: short, a block of MD5 or SHA, longer, and beyond ASCII.
fn passwords() -> [String; 4] {
    let random = uuid::Uuid::now_v7().simple().to_string();
    [
        random.split_at(20).1.to_owned(),
        random.split_at(16).1.to_owned(),
        // bcrypt looks at 72 bytes, and the gateway takes no longer ones where it decides.
        format!("{random}{random}12345678").replace('0', " "),
        format!("pä:ss-wörd {}", random.split_at(26).1),
    ]
}

/// Has the real program add the user to the file.
fn htpasswd(file: &std::path::Path, options: &[&str], user: &str, password: &str) {
    let create: &[&str] = if file.exists() { &[] } else { &["-c"] };
    let said = Command::new("htpasswd")
        .args(create)
        .args(options)
        .arg("-b")
        .arg(file)
        .args([user, password])
        .output()
        .expect("htpasswd is missing: install it with `make providers`, or apt-get install apache2-utils");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn files_of_every_option_load_and_let_their_users_in_as_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    let mut people = Vec::new();
    for (name, options, _) in WAYS {
        for (number, password) in passwords().into_iter().enumerate() {
            // A colon would end a password that is no hash: such a line is refused, as a test of the parser shows.
            let password = if *name == "plain" {
                password.replace(':', "")
            } else {
                password
            };
            let user = format!("{name}-{number}");
            htpasswd(&file, options, &user, &password);
            people.push((user, password));
        }
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let stage = Setup::new().file("users", &text).rest(UNLIMITED).stage().await;
    let configuration = stage.read("gateway.toml");
    stage.write(
        "gateway.toml",
        &configuration.replace("[basic]", "[basic]\nallow_weak_hashes = true"),
    );
    let rig = stage.start();
    for (user, password) in &people {
        let ask = |password: &str| request("GET", "/livy/version", &basic_with(user, password), "");
        rig.ask(ask(password)).await.expect_status(200);
        assert_eq!(rig.livy().last().query_values("doAs"), [user.as_str()]);
        rig.livy().clear();
        let stored = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{user}:")))
            .unwrap();
        for wrong in [&format!("{password}x"), password.split_at(1).1, stored] {
            if wrong != password {
                rig.ask(ask(wrong))
                    .await
                    .expect_refusal(401, "invalid_credentials");
            }
        }
        assert!(rig.livy().requests().is_empty(), "{user}");
    }
}

#[tokio::test]
async fn weak_files_and_des_crypt_do_not_load_by_default_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let [long, ..] = passwords();
    let password = long.split_at(8).0;
    let refused = WAYS
        .iter()
        .map(|(name, options, weak)| (*name, *options, *weak == Weak::Yes))
        .chain([("des", &["-d"][..], true)]);
    for (name, options, is_refused) in refused {
        let file = folder.path().join(name);
        htpasswd(&file, options, "alice", password);
        let text = std::fs::read_to_string(&file).unwrap();
        let stage = Setup::new().file("users", &text).stage().await;
        match livy_gateway::config::load(&stage.config(), 1) {
            Ok(_) => assert!(!is_refused, "{name}"),
            Err(report) => {
                let report = report.to_string();
                assert!(is_refused && report.contains("users:1"), "{name}: {report}");
                assert!(report.contains("livy-gateway users add"), "{name}: {report}");
                assert!(!report.contains(password), "{name}: {report}");
            }
        }
    }
}
