//! From what was written to what is in force: the rules between keys, and the files that they name.
//!
//! Every part is compiled whatever became of the others, so that all problems show at once. If there is a policy,
//! it is right: there is no other validation.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::files::{Files, Secrecy};
use super::problem::Problems;
use super::raw::{RawAdmin, RawAuthenticate, RawConfig, RawListen, RawLivy, RawLog, RawTimeouts, RawTls};
use super::reader::{Written, Wrong};
use super::tls::{self, Authorities, PairFile};
use super::units;
use crate::authn::CertificateName;
use crate::livy::target::BasePaths;
use crate::policy::{Admin, Impersonation, Listener, Livy, Log, Policy, Timeouts};
use crate::rewrite::{Endpoint, UpstreamLogin};

mod certificates;
mod directory;
mod holding;
mod issuers;
mod limits;
mod logins;
mod requests;
mod typos;
mod whose;

pub(super) use holding::control_socket;

/// What the parts share while they are compiled.
#[derive(Debug)]
struct Context<'a> {
    problems: &'a Problems,
    files: Files<'a>,
    insecure: RefCell<Vec<String>>,
    warnings: RefCell<Vec<String>>,
}

impl Context<'_> {
    /// A setting is in force that gives up protection.
    fn insecure(&self, sentence: String) {
        self.insecure.borrow_mut().push(sentence);
    }

    /// Records that the value of `key` cannot be used.
    fn wrong<T>(&self, key: &str, at: &Written<T>, wrong: &Wrong) {
        self.problems.add(
            at.span.as_ref(),
            format!("`{key}`: {}", wrong.what),
            wrong.instead.as_str(),
        );
    }
}

/// Compiles the whole file, which lies in `directory`; nothing if a problem was recorded on the way.
pub(super) fn compile(
    raw: &RawConfig,
    directory: &Path,
    generation: u64,
    problems: &Problems,
) -> Option<Policy> {
    // Each part by name: a new one does not compile until it is handled here.
    let RawConfig {
        allow_plain_http,
        listen,
        admin,
        livy,
        state,
        basic: _,
        jwt,
        ldap: _,
        tokens: _,
        certificate,
        identity,
        limits,
        quota,
        roles,
        requests,
        log,
    } = raw;
    let context = Context {
        problems,
        files: Files::new(directory, problems),
        insecure: RefCell::default(),
        warnings: RefCell::default(),
    };
    let listeners = listeners(
        listen,
        allow_plain_http.value,
        certificate.subject.value,
        &context,
    );
    certificates::check(raw, &context);
    let admin = admin_listener(admin, listen, &context);
    let state = holding::state(state, &livy.timeouts, &context);
    let livy = livy_server(livy, &context);
    let authn = logins::authn(raw, &context);
    let roles = holding::roles(roles);
    let identities = logins::identities(raw, identity, authn.as_ref(), &roles, &context);
    let jwks_tls = issuers::key_servers_tls(jwt, &context);
    holding::warn_of_groups_that_nobody_has(raw, authn.as_ref(), identities.as_ref(), &context);
    if let (Some(authn), Some(identities)) = (&authn, &identities) {
        typos::warn(raw, authn, identities, &context);
    }
    let limits = limits::limits(limits, &context);
    let quotas = holding::quotas(quota, &context);
    let requests = requests::requests(requests, &context);
    let log = self::log(log, &context);
    let (read, readable) = context.files.into_parts();
    let (files, contents): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    let mut insecure = context.insecure.into_inner();
    insecure.extend(readable);
    Some(Policy {
        generation,
        listeners: listeners?,
        admin: admin?,
        livy: livy?,
        state,
        authn: Arc::new(authn?),
        identities: Arc::new(identities?),
        requests,
        limits: limits?,
        quotas: quotas?,
        roles,
        log,
        insecure,
        warnings: context.warnings.into_inner(),
        files,
        contents,
        jwks_tls: jwks_tls?,
    })
}

fn log(raw: &RawLog, context: &Context<'_>) -> Log {
    let RawLog {
        format,
        level,
        audit_file,
    } = raw;
    Log {
        format: format.value,
        level: level.value,
        audit_file: audit_file
            .as_ref()
            .map(|path| context.files.appended("log.audit_file", path)),
    }
}

