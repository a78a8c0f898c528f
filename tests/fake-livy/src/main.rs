//! The simulated Livy as a program, for demonstrations.

use std::process::ExitCode;

use fake_livy::{Auth, Builder, FakeLivy, Version};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
fake-livy [--port N] [--version 0.7.1|0.9.0] [--auth none|pseudo] [--impersonation] [--superuser NAME]...
          [--access-control] [--csrf-protection]

A simulated Apache Livy on 127.0.0.1. It prints its URL when it listens and ends on SIGTERM or SIGINT.
  --port N           the port; 8998 unless given, 0 for a free one
  --auth pseudo      believes ?user.name=NAME, refuses everybody else
  --impersonation    doAs and proxyUser mean something
  --superuser NAME   may be anybody
";

fn main() -> ExitCode {
    let builder = match options(std::env::args().skip(1)) {
        Ok(Some(builder)) => builder,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprint!("fake-livy: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(builder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-livy: cannot listen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Option<Builder>, String> {
    // Nobody reads the record here, and a demonstration may stay up for days.
    let mut builder = FakeLivy::builder().port(8998).keep_requests(1).keep_body(1 << 20);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        builder = match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--port" => builder.port(
                value()?
                    .parse()
                    .map_err(|_| "--port needs a number up to 65535")?,
            ),
            "--version" => builder.version(match value()?.as_str() {
                "0.7.1" => Version::V0_7_1,
                "0.9.0" => Version::V0_9_0,
                other => return Err(format!("--version {other}: 0.7.1 and 0.9.0 are known")),
            }),
            "--auth" => builder.auth(match value()?.as_str() {
                "none" => Auth::None,
                "pseudo" => Auth::Pseudo,
                other => return Err(format!("--auth {other}: none and pseudo are known")),
            }),
            "--superuser" => builder.superuser(&value()?),
            "--impersonation" => builder.impersonation(true),
            "--access-control" => builder.access_control(true),
            "--csrf-protection" => builder.csrf_protection(true),
            other => return Err(format!("{other} is unknown")),
        };
    }
    Ok(Some(builder))
}

fn serve(builder: Builder) -> std::io::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let (mut terminated, mut interrupted) =
                (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let livy = builder.try_start().await?;
            println!("{}", livy.url());
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            drop(livy);
            Ok(())
        })
}
