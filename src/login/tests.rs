use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::mpsc::{self, Sender};
use std::task::{Context, Waker};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;

use super::*;
use crate::authn::{Algorithm, Issuer, IssuerSettings, KeySource, TokenRules, Users, jwt};
use crate::clock::ManualClock;
use crate::identity::MapRule;

mod certificates;
mod limits;
mod tokens;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const YEAR_2026: Duration = Duration::from_secs(1_767_225_600);
const PASSED: Duration = Duration::from_secs(5 * 60);

/// One line of a users file.
fn line(user: &str, password: &str, groups: &str) -> String {
    format!("{user}:{}{groups}\n", bcrypt::hash(password, 4).unwrap())
}

fn issuer(as_basic_password: bool) -> Arc<Issuer> {
    let mut secret = Zeroizing::new(vec![0; 32]);
    aws_lc_rs::rand::fill(&mut secret).unwrap();
    let settings = IssuerSettings {
        name: "corp".into(),
        issuer: "https://login.example/".into(),
        audience: vec!["livy-gateway".into()],
        algorithms: vec![Algorithm::Hs256],
        user_claim: "sub".into(),
        groups_claim: None,
        required_claims: BTreeMap::new(),
        as_basic_password,
        leeway: Duration::ZERO,
        rules: TokenRules::default(),
        keys: KeySource::Secret(secret),
        stale_keys: Duration::from_secs(24 * 3600),
    };
    Arc::new(Issuer::new(settings).unwrap())
}

/// What is compiled from one configuration.
struct Compiled {
    authn: Arc<Authn>,
    identities: Identities,
    generation: u64,
}

impl Compiled {
    fn new(generation: u64, users: &str, issuers: &[&Arc<Issuer>], map: &[(&str, &str)]) -> Self {
        let users = (!users.is_empty()).then(|| Users::parse(users).unwrap());
        let issuers = issuers.iter().map(|issuer| Arc::clone(issuer)).collect();
        let rules = map
            .iter()
            .map(|(subject, user)| MapRule::new("any".parse().unwrap(), Some(subject), user).unwrap())
            .collect();
        Self {
            authn: Arc::new(Authn::new("livy".into(), users, issuers).unwrap()),
            identities: Identities::new(rules, Vec::new(), Vec::new()).unwrap(),
            generation,
        }
    }

    fn policy(&self) -> LoginPolicy<'_> {
        LoginPolicy {
            wish: TokenUse::Write,
            authn: &self.authn,
            identities: &self.identities,
            generation: self.generation,
        }
    }
}

fn with_users(users: &str) -> Compiled {
    Compiled::new(1, users, &[], &[])
}

fn logins_with(limits: LoginLimits) -> (Arc<ManualClock>, Logins) {
    let clock = Arc::new(ManualClock::at(YEAR_2026));
    let logins = Logins::new(Arc::clone(&clock) as Arc<dyn Clock>, limits, 1).unwrap();
    (clock, logins)
}

fn logins() -> (Arc<ManualClock>, Logins) {
    logins_with(LoginLimits::default())
}

fn headers(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value.parse().unwrap());
    headers
}

fn basic(user: &str, password: &str) -> HeaderMap {
    headers(&format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{password}"))
    ))
}

fn bearer(token: &str) -> HeaderMap {
    headers(&format!("Bearer {token}"))
}

fn token(issuer: &Arc<Issuer>, subject: &str, lifetime: u64) -> String {
    jwt::mint(issuer, subject, &[], Duration::from_secs(lifetime), YEAR_2026).unwrap()
}

async fn login(logins: &Logins, compiled: &Compiled, headers: &HeaderMap) -> Result<String, Denial> {
    let principal = logins.authenticate(&compiled.policy(), headers, HERE).await?;
    Ok(principal.livy_user().to_string())
}

fn cached(logins: &Logins, compiled: &Compiled, headers: &HeaderMap) -> Option<String> {
    let principal = logins.cached(&compiled.policy(), headers)?;
    Some(principal.livy_user().to_string())
}

fn user(name: &str) -> Result<String, Denial> {
    Ok(name.to_owned())
}

fn is_too_many<T>(outcome: &Result<T, Denial>) -> bool {
    matches!(outcome, Err(Denial::TooManyLogins { .. }))
}

/// Keeps the one thread of the pool until the sender is dropped.
fn hold(logins: &Logins) -> Sender<()> {
    let (hold, held) = mpsc::channel::<()>();
    let (began, has_begun) = mpsc::channel();
    let job = move |_| {
        began.send(()).unwrap();
        assert!(held.recv().is_err());
    };
    assert!(
        logins
            .pool
            .submit(AddressKey::from(ELSEWHERE), Box::new(job))
            .is_ok()
    );
    has_begun.recv().unwrap();
    hold
}

