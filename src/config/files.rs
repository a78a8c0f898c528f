//! Reads what the configuration names: users, certificates, keys, secrets.
//!
//! Every file is opened once, checked through the open handle and read with a bound, so that a replacement between
//! check and reading cannot matter. Relative paths are relative to the configuration. Nothing read here is shown.

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::problem::Problems;
use super::reader::{Written, Wrong};

/// Where a secret is to be found; never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SecretRef {
    /// The content of a file, without its last line end.
    File(PathBuf),
    /// The value of an environment variable.
    Env(String),
}

impl SecretRef {
    /// Reads `file:PATH` or `env:NAME`. The error does not repeat the text: it may be the secret.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(_) | None => Err(Self::literal()),
        }
    }

    /// What is said of a secret that stands in the file itself.
    pub(super) fn literal() -> Wrong {
        Wrong::new(
            "a secret is never written into the configuration itself",
            "put it into a file of its own and write \"file:PATH\", or into the environment and write \"env:NAME\"; \
             change the secret if others could read this file",
        )
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

/// Whether a file's content must stay secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// Certificates and public keys.
    Public,
    /// What decides who gets in and is no secret: whose client certificates are good.
    Trusted,
    /// Password hashes, private keys, shared secrets.
    Secret,
}

/// The files that one configuration names.
#[derive(Debug)]
pub(super) struct Files<'a> {
    directory: &'a Path,
    problems: &'a Problems,
    /// With the content that was found, for a later look.
    read: RefCell<Vec<(PathBuf, u64)>>,
    insecure: RefCell<Vec<String>>,
}

impl<'a> Files<'a> {
    /// For paths relative to `directory`.
    pub(super) fn new(directory: &'a Path, problems: &'a Problems) -> Self {
        Self {
            directory,
            problems,
            read: RefCell::default(),
            insecure: RefCell::default(),
        }
    }

    /// Every file that was asked for, with [`seen`] of it, and a sentence for each that others may read.
    pub(super) fn into_parts(self) -> (Vec<(PathBuf, u64)>, Vec<String>) {
        (self.read.into_inner(), self.insecure.into_inner())
    }

    /// The path as the system needs it.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The content of the file that `key` names; a file that cannot be read is a problem. `make` says how to make it
    /// where it is missing; empty for nothing special.
    pub(super) fn read(
        &self,
        key: &str,
        path: &Written<PathBuf>,
        secrecy: Secrecy,
        make: &str,
    ) -> Option<Zeroizing<Vec<u8>>> {
        self.read_path(key, &path.value, path.span.as_ref(), secrecy, make)
    }

    /// The secret that `key` refers to.
    pub(super) fn secret(&self, key: &str, reference: &Written<SecretRef>) -> Option<Zeroizing<Vec<u8>>> {
        let span = reference.span.as_ref();
        let mut secret = match &reference.value {
            SecretRef::File(path) => self.read_path(key, path, span, Secrecy::Secret, "")?,
            SecretRef::Env(name) => {
                let Some(value) = std::env::var_os(name) else {
                    let title = format!("`{key}`: the environment variable {name} is not set");
                    self.problems.add(
                        span,
                        title,
                        "set it where the gateway starts, or write \"file:PATH\"",
                    );
                    return None;
                };
                Zeroizing::new(value.into_encoded_bytes())
            }
        };
        strip_line_end(&mut secret);
        if secret.is_empty() {
            let title = format!("`{key}`: the secret is empty");
            self.problems
                .add(span, title, format!("put the secret into {}", reference.value));
            return None;
        }
        Some(secret)
    }

