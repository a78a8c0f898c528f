//! Credentials and tokens that are not wholly good. Each of them would be alice's.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Case, Ends};
use crate::rig::{HEADER, Issuer, NOW, PASSWORD, basic, basic_with, request};

const INVALID: &str = "invalid_credentials";
const MALFORMED: &str = "malformed_credentials";

pub(super) fn cases(issuer: &Issuer) -> Vec<Case> {
    let mut cases = vec![asking("", "missing_credentials")];
    for lines in passwords() {
        cases.push(asking(&lines, INVALID));
    }
    for lines in headers(issuer) {
        cases.push(asking(&lines, MALFORMED));
    }
    for token in tokens(issuer) {
        cases.push(asking(&format!("Authorization: Bearer {token}\r\n"), INVALID));
        let pair = STANDARD.encode(format!("alice:{token}"));
        if token.split('.').all(|part| !part.is_empty()) {
            cases.push(asking(&format!("Authorization: Basic {pair}\r\n"), INVALID));
        }
    }
    let token = issuer.token("alice");
    for target in [
        "?access_token=",
        "?token=",
        "?authorization=Bearer%20",
        "?user.name=alice&x=",
    ] {
        let bytes = request("GET", &format!("/livy/sessions{target}{token}"), "", "");
        cases.push(Case::new(bytes, Ends::Refused(400, "unknown_parameter")));
    }
    for lines in [
        format!("Cookie: access_token={token}\r\n"),
        format!("X-Authorization: Bearer {token}\r\n"),
        format!("Proxy-Authorization: Bearer {token}\r\n"),
        format!("X-Forwarded-Access-Token: {token}\r\n"),
        "Cookie: hadoop.auth=u=alice\r\n".to_owned(),
        "X-Forwarded-User: alice\r\n".to_owned(),
    ] {
        cases.push(asking(&lines, "missing_credentials"));
    }
    cases
}

fn asking(lines: &str, code: &'static str) -> Case {
    Case::new(
        request("GET", "/livy/sessions", lines, ""),
        Ends::Refused(401, code),
    )
}

fn passwords() -> Vec<String> {
    let password = &PASSWORD.0;
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("", password),
        ("ALICE", password),
        ("alice ", password),
        (" alice", password),
        ("аlice", password),
        ("ａｌｉｃｅ", password),
        ("alice@x", password),
        ("alice", &PASSWORD.1),
        ("alice", "{SHA}x"),
        ("bob:x", password),
        ("*", password),
        ("alice)(|(uid=*", password),
    ]
    .map(|(user, password)| basic_with(user, password))
    .into_iter()
    .chain([
        basic_with("alice", &password.to_uppercase()),
        basic_with("alice", &format!("{password}x")),
        basic_with("alice", &password[1..]),
        basic_with("alice", &format!("{password} ")),
        basic_with("alice", &"x".repeat(5000)),
    ])
    .collect()
}

fn headers(issuer: &Issuer) -> Vec<String> {
    let (password, bearer) = (basic("alice"), issuer.bearer("alice"));
    let pair = password.trim_end().rsplit(' ').next().unwrap();
    let encoded = |bytes: &[u8]| format!("Authorization: Basic {}\r\n", STANDARD.encode(bytes));
    vec![
        format!("{password}{password}"),
        format!("{password}{bearer}"),
        format!("{bearer}{password}"),
        format!("{password}Authorization:\r\n"),
        "Authorization:\r\n".into(),
        "Authorization: Basic\r\n".into(),
        "Authorization: Bearer\r\n".into(),
        "Authorization: Bearer  \r\n".into(),
        format!("Authorization: {pair}\r\n"),
        format!("Authorization: Basic{pair}\r\n"),
        format!("Authorization: Basic\t{pair}\r\n"),
        format!("Authorization: Basic {pair}, Basic {pair}\r\n"),
        format!("Authorization: Basic {pair} x\r\n"),
        format!(
            "Authorization: Basic {}\r\n",
            pair.trim_end_matches('=').to_owned() + "===="
        ),
        format!("Authorization: Basic \"{pair}\"\r\n"),
        format!("Authorization: NTLM {pair}\r\n"),
        format!("Authorization: Negotiate {pair}\r\n"),
        format!("Authorization: Digest {pair}\r\n"),
        encoded(b"alice"),
        encoded(b""),
        encoded(b"alice:pw\0"),
        encoded(b"alice\n:pw"),
        encoded(b"alice:\xFF"),
        encoded(b"\xFF\xFE:x"),
        encoded(b"alice:\x7f"),
        encoded("alice:\u{85}".as_bytes()),
        bearer.replace("Bearer ", "Bearer ,"),
        bearer.replace("\r\n", " x\r\n"),
        bearer.replace("Bearer ", "Bearer \""),
        format!("Authorization: Bearer {}\r\n", "a".repeat(16_500)),
    ]
}

