//! Giving back by hand a place that an operator knows is gone.
//!
//! The gateway frees by itself what two of Livy's lists do not show, and what was in doubt for long enough. By hand it
//! goes sooner, but never against what Livy says: a place whose session runs on would be a session too many.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Desk;
use super::protocol::{Answer, What};
use crate::ledger::{Place, PlaceKey, Settlement, Standing};
use crate::lists::Snapshot;
use crate::livy::marker::Marker;
use crate::livy::{Kind, SessionId};
use crate::telemetry::audit::{Decision, Entry, Event};
use crate::telemetry::metrics::{self, Freed};

impl Desk {
    pub(super) async fn release(&self, what: &What, caller: u32) -> Answer {
        let released = self.released(what).await;
        let mut entry = match &released {
            Ok(place) => {
                let mut entry = Entry::new(Event::Release, Decision::Done).about(place);
                entry.cores = Some(place.charge.cores);
                entry.memory = Some(place.charge.memory);
                entry.because(place.standing.word())
            }
            Err(why) => {
                Entry::new(Event::Release, Decision::Refused).because(format!("{}: {why}", named(what)))
            }
        };
        entry.subject = Some(format!("uid:{caller}"));
        self.audit.record(&entry);
        match released {
            Ok(place) => match self.holdings.told(place.kind, std::slice::from_ref(&place)).pop() {
                Some(was) => Answer::Released { was },
                None => refused("it is released"),
            },
            Err(why) => Answer::Refused { why },
        }
    }

    async fn released(&self, what: &What) -> Result<Arc<Place>, String> {
        let first = self.find(what).await?;
        let snapshot = self.fresh_list(first.kind).await;
        // Meanwhile the list may have freed it, or shown that it exists.
        let place = self.find(what).await?;
        may_be_released(&place, snapshot.as_deref())?;
        // Only what stands as it was judged.
        let unchanged_since = place.changed.saturating_add(Duration::from_nanos(1));
        let is_gone = self
            .holdings
            .ledger
            .settle(
                &place.key,
                Settlement::Gone,
                Some(unchanged_since),
                self.moments.next(),
            )
            .await;
        if !is_gone {
            return Err("it has changed at this moment; look again".to_owned());
        }
        match place.standing {
            Standing::Owned { .. } => self.untold.spare(place.kind, place.key.clone()),
            Standing::Open | Standing::InDoubt | Standing::Gone => self.untold.remove(&place.key),
        }
        metrics::place_freed(Freed::ByHand);
        Ok(place)
    }

    async fn find(&self, what: &What) -> Result<Arc<Place>, String> {
        let ledger = &self.holdings.ledger;
        let by_number = async |kind: Kind, number: u32| match SessionId::new(number) {
            Some(id) => ledger.by_id(kind, id).await,
            None => None,
        };
        let found = match what {
            What::Marker(text) => match Marker::parse(text) {
                Some(marker) => ledger.get(&PlaceKey::Marker(marker)).await,
                None => None,
            },
            What::Session(number) => by_number(Kind::Session, *number).await,
            What::Batch(number) => by_number(Kind::Batch, *number).await,
        };
        found.ok_or_else(|| {
            "the ledger holds no such place; 'livy-gateway sessions' shows all that it holds".to_owned()
        })
    }

    /// A list that begins now, or else the last one.
    async fn fresh_list(&self, kind: Kind) -> Option<Arc<Snapshot>> {
        let lists = &self.holdings.lists;
        let fresh = timeout(LIST_TIME, lists.since(kind, self.moments.next())).await;
        fresh.ok().and_then(Result::ok).or_else(|| lists.last(kind))
    }
}

fn may_be_released(place: &Place, snapshot: Option<&Snapshot>) -> Result<(), String> {
    // An older list says nothing of what has changed since.
    let snapshot = snapshot.filter(|snapshot| snapshot.began > place.changed);
    let row = snapshot.and_then(|snapshot| snapshot.row(&place.key));
    if let Some((row, _)) = row {
        return Err(format!(
            "Livy lists it as number {} in the state '{}', so it is not gone; delete it instead: DELETE /{}/{}",
            row.id,
            row.state.escape_debug(),
            place.kind.collection(),
            row.id
        ));
    }
    match place.standing {
        Standing::InDoubt => Ok(()),
        Standing::Owned { .. } if snapshot.is_some() => Ok(()),
        Standing::Owned { .. } => Err(
            "Livy has given no whole list since it was created, so it is not known whether it is gone; look at Livy first"
                .to_owned(),
        ),
        Standing::Open => Err(
            "its creation is under way in this gateway, and settles itself when Livy answers or its time is over".to_owned(),
        ),
        Standing::Gone => Err("it is free already".to_owned()),
    }
}

fn named(what: &What) -> String {
    match what {
        What::Marker(marker) => marker.clone(),
        What::Session(number) => format!("session {number}"),
        What::Batch(number) => format!("batch {number}"),
    }
}

fn refused(why: &str) -> Answer {
    Answer::Refused { why: why.to_owned() }
}

/// How long a fresh list is waited for.
const LIST_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::livy::list::Listing;
    use crate::livy::marker::Instance;
    use crate::quota::Resources;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn list(began: Duration, rows: &str) -> Snapshot {
        let total = if rows.is_empty() { 0 } else { 1 };
        let text = format!(r#"{{"from":0,"total":{total},"sessions":[{rows}]}}"#);
        Snapshot::new(Kind::Session, began, Listing::parse(Bytes::from(text)).unwrap())
    }

    #[test]
    fn only_what_livy_does_not_show_may_be_released_by_hand() {
        let id = SessionId::new(7).unwrap();
        let owned = Standing::Owned {
            id,
            is_finished: false,
        };
        let marker = Marker::new("etl", Instance::new([1; 5]), "basic:alice", [7; 8]);
        let mut held = Place {
            key: PlaceKey::Marker(marker.clone()),
            kind: Kind::Session,
            owner: None,
            created_by: None,
            name: None,
            charge: Resources::default(),
            scopes: Vec::new(),
            standing: owned,
            changed: at(10),
            idempotency: None,
        };
        let row = format!(r#"{{"id":7,"name":"{marker}","proxyUser":"alice","state":"idle"}}"#);
        let (shows, does_not, older) = (list(at(11), &row), list(at(11), ""), list(at(9), ""));
        for (standing, snapshot, is_allowed) in [
            (Standing::InDoubt, None, true),
            (Standing::InDoubt, Some(&older), true),
            (Standing::InDoubt, Some(&does_not), true),
            (Standing::InDoubt, Some(&shows), false),
            (owned, Some(&does_not), true),
            (owned, Some(&shows), false),
            (owned, Some(&older), false),
            (owned, None, false),
            (Standing::Open, Some(&does_not), false),
            (Standing::Gone, Some(&does_not), false),
        ] {
            held.standing = standing;
            let said = may_be_released(&held, snapshot);
            assert_eq!(said.is_ok(), is_allowed, "{standing:?} {snapshot:?}: {said:?}");
        }
    }
}
