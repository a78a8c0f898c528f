use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ledger::store::Store;
use crate::ledger::testing::{DiskLedger, Faults, id, key, marker, place, reservation, seconds};
use crate::ledger::{FileLedger, Ledger, NoPlace, Settlement, Standing};
use crate::livy::Kind;

fn open(directory: &Path) -> (FileLedger, Opening) {
    FileLedger::open(directory, seconds(0), IfSpoiled::BeginAnew).unwrap()
}

fn put(path: &Path, table: TableDefinition<'_, &str, &str>, key: &str, value: &str) {
    let database = open_database(path, Existing::Must, &on_disk).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

fn put_record(path: &Path, record: &[u8]) {
    let database = open_database(path, Existing::Must, &on_disk).unwrap();
    let change = Change {
        marker: marker(1),
        record: Some(record.to_owned()),
    };
    write(&database, &[change]).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_directory_is_free_again_though_a_process_that_is_being_started_has_a_copy_of_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let held = lock(directory.path()).unwrap();
    let copy = held.0.try_clone().unwrap();
    assert!(matches!(lock(directory.path()), Err(OpenError::InUse(_))));
    drop(held);
    assert!(lock(directory.path()).is_ok());
    drop(copy);
}

#[test]
fn the_instance_stays_the_same_from_the_first_start_on() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(one.path()).1;
    assert_eq!(
        (first.places, first.set_aside, first.instance),
        (0, None, open(one.path()).1.instance)
    );
    assert_ne!(first.instance, open(other.path()).1.instance);
}

#[test]
fn nobody_else_may_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state/ledger");
    drop(open(&directory));
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(FILE)), 0o600);
    fs::set_permissions(directory.join(FILE), Permissions::from_mode(0o644)).unwrap();
    drop(open(&directory));
    assert_eq!(mode(&directory.join(FILE)), 0o600);
}

#[test]
fn a_second_gateway_is_refused_and_the_file_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (_first, opening) = open(directory.path());
    let second = FileLedger::open(directory.path(), seconds(0), IfSpoiled::BeginAnew).unwrap_err();
    assert!(matches!(second, OpenError::InUse(_)));
    assert!(
        second.to_string().contains("is used by another gateway"),
        "{second}"
    );
    drop(_first);
    assert_eq!(open(directory.path()).1.instance, opening.instance);
}

#[test]
fn a_database_that_another_program_holds_is_not_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let _other = open_database(&directory.path().join(FILE), Existing::Must, &on_disk).unwrap();
    let refused = FileLedger::open(directory.path(), seconds(0), IfSpoiled::BeginAnew).unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
}

#[test]
fn a_file_of_a_newer_gateway_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let path = directory.path().join(FILE);
    put(&path, META, FORMAT_VERSION_KEY, "7");
    let refused = FileLedger::open(directory.path(), seconds(0), IfSpoiled::BeginAnew).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{} has format version 7, and this gateway reads up to 1; run the newer gateway that wrote it",
            path.display()
        )
    );
    put(&path, META, FORMAT_VERSION_KEY, "1");
    put_record(&path, br#"{"version":3,"color":"red"}"#);
    let refused = FileLedger::open(directory.path(), seconds(0), IfSpoiled::BeginAnew).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { version: 3, .. }));
}

#[tokio::test]
async fn a_file_that_cannot_be_trusted_is_set_aside_and_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let record = record::encode(&place(1)).unwrap();
    let text = String::from_utf8(record).unwrap();
    let unknown_field = text.replace("\"version\":1", "\"version\":1,\"color\":\"red\"");
    type Spoil<'a> = Box<dyn Fn() + 'a>;
    let spoils: [(&str, Spoil<'_>); 6] = [
        ("garbage", Box::new(|| fs::write(&path, [0x5a; 9000]).unwrap())),
        ("nothing", Box::new(|| fs::write(&path, []).unwrap())),
        (
            "cut off",
            Box::new(|| {
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            }),
        ),
        ("no instance", Box::new(|| put(&path, META, INSTANCE_KEY, "NO"))),
        (
            "an unreadable record",
            Box::new(|| put_record(&path, b"{\"version\":1")),
        ),
        (
            "an unknown field",
            Box::new(|| put_record(&path, unknown_field.as_bytes())),
        ),
    ];
    drop(open(directory.path()));
    let mut kept = Vec::new();
    for (number, (what, spoil)) in (1..).zip(&spoils) {
        spoil();
        let (ledger, opening) = open(directory.path());
        let aside = directory.path().join(format!("ledger.redb.corrupt-{number}"));
        assert_eq!(opening.set_aside.as_ref(), Some(&aside), "{what}");
        assert_eq!(opening.places, 0, "{what}");
        kept.push((fs::read(&aside).unwrap(), aside));
        ledger.reserve(reservation(1, 1), seconds(1)).await.unwrap();
        drop(ledger);
        let (_, opening) = open(directory.path());
        assert_eq!((opening.set_aside, opening.places), (None, 1), "{what}");
    }
    assert_eq!(kept[0].0, [0x5a; 9000]);
    for (bytes, aside) in kept {
        assert_eq!(fs::read(&aside).unwrap(), bytes, "{}", aside.display());
    }
}

