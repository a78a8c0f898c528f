//! What the operator allows in a creation: the compiled `[requests]` section.
//!
//! Each part is a proof: a pattern that opens no identity, a key that may be set, a template that can be filled in.
//! How they are applied stands in `apply`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::builtin;
use super::conf;
use crate::denial::Denial;
use crate::identity::LivyUser;
use crate::livy::amount::{self, MIB};

mod apply;

/// What a creation may ask for.
#[derive(Debug, Clone)]
pub struct BodyRules {
    /// From where files are taken, beside absolute paths on the cluster's default file system; in lower case.
    pub file_schemes: Vec<String>,
    /// The longest `ttl` and `idleTimeout` that reaches Livy; none means any.
    pub max_ttl: Option<Duration>,
    /// The settings of Spark.
    pub conf: ConfRules,
}

/// What a creation's Spark settings may be, beside what is built in.
#[derive(Debug, Clone, Default)]
pub struct ConfRules {
    /// What holds for a key that no rule names.
    pub mode: ConfMode,
    /// Refused, beside what is built in.
    pub also_deny: Vec<KeyPattern>,
    /// Taken where [`ConfMode::AllowListed`] refuses the rest.
    pub allow: Vec<KeyPattern>,
    /// Opens built-in refusals: made by [`KeyPattern::opening`].
    pub allow_unsafe: Vec<KeyPattern>,
    /// Set where the client wrote nothing.
    pub default: Vec<(ConfKey, Template)>,
    /// Always set; another value of the client's is refused.
    pub force: Vec<(ConfKey, Template)>,
    /// The most that may be asked for.
    pub max: Vec<(ConfKey, Maximum)>,
}

/// What holds for a `conf` key that no rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConfMode {
    /// It is taken.
    #[default]
    DenyListed,
    /// It is refused.
    AllowListed,
}

/// For whom the rules are applied.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// As whom Livy will act.
    pub user: &'a LivyUser,
    /// That user's groups, the primary one first; none if they are not known, as for whom a delegate acts.
    pub groups: Option<&'a [Arc<str>]>,
}

impl Default for BodyRules {
    fn default() -> Self {
        Self {
            file_schemes: DEFAULT_SCHEMES.map(String::from).to_vec(),
            max_ttl: None,
            conf: ConfRules::default(),
        }
    }
}

/// The file systems of clusters: HDFS, and the stores of S3 and Azure.
pub const DEFAULT_SCHEMES: [&str; 7] = ["hdfs", "s3a", "abfs", "abfss", "wasb", "wasbs", "adl"];

/// One key, or all that begin like it (`spark.hadoop.fs.azure.*`). Compared without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    written: String,
    // In lower case; with its last dot if it is a prefix.
    text: String,
    is_prefix: bool,
}

impl KeyPattern {
    /// A pattern of `also_deny` and `allow`; the error says what is wrong, and the second half what to write.
    pub fn new(text: &str) -> Result<Self, (String, &'static str)> {
        let (stem, is_prefix) = match text.strip_suffix(".*") {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        let is_everything = is_prefix && stem == "spark";
        if !is_everything && !conf::is_spark_key(stem) {
            return Err((format!("{text:?} is no key of Spark's"), PATTERN_EXAMPLE));
        }
        let mut lower = stem.to_ascii_lowercase();
        if is_prefix {
            lower.push('.');
        }
        Ok(Self {
            written: text.to_owned(),
            text: lower,
            is_prefix,
        })
    }

    /// A pattern of `allow`, which must not name what is never taken.
    pub fn admitting(text: &str) -> Result<Self, (String, &'static str)> {
        let pattern = Self::new(text)?;
        pattern.refuse_identity(text)?;
        Ok(pattern)
    }

    /// A pattern of `allow_unsafe`: it opens exactly one built-in refusal, or a part of one, and never one that says
    /// for whom a session runs.
    pub fn opening(text: &str) -> Result<Self, (String, &'static str)> {
        let pattern = Self::admitting(text)?;
        if pattern.is_refused_because().is_some() {
            return Ok(pattern);
        }
        let what = if pattern.is_prefix {
            format!("{text:?} is not inside one built-in refusal")
        } else {
            format!("{text:?} is refused by no built-in rule")
        };
        Err((
            what,
            "write the single key that is refused, or a prefix of such keys, such as \"spark.hadoop.fs.azure.*\"",
        ))
    }

    /// Why a built-in rule, which an operator can open, refuses all that is meant; none if it does not.
    pub fn is_refused_because(&self) -> Option<&'static str> {
        let rule = if self.is_prefix {
            builtin::unsafe_rule_of_all(&self.text)
        } else {
            builtin::unsafe_rule(&self.text)
        };
        rule.map(|rule| rule.reason)
    }

