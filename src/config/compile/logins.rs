//! Who may prove what, as whom Livy acts, and how fast strangers may try.

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::super::files::Secrecy;
use super::super::problem::nearest;
use super::super::raw::{RawAuthenticate, RawBasic, RawConfig, RawDelegate, RawIdentity, RawMap};
use super::super::reader::{Written, Wrong};
use super::{Context, directory, issuers, read};
use crate::authn::password::Scheme;
use crate::authn::{Authn, Users, WeakHashes};
use crate::identity::{DelegateRule, GroupMap, Identities, MapRule, SourceFilter};
use crate::roles::{Holder, Role, Roles};

mod tokens;

/// The verifiers. There is at least one: an open gateway cannot be configured.
pub(super) fn authn(raw: &RawConfig, context: &Context<'_>) -> Option<Authn> {
    let (basic, jwt) = (raw.basic.as_ref(), raw.jwt.as_slice());
    let (ldap, tokens) = (raw.ldap.as_ref(), raw.tokens.as_ref());
    let has_others = raw.takes_certificates() || tokens.is_some() || ldap.is_some();
    if basic.is_none() && jwt.is_empty() && !has_others {
        let title = "nobody could log in: there is no [basic], [[jwt]], [ldap] or [tokens]";
        context.problems.add(
            None,
            title,
            "write a table [basic] with users_file = \"users.htpasswd\"",
        );
    }
    let has_twins = issuers::refuse_twins(jwt, context);
    let users = basic.map(|basic| users(basic, context));
    let tokens = tokens.map(|tokens| self::tokens::tokens(tokens, context));
    let issuers: Vec<_> = jwt.iter().map(|jwt| issuers::issuer(jwt, context)).collect();
    let issuers: Option<Vec<_>> = issuers.into_iter().collect();
    let ldap = ldap.map(|ldap| directory::ldap(ldap, context));
    let realm = basic.map_or_else(
        || super::super::raw::DEFAULT_REALM.to_owned(),
        |basic| basic.realm.value.clone(),
    );
    let users = match users {
        Some(read) => Some(read?),
        None => None,
    };
    let ldap = match ldap {
        Some(compiled) => Some(compiled?),
        None => None,
    };
    let tokens = match tokens {
        Some(read) => Some(read?),
        None => None,
    };
    if has_twins {
        return None;
    }
    match Authn::new(realm, users, issuers?) {
        Ok(authn) => Some(authn.with_ldap(ldap).with_tokens(tokens)),
        Err(what) => {
            context.problems.add(None, what, "");
            None
        }
    }
}

fn users(basic: &RawBasic, context: &Context<'_>) -> Option<Users> {
    let RawBasic {
        users_file,
        realm: _,
        allow_weak_hashes,
    } = basic;
    let path = context.files.resolve(&users_file.value);
    let add = format!(
        "add a user, with: livy-gateway users add --file {} NAME",
        path.display()
    );
    users_file.span.as_ref()?;
    let content = context
        .files
        .read("basic.users_file", users_file, Secrecy::Secret, &add)?;
    let Ok(text) = std::str::from_utf8(&content) else {
        let what = format!("{} is not UTF-8 text", path.display());
        context.wrong(
            "basic.users_file",
            users_file,
            &Wrong::new(
                what,
                "write the path of a users file: name:hash[:group,group] on each line",
            ),
        );
        return None;
    };
    let weak = if allow_weak_hashes.value {
        WeakHashes::Allowed
    } else {
        WeakHashes::Refused
    };
    match Users::parse_with(text, weak) {
        Ok(users) if users.is_empty() => {
            let what = format!("{} has no user, so nobody could log in", path.display());
            context.wrong("basic.users_file", users_file, &Wrong::new(what, add));
            None
        }
        Ok(users) => {
            if weak == WeakHashes::Allowed {
                context.insecure(weak_hashes(&users, &path));
            }
            Some(users)
        }
        Err(found) => {
            for problem in found {
                context
                    .problems
                    .add_in(&path, Some(problem.line), problem.message, "");
            }
            None
        }
    }
}

