use std::pin::Pin;
use std::task::{Context, Waker};

use super::*;
use crate::ledger::testing::{Disk, DiskLedger, Fault, alice, id, key, marker, place, reservation, seconds};
use crate::ledger::{Standing, Unavailable};

fn held(ledger: &DiskLedger) -> u64 {
    ledger.0.image().held(&Scope::User(alice())).sessions
}

/// Waits for what another thread does by itself.
async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(seconds(20), wait).await.unwrap();
}

fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> bool {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[tokio::test]
async fn a_full_disk_refuses_creations_and_answers_everything_else() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    ledger.reserve(reservation(1, 9), seconds(1)).await.unwrap();
    disk.set(Fault::Full);
    let refused = ledger.reserve(reservation(2, 9), seconds(2)).await;
    assert_eq!(
        refused,
        Err(NoPlace::Unavailable(Unavailable(
            "no space left on device".to_owned()
        )))
    );
    assert!(!ledger.is_available());
    assert_eq!(ledger.get(&key(2)).await, None);
    assert_eq!(held(&ledger), 1);
    let owned = Settlement::Owned(id(1));
    assert!(ledger.settle(&key(1), owned, None, seconds(3)).await);
    assert_eq!(ledger.by_id(Kind::Session, id(1)).await.unwrap().key, key(1));
}

#[tokio::test]
async fn a_ledger_whose_disk_works_again_writes_what_it_owes_without_being_asked() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    ledger.reserve(reservation(1, 9), seconds(1)).await.unwrap();
    disk.set(Fault::Full);
    let owned = Settlement::Owned(id(1));
    ledger.settle(&key(1), owned, None, seconds(2)).await;
    until(|| !ledger.is_available()).await;
    disk.set(Fault::None);
    until(|| ledger.is_available()).await;
    let after = disk.copy().ledger(seconds(9));
    assert_eq!(after.get(&key(1)).await.unwrap().standing.id(), Some(id(1)));
}

#[tokio::test]
async fn a_settlement_that_was_not_written_is_in_doubt_after_a_crash() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    ledger.reserve(reservation(1, 9), seconds(1)).await.unwrap();
    disk.set(Fault::Full);
    ledger.settle(&key(1), Settlement::Gone, None, seconds(2)).await;
    assert_eq!(held(&ledger), 0, "in force all the same");
    let after = disk.copy().ledger(seconds(9));
    assert_eq!(after.get(&key(1)).await.unwrap().standing, Standing::InDoubt);
}

#[tokio::test]
async fn a_reservation_that_failed_is_not_on_the_disk_though_it_was_written() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    disk.set(Fault::Liar);
    let refused = ledger.reserve(reservation(1, 9), seconds(1)).await;
    assert!(matches!(refused, Err(NoPlace::Unavailable(_))));
    disk.set(Fault::None);
    until(|| ledger.is_available()).await;
    ledger.flush().await;
    assert_eq!(disk.markers(), Vec::<String>::new());
}

#[tokio::test]
async fn refusals_and_reads_write_nothing() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    ledger.reserve(reservation(1, 1), seconds(1)).await.unwrap();
    let before = disk.writes();
    for number in 2..50 {
        assert!(ledger.reserve(reservation(number, 1), seconds(2)).await.is_err());
    }
    ledger.settle(&key(7), Settlement::Gone, None, seconds(3)).await;
    ledger
        .forget_gone(Kind::Session, seconds(9), &HashSet::new())
        .await;
    assert_eq!(ledger.all(Kind::Session).await.len(), 1);
    drop(ledger);
    assert_eq!(disk.writes(), before);
}

#[tokio::test]
async fn many_reservations_share_a_write() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    let paused = disk.pause();
    let mut all: Vec<_> = (0..500)
        .map(|number| ledger.reserve(reservation(number, 999), seconds(1)))
        .collect();
    for future in &mut all {
        assert!(!poll_once(future), "not before it is written");
    }
    drop(paused);
    for future in all {
        future.await.unwrap();
    }
    assert!(disk.writes() < 20, "{}", disk.writes());
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_write_takes_no_place() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    let paused = disk.pause();
    let mut reserving = ledger.reserve(reservation(1, 1), seconds(1));
    assert!(!poll_once(&mut reserving));
    assert_eq!(held(&ledger), 1);
    drop(reserving);
    assert_eq!(held(&ledger), 0);
    drop(paused);
    ledger.flush().await;
    assert_eq!(disk.markers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_caller_that_leaves_after_the_write_takes_no_place() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    let mut reserving = ledger.reserve(reservation(1, 1), seconds(1));
    assert!(!poll_once(&mut reserving));
    // The answer is on its way, and nobody will hear it.
    ledger.flush().await;
    assert_eq!(disk.markers(), [marker(1).to_string()]);
    drop(reserving);
    assert_eq!(held(&ledger), 0);
    ledger.flush().await;
    assert_eq!(disk.markers(), Vec::<String>::new());
    ledger.reserve(reservation(2, 1), seconds(2)).await.unwrap();
}

#[tokio::test]
async fn what_was_found_at_livy_is_not_written_down() {
    let disk = Disk::default();
    let ledger = disk.ledger(seconds(0));
    let found = Place {
        key: PlaceKey::Found(Kind::Session, id(3)),
        ..place(3)
    };
    ledger.adopt(found, seconds(1)).await;
    ledger.adopt(place(4), seconds(1)).await;
    ledger.flush().await;
    assert_eq!(disk.markers(), [marker(4).to_string()]);
}
