//! `[requests]`: what a request may bring, and what a creation may ask for.

use super::Context;
use crate::body_policy::BodyRules;
use crate::body_policy::rules::{ConfKey, ConfMode, ConfRules, KeyPattern, Maximum, Template};
use crate::config::raw::{RawConf, RawRequests};
use crate::config::reader::{Scalar, Written, Wrong};
use crate::policy::Requests;

/// Compiles `[requests]`. What is wrong is recorded, and left out of what comes back.
pub(super) fn requests(raw: &RawRequests, context: &Context<'_>) -> Requests {
    let RawRequests {
        max_body,
        max_upload,
        extra_fields,
        file_schemes,
        max_ttl,
        conf,
    } = raw;
    for scheme in file_schemes {
        if let Some((_, what)) = FOREIGN_SCHEMES
            .iter()
            .find(|(foreign, _)| *foreign == scheme.value)
        {
            context.insecure(format!(
                "creations may name files {what} (requests.file_schemes has {:?})",
                scheme.value
            ));
        }
    }
    Requests {
        max_body: usize::try_from(max_body.value).unwrap_or(usize::MAX),
        max_upload: max_upload.value,
        extra_fields: extra_fields.iter().map(|field| field.value.clone()).collect(),
        rules: BodyRules {
            file_schemes: file_schemes.iter().map(|scheme| scheme.value.clone()).collect(),
            max_ttl: max_ttl.as_ref().map(|time| time.value),
            conf: conf_rules(conf, context),
        },
    }
}

fn conf_rules(raw: &RawConf, context: &Context<'_>) -> ConfRules {
    let RawConf {
        mode,
        also_deny,
        allow,
        allow_unsafe,
        default,
        force,
        max,
    } = raw;
    let max = maxima(max, context);
    let force = settings("requests.conf.force", force, &max, context);
    let default = settings("requests.conf.default", default, &max, context);
    for (key, at) in &default {
        if force
            .iter()
            .any(|((forced, _), _)| forced.is_same_setting(&key.0))
        {
            let what = format!("{:?} is forced, so its default never holds", key.0.as_str());
            context.wrong(
                "requests.conf.default",
                at,
                &Wrong::new(what, "write it here or below force"),
            );
        }
    }
    let admitted = |text: &str| {
        let pattern = KeyPattern::admitting(text)?;
        match pattern.is_refused_because() {
            None => Ok(pattern),
            Some(reason) => Err((
                format!("{text:?} is refused by a built-in rule: {reason}"),
                "write it below allow_unsafe if it must be, or remove it",
            )),
        }
    };
    if let (ConfMode::DenyListed, Some(first)) = (mode.value, allow.first()) {
        let what = "everything is allowed that is not denied, so this list has no effect";
        let instead = "write mode = \"allow-listed\", or remove it";
        context.wrong("requests.conf.allow", first, &Wrong::new(what, instead));
    }
    let allow_unsafe = patterns(
        "requests.conf.allow_unsafe",
        allow_unsafe,
        KeyPattern::opening,
        context,
    );
    for pattern in &allow_unsafe {
        let reason = pattern.is_refused_because().unwrap_or_default();
        context.insecure(format!(
            "creations may set {pattern}, which was refused since {reason} (requests.conf.allow_unsafe)"
        ));
    }
    ConfRules {
        mode: mode.value,
        also_deny: patterns("requests.conf.also_deny", also_deny, KeyPattern::new, context),
        allow: patterns("requests.conf.allow", allow, admitted, context),
        allow_unsafe,
        default: default.into_iter().map(|(setting, _)| setting).collect(),
        force: force.into_iter().map(|(setting, _)| setting).collect(),
        max: max.into_iter().map(|(setting, _)| setting).collect(),
    }
}

