//! `[[jwt]]` as it was written.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{claim_path, issuer_name, not_empty, path};
use crate::config::files::SecretRef;
use crate::config::keys;
use crate::config::problem::Problems;
use crate::config::reader::{Reader, Written, Wrong};
use crate::config::units;
use crate::config::url::HttpUrl;

/// `[[jwt]]`
#[derive(Debug)]
pub(in crate::config) struct RawJwt {
    pub(in crate::config) span: Range<usize>,
    pub(in crate::config) name: Written<String>,
    pub(in crate::config) issuer: Written<String>,
    pub(in crate::config) audience: Vec<Written<String>>,
    pub(in crate::config) algorithms: Vec<Written<String>>,
    pub(in crate::config) keys: Option<RawKeys>,
    pub(in crate::config) user_claim: Written<String>,
    pub(in crate::config) groups_claim: Option<Written<String>>,
    pub(in crate::config) required_claims: Vec<(String, Written<String>)>,
    pub(in crate::config) as_basic_password: Written<bool>,
    pub(in crate::config) leeway: Written<Duration>,
    pub(in crate::config) token_types: Vec<Written<String>>,
    pub(in crate::config) accept_id_tokens: Written<bool>,
    pub(in crate::config) denied_subjects: Vec<Written<String>>,
    pub(in crate::config) denied_token_ids: Vec<Written<String>>,
    pub(in crate::config) reads_after_expiry: Written<Duration>,
    pub(in crate::config) stale_keys: Written<Duration>,
}

/// `jwt.keys`
#[derive(Debug)]
pub(in crate::config) enum RawKeys {
    Fetched(RawKeyServer),
    File(Written<PathBuf>),
    Secret(Written<SecretRef>),
}

/// A server that has the keys, and who vouches for it instead of the machine's authorities.
#[derive(Debug)]
pub(in crate::config) struct RawKeyServer {
    /// Where the keys are; none if the issuer's own description says so.
    pub(in crate::config) url: Option<Written<HttpUrl>>,
    pub(in crate::config) discovery: Written<bool>,
    pub(in crate::config) ca_file: Option<Written<PathBuf>>,
}

pub(super) fn jwt(table: &Reader<'_>, problems: &Problems) -> RawJwt {
    let keys = match table.table("keys", &keys::JWT_KEYS) {
        Some(keys) => jwt_keys(&keys, problems),
        None => {
            table.demand("keys", "{ url = \"https://login.example.org/keys\" }");
            None
        }
    };
    table.demand("audience", "[\"livy-gateway\"]");
    table.demand("algorithms", "[\"RS256\"]");
    let audience = table.list("audience", "[\"livy-gateway\"]", not_empty);
    if table.is_empty_list("audience") {
        let wrong = Wrong::new(
            "an empty audience would accept tokens that were made for anybody",
            "write the name under which the issuer knows this gateway, such as [\"livy-gateway\"]",
        );
        table.wrong("audience", &wrong);
    }
    let algorithms = table.list("algorithms", "[\"RS256\"]", |text| Ok(text.to_owned()));
    if table.is_empty_list("algorithms") {
        table.wrong(
            "algorithms",
            &Wrong::new(
                "no algorithm means no token is ever good",
                "write those that the issuer signs with, such as [\"RS256\"]",
            ),
        );
    }
    RawJwt {
        span: table.span().clone(),
        name: table.required("name", "\"corp\"", String::new(), issuer_name),
        issuer: table.required(
            "issuer",
            "\"https://login.example.org/\"",
            String::new(),
            not_empty,
        ),
        audience: audience.unwrap_or_default(),
        algorithms: algorithms.unwrap_or_default(),
        keys,
        user_claim: table.parsed_or("user_claim", DEFAULT_USER_CLAIM.to_owned(), claim_path),
        groups_claim: table.parsed("groups_claim", claim_path),
        required_claims: table.dictionary("required_claims", "{ scope = \"livy\" }"),
        as_basic_password: table.flag("as_basic_password", true),
        leeway: table.parsed_or("leeway", DEFAULT_LEEWAY, |text| {
            let what = "would accept tokens long after their end";
            time_up_to(text, LONGEST_LEEWAY, what, "30s")
        }),
        token_types: token_types(table),
        accept_id_tokens: table.flag("accept_id_tokens", false),
        denied_subjects: table
            .list("denied_subjects", "[\"mallory\"]", not_empty)
            .unwrap_or_default(),
        denied_token_ids: table
            .list("denied_token_ids", "[\"c1f2a5d0\"]", not_empty)
            .unwrap_or_default(),
        reads_after_expiry: table.parsed_or("reads_after_expiry", Duration::ZERO, |text| {
            let what = "would let a token read long after its end";
            time_up_to(text, LONGEST_READS, what, "10m")
        }),
        stale_keys: table.parsed_or("stale_keys", DEFAULT_STALE_KEYS, |text| {
            let example = "write a time from 1m to 7d, such as \"24h\"";
            let time = units::duration(text).map_err(|what| Wrong::new(what, example))?;
            if (SHORTEST_STALE_KEYS..=LONGEST_STALE_KEYS).contains(&time) {
                Ok(time)
            } else {
                Err(Wrong::new(format!("{text:?} is out of range"), example))
            }
        }),
    }
}

