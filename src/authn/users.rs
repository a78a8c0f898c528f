//! The users file: `name:hash[:group,group]`, one user a line; blank lines and lines that begin with `#` are skipped.
//!
//! One bad line refuses the whole file: a file that loads in part would lock out, or let in, whom nobody meant.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::password::{PASSWORD_BYTES_MAX, SET_ANEW, Scheme, StoredHash};
use super::{Source, Subject, fingerprint};
use crate::denial::quotable;

/// A line of a users or tokens file that cannot be used, and what to do about it. Never holds a hash or a password.
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

/// Whether a line may store a password so that who reads the file has it, or within seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeakHashes {
    /// Such a line refuses the file.
    Refused,
    /// The operator allows them: `basic.allow_weak_hashes`.
    Allowed,
}

/// A loaded users file, with at least one user.
#[derive(Debug)]
pub struct Users {
    by_name: HashMap<Arc<str>, User>,
    /// The dearest user of each kind of work that a check in this file may be.
    samples: Vec<Arc<str>>,
}

/// What a check costs, roughly: its scheme, and its cost to a factor of two.
type Work = (Scheme, u32);

impl Users {
    /// Reads the whole file, or says everything that is wrong with it; weak hashes are.
    pub fn parse(text: &str) -> Result<Self, Vec<UsersProblem>> {
        Self::parse_with(text, WeakHashes::Refused)
    }

