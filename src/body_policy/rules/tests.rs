use proptest::prelude::*;

use super::*;
use crate::body_policy::check;
use crate::denial::Denial;
use crate::livy::json::StrictObject;
use crate::livy::operation::JsonBody;

mod packages;

const SESSION: JsonBody = JsonBody::CreateSession;
const BATCH: JsonBody = JsonBody::CreateBatch;

/// What Livy would get for alice of the group analysts.
fn outcome(body: &str, kind: JsonBody, rules: &BodyRules) -> Result<String, Denial> {
    let groups: [Arc<str>; 2] = ["analysts".into(), "staff".into()];
    outcome_in(body, kind, rules, Some(&groups))
}

fn outcome_in(
    body: &str,
    kind: JsonBody,
    rules: &BodyRules,
    groups: Option<&[Arc<str>]>,
) -> Result<String, Denial> {
    let user = LivyUser::for_tests("alice");
    let who = Who { user: &user, groups };
    let mut checked = check(body.as_bytes(), kind, &[])?;
    checked.apply_rules(rules, &who)?;
    Ok(String::from_utf8(checked.render(None, None)).unwrap())
}

fn patterns(texts: &[&str]) -> Vec<KeyPattern> {
    texts.iter().map(|text| KeyPattern::new(text).unwrap()).collect()
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(ConfKey, Template)> {
    pairs
        .iter()
        .map(|(key, value)| (ConfKey::new(key).unwrap(), Template::new(value).unwrap()))
        .collect()
}

fn maxima() -> Vec<(ConfKey, Maximum)> {
    let size = |text| Maximum::size(text).unwrap();
    [
        ("spark.executor.memory", size("16g")),
        ("spark.executor.memoryOverhead", size("2g")),
        ("spark.driver.maxResultSize", size("1g")),
        ("spark.executor.instances", Maximum::Count(20)),
        ("spark.executor.cores", Maximum::Count(4)),
    ]
    .map(|(key, maximum)| (ConfKey::new(key).unwrap(), maximum))
    .to_vec()
}

fn with_conf(conf: ConfRules) -> BodyRules {
    BodyRules {
        conf,
        ..BodyRules::default()
    }
}

/// The rules of the documentation's example and a few more.
fn many() -> BodyRules {
    BodyRules {
        file_schemes: vec!["hdfs".to_owned()],
        max_ttl: Some(Duration::from_hours(12)),
        conf: ConfRules {
            also_deny: patterns(&["spark.yarn.queue", "spark.sql.hive.*", "spark.executor.memory"]),
            allow_unsafe: vec![KeyPattern::opening("spark.jars.packages").unwrap()],
            default: settings(&[("spark.executor.memory", "2g"), ("spark.yarn.tags", "${user}")]),
            force: settings(&[("spark.yarn.queue", "tenants.${primary_group}")]),
            max: maxima(),
            ..ConfRules::default()
        },
    }
}

#[track_caller]
fn assert_refused(body: &str, kind: JsonBody, rules: &BodyRules, code: &str, words: &[&str]) {
    let denial = outcome(body, kind, rules).expect_err(body);
    let answer = denial.answer();
    assert_eq!(answer.code, code, "{body}");
    for word in words {
        assert!(answer.message.contains(word), "{word}: {}", answer.message);
    }
}

#[test]
fn what_clients_send_passes_the_built_in_rules_unchanged() {
    let rules = BodyRules::default();
    for (body, kind) in [
        (r#"{"kind":"pyspark","heartbeatTimeoutInSecond":60}"#, SESSION),
        (r#"{"kind":"sql","conf":{}}"#, SESSION),
        (
            r#"{"driverMemory":"1G","executorCores":10,"numExecutors":10,"jars":["wasb:///a.jar"]}"#,
            SESSION,
        ),
        (
            r#"{"file":"wasb:///example/jars/SparkSimpleTest.jar","className":"com.microsoft.spark.test.SimpleFile"}"#,
            BATCH,
        ),
        (
            r#"{"file":"/x.py","archives":["hdfs:///env.tar.gz#env"],"queue":"default","args":["--x","file:///y"]}"#,
            BATCH,
        ),
        (
            r#"{"conf":{"spark.jars":"hdfs:///a.jar, /b.jar","spark.dynamicAllocation.enabled":true}}"#,
            SESSION,
        ),
        (
            r#"{"uri":"adl://x.azuredatalakestore.net/a.jar"}"#,
            JsonBody::AddResource,
        ),
        (r#"{"code":"file:///etc/passwd"}"#, JsonBody::Statement),
    ] {
        assert_eq!(outcome(body, kind, &rules).as_deref(), Ok(body));
    }
}

#[test]
fn a_built_in_refusal_names_key_value_rule_and_who_can_open_it() {
    let body = r#"{"conf":{"spark.jars.packages":"org.x:y:1"}}"#;
    let words = [
        "'spark.jars.packages'",
        "'org.x:y:1'",
        "spark-submit would download",
        "requests.conf.allow_unsafe",
    ];
    assert_refused(body, SESSION, &BodyRules::default(), "conf_refused", &words);
    assert!(outcome(body, SESSION, &many()).is_ok());
    let secret = r#"{"conf":{"spark.hadoop.fs.azure.account.key.x":"c2VjcmV0"}}"#;
    let denial = outcome(secret, SESSION, &BodyRules::default()).unwrap_err();
    assert!(!denial.answer().message.contains("c2VjcmV0"));
}

#[test]
fn a_pattern_opens_what_is_inside_one_refusal_and_never_identity() {
    for text in [
        "spark.jars.packages",
        "spark.jars.*",
        "spark.hadoop.*",
        "spark.hadoop.fs.azure.*",
        "spark.driver.extraJavaOptions",
        "spark.kubernetes.*",
        "spark.yarn.appMasterEnv.PYSPARK_PYTHON",
    ] {
        KeyPattern::opening(text).unwrap();
    }
    for text in [
        "spark.master",
        "spark.submit.*",
        "spark.submit.pyFiles",
        "livy.rsc.x",
        "spark.*",
        "spark.yarn.*",
        "spark.executor.memory",
        "spark.yarn.keytab",
        "spark.executorEnv.HADOOP_USER_NAME",
        "spark.kubernetes.kerberos.*",
        "spark.jars.pack*",
        "*",
        "spark.",
        "spark.a b",
        "",
    ] {
        assert!(KeyPattern::opening(text).is_err(), "{text}");
    }
    let rules = with_conf(ConfRules {
        allow_unsafe: vec![
            KeyPattern::opening("spark.hadoop.*").unwrap(),
            KeyPattern::opening("spark.kubernetes.*").unwrap(),
        ],
        ..ConfRules::default()
    });
    assert!(
        outcome(
            r#"{"conf":{"spark.hadoop.fs.s3a.path.style.access":true}}"#,
            SESSION,
            &rules
        )
        .is_ok()
    );
    for key in [
        "spark.hadoop.hadoop.proxyuser.livy.hosts",
        "spark.hadoop.hadoop.security.authentication",
        "spark.kubernetes.kerberos.tokenSecret.name",
        "spark.kubernetes.driverEnv.HADOOP_USER_NAME",
    ] {
        let body = format!("{{\"conf\":{{\"{key}\":\"x\"}}}}");
        assert_refused(&body, SESSION, &rules, "conf_refused", &[key]);
    }
}

#[test]
fn what_is_also_denied_is_denied_in_both_spellings() {
    let rules = with_conf(ConfRules {
        also_deny: patterns(&["spark.yarn.queue", "spark.sql.hive.*", "spark.executor.memory"]),
        ..ConfRules::default()
    });
    for (body, key) in [
        (r#"{"queue":"prod"}"#, "'queue'"),
        (r#"{"conf":{"spark.yarn.queue":"prod"}}"#, "'spark.yarn.queue'"),
        (r#"{"conf":{"spark.yarn.QUEUE":"prod"}}"#, "'spark.yarn.QUEUE'"),
        (r#"{"executorMemory":"prod"}"#, "'executorMemory'"),
        (
            r#"{"conf":{"spark.sql.hive.x.y":"prod"}}"#,
            "'spark.sql.hive.x.y'",
        ),
    ] {
        assert_refused(
            body,
            SESSION,
            &rules,
            "conf_refused",
            &[key, "'prod'", "requests.conf.also_deny"],
        );
    }
    assert!(
        outcome(
            r#"{"driverMemory":"1g","conf":{"spark.sql.hivex":1}}"#,
            SESSION,
            &rules
        )
        .is_ok()
    );
}

#[test]
fn an_allow_list_takes_what_a_rule_names_and_nothing_else() {
    let rules = with_conf(ConfRules {
        mode: ConfMode::AllowListed,
        allow: patterns(&["spark.sql.*", "spark.app.name"]),
        allow_unsafe: vec![KeyPattern::opening("spark.jars.packages").unwrap()],
        default: settings(&[("spark.a", "1")]),
        max: maxima(),
        ..ConfRules::default()
    });
    for key in [
        "spark.sql.shuffle.partitions",
        "spark.app.name",
        "spark.jars.packages",
        "spark.a",
        "spark.executor.instances",
        "spark.dynamicAllocation.maxExecutors",
    ] {
        let body = format!("{{\"conf\":{{\"{key}\":\"2\"}}}}");
        assert!(outcome(&body, SESSION, &rules).is_ok(), "{key}");
    }
    assert!(outcome(r#"{"queue":"a","numExecutors":2}"#, SESSION, &rules).is_ok());
    let body = r#"{"conf":{"spark.speculation":"true"}}"#;
    assert_refused(
        body,
        SESSION,
        &rules,
        "conf_refused",
        &["spark.speculation", "requests.conf.allow"],
    );
    let body = r#"{"conf":{"spark.sql.extensions":"x"}}"#;
    assert_refused(
        body,
        SESSION,
        &rules,
        "conf_refused",
        &["requests.conf.allow_unsafe"],
    );
}

#[test]
fn a_forced_value_is_set_or_equal_or_the_refusal_names_it() {
    let rules = with_conf(ConfRules {
        force: settings(&[
            ("spark.yarn.queue", "tenants.${primary_group}"),
            ("spark.x", "${user}-1"),
        ]),
        ..ConfRules::default()
    });
    let forced = r#"{"conf":{"spark.yarn.queue":"tenants.analysts","spark.x":"alice-1"}}"#;
    assert_eq!(outcome("{}", SESSION, &rules).as_deref(), Ok(forced));
    assert_eq!(outcome(forced, SESSION, &rules).as_deref(), Ok(forced));
    assert_eq!(
        outcome(r#"{"queue":"tenants.analysts"}"#, SESSION, &rules).as_deref(),
        Ok(r#"{"queue":"tenants.analysts","conf":{"spark.x":"alice-1"}}"#)
    );
    let words = ["'queue'", "'prod'", "'tenants.analysts'", "requests.conf.force"];
    assert_refused(r#"{"queue":"prod"}"#, SESSION, &rules, "conf_refused", &words);
    let body = r#"{"conf":{"spark.X":"bob-1"}}"#;
    assert_refused(body, SESSION, &rules, "conf_refused", &["'alice-1'"]);
}

#[test]
fn a_default_stands_where_the_client_wrote_neither_spelling() {
    let rules = with_conf(ConfRules {
        default: settings(&[
            ("spark.executor.memory", "2g"),
            ("spark.executor.memoryOverhead", "1g"),
        ]),
        ..ConfRules::default()
    });
    for (body, sent) in [
        (
            "{}",
            r#"{"conf":{"spark.executor.memory":"2g","spark.executor.memoryOverhead":"1g"}}"#,
        ),
        (
            r#"{"executorMemory":"4g"}"#,
            r#"{"executorMemory":"4g","conf":{"spark.executor.memoryOverhead":"1g"}}"#,
        ),
        (
            r#"{"conf":{"spark.yarn.executor.memoryOverhead":"3g","spark.executor.memory":null}}"#,
            r#"{"conf":{"spark.yarn.executor.memoryOverhead":"3g","spark.executor.memory":"2g"}}"#,
        ),
    ] {
        assert_eq!(outcome(body, SESSION, &rules).as_deref(), Ok(sent));
    }
}

#[test]
fn without_a_known_group_nothing_is_made_of_one() {
    let rules = with_conf(ConfRules {
        force: settings(&[("spark.yarn.queue", "tenants.${primary_group}")]),
        ..ConfRules::default()
    });
    let odd: [Arc<str>; 1] = ["a,file:///etc/passwd".into()];
    let up: [Arc<str>; 1] = ["..".into()];
    for groups in [None, Some(&[][..]), Some(&odd[..]), Some(&up[..])] {
        let denial = outcome_in("{}", SESSION, &rules, groups).unwrap_err();
        let message = denial.answer().message;
        assert!(
            message.contains("'spark.yarn.queue'") && message.contains("'alice'"),
            "{message}"
        );
    }
    // A default does not matter to whoever writes a value.
    let rules = with_conf(ConfRules {
        default: settings(&[("spark.yarn.queue", "tenants.${primary_group}")]),
        ..ConfRules::default()
    });
    let body = r#"{"queue":"adhoc"}"#;
    assert_eq!(outcome_in(body, SESSION, &rules, None).as_deref(), Ok(body));
    assert!(outcome_in("{}", SESSION, &rules, None).is_err());
}

#[test]
fn sizes_and_numbers_are_held_to_their_maximum_in_every_spelling() {
    let rules = with_conf(ConfRules {
        max: maxima(),
        ..ConfRules::default()
    });
    for body in [
        r#"{"executorMemory":"16g","numExecutors":20,"executorCores":4}"#,
        r#"{"executorMemory":"16384M"}"#,
        r#"{"conf":{"spark.executor.memory":"16384","spark.executor.instances":20}}"#,
        r#"{"conf":{"spark.dynamicAllocation.enabled":"TRUE","spark.dynamicAllocation.maxExecutors":"20"}}"#,
        r#"{"conf":{"spark.dynamicAllocation.enabled":"False"}}"#,
        r#"{"conf":{"spark.driver.maxResultSize":"1073741824"}}"#,
        r#"{"driverMemory":"64g"}"#,
    ] {
        assert_eq!(outcome(body, SESSION, &rules).as_deref(), Ok(body));
    }
    for (body, words) in [
        (
            r#"{"executorMemory":"17g"}"#,
            ["'executorMemory'", "'17g'", "16g"],
        ),
        (
            r#"{"executorMemory":"16385"}"#,
            ["'executorMemory'", "'16385'", "is more than"],
        ),
        (
            r#"{"conf":{"spark.executor.memory":"1t"}}"#,
            ["'spark.executor.memory'", "'1t'", "16g"],
        ),
        (
            r#"{"conf":{"spark.executor.memory":"lots"}}"#,
            ["'lots'", "cannot be compared", "16g"],
        ),
        (
            r#"{"conf":{"spark.yarn.executor.memoryOverhead":4096}}"#,
            ["'4096'", "memoryOverhead'", "2g"],
        ),
        (
            r#"{"conf":{"spark.driver.maxResultSize":"0"}}"#,
            ["'0'", "cannot be compared", "1g"],
        ),
        (r#"{"numExecutors":21}"#, ["'numExecutors'", "'21'", "20"]),
        (r#"{"numExecutors":-1}"#, ["'numExecutors'", "'-1'", "20"]),
        (
            r#"{"conf":{"spark.dynamicAllocation.maxExecutors":"infinity"}}"#,
            ["'infinity'", "cannot be compared", "20"],
        ),
        (
            r#"{"conf":{"spark.dynamicAllocation.initialExecutors":30}}"#,
            ["'30'", "initialExecutors'", "20"],
        ),
        (
            r#"{"conf":{"spark.dynamicAllocation.enabled":"true"}}"#,
            ["'spark.dynamicAllocation.maxExecutors'", "'unlimited'", "20"],
        ),
        (
            r#"{"conf":{"spark.dynamicAllocation.enabled":1}}"#,
            ["maxExecutors'", "'unlimited'", "20"],
        ),
    ] {
        for kind in [SESSION, BATCH] {
            let body = if kind == BATCH {
                body.replacen('{', "{\"file\":\"/x\",", 1)
            } else {
                body.to_owned()
            };
            assert_refused(&body, kind, &rules, "conf_too_large", &words);
        }
    }
}

#[test]
fn files_come_from_the_clusters_file_systems_wherever_they_are_named() {
    let rules = BodyRules::default();
    for (body, kind, field) in [
        (r#"{"file":"file:///etc/passwd"}"#, BATCH, "'file'"),
        (r#"{"file":"x.jar"}"#, BATCH, "'file'"),
        (r#"{"jars":["hdfs:///a","local:///x"]}"#, SESSION, "'jars'"),
        (r#"{"pyFiles":["/a/../b"]}"#, SESSION, "'pyFiles'"),
        (r#"{"files":["FILE:/x"]}"#, SESSION, "'files'"),
        (r#"{"archives":["http://evil/x#y"]}"#, SESSION, "'archives'"),
        (r#"{"jars":["/a#b"]}"#, SESSION, "'jars'"),
        (
            r#"{"conf":{"spark.files":"/a,file:///etc/passwd"}}"#,
            SESSION,
            "'spark.files'",
        ),
        (
            r#"{"conf":{"spark.jars":"hdfs:///a , ftp://x/y"}}"#,
            SESSION,
            "'spark.jars'",
        ),
        (
            r#"{"conf":{"spark.archives":"local:/x#y"}}"#,
            SESSION,
            "'spark.archives'",
        ),
        (
            r#"{"conf":{"spark.yarn.dist.files":"../x"}}"#,
            SESSION,
            "'spark.yarn.dist.files'",
        ),
        (
            r#"{"conf":{"spark.YARN.dist.jars":"x"}}"#,
            SESSION,
            "'spark.YARN.dist.jars'",
        ),
        (r#"{"uri":"file:///etc/passwd"}"#, JsonBody::AddResource, "'uri'"),
        (r#"{"uri":"hdfs:///a#b"}"#, JsonBody::AddResource, "'uri'"),
    ] {
        assert_refused(body, kind, &rules, "file_refused", &[field]);
    }
    let denial = outcome(r#"{"uri":"s3a://KEY:SECRET@b/x"}"#, JsonBody::AddResource, &rules).unwrap_err();
    assert!(!denial.answer().message.contains("SECRET"));
    let none = BodyRules {
        file_schemes: Vec::new(),
        ..BodyRules::default()
    };
    assert!(outcome(r#"{"file":"hdfs:///a"}"#, BATCH, &none).is_err());
    assert!(outcome(r#"{"file":"/a"}"#, BATCH, &none).is_ok());
}

#[test]
fn a_life_is_shortened_only_where_the_client_wrote_one() {
    let rules = BodyRules {
        max_ttl: Some(Duration::from_hours(12)),
        ..BodyRules::default()
    };
    for (body, sent) in [
        ("{}", "{}"),
        (
            r#"{"ttl":"12h","idleTimeout":"1000"}"#,
            r#"{"ttl":"12h","idleTimeout":"1000"}"#,
        ),
        (
            r#"{"ttl":"999999d","idleTimeout":"721m"}"#,
            r#"{"ttl":"43200s","idleTimeout":"43200s"}"#,
        ),
    ] {
        assert_eq!(outcome(body, SESSION, &rules).as_deref(), Ok(sent));
    }
}

#[test]
fn keys_templates_and_maxima_are_read_or_refused_with_words() {
    for key in [
        "spark.master",
        "livy.x",
        "queue",
        "spark.a b",
        "spark.yarn.keytab",
        "",
    ] {
        assert!(ConfKey::new(key).is_err(), "{key}");
    }
    for value in ["${nobody}", "${user", "a\nb", "-DHADOOP_USER_NAME=hdfs"] {
        assert!(Template::new(value).is_err(), "{value}");
    }
    assert_eq!(
        Template::new("$user {user}").unwrap().fixed(),
        Some("$user {user}")
    );
    assert_eq!(Template::new("${user}").unwrap().fixed(), None);
    for text in ["16", "", "g", "infinity", "-1g"] {
        assert_eq!(Maximum::size(text), None, "{text}");
    }
}

fn any_setting() -> impl Strategy<Value = (String, String)> {
    let key = prop::sample::select(vec![
        "spark.master",
        "spark.Master",
        "spark.yarn.queue",
        "spark.yarn.QUEUE",
        "spark.executor.memory",
        "spark.yarn.executor.memoryOverhead",
        "spark.dynamicAllocation.enabled",
        "spark.dynamicAllocation.maxExecutors",
        "spark.jars",
        "spark.jars.packages",
        "spark.driver.extraJavaOptions",
        "spark.hadoop.fs.defaultFS",
        "spark.yarn.tags",
        "spark.x",
        "livy.uri",
        "livy.rsc.proxy_user",
        "spark.executorEnv.HADOOP_USER_NAME",
    ]);
    let value = prop::sample::select(vec![
        "\"tenants.analysts\"",
        "\"2g\"",
        "\"900g\"",
        "20",
        "21",
        "true",
        "null",
        "\"hdfs:///a.jar\"",
        "\"file:///x\"",
        "\"alice\"",
        "\"\"",
    ]);
    (key.prop_map(String::from), value.prop_map(String::from))
}

fn any_field() -> impl Strategy<Value = (String, String)> {
    prop::sample::select(vec![
        ("queue", "\"tenants.analysts\""),
        ("queue", "\"prod\""),
        ("executorMemory", "\"2g\""),
        ("numExecutors", "7"),
        ("numExecutors", "70"),
        ("proxyUser", "\"bob\""),
        ("ttl", "\"99d\""),
        ("jars", "[\"hdfs:///a\"]"),
        ("jars", "[\"local:/a\"]"),
        ("name", "\"x\""),
    ])
    .prop_map(|(key, value)| (key.to_owned(), value.to_owned()))
}

proptest! {
    #[test]
    fn whatever_the_body_no_refused_key_leaves_and_the_rules_change_nothing_twice(
        settings in prop::collection::vec(any_setting(), 0..4),
        fields in prop::collection::vec(any_field(), 0..3),
        is_strict in any::<bool>(),
    ) {
        let mut rules = many();
        if is_strict {
            rules.conf.mode = ConfMode::AllowListed;
        }
        let settings: Vec<_> = settings.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let mut members: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        members.push(format!("\"conf\":{{{}}}", settings.join(",")));
        let Ok(once) = outcome(&format!("{{{}}}", members.join(",")), SESSION, &rules) else {
            return Ok(());
        };
        let twice = outcome(&once, SESSION, &rules).map_err(|denial| denial.answer().message);
        prop_assert_eq!(twice.as_deref(), Ok(once.as_str()));
        prop_assert_eq!(once.matches("proxyUser").count(), 0);
        let body = StrictObject::parse(once.as_bytes()).unwrap();
        let conf = StrictObject::parse(body.get("conf").unwrap().as_bytes()).unwrap();
        for key in conf.keys() {
            let lower = key.to_ascii_lowercase();
            prop_assert!(builtin::identity_rule(&lower).is_none(), "{}", key);
            let may = matches!(lower.as_str(), "spark.jars.packages" | "spark.yarn.tags");
            prop_assert!(may || builtin::unsafe_rule(&lower).is_none(), "{}", key);
        }
        let queue = conf.string("spark.yarn.queue").unwrap().or_else(|| body.string("queue").unwrap());
        prop_assert_eq!(queue.as_deref(), Some("tenants.analysts"));
    }
}
