//! What only interactive sessions have: statements, jobs, uploads.

use serde::Serialize;

use crate::Version;
use crate::answer::Answer;
use crate::bodies;
use crate::clock::now_millis;
use crate::model::{Entry, Job, Settings, State, Statement, StatementState, Upload, slice};
use crate::params::Params;
use crate::servlets::{Call, Done, active, bound, number, number_of, running};
use crate::statements::{self, Outcome as Computed};
use crate::views::StatementView;

pub(crate) fn list_statements(entry: &mut Entry, params: &Params, version: Version) -> Done {
    #[derive(Serialize)]
    struct Statements {
        total_statements: usize,
        statements: Vec<StatementView>,
    }
    active(entry)?;
    let total = entry.statements.len();
    let (from, size) = (
        number(params, version, "from", 0)?,
        number(params, version, "size", i32::try_from(total).unwrap_or(i32::MAX))?,
    );
    let mut views: Vec<_> = entry.statements.iter().enumerate().collect();
    if version == Version::V0_9_0 && params.scalatra("order", version) == Some("desc") {
        views.reverse();
    }
    let statements = slice(&views, from, size)
        .iter()
        .map(|(id, statement)| StatementView::of(*id, statement))
        .collect();
    Ok(Answer::json(
        200,
        &Statements {
            total_statements: total,
            statements,
        },
    ))
}

pub(crate) fn run_statement(entry: &mut Entry, call: &Call<'_>, version: Version) -> Done {
    let asked = bound(&bodies::STATEMENT, call.body, version)?;
    running(entry)?;
    let number = entry.statements.len();
    let code = asked.text("code").unwrap_or_default().to_owned();
    let kind = asked
        .text("kind")
        .map_or_else(|| entry.kind().to_owned(), str::to_owned);
    let now = now_millis();
    let mut statement = Statement {
        code,
        state: StatementState::Running,
        output: None,
        started: now,
        completed: 0,
        polls: 0,
    };
    let computed = statements::run(&kind, &statement.code, number);
    if matches!(computed, Computed::Runs) {
        entry.state = State::Busy;
    }
    // The answer shows it as waiting: a driver has not had the time to run it.
    let shown = Statement {
        state: StatementState::Waiting,
        started: 0,
        ..statement.clone()
    };
    if let Computed::Ends(output) = computed {
        statement.state = StatementState::Available;
        statement.output = Some(output);
        statement.completed = now;
    }
    entry.statements.push(statement);
    let location = format!("/sessions/{}/statements/{number}", entry.id);
    Ok(Answer::json(201, &StatementView::of(number, &shown)).with("Location", location))
}

pub(crate) fn get_statement(entry: &mut Entry, number: &str) -> Done {
    active(entry)?;
    let (number, statement) =
        statement(entry, number)?.ok_or_else(|| Answer::text(404, "Statement not found"))?;
    let view = StatementView::of(number, statement);
    look_at(statement);
    settle(entry);
    Ok(Answer::json(200, &view))
}

/// Says yes of unknown statements too.
pub(crate) fn cancel_statement(entry: &mut Entry, number: &str) -> Done {
    running(entry)?;
    if let Some((_, statement)) = statement(entry, number)?
        && statement.completed == 0
    {
        statement.state = StatementState::Cancelling;
    }
    Ok(Answer::message(200, "canceled"))
}

fn statement<'a>(entry: &'a mut Entry, number: &str) -> Result<Option<(usize, &'a mut Statement)>, Answer> {
    let number = usize::try_from(number_of(number)?).unwrap_or(usize::MAX);
    Ok(entry
        .statements
        .get_mut(number)
        .map(|statement| (number, statement)))
}

/// A cancelled statement takes a few looks to end, as code that is no Spark job does.
fn look_at(statement: &mut Statement) {
    if statement.state == StatementState::Cancelling {
        statement.polls += 1;
        if statement.polls > 2 {
            statement.state = StatementState::Cancelled;
            statement.completed = now_millis();
        }
    }
}

/// A session whose statements have all ended is idle again.
fn settle(entry: &mut Entry) {
    if entry.state == State::Busy && entry.statements.iter().all(|statement| statement.completed > 0) {
        entry.state = State::Idle;
    }
}

#[derive(Debug, Serialize)]
struct JobView<'a> {
    id: usize,
    state: &'static str,
    result: Option<&'a str>,
    error: Option<&'a str>,
}

impl<'a> JobView<'a> {
    fn of(id: usize, job: &'a Job) -> Self {
        Self {
            id,
            state: job.state,
            result: job.result.as_deref(),
            error: None,
        }
    }
}

pub(crate) fn submit_job(entry: &mut Entry, call: &Call<'_>, version: Version) -> Done {
    let asked = bound(&bodies::JOB, call.body, version)?;
    let sent = asked.text("job").filter(|job| !job.is_empty());
    let sent = sent.ok_or_else(|| Answer::message(400, "requirement failed: no job provided."))?;
    active(entry)?;
    let job = Job {
        state: "SENT",
        result: None,
        sent: sent.to_owned(),
    };
    // Livy counts jobs from 1.
    let answer = Answer::json(201, &JobView::of(entry.jobs.len() + 1, &job));
    entry.jobs.push(job);
    Ok(answer)
}

/// Every look finds a job one step further on; its result is what was sent.
pub(crate) fn get_job(entry: &mut Entry, number: &str) -> Done {
    let (id, job) = job(entry, number)?;
    match job.state {
        "SENT" => job.state = "STARTED",
        "STARTED" => {
            job.state = "SUCCEEDED";
            job.result = Some(job.sent.clone());
        }
        _ => {}
    }
    Ok(Answer::json(200, &JobView::of(id, job)))
}

pub(crate) fn cancel_job(entry: &mut Entry, number: &str) -> Done {
    let (_, job) = job(entry, number)?;
    if job.state != "SUCCEEDED" {
        job.state = "CANCELLED";
    }
    Ok(Answer::empty(200))
}

fn job<'a>(entry: &'a mut Entry, number: &str) -> Result<(usize, &'a mut Job), Answer> {
    let id = number_of(number)?;
    let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
    let missing = || {
        Answer::text(
            500,
            &format!("java.util.NoSuchElementException: key not found: {id}"),
        )
    };
    let index = index.ok_or_else(missing)?;
    let job = entry.jobs.get_mut(index).ok_or_else(missing)?;
    Ok((index + 1, job))
}

pub(crate) fn upload(
    entry: &mut Entry,
    call: &Call<'_>,
    settings: &Settings,
    route: &str,
    field: &str,
) -> Done {
    let part = call.params.files.iter().find(|part| part.name == field);
    let part = part.ok_or_else(|| Answer::text(400, &format!("No {field} sent!")))?;
    if part.content.len() > settings.upload_bytes_max {
        return Err(Answer::text(
            500,
            "org.scalatra.servlet.SizeConstraintExceededException: Too large request or file",
        ));
    }
    active(entry)?;
    entry.uploads.push(Upload {
        route: route.to_owned(),
        file_name: part.file_name.clone().unwrap_or_default(),
        length: part.content.len(),
    });
    Ok(Answer::empty(200))
}