/// What is said of a users file that may store passwords so that who reads it has them.
fn weak_hashes(users: &Users, path: &Path) -> String {
    let mut found = Vec::new();
    for scheme in [Scheme::Sha1, Scheme::PlainText] {
        let count = users.iter().filter(|user| user.scheme() == scheme).count();
        let noun = if count == 1 { "user" } else { "users" };
        if count > 0 {
            found.push(format!("{count} {noun} with {scheme}"));
        }
    }
    let path = path.display();
    if found.is_empty() {
        format!("{path} may hold weak hashes (basic.allow_weak_hashes), and holds none; take the key out")
    } else {
        format!(
            "{path} holds weak hashes (basic.allow_weak_hashes): {}; set their passwords anew with `livy-gateway users add`",
            found.join(", ")
        )
    }
}

/// The mapping rules. With several sources there must be one: nobody becomes alice because two sources know an alice.
pub(super) fn identities(
    raw: &RawConfig,
    identity: &RawIdentity,
    authn: Option<&Authn>,
    roles: &Roles,
    context: &Context<'_>,
) -> Option<Identities> {
    let RawIdentity {
        also_reserved,
        groups_file,
        map,
        delegate,
    } = identity;
    let sources = raw.jwt.len()
        + usize::from(raw.basic.is_some())
        + usize::from(raw.ldap.is_some())
        + usize::from(raw.takes_certificates());
    if sources > 1 && map.is_empty() {
        let title = format!(
            "there are {sources} sources of identities and no [[identity.map]]: two of them may know different people by one name"
        );
        let help = "write [[identity.map]] tables that say whose names count, such as from = \"basic\" with livy_user = \"${subject}\"";
        context.problems.add(None, title, help);
    }
    let rules: Vec<_> = map.iter().map(|rule| map_rule(rule, raw, context)).collect();
    let delegates: Vec<_> = delegate
        .iter()
        .map(|rule| delegate_rule(rule, raw, context))
        .collect();
    let rules: Option<Vec<_>> = rules.into_iter().collect();
    let delegates: Option<Vec<_>> = delegates.into_iter().collect();
    let mut reserved: Vec<String> = also_reserved.iter().map(|name| name.value.clone()).collect();
    match &raw.livy.authenticate {
        // Livy trusts its gateway's own account: nobody may become that.
        RawAuthenticate::Basic { user, password: _ } | RawAuthenticate::Simple { user } => {
            reserved.extend(user.span.is_some().then(|| user.value.clone()));
        }
        RawAuthenticate::None => {}
    }
    let group_map = match groups_file {
        Some(path) => Some(group_map(path, context)?),
        None => None,
    };
    match Identities::new(rules?, reserved, delegates?) {
        Ok(identities) => {
            tokens::refuse_reserved(raw.tokens.as_ref(), authn, &identities, context);
            let users = authn.and_then(|authn| authn.users.as_ref());
            let groups = users
                .into_iter()
                .flat_map(Users::iter)
                .map(|user| (user.name(), user.groups()));
            warn_of_administrators_that_cannot_be_known(raw, context);
            let identities = identities
                .with_users(groups)
                .with_groups(group_map.unwrap_or_default());
            Some(identities.with_roles(roles.clone()))
        }
        Err(what) => {
            let at = named_in(&what, identity).and_then(|written| written.span.as_ref());
            context.problems.add(at, format!("`identity`: {what}"), "");
            None
        }
    }
}

