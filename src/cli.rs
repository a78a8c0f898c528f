//! The command line: what it is called, what it says about itself, and its exit codes.
//!
//! 0: all is well. 1: something was found or failed, and said. 2: the command was written wrongly.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::clock::{Clock, SystemClock};
use crate::config::Report;

mod explain;
mod operate;
mod password;
mod token;
mod tokens;
mod top;
mod users;

/// A gateway that lets many people who do not trust each other share one Apache Livy.
///
/// It asks everybody who they are, tells Livy for whom it shall act, and refuses what it does not understand.
#[derive(Debug, Parser)]
#[command(
    name = "livy-gateway",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "First steps:\n  livy-gateway users add --file users.htpasswd alice\n  livy-gateway check --config gateway.toml\n  \
                  livy-gateway serve --config gateway.toml\n\nExit codes: 0 all is well, 1 problems were found, 2 wrong usage."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration to serve with, when no command is named
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway; this is what happens when no command is named
    ///
    /// It starts only if the configuration has no problem. SIGTERM lets open requests finish and stops; a second one
    /// stops at once.
    #[command(after_help = "Example:\n  livy-gateway serve --config /etc/livy-gateway/gateway.toml")]
    Serve(ConfigFile),
    /// Tells all problems of a configuration, or what it means
    ///
    /// Reads the file and every file that it names, without starting anything. Run it before a restart.
    #[command(
        after_help = "Example:\n  livy-gateway check --config gateway.toml && systemctl restart livy-gateway"
    )]
    Check(ConfigFile),
    /// Prints the effective configuration, defaults included
    ///
    /// The output is a complete configuration itself. Secrets are shown as the references that were written.
    #[command(after_help = "Example:\n  livy-gateway show --config gateway.toml")]
    Show(ConfigFile),
    /// Tells, step by step, what the gateway would do with a request, and why
    ///
    /// Livy is sent nothing. With --user no password is needed: it tells what would follow if that user had logged in. With
    /// --basic a password is checked as a login's would be, and a directory or an issuer is asked where one is configured.
    #[command(
        after_help = "Examples:\n  livy-gateway explain --config gateway.toml --user alice GET /livy/sessions\n  \
                      livy-gateway explain --config gateway.toml --user alice POST '/livy/sessions?doAs=bob'\n  \
                      livy-gateway explain --config gateway.toml --jwt \"$TOKEN\" --body session.json POST /livy/sessions"
    )]
    Explain(explain::Explain),
    /// Tells what the running gateway's ledger holds: who holds how much, and each session and batch
    ///
    /// It asks over the socket in the state directory, as the gateway's own account or root.
    #[command(
        after_help = "Examples:\n  livy-gateway sessions --config /etc/livy-gateway/gateway.toml\n  \
                      livy-gateway sessions --config gateway.toml --json | jq '.sessions[] | select(.standing == \"in_doubt\")'"
    )]
    Sessions(operate::Sessions),
    /// Shows who asks for how much, who is refused and how Livy does, renewed each second
    ///
    /// It asks over the socket in the state directory, as the gateway's own account or root. Where the output is no
    /// terminal it looks for one second, prints that and ends.
    #[command(
        after_help = "Examples:\n  livy-gateway top --config /etc/livy-gateway/gateway.toml\n  \
                      livy-gateway top --config gateway.toml --users 5 | cat"
    )]
    Top(top::Top),
    /// Gives back a place by hand that you know is gone: it counts against nobody any more
    ///
    /// The gateway frees by itself what two lists of Livy's in a row do not show. This is for what is in doubt, or what
    /// Livy's last whole list does not show; what Livy shows is refused, and is deleted with DELETE instead. If Livy makes
    /// a session after all, its next list shows it: it is deleted, or charged to its owner again.
    #[command(
        after_help = "Examples:\n  livy-gateway release --config gateway.toml etl-gw2b4xaxw3nqy5k7ozwkp4zcl3hj6ua\n  \
                      livy-gateway release --config gateway.toml 7\n  livy-gateway release --config gateway.toml --batch 7"
    )]
    Release(operate::Release),
    /// Has the running gateway load its configuration now, and tells what is wrong with it
    ///
    /// A bad configuration changes nothing, and the exit code is 1. SIGHUP does the same without telling.
    #[command(after_help = "Example:\n  livy-gateway reload --config /etc/livy-gateway/gateway.toml")]
    Reload(operate::Reload),
    /// Adds, removes and lists the users of a users file
    #[command(subcommand)]
    Users(users::Users),
    /// Reads a password and prints the line for a users file
    ///
    /// On a terminal the password is asked for twice and not shown; otherwise it is read from standard input.
    #[command(
        after_help = "Examples:\n  livy-gateway hash-password alice\n  printf %s \"$PASSWORD\" | livy-gateway hash-password alice >> users.htpasswd"
    )]
    HashPassword(password::HashPassword),
    /// Makes, lists and revokes personal tokens: for clients that know a user name and a password, or a bearer token
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Makes a token of an issuer with a shared secret: for first steps and tests
    #[command(
        after_help = "Example:\n  TOKEN=$(livy-gateway token --config gateway.toml --issuer demo --subject alice)\n  \
                            curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8443/livy/sessions"
    )]
    Token(token::Token),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let line = CommandLine::parse();
    let done = match (line.command, line.config) {
        (Some(command), _) => run(command),
        (None, Some(config)) => crate::app::serve(&config),
        // clap has demanded one of the two.
        (None, None) => return ExitCode::from(WRONG_USAGE),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(ConfigFile { config }) => crate::app::serve(&config),
        Command::Check(ConfigFile { config }) => {
            let loaded = crate::config::read(&config, 0)?;
            let summary = loaded.summary(SystemClock::new().wall());
            print(&format!("{} is good\n{summary}", config.display()))
        }
        Command::Show(ConfigFile { config }) => print(&crate::config::effective(&config)?),
        Command::Explain(explain) => explain.run(),
        Command::Sessions(sessions) => sessions.run(),
        Command::Top(top) => top.run(),
        Command::Release(release) => release.run(),
        Command::Reload(reload) => reload.run(),
        Command::Users(users) => users.run(),
        Command::HashPassword(hash) => hash.run(),
        Command::Tokens(tokens) => tokens.run(),
        Command::Token(token) => token.run(),
    }
}

