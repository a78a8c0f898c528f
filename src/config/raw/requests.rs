//! `[requests]`: what a request may bring.

use std::time::Duration;

use toml::de::DeTable;

use super::values::{choice, field_name, scheme, size};
use crate::body_policy::rules::{ConfMode, DEFAULT_SCHEMES};
use crate::config::keys;
use crate::config::problem::Problems;
use crate::config::reader::{Reader, Scalar, Written, Wrong};
use crate::config::units;

/// `[requests]`
#[derive(Debug)]
pub(in crate::config) struct RawRequests {
    pub(in crate::config) max_body: Written<u64>,
    pub(in crate::config) max_upload: Written<u64>,
    pub(in crate::config) extra_fields: Vec<Written<String>>,
    pub(in crate::config) file_schemes: Vec<Written<String>>,
    pub(in crate::config) max_ttl: Option<Written<Duration>>,
    pub(in crate::config) conf: RawConf,
}

/// `[requests.conf]`
#[derive(Debug)]
pub(in crate::config) struct RawConf {
    pub(in crate::config) mode: Written<ConfMode>,
    pub(in crate::config) also_deny: Vec<Written<String>>,
    pub(in crate::config) allow: Vec<Written<String>>,
    pub(in crate::config) allow_unsafe: Vec<Written<String>>,
    pub(in crate::config) default: Vec<(Written<String>, Written<Scalar>)>,
    pub(in crate::config) force: Vec<(Written<String>, Written<Scalar>)>,
    pub(in crate::config) max: Vec<(Written<String>, Written<Scalar>)>,
}

/// Reads `[requests]`.
pub(super) fn requests(table: &Reader<'_>, problems: &Problems) -> RawRequests {
    let default_schemes = || DEFAULT_SCHEMES.map(|scheme| Written::default_of(scheme.to_owned()));
    let nothing = DeTable::new();
    let conf = table
        .table("conf", &keys::REQUESTS_CONF)
        .unwrap_or_else(|| Reader::open(&nothing, 0..0, &keys::REQUESTS_CONF, problems));
    RawRequests {
        max_body: size(table, "max_body", DEFAULT_MAX_BODY, LARGEST_BODY),
        max_upload: size(table, "max_upload", DEFAULT_MAX_UPLOAD, LARGEST_UPLOAD),
        extra_fields: table
            .list("extra_fields", "[\"ttl\"]", field_name)
            .unwrap_or_default(),
        file_schemes: table
            .list("file_schemes", "[\"hdfs\", \"s3a\"]", scheme)
            .unwrap_or_else(|| default_schemes().to_vec()),
        max_ttl: table.parsed("max_ttl", max_ttl),
        conf: self::conf(&conf),
    }
}

fn conf(table: &Reader<'_>) -> RawConf {
    let modes = [
        ("deny-listed", ConfMode::DenyListed),
        ("allow-listed", ConfMode::AllowListed),
    ];
    let patterns = |key: &str| {
        let keep = |text: &str| Ok(text.to_owned());
        table.list(key, "[\"spark.sql.*\"]", keep).unwrap_or_default()
    };
    let settings = |key: &str| table.settings(key, "{ \"spark.executor.memory\" = \"2g\" }");
    RawConf {
        mode: table.parsed_or("mode", ConfMode::DenyListed, |text| choice(text, &modes)),
        also_deny: patterns("also_deny"),
        allow: patterns("allow"),
        allow_unsafe: patterns("allow_unsafe"),
        default: settings("default"),
        force: settings("force"),
        max: settings("max"),
    }
}

fn max_ttl(text: &str) -> Result<Duration, Wrong> {
    let example = "write a time from 1m to 365d, such as \"12h\"";
    let time = units::duration(text).map_err(|what| Wrong::new(what, example))?;
    if time < SHORTEST_TTL || time > LONGEST_TTL {
        return Err(Wrong::new(format!("{text:?} is out of range"), example));
    }
    Ok(time)
}

/// A session needs about as long to start.
const SHORTEST_TTL: Duration = Duration::from_mins(1);
const LONGEST_TTL: Duration = Duration::from_hours(365 * 24);
/// In bytes, as the three after it.
const DEFAULT_MAX_BODY: u64 = 1 << 20;
/// A body is held in memory whole.
const LARGEST_BODY: u64 = 64 << 20;
const DEFAULT_MAX_UPLOAD: u64 = 100 << 20;
const LARGEST_UPLOAD: u64 = 64 << 30;
