//! Coarse deadlines: one standing tick a worker instead of one timer a request.
//!
//! A tokio timer armed for each request costs up to two system calls, since an earlier deadline wakes the driver.
//! Here a deadline is a number that one task per worker compares every [`TICK`]; nothing is ever late by more than
//! a tick and a half, which is fine for limits of seconds.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

/// How often deadlines are compared.
pub const TICK: Duration = Duration::from_millis(100);

/// The deadlines of one worker. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Deadlines(Arc<Wheel>);

#[derive(Debug, Default)]
struct Wheel {
    now: AtomicU64,
    // Locked for nanoseconds, by one thread but for the end of the process.
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    taken: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    due: AtomicU64,
    waker: AtomicWaker,
}

const NEVER: u64 = u64::MAX;

impl Deadlines {
    /// An empty set, at tick zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one [`TICK`] pass and wakes whoever is due.
    pub fn tick(&self) {
        let now = self.0.now.fetch_add(1, Ordering::Relaxed) + 1;
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.taken.iter().flatten() {
            if slot.due.load(Ordering::Relaxed) <= now {
                slot.waker.wake();
            }
        }
    }

    /// Ticks for as long as the worker runs.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            self.tick();
        }
    }

    /// A deadline that is not set yet.
    pub fn unset(&self) -> Deadline {
        let slot = Arc::new(Slot {
            due: AtomicU64::new(NEVER),
            waker: AtomicWaker::new(),
        });
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                slots.taken.push(None);
                slots.taken.len() - 1
            }
        };
        if let Some(place) = slots.taken.get_mut(index) {
            *place = Some(Arc::clone(&slot));
        }
        Deadline {
            wheel: Arc::clone(&self.0),
            slot,
            index,
        }
    }

    /// A deadline `after` from now.
    pub fn after(&self, after: Duration) -> Deadline {
        let deadline = self.unset();
        deadline.set(after);
        deadline
    }

    /// Gives `future` at most `limit`.
    pub fn limit<F: Future>(&self, limit: Duration, future: F) -> Limited<F> {
        Limited {
            deadline: self.after(limit),
            future,
        }
    }
}

/// One deadline. Dropping it forgets it.
#[derive(Debug)]
pub struct Deadline {
    wheel: Arc<Wheel>,
    slot: Arc<Slot>,
    index: usize,
}

impl Deadline {
    /// Moves the deadline to `after` from now.
    pub fn set(&self, after: Duration) {
        let ticks = u64::try_from(after.as_millis().div_ceil(TICK.as_millis())).unwrap_or(NEVER);
        // One more, since the present tick may be about to end.
        let due = self
            .wheel
            .now
            .load(Ordering::Relaxed)
            .saturating_add(ticks)
            .saturating_add(1);
        self.slot.due.store(due, Ordering::Relaxed);
    }

    /// Takes the deadline away.
    pub fn clear(&self) {
        self.slot.due.store(NEVER, Ordering::Relaxed);
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.slot.due.load(Ordering::Relaxed) <= self.wheel.now.load(Ordering::Relaxed)
    }

    /// Ready when the time is over; otherwise the task is woken then.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.slot.waker.register(cx.waker());
        if self.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits until the time is over.
    pub async fn over(&self) {
        std::future::poll_fn(|cx| self.poll_over(cx)).await;
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut slots = self.wheel.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = slots.taken.get_mut(self.index) {
            *place = None;
        }
        slots.free.push(self.index);
    }
}

/// The time was over first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

pin_project! {
    /// A future with a deadline.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Limited<F> {
        deadline: Deadline,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Limited<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        this.deadline.poll_over(cx).map(|()| Err(Elapsed))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_deadline_passes_only_with_its_ticks() {
        let deadlines = Deadlines::new();
        let mut limited = Box::pin(deadlines.limit(2 * TICK, std::future::pending::<()>()));
        for _ in 0..2 {
            assert_eq!((&mut limited).now_or_never(), None);
            deadlines.tick();
        }
        deadlines.tick();
        assert_eq!(limited.now_or_never(), Some(Err(Elapsed)));
    }

    #[test]
    fn a_future_that_is_ready_beats_its_deadline() {
        let deadlines = Deadlines::new();
        assert_eq!(
            deadlines.limit(Duration::ZERO, async { 7 }).now_or_never(),
            Some(Ok(7))
        );
    }

    #[test]
    fn a_moved_deadline_counts_from_the_move_and_a_cleared_one_never_passes() {
        let deadlines = Deadlines::new();
        let deadline = deadlines.after(TICK);
        deadlines.tick();
        deadline.set(TICK);
        deadlines.tick();
        assert!(!deadline.is_over());
        deadlines.tick();
        assert!(deadline.is_over());
        deadline.clear();
        deadlines.tick();
        assert!(!deadline.is_over());
    }

    #[test]
    fn places_are_used_again() {
        let deadlines = Deadlines::new();
        for _ in 0..100 {
            drop(deadlines.after(TICK));
        }
        assert_eq!(deadlines.0.slots.lock().unwrap().taken.len(), 1);
    }
}
