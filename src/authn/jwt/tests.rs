use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::super::testing::{Signer, jwks};
use super::super::{Authn, IssuerSettings, KeySet, KeySource, TokenRules};
use super::*;

/// What the claims must say.
mod claims;
/// Which tokens are meant for the gateway, and for how long.
mod rules;
/// Which key and which algorithm may have signed.
mod signatures;

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
        rules: TokenRules::default(),
        keys,
        stale_keys: Duration::from_secs(24 * 3600),
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
        let members = claims.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(claim);
        } else {
            members.insert(claim.into(), value);
        }
        self.says(&claims)
    }
}

fn says(authn: &Authn, token: &str) -> String {
    words(&authn.verify_token(token, NOW, TokenUse::Write))
}

fn words(verdict: &TokenVerdict) -> String {
    match verdict {
        TokenVerdict::Subject { subject, .. } => subject.to_string(),
        TokenVerdict::Expired => "expired".into(),
        TokenVerdict::Invalid(reason) => format!("invalid: {reason}"),
        TokenVerdict::UnknownKey(_) => "unknown key".into(),
    }
}

#[test]
fn a_good_token_proves_its_subject_groups_and_end() {
    let corp = Corp::new();
    let mut claims = good_claims();
    claims["groups"] = json!(["analysts", "admins"]);
    let verdict = corp
        .authn
        .verify_token(&corp.token(&claims), NOW, TokenUse::Write);
    let TokenVerdict::Subject { subject, expires, .. } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(subject.to_string(), "jwt:corp:alice");
    assert_eq!(subject.groups(), [Arc::from("analysts"), Arc::from("admins")]);
    assert_eq!(expires, NOW + Duration::from_secs(600));
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
    let as_password = |token: &str| words(&authn.verify_password_token(token, NOW, TokenUse::Write));
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
    let TokenVerdict::Subject { subject, expires, .. } =
        corp.authn.verify_token(&token, NOW, TokenUse::Write)
    else {
        panic!("not accepted");
    };
    assert_eq!((subject.name(), expires), ("alice", NOW + hour));
    assert_eq!(subject.groups(), [Arc::from("analysts")]);
    assert!(matches!(
        corp.authn
            .verify_token(&token, NOW + hour + Duration::from_secs(30), TokenUse::Write),
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
        mint(&Arc::new(issuer), "alice", &[], hour, NOW)
            .unwrap_err()
            .contains("only HMAC issuers")
    );
}

proptest::proptest! {
    #[test]
    fn whatever_is_sent_as_a_token_is_refused(token in ".{0,80}", header in ".{0,40}", claims in ".{0,40}") {
        thread_local! {
            static CORP: Corp = Corp::new();
        }
        CORP.with(|corp| {
            let signed = corp.signer.token(Algorithm::Hs256, &header, &claims);
            for token in [token.as_str(), &format!("{token}.{token}.{token}"), &signed] {
                let said = says(&corp.authn, token);
                assert!(said.starts_with("invalid: "), "{said}");
            }
        });
    }
}