    /// The path of a file that will be written on; one that surely cannot be is a problem. Neither it nor its folder is
    /// made here: whoever checks a configuration may be somebody else than who runs with it.
    pub(super) fn appended(&self, key: &str, path: &Written<PathBuf>) -> PathBuf {
        let full = self.resolve(&path.value);
        let in_the_way = full
            .ancestors()
            .skip(1)
            .find(|folder| folder.exists())
            .filter(|folder| !folder.is_dir());
        let what = if full.is_dir() {
            Some(format!("{} is a folder", full.display()))
        } else if let Some(file) = in_the_way {
            Some(format!("{} is no folder", file.display()))
        } else {
            match OpenOptions::new().append(true).open(&full) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Some(format!("cannot write {}: {}", full.display(), plain(&error)))
                }
                Ok(_) | Err(_) => None,
            }
        };
        if let Some(what) = what {
            self.problems.add(
                path.span.as_ref(),
                format!("`{key}`: {what}"),
                "write the path of a file that the gateway may write; it is made if it is not there",
            );
        }
        full
    }

    fn read_path(
        &self,
        key: &str,
        path: &Path,
        span: Option<&Range<usize>>,
        secrecy: Secrecy,
        make: &str,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let full = self.resolve(path);
        self.remember(&full, None);
        let opened = File::open(&full).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, mut file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let title = format!("`{key}`: cannot open {}: {}", full.display(), plain(&error));
                let is_missing = error.kind() == std::io::ErrorKind::NotFound;
                let help = if is_missing && !make.is_empty() {
                    make
                } else {
                    READABLE
                };
                self.problems.add(span, title, help);
                return None;
            }
        };
        if !metadata.is_file() {
            let title = format!("`{key}`: {} is not a file", full.display());
            self.problems.add(span, title, "write the path of a file");
            return None;
        }
        if secrecy != Secrecy::Public && !self.is_guarded(key, &full, &metadata, secrecy, span) {
            return None;
        }
        let mut content = Zeroizing::new(Vec::with_capacity(
            usize::try_from(metadata.len()).unwrap_or(0).min(READ_AT_ONCE),
        ));
        match file
            .by_ref()
            .take(LARGEST_FILE.saturating_add(1))
            .read_to_end(&mut content)
        {
            Ok(length) if length as u64 > LARGEST_FILE => {
                let title = format!("`{key}`: {} is larger than 64 MiB", full.display());
                self.problems.add(span, title, "write the path of the right file");
                None
            }
            Ok(_) => {
                self.remember(&full, Some(&content));
                Some(content)
            }
            Err(error) => {
                let title = format!("`{key}`: cannot read {}: {}", full.display(), plain(&error));
                self.problems
                    .add(span, title, "write the path of a file that the gateway may read");
                None
            }
        }
    }

    /// What everybody may write proves nothing and is refused. What everybody may read, or the group may write, is
    /// reported as insecure: container platforms mount secrets with mode 0644, behind a folder that others cannot
    /// enter. What the group may read is fine: that is how root gives a service its files.
    fn is_guarded(
        &self,
        key: &str,
        path: &Path,
        metadata: &Metadata,
        secrecy: Secrecy,
        span: Option<&Range<usize>>,
    ) -> bool {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o002 != 0 {
            let title = format!(
                "`{key}`: everybody may write {} (mode {mode:04o})",
                path.display()
            );
            self.problems
                .add(span, title, format!("run: chmod 600 {}", path.display()));
            return false;
        }
        let is_read = mode & 0o004 != 0 && secrecy == Secrecy::Secret;
        if is_read || mode & 0o020 != 0 {
            let whom = if is_read {
                "everybody on this machine may read"
            } else {
                "its group may write"
            };
            let sentence = format!(
                "{whom} {} (mode {mode:04o}), which {key} names; run: chmod 600 {0}",
                path.display()
            );
            self.insecure.borrow_mut().push(sentence);
        }
        true
    }

    /// Twice for a file that is read: once that it is asked for, and then what was in it.
    fn remember(&self, path: &Path, content: Option<&[u8]>) {
        let mut read = self.read.borrow_mut();
        match read.iter_mut().find(|(known, _)| known == path) {
            Some((_, found)) if content.is_some() => *found = seen(content),
            Some(_) => {}
            None => read.push((path.to_owned(), seen(content))),
        }
    }
}

/// Differs when the content of a file does; of none for one that is not there.
pub(super) fn seen(content: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// The operating system's words without its error number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let kind = error.kind();
    if kind == std::io::ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "permission denied".to_owned()
    } else {
        error.to_string()
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Editors and `echo` end a file with a line end that nobody means as part of the secret.
fn strip_line_end(secret: &mut Vec<u8>) {
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
}

const READABLE: &str =
    "write the path of a file that the gateway may read; relative paths begin at this file's folder";
/// In bytes; a users file of a hundred thousand lines is a quarter of it.
const LARGEST_FILE: u64 = 64 << 20;
/// In bytes; a buffer that need not grow leaves no copies of a secret behind.
const READ_AT_ONCE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_and_anything_else_is_taken_for_a_secret() {
        assert_eq!(
            SecretRef::parse("file:a.key").unwrap(),
            SecretRef::File("a.key".into())
        );
        assert_eq!(
            SecretRef::parse("env:LIVY_PASSWORD").unwrap(),
            SecretRef::Env("LIVY_PASSWORD".into())
        );
        for literal in ["", "hunter2", "file:", "env:", "env:a b", "FILE:a", "vault:a"] {
            let wrong = SecretRef::parse(literal).unwrap_err();
            assert!(literal.is_empty() || !wrong.what.contains(literal), "{literal}");
        }
    }

    #[test]
    fn one_line_end_is_no_part_of_a_secret() {
        for (written, meant) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a ", "a "),
            ("\n", ""),
        ] {
            let mut secret = written.as_bytes().to_vec();
            strip_line_end(&mut secret);
            assert_eq!(secret, meant.as_bytes());
        }
    }
}
