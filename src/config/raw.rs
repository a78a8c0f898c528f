//! The file as it was written, with the defaults where nothing was: every value typed, with its place.
//!
//! What one value can be is decided in `values`; what values mean together, and the files that they name, in `compile`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::files::SecretRef;
use super::keys;
use super::problem::Problems;
use super::reader::{Reader, Written, Wrong};
use super::url::HttpUrl;
use crate::policy::{Impersonation, LogFormat, LogLevel};
use crate::rewrite::Impersonate;

mod certificates;
mod directory;
mod holding;
mod jwt;
mod limits;
mod requests;
mod values;
mod whose;

pub(super) use certificates::{RawCertificate, RawClients};
pub(super) use directory::{RawLdap, RawLdapGroups, RawLdapSearch, RawLdapTimeouts};
pub(super) use holding::{RawAssumed, RawQuota, RawQuotaFor, RawRoles, RawState, StoreKind};
pub(super) use jwt::{RawJwt, RawKeyServer, RawKeys};
pub(super) use limits::{RawClass, RawLimits, RawLimitsFor};
pub(super) use requests::{RawConf, RawRequests};
pub(super) use whose::RawWhose;

use values::{choice, livy_user, not_empty, path, realm, socket_address, timeout};

/// The whole file.
#[derive(Debug)]
pub(super) struct RawConfig {
    pub(super) allow_plain_http: Written<bool>,
    pub(super) listen: Vec<RawListen>,
    pub(super) admin: RawAdmin,
    pub(super) livy: RawLivy,
    pub(super) state: RawState,
    pub(super) basic: Option<RawBasic>,
    pub(super) jwt: Vec<RawJwt>,
    pub(super) ldap: Option<RawLdap>,
    pub(super) tokens: Option<RawTokens>,
    pub(super) certificate: RawCertificate,
    pub(super) identity: RawIdentity,
    pub(super) limits: RawLimits,
    pub(super) quota: RawQuota,
    pub(super) roles: RawRoles,
    pub(super) requests: RawRequests,
    pub(super) log: RawLog,
}

impl RawConfig {
    /// Whether clients may log in with a certificate anywhere.
    pub(super) fn takes_certificates(&self) -> bool {
        self.listen.iter().any(|listen| listen.clients.ca_file.is_some())
    }
}

/// `[listen]`, `[[listen]]`
#[derive(Debug)]
pub(super) struct RawListen {
    pub(super) address: Written<SocketAddr>,
    pub(super) base_paths: Vec<Written<String>>,
    pub(super) tls: Option<RawTls>,
    pub(super) clients: RawClients,
    pub(super) allow_plain_http: Written<bool>,
    pub(super) max_connections: Written<u32>,
    pub(super) max_connections_per_address: Written<u32>,
}

/// `listen.tls`
#[derive(Debug)]
pub(super) struct RawTls {
    pub(super) certificate_file: Written<PathBuf>,
    pub(super) key_file: Written<PathBuf>,
}

/// `[admin]`
#[derive(Debug)]
pub(super) struct RawAdmin {
    pub(super) address: Written<SocketAddr>,
    pub(super) allow_remote: Written<bool>,
    pub(super) token: Option<Written<SecretRef>>,
    pub(super) top_users: Written<u64>,
    pub(super) users: Vec<Written<String>>,
}

/// `[livy]`
#[derive(Debug)]
pub(super) struct RawLivy {
    pub(super) url: Written<HttpUrl>,
    pub(super) ca_file: Option<Written<PathBuf>>,
    pub(super) impersonate: Written<Impersonate>,
    pub(super) impersonation: Written<Impersonation>,
    pub(super) allow_shared_livy_user: Written<bool>,
    pub(super) authenticate: RawAuthenticate,
    pub(super) creations_at_once: Written<u32>,
    pub(super) requests_at_once: Written<u32>,
    pub(super) timeouts: RawTimeouts,
}

/// `livy.authenticate`
#[derive(Debug)]
pub(super) enum RawAuthenticate {
    None,
    Basic {
        user: Written<String>,
        password: Option<Written<SecretRef>>,
    },
    Simple {
        user: Written<String>,
    },
}

/// `livy.timeouts`
#[derive(Debug)]
pub(super) struct RawTimeouts {
    pub(super) connect: Written<Duration>,
    pub(super) read: Written<Duration>,
    pub(super) create: Written<Duration>,
    pub(super) delete: Written<Duration>,
}

