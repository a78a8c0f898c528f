//! What a configuration means: as a complete file, and in a few lines for people.
//!
//! Secrets are never in here: the raw configuration holds references to them only.

use std::fmt::{Display, Write};
use std::time::Duration;

use toml::Value;

use super::raw::{
    RawAuthenticate, RawBasic, RawConf, RawConfig, RawDelegate, RawIdentity, RawListen, RawLivy, RawLog,
    RawMap, RawRequests, RawTokens,
};
use super::reader::{Scalar, Written};
use super::units::{show_duration, show_size};
use crate::body_policy::rules::ConfMode;
use crate::policy::{Impersonation, LogFormat, Policy};
use crate::rewrite::Impersonate;

mod certificates;
mod directory;
mod holding;
mod jwt;
mod limits;

/// Writes `key = value` lines and headers; what is a default says so.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn header(&mut self, header: &str) {
        let _ = writeln!(self.0, "\n{header}");
    }

    /// A value that is TOML already.
    fn line<T>(&mut self, key: &str, written: &Written<T>, value: impl Display) {
        let note = if written.span.is_none() { "  # default" } else { "" };
        let _ = writeln!(self.0, "{key} = {value}{note}");
    }

    fn text<T>(&mut self, key: &str, written: &Written<T>, value: impl Display) {
        self.line(key, written, quoted(value));
    }

    fn optional<T>(&mut self, key: &str, written: Option<&Written<T>>, value: impl Fn(&T) -> String) {
        if let Some(written) = written {
            self.text(key, written, value(&written.value));
        }
    }

    /// A list; an empty one is always the default, and is written out where that can be.
    fn list(&mut self, key: &str, items: &[Written<String>]) {
        let is_default = items.iter().all(|item| item.span.is_none());
        let note = if is_default { "  # default" } else { "" };
        let items: Vec<_> = items.iter().map(|item| quoted(&item.value)).collect();
        let _ = writeln!(self.0, "{key} = [{}]{note}", items.join(", "));
    }
}

/// The whole file as it is in force.
pub(super) fn effective(raw: &RawConfig) -> String {
    let RawConfig {
        allow_plain_http,
        listen,
        admin,
        livy,
        state,
        basic,
        jwt,
        ldap,
        tokens,
        certificate,
        identity,
        limits,
        quota,
        roles,
        requests,
        log,
    } = raw;
    let mut page = Page::default();
    page.line("allow_plain_http", allow_plain_http, allow_plain_http.value);
    for listen in listen {
        show_listen(&mut page, listen);
    }
    page.header("[admin]");
    page.text("address", &admin.address, admin.address.value);
    page.line("allow_remote", &admin.allow_remote, admin.allow_remote.value);
    page.optional("token", admin.token.as_ref(), ToString::to_string);
    page.line("top_users", &admin.top_users, admin.top_users.value);
    page.list("users", &admin.users);
    show_livy(&mut page, livy);
    holding::state(&mut page, state);
    if let Some(RawBasic {
        users_file,
        realm,
        allow_weak_hashes,
    }) = basic
    {
        page.header("[basic]");
        page.text("users_file", users_file, users_file.value.display());
        page.text("realm", realm, &realm.value);
        page.line("allow_weak_hashes", allow_weak_hashes, allow_weak_hashes.value);
    }
    for entry in jwt {
        jwt::jwt(&mut page, entry);
    }
    if let Some(ldap) = ldap {
        directory::ldap(&mut page, ldap);
    }
    if let Some(RawTokens { file }) = tokens {
        page.header("[tokens]");
        page.text("file", file, file.value.display());
    }
    if raw.takes_certificates() {
        certificates::certificate(&mut page, certificate);
    }
    show_identity(&mut page, identity);
    limits::limits(&mut page, limits);
    holding::quota(&mut page, quota);
    holding::roles(&mut page, roles);
    show_requests(&mut page, requests);
    page.header("[log]");
    let RawLog {
        format,
        level,
        audit_file,
    } = log;
    page.text("format", format, log_format(format.value));
    page.text("level", level, level.value.word());
    page.optional("audit_file", audit_file.as_ref(), |path| {
        path.display().to_string()
    });
    page.0
}

fn show_listen(page: &mut Page, raw: &RawListen) {
    let RawListen {
        address,
        base_paths,
        tls,
        clients,
        allow_plain_http,
        max_connections,
        max_connections_per_address,
    } = raw;
    page.header("[[listen]]");
    page.text("address", address, address.value);
    page.list("base_paths", base_paths);
    page.line("allow_plain_http", allow_plain_http, allow_plain_http.value);
    page.line("max_connections", max_connections, max_connections.value);
    page.line(
        "max_connections_per_address",
        max_connections_per_address,
        max_connections_per_address.value,
    );
    certificates::clients(page, clients);
    if let Some(tls) = tls {
        page.header("[listen.tls]");
        page.text(
            "certificate_file",
            &tls.certificate_file,
            tls.certificate_file.value.display(),
        );
        page.text("key_file", &tls.key_file, tls.key_file.value.display());
    }
}