fn patterns(
    key: &str,
    raw: &[Written<String>],
    read: impl Fn(&str) -> Result<KeyPattern, (String, &'static str)>,
    context: &Context<'_>,
) -> Vec<KeyPattern> {
    raw.iter()
        .filter_map(|text| accepted(key, text, read(&text.value), context))
        .collect()
}

/// A setting with the place of its key.
type Placed<T> = ((ConfKey, T), Written<String>);

fn maxima(raw: &[(Written<String>, Written<Scalar>)], context: &Context<'_>) -> Vec<Placed<Maximum>> {
    let table = "requests.conf.max";
    let mut maxima: Vec<Placed<Maximum>> = Vec::new();
    for (name, value) in raw {
        let Some(key) = new_key(table, name, maxima.iter().map(|((key, _), _)| key), context) else {
            continue;
        };
        let count = |number: i64| u64::try_from(number).ok().map(Maximum::Count);
        let maximum = match (&value.value, key.counts()) {
            (Scalar::Number(number), Some(true) | None) => count(*number),
            (Scalar::Text(text), Some(false) | None) => Maximum::size(text),
            (Scalar::Text(_) | Scalar::Number(_) | Scalar::Flag(_), _) => None,
        };
        let instead = match key.counts() {
            Some(true) => "write a whole number without quotes, such as 20",
            Some(false) => "write a size with its unit, such as \"16g\"",
            None => "write a size with its unit, such as \"16g\", or a whole number without quotes",
        };
        let maximum = maximum.ok_or_else(|| {
            let what = format!("{} is no maximum of {:?}", shown(&value.value), key.as_str());
            (what, instead)
        });
        if let Some(maximum) = accepted(table, value, maximum, context) {
            maxima.push(((key, maximum), name.clone()));
        }
    }
    maxima
}

fn settings(
    table: &str,
    raw: &[(Written<String>, Written<Scalar>)],
    max: &[Placed<Maximum>],
    context: &Context<'_>,
) -> Vec<Placed<Template>> {
    let mut settings: Vec<Placed<Template>> = Vec::new();
    for (name, value) in raw {
        let Some(key) = new_key(table, name, settings.iter().map(|((key, _), _)| key), context) else {
            continue;
        };
        let Some(template) = accepted(table, value, Template::new(&text_of(&value.value)), context) else {
            continue;
        };
        let maximum = max.iter().find(|((of, _), _)| of.is_same_setting(&key));
        if let (Some(((of, maximum), _)), Some(text)) = (maximum, template.fixed())
            && maximum.admits(of, text) != Some(true)
        {
            let what = format!(
                "{} is not within the maximum of {:?}, which is {}",
                shown(&value.value),
                key.as_str(),
                maximum.as_written()
            );
            context.wrong(
                table,
                value,
                &Wrong::new(what, "write less, or more below requests.conf.max"),
            );
        }
        settings.push(((key, template), name.clone()));
    }
    settings
}

/// A key, unless the same setting is in this table already under another name.
fn new_key<'a>(
    table: &str,
    name: &Written<String>,
    mut earlier: impl Iterator<Item = &'a ConfKey>,
    context: &Context<'_>,
) -> Option<ConfKey> {
    let key = accepted(table, name, ConfKey::new(&name.value), context)?;
    let Some(twin) = earlier.find(|earlier| earlier.is_same_setting(&key)) else {
        return Some(key);
    };
    let what = format!("{:?} and {:?} are one setting", twin.as_str(), key.as_str());
    context.wrong(table, name, &Wrong::new(what, "write one of them"));
    None
}

fn accepted<T, U>(
    key: &str,
    at: &Written<T>,
    read: Result<U, (String, &'static str)>,
    context: &Context<'_>,
) -> Option<U> {
    match read {
        Ok(value) => Some(value),
        Err((what, instead)) => {
            context.wrong(key, at, &Wrong::new(what, instead));
            None
        }
    }
}

fn text_of(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Flag(flag) => flag.to_string(),
    }
}

fn shown(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) => format!("{text:?}"),
        Scalar::Number(_) | Scalar::Flag(_) => text_of(scalar),
    }
}

/// Where files lie that are not the cluster's own.
const FOREIGN_SCHEMES: [(&str, &str); 5] = [
    ("file", "of Livy's own host"),
    ("local", "of the hosts that Spark runs on"),
    ("http", "of the web, which Livy's host downloads"),
    ("https", "of the web, which Livy's host downloads"),
    ("ftp", "of the web, which Livy's host downloads"),
];
