//! A login by client certificate, told step by step: what the certificate says, where it is good, and which of its names is
//! the subject.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{End, step};
use crate::authn::Subject;
use crate::authn::certificate::Leaf;
use crate::clock::{Clock, SystemClock, rfc3339};
use crate::denial::Denial;
use crate::policy::Policy;

/// Whom the certificates of this file prove, at the first listener that takes them. That its client has the key is not
/// asked here.
pub(super) fn subject(policy: &Policy, file: &Path, story: &mut String) -> Result<Subject, End> {
    is_asked_for(policy)?;
    let chain = read(file)?;
    let own = chain.first().ok_or(Denial::Internal)?;
    let leaf = Leaf::read(own).map_err(|why| anyhow!("{}: {why}", file.display()))?;
    let last_second = leaf.expires.saturating_sub(Duration::from_secs(1));
    step(
        story,
        "presented",
        format_args!(
            "{}, by {}, until {}",
            leaf.subject,
            leaf.issuer,
            rfc3339(last_second)
        ),
    );
    for (kind, name) in leaf.names() {
        step(story, "", format_args!("{}: {name}", kind.word()));
    }
    let now = SystemClock::new().wall();
    for listener in &policy.listeners {
        let at = listener.address;
        let Some(certificates) = &listener.client_certificates else {
            step(
                story,
                "judged",
                format_args!("at {at}: no certificate is asked for"),
            );
            continue;
        };
        let leaf = match certificates.vouch_for(&chain, now) {
            Ok(leaf) => leaf,
            Err(why) => {
                step(
                    story,
                    "judged",
                    format_args!("at {at}: {why}; the handshake of a new connection fails"),
                );
                continue;
            }
        };
        let word = certificates.subject().word();
        match certificates.subject_in(&leaf) {
            Ok(subject) => {
                step(
                    story,
                    "judged",
                    format_args!("at {at}: good; its {word} is the subject"),
                );
                return Ok(subject);
            }
            Err(why) => step(
                story,
                "judged",
                format_args!(
                    "at {at}: refused, since the {word} is the subject and {why} (the client is not told)"
                ),
            ),
        }
    }
    Err(Denial::InvalidCredentials.into())
}

/// Whether anybody can log in with a certificate at all.
pub(super) fn is_asked_for(policy: &Policy) -> anyhow::Result<()> {
    let asks = policy
        .listeners
        .iter()
        .any(|listener| listener.client_certificates.is_some());
    ensure!(
        asks,
        "no [listen] table has client_ca_file, so nobody can log in with a certificate"
    );
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.with_context(|| format!("{} is damaged PEM", file.display()))?;
    ensure!(
        !chain.is_empty(),
        "{} holds no certificate in PEM",
        file.display()
    );
    Ok(chain)
}
