//! `[state]`, `[quota]` and `[roles]`, as they are in force.

use super::super::raw::{RawAssumed, RawConfig, RawQuota, RawQuotaFor, RawRoles, RawState, StoreKind};
use super::super::reader::Written;
use super::super::units::{show_duration, show_size};
use super::{Page, counted};
use crate::policy::{Ghosts, Policy, Store};

pub(super) fn state(page: &mut Page, raw: &RawState) {
    let RawState {
        store,
        directory,
        reconcile,
        in_doubt_hold,
        ghosts,
    } = raw;
    page.header("[state]");
    let word = match store.value {
        StoreKind::File => "file",
        StoreKind::Memory => "memory",
    };
    page.text("store", store, word);
    match (store.value, &directory.span) {
        (StoreKind::Memory, None) => {}
        (StoreKind::File, _) | (StoreKind::Memory, Some(_)) => {
            page.text("directory", directory, directory.value.display());
        }
    }
    page.text("reconcile", reconcile, show_duration(reconcile.value));
    page.text("in_doubt_hold", in_doubt_hold, show_duration(in_doubt_hold.value));
    let word = match ghosts.value {
        Ghosts::Delete => "delete",
        Ghosts::Keep => "keep",
    };
    page.text("ghosts", ghosts, word);
}

pub(super) fn quota(page: &mut Page, raw: &RawQuota) {
    let RawQuota {
        sessions,
        batches,
        cores,
        memory,
        assumed,
        for_,
    } = raw;
    page.header("[quota]");
    page.line("sessions", sessions, sessions.value);
    page.line("batches", batches, batches.value);
    page.line("cores", cores, cores.value);
    page.text("memory", memory, show_size(memory.value));
    show_assumed(page, assumed);
    for rule in for_ {
        quota_for(page, rule);
    }
}

fn show_assumed(page: &mut Page, raw: &RawAssumed) {
    let RawAssumed {
        driver_cores,
        driver_memory,
        executors,
        executor_cores,
        executor_memory,
        unlimited_executors,
        unreadable_cores,
        unreadable_memory,
    } = raw;
    page.header("[quota.assumed]");
    page.line("driver_cores", driver_cores, driver_cores.value);
    page.text("driver_memory", driver_memory, show_size(driver_memory.value));
    page.line("executors", executors, executors.value);
    page.line("executor_cores", executor_cores, executor_cores.value);
    page.text(
        "executor_memory",
        executor_memory,
        show_size(executor_memory.value),
    );
    page.line(
        "unlimited_executors",
        unlimited_executors,
        unlimited_executors.value,
    );
    page.line("unreadable_cores", unreadable_cores, unreadable_cores.value);
    page.text(
        "unreadable_memory",
        unreadable_memory,
        show_size(unreadable_memory.value),
    );
}

fn quota_for(page: &mut Page, raw: &RawQuotaFor) {
    let RawQuotaFor {
        whose,
        sessions,
        batches,
        cores,
        memory,
    } = raw;
    page.header("[[quota.for]]");
    super::limits::whose(page, whose);
    let numbers = [("sessions", sessions), ("batches", batches), ("cores", cores)];
    for (key, number) in numbers {
        if let Some(number) = number {
            page.line(key, number, number.value);
        }
    }
    page.optional("memory", memory.as_ref(), |bytes| show_size(*bytes));
}

pub(super) fn roles(page: &mut Page, raw: &RawRoles) {
    page.header("[roles]");
    for (role, holders) in &raw.0 {
        let holders: Vec<_> = holders
            .iter()
            .map(|holder| Written {
                value: holder.value.text.clone(),
                span: holder.span.clone(),
            })
            .collect();
        page.list(role.word(), &holders);
    }
}

/// The lines about them, for people.
pub(super) fn summary(raw: &RawConfig, policy: &Policy) -> String {
    let quota = &raw.quota;
    let kept = match &policy.state.store {
        Store::File(directory) => format!("in {}", directory.display()),
        Store::Memory => "in memory".to_owned(),
    };
    let roles: Vec<_> = raw
        .roles
        .0
        .iter()
        .filter(|(_, holders)| !holders.is_empty())
        .map(|(role, holders)| {
            let holders: Vec<_> = holders.iter().map(|holder| holder.value.text.as_str()).collect();
            format!("{} {}", role.word(), holders.join(" "))
        })
        .collect();
    let roles = if roles.is_empty() {
        String::new()
    } else {
        format!("roles      {}\n", roles.join("; "))
    };
    format!(
        "quota      each user {} sessions, {} batches, {} cores, {}; {}\n\
         state      {kept}, compared with Livy every {}\n\
         {roles}",
        quota.sessions.value,
        quota.batches.value,
        quota.cores.value,
        show_size(quota.memory.value),
        counted(quota.for_.len(), "rule"),
        show_duration(policy.state.reconcile),
    )
}
