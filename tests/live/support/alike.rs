//! When two answers are alike: what depends on the moment and on the session is left out of the comparison.

use serde_json::Value;

use super::http::Reply;

/// In what two answers to the same request differ, if they do: status, kind of body, the keys of objects at any depth,
/// kinds of values, and the words that are for people. `null` is like anything, as values come with time.
pub(crate) fn difference(one: &Reply, other: &Reply) -> Option<String> {
    if one.status != other.status {
        return Some(format!(
            "status {} and {}: {one:?} and {other:?}",
            one.status, other.status
        ));
    }
    match (
        serde_json::from_slice(&one.body),
        serde_json::from_slice(&other.body),
    ) {
        (Ok(one), Ok(other)) => values("body", &one, &other),
        // Livy's pages of HTML are replaced by the gateway; those that compare them say so.
        _ => (one.body != other.body).then(|| format!("bodies {one:?} and {other:?}")),
    }
}

fn values(place: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(one), Value::Object(other)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            if keys(one) != keys(other) {
                return Some(format!("{place} has keys {:?} and {:?}", keys(one), keys(other)));
            }
            one.iter()
                .zip(other.values())
                .find_map(|((key, one), other)| values(&format!("{place}.{key}"), one, other))
        }
        (Value::Array(one), Value::Array(other)) => {
            let firsts = one.first().zip(other.first());
            firsts.and_then(|(one, other)| values(&format!("{place}[0]"), one, other))
        }
        (Value::String(one), Value::String(other)) => {
            let is_for_people = place == "body" || place.ends_with(".msg");
            let differs = is_for_people && numberless(one) != numberless(other);
            differs.then(|| format!("{place} is {one:?} and {other:?}"))
        }
        (Value::Number(_), Value::Number(_)) | (Value::Bool(_), Value::Bool(_)) => None,
        _ => Some(format!("{place} is {one} and {other}")),
    }
}

/// Ids in sentences differ from session to session.
fn numberless(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}
