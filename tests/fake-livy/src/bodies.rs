//! Livy's request classes, bound as Jackson binds them: unknown properties refused, most types coerced.

use std::collections::BTreeMap;

use crate::Version;
use crate::jackson::{Json, place, read};

/// A `Option[Int]` of Scala, whose type Jackson cannot see: what is no integer fails only when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LateInt {
    #[default]
    Absent,
    Int(i32),
    /// The Java class that will not cast.
    Wrong(&'static str),
}

impl LateInt {
    pub(crate) const fn or_zero(self) -> i32 {
        match self {
            Self::Int(value) => value,
            Self::Absent | Self::Wrong(_) => 0,
        }
    }
}

/// `CreateInteractiveRequest` and `CreateBatchRequest` in one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Create {
    pub(crate) texts: BTreeMap<&'static str, String>,
    pub(crate) lists: BTreeMap<&'static str, Vec<String>>,
    pub(crate) ints: BTreeMap<&'static str, LateInt>,
    pub(crate) conf: Vec<(String, Option<String>)>,
    pub(crate) heartbeat_timeout: i32,
    /// A list or `conf` that is null, which Livy trips over later.
    pub(crate) null: Option<&'static str>,
}

impl Create {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.lists.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn int(&self, name: &str) -> LateInt {
        self.ints.get(name).copied().unwrap_or_default()
    }

    /// The class of the first integer that cannot be cast.
    pub(crate) fn uncastable(&self) -> Option<&'static str> {
        self.ints.values().find_map(|value| match value {
            LateInt::Wrong(class) => Some(*class),
            LateInt::Absent | LateInt::Int(_) => None,
        })
    }
}

/// A `Option` of Scala may be null; nothing else may without a later null pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Kind,
    List,
    LateInt,
    Int,
    Map,
    Bytes,
}

/// One of Livy's request classes.
#[derive(Debug)]
pub(crate) struct Class {
    name: &'static str,
    properties: &'static [(&'static str, Type)],
}

impl Class {
    const fn known(&self, version: Version) -> &'static [(&'static str, Type)] {
        match version {
            Version::V0_9_0 => self.properties,
            // `ttl` and `idleTimeout` stand last in the one class that has them.
            Version::V0_7_1 if self.properties.len() == INTERACTIVE.properties.len() => {
                self.properties.split_at(self.properties.len() - 2).0
            }
            Version::V0_7_1 => self.properties,
        }
    }
}

pub(crate) const BATCH: Class = Class {
    name: "org.apache.livy.server.batch.CreateBatchRequest",
    properties: &[
        ("executorCores", Type::LateInt),
        ("className", Type::Text),
        ("conf", Type::Map),
        ("driverMemory", Type::Text),
        ("name", Type::Text),
        ("driverCores", Type::LateInt),
        ("pyFiles", Type::List),
        ("archives", Type::List),
        ("executorMemory", Type::Text),
        ("files", Type::List),
        ("jars", Type::List),
        ("proxyUser", Type::Text),
        ("numExecutors", Type::LateInt),
        ("file", Type::Text),
        ("args", Type::List),
        ("queue", Type::Text),
    ],
};

pub(crate) const INTERACTIVE: Class = Class {
    name: "org.apache.livy.server.interactive.CreateInteractiveRequest",
    properties: &[
        ("executorCores", Type::LateInt),
        ("conf", Type::Map),
        ("driverMemory", Type::Text),
        ("name", Type::Text),
        ("driverCores", Type::LateInt),
        ("heartbeatTimeoutInSecond", Type::Int),
        ("pyFiles", Type::List),
        ("archives", Type::List),
        ("executorMemory", Type::Text),
        ("files", Type::List),
        ("jars", Type::List),
        ("proxyUser", Type::Text),
        ("numExecutors", Type::LateInt),
        ("kind", Type::Kind),
        ("queue", Type::Text),
        ("ttl", Type::Text),
        ("idleTimeout", Type::Text),
    ],
};

pub(crate) const STATEMENT: Class = Class {
    name: "org.apache.livy.server.interactive.ExecuteRequest",
    properties: &[("code", Type::Text), ("kind", Type::Text)],
};

pub(crate) const COMPLETION: Class = Class {
    name: "org.apache.livy.server.interactive.CompletionRequest",
    properties: &[("code", Type::Text), ("kind", Type::Text), ("cursor", Type::Int)],
};

pub(crate) const JOB: Class = Class {
    name: "org.apache.livy.client.common.HttpMessages$SerializedJob",
    properties: &[("job", Type::Bytes), ("jobType", Type::Text)],
};

pub(crate) const RESOURCE: Class = Class {
    name: "org.apache.livy.client.common.HttpMessages$AddResource",
    properties: &[("uri", Type::Text)],
};

/// Reads a body into one of the classes; nothing for the JSON value `null`, which Livy takes and trips over.
/// The error is Jackson's message.
pub(crate) fn bind(class: &Class, body: &[u8], version: Version) -> Result<Option<Create>, String> {
    let value = read(body, version).map_err(|message| {
        if body.is_empty() || message == "No content to map due to end-of-input" {
            format!("{message}{}", place(1, 0))
        } else {
            message
        }
    })?;
    let members = match value {
        Json::Object(members) => members,
        Json::Null => return Ok(None),
        Json::Array(_) | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
            return Err(format!("{}{}", wrong(class.name, &value, version), place(1, 1)));
        }
    };
    let known = class.known(version);
    let mut bound = Create::default();
    for (name, value) in members {
        let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
            let list: Vec<String> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            return Err(format!(
                "Unrecognized field \"{name}\" (class {}), not marked as ignorable ({} known properties: {}]){} (through reference chain: {}[\"{name}\"])",
                class.name,
                known.len(),
                list.join(", "),
                place(1, column(body)),
                class.name
            ));
        };
        bind_member(&mut bound, name, *kind, value, version)
            .map_err(|message| format!("{message} (through reference chain: {}[\"{name}\"])", class.name))?;
    }
    Ok(Some(bound))
}

