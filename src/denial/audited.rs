//! Which refusals are decisions about somebody, and what the audit may say of them.

use super::Denial;

impl Denial {
    /// Whether the audit has it: who it is was decided, or what they may do. What a stranger can cause without end, what
    /// is only written wrongly, and what Livy failed to do stand in the log.
    pub const fn is_audited(&self) -> bool {
        match self {
            Self::InvalidCredentials
            | Self::ExpiredToken
            | Self::UnmappedIdentity { .. }
            | Self::ImpersonationRefused { .. }
            | Self::NotFound { .. }
            | Self::RunsAsAnother { .. }
            | Self::RoleRequired
            | Self::ConfRefused { .. }
            | Self::ConfTooLarge { .. }
            | Self::FileRefused { .. }
            | Self::NoPrimaryGroup { .. }
            | Self::RateLimited { .. }
            | Self::TooManyAtOnce { .. }
            | Self::QuotaExceeded { .. }
            | Self::ResourceLimit { .. }
            | Self::GroupsUnknown { .. }
            | Self::NameTaken { .. }
            | Self::IdempotencyKeyReused
            | Self::Unavailable(_)
            | Self::ImpersonationOff { .. } => true,
            Self::BadFraming(_)
            | Self::SlowHead
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::AmbiguousTarget(_)
            | Self::MethodOverride(_)
            | Self::UnsupportedExpectation
            | Self::UnknownOperation(_)
            | Self::MethodNotAllowed { .. }
            | Self::UnknownParameter { .. }
            | Self::RepeatedParameter(_)
            | Self::InvalidParameter(_)
            | Self::CrossOrigin
            | Self::MissingCredentials
            | Self::MalformedCredentials(_)
            | Self::LoginUnavailable(_)
            | Self::TooManyLogins { .. }
            | Self::BodyTooLarge { .. }
            | Self::SlowBody
            | Self::UnsupportedBody(_)
            | Self::InvalidBody(_)
            | Self::UnknownField { .. }
            | Self::InvalidIdempotencyKey
            | Self::CreationUnderWay
            | Self::Overloaded { .. }
            | Self::Internal
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout
            | Self::UpstreamLost
            | Self::OutcomeUnknown { .. }
            | Self::UpstreamLoginFailed { .. }
            | Self::UpstreamNotSuperuser { .. }
            | Self::UpstreamError { .. }
            | Self::UpstreamUnexpected { .. } => false,
        }
    }

    /// Whether one user may cause it without end, so that the first of a while stands in the audit for all.
    pub const fn comes_in_floods(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::TooManyAtOnce { .. })
    }

    /// What the rule is about: a setting's key, a field, a user; never a setting's value.
    pub fn rule(&self) -> Option<&str> {
        if let Self::ConfRefused { key, .. }
        | Self::ConfTooLarge { key, .. }
        | Self::NoPrimaryGroup { key, .. } = self
        {
            return Some(key);
        }
        if let Self::FileRefused { field, .. } = self {
            return Some(field);
        }
        if let Self::ImpersonationRefused { asked, .. } = self {
            return Some(asked);
        }
        if let Self::UnmappedIdentity { subject } = self {
            return Some(subject);
        }
        None
    }
}
