//! `sessions`, `release` and `reload`: what operators ask of the running gateway, over its socket.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::config;
use crate::control::protocol::{Answer, Command, Held, What};
use crate::holdings::Holding;
use crate::livy::SessionId;
use crate::livy::marker::Marker;

/// `sessions`
#[derive(Debug, Args)]
pub(super) struct Sessions {
    /// The configuration that the gateway runs with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// As JSON, with memory in bytes
    #[arg(long)]
    json: bool,
}

/// `release`
#[derive(Debug, Args)]
pub(super) struct Release {
    /// The configuration that the gateway runs with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The number is a batch's
    #[arg(long)]
    batch: bool,
    /// The number of a session, or the marker of a session or batch, as 'sessions' shows them
    #[arg(value_name = "ID|MARKER", value_parser = named)]
    what: Named,
}

/// `reload`
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// The configuration that the gateway runs with
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// A place as it is written on the command line.
#[derive(Debug, Clone)]
enum Named {
    Number(u32),
    Marker(String),
}

fn named(text: &str) -> Result<Named, String> {
    if let Ok(number) = text.parse::<u32>()
        && SessionId::new(number).is_some()
    {
        return Ok(Named::Number(number));
    }
    match Marker::parse(text) {
        Some(marker) => Ok(Named::Marker(marker.as_str().to_owned())),
        None => Err(
            "it is neither a session's number nor a marker; 'livy-gateway sessions' shows both".to_owned(),
        ),
    }
}

impl Sessions {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let held = match ask(&self.config, &Command::Sessions)? {
            Answer::Held(held) => held,
            answer @ (Answer::Released { .. }
            | Answer::Reloaded { .. }
            | Answer::NotReloaded { .. }
            | Answer::Metrics { .. }
            | Answer::Refused { .. }) => return Err(unexpected(answer)),
        };
        if self.json {
            return super::print(&format!("{}\n", serde_json::to_string_pretty(&held)?));
        }
        super::print(&table(&held))
    }
}

impl Release {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let what = match (&self.what, self.batch) {
            (Named::Number(number), false) => What::Session(*number),
            (Named::Number(number), true) => What::Batch(*number),
            (Named::Marker(marker), _) => What::Marker(marker.clone()),
        };
        match ask(&self.config, &Command::Release { what })? {
            Answer::Released { was } => super::print(&format!(
                "released the {} {} of {}: {} cores and {}\n",
                was.kind,
                known_by(&was),
                was.owner.as_deref().map_or_else(|| "nobody".to_owned(), plain),
                was.cores,
                memory(was.memory)
            )),
            Answer::Refused { why } => bail!("nothing was released: {why}"),
            answer @ (Answer::Held(_)
            | Answer::Reloaded { .. }
            | Answer::NotReloaded { .. }
            | Answer::Metrics { .. }) => Err(unexpected(answer)),
        }
    }
}

impl Reload {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match ask(&self.config, &Command::Reload)? {
            Answer::Reloaded {
                config,
                generation,
                notices,
            } => {
                let mut text = format!("{config} is in force (load {generation})\n");
                for notice in notices {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "warning: {notice}");
                }
                super::print(&text)
            }
            Answer::NotReloaded { config, problems } => {
                bail!("{config} is refused, and the old configuration stays:\n{problems}")
            }
            answer @ (Answer::Held(_)
            | Answer::Released { .. }
            | Answer::Metrics { .. }
            | Answer::Refused { .. }) => Err(unexpected(answer)),
        }
    }
}

pub(super) fn unexpected(answer: Answer) -> anyhow::Error {
    match answer {
        Answer::Refused { why } => anyhow!(why),
        Answer::Held(_)
        | Answer::Released { .. }
        | Answer::Reloaded { .. }
        | Answer::Metrics { .. }
        | Answer::NotReloaded { .. } => {
            anyhow!("the gateway answered something else; is it of another version?")
        }
    }
}

/// One command, one answer.
pub(super) fn ask(config: &Path, command: &Command) -> anyhow::Result<Answer> {
    let socket = config::control_socket(config)?;
    let Some(path) = &socket.path else {
        bail!(
            "with state.store = \"memory\" and no state.directory in {}, the gateway has no socket for operators; write a state.directory",
            config.display()
        );
    };
    let mut stream = UnixStream::connect(path).map_err(|error| {
        let is_nobody_there = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
        let hint = if is_nobody_there && socket.is_by_default {
            format!(
                "no gateway answers there; is it running? {} writes no state.directory, so it is $STATE_DIRECTORY, or 'state' in the folder in which the gateway was started: set STATE_DIRECTORY to the gateway's",
                config.display()
            )
        } else if is_nobody_there {
            "no gateway answers there; is it running, and with this configuration?".to_owned()
        } else if error.kind() == ErrorKind::PermissionDenied {
            "it is for the gateway's own account and for root: run this as one of them".to_owned()
        } else {
            error.to_string()
        };
        anyhow!("{}: {hint}", path.display())
    })?;
    stream.set_write_timeout(Some(TIME))?;
    stream.set_read_timeout(Some(TIME))?;
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .context("the gateway does not answer; another command may be under way, so try again")?;
    serde_json::from_slice(&answer).context("the gateway's answer cannot be read; is it of another version?")
}

