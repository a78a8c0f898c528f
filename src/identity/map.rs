//! One mapping rule: for whom it is (source and subject), and the Livy user that it gives.

use std::str::FromStr;
use std::sync::Arc;

use regex::{Captures, Regex, RegexBuilder};

use crate::authn::Source;
use crate::identity::LivyUser;

/// Whose subjects a rule is for: the `from` of an `[[identity.map]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFilter {
    /// Every source.
    Any,
    /// The users file.
    Basic,
    /// The `[[jwt]]` entry of that name.
    Jwt(String),
    /// The directory.
    Ldap,
    /// Client certificates.
    Certificate,
}

impl SourceFilter {
    fn admits(&self, source: &Source) -> bool {
        match (self, source) {
            (Self::Any, _)
            | (Self::Basic, Source::Basic)
            | (Self::Ldap, Source::Ldap)
            | (Self::Certificate, Source::Certificate) => true,
            (Self::Jwt(wanted), Source::Jwt(name)) => wanted.as_str() == &**name,
            (Self::Basic | Self::Jwt(_) | Self::Ldap | Self::Certificate, _) => false,
        }
    }
}

impl FromStr for SourceFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self::Any),
            "basic" => Ok(Self::Basic),
            "ldap" => Ok(Self::Ldap),
            "certificate" => Ok(Self::Certificate),
            "token" => Err(
                "\"token\" is not mapped: a personal token names its Livy user itself; leave the rule out"
                    .to_owned(),
            ),
            _ => match text.strip_prefix("jwt:") {
                Some(name) if !name.is_empty() => Ok(Self::Jwt(name.to_owned())),
                Some(_) | None => Err(format!(
                    "\"{text}\" is no source of identities; write \"basic\", \"jwt:NAME\" with the name of a [[jwt]] entry, \"ldap\", \"certificate\", or \"any\""
                )),
            },
        }
    }
}

/// One `[[identity.map]]` rule.
#[derive(Debug)]
pub struct MapRule {
    from: SourceFilter,
    subject: Option<Regex>,
    group: Option<String>,
    gives: Gives,
}

#[derive(Debug)]
enum Gives {
    Exactly(LivyUser),
    Template(Vec<Piece>),
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    Subject,
    Group(String),
}

/// What a rule that matches gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// The user that the rule names itself, reserved or not.
    Exact(LivyUser),
    /// A user made of the subject: it may not be a reserved one.
    Computed(LivyUser),
    /// No legal name.
    Illegal,
}

impl Mapped {
    pub(super) fn from_subject(name: &str) -> Self {
        LivyUser::new(name).map_or(Self::Illegal, Self::Computed)
    }
}

impl MapRule {
    /// Compiles a rule. `subject` is a regular expression that must match the whole subject (none = every subject
    /// of the source); `livy_user` is a name, or a template with `${subject}` and `${group}` for the expression's
    /// named groups. A `$` that begins no placeholder is an error, since no Livy user contains one.
    ///
    /// The error says what is wrong with which of the two and what to write instead.
    pub fn new(from: SourceFilter, subject: Option<&str>, livy_user: &str) -> Result<Self, String> {
        let subject = subject.map(anchored).transpose()?;
        let gives = Gives::parse(livy_user, subject.as_ref())?;
        Ok(Self {
            from,
            subject,
            group: None,
            gives,
        })
    }

    /// For those logins alone that bring this group.
    #[must_use]
    pub fn for_members_of(self, group: Option<String>) -> Self {
        Self { group, ..self }
    }

    /// The user that every subject of the source would become, if this is such a rule.
    pub(super) fn gives_everybody(&self) -> Option<&str> {
        match (&self.subject, &self.group, &self.gives) {
            (None, None, Gives::Exactly(user)) => Some(user.as_str()),
            (_, _, Gives::Exactly(_) | Gives::Template(_)) => None,
        }
    }

    /// Why the rule is not for this subject, in words for people; nothing if it is.
    pub(super) fn why_not(&self, source: &Source, name: &str, groups: &[Arc<str>]) -> Option<&'static str> {
        if !self.from.admits(source) {
            Some("it is for another source of logins")
        } else if self
            .group
            .as_ref()
            .is_some_and(|wanted| !groups.iter().any(|group| **group == **wanted))
        {
            Some("it is for members of a group (its group), which the login does not bring")
        } else if self
            .subject
            .as_ref()
            .is_some_and(|expression| !expression.is_match(name))
        {
            Some("its subject does not match the whole name")
        } else {
            None
        }
    }

    /// What the rule gives for this subject, or nothing if it is not for it.
    pub(super) fn apply(&self, source: &Source, name: &str, groups: &[Arc<str>]) -> Option<Mapped> {
        if self.why_not(source, name, groups).is_some() {
            return None;
        }
        let captures = match &self.subject {
            Some(expression) => Some(expression.captures(name)?),
            None => None,
        };
        Some(match &self.gives {
            Gives::Exactly(user) => Mapped::Exact(user.clone()),
            Gives::Template(pieces) => fill(pieces, name, captures.as_ref())
                .and_then(|filled| LivyUser::new(&filled))
                .map_or(Mapped::Illegal, Mapped::Computed),
        })
    }
}

