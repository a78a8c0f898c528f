//! `[limits]` as written: how fast one may ask.

use std::num::NonZeroU32;
use std::time::Duration;

use super::whose::{RawWhose, whose};
use crate::config::keys::{self, Keys};
use crate::config::problem::Problems;
use crate::config::reader::{Reader, Written, Wrong};
use crate::config::units;
use crate::limits::{ClassLimit, LoginLimits, Rate, UserLimits};
use crate::livy::LimitClass;

/// `[limits]`
#[derive(Debug)]
pub(in crate::config) struct RawLimits {
    pub(in crate::config) classes: Vec<(LimitClass, RawClass)>,
    pub(in crate::config) concurrent_requests: Written<u32>,
    pub(in crate::config) rate: Written<Rate>,
    pub(in crate::config) burst: Written<u32>,
    pub(in crate::config) failed_per_address: Written<Rate>,
    pub(in crate::config) failed_per_account: Written<Rate>,
    pub(in crate::config) for_: Vec<RawLimitsFor>,
}

/// `limits.create` and its like.
#[derive(Debug)]
pub(in crate::config) struct RawClass {
    pub(in crate::config) rate: Written<Rate>,
    pub(in crate::config) burst: Written<u32>,
    /// Of reads alone.
    pub(in crate::config) delay: Option<Written<Duration>>,
}

/// `[[limits.for]]`
#[derive(Debug)]
pub(in crate::config) struct RawLimitsFor {
    pub(in crate::config) whose: RawWhose,
    pub(in crate::config) classes: Vec<(LimitClass, RawClass)>,
    pub(in crate::config) concurrent_requests: Option<Written<u32>>,
}

pub(super) fn limits(table: &Reader<'_>, problems: &Problems) -> RawLimits {
    let default = LoginLimits::default();
    let users = UserLimits::default().default;
    let per_address = table.table("per_address", &keys::PER_ADDRESS);
    let failed = table.table("failed_logins", &keys::FAILED_LOGINS);
    let burst = default.per_address.burst().get();
    let at_once = users.concurrent_requests.map_or(u32::MAX, |most| most.get());
    let class = |class: LimitClass| {
        let default = users.of(class)?;
        let written = table.table(class.word(), keys_of(class));
        let is_held_back = !default.delay.is_zero();
        Some((class, self::class(written.as_ref(), default, is_held_back)))
    };
    let classes: Vec<_> = LimitClass::ALL.into_iter().filter_map(class).collect();
    let rate_of_strangers = rate(per_address.as_ref(), "rate", default.per_address);
    let for_ = table.tables("for", &keys::LIMITS_FOR);
    RawLimits {
        for_: for_
            .iter()
            .map(|table| limits_for(table, &classes, problems))
            .collect(),
        classes,
        concurrent_requests: table.count("concurrent_requests", at_once),
        burst: per_address.as_ref().map_or(Written::default_of(burst), |table| {
            let rate = rate_of_strangers.value;
            self::burst(table, rate.with_burst(default.per_address.burst()))
        }),
        rate: rate_of_strangers,
        failed_per_address: rate(failed.as_ref(), "per_address", default.failed_per_address),
        failed_per_account: rate(
            failed.as_ref(),
            "per_address_and_account",
            default.failed_per_address_and_account,
        ),
    }
}

/// A class that is written stands whole, but for its delay, which is that of `[limits]`.
fn limits_for(table: &Reader<'_>, common: &[(LimitClass, RawClass)], problems: &Problems) -> RawLimitsFor {
    let default = UserLimits::default().default;
    let settable = ["create", "statement", "read", "upload", "concurrent_requests"];
    let class = |class: LimitClass| {
        let written = table.table(class.word(), keys_of(class))?;
        written.demand("rate", "\"60/min\"");
        let common = common.iter().find(|(known, _)| *known == class);
        let delay = common.and_then(|(_, common)| common.delay.as_ref().map(|delay| delay.value));
        let default = default.of(class)?;
        let default = ClassLimit {
            delay: delay.unwrap_or(default.delay),
            ..default
        };
        Some((class, self::class(Some(&written), default, delay.is_some())))
    };
    let at_once = default.concurrent_requests.map_or(u32::MAX, |most| most.get());
    RawLimitsFor {
        whose: whose(table, "limits.for", &settable, problems),
        classes: LimitClass::ALL.into_iter().filter_map(class).collect(),
        concurrent_requests: table
            .has("concurrent_requests")
            .then(|| table.count("concurrent_requests", at_once)),
    }
}

/// The burst of a rate that is written is its count, unless one is written too.
fn class(table: Option<&Reader<'_>>, default: ClassLimit, is_held_back: bool) -> RawClass {
    let ClassLimit {
        rate: default_rate,
        delay: default_delay,
    } = default;
    let rate = rate(table, "rate", default_rate);
    let burst = rate.value.burst().get();
    RawClass {
        burst: table.map_or(Written::default_of(burst), |table| self::burst(table, rate.value)),
        delay: is_held_back.then(|| {
            table.map_or(Written::default_of(default_delay), |table| {
                delay(table, default_delay)
            })
        }),
        rate,
    }
}

/// A burst that takes months to come back is a mistake, and more than can be counted with.
fn burst(table: &Reader<'_>, rate: Rate) -> Written<u32> {
    let burst = table.count("burst", rate.burst().get());
    let window = NonZeroU32::new(burst.value).map(|burst| rate.with_burst(burst).window());
    if burst.span.is_some() && window.is_some_and(|window| window > LONGEST_WINDOW) {
        let what = format!(
            "at {rate} it takes more than 30 days until {} may come again",
            burst.value
        );
        table.wrong("burst", &Wrong::new(what, "write a smaller number"));
    }
    burst
}

/// Clients give up after five to ten seconds, so more would hold back what nobody waits for.
fn delay(table: &Reader<'_>, default: Duration) -> Written<Duration> {
    table.parsed_or("delay", default, |text| {
        let instead = "write a time from 0s (refuse at once) to 5s, such as \"3s\"";
        let time = units::duration(text).map_err(|what| Wrong::new(what, instead))?;
        if time > LONGEST_DELAY {
            return Err(Wrong::new(format!("{text:?} is out of range"), instead));
        }
        Ok(time)
    })
}

fn rate(table: Option<&Reader<'_>>, key: &str, default: Rate) -> Written<Rate> {
    let parse = |text: &str| text.parse().map_err(|problem: String| Wrong::new(problem, ""));
    table.map_or(Written::default_of(default), |table| {
        table.parsed_or(key, default, parse)
    })
}

const fn keys_of(class: LimitClass) -> &'static Keys {
    match class {
        LimitClass::Create => &keys::LIMITS_CREATE,
        LimitClass::Statement => &keys::LIMITS_STATEMENT,
        LimitClass::Read => &keys::LIMITS_READ,
        LimitClass::Upload => &keys::LIMITS_UPLOAD,
    }
}

const LONGEST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_WINDOW: Duration = Duration::from_hours(30 * 24);
