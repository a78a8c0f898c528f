//! What the simulated Livy does beyond the recorded replies: its traps, its record, and its faults.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod client;
mod faults;
mod lifecycle;
mod program;
mod record;
mod traps;
