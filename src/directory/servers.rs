//! The servers of one directory: which one is asked, and the steps of a login.

use std::sync::{Arc, Mutex as ShortMutex, MutexGuard, PoisonError};
use std::time::Duration;

use ldap3::Scope;
use secrecy::ExposeSecret;
use tokio::sync::{AcquireError, Mutex, OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::Verdict;
use super::connection::{Bind, Connection, Found, Trouble};
use crate::authn::ldap::Entry;
use crate::authn::{Find, GroupsFrom, Ldap, LdapSettings, Subject};
use crate::clock::Clock;

pub(super) struct Servers {
    ldap: Arc<Ldap>,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    /// Bound as the gateway's account, for searches alone. Who connects it holds the lock, so that it is done once.
    account: Mutex<Option<Held>>,
    rest: ShortMutex<Rest>,
}

/// What is left alone for a moment, because it failed a moment ago: without that every login would wait for it.
struct Rest {
    /// Until when, by server.
    servers: Vec<Duration>,
    /// Until when the gateway's own account is not tried: each try with an old password may lock it.
    account: Duration,
}

#[derive(Clone)]
struct Held {
    open: Open,
    last_used: Duration,
}

/// A connection, and whose.
#[derive(Clone)]
struct Open {
    server: usize,
    connection: Connection,
}

impl Servers {
    pub(super) fn new(ldap: Arc<Ldap>, clock: Arc<dyn Clock>) -> Self {
        let settings = ldap.settings();
        Self {
            places: Arc::new(Semaphore::new(settings.max_connections.max(1))),
            account: Mutex::new(None),
            rest: ShortMutex::new(Rest {
                servers: vec![Duration::ZERO; settings.servers.len()],
                account: Duration::ZERO,
            }),
            clock,
            ldap,
        }
    }

    pub(super) fn serves(&self, ldap: &Arc<Ldap>) -> bool {
        Arc::ptr_eq(&self.ldap, ldap)
    }

    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.places).acquire_owned().await
    }

    /// The story of a login.
    pub(super) async fn check(&self, user: &str, password: &str) -> Verdict {
        let checked = match &self.settings().find {
            Find::ByName(template) => self.by_name(&Ldap::dn_of(template, user), password).await,
            Find::BySearch { base, filter, .. } => {
                self.by_search(base, &Ldap::user_filter(filter, user), password)
                    .await
            }
        };
        match checked {
            Ok(Checked::Person(entry, groups)) => match self.ldap.subject(&entry, &groups) {
                Ok(subject) => Verdict::Proven(subject),
                Err(why) => Verdict::Unusable(why),
            },
            Ok(Checked::No(why)) => Verdict::Refused(why),
            Err(Trouble::Server(why) | Trouble::Setup(why)) => Verdict::Unavailable(why),
            Err(Trouble::Person(why)) => Verdict::Unusable(why),
        }
    }

    /// Whom a name would prove.
    pub(super) async fn look_up(&self, user: &str) -> Result<Option<Subject>, String> {
        let Find::BySearch { base, filter, .. } = &self.settings().find else {
            return Err(
                "ldap.bind_dn: only the person can read the person's entry, with the password".into(),
            );
        };
        let looked_up = async {
            let filter = Ldap::user_filter(filter, user);
            let Ok(entry) = self.found_once((base, Scope::Subtree), &filter).await? else {
                return Ok(None);
            };
            let groups = self.groups_as_account(&entry).await?;
            Ok(Some((entry, groups)))
        };
        match looked_up.await {
            Ok(Some((entry, groups))) => self.ldap.subject(&entry, &groups).map(Some),
            Ok(None) => Ok(None),
            Err(Trouble::Server(why) | Trouble::Setup(why) | Trouble::Person(why)) => Err(why),
        }
    }

    /// Binds as the person at once, and reads as the person.
    async fn by_name(&self, dn: &str, password: &str) -> Result<Checked, Trouble> {
        let open = self.connect(BIND_BYTES_MAX).await?;
        let connection = &open.connection;
        let read = async {
            if !is_right(connection.bind(dn, password).await?)? {
                return Ok(Checked::No("the bind with the name in ldap.bind_dn is refused"));
            }
            let own = connection
                .search((dn, Scope::Base), ANYTHING, &self.ldap.attributes(), 1)
                .await?;
            let entry = match own {
                Found::Entries(entries) => entries.into_iter().next(),
                Found::TooMany => None,
            };
            let Some(entry) = entry else {
                return Err(Trouble::Setup(
                    "a person may not read the person's own entry".into(),
                ));
            };
            let groups = match self.group_question(&entry) {
                Some((base, filter, name)) => {
                    let subtree = (base, Scope::Subtree);
                    all_groups(connection.search(subtree, &filter, &[name], GROUPS_MAX).await?)?
                }
                None => Vec::new(),
            };
            Ok(Checked::Person(entry, groups))
        };
        let outcome = self.noting(open.server, read.await);
        open.connection.close().await;
        outcome
    }

    /// Finds the entry as the gateway's account, then binds with the name that was found.
    async fn by_search(&self, base: &str, filter: &str, password: &str) -> Result<Checked, Trouble> {
        let entry = match self.found_once((base, Scope::Subtree), filter).await? {
            Ok(entry) => entry,
            Err(why) => {
                // Who is there is told neither by the time nor by the answer.
                self.bind_once(&nobody(base), password).await?;
                return Ok(Checked::No(why));
            }
        };
        if !is_right(self.bind_once(&entry.dn, password).await?)? {
            return Ok(Checked::No("the bind as the entry that was found is refused"));
        }
        let groups = self.groups_as_account(&entry).await?;
        Ok(Checked::Person(entry, groups))
    }

    /// The entry, if there is exactly one, or why there is not.
    async fn found_once(
        &self,
        place: (&str, Scope),
        filter: &str,
    ) -> Result<Result<Entry, &'static str>, Trouble> {
        let found = self.searched(place, filter, &self.ldap.attributes(), 2).await?;
        let mut entries = match found {
            Found::Entries(entries) => entries,
            Found::TooMany => vec![Entry::default(), Entry::default()],
        };
        match (entries.pop(), entries.pop()) {
            (Some(entry), None) if !entry.dn.is_empty() => Ok(Ok(entry)),
            (Some(_) | None, None) | (None, Some(_)) => Ok(Err("the search finds no entry")),
            (Some(_), Some(_)) => {
                warn!("a login finds several entries and is refused; ldap.search.filter must find one");
                Ok(Err("the search finds several entries"))
            }
        }
    }

    async fn groups_as_account(&self, entry: &Entry) -> Result<Vec<Entry>, Trouble> {
        match self.group_question(entry) {
            Some((base, filter, name)) => {
                let subtree = (base, Scope::Subtree);
                all_groups(self.searched(subtree, &filter, &[name], GROUPS_MAX).await?)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Below what, with which filter and for which attribute groups are searched, if they are.
    fn group_question(&self, entry: &Entry) -> Option<(&str, String, &str)> {
        match &self.settings().groups {
            Some(GroupsFrom::Search {
                base,
                filter,
                name_attribute,
            }) => Some((base, Ldap::group_filter(filter, &entry.dn), name_attribute)),
            Some(GroupsFrom::Attribute { .. }) | None => None,
        }
    }

    /// A bind on a connection of its own.
    async fn bind_once(&self, dn: &str, password: &str) -> Result<Bind, Trouble> {
        let open = self.connect(BIND_BYTES_MAX).await?;
        let outcome = self.noting(open.server, open.connection.bind(dn, password).await);
        open.connection.close().await;
        outcome
    }

    /// A search as the gateway's account. A held connection may have been closed by its server meanwhile: then once
    /// more on a new one. One that is silent is not asked again, and only a new one's silence is held against its server:
    /// a firewall may have forgotten an old one.
    async fn searched(
        &self,
        place: (&str, Scope),
        filter: &str,
        attributes: &[&str],
        most: u16,
    ) -> Result<Found, Trouble> {
        if let Some(open) = self.held_account().await {
            match open.connection.search(place, filter, attributes, most).await {
                Err(Trouble::Server(_)) if open.connection.has_ended() => {}
                Err(trouble @ Trouble::Server(_)) => {
                    self.give_up_account().await;
                    return Err(trouble);
                }
                found => return found,
            }
            self.give_up_account().await;
        }
        let open = self.account().await?;
        let found = open.connection.search(place, filter, attributes, most).await;
        if let Err(Trouble::Server(_)) = &found {
            self.give_up_account().await;
        }
        self.noting(open.server, found)
    }

    async fn give_up_account(&self) {
        *self.account.lock().await = None;
    }

    async fn held_account(&self) -> Option<Open> {
        let mut account = self.account.lock().await;
        self.still_good(&mut account)
    }

    /// The held connection, unless it has ended or lain idle for so long that something on the way may have forgotten it.
    fn still_good(&self, account: &mut Option<Held>) -> Option<Open> {
        let now = self.clock.monotonic();
        let held = account.as_mut()?;
        let is_good = !held.open.connection.has_ended() && now.saturating_sub(held.last_used) <= IDLE_MAX;
        if is_good {
            held.last_used = now;
            return Some(held.open.clone());
        }
        *account = None;
        None
    }

    async fn account(&self) -> Result<Open, Trouble> {
        let mut held = self.account.lock().await;
        if let Some(open) = self.still_good(&mut held) {
            return Ok(open);
        }
        let Find::BySearch {
            account, password, ..
        } = &self.settings().find
        else {
            return Err(Trouble::Setup("there is no account to search with".into()));
        };
        let now = self.clock.monotonic();
        if now < self.rest().account {
            return Err(Trouble::Setup(ACCOUNT_REFUSED.into()));
        }
        let open = self.connect(ACCOUNT_BYTES_MAX).await?;
        let bound = open.connection.bind(account, password.expose_secret()).await;
        match self.noting(open.server, bound)? {
            Bind::Right => {}
            Bind::Wrong | Bind::Odd(_) => {
                self.rest().account = now.saturating_add(ACCOUNT_REST);
                return Err(Trouble::Setup(ACCOUNT_REFUSED.into()));
            }
        }
        *held = Some(Held {
            open: open.clone(),
            last_used: now,
        });
        Ok(open)
    }

    /// A new connection to the first server that has not failed a moment ago.
    async fn connect(&self, bytes_max: usize) -> Result<Open, Trouble> {
        let settings = self.settings();
        let mut last = Trouble::Server("every server failed a moment ago".into());
        for (number, server) in settings.servers.iter().enumerate() {
            let until = self.rest().servers.get(number).copied();
            if until.is_some_and(|until| self.clock.monotonic() < until) {
                continue;
            }
            match Connection::open(settings, server, bytes_max).await {
                Ok(connection) => {
                    return Ok(Open {
                        server: number,
                        connection,
                    });
                }
                Err(trouble) => {
                    debug!(?trouble, "a directory server is left alone for a moment");
                    self.let_rest(number);
                    last = trouble;
                }
            }
        }
        Err(last)
    }

    /// What a new connection came to: if its server does not work, that is left alone, so that the next login goes to
    /// another one.
    fn noting<T>(&self, server: usize, outcome: Result<T, Trouble>) -> Result<T, Trouble> {
        if let Err(Trouble::Server(_)) = &outcome {
            self.let_rest(server);
        }
        outcome
    }

    /// Leaves the first server alone that has not been yet; for a check that did not end, or broke off.
    pub(super) fn let_the_asked_one_rest(&self) {
        let now = self.clock.monotonic();
        let asked = self.rest().servers.iter().position(|until| now >= *until);
        if let Some(server) = asked {
            self.let_rest(server);
        }
    }

    fn let_rest(&self, server: usize) {
        let until = self.clock.monotonic().saturating_add(REST);
        if let Some(rests) = self.rest().servers.get_mut(server) {
            *rests = until;
        }
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> &LdapSettings {
        self.ldap.settings()
    }
}

/// What a login came to.
enum Checked {
    Person(Entry, Vec<Entry>),
    No(&'static str),
}

/// An odd answer about a person is no outage: another server would say the same.
fn is_right(bind: Bind) -> Result<bool, Trouble> {
    match bind {
        Bind::Right => Ok(true),
        Bind::Wrong => Ok(false),
        Bind::Odd(rc) => Err(Trouble::Person(format!(
            "a person's bind is answered with result {rc}"
        ))),
    }
}

fn all_groups(found: Found) -> Result<Vec<Entry>, Trouble> {
    match found {
        Found::Entries(groups) => Ok(groups),
        Found::TooMany => Err(Trouble::Person(format!(
            "somebody is in more than {GROUPS_MAX} groups; make ldap.groups narrower"
        ))),
    }
}

/// A name that no entry has.
fn nobody(base: &str) -> String {
    format!("cn=livy-gateway-asks-for-nobody,{base}")
}

/// Every entry has a class.
const ANYTHING: &str = "(objectClass=*)";
const GROUPS_MAX: u16 = 1000;
/// How long a server that failed is left alone.
const REST: Duration = Duration::from_secs(5);
const ACCOUNT_REST: Duration = Duration::from_secs(30);
const ACCOUNT_REFUSED: &str =
    "the directory refuses the gateway's own account: check ldap.search.bind_dn and its password";
/// Firewalls forget connections that lie idle for some minutes.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// What a server may say while one person logs in, and over the connection that is held.
const BIND_BYTES_MAX: usize = 4 << 20;
const ACCOUNT_BYTES_MAX: usize = 256 << 20;
