//! `top`: who asks for how much, who is refused and how Livy does, renewed each second, for who has no dashboard.
//!
//! It reads the gateway's metrics over the operators' socket, twice, and shows the difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::operate::{align, ask, memory, plain, unexpected};
use crate::control::protocol::{Answer, Command};
use crate::quota::Dimension;
use crate::telemetry::metrics as names;

/// `top`
#[derive(Debug, Args)]
pub(super) struct Top {
    /// The configuration that the gateway runs with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How many users are shown: the busiest
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    users: usize,
}

impl Top {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let is_terminal = io::stdout().is_terminal();
        if is_terminal {
            super::print("\u{1b}[H\u{1b}[2Jlooking for a second…\n")?;
        }
        let mut before = self.look()?;
        loop {
            thread::sleep(SECOND);
            let now = self.look()?;
            let page = page(&before, &now);
            if !is_terminal {
                return super::print(&page);
            }
            // To the upper left, and what is below the page away.
            super::print(&format!("\u{1b}[H{}\u{1b}[J", page.replace('\n', "\u{1b}[K\n")))?;
            before = now;
        }
    }

    fn look(&self) -> anyhow::Result<Samples> {
        match ask(&self.config, &Command::Metrics { users: self.users })? {
            Answer::Metrics { text } => Ok(Samples::read(&text)),
            answer @ (Answer::Held(_)
            | Answer::Released { .. }
            | Answer::Reloaded { .. }
            | Answer::NotReloaded { .. }
            | Answer::Refused { .. }) => Err(unexpected(answer)),
        }
    }
}

/// The samples of one look.
#[derive(Debug, Default)]
struct Samples(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// Reads what the gateway itself writes: no label of its own has a quote, a comma or a brace in it.
    fn read(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').split(',').filter_map(|label| {
                let (key, value) = label.split_once('=')?;
                Some((key.to_owned(), value.trim_matches('"').to_owned()))
            });
            Some(Sample {
                name: name.to_owned(),
                labels: labels.collect(),
                value: value.parse().ok()?,
            })
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(sample).collect())
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// Of all its series together.
    fn sum(&self, name: &str) -> f64 {
        self.named(name).fold(0.0, |sum, sample| sum + sample.value)
    }

    fn of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_it = |sample: &&Sample| {
            labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).is_some_and(|known| known == value))
        };
        self.named(name)
            .filter(is_it)
            .fold(0.0, |sum, sample| sum + sample.value)
    }

    /// By the value of a label.
    fn by<'a>(&'a self, name: &'a str, label: &'a str) -> BTreeMap<&'a str, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.named(name) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.as_str()).or_default() += sample.value;
            }
        }
        sums
    }
}

fn page(before: &Samples, now: &Samples) -> String {
    let mut text = String::new();
    let grown = |name| (now.sum(name) - before.sum(name)).max(0.0);
    let gauge = |name| now.sum(name);
    let is_on = |name| gauge(name) > 0.5;
    let list_age = now
        .named(names::LIST_AGE)
        .map(|sample| sample.value)
        .fold(0.0, f64::max);
    let failing = reasons(before, now, |code| LIVY_FAILS.contains(&code));
    let trouble = [
        (
            !is_on(names::LEDGER_AVAILABLE),
            "THE LEDGER CANNOT BE WRITTEN: CREATIONS ARE REFUSED",
        ),
        (
            is_on(names::IMPERSONATION_OFF),
            "LIVY IGNORES IMPERSONATION: CREATIONS ARE REFUSED",
        ),
        (!failing.is_empty(), "LIVY FAILS"),
        (list_age > OLD_LIST, "LIVY'S LISTS ARE OLD"),
        (gauge(names::UPSTREAM_WAITING) > 0.5, "requests wait for Livy"),
        (
            !is_on(names::CONFIG_OK),
            "the last configuration was refused; the one before is in force",
        ),
    ];
    let trouble: Vec<_> = trouble
        .into_iter()
        .filter_map(|(is_so, what)| is_so.then_some(what))
        .collect();
    let health = if trouble.is_empty() {
        "all is well".to_owned()
    } else {
        trouble.join("; ")
    };
    let version = now
        .named(names::BUILD_INFO)
        .find_map(|sample| sample.labels.get("version"));
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "livy-gateway {}  {health}; {} connections, Livy's lists {list_age:.0} s old",
        version.map_or_else(|| "?".to_owned(), |version| plain(version)),
        gauge(names::CONNECTIONS),
    );
    let _ = writeln!(
        text,
        "requests  {}/s, refused {}/s{}; held back {}",
        grown(names::REQUESTS),
        grown(names::DENIALS),
        reasons(before, now, |_| true),
        gauge(names::DELAYED),
    );
    let _ = writeln!(
        text,
        "Livy      {}; {} requests there of {}, {} wait",
        times(before, now, names::UPSTREAM_SECONDS),
        gauge(names::UPSTREAM_REQUESTS),
        gauge(names::UPSTREAM_REQUESTS_MAX),
        gauge(names::UPSTREAM_WAITING),
    );
    let _ = writeln!(text, "gateway   {}", times(before, now, names::GATEWAY_SECONDS));
    let _ = writeln!(
        text,
        "logins    {} passwords/s checked, {} wait; {} credentials known\n",
        grown(names::PASSWORDS_CHECKED),
        gauge(names::HASHING_WAITING),
        gauge(names::CREDENTIAL_CACHE_ENTRIES),
    );
    align(&mut text, &users(before, now));
    text
}

