use proptest::prelude::*;

use super::*;
use crate::roles::Holder;

fn subject(source: Source, name: &str) -> Arc<Subject> {
    Arc::new(Subject::proven(source, name, Vec::new()))
}

fn basic(name: &str) -> Arc<Subject> {
    subject(Source::Basic, name)
}

fn jwt(entry: &str, name: &str) -> Arc<Subject> {
    subject(Source::Jwt(entry.into()), name)
}

fn rule(from: &str, subject: Option<&str>, livy_user: &str) -> MapRule {
    MapRule::new(from.parse().unwrap(), subject, livy_user).unwrap()
}

fn identities(rules: Vec<MapRule>) -> Identities {
    Identities::new(rules, vec!["gateway".into()], Vec::new()).unwrap()
}

/// zeppelin for carol and the analysts from 10.1.0.0/16, airflow's token for everybody from anywhere.
fn with_delegates() -> Identities {
    let net = ["10.1.0.0/16".parse().unwrap()];
    let zeppelin = ["group:analysts".to_owned(), "user:carol".to_owned()];
    let everybody = ["user:*".to_owned()];
    Identities::new(
        Vec::new(),
        vec!["gateway".into()],
        vec![
            DelegateRule::new("basic:zeppelin", &zeppelin, &net).unwrap(),
            DelegateRule::new("jwt:corp:airflow", &everybody, &[]).unwrap(),
        ],
    )
    .unwrap()
}

fn mapped(identities: &Identities, subject: &Arc<Subject>) -> Option<String> {
    identities
        .resolve(subject)
        .ok()
        .map(|principal| principal.livy_user().to_string())
}

const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));
const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 2, 3));

fn acting(
    identities: &Identities,
    subject: &Arc<Subject>,
    peer: IpAddr,
    requested: &[&str],
) -> Result<Acting, Denial> {
    identities.acting(&identities.resolve(subject).unwrap(), peer, requested)
}

fn refused(asked: &str, mapped: &str) -> Result<Acting, Denial> {
    Err(Denial::ImpersonationRefused {
        asked: asked.into(),
        mapped: mapped.into(),
    })
}

fn for_somebody_else(user: &str) -> Result<Acting, Denial> {
    Ok(Acting::for_tests(user, true))
}

#[test]
fn without_rules_a_subject_is_the_livy_user_of_the_same_name() {
    let identities = identities(Vec::new());
    assert_eq!(mapped(&identities, &basic("alice")).as_deref(), Some("alice"));
    assert_eq!(mapped(&identities, &basic("Alice")).as_deref(), Some("Alice"));
    assert_eq!(identities.explain(&basic("alice")).0, Matched::SameName);
}

#[test]
fn the_first_rule_that_matches_decides_even_when_it_gives_nobody() {
    let identities = identities(vec![
        rule("basic", Some("bob"), "robert"),
        rule("jwt:corp", Some(r"(?<name>.*)@corp\.example"), "${name}"),
        rule("any", Some("(?<name>.*)@.*"), "x-${name}"),
    ]);
    for (subject, rule, user) in [
        (basic("bob"), Matched::Rule(0), Some("robert")),
        (jwt("corp", "bob"), Matched::Nothing, None),
        (jwt("corp", "bob@corp.example"), Matched::Rule(1), Some("bob")),
        (jwt("other", "bob@corp.example"), Matched::Rule(2), Some("x-bob")),
        (jwt("corp", "b b@corp.example"), Matched::Rule(1), None),
        (jwt("corp", "@corp.example"), Matched::Rule(1), None),
        (basic("alice"), Matched::Nothing, None),
    ] {
        assert_eq!(identities.explain(&subject).0, rule, "{subject}");
        assert_eq!(mapped(&identities, &subject).as_deref(), user, "{subject}");
    }
}

#[test]
fn an_unmapped_subject_is_named_with_its_source_and_escaped() {
    let denial = identities(Vec::new()).resolve(&jwt("corp", "a\"b")).unwrap_err();
    assert_eq!(
        denial,
        Denial::UnmappedIdentity {
            subject: "jwt:corp:a\\\"b".into()
        }
    );
}

#[test]
fn the_groups_of_a_principal_are_those_of_its_login() {
    let subject = Arc::new(Subject::proven(Source::Basic, "alice", vec!["analysts".into()]));
    let principal = identities(Vec::new()).resolve(&subject).unwrap();
    assert_eq!(principal.groups(), ["analysts".into()]);
    assert_eq!(principal.subject(), &subject);
}

