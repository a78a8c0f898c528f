//! What the simulated Livy holds: its settings, its sessions and its batches.

use std::fmt;

use serde_json::value::RawValue;

use crate::bodies::Create;
use crate::watch::Watch;

/// Which release is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// 0.7.1-incubating: Scalatra 2.3, Jetty 9.3.
    V0_7_1,
    /// 0.9.0-incubating: Scalatra 2.6, Jetty 9.4.
    #[default]
    V0_9_0,
}

/// How Livy learns who is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// It does not: there is no remote user (`livy.server.auth.type` unset).
    #[default]
    None,
    /// hadoop-auth's pseudo handler: `user.name=` in the query is believed; without it 401. A signed
    /// `hadoop.auth` cookie is given out, and replaces `user.name` when it comes back.
    Pseudo,
    /// Basic against one pair, as with LDAP: 401 without credentials, 403 with wrong ones.
    Basic {
        /// The one user who may in.
        user: String,
        /// That user's password.
        password: String,
    },
    /// Kerberos, which nobody here can speak: every request is 401 `Negotiate`.
    Negotiate,
}

/// When a session leaves `starting`, and a batch ends in `success`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Right after the answer to its creation.
    #[default]
    AtOnce,
    /// When it has been looked at so many times, alone or in a list.
    AfterPolls(u32),
    /// When the test says so: [`FakeLivy::advance`](crate::FakeLivy::advance).
    WhenTold,
}

/// Sessions or batches: separate ids, separate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/sessions`.
    Session,
    /// `/batches`.
    Batch,
}

/// Livy's session states (`SessionState.scala`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Livy's own")]
pub enum State {
    NotStarted,
    Starting,
    Recovering,
    Idle,
    Running,
    Busy,
    ShuttingDown,
    Error,
    Dead,
    Killed,
    Success,
}

impl State {
    /// Livy's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting_down",
            Self::Error => "error",
            Self::Dead => "dead",
            Self::Killed => "killed",
            Self::Success => "success",
        }
    }

    pub(crate) const fn is_active(self) -> bool {
        match self {
            Self::Error | Self::Dead | Self::Killed | Self::Success => false,
            Self::NotStarted
            | Self::Starting
            | Self::Recovering
            | Self::Idle
            | Self::Running
            | Self::Busy
            | Self::ShuttingDown => true,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a test can see of a session or batch without asking over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Livy's number for it.
    pub id: i32,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The remote user who created it.
    pub owner: Option<String>,
    /// Whom it runs as.
    pub proxy_user: Option<String>,
    /// Its state.
    pub state: State,
    /// Whether its creation was refused and it is listed all the same.
    pub ghost: bool,
    /// The `conf` of its creation, in order; a null stays nothing.
    pub conf: Vec<(String, Option<String>)>,
    /// The code of each statement, in order.
    pub statements: Vec<String>,
    /// What was uploaded.
    pub uploads: Vec<Upload>,
}

/// A file that `upload-jar`, `upload-pyfile` or `upload-file` brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The last word of the path: `upload-jar` and so on.
    pub route: String,
    /// The file name of the part, as sent.
    pub file_name: String,
    /// How many bytes it had.
    pub length: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) version: Version,
    pub(crate) impersonation: bool,
    pub(crate) superusers: Vec<String>,
    pub(crate) auth: Auth,
    pub(crate) access_control: bool,
    pub(crate) csrf_protection: bool,
    pub(crate) max_creation: usize,
    pub(crate) progress: Progress,
    pub(crate) upload_bytes_max: usize,
    /// Where local files may lie, when the default file system is the local one.
    pub(crate) local_files: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatementState {
    Waiting,
    Running,
    Available,
    Cancelling,
    Cancelled,
}

impl StatementState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Available => "available",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) code: String,
    pub(crate) state: StatementState,
    pub(crate) output: Option<Box<RawValue>>,
    /// Epoch milliseconds; 0 is not yet.
    pub(crate) started: u64,
    pub(crate) completed: u64,
    /// How often it was looked at since it was asked to end.
    pub(crate) polls: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) state: &'static str,
    pub(crate) result: Option<String>,
    pub(crate) sent: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: i32,
    pub(crate) name: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) proxy_user: Option<String>,
    pub(crate) state: State,
    pub(crate) ghost: bool,
    pub(crate) log: Vec<String>,
    pub(crate) create: Create,
    pub(crate) polls: u32,
    pub(crate) statements: Vec<Statement>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) uploads: Vec<Upload>,
}

