//! Livy Gateway: many people who do not trust each other share one Apache Livy.
//!
//! The modules in reading order. A module may use those of its own group and of the groups above it
//! (`tests/layers.rs` fails otherwise); `ARCHITECTURE.md` tells the story of a request through them.

// 1. Vocabulary: pure types, no I/O, no async.
pub mod clock;
pub mod denial;
pub mod livy;

// 2. Rules: pure decisions over the vocabulary.
pub mod body_policy;
