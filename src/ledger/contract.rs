//! The contract that every ledger keeps: one suite, run for each.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use futures_util::future::join_all;

use crate::identity::LivyUser;
use crate::ledger::testing::*;
use crate::ledger::*;
use crate::livy::marker::Instance;
use crate::quota::{Dimension, Limits};

/// Each test below, for a memory, a file that a test can fill, and a file.
macro_rules! contract {
    ($($test:ident)*) => {
        mod memory {
            use super::*;

            $(#[tokio::test]
            async fn $test() {
                let instance = Instance::new([0; 5]);
                super::$test(Arc::new(MemoryLedger::new(instance))).await;
            })*
        }
        mod disk {
            use super::*;

            $(#[tokio::test]
            async fn $test() {
                super::$test(Arc::new(Disk::default().ledger(seconds(0)))).await;
            })*
        }
        mod file {
            use super::*;

            $(#[tokio::test]
            async fn $test() {
                let directory = tempfile::tempdir().unwrap();
                let (ledger, _) = FileLedger::open(directory.path(), seconds(0), IfSpoiled::BeginAnew).unwrap();
                super::$test(Arc::new(ledger)).await;
            })*
        }
    };
}

contract! {
    a_place_is_taken_before_livy_hears_of_it
    the_place_after_the_last_is_refused_and_changes_nothing
    a_limit_of_any_scope_refuses_in_all_scopes
    a_scope_that_is_named_twice_is_charged_once
    cores_and_memory_are_charged_together_with_the_count
    ten_thousand_racing_reservations_take_exactly_the_limit
    a_name_is_unique_among_the_owners_places_of_a_kind
    a_name_is_free_again_when_its_place_is_gone
    an_idempotency_key_leads_to_the_first_place_until_that_is_gone
    a_marker_is_not_given_twice
    a_settlement_that_comes_again_changes_nothing
    what_finished_or_went_does_not_count
    what_is_known_is_not_forgotten
    an_older_list_decides_nothing_about_what_changed_since
    only_a_list_brings_back_what_was_gone
    the_last_seen_under_a_number_is_found_by_it
    what_is_found_at_livy_is_charged_once
    a_tombstone_is_forgotten_after_its_time
    places_are_found_by_owner_and_by_creator
    an_unknown_key_is_no_error
}

type Shared = Arc<dyn Ledger>;

async fn held(ledger: &Shared) -> u64 {
    ledger.held(&Scope::User(alice())).await.sessions
}

async fn own(ledger: &Shared, number: u64) {
    ledger
        .reserve(reservation(number, 1000), seconds(1))
        .await
        .unwrap();
    let is_applied = ledger
        .settle(
            &key(number),
            Settlement::Owned(id(number as u32)),
            None,
            seconds(2),
        )
        .await;
    assert!(is_applied);
}

async fn standing(ledger: &Shared, number: u64) -> Standing {
    ledger.get(&key(number)).await.unwrap().standing
}

async fn a_place_is_taken_before_livy_hears_of_it(ledger: Shared) {
    ledger.reserve(reservation(1, 1), seconds(5)).await.unwrap();
    let place = ledger.get(&key(1)).await.unwrap();
    assert_eq!(place.standing, Standing::Open);
    assert_eq!(place.changed, seconds(5));
    assert_eq!(place.scopes, [Scope::User(alice())]);
    assert_eq!(held(&ledger).await, 1);
    assert!(ledger.is_available());
}

async fn the_place_after_the_last_is_refused_and_changes_nothing(ledger: Shared) {
    ledger.reserve(reservation(1, 1), seconds(1)).await.unwrap();
    let refused = ledger.reserve(reservation(2, 1), seconds(1)).await;
    assert_eq!(
        refused,
        Err(NoPlace::Exceeded {
            scope: Scope::User(alice()),
            exceeded: Exceeded {
                dimension: Dimension::Sessions,
                held: 1,
                asked: 1,
                limit: 1,
            },
        })
    );
    assert_eq!(ledger.get(&key(2)).await, None);
    assert_eq!(held(&ledger).await, 1);
}

