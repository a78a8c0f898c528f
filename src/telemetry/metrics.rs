//! Every metric's name, unit, labels and help, and the only functions that record them.
//!
//! Labels come from closed sets (operations, outcomes, denial codes), never from what a client wrote. Handles are
//! looked up once: recording costs some nanoseconds.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::denial::Denial;
use crate::livy::Topic;
use crate::livy::operation::Operation;

/// Requests answered, by `operation` and `outcome`.
pub const REQUESTS: &str = "livy_gateway_requests_total";
/// Requests that the gateway refused, by `code`.
pub const DENIALS: &str = "livy_gateway_denials_total";
/// Time that Livy took to begin its answer, by `operation`.
pub const UPSTREAM_SECONDS: &str = "livy_gateway_upstream_seconds";
/// Time that the gateway itself took, waiting for bodies included.
pub const GATEWAY_SECONDS: &str = "livy_gateway_own_seconds";
/// Client connections open now.
pub const CONNECTIONS: &str = "livy_gateway_connections";
/// Client connections accepted.
pub const CONNECTIONS_TOTAL: &str = "livy_gateway_connections_total";
/// Connections to Livy, by `kind`: opened or reused.
pub const UPSTREAM_CONNECTIONS: &str = "livy_gateway_upstream_connections_total";
/// Logins that were put to the directory, by `outcome`.
pub const DIRECTORY_LOGINS: &str = "livy_gateway_directory_logins_total";
/// Time to check a login with the directory.
pub const DIRECTORY_SECONDS: &str = "livy_gateway_directory_seconds";
/// Credentials found in the cache or not, by `result`.
pub const CREDENTIAL_CACHE: &str = "livy_gateway_credential_cache_total";
/// Credentials in the cache now.
pub const CREDENTIAL_CACHE_ENTRIES: &str = "livy_gateway_credential_cache_entries";
/// Passwords waiting for a hashing thread now.
pub const HASHING_WAITING: &str = "livy_gateway_hashing_waiting";
/// Passwords being hashed now.
pub const HASHING_RUNNING: &str = "livy_gateway_hashing_running";
/// 1 while creations are refused because Livy ignores impersonation.
pub const IMPERSONATION_OFF: &str = "livy_gateway_impersonation_off";
/// 1 if the last load of the configuration succeeded, else 0.
pub const CONFIG_OK: &str = "livy_gateway_config_last_reload_successful";
/// When the configuration in force was loaded, in seconds since 1970.
pub const CONFIG_TIME: &str = "livy_gateway_config_last_reload_success_timestamp_seconds";
/// Insecure settings in force.
pub const INSECURE_SETTINGS: &str = "livy_gateway_insecure_settings";
/// Log lines lost because nobody took them.
pub const LOG_LINES_LOST: &str = "livy_gateway_log_lines_lost_total";
/// Audit lines that are in no file.
pub const AUDIT_LINES_LOST: &str = "livy_gateway_audit_lines_lost_total";
/// Places that the ledger holds now, by `kind` and `standing`.
pub const PLACES: &str = "livy_gateway_places";
/// Creations refused by a quota, by `dimension` and by the kind of `scope`.
pub const QUOTA_REFUSALS: &str = "livy_gateway_quota_refusals_total";
/// What is held in a pot that several share, by `scope` and `dimension`; memory in bytes.
pub const QUOTA_HELD: &str = "livy_gateway_quota_held";
/// What may be held, by `scope` and `dimension`; memory in bytes, and `+Inf` where nothing limits it.
pub const QUOTA_LIMIT: &str = "livy_gateway_quota_limit";
/// Places freed because Livy does not have them, by `reason`.
pub const FREED: &str = "livy_gateway_places_freed_total";
/// Sessions taken up that this gateway did not create, by `creator`.
pub const ADOPTED: &str = "livy_gateway_adopted_total";
/// What Livy had and nobody should use, by `reason` and `outcome`.
pub const GHOSTS: &str = "livy_gateway_ghosts_total";
/// Time since the last whole list of Livy's began, by `kind`.
pub const LIST_AGE: &str = "livy_gateway_list_age_seconds";
/// Time to read one of Livy's lists and compare it with the ledger, by `kind`.
pub const RECONCILE_SECONDS: &str = "livy_gateway_reconcile_seconds";
/// Restarts of Livy that a list of this `kind` showed.
pub const LIVY_RESTARTS: &str = "livy_gateway_livy_restarts_total";
/// 1 while the ledger can be written.
pub const LEDGER_AVAILABLE: &str = "livy_gateway_ledger_available";
/// Requests refused by a rate limit, by `class` and by the kind of `scope`.
pub const RATE_LIMITED: &str = "livy_gateway_rate_limited_total";
/// Reads that were held back because their user was over the limit.
pub const DELAYED_TOTAL: &str = "livy_gateway_delayed_total";
/// Reads that are held back now.
pub const DELAYED: &str = "livy_gateway_delayed";
/// Requests at Livy now, creations not counted.
pub const UPSTREAM_REQUESTS: &str = "livy_gateway_upstream_requests";
/// How many there may be.
pub const UPSTREAM_REQUESTS_MAX: &str = "livy_gateway_upstream_requests_max";
/// Requests that wait for their turn at Livy.
pub const UPSTREAM_WAITING: &str = "livy_gateway_upstream_waiting";
/// Users whose requests are counted now.
pub const USERS: &str = "livy_gateway_users";
/// Client connections closed at once, by `reason`.
pub const CONNECTIONS_REFUSED: &str = "livy_gateway_connections_refused_total";
/// Passwords that were hashed.
pub const PASSWORDS_CHECKED: &str = "livy_gateway_passwords_checked_total";
/// Audit lines that were to be written.
pub const AUDIT_RECORDS: &str = "livy_gateway_audit_records_total";
/// Log lines left out because the same was said just before.
pub const LOG_LINES_SUPPRESSED: &str = "livy_gateway_log_lines_suppressed_total";
/// Requests of some users, by `user`.
pub const USER_REQUESTS: &str = "livy_gateway_user_requests_total";
/// How many of them were refused, by `user`.
pub const USER_REFUSALS: &str = "livy_gateway_user_refusals_total";
/// Requests of some users that are at Livy now, by `user`.
pub const USER_AT_LIVY: &str = "livy_gateway_user_upstream_requests";
/// What some users hold, by `user` and `dimension`; memory in bytes.
pub const USER_HELD: &str = "livy_gateway_user_held";
/// What they may hold; memory in bytes, and `+Inf` where nothing limits it.
pub const USER_QUOTA: &str = "livy_gateway_user_quota";
/// Fetches of an issuer's signing keys, by `issuer` and `outcome`.
pub const KEYS_FETCHES: &str = "livy_gateway_signing_keys_fetches_total";
/// When the signing keys in force were fetched, by `issuer`, in seconds since 1970.
pub const KEYS_FETCHED_AT: &str = "livy_gateway_signing_keys_fetched_timestamp_seconds";
/// Signing keys in force, by `issuer`; none closes it.
pub const KEYS_IN_FORCE: &str = "livy_gateway_signing_keys";
/// 1 while an issuer's signing keys could not be fetched again, by `issuer`.
pub const KEYS_STALE: &str = "livy_gateway_signing_keys_stale";
/// 1, with the `version`.
pub const BUILD_INFO: &str = "livy_gateway_build_info";

