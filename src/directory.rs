//! Asks the directory (LDAP) whether a password is right and whom it proves.
//!
//! On a thread of its own, so that what servers send is read away from the threads that serve. A login is checked by a
//! bind on a connection of its own, because a bind changes who a connection is; searches share one that is bound as
//! the gateway's account. What a question and an answer mean is decided in `authn::ldap`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::authn::{Ldap, Subject};
use crate::clock::Clock;

mod connection;
mod servers;

use servers::Servers;

/// What came of a question.
#[derive(Debug)]
pub enum Verdict {
    /// The password is right.
    Proven(Subject),
    /// It is not, or there is no such person, or not exactly one.
    Refused,
    /// No server could tell; the reason is for the log.
    Unavailable(String),
    /// It was not asked: too many wait already.
    Busy,
}

/// Checks one login and waits for the verdict; for a command line, which has no thread for it.
pub fn check_once(ldap: Arc<Ldap>, user: &str, password: &str, clock: Arc<dyn Clock>) -> io::Result<Verdict> {
    if !Ldap::may_ask(user, password.as_bytes()) {
        return Ok(Verdict::Refused);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { Servers::new(ldap, clock).check(user, password).await }))
}

/// What a person would be after a login, without a password: nobody is logged in by it. Only a directory that is searched
/// can be asked that; the error says so, or why there is no answer.
pub fn look_up_once(ldap: Arc<Ldap>, user: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Subject>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async { Servers::new(ldap, clock).look_up(user).await })
        .map_err(anyhow::Error::msg)
}

/// A login to be checked.
pub struct Question {
    /// Which directory.
    pub ldap: Arc<Ldap>,
    /// As typed.
    pub user: String,
    /// As typed.
    pub password: Zeroizing<String>,
    /// Told what came of it, once; it must return at once.
    pub tell: Box<dyn FnOnce(Verdict) + Send>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // People type passwords into the user field.
        f.debug_struct("Question")
            .field("ldap", &self.ldap)
            .finish_non_exhaustive()
    }
}

/// The thread that asks. It ends when this is dropped.
#[derive(Debug)]
pub struct Directory {
    questions: mpsc::Sender<Question>,
}

impl Directory {
    /// Starts the thread.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (questions, asked) = mpsc::channel(WAITING_MAX);
        thread::Builder::new().name("directory".into()).spawn(move || {
            runtime.block_on(answer_all(asked, clock));
            // A name that is still being looked up would be waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { questions })
    }

    /// Puts a question. Returns at once.
    pub fn ask(&self, question: Question) {
        if let Err(TrySendError::Full(question) | TrySendError::Closed(question)) =
            self.questions.try_send(question)
        {
            (question.tell)(Verdict::Busy);
        }
    }
}

async fn answer_all(mut asked: mpsc::Receiver<Question>, clock: Arc<dyn Clock>) {
    let mut servers: Option<Arc<Servers>> = None;
    while let Some(question) = asked.recv().await {
        let current = match &servers {
            Some(current) if current.serves(&question.ldap) => Arc::clone(current),
            // Another configuration: its connections begin anew, and the old ones end with their questions.
            Some(_) | None => Arc::new(Servers::new(Arc::clone(&question.ldap), Arc::clone(&clock))),
        };
        servers = Some(Arc::clone(&current));
        // Here the queue waits when as many are checked at once as may be.
        let Ok(place) = current.place().await else {
            continue;
        };
        tokio::spawn(async move {
            let _place = place;
            let Question {
                user, password, tell, ..
            } = question;
            let verdict = match timeout(PATIENCE, current.check(&user, &password)).await {
                Ok(verdict) => verdict,
                Err(_) => Verdict::Unavailable(format!("no answer within {} s", PATIENCE.as_secs())),
            };
            tell(verdict);
        });
    }
}

/// A check with all its steps; those who wait for it are told to come back after a little more.
const PATIENCE: Duration = Duration::from_secs(7);
/// A check takes milliseconds; what finds so many before it would wait in vain.
const WAITING_MAX: usize = 256;
