//! Whose tokens are good, and where their keys come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::ClientConfig;

use super::super::files::Secrecy;
use super::super::raw::{RawJwt, RawKeyServer, RawKeys};
use super::super::reader::{Written, Wrong};
use super::super::tls::{self, Authorities};
use super::{Context, read};
use crate::authn::{Algorithm, Issuer, IssuerSettings, KeySource, TokenRules, plain_type};

/// Two entries of one name or of one issuer could not be told apart later.
pub(super) fn refuse_twins(jwt: &[RawJwt], context: &Context<'_>) -> bool {
    let mut found = false;
    for (place, entry) in jwt.iter().enumerate() {
        for earlier in jwt.iter().take(place) {
            if is_twin(&earlier.name, &entry.name) {
                found = true;
                let what = format!("another entry is named {:?} already", entry.name.value);
                context.wrong("jwt.name", &entry.name, &Wrong::new(what, "write another name"));
            }
            if is_twin(&earlier.issuer, &entry.issuer) {
                found = true;
                let what = format!("another entry has the issuer {:?} already", entry.issuer.value);
                context.wrong(
                    "jwt.issuer",
                    &entry.issuer,
                    &Wrong::new(what, "write one entry with the audiences of both"),
                );
            }
        }
    }
    found
}

fn is_twin(one: &Written<String>, other: &Written<String>) -> bool {
    one.span.is_some() && other.span.is_some() && one.value == other.value
}

pub(super) fn issuer(raw: &RawJwt, context: &Context<'_>) -> Option<Arc<Issuer>> {
    let RawJwt {
        span: _,
        name,
        issuer,
        audience,
        algorithms,
        keys,
        user_claim,
        groups_claim,
        required_claims,
        as_basic_password,
        leeway,
        token_types,
        accept_id_tokens,
        denied_subjects,
        denied_token_ids,
        reads_after_expiry,
        stale_keys,
    } = raw;
    let keys = keys.as_ref().and_then(|keys| key_source(keys, context));
    let pinned: Vec<_> = algorithms.iter().map(|name| algorithm(name, context)).collect();
    let pinned: Option<Vec<_>> = pinned.into_iter().collect();
    // What is missing or wrong was said; the issuer would only say it again.
    let is_complete = name.span.is_some()
        && issuer.span.is_some()
        && !audience.is_empty()
        && !algorithms.is_empty()
        && !token_types.is_empty();
    if accept_id_tokens.value {
        context.insecure(format!(
            "the ID tokens of jwt:{} log in here, which are made for the clients that its users sign in to",
            name.value
        ));
    }
    let rules = TokenRules {
        types: token_types.iter().map(|typ| plain_type(&typ.value)).collect(),
        accept_id_tokens: accept_id_tokens.value,
        denied_subjects: values(denied_subjects),
        denied_token_ids: values(denied_token_ids),
        reads_after_expiry: reads_after_expiry.value,
    };
    let settings = IssuerSettings {
        name: name.value.clone(),
        issuer: issuer.value.clone(),
        audience: values(audience),
        algorithms: pinned.filter(|_| is_complete)?,
        user_claim: user_claim.value.clone(),
        groups_claim: groups_claim.as_ref().map(|claim| claim.value.clone()),
        required_claims: claims(required_claims),
        as_basic_password: as_basic_password.value,
        leeway: leeway.value,
        rules,
        keys: keys?,
        stale_keys: stale_keys.value,
    };
    match Issuer::new(settings) {
        Ok(issuer) => Some(Arc::new(issuer.vouched_for_by(&authorities(raw, context)))),
        Err(what) => {
            unusable_issuer(raw, &what, context);
            None
        }
    }
}

fn values(list: &[Written<String>]) -> Vec<String> {
    list.iter().map(|written| written.value.clone()).collect()
}

/// The issuer's own verdict begins with the key that it is about.
fn unusable_issuer(raw: &RawJwt, what: &str, context: &Context<'_>) {
    let (key, what) = what.split_once(": ").unwrap_or(("name", what));
    let written = match (key, &raw.keys) {
        ("keys", Some(RawKeys::Fetched(server))) => match &server.url {
            Some(url) => url.span.as_ref(),
            // Where the description lies follows from the issuer.
            None => raw.issuer.span.as_ref(),
        },
        ("keys", Some(RawKeys::File(path))) => path.span.as_ref(),
        ("keys", Some(RawKeys::Secret(reference))) => reference.span.as_ref(),
        ("algorithms", _) => raw.algorithms.first().and_then(|name| name.span.as_ref()),
        (_, _) => None,
    };
    let span = written.unwrap_or(&raw.span);
    context
        .problems
        .add(Some(span), format!("`jwt.{key}`: {what}"), "");
}