mod directory;
mod keys;
mod places;
mod traffic;

pub use directory::{DirectoryLogin, directory_login};
pub use keys::{keys_are_of, keys_fetched, keys_not_fetched};

pub use traffic::{TrafficFigures, UserFigures, connection_refused, delayed, rate_limited, traffic};

pub use places::{
    Creator, Freed, Ghost, GhostEnd, HeldFigures, adopted, ghost, held, ledger_available, livy_restarted,
    place_freed, pot, quota_refused, reconciled, user_limit,
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Livy did it (2xx).
    Done,
    /// Livy refused it (4xx).
    RefusedByLivy,
    /// Livy failed (5xx).
    FailedInLivy,
    /// The gateway refused it.
    Denied,
    /// The client left before there was an answer.
    Abandoned,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Done,
        Self::RefusedByLivy,
        Self::FailedInLivy,
        Self::Denied,
        Self::Abandoned,
    ];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::RefusedByLivy => "refused_by_livy",
            Self::FailedInLivy => "failed_in_livy",
            Self::Denied => "denied",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The label of requests that are none of Livy's operations, and no question about the gateway.
pub const NO_OPERATION: &str = "none";

#[derive(Debug)]
struct Meters {
    operations: HashMap<&'static str, PerOperation>,
    denials: HashMap<&'static str, Counter>,
    connections: Gauge,
    connections_total: Counter,
    upstream_opened: Counter,
    upstream_reused: Counter,
    log_lines_lost: Counter,
    log_lines_suppressed: Counter,
    audit_lines_lost: Counter,
    audit_records: Counter,
}

