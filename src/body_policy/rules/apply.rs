//! Applies the operator's rules to a body that was read strictly.
//!
//! Applied again to what came out, they change nothing.

use std::borrow::Cow;

use super::{
    BodyRules, ConfKey, ConfMode, ConfRules, INSTANCES, MAX_EXECUTORS, Maximum, TWINS, Who, canonical,
};
use crate::body_policy::conf::{ConfVerdict, judge_conf_key, refused, value_of};
use crate::denial::{Denial, quotable, shown_value};
use crate::livy::amount;
use crate::livy::body::CONF;
use crate::livy::json::{StrictObject, elements, string};
use crate::livy::location::{self, Alias};

/// One setting as the client wrote it, in `conf` or in a field of its own.
struct Asked<'a> {
    /// As it was spelled.
    key: &'a str,
    /// In lower case, the one spelling of several.
    canonical: Cow<'a, str>,
    value: Cow<'a, str>,
    is_in_conf: bool,
}

impl BodyRules {
    /// Judges a creation, and sets what the operator sets.
    pub(in crate::body_policy) fn apply_to_creation(
        &self,
        object: &mut StrictObject<'static>,
        who: &Who<'_>,
    ) -> Result<(), Denial> {
        let mut settings = match object.get(CONF) {
            Some(json) => StrictObject::parse(json.as_bytes())?.into_owned(),
            None => StrictObject::default(),
        };
        let was_thinned = self.conf.leave_out_what_does_nothing(&mut settings);
        for asked in asked(object, &settings) {
            if !self.conf.is_the_operators(&asked, who)? {
                self.conf.judge(&asked)?;
                if asked.is_in_conf {
                    self.check_file_list(&asked)?;
                }
            }
        }
        self.check_files(object)?;
        let has_changed = self.conf.set(object, &mut settings, who)? || was_thinned;
        self.conf.check_dynamic_allocation(&settings)?;
        if has_changed {
            object.set_object(CONF, &settings);
        }
        self.shorten_lives(object);
        Ok(())
    }

    /// Judges the file of an `add-…` call.
    pub(in crate::body_policy) fn apply_to_addition(&self, object: &StrictObject<'_>) -> Result<(), Denial> {
        let Some(uri) = object.string("uri")? else {
            return Ok(());
        };
        self.check_file("uri", &uri, Alias::Refused)
    }

    fn check_files(&self, object: &StrictObject<'_>) -> Result<(), Denial> {
        if let Some(file) = object.string("file")? {
            self.check_file("file", &file, Alias::Refused)?;
        }
        for (field, alias) in FILE_FIELDS {
            for element in object.get(field).and_then(elements).unwrap_or_default() {
                let file = string(element).unwrap_or_default();
                self.check_file(field, &file, alias)?;
            }
        }
        Ok(())
    }

    // Spark splits such a value at its commas and takes the blanks around them away.
    fn check_file_list(&self, asked: &Asked<'_>) -> Result<(), Denial> {
        let list = FILE_LISTS.iter().find(|(key, _)| {
            asked
                .canonical
                .strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || key.ends_with('.'))
        });
        let Some((_, alias)) = list else {
            return Ok(());
        };
        asked
            .value
            .split(',')
            .map(|file| file.trim_matches(' '))
            .filter(|file| !file.is_empty())
            .try_for_each(|file| self.check_file(asked.key, file, *alias))
    }

    fn check_file(&self, field: &str, file: &str, alias: Alias) -> Result<(), Denial> {
        location::check(file, &self.file_schemes, alias).map_err(|problem| Denial::FileRefused {
            field: quotable(field),
            file: quotable(&location::shown(file)),
            problem,
        })
    }

    // Read already: what is no time was refused.
    fn shorten_lives(&self, object: &mut StrictObject<'static>) {
        let Some(most) = self.max_ttl else {
            return;
        };
        for field in LIVES {
            let asked = object.string(field).ok().flatten();
            let is_longer = asked
                .and_then(|text| amount::time(&text))
                .is_some_and(|time| time > most);
            if is_longer {
                object.set_string(field, &amount::livy_time(most));
            }
        }
    }
}

