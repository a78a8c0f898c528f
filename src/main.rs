//! The `livy-gateway` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    livy_gateway::cli::main()
}