async fn a_limit_of_any_scope_refuses_in_all_scopes(ledger: Shared) {
    let scopes = [
        Scope::User(alice()),
        Scope::Group("data".into()),
        Scope::Everybody,
    ];
    for full in &scopes {
        let mut asked = reservation(1, 1);
        asked.allowances = scopes
            .iter()
            .map(|scope| sessions(scope.clone(), u64::from(scope != full)))
            .collect();
        let refused = ledger.reserve(asked, seconds(1)).await;
        assert!(matches!(refused, Err(NoPlace::Exceeded { scope, .. }) if scope == *full));
        for scope in &scopes {
            assert_eq!(ledger.held(scope).await, Use::default(), "{scope} after {full}");
        }
    }
}

async fn a_scope_that_is_named_twice_is_charged_once(ledger: Shared) {
    let mut asked = reservation(1, 1);
    asked.allowances.push(asked.allowances[0].clone());
    ledger.reserve(asked, seconds(1)).await.unwrap();
    assert_eq!(held(&ledger).await, 1);
}

async fn cores_and_memory_are_charged_together_with_the_count(ledger: Shared) {
    let mut asked = reservation(1, 1);
    asked.kind = Kind::Batch;
    asked.charge.memory = u64::MAX;
    ledger.reserve(asked, seconds(1)).await.unwrap();
    let mut asked = reservation(2, 1);
    asked.charge.memory = 2;
    ledger.reserve(asked, seconds(1)).await.unwrap();
    let scope = Scope::User(alice());
    let full = Use {
        sessions: 1,
        batches: 1,
        cores: 4,
        memory: u64::MAX,
    };
    assert_eq!(ledger.held(&scope).await, full);
    // What was capped is still taken off exactly.
    ledger.settle(&key(1), Settlement::Gone, None, seconds(2)).await;
    let rest = Use {
        sessions: 1,
        batches: 0,
        cores: 2,
        memory: 2,
    };
    assert_eq!(ledger.held(&scope).await, rest);
    let mut asked = reservation(3, 9);
    asked.allowances[0].limits = Limits {
        cores: Some(3),
        ..Limits::default()
    };
    let refused = ledger.reserve(asked, seconds(1)).await;
    assert!(
        matches!(refused, Err(NoPlace::Exceeded { exceeded, .. }) if exceeded.dimension == Dimension::Cores)
    );
}

async fn ten_thousand_racing_reservations_take_exactly_the_limit(ledger: Shared) {
    const THREADS: u64 = 8;
    const EACH: u64 = 1250;
    const LIMIT: u64 = 777;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let reserve = |number| {
                    let mut asked = reservation(thread * EACH + number, u64::MAX);
                    asked.allowances.push(sessions(Scope::Everybody, LIMIT));
                    ledger.reserve(asked, seconds(1))
                };
                let outcomes = runtime.block_on(join_all((0..EACH).map(reserve)));
                outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64
            })
        })
        .collect();
    let taken: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(taken, LIMIT);
    assert_eq!(held(&ledger).await, LIMIT);
    assert_eq!(ledger.all(Kind::Session).await.len() as u64, LIMIT);
}

async fn a_name_is_unique_among_the_owners_places_of_a_kind(ledger: Shared) {
    let named = |number| Reservation {
        name: Some("etl".into()),
        ..reservation(number, 9)
    };
    let name = SessionName::new("etl").unwrap();
    ledger.reserve(named(1), seconds(1)).await.unwrap();
    let taken = ledger.reserve(named(2), seconds(1)).await;
    assert_eq!(taken, Err(NoPlace::NameTaken { id: None }));
    ledger
        .settle(&key(1), Settlement::Finished(id(4)), None, seconds(2))
        .await;
    let taken = ledger.reserve(named(2), seconds(1)).await;
    assert_eq!(taken, Err(NoPlace::NameTaken { id: Some(id(4)) }));
    let found = ledger.by_name(&alice(), Kind::Session, &name).await.unwrap();
    assert_eq!(found.key, key(1));

    let batch = Reservation {
        kind: Kind::Batch,
        ..named(3)
    };
    ledger.reserve(batch, seconds(1)).await.unwrap();
    let of_bob = Reservation {
        owner: LivyUser::for_tests("bob"),
        ..named(4)
    };
    ledger.reserve(of_bob, seconds(1)).await.unwrap();
}

