//! What operators may look at, and all of it as one text: for Prometheus on the admin listener, and for
//! `livy-gateway top` over the operators' socket.

use std::sync::Arc;

use crate::holdings::Holdings;
use crate::identity::LivyUser;
use crate::limits::LiveCounters;
use crate::livy::Kind;
use crate::policy::Policy;
use crate::quota::Scope;
use crate::telemetry::metrics::{self, LoginFigures, TrafficFigures, UserFigures};

/// What operators may look at.
pub trait Overview: Send + Sync + 'static {
    /// The policy in force.
    fn policy(&self) -> Arc<Policy>;
    /// What the logins hold.
    fn logins(&self) -> LoginFigures;
    /// What is under way.
    fn traffic(&self) -> TrafficFigures;
    /// What each user asks for.
    fn users(&self) -> &LiveCounters;
    /// What the ledger holds.
    fn holdings(&self) -> Holdings;
    /// Whether the process is about to end.
    fn is_draining(&self) -> bool;
}

/// Every metric in Prometheus' text format, with so many users by name, and those whom the configuration names.
pub async fn metrics_text(overview: &dyn Overview, top_users: usize) -> String {
    let policy = overview.policy();
    metrics::logins(overview.logins());
    metrics::traffic(overview.traffic());
    let holdings = overview.holdings();
    show_held(&policy, &holdings).await;
    let users = by_name(&policy, &holdings, overview.users(), top_users).await;
    metrics::render(&users)
}

async fn show_held(policy: &Policy, holdings: &Holdings) {
    for kind in Kind::ALL {
        metrics::held(holdings.figures(kind).await);
    }
    metrics::user_limit(policy.quotas.default_limits());
    for pot in policy.quotas.pots() {
        metrics::pot(&pot.scope, &holdings.ledger.held(&pot.scope).await, &pot.limits);
    }
    metrics::ledger_available(holdings.ledger.is_available());
}

async fn by_name(
    policy: &Policy,
    holdings: &Holdings,
    users: &LiveCounters,
    top_users: usize,
) -> Vec<UserFigures> {
    let asked = {
        let counters = users.current();
        let mut asked = counters.busiest(top_users);
        for name in &policy.admin.users {
            let is_new = |user: &LivyUser| asked.iter().all(|known| known.user != *user);
            let user = LivyUser::from_record(name).filter(is_new);
            asked.extend(user.map(|user| counters.figures_of(&user)));
        }
        asked
    };
    let mut figures = Vec::with_capacity(asked.len());
    for asked in asked {
        let scope = Scope::User(asked.user.clone());
        let groups = policy.identities.groups_of(&asked.user);
        figures.push(UserFigures {
            held: holdings.ledger.held(&scope).await,
            limits: policy.quotas.limits_of(&asked.user, groups),
            asked,
        });
    }
    figures
}
