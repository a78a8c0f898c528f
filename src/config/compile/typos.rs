//! Names that are written in rules and that nobody has: loaded, because they may come, and told, because they are
//! rarely meant.

use std::collections::BTreeSet;

use super::super::raw::{RawConfig, RawWhose};
use super::Context;
use crate::authn::{Authn, Users};
use crate::identity::Identities;
use crate::roles::Holder;

/// Warns of services and groups that the gateway's own files do not have where those decide alone.
pub(super) fn warn(raw: &RawConfig, authn: &Authn, identities: &Identities, context: &Context<'_>) {
    let in_users_file = authn.users.iter().flat_map(Users::iter);
    let known: BTreeSet<&str> = in_users_file
        .flat_map(|user| user.groups())
        .map(AsRef::as_ref)
        .chain(identities.mapped_groups())
        .collect();
    let say = |sentence: String| context.warnings.borrow_mut().push(sentence);
    for delegate in &raw.identity.delegate {
        let service = delegate.service.value.as_str();
        if is_nobody(service, authn) {
            say(format!(
                "identity.delegate.service: {service} can log in nowhere; is it mistyped?"
            ));
        }
        for target in &delegate.for_ {
            if let Some(group) = target.value.strip_prefix("group:")
                && !known.contains(group)
            {
                say(format!(
                    "identity.delegate.for: nobody is in the group {group:?} by the users file or the groups file, which decide \
                     alone here; is it mistyped?"
                ));
            }
        }
    }
    // Elsewhere claims and the directory may bring any group, and that no login has one at all is told once.
    let may_come_from_elsewhere = raw.jwt.iter().any(|jwt| jwt.groups_claim.is_some())
        || raw.ldap.as_ref().is_some_and(|ldap| ldap.groups.is_some());
    if may_come_from_elsewhere || known.is_empty() {
        return;
    }
    let of = |whose: &RawWhose| {
        let written = [&whose.group, &whose.members_of].into_iter().flatten();
        written.map(|name| name.value.clone()).collect::<Vec<_>>()
    };
    let in_quota = raw
        .quota
        .for_
        .iter()
        .flat_map(|rule| of(&rule.whose))
        .map(|group| ("quota.for", group));
    let in_limits = raw
        .limits
        .for_
        .iter()
        .flat_map(|rule| of(&rule.whose))
        .map(|group| ("limits.for", group));
    let in_roles = raw
        .roles
        .0
        .iter()
        .flat_map(|(_, holders)| holders)
        .filter_map(|written| match &written.value.holder {
            Holder::Group(group) => Some(("roles", group.to_string())),
            Holder::User(_) => None,
        });
    let in_maps = raw
        .identity
        .map
        .iter()
        .filter_map(|rule| rule.group.as_ref())
        .map(|group| ("identity.map.group", group.value.clone()));
    for (key, group) in in_quota.chain(in_limits).chain(in_roles).chain(in_maps) {
        if !known.contains(group.as_str()) {
            say(format!(
                "{key}: nobody is in the group {group:?}; is it mistyped?"
            ));
        }
    }
}

/// Whether this service is one of the gateway's own files, and not in them.
fn is_nobody(service: &str, authn: &Authn) -> bool {
    match service.split_once(':') {
        Some(("basic", name)) => authn
            .users
            .as_ref()
            .is_some_and(|users| users.get(name).is_none()),
        Some(("token", name)) => authn
            .tokens
            .as_ref()
            .is_some_and(|tokens| !tokens.iter().any(|token| token.user() == name)),
        Some(_) | None => false,
    }
}
