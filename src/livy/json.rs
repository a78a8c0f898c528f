//! Strict reading of JSON objects: what is accepted here, every JSON parser reads in the same way.
//!
//! Livy's own parser is lenient: it guesses the encoding, takes over-long UTF-8, keeps the last of two equal keys
//! and ignores whatever follows the first value. Nothing of that passes here. Values are never interpreted: they
//! stay the text that the client wrote, so big numbers and escapes survive byte for byte.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::denial::{Denial, quotable};

/// How deep objects and lists may be nested, the body itself included. Livy's requests need two levels.
pub const DEPTH_MAX: usize = 16;

/// How many members one object may have. A `conf` of hundreds of keys exists, one of thousands does not.
pub const MEMBERS_MAX: usize = 1024;

/// A JSON object (RFC 8259) in UTF-8 without byte order mark, with nothing after it, no key twice in any of its
/// objects (also when spelled with escapes), and at most [`DEPTH_MAX`] levels. Members keep their order.
#[derive(Clone, Default)]
pub struct StrictObject<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> StrictObject<'a> {
    /// Reads a whole body.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Denial> {
        let json = utf8(bytes)?;
        let start = json.trim_start_matches(is_json_space);
        if start.is_empty() {
            return Err(invalid("The body is empty; send one JSON object, such as {}."));
        }
        if !start.starts_with('{') {
            return Err(invalid(format!(
                "The body must be one JSON object, such as {{}}, and begins like {}.",
                type_name(start)
            )));
        }
        let members = read_members(json, |error| {
            invalid(format!("The body is not valid JSON: {error}."))
        })?;
        for (_, value) in &members {
            check_inside(value, 2)?;
        }
        Ok(Self {
            members: members
                .into_iter()
                .map(|(key, value)| (key, Cow::Borrowed(value)))
                .collect(),
        })
    }

    /// The JSON text of a member's value, as the client wrote it.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// A member that must be a string, without its quotes and escapes; none if there is no such member.
    pub fn string(&self, key: &str) -> Result<Option<Cow<'_, str>>, Denial> {
        self.get(key)
            .map(|json| string(json).map_err(|problem| invalid(format!("The field '{key}' {problem}."))))
            .transpose()
    }

    /// The keys in their order, without escapes.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.members().map(|(key, _)| key)
    }

    /// Keys, and the JSON text of their values.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// Gives a member the string as its value, in the member's old place or at the end.
    pub fn set_string(&mut self, key: impl Into<Cow<'a, str>>, value: &str) {
        self.set_json(key.into(), quote(value));
    }

    /// Gives a member another object as its value.
    pub fn set_object(&mut self, key: &'static str, value: &StrictObject<'_>) {
        self.set_json(Cow::Borrowed(key), value.to_string());
    }

    /// Takes a member away.
    pub fn remove(&mut self, key: &str) {
        self.members.retain(|(name, _)| name != key);
    }

    /// The object as JSON, for the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The same object, independent of the body that it was read from.
    pub fn into_owned(self) -> StrictObject<'static> {
        StrictObject {
            members: self
                .members
                .into_iter()
                .map(|(key, value)| (Cow::Owned(key.into_owned()), Cow::Owned(value.into_owned())))
                .collect(),
        }
    }

    // The text must be JSON: both callers write it themselves.
    fn set_json(&mut self, key: Cow<'a, str>, json: String) {
        match self.members.iter_mut().find(|(name, _)| *name == key) {
            Some((_, value)) => *value = Cow::Owned(json),
            None => self.members.push((key, Cow::Owned(json))),
        }
    }
}

/// Keys only: values may hold passwords and people's code.
impl fmt::Debug for StrictObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

/// The object as JSON. Keys are written afresh, values as they were.
impl fmt::Display for StrictObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, (key, value)) in self.members.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{}:{value}", quote(key))?;
        }
        f.write_str("}")
    }
}