/// `[basic]`
#[derive(Debug)]
pub(super) struct RawBasic {
    pub(super) users_file: Written<PathBuf>,
    pub(super) realm: Written<String>,
    pub(super) allow_weak_hashes: Written<bool>,
}

/// `[tokens]`
#[derive(Debug)]
pub(super) struct RawTokens {
    pub(super) file: Written<PathBuf>,
}

/// `[identity]`
#[derive(Debug)]
pub(super) struct RawIdentity {
    pub(super) also_reserved: Vec<Written<String>>,
    pub(super) groups_file: Option<Written<PathBuf>>,
    pub(super) map: Vec<RawMap>,
    pub(super) delegate: Vec<RawDelegate>,
}

/// `[[identity.map]]`
#[derive(Debug)]
pub(super) struct RawMap {
    pub(super) span: Range<usize>,
    pub(super) from: Written<String>,
    pub(super) subject: Option<Written<String>>,
    pub(super) group: Option<Written<String>>,
    pub(super) livy_user: Written<String>,
}

/// `[[identity.delegate]]`
#[derive(Debug)]
pub(super) struct RawDelegate {
    pub(super) service: Written<String>,
    pub(super) for_: Vec<Written<String>>,
    pub(super) from_addresses: Vec<Written<String>>,
}

/// `[log]`
#[derive(Debug)]
pub(super) struct RawLog {
    pub(super) format: Written<LogFormat>,
    pub(super) level: Written<LogLevel>,
    pub(super) audit_file: Option<Written<PathBuf>>,
}

/// Reads the whole file.
pub(super) fn read(document: &DeTable<'_>, problems: &Problems) -> RawConfig {
    let top = Reader::open(document, 0..0, &keys::TOP, problems);
    if !top.has("listen") {
        problems.add(
            None,
            "`listen.address` is missing",
            "write a table [listen] with address = \"127.0.0.1:8443\"",
        );
    }
    if !top.has("livy") {
        problems.add(
            None,
            "`livy.url` is missing",
            "write a table [livy] with url = \"http://127.0.0.1:8998\"",
        );
    }
    let nothing = DeTable::new();
    let section = |key, keys| {
        top.table(key, keys)
            .unwrap_or_else(|| Reader::open(&nothing, 0..0, keys, problems))
    };
    RawConfig {
        allow_plain_http: top.flag("allow_plain_http", false),
        listen: top.tables("listen", &keys::LISTEN).iter().map(listen).collect(),
        admin: admin(&section("admin", &keys::ADMIN)),
        livy: livy(&section("livy", &keys::LIVY), problems, top.has("livy")),
        state: holding::state(&section("state", &keys::STATE)),
        basic: top.table("basic", &keys::BASIC).map(|table| basic(&table)),
        jwt: top
            .tables("jwt", &keys::JWT)
            .iter()
            .map(|table| jwt::jwt(table, problems))
            .collect(),
        ldap: top
            .table("ldap", &keys::LDAP)
            .map(|table| directory::ldap(&table, problems)),
        tokens: top.table("tokens", &keys::TOKENS).map(|table| RawTokens {
            file: table.required("file", "\"tokens\"", PathBuf::new(), path),
        }),
        certificate: certificates::certificate(top.table("certificate", &keys::CERTIFICATE).as_ref()),
        identity: identity(&section("identity", &keys::IDENTITY)),
        limits: limits::limits(&section("limits", &keys::LIMITS), problems),
        quota: holding::quota(&section("quota", &keys::QUOTA), problems),
        roles: holding::roles(&section("roles", &keys::ROLES)),
        requests: requests::requests(&section("requests", &keys::REQUESTS), problems),
        log: log(&section("log", &keys::LOG)),
    }
}

fn log(table: &Reader<'_>) -> RawLog {
    RawLog {
        format: table.parsed_or("format", LogFormat::Json, |text| {
            choice(text, &[("json", LogFormat::Json), ("text", LogFormat::Text)])
        }),
        level: table.parsed_or("level", LogLevel::Info, |text| {
            choice(text, &LogLevel::ALL.map(|level| (level.word(), level)))
        }),
        audit_file: table.parsed("audit_file", path),
    }
}

/// Reads `[state]` alone.
pub(super) fn read_state(document: &DeTable<'_>, problems: &Problems) -> RawState {
    let nothing = DeTable::new();
    let table = Reader::open(document, 0..0, &keys::TOP, problems).table("state", &keys::STATE);
    holding::state(&table.unwrap_or_else(|| Reader::open(&nothing, 0..0, &keys::STATE, problems)))
}