/// The most frequent refusals of this second, of those that are asked for.
fn reasons(before: &Samples, now: &Samples, is_asked_for: impl Fn(&str) -> bool) -> String {
    let earlier = before.by(names::DENIALS, "code");
    let mut grown: Vec<_> = now
        .by(names::DENIALS, "code")
        .into_iter()
        .map(|(code, count)| (code, count - earlier.get(code).copied().unwrap_or_default()))
        .filter(|(code, count)| *count > 0.0 && is_asked_for(code))
        .collect();
    grown.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    grown.truncate(REASONS_SHOWN);
    if grown.is_empty() {
        return String::new();
    }
    let grown: Vec<_> = grown
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    format!(" ({})", grown.join(", "))
}

/// Below what time half, nine tenths and nearly all of this second's requests stayed, as far as the buckets tell.
fn times(before: &Samples, now: &Samples, histogram: &str) -> String {
    let bucket = format!("{histogram}_bucket");
    let earlier = before.by(&bucket, "le");
    let mut buckets: Vec<(f64, f64)> = now
        .by(&bucket, "le")
        .into_iter()
        .filter_map(|(le, count)| {
            let new = count - earlier.get(le).copied().unwrap_or_default();
            Some((le.parse().ok()?, new))
        })
        .collect();
    buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    if all <= 0.0 {
        return "nothing answered".to_owned();
    }
    let below = |share: f64| {
        let bucket = buckets.iter().find(|(_, count)| *count >= all * share);
        match bucket {
            Some((le, _)) if le.is_finite() => format!("≤ {}", short(*le)),
            Some(_) | None => "beyond all buckets".to_owned(),
        }
    };
    format!(
        "{all}/s, half {}, 90 % {}, 99 % {}",
        below(0.5),
        below(0.9),
        below(0.99)
    )
}

fn short(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds} s")
    } else {
        // Microseconds are the smallest buckets.
        format!("{} ms", (seconds * 1e6).round() / 1e3)
    }
}

fn users(before: &Samples, now: &Samples) -> Vec<Vec<String>> {
    let head = [
        "USER",
        "REQUESTS/S",
        "REFUSED/S",
        "AT LIVY",
        "SESSIONS",
        "BATCHES",
        "CORES",
        "MEMORY",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for sample in now.named(names::USER_REQUESTS) {
        let Some(user) = sample.labels.get("user") else {
            continue;
        };
        let of = |samples: &Samples, name| samples.of(name, &[("user", user)]);
        let was_there = before
            .named(names::USER_REQUESTS)
            .any(|sample| sample.labels.get("user") == Some(user));
        let grown = |name| {
            // Of who has just come onto the page it is not known what was before.
            if was_there {
                (of(now, name) - of(before, name)).max(0.0).to_string()
            } else {
                "-".to_owned()
            }
        };
        let mut row = vec![
            plain(user),
            grown(names::USER_REQUESTS),
            grown(names::USER_REFUSALS),
            of(now, names::USER_AT_LIVY).to_string(),
        ];
        row.extend(Dimension::ALL.map(|dimension| {
            let of = |name| now.of(name, &[("user", user), ("dimension", dimension.word())]);
            let shown = |value: f64| match dimension {
                Dimension::Memory => gibibytes(value),
                Dimension::Sessions | Dimension::Batches | Dimension::Cores => value.to_string(),
            };
            let limit = of(names::USER_QUOTA);
            if limit.is_finite() {
                format!("{} of {}", shown(of(names::USER_HELD)), shown(limit))
            } else {
                shown(of(names::USER_HELD))
            }
        }));
        rows.push(row);
    }
    rows
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size in bytes, rounded to tenths of a GiB"
)]
fn gibibytes(bytes: f64) -> String {
    memory(bytes as u64)
}

