//! `[limits]`, as it is in force.

use super::super::raw::{RawClass, RawLimits, RawLimitsFor, RawWhose};
use super::super::units::show_duration;
use super::Page;
use crate::livy::LimitClass;

pub(super) fn limits(page: &mut Page, raw: &RawLimits) {
    let RawLimits {
        classes,
        concurrent_requests,
        rate,
        burst,
        failed_per_address,
        failed_per_account,
        for_,
    } = raw;
    page.header("[limits]");
    page.line(
        "concurrent_requests",
        concurrent_requests,
        concurrent_requests.value,
    );
    show_classes(page, "limits", classes);
    page.header("[limits.per_address]");
    page.text("rate", rate, rate.value);
    page.line("burst", burst, burst.value);
    page.header("[limits.failed_logins]");
    page.text("per_address", failed_per_address, failed_per_address.value);
    page.text(
        "per_address_and_account",
        failed_per_account,
        failed_per_account.value,
    );
    for rule in for_ {
        let RawLimitsFor {
            whose: who,
            classes,
            concurrent_requests,
        } = rule;
        page.header("[[limits.for]]");
        whose(page, who);
        if let Some(most) = concurrent_requests {
            page.line("concurrent_requests", most, most.value);
        }
        show_classes(page, "limits.for", classes);
    }
}

/// Of whom a rule speaks.
pub(super) fn whose(page: &mut Page, raw: &RawWhose) {
    let RawWhose {
        span: _,
        user,
        members_of,
        group,
        everybody,
    } = raw;
    page.optional("user", user.as_ref(), Clone::clone);
    page.optional("members_of", members_of.as_ref(), Clone::clone);
    page.optional("group", group.as_ref(), Clone::clone);
    if everybody.value {
        page.line("everybody", everybody, true);
    }
}

fn show_classes(page: &mut Page, table: &str, classes: &[(LimitClass, RawClass)]) {
    for (class, RawClass { rate, burst, delay }) in classes {
        page.header(&format!("[{table}.{}]", class.word()));
        page.text("rate", rate, rate.value);
        page.line("burst", burst, burst.value);
        page.optional("delay", delay.as_ref(), |delay| show_duration(*delay));
    }
}

/// One line about them, for people.
pub(super) fn summary(raw: &RawLimits) -> String {
    let classes: Vec<_> = raw
        .classes
        .iter()
        .map(|(class, limit)| format!("{} {}", class.word(), limit.rate.value))
        .collect();
    format!(
        "limits     each user {}, {} at once; {}; strangers {} per address, {} wrong passwords",
        classes.join(", "),
        raw.concurrent_requests.value,
        super::counted(raw.for_.len(), "rule"),
        raw.rate.value,
        raw.failed_per_address.value,
    )
}
