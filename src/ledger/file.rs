//! The file of a ledger: opening it, and writing to it.
//!
//! A directory holds `ledger.redb`, and `ledger.lock`, which says that a gateway uses it. Nobody but the gateway's own
//! account may read either. A file that cannot be trusted is set aside and never overwritten.
//!
//! One record a place, of a few hundred bytes, which goes when the place does; so the file is about as large as twice
//! what is held at once, at its peak. It is made smaller at a start if little of it is used.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::ledger::Place;
use crate::ledger::record::{self, Unreadable};
use crate::ledger::writer::{Change, Journal};
use crate::livy::marker::Instance;

/// What was found when a ledger was opened.
#[derive(Debug)]
pub struct Opening {
    /// Whose markers are its own, from the first start on.
    pub instance: Instance,
    /// Where the former file is now, if it was not to be trusted. Who owned what is then unknown.
    pub set_aside: Option<PathBuf>,
    /// How many places were read.
    pub places: usize,
}

/// What is done about a file that cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfSpoiled {
    /// It is set aside and a new one is begun: whose sessions are whose can be learnt from Livy again.
    BeginAnew,
    /// It stays, and nothing is opened until somebody has decided: nothing else knows whose sessions are whose.
    Refuse,
}

/// Why a ledger is not opened. What was written down is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two gateways with one file would each know half.
    #[error("{} is used by another gateway; stop that one, or give each a directory of its own", .0.display())]
    InUse(PathBuf),
    /// A newer gateway has written it, perhaps something that this one would ignore.
    #[error(
        "{} has format version {version}, and this gateway reads up to {known}; run the newer gateway that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// What this gateway reads.
        known: u32,
    },
    /// Who owns what stood only in a file that cannot be trusted.
    #[error(
        "{} cannot be trusted ({reason}), and with livy.impersonation = \"off\" nothing else tells whose sessions are \
         whose; put a good copy in its place, or delete what runs at Livy, move the file away and start with a new one",
        path.display()
    )]
    Spoiled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The world is in the way: permissions, a full disk.
    #[error("cannot {doing} of the ledger in {}: {reason}", path.display())]
    Failed {
        /// The file or the directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it did not succeed.
        reason: String,
    },
}

/// An open file with all that was in it.
pub(super) struct Opened {
    pub(super) journal: FileJournal,
    pub(super) instance: Instance,
    pub(super) places: Vec<Place>,
    pub(super) set_aside: Option<PathBuf>,
}

/// Opens the ledger in `directory`, or begins one; places are as they stand after a start at `at`.
pub(super) fn open(directory: &Path, at: Duration, if_spoiled: IfSpoiled) -> Result<Opened, OpenError> {
    open_with(directory, at, if_spoiled, on_disk)
}

/// How a file becomes a database; tests put a failing disk in between.
pub(super) trait Attach: Fn(File) -> Result<Database, DatabaseError> + Send + 'static {}

impl<F: Fn(File) -> Result<Database, DatabaseError> + Send + 'static> Attach for F {}

fn on_disk(file: File) -> Result<Database, DatabaseError> {
    settings().create_with_backend(FileBackend::new(file)?)
}

/// What every database is opened with.
pub(super) fn settings() -> Builder {
    let mut settings = Database::builder();
    settings
        .set_cache_size(CACHE_BYTES)
        // Costs one look at every page, and a file that was altered is refused instead of believed.
        .set_check_integrity_on_open(true);
    settings
}

/// As [`open`], with a disk of one's own.
pub(super) fn open_with(
    directory: &Path,
    at: Duration,
    if_spoiled: IfSpoiled,
    attach: impl Attach,
) -> Result<Opened, OpenError> {
    make_directory(directory).map_err(failed(directory, "make the directory"))?;
    let lock = lock(directory)?;
    let path = directory.join(FILE);
    let mut set_aside = None;
    let is_there = path.try_exists().map_err(failed(&path, "look for the file"))?;
    if is_there {
        match load(&path, at, &attach) {
            Ok(loaded) => return Ok(loaded.opened(path, lock, None, attach)),
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Spoiled(reason)) if if_spoiled == IfSpoiled::Refuse => {
                return Err(OpenError::Spoiled { path, reason });
            }
            Err(Trouble::Spoiled(reason)) => {
                let aside = move_aside(&path).map_err(failed(&path, "set aside the spoiled file"))?;
                tracing::error!(
                    reason,
                    set_aside = %aside.display(),
                    "the ledger's file cannot be trusted; a new one is begun"
                );
                set_aside = Some(aside);
            }
        }
    }
    begin(directory, &path, &attach)?;
    match load(&path, at, &attach) {
        Ok(loaded) => Ok(loaded.opened(path, lock, set_aside, attach)),
        Err(Trouble::Refused(error)) => Err(error),
        Err(Trouble::Spoiled(reason)) => Err(OpenError::Failed {
            path,
            doing: "read again the new file",
            reason,
        }),
    }
}

