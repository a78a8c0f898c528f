//! The audit: one record for each decision that somebody may be asked about later. Who, as whom, what, which session,
//! what was decided, and why.
//!
//! A record goes into the log (target `audit`) and, where `log.audit_file` is written, as a line of JSON into that file.
//! Records hold names and numbers, never what was in a body, a setting's value, or a secret.
//!
//! A thread of its own writes the file: a disk that is full or slow stops no request. Lines that do not fit into its
//! queue are lost, counted, and told in the log and in the file itself.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tracing::{error, info, warn};

use super::metrics;
use crate::clock::{Clock, rfc3339};
use crate::denial::Denial;
use crate::ledger::{Place, PlaceKey};
use crate::livy::{Kind, SessionId};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A session or batch is created.
    Creation,
    /// One is deleted or stopped by request.
    Deletion,
    /// Somebody with a role looks after another's.
    Role,
    /// A service writes to a session of somebody for whom it acts.
    Delegation,
    /// The gateway refuses a request.
    Denial,
    /// What was created around this gateway is taken up.
    Adoption,
    /// What nobody shall use is deleted.
    Ghost,
    /// A place is free because Livy does not have it.
    Freed,
    /// A place is given back by hand.
    Release,
    /// Livy ran something as somebody else than it was told.
    Impersonation,
    /// The configuration is loaded again.
    Reload,
    /// Lines are missing here.
    LinesLost,
}

impl Event {
    const fn word(self) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::Deletion => "deletion",
            Self::Role => "role",
            Self::Delegation => "delegation",
            Self::Denial => "denial",
            Self::Adoption => "adoption",
            Self::Ghost => "ghost",
            Self::Freed => "freed",
            Self::Release => "release",
            Self::Impersonation => "impersonation",
            Self::Reload => "reload",
            Self::LinesLost => "lines_lost",
        }
    }
}

/// What was decided, or came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may go on; another record tells what came of it.
    Allowed,
    /// It was done.
    Done,
    /// The gateway refused.
    Refused,
    /// Livy refused, or it came to nothing.
    Failed,
    /// Whether it was done is not known.
    InDoubt,
}

impl Decision {
    const fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// One record. What is not known, or does not apply, is left out.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// About what.
    pub event: Event,
    /// What was decided.
    pub decision: Decision,
    /// The id that the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Address and port of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Who: a subject with its source, `uid:0` for an operator at the socket; nobody for the gateway itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Which of the subject's credentials: a personal token's id and label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// As whom Livy acts, or to whom the session belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub livy_user: Option<String>,
    /// By which role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// What: the label that metrics and log lines have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
    /// `session` or `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Its number at Livy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its name at Livy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// The name that its owner gave it, or by which it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many cores it is charged with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u64>,
    /// How much memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The denial's code, as in `docs/denials.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What the rule is about: a setting's key, a field, a user who was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many lines are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
}

impl Entry {
    /// A record that says nothing more yet.
    pub const fn new(event: Event, decision: Decision) -> Self {
        Self {
            event,
            decision,
            request_id: None,
            peer: None,
            subject: None,
            credential: None,
            livy_user: None,
            role: None,
            operation: None,
            kind: None,
            id: None,
            marker: None,
            name: None,
            cores: None,
            memory: None,
            code: None,
            rule: None,
            why: None,
            lines: None,
        }
    }

    /// About this place: what it is and whose.
    #[must_use]
    pub fn about(mut self, place: &Place) -> Self {
        self = self.known_by(place.kind, &place.key);
        self.id = place.standing.id().map(SessionId::get).or(self.id);
        self.livy_user = place.owner.as_ref().map(ToString::to_string);
        self.name = place.name.as_deref().map(str::to_owned);
        self
    }

    /// About what has this key.
    #[must_use]
    pub fn known_by(mut self, kind: Kind, key: &PlaceKey) -> Self {
        self.kind = Some(kind.noun());
        match key {
            PlaceKey::Marker(marker) => self.marker = Some(marker.to_string()),
            PlaceKey::Found(_, id) => self.id = Some(id.get()),
        }
        self
    }

    /// With this outcome.
    #[must_use]
    pub const fn decided(mut self, decision: Decision) -> Self {
        self.decision = decision;
        self
    }

    /// Because of this denial.
    #[must_use]
    pub fn denied(mut self, denial: &Denial) -> Self {
        let answer = denial.answer();
        self.code = Some(answer.code);
        self.rule = denial.rule().map(str::to_owned);
        // Not the message: that may show what a client wrote.
        self.why = Some(answer.reason.into_owned());
        self
    }

    /// For this reason.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    fn log(&self) {
        info!(
            target: "audit",
            event = self.event.word(),
            decision = self.decision.word(),
            request_id = self.request_id,
            peer = self.peer,
            subject = self.subject,
            credential = self.credential,
            livy_user = self.livy_user,
            role = self.role,
            operation = self.operation,
            kind = self.kind,
            id = self.id,
            marker = self.marker,
            name = self.name,
            cores = self.cores,
            memory = self.memory,
            code = self.code,
            rule = self.rule,
            why = self.why,
            lines = self.lines,
            "audit"
        );
    }
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// Where records go.
#[derive(Debug)]
pub struct Audit {
    clock: Arc<dyn Clock>,
    file: Option<Near>,
}

