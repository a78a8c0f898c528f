//! `[ldap]` as written.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::values::{not_empty, path, timeout};
use crate::authn::{LdapServer, LdapTransport};
use crate::config::files::SecretRef;
use crate::config::keys;
use crate::config::problem::Problems;
use crate::config::reader::{Reader, Written, Wrong};
use crate::config::units;
use crate::config::url::HttpUrl;

/// `[ldap]`
#[derive(Debug)]
pub(in crate::config) struct RawLdap {
    pub(in crate::config) urls: Vec<Written<LdapServer>>,
    pub(in crate::config) ca_file: Option<Written<PathBuf>>,
    pub(in crate::config) start_tls: Written<bool>,
    pub(in crate::config) allow_plain_ldap: Written<bool>,
    pub(in crate::config) bind_dn: Option<Written<String>>,
    pub(in crate::config) search: Option<RawLdapSearch>,
    pub(in crate::config) user_attribute: Written<String>,
    pub(in crate::config) groups: Option<RawLdapGroups>,
    pub(in crate::config) timeouts: RawLdapTimeouts,
    pub(in crate::config) cache: Written<Duration>,
    pub(in crate::config) cache_refused: Written<Duration>,
    pub(in crate::config) offline_grace: Written<Duration>,
    pub(in crate::config) max_connections: Written<u32>,
}

/// `ldap.search`
#[derive(Debug)]
pub(in crate::config) struct RawLdapSearch {
    pub(in crate::config) base: Written<String>,
    pub(in crate::config) filter: Written<String>,
    pub(in crate::config) bind_dn: Written<String>,
    pub(in crate::config) password: Option<Written<SecretRef>>,
}

/// `ldap.groups`
#[derive(Debug)]
pub(in crate::config) struct RawLdapGroups {
    pub(in crate::config) base: Written<String>,
    pub(in crate::config) attribute: Option<Written<String>>,
    pub(in crate::config) filter: Option<Written<String>>,
    pub(in crate::config) name_attribute: Option<Written<String>>,
}

/// `ldap.timeouts`
#[derive(Debug)]
pub(in crate::config) struct RawLdapTimeouts {
    pub(in crate::config) connect: Written<Duration>,
    pub(in crate::config) operation: Written<Duration>,
}

pub(super) fn ldap(table: &Reader<'_>, problems: &Problems) -> RawLdap {
    table.demand("urls", EXAMPLE_URLS);
    if table.is_empty_list("urls") {
        let wrong = Wrong::new(
            "no server means that nobody can be asked",
            format!("write {EXAMPLE_URLS}"),
        );
        table.wrong("urls", &wrong);
    }
    let start_tls = table.flag("start_tls", false);
    let bind_dn = table.parsed("bind_dn", not_empty);
    let search = table
        .table("search", &keys::LDAP_SEARCH)
        .map(|table| search(&table));
    let (by_name, by_search) = (table.has("bind_dn"), table.has("search"));
    if by_name == by_search {
        let what = if by_name {
            "`ldap` names two ways to find a person"
        } else {
            "`ldap` names no way to find a person"
        };
        problems.add(
            Some(table.span()),
            what,
            "write one of bind_dn = \"uid=${user},ou=people,dc=example,dc=org\" and search = { base = \"…\", \
             filter = \"(uid=${user})\", bind_dn = \"…\", password = \"file:…\" }",
        );
    }
    let nothing = DeTable::new();
    let timeouts = table
        .table("timeouts", &keys::LDAP_TIMEOUTS)
        .unwrap_or_else(|| Reader::open(&nothing, 0..0, &keys::LDAP_TIMEOUTS, problems));
    RawLdap {
        urls: table
            .list("urls", EXAMPLE_URLS, |text| Ok(text.to_owned()))
            .unwrap_or_default()
            .iter()
            .filter_map(|text| server_at(text, start_tls.value, problems))
            .collect(),
        ca_file: table.parsed("ca_file", path),
        start_tls,
        allow_plain_ldap: table.flag("allow_plain_ldap", false),
        bind_dn,
        search,
        user_attribute: table.parsed_or("user_attribute", DEFAULT_USER_ATTRIBUTE.to_owned(), not_empty),
        groups: table
            .table("groups", &keys::LDAP_GROUPS)
            .map(|table| groups(&table, problems)),
        timeouts: RawLdapTimeouts {
            connect: timeout(&timeouts, "connect", DEFAULT_TIMEOUT, LONGEST_TIMEOUT),
            operation: timeout(&timeouts, "operation", DEFAULT_TIMEOUT, LONGEST_TIMEOUT),
        },
        cache: timeout(table, "cache", DEFAULT_CACHE, LONGEST_CACHE),
        cache_refused: timeout(
            table,
            "cache_refused",
            DEFAULT_CACHE_REFUSED,
            LONGEST_CACHE_REFUSED,
        ),
        offline_grace: table.parsed_or("offline_grace", DEFAULT_GRACE, |text| {
            let example = "write a time of at most 1h, such as \"30m\", or \"0s\" to believe nobody longer";
            let grace = units::duration(text).map_err(|what| Wrong::new(what, example))?;
            if grace > LONGEST_GRACE {
                return Err(Wrong::new(
                    format!("{text:?} would believe people long after they were locked out"),
                    example,
                ));
            }
            Ok(grace)
        }),
        max_connections: table.count("max_connections", DEFAULT_CONNECTIONS),
    }
}

