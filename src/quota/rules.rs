//! Whose limits are how high: the rules of `[quota]`, and every scope that a user's creation is charged to.
//!
//! A user has limits of its own, from exactly one place: the rule that names it, else the first written rule for the
//! members of a group that it is in, else the defaults. Pots that several users share are charged as well.
//!
//! Rejected: the most generous of several memberships, because then who reads the file must read all of it to know
//! what holds, and a rule that restricts a group could be escaped by joining another one.

use std::fmt;
use std::sync::Arc;

use super::{Allowance, Assumed, Limits, Resources, Scope};
use crate::identity::LivyUser;

/// The compiled `[quota]` section.
#[derive(Debug, Clone, Default)]
pub struct Quotas {
    /// Of each user for whom no rule is written.
    default: Limits,
    rules: Vec<Rule>,
    assumed: Assumed,
}

/// One `[[quota.for]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose limits these are.
    pub whose: Whose,
    /// What is written; what is not is the default of a user, and unlimited in a pot.
    pub limits: Limits,
}

/// Whose limits a rule sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// One Livy user's.
    User(Arc<str>),
    /// Of each member of a group, by itself.
    MembersOf(Arc<str>),
    /// Of the members of a group together.
    Group(Arc<str>),
    /// Of all users together.
    Everybody,
}

impl Whose {
    /// Whether a user of these groups shares it with others.
    pub fn is_shared_with(&self, groups: Groups<'_>) -> bool {
        match self {
            Self::Group(group) => groups.contain(group),
            Self::Everybody => true,
            Self::User(_) | Self::MembersOf(_) => false,
        }
    }
}

/// As the configuration writes it: `user alice`, `members_of etl`.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::MembersOf(group) => write!(f, "members_of {group}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

/// The groups of a user, as far as they can be known: nobody can be asked about the groups of somebody for whom a
/// delegate acts, or of whom only Livy has told.
#[derive(Debug, Clone, Copy)]
pub enum Groups<'a> {
    /// All of them.
    Known(&'a [Arc<str>]),
    /// Some groups, or none.
    Unknown,
}

/// The groups of a user decide what it may hold, and are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the quotas are set by group, and the user's groups are not known")]
pub struct UnknownGroups;

impl Quotas {
    /// Puts the rules together, in the order in which they are written. That there are no two for one and the same is
    /// the compiler's to see; the first would hold.
    pub const fn new(default: Limits, rules: Vec<Rule>, assumed: Assumed) -> Self {
        Self {
            default,
            rules,
            assumed,
        }
    }

    /// Every pot that several share, with what may be held in it; everybody's is always one.
    pub fn pots(&self) -> Vec<Allowance> {
        let everybody = self.first(|whose| matches!(whose, Whose::Everybody));
        let everybody = Allowance {
            scope: Scope::Everybody,
            limits: everybody.map(|rule| rule.limits).unwrap_or_default(),
        };
        let groups = self.rules.iter().filter_map(|rule| match &rule.whose {
            Whose::Group(group) => Some(Allowance {
                scope: Scope::Group(Arc::clone(group)),
                limits: rule.limits,
            }),
            Whose::User(_) | Whose::MembersOf(_) | Whose::Everybody => None,
        });
        groups.chain([everybody]).collect()
    }

    /// What a user may hold of whom no rule speaks.
    pub const fn default_limits(&self) -> &Limits {
        &self.default
    }

    /// What counts where a creation does not say.
    pub const fn assumed(&self) -> &Assumed {
        &self.assumed
    }

    /// Every scope that a creation of this user is charged to, with what may be held there: its own first, then the
    /// pots of its groups as they are written, then everybody's, which is charged even where it has no limit.
    ///
    /// Where groups decide and are not known, nothing is allowed: too much could be.
    pub fn allowances(&self, user: &LivyUser, groups: Groups<'_>) -> Result<Vec<Allowance>, UnknownGroups> {
        let mentions_groups = self.rules.iter().any(|rule| match rule.whose {
            Whose::MembersOf(_) | Whose::Group(_) => true,
            Whose::User(_) | Whose::Everybody => false,
        });
        match groups {
            Groups::Unknown if mentions_groups => Err(UnknownGroups),
            Groups::Unknown | Groups::Known(_) => Ok(self.allowances_of(user, groups)),
        }
    }

    /// The scopes of what was found at Livy: as in [`allowances`](Self::allowances), but groups that are not known are
    /// left out instead of refused, since it runs already.
    pub fn scopes_of(&self, user: &LivyUser, groups: Groups<'_>) -> Vec<Scope> {
        let allowances = self.allowances_of(user, groups);
        allowances.into_iter().map(|allowance| allowance.scope).collect()
    }

    /// What is charged for what was found at Livy, which does not say what it takes.
    pub fn charge_of_adopted(&self) -> Resources {
        self.assumed.charge()
    }

    /// The user's own limits, for people to see; those of groups that are not known are left out.
    pub fn limits_of(&self, user: &LivyUser, groups: Groups<'_>) -> Limits {
        let default = self.default;
        self.rule_of(user, groups)
            .map_or(default, |Rule { limits, .. }| Limits {
                sessions: limits.sessions.or(default.sessions),
                batches: limits.batches.or(default.batches),
                cores: limits.cores.or(default.cores),
                memory: limits.memory.or(default.memory),
            })
    }

    /// The rule that sets the user's own limits; none if the defaults hold.
    pub fn rule_of(&self, user: &LivyUser, groups: Groups<'_>) -> Option<&Rule> {
        self.first(|whose| matches!(whose, Whose::User(name) if **name == *user.as_str()))
            .or_else(|| self.first(|whose| matches!(whose, Whose::MembersOf(group) if groups.contain(group))))
    }

