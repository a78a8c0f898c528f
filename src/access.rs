//! Who may do what: the proof that a principal may do an operation now.
//!
//! Sessions are not yet kept apart by owner: every mapped user is granted every operation of Livy's API, as the Livy
//! user it acts as.

use std::sync::Arc;

use crate::body_policy::Who;
use crate::identity::{Acting, LivyUser, Principal};
use crate::livy::operation::Operation;

/// Proof that this principal may do this operation, as this Livy user.
#[derive(Debug)]
pub struct Grant {
    principal: Arc<Principal>,
    acting: Acting,
    operation: Operation,
}

/// Grants the operation.
pub fn authorize(principal: Arc<Principal>, acting: Acting, operation: Operation) -> Grant {
    Grant {
        principal,
        acting,
        operation,
    }
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

    /// For whom the rules about bodies are applied. A login tells its own groups only, so those of a person for whom
    /// a delegate acts are not known.
    pub fn who(&self) -> Who<'_> {
        let is_on_behalf = self.acting.is_on_behalf();
        Who {
            user: self.acting.livy_user(),
            groups: (!is_on_behalf).then(|| self.principal.groups()),
        }
    }

    /// What is done.
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The same for whom the body of a creation names.
    #[must_use]
    pub fn acting_as(self, acting: Acting) -> Self {
        Self { acting, ..self }
    }
}
