//! `tokens`: made once, listed without their secret, revoked.

use std::fs;

use super::{Desk, Said};

impl Desk {
    fn tokens(&self, what: &[&str]) -> Said {
        self.run(&[&["tokens"][..], what, &["--file", "tokens"]].concat(), "")
    }

    fn make(&self, user: &str, label: &str) -> String {
        let said = self.tokens(&["add", "--user", user, "--expires", "90d", "--label", label]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.out.trim_end().to_owned()
    }
}

/// The columns of a list's rows, but for the times.
fn rows(list: &str) -> Vec<[String; 4]> {
    let cell = |row: &str, at: usize| {
        row.split("  ")
            .filter(|cell| !cell.is_empty())
            .nth(at)
            .unwrap_or("")
            .trim()
            .to_owned()
    };
    list.lines()
        .skip(1)
        .map(|row| [0, 1, 4, 5].map(|at| cell(row, at)))
        .collect()
}

fn id_of(token: &str) -> String {
    token.split('_').nth(1).unwrap().to_owned()
}

#[test]
fn a_token_is_printed_once_alone_and_kept_nowhere() {
    let desk = Desk::new();
    let said = desk.tokens(&[
        "add",
        "--user",
        "alice",
        "--expires",
        "90d",
        "--label",
        "notebook",
    ]);
    let token = said.out.strip_suffix('\n').unwrap();
    assert!(
        token.starts_with("lgwt_") && token.len() == 49 && !token.contains('\n'),
        "{}",
        said.out
    );
    assert!(
        said.err.contains("of alice, good until 20") && !said.err.contains(token),
        "{}",
        said.err
    );
    let file = fs::read_to_string(desk.path("tokens")).unwrap();
    assert!(
        file.contains(" alice ") && file.ends_with(" notebook\n"),
        "{file}"
    );
    let secret = token.rsplit('_').next().unwrap();
    let list = desk.tokens(&["list"]).out;
    assert!(!file.contains(secret) && !list.contains(secret));
    assert_eq!(
        rows(&list),
        [[&id_of(token), "alice", "?", "notebook"].map(str::to_owned)]
    );
}

#[test]
fn tokens_are_revoked_by_id_and_by_user() {
    let desk = Desk::new();
    let [one, two, three] = ["alice", "carol", "alice"].map(|user| id_of(&desk.make(user, "etl job")));
    let said = desk.tokens(&["revoke", &two]);
    assert_eq!((said.code, said.out), (Some(0), format!("revoked {two}\n")));
    let again = desk.tokens(&["revoke", &two]);
    assert_eq!(again.code, Some(1));
    assert!(
        again.err.contains(&format!("there is no token {two} in tokens")),
        "{}",
        again.err
    );
    assert_eq!(
        desk.tokens(&["revoke", "--user", "alice"]).out,
        format!("revoked {one}, {three}\n")
    );
    assert!(
        desk.tokens(&["revoke", "--user", "alice"])
            .err
            .contains("alice has no token in tokens")
    );
    assert!(rows(&desk.tokens(&["list"]).out).is_empty());
    assert_eq!(desk.tokens(&["revoke"]).code, Some(2));
}

#[test]
fn what_cannot_be_a_token_is_refused_and_makes_no_file() {
    let desk = Desk::new();
    for (user, expires, label, code, words) in [
        ("hdfs", "90d", "x", 1, "hdfs is a reserved name"),
        ("a b", "90d", "x", 1, "cannot be a Livy user"),
        ("alice", "367d", "x", 1, "at most 366d"),
        ("alice", "never", "x", 2, "--expires"),
        ("alice", "90d", "", 1, "1 to 64 printable"),
    ] {
        let said = desk.tokens(&["add", "--user", user, "--expires", expires, "--label", label]);
        assert_eq!(said.code, Some(code), "{user} {expires}: {}", said.err);
        assert!(said.err.contains(words) && said.out.is_empty(), "{}", said.err);
    }
    assert_eq!(
        desk.tokens(&["add", "--user", "alice", "--label", "x"]).code,
        Some(2),
        "an end must be named"
    );
    assert!(!desk.path("tokens").exists());
}

#[test]
fn the_list_says_what_expired_and_when_it_was_used_last() {
    let desk = Desk::new();
    let (used, unused) = (
        id_of(&desk.make("alice", "one")),
        id_of(&desk.make("carol", "two words")),
    );
    let old = fs::read_to_string(desk.path("tokens"))
        .unwrap()
        .replacen(&used, "0123456789", 1);
    let old = old.lines().next().unwrap();
    let mut fields: Vec<_> = old.split(' ').collect();
    (fields[3], fields[4]) = ("2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z");
    let file = fs::read_to_string(desk.path("tokens")).unwrap();
    desk.put("tokens", &format!("{file}{}\n", fields.join(" ")));
    fs::create_dir(desk.path("state")).unwrap();
    desk.put("state/token-uses", &format!("{used} 2026-08-01T09:30:00Z\n"));

    let by_directory = desk.tokens(&["list", "--state", "state"]).out;
    let state = format!("[state]\ndirectory = \"state\"\n{}", super::CONFIGURATION);
    desk.put("gateway.toml", &state);
    assert_eq!(
        desk.tokens(&["list", "--config", "gateway.toml"]).out,
        by_directory
    );
    let expected = [
        [&used, "alice", "2026-08-01T09:30:00Z", "one"],
        [&unused, "carol", "never", "two words"],
        ["0123456789", "alice", "never", "one"],
    ];
    assert_eq!(rows(&by_directory), expected.map(|row| row.map(str::to_owned)));
    let last = by_directory.lines().last().unwrap();
    assert!(last.contains("2020-01-01T00:00:00Z  expired "), "{by_directory}");
    assert_eq!(by_directory.matches("expired").count(), 1);
    desk.put(
        "gateway.toml",
        &state.replace("directory = \"state\"", "store = \"memory\""),
    );
    let said = desk.tokens(&["list", "--config", "gateway.toml"]);
    assert!(
        said.code == Some(1) && said.err.contains("keeps its state in memory"),
        "{}",
        said.err
    );
}

#[test]
fn explain_tells_whom_a_token_names_and_whether_there_is_one() {
    let desk = Desk::new();
    let said = desk.explain(&["--user", "token:alice", "GET", "/livy/sessions"]);
    assert!(said.err.contains("there is no [tokens]"), "{}", said.err);
    desk.make("alice", "etl");
    desk.put(
        "gateway.toml",
        &format!("{}\n[tokens]\nfile = \"tokens\"\n", super::CONFIGURATION),
    );
    let said = desk.explain(&["--user", "token:alice", "GET", "/livy/sessions"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for words in [
        "who        token:alice\n",
        "to the Livy user alice: a personal token names its Livy user itself",
        "groups     analysts",
        "doAs=alice",
    ] {
        assert!(said.out.contains(words), "{words} is not in\n{}", said.out);
    }
    let said = desk.explain(&["--user", "token:carol", "GET", "/livy/sessions"]);
    assert!(
        said.out.contains("no token that is good is carol's"),
        "{}",
        said.out
    );
    let said = desk.explain(&["--user", "token:hdfs", "GET", "/livy/sessions"]);
    assert!(
        said.code == Some(1) && said.out.contains("unmapped_identity"),
        "{}",
        said.out
    );
}

#[test]
fn explain_checks_a_token_as_the_gateway_does_and_repeats_it_nowhere() {
    let desk = Desk::new();
    let token = desk.make("alice", "etl job");
    desk.put(
        "gateway.toml",
        &format!("{}\n[tokens]\nfile = \"tokens\"\n", super::CONFIGURATION),
    );
    let as_basic = |user: &str| {
        let arguments = [
            "explain",
            "--config",
            "gateway.toml",
            "--basic",
            user,
            "GET",
            "/livy/sessions",
        ];
        desk.run(&arguments, &token)
    };
    let as_bearer = |token: &str| desk.explain(&["--jwt", token, "GET", "/livy/sessions"]);
    for said in [as_basic("alice"), as_bearer(&token)] {
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        let checked = format!("the tokens file, line 1: {} etl job\n", id_of(&token));
        assert!(
            said.out.contains(&checked) && said.out.contains("doAs=alice"),
            "{}",
            said.out
        );
        assert!(!format!("{}{}", said.out, said.err).contains("lgwt_"));
    }
    let cut = token.split_at(48).0;
    for (said, why) in [
        (as_basic("zeppelin"), "the user name beside it is another"),
        (as_bearer(cut), "it has not the form"),
    ] {
        assert!(said.code == Some(1) && said.out.contains(why), "{}", said.out);
        assert!(
            said.out.contains("invalid_credentials") && !said.out.contains("lgwt_"),
            "{}",
            said.out
        );
    }
}
