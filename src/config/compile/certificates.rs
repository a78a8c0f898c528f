//! Which client certificates are logins, and where they are asked for.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::{Context, read};
use crate::authn::certificate::CertificatesProblem;
use crate::authn::{CertificateName, Certificates};
use crate::config::files::Secrecy;
use crate::config::raw::{RawCertificate, RawClients, RawConfig, RawListen};
use crate::config::reader::{Written, Wrong};
use crate::config::tls;
use crate::policy::Listener;

/// Those that a listener takes; nothing inside if it asks for none, nothing at all if a problem was recorded.
pub(super) fn of_listener(
    raw: &RawListen,
    subject: CertificateName,
    context: &Context<'_>,
) -> Option<Option<Arc<Certificates>>> {
    let RawClients {
        ca_file,
        auth,
        crl_file,
    } = &raw.clients;
    let Some(ca_file) = ca_file else {
        let without = Wrong::new(
            "no client is asked for a certificate here",
            "write client_ca_file = \"clients-ca.pem\" beside it, or remove it",
        );
        if auth.span.is_some() {
            context.wrong("listen.client_certificates", auth, &without);
        }
        if let Some(crl_file) = crl_file {
            context.wrong("listen.client_crl_file", crl_file, &without);
        }
        return Some(None);
    };
    if raw.tls.is_none() {
        let wrong = Wrong::new(
            "certificates are shown in TLS, and this listener speaks plain HTTP",
            "write tls = { certificate_file = \"…\", key_file = \"…\" } beside it, or remove it",
        );
        context.wrong("listen.client_ca_file", ca_file, &wrong);
    }
    let authorities = authorities(ca_file, context);
    let revocations = match crl_file {
        Some(crl_file) => revocations(crl_file, context),
        None => Some(Vec::new()),
    };
    match Certificates::new(authorities?, revocations?, auth.value, subject) {
        Ok(certificates) => Some(Some(Arc::new(certificates))),
        Err(CertificatesProblem::Authority(what)) => {
            let wrong = Wrong::new(
                what,
                "write a file with the certificates of the authorities alone, in PEM",
            );
            context.wrong("listen.client_ca_file", ca_file, &wrong);
            None
        }
        Err(CertificatesProblem::Namesakes(what)) => {
            let wrong = Wrong::new(
                what,
                "keep the one whose list is in client_crl_file, and give the other a listener of its own",
            );
            context.wrong("listen.client_ca_file", ca_file, &wrong);
            None
        }
        Err(CertificatesProblem::Revocations(what)) => {
            let wrong = Wrong::new(
                what,
                "write a file with one revocation list of each authority in client_ca_file, and of each below them",
            );
            context.wrong(
                "listen.client_crl_file",
                crl_file.as_ref().unwrap_or(ca_file),
                &wrong,
            );
            None
        }
    }
}

fn authorities(path: &Written<PathBuf>, context: &Context<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let pem = read(context, "listen.client_ca_file", path, Secrecy::Trusted)?;
    tls::certificates(&pem)
        .inspect_err(|wrong| {
            let instead =
                "write a file with the certificates of the authorities that vouch for clients, in PEM";
            context.wrong("listen.client_ca_file", path, &Wrong::new(&*wrong.what, instead));
        })
        .ok()
}

fn revocations(
    path: &Written<PathBuf>,
    context: &Context<'_>,
) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    let pem = read(context, "listen.client_crl_file", path, Secrecy::Trusted)?;
    tls::revocation_lists(&pem)
        .inspect_err(|wrong| context.wrong("listen.client_crl_file", path, wrong))
        .ok()
}

/// Rules name a certificate's subject and not the listener at which it came in.
pub(super) fn warn_of_one_namespace(listeners: &[Listener], context: &Context<'_>) {
    let mut asking = listeners
        .iter()
        .filter_map(|listener| Some((listener.address, listener.client_certificates.as_ref()?)));
    let Some((first, certificates)) = asking.next() else {
        return;
    };
    if let Some((other, _)) = asking.find(|(_, other)| !other.have_the_authorities_of(certificates)) {
        context.warnings.borrow_mut().push(format!(
            "{first} and {other} have different authorities in client_ca_file, whose certificates are one namespace: \
             certificate:NAME is whoever has that name at either"
        ));
    }
}

/// What certificates mean beside the other logins: a listener at which nobody can log in is a mistake.
pub(super) fn check(raw: &RawConfig, context: &Context<'_>) {
    let RawCertificate { span, subject: _ } = &raw.certificate;
    if span.is_some() && !raw.takes_certificates() {
        context.problems.add(
            span.as_ref(),
            "`certificate`: no listener asks clients for a certificate",
            "write client_ca_file = \"clients-ca.pem\" into a [listen] table with tls, or remove [certificate]",
        );
    }
    let others = raw.basic.is_some() || !raw.jwt.is_empty() || raw.ldap.is_some() || raw.tokens.is_some();
    if others || !raw.takes_certificates() {
        return;
    }
    for listen in raw
        .listen
        .iter()
        .filter(|listen| listen.clients.ca_file.is_none())
    {
        let wrong = Wrong::new(
            format!(
                "nobody could log in at {}: it asks for no certificate, and there is no other login",
                listen.address.value
            ),
            "write client_ca_file = \"clients-ca.pem\" here too, or a table [basic] with users_file = \"users.htpasswd\"",
        );
        context.wrong("listen.address", &listen.address, &wrong);
    }
}
