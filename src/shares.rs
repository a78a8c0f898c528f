//! Livy shared out: so many requests of all users at once, and nobody may hold more than is still free.
//!
//! Livy answers with a bounded number of threads, and a deletion or a stuck driver keeps one for minutes. By that rule
//! one user alone comes to somewhat less than half of what there is, two to a third each, and as much as the busiest has
//! is left: users whose requests are stuck wait for their own, and leave room for the next. It needs no rates, no weights
//! and no look at who else is there (dynamic thresholds, as switches share out their buffers: Choudhury and Hahne,
//! IEEE/ACM Transactions on Networking 6(2), 1998). The last eighth is for those who hold nothing, one each, so that many
//! stuck users do not add up to everything. What takes load away may go three times as far: whoever has filled their
//! part can still cancel and delete.
//!
//! A request that its client gave up, or that took too long, holds its share until Livy answers it, for as long as Livy may
//! take: it does not notice.

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
    queue: Mutex<VecDeque<Line>>,
}

/// Those of one user who wait for the same.
#[derive(Debug)]
struct Line {
    seat: Arc<Seat>,
    worth: Worth,
    waiters: VecDeque<oneshot::Sender<Share>>,
}

/// How much of Livy a request may go for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// As much as is free.
    Ordinary,
    /// Three times as much: it takes load away.
    Relief,
}

/// A request may be at Livy while this lives.
#[derive(Debug)]
pub struct Share {
    /// Nothing once it is given back.
    shares: Option<Arc<Shares>>,
    seat: Arc<Seat>,
    /// Whether it was waited for.
    pub(crate) is_late: bool,
}

/// Nothing came free in time, or too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoShare;

/// How it is shared out now, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareFigures {
    /// Requests at Livy.
    pub taken: usize,
    /// Requests that wait for a share.
    pub waiting: usize,
}

