//! `token`: a JWT for first steps, from an issuer whose secret the gateway shares.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;

use crate::authn::{Authn, Issuer, jwt};
use crate::clock::{Clock, SystemClock};
use crate::config;

/// `token`
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The name of the [[jwt]] entry; may be left out if there is only one
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Whom the token is for
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// A group of theirs; may be repeated
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// How long it is good, with a unit
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = config::duration)]
    lifetime: Duration,
}

impl Token {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let policy = config::load(&self.config, 0)?;
        let issuer = self.issuer(&policy.authn)?;
        let now = SystemClock::new().wall();
        let token = jwt::mint(issuer, &self.subject, &self.group, self.lifetime, now)
            .map_err(|what| anyhow!(what))?;
        super::print(&format!("{token}\n"))
    }

    fn issuer<'a>(&self, authn: &'a Authn) -> anyhow::Result<&'a Arc<Issuer>> {
        let names: Vec<_> = authn.issuers.iter().map(|issuer| issuer.name()).collect();
        match (&self.issuer, authn.issuers.as_slice()) {
            (_, []) => bail!("the configuration has no [[jwt]] entry, so no token would be accepted"),
            (Some(name), _) => match authn.issuer(name) {
                Some(issuer) => Ok(issuer),
                None => bail!(
                    "there is no [[jwt]] entry named {name}; there is {}",
                    names.join(", ")
                ),
            },
            (None, [issuer]) => Ok(issuer),
            (None, _) => bail!(
                "there are several [[jwt]] entries; choose one with --issuer: {}",
                names.join(", ")
            ),
        }
    }
}
