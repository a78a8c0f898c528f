//! Asks the directory (LDAP) whether a password is right and whom it proves.
//!
//! On a thread of its own, so that what servers send is read away from the threads that serve. A login is checked by a
//! bind on a connection of its own, because a bind changes who a connection is; searches share one that is bound as
//! the gateway's account. What a question and an answer mean is decided in `authn::ldap`.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::authn::{Ldap, Subject};
use crate::clock::Clock;
use crate::limits::AddressKey;

mod connection;
mod guard;
mod servers;

use servers::Servers;

/// What came of a question. Reasons are for the log.
#[derive(Debug)]
pub enum Verdict {
    /// The password is right.
    Proven(Subject),
    /// It is not, or there is no such person, or not exactly one; why, without a name that was typed.
    Refused(&'static str),
    /// No server could tell.
    Unavailable(String),
    /// A server told, and what it said about this person cannot be used.
    Unusable(String),
    /// It was not asked: too many wait already.
    Busy,
}

/// Who waits for a verdict.
pub trait Asker: Send {
    /// Itself, unless nobody waits any more.
    fn if_wanted(self: Box<Self>) -> Option<Box<dyn Asker>>;
    /// Called once, on the directory's thread or by whoever asks; it must return at once.
    fn tell(self: Box<Self>, verdict: Verdict);
}

/// A login to be checked.
pub struct Question {
    /// Which directory.
    pub ldap: Arc<Ldap>,
    /// Whose question it is.
    pub from: AddressKey,
    /// As typed.
    pub user: String,
    /// As typed.
    pub password: Zeroizing<String>,
    /// Whom to tell.
    pub asker: Box<dyn Asker>,
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
    questions: mpsc::Sender<Waiting>,
    held: Arc<Held>,
    clock: Arc<dyn Clock>,
}

/// How many questions each address has put that are not answered.
#[derive(Debug, Default)]
struct Held(Mutex<HashMap<AddressKey, usize>>);

struct Waiting {
    question: Question,
    since: Duration,
    _share: Share,
}

/// One of an address' questions while it lives.
struct Share {
    held: Arc<Held>,
    from: AddressKey,
}

impl Directory {
    /// Starts the thread.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (questions, asked) = mpsc::channel(WAITING_MAX);
        let its_clock = Arc::clone(&clock);
        thread::Builder::new().name("directory".into()).spawn(move || {
            runtime.block_on(answer_all(asked, its_clock));
            // A name that is still being looked up would be waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            questions,
            held: Arc::default(),
            clock,
        })
    }

    /// Puts a question. Returns at once.
    pub fn ask(&self, question: Question) {
        let Some(share) = self.held.one_more(question.from) else {
            return question.asker.tell(Verdict::Busy);
        };
        let waiting = Waiting {
            question,
            since: self.clock.monotonic(),
            _share: share,
        };
        if let Err(TrySendError::Full(waiting) | TrySendError::Closed(waiting)) =
            self.questions.try_send(waiting)
        {
            waiting.question.asker.tell(Verdict::Busy);
        }
    }
}

impl Held {
    fn one_more(self: &Arc<Self>, from: AddressKey) -> Option<Share> {
        let mut held = self.lock();
        let count = held.entry(from).or_default();
        if *count >= SHARE_MAX {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Share {
            held: Arc::clone(self),
            from,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AddressKey, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.from);
            }
        }
    }
}

async fn answer_all(mut asked: mpsc::Receiver<Waiting>, clock: Arc<dyn Clock>) {
    let mut servers: Option<Arc<Servers>> = None;
    while let Some(waiting) = asked.recv().await {
        let ldap = &waiting.question.ldap;
        let current = match &servers {
            Some(current) if current.serves(ldap) => Arc::clone(current),
            // Another configuration: its connections begin anew, and the old ones end with their questions.
            Some(_) | None => Arc::new(Servers::new(Arc::clone(ldap), Arc::clone(&clock))),
        };
        servers = Some(Arc::clone(&current));
        // Here the queue waits when as many are checked at once as may be.
        let Ok(place) = current.place().await else {
            continue;
        };
        let patience = PATIENCE.saturating_sub(clock.monotonic().saturating_sub(waiting.since));
        tokio::spawn(async move {
            answer(&current, waiting, patience).await;
            drop(place);
        });
    }
}

async fn answer(servers: &Arc<Servers>, waiting: Waiting, patience: Duration) {
    let Waiting {
        question:
            Question {
                user,
                password,
                asker,
                ..
            },
        _share,
        ..
    } = waiting;
    // Who waited too long was told so; a bind more would only be one for nobody.
    let Some(asker) = asker.if_wanted() else { return };
    if patience.is_zero() {
        return asker.tell(Verdict::Unavailable("too many logins wait to be checked".into()));
    }
    let asked = Arc::clone(servers);
    // In a task of its own: an answer that the library cannot read makes it panic.
    let mut check = tokio::spawn(async move { asked.check(&user, &password).await });
    let verdict = match timeout(patience, &mut check).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(_)) => {
            servers.let_the_asked_one_rest();
            Verdict::Unavailable("a server's answer cannot be read".into())
        }
        Err(_) => {
            check.abort();
            servers.let_the_asked_one_rest();
            Verdict::Unavailable(format!("no answer within {} s", patience.as_secs()))
        }
    };
    asker.tell(verdict);
}

/// Checks one login and waits for the verdict; for a command line, which has no thread for it.
pub fn check_once(ldap: Arc<Ldap>, user: &str, password: &str, clock: Arc<dyn Clock>) -> io::Result<Verdict> {
    if !Ldap::may_ask(user, password.as_bytes()) {
        return Ok(Verdict::Refused(
            "such a user name or password is put to no directory",
        ));
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

/// From the question to the verdict; those who wait for it are told to come back after a little more.
const PATIENCE: Duration = Duration::from_secs(7);
/// A check takes milliseconds; what finds so many before it would wait in vain.
const WAITING_MAX: usize = 256;
/// What one address may hold of it: a flood from one leaves room for all others.
const SHARE_MAX: usize = WAITING_MAX / 4;