fn show_livy(page: &mut Page, raw: &RawLivy) {
    let RawLivy {
        url,
        ca_file,
        impersonate,
        impersonation,
        allow_shared_livy_user,
        authenticate,
        creations_at_once,
        requests_at_once,
        timeouts,
    } = raw;
    page.header("[livy]");
    page.text("url", url, &url.value.text);
    page.optional("ca_file", ca_file.as_ref(), |path| path.display().to_string());
    page.text("impersonate", impersonate, impersonate_word(impersonate.value));
    page.text(
        "impersonation",
        impersonation,
        impersonation_word(impersonation.value),
    );
    page.line(
        "allow_shared_livy_user",
        allow_shared_livy_user,
        allow_shared_livy_user.value,
    );
    page.line("creations_at_once", creations_at_once, creations_at_once.value);
    page.line("requests_at_once", requests_at_once, requests_at_once.value);
    page.header("[livy.authenticate]");
    match authenticate {
        RawAuthenticate::None => page.0.push_str("kind = \"none\"\n"),
        RawAuthenticate::Basic { user, password } => {
            page.0.push_str("kind = \"basic\"\n");
            page.text("user", user, &user.value);
            page.optional("password", password.as_ref(), ToString::to_string);
        }
        RawAuthenticate::Simple { user } => {
            page.0.push_str("kind = \"simple\"\n");
            page.text("user", user, &user.value);
        }
    }
    page.header("[livy.timeouts]");
    let times = [
        ("connect", &timeouts.connect),
        ("read", &timeouts.read),
        ("create", &timeouts.create),
        ("delete", &timeouts.delete),
    ];
    for (key, time) in times {
        page.text(key, time, show_duration(time.value));
    }
}

fn show_identity(page: &mut Page, raw: &RawIdentity) {
    let RawIdentity {
        also_reserved,
        groups_file,
        map,
        delegate,
    } = raw;
    page.header("[identity]");
    page.list("also_reserved", also_reserved);
    page.optional("groups_file", groups_file.as_ref(), |path| {
        path.display().to_string()
    });
    for rule in map {
        let RawMap {
            span: _,
            from,
            subject,
            group,
            livy_user,
        } = rule;
        page.header("[[identity.map]]");
        page.text("from", from, &from.value);
        page.optional("subject", subject.as_ref(), Clone::clone);
        page.optional("group", group.as_ref(), Clone::clone);
        page.text("livy_user", livy_user, &livy_user.value);
    }
    for rule in delegate {
        let RawDelegate {
            service,
            for_,
            from_addresses,
        } = rule;
        page.header("[[identity.delegate]]");
        page.text("service", service, &service.value);
        page.list("for", for_);
        if !from_addresses.is_empty() {
            page.list("from_addresses", from_addresses);
        }
    }
}

fn show_requests(page: &mut Page, raw: &RawRequests) {
    let RawRequests {
        max_body,
        max_upload,
        extra_fields,
        file_schemes,
        max_ttl,
        conf,
    } = raw;
    page.header("[requests]");
    page.text("max_body", max_body, show_size(max_body.value));
    page.text("max_upload", max_upload, show_size(max_upload.value));
    page.list("extra_fields", extra_fields);
    if file_schemes.is_empty() {
        page.0.push_str("file_schemes = []\n");
    } else {
        page.list("file_schemes", file_schemes);
    }
    page.optional("max_ttl", max_ttl.as_ref(), |time| show_duration(*time));
    let RawConf {
        mode,
        also_deny,
        allow,
        allow_unsafe,
        default,
        force,
        max,
    } = conf;
    page.header("[requests.conf]");
    page.text("mode", mode, conf_mode(mode.value));
    page.list("also_deny", also_deny);
    page.list("allow", allow);
    page.list("allow_unsafe", allow_unsafe);
    for (header, settings) in [
        ("[requests.conf.default]", default),
        ("[requests.conf.force]", force),
        ("[requests.conf.max]", max),
    ] {
        if !settings.is_empty() {
            page.header(header);
        }
        for (key, value) in settings {
            let shown = match &value.value {
                Scalar::Text(text) => quoted(text),
                Scalar::Number(number) => number.to_string(),
                Scalar::Flag(flag) => flag.to_string(),
            };
            page.line(&quoted(&key.value), value, shown);
        }
    }
}

