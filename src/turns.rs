//! Creations take turns toward Livy: so many at once, and among those who wait each user in turn.
//!
//! Livy creates one session at a time and refuses what is beyond its `max-creation`, so more at once gain nothing, and
//! one user's hundred creations would stand before everybody else's first.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::denial::Denial;
use crate::identity::LivyUser;

/// Where creations wait. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    running: usize,
    waiting: usize,
    /// How many creations each user has under way, whatever they wait for.
    under_way: HashMap<LivyUser, usize>,
    /// Each user once, the one whose turn it is first.
    users: VecDeque<(LivyUser, VecDeque<oneshot::Sender<Turn>>)>,
}

/// A creation may go to Livy while this lives.
#[derive(Debug)]
pub struct Turn(Option<Turns>);

/// One of a user's creations is under way while this lives.
#[derive(Debug)]
pub struct UnderWay {
    turns: Turns,
    user: LivyUser,
}

impl Turns {
    /// Counts a creation of this user's until it ends. It goes on without its client, so that nothing else bounds how
    /// many a user has, each with its body in memory.
    pub fn begin(&self, user: &LivyUser) -> Result<UnderWay, Denial> {
        let mut queue = self.lock();
        let count = queue.under_way.entry(user.clone()).or_default();
        if *count >= UNDER_WAY_MAX {
            return Err(Denial::Overloaded { read: false });
        }
        *count += 1;
        Ok(UnderWay {
            turns: self.clone(),
            user: user.clone(),
        })
    }

    /// Waits until fewer than `at_once` creations are under way and it is this user's turn.
    pub async fn take(&self, user: &LivyUser, at_once: usize) -> Result<Turn, Denial> {
        let receiver = {
            let mut queue = self.lock();
            if queue.running < at_once && queue.waiting == 0 {
                queue.running += 1;
                return Ok(Turn(Some(self.clone())));
            }
            if queue.waiting >= WAITING_MAX {
                return Err(Denial::Overloaded { read: false });
            }
            let (sender, receiver) = oneshot::channel();
            queue.waiting += 1;
            match queue.users.iter_mut().find(|(known, _)| known == user) {
                Some((_, waiters)) => waiters.push_back(sender),
                None => queue.users.push_back((user.clone(), VecDeque::from([sender]))),
            }
            receiver
        };
        self.admit(at_once);
        receiver.await.map_err(|_| Denial::Internal)
    }

    /// Lets as many go as may.
    fn admit(&self, at_once: usize) {
        loop {
            let next = {
                let mut queue = self.lock();
                if queue.running >= at_once {
                    return;
                }
                let Some(next) = queue.next() else { return };
                queue.running += 1;
                next
            };
            // Whoever does not wait any more gives the turn back by dropping it.
            if let Err(unwanted) = next.send(Turn(Some(self.clone()))) {
                unwanted.give_back();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (user, mut waiters) = self.users.pop_front()?;
        let next = waiters.pop_front();
        if !waiters.is_empty() {
            self.users.push_back((user, waiters));
        }
        self.waiting = self.waiting.saturating_sub(1);
        next
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut queue = self.turns.lock();
        if let Entry::Occupied(mut count) = queue.under_way.entry(self.user.clone()) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Turn {
    /// Without letting the next one go: the caller does.
    fn give_back(mut self) {
        if let Some(turns) = self.0.take() {
            let mut queue = turns.lock();
            queue.running = queue.running.saturating_sub(1);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            let at_once = {
                let mut queue = turns.lock();
                let at_once = queue.running;
                queue.running = queue.running.saturating_sub(1);
                at_once
            };
            // One ends, one begins; a larger limit of a new policy is used by whoever comes next.
            turns.admit(at_once);
        }
    }
}

/// More waiting creations than this are more than Livy gets through while their clients wait.
const WAITING_MAX: usize = 512;
/// Several times what a scheduler or a build tool starts at once for one user.
const UNDER_WAY_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn user(name: &str) -> LivyUser {
        LivyUser::for_tests(name)
    }

    #[tokio::test]
    async fn users_who_wait_take_turns_whoever_asked_more_often() {
        let turns = Turns::default();
        let running = turns.take(&user("alice"), 1).await.unwrap();
        let (alice, bob) = (user("alice"), user("bob"));
        let mut first = Box::pin(turns.take(&alice, 1));
        let mut second = Box::pin(turns.take(&alice, 1));
        let mut third = Box::pin(turns.take(&bob, 1));
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        drop(running);
        let running = first.now_or_never().expect("alice was first").unwrap();
        drop(running);
        let running = third.now_or_never().expect("then it is bob's turn").unwrap();
        assert!(second.as_mut().now_or_never().is_none());
        drop(running);
        assert!(second.now_or_never().expect("then alice's again").is_ok());
    }

    #[tokio::test]
    async fn who_stopped_waiting_holds_nobody_up() {
        let turns = Turns::default();
        let running = turns.take(&user("alice"), 1).await.unwrap();
        let (alice, bob) = (user("alice"), user("bob"));
        let mut gone = Box::pin(turns.take(&alice, 1));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut waiting = Box::pin(turns.take(&bob, 1));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(gone);
        drop(running);
        let turn = waiting.now_or_never().expect("it is bob's turn").unwrap();
        drop(turn);
        assert!(
            turns
                .take(&alice, 1)
                .now_or_never()
                .expect("nobody is left")
                .is_ok()
        );
    }

    #[test]
    fn each_user_has_so_many_under_way_and_no_more() {
        let turns = Turns::default();
        let (alice, bob) = (user("alice"), user("bob"));
        let mut hers: Vec<_> = (0..UNDER_WAY_MAX).map(|_| turns.begin(&alice).unwrap()).collect();
        assert!(turns.begin(&alice).is_err());
        assert!(turns.begin(&bob).is_ok());
        hers.pop();
        assert!(turns.begin(&alice).is_ok());
        drop(hers);
        assert!(turns.lock().under_way.is_empty(), "who has none is forgotten");
    }

    #[tokio::test]
    async fn no_more_than_allowed_go_at_once() {
        let turns = Turns::default();
        let alice = user("alice");
        let held = [turns.take(&alice, 2).await, turns.take(&alice, 2).await];
        assert!(turns.take(&alice, 2).now_or_never().is_none());
        drop(held);
    }
}
