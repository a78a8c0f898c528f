//! The directory (LDAP, Active Directory): how a login becomes a question to it, and what its answer proves.
//!
//! Directories compare names loosely: `ALICE`, `alice ` and full-width spellings all bind as alice. So the subject is
//! never what was typed: it is the name that the person's own entry has.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{dn_escape, ldap_escape, parse_filter};
use secrecy::SecretString;

use self::dn::Dn;
use super::password::PASSWORD_BYTES_MAX;
use super::token::looks_like_token;
use super::{Source, Subject, fingerprint};

mod dn;

/// The `[ldap]` section as configured.
pub struct LdapSettings {
    /// Asked in this order; all have the same entries.
    pub servers: Vec<LdapServer>,
    /// How their certificates are checked; there if any of them speaks TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// How a login finds its entry.
    pub find: Find,
    /// The attribute of the entry that names the subject.
    pub user_attribute: String,
    /// Where groups come from, if from here.
    pub groups: Option<GroupsFrom>,
    /// How long a server may take to accept a connection, TLS included.
    pub connect: Duration,
    /// How long it may take for one answer.
    pub operation: Duration,
    /// How long a login is believed without being asked again.
    pub cache: Duration,
    /// How long a refused one is refused without being asked again.
    pub cache_refused: Duration,
    /// How much longer a login is believed while no server answers.
    pub offline_grace: Duration,
    /// How many logins are checked at once.
    pub max_connections: usize,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapServer {
    /// As configured, for people.
    pub url: String,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How passwords are kept from others on the way.
    pub transport: LdapTransport,
}

/// How one speaks to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LdapTransport {
    /// TLS from the first byte.
    Ldaps,
    /// TLS after a first request for it (RFC 4511 §4.14).
    StartTls,
    /// In clear text.
    Plain,
}

/// How a login finds its entry.
#[derive(Debug)]
pub enum Find {
    /// The name goes into this DN: `uid=${user},ou=people,dc=example,dc=org`.
    ByName(String),
    /// An account of the gateway's own looks for it.
    BySearch {
        /// Below which entry, whole subtree.
        base: String,
        /// With which filter (RFC 4515): `(&(objectClass=person)(uid=${user}))`.
        filter: String,
        /// The account's DN.
        account: String,
        /// Its password.
        password: SecretString,
    },
}

/// Where groups come from.
#[derive(Debug)]
pub enum GroupsFrom {
    /// The DNs in an attribute of the person's entry, those below `base` alone: who may create entries elsewhere in the
    /// directory could name one like a group that means something here.
    Attribute {
        /// `memberOf`.
        attribute: String,
        /// `ou=groups,dc=example,dc=org`.
        base: String,
    },
    /// The entries below `base` that a filter with the person's `${dn}` finds.
    Search {
        /// Below which entry, whole subtree.
        base: String,
        /// `(&(objectClass=groupOfNames)(member=${dn}))`.
        filter: String,
        /// The attribute that names the group.
        name_attribute: String,
    },
}

/// A compiled `[ldap]` section.
pub struct Ldap {
    settings: LdapSettings,
    group_base: Option<Dn>,
    version: u64,
}

/// An entry as a server sent it: its DN, and its attributes that are text.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Its distinguished name.
    pub dn: String,
    /// The values of each attribute, as the server names and writes them.
    pub attributes: HashMap<String, Vec<String>>,
    /// The attributes that hold a value which is no text.
    pub binary: Vec<String>,
}

impl Ldap {
    /// Compiles the settings. The error begins with the key that is wrong and says what to write.
    pub fn new(settings: LdapSettings) -> Result<Self, String> {
        check_find(&settings.find)?;
        check_attribute("user_attribute", &settings.user_attribute)?;
        let group_base = match &settings.groups {
            Some(GroupsFrom::Attribute { attribute, base }) => {
                check_attribute("groups.attribute", attribute)?;
                Some(check_base("groups.base", base)?)
            }
            Some(GroupsFrom::Search {
                base,
                filter,
                name_attribute,
            }) => {
                check_base("groups.base", base)?;
                check_filter("groups.filter", filter, DN)?;
                check_attribute("groups.name_attribute", name_attribute)?;
                None
            }
            None => None,
        };
        Ok(Self {
            version: version(&settings),
            settings,
            group_base,
        })
    }

