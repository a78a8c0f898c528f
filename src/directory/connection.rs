//! One connection to one server.

use std::time::Duration;

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions, StdStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::authn::ldap::Entry;
use crate::authn::{LdapServer, LdapSettings, LdapTransport};

/// Why a server did not answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It, or the way to it, does not work; another server may.
    Server(String),
    /// It answered, and not as it must; another one would say the same.
    Answer(String),
    /// A search found more than so many.
    TooMany(i32),
}

impl Trouble {
    /// For the log.
    pub(super) fn told(self) -> String {
        match self {
            Self::Server(why) | Self::Answer(why) => why,
            Self::TooMany(most) => format!("a search found more than {most} entries"),
        }
    }
}

/// What a bind came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bind {
    Right,
    Wrong,
}

#[derive(Clone)]
pub(super) struct Connection {
    handle: ldap3::Ldap,
    patience: Duration,
}

impl Connection {
    pub(super) async fn open(settings: &LdapSettings, server: &LdapServer) -> Result<Self, Trouble> {
        let unreachable = |cause: &dyn std::fmt::Display| Trouble::Server(format!("{}: {cause}", server.url));
        let connected = timeout(
            settings.connect,
            TcpStream::connect((server.host.as_str(), server.port)),
        );
        let stream = match connected.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(&error)),
            Err(_) => return Err(unreachable(&"no connection in time")),
        };
        // ldap3 leaves Nagle's algorithm on, which holds each TLS handshake back for 40 ms.
        let stream = stream
            .set_nodelay(true)
            .and_then(|()| stream.into_std())
            .map_err(|error| unreachable(&error))?;
        let mut how = LdapConnSettings::new()
            .set_std_stream(StdStream::Tcp(stream))
            .set_conn_timeout(settings.connect)
            .set_starttls(server.transport == LdapTransport::StartTls);
        if let Some(tls) = &settings.tls {
            how = how.set_config(std::sync::Arc::clone(tls));
        }
        let (connection, handle) = LdapConnAsync::with_settings(how, &server.url)
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
            INVALID_CREDENTIALS | NO_SUCH_OBJECT | UNWILLING_TO_PERFORM | INVALID_DN => Ok(Bind::Wrong),
            rc @ (BUSY | UNAVAILABLE) => Err(Trouble::Server(format!("a bind is answered with result {rc}"))),
            rc => Err(Trouble::Answer(format!("a bind is answered with result {rc}"))),
        }
    }

    /// The entries that are found, at most `most`. Referrals to other servers are not followed.
    pub(super) async fn search(
        &self,
        (base, scope): (&str, Scope),
        filter: &str,
        attributes: &[&str],
        most: i32,
    ) -> Result<Vec<Entry>, Trouble> {
        let mut handle = self.handle.clone();
        let seconds = i32::try_from(self.patience.as_secs().max(1)).unwrap_or(i32::MAX);
        let options = SearchOptions::new().sizelimit(most).timelimit(seconds);
        let answer = handle
            .with_search_options(options)
            .with_timeout(self.patience)
            .search(base, scope, filter, attributes)
            .await
            .map_err(|error| trouble(&error))?;
        let (rows, result) = (answer.0, answer.1);
        match result.rc {
            SUCCESS | REFERRAL => {}
            NO_SUCH_OBJECT => return Ok(Vec::new()),
            SIZE_LIMIT_EXCEEDED => return Err(Trouble::TooMany(most)),
            rc @ (BUSY | UNAVAILABLE) => {
                return Err(Trouble::Server(format!("a search is answered with result {rc}")));
            }
            rc => {
                return Err(Trouble::Answer(format!(
                    "a search below {base:?} is answered with result {rc}"
                )));
            }
        }
        Ok(rows
            .into_iter()
            .filter(|row| !row.is_ref() && !row.is_intermediate())
            .map(|row| {
                let SearchEntry { dn, attrs, .. } = SearchEntry::construct(row);
                Entry {
                    dn,
                    attributes: attrs,
                }
            })
            .collect())
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

fn trouble(error: &LdapError) -> Trouble {
    Trouble::Server(error.to_string())
}

// RFC 4511 §4.1.9 and appendix A.
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const REFERRAL: u32 = 10;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN: u32 = 34;
const INVALID_CREDENTIALS: u32 = 49;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;
const UNWILLING_TO_PERFORM: u32 = 53;
