//! Every key that the file may hold, and every key that a later version will have.
//!
//! What is in neither list is a mistake and refused with the nearest known name; what is in the second is refused
//! by name, so that nobody believes in a protection that is not there yet.

/// The keys of one table.
#[derive(Debug)]
pub struct Keys {
    /// The table's name as a header has it; empty for the top of the file.
    pub table: &'static str,
    /// What this version reads.
    pub known: &'static [&'static str],
    /// What this version refuses by name.
    pub later: &'static [&'static str],
}

impl Keys {
    /// A key of this table as it is named in messages: `livy.url`.
    pub fn path_of(&self, key: &str) -> String {
        if self.table.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.table)
        }
    }
}

/// Every table of the file, in the order of `config/gateway.toml`.
pub const TABLES: &[&Keys] = &[
    &TOP,
    &LISTEN,
    &LISTEN_TLS,
    &ADMIN,
    &LIVY,
    &AUTHENTICATE,
    &TIMEOUTS,
    &STATE,
    &BASIC,
    &JWT,
    &JWT_KEYS,
    &LDAP,
    &LDAP_SEARCH,
    &LDAP_GROUPS,
    &LDAP_TIMEOUTS,
    &TOKENS,
    &CERTIFICATE,
    &IDENTITY,
    &MAP,
    &DELEGATE,
    &LIMITS,
    &LIMITS_CREATE,
    &LIMITS_STATEMENT,
    &LIMITS_READ,
    &LIMITS_UPLOAD,
    &PER_ADDRESS,
    &FAILED_LOGINS,
    &LIMITS_FOR,
    &QUOTA,
    &QUOTA_ASSUMED,
    &QUOTA_FOR,
    &ROLES,
    &REQUESTS,
    &REQUESTS_CONF,
    &LOG,
];

