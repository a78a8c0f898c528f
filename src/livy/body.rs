//! The keys of Livy's request bodies and what their values must be.
//!
//! Source: `CreateInteractiveRequest`, `CreateBatchRequest`, `ExecuteRequest`, `CompletionRequest`,
//! `SerializedJob` and `AddResource` of Livy 0.9.0.

use super::json::{elements, string, type_name};
use super::operation::JsonBody;

/// The key by which a creation names the user whom Livy acts as.
pub const PROXY_USER: &str = "proxyUser";

/// The key of a creation's name.
pub const NAME: &str = "name";

/// The key of a creation's Spark settings.
pub const CONF: &str = "conf";

/// One top-level key of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The key; Livy compares it with case.
    pub name: &'static str,
    /// What its value must be.
    pub shape: Shape,
    /// Whether Livy can do nothing without it. A batch without `file` is refused by Livy, but stays in its list.
    pub required: bool,
}

/// What the value of a key must be. Livy's parser turns numbers into strings and strings into numbers where it can,
/// and answers 500 where it cannot; here a value has its own type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A string without control characters.
    Line,
    /// A string whose characters are nobody's business: code, a serialised job, a user to be compared.
    Text,
    /// A whole number that fits a Java `int`.
    Integer,
    /// An [`Shape::Integer`], or the same in quotes, for the one key that Livy's documentation calls a string.
    IntegerOrDigits,
    /// A list of strings without NUL.
    Arguments,
    /// A list of files. Livy joins them with commas and Spark splits them again, so an element has neither commas
    /// nor white space nor control characters.
    Files,
    /// Spark settings: an object, whose members are judged elsewhere.
    Conf,
}

/// The keys that Livy knows in a body.
pub const fn fields(body: JsonBody) -> &'static [Field] {
    match body {
        JsonBody::CreateSession => SESSION,
        JsonBody::CreateBatch => BATCH,
        JsonBody::Statement => STATEMENT,
        JsonBody::Completion => COMPLETION,
        JsonBody::Job => JOB,
        JsonBody::AddResource => ADD,
    }
}

impl Shape {
    /// Looks at a value's JSON text; says what is wrong with it, as the end of a sentence.
    pub fn check(self, json: &str) -> Result<(), String> {
        match self {
            Self::Text => expect('"', "a string", json),
            Self::Conf => expect('{', "an object of strings", json),
            Self::Line => {
                let text = string(json)?;
                if text.contains(char::is_control) {
                    return Err("has a control character, such as a line break".to_owned());
                }
                Ok(())
            }
            Self::Integer => integer(json, json),
            Self::IntegerOrDigits => integer(json, json.trim_matches('"')),
            Self::Arguments => strings(json, |text| !text.contains('\0'), "has a NUL character in it"),
            Self::Files => strings(
                json,
                |text| !text.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()),
                "has a comma, a blank or a control character in an element; make each file an element of its own",
            ),
        }
    }
}

fn expect(opening: char, wanted: &str, json: &str) -> Result<(), String> {
    if json.starts_with(opening) {
        return Ok(());
    }
    Err(format!("must be {wanted}, not {}", type_name(json)))
}

fn integer(json: &str, digits: &str) -> Result<(), String> {
    let plain = digits.strip_prefix('-').unwrap_or(digits);
    let is_whole = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole && digits.parse::<i32>().is_ok() {
        return Ok(());
    }
    if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err("must be a whole number of at most 2147483647".to_owned());
    }
    Err(format!(
        "must be a whole number, such as 2, not {}",
        type_name(json)
    ))
}

fn strings(json: &str, is_good: impl Fn(&str) -> bool, problem: &str) -> Result<(), String> {
    let Some(elements) = elements(json) else {
        return Err(format!("must be a list of strings, not {}", type_name(json)));
    };
    for element in elements {
        let text = string(element).map_err(|problem| format!("has an element that {problem}"))?;
        if !is_good(&text) {
            return Err(problem.to_owned());
        }
    }
    Ok(())
}

const fn may(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        required: false,
    }
}

const fn must(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        required: true,
    }
}

