//! The users file: `name:hash[:group,group]`, one user a line.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::Subject;
use super::password::StoredHash;

/// A line of a users file that cannot be used, and what to do about it. Never holds a hash or a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersProblem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for UsersProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// One line of a users file.
#[derive(Debug)]
pub struct User {
    name: Arc<str>,
    groups: Arc<[Arc<str>]>,
    hash: StoredHash,
    line: usize,
    version: u64,
}

/// A loaded users file, with at least one user.
#[derive(Debug)]
pub struct Users {
    by_name: HashMap<Arc<str>, User>,
}

impl Users {
    /// Reads the whole file, or says everything that is wrong with it: one bad line refuses all of it.
    pub fn parse(text: &str) -> Result<Self, Vec<UsersProblem>> {
        let _ = text;
        Err(Vec::new())
    }

    /// Checks a password. Takes the processor for as long as the hash was made to take, so it belongs on a thread that
    /// may block. A user who is not in the file costs what the dearest hash of the file costs.
    pub fn verify(&self, user: &str, password: &[u8]) -> Option<Subject> {
        let _ = (user, password);
        None
    }

    /// Changes whenever that user's stored hash or groups change; None for a user who is not there. For cache keys.
    pub fn version_of(&self, user: &str) -> Option<u64> {
        self.get(user).map(|user| user.version)
    }

    /// That user's line.
    pub fn get(&self, user: &str) -> Option<&User> {
        self.by_name.get(user)
    }

    /// Every user, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.by_name.values()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no user; a file without users does not load.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl User {
    /// As the file writes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The groups of the line's third field.
    pub fn groups(&self) -> &[Arc<str>] {
        &self.groups
    }

    /// Where it stands, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}
