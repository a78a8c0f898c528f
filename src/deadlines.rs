//! Coarse deadlines: one standing tick a worker instead of one timer a request.
//!
//! A tokio timer armed for each request costs up to two system calls, since an earlier deadline wakes the driver.
//! Here a deadline is a number that one task per worker compares with the clock every [`TICK`]; none is late by more
//! than two ticks, which is fine for limits of seconds.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

use crate::clock::Clock;

/// How often deadlines are compared.
pub const TICK: Duration = Duration::from_millis(100);

/// The deadlines of one worker. Clones share them.
#[derive(Debug, Clone)]
pub struct Deadlines(Arc<Wheel>);

#[derive(Debug)]
struct Wheel {
    clock: Arc<dyn Clock>,
    /// The clock's monotonic time in milliseconds, as of the last tick.
    now: AtomicU64,
    // Locked for nanoseconds, by one thread but for the end of the process.
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    all: Vec<Arc<Slot>>,
    /// Those of `all` that no deadline has, which are never due.
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    due: AtomicU64,
    waker: AtomicWaker,
}

const NEVER: u64 = u64::MAX;

impl Deadlines {
    /// An empty set.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let now = AtomicU64::new(millis(clock.monotonic()));
        Self(Arc::new(Wheel {
            clock,
            now,
            slots: Mutex::default(),
        }))
    }

    /// Looks at the clock and wakes whoever is due.
    pub fn tick(&self) {
        let now = millis(self.0.clock.monotonic());
        self.0.now.store(now, Ordering::Relaxed);
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in &slots.all {
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
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = slots.free.pop().unwrap_or(slots.all.len());
        let slot = match slots.all.get(index) {
            Some(slot) => Arc::clone(slot),
            None => {
                let slot = Arc::new(Slot {
                    due: AtomicU64::new(NEVER),
                    waker: AtomicWaker::new(),
                });
                slots.all.push(Arc::clone(&slot));
                slot
            }
        };
        drop(slots);
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
        // A tick more, since the last look at the clock may be that old.
        let due = self
            .wheel
            .now
            .load(Ordering::Relaxed)
            .saturating_add(millis(after.saturating_add(TICK)));
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
        self.clear();
        drop(self.slot.waker.take());
        let mut slots = self.wheel.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.free.push(self.index);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
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
    use crate::clock::ManualClock;

    fn manual() -> (Arc<ManualClock>, Deadlines) {
        let clock = Arc::new(ManualClock::at(Duration::ZERO));
        (Arc::clone(&clock), Deadlines::new(clock))
    }

    fn pass(time: Duration, clock: &ManualClock, deadlines: &Deadlines) {
        clock.advance(time);
        deadlines.tick();
    }

    #[test]
    fn a_deadline_passes_when_the_clock_is_past_it_and_no_sooner() {
        let (clock, deadlines) = manual();
        let second = Duration::from_secs(1);
        let mut limited = Box::pin(deadlines.limit(second, std::future::pending::<()>()));
        pass(second, &clock, &deadlines);
        assert_eq!(
            (&mut limited).now_or_never(),
            None,
            "the last look at the clock may have been a tick ago"
        );
        pass(TICK, &clock, &deadlines);
        assert_eq!(limited.now_or_never(), Some(Err(Elapsed)));
    }

    #[test]
    fn a_future_that_is_ready_beats_its_deadline() {
        let (_, deadlines) = manual();
        assert_eq!(
            deadlines.limit(Duration::ZERO, async { 7 }).now_or_never(),
            Some(Ok(7))
        );
    }

    #[test]
    fn a_moved_deadline_counts_from_the_move_and_a_cleared_one_never_passes() {
        let (clock, deadlines) = manual();
        let deadline = deadlines.after(3 * TICK);
        pass(3 * TICK, &clock, &deadlines);
        deadline.set(3 * TICK);
        pass(3 * TICK, &clock, &deadlines);
        assert!(!deadline.is_over());
        pass(TICK, &clock, &deadlines);
        assert!(deadline.is_over());
        deadline.clear();
        pass(100 * TICK, &clock, &deadlines);
        assert!(!deadline.is_over());
    }

    #[test]
    fn places_are_used_again() {
        let (_, deadlines) = manual();
        for _ in 0..100 {
            drop(deadlines.after(TICK));
        }
        assert_eq!(deadlines.0.slots.lock().unwrap().all.len(), 1);
    }
}
