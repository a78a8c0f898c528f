use super::*;
use crate::clock::ManualClock;

fn address(text: &str) -> AddressKey {
    AddressKey::from(text.parse::<IpAddr>().unwrap())
}

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn limits(per_address: &str, failed: &str, failed_account: &str) -> LoginLimits {
    LoginLimits {
        per_address: rate(per_address),
        failed_per_address: rate(failed),
        failed_per_address_and_account: rate(failed_account),
    }
}

fn counters(limits: LoginLimits) -> (Arc<ManualClock>, LoginCounters) {
    let clock = Arc::new(ManualClock::at(Duration::ZERO));
    (Arc::clone(&clock), LoginCounters::new(limits, clock))
}

fn granted(times: usize, mut ask: impl FnMut() -> Result<(), Wait>) -> usize {
    (0..times).filter(|_| ask().is_ok()).count()
}

#[test]
fn an_address_spends_its_burst_and_gets_it_back_at_its_rate() {
    let (clock, counters) = counters(LoginLimits {
        per_address: rate("2/s").with_burst(count(3)),
        ..LoginLimits::default()
    });
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    assert_eq!(granted(5, || counters.request(one)), 3);
    assert_eq!(granted(5, || counters.request(other)), 3);
    assert_eq!(counters.request(one), Err(Wait(Duration::from_millis(500))));
    clock.advance(SECOND);
    assert_eq!(granted(5, || counters.request(one)), 2);
}

#[test]
fn an_ipv6_network_and_a_mapped_ipv4_address_are_one_each() {
    assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
    assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
    assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    assert_ne!(address("::192.0.2.1"), address("192.0.2.1"));
    assert_ne!(address("::1"), address("0.0.0.1"));
}

#[test]
fn an_account_is_tried_only_so_often_from_one_address() {
    let (clock, counters) = counters(limits("100/s", "100/min", "3/min"));
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    assert_eq!(granted(9, || counters.attempt(one, "alice")), 3);
    assert_eq!(granted(9, || counters.attempt(one, "bob")), 3);
    assert_eq!(granted(9, || counters.attempt(other, "alice")), 3);
    assert_eq!(counters.attempt(one, "alice"), Err(Wait(Duration::from_secs(20))));
    clock.advance(Duration::from_secs(20));
    assert_eq!(granted(9, || counters.attempt(one, "alice")), 1);
}

#[test]
fn right_passwords_of_many_accounts_do_not_use_an_address_up() {
    let (_clock, counters) = counters(limits("100/s", "2/min", "3/min"));
    let hub = address("192.0.2.1");
    for user in 0..500 {
        assert_eq!(counters.attempt(hub, &format!("user{user}")), Ok(()));
    }
}

#[test]
fn failures_of_many_accounts_do() {
    let (clock, counters) = counters(limits("100/s", "2/min", "3/min"));
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    for account in ["a", "b"] {
        assert_eq!(counters.attempt(one, account), Ok(()));
        counters.failure(one);
    }
    assert_eq!(counters.attempt(one, "c"), Err(Wait(Duration::from_secs(30))));
    assert_eq!(counters.attempt(other, "c"), Ok(()));
    clock.advance(Duration::from_secs(30));
    assert_eq!(counters.attempt(one, "c"), Ok(()));
}

#[test]
fn failures_tried_at_once_are_owed_up_to_a_bound() {
    let (clock, counters) = counters(limits("100/s", "2/min", "1000/min"));
    let one = address("192.0.2.1");
    for _ in 0..4 {
        counters.failure(one);
    }
    assert_eq!(counters.attempt(one, "a"), Err(Wait(Duration::from_secs(90))));
    for _ in 0..10_000 {
        counters.failure(one);
    }
    let longest = Duration::from_secs(30) * (FAILURES_OWED_MAX + 1);
    assert_eq!(counters.attempt(one, "a"), Err(Wait(longest)));
    clock.advance(longest);
    assert_eq!(counters.attempt(one, "a"), Ok(()));
}

#[test]
fn keys_beyond_the_bound_share_one_cell_and_known_ones_keep_theirs() {
    let clock = Arc::new(ManualClock::at(Duration::ZERO));
    let counters = LoginCounters::with_room(
        limits("2/s", "2/min", "2/min"),
        Arc::clone(&clock) as Arc<dyn Clock>,
        2,
    );
    let [first, second, third, fourth] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(address);
    for key in [first, second] {
        assert_eq!(counters.request(key), Ok(()));
    }
    assert_eq!(granted(9, || counters.request(third)), 2);
    assert_eq!(granted(9, || counters.request(fourth)), 0);
    assert_eq!(granted(9, || counters.request(first)), 1);
    assert_eq!(counters.requests.len(), 2);
}

#[test]
fn a_sweep_forgets_the_quiet_and_only_them() {
    let (clock, counters) = counters(limits("2/s", "2/min", "2/min"));
    let (quiet, busy) = (address("192.0.2.1"), address("192.0.2.2"));
    assert_eq!(counters.request(quiet), Ok(()));
    assert_eq!(counters.attempt(quiet, "alice"), Ok(()));
    counters.failure(quiet);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(granted(9, || counters.request(busy)), 2);
    counters.sweep();
    assert_eq!(
        (
            counters.requests.len(),
            counters.failures.len(),
            counters.attempts.len()
        ),
        (1, 0, 0)
    );
    assert_eq!(granted(9, || counters.request(busy)), 0);
}

#[test]
fn a_limit_that_changes_starts_afresh_and_the_others_go_on_counting() {
    let before = limits("2/h", "2/h", "2/h");
    let from = address("192.0.2.1");
    let spent = || {
        let (_, counters) = counters(before);
        assert_eq!(granted(9, || counters.request(from)), 2);
        assert_eq!(granted(9, || counters.attempt(from, "alice")), 2);
        counters.failure(from);
        counters.failure(from);
        counters
    };
    let left = |counters: &LoginCounters| {
        (
            granted(9, || counters.request(from)),
            granted(9, || counters.attempt(from, "alice")),
            granted(9, || counters.attempt(from, "bob")),
        )
    };
    // An address that may not fail any more tries nothing, whatever the account may.
    assert_eq!(left(&spent().with_limits(before)), (0, 0, 0));
    assert_eq!(left(&spent().with_limits(limits("3/h", "2/h", "2/h"))), (3, 0, 0));
    assert_eq!(left(&spent().with_limits(limits("2/h", "3/h", "2/h"))), (0, 0, 2));
    assert_eq!(left(&spent().with_limits(limits("2/h", "3/h", "3/h"))), (0, 3, 3));
}