impl ConfRules {
    /// Whether the client wrote just what the operator would have set. Another value than a forced one is refused.
    fn is_the_operators(&self, asked: &Asked<'_>, who: &Who<'_>) -> Result<bool, Denial> {
        if let Some((key, template)) = find(&self.force, &asked.canonical) {
            let forced = template.fill_in(key, who)?;
            if asked.value == forced {
                return Ok(true);
            }
            let forced = shown_value(&key.text, &forced);
            let rule = format!("this gateway sets it to '{forced}' (requests.conf.force)");
            return Err(refused(asked.key, &asked.value, rule));
        }
        let default = find(&self.default, &asked.canonical);
        // An unknown group does not matter to whoever writes a value of their own.
        Ok(default.is_some_and(|(key, template)| {
            template.fill_in(key, who).is_ok_and(|value| asked.value == value)
        }))
    }

    /// Packages asked for in name only: livyc sends an empty list, and a folder for it, with every session. Neither does
    /// anything unless somebody else names packages, so what the operator opened or sets itself stays.
    fn leave_out_what_does_nothing(&self, settings: &mut StrictObject<'_>) -> bool {
        let packages = settings.get(PACKAGES).map(value_of);
        let names_none = packages.is_none_or(|packages| packages.trim().is_empty());
        let is_the_only_way = settings
            .keys()
            .filter(|key| key.starts_with(RESOLUTION))
            .all(|key| matches!(key, PACKAGES | IVY));
        let is_the_operators = |key: &str| {
            let mut set = self.force.iter().chain(&self.default);
            set.any(|(set, _)| set.canonical.starts_with(RESOLUTION))
                || self.allow_unsafe.iter().any(|pattern| pattern.matches(key))
        };
        let mut has_changed = false;
        if names_none && is_the_only_way {
            for key in [PACKAGES, IVY] {
                if settings.get(key).is_some() && !is_the_operators(key) {
                    settings.remove(key);
                    has_changed = true;
                }
            }
        }
        has_changed
    }

    fn judge(&self, asked: &Asked<'_>) -> Result<(), Denial> {
        let refuse = |rule: Cow<'static, str>| Err(refused(asked.key, &asked.value, rule));
        let key = &*asked.canonical;
        let is_opened = self.allow_unsafe.iter().any(|pattern| pattern.matches(key));
        match judge_conf_key(asked.key) {
            ConfVerdict::Refuse(reason) if asked.is_in_conf => return refuse(reason.into()),
            ConfVerdict::Unsafe(reason) if !is_opened => {
                return refuse(
                    format!("{reason} (only the administrator can allow it: requests.conf.allow_unsafe)")
                        .into(),
                );
            }
            // A field is no key of `conf`, and `check` dropped what is dropped.
            ConfVerdict::Refuse(_) | ConfVerdict::Unsafe(_) | ConfVerdict::Keep | ConfVerdict::Drop => {}
        }
        let spelled = asked.key.to_ascii_lowercase();
        if self
            .also_deny
            .iter()
            .any(|pattern| pattern.matches(key) || pattern.matches(&spelled))
        {
            return refuse(
                "the administrator of this gateway does not allow it (requests.conf.also_deny)".into(),
            );
        }
        let maximum = self.maximum(key);
        if self.mode == ConfMode::AllowListed && asked.is_in_conf {
            let is_named = is_opened
                || maximum.is_some()
                || find(&self.default, key).is_some()
                || self.allow.iter().any(|pattern| pattern.matches(key));
            if !is_named {
                return refuse(
                    "it is none of the settings that this gateway takes (requests.conf.allow)".into(),
                );
            }
        }
        match maximum {
            None => Ok(()),
            Some((of, maximum)) => check_maximum(of, maximum, asked.key, &asked.value),
        }
    }

    // Executors that come and go are as many as those that stay.
    fn maximum(&self, key: &str) -> Option<(&ConfKey, &Maximum)> {
        let own = find(&self.max, key);
        let of_instances = || {
            let is_dynamic = key.starts_with("spark.dynamicallocation.") && key.ends_with("executors");
            is_dynamic.then(|| find(&self.max, INSTANCES)).flatten()
        };
        own.or_else(of_instances).map(|(key, maximum)| (key, maximum))
    }

