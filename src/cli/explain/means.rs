//! What a user is, may ask and may hold: role, limits and quotas, and which rule says so.

use super::step;
use crate::access::Grant;
use crate::identity::Principal;
use crate::limits::ClassLimit;
use crate::livy::operation::Operation;
use crate::policy::Policy;
use crate::quota::{Groups, Limits, Scope};

/// The role of the login, which acting for somebody else does not change.
pub(super) fn tell_role(story: &mut String, policy: &Policy, principal: &Principal) {
    match policy.roles.role_of(principal.livy_user(), principal.groups()) {
        Some(role) => step(
            story,
            "role",
            format_args!("{}, for others' sessions", role.word()),
        ),
        None => step(story, "role", format_args!("none: its own sessions alone")),
    }
}

/// Under which limit it counts; of a session's owner only a running gateway knows.
pub(super) fn tell_limit(story: &mut String, policy: &Policy, principal: &Principal, grant: &Grant) {
    let Some(class) = grant.operation().limit_class() else {
        step(story, "limit", format_args!("none: it takes load away"));
        return;
    };
    let user = grant.charged();
    let groups = policy.identities.groups_for(principal, user);
    let users = &policy.limits.users;
    let (limits, rule) = users.of(user, groups);
    let set_by = rule.map_or_else(
        || "[limits]".to_owned(),
        |rule| format!("[[limits.for]] {}", rule.whose),
    );
    let told = |limit: ClassLimit| {
        let delay = if limit.delay.is_zero() {
            String::new()
        } else {
            format!(", held back up to {} s", limit.delay.as_secs_f64())
        };
        format!(
            "{} {}, {} at once{delay}",
            limit.rate,
            class.nouns(),
            limit.rate.burst()
        )
    };
    if let Some(limit) = limits.of(class) {
        step(
            story,
            "limit",
            format_args!("of {user}: {}; {set_by}", told(limit)),
        );
    }
    for (whose, limits) in users.shared_by(groups) {
        if let Some(limit) = limits.of(class) {
            step(story, "", format_args!("of {whose} together: {}", told(limit)));
        }
    }
}

/// What a creation is charged to, and how much may be held there.
pub(super) fn tell_quota(story: &mut String, policy: &Policy, principal: &Principal, grant: &Grant) {
    if !matches!(grant.operation(), Operation::Create(_)) {
        return;
    }
    let user = grant.livy_user();
    let groups = policy.identities.groups_for(principal, user);
    let Ok(allowances) = policy.quotas.allowances(user, groups) else {
        let what =
            format!("the groups of {user} are not known and decide: it would be refused as groups_unknown");
        return step(story, "quota", format_args!("{what}"));
    };
    if matches!(groups, Groups::Unknown) {
        step(
            story,
            "quota",
            format_args!("the groups of {user} are not known, and no quota depends on them"),
        );
    }
    for allowance in allowances {
        let set_by = match &allowance.scope {
            Scope::User(_) => policy.quotas.rule_of(user, groups).map_or_else(
                || "; [quota]".to_owned(),
                |rule| format!("; [[quota.for]] {}", rule.whose),
            ),
            Scope::Group(_) | Scope::Everybody => String::new(),
        };
        if let Some(most) = told(&allowance.limits) {
            step(
                story,
                "quota",
                format_args!("of {}: {most}{set_by}", allowance.scope),
            );
        }
    }
}

fn told(limits: &Limits) -> Option<String> {
    let Limits {
        sessions,
        batches,
        cores,
        memory,
    } = limits;
    let counts = [(sessions, "sessions"), (batches, "batches"), (cores, "cores")];
    let counts = counts
        .iter()
        .filter_map(|(most, of)| most.map(|most| format!("{most} {of}")));
    let memory = memory.map(|bytes| format!("{} MiB of memory", bytes >> 20));
    let all: Vec<_> = counts.chain(memory).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