impl Entry {
    /// One that nobody asked this Livy for.
    pub(crate) fn planted(
        id: i32,
        kind: Kind,
        name: Option<&str>,
        owner: Option<&str>,
        proxy_user: Option<&str>,
    ) -> Self {
        Self {
            id,
            name: name.map(str::to_owned),
            owner: owner.map(str::to_owned),
            proxy_user: proxy_user.map(str::to_owned),
            state: match kind {
                Kind::Session => State::Idle,
                Kind::Batch => State::Running,
            },
            ghost: false,
            log: vec!["stdout: ".to_owned(), "\nstderr: ".to_owned()],
            create: Create::default(),
            polls: 0,
            statements: Vec::new(),
            jobs: Vec::new(),
            uploads: Vec::new(),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            id: self.id,
            name: self.name.clone(),
            owner: self.owner.clone(),
            proxy_user: self.proxy_user.clone(),
            state: self.state,
            ghost: self.ghost,
            conf: self.create.conf.clone(),
            statements: self
                .statements
                .iter()
                .map(|statement| statement.code.clone())
                .collect(),
            uploads: self.uploads.clone(),
        }
    }

    /// Whether it has not finished. The driver of one in `error` may be alive.
    pub(crate) const fn is_alive(&self) -> bool {
        match self.state {
            State::Dead | State::Killed | State::Success => false,
            State::NotStarted
            | State::Starting
            | State::Recovering
            | State::Idle
            | State::Running
            | State::Busy
            | State::ShuttingDown
            | State::Error => true,
        }
    }

    pub(crate) fn kind(&self) -> &str {
        match self.create.text("kind").unwrap_or("shared") {
            "scala" => "spark",
            "python" => "pyspark",
            "r" => "sparkr",
            kind => kind,
        }
    }

    /// Moves on from `starting`: to `idle`, or for a batch to `success`.
    pub(crate) fn advance(&mut self, kind: Kind) {
        if self.ghost {
            return;
        }
        match (kind, self.state) {
            (Kind::Session, State::Starting) => self.state = State::Idle,
            (Kind::Batch, State::Starting | State::Running) => self.state = State::Success,
            _ => {}
        }
    }

    /// Notes that somebody looked at it, and moves on if that was awaited.
    pub(crate) fn looked_at(&mut self, kind: Kind, progress: Progress) {
        self.polls += 1;
        match progress {
            Progress::AfterPolls(polls) if self.polls > polls => self.advance(kind),
            Progress::AfterPolls(_)
                if kind == Kind::Batch && self.state == State::Starting && !self.ghost =>
            {
                self.state = State::Running;
            }
            Progress::AtOnce | Progress::AfterPolls(_) | Progress::WhenTold => {}
        }
    }
}

/// One of Livy's two session managers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) next_id: i32,
    pub(crate) entries: Vec<Entry>,
}

impl Table {
    /// Ids are used up by refused creations too.
    pub(crate) fn take_id(&mut self) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(crate) fn by_id(&mut self, id: i32) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    pub(crate) fn by_name(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.name.as_deref() == Some(name))
    }
}

/// Everything behind the one lock.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) settings: Settings,
    pub(crate) sessions: Table,
    pub(crate) batches: Table,
    pub(crate) watch: Option<Watch>,
}

impl Model {
    pub(crate) fn table(&mut self, kind: Kind) -> &mut Table {
        match kind {
            Kind::Session => &mut self.sessions,
            Kind::Batch => &mut self.batches,
        }
    }

    pub(crate) fn restart(&mut self) {
        self.sessions = Table::default();
        self.batches = Table::default();
    }
}

/// `from` and `size` as Livy slices with them, 32-bit overflow included.
pub(crate) fn slice<T>(items: &[T], from: i32, size: i32) -> &[T] {
    let until = usize::try_from(from.wrapping_add(size))
        .unwrap_or(0)
        .min(items.len());
    let start = usize::try_from(from).unwrap_or(0).min(until);
    &items[start..until]
}
