//! What the books share: servers on loopback, a plain HTTP client, and when two answers are alike.

mod alike;
mod gateway;
mod http;
mod livy;
mod prometheus;

use std::sync::Once;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(crate) use self::alike::difference;
pub(crate) use self::gateway::{Gateway, LivyLogin};
pub(crate) use self::http::{Caller, Content, Reply};
pub(crate) use self::livy::{Livy, Release, Spark};
pub(crate) use self::prometheus::{Prometheus, observability};

/// The Livys that every book is run on.
pub(crate) fn releases() -> Vec<Release> {
    static SAID: Once = Once::new();
    let given = std::env::var("LIVY_DIST").ok().filter(|dist| !dist.is_empty());
    let Some(dist) = given else {
        SAID.call_once(|| eprintln!("NOT RUN: Livy 0.9, no LIVY_DIST"));
        return vec![Release::from_maven_central()];
    };
    vec![Release::from_maven_central(), Release::given(dist)]
}

/// Asks again until `done` has an answer; a test that waits for ever says what it waited for.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut done: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = done().await {
            return value;
        }
        assert!(began.elapsed() < limit, "not after {limit:?}: {what}");
        sleep(PAUSE).await;
    }
}

/// How often is asked.
const PAUSE: Duration = Duration::from_millis(100);
