//! How fast each user may ask, by class of operation, and how much at once: what `[limits]` says.
//!
//! As with quotas, a user's own limits come from exactly one place: the rule that names it, else the first written
//! rule for the members of a group that it is in, else the defaults. What several users share is spent as well.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{MINUTE, Rate, SECOND, count};
use crate::identity::LivyUser;
use crate::livy::LimitClass;
use crate::quota::{Groups, Whose};

/// How often one class of operation may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimit {
    /// So often, and so many at once.
    pub rate: Rate,
    /// A request over it waits for its turn if that comes within this time; zero where it is refused at once.
    pub delay: Duration,
}

/// What one rule sets; nothing where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassLimits {
    /// New sessions and batches.
    pub create: Option<ClassLimit>,
    /// Statements, completions, jobs.
    pub statement: Option<ClassLimit>,
    /// Everything that changes nothing.
    pub read: Option<ClassLimit>,
    /// Files.
    pub upload: Option<ClassLimit>,
    /// Requests under way at once.
    pub concurrent_requests: Option<NonZeroU32>,
}

/// One `[[limits.for]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRule {
    /// Whose limits these are.
    pub whose: Whose,
    /// What is written; what is not is the default of a user, and unlimited for those who share.
    pub limits: ClassLimits,
}

/// The compiled `[limits]` section, as far as it is about users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserLimits {
    /// Of each user for whom no rule is written; everything is set.
    pub default: ClassLimits,
    /// In the order in which they are written.
    pub rules: Vec<LimitRule>,
}

/// What no busy notebook meets: 10/min creations, 300/min statements, 20/s reads, 30/min uploads, 64 at once.
impl Default for UserLimits {
    fn default() -> Self {
        let at_once = |rate: Rate| ClassLimit {
            rate,
            delay: Duration::ZERO,
        };
        Self {
            default: ClassLimits {
                create: Some(at_once(Rate::new(count(10), MINUTE, count(10)))),
                statement: Some(at_once(Rate::new(count(300), MINUTE, count(60)))),
                read: Some(ClassLimit {
                    rate: Rate::new(count(20), SECOND, count(100)),
                    delay: Duration::from_secs(3),
                }),
                upload: Some(at_once(Rate::new(count(30), MINUTE, count(10)))),
                concurrent_requests: Some(count(64)),
            },
            rules: Vec::new(),
        }
    }
}

impl ClassLimits {
    /// Of one class.
    pub const fn of(&self, class: LimitClass) -> Option<ClassLimit> {
        match class {
            LimitClass::Create => self.create,
            LimitClass::Statement => self.statement,
            LimitClass::Read => self.read,
            LimitClass::Upload => self.upload,
        }
    }

    /// The same with `default` where nothing is set.
    #[must_use]
    pub fn or(self, default: &Self) -> Self {
        Self {
            create: self.create.or(default.create),
            statement: self.statement.or(default.statement),
            read: self.read.or(default.read),
            upload: self.upload.or(default.upload),
            concurrent_requests: self.concurrent_requests.or(default.concurrent_requests),
        }
    }
}

impl UserLimits {
    /// The user's own limits, and the rule that sets them; none if the defaults hold.
    pub fn of(&self, user: &LivyUser, groups: Groups<'_>) -> (ClassLimits, Option<&LimitRule>) {
        let rule = self.rule_of(user, groups).and_then(|rule| self.rules.get(rule));
        let limits = rule.map_or(self.default, |rule| rule.limits.or(&self.default));
        (limits, rule)
    }

    /// What a user of these groups shares with others.
    pub fn shared_by(&self, groups: Groups<'_>) -> impl Iterator<Item = (&Whose, &ClassLimits)> {
        let shared = self
            .rules
            .iter()
            .filter(move |rule| rule.whose.is_shared_with(groups));
        shared.map(|rule| (&rule.whose, &rule.limits))
    }

    /// The rule that sets the user's own limits, by its place among the rules; none if the defaults hold. Groups that
    /// are not known decide nothing: for a time that makes a limit the common one, and no more than that.
    pub fn rule_of(&self, user: &LivyUser, groups: Groups<'_>) -> Option<usize> {
        let find = |is_for: &dyn Fn(&Whose) -> bool| self.rules.iter().position(|rule| is_for(&rule.whose));
        if self.rules.is_empty() {
            return None;
        }
        find(&|whose| matches!(whose, Whose::User(name) if **name == *user.as_str()))
            .or_else(|| find(&|whose| matches!(whose, Whose::MembersOf(group) if groups.contain(group))))
    }
}
