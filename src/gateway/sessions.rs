//! One session, as the client names it and as Livy knows it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use super::Gateway;
use super::answer::AnswerBody;
use super::listing::FRESH;
use super::reply::{self, Asked};
use crate::access::{self, Grant, Owned, Rules};
use crate::denial::Denial;
use crate::identity::{Acting, LivyUser, Principal};
use crate::ledger::{Place, PlaceKey};
use crate::lists::{Snapshot, unlisted};
use crate::livy::list;
use crate::livy::operation::{Action, Method, Operation};
use crate::livy::session_ref::{SessionKey, SessionRef};
use crate::policy::{Impersonation, Policy};
use crate::roles;

impl Gateway {
    /// Finds the session and grants what is asked, or says what is said of sessions that do not exist.
    pub(super) async fn grant_session(
        &self,
        policy: &Policy,
        peer: IpAddr,
        principal: Arc<Principal>,
        acting: Acting,
        session: &SessionRef,
        action: Action,
    ) -> Result<(Grant, Arc<Place>), Denial> {
        let is_write = !Operation::On(session.clone(), action).method().is_safe();
        let granted = self
            .find_session(policy, peer, principal, acting, session, action)
            .await;
        if matches!(granted, Err(Denial::NotFound { .. })) {
            // Of what the ledger does not know nothing can be said before the first list. What is another's it may know
            // from before the start, and who hears less of that knows that it is there.
            let listed = Box::pin(self.first_list(session)).await;
            listed.map_err(|denial| for_a_write(denial, is_write))?;
        }
        granted.map_err(|denial| for_a_write(denial, is_write))
    }

    async fn find_session(
        &self,
        policy: &Policy,
        peer: IpAddr,
        principal: Arc<Principal>,
        acting: Acting,
        session: &SessionRef,
        action: Action,
    ) -> Result<(Grant, Arc<Place>), Denial> {
        let ledger = &self.0.shared.ledger;
        let known = match session.key() {
            SessionKey::Id(id) => ledger.by_id(session.kind(), *id).await,
            SessionKey::Name(name) => ledger.by_name(acting.livy_user(), session.kind(), name).await,
        };
        let known = match known {
            Some(known) => Some(known),
            None => Box::pin(self.look_again(&principal, acting.livy_user(), session)).await?,
        };
        let place = known
            .filter(|place| place.standing.id().is_some())
            .ok_or_else(|| access::no_such(session))?;
        let at_livy = at_livy(&place).ok_or_else(|| access::no_such(session))?;
        let owned = Owned {
            owner: place.owner.as_ref(),
            created_by: place.created_by.as_deref(),
        };
        let rules = Rules {
            identities: &policy.identities,
            roles: &policy.roles,
        };
        let grant =
            access::authorize_session(principal, acting, (session, action), owned, at_livy, rules, peer)?;
        let place = match &place.key {
            PlaceKey::Marker(_) => place,
            PlaceKey::Found(..) => {
                let since = self.0.shared.moments.next().saturating_sub(FRESH);
                let listed = Box::pin(self.0.shared.lists.since(place.kind, since)).await?;
                self.found_still(&listed, &place, session).await?
            }
        };
        if roles::brings_code(&action) && policy.livy.impersonation == Impersonation::Required {
            Box::pin(self.runs_as_its_owner(&place, session)).await?;
        }
        Ok((grant, place))
    }

    /// For what the ledger does not know at once: before the first list it does not know everything, and a delegate may
    /// name what it created.
    async fn look_again(
        &self,
        principal: &Principal,
        user: &LivyUser,
        session: &SessionRef,
    ) -> Result<Option<Arc<Place>>, Denial> {
        let (ledger, kind) = (&self.0.shared.ledger, session.kind());
        // What was created around the gateway is known from the first list on.
        self.first_list(session).await?;
        Ok(match session.key() {
            SessionKey::Id(id) => ledger.by_id(kind, *id).await,
            SessionKey::Name(name) => match ledger.by_name(user, kind, name).await {
                Some(own) => Some(own),
                // Whoever names somebody means what that user calls so.
                None if user != principal.livy_user() => None,
                None => {
                    let created = ledger.created_by(&principal.subject().to_string(), kind).await;
                    let mut so_called = created
                        .into_iter()
                        .filter(|place| place.name.as_deref() == Some(name.as_str()));
                    let first = so_called.next();
                    // Two users may call theirs so; which one is meant is not guessed.
                    first.filter(|_| so_called.next().is_none())
                }
            },
        })
    }

    async fn first_list(&self, session: &SessionRef) -> Result<(), Denial> {
        let (lists, now) = (&self.0.shared.lists, self.0.shared.moments.next());
        lists.first(session.kind(), now).await
    }

    /// A session that was created while all shared Livy's own user still runs as that one.
    async fn runs_as_its_owner(&self, place: &Place, session: &SessionRef) -> Result<(), Denial> {
        self.first_list(session)
            .await
            .map_err(|denial| unlisted(&denial))?;
        let lists = &self.0.shared.lists;
        let runs_as = |listed: &Snapshot| {
            let row = listed.row(&place.key);
            row.map(|(row, _)| row.proxy_user.as_deref() == place.owner.as_ref().map(LivyUser::as_str))
        };
        let last = lists.last(place.kind);
        let is_newer = last.as_ref().is_some_and(|last| place.changed >= last.began);
        let is_own = match last.as_deref().and_then(runs_as) {
            Some(is_own) => is_own,
            // What no list shows yet was looked at when it was created.
            None if is_newer || lists.recent(place.kind, &place.key).is_some() => true,
            None => {
                let listed = lists.since(place.kind, self.0.shared.moments.next()).await;
                let listed = listed.map_err(|denial| unlisted(&denial))?;
                runs_as(&listed).ok_or_else(|| access::no_such(session))?
            }
        };
        if is_own {
            return Ok(());
        }
        Err(Denial::RunsAsAnother {
            session: session.key().to_string(),
        })
    }

