//! The gateway beside real sources of identities: each is a program that people run, started on loopback and ended
//! again by its test. Livy is the simulated one, whose record says as whom it was asked.
//!
//! What a test needs and is missing is a failure that names it, never a skip. `make providers`, or
//! `cargo test --test providers -- --nocapture [NAME]`; a plain `cargo test` leaves them out.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests say what they expect, and fail by panicking"
)]

#[path = "../gateway/rig.rs"]
#[allow(dead_code, unused_imports, reason = "the books of `gateway` use more of it")]
mod rig;

mod certificates;
mod htpasswd;
mod ldap;
mod ldap_trouble;
mod oidc;
mod slapd;
