//! What the gateway is asked about itself, below the same base paths as Livy's API: `/gateway/me` and
//! `/gateway/sessions`. It answers alone; an inquiry is no [`Operation`](super::Operation), so it cannot go to Livy.

use std::str::Split;

use super::operation::Method;
use super::query::Page;

/// One question, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// About what.
    pub topic: Topic,
    /// `GET`, or `HEAD` for the same answer without its body.
    pub method: Method,
    /// Which part of a list; empty where there is none.
    pub page: Page,
    /// Whom the query asks to act as, as for operations.
    pub requested_user: Option<String>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `GET /gateway/me`: who asks, what they hold, and how much they may hold.
    Me,
    /// `GET /gateway/sessions`: everybody's sessions and batches, for those who look after them.
    AllSessions,
}

impl Topic {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Me, Self::AllSessions];

    /// The first segment of their paths, which none of Livy's has.
    pub(super) const START: &'static str = "gateway";

    /// The methods, as an `Allow` header has them.
    pub(super) const ALLOW: &'static str = "GET, HEAD, OPTIONS";

    /// The last segment of its path.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Me => "me",
            Self::AllSessions => "sessions",
        }
    }

    /// The label in metrics and log lines, beside those of operations.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Me => "gateway_me",
            Self::AllSessions => "gateway_sessions",
        }
    }

    /// The query parameters that it has, beside `doAs`.
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Me => &[],
            Self::AllSessions => &["from", "size"],
        }
    }

    /// Reads what follows [`START`](Self::START).
    pub(super) fn parse(mut segments: Split<'_, char>) -> Option<Self> {
        let word = segments.next()?;
        let topic = Self::ALL.into_iter().find(|topic| topic.word() == word)?;
        segments.next().is_none().then_some(topic)
    }
}
