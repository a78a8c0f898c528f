//! Reading a password, and `hash-password`.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, ensure};
use clap::Args;
use zeroize::Zeroizing;

use crate::authn::hash_password;

/// `hash-password`
#[derive(Debug, Args)]
pub(super) struct HashPassword {
    /// The user's name; without it only the hash is printed
    #[arg(value_name = "NAME")]
    user: Option<String>,
    /// A group of the user; may be repeated
    #[arg(long, value_name = "GROUP", requires = "user")]
    group: Vec<String>,
}

impl HashPassword {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let name = self.user.as_deref().unwrap_or("the user");
        let hash = hash_password(&read(name)?)?;
        let Some(user) = &self.user else {
            return super::print(&format!("{hash}\n"));
        };
        let groups = self.group.join(",");
        let line = if groups.is_empty() {
            format!("{user}:{hash}")
        } else {
            format!("{user}:{hash}:{groups}")
        };
        // Whatever a users file would refuse is refused here, not at the next start.
        if let Err(problems) = crate::authn::Users::parse(&line) {
            let said: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
            anyhow::bail!(said.join("; "));
        }
        super::print(&format!("{line}\n"))
    }
}

/// A new password: asked for twice without echo on a terminal, else all of standard input but its last line end.
pub(super) fn read(whose: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if io::stdin().is_terminal() {
        let first = Zeroizing::new(rpassword::prompt_password(format!("New password of {whose}: "))?);
        let second = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
        ensure!(first == second, "the two passwords differ; nothing was changed");
        return Ok(Zeroizing::new(first.as_bytes().to_vec()));
    }
    from_standard_input()
}

/// A password that exists: asked for once without echo on a terminal, else all of standard input but its last line end.
pub(super) fn read_once(whose: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if io::stdin().is_terminal() {
        let typed = Zeroizing::new(rpassword::prompt_password(format!("Password of {whose}: "))?);
        return Ok(Zeroizing::new(typed.as_bytes().to_vec()));
    }
    from_standard_input()
}

fn from_standard_input() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut password = Zeroizing::new(Vec::with_capacity(READ_AT_MOST));
    let most = u64::try_from(READ_AT_MOST).unwrap_or(u64::MAX);
    io::stdin()
        .take(most)
        .read_to_end(&mut password)
        .context("the password cannot be read from standard input")?;
    if password.last() == Some(&b'\n') {
        password.pop();
        if password.last() == Some(&b'\r') {
            password.pop();
        }
    }
    Ok(password)
}

/// In bytes; longer than any password may be, so that a too long one is noticed and none is cut.
const READ_AT_MOST: usize = 4096;
