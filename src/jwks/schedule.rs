//! When keys are fetched: as long before they grow old as the provider says, and never too often.

use std::time::Duration;

/// Numbers from 0 to 1, so that several gateways do not ask at the same moment.
pub type Random = fn() -> f64;

/// From the system.
pub fn system_random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness there is no spread, which is no harm.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}

/// When to fetch without being asked. All times are of the monotonic clock.
#[derive(Debug)]
pub(super) struct Schedule {
    due: Duration,
    random: Random,
}

impl Schedule {
    /// The first fetch is due at once.
    pub(super) fn starting(now: Duration, random: Random) -> Self {
        Self { due: now, random }
    }

    pub(super) fn wait(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// Keys came, and are called good for so long.
    pub(super) fn succeeded(&mut self, now: Duration, good_for: Option<Duration>) {
        let wait = good_for.map_or(REFRESH, |time| time.clamp(REFRESH_MIN, REFRESH_MAX));
        self.due = now.saturating_add(self.spread(wait));
    }

    /// None came. Those in force, if there are any, must go at the end of `left`.
    pub(super) fn failed(&mut self, now: Duration, left: Option<Duration>) {
        let wait = self.spread(RETRY);
        self.due = now.saturating_add(left.map_or(wait, |left| wait.min(left)));
    }

    /// A tenth less to a tenth more.
    fn spread(&self, time: Duration) -> Duration {
        time.mul_f64(0.9 + 0.2 * (self.random)().clamp(0.0, 1.0))
    }
}

/// How often others may have keys fetched: [`BURST`] times in a row, and then once each [`EVERY`].
///
/// A burst, because a single fetch for a made-up kid would else make the tokens of a key that is new just then wait
/// for the end of a pause. Whoever makes up kids all the time can use up the burst: then it takes one pause at most.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When all of it is there again.
    full: Duration,
}

impl Budget {
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let full = self.full.max(now);
        let is_left = full.saturating_sub(now) <= EVERY.saturating_mul(BURST - 1);
        if is_left {
            self.full = full.saturating_add(EVERY);
        }
        is_left
    }
}

const BURST: u32 = 3;
pub(super) const EVERY: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_secs(600);
const REFRESH_MIN: Duration = Duration::from_secs(60);
const REFRESH_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_provider_says_how_long_its_set_is_good_within_bounds() {
        for (good_for, wait) in [(None, 600), (Some(0), 60), (Some(900), 900), (Some(86_400), 3600)] {
            let mut schedule = Schedule::starting(seconds(5), || 0.5);
            assert_eq!(schedule.wait(seconds(5)), seconds(0));
            schedule.succeeded(seconds(5), good_for.map(seconds));
            assert_eq!(schedule.wait(seconds(5)), seconds(wait), "{good_for:?}");
        }
    }

    #[test]
    fn gateways_that_began_together_do_not_ask_together() {
        let wait = |random: Random| {
            let mut schedule = Schedule::starting(seconds(0), random);
            schedule.succeeded(seconds(0), Some(seconds(1000)));
            let fresh = schedule.wait(seconds(0));
            schedule.failed(seconds(0), None);
            (fresh, schedule.wait(seconds(0)))
        };
        assert_eq!(wait(|| 0.0), (seconds(900), seconds(54)));
        assert_eq!(wait(|| 1.0), (seconds(1100), seconds(66)));
        let drawn: Vec<_> = (0..20).map(|_| wait(system_random)).collect();
        assert!(drawn.iter().any(|other| *other != drawn[0]), "{drawn:?}");
    }

    #[test]
    fn a_failure_is_tried_again_after_a_minute_or_when_the_keys_must_go() {
        let mut schedule = Schedule::starting(seconds(5), || 0.5);
        schedule.failed(seconds(15), None);
        assert_eq!(schedule.wait(seconds(15)), seconds(60));
        schedule.failed(seconds(15), Some(seconds(3600)));
        assert_eq!(schedule.wait(seconds(15)), seconds(60));
        schedule.failed(seconds(15), Some(seconds(7)));
        assert_eq!(schedule.wait(seconds(15)), seconds(7));
    }

    #[test]
    fn three_fetches_may_follow_each_other_and_then_one_each_half_minute() {
        let mut budget = Budget::default();
        let taken = |budget: &mut Budget, now| (0..100).filter(|_| budget.take(seconds(now))).count();
        assert_eq!(taken(&mut budget, 1000), 3);
        assert_eq!(taken(&mut budget, 1029), 0);
        assert_eq!(taken(&mut budget, 1030), 1);
        assert_eq!(taken(&mut budget, 1059), 0);
        assert_eq!(taken(&mut budget, 1090), 2);
        assert_eq!(taken(&mut budget, 9000), 3, "no more than three are saved up");
    }
}
