//! What lived at Livy, seen at every change and under Livy's own lock, and what of it agrees with what was told.

use std::collections::{BTreeMap, BTreeSet};

use fake_livy::{Alive, Kind};

use super::customers::Told;
use super::{LIMITS, POT, RESTARTS_OF_LIVY, USERS};

/// All that was ever alive.
#[derive(Default)]
pub(crate) struct Census {
    now: Vec<(Kind, String, String)>,
    most: BTreeMap<&'static str, [usize; 2]>,
    /// The names that Livy was given for one creation of a customer's.
    made: BTreeMap<String, BTreeSet<String>>,
    /// What was wrong, told when somebody can be told.
    breaches: Vec<String>,
}

impl Census {
    /// Called by Livy with all that lives.
    pub(crate) fn see(&mut self, alive: &[Alive<'_>]) {
        self.now = alive
            .iter()
            .filter(|one| !one.ghost)
            .map(|one| {
                let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
                (one.kind, text(one.user), text(one.name))
            })
            .collect();
        self.count();
        let mut tags = BTreeSet::new();
        for (_, user, name) in &self.now {
            let tag = tag_of(name);
            if !tags.insert(tag.clone()) {
                self.breaches.push(format!("{tag} of {user} lives twice"));
            }
            self.made.entry(tag).or_default().insert(name.clone());
        }
    }

    fn count(&mut self) {
        for (scope, users, limits) in scopes() {
            for (place, kind) in [Kind::Session, Kind::Batch].into_iter().enumerate() {
                let count = self.alive_of(&users, kind);
                let most = &mut self.most.entry(scope).or_default()[place];
                *most = (*most).max(count);
                if count > limit(limits, kind) {
                    self.breaches
                        .push(format!("{scope} has {count} live: {kind:?} {:?}", self.now));
                }
            }
        }
    }

    pub(crate) fn alive_of(&self, users: &[&str], kind: Kind) -> usize {
        let counts = |one: &&(Kind, String, String)| one.0 == kind && users.contains(&one.1.as_str());
        self.now.iter().filter(counts).count()
    }

    /// A customer was told that nothing was done. Until then that must be so; if it never asks again, for ever.
    pub(crate) fn was_denied(&mut self, tag: &str, status: u16) {
        if self.made.contains_key(tag) {
            self.breaches
                .push(format!("{tag} was made, and its customer told {status}"));
        }
    }

    #[track_caller]
    pub(crate) fn assert_within_limits(&self) {
        assert!(self.breaches.is_empty(), "{:#?}", self.breaches);
    }

    /// Nothing was made twice, what was said to be made was, and what was refused was not.
    #[track_caller]
    pub(crate) fn assert_honest(&self, told: &[Told]) {
        self.assert_within_limits();
        for one in told {
            let made = self.made.get(&one.tag).map_or(0, BTreeSet::len);
            // After Livy's restart the session of a key is gone, and the key makes a new one.
            let most = if one.has_key { 1 + RESTARTS_OF_LIVY } else { 1 };
            assert!(made <= most, "{one:?} was made {made} times");
            if one.was_created() {
                assert!(made > 0, "{one:?} was made up");
            }
            if one.was_refused() && !one.may_have_been_lost {
                assert_eq!(made, 0, "{one:?} was made all the same");
            }
            assert!(one.ids.len() <= most, "one key gave several sessions: {one:?}");
        }
    }

    pub(crate) fn summary(&self, told: &[Told]) -> String {
        let mut outcomes = BTreeMap::<&str, usize>::new();
        for one in told {
            *outcomes.entry(one.outcome.as_str()).or_default() += 1;
        }
        format!(
            "made {}, most {:?}, told {outcomes:?}",
            self.made.len(),
            self.most
        )
    }
}

/// The pots of users, with what may live in each.
fn scopes() -> impl Iterator<Item = (&'static str, Vec<&'static str>, (usize, usize))> {
    let own = USERS.into_iter().map(|user| (user, vec![user], LIMITS[0]));
    own.chain([
        ("the pot", USERS[..POT].to_vec(), LIMITS[1]),
        ("everybody", USERS.to_vec(), LIMITS[2]),
    ])
}

pub(crate) const fn limit((sessions, batches): (usize, usize), kind: Kind) -> usize {
    match kind {
        Kind::Session => sessions,
        Kind::Batch => batches,
    }
}

/// What a customer called it, before the gateway's own part.
fn tag_of(name: &str) -> String {
    name.rsplit_once("-gw").map_or(name, |(tag, _)| tag).to_owned()
}