fn listeners(
    raw: &[RawListen],
    allow_plain_http: bool,
    subject: CertificateName,
    context: &Context<'_>,
) -> Option<Vec<Listener>> {
    for (place, listen) in raw.iter().enumerate() {
        let taken = raw
            .iter()
            .take(place)
            .any(|earlier| overlap(earlier.address.value, listen.address.value));
        if taken {
            let what = format!("another listener has {} already", listen.address.value);
            context.wrong(
                "listen.address",
                &listen.address,
                &Wrong::new(what, "write another address or port"),
            );
        }
    }
    let compiled: Vec<_> = raw
        .iter()
        .map(|listen| listener(listen, allow_plain_http, subject, context))
        .collect();
    let compiled: Vec<_> = compiled.into_iter().collect::<Option<_>>()?;
    certificates::warn_of_one_namespace(&compiled, context);
    Some(compiled)
}

fn listener(
    raw: &RawListen,
    allow_plain_http: bool,
    subject: CertificateName,
    context: &Context<'_>,
) -> Option<Listener> {
    let RawListen {
        address,
        base_paths,
        tls,
        clients: _,
        allow_plain_http: allowed_here,
        max_connections,
        max_connections_per_address,
    } = raw;
    let is_plain_and_remote = tls.is_none() && !address.value.ip().is_loopback();
    if is_plain_and_remote && !(allow_plain_http || allowed_here.value) {
        let wrong = Wrong::new(
            format!(
                "plain HTTP on {} would let others read passwords and tokens on their way",
                address.value
            ),
            "write tls = { certificate_file = \"…\", key_file = \"…\" }, or allow_plain_http = true if only a proxy \
             that speaks TLS reaches this address",
        );
        context.wrong("listen.address", address, &wrong);
    } else if is_plain_and_remote {
        context.insecure(format!(
            "passwords and tokens reach {} in plain HTTP (allow_plain_http)",
            address.value
        ));
    }
    let certificates = certificates::of_listener(raw, subject, context);
    let verifier = certificates.iter().flatten().next();
    let verifier = verifier.map(|certificates| certificates.verifier());
    let server_tls = tls.as_ref().map(|tls| server_tls(tls, verifier, context));
    let paths: Vec<String> = base_paths.iter().map(|path| path.value.clone()).collect();
    let base_paths = match BasePaths::new(&paths) {
        Ok(paths) => Some(Arc::new(paths)),
        // That the list is empty was said.
        Err(_) if base_paths.is_empty() => None,
        Err(what) => {
            let is_quoted = |path: &&Written<String>| what.contains(&format!("{:?}", path.value));
            let path = base_paths.iter().find(is_quoted).or(base_paths.first());
            let at = path.and_then(|path| path.span.as_ref());
            context
                .problems
                .add(at, format!("`listen.base_paths`: {what}"), "");
            None
        }
    };
    Some(Listener {
        address: address.value,
        base_paths: base_paths?,
        tls: match server_tls {
            Some(compiled) => Some(compiled?),
            None => None,
        },
        client_certificates: certificates?,
        max_connections: usize::try_from(max_connections.value).unwrap_or(usize::MAX),
        max_connections_per_address: max_connections_per_address.value,
    })
}

fn server_tls(
    raw: &RawTls,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    context: &Context<'_>,
) -> Option<Arc<ServerConfig>> {
    let RawTls {
        certificate_file,
        key_file,
    } = raw;
    let chain = read(
        context,
        "listen.tls.certificate_file",
        certificate_file,
        Secrecy::Public,
    );
    let key = read(context, "listen.tls.key_file", key_file, Secrecy::Secret);
    match tls::server(&chain?, &key?, clients) {
        Ok(config) => Some(config),
        Err((PairFile::Certificate, wrong)) => {
            context.wrong("listen.tls.certificate_file", certificate_file, &wrong);
            None
        }
        Err((PairFile::Key, wrong)) => {
            context.wrong("listen.tls.key_file", key_file, &wrong);
            None
        }
    }
}