pub(super) const TOP: Keys = Keys {
    table: "",
    known: &[
        "allow_plain_http",
        "listen",
        "admin",
        "livy",
        "state",
        "basic",
        "jwt",
        "ldap",
        "tokens",
        "certificate",
        "identity",
        "limits",
        "quota",
        "roles",
        "requests",
        "log",
    ],
    later: &["cluster", "kerberos"],
};
pub(super) const LISTEN: Keys = Keys {
    table: "listen",
    known: &[
        "address",
        "base_paths",
        "tls",
        "client_ca_file",
        "client_certificates",
        "client_crl_file",
        "allow_plain_http",
        "max_connections",
        "max_connections_per_address",
    ],
    later: &["trusted_proxies", "proxy_protocol"],
};
pub(super) const LISTEN_TLS: Keys = Keys {
    table: "listen.tls",
    known: &["certificate_file", "key_file"],
    later: &[],
};
pub(super) const ADMIN: Keys = Keys {
    table: "admin",
    known: &["address", "allow_remote", "token", "top_users", "users"],
    later: &[],
};
pub(super) const LIVY: Keys = Keys {
    table: "livy",
    known: &[
        "url",
        "ca_file",
        "impersonate",
        "impersonation",
        "allow_shared_livy_user",
        "authenticate",
        "creations_at_once",
        "requests_at_once",
        "timeouts",
    ],
    later: &[],
};
pub(super) const AUTHENTICATE: Keys = Keys {
    table: "livy.authenticate",
    known: &["kind", "user", "password"],
    later: &[],
};
pub(super) const TIMEOUTS: Keys = Keys {
    table: "livy.timeouts",
    known: &["connect", "read", "create", "delete"],
    later: &[],
};
pub(super) const STATE: Keys = Keys {
    table: "state",
    known: &["store", "directory", "reconcile", "in_doubt_hold", "ghosts"],
    later: &[],
};
pub(super) const BASIC: Keys = Keys {
    table: "basic",
    known: &["users_file", "realm", "allow_weak_hashes"],
    later: &[],
};
pub(super) const JWT: Keys = Keys {
    table: "jwt",
    known: &[
        "name",
        "issuer",
        "audience",
        "algorithms",
        "keys",
        "user_claim",
        "groups_claim",
        "required_claims",
        "as_basic_password",
        "leeway",
        "token_types",
        "accept_id_tokens",
        "denied_subjects",
        "denied_token_ids",
        "reads_after_expiry",
        "stale_keys",
    ],
    later: &[],
};
pub(super) const JWT_KEYS: Keys = Keys {
    table: "jwt.keys",
    known: &["discovery", "url", "file", "secret", "ca_file"],
    later: &[],
};
pub(super) const LDAP: Keys = Keys {
    table: "ldap",
    known: &[
        "urls",
        "ca_file",
        "start_tls",
        "allow_plain_ldap",
        "bind_dn",
        "search",
        "user_attribute",
        "groups",
        "timeouts",
        "cache",
        "cache_refused",
        "offline_grace",
        "max_connections",
    ],
    later: &[],
};
pub(super) const LDAP_SEARCH: Keys = Keys {
    table: "ldap.search",
    known: &["base", "filter", "bind_dn", "password"],
    later: &[],
};
pub(super) const LDAP_GROUPS: Keys = Keys {
    table: "ldap.groups",
    known: &["base", "attribute", "filter", "name_attribute"],
    later: &[],
};
pub(super) const LDAP_TIMEOUTS: Keys = Keys {
    table: "ldap.timeouts",
    known: &["connect", "operation"],
    later: &[],
};
pub(super) const TOKENS: Keys = Keys {
    table: "tokens",
    known: &["file"],
    later: &[],
};
pub(super) const CERTIFICATE: Keys = Keys {
    table: "certificate",
    known: &["subject"],
    later: &[],
};
pub(super) const IDENTITY: Keys = Keys {
    table: "identity",
    known: &["also_reserved", "groups_file", "map", "delegate"],
    later: &[],
};
pub(super) const MAP: Keys = Keys {
    table: "identity.map",
    known: &["from", "subject", "group", "livy_user"],
    later: &[],
};
pub(super) const DELEGATE: Keys = Keys {
    table: "identity.delegate",
    known: &["service", "for", "from_addresses"],
    later: &[],
};
pub(super) const LIMITS: Keys = Keys {
    table: "limits",
    known: &[
        "create",
        "statement",
        "read",
        "upload",
        "concurrent_requests",
        "per_address",
        "failed_logins",
        "for",
    ],
    later: &[],
};
pub(super) const LIMITS_CREATE: Keys = Keys {
    table: "limits.create",
    known: &["rate", "burst"],
    later: &[],
};
pub(super) const LIMITS_STATEMENT: Keys = Keys {
    table: "limits.statement",
    known: &["rate", "burst"],
    later: &[],
};
pub(super) const LIMITS_READ: Keys = Keys {
    table: "limits.read",
    known: &["rate", "burst", "delay"],
    later: &[],
};
pub(super) const LIMITS_UPLOAD: Keys = Keys {
    table: "limits.upload",
    known: &["rate", "burst"],
    later: &[],
};
pub(super) const LIMITS_FOR: Keys = Keys {
    table: "limits.for",
    known: &[
        "user",
        "members_of",
        "group",
        "everybody",
        "create",
        "statement",
        "read",
        "upload",
        "concurrent_requests",
    ],
    later: &[],
};
pub(super) const PER_ADDRESS: Keys = Keys {
    table: "limits.per_address",
    known: &["rate", "burst"],
    later: &[],
};
pub(super) const FAILED_LOGINS: Keys = Keys {
    table: "limits.failed_logins",
    known: &["per_address", "per_address_and_account"],
    later: &[],
};
pub(super) const QUOTA: Keys = Keys {
    table: "quota",
    known: &["sessions", "batches", "cores", "memory", "assumed", "for"],
    later: &[],
};
pub(super) const QUOTA_ASSUMED: Keys = Keys {
    table: "quota.assumed",
    known: &[
        "driver_cores",
        "driver_memory",
        "executors",
        "executor_cores",
        "executor_memory",
        "unlimited_executors",
        "unreadable_cores",
        "unreadable_memory",
    ],
    later: &[],
};
pub(super) const QUOTA_FOR: Keys = Keys {
    table: "quota.for",
    known: &[
        "user",
        "members_of",
        "group",
        "everybody",
        "sessions",
        "batches",
        "cores",
        "memory",
    ],
    later: &[],
};
pub(super) const ROLES: Keys = Keys {
    table: "roles",
    known: &["admin", "operator", "viewer"],
    later: &[],
};
pub(super) const REQUESTS: Keys = Keys {
    table: "requests",
    known: &[
        "max_body",
        "max_upload",
        "extra_fields",
        "file_schemes",
        "max_ttl",
        "conf",
    ],
    later: &[],
};
pub(super) const REQUESTS_CONF: Keys = Keys {
    table: "requests.conf",
    known: &[
        "mode",
        "also_deny",
        "allow",
        "allow_unsafe",
        "default",
        "force",
        "max",
    ],
    later: &[],
};
pub(super) const LOG: Keys = Keys {
    table: "log",
    known: &["format", "level", "audit_file"],
    later: &[],
};
