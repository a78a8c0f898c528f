//! Tokens that somebody twisted. Each would be alice's, and none is taken.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;

use super::{CORP, CORP_HEADER, Issuers, LAB, LAB_HEADER, corp_claims, lab_claims, version};
use crate::rig::{NOW, Signer, request};

/// Nobody's token, each of which would be alice's.
fn twisted(issuers: &Issuers) -> Vec<(String, String)> {
    let claims = corp_claims().to_string();
    let good = issuers.corp.sign(CORP_HEADER, &claims);
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| all.push((what.to_owned(), token));

    // The public key as if it were a secret.
    let pem = issuers.corp.pem();
    let jwk = issuers.corp.jwk("corp-1");
    let modulus = jwk["n"].as_str().unwrap().to_owned();
    for (what, secret) in [
        ("PEM", pem.clone().into_bytes()),
        ("PEM without its end", pem.trim_end().as_bytes().to_vec()),
        ("DER", issuers.corp.der()),
        ("JWK", jwk.to_string().into_bytes()),
        ("modulus", URL_SAFE_NO_PAD.decode(&modulus).unwrap()),
        ("modulus as text", modulus.into_bytes()),
        ("empty", b"".to_vec()),
        ("kid", b"corp-1".to_vec()),
    ] {
        for header in [
            r#"{"alg":"HS256","kid":"corp-1"}"#,
            r#"{"alg":"HS256"}"#,
            CORP_HEADER,
        ] {
            let signed = format!("{}.{}", encode(header), encode(&claims));
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
            add(&format!("HMAC with the {what}"), format!("{signed}.{tag}"));
        }
    }

    // No signature, or another's.
    for alg in [
        "none", "None", "NONE", "nOnE", "", "RS256 ", "rs256", "RS512", "PS512", "ES256K",
    ] {
        let header = encode(&json!({"alg": alg, "kid": "corp-1"}).to_string());
        for end in ["", "AA", signature] {
            add(&format!("alg {alg:?}"), format!("{header}.{payload}.{end}"));
        }
    }
    let zeros = URL_SAFE_NO_PAD.encode([0; 256]);
    add("zeros", format!("{header}.{payload}.{zeros}"));
    let bob = corp_claims().to_string().replace("alice", "bob");
    add(
        "another payload",
        format!("{header}.{}.{signature}", encode(&bob)),
    );
    let other_header = encode(r#"{"alg":"RS256","kid":"corp-1"}"#);
    add("another header", format!("{other_header}.{payload}.{signature}"));
    add("a stranger's key", Signer::rsa().sign(CORP_HEADER, &claims));

    // Two issuers played against each other.
    let lab = lab_claims().to_string();
    for (what, signer, header, claims) in [
        ("corp by lab's key", &issuers.lab, LAB_HEADER, &claims),
        ("corp by lab's key, as RS256", &issuers.lab, CORP_HEADER, &claims),
        (
            "corp by lab's key under corp's kid",
            &issuers.lab,
            r#"{"alg":"ES256","kid":"corp-1"}"#,
            &claims,
        ),
        ("lab by corp's key", &issuers.corp, CORP_HEADER, &lab),
        (
            "lab by corp's key under lab's kid",
            &issuers.corp,
            r#"{"alg":"RS256","kid":"lab-1"}"#,
            &lab,
        ),
        ("lab by corp's key, as ES256", &issuers.corp, LAB_HEADER, &lab),
    ] {
        add(what, signer.sign(header, claims));
    }
    for iss in [
        json!([CORP]),
        json!([LAB, CORP]),
        json!({"a": CORP}),
        json!(LAB),
        json!(CORP.trim_end_matches('/')),
        json!(CORP.to_uppercase()),
        json!(format!("{CORP}/")),
        json!(format!(" {CORP}")),
        json!(""),
        json!(null),
        json!(1),
    ] {
        let mut changed = corp_claims();
        changed["iss"] = iss.clone();
        add(
            &format!("iss {iss}"),
            issuers.corp.sign(CORP_HEADER, &changed.to_string()),
        );
    }

    // A header that brings something along.
    for member in [
        r#""crit":["exp"],"exp":1"#,
        r#""crit":["b64"],"b64":false"#,
        r#""jku":"https://evil.example/keys""#,
        r#""x5u":"https://evil.example/cert""#,
        r#""x5c":["MIIB"]"#,
        r#""x5t":"AA","jwk":{"kty":"oct","k":"AA"}"#,
        r#""cty":"JWT""#,
        r#""zip":"DEF""#,
        r#""enc":"A256GCM""#,
        r#""alg":"RS256""#,
        r#""\u0061lg":"none""#,
        r#""typ":"ID""#,
        r#""typ":"Refresh""#,
        r#""typ":"logout+jwt""#,
        r#""typ":"dpop+jwt""#,
        r#""typ":"""#,
        r#""typ":null"#,
        r#""typ":["JWT"]"#,
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"corp-1",{member}}}"#);
        add(
            &format!("header with {member}"),
            issuers.corp.sign(&header, &claims),
        );
    }
    for kid in [
        json!("lab-1"),
        json!("corp-2"),
        json!("CORP-1"),
        json!("corp-1 "),
        json!("corp-1\u{0}"),
        json!("../corp-1"),
        json!("/dev/null"),
        json!("' OR 1=1 --"),
        json!("corp-1\r\nX: y"),
        json!("https://evil.example/k"),
        json!("k".repeat(4096)),
        json!(["corp-1"]),
        json!({"kid": "corp-1"}),
        json!(1),
        json!(null),
        json!(""),
    ] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        add(&format!("kid {kid}"), issuers.corp.sign(&header, &claims));
    }

    // Claims that are twice there, of the wrong type, too early or for others.
    for twice in [
        r#"{"sub":"bob","#,
        r#"{"s\u0075b":"bob","#,
        r#"{"exp":1,"#,
        r#"{"x":{"a":1,"a":2},"#,
        r#"{"x":[{"a":1,"\u0061":2}],"#,
    ] {
        let payload = claims.replacen('{', twice, 1);
        add(
            &format!("twice {twice}"),
            issuers.corp.sign(CORP_HEADER, &payload),
        );
    }
    for (claim, values) in [
        (
            "aud",
            vec![
                json!(null),
                json!([]),
                json!(["livy-gateway", 1]),
                json!(["x"]),
                json!("livy"),
                json!({"a": "livy-gateway"}),
                json!([["livy-gateway"]]),
                json!("livy-gateway,x"),
                json!("LIVY-GATEWAY"),
            ],
        ),
        (
            "sub",
            vec![
                json!(null),
                json!(""),
                json!(7),
                json!(["alice"]),
                json!("alice\u{0}"),
                json!("alice\n"),
                json!("a".repeat(300)),
            ],
        ),
        (
            "exp",
            vec![
                json!(null),
                json!((NOW + 600).to_string()),
                json!(1e300),
                json!(-1e300),
                json!(-1),
                json!(true),
                json!((NOW + 600) * 1000),
                json!([NOW + 600]),
                json!({}),
            ],
        ),
        (
            "nbf",
            vec![
                json!(NOW + 3600),
                json!(1e300),
                json!("0"),
                json!(null),
                json!([0]),
            ],
        ),
        (
            "iat",
            vec![json!(NOW + 3600), json!(1e300), json!("0"), json!(null)],
        ),
        ("nonce", vec![json!("n"), json!(null)]),
        ("at_hash", vec![json!("x")]),
        ("c_hash", vec![json!("x")]),
        ("token_use", vec![json!("id"), json!("refresh")]),
        (
            "typ",
            vec![json!("ID"), json!("Refresh"), json!("Offline"), json!("Logout")],
        ),
        (
            "events",
            vec![json!({"http://schemas.openid.net/event/backchannel-logout": {}})],
        ),
    ] {
        for value in values {
            // What is typed at+jwt is an access token, whatever else it holds.
            let header = CORP_HEADER.replace("at+jwt", "JWT");
            let mut changed = corp_claims();
            changed[claim] = value.clone();
            add(
                &format!("{claim} {value}"),
                issuers.corp.sign(&header, &changed.to_string()),
            );
        }
    }
    for (what, payload) in [
        (
            "huge",
            claims.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(9000)), 1),
        ),
        (
            "deep",
            claims.replacen(
                '{',
                &format!("{{\"x\":{}{},", "[".repeat(1000), "]".repeat(1000)),
                1,
            ),
        ),
        (
            "deep objects",
            claims.replacen(
                '{',
                &format!("{{\"x\":{}1{},", "{\"a\":".repeat(500), "}".repeat(500)),
                1,
            ),
        ),
        ("two objects", format!("{claims}{claims}")),
        ("a list", format!("[{claims}]")),
        ("a string", json!(claims).to_string()),
        ("a byte order mark", format!("\u{feff}{claims}")),
        ("a comment", format!("/* */{claims}")),
        ("an infinity", claims.replacen('{', "{\"x\":1e999,", 1)),
        ("nothing", String::new()),
    ] {
        add(what, issuers.corp.sign(CORP_HEADER, &payload));
    }

    // The parts written otherwise. Their number, their alphabet, their padding and their last bits are fixed.
    let last = signature.chars().last().unwrap();
    let stray = char::from(u8::try_from(last).unwrap() ^ 1);
    let unclean = format!("{}{stray}", &signature[..signature.len() - 1]);
    for (what, token) in [
        ("one part", header.to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{good}.{signature}")),
        ("five parts, as a JWE", format!("{good}.{payload}.{signature}")),
        (
            "a JWE",
            format!(
                "{}.{payload}.AAAA.{payload}.AAAA",
                encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)
            ),
        ),
        ("a dot behind", format!("{good}.")),
        ("two dots behind", format!("{good}..")),
        ("a dot before", format!(".{good}")),
        ("padding behind", format!("{good}=")),
        ("padding twice behind", format!("{good}==")),
        ("a padded header", format!("{header}=.{payload}.{signature}")),
        ("a padded payload", format!("{header}.{payload}=.{signature}")),
        ("a character less", good[..good.len() - 1].to_owned()),
        ("a character more", format!("{good}A")),
        ("stray bits", format!("{header}.{payload}.{unclean}")),
        ("a percent sign", good.replacen('.', "%2E", 1)),
        (
            "padded base64url",
            format!(
                "{header}.{payload}.{}",
                URL_SAFE.encode(URL_SAFE_NO_PAD.decode(signature).unwrap())
            ),
        ),
        (
            "the payload as a JSON string",
            format!("{header}.{}.{signature}", encode(&json!(payload).to_string())),
        ),
        (
            "JSON serialization",
            json!({"protected": header, "payload": payload, "signature": signature})
                .to_string()
                .replace(' ', ""),
        ),
    ] {
        add(what, token);
    }
    let plain = STANDARD_NO_PAD.encode(URL_SAFE_NO_PAD.decode(signature).unwrap());
    if plain != signature {
        add(
            "base64 of the other alphabet",
            format!("{header}.{payload}.{plain}"),
        );
    }
    all
}

