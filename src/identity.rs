//! As whom Livy acts: from a proven subject to the one Livy user of a request.
//!
//! Two decisions, both pure. [`Identities::resolve`] applies the mapping rules: the first that matches decides,
//! and nothing is guessed, trimmed or folded on the way. [`Identities::acting`] judges the names that a client
//! wrote itself (`doAs`, `proxyUser`): its own Livy user is fine, another one needs a delegate rule.
//!
//! A [`LivyUser`] is made nowhere else, so what reaches Livy as a user is always a legal name that a rule gave; the
//! ledger's own records alone bring one back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::authn::{Source, Subject};
use crate::denial::{Denial, quotable};
use crate::quota::Groups;
use crate::roles::{Role, Roles};

mod delegate;
mod groups;
mod map;
mod reserved;

pub use delegate::DelegateRule;
pub use groups::GroupMap;
pub use map::{MapRule, SourceFilter};

use delegate::Whom;
use map::Mapped;
use reserved::Reserved;

/// Whether a name is one of the built-in reserved ones; a configuration may reserve more.
pub fn is_reserved(name: &str) -> bool {
    reserved::is_built_in(name)
}

/// A name that Livy may be told as the user: `[A-Za-z0-9_][A-Za-z0-9._@-]{0,127}`, never empty.
///
/// Livy 0.9 hands the value of `doAs` to Hadoop as it stands, so no delimiter of a query, a path or a Kerberos
/// principal (`&`, `=`, `/`, blank …) may be in it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LivyUser(Arc<str>);

impl LivyUser {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    fn new(name: &str) -> Option<Self> {
        Self::is_legal(name).then(|| Self(name.into()))
    }

    /// As the ledger wrote it down. Not for a name that anybody outside gives: a rule must have given it once.
    pub(crate) fn from_record(name: &str) -> Option<Self> {
        Self::new(name)
    }

    /// Whether a Livy user may be called so, for rules that name one.
    pub fn is_legal(name: &str) -> bool {
        let first_is_plain = name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        first_is_plain && name.len() <= Self::MAX_BYTES && name.bytes().all(Self::may_contain)
    }

    const fn may_contain(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-')
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A user for the tests of the modules that are handed one.
    #[cfg(test)]
    pub(crate) fn for_tests(name: &str) -> Self {
        Self::new(name).expect("a legal name")
    }
}

impl fmt::Display for LivyUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LivyUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// A subject inside this gateway: who it is, as whom Livy acts for it, and its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    subject: Arc<Subject>,
    livy_user: LivyUser,
    groups: Arc<[Arc<str>]>,
}

impl Principal {
    /// Who the credentials prove.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// As whom Livy acts unless a delegate rule says otherwise.
    pub const fn livy_user(&self) -> &LivyUser {
        &self.livy_user
    }

    /// The groups that the source of the login gave, such as the users file or a claim. A personal token gives none:
    /// then they are what the gateway's own files know about its Livy user.
    pub fn groups(&self) -> &[Arc<str>] {
        &self.groups
    }
}

/// The user of one request, checked against every name that the client wrote: what a rewrite needs to name
/// anybody to Livy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    livy_user: LivyUser,
    on_behalf: bool,
}

impl Acting {
    /// As whom Livy acts.
    pub const fn livy_user(&self) -> &LivyUser {
        &self.livy_user
    }

    /// Whether a delegate acts for somebody else here.
    pub const fn is_on_behalf(&self) -> bool {
        self.on_behalf
    }

    /// As the owner of a session that a role may use.
    pub(crate) fn by_role(owner: &LivyUser) -> Self {
        Self {
            livy_user: owner.clone(),
            on_behalf: true,
        }
    }

    /// A decision for the tests of the modules that are handed one.
    #[cfg(test)]
    pub(crate) fn for_tests(user: &str, on_behalf: bool) -> Self {
        Self {
            livy_user: LivyUser::for_tests(user),
            on_behalf,
        }
    }
}

/// Which rule decides about a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matched {
    /// The `[[identity.map]]` rule of this index, counted from 0.
    Rule(usize),
    /// No rule is written; the Livy user is the subject's own name.
    SameName,
    /// Rules are written and none matches.
    Nothing,
}

/// The compiled `[identity]` section.
#[derive(Debug)]
pub struct Identities {
    rules: Vec<MapRule>,
    reserved: Reserved,
    delegates: Vec<DelegateRule>,
    /// By Livy user, since a delegate's target is named as one.
    groups_of_users: BTreeMap<LivyUser, Vec<Arc<str>>>,
    /// What the operator adds to the groups of logins.
    group_map: GroupMap,
    /// Whom nobody may act for but who is allowed to by name.
    roles: Roles,
}