/// Counts somebody who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shares {
    /// A share for the user of this seat; waits for one as long as `patience`.
    pub async fn take(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        worth: Worth,
        (patience, deadlines): (Duration, &Deadlines),
    ) -> Result<Share, NoShare> {
        if self.waiting.load(Ordering::SeqCst) == 0
            && let Some(share) = self.try_take(seat, worth)
        {
            return Ok(share);
        }
        // Boxed as all that is rare.
        Box::pin(self.wait(seat, worth, patience, deadlines)).await
    }

    /// How many there may be from now on.
    pub fn set_most(self: &Arc<Self>, most: usize) {
        if self.most.swap(most, Ordering::SeqCst) < most {
            self.admit();
        }
    }

    /// How it is shared out now.
    pub fn figures(&self) -> ShareFigures {
        ShareFigures {
            taken: self.taken.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    async fn wait(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        worth: Worth,
        patience: Duration,
        deadlines: &Deadlines,
    ) -> Result<Share, NoShare> {
        let (receiver, _waiting) = match self.line_up(seat, worth)? {
            Place::Share(share) => return Ok(share),
            Place::InLine(receiver) => (receiver, Waiting(&self.waiting)),
        };
        // What came free between the first look and now was given to nobody.
        self.admit();
        match deadlines.limit(patience, receiver).await {
            Ok(Ok(mut share)) => {
                share.is_late = true;
                Ok(share)
            }
            Ok(Err(_)) | Err(_) => Err(NoShare),
        }
    }

    fn line_up(self: &Arc<Self>, seat: &Arc<Seat>, worth: Worth) -> Result<Place, NoShare> {
        let mut queue = self.lock();
        if self.waiting.load(Ordering::SeqCst) == 0 {
            queue.clear();
        } else if queue.len() > LINES_KEPT {
            queue.retain(|line| line.waiters.iter().any(|waiter| !waiter.is_closed()));
        }
        let own = queue
            .iter_mut()
            .find(|line| line.worth == worth && Arc::ptr_eq(&line.seat, seat));
        let Some(own) = own else {
            // That others wait does not concern whom nothing keeps from going.
            if let Some(share) = self.try_take(seat, worth) {
                return Ok(Place::Share(share));
            }
            if self.waiting.load(Ordering::SeqCst) >= WAITING_MAX {
                return Err(NoShare);
            }
            let (sender, receiver) = oneshot::channel();
            queue.push_back(Line {
                seat: Arc::clone(seat),
                worth,
                waiters: VecDeque::from([sender]),
            });
            self.waiting.fetch_add(1, Ordering::SeqCst);
            return Ok(Place::InLine(receiver));
        };
        if own.waiters.len() >= WAITING_OF_ONE_MAX {
            own.waiters.retain(|waiter| !waiter.is_closed());
        }
        if own.waiters.len() >= WAITING_OF_ONE_MAX || self.waiting.load(Ordering::SeqCst) >= WAITING_MAX {
            return Err(NoShare);
        }
        let (sender, receiver) = oneshot::channel();
        own.waiters.push_back(sender);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Ok(Place::InLine(receiver))
    }

    /// Gives out what is free, to each user in turn.
    fn admit(self: &Arc<Self>) {
        loop {
            let mut queue = self.lock();
            let turn = queue
                .iter()
                .position(|line| self.may_take(&line.seat, line.worth));
            let Some(mut line) = turn.and_then(|turn| queue.remove(turn)) else {
                return;
            };
            let mut share = self.try_take(&line.seat, line.worth);
            while let Some(given) = share.take() {
                let Some(waiter) = line.waiters.pop_front() else {
                    given.give_back();
                    break;
                };
                // Whoever waits no more leaves it to the next one of this user.
                share = waiter.send(given).err();
            }
            if !line.waiters.is_empty() {
                queue.push_back(line);
            }
        }
    }

    fn may_take(&self, seat: &Seat, worth: Worth) -> bool {
        let taken = self.taken.load(Ordering::SeqCst);
        let own = seat.at_livy.load(Ordering::Relaxed) as usize;
        let free = self.most.load(Ordering::Relaxed).saturating_sub(taken);
        let last = self.most.load(Ordering::Relaxed) / KEPT_OF;
        let for_all = free.saturating_sub(last);
        let may_hold = match worth {
            Worth::Ordinary => for_all,
            Worth::Relief => for_all.saturating_mul(3),
        };
        own < may_hold || (own == 0 && free > 0)
    }

    fn try_take(self: &Arc<Self>, seat: &Arc<Seat>, worth: Worth) -> Option<Share> {
        if !self.may_take(seat, worth) {
            return None;
        }
        // Two threads may both have found the last one free; one more than there may be is no harm.
        self.taken.fetch_add(1, Ordering::SeqCst);
        seat.at_livy.fetch_add(1, Ordering::Relaxed);
        Some(Share {
            shares: Some(Arc::clone(self)),
            seat: Arc::clone(seat),
            is_late: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Place {
    Share(Share),
    InLine(oneshot::Receiver<Share>),
}

impl Share {
    /// Gives it back without a look at who waits; for whoever is looking.
    fn give_back(mut self) {
        drop(self.release());
    }

    fn release(&mut self) -> Option<Arc<Shares>> {
        let shares = self.shares.take()?;
        self.seat.at_livy.fetch_sub(1, Ordering::Relaxed);
        shares.taken.fetch_sub(1, Ordering::SeqCst);
        Some(shares)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(shares) = self.release()
            && shares.waiting.load(Ordering::SeqCst) > 0
        {
            shares.admit();
        }
    }
}

/// One in so many is for those who hold nothing.
const KEPT_OF: usize = 8;
/// Of all users together.
const WAITING_MAX: usize = 2048;
/// Beyond so many it is worth a look which of them have been left.
const LINES_KEPT: usize = 64;
/// Of one user, whose requests under way are bounded anyway.
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

        fn ask(
            &self,
            seat: &Arc<Seat>,
            most: usize,
        ) -> impl Future<Output = Result<Share, NoShare>> + Unpin + use<> {
            let (shares, deadlines, seat) =
                (Arc::clone(&self.shares), self.deadlines.clone(), Arc::clone(seat));
            shares.set_most(most);
            Box::pin(async move { shares.take(&seat, Worth::Ordinary, (PATIENCE, &deadlines)).await })
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
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [56, 28, 14, 7]);
        assert_eq!(livy.shares.figures().taken, 105);
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
        assert_eq!(livy.shares.figures(), ShareFigures { taken: 0, waiting: 0 });
        assert_eq!(livy.fill(&seat, 4).len(), 2);
    }

    #[test]
    fn many_stuck_users_together_leave_something_to_the_next() {
        let livy = Livy::new();
        let mut held = Vec::new();
        for stuck in 0..20 {
            let seat: Arc<Seat> = Arc::default();
            held.extend(livy.fill(&seat, 128));
            let next: Arc<Seat> = Arc::default();
            assert!(!livy.fill(&next, 128).is_empty(), "after {stuck} others");
        }
    }

    #[test]
    fn a_livy_of_one_serves_one() {
        let livy = Livy::new();
        let seat: Arc<Seat> = Arc::default();
        assert_eq!(livy.fill(&seat, 1).len(), 1);
    }

    #[test]
    fn what_takes_load_away_goes_further_and_still_leaves_room() {
        let livy = Livy::new();
        let (stuck, other): (Arc<Seat>, Arc<Seat>) = (Arc::default(), Arc::default());
        let _held = livy.fill(&stuck, 128);
        let relief = |seat: &Arc<Seat>| {
            let (shares, deadlines, seat) =
                (Arc::clone(&livy.shares), livy.deadlines.clone(), Arc::clone(seat));
            let taken = async move { shares.take(&seat, Worth::Relief, (PATIENCE, &deadlines)).await };
            Box::pin(taken).now_or_never()?.ok()
        };
        let deletions: Vec<_> = std::iter::from_fn(|| relief(&stuck)).collect();
        assert_eq!(deletions.len(), 28, "half as much again");
        assert_eq!(livy.fill(&other, 128).len(), 14);
    }

    #[test]
    fn more_room_is_given_out_at_once() {
        let livy = Livy::new();
        let seat: Arc<Seat> = Arc::default();
        let _held = livy.fill(&seat, 2);
        let mut waiting = livy.ask(&seat, 2);
        assert!((&mut waiting).now_or_never().is_none());
        livy.shares.set_most(8);
        assert!(waiting.now_or_never().unwrap().is_ok_and(|share| share.is_late));
    }

    #[test]
    fn whom_nothing_keeps_from_going_goes_however_many_wait() {
        let livy = Livy::new();
        let mut held = Vec::new();
        let mut waiting = Vec::new();
        // 112, 56 … 1 of 256: eight users leave the last eighth, and none of them may take it.
        for _ in 0..8 {
            let seat: Arc<Seat> = Arc::default();
            held.extend(livy.fill(&seat, 256));
            for _ in 0..WAITING_OF_ONE_MAX {
                let mut one = livy.ask(&seat, 256);
                assert!((&mut one).now_or_never().is_none());
                waiting.push(one);
            }
        }
        assert_eq!(
            livy.shares.figures(),
            ShareFigures {
                taken: 224,
                waiting: WAITING_MAX
            }
        );
        let ninth: Arc<Seat> = Arc::default();
        let share = livy.ask(&ninth, 256).now_or_never();
        assert!(matches!(share, Some(Ok(_))));
        let another = livy.ask(&ninth, 256).now_or_never();
        assert!(
            matches!(another, Some(Err(NoShare))),
            "one is what it gets, and there is no room to wait"
        );
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
