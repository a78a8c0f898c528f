//! The servers of one directory: which one is asked, and the steps of a login.

use std::sync::{Arc, Mutex as ShortMutex, PoisonError};
use std::time::Duration;

use ldap3::Scope;
use secrecy::ExposeSecret;
use tokio::sync::{AcquireError, Mutex, OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::Verdict;
use super::connection::{Bind, Connection, Trouble};
use crate::authn::ldap::Entry;
use crate::authn::{Find, GroupsFrom, Ldap, LdapSettings, Subject};
use crate::clock::Clock;

pub(super) struct Servers {
    ldap: Arc<Ldap>,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    /// Bound as the gateway's account, for searches alone; and whose connection it is.
    account: Mutex<Option<(usize, Connection)>>,
    /// Until when each server is left alone, because it failed a moment ago: without that every login would wait for
    /// a dead one.
    resting: ShortMutex<Vec<Duration>>,
}

impl Servers {
    pub(super) fn new(ldap: Arc<Ldap>, clock: Arc<dyn Clock>) -> Self {
        let settings = ldap.settings();
        Self {
            places: Arc::new(Semaphore::new(settings.max_connections.max(1))),
            account: Mutex::new(None),
            resting: ShortMutex::new(vec![Duration::ZERO; settings.servers.len()]),
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
            Ok(Some((entry, groups))) => match self.ldap.subject(&entry, &groups) {
                Ok(subject) => Verdict::Proven(subject),
                Err(why) => {
                    warn!("a directory's entry names no subject: {why}");
                    Verdict::Refused
                }
            },
            Ok(None) => Verdict::Refused,
            Err(trouble) => Verdict::Unavailable(trouble.told()),
        }
    }

    /// Whom a name would prove.
    pub(super) async fn look_up(&self, user: &str) -> Result<Option<Subject>, String> {
        let Find::BySearch { base, filter, .. } = &self.settings().find else {
            return Err(
                "ldap.bind_dn: only the person can read the person's entry, with the password".into(),
            );
        };
        let filter = Ldap::user_filter(filter, user);
        let found = self.found_once((base, Scope::Subtree), &filter).await;
        let Some(entry) = found.map_err(Trouble::told)? else {
            return Ok(None);
        };
        let groups = self.groups_as_account(&entry).await.map_err(Trouble::told)?;
        self.ldap.subject(&entry, &groups).map(Some)
    }

    /// Binds as the person at once, and reads as the person.
    async fn by_name(&self, dn: &str, password: &str) -> Result<Option<(Entry, Vec<Entry>)>, Trouble> {
        let (_, connection) = self.connect().await?;
        let read = async {
            if connection.bind(dn, password).await? == Bind::Wrong {
                return Ok(None);
            }
            let own = (dn, Scope::Base);
            let entries = connection
                .search(own, ANYTHING, &self.ldap.attributes(), 1)
                .await?;
            let Some(entry) = entries.into_iter().next() else {
                return Err(Trouble::Answer(
                    "the person may not read the person's own entry".into(),
                ));
            };
            let groups = self.groups(&connection, &entry).await?;
            Ok(Some((entry, groups)))
        };
        let outcome = read.await;
        connection.close().await;
        outcome
    }

    /// Finds the entry as the gateway's account, then binds with the name that was found.
    async fn by_search(
        &self,
        base: &str,
        filter: &str,
        password: &str,
    ) -> Result<Option<(Entry, Vec<Entry>)>, Trouble> {
        let Some(entry) = self.found_once((base, Scope::Subtree), filter).await? else {
            return self.refuse_in_the_time_of_a_bind(base, password).await;
        };
        if self.is_right(&entry.dn, password).await? == Bind::Wrong {
            return Ok(None);
        }
        let groups = self.groups_as_account(&entry).await?;
        Ok(Some((entry, groups)))
    }

    /// The entry, if there is exactly one.
    async fn found_once(&self, place: (&str, Scope), filter: &str) -> Result<Option<Entry>, Trouble> {
        let mut found = match self.searched(place, filter, &self.ldap.attributes(), 2).await {
            Err(Trouble::TooMany(_)) => Vec::new(),
            found => found?,
        };
        match (found.pop(), found.pop()) {
            (Some(entry), None) => Ok(Some(entry).filter(|entry| !entry.dn.is_empty())),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => {
                warn!("a login finds several entries and is refused; ldap.search.filter must find one");
                Ok(None)
            }
        }
    }

    async fn groups_as_account(&self, entry: &Entry) -> Result<Vec<Entry>, Trouble> {
        match self.group_question(entry) {
            Some((base, filter, name)) => {
                self.searched((base, Scope::Subtree), &filter, &[name], GROUPS_MAX)
                    .await
            }
            None => Ok(Vec::new()),
        }
    }

    async fn groups(&self, connection: &Connection, entry: &Entry) -> Result<Vec<Entry>, Trouble> {
        match self.group_question(entry) {
            Some((base, filter, name)) => {
                let subtree = (base, Scope::Subtree);
                connection.search(subtree, &filter, &[name], GROUPS_MAX).await
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

    /// Who is there is told neither by the time nor by the answer.
    async fn refuse_in_the_time_of_a_bind<T>(
        &self,
        base: &str,
        password: &str,
    ) -> Result<Option<T>, Trouble> {
        match self.is_right(&nobody(base), password).await {
            Err(trouble @ Trouble::Server(_)) => Err(trouble),
            Ok(Bind::Right | Bind::Wrong) | Err(Trouble::Answer(_) | Trouble::TooMany(_)) => Ok(None),
        }
    }

    /// A bind on a connection of its own.
    async fn is_right(&self, dn: &str, password: &str) -> Result<Bind, Trouble> {
        let (_, connection) = self.connect().await?;
        let outcome = connection.bind(dn, password).await;
        connection.close().await;
        outcome
    }

    /// A search as the gateway's account. A held connection may have been closed by its server meanwhile: then once
    /// more on a new one. A server that does not answer is not asked again.
    async fn searched(
        &self,
        place: (&str, Scope),
        filter: &str,
        attributes: &[&str],
        most: i32,
    ) -> Result<Vec<Entry>, Trouble> {
        let (server, connection) = self.account().await?;
        let found = connection.search(place, filter, attributes, most).await;
        match found {
            Err(Trouble::Server(_)) if connection.has_ended() => {
                self.give_up_account().await;
                let (server, connection) = self.account().await?;
                let again = connection.search(place, filter, attributes, most).await;
                self.noting(server, again).await
            }
            found => self.noting(server, found).await,
        }
    }

    async fn noting(&self, server: usize, found: Result<Vec<Entry>, Trouble>) -> Result<Vec<Entry>, Trouble> {
        if let Err(Trouble::Server(_)) = &found {
            self.give_up_account().await;
            self.let_rest(server);
        }
        found
    }

    async fn give_up_account(&self) {
        *self.account.lock().await = None;
    }

    async fn account(&self) -> Result<(usize, Connection), Trouble> {
        let mut held = self.account.lock().await;
        if let Some((server, connection)) = held.as_ref()
            && !connection.has_ended()
        {
            return Ok((*server, connection.clone()));
        }
        let Find::BySearch {
            account, password, ..
        } = &self.settings().find
        else {
            return Err(Trouble::Answer("there is no account to search with".into()));
        };
        let (server, connection) = self.connect().await?;
        if connection.bind(account, password.expose_secret()).await? == Bind::Wrong {
            return Err(Trouble::Answer(
                "the directory refuses the gateway's own account: check ldap.search.bind_dn and its password"
                    .into(),
            ));
        }
        *held = Some((server, connection.clone()));
        Ok((server, connection))
    }

    /// A new connection to the first server that has not failed a moment ago.
    async fn connect(&self) -> Result<(usize, Connection), Trouble> {
        let settings = self.settings();
        let mut last = Trouble::Server("every server failed a moment ago".into());
        for (number, server) in settings.servers.iter().enumerate() {
            if self.rests(number) {
                continue;
            }
            match Connection::open(settings, server).await {
                Ok(connection) => return Ok((number, connection)),
                Err(trouble) => {
                    debug!(?trouble, "a directory server is left alone for a moment");
                    self.let_rest(number);
                    last = trouble;
                }
            }
        }
        Err(last)
    }

    fn rests(&self, server: usize) -> bool {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting
            .get(server)
            .is_some_and(|until| self.clock.monotonic() < *until)
    }

    fn let_rest(&self, server: usize) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = resting.get_mut(server) {
            *until = self.clock.monotonic().saturating_add(REST);
        }
    }

    fn settings(&self) -> &LdapSettings {
        self.ldap.settings()
    }
}

/// A name that no entry has.
fn nobody(base: &str) -> String {
    format!("cn=livy-gateway-asks-for-nobody,{base}")
}

/// Every entry has a class.
const ANYTHING: &str = "(objectClass=*)";
const GROUPS_MAX: i32 = 1000;
/// How long a server that failed is left alone.
const REST: Duration = Duration::from_secs(5);
