//! Livy's routes: which operations a servlet's path has, by method.

use crate::model::Kind;
use crate::target::second_step;

/// What a route does. The names are what [`Received::operation`](crate::Received::operation) shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    List,
    Create,
    Get,
    GetState,
    GetLog,
    Delete,
    Stop,
    Interrupt,
    Connect,
    ListStatements,
    RunStatement,
    GetStatement,
    CancelStatement,
    Complete,
    SubmitJob,
    RunJob,
    GetJob,
    CancelJob,
    UploadJar,
    UploadPyfile,
    UploadFile,
    AddJar,
    AddPyfile,
    AddFile,
}

impl Action {
    pub(crate) const fn label(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::List, Kind::Session) => "list_sessions",
            (Self::List, Kind::Batch) => "list_batches",
            (Self::Create, Kind::Session) => "create_session",
            (Self::Create, Kind::Batch) => "create_batch",
            (Self::Get, Kind::Session) => "get_session",
            (Self::Get, Kind::Batch) => "get_batch",
            (Self::GetState, Kind::Session) => "get_session_state",
            (Self::GetState, Kind::Batch) => "get_batch_state",
            (Self::GetLog, Kind::Session) => "get_session_log",
            (Self::GetLog, Kind::Batch) => "get_batch_log",
            (Self::Delete, Kind::Session) => "delete_session",
            (Self::Delete, Kind::Batch) => "delete_batch",
            (Self::Stop, _) => "stop_session",
            (Self::Interrupt, _) => "interrupt_session",
            (Self::Connect, _) => "connect_session",
            (Self::ListStatements, _) => "list_statements",
            (Self::RunStatement, _) => "run_statement",
            (Self::GetStatement, _) => "get_statement",
            (Self::CancelStatement, _) => "cancel_statement",
            (Self::Complete, _) => "complete",
            (Self::SubmitJob, _) => "submit_job",
            (Self::RunJob, _) => "run_job",
            (Self::GetJob, _) => "get_job",
            (Self::CancelJob, _) => "cancel_job",
            (Self::UploadJar, _) => "upload_jar",
            (Self::UploadPyfile, _) => "upload_pyfile",
            (Self::UploadFile, _) => "upload_file",
            (Self::AddJar, _) => "add_jar",
            (Self::AddPyfile, _) => "add_pyfile",
            (Self::AddFile, _) => "add_file",
        }
    }
}

/// A route that matched: what to do, and the captured parts of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) action: Action,
    /// The id or name, as Livy repeats it in a 404; empty for the collection.
    pub(crate) session: String,
    /// The number of a statement or job, as text.
    pub(crate) inner: String,
}

/// What became of routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Routed {
    To(Route),
    /// The path is known with other methods: the `Allow` header.
    Method(String),
    Unknown,
}

/// Finds the route of a path behind the servlet's own.
pub(crate) fn route(kind: Kind, method: &str, path: &str) -> Routed {
    let parts: Vec<&str> = match path.strip_prefix('/') {
        Some("") => Vec::new(),
        Some(rest) => rest.split('/').collect(),
        None => return Routed::Unknown,
    };
    if parts.iter().any(|part| part.is_empty()) {
        return Routed::Unknown;
    }
    let known = routes(kind, &parts);
    let method = if method == "HEAD" { "GET" } else { method };
    match known.iter().find(|(known, _)| *known == method) {
        Some((_, action)) => Routed::To(Route {
            action: *action,
            session: second_step(parts.first().copied().unwrap_or_default()),
            inner: second_step(parts.get(2).copied().unwrap_or_default()),
        }),
        None if known.is_empty() => Routed::Unknown,
        None => {
            let with_head = |method: &'static str| if method == "GET" { "GET, HEAD" } else { method };
            let allowed: Vec<&str> = known.iter().map(|(known, _)| with_head(known)).collect();
            Routed::Method(allowed.join(", "))
        }
    }
}

fn routes(kind: Kind, parts: &[&str]) -> Vec<(&'static str, Action)> {
    match (kind, parts) {
        (_, []) => vec![("POST", Action::Create), ("GET", Action::List)],
        (_, [_]) => vec![("DELETE", Action::Delete), ("GET", Action::Get)],
        (_, [_, "state"]) => vec![("GET", Action::GetState)],
        (_, [_, "log"]) => vec![("GET", Action::GetLog)],
        (Kind::Session, [_, "stop"]) => vec![("POST", Action::Stop)],
        (Kind::Session, [_, "interrupt"]) => vec![("POST", Action::Interrupt)],
        (Kind::Session, [_, "connect"]) => vec![("POST", Action::Connect)],
        (Kind::Session, [_, "statements"]) => {
            vec![("POST", Action::RunStatement), ("GET", Action::ListStatements)]
        }
        (Kind::Session, [_, "statements", _]) => vec![("GET", Action::GetStatement)],
        (Kind::Session, [_, "statements", _, "cancel"]) => vec![("POST", Action::CancelStatement)],
        (Kind::Session, [_, "completion"]) => vec![("POST", Action::Complete)],
        (Kind::Session, [_, "submit-job"]) => vec![("POST", Action::SubmitJob)],
        (Kind::Session, [_, "run-job"]) => vec![("POST", Action::RunJob)],
        (Kind::Session, [_, "jobs", _]) => vec![("GET", Action::GetJob)],
        (Kind::Session, [_, "jobs", _, "cancel"]) => vec![("POST", Action::CancelJob)],
        (Kind::Session, [_, "upload-jar"]) => vec![("POST", Action::UploadJar)],
        (Kind::Session, [_, "upload-pyfile"]) => vec![("POST", Action::UploadPyfile)],
        (Kind::Session, [_, "upload-file"]) => vec![("POST", Action::UploadFile)],
        (Kind::Session, [_, "add-jar"]) => vec![("POST", Action::AddJar)],
        (Kind::Session, [_, "add-pyfile"]) => vec![("POST", Action::AddPyfile)],
        (Kind::Session, [_, "add-file"]) => vec![("POST", Action::AddFile)],
        _ => Vec::new(),
    }
}