    /// Whether a key in lower case is meant.
    fn matches(&self, key: &str) -> bool {
        if self.is_prefix {
            key.starts_with(&self.text)
        } else {
            key == self.text
        }
    }

    fn refuse_identity(&self, text: &str) -> Result<(), (String, &'static str)> {
        let rule = if self.is_prefix {
            builtin::identity_rule_of_all(&self.text)
        } else {
            builtin::identity_rule(&self.text)
        };
        match rule {
            None => Ok(()),
            Some(rule) => Err((
                format!("{text:?} can never be allowed: {}", rule.reason),
                "remove it",
            )),
        }
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A `conf` key that an operator may set or bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfKey {
    text: String,
    // In lower case, the one spelling of several.
    canonical: String,
}

impl ConfKey {
    /// A key of `default`, `force` or `max`.
    pub fn new(text: &str) -> Result<Self, (String, &'static str)> {
        if let Some((_, twin)) = TWINS.iter().find(|(field, _)| *field == text) {
            return Err((
                format!("{text:?} is a field of creations; the setting is {twin:?}"),
                "write the setting: it holds for the field too",
            ));
        }
        if !conf::is_spark_key(text) {
            return Err((format!("{text:?} is no key of Spark's"), KEY_EXAMPLE));
        }
        let lower = text.to_ascii_lowercase();
        if let Some(rule) = builtin::identity_rule(&lower) {
            return Err((format!("{text:?} can never be set: {}", rule.reason), "remove it"));
        }
        Ok(Self {
            text: text.to_owned(),
            canonical: canonical(&lower).to_owned(),
        })
    }

    /// The key as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether both are one setting of Spark's.
    pub fn is_same_setting(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }

    /// Whether Spark counts here (cores, executors); `false` if it measures bytes, none if that is not known.
    pub fn counts(&self) -> Option<bool> {
        if COUNTS.contains(&self.canonical.as_str()) {
            return Some(true);
        }
        let measures = self.canonical.ends_with(".memory") || self.canonical.ends_with(".memoryoverhead");
        measures.then_some(false)
    }
}

/// A value with places for the user (`${user}`) and the first of the user's groups (`${primary_group}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    User,
    PrimaryGroup,
}

impl Template {
    /// Reads a value; the error says what is wrong, and the second half what to write.
    pub fn new(text: &str) -> Result<Self, (String, &'static str)> {
        if text.contains(char::is_control) || conf::names_user_variable(text) {
            return Err((
                "the value has a control character, or names a variable that says who the user is".to_owned(),
                "write printable text",
            ));
        }
        let unknown = |name: &str| {
            (
                format!("{text:?} has a place for {name:?}, which is not known"),
                "write ${user} or ${primary_group}",
            )
        };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, behind) = after.split_once('}').ok_or_else(|| unknown(after))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match name {
                "user" => Piece::User,
                "primary_group" => Piece::PrimaryGroup,
                _ => return Err(unknown(name)),
            });
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The value, if it is the same for everybody.
    pub fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    fn fill_in(&self, key: &ConfKey, who: &Who<'_>) -> Result<String, Denial> {
        let mut value = String::new();
        for piece in &self.0 {
            value.push_str(match piece {
                Piece::Text(text) => text,
                Piece::User => who.user.as_str(),
                Piece::PrimaryGroup => primary_group(who).ok_or_else(|| Denial::NoPrimaryGroup {
                    key: key.text.clone(),
                    user: who.user.to_string(),
                })?,
            });
        }
        Ok(value)
    }
}

