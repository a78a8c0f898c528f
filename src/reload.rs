//! Replaces the policy while the gateway runs: on SIGHUP, or when a file that was read has changed.
//!
//! Files are compared by their content, so that a Kubernetes mount that swaps symbolic links is noticed and a touched
//! file is not. A changed file is read only when it is the same twice in a row: it may still be being written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config;
use crate::jwks::{self, JwksFetcher};
use crate::limits::LiveCounters;
use crate::listener;
use crate::login::Logins;
use crate::policy::{LivePolicy, Policy, Store};
use crate::telemetry::{logging, metrics};

/// What a reload changes.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    policy: Arc<LivePolicy>,
    clock: Arc<dyn Clock>,
    /// Of the content that was loaded, or refused, last.
    settled: Vec<u64>,
    /// Of the content seen at the last look.
    seen: Vec<u64>,
    fetchers: Vec<JwksFetcher>,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// The new configuration is in force.
    InForce {
        /// How many configurations there have been.
        generation: u64,
        /// What is insecure or rarely meant in it.
        notices: Vec<String>,
    },
    /// The old one stays, and this is why.
    Refused(String),
}

impl Reloader {
    /// Watches the file that `policy` was loaded from. Starts fetching its key sets; needs a running runtime.
    pub fn new(path: &Path, policy: Arc<LivePolicy>, clock: Arc<dyn Clock>) -> Self {
        let current = policy.current();
        // What was loaded, and not what is there now: a file that changed since is seen at the first look.
        let settled = current.contents.clone();
        let fetchers = fetch_keys(&current, &clock);
        metrics::config_loaded(clock.wall(), current.insecure.len());
        Self {
            path: path.to_owned(),
            policy,
            clock,
            seen: settled.clone(),
            settled,
            fetchers,
        }
    }

    /// Looks at the files; loads them if they changed and have come to rest.
    pub fn look(&mut self, logins: &Logins, users: &LiveCounters) -> Option<Reloaded> {
        let now = config::contents_now(&self.path, &self.policy.current().files);
        let is_at_rest = now == self.seen;
        let has_changed = now != self.settled;
        self.seen = now;
        if is_at_rest && has_changed {
            info!("a file of the configuration has changed");
            return Some(self.reload(logins, users));
        }
        None
    }

    /// Loads the configuration now. A bad one changes nothing.
    pub fn reload(&mut self, logins: &Logins, users: &LiveCounters) -> Reloaded {
        let old = self.policy.current();
        // Before the files are read: what changes after that is seen at the next look.
        self.settled = config::contents_now(&self.path, &old.files);
        let problems = match config::load(&self.path, old.generation + 1) {
            Err(report) => report.to_string(),
            Ok(new) => match unchangeable(&old, &new) {
                Some(key) => format!("{key} cannot change while running; restart"),
                None => return self.put_in_force(new, logins, users),
            },
        };
        metrics::config_refused();
        error!("the configuration is refused, the old one stays: {problems}");
        Reloaded::Refused(problems)
    }

    fn put_in_force(&mut self, mut new: Policy, logins: &Logins, users: &LiveCounters) -> Reloaded {
        let notices = new.notices(self.clock.wall());
        for notice in &notices {
            warn!(target: logging::NOTICE, "{notice}");
        }
        metrics::config_loaded(self.clock.wall(), new.insecure.len());
        listener::keep_time_by(&self.clock, &mut new);
        logins.set_limits(new.limits.strangers);
        users.set_limits(&new.limits.users);
        let old = self.policy.current();
        self.settled.clone_from(&new.contents);
        // Keys that were fetched hold until the next fetch; without them nobody could log in meanwhile.
        for issuer in &new.authn.issuers {
            if let Some(before) = old.authn.issuer(issuer.name()) {
                issuer.inherit_keys(before);
            }
        }
        if let (Some(tokens), Some(before)) = (&new.authn.tokens, &old.authn.tokens) {
            tokens.inherit_uses(before);
        }
        for name in old
            .jwks_tls
            .keys()
            .filter(|name| !new.jwks_tls.contains_key(*name))
        {
            metrics::keys_not_fetched(name);
        }
        self.fetchers = fetch_keys(&new, &self.clock);
        if new.log.level != old.log.level {
            logging::set_level(new.log.level);
        }
        let generation = new.generation;
        self.policy.swap(new);
        info!(generation, "the configuration is in force");
        Reloaded::InForce { generation, notices }
    }
}