async fn a_name_is_free_again_when_its_place_is_gone(ledger: Shared) {
    let named = |number| Reservation {
        name: Some("etl".into()),
        ..reservation(number, 9)
    };
    let name = SessionName::new("etl").unwrap();
    ledger.reserve(named(1), seconds(1)).await.unwrap();
    ledger.settle(&key(1), Settlement::Gone, None, seconds(2)).await;
    assert_eq!(ledger.by_name(&alice(), Kind::Session, &name).await, None);
    ledger.reserve(named(2), seconds(3)).await.unwrap();
    // A list brings the first one back; both have the name now, and none is lost.
    let back = Settlement::Owned(id(1));
    assert!(ledger.settle(&key(1), back, Some(seconds(4)), seconds(5)).await);
    for gone in [1, 2] {
        assert!(ledger.by_name(&alice(), Kind::Session, &name).await.is_some());
        let key = key(gone);
        ledger.settle(&key, Settlement::Gone, None, seconds(6)).await;
    }
    assert_eq!(ledger.by_name(&alice(), Kind::Session, &name).await, None);
}

async fn an_idempotency_key_leads_to_the_first_place_until_that_is_gone(ledger: Shared) {
    let again = |number, body| Reservation {
        idempotency: Some(Idempotency {
            key: [1; 32],
            body: [body; 32],
        }),
        // The second is over the limit as well: it asks for nothing new, so that does not matter.
        ..reservation(number, 1)
    };
    assert_eq!(ledger.by_idempotency(&[1; 32]).await, None);
    ledger.reserve(again(1, 1), seconds(1)).await.unwrap();
    for body in [1, 2] {
        let before = ledger.reserve(again(2, body), seconds(2)).await;
        let first = ledger.get(&key(1)).await.unwrap();
        assert_eq!(ledger.by_idempotency(&[1; 32]).await, Some(Arc::clone(&first)));
        assert_eq!(before, Err(NoPlace::Before(first)));
    }
    ledger.settle(&key(1), Settlement::Gone, None, seconds(3)).await;
    assert_eq!(ledger.by_idempotency(&[1; 32]).await, None);
    ledger.reserve(again(2, 1), seconds(4)).await.unwrap();
}

async fn a_marker_is_not_given_twice(ledger: Shared) {
    ledger.reserve(reservation(1, 9), seconds(1)).await.unwrap();
    let again = ledger.reserve(reservation(1, 9), seconds(1)).await;
    assert!(matches!(again, Err(NoPlace::Unavailable(_))));
    assert_eq!(held(&ledger).await, 1);
    assert_eq!(standing(&ledger, 1).await, Standing::Open);
}

async fn a_settlement_that_comes_again_changes_nothing(ledger: Shared) {
    for (number, settlement) in [
        (1, Settlement::InDoubt),
        (2, Settlement::Owned(id(2))),
        (3, Settlement::Finished(id(3))),
        (4, Settlement::Gone),
    ] {
        ledger.reserve(reservation(number, 9), seconds(1)).await.unwrap();
        assert!(ledger.settle(&key(number), settlement, None, seconds(2)).await);
        let (place, use_before) = (ledger.get(&key(number)).await, held(&ledger).await);
        assert!(ledger.settle(&key(number), settlement, None, seconds(3)).await);
        assert_eq!(ledger.get(&key(number)).await, place);
        assert_eq!(place.unwrap().changed, seconds(2), "when it really changed");
        assert_eq!(held(&ledger).await, use_before);
    }
    assert_eq!(held(&ledger).await, 2);
}