#[test]
fn a_reserved_name_is_reached_only_by_a_rule_that_writes_it_out() {
    let identities = identities(vec![
        rule("basic", Some("hadoop-admin"), "hdfs"),
        rule("any", Some("(?<name>.*)[0-9]"), "${name}"),
        rule("any", None, "${subject}"),
    ]);
    assert_eq!(
        mapped(&identities, &basic("hadoop-admin")).as_deref(),
        Some("hdfs")
    );
    for name in [
        "hdfs", "HDFS", "hdfs@x", "hdfs1", "Root", "livy", "gateway", "GATEWAY7",
    ] {
        assert_eq!(mapped(&identities, &basic(name)), None, "{name}");
    }
}

#[test]
fn a_reserved_name_cannot_be_given_to_everybody() {
    let problem = Identities::new(vec![rule("basic", None, "Hdfs")], Vec::new(), Vec::new()).unwrap_err();
    assert!(problem.contains("every login would become Hdfs"), "{problem}");
}

#[test]
fn a_client_may_name_its_own_livy_user_as_often_as_it_likes() {
    let identities = with_delegates();
    for requested in [&[][..], &["alice"], &["alice", "alice"]] {
        let acting = acting(&identities, &basic("alice"), FAR, requested).unwrap();
        assert_eq!(
            (acting.livy_user().as_str(), acting.is_on_behalf()),
            ("alice", false)
        );
    }
}

#[test]
fn a_client_that_names_another_user_is_refused_with_both_names() {
    let identities = with_delegates();
    for (requested, asked) in [
        (&["bob"][..], "bob"),
        (&["alice", "bob"], "bob"),
        (&["bob", "alice"], "bob"),
        (&[""], ""),
        (&["Alice"], "Alice"),
        (&[" alice"], " alice"),
        (&["alice&doAs=root"], "alice&doAs=root"),
        (&["al\nice"], "al\\nice"),
    ] {
        let outcome = acting(&identities, &basic("alice"), NEAR, requested);
        assert_eq!(outcome, refused(asked, "alice"), "{requested:?}");
    }
}

#[test]
fn the_name_of_the_login_is_another_user_where_it_maps_to_one() {
    let identities = identities(vec![rule("basic", Some("bob"), "robert")]);
    assert_eq!(
        acting(&identities, &basic("bob"), FAR, &["bob"]),
        refused("bob", "robert")
    );
    assert!(acting(&identities, &basic("bob"), FAR, &["robert"]).is_ok());
}

#[test]
fn a_delegate_acts_for_those_it_may_from_where_it_may() {
    let identities = with_delegates();
    let zeppelin = basic("zeppelin");
    let mapped_peer = "::ffff:10.1.2.3".parse().unwrap();
    for peer in [NEAR, mapped_peer] {
        assert_eq!(
            acting(&identities, &zeppelin, peer, &["carol"]),
            for_somebody_else("carol")
        );
    }
    assert_eq!(
        acting(&identities, &zeppelin, FAR, &["carol"]),
        refused("carol", "zeppelin")
    );
    assert_eq!(
        acting(&identities, &zeppelin, NEAR, &["dave"]),
        refused("dave", "zeppelin")
    );
    let own = acting(&identities, &zeppelin, FAR, &[]).unwrap();
    assert_eq!(
        (own.livy_user().as_str(), own.is_on_behalf()),
        ("zeppelin", false)
    );
}

#[test]
fn a_service_is_the_login_of_one_source_only() {
    let identities = with_delegates();
    assert_eq!(
        acting(&identities, &jwt("corp", "airflow"), FAR, &["carol"]),
        for_somebody_else("carol")
    );
    for other in [jwt("other", "airflow"), basic("airflow")] {
        assert_eq!(
            acting(&identities, &other, FAR, &["carol"]),
            refused("carol", "airflow"),
            "{other}"
        );
    }
    assert_eq!(
        acting(&identities, &jwt("corp", "zeppelin"), NEAR, &["carol"]),
        refused("carol", "zeppelin")
    );
}