/// The near end of the writing thread.
#[derive(Debug)]
struct Near {
    notes: SyncSender<Note>,
    shared: Arc<Common>,
}

/// What both ends know.
#[derive(Debug, Default)]
struct Common {
    /// Since the last line that was written.
    lost: AtomicU64,
    /// The file shall be opened by its name again.
    reopen: AtomicBool,
}

enum Note {
    Line(Vec<u8>),
    /// Look at what is asked for beside the queue.
    Wake,
    /// Answer when everything before this is written.
    Written(SyncSender<()>),
}

impl Audit {
    /// Opens the file, if there is to be one, with its folder, and starts the thread that writes it.
    pub fn open(file: Option<&Path>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let file = match file {
            None => None,
            Some(path) => Some(Near::start(path, Arc::clone(&clock), QUEUE_LINES)?),
        };
        Ok(Self { clock, file })
    }

    /// Writes a record down, or counts it as lost. Never waits.
    pub fn record(&self, entry: &Entry) {
        entry.log();
        metrics::audit_record();
        if let Some(file) = &self.file {
            file.send(line(self.clock.wall(), entry));
        }
    }

    /// Opens the file by its name again, after it was renamed.
    pub fn reopen(&self) {
        if let Some(file) = &self.file {
            file.shared.reopen.store(true, Ordering::SeqCst);
            // If the queue is full the thread is awake.
            let _ = file.notes.try_send(Note::Wake);
        }
    }

    /// Waits until everything so far is written, for a while at most.
    pub fn flush(&self) {
        if let Some(file) = &self.file {
            let (sender, receiver) = sync_channel(1);
            if file.notes.try_send(Note::Written(sender)).is_ok() {
                let _ = receiver.recv_timeout(FLUSH_TIME);
            }
        }
    }
}

impl Near {
    fn start(path: &Path, clock: Arc<dyn Clock>, queue: usize) -> io::Result<Self> {
        let shared = Arc::new(Common::default());
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut far = Far {
            file: Some(open(path)?),
            path: path.to_owned(),
            shared: Arc::clone(&shared),
            clock,
            is_torn: false,
            is_failing: false,
        };
        let (notes, noted) = sync_channel(queue);
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || far.run(&noted))?;
        Ok(Self { notes, shared })
    }

    fn send(&self, line: Vec<u8>) {
        if self.notes.try_send(Note::Line(line)).is_err() {
            metrics::audit_lines_lost(1);
            if self.shared.lost.fetch_add(1, Ordering::SeqCst) == 0 {
                error!("audit lines are lost: the audit file is not written as fast as they come");
            }
        }
    }
}

/// The thread's end.
struct Far {
    /// Nothing after a failure: it is opened by its name again.
    file: Option<File>,
    path: PathBuf,
    shared: Arc<Common>,
    clock: Arc<dyn Clock>,
    /// Whether the last line was written in part.
    is_torn: bool,
    is_failing: bool,
}

impl Far {
    fn run(&mut self, noted: &Receiver<Note>) {
        for note in noted {
            if self.shared.reopen.swap(false, Ordering::SeqCst) {
                self.reopen();
            }
            match note {
                Note::Line(line) => self.write(&line),
                Note::Wake => {}
                Note::Written(answer) => {
                    // Whoever asked may have gone.
                    let _ = answer.try_send(());
                }
            }
        }
    }

    /// The old file is kept if there can be no new one: better in the wrong file than nowhere.
    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.is_torn = false;
                info!(path = %self.path.display(), "the audit file was opened again");
            }
            Err(error) => {
                error!(path = %self.path.display(), %error, "the audit file cannot be opened again; the old one is written on");
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        match self.try_write(line) {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    warn!(path = %self.path.display(), "the audit file is written again");
                }
            }
            Err(error) => {
                self.file = None;
                self.shared.lost.fetch_add(1, Ordering::SeqCst);
                metrics::audit_lines_lost(1);
                if !std::mem::replace(&mut self.is_failing, true) {
                    error!(path = %self.path.display(), %error, "the audit file cannot be written; audit lines are lost");
                }
            }
        }
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.path)?),
        };
        if self.is_torn {
            file.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.is_torn = true;
        let lost = self.shared.lost.load(Ordering::SeqCst);
        if lost > 0 {
            let mut entry = Entry::new(Event::LinesLost, Decision::Failed);
            entry.lines = Some(lost);
            file.write_all(&self::line(self.clock.wall(), &entry))?;
            self.shared.lost.fetch_sub(lost, Ordering::SeqCst);
            warn!(lines = lost, "audit lines were lost; the audit file says where");
        }
        file.write_all(line)?;
        self.is_torn = false;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn line(wall: Duration, entry: &Entry) -> Vec<u8> {
    let line = Line {
        time: rfc3339(wall),
        entry,
    };
    // Strings and numbers alone: this cannot fail.
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A few seconds of the busiest gateway.
const QUEUE_LINES: usize = 8192;
const FLUSH_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