async fn what_finished_or_went_does_not_count(ledger: Shared) {
    own(&ledger, 1).await;
    own(&ledger, 2).await;
    assert_eq!(held(&ledger).await, 2);
    ledger
        .settle(&key(1), Settlement::Finished(id(1)), None, seconds(3))
        .await;
    assert_eq!(held(&ledger).await, 1);
    assert!(ledger.by_id(Kind::Session, id(1)).await.is_some());
    for number in [1, 2] {
        let key = key(number);
        ledger.settle(&key, Settlement::Gone, None, seconds(4)).await;
        assert_eq!(ledger.by_id(Kind::Session, id(number as u32)).await, None);
    }
    assert_eq!(held(&ledger).await, 0);
}

async fn what_is_known_is_not_forgotten(ledger: Shared) {
    own(&ledger, 1).await;
    // An answer that comes after a list has told more.
    let doubt = ledger
        .settle(&key(1), Settlement::InDoubt, None, seconds(3))
        .await;
    assert!(!doubt);
    assert!(standing(&ledger, 1).await.id().is_some());
    ledger
        .settle(&key(1), Settlement::Finished(id(1)), None, seconds(4))
        .await;
    let late = Settlement::Owned(id(1));
    assert!(!ledger.settle(&key(1), late, None, seconds(5)).await);
    assert_eq!(held(&ledger).await, 0, "what has finished does not go on");
}

async fn an_older_list_decides_nothing_about_what_changed_since(ledger: Shared) {
    own(&ledger, 1).await; // Changed at 2 s.
    for since in [1, 2] {
        let list = Some(seconds(since));
        assert!(!ledger.settle(&key(1), Settlement::Gone, list, seconds(9)).await);
    }
    assert_eq!(held(&ledger).await, 1);
    let list = Some(seconds(3));
    assert!(ledger.settle(&key(1), Settlement::Gone, list, seconds(9)).await);
    assert_eq!(held(&ledger).await, 0);
}

async fn only_a_list_brings_back_what_was_gone(ledger: Shared) {
    own(&ledger, 1).await;
    ledger.settle(&key(1), Settlement::Gone, None, seconds(3)).await;
    let back = Settlement::Owned(id(1));
    assert!(!ledger.settle(&key(1), back, None, seconds(4)).await);
    let doubt = ledger
        .settle(&key(1), Settlement::InDoubt, Some(seconds(5)), seconds(6))
        .await;
    assert!(!doubt);
    assert!(!ledger.settle(&key(1), back, Some(seconds(3)), seconds(4)).await);
    assert_eq!(held(&ledger).await, 0);
    assert!(ledger.settle(&key(1), back, Some(seconds(5)), seconds(6)).await);
    assert_eq!(held(&ledger).await, 1);
    assert_eq!(
        ledger.by_id(Kind::Session, id(1)).await.unwrap().changed,
        seconds(6)
    );
    assert_eq!(ledger.owned_by(&alice(), Kind::Session).await.len(), 1);
}

async fn the_last_seen_under_a_number_is_found_by_it(ledger: Shared) {
    let by_id = |number| {
        let ledger = Arc::clone(&ledger);
        async move {
            ledger
                .by_id(Kind::Session, id(number))
                .await
                .map(|place| place.key.clone())
        }
    };
    own(&ledger, 0).await;
    assert_eq!(by_id(0).await, Some(key(0)));
    // Livy has started again, and counts from 0.
    ledger.reserve(reservation(7, 9), seconds(5)).await.unwrap();
    let zero = Settlement::Owned(id(0));
    ledger.settle(&key(7), zero, None, seconds(6)).await;
    assert_eq!(by_id(0).await, Some(key(7)));
    assert_eq!(held(&ledger).await, 2, "the first is freed by lists, not by this");
    assert!(ledger.get(&key(0)).await.is_some());
    // Neither a late answer nor an older list takes it back.
    ledger.settle(&key(0), zero, None, seconds(7)).await;
    ledger.settle(&key(0), zero, Some(seconds(6)), seconds(7)).await;
    assert_eq!(by_id(0).await, Some(key(7)));
    ledger.settle(&key(0), Settlement::Gone, None, seconds(8)).await;
    assert_eq!(by_id(0).await, Some(key(7)));
    ledger.settle(&key(7), Settlement::Gone, None, seconds(9)).await;
    assert_eq!(by_id(0).await, None);
}