type Reopen = dyn Fn(&Path) -> Result<Database, redb::Error> + Send;

/// Writes to the open file.
pub(super) struct FileJournal {
    /// None after a failure: the database wants to be opened again then.
    database: Option<Database>,
    reopen: Box<Reopen>,
    path: PathBuf,
    /// Held, not read. It is not the database itself that is locked, so that nobody comes in between when that is
    /// opened again.
    _lock: Lock,
}

impl Journal for FileJournal {
    fn write(&mut self, changes: &[Change]) -> Result<(), String> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.reopen)(&self.path).map_err(|error| error.to_string())?,
        };
        write(&database, changes).map_err(|error| error.to_string())?;
        self.database = Some(database);
        Ok(())
    }
}

fn write(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut places = transaction.open_table(PLACES)?;
        for change in changes {
            match &change.record {
                Some(record) => places.insert(change.marker.as_str(), record.as_slice())?,
                None => places.remove(change.marker.as_str())?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

/// What a file says.
struct Loaded {
    database: Option<Database>,
    instance: Instance,
    places: Vec<Place>,
}

impl Loaded {
    fn opened(self, path: PathBuf, lock: Lock, set_aside: Option<PathBuf>, attach: impl Attach) -> Opened {
        Opened {
            journal: FileJournal {
                database: self.database,
                reopen: Box::new(move |path| open_database(path, Existing::Must, &attach)),
                path,
                _lock: lock,
            },
            instance: self.instance,
            places: self.places,
            set_aside,
        }
    }
}

/// Why a file is not loaded.
enum Trouble {
    /// Its content makes no sense.
    Spoiled(String),
    /// It may be sound.
    Refused(OpenError),
}

fn load(path: &Path, at: Duration, attach: &impl Attach) -> Result<Loaded, Trouble> {
    let mut database =
        open_database(path, Existing::Must, attach).map_err(|error| trouble(path, "open the file", error))?;
    let content = read(&database).map_err(|error| trouble(path, "read the file", error))?;
    let newer = |version, known| {
        Trouble::Refused(OpenError::Newer {
            path: path.to_owned(),
            version,
            known,
        })
    };
    let spoiled = |what: &str| Trouble::Spoiled(what.to_owned());
    let version: u32 = content
        .format_version
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| spoiled("it has no format version"))?;
    if version > FORMAT_VERSION {
        return Err(newer(version, FORMAT_VERSION));
    }
    let instance = content
        .instance
        .and_then(|text| Instance::parse(&text))
        .ok_or_else(|| spoiled("it has no instance"))?;
    let places = content
        .records
        .iter()
        .map(|(marker, record)| record::decode(marker, record, at))
        .collect::<Result<_, _>>()
        .map_err(|unreadable| match unreadable {
            Unreadable::Newer(version) => newer(version, record::VERSION),
            Unreadable::Spoiled(reason) => Trouble::Spoiled(reason),
        })?;
    let used: usize = content.records.iter().map(|(_, record)| record.len()).sum();
    let is_sound = match compact(&mut database, path, used) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(reason = %error, "the ledger's file could not be made smaller");
            false
        }
    };
    Ok(Loaded {
        database: is_sound.then_some(database),
        instance,
        places,
    })
}

/// What a file has, before it is understood.
#[derive(Default)]
struct Content {
    format_version: Option<String>,
    instance: Option<String>,
    records: Vec<(String, Vec<u8>)>,
}

