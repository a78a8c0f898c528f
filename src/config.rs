//! From a file to a [`Policy`]: read as written, compiled with everything that it names, or refused with a
//! [`Report`] of all that is wrong.
//!
//! Nothing else sees the file. A policy that was made is right; there is no validation afterwards.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use crate::policy::Policy;

mod compile;
mod files;
pub mod keys;
mod problem;
mod raw;
mod reader;
mod show;
mod tls;
mod units;
mod url;

pub use problem::Report;
pub use units::duration;

use problem::Problems;
use raw::RawConfig;

/// A configuration that can be put in force, with what is told of it.
#[derive(Debug)]
pub struct Loaded {
    policy: Policy,
    raw: RawConfig,
    map_lines: Vec<usize>,
}

impl Loaded {
    /// What it means, for machines.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The effective configuration as a file, defaults included, secrets by their references only.
    pub fn effective(&self) -> String {
        show::effective(&self.raw)
    }

    /// What it means at `now_wall` since 1970, for people: about ten lines.
    pub fn summary(&self, now_wall: Duration) -> String {
        show::summary(&self.raw, &self.policy, now_wall)
    }

    /// The line of the `[[identity.map]]` rule of this index.
    pub fn map_rule_line(&self, index: usize) -> Option<usize> {
        self.map_lines.get(index).copied()
    }
}

/// Reads the file and everything that it names, and compiles it.
pub fn load(path: &Path, generation: u64) -> Result<Policy, Report> {
    read(path, generation).map(|loaded| loaded.policy)
}

/// What is in the configuration's file and in those that it names now, to be compared with [`Policy::contents`].
pub fn contents_now(path: &Path, named: &[PathBuf]) -> Vec<u64> {
    let files = std::iter::once(path).chain(named.iter().map(PathBuf::as_path));
    files
        .map(|file| files::seen(std::fs::read(file).ok().as_deref()))
        .collect()
}

/// The text of `show`: the effective configuration, defaults included, secrets masked.
pub fn effective(path: &Path) -> Result<String, Report> {
    read(path, 0).map(|loaded| loaded.effective())
}

/// Like [`load`], and keeps what explanations need.
pub fn read(path: &Path, generation: u64) -> Result<Loaded, Report> {
    let text = text_of(path)?;
    let problems = Problems::new(path, &text);
    let Some(document) = parse(&text, &problems) else {
        return Err(problems.into_report());
    };
    let raw = raw::read(document.get_ref(), &problems);
    let directory = path.parent().unwrap_or(Path::new(""));
    let policy = compile::compile(&raw, directory, generation, &problems);
    let map_lines = raw
        .identity
        .map
        .iter()
        .map(|rule| problems.line_of(&rule.span))
        .collect();
    match policy {
        Some(mut policy) if problems.is_empty() => Ok(Loaded {
            policy: {
                policy.contents.insert(0, files::seen(Some(text.as_bytes())));
                policy
            },
            raw,
            map_lines,
        }),
        Some(_) | None => Err(problems.into_report()),
    }
}

/// The document, if it is TOML; what else it is becomes a problem.
fn parse<'a>(text: &'a str, problems: &Problems) -> Option<Spanned<DeTable<'a>>> {
    DeTable::parse(text)
        .inspect_err(|error| syntax_problem(text, error, problems))
        .ok()
}

/// Where the gateway that runs with this file is talked to, if it has a socket. Nothing but the syntax needs to be
/// right: a file that is being mended keeps no operator from looking at what runs.
pub fn control_socket(path: &Path) -> Result<ControlSocket, Report> {
    let text = text_of(path)?;
    let problems = Problems::new(path, &text);
    let Some(document) = parse(&text, &problems) else {
        return Err(problems.into_report());
    };
    let raw = raw::read_state(document.get_ref(), &problems);
    let directory = path.parent().unwrap_or(Path::new(""));
    Ok(ControlSocket {
        path: compile::control_socket(&raw, |written| directory.join(written)),
        is_by_default: raw.directory.span.is_none(),
    })
}

/// Where operators talk to a running gateway.
#[derive(Debug)]
pub struct ControlSocket {
    /// The socket; none if nothing is kept in a directory.
    pub path: Option<PathBuf>,
    /// Whether its directory is the default, which depends on how the gateway was started.
    pub is_by_default: bool,
}

/// After a mistake in the syntax nothing else can be judged.
fn syntax_problem(text: &str, error: &toml::de::Error, problems: &Problems) {
    let span = error.span().unwrap_or(0..0);
    // The line may hold a secret that was pasted in: what is right of an equals sign stays hidden where that may be.
    let start = text
        .get(..span.start)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |end| end.saturating_add(1));
    let rest = text.get(start..).unwrap_or("");
    let line = rest.lines().next().unwrap_or("");
    let names_secret = ["token", "password", "secret"]
        .iter()
        .any(|word| line.contains(word));
    if let Some(equals) = line.find('=').filter(|_| names_secret) {
        problems.mask(&(start.saturating_add(equals).saturating_add(1)..start.saturating_add(line.len())));
    }
    let help = "mend this first: the rest of the file was not looked at; see https://toml.io for the syntax";
    problems.add(
        Some(&span),
        format!("this is not TOML: {}", error.message()),
        help,
    );
}

fn text_of(path: &Path) -> Result<String, Report> {
    let help = "write the path of the gateway's configuration: --config FILE";
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        file.take(LARGEST_CONFIGURATION.saturating_add(1))
            .read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        let title = format!("the configuration cannot be read: {}", files::plain(&error));
        return Err(Report::unreadable(path, title, help));
    }
    if bytes.len() as u64 > LARGEST_CONFIGURATION {
        return Err(Report::unreadable(
            path,
            "the configuration is larger than 1 MiB".to_owned(),
            help,
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| Report::unreadable(path, "the configuration is not UTF-8 text".to_owned(), help))
}

/// In bytes.
const LARGEST_CONFIGURATION: u64 = 1 << 20;
