use super::*;

fn settings() -> LdapSettings {
    LdapSettings {
        servers: vec![LdapServer {
            url: "ldaps://ldap.example.org".into(),
            host: "ldap.example.org".into(),
            port: 636,
            transport: LdapTransport::Ldaps,
        }],
        tls: None,
        find: Find::ByName("uid=${user},ou=people,dc=example,dc=org".into()),
        user_attribute: "uid".into(),
        groups: None,
        connect: Duration::from_secs(2),
        operation: Duration::from_secs(2),
        cache: Duration::from_secs(300),
        cache_refused: Duration::from_secs(10),
        offline_grace: Duration::from_secs(1800),
        max_connections: 8,
    }
}

fn with(change: impl FnOnce(&mut LdapSettings)) -> Result<Ldap, String> {
    let mut settings = settings();
    change(&mut settings);
    Ldap::new(settings)
}

fn by_search(filter: &str) -> Find {
    Find::BySearch {
        base: "dc=example,dc=org".into(),
        filter: filter.into(),
        account: "cn=gateway,dc=example,dc=org".into(),
        password: SecretString::from("x".to_owned()),
    }
}

fn entry(dn: &str, attributes: &[(&str, &[&str])]) -> Entry {
    Entry {
        dn: dn.into(),
        attributes: attributes
            .iter()
            .map(|(name, values)| {
                (
                    (*name).to_owned(),
                    values.iter().map(|value| (*value).to_owned()).collect(),
                )
            })
            .collect(),
        binary: Vec::new(),
    }
}

fn groups_by_attribute() -> Ldap {
    with(|settings| {
        settings.groups = Some(GroupsFrom::Attribute {
            attribute: "memberOf".into(),
            base: "ou=groups,dc=example,dc=org".into(),
        });
    })
    .unwrap()
}

#[test]
fn a_typed_name_stays_one_value_whatever_it_holds() {
    let template = "uid=${user},ou=people,dc=example,dc=org";
    for (typed, expected) in [
        ("alice", "uid=alice,ou=people,dc=example,dc=org"),
        (
            "bob,ou=admins",
            r"uid=bob\2cou\3dadmins,ou=people,dc=example,dc=org",
        ),
        ("a+uid=root", r"uid=a\2buid\3droot,ou=people,dc=example,dc=org"),
        ("${user}", "uid=${user},ou=people,dc=example,dc=org"),
    ] {
        assert_eq!(Ldap::dn_of(template, typed), expected);
        assert_eq!(
            Dn::parse(&Ldap::dn_of(template, typed)).unwrap().own_name(),
            typed
        );
    }
    for (typed, expected) in [
        ("*", r"(uid=\2a)"),
        ("*)(uid=alice", r"(uid=\2a\29\28uid=alice)"),
        (r"a\2a", r"(uid=a\5c2a)"),
    ] {
        assert_eq!(Ldap::user_filter("(uid=${user})", typed), expected);
    }
}

#[test]
fn an_empty_password_and_odd_names_never_reach_a_server() {
    assert!(Ldap::may_ask("alice", b"x") && Ldap::may_ask(" ALICE", b" "));
    for (user, password) in [
        ("", &b"x"[..]),
        ("  ", b"x"),
        ("alice", b""),
        ("ali\0ce", b"x"),
        ("alice\n", b"x"),
        (&"a".repeat(257), b"x"),
        ("alice", &[b'x'; 1025]),
    ] {
        assert!(!Ldap::may_ask(user, password), "{user:?}");
    }
}

#[test]
fn the_subject_is_the_name_that_the_entry_has() {
    let ldap = with(|_| ()).unwrap();
    let subject = ldap
        .subject(
            &entry("uid=alice,ou=people", &[("UID", &["alice"]), ("cn", &["Alice"])]),
            &[],
        )
        .unwrap();
    assert_eq!(subject.to_string(), "ldap:alice");
    for (values, words) in [
        (&[][..], "shows no uid"),
        (&["alice", "al"], "has several uid"),
        (&[""], "is empty"),
        (&["ali\0ce"], "control characters"),
    ] {
        let odd = entry("uid=alice", &[("uid", values)]);
        let refused = ldap.subject(&odd, &[]).unwrap_err();
        assert!(refused.contains(words), "{values:?}: {refused}");
    }
    assert!(ldap.subject(&Entry::default(), &[]).is_err());
}

