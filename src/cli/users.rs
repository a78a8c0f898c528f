//! `users add`, `users remove`, `users list`.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::authn::hash_password;
use crate::users_file::{self, Added};

/// `users …`
#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Adds a user, or gives one a new password
    ///
    /// On a terminal the password is asked for twice and not shown; otherwise it is read from standard input. The file
    /// is made if it is not there, and replaced as a whole, so that a running gateway never reads half of it.
    #[command(
        after_help = "Examples:\n  livy-gateway users add --file users.htpasswd alice --group analysts\n  \
                            printf %s \"$PASSWORD\" | livy-gateway users add --file users.htpasswd alice"
    )]
    Add(Add),
    /// Removes a user
    #[command(after_help = "Example:\n  livy-gateway users remove --file users.htpasswd alice")]
    Remove(Remove),
    /// Lists names, kinds of hashes and groups, and says which hashes are weak
    #[command(after_help = "Example:\n  livy-gateway users list --file users.htpasswd")]
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The users file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The name that the user logs in with
    #[arg(value_name = "NAME")]
    name: String,
    /// A group of the user; may be repeated. Without it, a user that is there already keeps its groups
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The users file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The name
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The users file
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

impl Users {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Add(Add { file, name, group }) => {
                let hash = hash_password(&super::password::read(name)?)?;
                let groups = (!group.is_empty()).then_some(group.as_slice());
                match users_file::add(file, name, &hash, groups)? {
                    Added::New => super::print(&format!("added {name}\n")),
                    Added::Replaced => super::print(&format!("replaced the password of {name}\n")),
                }
            }
            Self::Remove(Remove { file, name }) => {
                if !users_file::remove(file, name)? {
                    bail!("there is no user {name} in {}", file.display());
                }
                super::print(&format!("removed {name}\n"))
            }
            Self::List(List { file }) => {
                let mut out = String::new();
                for user in users_file::list(file)? {
                    let weak = if user.scheme.is_weak() { " (weak)" } else { "" };
                    out.push_str(&format!(
                        "{}  {}{weak}  {}\n",
                        user.name,
                        user.scheme,
                        user.groups.join(",")
                    ));
                }
                super::print(&out)
            }
        }
    }
}
