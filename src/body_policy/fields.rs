//! What each field of a body may say, beside its type: names, times and lengths.

use std::ops::RangeInclusive;

use crate::denial::Denial;
use crate::livy::SessionName;
use crate::livy::amount;
use crate::livy::body::{Field, NAME, fields};
use crate::livy::json::{StrictObject, elements, string};
use crate::livy::operation::JsonBody;

/// Checks every field that Livy knows in a body of this kind.
pub(super) fn check(kind: JsonBody, object: &StrictObject<'_>) -> Result<(), Denial> {
    for field in fields(kind) {
        if let Some(problem) = problem(field, object) {
            let sentence = format!("The field '{}' {problem}.", field.name);
            return Err(Denial::InvalidBody(sentence.into()));
        }
    }
    let listed = LISTED.iter().filter_map(|name| object.get(name));
    if listed.map(str::len).sum::<usize>() > LISTED_BYTES_MAX {
        let sentence = format!(
            "The fields '{}' have more than {LISTED_BYTES_MAX} bytes together.",
            LISTED.join("', '")
        );
        return Err(Denial::InvalidBody(sentence.into()));
    }
    Ok(())
}

/// The queue has two names; with both, Livy's choice would depend on the kind of creation.
pub(super) fn check_queue(object: &StrictObject<'_>, settings: &StrictObject<'_>) -> Result<(), Denial> {
    let is_in_settings = settings
        .keys()
        .any(|key| key.eq_ignore_ascii_case("spark.yarn.queue"));
    if object.get("queue").is_some() && is_in_settings {
        return Err(Denial::InvalidBody(
            "The queue is given twice, as 'queue' and as 'spark.yarn.queue' in 'conf'. Give it once.".into(),
        ));
    }
    Ok(())
}

fn problem(field: &Field, object: &StrictObject<'_>) -> Option<String> {
    let Some(json) = object.get(field.name) else {
        return field.required.then(|| "is missing".to_owned());
    };
    field.shape.check(json).err().or_else(|| match field.name {
        NAME => name_problem(&string(json).ok()?),
        "heartbeatTimeoutInSecond" => heartbeat_problem(json),
        "ttl" | "idleTimeout" => time_problem(&string(json).ok()?),
        "className" | "queue" | "kind" | "driverMemory" | "executorMemory" => {
            length_problem(json, WORD_BYTES_MAX)
        }
        "args" => {
            let arguments = elements(json).unwrap_or_default();
            if arguments.len() > ARGUMENTS_MAX {
                return Some(format!("has more than {ARGUMENTS_MAX} elements"));
            }
            arguments
                .into_iter()
                .find_map(|argument| length_problem(argument, ARGUMENT_BYTES_MAX))
        }
        _ => None,
    })
}

// Livy takes any text that is not all digits, and puts it into paths, logs and pages. It refuses an empty one only
// after it has started a driver that no list shows and nobody can delete. A name with blanks is none that a path can
// have, but livy-submit gives one.
fn name_problem(name: &str) -> Option<String> {
    let is_good = !name.ends_with(' ') && SessionName::new(&name.replace(' ', "_")).is_some();
    (!is_good).then(|| {
        format!(
            "must begin with a letter and go on with letters, digits, blanks, '.', '_' or '-', {} characters at most; or leave it out",
            SessionName::MAX_BYTES
        )
    })
}

fn heartbeat_problem(json: &str) -> Option<String> {
    let seconds: i64 = json.parse().ok()?;
    if seconds == 0 || HEARTBEAT_SECONDS.contains(&seconds) {
        return None;
    }
    Some(format!(
        "must be 0, for none, or from {} to {} seconds",
        HEARTBEAT_SECONDS.start(),
        HEARTBEAT_SECONDS.end()
    ))
}

fn time_problem(text: &str) -> Option<String> {
    if amount::time(text).is_some() {
        return None;
    }
    Some("must be a time as Livy writes it, such as 30m, 12h or 1d".to_owned())
}

fn length_problem(json: &str, most: usize) -> Option<String> {
    let is_longer = string(json).is_ok_and(|text| text.len() > most);
    is_longer.then(|| format!("has a text of more than {most} bytes"))
}

/// A shorter one dies between two polls; notebooks ask for 60.
const HEARTBEAT_SECONDS: RangeInclusive<i64> = 5..=86_400;
const WORD_BYTES_MAX: usize = 512;
/// Linux hands a process no argument of more than 128 KiB.
const ARGUMENT_BYTES_MAX: usize = 64 << 10;
const ARGUMENTS_MAX: usize = 1_000;
/// What Livy 0.9 shows again in each list for as long as it remembers the session, which for one that has failed at once
/// is ten minutes, whatever the quota (`SessionServlet.scala`).
const LISTED: [&str; 5] = ["conf", "jars", "pyFiles", "files", "archives"];
const LISTED_BYTES_MAX: usize = 64 << 10;
