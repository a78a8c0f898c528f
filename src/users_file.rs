//! Edits a users file: who is in it, and with which hash.
//!
//! What a line may be is decided by [`Users`]; what other lines say is not touched, comments included.

use std::fs;
use std::path::Path;

use crate::authn::password::{Scheme, begins_as_hash};
use crate::authn::{User, Users, UsersProblem, WeakHashes};
use crate::safe_edit::{EditError, at, edit, joined};

/// Why a users file could not be edited or listed.
#[derive(Debug, thiserror::Error)]
pub enum UsersFileError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] EditError),
    /// The new line would not load.
    #[error("{0}")]
    Line(String),
    /// The file does not load; every problem.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    File(Vec<UsersProblem>),
}

/// One user, as `users list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The name.
    pub name: String,
    /// How the password is stored.
    pub scheme: Scheme,
    /// The groups.
    pub groups: Vec<String>,
}

/// Whether a user was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// A line more.
    New,
    /// The line of that name was replaced.
    Replaced,
}

/// Adds `name` with `hash`, as [`crate::authn::hash_password`] makes it, or puts them in the place of the line of that
/// name. `groups` None keeps the groups which that line had. A file that is not there is created, for its owner alone.
pub fn add(path: &Path, name: &str, hash: &str, groups: Option<&[String]>) -> Result<Added, UsersFileError> {
    edit(path, |text| {
        let mut lines: Vec<&str> = text.lines().collect();
        let place = lines.iter().position(|line| is_of(line, name));
        let kept = place.and_then(|place| lines.get(place)).and_then(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            // After a password in plain text, what follows a colon is a part of it and no group.
            fields.next().filter(|stored| begins_as_hash(stored))?;
            fields.next()
        });
        let groups = groups.map(|groups| groups.join(","));
        let line = match groups.as_deref().or(kept) {
            Some(groups) if !groups.is_empty() => format!("{name}:{hash}:{groups}"),
            Some(_) | None => format!("{name}:{hash}"),
        };
        // Alone in a file it must load; a line break in a name would make it two.
        if line.contains(['\n', '\r']) {
            return Err(UsersFileError::Line(
                "a name, hash or group holds a line break".into(),
            ));
        }
        if let Err(problems) = Users::parse(&line) {
            let messages: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
            return Err(UsersFileError::Line(messages.join("; ")));
        }
        let is_twin = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(of, _)| of != name && of.eq_ignore_ascii_case(name))
        };
        if let Some((twin, _)) = lines
            .iter()
            .find(|line| is_twin(line))
            .and_then(|line| line.split_once(':'))
        {
            return Err(UsersFileError::Line(format!(
                "user '{twin}' is there already, and '{name}' differs from it in the case of letters only"
            )));
        }
        let added = match place.and_then(|place| lines.get_mut(place)) {
            Some(old) => {
                *old = &line;
                Added::Replaced
            }
            None => {
                lines.push(&line);
                Added::New
            }
        };
        Ok((added, Some(joined(&lines))))
    })
}

/// Takes `name` out; false if it was not there, and then nothing is written.
pub fn remove(path: &Path, name: &str) -> Result<bool, UsersFileError> {
    edit(path, |text| {
        let kept: Vec<&str> = text.lines().filter(|line| !is_of(line, name)).collect();
        let removed = kept.len() != text.lines().count();
        Ok((removed, removed.then(|| joined(&kept))))
    })
}

/// Every user in the file's order, if the file loads where weak hashes are allowed.
pub fn list(path: &Path) -> Result<Vec<ListedUser>, UsersFileError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    let users = Users::parse_with(&text, WeakHashes::Allowed).map_err(UsersFileError::File)?;
    let mut found: Vec<&User> = users.iter().collect();
    found.sort_by_key(|user| user.line());
    Ok(found
        .into_iter()
        .map(|user| ListedUser {
            name: user.name().to_owned(),
            scheme: user.scheme(),
            groups: user.groups().iter().map(ToString::to_string).collect(),
        })
        .collect())
}

