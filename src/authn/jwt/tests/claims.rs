use super::*;

#[test]
fn iss_aud_and_sub_are_required_and_typed() {
    let corp = Corp::new();
    for (claim, value, good) in [
        ("iss", Value::Null, false),
        ("iss", json!("https://login.example.org"), false),
        ("iss", json!("https://evil.example/"), false),
        ("iss", json!(["https://login.example.org/"]), false),
        (
            "iss",
            json!(["https://login.example.org/", "https://evil.example/"]),
            false,
        ),
        ("iss", json!(7), false),
        ("aud", Value::Null, false),
        ("aud", json!("other"), false),
        ("aud", json!("LIVY"), false),
        ("aud", json!(""), false),
        ("aud", json!([]), false),
        ("aud", json!(["other"]), false),
        ("aud", json!(["livy", 7]), false),
        ("aud", json!({"livy": true}), false),
        ("aud", json!("livy"), true),
        ("aud", json!(["other", "livy"]), true),
        ("sub", Value::Null, false),
        ("sub", json!(""), false),
        ("sub", json!(7), false),
        ("sub", json!(["alice"]), false),
    ] {
        let said = corp.says_with(claim, value.clone());
        assert_eq!(said == "jwt:corp:alice", good, "{claim}: {value}: {said}");
        assert!(good || said.starts_with("invalid: "), "{claim}: {value}: {said}");
    }
}

#[test]
fn a_claim_that_is_null_is_not_there() {
    let corp = Corp::new();
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat"] {
        let mut claims = good_claims();
        claims[claim] = Value::Null;
        assert!(corp.says(&claims).starts_with("invalid: "), "{claim}");
    }
}

#[test]
fn time_is_judged_by_the_given_clock_and_the_leeway() {
    let corp = Corp::new();
    let now = NOW.as_secs();
    for (claim, value, expected) in [
        ("exp", json!(now + 1), "jwt:corp:alice"),
        ("exp", json!(now - 29), "jwt:corp:alice"),
        ("exp", json!(now - 30), "expired"),
        ("exp", json!(now as f64 - 29.5), "jwt:corp:alice"),
        ("exp", json!(0), "expired"),
        ("nbf", json!(0), "jwt:corp:alice"),
        ("nbf", json!(now + 30), "jwt:corp:alice"),
        ("nbf", json!(now + 31), "invalid: the token is not valid yet"),
        ("iat", json!(now + 90), "jwt:corp:alice"),
        ("iat", json!(now + 91), "invalid: iat is in the future"),
        ("exp", Value::Null, "invalid: exp is missing"),
    ] {
        assert_eq!(corp.says_with(claim, value.clone()), expected, "{claim}: {value}");
    }
}

#[test]
fn a_date_is_a_number_of_seconds_in_range() {
    let corp = Corp::new();
    let now = NOW.as_secs();
    for claim in ["exp", "nbf", "iat"] {
        for value in [
            json!(now.to_string()),
            json!((now + 600).to_string()),
            json!(true),
            json!([now]),
            json!({}),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!((now + 600) * 1000),
        ] {
            assert_eq!(
                corp.says_with(claim, value.clone()),
                "invalid: exp, nbf or iat is not a number of seconds",
                "{claim}: {value}"
            );
        }
    }
}

#[test]
fn expired_is_said_only_of_a_token_that_is_good_otherwise() {
    let corp = Corp::new();
    let mut claims = good_claims();
    claims["exp"] = json!(NOW.as_secs() - 600);
    assert_eq!(corp.says(&claims), "expired");
    let forged = Corp::new().token(&claims);
    assert_eq!(
        says(&corp.authn, &forged),
        "invalid: the signature is not the key's"
    );
    for (claim, value) in [
        ("aud", json!("other")),
        ("iss", json!("https://evil.example/")),
        ("sub", json!(7)),
    ] {
        let mut claims = claims.clone();
        claims[claim] = value;
        assert!(corp.says(&claims).starts_with("invalid: "), "{claim}");
    }
}

#[test]
fn the_user_claim_may_be_nested_and_must_be_a_usable_name() {
    let corp = Corp::with(|settings| settings.user_claim = "realm.user.name".into());
    let named = |name: Value| corp.says_with("realm", json!({"user": {"name": name}}));
    assert_eq!(named(json!("carol@example.org")), "jwt:corp:carol@example.org");
    for odd in [
        json!(""),
        json!(7),
        json!(null),
        json!(["carol"]),
        json!("car\u{0}ol"),
        json!("a\nb"),
        json!("x".repeat(257)),
    ] {
        assert!(named(odd.clone()).starts_with("invalid: the user claim"), "{odd}");
    }
    assert!(
        corp.says(&good_claims()).starts_with("invalid: the user claim"),
        "sub does not stand in for it"
    );
}

#[test]
fn groups_are_a_list_of_strings_or_one() {
    let corp = Corp::new();
    let groups = |value: Value| {
        let mut claims = good_claims();
        claims["groups"] = value;
        match corp
            .authn
            .verify_token(&corp.token(&claims), NOW, TokenUse::Write)
        {
            TokenVerdict::Subject { subject, .. } => subject.groups().join("|"),
            other @ (TokenVerdict::Expired | TokenVerdict::Invalid(_) | TokenVerdict::UnknownKey(_)) => {
                words(&other)
            }
        }
    };
    assert_eq!(groups(json!(["a", "b c"])), "a|b c");
    assert_eq!(groups(json!("a")), "a");
    assert_eq!(groups(json!([])), "");
    for odd in [json!(["a", 7]), json!([["a"]])] {
        assert_eq!(
            groups(odd),
            "invalid: the groups claim holds something else than strings"
        );
    }
    for odd in [json!(7), json!(null), json!({"a": 1})] {
        assert_eq!(
            groups(odd),
            "invalid: the groups claim is neither a string nor a list of strings"
        );
    }
}

#[test]
fn required_claims_are_equal_or_a_member_or_a_word_of_the_scope() {
    let requiring = |claim: &str, value: &str| {
        let (claim, value) = (claim.to_owned(), value.to_owned());
        Corp::with(move |settings| drop(settings.required_claims.insert(claim, value)))
    };
    for (claim, value, good) in [
        ("scope", json!("livy"), true),
        ("scope", json!("openid livy email"), true),
        ("scp", json!("openid livy"), true),
        ("scope", json!(["openid", "livy"]), true),
        ("scope", json!("openid livy-admin"), false),
        ("scope", json!("openid"), false),
        ("scope", Value::Null, false),
        ("azp", json!("livy"), true),
        ("azp", json!("other livy"), false),
        ("azp", json!(["livy"]), true),
        ("azp", json!({"livy": true}), false),
    ] {
        let said = requiring(claim, "livy").says_with(claim, value.clone());
        assert_eq!(said == "jwt:corp:alice", good, "{claim}: {value}: {said}");
    }
}

#[test]
fn sub_is_required_even_where_another_claim_names_the_user() {
    let corp = Corp::with(|settings| settings.user_claim = "email".into());
    let mut claims = good_claims();
    claims["email"] = json!("alice@example.org");
    assert_eq!(corp.says(&claims), "jwt:corp:alice@example.org");
    for sub in [json!(null), json!(""), json!(7)] {
        claims["sub"] = sub;
        assert_eq!(corp.says(&claims), "invalid: sub is missing or not a string");
    }
}