const SESSION: &[Field] = &[
    may("kind", Shape::Line),
    may(PROXY_USER, Shape::Text),
    may("jars", Shape::Files),
    may("pyFiles", Shape::Files),
    may("files", Shape::Files),
    may("driverMemory", Shape::Line),
    may("driverCores", Shape::Integer),
    may("executorMemory", Shape::Line),
    may("executorCores", Shape::Integer),
    may("numExecutors", Shape::Integer),
    may("archives", Shape::Files),
    may("queue", Shape::Line),
    may(NAME, Shape::Line),
    may(CONF, Shape::Conf),
    may("heartbeatTimeoutInSecond", Shape::Integer),
    may("ttl", Shape::Line),
    may("idleTimeout", Shape::Line),
];

const BATCH: &[Field] = &[
    must("file", Shape::Line),
    may(PROXY_USER, Shape::Text),
    may("args", Shape::Arguments),
    may("className", Shape::Line),
    may("jars", Shape::Files),
    may("pyFiles", Shape::Files),
    may("files", Shape::Files),
    may("driverMemory", Shape::Line),
    may("driverCores", Shape::Integer),
    may("executorMemory", Shape::Line),
    may("executorCores", Shape::Integer),
    may("numExecutors", Shape::Integer),
    may("archives", Shape::Files),
    may("queue", Shape::Line),
    may(NAME, Shape::Line),
    may(CONF, Shape::Conf),
];

const STATEMENT: &[Field] = &[must("code", Shape::Text), may("kind", Shape::Line)];

const COMPLETION: &[Field] = &[
    must("code", Shape::Text),
    may("kind", Shape::Line),
    may("cursor", Shape::IntegerOrDigits),
];

const JOB: &[Field] = &[must("job", Shape::Text), may("jobType", Shape::Line)];

const ADD: &[Field] = &[must("uri", Shape::Line)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_takes_its_own_type_and_no_other() {
        let samples = [
            "\"a\"", "2", "2.5", "true", "null", "[]", "[\"a\"]", "[1]", "[null]", "{}", "\"2\"",
        ];
        for (shape, accepted) in [
            (Shape::Line, ["\"a\"", "\"2\""].as_slice()),
            (Shape::Text, &["\"a\"", "\"2\""]),
            (Shape::Integer, &["2"]),
            (Shape::IntegerOrDigits, &["2", "\"2\""]),
            (Shape::Arguments, &["[]", "[\"a\"]"]),
            (Shape::Files, &["[]", "[\"a\"]"]),
            (Shape::Conf, &["{}"]),
        ] {
            for json in samples {
                assert_eq!(
                    shape.check(json).is_ok(),
                    accepted.contains(&json),
                    "{shape:?} {json}"
                );
            }
        }
    }

    #[test]
    fn a_whole_number_fits_a_java_int() {
        for json in ["0", "-0", "7", "-1", "2147483647", "-2147483648"] {
            assert_eq!(Shape::Integer.check(json), Ok(()), "{json}");
        }
        for json in ["2147483648", "1e3", "2.0", "-", "99999999999999999999"] {
            assert!(Shape::Integer.check(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_number_in_quotes_is_refused_with_words_that_help() {
        let problem = Shape::Integer.check("\"2\"").unwrap_err();
        assert_eq!(problem, "must be a whole number, such as 2, not a string");
    }

    #[test]
    fn an_element_that_would_become_two_files_is_refused() {
        for json in [
            r#"["hdfs:///a.jar,file:///etc/passwd"]"#,
            r#"["hdfs:///a.jar file:///b"]"#,
            r#"["hdfs:///a.jar\u002cb"]"#,
            r#"["a\n"]"#,
            r#"["ok", "a\u0000"]"#,
        ] {
            assert!(Shape::Files.check(json).is_err(), "{json}");
        }
        assert_eq!(
            Shape::Files.check(r#"["hdfs:///a-1.0_b.jar","wasb:///x%20y"]"#),
            Ok(())
        );
    }

    #[test]
    fn arguments_are_any_text_but_nul() {
        assert_eq!(Shape::Arguments.check(r#"["select 1,\n 2", ""]"#), Ok(()));
        assert!(Shape::Arguments.check(r#"["a\u0000b"]"#).is_err());
        assert!(Shape::Arguments.check(r#"["\ud800"]"#).is_err());
    }

    #[test]
    fn only_creations_name_a_user() {
        for body in [
            JsonBody::Statement,
            JsonBody::Completion,
            JsonBody::Job,
            JsonBody::AddResource,
        ] {
            assert!(
                fields(body).iter().all(|field| field.name != PROXY_USER),
                "{body:?}"
            );
        }
    }
}
