//! Who asks for how much, and what part of Livy is taken.
//!
//! Series with a user's name are written here and not kept by the recorder: which users they are changes, and what is
//! registered stays for ever.

use std::fmt::Write;

use super::{
    CONNECTIONS_REFUSED, DELAYED, DELAYED_TOTAL, RATE_LIMITED, UPSTREAM_REQUESTS, UPSTREAM_REQUESTS_MAX,
    UPSTREAM_WAITING, USER_AT_LIVY, USER_HELD, USER_QUOTA, USER_REFUSALS, USER_REQUESTS, USERS,
};
use crate::limits::SeatFigures;
use crate::livy::LimitClass;
use crate::quota::{Dimension, Limits, Scope, Use};

/// What is under way; read before a scrape is answered.
#[derive(Debug, Clone, Copy)]
pub struct TrafficFigures {
    /// Users whose requests are counted.
    pub users: usize,
    /// Reads that are held back.
    pub held_back: usize,
    /// Requests at Livy.
    pub at_livy: usize,
    /// How many there may be.
    pub at_livy_max: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
}

/// One user, by name.
#[derive(Debug, Clone)]
pub struct UserFigures {
    /// What was asked for.
    pub asked: SeatFigures,
    /// What is held.
    pub held: Use,
    /// What may be held.
    pub limits: Limits,
}

/// Shows what is under way.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats, and the figures are small"
)]
pub fn traffic(figures: TrafficFigures) {
    let TrafficFigures {
        users,
        held_back,
        at_livy,
        at_livy_max,
        waiting,
    } = figures;
    for (name, value) in [
        (USERS, users),
        (DELAYED, held_back),
        (UPSTREAM_REQUESTS, at_livy),
        (UPSTREAM_REQUESTS_MAX, at_livy_max),
        (UPSTREAM_WAITING, waiting),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
}

/// A read is held back.
pub fn delayed() {
    metrics::counter!(DELAYED_TOTAL).increment(1);
}

/// A request was refused by a rate limit.
pub fn rate_limited(class: LimitClass, scope: &Scope) {
    metrics::counter!(RATE_LIMITED, "class" => class.word(), "scope" => scope.word()).increment(1);
}

/// A connection was closed at once: its address has too many.
pub fn connection_refused() {
    metrics::counter!(CONNECTIONS_REFUSED, "reason" => "address").increment(1);
}

/// Everything at zero.
pub(super) fn register() {
    metrics::counter!(DELAYED_TOTAL).increment(0);
    metrics::counter!(CONNECTIONS_REFUSED, "reason" => "address").increment(0);
    for class in LimitClass::ALL.map(LimitClass::word) {
        for scope in ["user", "group", "everybody"] {
            metrics::counter!(RATE_LIMITED, "class" => class, "scope" => scope).increment(0);
        }
    }
}

/// The families that have a user's name, in Prometheus' text format. A Livy user's name needs no escape there.
pub(super) fn by_user(out: &mut String, users: &[UserFigures]) {
    let requests = users
        .iter()
        .map(|user| (labels(user), user.asked.requests.to_string()));
    let refusals = users
        .iter()
        .map(|user| (labels(user), user.asked.refusals.to_string()));
    let held = by_dimension(users, |user, dimension| Some(user.held.of(dimension)));
    let quota = by_dimension(users, |user, dimension| user.limits.of(dimension));
    family(
        out,
        USER_REQUESTS,
        "counter",
        "Requests of the busiest users.",
        requests,
    );
    family(
        out,
        USER_REFUSALS,
        "counter",
        "Requests of the busiest users that were refused.",
        refusals,
    );
    let at_livy = users
        .iter()
        .map(|user| (labels(user), user.asked.at_livy.to_string()));
    family(
        out,
        USER_AT_LIVY,
        "gauge",
        "Requests of the busiest users that are at Livy now, creations not counted.",
        at_livy,
    );
    family(
        out,
        USER_HELD,
        "gauge",
        "What the busiest users hold, by dimension; memory in bytes.",
        held,
    );
    family(
        out,
        USER_QUOTA,
        "gauge",
        "What the busiest users may hold, by dimension; memory in bytes, +Inf where nothing limits it.",
        quota,
    );
}

fn by_dimension(
    users: &[UserFigures],
    value: impl Fn(&UserFigures, Dimension) -> Option<u64>,
) -> impl Iterator<Item = (String, String)> {
    users.iter().flat_map(move |user| {
        Dimension::ALL.map(|dimension| {
            let labels = format!("{},dimension=\"{}\"", labels(user), dimension.word());
            let value = value(user, dimension);
            (
                labels,
                value.map_or_else(|| "+Inf".to_owned(), |value| value.to_string()),
            )
        })
    })
}

fn labels(user: &UserFigures) -> String {
    format!("user=\"{}\"", user.asked.user)
}

fn family(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl Iterator<Item = (String, String)>,
) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
    out.push('\n');
}