fn time_up_to(text: &str, longest: Duration, what: &str, example: &str) -> Result<Duration, Wrong> {
    let instead = format!(
        "write a time of at most {}, such as {example:?}",
        units::show_duration(longest)
    );
    let time = units::duration(text).map_err(|what| Wrong::new(what, instead.as_str()))?;
    if time > longest {
        return Err(Wrong::new(format!("{text:?} {what}"), instead));
    }
    Ok(time)
}

fn token_types(table: &Reader<'_>) -> Vec<Written<String>> {
    let example = "[\"JWT\", \"at+jwt\"]";
    let types = table.list("token_types", example, |text| {
        let is_type = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-_/".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_type) {
            let what = format!("{text:?} is no type of token");
            return Err(Wrong::new(
                what,
                format!("write what the tokens have as typ, such as {example}"),
            ));
        }
        Ok(text.to_owned())
    });
    if table.is_empty_list("token_types") {
        let what = "no type means no token is ever good";
        let instead = format!("write those that the issuer gives, such as {example}");
        table.wrong("token_types", &Wrong::new(what, instead));
    }
    types.unwrap_or_else(|| {
        DEFAULT_TOKEN_TYPES
            .map(|typ| Written::default_of(typ.to_owned()))
            .into()
    })
}

fn jwt_keys(table: &Reader<'_>, problems: &Problems) -> Option<RawKeys> {
    let choices = "write exactly one of discovery = true, url = \"https://…\", file = \"jwks.json\" (or a public key in PEM) and secret = \"file:hmac.key\"";
    let url = table.url("url", "write the URL without them; key sets are public");
    let file = table.parsed("file", path);
    let secret = table.secret("secret");
    let discovery = table.flag("discovery", false);
    let ca_file = table.parsed("ca_file", path);
    let written = SOURCES.iter().filter(|key| table.has(key)).count();
    if written > 1 {
        problems.add(
            Some(table.span()),
            "`jwt.keys` names more than one source of keys",
            choices,
        );
        return None;
    }
    let is_off = discovery.span.is_some() && !discovery.value;
    if written == 0 || is_off {
        problems.add(Some(table.span()), "`jwt.keys` names no source of keys", choices);
        return None;
    }
    if let Some(url) = &url {
        let is_guarded = url.value.is_https || url.value.is_loopback();
        if !is_guarded {
            let what = "keys that arrive in plain text can be replaced on their way";
            table.wrong(
                "url",
                &Wrong::new(what, "write an https:// URL; http:// is for loopback only"),
            );
            return None;
        }
    }
    if url.is_some() || discovery.value {
        return Some(RawKeys::Fetched(RawKeyServer {
            url,
            discovery,
            ca_file,
        }));
    }
    if ca_file.is_some() {
        let what = "nothing is fetched, so no server needs an authority";
        table.wrong(
            "ca_file",
            &Wrong::new(what, "remove it, or write url or discovery"),
        );
        return None;
    }
    file.map(RawKeys::File).or(secret.map(RawKeys::Secret))
}

const SOURCES: [&str; 4] = ["discovery", "url", "file", "secret"];
const DEFAULT_USER_CLAIM: &str = "sub";
const DEFAULT_TOKEN_TYPES: [&str; 2] = ["JWT", "at+jwt"];
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const LONGEST_LEEWAY: Duration = Duration::from_mins(1);
const LONGEST_READS: Duration = Duration::from_hours(1);
const DEFAULT_STALE_KEYS: Duration = Duration::from_hours(24);
const SHORTEST_STALE_KEYS: Duration = Duration::from_mins(1);
const LONGEST_STALE_KEYS: Duration = Duration::from_hours(7 * 24);
