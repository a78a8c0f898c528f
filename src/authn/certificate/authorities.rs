//! Whether authorities and their revocation lists can be used as they are configured.
//!
//! The verifier looks for an authority's list by name and takes the first: what could make it take another than was meant,
//! or refuse everybody at the next handshake, is told here instead.

use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

use super::CertificatesProblem;
use super::names::{first_moment_after, in_words};
use crate::clock::rfc3339;

/// When something ends that was good when it was made.
#[derive(Clone)]
pub(super) struct End {
    /// The first moment, since 1970.
    at: Duration,
    /// For people.
    of_what: String,
    then: &'static str,
}

impl End {
    /// What there is to say about it at `now_wall`.
    pub(super) fn overdue(&self, now_wall: Duration) -> Option<String> {
        let Self { at, of_what, then } = self;
        (now_wall >= *at).then(|| format!("{of_what} ended at {}: {then}", rfc3339(*at)))
    }
}

/// Says also when each of them ends.
///
/// Whoever holds the key of a certificate in this list can make certificates in anybody's name, so a client's own must not
/// get in among them. An authority without a list would lock all its clients out.
pub(super) fn check(
    authorities: &[CertificateDer<'_>],
    revocations: &[CertificateRevocationListDer<'_>],
) -> Result<Vec<End>, CertificatesProblem> {
    let lists = revocation_lists(revocations)?;
    let mut ends: Vec<End> = lists.iter().filter_map(end_of_list).collect();
    let mut earlier: Vec<X509Certificate<'_>> = Vec::with_capacity(authorities.len());
    for authority in authorities {
        let (_, authority) = X509Certificate::from_der(authority)
            .map_err(|_| CertificatesProblem::Authority("a certificate in it cannot be read".into()))?;
        if !authority.is_ca() {
            return Err(CertificatesProblem::Authority(format!(
                "the certificate of {} is no authority's: it is not marked as one (CA:TRUE)",
                in_words(authority.subject())
            )));
        }
        if !lists.is_empty() {
            check_list(&authority, &earlier, &lists)?;
        }
        ends.push(End {
            at: first_moment_after(authority.validity().not_after),
            of_what: format!(
                "the certificate of {} in client_ca_file",
                in_words(authority.subject())
            ),
            then: "it vouches for clients all the same; take it out of the file if it should not",
        });
        earlier.push(authority);
    }
    Ok(ends)
}

fn end_of_list(list: &CertificateRevocationList<'_>) -> Option<End> {
    Some(End {
        at: first_moment_after(list.next_update()?),
        of_what: format!(
            "the revocation list of {} in client_crl_file",
            in_words(list.issuer())
        ),
        then: "none of that authority's certificates is taken; put its newest list into the file",
    })
}

fn revocation_lists<'a>(
    revocations: &'a [CertificateRevocationListDer<'_>],
) -> Result<Vec<CertificateRevocationList<'a>>, CertificatesProblem> {
    let mut lists: Vec<CertificateRevocationList<'_>> = Vec::with_capacity(revocations.len());
    for list in revocations {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|_| CertificatesProblem::Revocations("a list in it cannot be read".into()))?;
        let issuer = list.issuer();
        // What `openssl ca` writes unless it is told otherwise.
        if list.version() != Some(X509Version::V2) {
            return Err(CertificatesProblem::Revocations(format!(
                "the list of {} is of version 1, without a number; have it made with a crlnumber (openssl ca)",
                in_words(issuer)
            )));
        }
        // A new list that was put behind the old one.
        if lists
            .iter()
            .any(|earlier| earlier.issuer().as_raw() == issuer.as_raw())
        {
            return Err(CertificatesProblem::Revocations(format!(
                "it has two lists of {}, of which only the first would count",
                in_words(issuer)
            )));
        }
        lists.push(list);
    }
    Ok(lists)
}

/// An authority has one list, and its own: those before it may have its name only if they have its key too, as a renewed
/// certificate does.
fn check_list(
    authority: &X509Certificate<'_>,
    earlier: &[X509Certificate<'_>],
    lists: &[CertificateRevocationList<'_>],
) -> Result<(), CertificatesProblem> {
    let name = authority.subject();
    if earlier.iter().any(|earlier| {
        earlier.subject().as_raw() == name.as_raw() && earlier.public_key().raw != authority.public_key().raw
    }) {
        return Err(CertificatesProblem::Namesakes(format!(
            "it has two authorities that are called {} and have different keys, and no revocation list can be of both",
            in_words(name)
        )));
    }
    let list = lists
        .iter()
        .find(|list| list.issuer().as_raw() == name.as_raw())
        .ok_or_else(|| {
            CertificatesProblem::Revocations(format!(
                "it has no list of {}, so no certificate of that authority would be taken",
                in_words(name)
            ))
        })?;
    if !is_signed_by(list, authority) {
        return Err(CertificatesProblem::Revocations(format!(
            "the list of {} is not signed with the key of that authority in client_ca_file",
            in_words(name)
        )));
    }
    Ok(())
}

/// With whichever kind of signature fits the key: the handshake asks for the one that the list names.
fn is_signed_by(list: &CertificateRevocationList<'_>, authority: &X509Certificate<'_>) -> bool {
    let key = &authority.public_key().subject_public_key.data;
    let (signed, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value.data);
    let known = aws_lc_rs::default_provider()
        .signature_verification_algorithms
        .all;
    known
        .iter()
        .any(|algorithm| algorithm.verify_signature(key, signed, signature).is_ok())
}
