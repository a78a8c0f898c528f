//! Livy shared out: so many requests of all users at once, and nobody may hold more than is still free.
//!
//! Livy answers with a bounded number of threads, and a deletion or a stuck driver keeps one for minutes. By that rule
//! one user alone comes to half of what there is, two to a third each, and for whoever comes next there is always as
//! much left as the busiest has: a user whose requests are stuck waits, and nobody else does. It needs no rates, no
//! weights and no look at who else is there (dynamic thresholds, as switches share out their buffers: Choudhury and
//! Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::deadlines::Deadlines;
use crate::limits::Seat;

/// What there is of Livy, and who waits for it.
#[derive(Debug, Default)]
pub struct Shares {
    most: AtomicUsize,
    taken: AtomicUsize,
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

/// Each user once, the one whose turn it is first.
type Queue = VecDeque<(Arc<Seat>, VecDeque<oneshot::Sender<Share>>)>;

/// A request may be at Livy while this lives.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    seat: Arc<Seat>,
}

/// Nothing came free in time, or too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoShare;

/// How it is shared out now, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareFigures {
    /// Requests at Livy.
    pub taken: usize,
    /// How many there may be.
    pub most: usize,
    /// Requests that wait for a share.
    pub waiting: usize,
}

impl Shares {
    /// A share of `most` for the user of this seat; waits for one as long as `patience`.
    pub async fn take(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        most: usize,
        patience: Duration,
        deadlines: &Deadlines,
    ) -> Result<Share, NoShare> {
        if self.most.load(Ordering::Relaxed) != most {
            self.most.store(most, Ordering::SeqCst);
        }
        if self.waiting.load(Ordering::SeqCst) == 0
            && let Some(share) = self.try_take(seat)
        {
            return Ok(share);
        }
        // Boxed as all that is rare.
        Box::pin(self.wait(seat, patience, deadlines)).await
    }