async fn what_is_found_at_livy_is_charged_once(ledger: Shared) {
    let found = Place {
        key: PlaceKey::Found(Kind::Batch, id(3)),
        kind: Kind::Batch,
        created_by: None,
        standing: Standing::Owned {
            id: id(3),
            is_finished: false,
        },
        ..place(3)
    };
    let (key, gone, none) = (found.key.clone(), Settlement::Gone, HashSet::new());
    assert!(ledger.adopt(found.clone(), seconds(4)).await);
    assert!(!ledger.adopt(found.clone(), seconds(5)).await);
    let adopted = ledger.by_id(Kind::Batch, id(3)).await.unwrap();
    assert_eq!(adopted.changed, seconds(4));
    assert_eq!(ledger.held(&Scope::User(alice())).await.batches, 1);
    ledger.settle(&key, gone, Some(seconds(5)), seconds(6)).await;
    assert!(
        !ledger.adopt(found.clone(), seconds(7)).await,
        "it has just been deleted"
    );
    assert_eq!(ledger.held(&Scope::User(alice())).await.batches, 0);
    ledger.forget_gone(Kind::Session, seconds(9), &none).await;
    assert!(
        !ledger.adopt(found.clone(), seconds(10)).await,
        "each kind has lists of its own"
    );
    ledger.forget_gone(Kind::Batch, seconds(9), &none).await;
    assert!(ledger.adopt(found.clone(), seconds(10)).await);
    // One alone is forgotten once it is gone, and no sooner.
    ledger.forget(&key).await;
    assert!(!ledger.adopt(found.clone(), seconds(11)).await);
    ledger.settle(&key, gone, None, seconds(12)).await;
    ledger.forget(&key).await;
    assert!(ledger.adopt(found, seconds(13)).await);
}

async fn a_tombstone_is_forgotten_after_its_time(ledger: Shared) {
    own(&ledger, 1).await;
    own(&ledger, 2).await;
    ledger.settle(&key(1), Settlement::Gone, None, seconds(5)).await;
    ledger
        .forget_gone(Kind::Session, seconds(5), &HashSet::new())
        .await;
    assert_eq!(ledger.all(Kind::Session).await.len(), 2);
    assert_eq!(ledger.owned_by(&alice(), Kind::Session).await.len(), 1);
    assert_eq!(ledger.created_by("basic:alice", Kind::Session).await.len(), 1);
    ledger
        .forget_gone(Kind::Session, seconds(6), &HashSet::new())
        .await;
    assert_eq!(ledger.get(&key(1)).await, None);
    assert_eq!(ledger.all(Kind::Session).await.len(), 1);
}

async fn places_are_found_by_owner_and_by_creator(ledger: Shared) {
    own(&ledger, 1).await;
    let delegated = Reservation {
        owner: LivyUser::for_tests("bob"),
        ..reservation(2, 9)
    };
    ledger.reserve(delegated, seconds(1)).await.unwrap();
    let batch = Reservation {
        kind: Kind::Batch,
        ..reservation(3, 9)
    };
    ledger.reserve(batch, seconds(1)).await.unwrap();
    let keys = |places: Vec<Arc<Place>>| {
        places
            .into_iter()
            .map(|place| place.key.clone())
            .collect::<BTreeSet<_>>()
    };
    let bob = LivyUser::for_tests("bob");
    assert_eq!(
        keys(ledger.owned_by(&alice(), Kind::Session).await),
        BTreeSet::from([key(1)])
    );
    assert_eq!(
        keys(ledger.owned_by(&bob, Kind::Session).await),
        BTreeSet::from([key(2)])
    );
    assert_eq!(
        keys(ledger.created_by("basic:alice", Kind::Session).await),
        BTreeSet::from([key(1), key(2)])
    );
    assert_eq!(keys(ledger.all(Kind::Batch).await), BTreeSet::from([key(3)]));
    assert_eq!(ledger.owned_by(&bob, Kind::Batch).await, []);
}

