//! When personal tokens were used last, kept over restarts: a small file in the state directory, for `tokens list`.
//!
//! Requests only note the minute with their token ([`LastUse`](crate::authn::personal::LastUse)); the file is written
//! now and then by whoever keeps house. A file that cannot be read or written costs nobody a login.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::authn::PersonalTokens;
use crate::authn::personal::written;
use crate::clock::from_rfc3339;
use crate::policy::{Policy, Store};
use crate::safe_edit::{self, EditError};

/// The file of one gateway; none where the state is kept in memory.
#[derive(Debug)]
pub struct TokenUses {
    path: Option<PathBuf>,
    as_written: Mutex<String>,
}

impl TokenUses {
    /// Reads what an earlier process wrote, and tells the tokens of this policy.
    pub fn open(policy: &Policy) -> Self {
        let path = match &policy.state.store {
            Store::File(directory) => Some(directory.join(FILE)),
            Store::Memory => None,
        };
        if let (Some(path), Some(tokens)) = (&path, &policy.authn.tokens) {
            let uses = read(path).unwrap_or_else(|error| {
                warn!(%error, "the last uses of personal tokens cannot be read");
                None
            });
            for (id, at) in uses.into_iter().flatten() {
                if let Some(token) = tokens.get(&id) {
                    token.last_use().note(at);
                }
            }
        }
        Self {
            path,
            as_written: Mutex::default(),
        }
    }

    /// Writes the last uses of the tokens in force, if anything has changed. Call it about once a minute and at the
    /// end.
    pub fn write(&self, policy: &Policy) {
        let (Some(path), Some(tokens)) = (&self.path, &policy.authn.tokens) else {
            return;
        };
        let text = shown(tokens);
        let mut as_written = self.as_written.lock().unwrap_or_else(PoisonError::into_inner);
        if *as_written == text {
            return;
        }
        match safe_edit::write_whole(path, &text) {
            Ok(()) => *as_written = text,
            Err(error) => warn!(%error, "the last uses of personal tokens cannot be written"),
        }
    }
}

/// The last uses that the gateway with this state directory has written, by token id; None where it has written none.
pub fn in_directory(directory: &Path) -> Result<Option<BTreeMap<String, Duration>>, EditError> {
    read(&directory.join(FILE))
}

fn read(path: &Path) -> Result<Option<BTreeMap<String, Duration>>, EditError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(safe_edit::at(path)(error)),
    };
    let line = |line: &str| {
        let (id, at) = line.split_once(' ')?;
        Some((id.to_owned(), from_rfc3339(at)?))
    };
    Ok(Some(text.lines().filter_map(line).collect()))
}

fn shown(tokens: &PersonalTokens) -> String {
    let used = tokens
        .iter()
        .filter_map(|token| Some((token.id(), token.last_use().at()?)));
    let by_id: BTreeMap<_, _> = used.collect();
    by_id
        .into_iter()
        .map(|(id, at)| format!("{id} {}\n", written(at)))
        .collect()
}

const FILE: &str = "token-uses";
