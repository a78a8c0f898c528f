//! Who may do what: the proof that a principal may do an operation now, and on which session of Livy's.
//!
//! What belongs to somebody else is answered like what does not exist. Three may use a session: its owner; the
//! delegate that created it for the owner, while the rule for that stands; and, as far as [`crate::roles`] says, an
//! administrator. All of them act at Livy as the owner.

use std::net::IpAddr;
use std::sync::Arc;

use crate::body_policy::Who;
use crate::denial::Denial;
use crate::identity::{Acting, Identities, LivyUser, Principal};
use crate::livy::operation::{Action, Operation};
use crate::livy::session_ref::SessionRef;
use crate::roles::{self, Role, Roles};

/// Proof that this principal may do this operation, as this Livy user.
#[derive(Debug)]
pub struct Grant {
    principal: Arc<Principal>,
    acting: Acting,
    operation: Operation,
    at_livy: Option<Operation>,
    role: Option<Role>,
}

/// What is known of a session, for the decision.
#[derive(Debug, Clone, Copy)]
pub struct Owned<'a> {
    /// To whom it belongs; nobody for what was found at Livy without a user.
    pub owner: Option<&'a LivyUser>,
    /// Who asked for it, as subjects show themselves.
    pub created_by: Option<&'a str>,
}

/// Who decides about others' sessions.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Whose delegates may act for whom.
    pub identities: &'a Identities,
    /// Who has which role.
    pub roles: &'a Roles,
}

/// Grants an operation that is done to no session: a list, a creation, the version.
pub fn authorize(principal: Arc<Principal>, acting: Acting, operation: Operation) -> Grant {
    Grant {
        principal,
        acting,
        operation,
        at_livy: None,
        role: None,
    }
}

/// Grants what is done to one session, which Livy knows by `at_livy`.
pub fn authorize_session(
    principal: Arc<Principal>,
    acting: Acting,
    (session, action): (&SessionRef, Action),
    owned: Owned<'_>,
    at_livy: SessionRef,
    rules: Rules<'_>,
    peer: IpAddr,
) -> Result<Grant, Denial> {
    let (acting, role) =
        may_use(&principal, acting, action, owned, rules, peer).ok_or_else(|| no_such(session))?;
    Ok(Grant {
        principal,
        acting,
        operation: Operation::On(session.clone(), action),
        at_livy: Some(Operation::On(at_livy, action)),
        role,
    })
}

/// Lets those see the list of everybody's sessions who look after them, and says with which role.
pub fn authorize_overview(principal: &Principal, acting: &Acting, roles: &Roles) -> Result<Role, Denial> {
    // A role speaks for the one who logged in, and not for whom a delegate acts.
    if acting.is_on_behalf() {
        return Err(Denial::RoleRequired);
    }
    roles
        .role_of(principal.livy_user(), principal.groups())
        .ok_or(Denial::RoleRequired)
}

/// Livy's own words for a session that does not exist.
pub fn no_such(session: &SessionRef) -> Denial {
    Denial::NotFound {
        session: session.key().to_string(),
    }
}

/// As whom, and by which role if only that allows it.
fn may_use(
    principal: &Principal,
    acting: Acting,
    action: Action,
    owned: Owned<'_>,
    rules: Rules<'_>,
    peer: IpAddr,
) -> Option<(Acting, Option<Role>)> {
    if owned.owner == Some(acting.livy_user()) {
        return Some((acting, None));
    }
    // Only for whom nobody was named: who names alice is never given what is bob's.
    if !acting.is_on_behalf()
        && let Some(owner) = owned.owner
        && owned.created_by == Some(principal.subject().to_string().as_str())
        && let Some(delegated) = rules.identities.as_delegate(principal, peer, owner)
    {
        return Some((delegated, None));
    }
    // A role speaks for the one who logged in, and not for whom a delegate acts.
    if acting.is_on_behalf() {
        return None;
    }
    let role = rules.roles.role_of(principal.livy_user(), principal.groups())?;
    roles::may(role, &action).then(|| {
        let acting = match owned.owner {
            Some(owner) => Acting::by_role(owner),
            None => acting,
        };
        (acting, Some(role))
    })
}

impl Grant {
    /// Who asked.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// As whom Livy acts.
    pub fn livy_user(&self) -> &LivyUser {
        self.acting.livy_user()
    }

    /// Under whose limits it is counted: the user's whose it is, unless only a role lets it be used.
    pub fn charged(&self) -> &LivyUser {
        match self.role {
            None => self.acting.livy_user(),
            Some(_) => self.principal.livy_user(),
        }
    }

    /// For whom the rules about bodies are applied. A login tells its own groups only, so those of a person for whom
    /// a delegate acts are not known.
    pub fn who(&self) -> Who<'_> {
        let is_on_behalf = self.acting.is_on_behalf();
        Who {
            user: self.acting.livy_user(),
            groups: (!is_on_behalf).then(|| self.principal.groups()),
        }
    }

    /// The role without which it would not be granted.
    pub const fn role(&self) -> Option<Role> {
        self.role
    }

    /// What is done, as the client named it.
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// What is done, as Livy knows the session.
    pub fn at_livy(&self) -> &Operation {
        self.at_livy.as_ref().unwrap_or(&self.operation)
    }

    /// The same for whom the body of a creation names.
    #[must_use]
    pub fn acting_as(self, acting: Acting) -> Self {
        Self { acting, ..self }
    }
}