#[test]
fn the_names_that_a_delegate_writes_must_agree() {
    let identities = with_delegates();
    let airflow = jwt("corp", "airflow");
    assert_eq!(
        acting(&identities, &airflow, FAR, &["carol", "carol"]),
        for_somebody_else("carol")
    );
    for requested in [
        ["carol", "dave"],
        ["carol", "airflow"],
        ["airflow", "carol"],
        ["carol", ""],
    ] {
        let outcome = acting(&identities, &airflow, FAR, &requested);
        assert!(
            matches!(outcome, Err(Denial::ImpersonationRefused { .. })),
            "{requested:?}: {outcome:?}"
        );
    }
}

#[test]
fn everybody_is_everybody_but_the_reserved_and_the_impossible() {
    let identities = with_delegates();
    for asked in ["root", "HDFS", "livy@x", "gateway", "", "*", "a/b", ".."] {
        let outcome = acting(&identities, &jwt("corp", "airflow"), FAR, &[asked]);
        assert_eq!(outcome, refused(asked, "airflow"), "{asked}");
    }
}

#[test]
fn nobody_acts_for_a_reserved_user_by_name_either() {
    let root = DelegateRule::new("basic:zeppelin", &["user:Root".to_owned()], &[]).unwrap();
    let problem = Identities::new(Vec::new(), Vec::new(), vec![root]).unwrap_err();
    assert!(problem.contains("for which nobody may act"), "{problem}");
}

#[test]
fn a_delegates_targets_are_in_the_groups_that_the_users_file_gives_their_livy_user() {
    let analysts: Arc<str> = "analysts".into();
    let both = [analysts.clone(), "etl".into()];
    let users: [(&str, &[Arc<str>]); 5] = [
        ("dave", &both),
        ("erin", &[]),
        ("shared1", &both),
        ("shared2", &[]),
        ("frank1", &both),
    ];
    let analysts_only = ["group:analysts".to_owned()];
    let identities = Identities::new(
        vec![
            rule("basic", Some("shared[0-9]"), "shared"),
            rule("basic", Some("frank1"), "frank"),
            rule("basic", None, "${subject}"),
        ],
        Vec::new(),
        vec![DelegateRule::new("basic:zeppelin", &analysts_only, &[]).unwrap()],
    )
    .unwrap()
    .with_users(users);
    let may = |user| acting(&identities, &basic("zeppelin"), FAR, &[user]).is_ok();
    for (user, allowed) in [
        ("dave", true),
        ("erin", false),
        ("unknown", false),
        // Its Livy user is frank.
        ("frank1", false),
        ("frank", true),
        // Only one of the two is an analyst.
        ("shared", false),
    ] {
        assert_eq!(may(user), allowed, "{user}");
    }
}

#[test]
fn the_groups_file_adds_to_what_a_login_brings_and_makes_others_known() {
    let everyone_may = ["group:night-shift".to_owned()];
    let identities = Identities::new(
        Vec::new(),
        Vec::new(),
        vec![DelegateRule::new("basic:zeppelin", &everyone_may, &[]).unwrap()],
    )
    .unwrap()
    .with_users([("dave", &["analysts".into()][..])])
    .with_groups(GroupMap::parse("night-shift: alice dave erin\nanalysts: alice\n").unwrap());
    let brought = Arc::new(Subject::proven(Source::Ldap, "alice", vec!["analysts".into()]));
    let principal = identities.resolve(&brought).unwrap();
    assert_eq!(principal.groups(), ["analysts".into(), "night-shift".into()]);
    for (user, allowed) in [("alice", true), ("dave", true), ("erin", true), ("frank", false)] {
        assert_eq!(
            acting(&identities, &basic("zeppelin"), FAR, &[user]).is_ok(),
            allowed,
            "{user}"
        );
    }
    let both: [Arc<str>; 2] = ["analysts".into(), "night-shift".into()];
    assert!(
        matches!(identities.groups_of(&LivyUser::for_tests("dave")), Groups::Known(known) if known == both)
    );
    assert!(matches!(
        identities.groups_of(&LivyUser::for_tests("frank")),
        Groups::Unknown
    ));
    // A personal token brings none, and has those of its Livy user.
    let token = identities.resolve(&subject(Source::Token, "dave")).unwrap();
    assert_eq!(token.groups(), both);
}