/// What went wrong, on standard error; a configuration's problems with their lines, in color where that can be seen.
fn tell(error: &anyhow::Error) {
    let text = match error.downcast_ref::<Report>() {
        Some(report) => report.render(is_colored()),
        None => format!("error: {error:#}"),
    };
    // Nobody is left to be told if this fails.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Colors on a terminal only, and not where `NO_COLOR` is set (no-color.org).
fn is_colored() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !no_color
}

/// Prints to standard output; a reader that went away (`| head`) is an error, not a panic.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

const WRONG_USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        let line = CommandLine::try_parse_from(["livy-gateway", "--config", "a.toml"]).unwrap();
        assert!(line.command.is_none());
        assert_eq!(line.config, Some(PathBuf::from("a.toml")));
        assert!(CommandLine::try_parse_from(["livy-gateway"]).is_err());
        assert!(CommandLine::try_parse_from(["livy-gateway", "check"]).is_err());
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        let mut root = CommandLine::command();
        root.build();
        let mut open: Vec<clap::Command> = root.get_subcommands().cloned().collect();
        while let Some(mut command) = open.pop() {
            let below: Vec<_> = command.get_subcommands().cloned().collect();
            if command.get_name() == "help" {
                continue;
            }
            let help = command.render_long_help().to_string();
            assert!(!below.is_empty() || help.contains("Example"), "{help}");
            open.extend(below);
        }
    }
}
