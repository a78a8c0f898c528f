//! Lists of one's own: Livy's list is read once for everybody, filtered, and paged as Livy pages.

use std::net::IpAddr;
use std::time::Duration;

use http::Response;

use super::Gateway;
use super::answer::{self, AnswerBody, LIVYS_JSON};
use crate::access::Grant;
use crate::denial::Denial;
use crate::identity::LivyUser;
use crate::ledger::{Place, PlaceKey};
use crate::livy::Kind;
use crate::livy::list::{self, Row};
use crate::livy::operation::Method;
use crate::livy::query::Page;
use crate::policy::Policy;

impl Gateway {
    /// The sessions of the user whom the request acts as, and those that a delegate created for others.
    pub(super) async fn list(
        &self,
        policy: &Policy,
        peer: IpAddr,
        grant: &Grant,
        kind: Kind,
        (method, page): (Method, &Page),
    ) -> Result<Response<AnswerBody>, Denial> {
        let (lists, ledger) = (&self.0.shared.lists, &self.0.shared.ledger);
        let now = self.0.shared.moments.next();
        // An older list is shown while a new one is fetched, so that nobody waits for it; one's own changes show at once.
        lists.want(kind, now.saturating_sub(FRESH));
        let usable = now.saturating_sub(USABLE);
        let snapshot = match lists.last(kind).filter(|last| last.began >= usable) {
            Some(last) => last,
            // That Livy could not be asked holds for as long as a list is fresh: it may be back.
            None => lists.since(kind, now.saturating_sub(FRESH)).await?,
        };
        let mut places = ledger.owned_by(grant.livy_user(), kind).await;
        let principal = grant.principal();
        if grant.livy_user() == principal.livy_user() {
            let subject = principal.subject().to_string();
            let created = ledger.created_by(&subject, kind).await;
            places.extend(created.into_iter().filter(|place| {
                place.owner.as_ref().is_some_and(|owner| {
                    owner != grant.livy_user()
                        && policy.identities.as_delegate(principal, peer, owner).is_some()
                })
            }));
        }
        places.retain(|place| place.standing.id().is_some());
        places.sort_by_key(|place| place.standing.id());
        let rows: Vec<String> = places
            .iter()
            .filter_map(|place| {
                let recent = lists.recent(kind, &place.key);
                let text = match snapshot.row(&place.key) {
                    Some((row, text)) => is_of(place, row).then_some(text)?,
                    None => std::str::from_utf8(recent.as_ref()?).ok()?,
                };
                Some(own_row(place, text))
            })
            .collect();
        Ok(answer::of_ones_own(method, LIVYS_JSON, list::render(page, &rows)))
    }
}

/// Whether a row is of this place. A number that was found at Livy may mean another's session in a list that is older
/// or younger than the place, after a restart of Livy between the two.
fn is_of(place: &Place, row: &Row) -> bool {
    match place.key {
        PlaceKey::Marker(_) => true,
        PlaceKey::Found(..) => {
            let owner = place.owner.as_ref().map(LivyUser::as_str);
            owner.is_some() && owner == row.proxy_user.as_deref()
        }
    }
}

/// A row with the name that its owner gave it.
pub(super) fn own_row(place: &Place, text: &str) -> String {
    match &place.key {
        PlaceKey::Marker(marker) => list::with_own_name(text, marker.as_str(), place.name.as_deref()),
        PlaceKey::Found(..) => text.to_owned(),
    }
}

/// After this time a new list is fetched.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// Until this age a list is shown while the next one is fetched.
const USABLE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Standing;
    use crate::livy::SessionId;
    use crate::livy::marker::{Instance, Marker};
    use crate::quota::Resources;

    fn place(key: PlaceKey, owner: Option<&str>) -> Place {
        Place {
            key,
            kind: Kind::Session,
            owner: owner.and_then(LivyUser::from_record),
            created_by: None,
            name: None,
            charge: Resources::default(),
            scopes: Vec::new(),
            standing: Standing::InDoubt,
            changed: Duration::ZERO,
            idempotency: None,
        }
    }

    #[test]
    fn a_found_number_shows_a_row_of_its_owner_only_whichever_is_older() {
        let row = |user: &str| {
            let user = if user.is_empty() {
                "null".to_owned()
            } else {
                format!("\"{user}\"")
            };
            let text = format!("{{\"id\":0,\"name\":null,\"proxyUser\":{user},\"state\":\"idle\"}}");
            list::read_object(&text).unwrap()
        };
        let found = || PlaceKey::Found(Kind::Session, SessionId::new(0).unwrap());
        assert!(is_of(&place(found(), Some("alice")), &row("alice")));
        for other in ["bob", "Alice", ""] {
            assert!(!is_of(&place(found(), Some("alice")), &row(other)), "{other}");
            assert!(!is_of(&place(found(), None), &row(other)), "{other}");
        }
        // A marker is nobody else's, whatever Livy makes of the user.
        let marker = Marker::new("etl", Instance::new([1; 5]), "basic:alice", [1; 8]);
        assert!(is_of(&place(PlaceKey::Marker(marker), Some("alice")), &row("")));
    }
}