    /// How it is shared out now.
    pub fn figures(&self) -> ShareFigures {
        ShareFigures {
            taken: self.taken.load(Ordering::Relaxed),
            most: self.most.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    async fn wait(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        patience: Duration,
        deadlines: &Deadlines,
    ) -> Result<Share, NoShare> {
        let receiver = self.line_up(seat)?;
        self.admit();
        match deadlines.limit(patience, receiver).await {
            Ok(Ok(share)) => Ok(share),
            Ok(Err(_)) | Err(_) => Err(NoShare),
        }
    }

    fn line_up(&self, seat: &Arc<Seat>) -> Result<oneshot::Receiver<Share>, NoShare> {
        let mut queue = self.lock();
        self.forget_the_impatient(&mut queue);
        if self.waiting.load(Ordering::SeqCst) >= WAITING_MAX {
            return Err(NoShare);
        }
        let (sender, receiver) = oneshot::channel();
        match queue.iter_mut().find(|(known, _)| Arc::ptr_eq(known, seat)) {
            Some((_, waiters)) if waiters.len() >= WAITING_OF_ONE_MAX => return Err(NoShare),
            Some((_, waiters)) => waiters.push_back(sender),
            None => queue.push_back((Arc::clone(seat), VecDeque::from([sender]))),
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Ok(receiver)
    }

    /// Gives out what is free, to each user in turn.
    fn admit(self: &Arc<Self>) {
        loop {
            let mut queue = self.lock();
            self.forget_the_impatient(&mut queue);
            let admitted = queue
                .iter()
                .position(|(seat, _)| self.may_take(seat))
                .and_then(|turn| queue.remove(turn))
                .and_then(|(seat, mut waiters)| {
                    let share = self.try_take(&seat);
                    let waiter = share.is_some().then(|| waiters.pop_front()).flatten();
                    if !waiters.is_empty() {
                        queue.push_back((seat, waiters));
                    }
                    Some((share?, waiter?))
                });
            let Some((share, waiter)) = admitted else { return };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            drop(queue);
            // Whoever does not wait any more gives it back by dropping it, which admits the next.
            drop(waiter.send(share));
        }
    }

    fn forget_the_impatient(&self, queue: &mut Queue) {
        for (_, waiters) in queue.iter_mut() {
            let before = waiters.len();
            waiters.retain(|waiter| !waiter.is_closed());
            self.waiting
                .fetch_sub(before.saturating_sub(waiters.len()), Ordering::SeqCst);
        }
        queue.retain(|(_, waiters)| !waiters.is_empty());
    }

    fn may_take(&self, seat: &Seat) -> bool {
        let taken = self.taken.load(Ordering::SeqCst);
        let own = seat.at_livy.load(Ordering::Relaxed) as usize;
        let free = self.most.load(Ordering::Relaxed).saturating_sub(taken);
        // The very first of a tiny Livy is one that leaves nothing.
        own < free || (taken == 0 && free > 0)
    }

    fn try_take(self: &Arc<Self>, seat: &Arc<Seat>) -> Option<Share> {
        if !self.may_take(seat) {
            return None;
        }
        // Two threads may both have found the last one free; one more than there may be is no harm.
        self.taken.fetch_add(1, Ordering::SeqCst);
        seat.at_livy.fetch_add(1, Ordering::Relaxed);
        Some(Share {
            shares: Arc::clone(self),
            seat: Arc::clone(seat),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.seat.at_livy.fetch_sub(1, Ordering::Relaxed);
        self.shares.taken.fetch_sub(1, Ordering::SeqCst);
        if self.shares.waiting.load(Ordering::SeqCst) > 0 {
            self.shares.admit();
        }
    }
}

/// Of all users together.
const WAITING_MAX: usize = 2048;
/// Of one user, whose requests under way are bounded anyway, but for deletions.
const WAITING_OF_ONE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::ManualClock;
    use crate::deadlines::TICK;

    const PATIENCE: Duration = Duration::from_secs(3);

    struct Livy {
        shares: Arc<Shares>,
        deadlines: Deadlines,
        clock: Arc<ManualClock>,
    }

    impl Livy {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(Duration::ZERO));
            Self {
                shares: Arc::default(),
                deadlines: Deadlines::new(Arc::clone(&clock) as Arc<dyn crate::clock::Clock>),
                clock,
            }
        }

        fn ask(&self, seat: &Arc<Seat>, most: usize) -> impl Future<Output = Result<Share, NoShare>> + Unpin {
            let (shares, deadlines, seat) =
                (Arc::clone(&self.shares), self.deadlines.clone(), Arc::clone(seat));
            Box::pin(async move { shares.take(&seat, most, PATIENCE, &deadlines).await })
        }

        /// As many as this one gets without waiting.
        fn fill(&self, seat: &Arc<Seat>, most: usize) -> Vec<Share> {
            std::iter::from_fn(|| self.ask(seat, most).now_or_never()?.ok()).collect()
        }
    }

    #[test]
    fn nobody_holds_more_than_is_free() {
        let livy = Livy::new();
        let seats: Vec<Arc<Seat>> = (0..4).map(|_| Arc::default()).collect();
        let held: Vec<_> = seats.iter().map(|seat| livy.fill(seat, 128)).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [64, 32, 16, 8]);
        assert_eq!(livy.shares.figures().taken, 120);
    }

    #[test]
    fn a_stuck_user_waits_and_the_next_one_does_not() {
        let livy = Livy::new();
        let (stuck, other): (Arc<Seat>, Arc<Seat>) = (Arc::default(), Arc::default());
        let held = livy.fill(&stuck, 8);
        let mut waiting = livy.ask(&stuck, 8);
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(livy.shares.figures().waiting, 1);
        assert!(
            livy.ask(&other, 8).now_or_never().unwrap().is_ok(),
            "though somebody waits"
        );
        drop(held);
        assert!(waiting.now_or_never().unwrap().is_ok());
        assert_eq!(livy.shares.figures().waiting, 0);
    }

    #[test]
    fn whoever_waits_is_admitted_in_turn() {
        let livy = Livy::new();
        let seats: Vec<Arc<Seat>> = (0..3).map(|_| Arc::default()).collect();
        let mut held: VecDeque<_> = livy.fill(&seats[0], 2).into();
        assert_eq!(held.len(), 1);
        let mut first = livy.ask(&seats[0], 2);
        assert!((&mut first).now_or_never().is_none());
        let mut second = livy.ask(&seats[0], 2);
        assert!((&mut second).now_or_never().is_none());
        let other = livy.ask(&seats[1], 2).now_or_never().unwrap().unwrap();
        let mut third = livy.ask(&seats[2], 2);
        assert!((&mut third).now_or_never().is_none(), "there is nothing left");
        held.clear();
        let of_first = (&mut first).now_or_never();
        assert!(of_first.is_some(), "one of who came first");
        assert!((&mut second).now_or_never().is_none());
        drop(other);
        assert!(
            third.now_or_never().unwrap().is_ok(),
            "the other before the second of one"
        );
    }

    #[test]
    fn patience_ends_and_leaves_nothing_behind() {
        let livy = Livy::new();
        let seat: Arc<Seat> = Arc::default();
        let held = livy.fill(&seat, 4);
        let mut waiting = livy.ask(&seat, 4);
        assert!((&mut waiting).now_or_never().is_none());
        livy.clock.advance(PATIENCE + TICK);
        livy.deadlines.tick();
        assert_eq!(waiting.now_or_never().unwrap().err(), Some(NoShare));
        drop(held);
        assert_eq!(
            livy.shares.figures(),
            ShareFigures {
                taken: 0,
                most: 4,
                waiting: 0
            }
        );
        assert_eq!(livy.fill(&seat, 4).len(), 2);
    }

    #[test]
    fn a_livy_of_one_serves_one() {
        let livy = Livy::new();
        let seat: Arc<Seat> = Arc::default();
        assert_eq!(livy.fill(&seat, 1).len(), 1);
    }

    #[test]
    fn not_everybody_waits() {
        let livy = Livy::new();
        let seat: Arc<Seat> = Arc::default();
        let _held = livy.fill(&seat, 2);
        let mut waiting: Vec<_> = (0..WAITING_OF_ONE_MAX)
            .map(|_| {
                let mut one = livy.ask(&seat, 2);
                assert!((&mut one).now_or_never().is_none());
                one
            })
            .collect();
        assert_eq!(livy.ask(&seat, 2).now_or_never().unwrap().err(), Some(NoShare));
        waiting.clear();
        assert!(
            livy.ask(&seat, 2).now_or_never().is_none(),
            "those who left make room"
        );
    }
}
