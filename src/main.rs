//! The `livy-gateway` command.

use std::process::ExitCode;

/// A few percent faster than the system's on small answers, a quarter on large ones.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    livy_gateway::cli::main()
}