fn claims(raw: &[(String, Written<String>)]) -> BTreeMap<String, String> {
    raw.iter()
        .map(|(claim, wanted)| (claim.clone(), wanted.value.clone()))
        .collect()
}

fn algorithm(name: &Written<String>, context: &Context<'_>) -> Option<Algorithm> {
    match name.value.parse() {
        Ok(algorithm) => Some(algorithm),
        Err(_) => {
            let known: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
            let instead = format!("write one of {}", known.join(", "));
            let what = format!("{:?} is no algorithm that tokens may be signed with", name.value);
            context.wrong("jwt.algorithms", name, &Wrong::new(what, instead));
            None
        }
    }
}

fn key_source(raw: &RawKeys, context: &Context<'_>) -> Option<KeySource> {
    match raw {
        RawKeys::Fetched(server) => Some(match &server.url {
            Some(url) => KeySource::Url(url.value.text.clone()),
            None => KeySource::Discovery,
        }),
        RawKeys::Secret(reference) => context
            .files
            .secret("jwt.keys.secret", reference)
            .map(KeySource::Secret),
        RawKeys::File(path) => {
            let mut content = read(context, "jwt.keys.file", path, Secrecy::Public)?;
            if tls::holds_private_key(&content) {
                let wrong = Wrong::new(
                    "the file holds a private key, which only the issuer may have",
                    "write the file of its public key, made with: openssl pkey -in KEY -pubout",
                );
                context.wrong("jwt.keys.file", path, &wrong);
                return None;
            }
            let is_json = content.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
            let content = std::mem::take(&mut *content);
            Some(if is_json {
                KeySource::Jwks(content)
            } else {
                KeySource::Public(content)
            })
        }
    }
}

/// How keys are fetched, by the names of the entries whose keys are.
pub(super) fn key_servers_tls(
    jwt: &[RawJwt],
    context: &Context<'_>,
) -> Option<BTreeMap<String, Arc<ClientConfig>>> {
    let servers = jwt.iter().filter_map(|entry| match &entry.keys {
        Some(RawKeys::Fetched(server)) => Some((entry, server)),
        Some(RawKeys::File(_) | RawKeys::Secret(_)) | None => None,
    });
    let read: Vec<_> = servers
        .map(|(entry, server)| Some((entry.name.value.clone(), key_server_tls(entry, server, context)?)))
        .collect();
    read.into_iter().collect()
}

/// Tells one set of authorities from another: keys that were fetched from a server of others are not to be kept.
fn authorities(raw: &RawJwt, context: &Context<'_>) -> Vec<u8> {
    match &raw.keys {
        Some(RawKeys::Fetched(RawKeyServer {
            ca_file: Some(path), ..
        })) => std::fs::read(context.files.resolve(&path.value)).unwrap_or_default(),
        Some(_) | None => Vec::new(),
    }
}

/// The authorities of `ca_file` alone vouch for the server, or those of the operating system.
fn key_server_tls(entry: &RawJwt, server: &RawKeyServer, context: &Context<'_>) -> Option<Arc<ClientConfig>> {
    let RawKeyServer {
        url,
        discovery,
        ca_file,
    } = server;
    let is_https = url
        .as_ref()
        .map_or(!entry.issuer.value.starts_with("http:"), |url| url.value.is_https);
    if let Some(ca_file) = ca_file {
        if !is_https {
            let wrong = Wrong::new(
                "the keys come over plain http, so no authority vouches for their server",
                "remove it, or write https:// in the URL",
            );
            context.wrong("jwt.keys.ca_file", ca_file, &wrong);
            return None;
        }
        let content = read(context, "jwt.keys.ca_file", ca_file, Secrecy::Public)?;
        let client = tls::client(Authorities::These(&content));
        return client
            .map_err(|wrong| context.wrong("jwt.keys.ca_file", ca_file, &wrong))
            .ok();
    }
    // Keys on loopback need no authority.
    let authorities = if is_https {
        Authorities::System
    } else {
        Authorities::Nobody
    };
    tls::client(authorities)
        .map_err(|wrong| match url {
            Some(url) => context.wrong("jwt.keys.url", url, &wrong),
            None => context.wrong("jwt.keys.discovery", discovery, &wrong),
        })
        .ok()
}
