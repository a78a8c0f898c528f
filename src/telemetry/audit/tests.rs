use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock::ManualClock;

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(Duration::from_secs(1_785_576_600)))
}

fn denial(why: &str) -> Entry {
    Entry::new(Event::Denial, Decision::Refused).because(why)
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn a_record_is_a_line_for_its_own_account_alone_and_says_only_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::open(Some(&path), clock()).unwrap();
    let mut entry = denial("a \"quoted\"\nreason");
    entry.request_id = Some("01a1".to_owned());
    entry.id = Some(0);
    audit.record(&entry);
    audit.flush();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"time\":\"2026-08-01T09:30:00.000Z\",\"event\":\"denial\",\"decision\":\"refused\",\"request_id\":\"01a1\",\
         \"id\":0,\"why\":\"a \\\"quoted\\\"\\nreason\"}\n"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_there_is_written_on_and_one_that_was_renamed_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for why in ["first", "second"] {
        let audit = Audit::open(Some(&path), clock()).unwrap();
        audit.record(&denial(why));
        audit.flush();
    }
    assert_eq!(lines(&path).len(), 2);
    let audit = Audit::open(Some(&path), clock()).unwrap();
    let rotated = folder.path().join("audit.jsonl.1");
    fs::rename(&path, &rotated).unwrap();
    audit.record(&denial("third"));
    audit.flush();
    audit.reopen();
    audit.record(&denial("fourth"));
    audit.flush();
    let whys = |path: &Path| -> Vec<_> { lines(path).iter().map(|line| line["why"].clone()).collect() };
    assert_eq!(whys(&rotated), ["first", "second", "third"]);
    assert_eq!(whys(&path), ["fourth"]);
}

#[test]
fn where_no_file_can_be_it_says_so_at_the_start_and_goes_on_in_the_old_one_later() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Audit::open(Some(folder.path()), clock()).is_err());
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("audit.jsonl");
    let audit = Audit::open(Some(&path), clock()).unwrap();
    let moved = folder.path().join("moved");
    fs::rename(&inner, &moved).unwrap();
    audit.reopen();
    audit.record(&denial("kept"));
    audit.flush();
    assert_eq!(lines(&moved.join("audit.jsonl"))[0]["why"], "kept");
}

/// A thread's end whose queue the test reads itself.
fn far(path: &Path) -> Far {
    Far {
        file: None,
        path: path.to_owned(),
        shared: Arc::default(),
        clock: clock(),
        is_torn: false,
        is_failing: false,
    }
}

#[test]
fn a_queue_that_is_full_stops_nobody_and_what_is_missing_is_told_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut far = far(&path);
    let (notes, noted) = sync_channel(2);
    let near = Near {
        notes,
        shared: Arc::clone(&far.shared),
    };
    for number in 0..5 {
        near.send(line(Duration::ZERO, &denial(&number.to_string())));
    }
    drop(near);
    far.run(&noted);
    let lines = lines(&path);
    assert_eq!(
        (&lines[0]["event"], &lines[0]["lines"]),
        (&"lines_lost".into(), &3.into()),
        "{lines:?}"
    );
    assert_eq!((&lines[1]["why"], &lines[2]["why"]), (&"0".into(), &"1".into()));
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_file_that_could_not_be_written_goes_on_with_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut far = far(&folder.path().join("not there").join("audit.jsonl"));
    far.write(&line(Duration::ZERO, &denial("lost")));
    far.path.clone_from(&path);
    fs::write(&path, "{\"event\":\"den").unwrap();
    far.is_torn = true;
    far.write(&line(Duration::ZERO, &denial("next")));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "{\"event\":\"den");
    assert!(
        lines[1].contains("\"lines\":1") && lines[2].contains("next"),
        "{text}"
    );
}