/// Who holds how much, then each session and batch.
fn table(held: &Held) -> String {
    let mut holders = vec![
        ["WHO", "SESSIONS", "BATCHES", "CORES", "MEMORY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for holder in &held.holders {
        holders.push(vec![
            plain(&holder.name),
            holder.sessions.to_string(),
            holder.batches.to_string(),
            holder.cores.to_string(),
            memory(holder.memory),
        ]);
    }
    let mut each = vec![
        [
            "KIND", "ID", "NAME", "OWNER", "STATE", "STANDING", "CORES", "MEMORY", "SINCE", "MARKER",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for holding in held.sessions.iter().chain(&held.batches) {
        each.push(row(holding));
    }
    let mut text = String::new();
    if each.len() == 1 {
        text.push_str("nothing is held\n");
    } else {
        align(&mut text, &holders);
        text.push('\n');
        align(&mut text, &each);
    }
    if let Some(age) = held.list_age_seconds {
        let _ = writeln!(text, "\nstates as Livy listed them {age} s ago");
    } else {
        text.push_str("\nLivy has not been listed yet: what was created around the gateway is not known\n");
    }
    if !held.ledger_available {
        text.push_str("the ledger cannot be written: creations are refused\n");
    }
    text
}

fn row(holding: &Holding) -> Vec<String> {
    let or_none = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), plain);
    vec![
        holding.kind.to_string(),
        holding.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        or_none(holding.name.as_deref()),
        or_none(holding.owner.as_deref()),
        or_none(holding.state.as_deref()),
        plain(&holding.standing),
        holding.cores.to_string(),
        memory(holding.memory),
        plain(&holding.since),
        or_none(holding.marker.as_deref()),
    ]
}

/// In columns, two blanks apart.
pub(super) fn align(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn known_by(holding: &Holding) -> String {
    match (holding.id, &holding.marker) {
        (Some(id), _) => id.to_string(),
        (None, Some(marker)) => plain(marker),
        (None, None) => "without a number".to_owned(),
    }
}

/// What was created around the gateway may be called anything, and a terminal obeys control characters.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        let turns_text_around =
            matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || turns_text_around {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    plain
}

pub(super) fn memory(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    let tenths = bytes.saturating_mul(10).div_ceil(GIB);
    match tenths % 10 {
        0 => format!("{} GiB", tenths / 10),
        tenth => format!("{}.{tenth} GiB", tenths / 10),
    }
}

/// Longer than the gateway takes for anything.
const TIME: Duration = Duration::from_secs(90);
const ANSWER_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::Holder;
    use crate::holdings::KindWord;

    #[test]
    fn a_place_is_named_by_its_number_or_its_marker_and_nothing_else() {
        assert!(matches!(named("7"), Ok(Named::Number(7))));
        for text in ["", "-1", "7 ", "2147483648", "etl", "session/7"] {
            assert!(named(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_table_is_for_people_and_no_terminal_obeys_what_stands_in_it() {
        let held = Held {
            holders: vec![Holder {
                scope: "user".into(),
                name: "alice".into(),
                sessions: 1,
                batches: 0,
                cores: 3,
                memory: 5 << 30,
            }],
            sessions: vec![Holding {
                kind: KindWord::Session,
                id: Some(4),
                name: Some("a\u{1b}[2Jé".into()),
                marker: None,
                owner: Some("alice".into()),
                created_by: None,
                state: Some("idle".into()),
                cores: 3,
                memory: (5 << 30) + 1,
                standing: "owned".into(),
                since: "2026-08-01T09:30:00.125Z".into(),
            }],
            batches: Vec::new(),
            list_age_seconds: Some(2),
            ledger_available: true,
        };
        assert_eq!(
            table(&held),
            "WHO    SESSIONS  BATCHES  CORES  MEMORY\n\
             alice  1         0        3      5 GiB\n\
             \n\
             KIND     ID  NAME         OWNER  STATE  STANDING  CORES  MEMORY   SINCE                     MARKER\n\
             session  4   a\\u{1b}[2Jé  alice  idle   owned     3      5.1 GiB  2026-08-01T09:30:00.125Z  -\n\
             \n\
             states as Livy listed them 2 s ago\n"
        );
    }
}
