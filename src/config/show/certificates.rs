//! Client certificates.

use std::fmt::Write;

use super::Page;
use crate::config::raw::{RawCertificate, RawClients, RawConfig};

/// The keys of a listener that asks for them.
pub(super) fn clients(page: &mut Page, raw: &RawClients) {
    let RawClients {
        ca_file,
        auth,
        crl_file,
    } = raw;
    let Some(ca_file) = ca_file else {
        return;
    };
    page.text("client_ca_file", ca_file, ca_file.value.display());
    page.text("client_certificates", auth, auth.value.word());
    page.optional("client_crl_file", crl_file.as_ref(), |path| {
        path.display().to_string()
    });
}

pub(super) fn certificate(page: &mut Page, raw: &RawCertificate) {
    let RawCertificate { span: _, subject } = raw;
    page.header("[certificate]");
    page.text("subject", subject, subject.value.word());
}

/// A line for each listener that asks for them.
pub(super) fn summary(out: &mut String, raw: &RawConfig) {
    for listen in &raw.listen {
        let Some(ca_file) = &listen.clients.ca_file else {
            continue;
        };
        let revoked = if listen.clients.crl_file.is_some() {
            "unless revoked"
        } else {
            "without a revocation list"
        };
        let _ = writeln!(
            out,
            "login      certificate: the {} of those by {}, {revoked}; {} at {}",
            raw.certificate.subject.value.word(),
            ca_file.value.display(),
            listen.clients.auth.value.word(),
            listen.address.value
        );
    }
}
