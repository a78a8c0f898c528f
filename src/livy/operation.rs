//! One thing Livy can be asked to do: a closed enum, parsed once from method and path, rendered once for Livy.
//!
//! Everything that differs by operation is a method here with an exhaustive match, so that a new operation
//! does not compile until each of its sides was considered. Source of the table: the servlets of Livy 0.9.0.

use std::fmt;

use super::session_ref::{Kind, SessionId, SessionRef};

/// The methods that Livy's API has. `HEAD` stands for `GET` without the answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads, and drops the body.
    Head,
    /// Creates, runs, stops.
    Post,
    /// Deletes.
    Delete,
}

impl Method {
    /// The token on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// Whether the method promises not to change anything (RFC 9110 §9.2.1), so that asking twice is harmless.
    pub const fn is_safe(self) -> bool {
        match self {
            Self::Get | Self::Head => true,
            Self::Post | Self::Delete => false,
        }
    }
}

/// What can be uploaded to a session or added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A jar for the driver's and executors' class path.
    Jar,
    /// A Python file, put on the path of the Python interpreter.
    PyFile,
    /// Any file, put in the working directory.
    File,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 3] = [Self::Jar, Self::PyFile, Self::File];

    /// The word in Livy's paths: `upload-jar`, `add-pyfile`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Jar => "jar",
            Self::PyFile => "pyfile",
            Self::File => "file",
        }
    }

    /// The one multipart field under which Livy looks for the upload.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Jar => "jar",
            Self::PyFile | Self::File => "file",
        }
    }
}

/// What is done to one session or batch. Batches know only the first four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `GET /{id}`
    Read,
    /// `GET /{id}/state`
    State,
    /// `GET /{id}/log`
    Log,
    /// `DELETE /{id}`
    Delete,
    /// `POST /{id}/stop`
    Stop,
    /// `POST /{id}/interrupt`, which in Livy is the same as `stop`.
    Interrupt,
    /// `POST /{id}/connect`
    Connect,
    /// `GET /{id}/statements`
    ListStatements,
    /// `POST /{id}/statements`
    RunStatement,
    /// `GET /{id}/statements/{n}`
    ReadStatement(u32),
    /// `POST /{id}/statements/{n}/cancel`
    CancelStatement(u32),
    /// `POST /{id}/completion`
    Complete,
    /// `POST /{id}/submit-job`
    SubmitJob,
    /// `POST /{id}/run-job`
    RunJob,
    /// `GET /{id}/jobs/{n}`
    ReadJob(u32),
    /// `POST /{id}/jobs/{n}/cancel`
    CancelJob(u32),
    /// `POST /{id}/upload-…`
    Upload(Resource),
    /// `POST /{id}/add-…`
    Add(Resource),
}

/// One thing Livy can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET /version`
    Version,
    /// `GET /sessions`, `GET /batches`
    List(Kind),
    /// `POST /sessions`, `POST /batches`
    Create(Kind),
    /// Something done to one session or batch.
    On(SessionRef, Action),
}

/// What a request's body must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// No body goes to Livy; what a client sends is refused unless it is empty or an empty JSON object
    /// (sparkmagic cancels with `{}`).
    Empty,
    /// One JSON object of these keys.
    Json(JsonBody),
    /// One file as `multipart/form-data`, streamed.
    Upload(Resource),
}

/// Which JSON object a body must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonBody {
    /// Livy's `CreateInteractiveRequest`.
    CreateSession,
    /// Livy's `CreateBatchRequest`.
    CreateBatch,
    /// `code`, `kind`.
    Statement,
    /// `code`, `kind`, `cursor`.
    Completion,
    /// `job` (base64), `jobType`.
    Job,
    /// `uri`.
    AddResource,
}

/// How long an operation may keep Livy busy; each class has its own timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutClass {
    /// Everything that answers at once in a healthy Livy.
    Read,
    /// Creations: Livy serialises them, so one may wait for many others.
    Create,
    /// Deletions and stops: Livy blocks until the application ended, up to two minutes on YARN.
    Delete,
}

/// Under which of a user's limits an operation is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitClass {
    /// A new session or batch.
    Create,
    /// Code for a session, and what prepares it.
    Statement,
    /// Anything that changes nothing.
    Read,
    /// A file.
    Upload,
}

impl LimitClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Create, Self::Statement, Self::Read, Self::Upload];

    /// The key of `[limits]`, also the metric label and the name of the policy in `RateLimit` headers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Statement => "statement",
            Self::Read => "read",
            Self::Upload => "upload",
        }
    }

    /// What is counted, for sentences.
    pub const fn nouns(self) -> &'static str {
        match self {
            Self::Create => "new sessions and batches",
            Self::Statement => "statements and jobs",
            Self::Read => "reads",
            Self::Upload => "uploads",
        }
    }
}

