//! Who may do what: the proof that a principal may do an operation now.
//!
//! Sessions are not yet kept apart by owner: every mapped user is granted every operation of Livy's API, as the Livy
//! user it acts as.

use std::sync::Arc;

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
