//! What users may hold, where that is kept, and who looks after it.

use std::path::{Path, PathBuf};

use super::super::raw::{
    RawAssumed, RawConfig, RawQuota, RawQuotaFor, RawRoles, RawState, RawTimeouts, RawWhose, StoreKind,
};
use super::super::reader::Written;
use super::super::units::show_duration;
use super::Context;
use super::whose::whose;
use crate::authn::{Authn, Users};
use crate::identity::Identities;
use crate::policy::{State, Store};
use crate::quota::{Assumed, Limits, Quotas, Rule};
use crate::roles::{Holder, Roles};

/// Where the ledger is kept, and how it is compared with Livy.
pub(super) fn state(raw: &RawState, timeouts: &RawTimeouts, context: &Context<'_>) -> State {
    let RawState {
        store,
        directory,
        reconcile,
        in_doubt_hold,
        ghosts,
    } = raw;
    let warn = |sentence: String| context.warnings.borrow_mut().push(sentence);
    if in_doubt_hold.value < timeouts.create.value {
        warn(format!(
            "state.in_doubt_hold = \"{}\" is shorter than livy.timeouts.create = \"{}\": a creation that Livy still works at would lose its place, and more than the quota could be created",
            show_duration(in_doubt_hold.value),
            show_duration(timeouts.create.value)
        ));
    }
    let store = match store.value {
        StoreKind::File => Store::File(state_directory(directory, |path| context.files.resolve(path))),
        StoreKind::Memory => {
            warn(
                "state.store = \"memory\" forgets with each restart who owns what; it is for tests"
                    .to_owned(),
            );
            Store::Memory
        }
    };
    State {
        store,
        control: control_socket(raw, |path| context.files.resolve(path)),
        reconcile: reconcile.value,
        in_doubt_hold: in_doubt_hold.value,
        ghosts: ghosts.value,
    }
}

/// Where operators talk to the gateway: in the state directory. Without a file there is one only if it is written.
pub(in crate::config) fn control_socket(
    raw: &RawState,
    resolve: impl Fn(&Path) -> PathBuf,
) -> Option<PathBuf> {
    match (raw.store.value, &raw.directory.span) {
        (StoreKind::Memory, None) => None,
        (StoreKind::File, _) | (StoreKind::Memory, Some(_)) => {
            Some(state_directory(&raw.directory, resolve).join(SOCKET))
        }
    }
}

/// The default is no path of the file's, so it does not begin at its folder.
fn state_directory(written: &Written<PathBuf>, resolve: impl Fn(&Path) -> PathBuf) -> PathBuf {
    match written.span {
        Some(_) => resolve(&written.value),
        None => written.value.clone(),
    }
}

/// Whose limits are how high.
pub(super) fn quotas(raw: &RawQuota, context: &Context<'_>) -> Option<Quotas> {
    let RawQuota {
        sessions,
        batches,
        cores,
        memory,
        assumed,
        for_,
    } = raw;
    let mut rules: Vec<Rule> = Vec::new();
    let mut is_whole = true;
    for entry in for_ {
        match rule(entry, &rules, context) {
            Some(rule) => rules.push(rule),
            None => is_whole = false,
        }
    }
    let default = Limits {
        sessions: Some(sessions.value),
        batches: Some(batches.value),
        cores: Some(cores.value),
        memory: Some(memory.value),
    };
    is_whole.then(|| Quotas::new(default, rules, assumptions(assumed)))
}

fn assumptions(raw: &RawAssumed) -> Assumed {
    Assumed {
        driver_cores: raw.driver_cores.value,
        driver_memory: raw.driver_memory.value,
        executors: raw.executors.value,
        executor_cores: raw.executor_cores.value,
        executor_memory: raw.executor_memory.value,
        unlimited_executors: raw.unlimited_executors.value,
        unreadable_cores: raw.unreadable_cores.value,
        unreadable_memory: raw.unreadable_memory.value,
    }
}

fn rule(raw: &RawQuotaFor, earlier: &[Rule], context: &Context<'_>) -> Option<Rule> {
    let RawQuotaFor {
        whose: written,
        sessions,
        batches,
        cores,
        memory,
    } = raw;
    let value = |written: &Option<Written<u64>>| written.as_ref().map(|written| written.value);
    let limits = Limits {
        sessions: value(sessions),
        batches: value(batches),
        cores: value(cores),
        memory: value(memory),
    };
    let whose = whose(
        written,
        "quota.for",
        earlier.iter().map(|rule| &rule.whose),
        context,
    )?;
    Some(Rule { whose, limits })
}

/// Who has which role.
pub(super) fn roles(raw: &RawRoles) -> Roles {
    let holders = raw.0.iter().flat_map(|(role, holders)| {
        holders
            .iter()
            .map(|written| (*role, written.value.holder.clone()))
    });
    Roles::new(holders.collect())
}

/// A rule for a group is worth nothing where no login has groups, and nobody would notice.
pub(super) fn warn_of_groups_that_nobody_has(
    raw: &RawConfig,
    authn: Option<&Authn>,
    identities: Option<&Identities>,
    context: &Context<'_>,
) {
    let (Some(authn), Some(identities)) = (authn, identities) else {
        return;
    };
    let RawConfig {
        limits, quota, roles, ..
    } = raw;
    let in_file = authn.users.iter().flat_map(Users::iter);
    let have_groups = in_file.map(|user| user.groups()).any(|groups| !groups.is_empty())
        || authn.issuers.iter().any(|issuer| issuer.gives_groups())
        || authn
            .ldap
            .as_ref()
            .is_some_and(|ldap| ldap.settings().groups.is_some())
        || identities.has_group_map();
    if have_groups {
        return;
    }
    let is_for_a_group = |whose: &RawWhose| whose.group.is_some() || whose.members_of.is_some();
    let in_quota = quota.for_.iter().any(|rule| is_for_a_group(&rule.whose));
    let in_limits = limits.for_.iter().any(|rule| is_for_a_group(&rule.whose));
    let in_roles = roles.0.iter().flat_map(|(_, holders)| holders);
    let in_roles = in_roles
        .map(|written| &written.value.holder)
        .any(|holder| matches!(holder, Holder::Group(_)));
    for (key, is_used) in [
        ("limits.for", in_limits),
        ("quota.for", in_quota),
        ("roles", in_roles),
    ] {
        if is_used {
            context.warnings.borrow_mut().push(format!(
                "{key} names groups and no login has any: write them into basic.users_file or identity.groups_file, or say where they are: jwt.groups_claim, ldap.groups"
            ));
        }
    }
}

const SOCKET: &str = "control.sock";
