//! From a method and a plain target to one of Livy's operations or a question about the gateway itself, or to a refusal
//! that says what to write.
//!
//! This is the one place that knows Livy's paths when they come in (`Operation`'s `Display` writes them when they
//! go out). The path decides first, then the method, then the query.

use std::str::Split;

use super::inquiry::{Inquiry, Topic};
use super::operation::{Action, Method, Operation, Resource};
use super::query::{self, Page};
use super::session_ref::{Kind, RefError, SessionRef, parse_number};
use super::target::Target;
use crate::denial::{Denial, quotable};

/// One request, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What Livy is asked to do.
    pub operation: Operation,
    /// How: the operation's own method, or `HEAD` where that is `GET`.
    pub method: Method,
    /// Which part of a list; empty for operations that have none.
    pub page: Page,
    /// Whom the query asks to act as (`doAs` or `proxyUser` in any spelling), decoded; may be empty text.
    pub requested_user: Option<String>,
}

/// What a request turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// Something for Livy.
    Call(Call),
    /// A question about the gateway, which it answers itself.
    Inquiry(Inquiry),
    /// A question about a path, which the gateway answers itself.
    Options {
        /// The methods of that path, as an `Allow` header has them.
        allow: &'static str,
    },
}

/// Finds what a request asks for.
///
/// Methods are taken in upper case alone: Livy takes `delete` for `DELETE`, which checks of exact names overlook.
pub fn route(method: &http::Method, target: &Target<'_>) -> Result<Routed, Denial> {
    if target.path() == Target::ASTERISK {
        return Ok(Routed::Options {
            allow: "GET, HEAD, POST, DELETE, OPTIONS",
        });
    }
    let place = Place::parse(target)?;
    let allow = place.allow();
    if *method == http::Method::OPTIONS {
        return Ok(Routed::Options { allow });
    }
    let method = known_method(method).ok_or(Denial::MethodNotAllowed { allow })?;
    let found = match place {
        Place::Own(topic) if method.is_safe() => Found::Topic(topic),
        Place::Own(_) => return Err(Denial::MethodNotAllowed { allow }),
        Place::Livy(place) => {
            let operation = place.operation(method);
            Found::Operation(operation.ok_or(Denial::MethodNotAllowed { allow })?)
        }
    };
    let (page, requested_user) = match target.query() {
        Some(query) => query::read(query, found.parameters())?,
        None => (Page::default(), None),
    };
    Ok(match found {
        Found::Operation(operation) => Routed::Call(Call {
            operation,
            method,
            page,
            requested_user,
        }),
        Found::Topic(topic) => Routed::Inquiry(Inquiry {
            topic,
            method,
            page,
            requested_user,
        }),
    })
}

/// What a path and a method mean together.
enum Found {
    Operation(Operation),
    Topic(Topic),
}

impl Found {
    const fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Operation(operation) => operation.parameters(),
            Self::Topic(topic) => topic.parameters(),
        }
    }
}

fn known_method(method: &http::Method) -> Option<Method> {
    [Method::Get, Method::Head, Method::Post, Method::Delete]
        .into_iter()
        .find(|known| known.as_str() == method.as_str())
}

/// What a path means before the method is known.
enum Place {
    Livy(AtLivy),
    Own(Topic),
}

/// One of Livy's paths.
enum AtLivy {
    Version,
    Collection(Kind),
    On(SessionRef, Actions),
}

/// What can be done at one path of a session or batch, by method.
enum Actions {
    Get(Action),
    GetOrPost(Action, Action),
    GetOrDelete(Action, Action),
    Post(Action),
}

impl Place {
    fn parse(target: &Target<'_>) -> Result<Self, Denial> {
        let mut segments = target.path().split('/');
        // The path begins with a slash: nothing is before it.
        segments.next();
        let first = segments.next().unwrap_or_default();
        if first == Topic::START {
            let topic = Topic::parse(segments);
            return topic.map(Self::Own).ok_or_else(|| unknown_topic(target));
        }
        AtLivy::parse(target, first, segments).map(Self::Livy)
    }

    const fn allow(&self) -> &'static str {
        match self {
            Self::Livy(place) => place.allow(),
            Self::Own(_) => Topic::ALLOW,
        }
    }
}