fn tokens(issuer: &Issuer) -> Vec<String> {
    let claims = || Issuer::claims("alice");
    let good = issuer.token("alice");
    let parts: Vec<&str> = good.split('.').collect();
    let unsigned = |header: &str| format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), parts[1], parts[2]);
    let mut tokens = vec![
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}."),
        format!("{good}.x"),
        format!(".{good}"),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{good}="),
        unsigned(r#"{"alg":"none"}"#),
        unsigned(r#"{"alg":"NONE","typ":"JWT"}"#),
        format!(
            "{}.{}.{}",
            parts[0],
            URL_SAFE_NO_PAD.encode(Issuer::claims("bob").to_string()),
            parts[2]
        ),
        "a.b.c".to_owned(),
        "x".to_owned(),
        Issuer::new().token("alice"),
    ];
    // Signed well, and refused for what their headers say.
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"hs256"}"#,
        "{}",
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","jku":"http://evil/"}"#,
        r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#,
        r#"{"alg":"HS256","x5u":"http://evil/"}"#,
        r#"{"alg":"HS256","typ":"refresh+jwt"}"#,
        r#"{"alg":"HS256","typ":1}"#,
        r#"{"alg":"HS256","cty":"JWT"}"#,
        r#"{"alg":"HS256","kid":"../../key"}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"HS256","kid":"' or 1=1"}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","zip":"DEF"}"#,
        "[]",
        "x",
    ] {
        tokens.push(issuer.sign(header, &claims().to_string()));
    }
    for payload in ["[]", "null", "x", "", "{}", r#"{"sub":"alice"}"#] {
        tokens.push(issuer.sign(HEADER, payload));
    }
    let twice = claims().to_string().replacen('{', r#"{"sub":"bob","#, 1);
    tokens.push(issuer.sign(HEADER, &twice));
    // Signed well, and one claim is wrong.
    for (claim, values) in [
        (
            "iss",
            vec![
                json!(null),
                json!("https://evil/"),
                json!("https://login.example.org"),
                json!(["https://login.example.org/"]),
            ],
        ),
        (
            "aud",
            vec![
                json!(null),
                json!("other"),
                json!([]),
                json!(["other"]),
                json!(["livy-gateway", 1]),
                json!("livy-gateway2"),
            ],
        ),
        (
            "sub",
            vec![
                json!(null),
                json!(""),
                json!(7),
                json!(["alice"]),
                json!({"a": "alice"}),
                json!("alice\u{0}"),
                json!("alice\n"),
                json!("a".repeat(300)),
            ],
        ),
        (
            "exp",
            vec![
                json!(null),
                json!(NOW.to_string()),
                json!(-1),
                json!(true),
                json!(1e300),
                json!((NOW + 60) * 1000),
                json!([NOW + 60]),
            ],
        ),
        ("nbf", vec![json!(NOW + 3600), json!("x"), json!(-1)]),
        ("iat", vec![json!(NOW + 3600), json!("x")]),
    ] {
        for value in values {
            let mut changed = claims();
            changed[claim] = value;
            tokens.push(issuer.sign(HEADER, &changed.to_string()));
        }
        if !matches!(claim, "nbf" | "iat") {
            let mut without = claims();
            without.as_object_mut().map(|members| members.remove(claim));
            tokens.push(issuer.sign(HEADER, &without.to_string()));
        }
    }
    let mut large: Value = claims();
    large["padding"] = json!("x".repeat(9000));
    tokens.push(issuer.sign(HEADER, &large.to_string()));
    tokens
}
