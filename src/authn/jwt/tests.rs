use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use zeroize::Zeroizing;

use super::super::testing::{Signer, jwks};
use super::super::{Authn, IssuerSettings, KeySet, KeySource};
use super::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn settings(algorithms: &[Algorithm], keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        name: "corp".into(),
        issuer: "https://login.example.org/".into(),
        audience: vec!["livy-gateway".into(), "livy".into()],
        algorithms: algorithms.to_vec(),
        user_claim: "sub".into(),
        groups_claim: Some("groups".into()),
        required_claims: BTreeMap::new(),
        as_basic_password: true,
        leeway: Duration::from_secs(30),
        keys,
    }
}

fn secret(signer: &Signer) -> KeySource {
    match signer {
        Signer::Secret(secret) => KeySource::Secret(Zeroizing::new(secret.clone())),
        Signer::Rsa(_) | Signer::P256(_) | Signer::P384(_) | Signer::Ed(_) => panic!("not a secret"),
    }
}

fn authn(settings: IssuerSettings) -> Authn {
    Authn::new(
        "livy".into(),
        None,
        vec![Arc::new(Issuer::new(settings).unwrap())],
    )
    .unwrap()
}

fn good_claims() -> Value {
    json!({
        "iss": "https://login.example.org/",
        "aud": "livy-gateway",
        "sub": "alice",
        "exp": NOW.as_secs() + 600,
    })
}

/// One HS256 issuer, and tokens for it.
struct Corp {
    signer: Signer,
    authn: Authn,
}

impl Corp {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut IssuerSettings)) -> Self {
        let signer = Signer::fresh(Algorithm::Hs256);
        let mut settings = settings(&[Algorithm::Hs256], secret(&signer));
        change(&mut settings);
        Self {
            authn: authn(settings),
            signer,
        }
    }

    fn token(&self, claims: &Value) -> String {
        self.signer
            .token(Algorithm::Hs256, r#"{"alg":"HS256"}"#, &claims.to_string())
    }

    fn says(&self, claims: &Value) -> String {
        says(&self.authn, &self.token(claims))
    }

    /// The verdict on good claims with this one changed; null takes it away.
    fn says_with(&self, claim: &str, value: Value) -> String {
        let mut claims = good_claims();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(claim),
            value => claims.as_object_mut().unwrap().insert(claim.into(), value),
        };
        self.says(&claims)
    }
}

fn says(authn: &Authn, token: &str) -> String {
    words(&authn.verify_token(token, NOW))
}

fn words(verdict: &TokenVerdict) -> String {
    match verdict {
        TokenVerdict::Subject { subject, .. } => subject.to_string(),
        TokenVerdict::Expired => "expired".into(),
        TokenVerdict::Invalid(reason) => format!("invalid: {reason}"),
        TokenVerdict::UnknownKey => "unknown key".into(),
    }
}

#[test]
fn a_good_token_proves_its_subject_groups_and_end() {
    let corp = Corp::new();
    let mut claims = good_claims();
    claims["groups"] = json!(["analysts", "admins"]);
    let verdict = corp.authn.verify_token(&corp.token(&claims), NOW);
    let TokenVerdict::Subject { subject, expires } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(subject.to_string(), "jwt:corp:alice");
    assert_eq!(subject.groups(), [Arc::from("analysts"), Arc::from("admins")]);
    assert_eq!(expires, NOW + Duration::from_secs(600));
}

#[test]
fn every_algorithm_verifies_with_its_key_from_a_set_and_from_pem() {
    for algorithm in [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ] {
        let signer = Signer::fresh(algorithm);
        let set = jwks(&[signer.jwk("k1")]);
        let header = json!({"alg": algorithm.name(), "kid": "k1", "typ": "at+jwt"}).to_string();
        let token = signer.token(algorithm, &header, &good_claims().to_string());
        for keys in [KeySource::Jwks(set), KeySource::Public(signer.pem().into_bytes())] {
            assert_eq!(
                says(&authn(settings(&[algorithm], keys)), &token),
                "jwt:corp:alice",
                "{algorithm}"
            );
        }
    }
}

