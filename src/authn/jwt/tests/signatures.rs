use super::*;

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
fn kid_is_a_map_key_and_an_unknown_one_is_handed_on_to_be_asked_for() {
    let (first, second) = (Signer::fresh(Algorithm::Es256), Signer::fresh(Algorithm::Es256));
    let set = jwks(&[first.jwk("first"), second.jwk("second")]);
    let url = KeySource::Url("https://login.example.org/keys".into());
    let authn = authn(settings(&[Algorithm::Es256], url));
    let token =
        |signer: &Signer, header: &str| signer.token(Algorithm::Es256, header, &good_claims().to_string());
    let by_first = token(&first, r#"{"alg":"ES256","kid":"first"}"#);

    assert_eq!(says(&authn, &by_first), "unknown key", "nothing was fetched yet");
    authn.issuers[0].publish(KeySet::from_jwks(&set).unwrap(), NOW);
    assert_eq!(says(&authn, &by_first), "jwt:corp:alice");
    assert_eq!(
        says(&authn, &token(&second, r#"{"alg":"ES256","kid":"second"}"#)),
        "jwt:corp:alice"
    );

    let by_third = token(&first, r#"{"alg":"ES256","kid":"third"}"#);
    let TokenVerdict::UnknownKey(missing) = authn.verify_token(&by_third, NOW, TokenUse::Write) else {
        panic!("nobody has this key");
    };
    assert!(Arc::ptr_eq(&missing.issuer, &authn.issuers[0]));
    assert_eq!(missing.kid.as_deref(), Some("third"));
    assert!(
        missing.issuer.ask_for_key(Some("third")).is_none(),
        "nobody fetches here"
    );
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
    issuer.publish(KeySet::from_jwks(&jwks(&[old.jwk("old")])).unwrap(), NOW);
    let token = old.token(
        Algorithm::Es256,
        r#"{"alg":"ES256","kid":"old"}"#,
        &good_claims().to_string(),
    );
    let TokenVerdict::Subject { subject, .. } = authn.verify_token(&token, NOW, TokenUse::Write) else {
        panic!("the token is good");
    };
    let proven_under = authn.version_of(&subject);
    issuer.publish(KeySet::from_jwks(&jwks(&[new.jwk("new")])).unwrap(), NOW);
    assert_eq!(says(&authn, &token), "unknown key");
    assert_ne!(
        authn.version_of(&subject),
        proven_under,
        "so no cache keeps the proof"
    );
}
