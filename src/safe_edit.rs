//! Edits a file that a running gateway reads: one writer at a time, and a reader sees the old file or the new one,
//! never a half.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// The system refused.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct EditError {
    /// Which file, or which directory.
    pub path: PathBuf,
    /// What the system says.
    pub cause: io::Error,
}

/// Reads, changes and replaces the file, as the only writer.
///
/// `change` gets the text, empty where there is no file, and gives the new one if anything is to change. A file that is
/// not there is created, for its owner alone.
pub fn edit<T, E: From<EditError>>(
    path: &Path,
    change: impl FnOnce(&str) -> Result<(T, Option<String>), E>,
) -> Result<T, E> {
    // Through links: what is replaced must be the file, not the link to it.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let _only_writer = lock(&beside(path, ".lock"))?;
    let (text, before) = match File::open(path) {
        Ok(file) => (
            io::read_to_string(&file).map_err(at(path))?,
            Some(file.metadata().map_err(at(path))?),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), None),
        Err(error) => return Err(at(path)(error).into()),
    };
    let (outcome, changed) = change(&text)?;
    if let Some(changed) = changed {
        put(path, &changed, before.as_ref())?;
    }
    Ok(outcome)
}

/// The lock lives beside the file, because the file itself is replaced. It is let go when the value is dropped.
fn lock(path: &Path) -> Result<File, EditError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(path)
        .map_err(at(path))?;
    file.lock().map_err(at(path))?;
    Ok(file)
}

/// Puts a file there whole, for its owner alone, where nobody else writes.
pub fn write_whole(path: &Path, text: &str) -> Result<(), EditError> {
    put(path, text, None)
}

fn put(path: &Path, text: &str, before: Option<&Metadata>) -> Result<(), EditError> {
    let temporary = beside(path, ".new");
    replace(path, &temporary, text, before).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

fn replace(path: &Path, temporary: &Path, text: &str, before: Option<&Metadata>) -> Result<(), EditError> {
    let failed = at(temporary);
    // Nobody else writes here: what is there was left by a writer that died.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(temporary)
        .map_err(&failed)?;
    if let Some(before) = before {
        // root edits a file that the gateway's own account must go on reading.
        let made = file.metadata().map_err(&failed)?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid())).map_err(&failed)?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o777))
            .map_err(&failed)?;
    }
    file.write_all(text.as_bytes()).map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    fs::rename(temporary, path).map_err(at(path))?;
    // The new name must survive a power cut as well as the content.
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(at(directory))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// An error of this file's.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> EditError {
    move |cause| EditError {
        path: path.to_owned(),
        cause,
    }
}

const OWNER_ONLY: u32 = 0o600;

/// Lines as a file has them.
pub(crate) fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}
