//! `[state]`, `[quota]` and `[roles]` as written: what users may hold, where that is kept, and who looks after it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::values::{choice, timeout};
use super::whose::{RawWhose, whose};
use crate::config::keys;
use crate::config::problem::Problems;
use crate::config::reader::{Reader, Written, Wrong};
use crate::config::units;
use crate::policy::Ghosts;
use crate::quota::Assumed;
use crate::roles::{Holder, Role};

/// `[state]`
#[derive(Debug)]
pub(in crate::config) struct RawState {
    pub(in crate::config) store: Written<StoreKind>,
    pub(in crate::config) directory: Written<PathBuf>,
    pub(in crate::config) reconcile: Written<Duration>,
    pub(in crate::config) in_doubt_hold: Written<Duration>,
    pub(in crate::config) ghosts: Written<Ghosts>,
}

/// `state.store`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum StoreKind {
    File,
    Memory,
}

/// `[quota]`
#[derive(Debug)]
pub(in crate::config) struct RawQuota {
    pub(in crate::config) sessions: Written<u64>,
    pub(in crate::config) batches: Written<u64>,
    pub(in crate::config) cores: Written<u64>,
    pub(in crate::config) memory: Written<u64>,
    pub(in crate::config) assumed: RawAssumed,
    pub(in crate::config) for_: Vec<RawQuotaFor>,
}

/// `[quota.assumed]`
#[derive(Debug)]
pub(in crate::config) struct RawAssumed {
    pub(in crate::config) driver_cores: Written<u64>,
    pub(in crate::config) driver_memory: Written<u64>,
    pub(in crate::config) executors: Written<u64>,
    pub(in crate::config) executor_cores: Written<u64>,
    pub(in crate::config) executor_memory: Written<u64>,
    pub(in crate::config) unlimited_executors: Written<u64>,
    pub(in crate::config) unreadable_cores: Written<u64>,
    pub(in crate::config) unreadable_memory: Written<u64>,
}

/// `[[quota.for]]`
#[derive(Debug)]
pub(in crate::config) struct RawQuotaFor {
    pub(in crate::config) whose: RawWhose,
    pub(in crate::config) sessions: Option<Written<u64>>,
    pub(in crate::config) batches: Option<Written<u64>>,
    pub(in crate::config) cores: Option<Written<u64>>,
    pub(in crate::config) memory: Option<Written<u64>>,
}

/// `[roles]`, by role.
#[derive(Debug)]
pub(in crate::config) struct RawRoles(pub(in crate::config) Vec<(Role, Vec<Written<RawHolder>>)>);

/// Who has a role, as written and as meant.
#[derive(Debug)]
pub(in crate::config) struct RawHolder {
    pub(in crate::config) text: String,
    pub(in crate::config) holder: Holder,
}

pub(super) fn state(table: &Reader<'_>) -> RawState {
    let directory = |text: &str| {
        if text.is_empty() || text.contains('\0') {
            return Err(Wrong::new("the path is empty", "write the path of a folder"));
        }
        Ok(PathBuf::from(text))
    };
    let store = table.parsed_or("store", StoreKind::File, |text| {
        choice(text, &[("file", StoreKind::File), ("memory", StoreKind::Memory)])
    });
    RawState {
        store,
        directory: table.parsed_or("directory", default_directory(), directory),
        reconcile: timeout(table, "reconcile", DEFAULT_RECONCILE, LONGEST_RECONCILE),
        in_doubt_hold: timeout(table, "in_doubt_hold", DEFAULT_HOLD, LONGEST_HOLD),
        ghosts: table.parsed_or("ghosts", Ghosts::Delete, |text| {
            choice(text, &[("delete", Ghosts::Delete), ("keep", Ghosts::Keep)])
        }),
    }
}

/// What systemd made for the service (`StateDirectory=`; the first of several), else `state` in the folder that the
/// process was started in. Not beside the configuration: that is often not writable.
fn default_directory() -> PathBuf {
    let given = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    match given.split(':').next() {
        Some(first) if !first.is_empty() => PathBuf::from(first),
        Some(_) | None => {
            let here = Path::new(DEFAULT_DIRECTORY);
            std::path::absolute(here).unwrap_or_else(|_| here.to_owned())
        }
    }
}