async fn an_unknown_key_is_no_error(ledger: Shared) {
    assert!(!ledger.settle(&key(1), Settlement::Gone, None, seconds(1)).await);
    assert_eq!(ledger.get(&key(1)).await, None);
    assert_eq!(ledger.by_id(Kind::Session, id(1)).await, None);
    ledger
        .forget_gone(Kind::Session, seconds(1), &HashSet::new())
        .await;
}

/// A restart, for the ledgers that outlive one.
mod restart {
    use super::*;

    /// What opens the ledger again and again.
    fn stores() -> [Box<dyn Fn(u64) -> Shared>; 2] {
        let disk = Disk::default();
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().to_owned();
        [
            Box::new(move |at| Arc::new(disk.ledger(seconds(at))) as Shared),
            Box::new(move |at| {
                let _keep = &directory;
                Arc::new(
                    FileLedger::open(&path, seconds(at), IfSpoiled::BeginAnew)
                        .unwrap()
                        .0,
                ) as Shared
            }),
        ]
    }

    #[tokio::test]
    async fn everything_that_is_not_gone_comes_back_and_what_was_open_is_in_doubt() {
        for open in stores() {
            let ledger = open(0);
            let named = Reservation {
                name: Some("etl".into()),
                idempotency: Some(Idempotency {
                    key: [1; 32],
                    body: [2; 32],
                }),
                ..reservation(1, 9)
            };
            ledger.reserve(named, seconds(1)).await.unwrap();
            own(&ledger, 2).await;
            own(&ledger, 3).await;
            ledger
                .settle(&key(3), Settlement::Finished(id(3)), None, seconds(3))
                .await;
            own(&ledger, 4).await;
            ledger.settle(&key(4), Settlement::Gone, None, seconds(3)).await;
            let found = Place {
                key: PlaceKey::Found(Kind::Session, id(5)),
                ..place(5)
            };
            ledger.adopt(found.clone(), seconds(3)).await;
            ledger.adopt(place(6), seconds(3)).await;
            assert_eq!(held(&ledger).await, 4);
            let mut before = ledger.all(Kind::Session).await;
            drop(ledger);

            let ledger = open(100);
            before.retain(|place| place.standing != Standing::Gone && place.key != found.key);
            for place in &mut before {
                let place = Arc::make_mut(place);
                place.changed = seconds(100);
                if place.standing == Standing::Open {
                    place.standing = Standing::InDoubt;
                }
            }
            let mut after = ledger.all(Kind::Session).await;
            before.sort_by(|one, other| one.key.cmp(&other.key));
            after.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(after, before);
            assert_eq!(held(&ledger).await, 3, "the found one is found again");
            let again = ledger
                .reserve(
                    Reservation {
                        name: Some("etl".into()),
                        ..reservation(9, 9)
                    },
                    seconds(101),
                )
                .await;
            assert_eq!(again, Err(NoPlace::NameTaken { id: None }));
        }
    }

    #[tokio::test]
    async fn a_list_from_before_the_start_decides_nothing() {
        for open in stores() {
            let ledger = open(0);
            own(&ledger, 1).await;
            drop(ledger);
            let ledger = open(100);
            let list = Some(seconds(100));
            assert!(!ledger.settle(&key(1), Settlement::Gone, list, seconds(101)).await);
            let list = Some(seconds(101));
            assert!(ledger.settle(&key(1), Settlement::Gone, list, seconds(102)).await);
            drop(ledger);
            assert_eq!(open(200).all(Kind::Session).await, []);
        }
    }
}
