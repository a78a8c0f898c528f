//! One connection to one server.

use std::fmt::Display;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions, StdStream};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::guard::{guarded, read_message};
use crate::authn::ldap::Entry;
use crate::authn::{LdapServer, LdapSettings, LdapTransport};

/// Why there is no verdict.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server, or the way to it, does not work; another one may.
    Server(String),
    /// It works, and the gateway asks it for something that it does not give; no login can be checked.
    Setup(String),
    /// It works, and what it says about this person cannot be used.
    Person(String),
}

/// What a bind came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bind {
    Right,
    Wrong,
    /// A result that is neither.
    Odd(u32),
}

/// What a search came to.
#[derive(Debug)]
pub(super) enum Found {
    Entries(Vec<Entry>),
    /// More than were asked for.
    TooMany,
}

#[derive(Clone)]
pub(super) struct Connection {
    handle: ldap3::Ldap,
    patience: Duration,
}

impl Connection {
    /// Connects, with TLS where it is configured. `bytes_max` bounds all that the server may say.
    pub(super) async fn open(
        settings: &LdapSettings,
        server: &LdapServer,
        bytes_max: usize,
    ) -> Result<Self, Trouble> {
        let unreachable = |cause: &dyn Display| Trouble::Server(format!("{}: {cause}", server.url));
        let stream = match timeout(settings.connect, connect(settings, server, bytes_max)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(&error)),
            Err(_) => return Err(unreachable(&"no connection in time")),
        };
        let how = LdapConnSettings::new().set_std_stream(StdStream::Unix(stream));
        let (connection, handle) = LdapConnAsync::with_settings(how, "ldapi:///")
            .await
            .map_err(|error| unreachable(&error))?;
        // It ends with its handles, or with the server's end; whoever waits for an answer learns of that.
        tokio::spawn(async move { drop(connection.drive().await) });
        Ok(Self {
            handle,
            patience: settings.operation,
        })
    }

    pub(super) async fn bind(&self, dn: &str, password: &str) -> Result<Bind, Trouble> {
        let mut handle = self.handle.clone();
        let answer = handle.with_timeout(self.patience).simple_bind(dn, password).await;
        match answer.map_err(|error| trouble(&error))?.rc {
            SUCCESS => Ok(Bind::Right),
            CONSTRAINT_VIOLATION
            | NO_SUCH_OBJECT
            | INVALID_DN
            | INAPPROPRIATE_AUTHENTICATION
            | INVALID_CREDENTIALS
            | INSUFFICIENT_ACCESS_RIGHTS
            | UNWILLING_TO_PERFORM => Ok(Bind::Wrong),
            rc @ (BUSY | UNAVAILABLE) => Err(Trouble::Server(format!("a bind is answered with result {rc}"))),
            rc => Ok(Bind::Odd(rc)),
        }
    }

    /// The entries that are found, if they are at most `most`. Referrals to other servers are not followed.
    pub(super) async fn search(
        &self,
        (base, scope): (&str, Scope),
        filter: &str,
        attributes: &[&str],
        most: u16,
    ) -> Result<Found, Trouble> {
        let mut handle = self.handle.clone();
        let seconds = i32::try_from(self.patience.as_secs().max(1)).unwrap_or(i32::MAX);
        let options = SearchOptions::new().sizelimit(most.into()).timelimit(seconds);
        let answer = handle
            .with_search_options(options)
            .with_timeout(self.patience)
            .search(base, scope, filter, attributes)
            .await
            .map_err(|error| trouble(&error))?;
        let (rows, result) = (answer.0, answer.1);
        match result.rc {
            SUCCESS | REFERRAL => {}
            SIZE_LIMIT_EXCEEDED => return Ok(Found::TooMany),
            rc @ (BUSY | UNAVAILABLE) => {
                return Err(Trouble::Server(format!("a search is answered with result {rc}")));
            }
            NO_SUCH_OBJECT => {
                return Err(Trouble::Setup(format!(
                    "there is no entry {base:?} to search below, or it may not be seen"
                )));
            }
            rc => {
                return Err(Trouble::Setup(format!(
                    "a search below {base:?} is answered with result {rc}"
                )));
            }
        }
        let entries: Vec<Entry> = rows
            .into_iter()
            .filter(|row| !row.is_ref() && !row.is_intermediate())
            .map(|row| {
                let SearchEntry { dn, attrs, bin_attrs } = SearchEntry::construct(row);
                Entry {
                    dn,
                    attributes: attrs,
                    binary: bin_attrs.into_keys().collect(),
                }
            })
            .collect();
        if entries.len() > usize::from(most) {
            return Ok(Found::TooMany);
        }
        Ok(Found::Entries(entries))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.handle.clone().is_closed()
    }

    /// Tells the server good-bye. What it thinks of that is nobody's concern.
    pub(super) async fn close(self) {
        let mut handle = self.handle;
        drop(handle.with_timeout(self.patience).unbind().await);
    }
}

async fn connect(
    settings: &LdapSettings,
    server: &LdapServer,
    bytes_max: usize,
) -> io::Result<StdUnixStream> {
    let mut stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
    // Nagle's algorithm would hold the handshake back by 40 ms.
    stream.set_nodelay(true)?;
    match server.transport {
        LdapTransport::Plain => return guarded(stream, bytes_max),
        LdapTransport::Ldaps => {}
        LdapTransport::StartTls => start_tls(&mut stream).await?,
    }
    let Some(tls) = &settings.tls else {
        return Err(io::Error::other("TLS is not configured"));
    };
    let name = ServerName::try_from(server.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    guarded(stream, bytes_max)
}

/// RFC 4511 §4.14: what is said before TLS may come from anybody, so nothing but a plain yes is taken.
async fn start_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(START_TLS).await?;
    let answer = read_message(stream, START_TLS_ANSWER_MAX).await?;
    // Message 1, ExtendedResponse, resultCode success: what follows says nothing that matters.
    let is_yes = matches!(
        answer.as_slice(),
        [0x30, _, 0x02, 0x01, 0x01, 0x78, _, 0x0a, 0x01, 0x00, ..]
    ) || matches!(
        answer.as_slice(),
        [
            0x30,
            0x84,
            _,
            _,
            _,
            _,
            0x02,
            0x01,
            0x01,
            0x78,
            0x84,
            _,
            _,
            _,
            _,
            0x0a,
            0x01,
            0x00,
            ..
        ]
    );
    if is_yes {
        Ok(())
    } else {
        Err(io::Error::other("the server does not start TLS"))
    }
}

fn trouble(error: &LdapError) -> Trouble {
    Trouble::Server(error.to_string())
}

/// ExtendedRequest with the name 1.3.6.1.4.1.1466.20037, as message 1.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const START_TLS_ANSWER_MAX: usize = 4096;

// RFC 4511 §4.1.9 and appendix A.
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const REFERRAL: u32 = 10;
/// 389 Directory Server says so of a locked account.
const CONSTRAINT_VIOLATION: u32 = 19;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN: u32 = 34;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const INSUFFICIENT_ACCESS_RIGHTS: u32 = 50;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;
const UNWILLING_TO_PERFORM: u32 = 53;
