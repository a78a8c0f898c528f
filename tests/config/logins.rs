//! Who may log in: users files and what they may hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use livy_gateway::authn::personal::NewToken;

use super::{MINIMAL, Stage};

/// What `super::full` lacks of logins.
pub(super) const FULL: &str = "\n[tokens]\nfile = \"personal.tokens\"\n";

/// The files that the bad configurations of this book name.
pub(super) fn stage(stage: &Stage, hash: &str) {
    let weak = format!("alice:{hash}\nbob:{SHA1}\ncarol:secret\ndave:85R86AiEs9YvA\nALICE:{hash}\n");
    stage.put("weak.htpasswd", &weak, 0o600);
    let line = |user| {
        let (now, life) = (Duration::from_secs(1_800_000_000), Duration::from_secs(3600));
        NewToken::make(user, "for tests", now, life).unwrap().line
    };
    for name in ["tokens", "personal.tokens"] {
        stage.put(name, &format!("{}\n{}\n", line("alice"), line("carol")), 0o600);
    }
    // Made up, so that the report is the same each time.
    let hash = "0".repeat(64);
    let times = "2026-08-01T09:30:00Z 2026-10-30T09:30:00Z";
    stage.put(
        "damaged.tokens",
        &format!("# damaged\n0123456789 {hash} hdfs {times} etl\nalice:secret\n"),
        0o600,
    );
    stage.put(
        "reserved.tokens",
        &format!("0123456789 {hash} etl-root {times} etl\nabcdefghij {hash} gw {times} etl\n"),
        0o600,
    );
}

const SHA1: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

#[test]
fn a_users_file_that_everybody_may_read_is_insecure_and_one_of_the_group_is_not() {
    let stage = Stage::new();
    for (mode, sentences) in [(0o644, 1), (0o604, 1), (0o660, 1), (0o640, 0), (0o400, 0)] {
        fs::set_permissions(stage.path("users.htpasswd"), fs::Permissions::from_mode(mode)).unwrap();
        let insecure = stage.load(MINIMAL).insecure;
        assert_eq!(insecure.len(), sentences, "{mode:o}: {insecure:?}");
    }
}

#[test]
fn weak_hashes_are_counted_by_scheme() {
    let stage = Stage::new();
    stage.put(
        "users.htpasswd",
        &format!("alice:{SHA1}\nbob:{SHA1}\ncarol:secret\n"),
        0o600,
    );
    let text = MINIMAL.replace("[basic]", "[basic]\nallow_weak_hashes = true");
    assert_eq!(
        stage.load(&text).insecure,
        [format!(
            "{} holds weak hashes (basic.allow_weak_hashes): 2 users with {{SHA}}, 1 user with plain text; set their passwords anew with `livy-gateway users add`",
            stage.path("users.htpasswd").display()
        )]
    );
}

#[test]
fn tokens_alone_are_a_login_and_no_second_source_that_needs_a_map() {
    let stage = Stage::new();
    let (before_basic, _) = MINIMAL.split_once("[basic]").unwrap();
    let alone = format!("{before_basic}[tokens]\nfile = \"tokens\"\n");
    let beside = format!("{MINIMAL}\n[tokens]\nfile = \"tokens\"\n");
    for text in [alone, beside] {
        let policy = stage.load(&text);
        assert_eq!(policy.authn.tokens.as_ref().unwrap().len(), 2);
        assert!(policy.files.contains(&stage.path("tokens")), "it is watched");
    }
    stage.put("tokens", "# none yet\n", 0o600);
    let text = format!("{MINIMAL}\n[tokens]\nfile = \"tokens\"\n");
    assert!(stage.load(&text).authn.tokens.as_ref().unwrap().is_empty());
}

#[test]
fn a_service_may_log_in_with_a_token_to_act_for_others() {
    let stage = Stage::new();
    let rule = "[[identity.delegate]]\nservice = \"token:carol\"\nfor = [\"user:alice\"]\n";
    stage.load(&format!("{MINIMAL}\n[tokens]\nfile = \"tokens\"\n{rule}"));
    let report = stage.report("alone.toml", &format!("{MINIMAL}\n{rule}"));
    assert!(report.contains("no login is configured as \"token\""), "{report}");
}
