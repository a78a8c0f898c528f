//! Creations: what Livy checks, in which order, and what it leaves behind when it refuses.

use crate::Version;
use crate::access::impersonated;
use crate::answer::Answer;
use crate::bodies::{self, Create};
use crate::model::{Entry, Kind, Model, Progress, Settings, State};
use crate::service::Outcome;
use crate::servlets::Call;
use crate::target::is_all_digits;
use crate::views::{BatchView, SessionView};

/// `POST /sessions` and `POST /batches`.
///
/// A batch is registered before it is checked, so that a refused one stays listed; a session is not.
pub(crate) fn create(
    model: &mut Model,
    kind: Kind,
    settings: &Settings,
    call: &Call<'_>,
    outcome: &mut Outcome,
) -> Result<Answer, Answer> {
    let version = settings.version;
    let class = match kind {
        Kind::Session => &bodies::INTERACTIVE,
        Kind::Batch => &bodies::BATCH,
    };
    let request = bodies::bind(class, call.body, version).map_err(|message| Answer::text(400, &message))?;
    let busy = |entry: &&Entry| entry.state.is_active() && !entry.ghost;
    let launched = model
        .sessions
        .entries
        .iter()
        .chain(&model.batches.entries)
        .filter(busy)
        .count();
    if launched >= settings.max_creation {
        return Err(Answer::message(
            400,
            "Rejected, too many sessions are being created!",
        ));
    }
    let Some(request) = request else {
        model.table(kind).take_id();
        let what = class_name(kind);
        return Err(Answer::text(
            500,
            &format!(
                "java.lang.NullPointerException: Cannot invoke \"{what}.name()\" because \"createRequest\" is null"
            ),
        ));
    };
    let id = model.table(kind).take_id();
    let target = call.params.first("doAs").or_else(|| request.text("proxyUser"));
    let owner = outcome.remote_user.clone();
    let proxy_user = impersonated(settings, target, owner.as_deref());
    outcome.effective_user = proxy_user.clone().ok().flatten().or_else(|| owner.clone());
    let proxy_user = proxy_user.map_err(|message| Answer::message(403, &message))?;
    if request.null == Some("conf") {
        let what = class_name(kind);
        return Err(Answer::text(
            500,
            &format!(
                "java.lang.NullPointerException: Cannot invoke \"scala.collection.immutable.Map.nonEmpty()\" because the return value of \"{what}.conf()\" is null"
            ),
        ));
    }
    let rejected = |why: &str| {
        Answer::message(
            400,
            &match version {
                Version::V0_7_1 => why.to_owned(),
                Version::V0_9_0 => format!("Rejected, Reason: {why}"),
            },
        )
    };
    let failed = check(kind, &request, settings, &rejected);
    if kind == Kind::Session
        && let Err(answer) = failed
    {
        return Err(answer);
    }
    let name = request.text("name").map(str::to_owned);
    if let Some(name) = &name {
        if is_all_digits(name) {
            return Err(rejected(&format!("Invalid session name: {name}")));
        }
        if model.table(kind).by_name(name).is_some() {
            return Err(rejected(&format!(
                "Duplicate session name: Some({name}) for session {id}"
            )));
        }
    }
    let ghost = failed.is_err() || call.exchange.twist.ghost;
    let entry = Entry {
        id,
        name,
        owner,
        proxy_user,
        state: State::Starting,
        ghost,
        log: if ghost {
            Vec::new()
        } else {
            log_of(kind, &request, outcome, settings)
        },
        create: request,
        polls: 0,
        statements: Vec::new(),
        jobs: Vec::new(),
        uploads: Vec::new(),
    };
    let view = match kind {
        Kind::Session => Answer::json(201, &SessionView::of(&entry, true, version)),
        Kind::Batch => Answer::json(201, &BatchView::of(&entry, true, version)),
    };
    let table = model.table(kind);
    table.entries.push(entry);
    failed?;
    if call.exchange.twist.ghost {
        return Err(rejected("requirement failed: simulated refusal."));
    }
    if model.settings.progress == Progress::AtOnce
        && let Some(entry) = model.table(kind).by_id(id)
    {
        entry.advance(kind);
    }
    let (mount, info) = match kind {
        Kind::Session => ("/sessions", call.exchange.target.path_info()),
        Kind::Batch => ("/batches", call.exchange.target.path_info()),
    };
    let info = if info == "/" { "" } else { info };
    Ok(view.with("Location", format!("{info}{mount}/{id}")))
}