// A group that could end a list or leave a folder is none here: its name was not made for that.
fn primary_group<'a>(who: &Who<'a>) -> Option<&'a str> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ' ');
    let first = who.groups?.first()?;
    let starts_well = first.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (starts_well && first.chars().all(fits) && !conf::names_user_variable(first)).then_some(&**first)
}

/// The most that a setting may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maximum {
    /// A number, of cores or executors.
    Count(u64),
    /// A size.
    Size {
        /// In bytes.
        bytes: u64,
        /// As the operator wrote it.
        text: String,
    },
}

impl Maximum {
    /// A size as Spark writes it, with its unit: `16g`.
    pub fn size(text: &str) -> Option<Self> {
        let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
        let bytes = amount::size(text, MIB).filter(|_| has_unit)?;
        Some(Self::Size {
            bytes,
            text: text.to_owned(),
        })
    }

    /// Whether a value of that setting is within it; none if it cannot be compared, or is unlimited.
    pub fn admits(&self, key: &ConfKey, value: &str) -> Option<bool> {
        match self {
            Self::Count(most) => amount::count(value).map(|count| count <= *most),
            Self::Size { bytes, .. } => {
                let unitless = if IN_BYTES.contains(&key.canonical.as_str()) {
                    1
                } else {
                    MIB
                };
                let size = amount::size(value, unitless)?;
                let is_unlimited = size == 0 && key.canonical == MAX_RESULT_SIZE;
                (!is_unlimited).then_some(size <= *bytes)
            }
        }
    }

    /// As the operator wrote it.
    pub fn as_written(&self) -> Cow<'_, str> {
        match self {
            Self::Count(most) => Cow::Owned(most.to_string()),
            Self::Size { text, .. } => Cow::Borrowed(text),
        }
    }
}

/// One setting has several names; this is the one that rules are compared by. All in lower case.
fn canonical(lower: &str) -> &str {
    match lower {
        // The names before Spark 2.3, still obeyed.
        "spark.yarn.executor.memoryoverhead" => "spark.executor.memoryoverhead",
        "spark.yarn.driver.memoryoverhead" => "spark.driver.memoryoverhead",
        _ => lower,
    }
}

/// The fields of a creation that are settings of Spark's by another name.
const TWINS: [(&str, &str); 6] = [
    ("driverMemory", "spark.driver.memory"),
    ("driverCores", "spark.driver.cores"),
    ("executorMemory", "spark.executor.memory"),
    ("executorCores", "spark.executor.cores"),
    ("numExecutors", INSTANCES),
    ("queue", "spark.yarn.queue"),
];

const INSTANCES: &str = "spark.executor.instances";
const MAX_EXECUTORS: &str = "spark.dynamicallocation.maxexecutors";
const COUNTS: [&str; 6] = [
    "spark.driver.cores",
    "spark.executor.cores",
    INSTANCES,
    MAX_EXECUTORS,
    "spark.dynamicallocation.minexecutors",
    "spark.dynamicallocation.initialexecutors",
];
const MAX_RESULT_SIZE: &str = "spark.driver.maxresultsize";
/// Where a size without unit is bytes; elsewhere it is MiB, which is also the safe reading of what is not known.
const IN_BYTES: [&str; 2] = [MAX_RESULT_SIZE, "spark.memory.offheap.size"];
const PATTERN_EXAMPLE: &str =
    "write \"spark.\" and a key's name, or a prefix that ends with \".*\", such as \"spark.sql.*\"";
const KEY_EXAMPLE: &str = "write a key such as \"spark.executor.memory\"";

#[cfg(test)]
mod tests;
