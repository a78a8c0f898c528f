use super::*;
use crate::clock::ManualClock;
use crate::limits::{ClassLimit, ClassLimits, LimitRule};

struct Bench {
    counters: UserCounters,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new(limits: UserLimits) -> Self {
        Self::with_room(limits, 100)
    }

    fn with_room(limits: UserLimits, seats_max: usize) -> Self {
        let clock = Arc::new(ManualClock::at(Duration::ZERO));
        Self {
            counters: UserCounters::with_room(limits, Arc::clone(&clock) as Arc<dyn Clock>, seats_max),
            clock,
        }
    }

    fn ask(&self, user: &str, groups: &[Arc<str>], class: LimitClass) -> Verdict {
        let user = LivyUser::for_tests(user);
        let seat = self.counters.seat(&user);
        self.counters.spend(&seat, &user, Groups::Known(groups), class)
    }

    /// How many of so many may go at once.
    fn gone(&self, times: usize, user: &str, groups: &[Arc<str>], class: LimitClass) -> usize {
        (0..times)
            .filter(|_| matches!(self.ask(user, groups, class), Verdict::Go(_)))
            .count()
    }
}

fn class(rate: &str, burst: u32) -> Option<ClassLimit> {
    Some(ClassLimit {
        rate: rate
            .parse::<Rate>()
            .unwrap()
            .with_burst(NonZeroU32::new(burst).unwrap()),
        delay: Duration::ZERO,
    })
}

fn rule(whose: Whose, limits: ClassLimits) -> LimitRule {
    LimitRule { whose, limits }
}

/// Only what is written.
fn with(rules: Vec<LimitRule>) -> UserLimits {
    UserLimits {
        rules,
        ..UserLimits::default()
    }
}

