//! What is wrong with a configuration: each problem with its place, the offending value and what to write instead.
//!
//! Problems are collected, never thrown, so that one run of `check` shows all of them. A value that holds a secret
//! is masked in every line that is shown, whoever's problem the line illustrates.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Why a configuration was not loaded. `Display` is plain text; [`Report::render`] may color it.
#[derive(Debug)]
pub struct Report {
    file: String,
    text: String,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug)]
struct Problem {
    location: Location,
    title: String,
    help: String,
}

/// Where it is wrong.
#[derive(Debug)]
enum Location {
    /// These bytes of the configuration.
    Span(Range<usize>),
    /// Something that is not in the configuration but should be.
    Absent,
    /// A line of another file, which is not shown: it may hold a secret.
    OtherFile { path: String, line: Option<usize> },
}

/// Collects problems while the configuration is read and compiled.
#[derive(Debug)]
pub(super) struct Problems {
    file: PathBuf,
    text: String,
    found: RefCell<Vec<Problem>>,
    masked: RefCell<Vec<Range<usize>>>,
}

impl Problems {
    /// Nothing is wrong yet with `text`, which was read from `file`.
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            found: RefCell::default(),
            masked: RefCell::default(),
        }
    }

    /// Records a problem of the bytes `span`, or of something that is not written when there is no span.
    /// An empty `help` is left out: the title then says what to do.
    pub(super) fn add(&self, span: Option<&Range<usize>>, title: impl Into<String>, help: impl Into<String>) {
        let location = span.map_or(Location::Absent, |span| Location::Span(span.clone()));
        self.push(location, title.into(), help.into());
    }

    /// Records a problem of another file that the configuration names.
    pub(super) fn add_in(
        &self,
        path: &Path,
        line: Option<usize>,
        title: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = path.display().to_string();
        self.push(Location::OtherFile { path, line }, title.into(), help.into());
    }

    /// Hides the bytes `span` wherever their line is shown.
    pub(super) fn mask(&self, span: &Range<usize>) {
        self.masked.borrow_mut().push(span.clone());
    }

    /// The number of the line that `span` begins on.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        let before = self.text.bytes().take(span.start);
        before.filter(|byte| *byte == b'\n').count().saturating_add(1)
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// What is wrong, in the order of the file, so that it can be mended from top to bottom.
    pub(super) fn into_report(self) -> Report {
        let mut problems = self.found.into_inner();
        problems.sort_by_key(|problem| match &problem.location {
            Location::Span(span) => (0, span.start),
            Location::Absent => (1, 0),
            Location::OtherFile { line, .. } => (2, line.unwrap_or(0)),
        });
        Report {
            file: self.file.display().to_string(),
            text: masked(&self.text, &self.masked.into_inner()),
            problems,
        }
    }

    fn push(&self, location: Location, title: String, help: String) {
        self.found.borrow_mut().push(Problem {
            location,
            title,
            help,
        });
    }
}

impl Report {
    /// The problem of a configuration that could not even be read.
    pub(super) fn unreadable(file: &Path, title: String, help: &str) -> Self {
        let problem = Problem {
            location: Location::Absent,
            title,
            help: help.to_owned(),
        };
        Self {
            file: file.display().to_string(),
            text: String::new(),
            problems: vec![problem],
        }
    }

    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Whether there is no problem; a report has at least one.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The text for a person, with color if `colored`.
    pub fn render(&self, colored: bool) -> String {
        let renderer = if colored {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for problem in &self.problems {
            out.push_str(&renderer.render(&[self.group(problem)]));
            out.push_str("\n\n");
        }
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        out.push_str(&format!("{count} {noun} in {}", self.file));
        out
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let title = Level::ERROR.primary_title(problem.title.as_str());
        let group = match &problem.location {
            Location::Span(span) => title.element(
                Snippet::source(self.text.as_str())
                    .path(self.file.as_str())
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            ),
            Location::Absent => title.element(Origin::path(self.file.as_str())),
            Location::OtherFile { path, line } => {
                let origin = Origin::path(path.as_str());
                title.element(match line {
                    Some(line) => origin.line(*line),
                    None => origin,
                })
            }
        };
        if problem.help.is_empty() {
            return group;
        }
        group.element(Level::HELP.message(problem.help.as_str()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// `text` with every byte of `spans` but line ends turned into an asterisk, so that all other places stay where they are.
fn masked(text: &str, spans: &[Range<usize>]) -> String {
    let hidden = |at: usize| spans.iter().any(|span| span.contains(&at));
    let mut out = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if hidden(at) && character != '\n' {
            out.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            out.push(character);
        }
    }
    out
}

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Below this similarity a hint misleads more often than it helps.
const NEAR: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_text_keeps_its_places_and_lines() {
        let text = "a = \"geheim\u{df}\"\nb = 1";
        let shown = masked(text, std::slice::from_ref(&(5..13)));
        assert_eq!(shown, "a = \"********\"\nb = 1");
        assert_eq!(shown.len(), text.len());
    }

    #[test]
    fn a_near_miss_is_named_and_a_stranger_is_not() {
        assert_eq!(nearest("adress", ["address", "base_paths"]), Some("address"));
        assert_eq!(nearest("zzz", ["address", "base_paths"]), None);
    }
}
