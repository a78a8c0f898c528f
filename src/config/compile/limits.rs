//! How fast one may ask.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::raw::{RawClass, RawLimits, RawLimitsFor};
use super::Context;
use super::whose::whose;
use crate::limits::{ClassLimit, ClassLimits, LimitRule, LoginLimits, UserLimits};
use crate::livy::LimitClass;
use crate::policy::Limits;

/// The limits of strangers, and of those who are known.
pub(super) fn limits(raw: &RawLimits, context: &Context<'_>) -> Option<Limits> {
    let RawLimits {
        classes,
        concurrent_requests,
        rate,
        burst,
        failed_per_address,
        failed_per_account,
        for_,
    } = raw;
    let mut rules: Vec<LimitRule> = Vec::new();
    let mut is_whole = true;
    for entry in for_ {
        let RawLimitsFor {
            whose: written,
            classes,
            concurrent_requests,
        } = entry;
        let earlier = rules.iter().map(|rule| &rule.whose);
        match whose(written, "limits.for", earlier, context) {
            Some(whose) => rules.push(LimitRule {
                whose,
                limits: class_limits(classes, concurrent_requests.as_ref().map(|written| written.value)),
            }),
            None => is_whole = false,
        }
    }
    is_whole.then(|| Limits {
        strangers: LoginLimits {
            per_address: rate.value.with_burst(at_least_one(burst.value)),
            failed_per_address: failed_per_address.value,
            failed_per_address_and_account: failed_per_account.value,
        },
        users: UserLimits {
            default: class_limits(classes, Some(concurrent_requests.value)),
            rules,
        },
    })
}

fn class_limits(classes: &[(LimitClass, RawClass)], concurrent_requests: Option<u32>) -> ClassLimits {
    let of = |wanted: LimitClass| {
        let (_, raw) = classes.iter().find(|(class, _)| *class == wanted)?;
        let RawClass { rate, burst, delay } = raw;
        Some(ClassLimit {
            rate: rate.value.with_burst(at_least_one(burst.value)),
            delay: delay.as_ref().map_or(Duration::ZERO, |delay| delay.value),
        })
    };
    ClassLimits {
        create: of(LimitClass::Create),
        statement: of(LimitClass::Statement),
        read: of(LimitClass::Read),
        upload: of(LimitClass::Upload),
        concurrent_requests: concurrent_requests.map(at_least_one),
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
