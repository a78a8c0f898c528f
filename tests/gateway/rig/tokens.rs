//! An issuer of tokens that shares a secret with the gateway, made for this run.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Setup;

/// Signs whatever it is told to, good or bad.
pub(crate) struct Issuer {
    secret: String,
}

/// The header of a good token.
pub(crate) const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The time at which a rig's clock stands, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;

impl Issuer {
    pub(crate) fn new() -> Self {
        let mut random = [0; 24];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        Self {
            secret: URL_SAFE_NO_PAD.encode(random),
        }
    }

    /// A gateway that takes its tokens beside passwords. `identity` are tables of `[identity]`; without any, each
    /// login is the Livy user of its own name.
    pub(crate) fn trusted_by(&self, setup: Setup, identity: &str) -> Setup {
        let identity = match identity {
            "" => "[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n",
            tables => tables,
        };
        setup.file("hmac.key", &self.secret).rest(&format!(
            "[[jwt]]\nname = \"corp\"\nissuer = \"https://login.example.org/\"\naudience = [\"livy-gateway\"]\n\
             algorithms = [\"HS256\"]\nkeys = {{ secret = \"file:hmac.key\" }}\n{identity}"
        ))
    }

    /// What a good token says.
    pub(crate) fn claims(subject: &str) -> Value {
        json!({
            "iss": "https://login.example.org/",
            "aud": "livy-gateway",
            "sub": subject,
            "iat": NOW,
            "exp": NOW + 3600,
        })
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        self.sign(HEADER, &Self::claims(subject).to_string())
    }

    /// Header and payload as written, with a good signature.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        let signed = format!("{}.{}", encode(header), encode(payload));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(crate) fn bearer(&self, subject: &str) -> String {
        format!("Authorization: Bearer {}\r\n", self.token(subject))
    }

    /// The token as the password of Basic.
    pub(crate) fn as_password(&self, user: &str, subject: &str) -> String {
        let pair = STANDARD.encode(format!("{user}:{}", self.token(subject)));
        format!("Authorization: Basic {pair}\r\n")
    }
}