#[derive(Debug)]
struct PerOperation {
    outcomes: [Counter; Outcome::ALL.len()],
    upstream: Histogram,
    own: Histogram,
}

static METERS: OnceLock<Meters> = OnceLock::new();
static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting; once a process. Without it nothing is recorded.
pub fn install() -> Result<(), BuildError> {
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(UPSTREAM_SECONDS.into()), &UPSTREAM_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(GATEWAY_SECONDS.into()), &OWN_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(RECONCILE_SECONDS.into()), &RECONCILE_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(DIRECTORY_SECONDS.into()), &UPSTREAM_BUCKETS)?
        .install_recorder()?;
    describe();
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!(IMPERSONATION_OFF).set(0.0);
    directory::register();
    places::register();
    traffic::register();
    let _ = METERS.set(Meters::register());
    let _ = HANDLE.set(handle);
    Ok(())
}

/// The whole of it in Prometheus' text format, with these users by name.
pub fn render(users: &[UserFigures]) -> String {
    metrics_process::Collector::default().collect();
    let mut text = HANDLE.get().map(PrometheusHandle::render).unwrap_or_default();
    traffic::by_user(&mut text, users);
    text
}

/// Folds collected samples into their buckets; without it they pile up between two scrapes.
pub fn upkeep() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}

/// A request was answered, or left.
pub fn request(operation: &'static str, outcome: Outcome, upstream: Option<Duration>, own: Option<Duration>) {
    let Some(per) = METERS.get().and_then(|meters| meters.operations.get(operation)) else {
        return;
    };
    if let Some(counter) = per.outcomes.get(outcome as usize) {
        counter.increment(1);
    }
    if let Some(upstream) = upstream {
        per.upstream.record(upstream.as_secs_f64());
    }
    if let Some(own) = own {
        per.own.record(own.as_secs_f64());
    }
}

/// A request was refused.
pub fn denied(code: &'static str) {
    if let Some(counter) = METERS.get().and_then(|meters| meters.denials.get(code)) {
        counter.increment(1);
    }
}

/// A client connected.
pub fn connection_opened() {
    if let Some(meters) = METERS.get() {
        meters.connections.increment(1.0);
        meters.connections_total.increment(1);
    }
}

/// A client's connection ended.
pub fn connection_closed() {
    if let Some(meters) = METERS.get() {
        meters.connections.decrement(1.0);
    }
}

/// A connection to Livy was opened.
pub fn upstream_opened() {
    if let Some(meters) = METERS.get() {
        meters.upstream_opened.increment(1);
    }
}

/// A kept connection to Livy was used again.
pub fn upstream_reused() {
    if let Some(meters) = METERS.get() {
        meters.upstream_reused.increment(1);
    }
}

/// Log lines were lost.
pub fn log_lines_lost(lines: u64) {
    if let Some(meters) = METERS.get() {
        meters.log_lines_lost.increment(lines);
    }
}

/// Repeated log lines were left out.
pub fn log_lines_suppressed(lines: u64) {
    if let Some(meters) = METERS.get() {
        meters.log_lines_suppressed.increment(lines);
    }
}

/// A decision was to be written down.
pub fn audit_record() {
    if let Some(meters) = METERS.get() {
        meters.audit_records.increment(1);
    }
}

/// Audit lines were lost.
pub fn audit_lines_lost(lines: u64) {
    if let Some(meters) = METERS.get() {
        meters.audit_lines_lost.increment(lines);
    }
}

/// What the logins hold now; read before a scrape is answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoginFigures {
    /// Passwords waiting for a hashing thread.
    pub hashing_waiting: u64,
    /// Passwords being hashed.
    pub hashing_running: u64,
    /// Credentials in the cache.
    pub cache_entries: u64,
    /// Found there since the start.
    pub cache_hits: u64,
    /// Not found there since the start.
    pub cache_misses: u64,
    /// Passwords hashed since the start.
    pub passwords_checked: u64,
}

