//! The JSON objects that Livy shows, keys in Livy's order: clients of it refuse one key too many.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use crate::Version;
use crate::model::{Entry, Statement, StatementState};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AppInfo {
    driver_log_url: Option<String>,
    spark_ui_url: Option<String>,
    /// Since 0.9: `Some(None)` is shown as null, `None` not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    executor_log_urls: Option<Option<String>>,
}

impl AppInfo {
    fn of(version: Version) -> Self {
        Self {
            driver_log_url: None,
            spark_ui_url: None,
            executor_log_urls: (version == Version::V0_9_0).then_some(None),
        }
    }
}

/// A batch, as Livy shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchView {
    id: i32,
    name: Option<String>,
    owner: Option<String>,
    proxy_user: Option<String>,
    state: &'static str,
    app_id: Option<String>,
    app_info: AppInfo,
    log: Vec<String>,
}

impl BatchView {
    pub(crate) fn of(entry: &Entry, log_visible: bool, version: Version) -> Self {
        Self {
            id: entry.id,
            name: entry.name.clone(),
            owner: entry.owner.clone(),
            proxy_user: entry.proxy_user.clone(),
            state: entry.state.as_str(),
            app_id: None,
            app_info: AppInfo::of(version),
            log: last_lines(entry, log_visible),
        }
    }
}

/// An interactive session, as Livy shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionView {
    id: i32,
    name: Option<String>,
    app_id: Option<String>,
    owner: Option<String>,
    proxy_user: Option<String>,
    state: &'static str,
    kind: String,
    app_info: AppInfo,
    log: Vec<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    request: Option<RequestView>,
}

/// What 0.8 and later repeat of the creation (LIVY-967).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestView {
    ttl: Option<String>,
    idle_timeout: Option<String>,
    driver_memory: Option<String>,
    driver_cores: i32,
    executor_memory: Option<String>,
    executor_cores: i32,
    #[serde(serialize_with = "in_order")]
    conf: Vec<(String, Option<String>)>,
    archives: Vec<String>,
    files: Vec<String>,
    heartbeat_timeout_in_second: i32,
    jars: Vec<String>,
    num_executors: i32,
    py_files: Vec<String>,
    queue: Option<String>,
}

fn in_order<S: Serializer>(pairs: &[(String, Option<String>)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

impl SessionView {
    pub(crate) fn of(entry: &Entry, log_visible: bool, version: Version) -> Self {
        let create = &entry.create;
        let text = |name: &str| create.text(name).map(str::to_owned);
        let request = RequestView {
            ttl: text("ttl"),
            idle_timeout: text("idleTimeout"),
            driver_memory: text("driverMemory"),
            driver_cores: create.int("driverCores").or_zero(),
            executor_memory: text("executorMemory"),
            executor_cores: create.int("executorCores").or_zero(),
            conf: create.conf.clone(),
            archives: create.list("archives"),
            files: create.list("files"),
            heartbeat_timeout_in_second: create.heartbeat_timeout,
            jars: create.list("jars"),
            num_executors: create.int("numExecutors").or_zero(),
            py_files: create.list("pyFiles"),
            queue: text("queue"),
        };
        Self {
            id: entry.id,
            name: entry.name.clone(),
            app_id: None,
            owner: entry.owner.clone(),
            proxy_user: entry.proxy_user.clone(),
            state: entry.state.as_str(),
            kind: entry.kind().to_owned(),
            app_info: AppInfo::of(version),
            log: last_lines(entry, log_visible),
            request: (version == Version::V0_9_0).then_some(request),
        }
    }
}

fn last_lines(entry: &Entry, visible: bool) -> Vec<String> {
    let skip = if visible {
        entry.log.len().saturating_sub(10)
    } else {
        entry.log.len()
    };
    entry.log.iter().skip(skip).cloned().collect()
}

/// A statement, as Livy shows it.
#[derive(Debug, Serialize)]
pub(crate) struct StatementView {
    id: usize,
    code: String,
    state: &'static str,
    output: Option<Box<RawValue>>,
    progress: f64,
    started: u64,
    completed: u64,
}

impl StatementView {
    pub(crate) fn of(id: usize, statement: &Statement) -> Self {
        Self {
            id,
            code: statement.code.clone(),
            state: statement.state.as_str(),
            output: statement.output.clone(),
            progress: if statement.state == StatementState::Available {
                1.0
            } else {
                0.0
            },
            started: statement.started,
            completed: statement.completed,
        }
    }
}
