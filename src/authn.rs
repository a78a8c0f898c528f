//! Who is it? From an `Authorization` header to a [`Subject`] that nobody but a verifier makes.
//!
//! Pure and synchronous: it never waits, never logs, never asks the time. What costs processor time
//! ([`Users::verify`]) is run off the async threads by its caller. As whom a subject acts is `identity`'s question.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

pub mod certificate;
pub mod credentials;
pub mod issuer;
pub mod jwt;
pub mod keys;
pub mod ldap;
pub mod password;
pub mod personal;
#[cfg(test)]
pub(crate) mod testing;
mod token;
mod token_rules;
pub mod users;

pub use certificate::{CertificateName, Certificates, ClientAuth};
pub use credentials::Credentials;
pub use issuer::{Issuer, IssuerSettings, KeysAt};
pub use jwt::{MissingKey, TokenUse, TokenVerdict};
pub use keys::{Algorithm, KeySet, KeySource};
pub use ldap::{Find, GroupsFrom, Ldap, LdapServer, LdapSettings, LdapTransport};
pub use password::{PasswordProblem, hash_password};
pub use personal::{PersonalToken, PersonalTokens, PersonalVerdict};
pub(crate) use token::plain_type;
pub use token_rules::TokenRules;
pub use users::{User, Users, UsersProblem, WeakHashes};

/// Which source of identities proved a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The users file, by Basic.
    Basic,
    /// The `[[jwt]]` entry of that name.
    Jwt(Arc<str>),
    /// The directory, by Basic.
    Ldap,
    /// A client certificate.
    Certificate,
    /// A personal token, by Basic or Bearer. It names its Livy user itself.
    Token,
}

/// As `identity.map` writes it: `basic`, `jwt:corp`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic => f.write_str("basic"),
            Self::Jwt(name) => write!(f, "jwt:{name}"),
            Self::Ldap => f.write_str("ldap"),
            Self::Certificate => f.write_str("certificate"),
            Self::Token => f.write_str("token"),
        }
    }
}

/// Who the credentials prove, in the words of the source that proved it. Only a verifier makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    source: Source,
    name: Arc<str>,
    groups: Arc<[Arc<str>]>,
    credential: Option<Arc<str>>,
}

impl Subject {
    /// For a verifier that has proved `name`, and for those who ask what would follow if it had (`explain`, tests).
    pub(crate) fn proven(
        source: Source,
        name: impl Into<Arc<str>>,
        groups: impl Into<Arc<[Arc<str>]>>,
    ) -> Self {
        Self {
            source,
            name: name.into(),
            groups: groups.into(),
            credential: None,
        }
    }

    /// By which of its credentials, where it has several.
    #[must_use]
    pub(crate) fn by(mut self, credential: impl Into<Arc<str>>) -> Self {
        self.credential = Some(credential.into());
        self
    }

    /// What proved it.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The name in the users file, or the value of the configured claim: not empty, without control characters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The groups that the users file or the token gives it.
    pub fn groups(&self) -> &[Arc<str>] {
        &self.groups
    }

    /// Which of its credentials proved it, for logs: a personal token's id and label.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// The same groups, to be kept elsewhere.
    pub(crate) fn shared_groups(&self) -> Arc<[Arc<str>]> {
        Arc::clone(&self.groups)
    }
}

/// With its source, as rules and logs name it: `basic:alice`, `jwt:corp:alice`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.name)
    }
}

/// Who checks a password.
#[derive(Debug, Clone, Copy)]
pub enum Checker<'a> {
    /// [`Authn::users`], on a thread that may block.
    Users,
    /// The directory, over the network.
    Ldap(&'a Arc<Ldap>),
}

/// Everything that can prove a subject, compiled from one configuration.
#[derive(Debug)]
pub struct Authn {
    /// What the challenges call this gateway.
    pub realm: String,
    /// Who may log in by Basic.
    pub users: Option<Users>,
    /// Whose tokens are good.
    pub issuers: Vec<Arc<Issuer>>,
    /// Who may log in by Basic beside them.
    pub ldap: Option<Arc<Ldap>>,
    ldap_version: u64,
    /// The personal tokens.
    pub tokens: Option<PersonalTokens>,
    challenges: [HeaderValue; 2],
}

impl Authn {
    /// Puts the verifiers together. Refuses what could not be told apart later: two issuers of one name or of one
    /// `iss`, and a realm that cannot stand in a header. The error says which, for the operator.
    pub fn new(realm: String, users: Option<Users>, issuers: Vec<Arc<Issuer>>) -> Result<Self, String> {
        let challenges = challenges_for(&realm)?;
        for (place, issuer) in issuers.iter().enumerate() {
            for earlier in issuers.iter().take(place) {
                if earlier.name() == issuer.name() {
                    return Err(format!(
                        "two jwt entries are named '{}'; names must differ",
                        issuer.name()
                    ));
                }
                // The issuer of a token is chosen by its `iss`, so that must choose one.
                if earlier.issuer() == issuer.issuer() {
                    return Err(format!(
                        "the jwt entries '{}' and '{}' have the same issuer '{}'; write one entry with both audiences",
                        earlier.name(),
                        issuer.name(),
                        issuer.issuer()
                    ));
                }
            }
        }
        Ok(Self {
            realm,
            users,
            issuers,
            ldap: None,
            ldap_version: 0,
            tokens: None,
            challenges,
        })
    }