    /// Reads the whole file, with or without weak hashes.
    pub fn parse_with(text: &str, weak: WeakHashes) -> Result<Self, Vec<UsersProblem>> {
        let mut by_name: HashMap<Arc<str>, User> = HashMap::new();
        let mut lines_by_folded_name = HashMap::new();
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let read = User::parse(number, line, weak).and_then(|user| {
                let folded = user.name.to_ascii_lowercase();
                match lines_by_folded_name.get(&folded) {
                    Some(first) if by_name.contains_key(&user.name) => Err(format!(
                        "user '{}' stands on line {first} already; keep one of the two",
                        user.name
                    )),
                    // At Livy the two would be two people, and behind it, on Windows or in a directory, one.
                    Some(first) => Err(format!(
                        "user '{}' differs from the one on line {first} in the case of letters only; keep one of the two",
                        user.name
                    )),
                    None => {
                        lines_by_folded_name.insert(folded, number);
                        Ok(user)
                    }
                }
            });
            match read {
                Ok(user) => drop(by_name.insert(Arc::clone(&user.name), user)),
                Err(message) => problems.push(UsersProblem {
                    line: number,
                    message,
                }),
            }
        }
        if by_name.is_empty() && problems.is_empty() {
            // Rather a half-written file than a decision to lock everybody out.
            problems.push(UsersProblem {
                line: 1,
                message: "the file names no user; add one with `livy-gateway users add`".into(),
            });
        }
        if problems.is_empty() {
            let samples = samples(&by_name);
            Ok(Self { by_name, samples })
        } else {
            Err(problems)
        }
    }

    /// Checks a password. Takes the processor for as long as the hash was made to take, so it belongs on a thread that
    /// may block. How long a refusal takes does not tell who is in the file, nor how their password is stored: each
    /// does every kind of work that the file has.
    pub fn verify(&self, user: &str, password: &[u8]) -> Option<Subject> {
        // The same for everybody, so it tells nothing.
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        self.verify_by(user, |hash| hash.matches(password))
    }

    fn verify_by(&self, name: &str, mut check: impl FnMut(&StoredHash) -> bool) -> Option<Subject> {
        let known = self.by_name.get(name);
        if let Some(user) = known.filter(|user| check(&user.hash)) {
            let (name, groups) = (Arc::clone(&user.name), Arc::clone(&user.groups));
            return Some(Subject::proven(Source::Basic, name, groups));
        }
        let done = known.map(User::work);
        let others = self.samples.iter().filter_map(|sample| self.by_name.get(sample));
        for sample in others.filter(|sample| Some(sample.work()) != done) {
            // Whatever it says: nobody is let in for somebody else's password.
            std::hint::black_box(check(&sample.hash));
        }
        None
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
    fn parse(number: usize, line: &str, weak: WeakHashes) -> Result<Self, String> {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let hash = fields
            .next()
            .ok_or("there is no colon; write name:hash or name:hash:group,group")?;
        let groups = fields.next();
        let is_too_long = fields.next().is_some();
        if !is_name(name) {
            return Err(format!(
                "'{}' cannot be a user name; names begin with a letter, a digit or _ and go on with these and . @ - \
                 up to 128 characters",
                quotable(name)
            ));
        }
        let hash = StoredHash::parse(hash)
            .and_then(|hash| accepted(hash, weak))
            .map_err(|problem| format!("user '{name}': {problem}"))?;
        if hash.scheme() == Scheme::PlainText && groups.is_some() {
            return Err(format!(
                "user '{name}': a password in plain text can hold no colon, and its line no groups; {SET_ANEW}"
            ));
        }
        if is_too_long {
            return Err("there are more than three fields; write name:hash or name:hash:group,group".into());
        }
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

    fn work(&self) -> Work {
        (self.hash.scheme(), self.hash.cost_micros().max(1).ilog2())
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

/// One user of each kind of work, the dearest.
fn samples(by_name: &HashMap<Arc<str>, User>) -> Vec<Arc<str>> {
    let mut dearest: HashMap<Work, &User> = HashMap::new();
    for user in by_name.values() {
        let sample = dearest.entry(user.work()).or_insert(user);
        if (user.hash.cost_micros(), user.line) > (sample.hash.cost_micros(), sample.line) {
            *sample = user;
        }
    }
    dearest.into_values().map(|user| Arc::clone(&user.name)).collect()
}

fn accepted(hash: StoredHash, weak: WeakHashes) -> Result<StoredHash, String> {
    let allow = "or write allow_weak_hashes = true in [basic]";
    match (hash.scheme(), weak) {
        (Scheme::PlainText, WeakHashes::Refused) => Err(format!(
            "what follows the name is no hash that is known; {SET_ANEW}, {allow} if it is the password in plain text"
        )),
        (scheme, WeakHashes::Refused) if scheme.is_weak() => Err(format!(
            "{scheme} is weak: from a stolen file the password is read within seconds; {SET_ANEW}, {allow}"
        )),
        (_, WeakHashes::Refused | WeakHashes::Allowed) => Ok(hash),
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
    use argon2::PasswordHasher;

    use super::*;

    fn hash(password: &str) -> String {
        bcrypt::hash(password, 4).unwrap()
    }

    /// Of "secret", made by Apache's htpasswd.
    const APR1: &str = "$apr1$kv9QP7CP$Hk5s910FQNegclZVnc7Ro1";

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
            "alice:{good}\nbob:$1$x$y\nno colon\nalice:{good}\nc d:{good}\nerin:hunter2\nfred:{good}:a, b\ngil:{good}:a:b\n{good}"
        );
        assert_eq!(
            messages(&text),
            [
                "line 2: user 'bob': $1$ hashes are not supported; set the password anew with `livy-gateway users add`",
                "line 3: there is no colon; write name:hash or name:hash:group,group",
                "line 4: user 'alice' stands on line 1 already; keep one of the two",
                "line 5: 'c d' cannot be a user name; names begin with a letter, a digit or _ and go on with these and . @ - up to 128 characters",
                "line 6: user 'erin': what follows the name is no hash that is known; set the password anew with `livy-gateway users add`, or write allow_weak_hashes = true in [basic] if it is the password in plain text",
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

    /// What is hashed when this user's password is wrong, as schemes and costs in some order.
    fn work_of_a_refusal(users: &Users, name: &str) -> Vec<(Scheme, u64)> {
        let mut work = Vec::new();
        let refused = users.verify_by(name, |hash| {
            work.push((hash.scheme(), hash.cost_micros()));
            false
        });
        assert_eq!(refused, None);
        work.sort_by_key(|(scheme, cost)| (*cost, scheme.to_string()));
        work
    }

    #[test]
    fn every_refusal_does_the_same_work_whoever_it_is_about() {
        let (cheap, dear) = (hash("a"), bcrypt::hash("b", 8).unwrap());
        let text = format!(
            "alice:{cheap}\nbob:{dear}\ncarol:{cheap}\ndave:{APR1}\nerin:{{SHA}}{}=\nfred:plain",
            "A".repeat(27)
        );
        let users = Users::parse_with(&text, WeakHashes::Allowed).unwrap();
        let nobody = work_of_a_refusal(&users, "nobody");
        assert_eq!(nobody.len(), 5, "{nobody:?}");
        for name in ["alice", "bob", "carol", "dave", "erin", "fred", "Alice", ""] {
            assert_eq!(work_of_a_refusal(&users, name), nobody, "{name}");
        }
    }

    #[test]
    fn a_file_of_one_kind_of_hash_costs_one_check() {
        let users = Users::parse(&format!("alice:{}\nbob:{}", hash("a"), hash("b"))).unwrap();
        assert_eq!(work_of_a_refusal(&users, "alice").len(), 1);
        assert_eq!(work_of_a_refusal(&users, "nobody").len(), 1);
    }

    #[test]
    fn hashes_of_many_costs_are_a_few_kinds_of_work() {
        let line = |n: u32| format!("u{n}:$5$rounds={}$salt${}\n", 2_500 + n, "x".repeat(43));
        let users = Users::parse(&(0..500).map(line).collect::<String>()).unwrap();
        let work = work_of_a_refusal(&users, "nobody");
        assert!(work.len() <= 2, "{work:?}");
    }

    #[test]
    fn what_is_hashed_for_a_refusal_lets_nobody_in() {
        let users = Users::parse(&format!("alice:{}\nbob:{APR1}", hash("a"))).unwrap();
        for name in ["nobody", "alice"] {
            let mut checks = 0;
            let found = users.verify_by(name, |hash| {
                checks += 1;
                name == "nobody" || hash.scheme() == Scheme::Apr1
            });
            assert_eq!((found, checks), (None, 2), "{name}");
        }
    }

    #[test]
    fn two_names_that_differ_in_case_only_are_refused() {
        let good = hash("one");
        assert_eq!(
            messages(&format!("Alice:{good}\nbob:{good}\nalice:{good}\n")),
            [
                "line 3: user 'alice' differs from the one on line 1 in the case of letters only; keep one of the two"
            ]
        );
    }

    #[test]
    fn weak_hashes_are_refused_by_line_until_they_are_allowed() {
        let text = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=:analysts\nbob:secret\n";
        assert_eq!(
            messages(text),
            [
                "line 1: user 'alice': {SHA} is weak: from a stolen file the password is read within seconds; set the password anew with `livy-gateway users add`, or write allow_weak_hashes = true in [basic]",
                "line 2: user 'bob': what follows the name is no hash that is known; set the password anew with `livy-gateway users add`, or write allow_weak_hashes = true in [basic] if it is the password in plain text",
            ]
        );
        let users = Users::parse_with(text, WeakHashes::Allowed).unwrap();
        assert_eq!(users.verify("alice", b"secret").unwrap().groups().len(), 1);
        assert!(users.verify("bob", b"secret").is_some());
        for name in ["alice", "bob"] {
            for wrong in ["Secret", "secret ", "secre", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="] {
                assert_eq!(users.verify(name, wrong.as_bytes()), None, "{name} {wrong}");
            }
        }
    }

    #[test]
    fn a_colon_in_plain_text_is_refused_where_it_could_be_a_group() {
        for line in ["bob:pass:word", "bob:pass:word:more", "bob:pass:"] {
            let problems = Users::parse_with(line, WeakHashes::Allowed).unwrap_err();
            assert_eq!(
                problems[0].to_string(),
                "line 1: user 'bob': a password in plain text can hold no colon, and its line no groups; set the password anew with `livy-gateway users add`"
            );
        }
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
