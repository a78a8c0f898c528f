//! The gateway as its users meet it: real sockets, a simulated Livy, and what that Livy received.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests say what they expect, and fail by panicking"
)]

mod rig;

mod admin;
mod admission;
mod audit;
mod bodies;
mod certificates;
mod corpus;
mod figures;
mod hdinsight;
mod identity;
mod inquiries;
mod limits;
mod listener;
mod lists;
mod logins;
mod operations;
mod operators;
mod ownership;
mod personal_tokens;
mod race;
mod reload;
mod rules;
mod shutdown;
mod strangers;
mod tls;
mod tokens;
mod upstream_faults;
