//! `[certificate]` and the keys of a listener that asks for client certificates, as written.

use std::ops::Range;
use std::path::PathBuf;

use super::values::{choice, path};
use crate::authn::{CertificateName, ClientAuth};
use crate::config::reader::{Reader, Written};

/// Of `[listen]`: whose certificates clients may log in with.
#[derive(Debug)]
pub(in crate::config) struct RawClients {
    pub(in crate::config) ca_file: Option<Written<PathBuf>>,
    pub(in crate::config) auth: Written<ClientAuth>,
    pub(in crate::config) crl_file: Option<Written<PathBuf>>,
}

/// `[certificate]`
#[derive(Debug)]
pub(in crate::config) struct RawCertificate {
    /// None if the table is not written.
    pub(in crate::config) span: Option<Range<usize>>,
    pub(in crate::config) subject: Written<CertificateName>,
}

pub(super) fn clients(listen: &Reader<'_>) -> RawClients {
    RawClients {
        ca_file: listen.parsed("client_ca_file", path),
        auth: listen.parsed_or("client_certificates", ClientAuth::Optional, |text| {
            choice(text, &ClientAuth::ALL.map(|auth| (auth.word(), auth)))
        }),
        crl_file: listen.parsed("client_crl_file", path),
    }
}

pub(super) fn certificate(table: Option<&Reader<'_>>) -> RawCertificate {
    let default = CertificateName::Cn;
    let Some(table) = table else {
        return RawCertificate {
            span: None,
            subject: Written::default_of(default),
        };
    };
    RawCertificate {
        span: Some(table.span().clone()),
        subject: table.parsed_or("subject", default, |text| {
            choice(text, &CertificateName::ALL.map(|name| (name.word(), name)))
        }),
    }
}
