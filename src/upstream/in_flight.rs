//! A request that Livy has, and whose answer has not begun.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::runtime::Handle;

use super::body::RequestBody;
use super::pool::Kept;
use crate::deadlines::Deadlines;
use crate::shares::Share;

type Answered = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;
type Answering = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// Sends it over this connection; the share is back when there is an answer. If nobody waits for that any more, Livy,
/// which does not notice, has `patience` once more, and only then is the request's part of it free for others.
pub(super) async fn send(
    kept: &mut Kept,
    request: Request<RequestBody>,
    share: &mut Option<Share>,
    (patience, deadlines): (Duration, &Deadlines),
) -> Answered {
    // An upload that nobody waits for any more is broken off with its connection.
    let is_upload = matches!(request.body(), RequestBody::Upload(_));
    let answering = kept.sender.try_send_request(request);
    // Without a share: what the gateway asks for itself, and creations.
    let Some(held) = share.take_if(|_| !is_upload) else {
        return answering.await;
    };
    let mut in_flight = InFlight {
        at_livy: Some((Box::pin(answering), held)),
        deadlines,
        patience,
    };
    let answered = poll_fn(|cx| match &mut in_flight.at_livy {
        Some((answering, _)) => answering.as_mut().poll(cx),
        // It is there until it is taken below.
        None => std::task::Poll::Pending,
    })
    .await;
    *share = in_flight.at_livy.take().map(|(_, held)| held);
    answered
}

/// Dropped with its answer still to come, it waits for that in a task of its own.
struct InFlight<'a> {
    at_livy: Option<(Answering, Share)>,
    deadlines: &'a Deadlines,
    patience: Duration,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let Some((answering, share)) = self.at_livy.take() else {
            return;
        };
        // Without a runtime the process is about to end.
        if let Ok(runtime) = Handle::try_current() {
            let ended = self.deadlines.limit(self.patience, answering);
            runtime.spawn(async move {
                let _share = share;
                // Whatever comes is nobody's; its connection ends with it.
                drop(ended.await);
            });
        }
    }
}