#[test]
fn groups_of_an_attribute_count_below_their_base_alone() {
    let alice = entry(
        "uid=alice",
        &[
            ("uid", &["alice"]),
            (
                "memberof",
                &[
                    "cn=staff,ou=groups,dc=example,dc=org",
                    "CN=analysts,OU=Groups,DC=example,DC=org",
                    "cn=livy-admins,ou=people,dc=example,dc=org",
                    "cn=twins+ou=x,ou=groups,dc=example,dc=org",
                    "no name",
                ],
            ),
        ],
    );
    let subject = groups_by_attribute().subject(&alice, &[]).unwrap();
    assert_eq!(subject.groups(), ["analysts".into(), "staff".into()]);
}

#[test]
fn a_part_of_the_groups_is_not_taken_for_all() {
    let some = entry(
        "uid=alice",
        &[
            ("uid", &["alice"]),
            ("memberOf;range=0-1499", &["cn=a,ou=groups,dc=example,dc=org"]),
        ],
    );
    assert!(
        groups_by_attribute()
            .subject(&some, &[])
            .unwrap_err()
            .contains("a part of memberOf;range")
    );
    let mut odd = entry("uid=alice", &[("uid", &["alice"])]);
    odd.binary = vec!["memberOf".into()];
    assert!(groups_by_attribute().subject(&odd, &[]).is_err());
    odd.binary = vec!["jpegPhoto".into()];
    assert!(groups_by_attribute().subject(&odd, &[]).is_ok());
}

#[test]
fn groups_of_a_search_are_named_by_their_attribute() {
    let ldap = with(|settings| {
        settings.groups = Some(GroupsFrom::Search {
            base: "ou=groups,dc=example,dc=org".into(),
            filter: "(member=${dn})".into(),
            name_attribute: "cn".into(),
        });
    })
    .unwrap();
    let alice = entry("uid=alice", &[("uid", &["alice"])]);
    let found = [entry("cn=b", &[("cn", &["b"])]), entry("cn=a", &[("CN", &["a"])])];
    assert_eq!(
        ldap.subject(&alice, &found).unwrap().groups(),
        ["a".into(), "b".into()]
    );
    let nameless = [entry("cn=b", &[("cn", &["b", "c"])])];
    assert!(ldap.subject(&alice, &nameless).is_err());
}

#[test]
fn what_would_ask_the_wrong_question_is_refused() {
    for (find, words) in [
        (
            Find::ByName("uid=alice,dc=org".into()),
            "bind_dn: ${user} is missing",
        ),
        (
            Find::ByName("${user}@example.org".into()),
            "is no distinguished name",
        ),
        (Find::ByName("uid=${user},ou=${ou}".into()), "placeholder"),
        (by_search("(uid=alice)"), "search.filter: ${user} is missing"),
        (by_search("uid=${user}))"), "search.filter: "),
        (by_search("(&(uid=${user})"), "is no filter"),
        (by_search("(uid=${user}${dn})"), "is no filter"),
    ] {
        let problem = with(|settings| settings.find = find).unwrap_err();
        assert!(problem.contains(words), "{problem}");
    }
    let problem = with(|settings| settings.user_attribute = "u id".into()).unwrap_err();
    assert!(problem.starts_with("user_attribute: "), "{problem}");
}

#[test]
fn the_version_tells_settings_apart_and_keeps_their_secret() {
    let one = with(|settings| settings.find = by_search("(uid=${user})")).unwrap();
    let other = with(|settings| settings.find = by_search("(cn=${user})")).unwrap();
    let patient = with(|settings| {
        settings.find = by_search("(uid=${user})");
        settings.operation = Duration::from_secs(9);
    })
    .unwrap();
    assert_ne!(one.version(), other.version());
    assert_eq!(one.version(), patient.version());
    assert!(!format!("{one:?}").contains("\"x\""));
}
