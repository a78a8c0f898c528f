//! What a body may say: the one place that decides whether a client's JSON goes to Livy, and as what.
//!
//! Nothing is forwarded that was not read here: a body is parsed strictly, checked key by key, and written anew.
//! It never decides for whom the request runs; it only reports whom the client named.

mod coding;
mod conf;

pub use coding::{Coding, decode_gzip, json_coding};
pub use conf::{ConfVerdict, judge_conf_key};

use crate::denial::{Denial, quotable};
use crate::livy::body::{CONF, Field, PROXY_USER, fields};
use crate::livy::json::{StrictObject, is_json_space};
use crate::livy::operation::JsonBody;

/// A body that was read and checked, and waits to be told for whom it runs. Only by [`check`].
#[derive(Debug, Clone)]
pub struct CheckedBody {
    // Without the client's own proxy user.
    object: StrictObject<'static>,
    requested_user: Option<String>,
    is_creation: bool,
}

impl CheckedBody {
    /// The proxy user that the client named in a creation. `null` is none, as the client meant; an empty name is a
    /// name, because Livy takes it for one.
    pub fn requested_user(&self) -> Option<&str> {
        self.requested_user.as_deref()
    }

    /// The bytes for Livy. A creation carries exactly the given proxy user, or none; no other body carries any.
    pub fn render(&self, proxy_user: Option<&str>) -> Vec<u8> {
        match proxy_user {
            Some(user) if self.is_creation => {
                let mut object = self.object.clone();
                object.set_string(PROXY_USER, user);
                object.to_bytes()
            }
            Some(_) | None => self.object.to_bytes(),
        }
    }
}

/// Checks a JSON body: only keys that Livy knows, or that the operator admits to creations as `extra`; each value of
/// its own type; no nulls; no `conf` key that carries identity.
pub fn check(body: &[u8], kind: JsonBody, extra: &[String]) -> Result<CheckedBody, Denial> {
    let is_creation = match kind {
        JsonBody::CreateSession | JsonBody::CreateBatch => true,
        JsonBody::Statement | JsonBody::Completion | JsonBody::Job | JsonBody::AddResource => false,
    };
    let extra = if is_creation { extra } else { &[] };
    let mut object = StrictObject::parse(body)?;
    for key in object.keys() {
        let is_known = fields(kind).iter().any(|field| field.name == key);
        if !is_known && (names_a_user(key) || !extra.iter().any(|admitted| admitted == key)) {
            return Err(unknown_field(key, kind, is_creation, extra));
        }
    }
    drop_nulls(&mut object);
    for field in fields(kind) {
        check_field(field, &object)?;
    }
    let mut requested_user = None;
    if is_creation {
        check_name(&object)?;
        requested_user = object.string(PROXY_USER)?.map(String::from);
        object.remove(PROXY_USER);
        if let Some(json) = object.get(CONF) {
            let settings = conf::check(json)?.into_owned();
            object.set_object(CONF, &settings);
        }
    }
    Ok(CheckedBody {
        object: object.into_owned(),
        requested_user,
        is_creation,
    })
}

/// Checks the body of an operation that takes none: nothing, white space, or an empty object (sparkmagic cancels a
/// statement with `{}`).
pub fn check_empty(body: &[u8]) -> Result<(), Denial> {
    let is_empty = std::str::from_utf8(body).is_ok_and(|text| {
        let text = text.trim_matches(is_json_space);
        let inside = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        inside.unwrap_or(text).trim_matches(is_json_space).is_empty()
    });
    if is_empty {
        return Ok(());
    }
    Err(Denial::InvalidBody(
        "This request takes no body. Send none, or {}.".into(),
    ))
}

// An extra field must not bring back what the gateway alone writes. Livy tells keys apart by case, but a later Livy,
// or whatever stands in its place, need not.
fn names_a_user(key: &str) -> bool {
    key.eq_ignore_ascii_case(PROXY_USER) || key.eq_ignore_ascii_case("doAs")
}

// A null overrides Livy's defaults: a null `conf` skips its checks of master, deploy mode and files.
fn drop_nulls(object: &mut StrictObject<'_>) {
    let nulls: Vec<String> = object
        .members()
        .filter(|(_, json)| *json == "null")
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in nulls {
        object.remove(&key);
    }
}

fn check_field(field: &Field, object: &StrictObject<'_>) -> Result<(), Denial> {
    let problem = match object.get(field.name) {
        Some(json) => field.shape.check(json).err(),
        None if field.required => Some("is missing".to_owned()),
        None => None,
    };
    problem.map_or(Ok(()), |problem| {
        Err(Denial::InvalidBody(
            format!("The field '{}' {problem}.", field.name).into(),
        ))
    })
}

// Livy refuses these names too, but only after it has started a driver that no list shows and nobody can delete.
fn check_name(object: &StrictObject<'_>) -> Result<(), Denial> {
    let looks_like_a_number = object
        .string("name")?
        .is_some_and(|name| name.chars().all(char::is_numeric));
    if looks_like_a_number {
        return Err(Denial::InvalidBody(
            "The field 'name' must not be empty or all digits. Leave it out, or choose a word.".into(),
        ));
    }
    Ok(())
}

fn unknown_field(key: &str, kind: JsonBody, is_creation: bool, extra: &[String]) -> Denial {
    let known = fields(kind).iter().map(|field| field.name);
    let nearest = if key.eq_ignore_ascii_case("doAs") {
        // Livy's word for it in the query.
        known.into_iter().find(|name| *name == PROXY_USER)
    } else {
        let wanted = key.to_lowercase();
        known
            .chain(extra.iter().map(String::as_str))
            .map(|name| {
                let likeness = strsim::normalized_damerau_levenshtein(&wanted, &name.to_lowercase());
                (likeness, name)
            })
            .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, name)| name)
    };
    Denial::UnknownField {
        field: quotable(key),
        nearest: nearest.map(str::to_owned),
        in_creation: is_creation,
    }
}

// Of 1: 'confs' and 'driver_memory' are near enough, 'user' and 'env' are not.
const LIKENESS_MIN: f64 = 0.6;

#[cfg(test)]
mod tests;