impl Identities {
    /// Puts the rules together; the error says which key is wrong and what to write instead.
    ///
    /// Without rules every subject maps to the Livy user of the same name. That is right for a single source
    /// only: who compiles a configuration with several sources must insist on a rule, or somebody becomes
    /// alice because two sources know an alice. The gateway's own account at Livy belongs into `also_reserved`.
    pub fn new(
        rules: Vec<MapRule>,
        also_reserved: Vec<String>,
        delegates: Vec<DelegateRule>,
    ) -> Result<Self, String> {
        let reserved = Reserved::with(also_reserved)?;
        for rule in &rules {
            if let Some(user) = rule.gives_everybody()
                && reserved.contains(user)
            {
                return Err(format!(
                    "livy_user = \"{user}\" is a reserved name and the rule has no subject, so every login would become {user}; write the subject that may"
                ));
            }
        }
        for rule in &delegates {
            if let Some(user) = rule.named_users().find(|user| reserved.contains(user)) {
                return Err(format!(
                    "for = [\"user:{user}\"] of the delegate {}: {user} is a reserved name, for which nobody may act; leave it out",
                    rule.service()
                ));
            }
        }
        Ok(Self {
            rules,
            reserved,
            delegates,
            groups_of_users: BTreeMap::new(),
            group_map: GroupMap::default(),
            roles: Roles::default(),
        })
    }

    /// Learns who is an administrator: a delegate acts for one only if its rule names that user.
    #[must_use]
    pub fn with_roles(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }

    /// Learns the groups file. Its groups are added to those that logins bring, and whoever stands in it is known when
    /// somebody acts for them. Comes after [`Identities::with_users`].
    #[must_use]
    pub fn with_groups(mut self, map: GroupMap) -> Self {
        for (user, groups) in map.users() {
            let known = self.groups_of_users.entry(user.clone()).or_default();
            *known = joined(known, groups);
        }
        self.group_map = map;
        self
    }

