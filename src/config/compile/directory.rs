//! `[ldap]`: from what was written to a directory that can be asked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use secrecy::SecretString;

use super::super::files::Secrecy;
use super::super::raw::{RawLdap, RawLdapGroups, RawLdapSearch};
use super::super::reader::{Written, Wrong};
use super::super::tls::{self, Authorities};
use super::{Context, read};
use crate::authn::{Find, GroupsFrom, Ldap, LdapServer, LdapSettings, LdapTransport};

pub(super) fn ldap(raw: &RawLdap, context: &Context<'_>) -> Option<Arc<Ldap>> {
    let RawLdap {
        urls,
        ca_file,
        start_tls: _,
        allow_plain_ldap,
        bind_dn,
        search,
        user_attribute,
        groups,
        timeouts,
        cache,
        cache_refused,
        offline_grace,
        max_connections,
    } = raw;
    for url in urls {
        refuse_plain(url, allow_plain_ldap.value, context);
    }
    let tls = directory_tls(urls, ca_file.as_ref(), context);
    let find = match (bind_dn, search) {
        (Some(template), None) => Some(Find::ByName(template.value.clone())),
        (None, Some(search)) => by_search(search, context),
        // Said when it was read.
        (Some(_), Some(_)) | (None, None) => None,
    };
    let servers: Vec<LdapServer> = urls.iter().map(|url| url.value.clone()).collect();
    let settings = LdapSettings {
        servers,
        tls: tls?,
        find: find?,
        user_attribute: user_attribute.value.clone(),
        groups: groups.as_ref().map(groups_from),
        connect: timeouts.connect.value,
        operation: timeouts.operation.value,
        cache: cache.value,
        cache_refused: cache_refused.value,
        offline_grace: offline_grace.value,
        max_connections: usize::try_from(max_connections.value).unwrap_or(usize::MAX),
    };
    if settings.servers.is_empty() {
        return None;
    }
    match Ldap::new(settings) {
        Ok(ldap) => Some(Arc::new(ldap)),
        Err(what) => {
            unusable(raw, &what, context);
            None
        }
    }
}

fn refuse_plain(url: &Written<LdapServer>, is_allowed: bool, context: &Context<'_>) {
    let server = &url.value;
    let is_loopback = server.host.eq_ignore_ascii_case("localhost")
        || server
            .host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if server.transport != LdapTransport::Plain || is_loopback {
        return;
    }
    if is_allowed {
        context.insecure(format!(
            "passwords reach the directory {} in clear text (allow_plain_ldap)",
            server.url
        ));
    } else {
        let wrong = Wrong::new(
            format!("{:?} would carry everybody's password in clear text", server.url),
            "write ldaps://, or start_tls = true, or allow_plain_ldap = true if nobody can listen on the way",
        );
        context.wrong("ldap.urls", url, &wrong);
    }
}

fn directory_tls(
    urls: &[Written<LdapServer>],
    ca_file: Option<&Written<PathBuf>>,
    context: &Context<'_>,
) -> Option<Option<Arc<ClientConfig>>> {
    let ca = match ca_file {
        Some(path) => Some((path, read(context, "ldap.ca_file", path, Secrecy::Public)?)),
        None => None,
    };
    let Some(secure) = urls
        .iter()
        .find(|url| url.value.transport != LdapTransport::Plain)
    else {
        if let Some((path, _)) = &ca
            && !urls.is_empty()
        {
            let wrong = Wrong::new(
                "no server is spoken to with TLS",
                "write ldaps:// or start_tls = true, or remove ca_file",
            );
            context.wrong("ldap.ca_file", path, &wrong);
        }
        return Some(None);
    };
    let authorities = ca
        .as_ref()
        .map_or(Authorities::System, |(_, pem)| Authorities::These(pem));
    match tls::client(authorities) {
        Ok(config) => {
            // What is spoken inside is not HTTP.
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols.clear();
            Some(Some(Arc::new(config)))
        }
        Err(wrong) => {
            match ca_file {
                Some(path) => context.wrong("ldap.ca_file", path, &wrong),
                None => context.wrong("ldap.urls", secure, &wrong),
            }
            None
        }
    }
}

fn by_search(raw: &RawLdapSearch, context: &Context<'_>) -> Option<Find> {
    let RawLdapSearch {
        base,
        filter,
        bind_dn,
        password,
    } = raw;
    let reference = password.as_ref()?;
    let secret = context.files.secret("ldap.search.password", reference)?;
    let text = std::str::from_utf8(&secret).ok().filter(|text| !text.is_empty());
    let Some(password) = text else {
        let wrong = Wrong::new(
            "the password is empty or not UTF-8",
            "write the account's password into the file; without one everybody's search would be anonymous",
        );
        context.wrong("ldap.search.password", reference, &wrong);
        return None;
    };
    // What is missing was said.
    if [base, filter, bind_dn]
        .iter()
        .any(|written| written.span.is_none())
    {
        return None;
    }
    Some(Find::BySearch {
        base: base.value.clone(),
        filter: filter.value.clone(),
        account: bind_dn.value.clone(),
        password: SecretString::from(password.to_owned()),
    })
}

fn groups_from(raw: &RawLdapGroups) -> GroupsFrom {
    let RawLdapGroups {
        base,
        attribute,
        filter,
        name_attribute,
    } = raw;
    let base = base.value.clone();
    match filter {
        Some(filter) => GroupsFrom::Search {
            base,
            filter: filter.value.clone(),
            name_attribute: name_attribute.as_ref().map_or_else(
                || DEFAULT_NAME_ATTRIBUTE.to_owned(),
                |written| written.value.clone(),
            ),
        },
        None => GroupsFrom::Attribute {
            base,
            attribute: attribute.as_ref().map_or_else(
                || DEFAULT_GROUPS_ATTRIBUTE.to_owned(),
                |written| written.value.clone(),
            ),
        },
    }
}

/// The verdict begins with the key that it is about.
fn unusable(raw: &RawLdap, what: &str, context: &Context<'_>) {
    let (key, what) = what.split_once(": ").unwrap_or(("ldap", what));
    let groups = raw.groups.as_ref();
    let search = raw.search.as_ref();
    let written = match key {
        "bind_dn" => raw.bind_dn.as_ref(),
        "search.base" => search.map(|search| &search.base),
        "search.filter" => search.map(|search| &search.filter),
        "search.bind_dn" => search.map(|search| &search.bind_dn),
        "groups.base" => groups.map(|groups| &groups.base),
        "groups.filter" => groups.and_then(|groups| groups.filter.as_ref()),
        "groups.attribute" => groups.and_then(|groups| groups.attribute.as_ref()),
        "groups.name_attribute" => groups.and_then(|groups| groups.name_attribute.as_ref()),
        _ => Some(&raw.user_attribute),
    };
    // A missing base was said.
    if written.is_some_and(|written| written.value.is_empty()) {
        return;
    }
    let (what, instead) = what.split_once("; ").unwrap_or((what, ""));
    let span = written.and_then(|written| written.span.as_ref());
    context
        .problems
        .add(span, format!("`ldap.{key}`: {what}"), instead);
}

const DEFAULT_NAME_ATTRIBUTE: &str = "cn";
const DEFAULT_GROUPS_ATTRIBUTE: &str = "memberOf";
