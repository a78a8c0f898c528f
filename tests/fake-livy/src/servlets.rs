//! `SessionServlet` and its two children: what each operation does and answers.

use serde::Serialize;

use crate::access::{impersonated, may_use};
use crate::answer::Answer;
use crate::bodies::{self, Class, Create};
use crate::interactive::{
    cancel_job, cancel_statement, get_job, get_statement, list_statements, run_statement, submit_job, upload,
};
use crate::model::{Entry, Kind, Model, Settings, State, slice};
use crate::params::Params;
use crate::routing::{Action, Route};
use crate::service::{Exchange, Outcome};
use crate::target::{is_all_digits, parse_int};
use crate::views::{BatchView, SessionView};
use crate::{Version, creation};

/// A request at its route.
pub(crate) struct Call<'a> {
    pub(crate) exchange: &'a Exchange<'a>,
    pub(crate) params: &'a Params,
    /// The body as the servlet can read it: empty where Jetty ate it.
    pub(crate) body: &'a [u8],
}

/// Runs a route.
pub(crate) fn run(
    model: &mut Model,
    kind: Kind,
    route: &Route,
    call: &Call<'_>,
    outcome: &mut Outcome,
) -> Answer {
    let mut settings = model.settings.clone();
    settings.impersonation &= !call.exchange.twist.no_impersonation;
    let user = impersonated(
        &settings,
        call.params.first("doAs"),
        outcome.remote_user.as_deref(),
    )
    .map(|user| user.or_else(|| outcome.remote_user.clone()));
    if let Ok(user) = &user {
        outcome.effective_user.clone_from(user);
    }
    let done = match route.action {
        Action::Create => creation::create(model, kind, &settings, call, outcome),
        Action::List => list(model, kind, &settings, call, &user),
        _ => on_session(model, kind, route, call, &settings, &user),
    };
    done.unwrap_or_else(|refused| refused)
}

pub(crate) type Done = Result<Answer, Answer>;
type User = Result<Option<String>, String>;

fn list(model: &mut Model, kind: Kind, settings: &Settings, call: &Call<'_>, user: &User) -> Done {
    #[derive(Serialize)]
    struct Page<T> {
        from: i32,
        total: usize,
        sessions: Vec<T>,
    }
    let version = settings.version;
    let (from, size) = (
        number(call.params, version, "from", 0)?,
        number(call.params, version, "size", 100)?,
    );
    let entries = &mut model.table(kind).entries;
    for entry in entries.iter_mut() {
        entry.looked_at(kind, settings.progress);
    }
    let (total, shown) = (entries.len(), slice(entries, from, size));
    let user = match user {
        Ok(user) => user.as_deref(),
        Err(_) if shown.is_empty() => None,
        // Found out only while the list is being written: an uncaught exception, not a 403.
        Err(message) => return Err(uncaught(call.exchange, version, message)),
    };
    Ok(match kind {
        Kind::Session => {
            let view = |entry| SessionView::of(entry, may_use(settings, user, entry), version);
            Answer::json(
                200,
                &Page {
                    from,
                    total,
                    sessions: shown.iter().map(view).collect(),
                },
            )
        }
        Kind::Batch => {
            let view = |entry| BatchView::of(entry, may_use(settings, user, entry), version);
            Answer::json(
                200,
                &Page {
                    from,
                    total,
                    sessions: shown.iter().map(view).collect(),
                },
            )
        }
    })
}

fn uncaught(exchange: &Exchange<'_>, version: Version, message: &str) -> Answer {
    let sequence = match version {
        Version::V0_7_1 => "scala.collection.convert.Wrappers$IterableWrapper[0]",
        Version::V0_9_0 => "scala.collection.IterableViewLike$$anon$6[0]",
    };
    let message = format!(
        "com.fasterxml.jackson.databind.JsonMappingException: {message} (through reference chain: scala.collection.convert.Wrappers$MapWrapper[\"sessions\"]->{sequence})"
    );
    let causes = "<tr><th>CAUSED BY:</th><td>java.security.AccessControlException</td></tr>\n\
                  <h3>Caused by:</h3><pre>java.security.AccessControlException\n\
                  \tat org.apache.livy.server.AccessManager.checkImpersonation(AccessManager.scala:114)\n\
                  \tat org.apache.livy.server.SessionServlet.effectiveUser(SessionServlet.scala:189)\n</pre>\n";
    exchange.page(version, 500, &message, causes)
}

/// What a route needs of the session before it may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Use,
}

const fn need(action: Action) -> Need {
    match action {
        Action::List | Action::Create | Action::Get | Action::GetState => Need::Nothing,
        Action::GetLog
        | Action::Delete
        | Action::Stop
        | Action::Interrupt
        | Action::Connect
        | Action::ListStatements
        | Action::RunStatement
        | Action::GetStatement
        | Action::CancelStatement
        | Action::Complete
        | Action::SubmitJob
        | Action::RunJob
        | Action::GetJob
        | Action::CancelJob
        | Action::UploadJar
        | Action::UploadPyfile
        | Action::UploadFile
        | Action::AddJar
        | Action::AddPyfile
        | Action::AddFile => Need::Use,
    }
}

