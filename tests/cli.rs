//! The command line as its users meet it: what it prints, and its exit codes.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

#[path = "cli/certificates.rs"]
mod certificates;
#[path = "cli/tokens.rs"]
mod tokens;

const CONFIGURATION: &str = r#"
[listen]
address = "127.0.0.1:8443"

[livy]
url = "http://127.0.0.1:8998"

[basic]
users_file = "users.htpasswd"

[[jwt]]
name = "demo"
issuer = "demo"
audience = ["livy-gateway"]
algorithms = ["HS256"]
keys = { secret = "file:hmac.key" }
groups_claim = "groups"

[[identity.map]]
from = "jwt:demo"
subject = '(?<name>[a-z]+)@example\.org'
livy_user = "${name}"

[[identity.map]]
from = "basic"
livy_user = "${subject}"

[[identity.delegate]]
service = "basic:zeppelin"
for = ["group:analysts"]
from_addresses = ["10.1.0.0/16"]
"#;

/// A folder with a configuration, its secret, and the users alice (of the analysts) and zeppelin.
struct Desk {
    directory: TempDir,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        desk.put("gateway.toml", CONFIGURATION);
        desk.put("hmac.key", &uuid::Uuid::now_v7().simple().to_string());
        fs::set_permissions(desk.path("hmac.key"), fs::Permissions::from_mode(0o600)).unwrap();
        for arguments in [&["alice", "--group", "analysts"][..], &["zeppelin"]] {
            let add = [&["users", "add", "--file", "users.htpasswd"][..], arguments].concat();
            assert_eq!(desk.run(&add, "a password of this test\n").code, Some(0));
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = Command::new(env!("CARGO_BIN_EXE_livy-gateway"))
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that needs no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    fn explain(&self, arguments: &[&str]) -> Said {
        self.run(
            &[&["explain", "--config", "gateway.toml"][..], arguments].concat(),
            "",
        )
    }
}

#[test]
fn check_says_what_a_good_file_means_and_exits_with_0() {
    let desk = Desk::new();
    let said = desk.run(&["check", "--config", "gateway.toml"], "");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    for words in [
        "http://127.0.0.1:8443 at /livy",
        "Basic: 2 users",
        "jwt:demo from demo, HS256",
        "2 rules; 1 delegate",
    ] {
        assert!(said.out.contains(words), "{words} is not in\n{}", said.out);
    }
    assert!(said.out.lines().count() <= 12, "{}", said.out);
}

#[test]
fn check_says_all_problems_of_a_bad_file_without_color_and_exits_with_1() {
    let desk = Desk::new();
    desk.put(
        "bad.toml",
        &CONFIGURATION.replace("url =", "uri =").replace("8443", "port"),
    );
    let said = desk.run(&["check", "--config", "bad.toml"], "");
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    for words in ["bad.toml:3:11", "did you mean `url`?", "3 problems in bad.toml"] {
        assert!(said.err.contains(words), "{words} is not in\n{}", said.err);
    }
    assert!(!said.err.contains('\u{1b}'), "{}", said.err);
}

#[test]
fn serve_does_not_start_where_nothing_tells_any_more_whose_sessions_are_whose() {
    let desk = Desk::new();
    let own = CONFIGURATION.replace("8443", "0").replace(
        "[basic]",
        "impersonation = \"off\"\nallow_shared_livy_user = true\n[admin]\naddress = \"127.0.0.1:0\"\n[basic]",
    );
    desk.put("off.toml", &format!("{own}[state]\ndirectory = \"held\"\n"));
    fs::create_dir(desk.path("held")).unwrap();
    desk.put("held/ledger.redb", "this is no ledger");
    // The second start would find a new ledger if the first had begun one.
    for _ in 0..2 {
        let said = desk.run(&["serve", "--config", "off.toml"], "");
        assert_eq!(said.code, Some(1), "{}", said.err);
        for words in ["ledger.redb cannot be trusted", "put a good copy in its place"] {
            assert!(said.err.contains(words), "{words} is not in\n{}", said.err);
        }
    }
    assert_eq!(
        fs::read(desk.path("held/ledger.redb")).unwrap(),
        b"this is no ledger"
    );
}

#[test]
fn serve_refuses_what_check_refuses_in_the_same_words() {
    let desk = Desk::new();
    desk.put("bad.toml", "");
    let check = desk.run(&["check", "--config", "bad.toml"], "");
    for arguments in [&["serve", "--config", "bad.toml"][..], &["--config", "bad.toml"]] {
        let serve = desk.run(arguments, "");
        assert_eq!(serve.code, Some(1));
        assert!(serve.err.contains(check.err.trim()), "{}", serve.err);
    }
}

#[test]
fn a_wrong_command_exits_with_2() {
    let desk = Desk::new();
    let wrong: [&[&str]; 6] = [
        &[],
        &["check"],
        &["sessions"],
        &["show", "--config"],
        &["explain", "--config", "gateway.toml", "GET", "/livy/sessions"],
        &[
            "token",
            "--config",
            "gateway.toml",
            "--subject",
            "alice",
            "--lifetime",
            "60",
        ],
    ];
    for arguments in wrong {
        assert_eq!(desk.run(arguments, "").code, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_users_file_is_edited_from_its_making_to_its_last_user() {
    let desk = Desk::new();
    let file = ["--file", "new.htpasswd"];
    let users = |what: &[&str], input: &str| desk.run(&[&["users"][..], what, &file].concat(), input);
    assert_eq!(
        users(&["add", "carol", "--group", "etl", "--group", "ops"], "first\n").out,
        "added carol\n"
    );
    assert_eq!(
        users(&["add", "carol"], "second\n").out,
        "replaced the password of carol\n"
    );
    assert_eq!(users(&["list"], "").out, "carol  argon2id  etl,ops\n");
    assert_eq!(users(&["remove", "carol"], "").out, "removed carol\n");
    let again = users(&["remove", "carol"], "");
    assert_eq!(
        (again.code, again.err.as_str()),
        (Some(1), "error: there is no user carol in new.htpasswd\n")
    );
}

#[test]
fn weak_hashes_are_marked_in_the_list() {
    let desk = Desk::new();
    desk.put(
        "old.htpasswd",
        "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=:etl\nben:secret\n",
    );
    let list = desk.run(&["users", "list", "--file", "old.htpasswd"], "").out;
    assert_eq!(list, "ann  {SHA} (weak)  etl\nben  plain text (weak)  \n");
}

#[test]
fn an_empty_password_is_refused_and_makes_no_file() {
    let desk = Desk::new();
    let said = desk.run(&["users", "add", "--file", "none.htpasswd", "carol"], "\n");
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(1), "error: the password is empty\n")
    );
    assert!(!desk.path("none.htpasswd").exists());
}

#[test]
fn a_hashed_password_is_a_line_that_a_users_file_takes() {
    let desk = Desk::new();
    let said = desk.run(
        &["hash-password", "dave", "--group", "etl"],
        "a password of this test\n",
    );
    assert!(
        said.out.starts_with("dave:$argon2id$") && said.out.ends_with(":etl\n"),
        "{}",
        said.out
    );
    desk.put("users.htpasswd", &said.out);
    assert_eq!(
        desk.run(&["users", "list", "--file", "users.htpasswd"], "").out,
        "dave  argon2id  etl\n"
    );
    let bare = desk.run(&["hash-password"], "a password of this test").out;
    assert!(bare.starts_with("$argon2id$"), "{bare}");
}

#[test]
fn a_name_that_no_login_could_have_is_refused() {
    let said = Desk::new().run(&["hash-password", "da:ve"], "a password of this test\n");
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
}

#[test]
fn a_token_is_good_for_explain() {
    let desk = Desk::new();
    let make = [
        "token",
        "--config",
        "gateway.toml",
        "--issuer",
        "demo",
        "--subject",
        "alice@example.org",
        "--group",
        "etl",
    ];
    let token = desk.run(&make, "").out;
    assert_eq!(token.matches('.').count(), 2);
    let said = desk.explain(&["--jwt", token.trim(), "GET", "/livy/sessions/7"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    for words in [
        "jwt:demo:alice@example.org\n",
        "to the Livy user alice: [[identity.map]] in line 19",
        "GET /sessions/7?doAs=alice",
    ] {
        assert!(said.out.contains(words), "{words} is not in\n{}", said.out);
    }
}

#[test]
fn a_token_that_was_touched_is_refused_and_said_to_be() {
    let desk = Desk::new();
    let token = desk
        .run(
            &[
                "token",
                "--config",
                "gateway.toml",
                "--subject",
                "alice@example.org",
            ],
            "",
        )
        .out;
    let (signed, signature) = token.trim().rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let touched = format!("{signed}.{other}{}", &signature[1..]);
    let said = desk.explain(&["--jwt", &touched, "GET", "/livy/sessions"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("refused    401 invalid_credentials"),
        "{}",
        said.out
    );
}

#[test]
fn explain_names_both_users_of_a_refused_impersonation() {
    let said = Desk::new().explain(&["--user", "alice", "POST", "/livy/sessions?doAs=root"]);
    assert_eq!(said.code, Some(1));
    let refusal = said.out.lines().last().unwrap();
    assert!(
        refusal.starts_with("refused    403 impersonation_refused"),
        "{refusal}"
    );
    assert!(
        refusal.contains("'alice'") && refusal.contains("'root'"),
        "{refusal}"
    );
}

#[test]
fn explain_shows_the_body_that_livy_would_receive() {
    let desk = Desk::new();
    desk.put(
        "body.json",
        r#"{"kind": "pyspark", "proxyUser": "alice", "numExecutors": 10}"#,
    );
    let said = desk.explain(&["--user", "alice", "--body", "body.json", "POST", "/livy/sessions"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let body = said.out.lines().last().unwrap().trim();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"kind": "pyspark", "numExecutors": 10, "proxyUser": "alice"})
    );
}

#[test]
fn explain_holds_a_body_to_the_operators_rules() {
    let desk = Desk::new();
    let rules = "\n[requests.conf]\nforce = { \"spark.yarn.queue\" = \"tenants.${primary_group}\" }\n";
    desk.put("gateway.toml", &format!("{CONFIGURATION}{rules}"));
    let explain = |body: &str, more: &[&str]| {
        desk.put("body.json", body);
        let arguments = ["--user", "alice", "--body", "body.json", "POST", "/livy/sessions"];
        desk.explain(&[&arguments[..], more].concat())
    };
    let said = explain("{}", &[]);
    assert!(said.out.contains("fills in what Livy gets"), "{}", said.out);
    assert!(
        said.out
            .contains(r#"{"conf":{"spark.yarn.queue":"tenants.analysts"}"#),
        "{}",
        said.out
    );
    let said = explain(r#"{"queue": "prod"}"#, &[]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("conf_refused") && said.out.contains("'tenants.analysts'"),
        "{}",
        said.out
    );
    let said = explain(r#"{"jars": ["file:///x.jar"]}"#, &[]);
    assert!(said.out.contains("400 file_refused"), "{}", said.out);
}

#[test]
fn hdinsights_published_first_examples_pass_in_its_place() {
    let desk = Desk::new();
    let file: String = include_str!("../config/hdinsight.toml")
        .lines()
        .map(|line| {
            if line.starts_with("tls = ") {
                "allow_plain_http = true"
            } else {
                line
            }
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    desk.put("gateway.toml", &file);
    for (target, body) in [
        (
            "/livy/batches",
            r#"{"file":"wasb:///example/jars/SparkSimpleTest.jar","className":"com.microsoft.spark.test.SimpleFile"}"#,
        ),
        (
            "/livy/sessions",
            r#"{"kind":"spark","jars":["wasbs://data@store.blob.core.windows.net/a.jar","/example/b.jar"],"files":[],"driverMemory":"1G","driverCores":2,"executorMemory":"1G","executorCores":10,"numExecutors":10}"#,
        ),
    ] {
        desk.put("body.json", body);
        let said = desk.explain(&["--user", "alice", "--body", "body.json", "POST", target]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
        let (unchanged, _) = body.rsplit_once('}').unwrap();
        assert!(said.out.contains(unchanged), "{}", said.out);
    }
}

#[test]
fn explain_refuses_a_body_as_the_gateway_would() {
    let desk = Desk::new();
    for (body, code) in [
        (
            r#"{"kind": "pyspark", "proxyUser": "root"}"#,
            "403 impersonation_refused",
        ),
        (
            r#"{"conf": {"spark.kubernetes.authenticate.driver.serviceAccountName": "x", "livy.rsc.x": "1"}}"#,
            "conf_refused",
        ),
        (r#"{"knid": "pyspark"}"#, "unknown_field"),
        ("[]", "invalid_body"),
    ] {
        desk.put("body.json", body);
        let said = desk.explain(&["--user", "alice", "--body", "body.json", "POST", "/livy/sessions"]);
        assert_eq!(said.code, Some(1), "{body}");
        assert!(said.out.contains(code), "{body}: {}", said.out);
        assert!(!said.out.contains("Livy gets"), "{body}: {}", said.out);
    }
}

#[test]
fn explain_lets_a_delegate_act_from_where_it_may_and_from_nowhere_else() {
    let desk = Desk::new();
    let ask = |from| {
        desk.explain(&[
            "--user",
            "zeppelin",
            "--from",
            from,
            "GET",
            "/livy/sessions?doAs=alice",
        ])
    };
    let near = ask("10.1.2.3");
    assert_eq!(near.code, Some(0));
    assert!(
        near.out
            .contains("alice, whom the query names: an [[identity.delegate]] allows it"),
        "{}",
        near.out
    );
    assert!(near.out.contains("GET /sessions?doAs=alice"), "{}", near.out);
    assert_eq!(ask("10.2.2.3").code, Some(1));
}

#[test]
fn explain_says_that_a_user_is_not_in_the_file() {
    let said = Desk::new().explain(&["--user", "mallory", "GET", "/livy/sessions"]);
    assert!(
        said.out
            .contains("mallory is not in the users file: a real login would be refused"),
        "{}",
        said.out
    );
}

#[test]
fn explain_checks_a_password_and_says_who_checked_it() {
    let desk = Desk::new();
    let arguments = [
        "explain",
        "--config",
        "gateway.toml",
        "--basic",
        "alice",
        "GET",
        "/livy/sessions",
    ];
    let right = desk.run(&arguments, "a password of this test\n");
    assert_eq!(right.code, Some(0), "{}", right.out);
    for words in [
        "checked by the users file, line 1, argon2id",
        "who        basic:alice\n",
        "groups     analysts",
        "not mapped by [[identity.map]] in line 19: it is for another source of logins",
        "mapped     to the Livy user alice: [[identity.map]] in line 24",
    ] {
        assert!(right.out.contains(words), "{words} is not in\n{}", right.out);
    }
    let wrong = desk.run(&arguments, "another password\n");
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.out.contains("401 invalid_credentials"), "{}", wrong.out);
    assert!(
        wrong.out.contains("the password is not that of alice"),
        "{}",
        wrong.out
    );
    for said in [right, wrong] {
        assert!(!format!("{}{}", said.out, said.err).contains("password of this test"));
    }
}

#[test]
fn explain_tells_role_and_quotas_and_why_no_rule_maps() {
    let desk = Desk::new();
    let more = "\n[roles]\noperator = [\"group:analysts\"]\n[[quota.for]]\nmembers_of = \"analysts\"\nsessions = 9\n\
                [[quota.for]]\neverybody = true\ncores = 500\n";
    desk.put("gateway.toml", &format!("{CONFIGURATION}{more}"));
    let told = desk.explain(&["--user", "alice", "POST", "/livy/sessions"]).out;
    for words in [
        "role       operator, for others' sessions",
        "quota      of alice: 9 sessions, 20 batches, 64 cores, 262144 MiB of memory; [[quota.for]] members_of analysts",
        "quota      of everybody together: 500 cores",
    ] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    let nobody = desk.explain(&["--user", "jwt:demo:Alice@example.com", "GET", "/livy/sessions"]);
    assert_eq!(nobody.code, Some(1));
    for words in [
        "in line 19: its subject does not match the whole name",
        "in line 24: it is for another source of logins",
        "mapped     to nobody: no [[identity.map]] matches",
        "403 unmapped_identity",
    ] {
        assert!(nobody.out.contains(words), "{words} is not in\n{}", nobody.out);
    }
}

#[test]
fn explain_refuses_what_is_no_operation_of_livy() {
    let said = Desk::new().explain(&["--user", "alice", "GET", "/livy/metrics"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("404 unknown_operation"), "{}", said.out);
}

#[test]
fn explain_tells_which_limit_holds_and_who_shares_one() {
    let desk = Desk::new();
    let limits = "\n[[limits.for]]\nmembers_of = \"analysts\"\nread = { rate = \"50/s\", burst = 200 }\n\
                  [[limits.for]]\neverybody = true\nread = { rate = \"500/s\" }\n";
    desk.put("gateway.toml", &format!("{CONFIGURATION}{limits}"));
    let told = |method: &str, path: &str, user: &str| desk.explain(&["--user", user, method, path]).out;
    let read = told("GET", "/livy/sessions", "alice");
    for words in [
        "limit      of alice: 50/s reads, 200 at once, held back up to 3 s; [[limits.for]] members_of analysts",
        "of everybody together: 500/s reads, 500 at once, held back up to 3 s",
    ] {
        assert!(read.contains(words), "{words} is not in\n{read}");
    }
    let other = told("GET", "/livy/sessions", "zeppelin");
    assert!(
        other.contains("of zeppelin: 20/s reads, 100 at once, held back up to 3 s; [limits]"),
        "{other}"
    );
    let deleted = told("DELETE", "/livy/sessions/7", "alice");
    assert!(deleted.contains("none: it takes load away"), "{deleted}");
}

#[test]
fn explain_tells_what_the_gateway_answers_about_itself_and_to_whom() {
    let desk = Desk::new();
    let me = desk.explain(&["--user", "alice", "GET", "/livy/gateway/me"]);
    assert_eq!(me.code, Some(0), "{}", me.err);
    assert!(
        me.out.contains("gateway_me") && me.out.contains("what alice is, holds and may hold"),
        "{}",
        me.out
    );
    let all = desk.explain(&["--user", "alice", "GET", "/livy/gateway/sessions"]);
    assert_eq!(all.code, Some(1));
    assert!(all.out.contains("refused    403 role_required"), "{}", all.out);
    desk.put(
        "gateway.toml",
        &format!("{CONFIGURATION}\n[roles]\nviewer = [\"group:analysts\"]\n"),
    );
    let all = desk.explain(&["--user", "alice", "GET", "/livy/gateway/sessions"]);
    assert_eq!(all.code, Some(0), "{}", all.err);
    assert!(all.out.contains("as the role viewer sees them"), "{}", all.out);
}
