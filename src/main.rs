//! The `livy-gateway` command.

fn main() {}
