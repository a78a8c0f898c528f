//! A user's own limits: how much at once, how often, and what part of Livy.

use std::sync::Arc;
use std::time::Duration;

use super::errand::Errand;
use super::report::Report;
use super::{Gateway, Held};
use crate::deadlines::TICK;
use crate::denial::Denial;
use crate::identity::{LivyUser, Principal};
use crate::limits::{AtOnce, Exceeded, Seat, Verdict};
use crate::livy::LimitClass;
use crate::livy::operation::Operation;
use crate::policy::Policy;
use crate::quota::Scope;
use crate::shares::{NoShare, Share, Worth};
use crate::telemetry::metrics;

impl Gateway {
    /// Counts the request among those of this user that are under way, until it is answered, and no more among those of
    /// whom it was counted before.
    pub(super) fn enter(
        &self,
        policy: &Policy,
        principal: &Principal,
        user: &LivyUser,
        (class, is_read): (Option<LimitClass>, bool),
        report: &mut Report<'_>,
    ) -> Result<(), Denial> {
        if report.seat_of(user).is_some() {
            return Ok(());
        }
        drop(report.take_presence());
        let counters = self.0.shared.users.current();
        let groups = policy.identities.groups_for(principal, user);
        match counters.enter(user, groups, class.is_none()) {
            Ok(presence) => {
                report.entered(presence);
                Ok(())
            }
            Err(AtOnce { scope, most }) => Err(Denial::TooManyAtOnce {
                who: scope.to_string(),
                is_own: matches!(scope, Scope::User(_)),
                most: most.get(),
                read: is_read,
            }),
        }
    }

    /// Spends one of the user's limit of this class. A read that is over it waits first, as long as it may; gives back
    /// how long that was.
    pub(super) async fn spend(
        &self,
        policy: &Policy,
        principal: &Principal,
        user: &LivyUser,
        class: Option<LimitClass>,
        report: &mut Report<'_>,
    ) -> Result<Duration, Denial> {
        let Some(class) = class else {
            return Ok(Duration::ZERO);
        };
        let verdict = {
            let counters = self.0.shared.users.current();
            let seat = report.seat_of(user).unwrap_or_else(|| counters.seat(user));
            let groups = policy.identities.groups_for(principal, user);
            counters.spend(&seat, user, groups, class)
        };
        match verdict {
            Verdict::Go(left) => {
                report.left(left);
                Ok(Duration::ZERO)
            }
            Verdict::HoldBack(wait, full) => Box::pin(self.hold_back(wait, full, report)).await,
            Verdict::Refuse(exceeded) => Err(refused(&exceeded)),
        }
    }

    /// The user's counters, for [`Gateway::share`].
    pub(super) fn seat(&self, user: &LivyUser, report: &Report<'_>) -> Arc<Seat> {
        report
            .seat_of(user)
            .unwrap_or_else(|| self.0.shared.users.current().seat(user))
    }

    /// A part of Livy, as soon as there is one for this user. Creations need none: they take turns.
    pub(super) async fn share(&self, errand: &Errand) -> Result<Option<Share>, Denial> {
        let operation = errand.grant.operation();
        let (worth, patience) = match (operation, operation.limit_class()) {
            (Operation::Create(_), _) => return Ok(None),
            (Operation::Version | Operation::List(_) | Operation::On(..), Some(_)) => {
                (Worth::Ordinary, PATIENCE.saturating_sub(errand.held_back))
            }
            (Operation::Version | Operation::List(_) | Operation::On(..), None) => {
                (Worth::Relief, PATIENCE_OF_RELIEF)
            }
        };
        let shares = &self.0.shared.shares;
        let taken = shares.take(&errand.seat, worth, (patience, &self.0.deadlines));
        match taken.await {
            Ok(share) => Ok(Some(share)),
            Err(NoShare) => Err(Denial::Overloaded {
                read: errand.method.is_safe(),
            }),
        }
    }

    async fn hold_back(
        &self,
        wait: Duration,
        full: Exceeded,
        report: &mut Report<'_>,
    ) -> Result<Duration, Denial> {
        let mut held = Held::none(&self.0.shared, |shared| &shared.held_back);
        if !held.grow(1, HELD_BACK_MAX) {
            return Err(refused(&full));
        }
        metrics::delayed();
        // A deadline is a tick late already.
        self.0.deadlines.after(wait.saturating_sub(TICK)).over().await;
        report.waited(wait);
        Ok(wait)
    }
}

fn refused(exceeded: &Exceeded) -> Denial {
    let Exceeded {
        class,
        scope,
        rate,
        wait,
    } = exceeded;
    metrics::rate_limited(*class, scope);
    Denial::RateLimited {
        who: scope.to_string(),
        is_own: matches!(scope, Scope::User(_)),
        class: *class,
        rate: rate.to_string(),
        burst: rate.burst().get(),
        window: rate.window(),
        wait: *wait,
    }
}

/// What a client bears: some give up after five seconds, and Livy needs its own time.
const PATIENCE: Duration = Duration::from_secs(3);
/// What takes load away is worth a longer wait.
const PATIENCE_OF_RELIEF: Duration = Duration::from_secs(30);
/// Requests held back at once, of all users together; further ones are refused.
const HELD_BACK_MAX: usize = 2048;