/// Shows what the logins hold.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats, and the figures are small"
)]
pub fn logins(figures: LoginFigures) {
    metrics::gauge!(HASHING_WAITING).set(figures.hashing_waiting as f64);
    metrics::gauge!(HASHING_RUNNING).set(figures.hashing_running as f64);
    metrics::gauge!(CREDENTIAL_CACHE_ENTRIES).set(figures.cache_entries as f64);
    metrics::counter!(PASSWORDS_CHECKED).absolute(figures.passwords_checked);
    metrics::counter!(CREDENTIAL_CACHE, "result" => "hit").absolute(figures.cache_hits);
    metrics::counter!(CREDENTIAL_CACHE, "result" => "miss").absolute(figures.cache_misses);
}

/// Whether creations are refused because Livy ignores impersonation.
pub fn impersonation_off(is_off: bool) {
    metrics::gauge!(IMPERSONATION_OFF).set(if is_off { 1.0 } else { 0.0 });
}

/// The configuration was loaded, at `wall` since 1970, with so many insecure settings.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats, and the figure is small"
)]
pub fn config_loaded(wall: Duration, insecure_settings: usize) {
    metrics::gauge!(CONFIG_OK).set(1.0);
    metrics::gauge!(CONFIG_TIME).set(wall.as_secs_f64());
    metrics::gauge!(INSECURE_SETTINGS).set(insecure_settings as f64);
}

/// The configuration could not be loaded; the old one stays.
pub fn config_refused() {
    metrics::gauge!(CONFIG_OK).set(0.0);
}

impl Meters {
    fn register() -> Self {
        let labels = Operation::one_of_each()
            .iter()
            .map(Operation::label)
            .chain(Topic::ALL.map(Topic::label))
            .chain([NO_OPERATION])
            .collect::<Vec<_>>();
        let codes = Denial::samples()
            .iter()
            .map(|denial| denial.answer().code)
            .collect::<Vec<_>>();
        Self {
            operations: labels
                .into_iter()
                .map(|label| (label, PerOperation::register(label)))
                .collect(),
            denials: codes
                .into_iter()
                .map(|code| (code, metrics::counter!(DENIALS, "code" => code)))
                .collect(),
            connections: metrics::gauge!(CONNECTIONS),
            connections_total: metrics::counter!(CONNECTIONS_TOTAL),
            upstream_opened: metrics::counter!(UPSTREAM_CONNECTIONS, "kind" => "opened"),
            upstream_reused: metrics::counter!(UPSTREAM_CONNECTIONS, "kind" => "reused"),
            log_lines_lost: metrics::counter!(LOG_LINES_LOST),
            log_lines_suppressed: metrics::counter!(LOG_LINES_SUPPRESSED),
            audit_lines_lost: metrics::counter!(AUDIT_LINES_LOST),
            audit_records: metrics::counter!(AUDIT_RECORDS),
        }
    }
}

impl PerOperation {
    fn register(operation: &'static str) -> Self {
        Self {
            outcomes: Outcome::ALL.map(
                |outcome| metrics::counter!(REQUESTS, "operation" => operation, "outcome" => outcome.label()),
            ),
            upstream: metrics::histogram!(UPSTREAM_SECONDS, "operation" => operation),
            own: metrics::histogram!(GATEWAY_SECONDS, "operation" => operation),
        }
    }
}

