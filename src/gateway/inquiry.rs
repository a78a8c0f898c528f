//! What the gateway says about itself: who somebody is to it, what they hold and may hold, and to those who look after
//! others' sessions what everybody holds. Livy hears nothing of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use http::Response;
use http::request::Parts;
use hyper::body::Incoming;
use serde::Serialize;

use super::answer::{self, AnswerBody};
use super::pipeline::{check_expectation, named};
use super::report::Report;
use super::{Gateway, browser};
use crate::access;
use crate::denial::Denial;
use crate::holdings::{Holding, Holdings, by_number};
use crate::identity::{Acting, LivyUser, Principal};
use crate::limits::{ClassLimit, UserLimits};
use crate::listener::Peer;
use crate::livy::query::Page;
use crate::livy::{Inquiry, Kind, LimitClass, Topic, list};
use crate::policy::Policy;
use crate::quota::{Allowance, Dimension, Groups, Scope, Use};
use crate::roles;

/// The answer to `/gateway/me`.
#[derive(Debug, Serialize)]
struct Me<'a> {
    subject: String,
    livy_user: &'a str,
    /// Whether a service asks about somebody for whom it may act.
    on_behalf: bool,
    /// Nothing where they are not known: of a person for whom a service acts, only a users file tells them.
    groups: Option<Vec<&'a str>>,
    role: Option<&'static str>,
    /// How fast the user may ask; what is shared with others is not in it.
    limits: Pace,
    /// Empty where the groups decide and are not known; `notice` says so.
    quota: Vec<Pot>,
    notice: Option<String>,
    sessions: Vec<Holding>,
    batches: Vec<Holding>,
    /// How old the states are.
    list_age_seconds: Option<u64>,
}

/// The user's own limits.
#[derive(Debug, Serialize)]
struct Pace {
    /// The rule that says so, as `[[limits.for]]` writes it, or `default`.
    set_by: String,
    concurrent_requests: Option<u32>,
    #[serde(flatten)]
    classes: BTreeMap<&'static str, PaceOfClass>,
}

/// So many in the long run, so many at once, and within what time the turn of one over that must come.
#[derive(Debug, Serialize)]
struct PaceOfClass {
    rate: String,
    burst: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
}

/// One scope that counts for the caller: what is held there, and what may be.
#[derive(Debug, Serialize)]
struct Pot {
    scope: &'static str,
    name: Option<String>,
    /// The rule that says so, as `[[quota.for]]` writes it, or `default`.
    set_by: String,
    in_words: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<Measure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<Measure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cores: Option<Measure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Measure>,
}

#[derive(Debug, Serialize)]
struct Measure {
    held: u64,
    limit: Option<u64>,
}

impl Gateway {
    /// Asks who it is as for an operation, and answers.
    pub(super) async fn inquire(
        &self,
        policy: &Policy,
        peer: Peer,
        head: &Parts,
        body: Incoming,
        inquiry: Inquiry,
        report: &mut Report<'_>,
    ) -> Result<Response<AnswerBody>, Denial> {
        report.inquired(inquiry.topic);
        browser::check_origin(inquiry.method, &head.headers)?;
        check_expectation(&head.headers)?;
        let principal = self.authenticate(policy, head, inquiry.method, peer).await?;
        report.identified(&principal);
        let names = named(inquiry.requested_user.as_deref(), None);
        let acting = policy.identities.acting(&principal, peer.address.ip(), &names)?;
        let class = (Some(LimitClass::Read), true);
        self.enter(policy, &principal, acting.livy_user(), class, report)?;
        self.spend(policy, &principal, acting.livy_user(), class.0, report)
            .await?;
        self.receive_nothing(body, inquiry.method).await?;
        report.acts_as(acting.livy_user());
        let text = match inquiry.topic {
            Topic::Me => self.me(policy, &principal, &acting).await?,
            Topic::AllSessions => {
                let role = access::authorize_overview(&principal, &acting, &policy.roles)?;
                self.all_sessions(&inquiry.page, roles::sees_names(role)).await?
            }
        };
        Ok(answer::of_ones_own(inquiry.method, answer::JSON, text))
    }