fn listen(table: &Reader<'_>) -> RawListen {
    let base_paths = table.list("base_paths", "[\"/livy\"]", |path| Ok(path.to_owned()));
    let tls = table.table("tls", &keys::LISTEN_TLS).map(|tls| RawTls {
        certificate_file: tls.required("certificate_file", "\"tls.crt\"", PathBuf::new(), path),
        key_file: tls.required("key_file", "\"tls.key\"", PathBuf::new(), path),
    });
    if table.is_empty_list("base_paths") {
        let wrong = Wrong::new(
            "nothing is served below no path",
            "write [\"/livy\"], or [\"/\"] for the root",
        );
        table.wrong("base_paths", &wrong);
    }
    RawListen {
        address: table.required("address", "\"127.0.0.1:8443\"", STAND_IN_ADDRESS, socket_address),
        base_paths: base_paths.unwrap_or_else(|| vec![Written::default_of(DEFAULT_BASE_PATH.to_owned())]),
        tls,
        clients: certificates::clients(table),
        allow_plain_http: table.flag("allow_plain_http", false),
        max_connections: table.count("max_connections", DEFAULT_CONNECTIONS),
        max_connections_per_address: table
            .count("max_connections_per_address", DEFAULT_CONNECTIONS_PER_ADDRESS),
    }
}

fn admin(table: &Reader<'_>) -> RawAdmin {
    RawAdmin {
        address: table.parsed_or("address", DEFAULT_ADMIN_ADDRESS, socket_address),
        allow_remote: table.flag("allow_remote", false),
        token: table.secret("token"),
        top_users: table
            .number("top_users", DEFAULT_TOP_USERS)
            .unwrap_or(Written::default_of(DEFAULT_TOP_USERS)),
        users: table
            .list("users", "[\"airflow\"]", livy_user)
            .unwrap_or_default(),
    }
}

fn livy(table: &Reader<'_>, problems: &Problems, is_written: bool) -> RawLivy {
    if is_written {
        table.demand("url", "\"http://127.0.0.1:8998\"");
    }
    let nothing = DeTable::new();
    let timeouts = table
        .table("timeouts", &keys::TIMEOUTS)
        .unwrap_or_else(|| Reader::open(&nothing, 0..0, &keys::TIMEOUTS, problems));
    RawLivy {
        url: table.url("url", "write the URL without them, and authenticate = { kind = \"basic\", user = \"…\", password = \"file:…\" }")
            .unwrap_or_else(|| Written::default_of(stand_in_url())),
        ca_file: table.parsed("ca_file", path),
        impersonate: table.parsed_or("impersonate", Impersonate::Both, |text| {
            choice(text, &[("both", Impersonate::Both), ("doAs", Impersonate::DoAs), ("proxyUser", Impersonate::ProxyUser)])
        }),
        impersonation: table.parsed_or("impersonation", Impersonation::Required, |text| {
            choice(text, &[("required", Impersonation::Required), ("off", Impersonation::Off)])
        }),
        allow_shared_livy_user: table.flag("allow_shared_livy_user", false),
        authenticate: table.table("authenticate", &keys::AUTHENTICATE).map_or(RawAuthenticate::None, |table| authenticate(&table)),
        creations_at_once: table.count("creations_at_once", DEFAULT_CREATIONS),
        requests_at_once: table.count("requests_at_once", DEFAULT_REQUESTS),
        timeouts: RawTimeouts {
            connect: timeout(&timeouts, "connect", DEFAULT_CONNECT, Duration::from_mins(1)),
            read: timeout(&timeouts, "read", DEFAULT_READ, Duration::from_mins(10)),
            create: timeout(&timeouts, "create", DEFAULT_CREATE, Duration::from_mins(30)),
            delete: timeout(&timeouts, "delete", DEFAULT_DELETE, Duration::from_mins(30)),
        },
    }
}