fn admin_listener(raw: &RawAdmin, listen: &[RawListen], context: &Context<'_>) -> Option<Admin> {
    let RawAdmin {
        address,
        allow_remote,
        token,
        top_users,
        users,
    } = raw;
    let secret = token.as_ref().map(|token| admin_token(token, context));
    if listen
        .iter()
        .any(|listen| overlap(listen.address.value, address.value))
    {
        let what = format!("clients come in at {} already", address.value);
        let wrong = Wrong::new(
            what,
            "write another address or port: what operators see is not for clients",
        );
        context.wrong("admin.address", address, &wrong);
    }
    if !address.value.ip().is_loopback() {
        if !allow_remote.value {
            let what = format!("{} can be reached from other machines", address.value);
            let wrong = Wrong::new(
                what,
                "write a loopback address, or allow_remote = true and a token",
            );
            context.wrong("admin.address", address, &wrong);
        } else if token.is_none() {
            let what = format!(
                "{} can be reached from other machines, and there is no token",
                address.value
            );
            context.wrong(
                "admin.address",
                address,
                &Wrong::new(what, "write token = \"file:admin.token\""),
            );
        } else {
            context.insecure(format!(
                "the admin listener on {} can be reached from other machines (allow_remote); its token travels in plain HTTP",
                address.value
            ));
        }
    }
    Some(Admin {
        address: address.value,
        token: match secret {
            Some(read) => Some(read?),
            None => None,
        },
        top_users: usize::try_from(top_users.value).unwrap_or(usize::MAX),
        users: users.iter().map(|user| user.value.clone()).collect(),
    })
}

fn admin_token(reference: &Written<super::files::SecretRef>, context: &Context<'_>) -> Option<SecretString> {
    let secret = context.files.secret("admin.token", reference)?;
    // It is compared with an `Authorization` header, which holds nothing else (RFC 6750 §2.1).
    let is_sendable = secret.iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(&secret).ok().filter(|_| is_sendable);
    let Some(text) = text else {
        let wrong = Wrong::new(
            "the token has characters that no header can carry",
            "make a new one, with: openssl rand -hex 32",
        );
        context.wrong("admin.token", reference, &wrong);
        return None;
    };
    if text.len() < SHORT_TOKEN {
        context.insecure(
            "the admin token is short enough to be guessed; make a new one: openssl rand -hex 32".to_owned(),
        );
    }
    Some(SecretString::from(text.to_owned()))
}

fn livy_server(raw: &RawLivy, context: &Context<'_>) -> Option<Livy> {
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
    let address = &url.value;
    if !address.is_https && !address.is_loopback() {
        context.insecure(format!(
            "requests reach {} in plain HTTP, statements and results included",
            address.text
        ));
    }
    if !address.path.is_empty()
        && let Err(what) = BasePaths::new(std::slice::from_ref(&address.path))
    {
        context.wrong(
            "livy.url",
            url,
            &Wrong::new(
                format!("its {what}"),
                "write the URL below which Livy answers /version",
            ),
        );
    }
    match (impersonation.value, allow_shared_livy_user.value) {
        (Impersonation::Off, false) => {
            let wrong = Wrong::new(
                "with \"off\" everybody's code runs as Livy's own user",
                "write \"required\" and turn on livy.impersonation.enabled in Livy, or allow_shared_livy_user = true \
                 beside it",
            );
            context.wrong("livy.impersonation", impersonation, &wrong);
        }
        (Impersonation::Off, true) => context.insecure(
            "everybody's code runs as Livy's own user and can reach what the others may (allow_shared_livy_user)".to_owned(),
        ),
        (Impersonation::Required, true | false) => {}
    }
    let tls = livy_tls(url, ca_file.as_ref(), context);
    let login = livy_login(authenticate, context);
    let host = HeaderValue::from_str(&address.authority).ok();
    if host.is_none() {
        context.wrong(
            "livy.url",
            url,
            &Wrong::new(
                "its host cannot stand in a header",
                "write a host name or an address",
            ),
        );
    }
    Some(Livy {
        url: address.text.clone(),
        host: address.host.clone(),
        port: address.port,
        tls: tls?,
        endpoint: Endpoint {
            host: host?,
            path_prefix: address.path.clone(),
            impersonate: impersonate.value,
            login: login?,
        },
        impersonation: impersonation.value,
        creations_at_once: usize::try_from(creations_at_once.value).unwrap_or(usize::MAX),
        requests_at_once: usize::try_from(requests_at_once.value).unwrap_or(usize::MAX),
        timeouts: livy_timeouts(timeouts, context),
    })
}

