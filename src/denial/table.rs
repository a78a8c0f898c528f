//! The table: what each denial is to a caller, an operator and a dashboard.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::{Answer, Denial, Hint, Leftover, LoginSource, RateLimit, Whose, whole_seconds};

impl Denial {
    /// Its row of the table.
    pub fn answer(&self) -> Answer {
        match self {
            Self::BadFraming(what) => row(400, "bad_framing", Whose::Caller, "malformed HTTP", format!(
                "The request is not well-formed HTTP/1.1: {what}. Send it with an ordinary HTTP client."
            )),
            Self::SlowHead => row(408, "slow_request", Whose::CallerLater, "request head too slow",
                "The request's headers did not arrive in time. Send them at once."),
            Self::HeadTooLarge => row(431, "head_too_large", Whose::Caller, "headers too large",
                "The request's headers are too many or too large: at most 100 headers and 64 KiB together, 16 KiB in one. Drop cookies and other headers that Livy does not need."),
            Self::TargetTooLong => row(414, "target_too_long", Whose::Caller, "URL too long",
                "The URL is longer than 8 KiB. No URL of Livy's is; check how it was built."),
            Self::AmbiguousTarget(what) => row(400, "ambiguous_target", Whose::Caller, "ambiguous URL", format!(
                "The URL can be read in more than one way: {what}. Write it plainly, such as /sessions/7/state."
            )),
            Self::MethodOverride(what) => row(400, "method_override", Whose::Caller, "method override", format!(
                "{what} would replace the method of the request. Send the method that you mean."
            )),
            Self::UnsupportedExpectation => row(417, "unsupported_expectation", Whose::Caller, "unsupported Expect",
                "The only Expect header that is understood is 100-continue. Leave it out."),

            Self::UnknownOperation(hint) => row(404, "unknown_operation", Whose::Caller, "no such operation of Livy",
                format!("Livy's REST API has no such path. {hint}")),
            Self::MethodNotAllowed { allow } => Answer {
                hint: Hint::Allow(allow),
                ..row(405, "method_not_allowed", Whose::Caller, "method not allowed here",
                    format!("This path takes {allow}. Use that method."))
            },
            Self::UnknownParameter { name, known } => row(400, "unknown_parameter", Whose::Caller, "unknown query parameter",
                if known.is_empty() {
                    format!("This request takes no query parameter, but got '{name}'. Leave it out.")
                } else {
                    format!("The query parameter '{name}' is unknown here. Known: {}.", known.join(", "))
                }),
            Self::RepeatedParameter(name) => row(400, "repeated_parameter", Whose::Caller, "repeated query parameter",
                format!("The query parameter '{name}' is given more than once. Give it once.")),
            Self::InvalidParameter(livy) => row(400, "invalid_parameter", Whose::Caller, "invalid query parameter", livy.clone()),
            Self::CrossOrigin => row(403, "cross_origin", Whose::Caller, "request from another site",
                "A web page of another site sent this request with your login. Requests that change something are taken from programs, and from pages of this host only."),

            Self::MissingCredentials => challenge("missing_credentials", "credentials missing",
                "No credentials. Log in with user name and password (Basic), send 'Authorization: Bearer' with a token, or show a client certificate where this gateway asks for one.".into()),
            Self::MalformedCredentials(what) => Answer {
                hint: Hint::Challenge,
                ..row(401, "malformed_credentials", Whose::Caller, "credentials malformed",
                    format!("The Authorization header cannot be read: {what}. Send exactly one, Basic or Bearer."))
            },
            Self::InvalidCredentials => challenge("invalid_credentials", "credentials not accepted",
                "These credentials are not accepted: the user, the password, the token or the client certificate is wrong. Check them, or ask the administrator of this gateway.".into()),
            Self::ExpiredToken => challenge("expired_token", "token expired",
                "The token has expired. Get a new one and try again; a notebook may need a restart of its kernel.".into()),
            Self::LoginUnavailable(source) => later(503, "login_unavailable", "login cannot be checked now", format!(
                "Your login cannot be checked now: {}. Nothing was sent to Livy, and your password or token may be right. Try again shortly, or tell the administrator of this gateway.",
                match source {
                    LoginSource::Directory => "the directory (LDAP) does not answer",
                    LoginSource::SigningKeys => "the keys of the token's issuer cannot be fetched",
                }), RETRY_LOGIN),
            Self::TooManyLogins { retry_after } => Answer {
                hint: Hint::RetryAfter(*retry_after),
                ..row(429, "too_many_logins", Whose::CallerLater, "too many logins at once", format!(
                    "Too many logins are being checked now. Try again in {} s; if you did not expect this, ask who else uses this address.",
                    whole_seconds(*retry_after)
                ))
            },

            Self::UnmappedIdentity { subject } => row(403, "unmapped_identity", Whose::Operator, "no Livy user for this login", format!(
                "You are logged in as {subject}, but no rule of this gateway makes that a Livy user. Ask the administrator for an identity.map rule; reserved names such as root and hdfs are never mapped by themselves."
            )),
            Self::ImpersonationRefused { asked, mapped } => row(403, "impersonation_refused", Whose::Caller, "acting as another user refused", format!(
                "You act as '{mapped}' and asked for '{asked}'. Leave doAs and proxyUser out, or ask the administrator for an identity.delegate rule."
            )),

            Self::NotFound { session } => row(404, "not_found", Whose::Caller, "no such session",
                format!("Session '{session}' not found.")),
            Self::RunsAsAnother { session } => row(409, "runs_as_another", Whose::Caller, "session runs as another user", format!(
                "Session '{session}' is yours and runs as another user: it was created before Livy had to act for each user. It runs no more code. Its output can still be read. Delete it, and create a new one."
            )),
            Self::RoleRequired => row(403, "role_required", Whose::Operator, "for those with a role",
                "This list shows everybody's sessions, and is for the administrators, operators and viewers of this gateway. Your own are at gateway/me below the same path, and in the lists of sessions and batches. If you look after those of others, ask the administrator for a role."),
            Self::BodyTooLarge { limit } => row(413, "body_too_large", Whose::Caller, "body too large", format!(
                "The body is larger than {limit} bytes, which is the most this gateway takes here. Send less, or put the data into the cluster's storage."
            )),
            Self::SlowBody => row(408, "slow_body", Whose::CallerLater, "request body too slow",
                "The request's body did not arrive in time. Nothing was sent to Livy; try again."),
            Self::UnsupportedBody(what) => row(415, "unsupported_body", Whose::Caller, "unsupported body", what.clone()),
            Self::InvalidBody(what) => row(400, "invalid_body", Whose::Caller, "invalid body", what.clone()),
            Self::UnknownField { field, nearest, in_creation } => row(400, "unknown_field", Whose::Caller, "unknown field in the body", {
                let instead = nearest.as_ref().map_or_else(|| "Leave it out.".to_owned(), |nearest| format!("Did you mean '{nearest}'?"));
                let admitted = if *in_creation { " If your Livy does know it, ask the administrator for requests.extra_fields." } else { "" };
                format!("The body has a field '{field}' that Livy does not know. {instead}{admitted}")
            }),
            Self::ConfRefused { key, value, rule } => row(400, "conf_refused", Whose::Caller, "conf key refused", format!(
                "The setting '{key}' with the value '{value}' is refused: {rule}. Leave it out."
            )),
            Self::ConfTooLarge { key, value, max, is_readable } => {
                let what = if *is_readable { "is more than is allowed here" } else { "cannot be compared with what is allowed here" };
                row(400, "conf_too_large", Whose::Caller, "setting above its maximum", format!(
                    "The setting '{key}' with the value '{value}' {what}: the most is {max} (requests.conf.max). Ask for that or less."
                ))
            }
            Self::FileRefused { field, file, problem } => row(400, "file_refused", Whose::Caller, "file refused", format!(
                "The file '{file}' in '{field}' is refused: {problem}. Put the file into the cluster's storage and name it there."
            )),
            Self::NoPrimaryGroup { key, user } => row(403, "no_primary_group", Whose::Operator, "no primary group", format!(
                "This gateway makes '{key}' of the user's primary group, and has none for '{user}' here: the login brought no group, or a service acts for '{user}', of whom no first group is known. Ask the administrator for a group, or for another rule in requests.conf."
            )),

            Self::RateLimited { who, is_own, class, rate, burst, window, wait } => Answer {
                reason: Cow::Owned(format!("{}: more than {rate} {}", in_short(who, *is_own), class.nouns())),
                hint: if *is_own {
                    Hint::RateLimit(RateLimit { policy: class.word(), quota: *burst, window: *window, remaining: 0, next: *wait })
                } else {
                    Hint::RetryAfter(*wait)
                },
                ..row(429, "rate_limited", Whose::CallerLater, "rate limited", format!(
                    "The limit for {who} is {rate} {}, {burst} at once (limits.{}). Wait {} s and try again; ask for less at a time, or ask the administrator for a higher limit.",
                    class.nouns(), class.word(), whole_seconds(*wait)
                ))
            },
            Self::TooManyAtOnce { who, is_own, most, read } => Answer {
                reason: Cow::Owned(format!("{}: more than {most} requests at once", in_short(who, *is_own))),
                ..later(if *read { 503 } else { 429 }, "too_many_at_once", "too many requests at once", format!(
                    "The limit for {who} is {most} requests under way at once (limits.concurrent_requests). Nothing was sent to Livy. Wait for answers before you ask for more."
                ), RETRY_SOON)
            },
            Self::QuotaExceeded { reason, holds } => Answer {
                reason: Cow::Owned(reason.clone()),
                hint: Hint::RetryAfter(RETRY_QUOTA),
                ..row(429, "quota_exceeded", Whose::Caller, "quota exceeded", format!(
                    "{holds} Delete what is not needed, or wait until it ends, and try again."
                ))
            },
            Self::ResourceLimit { asks } => row(400, "resource_limit", Whose::Caller, "asks for more than may be held", format!(
                "{asks} Ask for less: fewer executors, cores or memory."
            )),
            Self::GroupsUnknown { user } => row(403, "groups_unknown", Whose::Operator, "groups unknown", format!(
                "A quota depends on the groups of '{user}', and this gateway does not know them. Ask the administrator to write {user}'s groups into the groups file (identity.groups_file)."
            )),
            Self::NameTaken { name, id } => row(400, "name_taken", Whose::Caller, "session name taken", match id {
                Some(id) => format!("Rejected, Reason: requirement failed: Duplicate session name: Some({name}) for session {id}"),
                None => format!("Rejected, Reason: requirement failed: Duplicate session name: Some({name})"),
            }),
            Self::InvalidIdempotencyKey => row(400, "invalid_idempotency_key", Whose::Caller, "invalid Idempotency-Key",
                "The header Idempotency-Key must be there once, with 1 to 255 visible ASCII characters. A UUID is a good one."),
            Self::IdempotencyKeyReused => row(422, "idempotency_key_reused", Whose::Caller, "Idempotency-Key reused",
                "This Idempotency-Key was sent before with another body. Make a new key for each new session."),
            Self::CreationUnderWay => Answer {
                hint: Hint::RetryAfter(RETRY_LIVY),
                ..row(409, "creation_under_way", Whose::CallerLater, "creation under way",
                    "The creation with this Idempotency-Key has not ended yet. Ask again with the same key.")
            },
            Self::Unavailable(why) => later(503, "unavailable", "ownership cannot be recorded", format!(
                "This cannot be done now, and nothing was sent to Livy: {why}. Reading goes on. Try again shortly; if it lasts, tell the administrator."
            ), RETRY_LIVY),

            // Clients post again whatever is 5xx, which is no help to a gateway that has too much already.
            Self::Overloaded { read } => later(if *read { 503 } else { 429 }, "overloaded", "gateway overloaded",
                "More requests are under way than this gateway can hold, or than your part of Livy lets through. Nothing was sent to Livy; try again shortly.", RETRY_SOON),
            Self::Internal => row(500, "internal_error", Whose::Operator, "internal error",
                "The gateway failed. This is a defect of the gateway; tell its administrator the request id."),

            Self::UpstreamUnreachable => later(503, "upstream_unreachable", "Livy unreachable",
                "Livy cannot be reached and did not get this request. Try again shortly; if it lasts, tell the administrator that Livy is down.", RETRY_LIVY),
            Self::UpstreamTimeout => row(504, "upstream_timeout", Whose::Livy, "Livy did not answer in time",
                "Livy did not answer in time. Try again; a busy driver may need minutes to answer for its statements."),
            Self::UpstreamLost => row(502, "upstream_lost", Whose::Livy, "Livy's answer broke off",
                "Livy closed the connection before its answer was complete. Try again."),
            Self::OutcomeUnknown { look } => row(409, "outcome_unknown", Whose::Caller, "outcome unknown", format!(
                "Livy's answer was lost, and Livy may have done what you asked. {look} before you try again."
            )),
            Self::UpstreamLoginFailed { read } => row(definite(*read), "upstream_login_failed", Whose::Operator, "Livy refused the gateway's login",
                "Livy does not accept this gateway's own login, so nothing was done. This is for the administrator: see livy.authenticate in the gateway's configuration and livy.server.auth.* in livy.conf."),
            Self::UpstreamNotSuperuser { read } => row(definite(*read), "upstream_not_superuser", Whose::Operator, "Livy does not let the gateway act for users",
                "Livy does not let this gateway act for other users, so nothing was done. This is for the administrator: add the gateway's own account to livy.superusers in livy.conf."),
            Self::UpstreamError { status } => Answer {
                status: *status,
                ..row(502, "upstream_error", Whose::Livy, "Livy failed", format!(
                    "Livy answered {} with an error page, which is not passed on. The administrator finds it in Livy's log.", status.as_u16()
                ))
            },
            Self::UpstreamUnexpected { read } => row(ambiguous(*read), "upstream_unexpected", Whose::Operator, "unexpected answer from Livy",
                "The answer was not one that Livy gives, so it is not passed on. This is for the administrator: see livy.url in the gateway's configuration."),
            // Something was created: clients post again whatever is 5xx.
            Self::ImpersonationOff { leftover } => later(if matches!(leftover, Leftover::Remains) { 409 } else { 503 }, "impersonation_off", "Livy ignores impersonation", match leftover {
                Leftover::None | Leftover::Deleted => "Livy does not act as the user it is told to, so nothing may be created; no session is left behind. This is for the administrator: set livy.impersonation.enabled = true in livy.conf.",
                Leftover::Remains => "Livy did not act as the user it was told to, and the session could not be deleted again. This is for the administrator: delete it, and set livy.impersonation.enabled = true in livy.conf.",
            }, RETRY_OPERATOR),
        }
    }
}