const SECOND: Duration = Duration::from_secs(1);
/// In seconds; as the alert has it.
const OLD_LIST: f64 = 120.0;
const LIVY_FAILS: [&str; 9] = [
    "upstream_unreachable",
    "upstream_timeout",
    "upstream_lost",
    "upstream_error",
    "upstream_unexpected",
    "upstream_login_failed",
    "upstream_not_superuser",
    "outcome_unknown",
    "unavailable",
];
const REASONS_SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# TYPE livy_gateway_requests_total counter
livy_gateway_requests_total{operation=\"version\",outcome=\"done\"} 10
livy_gateway_denials_total{code=\"rate_limited\"} 1
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"0.01\"} 10
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"0.1\"} 10
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"5\"} 10
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"+Inf\"} 10
livy_gateway_user_requests_total{user=\"alice\"} 5
livy_gateway_ledger_available 1
livy_gateway_config_last_reload_successful 1
livy_gateway_impersonation_off 0
";
    const NOW: &str = "\
livy_gateway_build_info{version=\"1.2.3\"} 1
livy_gateway_requests_total{operation=\"version\",outcome=\"done\"} 22
livy_gateway_denials_total{code=\"rate_limited\"} 4
livy_gateway_denials_total{code=\"missing_credentials\"} 1
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"0.01\"} 15
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"0.1\"} 19
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"5\"} 19
livy_gateway_upstream_seconds_bucket{operation=\"version\",le=\"+Inf\"} 20
livy_gateway_upstream_requests 3
livy_gateway_upstream_requests_max 128
livy_gateway_user_requests_total{user=\"alice\"} 12
livy_gateway_user_refusals_total{user=\"alice\"} 3
livy_gateway_user_upstream_requests{user=\"alice\"} 2
livy_gateway_user_requests_total{user=\"bob\"} 900
livy_gateway_user_quota{user=\"bob\",dimension=\"sessions\"} +Inf
livy_gateway_user_quota{user=\"bob\",dimension=\"batches\"} +Inf
livy_gateway_user_quota{user=\"bob\",dimension=\"cores\"} +Inf
livy_gateway_user_quota{user=\"bob\",dimension=\"memory\"} +Inf
livy_gateway_user_held{user=\"alice\",dimension=\"sessions\"} 2
livy_gateway_user_held{user=\"alice\",dimension=\"memory\"} 3221225472
livy_gateway_user_quota{user=\"alice\",dimension=\"sessions\"} 6
livy_gateway_user_quota{user=\"alice\",dimension=\"batches\"} 20
livy_gateway_user_quota{user=\"alice\",dimension=\"cores\"} +Inf
livy_gateway_user_quota{user=\"alice\",dimension=\"memory\"} 274877906944
livy_gateway_connections 4
livy_gateway_list_age_seconds{kind=\"session\"} 2.4
livy_gateway_ledger_available 1
livy_gateway_config_last_reload_successful 0
livy_gateway_impersonation_off 0
";

    #[test]
    fn the_page_shows_what_happened_between_two_looks() {
        let page = page(&Samples::read(BEFORE), &Samples::read(NOW));
        let lines: Vec<_> = page.lines().collect();
        assert_eq!(
            lines[0],
            "livy-gateway 1.2.3  the last configuration was refused; the one before is in force; 4 connections, Livy's lists 2 s old"
        );
        assert_eq!(
            lines[1],
            "requests  12/s, refused 4/s (rate_limited 3, missing_credentials 1); held back 0"
        );
        assert_eq!(
            lines[2],
            "Livy      10/s, half ≤ 10 ms, 90 % ≤ 100 ms, 99 % beyond all buckets; 3 requests there of 128, 0 wait"
        );
        assert_eq!(lines[3], "gateway   nothing answered");
        assert_eq!(
            lines[6..],
            [
                "USER   REQUESTS/S  REFUSED/S  AT LIVY  SESSIONS  BATCHES  CORES  MEMORY",
                "alice  7           3          2        2 of 6    0 of 20  0      3 GiB of 256 GiB",
                "bob    -           -          0        0         0        0      0 GiB"
            ]
        );
    }

    #[test]
    fn what_is_broken_is_said_first_and_loudly() {
        let text = NOW
            .replace("ledger_available 1", "ledger_available 0")
            .replace("impersonation_off 0", "impersonation_off 1");
        let page = page(&Samples::default(), &Samples::read(&text));
        let first = page.lines().next().unwrap();
        assert!(first.contains("THE LEDGER CANNOT BE WRITTEN"), "{first}");
        assert!(first.contains("LIVY IGNORES IMPERSONATION"), "{first}");
        let gone = NOW.replace("code=\"missing_credentials\"", "code=\"upstream_timeout\"");
        let page = super::page(&Samples::read(BEFORE), &Samples::read(&gone));
        assert!(page.lines().next().unwrap().contains("LIVY FAILS"), "{page}");
    }
}