/// What the configuration means at `now_wall`, in about ten lines.
pub(super) fn summary(raw: &RawConfig, policy: &Policy, now_wall: Duration) -> String {
    let mut out = String::new();
    for listen in &raw.listen {
        let scheme = if listen.tls.is_some() { "https" } else { "http" };
        let paths: Vec<_> = listen.base_paths.iter().map(|path| path.value.as_str()).collect();
        let _ = writeln!(
            out,
            "clients    {scheme}://{} at {}",
            listen.address.value,
            paths.join(", ")
        );
    }
    let token = if policy.admin.token.is_some() {
        "with a token"
    } else {
        "without a token"
    };
    let _ = writeln!(out, "operators  http://{}/metrics, {token}", policy.admin.address);
    let login = match &raw.livy.authenticate {
        RawAuthenticate::None => "without a login".to_owned(),
        RawAuthenticate::Basic { user, password: _ } => format!("as {} by Basic", user.value),
        RawAuthenticate::Simple { user } => format!("as {} by user.name", user.value),
    };
    let _ = writeln!(out, "Livy       {} {login}", policy.livy.url);
    let told = match policy.livy.endpoint.impersonate {
        Impersonate::Both => "doAs and proxyUser",
        Impersonate::DoAs => "doAs",
        Impersonate::ProxyUser => "proxyUser",
    };
    let held = match policy.livy.impersonation {
        Impersonation::Required => "and each new session must report that user",
        Impersonation::Off => "and Livy runs everything as its own user",
    };
    let _ = writeln!(out, "as whom    {told} on behalf of each login, {held}");
    if let Some(users) = &policy.authn.users {
        let _ = writeln!(out, "login      Basic: {}", counted(users.len(), "user"));
    }
    for jwt in &raw.jwt {
        let algorithms: Vec<_> = jwt.algorithms.iter().map(|name| name.value.as_str()).collect();
        let password = if jwt.as_basic_password.value {
            ", also as Basic password"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "login      jwt:{} from {}, {}{password}",
            jwt.name.value,
            jwt.issuer.value,
            algorithms.join(" ")
        );
    }
    if let Some(ldap) = &raw.ldap {
        out.push_str(&directory::summary(ldap));
    }
    if let Some(tokens) = &policy.authn.tokens {
        let _ = writeln!(out, "login      {}", counted(tokens.len(), "personal token"));
    }
    certificates::summary(&mut out, raw);
    let mapped = match raw.identity.map.len() {
        0 => "each login is the Livy user of the same name".to_owned(),
        rules => counted(rules, "rule"),
    };
    let _ = writeln!(
        out,
        "identity   {mapped}; {}",
        counted(raw.identity.delegate.len(), "delegate")
    );
    let _ = writeln!(
        out,
        "{}; bodies {}, uploads {}",
        limits::summary(&raw.limits),
        show_size(raw.requests.max_body.value),
        show_size(policy.requests.max_upload)
    );
    out.push_str(&holding::summary(raw, policy));
    let conf = &raw.requests.conf;
    let rules = [&conf.default, &conf.force, &conf.max]
        .map(Vec::len)
        .iter()
        .sum::<usize>();
    let rules = rules + conf.also_deny.len() + conf.allow.len() + conf.allow_unsafe.len();
    let schemes: Vec<_> = raw
        .requests
        .file_schemes
        .iter()
        .map(|scheme| scheme.value.as_str())
        .collect();
    let _ = writeln!(
        out,
        "creations  {} conf with {}; files from {}",
        conf_mode(conf.mode.value),
        counted(rules, "own rule"),
        if schemes.is_empty() {
            "the default file system".to_owned()
        } else {
            schemes.join(", ")
        }
    );
    if let Some(file) = &policy.log.audit_file {
        let _ = writeln!(out, "audit      in {}", file.display());
    }
    for sentence in &policy.insecure {
        let _ = writeln!(out, "INSECURE   {sentence}");
    }
    for sentence in policy.warnings.iter().chain(&policy.overdue(now_wall)) {
        let _ = writeln!(out, "warning    {sentence}");
    }
    out
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// As TOML writes a string, quotes and escapes included.
fn quoted(text: impl Display) -> String {
    Value::String(text.to_string()).to_string()
}

fn impersonate_word(impersonate: Impersonate) -> &'static str {
    match impersonate {
        Impersonate::Both => "both",
        Impersonate::DoAs => "doAs",
        Impersonate::ProxyUser => "proxyUser",
    }
}

fn impersonation_word(impersonation: Impersonation) -> &'static str {
    match impersonation {
        Impersonation::Required => "required",
        Impersonation::Off => "off",
    }
}

fn conf_mode(mode: ConfMode) -> &'static str {
    match mode {
        ConfMode::DenyListed => "deny-listed",
        ConfMode::AllowListed => "allow-listed",
    }
}

fn log_format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    }
}