#[test]
fn a_spoiled_file_that_nothing_can_replace_stays_and_is_refused_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    fs::write(&path, [0x5a; 9000]).unwrap();
    for _ in 0..2 {
        let refused = FileLedger::open(directory.path(), seconds(0), IfSpoiled::Refuse).unwrap_err();
        assert!(matches!(refused, OpenError::Spoiled { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), [0x5a; 9000]);
    }
    // A new one may be begun where there is none.
    fs::remove_file(&path).unwrap();
    let (_, opening) = FileLedger::open(directory.path(), seconds(0), IfSpoiled::Refuse).unwrap();
    assert_eq!((opening.set_aside, opening.places), (None, 0));
}

#[test]
fn a_page_that_was_altered_is_noticed_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    drop(open(directory.path()));
    put_record(&path, &record::encode(&place(1)).unwrap());
    let sound = fs::read(&path).unwrap();
    let at = sound.windows(5).rposition(|bytes| bytes == b"alice").unwrap();
    let mut altered = sound;
    for (at, byte) in (at..).zip(b"mallo") {
        altered[at] = *byte;
    }
    fs::write(&path, altered).unwrap();
    let (_, opening) = open(directory.path());
    assert!(opening.set_aside.is_some());
}

#[test]
fn an_unfinished_beginning_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(UNFINISHED), b"half").unwrap();
    let (_, opening) = open(directory.path());
    assert_eq!(opening.set_aside, None);
    assert!(!directory.path().join(UNFINISHED).exists());
}

#[test]
fn a_file_that_may_not_be_opened_is_not_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    // Stands for whatever the system refuses; a directory is refused to root, too.
    fs::create_dir(directory.path().join(FILE)).unwrap();
    let refused = FileLedger::open(directory.path(), seconds(0), IfSpoiled::BeginAnew).unwrap_err();
    assert!(matches!(refused, OpenError::Failed { .. }), "{refused}");
    assert!(directory.path().join(FILE).is_dir());
}

#[tokio::test]
async fn a_disk_that_fails_refuses_creations_until_it_works_again() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let opened = open_with(
        directory.path(),
        seconds(0),
        IfSpoiled::BeginAnew,
        faults.attach(),
    )
    .unwrap();
    let retry = Duration::from_millis(5);
    let store = Store::with_journal(opened.places, seconds(0), Box::new(opened.journal), retry).unwrap();
    let ledger = DiskLedger(store);
    ledger.reserve(reservation(1, 9), seconds(1)).await.unwrap();
    faults.fail(true);
    for number in [2, 3] {
        let refused = ledger.reserve(reservation(number, 9), seconds(2)).await;
        assert!(matches!(refused, Err(NoPlace::Unavailable(_))), "{refused:?}");
        assert_eq!(ledger.get(&key(number)).await, None);
    }
    let owned = Settlement::Owned(id(1));
    assert!(ledger.settle(&key(1), owned, None, seconds(3)).await);
    assert!(ledger.by_id(Kind::Session, id(1)).await.is_some());
    faults.fail(false);
    ledger.reserve(reservation(4, 9), seconds(4)).await.unwrap();
    drop(ledger);
    let (ledger, opening) = open(directory.path());
    assert_eq!((opening.set_aside, opening.places), (None, 2));
    assert_eq!(ledger.get(&key(1)).await.unwrap().standing.id(), Some(id(1)));
    assert_eq!(ledger.get(&key(4)).await.unwrap().standing, Standing::InDoubt);
}

#[tokio::test]
async fn what_is_gone_leaves_the_file_and_its_room_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let mut journal = super::open(directory.path(), seconds(0), IfSpoiled::BeginAnew)
        .unwrap()
        .journal;
    let record = record::encode(&place(1)).unwrap();
    let numbers = |round: u64| (0..200).map(move |number| round * 1000 + number);
    let mut sizes = Vec::new();
    for round in 0..40 {
        let mut changes: Vec<_> = numbers(round)
            .map(|number| Change {
                marker: marker(number),
                record: Some(record.clone()),
            })
            .collect();
        if round > 0 {
            changes.extend(numbers(round - 1).map(|number| Change {
                marker: marker(number),
                record: None,
            }));
        }
        journal.write(&changes).unwrap();
        sizes.push(fs::metadata(&path).unwrap().len());
    }
    assert!(sizes[39] <= sizes[3], "{sizes:?}");
    drop(journal);
    let (ledger, opening) = open(directory.path());
    assert_eq!(opening.places, 200);
    assert!(ledger.get(&key(39_000)).await.is_some());
    assert_eq!(ledger.all(Kind::Session).await.len(), 200);
}

#[test]
fn a_large_file_with_little_in_it_is_made_smaller_at_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let mut journal = super::open(directory.path(), seconds(0), IfSpoiled::BeginAnew)
        .unwrap()
        .journal;
    let change = |number, record| Change {
        marker: marker(number),
        record,
    };
    let large: Vec<_> = (0..2000)
        .map(|number| change(number, Some(vec![b'x'; 8000])))
        .collect();
    journal.write(&large).unwrap();
    let gone: Vec<_> = (0..2000).map(|number| change(number, None)).collect();
    journal.write(&gone).unwrap();
    drop(journal);
    let before = fs::metadata(&path).unwrap().len();
    drop(open(directory.path()));
    let after = fs::metadata(&path).unwrap().len();
    assert!(before > COMPACT_ABOVE_BYTES, "{before}");
    assert!(after < before / 4, "{before} to {after}");
}
