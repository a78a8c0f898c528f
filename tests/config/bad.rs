//! Bad configurations, and what is said of them.

use std::fs;
use std::path::{Path, PathBuf};

use super::Stage;

/// The folder's `*.toml`, each with the report beside it as `*.txt`.
#[test]
fn every_bad_file_gives_the_text_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_config");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let bad: Vec<_> = files
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    assert!(
        bad.len() >= 30,
        "only {} bad files in {}",
        bad.len(),
        folder.display()
    );
    assert_eq!(
        bad.len() * 2,
        files.len(),
        "each bad file has its text, and there is nothing else"
    );
    let stage = Stage::new();
    let mut differing = Vec::new();
    for path in bad {
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        let said = stage.report(name, &fs::read_to_string(path).unwrap());
        // Written anew where that was asked for; reading the change is the review.
        if said != expected && std::env::var_os("REWRITE_BAD_CONFIG").is_some() {
            fs::write(path.with_extension("txt"), &said).unwrap();
        } else if said != expected {
            differing.push(format!("{name}\n{}", difference(&expected, &said)));
        }
    }
    assert!(
        differing.is_empty(),
        "-: tests/bad_config, +: now\n\n{}",
        differing.join("\n")
    );
}

/// The lines that differ, between the first and the last one that do.
fn difference(expected: &str, said: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), said.lines().collect());
    let same_before = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let shorter = old.len().min(new.len()) - same_before;
    let same_after = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(shorter)
        .take_while(|(old, new)| old == new)
        .count();
    let changed = |lines: &[&str], mark: &str| -> String {
        lines[same_before..lines.len() - same_after]
            .iter()
            .map(|line| format!("{mark} {line}\n"))
            .collect()
    };
    format!("{}{}", changed(&old, "-"), changed(&new, "+"))
}
