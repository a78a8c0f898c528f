//! Roles: what operators may do with sessions that belong to others. `docs/roles.md` has the same table.
//!
//! A role opens single operations on a single session. It never changes what a list shows, and it never runs code,
//! uploads or connects as somebody else: whoever may do that is that user.

use std::str::FromStr;
use std::sync::Arc;

use crate::identity::LivyUser;
use crate::livy::operation::Action;

/// What somebody is beside a user, the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Sees that sessions are there and in what state, not what is in them.
    Viewer,
    /// Sees and ends others' sessions.
    Operator,
    /// With sessions, the same as an operator.
    Admin,
}

impl Role {
    /// All of them, the strongest first.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Viewer];

    /// The word for it, as configuration keys and log fields have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

/// Who has a role: `user:ops` or `group:livy-admins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A Livy user.
    User(Arc<str>),
    /// Whoever is in a group.
    Group(Arc<str>),
}

impl FromStr for Holder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("user", name)) if LivyUser::is_legal(name) => Ok(Self::User(name.into())),
            Some(("user", name)) => Err(format!(
                "{name:?} can be no Livy user, so nobody would have the role"
            )),
            Some(("group", name)) if !name.trim().is_empty() => Ok(Self::Group(name.into())),
            Some((_, _)) | None => Err(format!("{text:?} names neither a user nor a group")),
        }
    }
}

/// The compiled `[roles]` section.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    holders: Vec<(Role, Holder)>,
}

impl Roles {
    /// Puts together who has which role.
    pub const fn new(holders: Vec<(Role, Holder)>) -> Self {
        Self { holders }
    }

    /// The strongest role of somebody who logged in, with the groups that the source of the login gave.
    pub fn role_of(&self, user: &LivyUser, groups: &[Arc<str>]) -> Option<Role> {
        self.holders
            .iter()
            .filter(|(_, holder)| match holder {
                Holder::User(name) => **name == *user.as_str(),
                Holder::Group(name) => groups.contains(name),
            })
            .map(|(role, _)| *role)
            .max()
    }

    /// Whether somebody has a role at all.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }
}

/// Whether a role may do this with a session or batch that belongs to somebody else.
///
/// Canceling a statement or job stops work and starts none, so it is as harmless as the `DELETE` that an operator has
/// anyway, and spares the session.
pub const fn may(role: Role, action: &Action) -> bool {
    match action {
        Action::State => match role {
            Role::Admin | Role::Operator | Role::Viewer => true,
        },
        Action::Read
        | Action::Log
        | Action::Delete
        | Action::Stop
        | Action::Interrupt
        | Action::ListStatements
        | Action::ReadStatement(_)
        | Action::CancelStatement(_)
        | Action::ReadJob(_)
        | Action::CancelJob(_) => match role {
            Role::Admin | Role::Operator => true,
            Role::Viewer => false,
        },
        Action::Connect
        | Action::RunStatement
        | Action::Complete
        | Action::SubmitJob
        | Action::RunJob
        | Action::Upload(_)
        | Action::Add(_) => match role {
            Role::Admin | Role::Operator | Role::Viewer => false,
        },
    }
}

/// Whether this brings code into a session, or the means to: what only the user may do as whom the session runs, and so
/// what no role opens.
pub const fn brings_code(action: &Action) -> bool {
    !may(Role::Admin, action)
}

/// Whether a role sees what sessions are called, in the list of everybody's. A name, and the marker that is made of it,
/// may tell what somebody works at; a viewer sees that sessions are there and in what state.
pub const fn sees_names(role: Role) -> bool {
    match role {
        Role::Admin | Role::Operator => true,
        Role::Viewer => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::livy::Topic;
    use crate::livy::operation::Operation;

    fn roles(written: &[(Role, &str)]) -> Roles {
        Roles::new(
            written
                .iter()
                .map(|(role, holder)| (*role, holder.parse().unwrap()))
                .collect(),
        )
    }

    #[test]
    fn the_strongest_role_counts() {
        let roles = roles(&[
            (Role::Viewer, "user:ops"),
            (Role::Admin, "group:livy-admins"),
            (Role::Operator, "user:ops"),
        ]);
        let (ops, admins) = (LivyUser::for_tests("ops"), [Arc::from("livy-admins")]);
        assert_eq!(roles.role_of(&ops, &[]), Some(Role::Operator));
        assert_eq!(roles.role_of(&ops, &admins), Some(Role::Admin));
        assert_eq!(roles.role_of(&LivyUser::for_tests("Ops"), &[]), None);
        assert_eq!(roles.role_of(&LivyUser::for_tests("livy-admins"), &[]), None);
    }

    #[test]
    fn what_names_nobody_is_no_holder() {
        for text in [
            "", "ops", "user:", "user:*", "user:a b", "group:", "group: ", "role:x", "User:ops",
        ] {
            assert!(text.parse::<Holder>().is_err(), "{text}");
        }
        assert_eq!("group:a:b".parse(), Ok(Holder::Group("a:b".into())));
    }

    #[test]
    fn the_page_has_every_operation_with_what_each_role_may() {
        let page = include_str!("../docs/roles.md");
        let mut written = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let names = cells.next().unwrap();
            let marks: Vec<bool> = cells.take(3).map(|mark| mark == "yes").collect();
            for name in names.split(", ") {
                assert!(
                    written.insert(name.trim_matches('`'), marks.clone()).is_none(),
                    "{name} stands twice"
                );
            }
        }
        let mut decided = BTreeMap::new();
        for operation in Operation::one_of_each() {
            let label = operation.label();
            let marks = match &operation {
                Operation::On(_, action) => Role::ALL.map(|role| may(role, action)).to_vec(),
                // Nobody's in particular: a role changes nothing.
                Operation::Version | Operation::List(_) | Operation::Create(_) => continue,
            };
            decided.insert(label, marks);
        }
        // A list of everybody's is refused to those without a role, not opened by a stronger one.
        decided.insert(Topic::AllSessions.label(), vec![true; Role::ALL.len()]);
        assert_eq!(written, decided, "docs/roles.md and this table differ");
    }
}