    fn allowances_of(&self, user: &LivyUser, groups: Groups<'_>) -> Vec<Allowance> {
        let own = Allowance {
            scope: Scope::User(user.clone()),
            limits: self.limits_of(user, groups),
        };
        let pots = self.rules.iter().filter_map(|rule| match &rule.whose {
            Whose::Group(group) if groups.contain(group) => Some(Allowance {
                scope: Scope::Group(Arc::clone(group)),
                limits: rule.limits,
            }),
            Whose::Group(_) | Whose::User(_) | Whose::MembersOf(_) | Whose::Everybody => None,
        });
        let all = Allowance {
            scope: Scope::Everybody,
            limits: self
                .first(|whose| *whose == Whose::Everybody)
                .map(|rule| rule.limits)
                .unwrap_or_default(),
        };
        std::iter::once(own)
            .chain(pots)
            .chain(std::iter::once(all))
            .collect()
    }

    fn first(&self, is_for: impl Fn(&Whose) -> bool) -> Option<&Rule> {
        self.rules.iter().find(|rule| is_for(&rule.whose))
    }
}

impl Groups<'_> {
    /// Whether it is known to be one of them.
    pub(crate) fn contain(self, group: &str) -> bool {
        match self {
            Self::Known(groups) => groups.iter().any(|known| **known == *group),
            Self::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Limits = Limits {
        sessions: Some(6),
        batches: Some(20),
        cores: Some(64),
        memory: Some(256 << 30),
    };

    fn cores(cores: u64) -> Limits {
        Limits {
            cores: Some(cores),
            ..Limits::default()
        }
    }

    fn quotas(rules: Vec<(Whose, u64)>) -> Quotas {
        let rules = rules
            .into_iter()
            .map(|(whose, limit)| Rule {
                whose,
                limits: cores(limit),
            })
            .collect();
        Quotas::new(DEFAULT, rules, Assumed::default())
    }

    fn alice() -> LivyUser {
        LivyUser::for_tests("alice")
    }

    fn groups(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn own(limit: u64) -> Limits {
        Limits {
            cores: Some(limit),
            ..DEFAULT
        }
    }

    #[test]
    fn the_most_specific_rule_wins_whatever_the_order() {
        let quotas = quotas(vec![
            (Whose::MembersOf("etl".into()), 100),
            (Whose::MembersOf("ml".into()), 10_000),
            (Whose::User("alice".into()), 1),
        ]);
        let bob = LivyUser::for_tests("bob");
        for (user, of, limits) in [
            (alice(), groups(&["ml", "etl"]), own(1)),
            (bob.clone(), groups(&["etl"]), own(100)),
            (bob.clone(), groups(&["ml"]), own(10_000)),
            (bob.clone(), groups(&[]), DEFAULT),
        ] {
            assert_eq!(
                quotas.limits_of(&user, Groups::Known(&of)),
                limits,
                "{user} {of:?}"
            );
        }
    }

    #[test]
    fn of_several_memberships_the_one_written_first_wins() {
        let quotas = quotas(vec![
            (Whose::MembersOf("etl".into()), 100),
            (Whose::MembersOf("ml".into()), 10_000),
        ]);
        let both = groups(&["ml", "etl"]);
        assert_eq!(quotas.limits_of(&alice(), Groups::Known(&both)), own(100));
    }

    #[test]
    fn a_user_of_another_spelling_is_another_user() {
        let quotas = quotas(vec![(Whose::User("Alice".into()), 1)]);
        assert_eq!(quotas.limits_of(&alice(), Groups::Known(&[])), DEFAULT);
    }

    #[test]
    fn shared_pots_are_charged_as_well_and_have_no_defaults() {
        let quotas = quotas(vec![
            (Whose::Everybody, 5000),
            (Whose::Group("analysts".into()), 500),
            (Whose::Group("etl".into()), 700),
        ]);
        let of = groups(&["analysts"]);
        let expected = vec![
            Allowance {
                scope: Scope::User(alice()),
                limits: DEFAULT,
            },
            Allowance {
                scope: Scope::Group("analysts".into()),
                limits: cores(500),
            },
            Allowance {
                scope: Scope::Everybody,
                limits: cores(5000),
            },
        ];
        assert_eq!(quotas.allowances(&alice(), Groups::Known(&of)), Ok(expected));
    }

    #[test]
    fn everybody_is_charged_without_a_rule() {
        let allowances = quotas(vec![]).allowances(&alice(), Groups::Unknown).unwrap();
        assert_eq!(
            allowances.last(),
            Some(&Allowance {
                scope: Scope::Everybody,
                limits: Limits::default()
            })
        );
    }

    #[test]
    fn unknown_groups_refuse_as_soon_as_any_group_decides() {
        for whose in [Whose::MembersOf("etl".into()), Whose::Group("etl".into())] {
            let quotas = quotas(vec![(Whose::User("alice".into()), 1), (whose, 100)]);
            assert_eq!(quotas.allowances(&alice(), Groups::Unknown), Err(UnknownGroups));
        }
        let quotas = quotas(vec![(Whose::User("alice".into()), 1), (Whose::Everybody, 100)]);
        assert!(quotas.allowances(&alice(), Groups::Unknown).is_ok());
    }

    #[test]
    fn what_was_found_is_charged_to_its_user_and_to_everybody_where_groups_are_unknown() {
        let quotas = quotas(vec![(Whose::Group("analysts".into()), 500)]);
        assert_eq!(
            quotas.scopes_of(&alice(), Groups::Unknown),
            [Scope::User(alice()), Scope::Everybody]
        );
        let of = groups(&["analysts"]);
        assert_eq!(quotas.scopes_of(&alice(), Groups::Known(&of)).len(), 3);
        assert_eq!(quotas.charge_of_adopted(), Assumed::default().charge());
    }
}
