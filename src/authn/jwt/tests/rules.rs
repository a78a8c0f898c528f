use super::*;

fn with_rules(change: impl FnOnce(&mut TokenRules)) -> Corp {
    Corp::with(|settings| change(&mut settings.rules))
}

fn typed(corp: &Corp, typ: &str) -> String {
    let header = format!(r#"{{"alg":"HS256"{typ}}}"#);
    let token = corp
        .signer
        .token(Algorithm::Hs256, &header, &good_claims().to_string());
    says(&corp.authn, &token)
}

#[test]
fn typ_is_one_of_the_configured_and_absent_means_jwt() {
    let usual = Corp::new();
    let only_access = with_rules(|rules| rules.types = vec!["at+jwt".into()]);
    for (typ, by_default, strictly) in [
        ("", true, false),
        (r#","typ":"JWT""#, true, false),
        (r#","typ":"jwt""#, true, false),
        (r#","typ":"at+jwt""#, true, true),
        (r#","typ":"AT+JWT""#, true, true),
        (r#","typ":"application/at+jwt""#, true, true),
        (r#","typ":"Refresh""#, false, false),
        (r#","typ":"ID""#, false, false),
        (r#","typ":"logout+jwt""#, false, false),
        (r#","typ":"dpop+jwt""#, false, false),
        (r#","typ":"secevent+jwt""#, false, false),
        (r#","typ":"JOSE""#, false, false),
        (r#","typ":"""#, false, false),
    ] {
        for (corp, good) in [(&usual, by_default), (&only_access, strictly)] {
            let expected = if good {
                "jwt:corp:alice"
            } else {
                "invalid: typ is not one of the issuer's token_types"
            };
            assert_eq!(typed(corp, typ), expected, "{typ}");
        }
    }
}

#[test]
fn a_minted_token_has_a_type_that_is_taken() {
    let corp = with_rules(|rules| rules.types = vec!["at+jwt".into()]);
    let hour = Duration::from_secs(3600);
    let token = mint(&corp.authn.issuers[0], "alice", &[], hour, NOW).unwrap();
    assert_eq!(says(&corp.authn, &token), "jwt:corp:alice");
}

#[test]
fn id_and_refresh_tokens_of_the_same_issuer_are_no_access_tokens() {
    let strict = Corp::new();
    let lenient = with_rules(|rules| rules.accept_id_tokens = true);
    let id = "invalid: it is an ID token, for a client and not for an API";
    let other = "invalid: its claims say that it is a refresh or logout token";
    let good = "jwt:corp:alice";
    for (claims, by_default, accepting_ids) in [
        (json!({}), good, good),
        // OpenID Connect Core.
        (json!({"nonce": "n-0S6_WzA2Mj"}), id, good),
        (json!({"at_hash": "x"}), id, good),
        (json!({"c_hash": "x"}), id, good),
        (json!({"s_hash": "x"}), id, good),
        (json!({"nonce": null}), id, good),
        // Keycloak.
        (json!({"typ": "Bearer"}), good, good),
        (
            json!({"typ": "Bearer", "nonce": "as older ones have"}),
            good,
            good,
        ),
        (json!({"typ": "ID"}), id, good),
        (json!({"typ": "Refresh"}), other, other),
        (json!({"typ": "Offline"}), other, other),
        (json!({"typ": "Logout"}), other, other),
        // Cognito.
        (json!({"token_use": "access"}), good, good),
        (json!({"token_use": "id"}), id, good),
        (json!({"token_use": "id", "typ": "Bearer"}), id, good),
        (json!({"token_use": "refresh"}), other, other),
        // Back-channel logout.
        (
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
            other,
            other,
        ),
    ] {
        let mut all = good_claims();
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        assert_eq!(strict.says(&all), by_default, "{claims}");
        assert_eq!(lenient.says(&all), accepting_ids, "{claims}");
    }
}

#[test]
fn what_calls_itself_an_access_token_may_have_a_nonce() {
    let corp = Corp::new();
    let mut claims = good_claims();
    claims["nonce"] = json!("n");
    let header = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    let token = corp.signer.token(Algorithm::Hs256, header, &claims.to_string());
    assert_eq!(says(&corp.authn, &token), "jwt:corp:alice");
}

#[test]
fn denied_subjects_and_tokens_are_refused_though_they_are_good() {
    let corp = Corp::with(|settings| {
        settings.user_claim = "name".into();
        settings.rules.denied_subjects = vec!["mallory".into(), "id-7".into()];
        settings.rules.denied_token_ids = vec!["t-1".into()];
    });
    let says = |sub: &str, name: &str, jti: Value| {
        let mut claims = good_claims();
        claims["sub"] = json!(sub);
        claims["name"] = json!(name);
        claims["jti"] = jti;
        corp.says(&claims)
    };
    let subject = "invalid: its subject is one of the issuer's denied_subjects";
    let token = "invalid: its jti is one of the issuer's denied_token_ids";
    assert_eq!(says("id-1", "alice", json!("t-2")), "jwt:corp:alice");
    assert_eq!(says("id-1", "mallory", json!("t-2")), subject);
    assert_eq!(says("id-7", "alice", json!("t-2")), subject);
    assert_eq!(says("id-1", "alice", json!("t-1")), token);
    assert_eq!(says("id-1", "alice", json!(7)), "jwt:corp:alice");
    assert_eq!(says("id-70", "Mallory", json!("t-10")), "jwt:corp:Mallory");
}

#[test]
fn a_token_that_has_expired_reads_for_as_long_as_configured() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let corp = with_rules(|rules| rules.reads_after_expiry = minutes(10));
    let token = corp.token(&good_claims());
    let at = |time: Duration, wish: TokenUse| words(&corp.authn.verify_token(&token, NOW + time, wish));
    for (time, reads, writes) in [
        (
            minutes(10) + Duration::from_secs(29),
            "jwt:corp:alice",
            "jwt:corp:alice",
        ),
        (minutes(10) + Duration::from_secs(30), "jwt:corp:alice", "expired"),
        (minutes(20) - Duration::from_secs(1), "jwt:corp:alice", "expired"),
        (minutes(20), "expired", "expired"),
    ] {
        assert_eq!(at(time, TokenUse::Read), reads, "{time:?}");
        assert_eq!(at(time, TokenUse::Write), writes, "{time:?}");
    }
    let plain = Corp::new();
    let token = plain.token(&good_claims());
    let late = NOW + minutes(11);
    assert_eq!(
        words(&plain.authn.verify_token(&token, late, TokenUse::Read)),
        "expired"
    );
}

#[test]
fn a_bad_token_is_never_called_expired() {
    let corp = with_rules(|rules| {
        rules.reads_after_expiry = Duration::from_secs(600);
        rules.denied_subjects = vec!["mallory".into()];
    });
    let late = NOW + Duration::from_secs(2000);
    let verdict = |claims: &Value, signer: &Signer| {
        let token = signer.token(Algorithm::Hs256, r#"{"alg":"HS256"}"#, &claims.to_string());
        words(&corp.authn.verify_token(&token, late, TokenUse::Read))
    };
    assert_eq!(verdict(&good_claims(), &corp.signer), "expired");
    let stranger = Signer::fresh(Algorithm::Hs256);
    assert_eq!(
        verdict(&good_claims(), &stranger),
        "invalid: the signature is not the key's"
    );
    for (claim, value) in [
        ("aud", json!("other")),
        ("nonce", json!("x")),
        ("sub", json!("mallory")),
        ("typ", json!("Refresh")),
    ] {
        let mut claims = good_claims();
        claims[claim] = value;
        assert!(verdict(&claims, &corp.signer).starts_with("invalid: "), "{claim}");
    }
}