/// A delegate acts for an administrator only by name; but of somebody who is not there only the gateway's own files tell
/// the groups, and so whether that is one.
fn warn_of_administrators_that_cannot_be_known(raw: &RawConfig, context: &Context<'_>) {
    let admins = raw.roles.0.iter().filter(|(role, _)| *role == Role::Admin);
    let by_group = admins
        .flat_map(|(_, holders)| holders)
        .find_map(|written| match &written.value.holder {
            Holder::Group(group) => Some(group),
            Holder::User(_) => None,
        });
    let brings_groups = raw.jwt.iter().any(|jwt| jwt.groups_claim.is_some())
        || raw.ldap.as_ref().is_some_and(|ldap| ldap.groups.is_some());
    let is_wide = |delegate: &RawDelegate| delegate.for_.iter().any(|target| !is_one_user(&target.value));
    if let Some(group) = by_group
        && brings_groups
        && raw.identity.delegate.iter().any(is_wide)
    {
        context.warnings.borrow_mut().push(format!(
            "roles.admin has the group {group:?}, and a delegate may act for a group or for everybody: administrators whose \
             groups come from a claim or the directory alone are not known as such then; name them in roles.admin, or in \
             identity.groups_file"
        ));
    }
}

fn is_one_user(target: &str) -> bool {
    target.starts_with("user:") && target != "user:*"
}

fn group_map(path: &Written<PathBuf>, context: &Context<'_>) -> Option<GroupMap> {
    let content = read(context, "identity.groups_file", path, Secrecy::Secret)?;
    let Ok(text) = std::str::from_utf8(&content) else {
        let wrong = Wrong::new(
            "the file is not UTF-8 text",
            "write group: user user on each line of it",
        );
        context.wrong("identity.groups_file", path, &wrong);
        return None;
    };
    match GroupMap::parse(text) {
        Ok(map) => Some(map),
        Err(found) => {
            let path = context.files.resolve(&path.value);
            for (line, message) in found {
                context.problems.add_in(&path, Some(line), message, "");
            }
            None
        }
    }
}

/// The setting that a verdict on all rules together is about: it begins with the key and quotes the value.
fn named_in<'a>(what: &str, identity: &'a RawIdentity) -> Option<&'a Written<String>> {
    let is_quoted = |written: &&Written<String>| what.contains(&format!("\"{}\"", written.value));
    if what.starts_with("livy_user") {
        identity.map.iter().map(|rule| &rule.livy_user).find(is_quoted)
    } else if what.starts_with("for") {
        identity
            .delegate
            .iter()
            .flat_map(|rule| &rule.for_)
            .find(is_quoted)
    } else {
        identity.also_reserved.iter().find(is_quoted)
    }
}

fn map_rule(raw: &RawMap, config: &RawConfig, context: &Context<'_>) -> Option<MapRule> {
    let RawMap {
        span: _,
        from,
        subject,
        group,
        livy_user,
    } = raw;
    from.span.as_ref()?;
    let filter = match from.value.parse::<SourceFilter>() {
        Ok(filter) => filter,
        Err(what) => {
            context
                .problems
                .add(from.span.as_ref(), format!("`identity.map.from`: {what}"), "");
            return None;
        }
    };
    let is_known = match &filter {
        SourceFilter::Any => Ok(()),
        SourceFilter::Basic => known_source("basic", config),
        SourceFilter::Jwt(name) => known_source(&format!("jwt:{name}"), config),
        SourceFilter::Ldap => known_source("ldap", config),
        SourceFilter::Certificate => known_source("certificate", config),
    };
    if let Err(wrong) = is_known {
        context.wrong("identity.map.from", from, &wrong);
    }
    livy_user.span.as_ref()?;
    let expression = subject.as_ref().map(|subject| subject.value.as_str());
    match MapRule::new(filter, expression, &livy_user.value) {
        Ok(rule) => Some(rule.for_members_of(group.as_ref().map(|group| group.value.clone()))),
        Err(what) => {
            let at = match subject {
                Some(subject) if what.starts_with("subject") => subject.span.as_ref(),
                Some(_) | None => livy_user.span.as_ref(),
            };
            context.problems.add(at, format!("`identity.map`: {what}"), "");
            None
        }
    }
}

