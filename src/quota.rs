//! What a user may hold at once: sessions, batches, cores and memory, counted in every scope that a session is
//! charged to. Pure arithmetic, without overflow; the counting itself is the ledger's.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::LivyUser;
use crate::livy::Kind;

mod resources;
mod rules;

pub use resources::{Assumed, Basis, Estimate, resources};
pub use rules::{Groups, Quotas, Rule, UnknownGroups, Whose};

/// What one session or batch may take of the cluster: driver and executors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Cores.
    pub cores: u64,
    /// Memory in bytes, overhead included.
    pub memory: u64,
}

/// To whom a session is charged. One session is charged to several scopes at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// One user.
    User(LivyUser),
    /// The members of a group together.
    Group(Arc<str>),
    /// All users together.
    Everybody,
}

impl Scope {
    /// The word for its kind, as metric labels have it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Group(_) => "group",
            Self::Everybody => "everybody",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Everybody => f.write_str("everybody together"),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// Interactive sessions.
    Sessions,
    /// Batches.
    Batches,
    /// Cores of both.
    Cores,
    /// Bytes of memory of both.
    Memory,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sessions, Self::Batches, Self::Cores, Self::Memory];

    /// Of what it is the sum.
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Sessions => &[Kind::Session],
            Self::Batches => &[Kind::Batch],
            Self::Cores | Self::Memory => &Kind::ALL,
        }
    }

    /// The word for it, as configuration keys and metric labels have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Batches => "batches",
            Self::Cores => "cores",
            Self::Memory => "memory",
        }
    }

    /// An amount of it, with its unit if it needs one.
    fn amount(self, amount: u64) -> String {
        match self {
            Self::Sessions | Self::Batches | Self::Cores => amount.to_string(),
            // Rounded up: nobody is told that they fit into a quota by a byte.
            Self::Memory => format!("{} GiB", amount.div_ceil(GIB)),
        }
    }

    /// An amount of it, and what it is an amount of.
    fn amount_in_words(self, amount: u64) -> String {
        match self {
            Self::Sessions | Self::Batches | Self::Cores => format!("{amount} {}", self.word()),
            Self::Memory => format!("{} of memory", self.amount(amount)),
        }
    }
}

/// How much a scope may hold; what is absent is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Interactive sessions.
    pub sessions: Option<u64>,
    /// Batches.
    pub batches: Option<u64>,
    /// Cores.
    pub cores: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
}

impl Limits {
    /// One of them.
    pub const fn of(&self, dimension: Dimension) -> Option<u64> {
        match dimension {
            Dimension::Sessions => self.sessions,
            Dimension::Batches => self.batches,
            Dimension::Cores => self.cores,
            Dimension::Memory => self.memory,
        }
    }

    /// What is held beside each limit, as a sentence: `alice holds 2 of 6 sessions, 3 of 64 cores.` What has no limit
    /// is told as well, or left out.
    pub fn in_words(&self, scope: &Scope, held: &Use, is_whole: bool) -> String {
        let parts: Vec<String> = Dimension::ALL
            .into_iter()
            .filter_map(|dimension| {
                let held = held.of(dimension);
                match self.of(dimension) {
                    Some(limit) => Some(format!(
                        "{} of {}",
                        dimension.amount(held),
                        dimension.amount_in_words(limit)
                    )),
                    None => is_whole.then(|| dimension.amount_in_words(held)),
                }
            })
            .collect();
        format!("{scope} holds {}.", parts.join(", "))
    }

    /// Whether one more fits beside what is held; else the first limit that it would exceed.
    pub fn admits(&self, held: &Use, kind: Kind, asked: Resources) -> Result<(), Exceeded> {
        let after = held.with(kind, asked);
        for dimension in Dimension::ALL {
            let (held, after) = (held.of(dimension), after.of(dimension));
            if let Some(limit) = self.of(dimension)
                && after > held
                && after > limit
            {
                return Err(Exceeded {
                    dimension,
                    held,
                    asked: after - held,
                    limit,
                });
            }
        }
        Ok(())
    }
}

/// How much a scope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Interactive sessions.
    pub sessions: u64,
    /// Batches.
    pub batches: u64,
    /// Cores.
    pub cores: u64,
    /// Bytes of memory.
    pub memory: u64,
}

impl Use {
    /// One of them.
    pub const fn of(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Sessions => self.sessions,
            Dimension::Batches => self.batches,
            Dimension::Cores => self.cores,
            Dimension::Memory => self.memory,
        }
    }

    /// With one more.
    #[must_use]
    pub const fn with(mut self, kind: Kind, more: Resources) -> Self {
        match kind {
            Kind::Session => self.sessions = self.sessions.saturating_add(1),
            Kind::Batch => self.batches = self.batches.saturating_add(1),
        }
        self.cores = self.cores.saturating_add(more.cores);
        self.memory = self.memory.saturating_add(more.memory);
        self
    }
}

