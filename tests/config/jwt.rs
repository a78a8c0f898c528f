//! Issuers of tokens.

/// The part of the whole file that is theirs; no key has its default.
pub(super) const FULL: &str = r#"
[[jwt]]
name = "corp"
issuer = "https://login.example.org/"
audience = ["livy-gateway", "spark"]
algorithms = ["ES256"]
user_claim = "a.b"
groups_claim = "groups"
as_basic_password = false
leeway = "5s"
token_types = ["at+jwt"]
accept_id_tokens = true
denied_subjects = ["mallory"]
denied_token_ids = ["c1f2a5d0"]
reads_after_expiry = "10m"
stale_keys = "2d"

[jwt.keys]
file = "public.pem"

[jwt.required_claims]
"scope" = "livy"
"#;