fn on_session(
    model: &mut Model,
    kind: Kind,
    route: &Route,
    call: &Call<'_>,
    settings: &Settings,
    user: &User,
) -> Done {
    let table = model.table(kind);
    let found = if is_all_digits(&route.session) {
        let id = parse_int(&route.session).map_err(|message| Answer::message(400, &message))?;
        table.by_id(id)
    } else {
        table.by_name(&route.session)
    };
    let entry =
        found.ok_or_else(|| Answer::message(404, &format!("Session '{}' not found.", route.session)))?;
    entry.looked_at(kind, settings.progress);
    let refused = |message: String| Answer::message(403, &message);
    if need(route.action) == Need::Use && !may_use(settings, user.clone().map_err(refused)?.as_deref(), entry)
    {
        #[derive(Serialize)]
        struct Unit {}
        return Err(Answer::json(403, &Unit {}));
    }
    let version = settings.version;
    let seen = |entry: &Entry| -> Done {
        let visible = may_use(settings, user.clone().map_err(refused)?.as_deref(), entry);
        Ok(match kind {
            Kind::Session => Answer::json(200, &SessionView::of(entry, visible, version)),
            Kind::Batch => Answer::json(200, &BatchView::of(entry, visible, version)),
        })
    };
    match route.action {
        Action::List | Action::Create => Ok(Answer::empty(404)),
        Action::Get | Action::Connect => seen(entry),
        Action::GetState => {
            #[derive(Serialize)]
            struct Shown {
                id: i32,
                state: &'static str,
            }
            Ok(Answer::json(
                200,
                &Shown {
                    id: entry.id,
                    state: entry.state.as_str(),
                },
            ))
        }
        Action::GetLog => log(entry, call.params, version),
        Action::Delete if call.exchange.twist.begin_delete => {
            entry.state = State::ShuttingDown;
            Ok(Answer::empty(200))
        }
        Action::Delete => {
            let id = entry.id;
            table.entries.retain(|entry| entry.id != id);
            Ok(Answer::message(200, "deleted"))
        }
        Action::Stop => {
            entry.state = State::Dead;
            Ok(Answer::empty(204))
        }
        Action::Interrupt => {
            entry.state = State::Dead;
            Ok(Answer::message(200, "interrupted"))
        }
        Action::ListStatements => list_statements(entry, call.params, version),
        Action::RunStatement => run_statement(entry, call, version),
        Action::GetStatement => get_statement(entry, &route.inner),
        Action::CancelStatement => cancel_statement(entry, &route.inner),
        Action::Complete => {
            #[derive(Serialize)]
            struct Candidates {
                candidates: Vec<String>,
            }
            running(entry)?;
            bound(&bodies::COMPLETION, call.body, version)?;
            Ok(Answer::json(
                200,
                &Candidates {
                    candidates: Vec::new(),
                },
            ))
        }
        Action::SubmitJob | Action::RunJob => submit_job(entry, call, version),
        Action::GetJob => get_job(entry, &route.inner),
        Action::CancelJob => cancel_job(entry, &route.inner),
        Action::UploadJar => upload(entry, call, settings, "upload-jar", "jar"),
        Action::UploadPyfile => upload(entry, call, settings, "upload-pyfile", "file"),
        Action::UploadFile => upload(entry, call, settings, "upload-file", "file"),
        Action::AddJar | Action::AddPyfile | Action::AddFile => {
            let resource = bound(&bodies::RESOURCE, call.body, version)?;
            active(entry)?;
            let uri = resource.text("uri").unwrap_or_default();
            creation::check_path(uri, settings).map_err(|why| Answer::message(400, &why))?;
            Ok(Answer::empty(200))
        }
    }
}

pub(crate) fn number(params: &Params, version: Version, name: &str, default: i32) -> Result<i32, Answer> {
    params.scalatra(name, version).map_or(Ok(default), number_of)
}

pub(crate) fn number_of(text: &str) -> Result<i32, Answer> {
    parse_int(text).map_err(|message| Answer::message(400, &message))
}

/// Binds a body to a request class; Jackson's refusals and the null pointers behind a `null` are answers.
pub(crate) fn bound(class: &Class, body: &[u8], version: Version) -> Result<Create, Answer> {
    match bodies::bind(class, body, version) {
        Ok(Some(bound)) => Ok(bound),
        Ok(None) => Err(Answer::text(
            500,
            "java.lang.NullPointerException: Cannot invoke a method because \"req\" is null",
        )),
        Err(message) => Err(Answer::text(400, &message)),
    }
}

fn log(entry: &Entry, params: &Params, version: Version) -> Done {
    #[derive(Serialize)]
    struct Log<'a> {
        id: i32,
        from: i32,
        total: usize,
        log: &'a [String],
    }
    let (from, size) = (
        number(params, version, "from", -1)?,
        number(params, version, "size", 100)?,
    );
    let total = entry.log.len();
    let all = i32::try_from(total).unwrap_or(i32::MAX);
    let size = if size < 0 { all } else { size };
    let from = if from < 0 { (all - size).max(0) } else { from };
    Ok(Answer::json(
        200,
        &Log {
            id: entry.id,
            from,
            total,
            log: slice(&entry.log, from, size),
        },
    ))
}

/// `ensureActive`: a refusal that counts as an illegal argument.
pub(crate) fn active(entry: &Entry) -> Result<(), Answer> {
    if entry.state.is_active() {
        Ok(())
    } else {
        Err(Answer::message(400, "requirement failed: Session isn't active."))
    }
}

/// `ensureRunning`: a refusal that counts as an internal error.
pub(crate) fn running(entry: &Entry) -> Result<(), Answer> {
    match entry.state {
        State::Idle | State::Busy => Ok(()),
        State::NotStarted
        | State::Starting
        | State::Recovering
        | State::Running
        | State::ShuttingDown
        | State::Error
        | State::Dead
        | State::Killed
        | State::Success => {
            let message = format!(
                "java.lang.IllegalStateException: Session is in state {}",
                entry.state
            );
            Err(Answer::text(500, &message))
        }
    }
}
