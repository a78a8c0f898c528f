use proptest::prelude::*;
use serde_json::Value;

use super::*;

const SESSION: JsonBody = JsonBody::CreateSession;
const BATCH: JsonBody = JsonBody::CreateBatch;
const BODIES: [JsonBody; 6] = [
    JsonBody::CreateSession,
    JsonBody::CreateBatch,
    JsonBody::Statement,
    JsonBody::Completion,
    JsonBody::Job,
    JsonBody::AddResource,
];

fn rendered(body: &str, kind: JsonBody, user: Option<&str>) -> String {
    let checked = check(body.as_bytes(), kind, &[]).unwrap_or_else(|denial| panic!("{body}: {denial:?}"));
    String::from_utf8(checked.render(user, None)).unwrap()
}

fn refusal(body: &str, kind: JsonBody) -> Denial {
    check(body.as_bytes(), kind, &[]).expect_err(body)
}

fn unknown(body: &str, kind: JsonBody) -> Option<String> {
    let denial = refusal(body, kind);
    let Denial::UnknownField { nearest, .. } = denial else {
        panic!("{body}: {denial:?}");
    };
    nearest
}

#[test]
fn what_clients_send_reaches_livy_value_by_value() {
    for (body, kind) in [
        (
            r#"{"kind":"pyspark","heartbeatTimeoutInSecond":60,"driverMemory":"1G","executorCores":10}"#,
            SESSION,
        ),
        (r#"{"conf":{}}"#, SESSION),
        (
            r#"{"conf":{"spark.dynamicAllocation.enabled":false,"spark.executor.instances":2}}"#,
            SESSION,
        ),
        (
            r#"{"file":"wasb:///example/jars/x.jar","className":"com.x.Y","args":["a,b","c\n"]}"#,
            BATCH,
        ),
        (
            r#"{"file":"/x.py","jars":["hdfs:///a.jar"],"numExecutors":1,"name":"etl"}"#,
            BATCH,
        ),
        (
            r#"{"code":"x = \"\ud83d\ude00\u0000\ud800\"","kind":"sql"}"#,
            JsonBody::Statement,
        ),
        (
            r#"{"code":"impo","kind":"pyspark","cursor":4}"#,
            JsonBody::Completion,
        ),
        (r#"{"code":"impo","cursor":"4"}"#, JsonBody::Completion),
        (r#"{"job":"AAEC","jobType":"spark"}"#, JsonBody::Job),
        (r#"{"uri":"hdfs:///x.jar"}"#, JsonBody::AddResource),
    ] {
        assert_eq!(rendered(body, kind, None), body);
    }
}

#[test]
fn a_creation_carries_exactly_the_user_it_is_given() {
    for (asked, requested) in [
        (r#"{"proxyUser":"bob","kind":"spark"}"#, Some("bob")),
        (r#"{"kind":"spark","proxy\u0055ser":"\u0062ob"}"#, Some("bob")),
        (r#"{"kind":"spark","proxyUser":""}"#, Some("")),
        (r#"{"kind":"spark","proxyUser":null}"#, None),
        (r#"{"kind":"spark"}"#, None),
    ] {
        let checked = check(asked.as_bytes(), SESSION, &[]).unwrap();
        assert_eq!(checked.requested_user(), requested, "{asked}");
        assert_eq!(
            checked.render(Some("alice"), None),
            br#"{"kind":"spark","proxyUser":"alice"}"#,
            "{asked}"
        );
        assert_eq!(checked.render(None, None), br#"{"kind":"spark"}"#, "{asked}");
    }
}

#[test]
fn only_creations_carry_a_user() {
    let statement = r#"{"code":"1"}"#;
    assert_eq!(rendered(statement, JsonBody::Statement, Some("alice")), statement);
    for kind in [
        JsonBody::Statement,
        JsonBody::Completion,
        JsonBody::Job,
        JsonBody::AddResource,
    ] {
        assert_eq!(unknown(r#"{"proxyUser":"alice"}"#, kind), None);
    }
}

#[test]
fn a_user_that_is_no_string_or_comes_twice_is_refused() {
    for value in [
        "1001",
        "true",
        "[\"a\"]",
        "{\"a\":1}",
        "\"\\ud800\"",
        "\"a\",\"proxyUser\":null",
    ] {
        let body = format!("{{\"file\":\"/x\",\"proxyUser\":{value}}}");
        for kind in [SESSION, BATCH] {
            let body = if kind == BATCH {
                body.clone()
            } else {
                body.replace("\"file\":\"/x\",", "")
            };
            assert!(matches!(refusal(&body, kind), Denial::InvalidBody(_)), "{body}");
        }
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one() {
    for (key, nearest) in [
        ("proxyuser", Some("proxyUser")),
        ("ProxyUser", Some("proxyUser")),
        ("proxy_user", Some("proxyUser")),
        ("doAs", Some("proxyUser")),
        ("doas", Some("proxyUser")),
        ("pyfiles", Some("pyFiles")),
        ("confs", Some("conf")),
        ("driver_memory", Some("driverMemory")),
        ("user.name", None),
        ("className", None),
        ("", None),
    ] {
        let body = format!("{{\"{key}\":null}}");
        assert_eq!(unknown(&body, SESSION).as_deref(), nearest, "{key}");
    }
    assert_eq!(unknown(r#"{"ttl":"1h"}"#, BATCH), None);
    assert_eq!(unknown(r#"{"doAs":"bob"}"#, JsonBody::Statement), None);
}

#[test]
fn the_operator_can_admit_a_key_but_never_one_that_names_a_user() {
    let extra: Vec<String> = ["sparkVersion", "doAs", "proxyuser", "PROXYUSER", "proxyUser"]
        .map(String::from)
        .to_vec();
    let body = br#"{"sparkVersion":{"a":[1]}}"#;
    assert_eq!(check(body, SESSION, &extra).unwrap().render(None, None), body);
    for body in [
        r#"{"doAs":"bob"}"#,
        r#"{"proxyuser":"bob"}"#,
        r#"{"PROXYUSER":"bob"}"#,
    ] {
        assert!(
            matches!(
                check(body.as_bytes(), SESSION, &extra),
                Err(Denial::UnknownField { .. })
            ),
            "{body}"
        );
    }
    let statement = br#"{"code":"1","proxyUser":"bob"}"#;
    assert!(matches!(
        check(statement, JsonBody::Statement, &extra),
        Err(Denial::UnknownField { .. })
    ));
}

#[test]
fn an_extra_field_is_taken_in_creations_only_and_no_other_refusal_advises_one() {
    let extra = ["sparkVersion".to_owned()];
    let statement = br#"{"code":"1","sparkVersion":"3"}"#;
    let denial = check(statement, JsonBody::Statement, &extra).unwrap_err();
    assert!(!denial.answer().message.contains("extra_fields"), "{denial:?}");
    let denial = check(br#"{"sparkVersion":"3"}"#, SESSION, &[]).unwrap_err();
    assert!(
        denial.answer().message.contains("requests.extra_fields"),
        "{denial:?}"
    );
}

#[test]
fn nulls_are_left_out_so_that_livys_defaults_and_checks_hold() {
    let body = r#"{"conf":null,"jars":null,"name":null,"kind":"spark","driverCores":null}"#;
    assert_eq!(rendered(body, SESSION, None), r#"{"kind":"spark"}"#);
    let body = r#"{"conf":{"spark.a":null,"spark.b":"1"}}"#;
    assert_eq!(rendered(body, SESSION, None), r#"{"conf":{"spark.b":"1"}}"#);
}

#[test]
fn the_java_clients_own_settings_are_dropped_and_identity_is_refused_by_key() {
    let body = r#"{"conf":{"livy.uri":"https://u:p@h/livy","spark.a":"1","livy.client.http.x":"2"}}"#;
    assert_eq!(rendered(body, SESSION, None), r#"{"conf":{"spark.a":"1"}}"#);
    for kind in [SESSION, BATCH] {
        let body = r#"{"file":"/x","conf":{"spark.\u006daster":"local"}}"#;
        let body = if kind == BATCH {
            body.to_owned()
        } else {
            body.replace("\"file\":\"/x\",", "")
        };
        let denial = refusal(&body, kind);
        assert!(
            matches!(&denial, Denial::ConfRefused { key, .. } if key == "spark.master"),
            "{denial:?}"
        );
    }
}

#[test]
fn livy_is_not_troubled_with_what_it_cannot_do_cleanly() {
    for (body, kind, word) in [
        ("{}", BATCH, "'file' is missing"),
        (r#"{"file":null}"#, BATCH, "'file' is missing"),
        ("{}", JsonBody::Statement, "'code' is missing"),
        ("{}", JsonBody::Job, "'job' is missing"),
        ("{}", JsonBody::AddResource, "'uri' is missing"),
        (r#"{"name":""}"#, SESSION, "'name'"),
        (r#"{"name":"007"}"#, SESSION, "'name'"),
        (r#"{"name":"٠"}"#, SESSION, "'name'"),
        (
            r#"{"name":123}"#,
            SESSION,
            "'name' must be a string, not a number",
        ),
        (
            r#"{"driverCores":"2"}"#,
            SESSION,
            "'driverCores' must be a whole number, such as 2, not a string",
        ),
        (
            r#"{"file":"/x","args":"a"}"#,
            BATCH,
            "'args' must be a list of strings, not a string",
        ),
        (
            r#"{"file":"/x","args":[1]}"#,
            BATCH,
            "'args' has an element that must be a string, not a number",
        ),
        (
            r#"{"conf":[]}"#,
            SESSION,
            "'conf' must be an object of strings, not a list",
        ),
        (r#"{"kind":"spark\n"}"#, SESSION, "'kind' has a control character"),
    ] {
        let denial = refusal(body, kind);
        assert!(
            matches!(&denial, Denial::InvalidBody(message) if message.contains(word)),
            "{body}: {denial:?}"
        );
    }
}

#[test]
fn names_lives_and_lengths_have_bounds() {
    let long = "x".repeat(600);
    for body in [
        r#"{"name":" a"}"#.to_owned(),
        r#"{"name":"a "}"#.to_owned(),
        r#"{"name":"a\u00a0b"}"#.to_owned(),
        r#"{"name":"../x"}"#.to_owned(),
        r#"{"name":"<script>"}"#.to_owned(),
        format!("{{\"name\":\"{}\"}}", "x".repeat(129)),
        r#"{"heartbeatTimeoutInSecond":1}"#.to_owned(),
        r#"{"heartbeatTimeoutInSecond":-1}"#.to_owned(),
        r#"{"heartbeatTimeoutInSecond":86401}"#.to_owned(),
        r#"{"ttl":"forever"}"#.to_owned(),
        r#"{"idleTimeout":"-1"}"#.to_owned(),
        format!("{{\"queue\":\"{long}\"}}"),
        r#"{"conf":{"spark.app.name":"a\tb"}}"#.to_owned(),
        r#"{"queue":"a","conf":{"spark.yarn.queue":"a"}}"#.to_owned(),
    ] {
        assert!(
            matches!(refusal(&body, SESSION), Denial::InvalidBody(_)),
            "{body}"
        );
    }
    for body in [
        format!("{{\"file\":\"/x\",\"className\":\"{long}\"}}"),
        format!("{{\"file\":\"/x\",\"args\":[\"{}\"]}}", "x".repeat(70_000)),
        format!("{{\"file\":\"/x\",\"args\":[{}\"\"]}}", "\"\",".repeat(1_000)),
    ] {
        assert!(matches!(refusal(&body, BATCH), Denial::InvalidBody(_)));
    }
    for body in [
        r#"{"name":"LivySubmit - script.py"}"#,
        r#"{"name":"talk-1","heartbeatTimeoutInSecond":0,"ttl":"10","idleTimeout":"1H"}"#,
        r#"{"heartbeatTimeoutInSecond":60,"conf":{"spark.app.name":"Umsätze (täglich) #1"}}"#,
    ] {
        assert_eq!(rendered(body, SESSION, None), body);
    }
}

#[test]
fn what_livy_repeats_in_its_lists_is_bounded() {
    let of = |jars: usize| {
        let jar = format!("\"hdfs:///{}.jar\"", "j".repeat(1000));
        let jars = vec![jar; jars].join(",");
        format!(
            r#"{{"conf":{{"spark.a":"{}"}},"jars":[{jars}]}}"#,
            "a".repeat(30_000)
        )
    };
    check(of(20).as_bytes(), SESSION, &[]).unwrap();
    assert!(matches!(refusal(&of(40), SESSION), Denial::InvalidBody(why) if why.contains("together")));
}

#[test]
fn a_creation_tells_its_names_and_can_be_sent_under_another() {
    let body = br#"{"kind":"spark","name":"mine","conf":{"spark.app.name":"A b"}}"#;
    let checked = check(body, SESSION, &[]).unwrap();
    assert_eq!(checked.name(), SessionName::new("mine"));
    assert_eq!(checked.app_name().as_deref(), Some("A b"));
    assert_eq!(
        checked.render(Some("alice"), Some("mine-1")),
        br#"{"kind":"spark","name":"mine-1","conf":{"spark.app.name":"A b"},"proxyUser":"alice"}"#
    );
    // No path can have it.
    let titled = check(br#"{"name":"a b"}"#, SESSION, &[]).unwrap();
    assert_eq!(titled.name(), None);
    let unnamed = check(b"{}", SESSION, &[]).unwrap();
    assert_eq!((unnamed.name(), unnamed.app_name()), (None, None));
    assert_eq!(unnamed.render(None, Some("x")), br#"{"name":"x"}"#);
    assert_eq!(unnamed.object().keys().count(), 0);
    let statement = check(br#"{"code":"1"}"#, JsonBody::Statement, &[]).unwrap();
    assert_eq!(statement.render(Some("alice"), Some("x")), br#"{"code":"1"}"#);
}

#[test]
fn an_empty_body_is_nothing_blanks_or_an_empty_object() {
    for body in ["", " \r\n\t", "{}", " { \n} "] {
        assert_eq!(check_empty(body.as_bytes()), Ok(()), "{body:?}");
    }
    for body in [
        "{",
        "}",
        "{}{}",
        "{}x",
        "null",
        "[]",
        "\"\"",
        "{\"a\":1}",
        "\0",
        "{\u{a0}}",
        "doAs=bob",
        "\u{feff}{}",
        "{{}}",
    ] {
        assert!(
            matches!(check_empty(body.as_bytes()), Err(Denial::InvalidBody(_))),
            "{body:?}"
        );
    }
    assert!(check_empty(b"\xFF").is_err());
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("proxyUser".to_owned()),
        Just("proxyuser".to_owned()),
        Just("doAs".to_owned()),
        Just("conf".to_owned()),
        Just("kind".to_owned()),
        Just("file".to_owned()),
        Just("spark.a".to_owned()),
        Just("livy.rsc.proxy_user".to_owned()),
        any::<String>(),
    ]
}

fn escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{units}\"")
}

fn spelled(text: &str) -> impl Strategy<Value = String> + use<> {
    let plain = Value::from(text).to_string();
    prop_oneof![Just(plain), Just(escaped(text))]
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any_text().prop_flat_map(|text| spelled(&text)),
        Just("null".to_owned()),
        Just("1".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|list| format!("[{}]", list.join(","))),
            any_members(inner).prop_map(|members| format!("{{{members}}}")),
        ]
    })
}

fn any_members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (any_text().prop_flat_map(|text| spelled(&text)), value)
        .prop_map(|(key, value)| format!("{key}:{value}"));
    prop::collection::vec(member, 0..4).prop_map(|members| members.join(","))
}

proptest! {
    #[test]
    fn whatever_the_body_at_most_one_proxy_user_leaves_and_it_is_ours(
        members in any_members(any_value()),
        kind in prop::sample::select(BODIES.to_vec()),
        extra in prop::collection::vec(any_text(), 0..3),
    ) {
        let Ok(checked) = check(format!("{{{members}}}").as_bytes(), kind, &extra) else {
            return Ok(());
        };
        for user in [Some("alice"), None] {
            let body = checked.render(user, None);
            // Reading it strictly again proves that no key comes twice.
            let object = StrictObject::parse(&body).unwrap();
            for key in object.keys() {
                prop_assert!(key == "proxyUser" || !names_a_user(key), "{}", key);
            }
            let expected = user.filter(|_| matches!(kind, JsonBody::CreateSession | JsonBody::CreateBatch));
            let sent = object.string("proxyUser").unwrap();
            prop_assert_eq!(sent.as_deref(), expected);
        }
    }

    #[test]
    fn what_is_rendered_means_what_was_checked(
        name in "[a-z]{1,8}",
        code in any::<String>(),
        cores in any::<i32>(),
        args in prop::collection::vec("[^\0]*", 0..4),
        conf in prop::collection::btree_map("spark\\.[a-z]{1,6}", "[^\0\r\n]*", 0..4),
    ) {
        let batch = serde_json::json!({"file": "/x", "name": name, "driverCores": cores, "args": args, "conf": conf});
        let body = check(batch.to_string().as_bytes(), BATCH, &[]).unwrap().render(None, None);
        prop_assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), batch);
        let statement = serde_json::json!({"code": code});
        let body = check(statement.to_string().as_bytes(), JsonBody::Statement, &[]).unwrap().render(None, None);
        prop_assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), statement);
    }

    #[test]
    fn whatever_the_bytes_nothing_panics(body in prop::collection::vec(any::<u8>(), 0..64)) {
        for kind in BODIES {
            let _ = check(&body, kind, &[]);
        }
        let _ = check_empty(&body);
        let _ = decode_gzip(&body, 16);
    }
}