    /// Before a request goes to a number: what it meant when it was asked for, it need not mean when its body has come and
    /// there is room at Livy.
    pub(super) async fn means_the_same_still(
        &self,
        operation: &Operation,
        place: &Place,
    ) -> Result<(), Denial> {
        let Operation::On(session, _) = operation else {
            return Ok(());
        };
        if matches!(place.key, PlaceKey::Marker(_)) {
            return Ok(());
        }
        let is_safe = operation.method().is_safe();
        let (lists, now) = (&self.0.shared.lists, self.0.shared.moments.next());
        let since = if is_safe { now.saturating_sub(FRESH) } else { now };
        let listed = Box::pin(lists.since(place.kind, since)).await;
        let listed = listed.map_err(|denial| for_a_write(denial, !is_safe))?;
        self.found_still(&listed, place, session).await.map(drop)
    }

    /// What has no marker is addressed by its number, which means another session after Livy was restarted: only when a
    /// list shows it as it was, and the ledger, which has followed that list, knows it so.
    async fn found_still(
        &self,
        listed: &Snapshot,
        place: &Place,
        session: &SessionRef,
    ) -> Result<Arc<Place>, Denial> {
        let is_listed = listed.row(&place.key).is_some_and(|(row, _)| {
            let owner = place.owner.as_ref().map(LivyUser::as_str);
            row.name == place.name && (owner.is_none() || owner == row.proxy_user.as_deref())
        });
        let again = self.0.shared.ledger.get(&place.key).await;
        again
            .filter(|_| is_listed)
            .filter(|again| {
                again.owner == place.owner
                    && again.name == place.name
                    && again.standing.id() == place.standing.id()
            })
            .ok_or_else(|| access::no_such(session))
    }
}

/// A list that failed on the way to a write: nothing was sent, and clients post again whatever is 5xx.
fn for_a_write(denial: Denial, is_write: bool) -> Denial {
    let is_the_lists = matches!(
        denial,
        Denial::UpstreamTimeout
            | Denial::UpstreamLost
            | Denial::UpstreamLoginFailed { .. }
            | Denial::UpstreamError { .. }
            | Denial::UpstreamUnexpected { .. }
    );
    if is_write && is_the_lists {
        return unlisted(&denial);
    }
    denial
}

fn at_livy(place: &Place) -> Option<SessionRef> {
    match &place.key {
        PlaceKey::Marker(marker) => Some(SessionRef::by_name(place.kind, marker.name()?)),
        PlaceKey::Found(kind, id) => Some(SessionRef::by_id(*kind, *id)),
    }
}

/// Whether the body of this answer may say the marker where the client knows another name, or none.
pub(super) fn names_the_session(operation: &Operation, place: &Place, status: StatusCode) -> bool {
    let shows_it = matches!(operation, Operation::On(_, Action::Read | Action::Connect));
    matches!(place.key, PlaceKey::Marker(_)) && (shows_it || !status.is_success())
}

/// Puts back what the client calls its session, wherever Livy says the marker.
pub(super) async fn as_the_client_knows_it(
    asked: &Asked<'_>,
    operation: &Operation,
    place: &Place,
    response: Response<AnswerBody>,
) -> Result<Response<AnswerBody>, Denial> {
    let (PlaceKey::Marker(marker), Operation::On(session, _)) = (&place.key, operation) else {
        return Ok(response);
    };
    let marker = marker.as_str();
    let response = reply::hold_read(asked, response).await?;
    let (mut head, body) = response.into_parts();
    let text = match &body {
        AnswerBody::Whole(Some(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
        AnswerBody::Whole(None) | AnswerBody::Passing(_) => "",
    };
    let own = if head.status.is_success() {
        list::with_own_name(text, marker, place.name.as_deref())
    } else if head.status == StatusCode::NOT_FOUND && (text.contains(marker) || asked.method == Method::Head)
    {
        // What a HEAD's 404 is about is not told, and the length of Livy's text is that of the marker.
        return Err(access::no_such(session));
    } else {
        // An alphabet of letters, digits and a few signs: nothing in it needs an escape in JSON.
        text.replace(marker, &session.key().to_string())
    };
    head.headers.remove(CONTENT_LENGTH);
    let body = if asked.method == Method::Head {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(own.len()));
        AnswerBody::Whole(None)
    } else {
        AnswerBody::whole(Bytes::from(own))
    };
    Ok(Response::from_parts(head, body))
}

/// `Location` tells a session's number, as Livy's own does.
pub(super) fn with_own_location(mut response: Response<AnswerBody>, place: &Place) -> Response<AnswerBody> {
    let told = response.headers().get(LOCATION);
    let told = told.and_then(|value| value.to_str().ok());
    if let (Some(told), Some(id), PlaceKey::Marker(marker)) = (told, place.standing.id(), &place.key)
        && told.contains(marker.as_str())
        && let Ok(own) = HeaderValue::from_str(&told.replace(marker.as_str(), &id.to_string()))
    {
        response.headers_mut().insert(LOCATION, own);
    }
    response
}