impl AtLivy {
    fn parse(target: &Target<'_>, first: &str, mut segments: Split<'_, char>) -> Result<Self, Denial> {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.collection() == first) else {
            return match (first, segments.next()) {
                ("version", None) => Ok(Self::Version),
                _ => Err(unknown_start(target, first)),
            };
        };
        let Some(key) = segments.next() else {
            return Ok(Self::Collection(kind));
        };
        let actions = Actions::parse(kind, segments)?;
        let session = SessionRef::parse(kind, key).map_err(|error| no_session(error, key))?;
        Ok(Self::On(session, actions))
    }

    const fn allow(&self) -> &'static str {
        match self {
            Self::Version | Self::On(_, Actions::Get(_)) => "GET, HEAD, OPTIONS",
            Self::Collection(_) | Self::On(_, Actions::GetOrPost(..)) => "GET, HEAD, POST, OPTIONS",
            Self::On(_, Actions::GetOrDelete(..)) => "GET, HEAD, DELETE, OPTIONS",
            Self::On(_, Actions::Post(_)) => "POST, OPTIONS",
        }
    }

    fn operation(self, method: Method) -> Option<Operation> {
        match (self, method) {
            (Self::Version, Method::Get | Method::Head) => Some(Operation::Version),
            (Self::Collection(kind), Method::Get | Method::Head) => Some(Operation::List(kind)),
            (Self::Collection(kind), Method::Post) => Some(Operation::Create(kind)),
            (Self::Version, Method::Post | Method::Delete) | (Self::Collection(_), Method::Delete) => None,
            (Self::On(session, actions), method) => {
                actions.by(method).map(|action| Operation::On(session, action))
            }
        }
    }
}

impl Actions {
    /// Reads what follows a session's number or name.
    fn parse(kind: Kind, mut segments: Split<'_, char>) -> Result<Self, Denial> {
        let word = segments.next();
        let (second, third, fourth) = (segments.next(), segments.next(), segments.next());
        let found = match (word, second, third, fourth) {
            (None, ..) => Some(Self::GetOrDelete(Action::Read, Action::Delete)),
            (Some("state"), None, ..) => Some(Self::Get(Action::State)),
            (Some("log"), None, ..) => Some(Self::Get(Action::Log)),
            (Some(word), None, ..) if kind == Kind::Session => Self::of_session(word),
            (Some(word), Some(number), third, None) if kind == Kind::Session => {
                Self::of_numbered(word, number, third)?
            }
            _ => None,
        };
        found.ok_or_else(|| unknown_below(kind, word.unwrap_or_default(), second, third))
    }

    fn of_session(word: &str) -> Option<Self> {
        match word {
            "stop" => Some(Self::Post(Action::Stop)),
            "interrupt" => Some(Self::Post(Action::Interrupt)),
            "connect" => Some(Self::Post(Action::Connect)),
            "statements" => Some(Self::GetOrPost(Action::ListStatements, Action::RunStatement)),
            "completion" => Some(Self::Post(Action::Complete)),
            "submit-job" => Some(Self::Post(Action::SubmitJob)),
            "run-job" => Some(Self::Post(Action::RunJob)),
            _ => {
                let (verb, resource) = word.split_once('-')?;
                let resource = Resource::ALL.into_iter().find(|known| known.word() == resource)?;
                match verb {
                    "upload" => Some(Self::Post(Action::Upload(resource))),
                    "add" => Some(Self::Post(Action::Add(resource))),
                    _ => None,
                }
            }
        }
    }

    fn of_numbered(word: &str, digits: &str, third: Option<&str>) -> Result<Option<Self>, Denial> {
        Ok(match (word, third) {
            ("statements", None) => Some(Self::Get(Action::ReadStatement(number(digits)?))),
            ("statements", Some("cancel")) => Some(Self::Post(Action::CancelStatement(number(digits)?))),
            ("jobs", None) => Some(Self::Get(Action::ReadJob(number(digits)?))),
            ("jobs", Some("cancel")) => Some(Self::Post(Action::CancelJob(number(digits)?))),
            _ => None,
        })
    }

    const fn by(&self, method: Method) -> Option<Action> {
        match (self, method) {
            (
                Self::Get(action) | Self::GetOrPost(action, _) | Self::GetOrDelete(action, _),
                Method::Get | Method::Head,
            )
            | (Self::GetOrPost(_, action) | Self::Post(action), Method::Post)
            | (Self::GetOrDelete(_, action), Method::Delete) => Some(*action),
            (Self::Get(_) | Self::GetOrDelete(..), Method::Post)
            | (Self::Get(_) | Self::GetOrPost(..) | Self::Post(_), Method::Delete)
            | (Self::Post(_), Method::Get | Method::Head) => None,
        }
    }
}

/// A statement's or job's number. What Livy cannot read as one is answered in Livy's words (400), though Livy
/// also takes leading zeros, and a minus, with which there is no statement.
fn number(digits: &str) -> Result<u32, Denial> {
    parse_number(digits).map_err(|error| match error {
        RefError::NotCanonical => leading_zeros(digits),
        RefError::OutOfRange | RefError::NotAName => query::not_a_number(digits),
    })
}

