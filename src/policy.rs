//! The compiled, immutable configuration: if there is a [`Policy`], it is right.
//!
//! Only `config` makes one. A request loads the current one once and keeps it to its end; a reload swaps it whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;

use crate::authn::{Authn, Certificates};
use crate::body_policy::BodyRules;
use crate::identity::Identities;
use crate::limits::{LoginLimits, UserLimits};
use crate::livy::target::BasePaths;
use crate::quota::Quotas;
use crate::rewrite::Endpoint;
use crate::roles::Roles;

/// Everything that was configured, compiled.
#[derive(Debug)]
pub struct Policy {
    /// Counts the policies of this process: what was derived from an older one is derived anew.
    pub generation: u64,
    /// Where clients come in.
    pub listeners: Vec<Listener>,
    /// Where operators look in.
    pub admin: Admin,
    /// The Livy behind the gateway.
    pub livy: Livy,
    /// Where it is kept who holds what, and how that is compared with Livy.
    pub state: State,
    /// Who may prove what.
    pub authn: Arc<Authn>,
    /// As whom Livy acts.
    pub identities: Arc<Identities>,
    /// What a request may bring.
    pub requests: Requests,
    /// How fast one may ask.
    pub limits: Limits,
    /// How much each user may hold.
    pub quotas: Quotas,
    /// Who may look after others' sessions.
    pub roles: Roles,
    /// What is written about requests.
    pub log: Log,
    /// Each insecure setting in force, as a sentence.
    pub insecure: Vec<String>,
    /// Each setting that is allowed but rarely meant, as a sentence.
    pub warnings: Vec<String>,
    /// Every other file that was read, for a reload to watch.
    pub files: Vec<PathBuf>,
    /// What was in each of them when it was read, as a number to compare; the configuration's own file comes first.
    pub contents: Vec<u64>,
    /// How the keys of each issuer are fetched whose keys are, by its name.
    pub jwks_tls: BTreeMap<String, Arc<rustls::ClientConfig>>,
}

impl Policy {
    /// Everything that is told when this is put in force at `now_wall` since 1970, as sentences: what is insecure, what is
    /// rarely meant, and what has ended.
    pub fn notices(&self, now_wall: Duration) -> Vec<String> {
        let said = self.insecure.iter().chain(&self.warnings).cloned();
        said.chain(self.overdue(now_wall)).collect()
    }

    /// What has ended by then and was good once; each sentence once, though several listeners may have one file.
    pub fn overdue(&self, now_wall: Duration) -> BTreeSet<String> {
        let certificates = self
            .listeners
            .iter()
            .filter_map(|listener| listener.client_certificates.as_ref());
        certificates
            .flat_map(|certificates| certificates.overdue(now_wall))
            .collect()
    }
}

/// How fast one may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Those who are not known yet.
    pub strangers: LoginLimits,
    /// Those who are.
    pub users: UserLimits,
}

/// One listening address.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Where the API is served below.
    pub base_paths: Arc<BasePaths>,
    /// Certificate and key, ready to use; none means plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Which client certificates are logins here; none means that nobody is asked for one.
    pub client_certificates: Option<Arc<Certificates>>,
    /// Connections open at once, over all workers.
    pub max_connections: usize,
    /// How many of them may be of one address; a new one beyond that is closed at once.
    pub max_connections_per_address: u32,
}

/// The operators' listener.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address and port.
    pub address: SocketAddr,
    /// The bearer token that every request must bring; always there beyond loopback.
    pub token: Option<SecretString>,
    /// Of how many users, the busiest, there are metrics by name.
    pub top_users: usize,
    /// Of whom there are besides.
    pub users: Vec<String>,
}

/// The Livy behind the gateway.
#[derive(Debug, Clone)]
pub struct Livy {
    /// As configured, for people.
    pub url: String,
    /// Host name or address to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// How to speak TLS to it; none means plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// How requests to it are written.
    pub endpoint: Endpoint,
    /// What it must do with the user it is told.
    pub impersonation: Impersonation,
    /// How many creations may be under way to it at once; the others wait here. At least one.
    pub creations_at_once: usize,
    /// How many other requests may be under way to it at once, of all users together. At least one.
    pub requests_at_once: usize,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// What Livy must do with the user it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impersonation {
    /// Each new session must report the user as its `proxyUser`.
    Required,
    /// Everybody runs as Livy's own user.
    Off,
}

/// How long Livy may take, by class of operation.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To accept a connection, TLS included.
    pub connect: Duration,
    /// To answer, and between two pieces of an answer.
    pub read: Duration,
    /// To answer a creation.
    pub create: Duration,
    /// To answer a deletion or a stop.
    pub delete: Duration,
}

/// Where it is kept who holds what, and how that is compared with Livy.
#[derive(Debug, Clone)]
pub struct State {
    /// Where.
    pub store: Store,
    /// The operators' socket: in the state directory, if there is one.
    pub control: Option<PathBuf>,
    /// How often Livy's lists are read and compared.
    pub reconcile: Duration,
    /// How long a creation whose fate is unknown keeps its place.
    pub in_doubt_hold: Duration,
    /// What becomes of ghosts.
    pub ghosts: Ghosts,
}

/// Where the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In a file of this folder.
    File(PathBuf),
    /// Nowhere: it is gone with the process.
    Memory,
}

/// What becomes of a session that Livy created although its creator was told that it failed, or that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ghosts {
    /// It is deleted: nobody knows of it, and it would hold resources for ever.
    Delete,
    /// Its creator finds it in its list, and is charged.
    Keep,
}

/// What a request may bring.
#[derive(Debug, Clone)]
pub struct Requests {
    /// The largest JSON body, in bytes.
    pub max_body: usize,
    /// The largest uploaded file, in bytes.
    pub max_upload: u64,
    /// Top-level keys of creations that this gateway does not know but Livy does.
    pub extra_fields: Vec<String>,
    /// What a creation may ask for.
    pub rules: BodyRules,
}

/// What is written about requests.
#[derive(Debug, Clone)]
pub struct Log {
    /// One JSON object a line, or text.
    pub format: LogFormat,
    /// From which level on lines are written.
    pub level: LogLevel,
    /// Where the audit is written, beside the log.
    pub audit_file: Option<PathBuf>,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How much is logged: each level with all that is graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What an operator must mend.
    Error,
    /// What an operator should know.
    Warn,
    /// One line for each request, and what the gateway does by itself.
    Info,
    /// Why something was refused, for who looks for it.
    Debug,
}

impl LogLevel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// As the configuration writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The policy in force, swapped atomically.
#[derive(Debug)]
pub struct LivePolicy(ArcSwap<Policy>);

impl LivePolicy {
    /// Starts with `policy`.
    pub fn new(policy: Policy) -> Self {
        Self(ArcSwap::from_pointee(policy))
    }

    /// The policy in force now; a request asks once.
    pub fn current(&self) -> Arc<Policy> {
        self.0.load_full()
    }

    /// Puts `policy` in force for every request that begins from now on.
    pub fn swap(&self, policy: Policy) {
        self.0.store(Arc::new(policy));
    }
}