fn is_of(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(of, _)| of == name)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::thread;

    use super::*;

    fn hash(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_first_user_makes_a_file_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        assert_eq!(
            add(&path, "alice", &hash("one"), Some(&["a".into(), "b".into()])).unwrap(),
            Added::New
        );
        assert_eq!(mode_of(&path), 0o600);
        let users = Users::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(users.verify("alice", b"one").unwrap().groups().len(), 2);
    }

    #[test]
    fn replacing_a_user_keeps_its_groups_and_everything_else_to_the_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let (old, bob, new) = (hash("old"), hash("bob"), hash("new"));
        fs::write(
            &path,
            format!("# people\n\nalice:{old}:a,b\n# the other one\nbob:{bob}"),
        )
        .unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();

        assert_eq!(add(&path, "alice", &new, None).unwrap(), Added::Replaced);

        let expected = format!("# people\n\nalice:{new}:a,b\n# the other one\nbob:{bob}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(mode_of(&path), 0o640);
        assert_eq!(add(&path, "alice", &new, Some(&[])).unwrap(), Added::Replaced);
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .contains(&format!("alice:{new}\n"))
        );
    }

    #[test]
    fn a_user_is_removed_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let (alice, al) = (hash("1"), hash("2"));
        fs::write(&path, format!("# alice:old\nalice:{alice}\nal:{al}\n")).unwrap();
        assert!(remove(&path, "alice").unwrap());
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("# alice:old\nal:{al}\n")
        );
        assert!(!remove(&path, "alice").unwrap());
    }

    #[test]
    fn a_line_that_would_not_load_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let good = hash("one");
        add(&path, "alice", &good, None).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        for (name, hash, groups) in [
            ("bo b", good.as_str(), vec![]),
            ("", &good, vec![]),
            ("#bob", &good, vec![]),
            ("bob:x", &good, vec![]),
            ("bob", "hunter2", vec![]),
            ("ALICE", &good, vec![]),
            ("bob\nroot", &good, vec![]),
            ("bob", &good, vec!["a b".to_owned()]),
            ("bob", &good, vec!["a\nroot:x".to_owned()]),
        ] {
            let refused = add(&path, name, hash, Some(&groups)).unwrap_err();
            assert!(matches!(refused, UsersFileError::Line(_)), "{name:?}: {refused}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn a_file_with_weak_lines_is_listed_and_edited_without_asking_for_the_others_sake() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let weak = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nbob:plain\n";
        fs::write(&path, weak).unwrap();
        let new = hash("new");
        assert_eq!(add(&path, "carol", &new, None).unwrap(), Added::New);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{weak}carol:{new}\n"));
        let schemes = |path| {
            list(path)
                .unwrap()
                .into_iter()
                .map(|user| user.scheme)
                .collect::<Vec<_>>()
        };
        assert_eq!(schemes(&path), [Scheme::Sha1, Scheme::PlainText, Scheme::Bcrypt]);
        add(&path, "alice", &hash("one"), None).unwrap();
        assert!(remove(&path, "bob").unwrap());
        assert_eq!(schemes(&path), [Scheme::Bcrypt, Scheme::Bcrypt]);
    }

    #[test]
    fn one_line_of_a_file_that_does_not_load_can_be_mended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        fs::write(&path, "alice:$1$x$y\nbob:$1$x$y\n").unwrap();
        let UsersFileError::File(problems) = list(&path).unwrap_err() else {
            panic!("the file does not load");
        };
        assert_eq!(problems.len(), 2);
        add(&path, "alice", &hash("one"), None).unwrap();
        add(&path, "bob", &hash("two"), None).unwrap();
        let names: Vec<_> = list(&path).unwrap().into_iter().map(|user| user.name).collect();
        assert_eq!(names, ["alice", "bob"]);
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("users"), directory.path().join("link"));
        add(&path, "alice", &hash("one"), None).unwrap();
        symlink(&path, &link).unwrap();
        add(&link, "bob", &hash("two"), None).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(list(&path).unwrap().len(), 2);
    }

    #[test]
    fn writers_at_the_same_time_lose_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let hash = hash("one");
        thread::scope(|scope| {
            for number in 0..16 {
                let (path, hash) = (&path, &hash);
                scope.spawn(move || add(path, &format!("user{number}"), hash, None).unwrap());
            }
        });
        assert_eq!(list(&path).unwrap().len(), 16);
    }

    #[test]
    fn what_a_writer_that_died_left_behind_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        fs::write(path.with_extension("new"), "half a li").unwrap();
        add(&path, "alice", &hash("one"), None).unwrap();
        assert_eq!(list(&path).unwrap().len(), 1);
        assert!(!path.with_extension("new").exists());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let refused = list(Path::new("/nonexistent/users")).unwrap_err();
        assert!(
            refused.to_string().starts_with("/nonexistent/users: "),
            "{refused}"
        );
    }

    #[test]
    fn a_part_of_a_password_in_plain_text_becomes_no_group() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        for (stored, kept) in [
            ("hunter2:admins", ""),
            ("$ecret:admins", ""),
            (&format!("{}:admins", hash("old")), ":admins"),
            ("$apr1$damaged:admins", ":admins"),
        ] {
            fs::write(&path, format!("alice:{stored}\n")).unwrap();
            let new = hash("new");
            add(&path, "alice", &new, None).unwrap();
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                format!("alice:{new}{kept}\n"),
                "{stored}"
            );
        }
    }
}