    /// With a directory, for the names that the users file does not have.
    #[must_use]
    pub fn with_ldap(self, ldap: Option<Arc<Ldap>>) -> Self {
        // What the directory proved stands on the names of the users file too.
        let mut names: Vec<&[u8]> = self
            .users
            .iter()
            .flat_map(Users::iter)
            .map(|user| user.name().as_bytes())
            .collect();
        names.sort_unstable();
        let ldap_version = ldap
            .as_ref()
            .map_or(0, |ldap| ldap.version() ^ fingerprint(names));
        Self {
            ldap,
            ldap_version,
            ..self
        }
    }

    /// Whether a name that the directory found belongs to the users file, in whatever case: then it is not the directory's
    /// to prove, or a name typed in capitals would be another way in.
    pub fn is_of_users_file(&self, name: &str) -> bool {
        let mut users = self.users.iter().flat_map(Users::iter);
        users.any(|user| user.name().eq_ignore_ascii_case(name))
    }

    /// Who checks this user's password: the users file if it has the name, and else the directory. Never both, or one
    /// name would have two passwords.
    pub fn checker_of(&self, user: &str) -> Option<Checker<'_>> {
        match (&self.users, &self.ldap) {
            (Some(users), Some(_)) if users.get(user).is_some() => Some(Checker::Users),
            (_, Some(ldap)) => Some(Checker::Ldap(ldap)),
            (Some(_), None) => Some(Checker::Users),
            (None, None) => None,
        }
    }

    /// With these personal tokens.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Option<PersonalTokens>) -> Self {
        self.tokens = tokens;
        self
    }

    /// The `WWW-Authenticate` lines of a 401, Basic first and each its own line: Livy's Java client fails on a
    /// list, and HDInsight's tools look at the first line only. Both are always there, because a token is welcome
    /// as the Basic password too.
    pub fn challenges(&self) -> &[HeaderValue] {
        &self.challenges
    }

    /// The `[[jwt]]` entry of that name.
    pub fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.name() == name)
    }

    /// Verifies a token from `Authorization: Bearer`. `now_wall` is the time since 1970.
    ///
    /// The token's unproven `iss` only chooses whose rules it must pass.
    pub fn verify_token(&self, token: &str, now_wall: Duration, wish: TokenUse) -> TokenVerdict {
        jwt::verify(&self.issuers, token, now_wall, wish, jwt::Carrier::Bearer)
    }

    /// Whether a Basic password is to be taken as a token: it has the shape of one and an issuer allows that.
    pub fn is_password_token(&self, password: &str) -> bool {
        token::looks_like_token(password) && self.issuers.iter().any(|issuer| issuer.as_basic_password())
    }

    /// Verifies a token that came as the Basic password: by the issuers with `as_basic_password` alone.
    ///
    /// The caller must still compare the Basic user name: it must be the subject's name or the Livy user that the
    /// subject is mapped to.
    pub fn verify_password_token(&self, token: &str, now_wall: Duration, wish: TokenUse) -> TokenVerdict {
        jwt::verify(&self.issuers, token, now_wall, wish, jwt::Carrier::BasicPassword)
    }

    /// Checks what has the prefix of a personal token; the caller compares the Basic user name. `now_wall` is the time
    /// since 1970.
    pub fn verify_personal_token(&self, text: &str, now_wall: Duration) -> PersonalVerdict<'_> {
        match &self.tokens {
            Some(tokens) => tokens.verify(text, now_wall),
            None => PersonalVerdict::Invalid("the configuration has no [tokens]"),
        }
    }

    /// What a cached proof of `subject` stands on: changes when the user's stored line, the issuer's settings or its
    /// keys change; None when nothing here would prove it any more.
    pub fn version_of(&self, subject: &Subject) -> Option<u64> {
        match subject.source() {
            Source::Basic => self.users.as_ref()?.version_of(subject.name()),
            Source::Jwt(name) => self.issuer(name).map(|issuer| issuer.key_version()),
            Source::Ldap => self.ldap.as_ref().map(|_| self.ldap_version),
            // Another tokens file is another policy, under which each token is checked anew.
            Source::Token => self.tokens.as_ref().map(|_| 0),
            Source::Certificate => None,
        }
    }
}

fn challenges_for(realm: &str) -> Result<[HeaderValue; 2], String> {
    let quotable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if realm.is_empty() || !realm.bytes().all(quotable) {
        return Err(
            "the realm must be printable ASCII without quotes and backslashes, such as \"livy\"".into(),
        );
    }
    // RFC 7617 §2.1: UTF-8 is the one charset that may be announced, and the one that is read.
    let lines = [
        format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
        format!("Bearer realm=\"{realm}\""),
    ];
    let [basic, bearer] = lines.map(|line| HeaderValue::try_from(line).map_err(|e| e.to_string()));
    Ok([basic?, bearer?])
}

/// Sixty-four bits that differ when any part differs: for cache keys, not for secrecy. Each part carries its length,
/// so that no two lists of parts read the same.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    digest
        .as_ref()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenges_are_two_lines_with_basic_first() {
        let authn = Authn::new("livy".into(), None, Vec::new()).unwrap();
        assert_eq!(
            authn.challenges(),
            ["Basic realm=\"livy\", charset=\"UTF-8\"", "Bearer realm=\"livy\""]
        );
    }

    #[test]
    fn a_realm_that_would_end_its_quotes_is_refused() {
        for realm in ["", "a\"b", "a\\b", "a\nb", "é"] {
            assert!(Authn::new(realm.into(), None, Vec::new()).is_err(), "{realm:?}");
        }
    }

    #[test]
    fn parts_are_told_apart_where_their_joined_bytes_are_equal() {
        assert_ne!(fingerprint([&b"ab"[..], b"c"]), fingerprint([&b"a"[..], b"bc"]));
        assert_ne!(fingerprint([&b"a"[..]]), fingerprint([&b"a"[..], b""]));
    }
}