fn delegate_rule(raw: &RawDelegate, config: &RawConfig, context: &Context<'_>) -> Option<DelegateRule> {
    let RawDelegate {
        service,
        for_,
        from_addresses,
    } = raw;
    let networks: Vec<_> = from_addresses
        .iter()
        .map(|address| network(address, context))
        .collect();
    let networks: Option<Vec<_>> = networks.into_iter().collect();
    service.span.as_ref()?;
    if for_.is_empty() {
        return None;
    }
    let targets: Vec<String> = for_.iter().map(|target| target.value.clone()).collect();
    let rule = match DelegateRule::new(&service.value, &targets, &networks?) {
        Ok(rule) => rule,
        Err(what) => {
            let is_quoted = |target: &&Written<String>| what.contains(&format!("\"{}\"", target.value));
            let at = if what.starts_with("for") {
                for_.iter().find(is_quoted)
            } else {
                Some(service)
            };
            let at = at.and_then(|written| written.span.as_ref());
            context
                .problems
                .add(at, format!("`identity.delegate`: {what}"), "");
            return None;
        }
    };
    if let Err(wrong) = known_source(source_of(&service.value), config) {
        context.wrong("identity.delegate.service", service, &wrong);
    }
    if config.basic.is_none()
        && config.identity.groups_file.is_none()
        && let Some(group) = rule.groups().next()
    {
        let what = format!("the members of {group:?} are not known without a users file or a groups file");
        let wrong = Wrong::new(
            what,
            "write user:NAME for each, or the group with its users into identity.groups_file",
        );
        wrong_at(
            context,
            "identity.delegate.for",
            for_.first().and_then(|target| target.span.as_ref()),
            &wrong,
        );
    }
    Some(rule)
}

/// `basic:zeppelin` → `basic`, `jwt:corp:airflow` → `jwt:corp`.
fn source_of(service: &str) -> &str {
    match service.strip_prefix("jwt:").and_then(|rest| rest.find(':')) {
        Some(end) => service.get(..end.saturating_add("jwt:".len())).unwrap_or(service),
        None => service.split(':').next().unwrap_or(service),
    }
}

/// Whether a rule's source is configured at all; one that is not would never match, which nobody means.
fn known_source(source: &str, config: &RawConfig) -> Result<(), Wrong> {
    let basic = config.basic.as_ref().map(|_| "basic".to_owned());
    let named = config.jwt.iter().filter(|jwt| jwt.name.span.is_some());
    let issuers = named.map(|jwt| format!("jwt:{}", jwt.name.value));
    let ldap = config.ldap.as_ref().map(|_| "ldap".to_owned());
    let tokens = config.tokens.as_ref().map(|_| "token".to_owned());
    let certificate = config.takes_certificates().then(|| "certificate".to_owned());
    let known: Vec<String> = basic
        .into_iter()
        .chain(issuers)
        .chain(ldap)
        .chain(tokens)
        .chain(certificate)
        .collect();
    // That there is no login at all was said.
    if known.is_empty() || known.iter().any(|known| known == source) {
        return Ok(());
    }
    let instead = match nearest(source, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there is {}", known.join(", ")),
    };
    Err(Wrong::new(
        format!("no login is configured as {source:?}"),
        instead,
    ))
}

fn network(address: &Written<String>, context: &Context<'_>) -> Option<IpNet> {
    let text = address.value.as_str();
    let single = text.parse::<IpAddr>().map(IpNet::from);
    let parsed = single.ok().or_else(|| text.parse::<IpNet>().ok());
    let wrong = match parsed {
        Some(network) if network.addr() == network.network() => return Some(network),
        Some(network) => Wrong::new(
            format!("{text:?} is an address inside a network"),
            format!(
                "write {:?} for the network, or {:?} for the address",
                network.trunc().to_string(),
                network.addr().to_string()
            ),
        ),
        None => Wrong::new(
            format!("{text:?} is no network"),
            "write an address or a network, such as \"10.1.0.0/16\"",
        ),
    };
    context.wrong("identity.delegate.from_addresses", address, &wrong);
    None
}

fn wrong_at(context: &Context<'_>, key: &str, span: Option<&Range<usize>>, wrong: &Wrong) {
    context
        .problems
        .add(span, format!("`{key}`: {}", wrong.what), wrong.instead.as_str());
}
