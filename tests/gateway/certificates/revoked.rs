//! Revocation lists: what they take back, and which are not taken.

use super::*;

/// Where revocation lists are read.
fn with_lists() -> String {
    format!("{ASKS}client_crl_file = \"revoked.pem\"\n")
}

#[tokio::test]
async fn a_revocation_counts_at_once_and_for_that_certificate_alone() {
    let mut house = House::with(&with_lists()).await;
    let lost = house.clients.badge_until("alice.people", 7, NOW + 86_400);
    let kept = house.clients.badge_until("alice.people", 8, NOW + 86_400);
    let mut first = house.connect(&lost).await;
    let mut second = house.connect(&kept).await;
    ask(&mut first, read("")).await.expect_status(200);
    ask(&mut second, read("")).await.expect_status(200);
    house.rig.stage.write("revoked.pem", &house.clients.revokes(&[7]));
    house.reload();
    ask(&mut first, read(""))
        .await
        .expect_refusal(401, "invalid_credentials");
    ask(&mut second, read("")).await.expect_status(200);
    house.keeps_out(&lost).await;
}

#[tokio::test]
async fn lists_that_would_lock_clients_in_or_out_are_not_put_in_force() {
    let mut house = House::with(&with_lists()).await;
    let mut alice = house.connect(&house.clients.badge("alice.people")).await;
    ask(&mut alice, read("")).await.expect_status(200);
    let (old, new) = (house.clients.revokes(&[]), house.clients.revokes(&[1]));
    let of_another_key = Authority::new("clients").revokes(&[]);
    for (lists, problem) in [
        (old + &new, "two lists of CN=clients"),
        (of_another_key, "is not signed with the key"),
    ] {
        house.rig.stage.write("revoked.pem", &lists);
        let shared = house.rig.app().shared();
        let outcome = house.reloader.reload(&shared.logins, &shared.users);
        assert!(
            matches!(&outcome, Reloaded::Refused(said) if said.contains(problem)),
            "{outcome:?}"
        );
        ask(&mut alice, read("")).await.expect_status(200);
    }
    house.rig.stage.write("revoked.pem", &new);
    house.reload();
    ask(&mut alice, read(""))
        .await
        .expect_refusal(401, "invalid_credentials");
}

#[tokio::test]
async fn a_list_that_is_out_of_date_is_put_in_force_with_a_word_about_it() {
    let mut house = House::with(&with_lists()).await;
    house.rig.stage.write("revoked.pem", &house.clients.revokes(&[7]));
    house.rig.clock.advance(Duration::from_secs(86_401));
    let shared = house.rig.app().shared();
    let outcome = house.reloader.reload(&shared.logins, &shared.users);
    let Reloaded::InForce { notices, .. } = outcome else {
        panic!("{outcome:?}")
    };
    let said = "the revocation list of CN=clients in client_crl_file ended at ";
    assert!(
        notices.iter().any(|notice| notice.starts_with(said)),
        "{notices:?}"
    );
    house
        .keeps_out(&house.clients.badge_until("alice.people", 1, NOW + 100_000))
        .await;
}