pub(super) fn quota(table: &Reader<'_>, problems: &Problems) -> RawQuota {
    let nothing = DeTable::new();
    let assumed = table
        .table("assumed", &keys::QUOTA_ASSUMED)
        .unwrap_or_else(|| Reader::open(&nothing, 0..0, &keys::QUOTA_ASSUMED, problems));
    RawQuota {
        sessions: number_or(table, "sessions", DEFAULT_SESSIONS),
        batches: number_or(table, "batches", DEFAULT_BATCHES),
        cores: number_or(table, "cores", DEFAULT_CORES),
        memory: memory_or(table, "memory", DEFAULT_MEMORY),
        assumed: assumptions(&assumed),
        for_: table
            .tables("for", &keys::QUOTA_FOR)
            .iter()
            .map(|table| quota_for(table, problems))
            .collect(),
    }
}

fn assumptions(table: &Reader<'_>) -> RawAssumed {
    let Assumed {
        driver_cores,
        driver_memory,
        executors,
        executor_cores,
        executor_memory,
        unlimited_executors,
        unreadable_cores,
        unreadable_memory,
    } = Assumed::default();
    RawAssumed {
        driver_cores: number_or(table, "driver_cores", driver_cores),
        driver_memory: memory_or(table, "driver_memory", driver_memory),
        executors: number_or(table, "executors", executors),
        executor_cores: number_or(table, "executor_cores", executor_cores),
        executor_memory: memory_or(table, "executor_memory", executor_memory),
        unlimited_executors: number_or(table, "unlimited_executors", unlimited_executors),
        unreadable_cores: number_or(table, "unreadable_cores", unreadable_cores),
        unreadable_memory: memory_or(table, "unreadable_memory", unreadable_memory),
    }
}

fn quota_for(table: &Reader<'_>, problems: &Problems) -> RawQuotaFor {
    RawQuotaFor {
        whose: whose(
            table,
            "quota.for",
            &["sessions", "batches", "cores", "memory"],
            problems,
        ),
        sessions: table.number("sessions", DEFAULT_SESSIONS),
        batches: table.number("batches", DEFAULT_BATCHES),
        cores: table.number("cores", DEFAULT_CORES),
        memory: table.parsed("memory", |text| memory(text, DEFAULT_MEMORY)),
    }
}

pub(super) fn roles(table: &Reader<'_>) -> RawRoles {
    let holder = |text: &str| {
        let holder = text
            .parse::<Holder>()
            .map_err(|what| Wrong::new(what, "write \"user:NAME\" with a Livy user, or \"group:NAME\""))?;
        Ok(RawHolder {
            text: text.to_owned(),
            holder,
        })
    };
    let read = |role: Role| {
        let holders = table.list(role.word(), "[\"user:ops\", \"group:livy-admins\"]", holder);
        (role, holders.unwrap_or_default())
    };
    RawRoles(Role::ALL.into_iter().map(read).collect())
}

fn number_or(table: &Reader<'_>, key: &str, default: u64) -> Written<u64> {
    table.number(key, default).unwrap_or(Written::default_of(default))
}

fn memory_or(table: &Reader<'_>, key: &str, default: u64) -> Written<u64> {
    table.parsed_or(key, default, |text| memory(text, default))
}

fn memory(text: &str, example: u64) -> Result<u64, Wrong> {
    units::size(text).map_err(|what| {
        let example = units::show_size(example);
        Wrong::new(what, format!("write a size such as {example:?}"))
    })
}

const DEFAULT_DIRECTORY: &str = "state";
const DEFAULT_RECONCILE: Duration = Duration::from_secs(10);
const LONGEST_RECONCILE: Duration = Duration::from_mins(10);
const DEFAULT_HOLD: Duration = Duration::from_mins(10);
const LONGEST_HOLD: Duration = Duration::from_hours(24);
const DEFAULT_SESSIONS: u64 = 6;
const DEFAULT_BATCHES: u64 = 20;
const DEFAULT_CORES: u64 = 64;
/// In bytes.
const DEFAULT_MEMORY: u64 = 256 << 30;