fn search(table: &Reader<'_>) -> RawLdapSearch {
    let text = |key, example| table.required(key, example, String::new(), not_empty);
    table.demand("password", "\"file:ldap.password\"");
    RawLdapSearch {
        base: text("base", "\"ou=people,dc=example,dc=org\""),
        filter: text("filter", "\"(&(objectClass=person)(uid=${user}))\""),
        bind_dn: text("bind_dn", "\"cn=gateway,dc=example,dc=org\""),
        password: table.secret("password"),
    }
}

fn groups(table: &Reader<'_>, problems: &Problems) -> RawLdapGroups {
    let raw = RawLdapGroups {
        base: table.required(
            "base",
            "\"ou=groups,dc=example,dc=org\"",
            String::new(),
            not_empty,
        ),
        attribute: table.parsed("attribute", not_empty),
        filter: table.parsed("filter", not_empty),
        name_attribute: table.parsed("name_attribute", not_empty),
    };
    if table.has("filter") && table.has("attribute") {
        problems.add(
            Some(table.span()),
            "`ldap.groups` names two sources of groups",
            "write attribute = \"memberOf\" for what the person's entry says, or filter = \"(member=${dn})\" for a search",
        );
    }
    if table.has("name_attribute") && !table.has("filter") {
        let wrong = Wrong::new(
            "only groups that a filter finds are named by an attribute of theirs",
            "remove it, or write filter = \"(member=${dn})\" instead of attribute",
        );
        table.wrong("name_attribute", &wrong);
    }
    raw
}

fn server_at(text: &Written<String>, start_tls: bool, problems: &Problems) -> Option<Written<LdapServer>> {
    let span = text.span.clone()?;
    if HttpUrl::has_user_info(&text.value) {
        problems.mask(&span);
    }
    match server(&text.value, start_tls) {
        Ok(server) => Some(Written::at(server, &span)),
        Err(wrong) => {
            problems.add(Some(&span), format!("`ldap.urls`: {}", wrong.what), wrong.instead);
            None
        }
    }
}

fn server(text: &str, start_tls: bool) -> Result<LdapServer, Wrong> {
    let instead = format!("write it as in {EXAMPLE_URLS}");
    let wrong = |what: String| Wrong::new(what, instead.as_str());
    if HttpUrl::has_user_info(text) {
        return Err(wrong("a URL has a user name or password in it".to_owned()));
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| wrong(format!("{text:?} is no URL")))?;
    let (transport, usual) = match scheme {
        "ldaps" if start_tls => {
            return Err(Wrong::new(
                format!("{text:?} speaks TLS from the first byte, so there is nothing to start"),
                "write ldap:// with start_tls = true, or ldaps:// without it",
            ));
        }
        "ldaps" => (LdapTransport::Ldaps, 636),
        "ldap" if start_tls => (LdapTransport::StartTls, 389),
        "ldap" => (LdapTransport::Plain, 389),
        _ => return Err(wrong(format!("the scheme {scheme:?} is neither ldap nor ldaps"))),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return Err(wrong(format!(
            "{text:?} is more than a scheme, a host and a port"
        )));
    }
    // IPv6 stands in brackets, so that its colons are no port's.
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(""))),
        None => authority
            .split_once(':')
            .map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => Some(usual),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
    };
    match port {
        Some(port) if !host.is_empty() && !host.contains(['[', ']']) => Ok(LdapServer {
            url: text.to_owned(),
            host: host.to_owned(),
            port,
            transport,
        }),
        Some(_) | None => Err(wrong(format!("{text:?} has no host, or no port after its colon"))),
    }
}

const EXAMPLE_URLS: &str = "[\"ldaps://ldap.example.org\"]";
const DEFAULT_USER_ATTRIBUTE: &str = "uid";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Those who wait are told to come back after 8 s.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_CACHE: Duration = Duration::from_mins(5);
const LONGEST_CACHE: Duration = Duration::from_mins(30);
const DEFAULT_CACHE_REFUSED: Duration = Duration::from_secs(10);
const LONGEST_CACHE_REFUSED: Duration = Duration::from_mins(1);
const DEFAULT_GRACE: Duration = Duration::from_mins(30);
const LONGEST_GRACE: Duration = Duration::from_hours(1);
const DEFAULT_CONNECTIONS: u32 = 8;