fn authenticate(table: &Reader<'_>) -> RawAuthenticate {
    #[derive(Clone, Copy)]
    enum Kind {
        None,
        Basic,
        Simple,
    }
    let kinds = [
        ("none", Kind::None),
        ("basic", Kind::Basic),
        ("simple", Kind::Simple),
    ];
    let kind = table.required("kind", "\"none\", \"basic\" or \"simple\"", Kind::None, |text| {
        choice(text, &kinds)
    });
    let user = || table.required("user", "\"gw\"", String::new(), not_empty);
    // Read whatever the kind, so that a literal secret is noticed everywhere.
    let password = table.secret("password");
    let stray = |key: &str, kind: &str| {
        if table.has(key) {
            table.wrong(
                key,
                &Wrong::new(
                    format!("kind = \"{kind}\" has no {key}"),
                    "remove it, or write the right kind",
                ),
            );
        }
    };
    match kind.value {
        Kind::None => {
            if kind.span.is_some() {
                stray("user", "none");
                stray("password", "none");
            }
            RawAuthenticate::None
        }
        Kind::Basic => {
            table.demand("password", "\"file:livy.password\"");
            RawAuthenticate::Basic {
                user: user(),
                password,
            }
        }
        Kind::Simple => {
            stray("password", "simple");
            RawAuthenticate::Simple { user: user() }
        }
    }
}

fn basic(table: &Reader<'_>) -> RawBasic {
    RawBasic {
        users_file: table.required("users_file", "\"users.htpasswd\"", PathBuf::new(), path),
        realm: table.parsed_or("realm", DEFAULT_REALM.to_owned(), realm),
        allow_weak_hashes: table.flag("allow_weak_hashes", false),
    }
}

fn identity(table: &Reader<'_>) -> RawIdentity {
    let text = |text: &str| Ok(text.to_owned());
    let map = |table: &Reader<'_>| RawMap {
        span: table.span().clone(),
        from: table.required(
            "from",
            "\"basic\", \"jwt:NAME\" or \"any\"",
            String::new(),
            not_empty,
        ),
        subject: table.parsed("subject", not_empty),
        group: table.parsed("group", not_empty),
        livy_user: table.required("livy_user", "\"${subject}\"", String::new(), not_empty),
    };
    let delegate = |table: &Reader<'_>| {
        table.demand("for", "[\"user:carol\"]");
        let for_ = table.list("for", "[\"user:carol\"]", text);
        if table.is_empty_list("for") {
            table.wrong(
                "for",
                &Wrong::new(
                    "an empty list lets the service act for nobody",
                    "write whom it may act for, such as [\"user:carol\"], or remove the table",
                ),
            );
        }
        let from_addresses = table.list("from_addresses", "[\"10.1.0.0/16\"]", text);
        if table.is_empty_list("from_addresses") {
            table.wrong(
                "from_addresses",
                &Wrong::new(
                    "an empty list lets the service in from nowhere",
                    "write its addresses, or remove the key to allow every address",
                ),
            );
        }
        RawDelegate {
            service: table.required("service", "\"basic:zeppelin\"", String::new(), not_empty),
            for_: for_.unwrap_or_default(),
            from_addresses: from_addresses.unwrap_or_default(),
        }
    };
    RawIdentity {
        also_reserved: table
            .list("also_reserved", "[\"etl-root\"]", not_empty)
            .unwrap_or_default(),
        groups_file: table.parsed("groups_file", path),
        map: table.tables("map", &keys::MAP).iter().map(map).collect(),
        delegate: table
            .tables("delegate", &keys::DELEGATE)
            .iter()
            .map(delegate)
            .collect(),
    }
}

/// Never connected to: a problem was recorded.
fn stand_in_url() -> HttpUrl {
    HttpUrl {
        text: String::new(),
        is_https: false,
        host: "localhost".to_owned(),
        port: 0,
        authority: "localhost".to_owned(),
        path: String::new(),
    }
}

const STAND_IN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const DEFAULT_ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
const DEFAULT_BASE_PATH: &str = "/livy";
const DEFAULT_CONNECTIONS: u32 = 10_000;
const DEFAULT_CONNECTIONS_PER_ADDRESS: u32 = 2_000;
const DEFAULT_CREATIONS: u32 = 8;
/// Livy's server has 200 threads (Jetty's default, which Livy does not make configurable).
const DEFAULT_REQUESTS: u32 = 128;
const DEFAULT_TOP_USERS: u64 = 10;
const DEFAULT_CONNECT: Duration = Duration::from_secs(3);
const DEFAULT_READ: Duration = Duration::from_secs(30);
const DEFAULT_CREATE: Duration = Duration::from_secs(90);
const DEFAULT_DELETE: Duration = Duration::from_secs(120);
/// What challenges call the gateway.
pub(super) const DEFAULT_REALM: &str = "livy";
