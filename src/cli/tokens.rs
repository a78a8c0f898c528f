//! `tokens add`, `tokens list`, `tokens revoke`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{ArgGroup, Args, Subcommand};

use crate::authn::PersonalToken;
use crate::authn::personal::written;
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::token_uses;
use crate::tokens_file::{self, Which};

/// `tokens …`
#[derive(Debug, Subcommand)]
pub(super) enum Tokens {
    /// Makes a personal token and prints it, once: it is kept nowhere
    ///
    /// The token alone goes to standard output. It is the password of Basic beside its user's name, or what follows
    /// Bearer. The file is made if it is not there; a running gateway notices within seconds.
    #[command(
        after_help = "Examples:\n  livy-gateway tokens add --file tokens --user alice --expires 90d --label notebook\n  \
                            livy-gateway tokens add --file tokens --user airflow --expires 366d --label 'airflow on host 7' > airflow.token"
    )]
    Add(Add),
    /// Lists the tokens: id, user, when made, until when good, when used last, and what for
    ///
    /// The last use is what a running gateway writes into its state directory each minute; name that, or the
    /// gateway's configuration. "?" means that nothing is written there.
    #[command(after_help = "Examples:\n  livy-gateway tokens list --file tokens\n  \
                      livy-gateway tokens list --file tokens --state /var/lib/livy-gateway\n  \
                      livy-gateway tokens list --file tokens --config gateway.toml")]
    List(List),
    /// Revokes a token by its id, or all of a user's
    ///
    /// The running gateway refuses them as soon as it has noticed, within seconds, also where they were accepted before.
    #[command(
        after_help = "Examples:\n  livy-gateway tokens revoke --file tokens 4mZk2Qw9Xa\n  \
                            livy-gateway tokens revoke --file tokens --user alice"
    )]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The tokens file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The Livy user whose it is
    #[arg(long, value_name = "NAME")]
    user: String,
    /// How long it is good, with a unit; at most 366d
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    expires: Duration,
    /// What it is for, for the list and the log
    #[arg(long, value_name = "TEXT")]
    label: String,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The tokens file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The state directory of the gateway that uses it
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state: Option<PathBuf>,
    /// Its configuration, which names the state directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "user"]))]
pub(super) struct Revoke {
    /// The tokens file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The token's id, as the list shows it
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// All tokens of this Livy user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

impl Tokens {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run(),
            Self::List(list) => list.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Add {
    fn run(&self) -> anyhow::Result<()> {
        let now = SystemClock::new().wall();
        let token = tokens_file::add(&self.file, &self.user, &self.label, now, self.expires)?;
        // Whoever redirects the token into a file still sees whose it is.
        writeln!(
            io::stderr(),
            "added the token {} of {}, good until {}; it is shown this once",
            token.id,
            self.user,
            written(now.saturating_add(self.expires))
        )?;
        super::print(&format!("{}\n", *token.text))
    }
}

impl List {
    fn run(&self) -> anyhow::Result<()> {
        let tokens = tokens_file::list(&self.file)?;
        let uses = match self.state_directory()? {
            Some(directory) => token_uses::in_directory(&directory)?,
            None => None,
        };
        let now = SystemClock::new().wall();
        let head = ["ID", "USER", "CREATED", "EXPIRES", "LAST USE", "LABEL"].map(str::to_owned);
        let rows = tokens.iter().map(|token| row(token, uses.as_ref(), now));
        super::print(&table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))
    }

    fn state_directory(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(config) = &self.config else {
            return Ok(self.state.clone());
        };
        let socket = config::control_socket(config)?;
        let directory = socket.path.as_deref().and_then(Path::parent);
        let directory = directory.ok_or_else(|| {
            anyhow!("this gateway keeps its state in memory, so no last use is written down")
        })?;
        Ok(Some(directory.to_owned()))
    }
}

impl Revoke {
    fn run(&self) -> anyhow::Result<()> {
        let (which, none) = match (&self.id, &self.user) {
            (Some(id), _) => (Which::Id(id), format!("there is no token {id}")),
            (None, user) => {
                let user = user.as_deref().unwrap_or_default();
                (Which::Of(user), format!("{user} has no token"))
            }
        };
        let revoked = tokens_file::revoke(&self.file, which)?;
        if revoked.is_empty() {
            bail!("{none} in {}", self.file.display());
        }
        super::print(&format!("revoked {}\n", revoked.join(", ")))
    }
}

fn row(token: &PersonalToken, uses: Option<&BTreeMap<String, Duration>>, now: Duration) -> [String; 6] {
    let expires = if now >= token.expires() {
        "expired".to_owned()
    } else {
        written(token.expires())
    };
    let last_use = match uses {
        None => "?".to_owned(),
        Some(uses) => uses
            .get(token.id())
            .map_or_else(|| "never".to_owned(), |at| written(*at)),
    };
    [
        token.id().to_owned(),
        token.user().to_owned(),
        written(token.created()),
        expires,
        last_use,
        token.label().to_owned(),
    ]
}

/// Columns as wide as their widest cell, two blanks between them.
fn table(rows: &[[String; 6]]) -> String {
    let widths: [usize; 6] = std::array::from_fn(|at| {
        rows.iter()
            .filter_map(|row| row.get(at))
            .map(String::len)
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
