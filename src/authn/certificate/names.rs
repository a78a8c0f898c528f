//! The names in a certificate.

use std::time::Duration;

use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::denial::quotable;

/// A kind of name that a certificate may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name in its subject.
    Cn,
    /// An e-mail address among its alternative names.
    SanEmail,
    /// A host name among its alternative names.
    SanDns,
    /// A URI among its alternative names, such as a SPIFFE id.
    SanUri,
}

impl CertificateName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cn, Self::SanEmail, Self::SanDns, Self::SanUri];

    /// As the configuration writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cn => "cn",
            Self::SanEmail => "san_email",
            Self::SanDns => "san_dns",
            Self::SanUri => "san_uri",
        }
    }
}

/// What a client's own certificate says. Nothing of it is proven by reading it.
#[derive(Debug)]
pub struct Leaf {
    /// Whose it is, for people.
    pub subject: String,
    /// Who made it, for people.
    pub issuer: String,
    /// The first moment at which it is over, since 1970.
    pub expires: Duration,
    /// Every name that it has; none where one of the kind is there and cannot be read.
    names: Vec<(CertificateName, Option<String>)>,
}

impl Leaf {
    /// Reads it from DER.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| "the certificate cannot be read")?;
        if !rest.is_empty() {
            return Err("something follows the certificate".into());
        }
        let mut names: Vec<_> = certificate
            .subject()
            .iter_common_name()
            .map(|name| (CertificateName::Cn, text(name)))
            .collect();
        let unreadable = "its alternative names cannot be read";
        let alternative = certificate
            .get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME)
            .map_err(|_| unreadable)?;
        if let Some(alternative) = alternative {
            names.extend(alternative_names(alternative.value).ok_or(unreadable)?);
        }
        Ok(Self {
            subject: in_words(certificate.subject()),
            issuer: in_words(certificate.issuer()),
            expires: first_moment_after(certificate.validity().not_after),
            names,
        })
    }

    /// The one name of this kind, if it may be a subject's. The error says why not, without a name that may be odd.
    pub fn only(&self, kind: CertificateName) -> Result<&str, String> {
        let word = kind.word();
        let mut of_kind = self.names.iter().filter(|(of, _)| *of == kind);
        let (_, name) = of_kind.next().ok_or_else(|| format!("it has no {word}"))?;
        if of_kind.next().is_some() {
            return Err(format!("it has more than one {word}"));
        }
        let is_fit = |name: &&str| {
            !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
        };
        name.as_deref().filter(is_fit).ok_or_else(|| {
            format!("its {word} is empty, too long, holds control characters or is in an odd encoding")
        })
    }

    /// All names, for people.
    pub fn names(&self) -> impl Iterator<Item = (CertificateName, String)> {
        let shown = |name: &Option<String>| name.as_deref().map_or("(unreadable)".to_owned(), quotable);
        self.names.iter().map(move |(kind, name)| (*kind, shown(name)))
    }
}

/// UTF-8 and printable strings only: others could be decoded in several ways (RFC 5280 §4.1.2.4 keeps them for old
/// certificates).
fn text(name: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = name.attr_value();
    let text = std::str::from_utf8(value.data).ok()?;
    let is_read = is_plain(value, UTF8_STRING) || (is_plain(value, PRINTABLE_STRING) && text.is_ascii());
    is_read.then(|| text.to_owned())
}

/// The names of the kinds that can count, from the content of the extension; nothing if that is no list of names. It is
/// read here and not by the parser's own list, which keeps no tags: a name must have the one form that DER has for it.
fn alternative_names(extension: &[u8]) -> Option<Vec<(CertificateName, Option<String>)>> {
    let (rest, list) = Any::from_der(extension).ok()?;
    if list.header.raw_tag() != Some(&[SEQUENCE]) || !rest.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    let mut left = list.data;
    while !left.is_empty() {
        let (rest, name) = Any::from_der(left).ok()?;
        left = rest;
        if name.class() != Class::ContextSpecific {
            return None;
        }
        let (kind, tag) = match name.tag() {
            Tag(1) => (CertificateName::SanEmail, 0x81),
            Tag(2) => (CertificateName::SanDns, 0x82),
            Tag(6) => (CertificateName::SanUri, 0x86),
            _ => continue,
        };
        // RFC 5280 §4.2.1.6: all three are ASCII.
        let text = std::str::from_utf8(name.data).ok();
        let text = text.filter(|text| is_plain(&name, tag) && text.is_ascii());
        names.push((kind, text.map(str::to_owned)));
    }
    Some(names)
}

/// Whether a value has this tag and in this form: one byte, and no value of parts.
fn is_plain(value: &Any<'_>, tag: u8) -> bool {
    value.header.raw_tag() == Some(&[tag])
}

/// What ends with a second holds during it too (RFC 5280 §4.1.2.5).
pub(super) fn first_moment_after(last_second: ASN1Time) -> Duration {
    Duration::from_secs(
        u64::try_from(last_second.timestamp())
            .unwrap_or(0)
            .saturating_add(1),
    )
}

pub(super) fn in_words(name: &X509Name<'_>) -> String {
    quotable(&name.to_string())
}

/// As of a token's subject.
const NAME_BYTES_MAX: usize = 256;

const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const SEQUENCE: u8 = 0x30;