/// The text of a JSON string, or what is wrong with it, as the end of a sentence.
pub(crate) fn string(json: &str) -> Result<Cow<'_, str>, String> {
    if !json.starts_with('"') {
        return Err(format!("must be a string, not {}", type_name(json)));
    }
    match serde_json::from_str(json) {
        Ok(Text(text)) => Ok(text),
        Err(_) => Err("has an escape that is no character, such as half of a surrogate pair".to_owned()),
    }
}

/// The JSON texts of a list's elements; none if it is no list.
pub(crate) fn elements(json: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// What a value is, for a sentence. Looks only at the first character.
pub(crate) fn type_name(json: &str) -> &'static str {
    match json.bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "no JSON at all",
    }
}

/// White space as RFC 8259 §2 has it; no other Unicode space is any.
pub(crate) const fn is_json_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Denial {
    Denial::InvalidBody(message.into())
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn utf8(bytes: &[u8]) -> Result<&str, Denial> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Err(invalid(
            "The body begins with a byte order mark. Save it as UTF-8 without one.",
        ));
    }
    // An object begins with two ASCII characters, so a NUL for one of the first two bytes is UTF-16 or UTF-32.
    let wide = bytes.starts_with(b"\xFE\xFF")
        || bytes.starts_with(b"\xFF\xFE")
        || bytes.iter().take(2).any(|byte| *byte == 0);
    if wide {
        return Err(invalid("The body is UTF-16 or UTF-32. Send it as UTF-8."));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        invalid(format!(
            "The body is not UTF-8: byte {} is wrong. Send it as UTF-8.",
            error.valid_up_to()
        ))
    })
}

// The outermost reading has already checked the syntax of everything inside, and so has the depth of the recursion
// its bound. Each level reads its text once more, at most DEPTH_MAX times in all.
fn check_inside(json: &str, depth: usize) -> Result<(), Denial> {
    let opening = json.bytes().next();
    if matches!(opening, Some(b'{' | b'[')) && depth > DEPTH_MAX {
        return Err(invalid(format!(
            "The body is nested deeper than {DEPTH_MAX} levels."
        )));
    }
    match opening {
        Some(b'{') => {
            let members = read_members(json, |_| {
                invalid(
                    "A key in the body has an escape that is no character, such as half of a surrogate pair.",
                )
            })?;
            members
                .iter()
                .try_for_each(|(_, value)| check_inside(value, depth + 1))
        }
        Some(b'[') => {
            let Ok(Containers(containers)) = serde_json::from_str(json) else {
                return Err(invalid(
                    "The body is not valid JSON: a list in it cannot be read.",
                ));
            };
            containers
                .iter()
                .try_for_each(|value| check_inside(value, depth + 1))
        }
        _ => Ok(()),
    }
}

type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

fn read_members<'a>(
    json: &'a str,
    syntax: impl FnOnce(serde_json::Error) -> Denial,
) -> Result<Members<'a>, Denial> {
    let Object(members) = serde_json::from_str(json).map_err(|error| match error.classify() {
        // Our visitor's own and only complaint.
        Category::Data => invalid(format!(
            "An object in the body has more than {MEMBERS_MAX} members."
        )),
        Category::Syntax | Category::Eof | Category::Io => syntax(error),
    })?;
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    let twice = keys
        .iter()
        .zip(keys.iter().skip(1))
        .find(|(key, next)| key == next);
    if let Some((key, _)) = twice {
        return Err(invalid(format!(
            "The key '{}' is in the same object more than once. Give it once.",
            quotable(key)
        )));
    }
    Ok(members)
}

// A string, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Object<'a>(Members<'a>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(key), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((key, value.get()));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

// The lists and objects of a list. Its other elements need no look: they cannot hold a key.
struct Containers<'a>(Vec<&'a str>);

impl<'de> Deserialize<'de> for Containers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Containers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut containers = Vec::new();
                while let Some(element) = list.next_element::<&'de RawValue>()? {
                    if element.get().starts_with(['{', '[']) {
                        containers.push(element.get());
                    }
                }
                Ok(Containers(containers))
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

#[cfg(test)]
mod tests;
