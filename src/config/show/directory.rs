//! `[ldap]`.

use super::Page;
use crate::config::raw::{RawLdap, RawLdapGroups, RawLdapSearch, RawLdapTimeouts};
use crate::config::units::show_duration;

pub(super) fn ldap(page: &mut Page, raw: &RawLdap) {
    let RawLdap {
        urls,
        ca_file,
        start_tls,
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
    page.header("[ldap]");
    let urls: Vec<_> = urls.iter().map(|url| super::quoted(&url.value.url)).collect();
    page.0.push_str(&format!("urls = [{}]\n", urls.join(", ")));
    page.optional("ca_file", ca_file.as_ref(), |path| path.display().to_string());
    page.line("start_tls", start_tls, start_tls.value);
    page.line("allow_plain_ldap", allow_plain_ldap, allow_plain_ldap.value);
    page.optional("bind_dn", bind_dn.as_ref(), Clone::clone);
    page.text("user_attribute", user_attribute, &user_attribute.value);
    page.text("cache", cache, show_duration(cache.value));
    page.text("cache_refused", cache_refused, show_duration(cache_refused.value));
    page.text("offline_grace", offline_grace, show_duration(offline_grace.value));
    page.line("max_connections", max_connections, max_connections.value);
    if let Some(RawLdapSearch {
        base,
        filter,
        bind_dn,
        password,
    }) = search
    {
        page.header("[ldap.search]");
        page.text("base", base, &base.value);
        page.text("filter", filter, &filter.value);
        page.text("bind_dn", bind_dn, &bind_dn.value);
        page.optional("password", password.as_ref(), ToString::to_string);
    }
    if let Some(RawLdapGroups {
        base,
        attribute,
        filter,
        name_attribute,
    }) = groups
    {
        page.header("[ldap.groups]");
        page.text("base", base, &base.value);
        page.optional("attribute", attribute.as_ref(), Clone::clone);
        page.optional("filter", filter.as_ref(), Clone::clone);
        page.optional("name_attribute", name_attribute.as_ref(), Clone::clone);
    }
    let RawLdapTimeouts { connect, operation } = timeouts;
    page.header("[ldap.timeouts]");
    page.text("connect", connect, show_duration(connect.value));
    page.text("operation", operation, show_duration(operation.value));
}

/// One line of `check`.
pub(super) fn summary(raw: &RawLdap) -> String {
    let urls: Vec<_> = raw.urls.iter().map(|url| url.value.url.as_str()).collect();
    let how = if raw.search.is_some() {
        "by a search"
    } else {
        "by name"
    };
    let groups = if raw.groups.is_some() {
        "groups from there"
    } else {
        "no groups"
    };
    format!(
        "login      LDAP: {}, people found {how}, {groups}\n",
        urls.join(", ")
    )
}