    /// As configured.
    pub const fn settings(&self) -> &LdapSettings {
        &self.settings
    }

    /// Changes with every setting that decides who is proven; the same content gives the same number. For cache keys.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether this pair may be put to a server at all. An empty password would be an anonymous login, which some
    /// servers call a success (RFC 4513 §5.1.2).
    pub fn may_ask(user: &str, password: &[u8]) -> bool {
        let is_name =
            !user.trim().is_empty() && user.len() <= NAME_BYTES_MAX && !user.chars().any(char::is_control);
        // A token is for its issuer, and nobody else's to see.
        let is_token = std::str::from_utf8(password).is_ok_and(looks_like_token);
        is_name && !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX && !is_token
    }

    /// A DN template with the typed name in its place, as one value whatever it holds.
    pub fn dn_of(template: &str, user: &str) -> String {
        template.replace(USER, &dn_escape(user))
    }

    /// A filter with the typed name in its place, as one value whatever it holds.
    pub fn user_filter(filter: &str, user: &str) -> String {
        filter.replace(USER, &ldap_escape(user))
    }

    /// A filter with the person's DN in its place.
    pub fn group_filter(filter: &str, dn: &str) -> String {
        filter.replace(DN, &ldap_escape(dn))
    }

    /// The attributes that are read of a person's entry.
    pub fn attributes(&self) -> Vec<&str> {
        let groups = match &self.settings.groups {
            Some(GroupsFrom::Attribute { attribute, .. }) => Some(attribute.as_str()),
            Some(GroupsFrom::Search { .. }) | None => None,
        };
        std::iter::once(self.settings.user_attribute.as_str())
            .chain(groups)
            .collect()
    }

    /// Whom an entry proves whose password was right. `found` are the entries of the group search, if there is one.
    /// The error is for the log.
    pub fn subject(&self, entry: &Entry, found: &[Entry]) -> Result<Subject, String> {
        entry.check_whole(&self.attributes())?;
        let attribute = &self.settings.user_attribute;
        let name = match entry.values(attribute) {
            [name] => name,
            [] => return Err(format!("the entry {:?} shows no {attribute}", entry.dn)),
            _ => {
                return Err(format!(
                    "the entry {:?} has several {attribute}, so none of them names it",
                    entry.dn
                ));
            }
        };
        if !is_plain(name) {
            return Err(format!(
                "the {attribute} of {:?} is empty, too long or holds control characters",
                entry.dn
            ));
        }
        Ok(Subject::proven(
            Source::Ldap,
            name.as_str(),
            self.groups(entry, found)?,
        ))
    }

