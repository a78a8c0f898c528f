//! The groups file: groups of Livy users, written by the operator beside what logins bring.
//!
//! As Apache's `AuthGroupFile` has it: `group: user user`, a group on each line. One bad line refuses the whole file: a
//! file that loads in part would open, or close, what nobody meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::LivyUser;
use crate::denial::quotable;

/// Which groups each Livy user has by the file, in the order of the file.
#[derive(Debug, Default)]
pub struct GroupMap(BTreeMap<LivyUser, Vec<Arc<str>>>);

impl GroupMap {
    /// Reads the whole file, or says everything that is wrong with it, each with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<(usize, String)>> {
        let mut map = Self::default();
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(message) = map.add(line) {
                problems.push((number, message));
            }
        }
        if problems.is_empty() && map.is_empty() {
            // Rather a half-written file than a decision that nobody is in any group.
            problems.push((
                1,
                "the file gives nobody a group; write group: user user".to_owned(),
            ));
        }
        if problems.is_empty() {
            Ok(map)
        } else {
            Err(problems)
        }
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let (group, users) = line
            .split_once(':')
            .ok_or("there is no colon; write group: user user")?;
        let group = group.trim();
        if group.is_empty()
            || group.len() > GROUP_BYTES_MAX
            || group.chars().any(|letter| letter.is_control() || letter == ',')
        {
            return Err(format!(
                "'{}' cannot be a group; write group: user user",
                quotable(group)
            ));
        }
        let group: Arc<str> = group.into();
        for name in users.split_whitespace() {
            let user = LivyUser::new(name).ok_or_else(|| {
                format!(
                    "'{}' is no Livy user; write the names that logins are mapped to, with blanks between them",
                    quotable(name)
                )
            })?;
            let groups = self.0.entry(user).or_default();
            if !groups.contains(&group) {
                groups.push(Arc::clone(&group));
            }
        }
        Ok(())
    }

    /// Each user in it.
    pub(super) fn users(&self) -> impl Iterator<Item = (&LivyUser, &[Arc<str>])> {
        self.0.iter().map(|(user, groups)| (user, groups.as_slice()))
    }

    /// The groups of a user; none for who is not in it.
    pub(super) fn of(&self, user: &LivyUser) -> &[Arc<str>] {
        self.0.get(user).map_or(&[], Vec::as_slice)
    }

    /// Every group that somebody has by it, some of them repeated.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(AsRef::as_ref)
    }

    /// Whether anybody has a group by it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const GROUP_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(map: &GroupMap, user: &str) -> Vec<String> {
        map.of(&LivyUser::for_tests(user))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn each_line_gives_its_users_one_more_group() {
        let text = "# who does what\nanalysts: alice bob\n\nData Scientists:  alice\tcarol alice\nempty:\n";
        let map = GroupMap::parse(text).unwrap();
        assert_eq!(groups(&map, "alice"), ["analysts", "Data Scientists"]);
        assert_eq!(groups(&map, "bob"), ["analysts"]);
        assert_eq!(groups(&map, "mallory"), [""; 0]);
    }

    #[test]
    fn every_bad_line_is_told_and_none_of_the_file_is_taken() {
        let problems =
            GroupMap::parse("analysts alice\nok: alice\n: bob\na,b: bob\nstaff: ali/ce\n").unwrap_err();
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 4, 5]);
        assert!(problems[3].1.contains("'ali/ce' is no Livy user"), "{problems:?}");
    }
}
