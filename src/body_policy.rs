//! What a body may say: the one place that decides whether a client's JSON goes to Livy, and as what.
//!
//! Nothing is forwarded that was not read here: a body is parsed strictly, checked key by key, held to the operator's
//! rules, and written anew. It never decides for whom the request runs; it only reports whom the client named.

mod builtin;
mod coding;
mod conf;
mod fields;
pub mod rules;

pub use coding::{Coding, decode_gzip, json_coding};
pub use conf::{ConfVerdict, judge_conf_key};
pub use rules::{BodyRules, Who};

use crate::denial::{Denial, quotable};
use crate::livy::SessionName;
use crate::livy::body::{CONF, NAME, PROXY_USER, fields};
use crate::livy::json::{StrictObject, is_json_space, string};
use crate::livy::operation::JsonBody;

/// A body that was read and checked, and waits to be told for whom it runs. Only by [`check`].
#[derive(Debug, Clone)]
pub struct CheckedBody {
    // Without the client's own proxy user.
    object: StrictObject<'static>,
    requested_user: Option<String>,
    kind: JsonBody,
}

impl CheckedBody {
    /// The proxy user that the client named in a creation. `null` is none, as the client meant; an empty name is a
    /// name, because Livy takes it for one.
    pub fn requested_user(&self) -> Option<&str> {
        self.requested_user.as_deref()
    }

    /// Holds the body to the operator's rules and sets what they set, for the user whom Livy will act as. Applied
    /// again, it changes nothing.
    pub fn apply_rules(&mut self, rules: &BodyRules, who: &Who<'_>) -> Result<(), Denial> {
        match self.kind {
            JsonBody::CreateSession | JsonBody::CreateBatch => rules.apply_to_creation(&mut self.object, who),
            JsonBody::AddResource => rules.apply_to_addition(&self.object),
            JsonBody::Statement | JsonBody::Completion | JsonBody::Job => Ok(()),
        }
    }

    /// What would be sent, without the user.
    pub fn object(&self) -> &StrictObject<'static> {
        &self.object
    }

    /// The name that the client gave the session or batch; none if it is one that no path can have.
    pub fn name(&self) -> Option<SessionName> {
        let name = self.object.string(NAME).ok()??;
        SessionName::new(&name)
    }

    /// What the application is called in the settings (`spark.app.name`).
    pub fn app_name(&self) -> Option<String> {
        let settings = StrictObject::parse(self.object.get(CONF)?.as_bytes()).ok()?;
        let name = string(settings.get(conf::APP_NAME)?).ok()?;
        Some(name.into_owned())
    }

    /// The bytes for Livy. A creation carries exactly the given proxy user, or none, and the given name, or else the
    /// client's own; no other body carries any.
    pub fn render(&self, proxy_user: Option<&str>, name: Option<&str>) -> Vec<u8> {
        if !is_creation(self.kind) || (proxy_user.is_none() && name.is_none()) {
            return self.object.to_bytes();
        }
        let mut object = self.object.clone();
        if let Some(name) = name {
            object.set_string(NAME, name);
        }
        if let Some(user) = proxy_user {
            object.set_string(PROXY_USER, user);
        }
        object.to_bytes()
    }
}

/// Checks a JSON body: only keys that Livy knows, or that the operator admits as `extra` in creations; each value of its
/// own type; no nulls; no `conf` key that carries identity.
pub fn check(body: &[u8], kind: JsonBody, extra: &[String]) -> Result<CheckedBody, Denial> {
    let mut object = StrictObject::parse(body)?;
    let extra = if is_creation(kind) { extra } else { &[] };
    for key in object.keys() {
        let is_known = fields(kind).iter().any(|field| field.name == key);
        if !is_known && (names_a_user(key) || !extra.iter().any(|admitted| admitted == key)) {
            return Err(unknown_field(key, kind, extra));
        }
    }
    drop_nulls(&mut object);
    fields::check(kind, &object)?;
    let mut requested_user = None;
    if is_creation(kind) {
        requested_user = object.string(PROXY_USER)?.map(String::from);
        object.remove(PROXY_USER);
        if let Some(json) = object.get(CONF) {
            let settings = conf::check(json)?.into_owned();
            fields::check_queue(&object, &settings)?;
            object.set_object(CONF, &settings);
        }
    }
    Ok(CheckedBody {
        object: object.into_owned(),
        requested_user,
        kind,
    })
}

const fn is_creation(kind: JsonBody) -> bool {
    match kind {
        JsonBody::CreateSession | JsonBody::CreateBatch => true,
        JsonBody::Statement | JsonBody::Completion | JsonBody::Job | JsonBody::AddResource => false,
    }
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

fn unknown_field(key: &str, kind: JsonBody, extra: &[String]) -> Denial {
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
        in_creation: is_creation(kind),
    }
}

// Of 1: 'confs' and 'driver_memory' are near enough, 'user' and 'env' are not.
const LIKENESS_MIN: f64 = 0.6;

#[cfg(test)]
mod tests;
