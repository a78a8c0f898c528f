use super::*;
use crate::authn::certificate::testing::{Authority, NOW, client};
use crate::authn::{CertificateName, Certificates, ClientAuth};

fn taken(authority: &Authority, revoked: &[u64]) -> Certificates {
    let lists = match revoked {
        [] => Vec::new(),
        serials => vec![authority.revokes(serials, NOW + 10_000)],
    };
    Certificates::new(
        vec![authority.certificate()],
        lists,
        ClientAuth::Optional,
        CertificateName::Cn,
    )
    .unwrap()
}

/// Alice's, with the number 7, for an hour.
fn alices(authority: &Authority) -> PresentedCertificate {
    let mut params = client("alice");
    params.serial_number = Some(7_u64.into());
    PresentedCertificate::new(vec![authority.signs(&params)])
}

fn logins_now() -> (Arc<ManualClock>, Logins) {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(NOW)));
    let logins = Logins::new(Arc::clone(&clock) as Arc<dyn Clock>, LoginLimits::default(), 1).unwrap();
    (clock, logins)
}

fn by(
    logins: &Logins,
    compiled: &Compiled,
    certificates: &Certificates,
    presented: &PresentedCertificate,
) -> Result<String, Denial> {
    let principal = logins.by_certificate(&compiled.policy(), Some(certificates), presented)?;
    assert_eq!(principal.subject().to_string(), "certificate:alice");
    Ok(principal.livy_user().to_string())
}

fn generation(generation: u64) -> Compiled {
    Compiled::new(generation, "", &[], &[])
}

const REFUSED: Result<String, Denial> = Err(Denial::InvalidCredentials);

#[test]
fn a_certificate_is_verified_once_for_its_connection_and_again_after_some_minutes() {
    let (clock, logins) = logins_now();
    let authority = Authority::new("clients");
    let (certificates, presented) = (taken(&authority, &[]), alices(&authority));
    for expected in [(0, 1), (1, 1), (2, 1)] {
        assert_eq!(
            by(&logins, &generation(1), &certificates, &presented),
            user("alice")
        );
        assert_eq!((logins.stats().hits, logins.stats().misses), expected);
    }
    clock.advance(PASSED);
    assert_eq!(
        by(&logins, &generation(1), &certificates, &presented),
        user("alice")
    );
    assert_eq!(logins.stats().misses, 2);
}

#[test]
fn it_ends_with_the_certificate_though_the_connection_goes_on() {
    let (clock, logins) = logins_now();
    let authority = Authority::new("clients");
    let (certificates, presented) = (taken(&authority, &[]), alices(&authority));
    clock.advance(Duration::from_secs(3599));
    assert_eq!(
        by(&logins, &generation(1), &certificates, &presented),
        user("alice")
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        by(&logins, &generation(1), &certificates, &presented),
        user("alice")
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(by(&logins, &generation(1), &certificates, &presented), REFUSED);
}

#[test]
fn another_policy_judges_it_anew() {
    let (_clock, logins) = logins_now();
    let authority = Authority::new("clients");
    let presented = alices(&authority);
    let good = taken(&authority, &[]);
    assert_eq!(by(&logins, &generation(1), &good, &presented), user("alice"));
    let revoked = taken(&authority, &[7]);
    assert_eq!(by(&logins, &generation(2), &revoked, &presented), REFUSED);
    let misses = logins.stats().misses;
    assert_eq!(by(&logins, &generation(2), &revoked, &presented), REFUSED);
    assert_eq!(logins.stats().misses, misses, "a refusal is remembered too");
    let others = taken(&Authority::new("others"), &[]);
    assert_eq!(by(&logins, &generation(3), &others, &presented), REFUSED);
    let none = logins.by_certificate(&generation(4).policy(), None, &presented);
    assert_eq!(none.unwrap_err(), Denial::InvalidCredentials);
    assert_eq!(by(&logins, &generation(5), &good, &presented), user("alice"));
}

#[test]
fn the_rules_of_the_policy_make_the_livy_user() {
    let (_clock, logins) = logins_now();
    let authority = Authority::new("clients");
    let (certificates, presented) = (taken(&authority, &[]), alices(&authority));
    let mapped = Compiled::new(1, "", &[], &[("alice", "alice-at-work")]);
    assert_eq!(
        by(&logins, &mapped, &certificates, &presented),
        user("alice-at-work")
    );
    let unmapped = Compiled::new(2, "", &[], &[("bob", "bob")]);
    assert!(matches!(
        by(&logins, &unmapped, &certificates, &presented),
        Err(Denial::UnmappedIdentity { subject }) if subject == "certificate:alice"
    ));
}

#[test]
fn demanding_a_certificate_and_logging_in_with_it_verify_it_once() {
    let (clock, logins) = logins_now();
    let authority = Authority::new("clients");
    let (certificates, presented) = (taken(&authority, &[]), alices(&authority));
    let demand = |generation_number, certificates: &Certificates| {
        let compiled = generation(generation_number);
        logins.demand_certificate(&compiled.policy(), certificates, Some(&presented))
    };
    assert_eq!(demand(1, &certificates), Ok(()));
    assert_eq!(
        by(&logins, &generation(1), &certificates, &presented),
        user("alice")
    );
    // What was demanded is no login of its own.
    assert_eq!((logins.stats().hits, logins.stats().misses), (1, 0));
    assert_eq!(
        demand(2, &taken(&authority, &[7])),
        Err(Denial::InvalidCredentials)
    );
    assert_eq!(demand(3, &certificates), Ok(()));
    clock.advance(Duration::from_secs(3601));
    assert_eq!(demand(3, &certificates), Err(Denial::InvalidCredentials));
    let none = logins.demand_certificate(&generation(3).policy(), &certificates, None);
    assert_eq!(none, Err(Denial::InvalidCredentials));
}

#[test]
fn a_certificate_that_no_rule_maps_is_good_all_the_same() {
    let (_clock, logins) = logins_now();
    let authority = Authority::new("clients");
    let (certificates, presented) = (taken(&authority, &[]), alices(&authority));
    let unmapped = Compiled::new(1, "", &[], &[("bob", "bob")]);
    let demanded = logins.demand_certificate(&unmapped.policy(), &certificates, Some(&presented));
    assert_eq!(demanded, Ok(()));
}