/// Jackson's place is behind the value's first byte; the end of the body is near enough for a reader.
fn column(body: &[u8]) -> usize {
    body.len()
}

fn bind_member(
    bound: &mut Create,
    name: &'static str,
    kind: Type,
    value: Json,
    version: Version,
) -> Result<(), String> {
    let at = |message: String| format!("{message}{}", place(1, 1));
    match kind {
        Type::Text | Type::Kind | Type::Bytes => match scalar(value) {
            Ok(Some(text)) => {
                if kind == Type::Kind && !KINDS.contains(&text.as_str()) {
                    return Err(format!("Invalid kind: {text}"));
                }
                if kind == Type::Bytes && !is_base64(&text) {
                    return Err(at(format!(
                        "Cannot deserialize value of type `byte[]` from String \"{text}\": Failed to decode VALUE_STRING as base64"
                    )));
                }
                bound.texts.insert(name, text);
            }
            // The last of several members counts, also when it is null.
            Ok(None) => {
                bound.texts.remove(name);
            }
            Err(value) => return Err(at(wrong("java.lang.String", &value, version))),
        },
        Type::List => match value {
            Json::Array(items) => {
                let texts = items
                    .into_iter()
                    .map(|item| scalar(item).map(|text| text.unwrap_or_else(|| "null".to_owned())));
                let texts: Result<Vec<_>, _> = texts.collect();
                bound.lists.insert(
                    name,
                    texts.map_err(|item| at(wrong("java.lang.String", &item, version)))?,
                );
            }
            Json::Null => bound.null = Some(name),
            Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => {
                let list = match version {
                    Version::V0_7_1 => "scala.collection.immutable.List",
                    Version::V0_9_0 => "scala.collection.immutable.List<java.lang.String>",
                };
                return Err(at(wrong(list, &value, version)));
            }
        },
        Type::LateInt => {
            let late = match value {
                Json::Null => LateInt::Absent,
                Json::Bool(_) => LateInt::Wrong("java.lang.Boolean"),
                Json::Text(_) => LateInt::Wrong("java.lang.String"),
                Json::Number(text) => match text.parse() {
                    Ok(value) => LateInt::Int(value),
                    Err(_) if text.contains(['.', 'e', 'E']) => LateInt::Wrong("java.lang.Double"),
                    Err(_) => LateInt::Wrong("java.lang.Long"),
                },
                Json::Array(_) => LateInt::Wrong("java.util.ArrayList"),
                Json::Object(_) => LateInt::Wrong("java.util.LinkedHashMap"),
            };
            bound.ints.insert(name, late);
        }
        Type::Int => {
            let text = match scalar(value) {
                Ok(text) => text.unwrap_or_default(),
                Err(value) => return Err(at(wrong("int", &value, version))),
            };
            let number = if text.trim().is_empty() {
                Some(0.0)
            } else {
                text.trim().parse::<f64>().ok()
            };
            match number.map(f64::trunc) {
                Some(number) if (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) => {
                    if name == "heartbeatTimeoutInSecond" {
                        bound.heartbeat_timeout = number as i32;
                    }
                }
                Some(_) | None => {
                    return Err(at(format!(
                        "Cannot deserialize value of type `int` from String \"{text}\": not a valid Integer value"
                    )));
                }
            }
        }
        Type::Map => match value {
            Json::Object(members) => {
                bound.null = bound.null.filter(|null| *null != name);
                bound.conf.clear();
                for (key, value) in members {
                    let value =
                        scalar(value).map_err(|value| at(wrong("java.lang.String", &value, version)))?;
                    bound.conf.retain(|(known, _)| *known != key);
                    bound.conf.push((key, value));
                }
            }
            Json::Null => bound.null = Some(name),
            Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
                return Err(at(wrong("scala.collection.immutable.Map", &value, version)));
            }
        },
    }
    Ok(())
}

const KINDS: [&str; 8] = [
    "spark", "scala", "pyspark", "python", "sparkr", "r", "sql", "shared",
];

/// What Jackson makes a string of; the value itself where it does not.
fn scalar(value: Json) -> Result<Option<String>, Json> {
    match value {
        Json::Null => Ok(None),
        Json::Bool(value) => Ok(Some(value.to_string())),
        Json::Number(text) | Json::Text(text) => Ok(Some(text)),
        Json::Array(_) | Json::Object(_) => Err(value),
    }
}

/// Jackson's words for a value of the wrong shape, in each version's own form.
fn wrong(class: &str, value: &Json, version: Version) -> String {
    let (shape, token) = match value {
        Json::Null => ("Null", "VALUE_NULL"),
        Json::Bool(true) => ("Boolean", "VALUE_TRUE"),
        Json::Bool(false) => ("Boolean", "VALUE_FALSE"),
        Json::Number(_) => ("Integer", "VALUE_NUMBER_INT"),
        Json::Text(_) => ("String", "VALUE_STRING"),
        Json::Array(_) => ("Array", "START_ARRAY"),
        Json::Object(_) => ("Object", "START_OBJECT"),
    };
    match version {
        Version::V0_7_1 => format!("Cannot deserialize instance of `{class}` out of {token} token"),
        Version::V0_9_0 => {
            format!(
                "Cannot deserialize value of type `{class}` from {shape} value (token `JsonToken.{token}`)"
            )
        }
    }
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    padding <= 2
        && text.len().is_multiple_of(4)
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}