    /// Learns the groups of the users file, for delegate rules that say `group:NAME`.
    ///
    /// The gateway can ask no identity provider about a third person, so the groups of a delegate's target are
    /// known from its own files alone. Each of its users is mapped as if logged in with Basic; a Livy user to
    /// which several of them map has the groups that all of these have.
    #[must_use]
    pub fn with_users<'a>(mut self, users: impl IntoIterator<Item = (&'a str, &'a [Arc<str>])>) -> Self {
        for (name, groups) in users {
            let Ok(livy_user) = self.livy_user_of(&Source::Basic, name, groups) else {
                continue;
            };
            self.groups_of_users
                .entry(livy_user)
                .and_modify(|known| known.retain(|group| groups.contains(group)))
                .or_insert_with(|| groups.to_vec());
        }
        self
    }

    /// The principal of a subject: the first rule that matches decides, also when its result is refused.
    pub fn resolve(&self, subject: &Arc<Subject>) -> Result<Principal, Denial> {
        let livy_user = self
            .livy_user_of(subject.source(), subject.name(), subject.groups())
            .map_err(|Unmapped| Denial::UnmappedIdentity {
                subject: quotable(&subject.to_string()),
            })?;
        let groups = match subject.source() {
            Source::Token => self
                .groups_of_users
                .get(&livy_user)
                .map(Vec::as_slice)
                .unwrap_or_default()
                .into(),
            Source::Basic | Source::Jwt(_) | Source::Ldap | Source::Certificate => {
                match self.group_map.of(&livy_user) {
                    [] => subject.shared_groups(),
                    added => joined(subject.groups(), added).into(),
                }
            }
        };
        Ok(Principal {
            subject: Arc::clone(subject),
            livy_user,
            groups,
        })
    }

    /// Whether a name is reserved, built in or configured.
    pub fn reserves(&self, name: &str) -> bool {
        self.reserved.contains(name)
    }

    /// Which rule decides about a subject, and why each rule before it does not; for explanations.
    pub fn explain(&self, subject: &Subject) -> (Matched, Vec<&'static str>) {
        if self.rules.is_empty() || *subject.source() == Source::Token {
            return (Matched::SameName, Vec::new());
        }
        let why_not = |rule: &MapRule| rule.why_not(subject.source(), subject.name(), subject.groups());
        let passed_over: Vec<_> = self.rules.iter().map_while(why_not).collect();
        if passed_over.len() == self.rules.len() {
            (Matched::Nothing, passed_over)
        } else {
            (Matched::Rule(passed_over.len()), passed_over)
        }
    }

    /// Whom the request acts as, given every name that the client itself wrote (query, body …).
    ///
    /// All of them must be one and the same name, and that must be the principal's Livy user or one for which a
    /// delegate rule lets this service act from this address. There is no silent override: a request that names
    /// another user is refused, because it would run as somebody who was not asked for. That holds for the user
    /// name of the login too, where it maps to another Livy user.
    pub fn acting(&self, principal: &Principal, peer: IpAddr, requested: &[&str]) -> Result<Acting, Denial> {
        let mapped = principal.livy_user();
        let Some(asked) = requested.iter().find(|name| **name != mapped.as_str()) else {
            return Ok(Acting {
                livy_user: mapped.clone(),
                on_behalf: false,
            });
        };
        let all_agree = requested.iter().all(|name| name == asked);
        match self.delegated(principal, peer, asked) {
            Some(livy_user) if all_agree => Ok(Acting {
                livy_user,
                on_behalf: true,
            }),
            Some(_) | None => Err(Denial::ImpersonationRefused {
                asked: quotable(asked),
                mapped: mapped.to_string(),
            }),
        }
    }

    /// Whether this principal may act for `owner` from this address, as a delegate; asked for what it created for them.
    pub fn as_delegate(&self, principal: &Principal, peer: IpAddr, owner: &LivyUser) -> Option<Acting> {
        let livy_user = self.delegated(principal, peer, owner.as_str())?;
        Some(Acting {
            livy_user,
            on_behalf: true,
        })
    }

    /// Whether a rule lets this one act for anybody.
    pub fn is_delegate(&self, principal: &Principal) -> bool {
        !self.delegates.is_empty() && {
            let subject = principal.subject().to_string();
            self.services().any(|service| service == subject)
        }
    }

    /// The groups of the groups file, some of them repeated.
    pub fn mapped_groups(&self) -> impl Iterator<Item = &str> {
        self.group_map.names()
    }

    /// Whether the groups file gives anybody a group.
    pub fn has_group_map(&self) -> bool {
        !self.group_map.is_empty()
    }

    /// The services that may act for others, as subjects show themselves.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.delegates.iter().map(DelegateRule::service)
    }

    /// The groups of a Livy user, as far as the gateway's own files tell.
    pub fn groups_of(&self, user: &LivyUser) -> Groups<'_> {
        self.groups_of_users
            .get(user)
            .map_or(Groups::Unknown, |groups| Groups::Known(groups))
    }

    /// The groups of the one for whom somebody asks: a login's own are what it brought and what the groups file adds,
    /// another's what the gateway's own files tell.
    pub fn groups_for<'a>(&'a self, principal: &'a Principal, user: &LivyUser) -> Groups<'a> {
        if user == principal.livy_user() {
            Groups::Known(principal.groups())
        } else {
            self.groups_of(user)
        }
    }

    fn delegated(&self, principal: &Principal, peer: IpAddr, asked: &str) -> Option<LivyUser> {
        let target = LivyUser::new(asked).filter(|_| !self.reserved.contains(asked))?;
        let groups = self.groups_of(&target);
        let known = match groups {
            Groups::Known(known) => known,
            Groups::Unknown => &[],
        };
        let whom = Whom {
            user: &target,
            groups,
            is_admin: self.roles.role_of(&target, known) == Some(Role::Admin),
        };
        self.delegates
            .iter()
            .any(|rule| rule.allows(principal.subject(), peer, &whom))
            .then_some(target)
    }

    fn livy_user_of(&self, source: &Source, name: &str, groups: &[Arc<str>]) -> Result<LivyUser, Unmapped> {
        // Who adds a personal token names its Livy user; no rule is asked, but a reserved name stays one.
        let mapped = if self.rules.is_empty() || *source == Source::Token {
            Mapped::from_subject(name)
        } else {
            self.rules
                .iter()
                .find_map(|rule| rule.apply(source, name, groups))
                .ok_or(Unmapped)?
        };
        match mapped {
            Mapped::Exact(user) => Ok(user),
            Mapped::Computed(user) if self.reserved.contains(user.as_str()) => Err(Unmapped),
            Mapped::Computed(user) => Ok(user),
            Mapped::Illegal => Err(Unmapped),
        }
    }
}

/// Both, each once, the first ones first.
fn joined(first: &[Arc<str>], then: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut all = first.to_vec();
    for group in then {
        if !all.contains(group) {
            all.push(Arc::clone(group));
        }
    }
    all
}

/// No rule gives a Livy user, or the one that matches gives none that may be.
struct Unmapped;

#[cfg(test)]
mod tests;