/// What needs new sockets or a new log needs a new process.
fn unchangeable(old: &Policy, new: &Policy) -> Option<&'static str> {
    let addresses = |policy: &Policy| {
        policy
            .listeners
            .iter()
            .map(|listener| listener.address)
            .collect::<Vec<_>>()
    };
    let connections = |policy: &Policy| {
        policy
            .listeners
            .iter()
            .map(|listener| listener.max_connections)
            .collect::<Vec<_>>()
    };
    if addresses(old) != addresses(new) {
        Some("listen.address")
    } else if connections(old) != connections(new) {
        Some("listen.max_connections")
    } else if old.admin.address != new.admin.address {
        Some("admin.address")
    } else if old.livy.url != new.livy.url {
        // The ledger is about one Livy, and at another one nothing of it exists.
        Some("livy.url")
    } else if old.livy.impersonation != new.livy.impersonation {
        Some("livy.impersonation")
    } else if old.state.store != new.state.store {
        Some(match (&old.state.store, &new.state.store) {
            (Store::File(_), Store::File(_)) => "state.directory",
            (Store::File(_) | Store::Memory, Store::Memory) | (Store::Memory, Store::File(_)) => {
                "state.store"
            }
        })
    } else if old.state.control != new.state.control {
        Some("state.directory")
    } else if old.log.format != new.log.format {
        Some("log.format")
    } else if old.log.audit_file != new.log.audit_file {
        Some("log.audit_file")
    } else {
        None
    }
}

fn fetch_keys(policy: &Policy, clock: &Arc<dyn Clock>) -> Vec<JwksFetcher> {
    let issuers = policy.authn.issuers.iter();
    issuers
        .filter_map(|issuer| {
            let tls = policy.jwks_tls.get(issuer.name())?;
            JwksFetcher::spawn(
                Arc::clone(issuer),
                Arc::clone(tls),
                Arc::clone(clock),
                jwks::system_random,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::hash_password;

    fn load(folder: &Path, more: &str) -> Policy {
        let base = "[listen]\naddress = \"127.0.0.1:0\"\n[livy]\nurl = \"http://127.0.0.1:8998\"\n\
                    [basic]\nusers_file = \"users.htpasswd\"\n";
        let path = folder.join("gateway.toml");
        std::fs::write(&path, format!("{base}{more}")).unwrap();
        config::load(&path, 1).unwrap()
    }

    #[test]
    fn what_is_held_stays_where_it_is_and_how_much_may_be_changes() {
        let folder = tempfile::tempdir().unwrap();
        let hash = hash_password(b"a password of this test").unwrap();
        std::fs::write(folder.path().join("users.htpasswd"), format!("alice:{hash}\n")).unwrap();
        let one = load(folder.path(), "[state]\ndirectory = \"one\"\n");
        let other = load(folder.path(), "[state]\ndirectory = \"other\"\n");
        let memory = load(folder.path(), "[state]\nstore = \"memory\"\n");
        let tuned = load(
            folder.path(),
            "[state]\ndirectory = \"one\"\nreconcile = \"30s\"\n[quota]\ncores = 1\n",
        );
        assert_eq!(unchangeable(&one, &other), Some("state.directory"));
        assert_eq!(unchangeable(&one, &memory), Some("state.store"));
        assert_eq!(unchangeable(&memory, &one), Some("state.store"));
        assert_eq!(unchangeable(&one, &tuned), None);
        let with_socket = load(
            folder.path(),
            "[state]\nstore = \"memory\"\ndirectory = \"one\"\n",
        );
        assert_eq!(unchangeable(&memory, &with_socket), Some("state.directory"));
    }

    fn limits_of(policy: &Policy) -> (Logins, LiveCounters, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(crate::clock::ManualClock::at(std::time::Duration::ZERO));
        let logins = Logins::new(Arc::clone(&clock), policy.limits.strangers, 1).unwrap();
        let users = LiveCounters::new(policy.limits.users.clone(), Arc::clone(&clock));
        (logins, users, clock)
    }

    #[tokio::test]
    async fn what_changes_while_the_gateway_starts_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let hash = hash_password(b"a password of this test").unwrap();
        let file = folder.path().join("users.htpasswd");
        std::fs::write(&file, format!("alice:{hash}\nmallory:{hash}\n")).unwrap();
        let policy = load(folder.path(), "[state]\nstore = \"memory\"\n");
        std::fs::write(&file, format!("alice:{hash}\n")).unwrap();
        let (logins, users, clock) = limits_of(&policy);
        let live = Arc::new(LivePolicy::new(policy));
        let mut reloader = Reloader::new(&folder.path().join("gateway.toml"), Arc::clone(&live), clock);
        assert_eq!(
            reloader.look(&logins, &users),
            None,
            "it may still be being written"
        );
        assert!(matches!(
            reloader.look(&logins, &users),
            Some(Reloaded::InForce { .. })
        ));
        assert!(
            live.current()
                .authn
                .users
                .as_ref()
                .unwrap()
                .get("mallory")
                .is_none()
        );
        for _ in 0..3 {
            assert_eq!(reloader.look(&logins, &users), None, "nothing has changed");
        }
    }
}