impl Operation {
    /// One of each, with arbitrary ids: for tables that must cover them all.
    pub fn one_of_each() -> Vec<Self> {
        let on = |kind, action| SessionId::new(7).map(|id| Self::On(SessionRef::by_id(kind, id), action));
        let mut all = vec![Self::Version];
        for kind in Kind::ALL {
            all.extend([Self::List(kind), Self::Create(kind)]);
            all.extend(
                [Action::Read, Action::State, Action::Log, Action::Delete]
                    .into_iter()
                    .filter_map(|a| on(kind, a)),
            );
        }
        let mut actions = vec![
            Action::Stop,
            Action::Interrupt,
            Action::Connect,
            Action::ListStatements,
            Action::RunStatement,
            Action::ReadStatement(3),
            Action::CancelStatement(3),
            Action::Complete,
            Action::SubmitJob,
            Action::RunJob,
            Action::ReadJob(3),
            Action::CancelJob(3),
        ];
        actions.extend(
            Resource::ALL
                .into_iter()
                .flat_map(|resource| [Action::Upload(resource), Action::Add(resource)]),
        );
        all.extend(actions.into_iter().filter_map(|action| on(Kind::Session, action)));
        all
    }

    /// The method that Livy expects. `HEAD` is answered like the `GET` it stands for.
    pub const fn method(&self) -> Method {
        match self {
            Self::Version | Self::List(_) => Method::Get,
            Self::Create(_) => Method::Post,
            Self::On(_, action) => match action {
                Action::Read
                | Action::State
                | Action::Log
                | Action::ListStatements
                | Action::ReadStatement(_)
                | Action::ReadJob(_) => Method::Get,
                Action::Delete => Method::Delete,
                Action::Stop
                | Action::Interrupt
                | Action::Connect
                | Action::RunStatement
                | Action::CancelStatement(_)
                | Action::Complete
                | Action::SubmitJob
                | Action::RunJob
                | Action::CancelJob(_)
                | Action::Upload(_)
                | Action::Add(_) => Method::Post,
            },
        }
    }

    /// What its body must be.
    pub const fn body(&self) -> BodyKind {
        match self {
            Self::Version | Self::List(_) => BodyKind::Empty,
            Self::Create(Kind::Session) => BodyKind::Json(JsonBody::CreateSession),
            Self::Create(Kind::Batch) => BodyKind::Json(JsonBody::CreateBatch),
            Self::On(_, action) => match action {
                Action::RunStatement => BodyKind::Json(JsonBody::Statement),
                Action::Complete => BodyKind::Json(JsonBody::Completion),
                Action::SubmitJob | Action::RunJob => BodyKind::Json(JsonBody::Job),
                Action::Add(_) => BodyKind::Json(JsonBody::AddResource),
                Action::Upload(resource) => BodyKind::Upload(*resource),
                Action::Read
                | Action::State
                | Action::Log
                | Action::Delete
                | Action::Stop
                | Action::Interrupt
                | Action::Connect
                | Action::ListStatements
                | Action::ReadStatement(_)
                | Action::CancelStatement(_)
                | Action::ReadJob(_)
                | Action::CancelJob(_) => BodyKind::Empty,
            },
        }
    }

    /// Which timeout holds.
    pub const fn timeout(&self) -> TimeoutClass {
        match self {
            Self::Version | Self::List(_) => TimeoutClass::Read,
            Self::Create(_) => TimeoutClass::Create,
            Self::On(_, action) => match action {
                Action::Delete | Action::Stop | Action::Interrupt => TimeoutClass::Delete,
                Action::Read
                | Action::State
                | Action::Log
                | Action::Connect
                | Action::ListStatements
                | Action::RunStatement
                | Action::ReadStatement(_)
                | Action::CancelStatement(_)
                | Action::Complete
                | Action::SubmitJob
                | Action::RunJob
                | Action::ReadJob(_)
                | Action::CancelJob(_)
                | Action::Upload(_)
                | Action::Add(_) => TimeoutClass::Read,
            },
        }
    }

    /// Under which of a user's limits it is counted. What takes load away never is.
    pub const fn limit_class(&self) -> Option<LimitClass> {
        match self {
            Self::Version | Self::List(_) => Some(LimitClass::Read),
            Self::Create(_) => Some(LimitClass::Create),
            Self::On(_, action) => match action {
                Action::Read
                | Action::State
                | Action::Log
                | Action::ListStatements
                | Action::ReadStatement(_)
                | Action::ReadJob(_) => Some(LimitClass::Read),
                Action::Connect
                | Action::RunStatement
                | Action::Complete
                | Action::SubmitJob
                | Action::RunJob
                | Action::Add(_) => Some(LimitClass::Statement),
                Action::Upload(_) => Some(LimitClass::Upload),
                Action::Delete
                | Action::Stop
                | Action::Interrupt
                | Action::CancelStatement(_)
                | Action::CancelJob(_) => None,
            },
        }
    }

    /// Whether the operation runs to its end even when the client leaves: its outcome must not be lost.
    pub const fn outlives_client(&self) -> bool {
        match self {
            Self::Version | Self::List(_) => false,
            Self::Create(_) => true,
            Self::On(..) => matches!(self.timeout(), TimeoutClass::Delete),
        }
    }

