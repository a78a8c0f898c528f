//! Livy Gateway: many people who do not trust each other share one Apache Livy.
//!
//! The modules in reading order. A module may use those of its own group and of the groups above it
//! (`tests/layers.rs` fails otherwise); `ARCHITECTURE.md` tells the story of a request through them.

// 1. Vocabulary: pure types, no I/O, no async.
pub mod clock;
pub mod denial;
pub mod livy;

// 2. Rules: pure decisions over the vocabulary.
pub mod access;
pub mod authn;
pub mod body_policy;
pub mod identity;
pub mod limits;
pub mod quota;
pub mod rewrite;
pub mod roles;

// 3. Configuration.
pub mod config;
pub mod policy;

// 4. Adapters: everything that touches the world.
pub mod admin;
pub mod control;
pub mod deadlines;
pub mod directory;
pub mod holdings;
pub mod impersonation;
pub mod jwks;
pub mod ledger;
pub mod listener;
pub mod lists;
pub mod login;
pub mod overview;
pub mod reconcile;
pub mod reload;
pub mod safe_edit;
pub mod shares;
pub mod telemetry;
pub mod token_uses;
pub mod tokens_file;
pub mod turns;
pub mod upstream;
pub mod users_file;

// 5. The story.
pub mod gateway;

// 6. Composition and the command line.
pub mod app;
pub mod cli;