#[test]
fn another_key_of_the_same_kind_verifies_nothing() {
    for algorithm in Algorithm::ALL {
        let (signer, stranger) = (Signer::fresh(algorithm), Signer::fresh(algorithm));
        let keys = match &signer {
            Signer::Secret(_) => secret(&signer),
            Signer::Rsa(_) | Signer::P256(_) | Signer::P384(_) | Signer::Ed(_) => {
                KeySource::Public(signer.pem().into_bytes())
            }
        };
        let header = json!({"alg": algorithm.name()}).to_string();
        let token = stranger.token(algorithm, &header, &good_claims().to_string());
        assert_eq!(
            says(&authn(settings(&[algorithm], keys)), &token),
            "invalid: the signature is not the key's",
            "{algorithm}"
        );
    }
}

#[test]
fn a_token_without_a_signature_verifies_nowhere() {
    let corp = Corp::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let token = corp.signer.token(
            Algorithm::Hs256,
            &json!({"alg": alg}).to_string(),
            &good_claims().to_string(),
        );
        let unsigned = token.rsplit_once('.').unwrap().0;
        for token in [
            token.clone(),
            format!("{unsigned}."),
            unsigned.to_owned(),
            format!("{unsigned}.AA"),
        ] {
            assert!(
                says(&corp.authn, &token).starts_with("invalid: "),
                "{alg} {token}"
            );
        }
    }
    let good = corp.token(&good_claims());
    let unsigned = good.rsplit_once('.').unwrap().0;
    for signature in ["", "A", "AA", &"A".repeat(43), "!!"] {
        assert!(
            says(&corp.authn, &format!("{unsigned}.{signature}")).starts_with("invalid: "),
            "{signature}"
        );
    }
}

#[test]
fn an_ecdsa_signature_of_zeros_verifies_nothing() {
    let signer = Signer::fresh(Algorithm::Es256);
    let authn = authn(settings(
        &[Algorithm::Es256],
        KeySource::Public(signer.pem().into_bytes()),
    ));
    let token = signer.token(Algorithm::Es256, r#"{"alg":"ES256"}"#, &good_claims().to_string());
    assert_eq!(says(&authn, &token), "jwt:corp:alice");
    let unsigned = token.rsplit_once('.').unwrap().0;
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    assert_eq!(
        says(&authn, &format!("{unsigned}.{zeros}")),
        "invalid: the signature is not the key's"
    );
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let signer = Signer::fresh(Algorithm::Rs256);
    let pem = signer.pem();
    let authn = authn(settings(
        &[Algorithm::Rs256, Algorithm::Ps256],
        KeySource::Public(pem.clone().into_bytes()),
    ));
    for secret in [pem.clone(), pem.trim().to_owned()] {
        let forger = Signer::Secret(secret.into_bytes());
        let token = forger.token(Algorithm::Hs256, r#"{"alg":"HS256"}"#, &good_claims().to_string());
        assert_eq!(
            says(&authn, &token),
            "invalid: alg is not one of the issuer's algorithms"
        );
    }
}

#[test]
fn a_key_verifies_only_the_algorithms_of_its_kind() {
    let (rsa, p256) = (Signer::fresh(Algorithm::Rs256), Signer::fresh(Algorithm::Es256));
    let set = KeySource::Jwks(jwks(&[rsa.jwk("rsa"), p256.jwk("ec")]));
    let authn = authn(settings(&[Algorithm::Rs256, Algorithm::Es256], set));
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid}).to_string();
    let claims = good_claims().to_string();
    assert_eq!(
        says(
            &authn,
            &rsa.token(Algorithm::Rs256, &header("RS256", "rsa"), &claims)
        ),
        "jwt:corp:alice"
    );
    assert_eq!(
        says(
            &authn,
            &p256.token(Algorithm::Es256, &header("ES256", "ec"), &claims)
        ),
        "jwt:corp:alice"
    );
    for (alg, kid) in [("ES256", "rsa"), ("RS256", "ec")] {
        let token = rsa.token(Algorithm::Rs256, &header(alg, kid), &claims);
        assert_eq!(
            says(&authn, &token),
            "invalid: the key is not for the token's alg"
        );
    }
    // PS256 would fit the key, but was not configured.
    let token = rsa.token(Algorithm::Ps256, &header("PS256", "rsa"), &claims);
    assert_eq!(
        says(&authn, &token),
        "invalid: alg is not one of the issuer's algorithms"
    );
}