    /// The query parameters that Livy reads for it, beside `doAs`.
    pub const fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Version | Self::Create(_) => &[],
            Self::List(_) => &["from", "size"],
            Self::On(_, action) => match action {
                Action::Log => &["from", "size"],
                Action::ListStatements => &["from", "size", "order"],
                Action::Read
                | Action::State
                | Action::Delete
                | Action::Stop
                | Action::Interrupt
                | Action::Connect
                | Action::RunStatement
                | Action::ReadStatement(_)
                | Action::CancelStatement(_)
                | Action::Complete
                | Action::SubmitJob
                | Action::RunJob
                | Action::ReadJob(_)
                | Action::CancelJob(_)
                | Action::Upload(_)
                | Action::Add(_) => &[],
            },
        }
    }

    /// Where a person sees whether a write was done, when its answer was lost.
    pub const fn where_to_look(&self) -> &'static str {
        match self {
            Self::Create(Kind::Session) => "List your sessions",
            Self::Create(Kind::Batch) => "List your batches",
            Self::Version | Self::List(_) => "Ask again",
            Self::On(_, action) => match action {
                Action::RunStatement | Action::CancelStatement(_) => "List the session's statements",
                Action::Delete | Action::Stop | Action::Interrupt => {
                    "Look whether the session is still there"
                }
                Action::Read
                | Action::State
                | Action::Log
                | Action::Connect
                | Action::ListStatements
                | Action::ReadStatement(_)
                | Action::Complete
                | Action::SubmitJob
                | Action::RunJob
                | Action::ReadJob(_)
                | Action::CancelJob(_)
                | Action::Upload(_)
                | Action::Add(_) => "Look at the session",
            },
        }
    }

    /// A short stable name, for logs and metric labels.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::List(Kind::Session) => "list_sessions",
            Self::List(Kind::Batch) => "list_batches",
            Self::Create(Kind::Session) => "create_session",
            Self::Create(Kind::Batch) => "create_batch",
            Self::On(session, action) => match (session.kind(), action) {
                (Kind::Session, Action::Read) => "read_session",
                (Kind::Batch, Action::Read) => "read_batch",
                (Kind::Session, Action::State) => "session_state",
                (Kind::Batch, Action::State) => "batch_state",
                (Kind::Session, Action::Log) => "session_log",
                (Kind::Batch, Action::Log) => "batch_log",
                (Kind::Session, Action::Delete) => "delete_session",
                (Kind::Batch, Action::Delete) => "delete_batch",
                (_, Action::Stop) => "stop",
                (_, Action::Interrupt) => "interrupt",
                (_, Action::Connect) => "connect",
                (_, Action::ListStatements) => "list_statements",
                (_, Action::RunStatement) => "run_statement",
                (_, Action::ReadStatement(_)) => "read_statement",
                (_, Action::CancelStatement(_)) => "cancel_statement",
                (_, Action::Complete) => "complete",
                (_, Action::SubmitJob) => "submit_job",
                (_, Action::RunJob) => "run_job",
                (_, Action::ReadJob(_)) => "read_job",
                (_, Action::CancelJob(_)) => "cancel_job",
                (_, Action::Upload(Resource::Jar)) => "upload_jar",
                (_, Action::Upload(Resource::PyFile)) => "upload_pyfile",
                (_, Action::Upload(Resource::File)) => "upload_file",
                (_, Action::Add(Resource::Jar)) => "add_jar",
                (_, Action::Add(Resource::PyFile)) => "add_pyfile",
                (_, Action::Add(Resource::File)) => "add_file",
            },
        }
    }
}

/// The canonical path as Livy knows it, without any base path: parsing it again gives the same operation.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("/version"),
            Self::List(kind) | Self::Create(kind) => write!(f, "/{}", kind.collection()),
            Self::On(session, action) => {
                write!(f, "/{}/{}", session.kind().collection(), session.key())?;
                match action {
                    Action::Read | Action::Delete => Ok(()),
                    Action::State => f.write_str("/state"),
                    Action::Log => f.write_str("/log"),
                    Action::Stop => f.write_str("/stop"),
                    Action::Interrupt => f.write_str("/interrupt"),
                    Action::Connect => f.write_str("/connect"),
                    Action::ListStatements | Action::RunStatement => f.write_str("/statements"),
                    Action::ReadStatement(n) => write!(f, "/statements/{n}"),
                    Action::CancelStatement(n) => write!(f, "/statements/{n}/cancel"),
                    Action::Complete => f.write_str("/completion"),
                    Action::SubmitJob => f.write_str("/submit-job"),
                    Action::RunJob => f.write_str("/run-job"),
                    Action::ReadJob(n) => write!(f, "/jobs/{n}"),
                    Action::CancelJob(n) => write!(f, "/jobs/{n}/cancel"),
                    Action::Upload(resource) => write!(f, "/upload-{}", resource.word()),
                    Action::Add(resource) => write!(f, "/add-{}", resource.word()),
                }
            }
        }
    }
}