fn groups(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

#[test]
fn each_class_of_each_user_has_a_bucket_of_its_own() {
    let bench = Bench::new(UserLimits::default());
    assert_eq!(bench.gone(50, "alice", &[], LimitClass::Create), 10);
    assert_eq!(bench.gone(100, "alice", &[], LimitClass::Statement), 60);
    assert_eq!(bench.gone(50, "alice", &[], LimitClass::Upload), 10);
    assert_eq!(bench.gone(50, "bob", &[], LimitClass::Create), 10);
    bench.clock.advance(Duration::from_secs(6));
    assert_eq!(
        bench.gone(50, "alice", &[], LimitClass::Create),
        1,
        "10 in a minute"
    );
}

#[test]
fn who_is_refused_hears_when_the_next_one_may_come() {
    let bench = Bench::new(UserLimits::default());
    bench.gone(10, "alice", &[], LimitClass::Create);
    bench.clock.advance(Duration::from_secs(2));
    let Verdict::Refuse(exceeded) = bench.ask("alice", &[], LimitClass::Create) else {
        panic!("it goes");
    };
    assert_eq!(exceeded.scope, Scope::User(LivyUser::for_tests("alice")));
    assert_eq!(exceeded.wait, Duration::from_secs(4));
}

#[test]
fn what_is_left_counts_down() {
    let bench = Bench::new(UserLimits::default());
    let left: Vec<_> = (0..3)
        .map(|_| match bench.ask("alice", &[], LimitClass::Create) {
            Verdict::Go(left) => left.told(),
            Verdict::HoldBack(..) | Verdict::Refuse(_) => panic!("it does not go"),
        })
        .collect();
    assert_eq!(
        left.iter().map(|left| left.remaining).collect::<Vec<_>>(),
        [9, 8, 7]
    );
    assert_eq!(
        (left[0].policy, left[0].quota, left[0].window),
        ("create", 10, Duration::from_mins(1))
    );
}

#[test]
fn reads_over_the_burst_are_held_back_for_as_long_as_their_turn_takes_and_then_refused() {
    let bench = Bench::new(UserLimits::default());
    assert_eq!(bench.gone(100, "alice", &[], LimitClass::Read), 100);
    let waits: Vec<_> = (0..61)
        .map(|_| match bench.ask("alice", &[], LimitClass::Read) {
            Verdict::HoldBack(wait, _) => Some(wait),
            Verdict::Refuse(_) => None,
            Verdict::Go(left) => panic!("{left:?}"),
        })
        .collect();
    let expected: Vec<_> = (1..=60)
        .map(|n| Some(Duration::from_millis(50 * n)))
        .chain([None])
        .collect();
    assert_eq!(waits, expected, "20 in a second, for 3 s");
    // What was refused has spent nothing.
    bench.clock.advance(Duration::from_millis(50));
    assert!(matches!(
        bench.ask("alice", &[], LimitClass::Read),
        Verdict::HoldBack(..)
    ));
}

#[test]
fn the_most_specific_rule_wins_and_says_only_what_it_says() {
    let create = |rate, burst| ClassLimits {
        create: class(rate, burst),
        ..ClassLimits::default()
    };
    let bench = Bench::new(with(vec![
        rule(Whose::MembersOf("etl".into()), create("60/min", 30)),
        rule(Whose::User("airflow".into()), create("60/min", 60)),
    ]));
    let etl = groups(&["etl"]);
    assert_eq!(bench.gone(100, "airflow", &etl, LimitClass::Create), 60);
    assert_eq!(bench.gone(100, "carol", &etl, LimitClass::Create), 30);
    assert_eq!(bench.gone(100, "dave", &[], LimitClass::Create), 10);
    assert_eq!(bench.gone(100, "airflow", &etl, LimitClass::Upload), 10);
}

#[test]
fn what_is_shared_is_spent_by_all_and_not_by_who_is_over_an_own_limit() {
    let shared = |burst| ClassLimits {
        create: class("60/min", burst),
        ..ClassLimits::default()
    };
    let bench = Bench::new(with(vec![
        rule(Whose::Group("etl".into()), shared(12)),
        rule(Whose::Everybody, shared(25)),
    ]));
    let etl = groups(&["etl"]);
    assert_eq!(bench.gone(100, "alice", &etl, LimitClass::Create), 10, "her own");
    assert_eq!(
        bench.gone(5, "bob", &etl, LimitClass::Create),
        2,
        "what is left of the group's"
    );
    let Verdict::Refuse(exceeded) = bench.ask("bob", &etl, LimitClass::Create) else {
        panic!("it goes");
    };
    assert_eq!(exceeded.scope, Scope::Group("etl".into()));
    assert_eq!(bench.gone(100, "carol", &[], LimitClass::Create), 10);
    assert_eq!(
        bench.gone(100, "dave", &[], LimitClass::Create),
        3,
        "what is left of everybody's"
    );
}

#[test]
fn who_is_refused_for_the_sake_of_all_has_lost_nothing_of_what_fewer_share() {
    let shared = |rate, burst| ClassLimits {
        create: class(rate, burst),
        ..ClassLimits::default()
    };
    let bench = Bench::new(with(vec![
        rule(Whose::Group("etl".into()), shared("1/h", 12)),
        rule(Whose::Everybody, shared("3/s", 3)),
    ]));
    for _ in 0..3 {
        assert_eq!(bench.gone(100, "alice", &groups(&["etl"]), LimitClass::Create), 3);
        bench.clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn only_so_many_are_under_way_and_what_takes_load_away_always_is() {
    let limits = ClassLimits {
        concurrent_requests: NonZeroU32::new(2),
        ..ClassLimits::default()
    };
    let bench = Bench::new(with(vec![
        rule(Whose::User("alice".into()), limits),
        rule(
            Whose::Everybody,
            ClassLimits {
                concurrent_requests: NonZeroU32::new(3),
                ..ClassLimits::default()
            },
        ),
    ]));
    let enter = |user: &str, is_free| {
        bench
            .counters
            .enter(&LivyUser::for_tests(user), Groups::Known(&[]), is_free)
    };
    let held = [enter("alice", false).unwrap(), enter("alice", false).unwrap()];
    let scope = |refused: Result<Presence, AtOnce>| refused.unwrap_err().scope;
    assert_eq!(
        scope(enter("alice", false)),
        Scope::User(LivyUser::for_tests("alice"))
    );
    let of_bob = enter("bob", false).unwrap();
    assert_eq!(scope(enter("bob", false)), Scope::Everybody);
    drop(enter("alice", true).unwrap());
    drop(of_bob);
    drop(held);
    let again: Vec<_> = (0..2).map(|_| enter("alice", false).unwrap()).collect();
    assert_eq!(again.len(), 2, "who was refused holds nothing");
    again[0].ended(false);
    again[1].ended(true);
    let figures = bench.counters.figures_of(&LivyUser::for_tests("alice"));
    assert_eq!((figures.requests, figures.refusals, figures.under_way), (3, 2, 2));
}

#[test]
fn seats_are_bounded_and_who_finds_none_shares_one() {
    let bench = Bench::with_room(UserLimits::default(), 2);
    for user in ["alice", "bob"] {
        assert_eq!(bench.gone(20, user, &[], LimitClass::Create), 10, "{user}");
    }
    assert_eq!(bench.gone(6, "carol", &[], LimitClass::Create), 6);
    assert_eq!(bench.gone(20, "dave", &[], LimitClass::Create), 4);
    assert_eq!(bench.counters.len(), 2);
}

#[test]
fn a_sweep_forgets_the_quiet_and_nothing_that_still_limits() {
    let bench = Bench::new(with(vec![rule(
        Whose::User("alice".into()),
        ClassLimits {
            create: class("1/h", 2),
            ..ClassLimits::default()
        },
    )]));
    bench.gone(2, "alice", &[], LimitClass::Create);
    let busy = bench.counters.seat(&LivyUser::for_tests("bob"));
    bench.clock.advance(Duration::from_hours(2));
    bench.counters.sweep();
    assert_eq!(bench.counters.len(), 2, "alice's limit is whole again only now");
    bench.clock.advance(Duration::from_mins(11));
    let alice = LivyUser::for_tests("alice");
    let presence = bench.counters.enter(&alice, Groups::Known(&[]), false);
    presence.unwrap().ended(false);
    bench.counters.sweep();
    assert_eq!(bench.counters.len(), 2, "she was here a moment ago");
    bench.counters.age();
    bench.clock.advance(Duration::from_hours(3));
    bench.counters.sweep();
    assert_eq!(bench.counters.len(), 1, "bob is here");
    drop(busy);
    bench.counters.sweep();
    assert!(bench.counters.is_empty());
}

#[test]
fn the_busiest_are_those_of_lately() {
    let bench = Bench::new(UserLimits::default());
    let ask = |user: &str, times| {
        for _ in 0..times {
            let presence = bench
                .counters
                .enter(&LivyUser::for_tests(user), Groups::Known(&[]), false);
            presence.unwrap().ended(false);
        }
    };
    let busiest = |most| {
        let busiest = bench.counters.busiest(most);
        busiest
            .into_iter()
            .map(|one| one.user.to_string())
            .collect::<Vec<_>>()
    };
    ask("once", 1000);
    for _ in 0..60 {
        bench.counters.age();
    }
    ask("now", 50);
    ask("little", 1);
    assert_eq!(busiest(2), ["now", "little"]);
    assert_eq!(busiest(0), Vec::<String>::new());
    assert_eq!(busiest(9).len(), 3);
}

#[test]
fn a_flood_of_refusals_is_news_once_in_a_while() {
    let bench = Bench::new(UserLimits::default());
    let alice = LivyUser::for_tests("alice");
    let news = || (0..100).filter(|_| bench.counters.is_news(&alice)).count();
    assert_eq!(news(), 1);
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(news(), 1);
}

#[test]
fn other_limits_start_afresh_and_the_same_ones_go_on() {
    let clock = Arc::new(ManualClock::at(Duration::ZERO));
    let live = LiveCounters::new(UserLimits::default(), clock);
    let alice = LivyUser::for_tests("alice");
    let spend = || {
        let counters = live.current();
        let seat = counters.seat(&alice);
        counters.spend(&seat, &alice, Groups::Known(&[]), LimitClass::Create)
    };
    while matches!(spend(), Verdict::Go(_)) {}
    live.set_limits(&UserLimits::default());
    assert!(matches!(spend(), Verdict::Refuse(_)));
    live.set_limits(&with(vec![rule(Whose::Everybody, ClassLimits::default())]));
    assert!(matches!(spend(), Verdict::Go(_)));
}

/// What a client asks for: its worst second, then so many reads and statements a minute (docs/clients.md), evenly.
struct Pace {
    name: &'static str,
    creations_at_once: u32,
    burst: u32,
    reads: u32,
    statements: u32,
}

const fn pace(name: &'static str, creations_at_once: u32, burst: u32, reads: u32, statements: u32) -> Pace {
    Pace {
        name,
        creations_at_once,
        burst,
        reads,
        statements,
    }
}

/// Of one user; the busiest phase of each, for an hour.
const PACES: [(&[Pace], &str); 12] = [
    (&[pace("sparkmagic", 1, 13, 32, 30)], "a notebook"),
    (&[pace("pylivy", 1, 9, 60, 60)], "a script"),
    (&[pace("airflow", 10, 6, 60, 0)], "a fan of ten batches"),
    (
        &[pace("airflow", 10, 10, 600, 0)],
        "ten batches polled each second",
    ),
    (&[pace("dbt", 5, 15, 150, 150)], "four threads and the main one"),
    (&[pace("livy-submit", 1, 4, 180, 60)], "three requests a second"),
    (
        &[pace("livy-uploads", 1, 6, 200, 0)],
        "a statement polled each 0.3 s",
    ),
    (&[pace("npm", 1, 5, 120, 60)], "polls without waiting"),
    (&[pace("java", 1, 2, 24, 12)], "each request twice"),
    (&[pace("zeppelin", 1, 2, 60, 60)], "a paragraph"),
    (&[pace("sparklyr", 1, 40, 600, 60)], "the wait for its session"),
    (
        &[
            pace("sparkmagic", 1, 13, 32, 30),
            pace("sparkmagic", 1, 13, 32, 30),
            pace("sparkmagic", 1, 13, 32, 30),
            pace("pylivy", 1, 9, 60, 60),
            pace("sparklyr", 1, 40, 600, 60),
        ],
        "three notebooks, a script and sparklyr, begun in the same second",
    ),
];

#[test]
fn no_client_meets_a_default_limit_at_its_own_pace() {
    for (clients, what) in PACES {
        let bench = Bench::new(UserLimits::default());
        let must_go = |class, client: &str| {
            let verdict = bench.ask("alice", &[], class);
            assert!(matches!(verdict, Verdict::Go(_)), "{client}, {what}: {verdict:?}");
        };
        for client in clients {
            for _ in 0..client.creations_at_once {
                must_go(LimitClass::Create, client.name);
            }
            for _ in 0..client.burst {
                must_go(LimitClass::Read, client.name);
            }
        }
        // A tenth of a second at a time.
        for tenth in 1..=36_000_u32 {
            bench.clock.advance(Duration::from_millis(100));
            let due = |a_minute: u32| tenth * a_minute / 600 - (tenth - 1) * a_minute / 600;
            for client in clients {
                for _ in 0..due(client.reads) {
                    must_go(LimitClass::Read, client.name);
                }
                for _ in 0..due(client.statements) {
                    must_go(LimitClass::Statement, client.name);
                }
            }
        }
    }
}