#[tokio::test]
async fn no_twisted_token_is_anybodys() {
    let issuers = Issuers::new();
    let rig = issuers.trusted("").await;
    let good = issuers.corp.sign(CORP_HEADER, &corp_claims().to_string());
    version(&rig, &good).await.expect_status(200);
    rig.livy().clear();
    let all = twisted(&issuers);
    assert!(all.len() > 180, "{}", all.len());
    for (what, token) in all {
        let pair = STANDARD.encode(format!("alice:{token}"));
        for authorization in [format!("Bearer {token}"), format!("Basic {pair}")] {
            let headers = format!("Authorization: {authorization}\r\n");
            let reply = rig.ask(request("GET", "/livy/sessions", &headers, "")).await;
            let (status, code) = reply.outcome();
            assert_eq!(status, 401, "{what}: {authorization}");
            assert!(
                matches!(code.as_str(), "invalid_credentials" | "malformed_credentials"),
                "{what}: {code}"
            );
            assert!(rig.livy().requests().is_empty(), "{what}: {authorization}");
        }
    }
    // Blanks around the token are the header's, not the token's.
    for (headers, status) in [
        (format!("Authorization: Bearer   {good}\r\n"), 200),
        (format!("Authorization: Bearer {good} \r\n"), 200),
        (format!("Authorization: Bearer\t{good}\r\n"), 401),
        (
            format!("Authorization: Bearer {}\r\n", good.replacen('.', ". ", 1)),
            401,
        ),
        (
            format!("Authorization: Bearer {}\r\n", good.replacen('.', ".\t", 1)),
            401,
        ),
    ] {
        let reply = rig.ask(request("GET", "/livy/version", &headers, "")).await;
        assert_eq!(reply.status, status, "{headers}");
    }
}
