use super::*;

#[tokio::test]
async fn what_brings_no_readable_credentials_is_never_counted() {
    let (_clock, logins) = logins_with(LoginLimits {
        per_address: "1/h".parse().unwrap(),
        ..LoginLimits::default()
    });
    let compiled = with_users(&line("alice", "secret", ""));
    let alice = basic("alice", "secret");
    let mut two = alice.clone();
    two.append(AUTHORIZATION, "Basic x".parse().unwrap());
    for _ in 0..50 {
        assert_eq!(
            login(&logins, &compiled, &HeaderMap::new()).await,
            Err(Denial::MissingCredentials)
        );
        for headers in [&headers("Basic ?"), &two] {
            let outcome = login(&logins, &compiled, headers).await;
            assert!(
                matches!(outcome, Err(Denial::MalformedCredentials(_))),
                "{outcome:?}"
            );
        }
    }
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    assert_eq!(cached(&logins, &compiled, &two), None);
}

#[tokio::test]
async fn an_address_spends_its_limit_on_what_is_not_cached_only() {
    let (_clock, logins) = logins_with(LoginLimits {
        per_address: "2/h".parse().unwrap(),
        ..LoginLimits::default()
    });
    let compiled = with_users(&(line("alice", "secret", "") + &line("bob", "hidden", "")));
    for _ in 0..10 {
        assert_eq!(
            login(&logins, &compiled, &basic("alice", "secret")).await,
            user("alice")
        );
    }
    assert_eq!(
        login(&logins, &compiled, &basic("alice", "x")).await,
        Err(Denial::InvalidCredentials)
    );
    assert!(is_too_many(
        &login(&logins, &compiled, &basic("bob", "hidden")).await
    ));
    let bob = basic("bob", "hidden");
    assert!(
        logins
            .authenticate(&compiled.policy(), &bob, ELSEWHERE)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn guesses_at_an_account_are_slowed_down_for_their_address_only() {
    let (clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let alice = basic("alice", "secret");
    for n in 0..10 {
        let outcome = login(&logins, &compiled, &basic("alice", &format!("guess{n}"))).await;
        assert_eq!(outcome, Err(Denial::InvalidCredentials));
    }
    assert!(is_too_many(&login(&logins, &compiled, &alice).await));
    assert_eq!(logins.stats().checked, 10);
    assert!(
        logins
            .authenticate(&compiled.policy(), &alice, ELSEWHERE)
            .await
            .is_ok()
    );
    assert_eq!(
        login(&logins, &compiled, &alice).await,
        user("alice"),
        "it is cached now"
    );
    clock.advance(Duration::from_secs(6));
    let outcome = login(&logins, &compiled, &basic("alice", "guess")).await;
    assert_eq!(outcome, Err(Denial::InvalidCredentials));
}

#[tokio::test]
async fn an_address_that_guesses_at_many_accounts_is_slowed_down() {
    let (_clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    for n in 0..20 {
        let outcome = login(&logins, &compiled, &basic(&format!("user{n}"), "guess")).await;
        assert_eq!(outcome, Err(Denial::InvalidCredentials));
    }
    assert!(is_too_many(
        &login(&logins, &compiled, &basic("alice", "secret")).await
    ));
}

#[tokio::test]
async fn a_password_that_was_right_before_is_no_guess_when_its_entry_ends() {
    let (clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    let alice = basic("alice", "secret");
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    clock.advance(PASSED);
    for n in 0..10 {
        let outcome = login(&logins, &compiled, &basic("alice", &format!("guess{n}"))).await;
        assert!(outcome.is_err());
    }
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
}

#[tokio::test]
async fn a_sweep_forgets_what_ended_an_hour_ago() {
    let (clock, logins) = logins();
    let compiled = with_users(&line("alice", "secret", ""));
    assert_eq!(
        login(&logins, &compiled, &basic("alice", "secret")).await,
        user("alice")
    );
    clock.advance(PASSED);
    logins.sweep();
    assert_eq!(logins.stats().entries, 1);
    clock.advance(Duration::from_secs(3600));
    logins.sweep();
    assert_eq!(logins.stats().entries, 0);
}

#[tokio::test]
async fn other_limits_hold_from_the_reload_on_and_equal_ones_go_on_counting() {
    let (_clock, logins) = logins();
    let limits = LoginLimits {
        per_address: "1/h".parse().unwrap(),
        ..LoginLimits::default()
    };
    let compiled = with_users(&line("alice", "secret", ""));
    logins.set_limits(limits);
    assert_eq!(
        login(&logins, &compiled, &basic("alice", "x")).await,
        Err(Denial::InvalidCredentials)
    );
    logins.set_limits(limits);
    assert!(is_too_many(
        &login(&logins, &compiled, &basic("alice", "y")).await
    ));
    logins.set_limits(LoginLimits::default());
    assert_eq!(
        login(&logins, &compiled, &basic("alice", "z")).await,
        Err(Denial::InvalidCredentials)
    );
}
