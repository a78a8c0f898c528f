//! What the logins that a directory checks come to.

use std::time::Duration;

use super::{DIRECTORY_LOGINS, DIRECTORY_SECONDS};

/// What came of a login that was put to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryLogin {
    /// The password was right.
    Proven,
    /// It was not, or there is no such person.
    Refused,
    /// The directory could not be asked, and nothing was known about the login.
    Unavailable,
    /// The directory could not be asked, and what it had said before holds on.
    Offline,
}

impl DirectoryLogin {
    const ALL: [Self; 4] = [Self::Proven, Self::Refused, Self::Unavailable, Self::Offline];

    const fn label(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Offline => "offline",
        }
    }
}

/// A login was put to the directory, which took so long.
pub fn directory_login(outcome: DirectoryLogin, took: Duration) {
    metrics::counter!(DIRECTORY_LOGINS, "outcome" => outcome.label()).increment(1);
    metrics::histogram!(DIRECTORY_SECONDS).record(took.as_secs_f64());
}

/// Everything at zero.
pub(super) fn register() {
    for outcome in DirectoryLogin::ALL {
        metrics::counter!(DIRECTORY_LOGINS, "outcome" => outcome.label()).increment(0);
    }
    // Without a sample there is nothing to show, but its name is known.
    let _ = metrics::histogram!(DIRECTORY_SECONDS);
}