/// A number that no session can have is a session that is not there. What is no number and no safe name might be
/// either to another reader (`-1`, `5.0`, `0x5`).
fn no_session(error: RefError, key: &str) -> Denial {
    match error {
        RefError::OutOfRange => Denial::NotFound {
            session: quotable(key),
        },
        RefError::NotCanonical => leading_zeros(key),
        RefError::NotAName => Denial::AmbiguousTarget(
            format!(
                "'{}' is neither a number nor a plain name, which is a letter and then at most 127 letters, \
                 digits, '.', '_' or '-'. A session with another name is reached by its number",
                quotable(key)
            )
            .into(),
        ),
    }
}

fn leading_zeros(digits: &str) -> Denial {
    let canonical = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    Denial::AmbiguousTarget(
        format!(
            "'{}' is a number with leading zeros; write {}",
            quotable(digits),
            quotable(canonical)
        )
        .into(),
    )
}

/// The words at the start of Livy's paths.
const STARTS: [&str; 3] = ["sessions", "batches", "version"];

/// The words that may follow a batch; a session has these too.
const BATCH_WORDS: [&str; 2] = ["state", "log"];

/// The words that may follow a session.
const SESSION_WORDS: [&str; 16] = [
    "state",
    "log",
    "stop",
    "interrupt",
    "connect",
    "statements",
    "completion",
    "submit-job",
    "run-job",
    "jobs",
    "upload-jar",
    "upload-pyfile",
    "upload-file",
    "add-jar",
    "add-pyfile",
    "add-file",
];

fn unknown_start(target: &Target<'_>, first: &str) -> Denial {
    let base = target.base();
    let repeated = !base.is_empty() && base.split('/').nth(1) == Some(first);
    let hint = match (first, nearest(first, &STARTS)) {
        ("ui" | "static" | "", _) => {
            format!(
                "Livy's web pages are not served through this gateway; the API begins at {base}/sessions."
            )
        }
        ("metrics" | "thriftserver", _) => {
            "Livy's own metrics and Thrift pages are not served through this gateway.".into()
        }
        _ if repeated => format!("The base path {base} seems to be there twice; write {base}/sessions."),
        (_, Some(word)) => format!("Did you mean {base}/{word}?"),
        (_, None) => format!("Its paths begin with {base}/sessions, {base}/batches or {base}/version."),
    };
    Denial::UnknownOperation(hint.into())
}

fn unknown_topic(target: &Target<'_>) -> Denial {
    let base = target.base();
    let [me, sessions] = Topic::ALL.map(|topic| format!("{base}/{}/{}", Topic::START, topic.word()));
    Denial::UnknownOperation(format!("Of its own, this gateway has {me} and {sessions}.").into())
}

fn unknown_below(kind: Kind, word: &str, second: Option<&str>, third: Option<&str>) -> Denial {
    let words: &[&'static str] = match kind {
        Kind::Session => &SESSION_WORDS,
        Kind::Batch => &BATCH_WORDS,
    };
    let exact = SESSION_WORDS.into_iter().find(|known| *known == word);
    let hint = match (exact, nearest(word, words)) {
        (Some("jobs"), _) if kind == Kind::Session && second.is_none() => {
            "Livy does not list jobs; one is read at /jobs/{number}.".into()
        }
        (Some(word @ ("statements" | "jobs")), _) if kind == Kind::Session && third.is_some() => {
            format!("After /{word} and a number comes /cancel, or nothing.")
        }
        (Some(word), _) if !words.contains(&word) => {
            format!("A batch has no /{word}, only /state and /log; interactive sessions have.")
        }
        (Some(word), _) => format!("Nothing follows /{word}."),
        (None, Some(word)) => format!("Did you mean /{word}?"),
        (None, None) => format!(
            "After a {}'s number comes one of: {}.",
            kind.noun(),
            words.join(", ")
        ),
    };
    Denial::UnknownOperation(hint.into())
}

/// The route word that was probably meant.
fn nearest(written: &str, words: &[&'static str]) -> Option<&'static str> {
    if written.len() > LONGEST_MISSPELLING {
        return None;
    }
    let written = written.to_ascii_lowercase();
    words
        .iter()
        .map(|word| (strsim::jaro_winkler(&written, word), *word))
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}

/// Jaro-Winkler: `logs`, `status` and `upload_jar` are meant for something, `kill` and `inspect` are not.
const LIKE_ENOUGH: f64 = 0.85;

/// In bytes; twice the longest route word.
const LONGEST_MISSPELLING: usize = 26;

#[cfg(test)]
mod tests;