#[test]
fn an_administrator_is_acted_for_only_by_who_may_by_name() {
    let rule = |service: &str, whom: &str| DelegateRule::new(service, &[whom.to_owned()], &[]).unwrap();
    let holders = [Holder::User("ops".into()), Holder::Group("admins".into())];
    let identities = Identities::new(
        Vec::new(),
        Vec::new(),
        vec![
            rule("basic:everybody", "user:*"),
            rule("basic:group", "group:staff"),
            rule("basic:name", "user:ops"),
        ],
    )
    .unwrap()
    .with_users([
        ("ops", &["staff".into()][..]),
        ("root2", &["staff".into(), "admins".into()]),
        ("dave", &["staff".into()]),
    ])
    .with_roles(Roles::new(holders.map(|holder| (Role::Admin, holder)).to_vec()));
    for (service, user, allowed) in [
        ("everybody", "ops", false),
        ("everybody", "root2", false),
        ("everybody", "dave", true),
        ("group", "ops", false),
        ("group", "root2", false),
        ("group", "dave", true),
        ("name", "ops", true),
        ("name", "dave", false),
    ] {
        let outcome = acting(&identities, &basic(service), FAR, &[user]);
        assert_eq!(outcome.is_ok(), allowed, "{service} for {user}");
    }
}

#[test]
fn a_rule_for_a_group_is_for_logins_that_bring_it() {
    let identities = identities(vec![
        rule("any", None, "etl").for_members_of(Some("robots".into())),
        rule("any", None, "${subject}"),
    ]);
    let of = |groups: &[&str]| {
        let groups: Vec<Arc<str>> = groups.iter().map(|group| (*group).into()).collect();
        mapped(
            &identities,
            &Arc::new(Subject::proven(Source::Ldap, "r2", groups)),
        )
    };
    assert_eq!(of(&["staff", "robots"]).as_deref(), Some("etl"));
    assert_eq!(of(&["staff", "Robots"]).as_deref(), Some("r2"));
    assert_eq!(of(&[]).as_deref(), Some("r2"));
}

#[test]
fn legal_names_are_of_one_small_alphabet() {
    for name in [
        "a",
        "_a",
        "7",
        "alice.smith",
        "alice@corp.example",
        "a-b_c",
        &"a".repeat(128),
    ] {
        assert!(LivyUser::new(name).is_some(), "{name}");
    }
    for name in [
        "",
        ".a",
        "-a",
        "@a",
        "a b",
        "a/b",
        "a:b",
        "a&b",
        "a=b",
        "a%41",
        "ä",
        "a\n",
        &"a".repeat(129),
    ] {
        assert!(LivyUser::new(name).is_none(), "{name:?}");
    }
}

fn hostile_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z@._-]{0,12}",
        "(root|HDFS|livy|Gateway|yarn)[@.]?[a-z0-9]{0,3}",
        "[ \t]?alice[ \n&=%/]?(doAs=bob)?",
    ]
}

proptest! {
    #[test]
    fn whatever_the_subject_its_livy_user_is_legal_and_not_reserved_or_it_is_refused(name in hostile_name()) {
        let identities = identities(vec![
            rule("any", Some("(?<a>.*)@(?<b>.*)"), "${a}${b}"),
            rule("any", Some("(?s)(?<a>[^.]*)[.](?<b>.*)"), "${b}"),
            rule("any", None, "${subject}"),
        ]);
        if let Ok(principal) = identities.resolve(&basic(&name)) {
            let user = principal.livy_user().as_str();
            prop_assert!(LivyUser::is_legal(user));
            prop_assert!(!identities.reserved.contains(user));
        }
    }

    #[test]
    fn whatever_is_asked_it_is_ones_own_user_or_a_legal_one_that_is_not_reserved(asked in hostile_name()) {
        let identities = with_delegates();
        for service in [basic("alice"), basic("zeppelin"), jwt("corp", "airflow")] {
            match acting(&identities, &service, NEAR, &[&asked]) {
                Ok(acting) => {
                    let user = acting.livy_user().as_str();
                    prop_assert_eq!(user, &asked);
                    prop_assert!(LivyUser::is_legal(user) && !identities.reserved.contains(user));
                    prop_assert_eq!(acting.is_on_behalf(), user != service.name());
                }
                Err(denial) => {
                    let is_refusal = matches!(denial, Denial::ImpersonationRefused { .. });
                    prop_assert!(is_refusal);
                }
            }
        }
    }
}
