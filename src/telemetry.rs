//! What operators see: metrics and log lines. Never a secret, never the text of a statement.

pub mod audit;
pub mod logging;
pub mod metrics;
