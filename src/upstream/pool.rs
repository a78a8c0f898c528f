//! Kept connections of one worker.

use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use socket2::Socket;
use tokio::task::AbortHandle;

use super::Worker;
use super::body::RequestBody;
use crate::deadlines::Deadline;
use crate::policy::Livy;
use crate::shares::Share;

/// One connection that is ready for a request.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) sender: SendRequest<RequestBody>,
    /// A second handle on the socket, to see whether Livy has closed it.
    pub(super) probe: Socket,
    /// The task that drives it.
    pub(super) driver: AbortHandle,
    /// Where it leads, as configured.
    pub(super) url: Arc<str>,
    /// When it was last used.
    pub(super) since: Duration,
}

impl Kept {
    /// An idle connection has nothing to read: what is there is the end of it, or bytes that nobody asked for.
    fn has_ended(&self) -> bool {
        let mut byte = [const { MaybeUninit::uninit() }; 1];
        !matches!(self.probe.peek(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// The idle ones, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Kept>>);

impl Pool {
    /// The one used last, which is the least likely to have been closed.
    pub(super) fn take(&self, livy: &Livy, now: Duration, is_safe: bool) -> Option<Kept> {
        loop {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            let is_usable = *kept.url == *livy.url
                && now.saturating_sub(kept.since) < KEEP_TIME
                && !kept.sender.is_closed();
            // What is not safe is never sent twice, so it is worth a system call not to lose it on a dead connection.
            if is_usable && (is_safe || !kept.has_ended()) {
                return Some(kept);
            }
        }
    }

    fn put(&self, kept: Kept) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT_MAX {
            idle.push(kept);
        }
    }

    pub(super) fn sweep(&self, now: Duration) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| now.saturating_sub(kept.since) < KEEP_TIME && !kept.sender.is_closed());
    }
}

/// A connection whose answer is being read. It goes back to the pool only when that was read to its end; otherwise it
/// ends, since what is left on it belongs to nobody.
#[derive(Debug)]
pub(super) struct Lease {
    kept: Option<Kept>,
    worker: Arc<Worker>,
    /// Of Livy, for as long as the answer is read.
    _share: Option<Share>,
}

impl Lease {
    pub(super) fn new(kept: Kept, worker: Arc<Worker>, share: Option<Share>) -> Self {
        Self {
            kept: Some(kept),
            worker,
            _share: share,
        }
    }

    /// A deadline of the worker that reads the answer.
    pub(super) fn deadline(&self, after: Duration) -> Deadline {
        self.worker.deadlines.after(after)
    }

    pub(super) fn give_back(mut self) {
        if let Some(mut kept) = self.kept.take() {
            kept.since = self.worker.clock.monotonic();
            self.worker.pool.put(kept);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            kept.driver.abort();
        }
    }
}

/// Livy closes what was idle for 30 s (Jetty's default, which Livy does not make configurable).
const KEEP_TIME: Duration = Duration::from_secs(20);
const KEPT_MAX: usize = 256;
