use super::*;
use crate::denial::LoginSource;

#[tokio::test]
async fn without_a_users_file_no_password_is_hashed() {
    let (_clock, logins) = logins();
    let compiled = Compiled::new(1, "", &[&issuer(false)], &[]);
    let outcome = login(&logins, &compiled, &basic("alice", "secret")).await;
    assert_eq!(outcome, Err(Denial::InvalidCredentials));
    assert_eq!(logins.stats().checked, 0);
}

#[tokio::test]
async fn a_token_is_known_until_it_expires() {
    let (clock, logins) = logins();
    let issuer = issuer(false);
    let compiled = Compiled::new(1, "", &[&issuer], &[]);
    let alice = bearer(&token(&issuer, "alice", 60));
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    clock.advance(Duration::from_secs(59));
    assert_eq!(cached(&logins, &compiled, &alice).as_deref(), Some("alice"));
    clock.advance(Duration::from_secs(1));
    assert_eq!(cached(&logins, &compiled, &alice), None);
    assert_eq!(login(&logins, &compiled, &alice).await, Err(Denial::ExpiredToken));
}

#[tokio::test]
async fn a_token_of_a_key_that_is_gone_is_refused_at_the_next_request() {
    let (_clock, logins) = logins();
    let issuer = issuer(false);
    let compiled = Compiled::new(1, "", &[&issuer], &[]);
    let alice = bearer(&token(&issuer, "alice", 3600));
    assert_eq!(login(&logins, &compiled, &alice).await, user("alice"));
    issuer.close();
    assert_eq!(cached(&logins, &compiled, &alice), None);
    assert_eq!(
        login(&logins, &compiled, &alice).await,
        Err(Denial::LoginUnavailable(LoginSource::SigningKeys))
    );
}

#[tokio::test]
async fn a_token_as_the_password_needs_its_own_user_name() {
    let (_clock, logins) = logins();
    let issuer = issuer(true);
    let compiled = Compiled::new(1, "", &[&issuer], &[("alice@corp", "alice"), ("bob@corp", "bob")]);
    let alices = token(&issuer, "alice@corp", 3600);
    for name in ["alice", "alice@corp"] {
        let headers = basic(name, &alices);
        assert_eq!(login(&logins, &compiled, &headers).await, user("alice"), "{name}");
        assert_eq!(
            cached(&logins, &compiled, &headers).as_deref(),
            Some("alice"),
            "{name}"
        );
    }
    for name in ["bob", "bob@corp", "Alice", "token", "corp"] {
        let headers = basic(name, &alices);
        assert_eq!(
            login(&logins, &compiled, &headers).await,
            Err(Denial::InvalidCredentials),
            "{name}"
        );
        assert_eq!(cached(&logins, &compiled, &headers), None, "{name}");
    }
    assert_eq!(logins.stats().checked, 0);
}

#[tokio::test]
async fn a_new_mapping_is_compared_with_the_user_name_beside_a_token_too() {
    let (_clock, logins) = logins();
    let issuer = issuer(true);
    let alice = basic("alice", &token(&issuer, "alice@corp", 3600));
    let before = Compiled::new(1, "", &[&issuer], &[("alice@corp", "alice")]);
    assert_eq!(login(&logins, &before, &alice).await, user("alice"));
    let after = Compiled::new(2, "", &[&issuer], &[("alice@corp", "bob")]);
    assert_eq!(cached(&logins, &after, &alice), None);
    assert_eq!(
        login(&logins, &after, &alice).await,
        Err(Denial::InvalidCredentials)
    );
}

#[tokio::test]
async fn a_token_as_the_password_is_a_password_where_that_is_not_configured() {
    let (_clock, logins) = logins();
    let issuer = issuer(false);
    let users = line("alice", "secret", "");
    let compiled = Compiled::new(1, &users, &[&issuer], &[("alice", "alice")]);
    let outcome = login(
        &logins,
        &compiled,
        &basic("alice", &token(&issuer, "alice", 3600)),
    )
    .await;
    assert_eq!(outcome, Err(Denial::InvalidCredentials));
    assert_eq!(logins.stats().checked, 1);
}

#[tokio::test]
async fn bad_tokens_do_not_use_up_the_tries_of_those_with_passwords() {
    let (_clock, logins) = logins();
    let issuer = issuer(false);
    let users = line("alice", "secret", "");
    let compiled = Compiled::new(1, &users, &[&issuer], &[("alice", "alice")]);
    for n in 0..50 {
        let outcome = login(&logins, &compiled, &bearer(&format!("eyJ.{n}.x"))).await;
        assert_eq!(outcome, Err(Denial::InvalidCredentials));
    }
    assert_eq!(
        login(&logins, &compiled, &basic("alice", "secret")).await,
        user("alice")
    );
}
