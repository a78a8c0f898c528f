//! x
mod framing;
