//! A process is killed at each single change of the ledger's file, with and without its system's cache, and the next one
//! must make sense of what it left.
//!
//! The test starts itself again as the process that is killed: with the variables below, [`the_killed`] plays a fixed
//! sequence and says on its standard output what was acknowledged, until its disk ends it.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::ledger::store::Store;
use crate::ledger::testing::*;
use crate::ledger::{FileLedger, IfSpoiled, Ledger, Place, PlaceKey, Settlement, Standing, file};
use crate::livy::Kind;
use crate::quota::Scope;

const DIRECTORY: &str = "LEDGER_CRASH_DIRECTORY";
const KILLED_AT: &str = "LEDGER_CRASH_AT";
const LOSS: &str = "LEDGER_CRASH_LOSS";

/// What is done, in this order. All but reservations are in force before they are written.
const SEQUENCE: &[Step] = &[
    Step::Reserve(1),
    Step::Reserve(2),
    Step::Settle(1, Outcome::Owned),
    Step::Reserve(3),
    Step::Settle(2, Outcome::Gone),
    Step::Settle(3, Outcome::Finished),
    Step::Reserve(4),
    Step::Settle(4, Outcome::InDoubt),
    Step::Settle(1, Outcome::Gone),
    Step::Reserve(5),
];

#[derive(Clone, Copy)]
enum Step {
    Reserve(u64),
    Settle(u64, Outcome),
}

#[derive(Clone, Copy)]
enum Outcome {
    Owned,
    Finished,
    InDoubt,
    Gone,
}

impl Outcome {
    fn settlement(self, number: u64) -> Settlement {
        let id = id(u32::try_from(number).unwrap());
        match self {
            Self::Owned => Settlement::Owned(id),
            Self::Finished => Settlement::Finished(id),
            Self::InDoubt => Settlement::InDoubt,
            Self::Gone => Settlement::Gone,
        }
    }
}

#[tokio::test]
async fn the_killed() {
    let (Ok(directory), Ok(killed_at), Ok(lost)) = (env::var(DIRECTORY), env::var(KILLED_AT), env::var(LOSS))
    else {
        return; // Not started by the tests below.
    };
    let loss = Loss::ALL.iter().find(|(_, word)| *word == lost).unwrap().0;
    let faults = Faults::kill_at(killed_at.parse().unwrap(), loss);
    let opened = file::open_with(
        Path::new(&directory),
        seconds(0),
        IfSpoiled::BeginAnew,
        faults.attach(),
    )
    .unwrap();
    let journal = Box::new(opened.journal);
    let store = Store::with_journal(opened.places, seconds(0), journal, Duration::from_secs(1)).unwrap();
    let ledger = DiskLedger(store);
    for (index, step) in SEQUENCE.iter().enumerate() {
        println!("\nbegun {index}");
        match *step {
            Step::Reserve(number) => ledger.reserve(reservation(number, 9), seconds(1)).await.unwrap(),
            Step::Settle(number, outcome) => {
                let settlement = outcome.settlement(number);
                assert!(ledger.settle(&key(number), settlement, None, seconds(1)).await);
            }
        }
        println!("\ndone {index}");
    }
    drop(ledger);
    println!("\ndone {}", SEQUENCE.len());
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_change_leaves_all_that_it_acknowledged() {
    kill_at_every_change(Loss::Nothing).await;
}

#[tokio::test]
async fn a_power_cut_at_any_change_leaves_all_that_was_acknowledged() {
    kill_at_every_change(Loss::Everything).await;
}

#[tokio::test]
async fn a_power_cut_while_the_disk_writes_leaves_all_that_was_acknowledged() {
    kill_at_every_change(Loss::EveryOther).await;
}

async fn kill_at_every_change(loss: Loss) {
    let lost = Loss::ALL.iter().find(|(other, _)| *other == loss).unwrap().1;
    let mut killed = 0;
    for change in 1.. {
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "ledger::crash_tests::the_killed", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(KILLED_AT, change.to_string())
            .env(LOSS, lost)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let last = |word: &str| {
            said.lines()
                .filter_map(|line| line.strip_prefix(word)?.trim().parse::<usize>().ok())
                .max()
                .map_or(0, |index| index + 1)
        };
        // Steps that were begun, and those that were acknowledged.
        let (begun, done) = (last("begun"), last("done"));
        let is_over = done > SEQUENCE.len();
        assert_eq!(output.status.success(), is_over, "{said}");
        check(directory.path(), begun, done.min(SEQUENCE.len()), is_over, change).await;
        if is_over {
            break;
        }
        killed += 1;
    }
    assert!(killed > 30, "killed at {killed} changes only");
}

/// Whatever was written, it lies between what was acknowledged and what was begun.
async fn check(directory: &Path, begun: usize, done: usize, is_over: bool, change: usize) {
    let (ledger, opening) = FileLedger::open(directory, seconds(50), IfSpoiled::BeginAnew).unwrap();
    assert_eq!(opening.set_aside, None, "killed at {change}");
    let places = ledger.all(Kind::Session).await;
    for number in 1..=5 {
        let place = places.iter().find(|place| place.key == key(number));
        let expected = possible(number, begun, done, is_over);
        assert!(
            expected.contains(&word(place.map(Arc::as_ref))),
            "killed at {change}, {number}: {} is none of {expected:?}",
            word(place.map(Arc::as_ref))
        );
    }
    let is_known = |place: &Arc<Place>| (1..=5).any(|number| place.key == key(number));
    assert!(places.iter().all(is_known), "{places:?}");
    let counted = places.iter().filter(|place| place.standing.counts()).count() as u64;
    assert_eq!(ledger.held(&Scope::User(alice())).await.sessions, counted);
    let again = PlaceKey::Marker(marker(9));
    ledger.reserve(reservation(9, 9), seconds(51)).await.unwrap();
    assert!(ledger.get(&again).await.is_some());
}

fn word(place: Option<&Place>) -> &'static str {
    match place.map(|place| place.standing) {
        None => "nothing",
        Some(Standing::Open) => "open",
        Some(Standing::InDoubt) => "in doubt",
        Some(Standing::Owned {
            is_finished: false, ..
        }) => "owned",
        Some(Standing::Owned {
            is_finished: true, ..
        }) => "finished",
        Some(Standing::Gone) => "gone",
    }
}

/// How a place may stand. A later acknowledged reservation shares its write with, or comes after, every step before
/// it, so those are certain.
fn possible(number: u64, begun: usize, done: usize, is_over: bool) -> BTreeSet<&'static str> {
    let certain = if is_over {
        SEQUENCE.len()
    } else {
        SEQUENCE[..done]
            .iter()
            .rposition(|step| matches!(step, Step::Reserve(_)))
            .map_or(0, |index| index + 1)
    };
    let mut possible = BTreeSet::from(["nothing"]);
    for (index, step) in SEQUENCE[..begun].iter().enumerate() {
        let stands = match *step {
            Step::Reserve(of) if of == number => "in doubt",
            Step::Settle(of, outcome) if of == number => match outcome {
                Outcome::Owned => "owned",
                Outcome::Finished => "finished",
                Outcome::InDoubt => "in doubt",
                Outcome::Gone => "nothing",
            },
            Step::Reserve(_) | Step::Settle(..) => continue,
        };
        if index < certain {
            possible.clear();
        }
        possible.insert(stands);
    }
    possible
}