    async fn me(&self, policy: &Policy, principal: &Principal, acting: &Acting) -> Result<String, Denial> {
        let user = acting.livy_user();
        let role = policy
            .roles
            .role_of(principal.livy_user(), principal.groups())
            .filter(|_| !acting.is_on_behalf());
        let known = policy.identities.groups_for(principal, user);
        let mut quota = Vec::new();
        let mut notice = None;
        match policy.quotas.allowances(user, known) {
            Ok(allowances) => {
                let own_rule = policy.quotas.rule_of(user, known);
                let own_rule = own_rule.map_or_else(|| "default".to_owned(), |rule| rule.whose.to_string());
                for allowance in allowances {
                    let held = self.0.shared.ledger.held(&allowance.scope).await;
                    quota.extend(pot(&allowance, &held, &own_rule));
                }
            }
            Err(_) => {
                let denial = Denial::GroupsUnknown {
                    user: user.to_string(),
                };
                notice = Some(denial.answer().message.into_owned());
            }
        }
        let holdings = self.holdings();
        let me = Me {
            subject: principal.subject().to_string(),
            livy_user: user.as_str(),
            on_behalf: acting.is_on_behalf(),
            groups: match known {
                Groups::Known(groups) => Some(groups.iter().map(AsRef::as_ref).collect()),
                Groups::Unknown => None,
            },
            role: role.map(roles::Role::word),
            limits: pace(&policy.limits.users, user, known),
            quota,
            notice,
            sessions: self.held_by(acting, Kind::Session, &holdings).await,
            batches: self.held_by(acting, Kind::Batch, &holdings).await,
            list_age_seconds: holdings.list_age().map(|age| age.as_secs()),
        };
        let mut text = serde_json::to_string_pretty(&me).map_err(|_| Denial::Internal)?;
        text.push('\n');
        Ok(text)
    }

    /// What counts against the user's own quota.
    async fn held_by(&self, acting: &Acting, kind: Kind, holdings: &Holdings) -> Vec<Holding> {
        let mut places = self.0.shared.ledger.owned_by(acting.livy_user(), kind).await;
        places.retain(|place| place.standing.counts());
        by_number(&mut places);
        holdings.told(kind, &places)
    }

    async fn all_sessions(&self, page: &Page, with_names: bool) -> Result<String, Denial> {
        let (mut shown, total) = self.holdings().page(page).await;
        if !with_names {
            for holding in &mut shown {
                (holding.name, holding.marker) = (None, None);
            }
        }
        let rows: Result<Vec<_>, _> = shown.iter().map(serde_json::to_string).collect();
        let rows = rows.map_err(|_| Denial::Internal)?;
        Ok(list::render_window(page, total, &rows))
    }

    /// Nobody waits for Livy here, but who looks again soon sees what has changed.
    fn holdings(&self) -> Holdings {
        let shared = &self.0.shared;
        let now = shared.moments.next();
        for kind in Kind::ALL {
            shared.lists.want(kind, now.saturating_sub(super::listing::FRESH));
        }
        shared.holdings()
    }
}

fn pace(limits: &UserLimits, user: &LivyUser, groups: Groups<'_>) -> Pace {
    let (limits, rule) = limits.of(user, groups);
    let class = |class: LimitClass| {
        let ClassLimit { rate, delay } = limits.of(class)?;
        let pace = PaceOfClass {
            rate: rate.to_string(),
            burst: rate.burst().get(),
            delay_ms: u64::try_from(delay.as_millis()).ok().filter(|delay| *delay > 0),
        };
        Some((class.word(), pace))
    };
    Pace {
        set_by: rule.map_or_else(|| "default".to_owned(), |rule| rule.whose.to_string()),
        concurrent_requests: limits.concurrent_requests.map(NonZeroU32::get),
        classes: LimitClass::ALL.into_iter().filter_map(class).collect(),
    }
}

/// Of one's own scope everything; of a pot that others share only what is limited there: a sum that bounds nobody is
/// nobody's business.
fn pot(allowance: &Allowance, held: &Use, own_rule: &str) -> Option<Pot> {
    let Allowance { scope, limits } = allowance;
    let is_own = matches!(scope, Scope::User(_));
    let measure = |dimension| {
        let limit = limits.of(dimension);
        (is_own || limit.is_some()).then(|| Measure {
            held: held.of(dimension),
            limit,
        })
    };
    if !is_own
        && Dimension::ALL
            .into_iter()
            .all(|dimension| limits.of(dimension).is_none())
    {
        return None;
    }
    Some(Pot {
        scope: scope.word(),
        name: match scope {
            Scope::User(user) => Some(user.to_string()),
            Scope::Group(group) => Some(group.to_string()),
            Scope::Everybody => None,
        },
        set_by: match scope {
            Scope::User(_) => own_rule.to_owned(),
            Scope::Group(group) => format!("group {group}"),
            Scope::Everybody => "everybody".to_owned(),
        },
        in_words: limits.in_words(scope, held, is_own),
        sessions: measure(Dimension::Sessions),
        batches: measure(Dimension::Batches),
        cores: measure(Dimension::Cores),
        memory: measure(Dimension::Memory),
    })
}