impl Gives {
    fn parse(template: &str, subject: Option<&Regex>) -> Result<Self, String> {
        let pieces = pieces_of(template)?;
        for piece in &pieces {
            match piece {
                Piece::Literal(text) => {
                    if let Some(odd) = text
                        .chars()
                        .find(|c| !u8::try_from(*c).is_ok_and(LivyUser::may_contain))
                    {
                        return Err(format!(
                            "livy_user = \"{template}\" has {odd:?}, which no Livy user may contain; use letters, digits, '.', '_', '@', '-' and ${{placeholders}}"
                        ));
                    }
                }
                Piece::Group(name) => require_group(template, name, subject)?,
                Piece::Subject => {}
            }
        }
        match pieces.as_slice() {
            [] => Err("livy_user is empty; write a name, or ${subject}".to_owned()),
            [Piece::Literal(name)] => LivyUser::new(name).map(Self::Exactly).ok_or_else(|| {
                format!(
                    "livy_user = \"{name}\" is no legal Livy user: it begins with a letter, a digit or '_' and has at most {} characters",
                    LivyUser::MAX_BYTES
                )
            }),
            _ => Ok(Self::Template(pieces)),
        }
    }
}

fn pieces_of(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('$') {
        let (name, after) = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
            .ok_or_else(|| {
                format!(
                    "livy_user = \"{template}\" has a '$' that begins no placeholder; write ${{subject}} or ${{group}}"
                )
            })?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        pieces.push(match name {
            SUBJECT => Piece::Subject,
            group => Piece::Group(group.to_owned()),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

fn require_group(template: &str, name: &str, subject: Option<&Regex>) -> Result<(), String> {
    let known: Vec<&str> = subject
        .map(|expression| expression.capture_names().flatten().collect())
        .unwrap_or_default();
    if known.contains(&name) {
        return Ok(());
    }
    let known: Vec<String> = known
        .into_iter()
        .chain([SUBJECT])
        .map(|name| format!("${{{name}}}"))
        .collect();
    Err(format!(
        "livy_user = \"{template}\" uses ${{{name}}}, but subject has no group (?<{name}>…); there is {}",
        known.join(", ")
    ))
}

/// The name that the pieces make, unless one of the groups took no part in the match: then the rule's author
/// meant another subject, and a name with a hole is nobody's.
fn fill(pieces: &[Piece], subject: &str, captures: Option<&Captures<'_>>) -> Option<String> {
    let mut filled = String::new();
    for piece in pieces {
        filled.push_str(match piece {
            Piece::Literal(text) => text,
            Piece::Subject => subject,
            Piece::Group(name) => captures?.name(name)?.as_str(),
        });
    }
    Some(filled)
}

/// The expression, made to match whole subjects only.
fn anchored(expression: &str) -> Result<Regex, String> {
    let compile = |expression: &str| {
        RegexBuilder::new(expression)
            .size_limit(EXPRESSION_BYTES_MAX)
            .build()
            .map_err(|error| {
                format!(
                    "subject = '{expression}' is no regular expression: {}",
                    last_line(&error)
                )
            })
    };
    // First as it stands: `a)|(?:b` is none by itself, but would become one that is not anchored.
    let alone = compile(expression)?;
    if alone.capture_names().flatten().any(|name| name == SUBJECT) {
        return Err(format!(
            "subject = '{expression}' has a group named {SUBJECT}, which stands for the whole subject; give it another name"
        ));
    }
    compile(&format!(r"\A(?:{expression})\z"))
}

// The crate draws the expression over several lines and says what is wrong on the last.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

const SUBJECT: &str = "subject";

/// The crate matches in time linear in subject × compiled size; this bounds the second factor.
const EXPRESSION_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(subject: Option<&str>, livy_user: &str) -> String {
        MapRule::new(SourceFilter::Any, subject, livy_user).unwrap_err()
    }

    fn mapped(subject: Option<&str>, livy_user: &str, name: &str) -> Option<Mapped> {
        MapRule::new(SourceFilter::Any, subject, livy_user)
            .unwrap()
            .apply(&Source::Basic, name, &[])
    }

    fn computed(name: &str) -> Option<Mapped> {
        Some(Mapped::Computed(LivyUser::for_tests(name)))
    }

    #[test]
    fn an_expression_matches_whole_subjects_only() {
        for expression in ["alice", "^alice$", "alice|bob", "(?m)^alice$", "a|alice|al"] {
            let apply = |name| mapped(Some(expression), "x-${subject}", name);
            assert_eq!(apply("alice"), computed("x-alice"), "{expression}");
            for other in [
                "alice2",
                "malice",
                "alice\n",
                "alice\nbob",
                "bob alice",
                "Alice",
                "",
            ] {
                assert_eq!(apply(other), None, "{expression} must not match {other:?}");
            }
        }
    }

    #[test]
    fn an_expression_cannot_break_out_of_its_anchors() {
        for expression in ["alice)|(?:bob", "alice)(?:.*", "(?x) alice # "] {
            assert!(
                problem(Some(expression), "x").contains("is no regular expression"),
                "{expression}"
            );
        }
    }

    #[test]
    fn templates_take_named_groups_and_the_subject() {
        let expression = Some(r"(?<name>[a-z]+)@(?<org>[a-z]+)\.example");
        for (template, user) in [
            ("${name}", "alice"),
            ("${org}.${name}", "dev.alice"),
            ("u-${name}-${name}", "u-alice-alice"),
            ("${subject}", "alice@dev.example"),
        ] {
            assert_eq!(
                mapped(expression, template, "alice@dev.example"),
                computed(user),
                "{template}"
            );
        }
    }

    #[test]
    fn a_group_that_took_no_part_gives_nobody() {
        let expression = Some("(?<name>[a-z]+)|(?<number>[0-9]+)");
        assert_eq!(mapped(expression, "u${name}", "7"), Some(Mapped::Illegal));
        assert_eq!(mapped(expression, "u${number}", "7"), computed("u7"));
    }

    #[test]
    fn a_result_that_is_no_legal_name_is_nobody_and_not_repaired() {
        let long = "a".repeat(LivyUser::MAX_BYTES + 1);
        for name in [
            "",
            " alice",
            "alice ",
            "alice&doAs=bob",
            "alice/host",
            ".alice",
            "-a",
            "älice",
            "a\0",
            &long,
        ] {
            assert_eq!(
                mapped(None, "${subject}", name),
                Some(Mapped::Illegal),
                "{name:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said_when_it_is_made() {
        for (subject, livy_user, words) in [
            (None, "", "livy_user is empty"),
            (
                None,
                "${name}",
                "subject has no group (?<name>…); there is ${subject}",
            ),
            (Some("(?<nme>.*)"), "${name}", "there is ${nme}, ${subject}"),
            (Some("(.*)"), "${1}", "uses ${1}, but subject has no group"),
            (None, "$subject", "'$' that begins no placeholder"),
            (None, "$${subject}", "'$' that begins no placeholder"),
            (None, "${subject", "'$' that begins no placeholder"),
            (None, "a b", "has ' ', which no Livy user may contain"),
            (None, "ä${subject}", "has 'ä', which no Livy user may contain"),
            (None, ".alice", "is no legal Livy user"),
            (Some("("), "alice", "is no regular expression: unclosed group"),
            (Some("(?<subject>.*)"), "${subject}", "has a group named subject"),
            (Some("(?:[a-z]{1000}){1000}"), "alice", "is no regular expression"),
        ] {
            let problem = problem(subject, livy_user);
            assert!(problem.contains(words), "{subject:?} {livy_user:?}: {problem}");
        }
    }

    #[test]
    fn a_source_is_written_as_subjects_show_it() {
        assert_eq!("any".parse(), Ok(SourceFilter::Any));
        assert_eq!("basic".parse(), Ok(SourceFilter::Basic));
        assert_eq!("jwt:corp".parse(), Ok(SourceFilter::Jwt("corp".into())));
        for text in ["", "jwt", "jwt:", "Basic", "kerberos"] {
            let problem = SourceFilter::from_str(text).unwrap_err();
            assert!(problem.contains("is no source of identities"), "{problem}");
        }
        assert_eq!("ldap".parse(), Ok(SourceFilter::Ldap));
        assert_eq!("certificate".parse(), Ok(SourceFilter::Certificate));
        let problem = SourceFilter::from_str("token").unwrap_err();
        assert!(problem.contains("names its Livy user itself"), "{problem}");
    }

    #[test]
    fn a_filter_admits_its_own_source_alone() {
        let corp = Source::Jwt("corp".into());
        let other = Source::Jwt("other".into());
        for (filter, admits) in [
            (SourceFilter::Any, [true, true, true]),
            (SourceFilter::Basic, [true, false, false]),
            (SourceFilter::Jwt("corp".into()), [false, true, false]),
            (SourceFilter::Jwt("basic".into()), [false, false, false]),
        ] {
            assert_eq!(
                [&Source::Basic, &corp, &other].map(|source| filter.admits(source)),
                admits,
                "{filter:?}"
            );
        }
    }
}
