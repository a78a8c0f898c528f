//! The gateway in front of real Livy servers, with real clients.
//!
//! Every test starts what it needs on loopback, a real Livy (`deploy/demo/livy`) and the gateway's own binary, and
//! stops it again. What they need and is missing is a failure that names it, never a skip. Livy 0.7.1 is always there;
//! a distribution named by `LIVY_DIST` goes through the same books.
//!
//! They take minutes, so a plain `cargo test` leaves them out: `make live`, or
//! `cargo test --test live -- --nocapture [NAME]`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must fail; the lint's exception does not reach what tests call"
)]

mod support;

// What people do, on real Spark.
mod main_flow;
// The gateway against Livy itself, and the simulated Livy against the real one.
mod conversation;
mod every_operation;
mod names;
mod same_conversation;
mod tenants;
mod uploads;
// Livy set up otherwise, or not there.
mod livy_settings;
mod restart;
// What operators see, in a real Prometheus.
mod prometheus;
// Published documents and published clients.
mod clients;
mod hdinsight;