const fn class_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "org.apache.livy.server.interactive.CreateInteractiveRequest",
        Kind::Batch => "org.apache.livy.server.batch.CreateBatchRequest",
    }
}

/// The checks that a batch undergoes only when it is listed already.
fn check(
    kind: Kind,
    request: &Create,
    settings: &Settings,
    rejected: &impl Fn(&str) -> Answer,
) -> Result<(), Answer> {
    if let Some(null) = request.null {
        return Err(Answer::text(
            500,
            &format!("java.lang.NullPointerException: \"{null}\" is null"),
        ));
    }
    let missing = || rejected("requirement failed: File is required.");
    let file = match kind {
        Kind::Session => None,
        Kind::Batch => Some(request.text("file").ok_or_else(missing)?.to_owned()),
    };
    let lists = ["jars", "pyFiles", "files", "archives"]
        .into_iter()
        .flat_map(|name| request.list(name));
    for path in lists.chain(file) {
        check_path(&path, settings).map_err(|why| rejected(&why))?;
    }
    if let Some(class) = request.uncastable() {
        return Err(Answer::text(
            500,
            &format!(
                "java.lang.ClassCastException: class {class} cannot be cast to class java.lang.Integer ({class} and java.lang.Integer are in module java.base of loader 'bootstrap')"
            ),
        ));
    }
    Ok(())
}

/// `Session.resolveURI`: only what has no scheme, or exactly the scheme `file`, is looked at.
pub(crate) fn check_path(path: &str, settings: &Settings) -> Result<(), String> {
    let scheme = path
        .split_once(':')
        .map(|(scheme, _)| scheme)
        .filter(|scheme| !scheme.contains('/'));
    let local = match (scheme, &settings.local_files) {
        (Some("file"), allowed) => {
            let path = path.trim_start_matches("file:");
            Some((path.trim_start_matches('/').len(), path, allowed.as_deref()))
        }
        (Some(_), _) => None,
        (None, _) if !path.starts_with('/') => {
            return Err(format!("requirement failed: Path '{path}' is not absolute."));
        }
        (None, Some(allowed)) => Some((path.len() - 1, path, Some(allowed.as_str()))),
        // The default file system is HDFS: not a local path.
        (None, None) => None,
    };
    let Some((length, path, allowed)) = local else {
        return Ok(());
    };
    let plain = format!("/{}", &path[path.len() - length..]);
    let resolved = match settings.version {
        // A prefix of the text is all that 0.7.1 compares (CVE-2025-66249).
        Version::V0_7_1 => plain.clone(),
        Version::V0_9_0 => without_dots(&plain),
    };
    if allowed.is_some_and(|allowed| resolved.starts_with(&format!("{allowed}/"))) {
        Ok(())
    } else {
        Err(format!(
            "requirement failed: Local path {plain} cannot be added to user sessions."
        ))
    }
}

fn without_dots(path: &str) -> String {
    let mut clean: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(clean.pop()),
            _ => clean.push(segment),
        }
    }
    format!("/{}", clean.join("/"))
}

/// What spark-submit would have been told, as a test or a reader of the demo likes to see it.
fn log_of(kind: Kind, request: &Create, outcome: &Outcome, settings: &Settings) -> Vec<String> {
    let mut line = "simulated: spark-submit".to_owned();
    if let Some(name) = request.text("name") {
        line.push_str(&format!(" --name {name}"));
    }
    if let (true, Some(user)) = (settings.impersonation, &outcome.effective_user) {
        line.push_str(&format!(" --proxy-user {user}"));
    }
    match kind {
        Kind::Session => line.push_str(" spark-internal"),
        Kind::Batch => {
            line.push_str(&format!(" {}", request.text("file").unwrap_or_default()));
            for argument in request.list("args") {
                line.push_str(&format!(" {argument}"));
            }
        }
    }
    vec!["stdout: ".to_owned(), line, "\nstderr: ".to_owned()]
}