    /// Sets what is forced, and the defaults of what the client left open; says whether it set anything.
    fn set(
        &self,
        object: &StrictObject<'_>,
        settings: &mut StrictObject<'static>,
        who: &Who<'_>,
    ) -> Result<bool, Denial> {
        let mut has_changed = false;
        for (key, template) in self.force.iter().chain(&self.default) {
            let is_there = settings.keys().any(|known| key.is_set_by(known))
                || TWINS
                    .iter()
                    .any(|(field, twin)| *twin == key.canonical && object.get(field).is_some());
            if !is_there {
                settings.set_string(key.text.clone(), &template.fill_in(key, who)?);
                has_changed = true;
            }
        }
        Ok(has_changed)
    }

    // Without a bound of its own it takes as many executors as there are.
    fn check_dynamic_allocation(&self, settings: &StrictObject<'_>) -> Result<(), Denial> {
        let is_on = settings
            .get("spark.dynamicAllocation.enabled")
            .is_some_and(|json| !value_of(json).trim().eq_ignore_ascii_case("false"));
        let is_bounded = settings.get("spark.dynamicAllocation.maxExecutors").is_some();
        match self.maximum(MAX_EXECUTORS) {
            Some((_, maximum)) if is_on && !is_bounded => Err(Denial::ConfTooLarge {
                key: "spark.dynamicAllocation.maxExecutors".to_owned(),
                value: "unlimited".to_owned(),
                max: maximum.as_written().into_owned(),
                is_readable: true,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl ConfKey {
    // Spark tells keys apart by case, so another spelling is not this setting; another name is.
    fn is_set_by(&self, key: &str) -> bool {
        let lower = key.to_ascii_lowercase();
        key == self.text || (canonical(&lower) == self.canonical && lower != self.text.to_ascii_lowercase())
    }
}

fn asked<'a>(object: &'a StrictObject<'_>, settings: &'a StrictObject<'_>) -> Vec<Asked<'a>> {
    let fields = TWINS.iter().filter_map(|(field, twin)| {
        Some(Asked {
            key: field,
            canonical: Cow::Borrowed(*twin),
            value: value_of(object.get(field)?),
            is_in_conf: false,
        })
    });
    let settings = settings.members().map(|(key, json)| Asked {
        key,
        canonical: Cow::Owned(canonical(&key.to_ascii_lowercase()).to_owned()),
        value: value_of(json),
        is_in_conf: true,
    });
    fields.chain(settings).collect()
}

fn find<'a, T>(rules: &'a [(ConfKey, T)], canonical: &str) -> Option<&'a (ConfKey, T)> {
    rules.iter().find(|(key, _)| key.canonical == canonical)
}

fn check_maximum(of: &ConfKey, maximum: &Maximum, key: &str, value: &str) -> Result<(), Denial> {
    let admits = maximum.admits(of, value);
    if admits == Some(true) {
        return Ok(());
    }
    Err(Denial::ConfTooLarge {
        key: quotable(key),
        value: shown_value(key, value),
        max: maximum.as_written().into_owned(),
        is_readable: admits.is_some(),
    })
}

/// What begins so makes spark-submit resolve dependencies.
const RESOLUTION: &str = "spark.jars.";
const PACKAGES: &str = "spark.jars.packages";
const IVY: &str = "spark.jars.ivy";
/// The lists of files among a creation's fields.
const FILE_FIELDS: [(&str, Alias); 4] = [
    ("jars", Alias::Refused),
    ("pyFiles", Alias::Refused),
    ("files", Alias::Allowed),
    ("archives", Alias::Allowed),
];
/// And among its settings, in lower case; what ends with a dot is a prefix. Livy 0.9 itself looks at ten of them
/// (`LivyConf.HARDCODED_SPARK_FILE_LISTS`); spark.submit.pyFiles is refused in any case.
const FILE_LISTS: [(&str, Alias); 9] = [
    ("spark.jars", Alias::Refused),
    ("spark.repl.local.jars", Alias::Refused),
    ("spark.yarn.jar", Alias::Refused),
    ("spark.yarn.jars", Alias::Refused),
    ("spark.yarn.archive", Alias::Refused),
    ("spark.yarn.dist.jars", Alias::Refused),
    ("spark.files", Alias::Allowed),
    ("spark.archives", Alias::Allowed),
    ("spark.yarn.dist.", Alias::Allowed),
];
/// How long a session may live, idle or not.
const LIVES: [&str; 2] = ["ttl", "idleTimeout"];