/// Lets a login come as far as it can without the pool.
fn begin<T>(login: Pin<&mut impl Future<Output = T>>) {
    assert!(login.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test]
async fn a_right_password_is_checked_once_and_then_known() {
    let (_clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let alice = basic("alice", "secret");
    assert_eq!(cached(&logins, &compiled, &alice), None);
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    assert_eq!(cached(&logins, &compiled, &alice).as_deref(), Some("alice"));
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    let stats = logins.stats();
    assert_eq!(
        (stats.checked, stats.misses, stats.hits, stats.entries),
        (1, 1, 2, 1)
    );
}

#[tokio::test]
async fn a_known_password_does_not_let_in_another_one_or_another_user() {
    let (_clock, logins) = logins();
    let compiled = with_users(&(line("alice", "secret", "") + &line("bob", "hidden", "")));
    assert_eq!(
        login(&logins, &compiled, &basic("alice", "secret")).await,
        user("alice")
    );
    for (name, password) in [
        ("alice", "secre"),
        ("alice", "secret "),
        ("bob", "secret"),
        ("Alice", "secret"),
        ("carol", "x"),
    ] {
        let headers = basic(name, password);
        assert_eq!(cached(&logins, &compiled, &headers), None, "{name}");
        assert_eq!(
            login(&logins, &compiled, &headers).await,
            Err(Denial::InvalidCredentials),
            "{name}"
        );
        assert_eq!(cached(&logins, &compiled, &headers), None, "{name}");
    }
}

#[tokio::test]
async fn a_password_is_checked_again_after_five_minutes() {
    let (clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let alice = basic("alice", "secret");
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    clock.advance(PASSED - Duration::from_nanos(1));
    assert!(cached(&logins, &compiled, &alice).is_some());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cached(&logins, &compiled, &alice), None);
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    assert_eq!(logins.stats().checked, 2);
}

#[tokio::test]
async fn a_changed_password_a_removed_user_and_a_changed_group_count_at_the_next_request() {
    let (_clock, logins) = logins();
    let before = line("alice", "secret", ":analysts");
    let alice = basic("alice", "secret");
    let with_group = format!(
        "{}:analysts,etl\n",
        before.trim_end().trim_end_matches(":analysts")
    );
    let cases = [
        (
            "password",
            line("alice", "other", ":analysts"),
            Err(Denial::InvalidCredentials),
        ),
        (
            "removed",
            line("bob", "secret", ""),
            Err(Denial::InvalidCredentials),
        ),
        ("group", with_group, user("alice")),
    ];
    for (generation, (what, after, outcome)) in (2..).zip(cases) {
        let first = login(&logins, &Compiled::new(1, &before, &[], &[]), &alice).await;
        assert_eq!(first, user("alice"), "{what}");
        let compiled = Compiled::new(generation, &after, &[], &[]);
        assert_eq!(cached(&logins, &compiled, &alice), None, "{what}");
        let checked = logins.stats().checked;
        assert_eq!(login(&logins, &compiled, &alice).await, outcome, "{what}");
        assert_eq!(logins.stats().checked, checked + 1, "{what}");
    }
    let principal = logins.cached(&Compiled::new(4, &before, &[], &[]).policy(), &alice);
    assert!(
        principal.is_none(),
        "the groups before are no longer what was proven"
    );
}

#[tokio::test]
async fn a_reload_that_leaves_a_user_alone_applies_new_rules_without_hashing() {
    let (_clock, logins) = logins();
    let users = line("alice", "secret", "");
    let alice = basic("alice", "secret");
    assert_eq!(
        login(&logins, &Compiled::new(1, &users, &[], &[]), &alice).await,
        user("alice")
    );
    let remapped = Compiled::new(2, &users, &[], &[("alice", "alicia")]);
    assert_eq!(cached(&logins, &remapped, &alice), None);
    assert_eq!(login(&logins, &remapped, &alice).await, user("alicia"));
    assert_eq!(cached(&logins, &remapped, &alice).as_deref(), Some("alicia"));
    let unmapped = Compiled::new(3, &users, &[], &[("bob", "bob")]);
    assert!(login(&logins, &unmapped, &alice).await.is_err());
    assert_eq!(logins.stats().checked, 1);
}

#[tokio::test]
async fn a_right_password_without_a_livy_user_is_refused_without_hashing_it_each_time() {
    let (_clock, logins) = logins();
    let compiled = with_users(&line("hdfs", "secret", ""));
    for _ in 0..3 {
        let outcome = login(&logins, &compiled, &basic("hdfs", "secret")).await;
        let denial = Denial::UnmappedIdentity {
            subject: "basic:hdfs".into(),
        };
        assert_eq!(outcome, Err(denial));
    }
    assert_eq!(logins.stats().checked, 1);
}

#[tokio::test]
async fn the_same_new_password_at_the_same_time_is_checked_once() {
    let (_clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let (right, wrong) = (basic("alice", "secret"), basic("alice", "guess"));
    let held = hold(&logins);
    let mut all = pin!(join_all((0..40).map(|n| {
        let headers = if n % 2 == 0 { &right } else { &wrong };
        login(&logins, &compiled, headers)
    })));
    begin(all.as_mut());
    assert_eq!((logins.stats().waiting, logins.stats().running), (2, 1));
    drop(held);
    for (n, outcome) in all.await.into_iter().enumerate() {
        let expected = if n % 2 == 0 {
            user("alice")
        } else {
            Err(Denial::InvalidCredentials)
        };
        assert_eq!(outcome, expected);
    }
    assert_eq!(logins.stats().checked, 2);
}

#[tokio::test]
async fn a_check_under_the_policy_before_answers_nobody_after_a_reload() {
    let (_clock, logins) = logins();
    let before = Compiled::new(1, &line("alice", "old", ""), &[], &[]);
    let after = Compiled::new(2, &line("alice", "new", ""), &[], &[]);
    let new = basic("alice", "new");
    let held = hold(&logins);
    let mut too_early = pin!(login(&logins, &before, &new));
    let mut in_time = pin!(login(&logins, &after, &new));
    begin(too_early.as_mut());
    begin(in_time.as_mut());
    drop(held);
    assert_eq!(too_early.await, Err(Denial::InvalidCredentials));
    assert_eq!(in_time.await, user("alice"));
}

#[tokio::test]
async fn a_client_that_leaves_takes_nothing_from_those_who_wait_with_it() {
    let (_clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let alice = basic("alice", "secret");
    let held = hold(&logins);
    let mut second = pin!(login(&logins, &compiled, &alice));
    {
        let mut first = pin!(login(&logins, &compiled, &alice));
        begin(first.as_mut());
        begin(second.as_mut());
    }
    drop(held);
    assert_eq!(second.await, user("alice"));
    assert_eq!(logins.stats().checked, 1);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_checked() {
    let (_clock, logins) = logins();
    let compiled = with_users(&(line("alice", "secret", "") + &line("bob", "hidden", "")));
    let held = hold(&logins);
    {
        let alice = basic("alice", "secret");
        let mut leaves = pin!(login(&logins, &compiled, &alice));
        begin(leaves.as_mut());
    }
    let bob = basic("bob", "hidden");
    let mut stays = pin!(login(&logins, &compiled, &bob));
    begin(stays.as_mut());
    drop(held);
    assert_eq!(stays.await, user("bob"));
    assert_eq!(logins.stats().checked, 1);
    assert_eq!(
        login(&logins, &compiled, &basic("alice", "secret")).await,
        user("alice")
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_eight_seconds_for_a_check() {
    let (_clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let held = hold(&logins);
    let began = tokio::time::Instant::now();
    assert!(is_too_many(
        &login(&logins, &compiled, &basic("alice", "secret")).await
    ));
    assert_eq!(began.elapsed().as_secs(), 8);
    drop(held);
}

#[tokio::test]
async fn a_check_whose_turn_comes_too_late_is_not_done() {
    let (clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let alice = basic("alice", "secret");
    let held = hold(&logins);
    let mut late = pin!(login(&logins, &compiled, &alice));
    begin(late.as_mut());
    clock.advance(Duration::from_secs(9));
    drop(held);
    assert!(is_too_many(&late.await));
    assert_eq!(logins.stats().checked, 0);
}

#[tokio::test]
async fn a_full_share_of_the_queue_refuses_its_address_and_no_other() {
    let (_clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let flood: Vec<_> = (0..64).map(|n| basic(&format!("user{n}"), "guess")).collect();
    let alice = basic("alice", "secret");
    let held = hold(&logins);
    let mut flood = pin!(join_all(
        flood.iter().map(|headers| login(&logins, &compiled, headers))
    ));
    begin(flood.as_mut());
    assert!(is_too_many(&login(&logins, &compiled, &alice).await));
    let policy = compiled.policy();
    let mut other = pin!(logins.authenticate(&policy, &alice, "192.0.2.3".parse().unwrap()));
    begin(other.as_mut());
    drop(held);
    assert_eq!(other.await.unwrap().livy_user().as_str(), "alice");
    assert!(flood.await.iter().all(Result::is_err));
}

#[tokio::test]
async fn a_check_that_is_lost_is_our_defect_and_blocks_nobody() {
    let flights = Arc::new(Flights::default());
    let (_clock, logins) = logins();
    let key = (logins.cache.digest(&HeaderValue::from_static("Basic x")), 1);
    let Boarding::First(flight, first) = flights.board(key) else {
        panic!("nobody else flies")
    };
    let Boarding::Joined(second) = flights.board(key) else {
        panic!("one flies")
    };
    // As a panic in a check would.
    drop(flight);
    for landing in [first, second] {
        assert_eq!(await_check(landing).await.unwrap_err(), Denial::Internal);
    }
    assert!(matches!(flights.board(key), Boarding::First(..)));
}