fn livy_tls(
    url: &Written<super::url::HttpUrl>,
    ca_file: Option<&Written<PathBuf>>,
    context: &Context<'_>,
) -> Option<Option<Arc<ClientConfig>>> {
    let ca = match ca_file {
        Some(path) => Some(read(context, "livy.ca_file", path, Secrecy::Public)?),
        None => None,
    };
    if !url.value.is_https {
        let Some(path) = ca_file else {
            return Some(None);
        };
        let wrong = Wrong::new(
            format!("{} is not spoken to with TLS", url.value.text),
            "write an https:// URL, or remove ca_file",
        );
        context.wrong("livy.ca_file", path, &wrong);
        return None;
    }
    match tls::client(
        ca.as_ref()
            .map_or(Authorities::System, |ca| Authorities::These(ca)),
    ) {
        Ok(config) => Some(Some(config)),
        Err(wrong) => {
            match ca_file {
                Some(path) => context.wrong("livy.ca_file", path, &wrong),
                None => context.wrong("livy.url", url, &wrong),
            }
            None
        }
    }
}

fn livy_login(raw: &RawAuthenticate, context: &Context<'_>) -> Option<UpstreamLogin> {
    match raw {
        RawAuthenticate::None => Some(UpstreamLogin::None),
        RawAuthenticate::Simple { user } => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
            if !user.value.bytes().all(fits) {
                let what = format!("{:?} is no user of Hadoop's simple authentication", user.value);
                context.wrong(
                    "livy.authenticate.user",
                    user,
                    &Wrong::new(what, "write letters, digits and . _ @ -"),
                );
                return None;
            }
            Some(UpstreamLogin::Simple {
                user: user.value.clone(),
            })
        }
        RawAuthenticate::Basic { user, password } => {
            if user.value.contains(':') {
                // RFC 7617 §2: the first colon ends the user.
                let what = format!("{:?} has a colon, which ends a user name", user.value);
                context.wrong(
                    "livy.authenticate.user",
                    user,
                    &Wrong::new(what, "write the name without it"),
                );
            }
            let password = context
                .files
                .secret("livy.authenticate.password", password.as_ref()?)?;
            let mut pair = Zeroizing::new(Vec::with_capacity(
                user.value.len().saturating_add(password.len()).saturating_add(1),
            ));
            pair.extend_from_slice(user.value.as_bytes());
            pair.push(b':');
            pair.extend_from_slice(&password);
            let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
            let mut header = HeaderValue::from_str(&encoded).ok()?;
            header.set_sensitive(true);
            Some(UpstreamLogin::Basic(header))
        }
    }
}

fn livy_timeouts(raw: &RawTimeouts, context: &Context<'_>) -> Timeouts {
    let RawTimeouts {
        connect,
        read,
        create,
        delete,
    } = raw;
    if create.value < SLOW_CREATION {
        let sentence = format!(
            "livy.timeouts.create = \"{}\" is short: Livy creates one session at a time, so a creation may wait for others",
            units::show_duration(create.value)
        );
        context.warnings.borrow_mut().push(sentence);
    }
    Timeouts {
        connect: connect.value,
        read: read.value,
        create: create.value,
        delete: delete.value,
    }
}

/// The content of a file that must be there; nothing where no path was written, which is a problem already.
fn read(
    context: &Context<'_>,
    key: &str,
    path: &Written<PathBuf>,
    secrecy: Secrecy,
) -> Option<Zeroizing<Vec<u8>>> {
    path.span.as_ref()?;
    context.files.read(key, path, secrecy, "")
}

/// Whether two addresses cannot both be listened on. Port 0 lets the system choose, so it never collides.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (left, right) = (one.ip(), other.ip());
    let same_family = left.is_ipv4() == right.is_ipv4();
    let same_address = left == right || (same_family && (left.is_unspecified() || right.is_unspecified()));
    one.port() != 0 && one.port() == other.port() && same_address
}

/// Livy holds a lock while it creates a session; fewer seconds than this were seen to be too few under load.
const SLOW_CREATION: Duration = Duration::from_mins(1);
/// In bytes; sixteen random hexadecimal digits are out of reach of guessing over a network.
const SHORT_TOKEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_by_itself_and_by_the_wildcard_of_its_family() {
        let at = |text: &str| text.parse().unwrap();
        assert!(overlap(at("127.0.0.1:8443"), at("127.0.0.1:8443")));
        assert!(overlap(at("0.0.0.0:8443"), at("10.0.0.1:8443")));
        assert!(overlap(at("[::1]:8443"), at("[::]:8443")));
        assert!(!overlap(at("127.0.0.1:8443"), at("127.0.0.1:8444")));
        assert!(!overlap(at("127.0.0.1:8443"), at("[::1]:8443")));
        assert!(!overlap(at("127.0.0.1:0"), at("127.0.0.1:0")));
    }
}