#[test]
fn a_changed_payload_or_header_verifies_nothing() {
    let corp = Corp::new();
    let good = corp.token(&good_claims());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let mut claims = good_claims();
    claims["sub"] = json!("bob");
    let forged = URL_SAFE_NO_PAD.encode(claims.to_string());
    assert_eq!(
        says(&corp.authn, &format!("{header}.{forged}.{signature}")),
        "invalid: the signature is not the key's"
    );
    let typed = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    assert_eq!(
        says(&corp.authn, &format!("{typed}.{payload}.{signature}")),
        "invalid: the signature is not the key's"
    );
}

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
fn kid_is_a_map_key_and_an_unknown_one_asks_for_keys_once_each() {
    let (first, second) = (Signer::fresh(Algorithm::Es256), Signer::fresh(Algorithm::Es256));
    let set = jwks(&[first.jwk("first"), second.jwk("second")]);
    let issuer = Issuer::new(settings(
        &[Algorithm::Es256],
        KeySource::Url("https://login.example.org/keys".into()),
    ))
    .unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    issuer.set_refresher(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let authn = Authn::new("livy".into(), None, vec![Arc::new(issuer)]).unwrap();
    let token =
        |signer: &Signer, header: &str| signer.token(Algorithm::Es256, header, &good_claims().to_string());
    let by_first = token(&first, r#"{"alg":"ES256","kid":"first"}"#);

    assert_eq!(says(&authn, &by_first), "unknown key", "nothing was fetched yet");
    authn.issuers[0].publish(KeySet::from_jwks(&set).unwrap());
    assert_eq!(says(&authn, &by_first), "jwt:corp:alice");
    assert_eq!(
        says(&authn, &token(&second, r#"{"alg":"ES256","kid":"second"}"#)),
        "jwt:corp:alice"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    assert_eq!(
        says(&authn, &token(&first, r#"{"alg":"ES256","kid":"third"}"#)),
        "unknown key"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    for (header, expected) in [
        (
            r#"{"alg":"ES256","kid":"second"}"#,
            "invalid: the signature is not the key's",
        ),
        (
            r#"{"alg":"ES256"}"#,
            "invalid: the token has no kid and more than one key fits its alg",
        ),
        (
            r#"{"alg":"ES256","kid":"../../first"}"#,
            "invalid: kid is not a plain name of up to 128 bytes",
        ),
        (
            r#"{"alg":"ES256","kid":["first"]}"#,
            "invalid: kid is not a plain name of up to 128 bytes",
        ),
    ] {
        assert_eq!(says(&authn, &token(&first, header)), expected, "{header}");
    }
    assert_eq!(
        asked.load(Ordering::SeqCst),
        2,
        "what no set could hold is not asked for"
    );
}

#[test]
fn a_token_without_kid_may_use_the_only_key_that_fits() {
    let (rsa, p256) = (Signer::fresh(Algorithm::Rs256), Signer::fresh(Algorithm::Es256));
    let set = KeySource::Jwks(jwks(&[rsa.jwk("rsa"), p256.jwk("ec")]));
    let authn = authn(settings(&[Algorithm::Rs256, Algorithm::Es256], set));
    let token = p256.token(Algorithm::Es256, r#"{"alg":"ES256"}"#, &good_claims().to_string());
    assert_eq!(says(&authn, &token), "jwt:corp:alice");
}

#[test]
fn a_key_that_left_the_set_verifies_nothing_any_more() {
    let (old, new) = (Signer::fresh(Algorithm::Es256), Signer::fresh(Algorithm::Es256));
    let url = KeySource::Url("https://login.example.org/keys".into());
    let authn = authn(settings(&[Algorithm::Es256], url));
    let issuer = &authn.issuers[0];
    issuer.publish(KeySet::from_jwks(&jwks(&[old.jwk("old")])).unwrap());
    let token = old.token(
        Algorithm::Es256,
        r#"{"alg":"ES256","kid":"old"}"#,
        &good_claims().to_string(),
    );
    let TokenVerdict::Subject { subject, .. } = authn.verify_token(&token, NOW) else {
        panic!("the token is good");
    };
    let proven_under = authn.version_of(&subject);
    issuer.publish(KeySet::from_jwks(&jwks(&[new.jwk("new")])).unwrap());
    assert_eq!(says(&authn, &token), "unknown key");
    assert_ne!(
        authn.version_of(&subject),
        proven_under,
        "so no cache keeps the proof"
    );
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
        match corp.authn.verify_token(&corp.token(&claims), NOW) {
            TokenVerdict::Subject { subject, .. } => subject.groups().join("|"),
            other => words(&other),
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
fn a_token_is_judged_by_the_rules_of_its_own_issuer_alone() {
    let (corp, partner) = (Signer::fresh(Algorithm::Hs256), Signer::fresh(Algorithm::Hs256));
    let mut of_partner = settings(&[Algorithm::Hs256], secret(&partner));
    of_partner.name = "partner".into();
    of_partner.issuer = "https://partner.example/".into();
    of_partner.as_basic_password = false;
    let issuers = [settings(&[Algorithm::Hs256], secret(&corp)), of_partner]
        .map(|settings| Arc::new(Issuer::new(settings).unwrap()));
    let authn = Authn::new("livy".into(), None, issuers.to_vec()).unwrap();
    let by = |signer: &Signer, iss: &str| {
        let mut claims = good_claims();
        claims["iss"] = json!(iss);
        signer.token(Algorithm::Hs256, r#"{"alg":"HS256"}"#, &claims.to_string())
    };
    assert_eq!(
        says(&authn, &by(&partner, "https://partner.example/")),
        "jwt:partner:alice"
    );
    assert_eq!(
        says(&authn, &by(&partner, "https://login.example.org/")),
        "invalid: the signature is not the key's"
    );
    let as_password = |token: &str| words(&authn.verify_password_token(token, NOW));
    assert_eq!(
        as_password(&by(&corp, "https://login.example.org/")),
        "jwt:corp:alice"
    );
    assert_eq!(
        as_password(&by(&partner, "https://partner.example/")),
        "invalid: this issuer's tokens are not accepted as passwords"
    );
}

#[test]
fn a_password_is_a_token_only_where_an_issuer_takes_tokens_as_passwords() {
    let corp = Corp::new();
    let token = corp.token(&good_claims());
    assert!(corp.authn.is_password_token(&token));
    assert!(!corp.authn.is_password_token("correct horse"));
    assert!(
        !Corp::with(|settings| settings.as_basic_password = false)
            .authn
            .is_password_token(&token)
    );
}

#[test]
fn a_minted_token_is_one_that_the_issuer_accepts() {
    let corp = Corp::with(|settings| {
        settings.user_claim = "realm.user".into();
        settings.groups_claim = Some("realm.groups".into());
        settings.required_claims = BTreeMap::from([("scope".into(), "livy".into())]);
    });
    let hour = Duration::from_secs(3600);
    let token = mint(&corp.authn.issuers[0], "alice", &["analysts".into()], hour, NOW).unwrap();
    let TokenVerdict::Subject { subject, expires } = corp.authn.verify_token(&token, NOW) else {
        panic!("not accepted");
    };
    assert_eq!((subject.name(), expires), ("alice", NOW + hour));
    assert_eq!(subject.groups(), [Arc::from("analysts")]);
    assert!(matches!(
        corp.authn
            .verify_token(&token, NOW + hour + Duration::from_secs(30)),
        TokenVerdict::Expired
    ));
}

#[test]
fn nothing_is_minted_that_would_be_refused_or_without_a_secret() {
    let corp = Corp::new();
    let hour = Duration::from_secs(3600);
    assert!(
        mint(&corp.authn.issuers[0], "", &[], hour, NOW)
            .unwrap_err()
            .contains("would be refused")
    );
    let public = Signer::fresh(Algorithm::Es256);
    let issuer = Issuer::new(settings(
        &[Algorithm::Es256],
        KeySource::Public(public.pem().into_bytes()),
    ))
    .unwrap();
    assert!(
        mint(&issuer, "alice", &[], hour, NOW)
            .unwrap_err()
            .contains("only HMAC issuers")
    );
}