/// A limit that one more session would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Of what.
    pub dimension: Dimension,
    /// How much is held.
    pub held: u64,
    /// How much more was asked for.
    pub asked: u64,
    /// How much may be held.
    pub limit: u64,
}

impl Exceeded {
    /// Whether what was asked for could not be held even by somebody who holds nothing.
    pub const fn is_hopeless(&self) -> bool {
        self.asked > self.limit
    }

    /// Short: `alice holds 3 of 3 sessions`.
    pub fn reason(&self, scope: &Scope) -> String {
        format!(
            "{scope} holds {} of {}",
            self.dimension.amount(self.held),
            self.limit_in_words()
        )
    }

    /// As a sentence, with what the caller holds by number.
    pub fn holds(&self, scope: &Scope, held: &[(Kind, u32)]) -> String {
        let lists: Vec<String> = self
            .dimension
            .kinds()
            .iter()
            .filter_map(|kind| {
                let ids: Vec<String> = held
                    .iter()
                    .filter(|(of, _)| of == kind)
                    .map(|(_, id)| id.to_string())
                    .collect();
                let shown = ids.get(..IDS_SHOWN).unwrap_or(&ids).join(", ");
                let more = if ids.len() > IDS_SHOWN { ", …" } else { "" };
                let of_which = match self.dimension {
                    Dimension::Sessions | Dimension::Batches => String::new(),
                    Dimension::Cores | Dimension::Memory => format!("{} ", kind.collection()),
                };
                (!ids.is_empty()).then(|| format!("{of_which}{shown}{more}"))
            })
            .collect();
        let list = if lists.is_empty() {
            String::new()
        } else {
            // What others of a shared pot hold is theirs.
            let whose = if matches!(scope, Scope::User(_)) {
                ""
            } else {
                "yours: "
            };
            format!(" ({whose}{})", lists.join("; "))
        };
        let asked = match self.dimension {
            Dimension::Sessions | Dimension::Batches => String::new(),
            Dimension::Cores | Dimension::Memory => {
                format!(" and this asks for {} more", self.dimension.amount(self.asked))
            }
        };
        format!("{}{list}{asked}.", self.reason(scope))
    }

    /// As a sentence, where it is hopeless.
    pub fn asks(&self, scope: &Scope) -> String {
        format!(
            "This asks for {}, driver included; {scope} may hold {}.",
            self.dimension.amount_in_words(self.asked),
            self.limit_in_words()
        )
    }

    fn limit_in_words(&self) -> String {
        self.dimension.amount_in_words(self.limit)
    }
}

const GIB: u64 = 1 << 30;
/// As many as a sentence bears.
const IDS_SHOWN: usize = 20;

/// One scope that a creation is charged to, and what it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Who.
    pub scope: Scope,
    /// How much.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exceeded(dimension: Dimension) -> Exceeded {
        Exceeded {
            dimension,
            held: 60,
            asked: 8,
            limit: 64,
        }
    }

    #[test]
    fn a_refusal_says_which_sessions_and_which_batches_hold_how_much() {
        let alice = Scope::User(LivyUser::from_record("alice").unwrap());
        let held = [(Kind::Session, 4), (Kind::Session, 7), (Kind::Batch, 4)];
        for (dimension, held, said) in [
            (
                Dimension::Sessions,
                &held[..2],
                "alice holds 60 of 64 sessions (4, 7).",
            ),
            (
                Dimension::Batches,
                &held[2..],
                "alice holds 60 of 64 batches (4).",
            ),
            (Dimension::Sessions, &[], "alice holds 60 of 64 sessions."),
            (
                Dimension::Cores,
                &held,
                "alice holds 60 of 64 cores (sessions 4, 7; batches 4) and this asks for 8 more.",
            ),
        ] {
            assert_eq!(exceeded(dimension).holds(&alice, held), said);
        }
        assert_eq!(
            exceeded(Dimension::Batches).holds(&Scope::Group("etl".into()), &held[2..]),
            "group etl holds 60 of 64 batches (yours: 4)."
        );
        let many: Vec<_> = (0..25).map(|id| (Kind::Session, id)).collect();
        let said = exceeded(Dimension::Sessions).holds(&alice, &many);
        assert!(said.ends_with(" 19, …)."), "{said}");
    }
}
