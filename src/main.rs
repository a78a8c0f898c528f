//! The `livy-gateway` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_default();
    if path == "hash" {
        println!(
            "{}",
            livy_gateway::authn::hash_password(b"secret").unwrap_or_default()
        );
        return ExitCode::SUCCESS;
    }
    match livy_gateway::app::serve(std::path::Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
