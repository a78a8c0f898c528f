//! What is said over the operators' socket, by both sides.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::holdings::{Holding, Holdings};
use crate::livy::Kind;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// What the ledger holds.
    Sessions,
    /// Give back a place.
    Release {
        /// Which.
        what: What,
    },
    /// Load the configuration now.
    Reload,
    /// Every metric, with so many users by name.
    Metrics {
        /// How many; the busiest.
        users: usize,
    },
}

/// Which place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The one that Livy knows by this name.
    Marker(String),
    /// The session of this number.
    Session(u32),
    /// The batch of this number.
    Batch(u32),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// All that is held.
    Held(Held),
    /// The place is free, and this is what it was.
    Released {
        /// What it was.
        was: Holding,
    },
    /// The new configuration is in force.
    Reloaded {
        /// The file.
        config: String,
        /// How many configurations there have been.
        generation: u64,
        /// What is insecure or rarely meant in it.
        notices: Vec<String>,
    },
    /// The new configuration is refused, and the old one stays.
    NotReloaded {
        /// The file.
        config: String,
        /// All that is wrong with it.
        problems: String,
    },
    /// The metrics.
    Metrics {
        /// In Prometheus' text format.
        text: String,
    },
    /// Nothing was done.
    Refused {
        /// Why not.
        why: String,
    },
}

/// All that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How much each holds: users, then groups whose members share, then everybody.
    pub holders: Vec<Holder>,
    /// Every session, by number.
    pub sessions: Vec<Holding>,
    /// Every batch, by number.
    pub batches: Vec<Holding>,
    /// How old the states are.
    pub list_age_seconds: Option<u64>,
    /// Whether a creation could be written down now.
    pub ledger_available: bool,
}

/// How much one scope holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `user`, `group` or `everybody`.
    pub scope: Box<str>,
    /// As people read it.
    pub name: Box<str>,
    /// Interactive sessions.
    pub sessions: u64,
    /// Batches.
    pub batches: u64,
    /// Cores.
    pub cores: u64,
    /// Bytes of memory.
    pub memory: u64,
}

impl Held {
    /// As it stands now.
    pub(super) async fn of(holdings: &Holdings) -> Self {
        let mut scopes = BTreeSet::new();
        for kind in Kind::ALL {
            let places = holdings.ledger.all(kind).await;
            let counting = places.into_iter().filter(|place| place.standing.counts());
            scopes.extend(counting.flat_map(|place| place.scopes.clone()));
        }
        let mut holders = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let held = holdings.ledger.held(&scope).await;
            holders.push(Holder {
                scope: scope.word().into(),
                name: scope.to_string().into(),
                sessions: held.sessions,
                batches: held.batches,
                cores: held.cores,
                memory: held.memory,
            });
        }
        Self {
            holders,
            sessions: holdings.all(Kind::Session).await,
            batches: holdings.all(Kind::Batch).await,
            list_age_seconds: holdings.list_age().map(|age| age.as_secs()),
            ledger_available: holdings.ledger.is_available(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_documented_and_an_unknown_one_is_none() {
        for (command, text) in [
            (Command::Sessions, r#"{"command":"sessions"}"#),
            (Command::Reload, r#"{"command":"reload"}"#),
            (
                Command::Metrics { users: 20 },
                r#"{"command":"metrics","users":20}"#,
            ),
            (
                Command::Release { what: What::Batch(7) },
                r#"{"command":"release","what":{"batch":7}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&command).unwrap(), text);
            assert_eq!(serde_json::from_str::<Command>(text).unwrap(), command);
        }
        for text in [
            "",
            "{}",
            r#"{"command":"stop"}"#,
            r#"{"command":"release"}"#,
            r#"{"command":"release","what":{"session":-1}}"#,
            r#"{"command":"release","what":{"session":1},"force":true}"#,
        ] {
            assert!(serde_json::from_str::<Command>(text).is_err(), "{text}");
        }
    }
}
