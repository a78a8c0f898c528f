//! Edits a users file safely: one writer at a time, and a reader sees the old file or the new one, never a half.

use std::path::Path;

/// Why a users file could not be edited or listed.
#[derive(Debug, thiserror::Error)]
pub enum UsersFileError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The arguments or the file's content.
    #[error("{0}")]
    Content(String),
}

/// One user, as `users list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The name.
    pub name: String,
    /// What the hash is, such as `argon2id` or `bcrypt`.
    pub scheme: &'static str,
    /// The groups.
    pub groups: Vec<String>,
}

/// Whether a user was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// A new line.
    New,
    /// The line of the same name was replaced.
    Replaced,
}

/// Adds `name` with `hash` (a line of [`crate::authn::hash_password`]), or replaces the line of that name.
/// `groups` None keeps the groups that the user had.
pub fn add(path: &Path, name: &str, hash: &str, groups: Option<&[String]>) -> Result<Added, UsersFileError> {
    let _ = (path, name, hash, groups);
    Err(UsersFileError::Content("unfinished".into()))
}

/// Removes `name`; false if it was not there.
pub fn remove(path: &Path, name: &str) -> Result<bool, UsersFileError> {
    let _ = (path, name);
    Err(UsersFileError::Content("unfinished".into()))
}

/// Every user in the file's order.
pub fn list(path: &Path) -> Result<Vec<ListedUser>, UsersFileError> {
    let _ = path;
    Err(UsersFileError::Content("unfinished".into()))
}