    /// Sorted, since servers list them in any order and the first one counts for some rules.
    fn groups(&self, entry: &Entry, found: &[Entry]) -> Result<Vec<Arc<str>>, String> {
        let mut names: Vec<Arc<str>> = match &self.settings.groups {
            None => Vec::new(),
            Some(GroupsFrom::Attribute { attribute, .. }) => entry
                .values(attribute)
                .iter()
                .filter_map(|text| Dn::parse(text))
                .filter(|dn| self.group_base.as_ref().is_some_and(|base| dn.is_below(base)))
                .map(|dn| dn.own_name().into())
                .collect(),
            Some(GroupsFrom::Search { name_attribute, .. }) => found
                .iter()
                .map(|group| match group.values(name_attribute) {
                    [name] => Ok(name.as_str().into()),
                    _ => Err(format!(
                        "the group {:?} has not exactly one {name_attribute}",
                        group.dn
                    )),
                })
                .collect::<Result<_, _>>()?,
        };
        names.retain(|name| is_plain(name));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

impl Entry {
    /// A server may send a part of the values (`memberOf;range=0-1499`), and of some nothing that is text. Groups that are
    /// not all there would be taken for all.
    fn check_whole(&self, attributes: &[&str]) -> Result<(), String> {
        let is_piece = |name: &String| {
            let of = name.split(';').next().unwrap_or(name);
            attributes
                .iter()
                .any(|wanted| of.eq_ignore_ascii_case(wanted) && of.len() < name.len())
        };
        let is_wanted = |name: &String| attributes.iter().any(|wanted| name.eq_ignore_ascii_case(wanted));
        match self
            .attributes
            .keys()
            .find(|name| is_piece(name))
            .or(self.binary.iter().find(|name| is_wanted(name)))
        {
            Some(odd) => Err(format!(
                "the entry {:?} shows a part of {odd}, or no text; use ldap.groups.filter",
                self.dn
            )),
            None => Ok(()),
        }
    }

    /// Attribute names have no case (RFC 4512 §2.5).
    fn values(&self, attribute: &str) -> &[String] {
        self.attributes
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(attribute))
            .map_or(&[], |(_, values)| values)
    }
}

impl fmt::Debug for Ldap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ldap")
            .field("servers", &self.settings.servers)
            .field("find", &self.settings.find)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LdapSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LdapSettings")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

fn check_find(find: &Find) -> Result<(), String> {
    match find {
        Find::ByName(template) => {
            if !template.contains(USER) {
                return Err("bind_dn: ${user} is missing, so everybody would be one; write \"uid=${user},ou=people,dc=example,dc=org\"".into());
            }
            check_base("bind_dn", &template.replace(USER, "x")).map(drop)
        }
        Find::BySearch {
            base,
            filter,
            account,
            password: _,
        } => {
            check_base("search.base", base)?;
            check_filter("search.filter", filter, USER)?;
            // Active Directory takes user@domain beside a DN.
            let is_account = Dn::parse(account).is_some() || account.contains('@');
            if is_account {
                Ok(())
            } else {
                Err(format!(
                    "search.bind_dn: {account:?} is no DN; write the account's, such as \"cn=gateway,dc=example,dc=org\""
                ))
            }
        }
    }
}

fn check_base(key: &str, text: &str) -> Result<Dn, String> {
    if text.contains("${") {
        return Err(format!(
            "{key}: {text:?} has a placeholder that is not known here; ${{user}} is for bind_dn and search.filter, ${{dn}} for groups.filter"
        ));
    }
    Dn::parse(text).ok_or_else(|| {
        format!("{key}: {text:?} is no distinguished name; write one such as \"ou=people,dc=example,dc=org\"")
    })
}

fn check_filter(key: &str, filter: &str, placeholder: &str) -> Result<(), String> {
    let example = if placeholder == USER {
        "(&(objectClass=person)(uid=${user}))"
    } else {
        "(&(objectClass=groupOfNames)(member=${dn}))"
    };
    if !filter.contains(placeholder) {
        return Err(format!(
            "{key}: {placeholder} is missing, so it would find the same for everybody; write \"{example}\""
        ));
    }
    let filled = filter.replace(placeholder, "x");
    if filled.contains("${") || parse_filter(filled).is_err() {
        return Err(format!(
            "{key}: {filter:?} is no filter (RFC 4515); write one such as \"{example}\""
        ));
    }
    Ok(())
}

fn check_attribute(key: &str, name: &str) -> Result<(), String> {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if name.is_empty() || !name.bytes().all(within) {
        return Err(format!(
            "{key}: {name:?} is no attribute; write one such as \"uid\" or \"sAMAccountName\""
        ));
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

fn version(settings: &LdapSettings) -> u64 {
    let mut parts: Vec<&[u8]> = vec![settings.user_attribute.as_bytes()];
    match &settings.find {
        Find::ByName(template) => parts.extend([&b"by name"[..], template.as_bytes()]),
        Find::BySearch {
            base,
            filter,
            account,
            // A new password of the account proves nobody else.
            password: _,
        } => parts.extend([
            &b"by search"[..],
            base.as_bytes(),
            filter.as_bytes(),
            account.as_bytes(),
        ]),
    }
    match &settings.groups {
        None => {}
        Some(GroupsFrom::Attribute { attribute, base }) => {
            parts.extend([&b"attribute"[..], attribute.as_bytes(), base.as_bytes()]);
        }
        Some(GroupsFrom::Search {
            base,
            filter,
            name_attribute,
        }) => parts.extend([
            &b"search"[..],
            base.as_bytes(),
            filter.as_bytes(),
            name_attribute.as_bytes(),
        ]),
    }
    parts.push(b"servers");
    parts.extend(settings.servers.iter().map(|server| server.url.as_bytes()));
    fingerprint(parts)
}

const USER: &str = "${user}";
const DN: &str = "${dn}";
const NAME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests;
