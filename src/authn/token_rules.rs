//! Which of an issuer's good tokens are meant for this gateway: by their kind, and by whom the operator shuts out.
//!
//! An issuer signs several kinds of tokens with one key. An ID token tells a client who has logged in, and a refresh
//! token gets new tokens; neither is for an API (RFC 8725 §3.11, RFC 9068 §2.1), and whoever sees one of them, a
//! client's log for example, could otherwise use it here.

use std::time::Duration;

use super::token::{Claims, Token};

/// What of one issuer's tokens is taken. The default is the strictest that providers in general meet.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// What a token's `typ` may be, in lower case and without `application/`; a token without one is a `jwt`.
    pub types: Vec<String>,
    /// Whether ID tokens log in too.
    pub accept_id_tokens: bool,
    /// Who is refused though the token is good: the `sub`, or the value of the user claim.
    pub denied_subjects: Vec<String>,
    /// The `jti` of each token that is refused though it is good.
    pub denied_token_ids: Vec<String>,
    /// How long after its end a token still does what only reads, at most 1 h.
    pub reads_after_expiry: Duration,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            types: DEFAULT_TYPES.map(str::to_owned).into(),
            accept_id_tokens: false,
            denied_subjects: Vec::new(),
            denied_token_ids: Vec::new(),
            reads_after_expiry: Duration::ZERO,
        }
    }
}

impl TokenRules {
    /// The error begins with the key that is wrong and says what to write.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        if self.types.is_empty() || !self.types.iter().all(|typ| typ.bytes().all(is_plain)) {
            return Err("token_types: write what the tokens have as typ, such as [\"at+jwt\"]".into());
        }
        if self.reads_after_expiry > READS_AFTER_EXPIRY_MAX {
            return Err("reads_after_expiry: at most 1h; let clients renew their tokens".into());
        }
        Ok(())
    }

    /// Whether the token is of a kind that logs in. The reason is for the log.
    pub(super) fn judge_kind(&self, token: &Token<'_>) -> Result<(), &'static str> {
        let typ = token.typ.as_deref().unwrap_or("jwt");
        if !self.types.iter().any(|taken| taken == typ) {
            return Err("typ is not one of the issuer's token_types");
        }
        match Kind::of(typ, &token.claims) {
            Kind::Access => Ok(()),
            Kind::Id if self.accept_id_tokens => Ok(()),
            Kind::Id => Err("it is an ID token, for a client and not for an API"),
            Kind::Other => Err("its claims say that it is a refresh or logout token"),
        }
    }

    /// Whether the operator shuts out the token or whom it proves. The reason is for the log.
    pub(super) fn judge_denied(&self, claims: &Claims, name: &str) -> Result<(), &'static str> {
        let sub = claims.string("sub").unwrap_or_default();
        if self
            .denied_subjects
            .iter()
            .any(|denied| denied == name || denied == sub)
        {
            return Err("its subject is one of the issuer's denied_subjects");
        }
        let id = claims.string("jti");
        if self
            .denied_token_ids
            .iter()
            .any(|denied| Some(denied.as_str()) == id)
        {
            return Err("its jti is one of the issuer's denied_token_ids");
        }
        Ok(())
    }
}

/// What a token was made for, as far as it says.
enum Kind {
    Access,
    Id,
    Other,
}

impl Kind {
    /// What says the kind outright counts first: `at+jwt` (RFC 9068 §2.1), Cognito's `token_use`, Keycloak's claim
    /// `typ`. Else the claims that only ID tokens have (OpenID Connect Core §2, §3.1.3.6, §3.3.2.11): older Keycloaks
    /// put a nonce into access tokens too, but those say that they are.
    fn of(typ: &str, claims: &Claims) -> Self {
        let says = |claim: &str| claims.string(claim).map(str::to_ascii_lowercase);
        if let Some(usage) = says("token_use") {
            return match usage.as_str() {
                "access" => Self::Access,
                "id" => Self::Id,
                _ => Self::Other,
            };
        }
        match says("typ").as_deref() {
            Some("bearer") => return Self::Access,
            Some("id") => return Self::Id,
            Some("refresh" | "offline" | "logout") => return Self::Other,
            Some(_) | None => {}
        }
        // RFC 8417 §2.2, OpenID Connect Back-Channel Logout §2.4: an event, with or without a typ that says so.
        if claims.get("events").is_some() {
            return Self::Other;
        }
        let is_id = ["nonce", "at_hash", "c_hash", "s_hash"]
            .iter()
            .any(|claim| claims.get(claim).is_some());
        if is_id && typ != ACCESS_TYPE {
            Self::Id
        } else {
            Self::Access
        }
    }
}

/// What is taken where nothing else is written.
const DEFAULT_TYPES: [&str; 2] = ["jwt", ACCESS_TYPE];
const ACCESS_TYPE: &str = "at+jwt";
const READS_AFTER_EXPIRY_MAX: Duration = Duration::from_secs(60 * 60);
