//! Threads that check passwords, away from the threads that serve: a hash takes tens of milliseconds by design.
//!
//! The queue is bounded, and fair between addresses: they take turns, and none may fill more than its share.
//! It knows nothing of passwords; a job is a closure.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::limits::AddressKey;

/// What a thread calls, once. A job that the pool never comes to is dropped without being called.
pub(super) type Job = Box<dyn FnOnce(Turn) + Send>;

/// Whether a job that has come to its turn is still worth doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    InTime,
    /// It waited longer than [`WAIT_MAX`], or there is no room for it to wait.
    TooLate,
}

/// The queue, or this address's share of it, has no room; the job comes back.
pub(super) struct Full(pub(super) Job);

/// How many jobs wait and how many run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) waiting: usize,
    pub(super) running: usize,
}

/// The threads. Dropping it drops the jobs that wait, and waits for those that run.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Each address that has jobs, once, in the order of their turns.
    turns: VecDeque<AddressKey>,
    jobs: HashMap<AddressKey, VecDeque<Waiting>>,
    load: Load,
    is_closed: bool,
}

struct Waiting {
    since: Duration,
    job: Job,
}

impl Pool {
    /// Starts so many threads, at least one.
    pub(super) fn new(threads: usize, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let mut pool = Self {
            shared: Arc::new(Shared {
                clock,
                queue: Mutex::default(),
                changed: Condvar::new(),
            }),
            threads: Vec::new(),
        };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || shared.work())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues a job of this address.
    pub(super) fn submit(&self, from: AddressKey, job: Job) -> Result<(), Full> {
        let since = self.shared.clock.monotonic();
        self.shared.queue().push(from, Waiting { since, job })?;
        self.shared.changed.notify_one();
        Ok(())
    }