fn describe() {
    let counters = [
        (REQUESTS, "Requests answered, by operation and outcome."),
        (
            DENIALS,
            "Requests that the gateway refused, by code; docs/denials.md explains each.",
        ),
        (CONNECTIONS_TOTAL, "Client connections accepted."),
        (
            UPSTREAM_CONNECTIONS,
            "Connections to Livy, newly opened or used again.",
        ),
        (
            DIRECTORY_LOGINS,
            "Logins that were put to the directory (LDAP), by outcome.",
        ),
        (CREDENTIAL_CACHE, "Credentials looked up in the cache, by result."),
        (
            RATE_LIMITED,
            "Requests refused by a rate limit, by class of operation and by whose it is.",
        ),
        (
            DELAYED_TOTAL,
            "Reads held back because their user was over the limit.",
        ),
        (
            CONNECTIONS_REFUSED,
            "Client connections closed at once, by reason.",
        ),
        (PASSWORDS_CHECKED, "Passwords that were hashed."),
        (AUDIT_RECORDS, "Audit lines that were to be written."),
        (
            LOG_LINES_SUPPRESSED,
            "Log lines left out because the same was said just before.",
        ),
        (LOG_LINES_LOST, "Log lines lost because nobody took them in time."),
        (
            AUDIT_LINES_LOST,
            "Audit lines that are in no file: the disk was full or slow.",
        ),
        (
            QUOTA_REFUSALS,
            "Creations refused by a quota, by what is exceeded and whose it is.",
        ),
        (FREED, "Places freed because Livy does not have them, by reason."),
        (ADOPTED, "Sessions taken up that this gateway did not create."),
        (
            GHOSTS,
            "Sessions at Livy that nobody should use, and what became of them.",
        ),
        (LIVY_RESTARTS, "Restarts of Livy that a list showed."),
        (
            KEYS_FETCHES,
            "Fetches of an issuer's signing keys, by issuer and outcome.",
        ),
    ];
    for (name, help) in counters {
        metrics::describe_counter!(name, Unit::Count, help);
    }
    let gauges = [
        (
            KEYS_FETCHED_AT,
            "When the signing keys in force were fetched, in seconds since 1970.",
        ),
        (KEYS_IN_FORCE, "Signing keys in force, by issuer; none closes it."),
        (
            KEYS_STALE,
            "1 while an issuer's signing keys could not be fetched again.",
        ),
        (CONNECTIONS, "Client connections open now."),
        (CREDENTIAL_CACHE_ENTRIES, "Credentials in the cache now."),
        (USERS, "Users whose requests are counted now."),
        (DELAYED, "Reads held back now."),
        (UPSTREAM_REQUESTS, "Requests at Livy now, creations not counted."),
        (UPSTREAM_REQUESTS_MAX, "How many requests may be at Livy at once."),
        (UPSTREAM_WAITING, "Requests that wait for their turn at Livy now."),
        (HASHING_WAITING, "Passwords waiting for a hashing thread now."),
        (HASHING_RUNNING, "Passwords being hashed now."),
        (
            IMPERSONATION_OFF,
            "1 while creations are refused because Livy ignores impersonation.",
        ),
        (
            CONFIG_OK,
            "1 if the last load of the configuration succeeded, else 0.",
        ),
        (
            CONFIG_TIME,
            "When the configuration in force was loaded, in seconds since 1970.",
        ),
        (
            INSECURE_SETTINGS,
            "Insecure settings in force; the log names them at the start.",
        ),
        (PLACES, "Places that the ledger holds now, by kind and standing."),
        (
            LIST_AGE,
            "Time since the last whole list of Livy's began, in seconds.",
        ),
        (
            QUOTA_HELD,
            "What is held in a pot that several share, by scope and dimension; memory in bytes.",
        ),
        (
            QUOTA_LIMIT,
            "What may be held, by scope and dimension; memory in bytes, +Inf where nothing limits it.",
        ),
        (
            LEDGER_AVAILABLE,
            "1 while the ledger can be written; else creations are refused.",
        ),
        (BUILD_INFO, "1, with the version as a label."),
    ];
    for (name, help) in gauges {
        metrics::describe_gauge!(name, help);
    }
    metrics::describe_histogram!(
        DIRECTORY_SECONDS,
        Unit::Seconds,
        "Time to check a login with the directory."
    );
    metrics::describe_histogram!(
        UPSTREAM_SECONDS,
        Unit::Seconds,
        "Time that Livy took to begin its answer."
    );
    metrics::describe_histogram!(
        GATEWAY_SECONDS,
        Unit::Seconds,
        "Time that the gateway itself took for a request."
    );
    metrics::describe_histogram!(
        RECONCILE_SECONDS,
        Unit::Seconds,
        "Time to read one of Livy's lists and compare it with the ledger."
    );
    metrics_process::Collector::default().describe();
}

const UPSTREAM_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0,
];
const OWN_BUCKETS: [f64; 10] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.01, 0.1, 0.5, 2.0, 10.0,
];
const RECONCILE_BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_rendered_with_its_help() {
        install().unwrap();
        request(
            "version",
            Outcome::Done,
            Some(Duration::from_millis(3)),
            Some(Duration::from_micros(40)),
        );
        denied("missing_credentials");
        let text = render(&[]);
        assert!(text.contains("# HELP livy_gateway_requests_total "), "{text}");
        assert!(text.contains("operation=\"version\",outcome=\"done\"}"));
        assert!(text.contains("livy_gateway_denials_total{code=\"missing_credentials\"}"));
        assert!(text.contains("livy_gateway_upstream_seconds_bucket"));
        assert!(text.contains("process_cpu_seconds_total"));
    }
}