// Livy surely did nothing. A write is answered 4xx all the same: clients post again whatever is 5xx.
const fn definite(read: bool) -> u16 {
    if read { 502 } else { 424 }
}

// Livy may have done it.
const fn ambiguous(read: bool) -> u16 {
    if read { 502 } else { 409 }
}

// A group may be called anything; a user is plain ASCII.
const fn in_short(who: &str, is_own: bool) -> &str {
    if is_own { who } else { "all who share a limit" }
}

fn row(
    status: u16,
    code: &'static str,
    whose: Whose,
    reason: &'static str,
    message: impl Into<Cow<'static, str>>,
) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        code,
        whose,
        reason: Cow::Borrowed(reason),
        message: message.into(),
        hint: Hint::None,
    }
}

fn challenge(code: &'static str, reason: &'static str, message: Cow<'static, str>) -> Answer {
    Answer {
        hint: Hint::Challenge,
        ..row(401, code, Whose::Caller, reason, message)
    }
}

fn later(
    status: u16,
    code: &'static str,
    reason: &'static str,
    message: impl Into<Cow<'static, str>>,
    after: Duration,
) -> Answer {
    Answer {
        hint: Hint::RetryAfter(after),
        ..row(status, code, Whose::CallerLater, reason, message)
    }
}

const RETRY_SOON: Duration = Duration::from_secs(2);
/// A directory server that failed is left alone for a moment.
const RETRY_LOGIN: Duration = Duration::from_secs(10);
const RETRY_LIVY: Duration = Duration::from_secs(5);
/// How long a look at what Livy lists takes, and a person to delete something.
const RETRY_QUOTA: Duration = Duration::from_secs(30);
const RETRY_OPERATOR: Duration = Duration::from_secs(60);
