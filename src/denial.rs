//! Why the gateway answered instead of Livy: one enum, and one table that says everything about each variant.
//!
//! What a client is told is safe to show and says what to do next. What only the operator may know (an upstream
//! address, a parser's text, a rule's line) is not in here: it goes to the log where the denial is made.
//! `docs/denials.md` explains each code; a test holds the two together.

mod audited;
mod table;

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use crate::livy::LimitClass;

/// A refusal. The fields are what its sentence needs, never an internal detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    // The request could not be read in exactly one way.
    /// The bytes of the request are not HTTP/1.1 as RFC 9112 writes it; the connection ends.
    BadFraming(&'static str),
    /// The head took too long to arrive.
    SlowHead,
    /// The headers are too many or too long.
    HeadTooLarge,
    /// The request target is too long.
    TargetTooLong,
    /// The target could be read in two ways.
    AmbiguousTarget(Cow<'static, str>),
    /// The method would be replaced behind the gateway's back.
    MethodOverride(&'static str),
    /// `Expect` with anything but `100-continue`.
    UnsupportedExpectation,

    // The request was read, and is none of Livy's operations.
    /// No such route; the hint names the nearest one.
    UnknownOperation(Cow<'static, str>),
    /// The route exists, the method does not.
    MethodNotAllowed {
        /// The methods that exist, as an `Allow` header has them.
        allow: &'static str,
    },
    /// A query parameter that the operation does not have.
    UnknownParameter {
        /// The parameter, shortened and escaped.
        name: String,
        /// What the operation has.
        known: &'static [&'static str],
    },
    /// A query parameter or identity given twice.
    RepeatedParameter(String),
    /// A value that Livy refuses too; the text is Livy's own.
    InvalidParameter(String),
    /// A browser sent a write on behalf of another site.
    CrossOrigin,

    // Who is it?
    /// No credentials.
    MissingCredentials,
    /// Several `Authorization` headers, or one that is none of the known shapes.
    MalformedCredentials(&'static str),
    /// Wrong user, password or token; the text never says which.
    InvalidCredentials,
    /// A good token whose time is over; said only after its signature was found good.
    ExpiredToken,
    /// What this login is checked by cannot be had.
    LoginUnavailable(LoginSource),
    /// Too many logins from one address, or too many wait for the hashing threads.
    TooManyLogins {
        /// When to try again.
        retry_after: Duration,
    },

    // As whom?
    /// Proved, but mapped to no Livy user.
    UnmappedIdentity {
        /// The subject with its source, such as `basic:root`.
        subject: String,
    },
    /// The client asked for another Livy user than its own.
    ImpersonationRefused {
        /// Whom it asked for, shortened and escaped.
        asked: String,
        /// Whom it may act as.
        mapped: String,
    },

    // What is asked?
    /// No such session. Livy's own words, and nothing else.
    NotFound {
        /// The session as the path names it.
        session: String,
    },
    /// Code for a session that runs as another user than its owner.
    RunsAsAnother {
        /// The session as the path names it.
        session: String,
    },
    /// A list of everybody's, and the caller has no role.
    RoleRequired,
    /// The body is larger than allowed.
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The body came too slowly or stopped.
    SlowBody,
    /// The body's type or coding is not one that the operation takes.
    UnsupportedBody(Cow<'static, str>),
    /// The body is not what the operation takes.
    InvalidBody(Cow<'static, str>),
    /// A top-level key that Livy does not have.
    UnknownField {
        /// The key, shortened and escaped.
        field: String,
        /// The nearest key that exists.
        nearest: Option<String>,
        /// Whether it is a creation's body, to which the operator may admit more keys.
        in_creation: bool,
    },
    /// A setting that the client may not choose.
    ConfRefused {
        /// The key as the client spelled it, shortened and escaped.
        key: String,
        /// Its value as it may be shown: [`shown_value`].
        value: String,
        /// Why not.
        rule: Cow<'static, str>,
    },
    /// A setting beyond what the operator allows, or one that cannot be compared with it.
    ConfTooLarge {
        /// The key as the client spelled it, shortened and escaped.
        key: String,
        /// Its value as it may be shown.
        value: String,
        /// The most that is allowed, as the operator wrote it.
        max: String,
        /// Whether the value is a number or size at all.
        is_readable: bool,
    },
    /// A file from where none are taken.
    FileRefused {
        /// The field or key, shortened and escaped.
        field: String,
        /// The file, shortened and escaped, without a password.
        file: String,
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },
    /// A setting is made of the user's primary group, and none is known.
    NoPrimaryGroup {
        /// The setting.
        key: String,
        /// For whom it would be made.
        user: String,
    },

    // How often does the user ask, and how much at once?
    /// More requests than the user's limit, or one that it shares, lets through.
    RateLimited {
        /// Whose limit it is, as people read it.
        who: String,
        /// Whether it is the caller's own and nobody else's.
        is_own: bool,
        /// What is counted.
        class: LimitClass,
        /// The limit in the long run, such as `10/min`.
        rate: String,
        /// How many at once.
        burst: u32,
        /// In what time that many are free again.
        window: Duration,
        /// When the next one may come.
        wait: Duration,
    },
    /// More requests under way than the user, or those it shares with, may have at once.
    TooManyAtOnce {
        /// Whose limit it is, as people read it.
        who: String,
        /// Whether it is the caller's own and nobody else's.
        is_own: bool,
        /// How many there may be.
        most: u32,
        /// Whether the request only reads.
        read: bool,
    },

    // How much does the user hold?
    /// One more would be more than somebody may hold.
    QuotaExceeded {
        /// Short, such as `alice holds 3 of 3 sessions`.
        reason: String,
        /// The same as a sentence, with the caller's own sessions by number.
        holds: String,
    },
    /// What is asked for is more than may ever be held.
    ResourceLimit {
        /// What is asked for and what may be held, as a sentence.
        asks: String,
    },
    /// A quota depends on groups, and nobody here knows the user's.
    GroupsUnknown {
        /// The Livy user.
        user: String,
    },
    /// The user has a session of that name already. Livy's own words.
    NameTaken {
        /// The name.
        name: String,
        /// The number of the session that has it, if it has one by now.
        id: Option<u32>,
    },
    /// An `Idempotency-Key` that cannot be one.
    InvalidIdempotencyKey,
    /// The same `Idempotency-Key` with another body.
    IdempotencyKeyReused,
    /// The creation with the same `Idempotency-Key` has not ended.
    CreationUnderWay,
    /// The ledger cannot be written, or Livy's list was not read yet.
    Unavailable(&'static str),

    // The gateway cannot now.
    /// More requests, or more waiting bodies, than the gateway holds.
    Overloaded {
        /// Whether the request only reads.
        read: bool,
    },
    /// A defect of the gateway.
    Internal,

    // Livy.
    /// Livy could not be reached, so it surely did not get the request.
    UpstreamUnreachable,
    /// Livy did not answer a read in time.
    UpstreamTimeout,
    /// Livy's answer to a read broke off.
    UpstreamLost,
    /// Livy may have done what was asked; its answer was lost.
    OutcomeUnknown {
        /// What to look at before trying again.
        look: &'static str,
    },
    /// Livy refused the gateway's own login.
    UpstreamLoginFailed {
        /// Whether the request only reads.
        read: bool,
    },
    /// Livy does not let the gateway act for others.
    UpstreamNotSuperuser {
        /// Whether the request only reads.
        read: bool,
    },
    /// Livy answered with a page instead of JSON.
    UpstreamError {
        /// Livy's status.
        status: StatusCode,
    },
    /// Livy's answer is not one that Livy gives; nothing of it is passed on.
    UpstreamUnexpected {
        /// Whether the request only reads.
        read: bool,
    },
    /// Livy ignores for whom it should act.
    ImpersonationOff {
        /// What became of the session that ran as the wrong user.
        leftover: Leftover,
    },
}

/// What a login is checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginSource {
    /// The directory (LDAP).
    Directory,
    /// The signing keys of the token's issuer.
    SigningKeys,
}

/// What became of a session that Livy created as the wrong user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// None was created: the gateway had noticed before.
    None,
    /// It was deleted again.
    Deleted,
    /// It could not be deleted; an administrator must.
    Remains,
}

/// Whose move it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    /// The caller changes the request.
    Caller,
    /// The caller waits and repeats the request.
    CallerLater,
    /// The gateway's operator changes a setting.
    Operator,
    /// Livy's operator.
    Livy,
}

/// What the response carries beside the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    None,
    /// The two `WWW-Authenticate` lines.
    Challenge,
    /// `Retry-After`: at least this, in whole seconds.
    RetryAfter(Duration),
    /// `Retry-After`, `RateLimit` and `RateLimit-Policy`.
    RateLimit(RateLimit),
    /// `Allow`.
    Allow(&'static str),
}

/// A limit as the headers of `draft-ietf-httpapi-ratelimit-headers-10` tell it: of the caller's own, to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Its name.
    pub policy: &'static str,
    /// `q`: how many at once.
    pub quota: u32,
    /// `w`: in what time that many are free again.
    pub window: Duration,
    /// `r`: how many may come now.
    pub remaining: u32,
    /// `t`: when one more may come.
    pub next: Duration,
}

/// One row of the table: all that a caller, an operator and a dashboard need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What HTTP says.
    pub status: StatusCode,
    /// Stable, in `docs/denials.md`, also the metric label.
    pub code: &'static str,
    /// Whose move it is.
    pub whose: Whose,
    /// For the reason phrase: short ASCII, nothing that a client wrote.
    pub reason: Cow<'static, str>,
    /// One or two sentences for a person: what, which rule, what to do.
    pub message: Cow<'static, str>,
    /// Headers that belong to it.
    pub hint: Hint,
}

impl Denial {
    /// One of each, for the tests that hold the table, the documentation and the metrics together.
    pub fn samples() -> Vec<Self> {
        vec![
            Self::BadFraming("a bare line feed ends a line"),
            Self::SlowHead,
            Self::HeadTooLarge,
            Self::TargetTooLong,
            Self::AmbiguousTarget("it has a ';'".into()),
            Self::MethodOverride("The header X-HTTP-Method-Override"),
            Self::UnsupportedExpectation,
            Self::UnknownOperation("Did you mean /log?".into()),
            Self::MethodNotAllowed { allow: "GET, HEAD" },
            Self::UnknownParameter {
                name: "x".into(),
                known: &["from", "size"],
            },
            Self::RepeatedParameter("from".into()),
            Self::InvalidParameter("For input string: \"x\"".into()),
            Self::CrossOrigin,
            Self::MissingCredentials,
            Self::MalformedCredentials("there are two"),
            Self::InvalidCredentials,
            Self::ExpiredToken,
            Self::LoginUnavailable(LoginSource::Directory),
            Self::TooManyLogins {
                retry_after: Duration::from_secs(2),
            },
            Self::UnmappedIdentity {
                subject: "basic:root".into(),
            },
            Self::ImpersonationRefused {
                asked: "bob".into(),
                mapped: "alice".into(),
            },
            Self::NotFound { session: "7".into() },
            Self::RunsAsAnother { session: "7".into() },
            Self::RoleRequired,
            Self::BodyTooLarge { limit: 1_048_576 },
            Self::SlowBody,
            Self::UnsupportedBody("Send the body as application/json.".into()),
            Self::InvalidBody("The body must be one JSON object.".into()),
            Self::UnknownField {
                field: "proxyuser".into(),
                nearest: Some("proxyUser".into()),
                in_creation: true,
            },
            Self::ConfRefused {
                key: "livy.rsc.proxy_user".into(),
                value: "bob".into(),
                rule: "it would change for whom the session runs".into(),
            },
            Self::ConfTooLarge {
                key: "executorMemory".into(),
                value: "64g".into(),
                max: "16g".into(),
                is_readable: true,
            },
            Self::FileRefused {
                field: "jars".into(),
                file: "file:///x.jar".into(),
                problem: "it is no absolute path".into(),
            },
            Self::NoPrimaryGroup {
                key: "spark.yarn.queue".into(),
                user: "alice".into(),
            },
            Self::RateLimited {
                who: "alice".into(),
                is_own: true,
                class: LimitClass::Create,
                rate: "10/min".into(),
                burst: 10,
                window: Duration::from_mins(1),
                wait: Duration::from_secs(6),
            },
            Self::TooManyAtOnce {
                who: "alice".into(),
                is_own: true,
                most: 64,
                read: true,
            },
            Self::QuotaExceeded {
                reason: "alice holds 3 of 3 sessions".into(),
                holds: "alice holds 3 of 3 sessions (4, 7, 9).".into(),
            },
            Self::ResourceLimit {
                asks: "This asks for 102 cores; alice may hold 64.".into(),
            },
            Self::GroupsUnknown { user: "alice".into() },
            Self::NameTaken {
                name: "etl".into(),
                id: Some(5),
            },
            Self::InvalidIdempotencyKey,
            Self::IdempotencyKeyReused,
            Self::CreationUnderWay,
            Self::Unavailable("the disk is full"),
            Self::Overloaded { read: true },
            Self::Internal,
            Self::UpstreamUnreachable,
            Self::UpstreamTimeout,
            Self::UpstreamLost,
            Self::OutcomeUnknown {
                look: "List your sessions",
            },
            Self::UpstreamLoginFailed { read: true },
            Self::UpstreamNotSuperuser { read: true },
            Self::UpstreamError {
                status: StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::UpstreamUnexpected { read: true },
            Self::ImpersonationOff {
                leftover: Leftover::Deleted,
            },
        ]
    }
}

/// `Retry-After` and sentences speak of whole seconds, at least one.
pub fn whole_seconds(duration: Duration) -> u64 {
    let up = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(up).max(1)
}

/// Text of a client's as it may stand in a sentence: printable ASCII, at most 64 characters, quotes escaped.
pub fn quotable(text: &str) -> String {
    let mut quoted: String = text.chars().take(64).flat_map(char::escape_default).collect();
    if text.chars().nth(64).is_some() {
        quoted.push('…');
    }
    quoted
}

/// A setting's value as it may stand in a sentence: [`quotable`], and nothing of it where it may be a secret.
pub fn shown_value(key: &str, value: &str) -> String {
    let is_secret = [key, value].iter().any(|text| {
        let text = text.to_ascii_lowercase();
        SECRET_WORDS.iter().any(|word| text.contains(word))
    });
    let names_password = value
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@') && rest.contains(':'));
    if is_secret || names_password {
        return "(hidden)".to_owned();
    }
    quotable(value)
}

const SECRET_WORDS: [&str; 10] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "credential",
    "key",
    "sas",
    "authorization",
    "signature",
];

#[cfg(test)]
mod tests;