    pub(super) fn load(&self) -> Load {
        self.shared.queue().load
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let left = self.shared.queue().close();
        self.shared.changed.notify_all();
        // Outside the lock: what a job holds may want it when dropped.
        drop(left);
        for thread in self.threads.drain(..) {
            // A job cannot end its thread, and there is nobody left to tell.
            let _: thread::Result<()> = thread.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .field("load", &self.load())
            .finish()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(Waiting { since, job }) = self.next() {
            let waited = self.clock.monotonic().saturating_sub(since);
            let turn = if waited <= WAIT_MAX {
                Turn::InTime
            } else {
                Turn::TooLate
            };
            // A defect in one job must not take the thread from all others; who waits for it learns of it when
            // the job is dropped.
            let _: thread::Result<()> = catch_unwind(AssertUnwindSafe(|| job(turn)));
            self.queue().load.running -= 1;
        }
    }

    /// The next job, counted as running; none when the pool is closed.
    fn next(&self) -> Option<Waiting> {
        let mut queue = self.queue();
        while !queue.is_closed {
            if let Some(waiting) = queue.pop() {
                queue.load.running += 1;
                return Some(waiting);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

impl Queue {
    fn push(&mut self, from: AddressKey, waiting: Waiting) -> Result<(), Full> {
        let held = self.jobs.get(&from).map_or(0, VecDeque::len);
        if self.load.waiting >= QUEUE_MAX || held >= SHARE_MAX {
            return Err(Full(waiting.job));
        }
        if held == 0 {
            self.turns.push_back(from);
        }
        self.jobs.entry(from).or_default().push_back(waiting);
        self.load.waiting += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<Waiting> {
        let from = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&from)?;
        let waiting = jobs.pop_front()?;
        if jobs.is_empty() {
            self.jobs.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        self.load.waiting -= 1;
        Some(waiting)
    }

    fn close(&mut self) -> HashMap<AddressKey, VecDeque<Waiting>> {
        self.is_closed = true;
        self.load.waiting = 0;
        self.turns.clear();
        std::mem::take(&mut self.jobs)
    }
}

/// How long a job may wait: rather than longer, its client is told to come back.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(8);

/// Two cores check some forty passwords a second, so more could not be answered in time.
pub(super) const QUEUE_MAX: usize = 256;

/// What one address may hold of it: a flood from one leaves room for all others.
pub(super) const SHARE_MAX: usize = QUEUE_MAX / 4;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;
    use crate::clock::ManualClock;

    fn address(number: u32) -> AddressKey {
        AddressKey::from(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    /// A pool of one thread that is held until the sender is dropped.
    fn held_pool() -> (Arc<ManualClock>, Pool, Sender<()>) {
        let clock = Arc::new(ManualClock::at(Duration::ZERO));
        let pool = Pool::new(1, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let (began, has_begun) = mpsc::channel();
        let job = move |_| {
            began.send(()).unwrap();
            assert!(held.recv().is_err());
        };
        assert!(pool.submit(address(0), Box::new(job)).is_ok());
        has_begun.recv().unwrap();
        (clock, pool, hold)
    }

    fn noting(notes: &Sender<(u32, Turn)>, note: u32) -> Job {
        let notes = notes.clone();
        // At the end of a test nobody may listen any more.
        Box::new(move |turn| notes.send((note, turn)).unwrap_or_default())
    }

    fn numbers(notes: &Receiver<(u32, Turn)>, how_many: usize) -> Vec<u32> {
        notes.iter().take(how_many).map(|(number, _)| number).collect()
    }

    #[test]
    fn addresses_take_turns() {
        let (_clock, pool, hold) = held_pool();
        let (notes, seen) = mpsc::channel();
        for (from, note) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (2, 21)] {
            assert!(pool.submit(address(from), noting(&notes, note)).is_ok());
        }
        drop(hold);
        assert_eq!(numbers(&seen, 6), [10, 20, 30, 11, 21, 12]);
    }

    #[test]
    fn one_address_fills_its_share_and_no_more() {
        let (_clock, pool, hold) = held_pool();
        let (notes, seen) = mpsc::channel();
        for note in 0..64 {
            assert!(pool.submit(address(1), noting(&notes, note)).is_ok());
        }
        assert!(pool.submit(address(1), noting(&notes, 64)).is_err());
        assert!(pool.submit(address(2), noting(&notes, 100)).is_ok());
        drop(hold);
        assert_eq!(numbers(&seen, 2), [0, 100]);
    }

    #[test]
    fn all_addresses_together_fill_the_queue_and_no_more() {
        let (_clock, pool, hold) = held_pool();
        let (notes, _seen) = mpsc::channel();
        for from in 0..256 {
            assert!(pool.submit(address(from), noting(&notes, from)).is_ok());
        }
        assert!(pool.submit(address(1000), noting(&notes, 0)).is_err());
        assert_eq!(
            pool.load(),
            Load {
                waiting: 256,
                running: 1
            }
        );
        drop(hold);
    }

    #[test]
    fn a_job_that_waited_too_long_is_told_so() {
        let (clock, pool, hold) = held_pool();
        let (notes, seen) = mpsc::channel();
        assert!(pool.submit(address(1), noting(&notes, 1)).is_ok());
        clock.advance(Duration::from_secs(1));
        assert!(pool.submit(address(2), noting(&notes, 2)).is_ok());
        clock.advance(Duration::from_secs(8));
        drop(hold);
        assert_eq!(
            seen.iter().take(2).collect::<Vec<_>>(),
            [(1, Turn::TooLate), (2, Turn::InTime)]
        );
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        let (_clock, pool, hold) = held_pool();
        let (notes, seen) = mpsc::channel();
        assert!(pool.submit(address(1), Box::new(|_| panic!("a defect"))).is_ok());
        assert!(pool.submit(address(1), noting(&notes, 2)).is_ok());
        drop(hold);
        assert_eq!(numbers(&seen, 1), [2]);
    }

    #[test]
    fn dropping_the_pool_drops_what_waits_and_ends_what_runs() {
        let (_clock, pool, hold) = held_pool();
        let (notes, seen) = mpsc::channel();
        for note in 0..3 {
            assert!(pool.submit(address(note), noting(&notes, note)).is_ok());
        }
        drop(notes);
        // The job that runs ends when the first waiting one is dropped with this.
        assert!(pool.submit(address(9), Box::new(move |_| drop(hold))).is_ok());
        drop(pool);
        assert_eq!(seen.iter().count(), 0);
    }
}
