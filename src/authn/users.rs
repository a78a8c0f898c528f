//! The users file: `name:hash[:group,group]`, one user a line; blank lines and lines that begin with `#` are skipped.
//!
//! One bad line refuses the whole file: a file that loads in part would lock out, or let in, whom nobody meant.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::password::{PASSWORD_BYTES_MAX, Scheme, StoredHash};
use super::{Source, Subject, fingerprint};
use crate::denial::quotable;

/// A line of a users file that cannot be used, and what to do about it. Never holds a hash or a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersProblem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for UsersProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// One line of a users file.
#[derive(Debug)]
pub struct User {
    name: Arc<str>,
    groups: Arc<[Arc<str>]>,
    hash: StoredHash,
    line: usize,
    version: u64,
}

/// A loaded users file, with at least one user.
#[derive(Debug)]
pub struct Users {
    by_name: HashMap<Arc<str>, User>,
    dearest: Arc<str>,
}

impl Users {
    /// Reads the whole file, or says everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<UsersProblem>> {
        let mut by_name: HashMap<Arc<str>, User> = HashMap::new();
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let read = User::parse(number, line).and_then(|user| match by_name.get(&user.name) {
                Some(first) => Err(format!(
                    "user '{}' stands on line {} already; keep one of the two",
                    user.name, first.line
                )),
                None => Ok(user),
            });
            match read {
                Ok(user) => drop(by_name.insert(Arc::clone(&user.name), user)),
                Err(message) => problems.push(UsersProblem {
                    line: number,
                    message,
                }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let dearest = by_name
            .values()
            .max_by_key(|user| (user.hash.cost_micros(), user.line))
            .map(|user| Arc::clone(&user.name));
        match dearest {
            Some(dearest) => Ok(Self { by_name, dearest }),
            // Rather a half-written file than a decision to lock everybody out.
            None => Err(vec![UsersProblem {
                line: 1,
                message: "the file names no user; add one with `livy-gateway users add`".into(),
            }]),
        }
    }

    /// Checks a password. Takes the processor for as long as the hash was made to take, so it belongs on a thread that
    /// may block. A user who is not in the file costs what the dearest hash of the file costs: how long a refusal
    /// takes must not tell who is there.
    pub fn verify(&self, user: &str, password: &[u8]) -> Option<Subject> {
        // The same for everybody, so it tells nothing.
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        let known = self.by_name.get(user);
        let checked = known.or_else(|| self.by_name.get(&self.dearest))?;
        let matched = checked.hash.matches(password);
        known
            .filter(|_| matched)
            .map(|user| Subject::proven(Source::Basic, Arc::clone(&user.name), Arc::clone(&user.groups)))
    }

    /// Changes whenever that user's stored hash or groups change; None for a user who is not there. For cache keys.
    pub fn version_of(&self, user: &str) -> Option<u64> {
        self.get(user).map(|user| user.version)
    }

    /// That user's line.
    pub fn get(&self, user: &str) -> Option<&User> {
        self.by_name.get(user)
    }

    /// Every user, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.by_name.values()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no user; never so, because such a file does not load.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

impl User {
    fn parse(number: usize, line: &str) -> Result<Self, String> {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let hash = fields
            .next()
            .ok_or("there is no colon; write name:hash or name:hash:group,group")?;
        let groups = fields.next();
        if fields.next().is_some() {
            return Err("there are more than three fields; write name:hash or name:hash:group,group".into());
        }
        if !is_name(name) {
            return Err(format!(
                "'{}' cannot be a user name; names begin with a letter, a digit or _ and go on with these and . @ - \
                 up to 128 characters",
                quotable(name)
            ));
        }
        let hash = StoredHash::parse(hash).map_err(|problem| format!("user '{name}': {problem}"))?;
        let groups = groups.map_or(Ok(Vec::new()), |list| parse_groups(name, list))?;
        let version =
            fingerprint(std::iter::once(hash.as_bytes()).chain(groups.iter().map(|group| group.as_bytes())));
        Ok(Self {
            name: name.into(),
            groups: groups.into(),
            hash,
            line: number,
            version,
        })
    }

    /// As the file writes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The groups of the line's third field.
    pub fn groups(&self) -> &[Arc<str>] {
        &self.groups
    }

    /// How the password is stored.
    pub fn scheme(&self) -> Scheme {
        self.hash.scheme()
    }

    /// Where it stands, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

fn parse_groups(user: &str, list: &str) -> Result<Vec<Arc<str>>, String> {
    list.split(',')
        .map(|group| {
            if is_name(group) {
                Ok(group.into())
            } else {
                Err(format!(
                    "user '{user}': '{}' cannot be a group; write group,group without blanks, each of letters, digits \
                     and . _ @ -",
                    quotable(group)
                ))
            }
        })
        .collect()
}

/// `alice`, `a.b@example.org`, `_svc-1`: nothing that a URL, a rule or a log line could read in another way.
fn is_name(text: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.as_bytes().first().is_some_and(begins) && text.len() <= 128 && text.bytes().all(within)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use argon2::PasswordHasher;

    use super::*;

    fn hash(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    fn messages(text: &str) -> Vec<String> {
        Users::parse(text)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_of_users_groups_comments_and_blank_lines_loads() {
        let text = format!(
            "# people\n\nalice:{}:analysts,admins\r\na.b@example.org:{}\n  \n",
            hash("one"),
            hash("two")
        );
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 2);
        let subject = users.verify("alice", b"one").unwrap();
        assert_eq!(subject.to_string(), "basic:alice");
        assert_eq!(subject.groups(), [Arc::from("analysts"), Arc::from("admins")]);
        assert!(
            users
                .verify("a.b@example.org", b"two")
                .unwrap()
                .groups()
                .is_empty()
        );
        assert_eq!(users.get("a.b@example.org").unwrap().line(), 4);
    }

    #[test]
    fn only_the_users_own_password_in_its_own_spelling_verifies() {
        let users = Users::parse(&format!("alice:{}\nbob:{}", hash("one"), hash("two"))).unwrap();
        for (user, password) in [
            ("alice", "two"),
            ("alice", "One"),
            ("alice", "one "),
            ("alice", ""),
            ("Alice", "one"),
            ("alice ", "one"),
            ("carol", "one"),
            ("", "one"),
        ] {
            assert_eq!(users.verify(user, password.as_bytes()), None, "{user}:{password}");
        }
    }

    #[test]
    fn every_bad_line_is_reported_and_refuses_the_file() {
        let good = hash("one");
        let text = format!(
            "alice:{good}\nbob:$apr1$x$y\nno colon\nalice:{good}\nc d:{good}\nerin:hunter2\nfred:{good}:a, b\ngil:{good}:a:b\n{good}"
        );
        assert_eq!(
            messages(&text),
            [
                "line 2: user 'bob': $apr1$ hashes are not supported; set the password anew with `livy-gateway users add`",
                "line 3: there is no colon; write name:hash or name:hash:group,group",
                "line 4: user 'alice' stands on line 1 already; keep one of the two",
                "line 5: 'c d' cannot be a user name; names begin with a letter, a digit or _ and go on with these and . @ - up to 128 characters",
                "line 6: user 'erin': what follows the name is not an argon2id or bcrypt hash; set the password anew with `livy-gateway users add`",
                "line 7: user 'fred': ' b' cannot be a group; write group,group without blanks, each of letters, digits and . _ @ -",
                "line 8: there are more than three fields; write name:hash or name:hash:group,group",
                "line 9: there is no colon; write name:hash or name:hash:group,group",
            ]
        );
    }

    #[test]
    fn a_file_without_users_does_not_load() {
        for text in ["", "\n\n", "# alice:x\n"] {
            assert_eq!(
                messages(text),
                ["line 1: the file names no user; add one with `livy-gateway users add`"]
            );
        }
    }

    #[test]
    fn odd_names_are_refused() {
        for name in [
            "",
            ".a",
            "-a",
            "@a",
            "a b",
            " a",
            "a/b",
            "a%b",
            "é",
            "\u{feff}a",
            &"a".repeat(129),
        ] {
            assert!(!is_name(name), "{name:?}");
        }
        for name in ["a", "_svc", "0", "A.b-c@d", &"a".repeat(128)] {
            assert!(is_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_version_changes_with_the_hash_and_the_groups_of_that_user_alone() {
        let (one, two) = (hash("one"), hash("two"));
        let version = |text: String| Users::parse(&text).unwrap().version_of("alice").unwrap();
        let before = version(format!("alice:{one}:a,b"));
        assert_eq!(version(format!("bob:{two}\nalice:{one}:a,b")), before);
        assert_ne!(version(format!("alice:{two}:a,b")), before);
        assert_ne!(version(format!("alice:{one}:ab")), before);
        assert_ne!(version(format!("alice:{one}")), before);
        assert_eq!(
            Users::parse(&format!("alice:{one}")).unwrap().version_of("bob"),
            None
        );
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the claim is about the processor's time, not the clock's"
    )]
    fn an_unknown_user_costs_what_the_dearest_hash_costs() {
        let dear = bcrypt::hash("secret", 8).unwrap();
        let users = Users::parse(&format!("alice:{}\nbob:{dear}\ncarol:{}", hash("a"), hash("c"))).unwrap();
        let quickest = |user: &str| {
            (0..3)
                .map(|_| {
                    let began = Instant::now();
                    assert_eq!(users.verify(user, b"wrong"), None);
                    began.elapsed()
                })
                .min()
                .unwrap()
        };
        // Sixteen times the work of a cheap one: half of that leaves room for a busy machine.
        assert!(quickest("nobody") > quickest("alice") * 8);
    }

    #[test]
    fn a_password_beyond_the_cap_is_refused_before_it_is_hashed() {
        let cheap = argon2::Params::new(8, 1, 1, None).unwrap();
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
        let users = |password: &[u8]| {
            let hash = argon2
                .hash_password_with_salt(password, b"salt of the test")
                .unwrap();
            Users::parse(&format!("alice:{hash}")).unwrap()
        };
        let longest = [b'x'; 1024];
        assert!(users(&longest).verify("alice", &longest).is_some());
        let longer = [b'x'; 1025];
        assert_eq!(users(&longer).verify("alice", &longer), None);
    }

    #[test]
    fn debug_output_shows_no_hash() {
        let stored = hash("one");
        let users = Users::parse(&format!("alice:{stored}")).unwrap();
        assert!(!format!("{users:?}").contains(&stored));
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_file_holds_it_loads_or_each_problem_has_its_line(text in "(([a-c#]{0,2}:?(\\$2b\\$04\\$|\\$argon2id\\$v=19\\$)?[ -~é]{0,12}\n){0,6})") {
            if let Err(problems) = Users::parse(&text) {
                proptest::prop_assert!(!problems.is_empty());
                for problem in problems {
                    proptest::prop_assert!((1..=text.lines().count().max(1)).contains(&problem.line));
                }
            }
        }
    }
}
