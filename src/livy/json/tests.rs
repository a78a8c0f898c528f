use proptest::prelude::*;

use super::*;

fn refusal(body: &[u8]) -> String {
    match StrictObject::parse(body) {
        Err(Denial::InvalidBody(message)) => {
            assert!(message.ends_with('.') && message.len() < 200, "{message}");
            message.into_owned()
        }
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(body)),
    }
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn values_keep_every_byte_and_keys_their_order() {
    let body = r#" { "b" : 12345678901234567890123e400 , "a" : "\u00e9\/\ud800" ,"c":[1.10, {"x" :-0}] } "#;
    let object = StrictObject::parse(body.as_bytes()).unwrap();
    assert_eq!(object.keys().collect::<Vec<_>>(), ["b", "a", "c"]);
    assert_eq!(
        object.to_string(),
        r#"{"b":12345678901234567890123e400,"a":"\u00e9\/\ud800","c":[1.10, {"x" :-0}]}"#
    );
}

#[test]
fn a_key_spelled_with_escapes_is_the_key_that_it_spells() {
    let object = StrictObject::parse(br#"{"pr\u006fxy\u0055ser":"bob"}"#).unwrap();
    assert_eq!(object.string("proxyUser"), Ok(Some("bob".into())));
    assert_eq!(object.to_string(), r#"{"proxyUser":"bob"}"#);
}

#[test]
fn no_key_comes_twice_at_any_level_however_spelled() {
    for body in [
        r#"{"proxyUser":"a","proxyUser":null}"#,
        r#"{"proxyUser":"a","kind":"spark","proxy\u0055ser":"b"}"#,
        r#"{"conf":{"a":"1","a":"2"}}"#,
        r#"{"x":[1,[{"y":{"a":1,"\u0061":2}}]]}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert!(refusal(body.as_bytes()).contains("more than once"), "{body}");
    }
    assert!(StrictObject::parse(br#"{"a":{"a":{"a":[{"a":1},{"a":2}]}},"A":1}"#).is_ok());
}

#[test]
fn other_encodings_than_plain_utf8_are_refused_by_name() {
    let body = r#"{"kind":"spark"}"#;
    let utf32: Vec<u8> = body.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    for bytes in [
        utf16(body, u16::to_le_bytes),
        utf16(body, u16::to_be_bytes),
        utf16(&format!("\u{feff}{body}"), u16::to_le_bytes),
        utf16(&format!("\u{feff}{body}"), u16::to_be_bytes),
        utf32.clone(),
        body.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
        [&[0, 0, 0xFE, 0xFF], utf32.as_slice()].concat(),
    ] {
        assert!(refusal(&bytes).contains("UTF-16 or UTF-32"), "{bytes:?}");
    }
    assert!(refusal(format!("\u{feff}{body}").as_bytes()).contains("byte order mark"));
}

#[test]
fn what_only_a_lenient_decoder_reads_as_utf8_is_refused() {
    for bytes in [
        b"{\"proxy\xC1\x95ser\":\"b\"}".as_slice(),
        b"{\"k\":\"\xC1\xAF\"}",
        b"{\"k\":\"\xED\xA0\x80\"}",
        b"{\"k\":\"\xF4\x90\x80\x80\"}",
        b"{\"k\":\"\xFF\"}",
    ] {
        assert!(refusal(bytes).contains("not UTF-8"), "{bytes:?}");
    }
}

#[test]
fn half_a_surrogate_pair_is_no_key_and_no_text_but_may_stand_in_a_value_nobody_reads() {
    refusal(br#"{"\ud800":1}"#);
    refusal(br#"{"conf":{"\ud800":"1"}}"#);
    let object = StrictObject::parse(br#"{"code":"\ud800"}"#).unwrap();
    assert!(matches!(object.string("code"), Err(Denial::InvalidBody(_))));
}

#[test]
fn one_object_and_nothing_else_is_accepted() {
    for body in [
        "", " \r\n", "null", "[]", "[{}]", "\"x\"", "1", "true", "'x'", "x", "\u{a0}{}",
    ] {
        let message = refusal(body.as_bytes());
        assert!(message.contains("one JSON object"), "{body:?}: {message}");
    }
    for body in [
        "{}{}",
        "{} x",
        "{}\0",
        "{\"a\":1}\0\0",
        "{}\u{a0}",
        "{},",
        "{",
        "{\"a\"}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":0x1}",
        "{\"a\":1/*c*/}",
        "{//c\n}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":[1,]}",
        "{1:2}",
        "{null:1}",
        "{\"a\":tru}",
    ] {
        let message = refusal(body.as_bytes());
        assert!(
            message.contains("not valid JSON") && message.contains("line"),
            "{body:?}: {message}"
        );
    }
}

#[test]
fn nesting_ends_at_sixteen_levels_and_millions_do_no_harm() {
    let nested = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(StrictObject::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert!(refusal(nested(DEPTH_MAX + 1).as_bytes()).contains("deeper"));
    assert!(refusal(nested(2_000_000).as_bytes()).contains("deeper"));
    let objects = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
    assert!(refusal(objects.as_bytes()).contains("deeper"));
}

#[test]
fn an_object_has_at_most_1024_members() {
    let with = |members: usize| {
        let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":{n}")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(StrictObject::parse(with(1024).as_bytes()).is_ok());
    assert!(refusal(with(1025).as_bytes()).contains("1024"));
    assert!(refusal(format!("{{\"conf\":{}}}", with(1025)).as_bytes()).contains("1024"));
}

#[test]
fn a_string_is_set_in_its_place_or_at_the_end() {
    let mut object = StrictObject::parse(br#"{"a":1,"b":2}"#).unwrap();
    object.set_string("a", "x\"\n");
    object.set_string("c", "é");
    object.remove("b");
    assert_eq!(object.to_string(), r#"{"a":"x\"\n","c":"é"}"#);
}

#[test]
fn what_is_logged_of_a_body_are_its_keys() {
    let object = StrictObject::parse(br#"{"code":"password"}"#).unwrap();
    assert_eq!(format!("{object:?}"), r#"{"code"}"#);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(serde_json::Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn reading_and_writing_keeps_the_meaning(members in prop::collection::btree_map(any::<String>(), any_json(), 0..6)) {
        let value = serde_json::Value::from_iter(members);
        let body = value.to_string();
        let written = StrictObject::parse(body.as_bytes()).unwrap().to_bytes();
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).unwrap(), value);
    }

    #[test]
    fn whatever_the_bytes_it_reads_or_refuses(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = StrictObject::parse(&bytes);
    }

    #[test]
    fn what_looks_like_json_is_read_once_and_for_all(text in "[{}\\[\\]\",:a\\\\u0d8 1.]{0,24}") {
        if let Ok(object) = StrictObject::parse(text.as_bytes()) {
            let written = object.to_bytes();
            prop_assert_eq!(StrictObject::parse(&written).unwrap().to_bytes(), written);
        }
    }
}