fn read(database: &Database) -> Result<Content, redb::Error> {
    let transaction = database.begin_read()?;
    let mut content = Content::default();
    match transaction.open_table(META) {
        Ok(meta) => {
            let text =
                |key| -> Result<_, redb::Error> { Ok(meta.get(key)?.map(|value| value.value().to_owned())) };
            content.format_version = text(FORMAT_VERSION_KEY)?;
            content.instance = text(INSTANCE_KEY)?;
        }
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(content),
        Err(error) => return Err(error.into()),
    }
    match transaction.open_table(PLACES) {
        Ok(places) => {
            for entry in places.iter()? {
                let (marker, record) = entry?;
                content
                    .records
                    .push((marker.value().to_owned(), record.value().to_owned()));
            }
        }
        // A newer format may keep them elsewhere; its version is what to complain about.
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(content)
}

/// Begins a file under another name, so that a crash leaves either none or a whole one.
fn begin(directory: &Path, path: &Path, attach: &impl Attach) -> Result<(), OpenError> {
    let unfinished = directory.join(UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed(&unfinished, "clear away the unfinished file")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut random = [0; 5];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| io::Error::other("the system gives no random bytes"))
        .map_err(failed(path, "name the instance"))?;
    write_meta(&unfinished, Instance::new(random), attach).map_err(failed(&unfinished, "begin the file"))?;
    fs::rename(&unfinished, path)
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(failed(path, "put the new file in the place"))
}

fn write_meta(path: &Path, instance: Instance, attach: &impl Attach) -> Result<(), redb::Error> {
    let database = open_database(path, Existing::MustNot, attach)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_VERSION_KEY, FORMAT_VERSION.to_string().as_str())?;
        meta.insert(INSTANCE_KEY, instance.as_str())?;
        transaction.open_table(PLACES)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Whether a file is there when it is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Must,
    MustNot,
}

fn open_database(path: &Path, existing: Existing, attach: &impl Attach) -> Result<Database, redb::Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(existing == Existing::MustNot)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    if existing == Existing::Must && file.metadata()?.len() == 0 {
        // The database would begin a new one in it, and so forget silently what was there.
        return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
    }
    Ok(attach(file)?)
}

fn compact(database: &mut Database, path: &Path, used: usize) -> Result<(), redb::Error> {
    let size = fs::metadata(path)?.len();
    let is_worth_it = size > COMPACT_ABOVE_BYTES && size / 8 > used as u64;
    if is_worth_it {
        database.compact()?;
    }
    Ok(())
}

fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// That a gateway uses the directory.
struct Lock(File);

impl Drop for Lock {
    /// Closing it would not do: a process that is being started at this moment has a copy of it until it runs.
    fn drop(&mut self) {
        // If it fails, the closing that follows gives it up.
        let _ = self.0.unlock();
    }
}

fn lock(directory: &Path) -> Result<Lock, OpenError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed(&path, "open the lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.join(FILE))),
        Err(TryLockError::Error(error)) => Err(failed(&path, "take the lock")(error)),
    }
}

/// To the first name that is free. Only who holds the lock does this, so that no name is taken in between.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{number}"));
        let aside = PathBuf::from(name);
        match fs::symlink_metadata(&aside) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::rename(path, &aside)?;
                return Ok(aside);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name is free for it"))
}

/// Whether the file is at fault or the world.
fn trouble(path: &Path, doing: &'static str, error: redb::Error) -> Trouble {
    let is_in_use = matches!(
        error,
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch
    );
    let is_spoiled = if let redb::Error::Io(error) = &error {
        matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
    } else {
        matches!(
            error,
            redb::Error::Corrupted(_)
                | redb::Error::RepairAborted
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TableIsMultimap(_)
                | redb::Error::TypeDefinitionChanged { .. }
        )
    };
    if is_in_use {
        Trouble::Refused(OpenError::InUse(path.to_owned()))
    } else if is_spoiled {
        Trouble::Spoiled(error.to_string())
    } else {
        Trouble::Refused(failed(path, doing)(error))
    }
}

fn failed<E: ToString>(path: &Path, doing: &'static str) -> impl FnOnce(E) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Failed {
        path,
        doing,
        reason: error.to_string(),
    }
}

const FILE: &str = "ledger.redb";
const LOCK: &str = "ledger.lock";
const UNFINISHED: &str = "ledger.redb.new";

/// Raised when an older gateway would misread the file.
const FORMAT_VERSION: u32 = 1;
const FORMAT_VERSION_KEY: &str = "format_version";
const INSTANCE_KEY: &str = "instance";
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// Marker to record.
const PLACES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("places");

/// Nothing is read from the file after the start.
const CACHE_BYTES: usize = 1 << 20;
const COMPACT_ABOVE_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests;
