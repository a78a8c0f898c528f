//! What goes wrong, by dice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fake_livy::{Canned, FakeLivy, Fault, FaultHandle, Received};

use super::Storm;

/// Chance that can be repeated. Clones throw the same dice.
#[derive(Clone)]
pub(crate) struct Dice(Arc<AtomicU64>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// Of the thousand cases, so many.
    pub(crate) fn hits(&self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }

    /// Less than this, or 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        // SplitMix64: each state gives one number, whoever asks.
        let mut z = self
            .0
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

/// Which requests.
type Concerns = fn(&Received) -> bool;

/// Arms everything. What Livy makes of a request late, it does `within` this time, or never.
pub(crate) fn arm(livy: &FakeLivy, dice: &Dice, within: Duration) -> Troubles {
    let creations = |request: &Received| {
        request.method == "POST" && (request.path == "/sessions" || request.path == "/batches")
    };
    let batches = |request: &Received| request.method == "POST" && request.path == "/batches";
    let deletions = |request: &Received| request.method == "DELETE";
    let lists = |request: &Received| request.method == "GET" && request.target.contains("size=2147483647");

    let at_once: [(Fault, Concerns, usize); 15] = [
        // Livy created it, and nobody was told.
        (Fault::lose_answer(), creations, 15),
        (Fault::reset_in_answer(40), creations, 8),
        (Fault::answer_instead(page(504)), creations, 8),
        // Livy will not create it, and says so or not.
        (Fault::answer(busy()), creations, 20),
        (Fault::answer(page(502)), creations, 2),
        (Fault::reset_before_body(), creations, 2),
        (Fault::reset_after_request(), creations, 3),
        (Fault::ghost(), batches, 40),
        // A connection that was kept is dead.
        (Fault::close_after_answer(), creations, 20),
        (Fault::close_after_answer(), deletions, 20),
        (Fault::lose_answer(), deletions, 15),
        (Fault::reset_before_body(), deletions, 10),
        (Fault::answer(page(503)), deletions, 5),
        (Fault::answer(page(503)), lists, 20),
        (Fault::reset_in_answer(30), lists, 20),
    ];
    let late: [(Fault, Concerns, usize); 6] = [
        // Livy creates it after its connection is gone, or after the gateway has lost its patience.
        (Fault::act_after_disconnect().within(within), creations, 25),
        (Fault::hold_request().within(within), creations, 12),
        // Livy did it, and says so when much has changed since.
        (Fault::hold_answer(), creations, 6),
        (Fault::hold_answer(), deletions, 10),
        (Fault::hold_answer(), lists, 100),
        (Fault::hold_answer_body(20), lists, 30),
    ];
    let arm = |(fault, concerns, per_mille): (Fault, Concerns, usize)| {
        let dice = dice.clone();
        let fault = fault.always();
        livy.fault(fault.when(move |request| concerns(request) && dice.hits(per_mille)))
    };
    let [creates_late, creates_later, rest @ ..] = late.map(arm);
    let late = [(creates_late, 25), (creates_later, 25)].into_iter();
    Troubles {
        at_once: at_once.map(arm).to_vec(),
        late: late.chain(rest.map(|handle| (handle, 200))).collect(),
    }
}

/// All that is armed.
#[derive(Clone)]
pub(crate) struct Troubles {
    at_once: Vec<FaultHandle>,
    /// What holds something until it is let go, and the chance of that in a tenth of a second.
    late: Vec<(FaultHandle, usize)>,
}

impl Troubles {
    /// How often each was met.
    pub(crate) fn met(&self) -> Vec<u64> {
        let late = self.late.iter().map(|(handle, _)| handle);
        self.at_once.iter().chain(late).map(FaultHandle::hits).collect()
    }
}

/// Lets go what is held, one by one and at no time in particular.
pub(crate) async fn let_go_late(storm: Arc<Storm>, troubles: Troubles) {
    let mut gone = vec![0; troubles.late.len()];
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for ((handle, per_mille), gone) in troubles.late.iter().zip(&mut gone) {
            for _ in *gone..handle.hits() {
                if storm.dice.hits(*per_mille) {
                    *gone += 1;
                    handle.release_one();
                }
            }
        }
    }
}

/// Livy's own words for too many creations.
fn busy() -> Canned {
    Canned {
        status: 400,
        reason: None,
        headers: vec![(
            "Content-Type".to_owned(),
            "application/json;charset=utf-8".to_owned(),
        )],
        body: br#"{"msg":"Rejected, too many sessions are being created!"}"#.to_vec(),
    }
}

/// A page of a proxy between the gateway and Livy.
fn page(status: u16) -> Canned {
    Canned {
        status,
        reason: None,
        headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
        body: b"<html>a proxy has lost its patience</html>".to_vec(),
    }
}
