//! Reads one table of the file key by key; whatever is wrong is recorded and reading goes on.
//!
//! Why not serde: it stops at the first unknown key or wrong type, and an operator should see all problems at once.
//! Where a value is wrong or missing a stand-in takes its place: it is never used, because the problem that was
//! recorded with it keeps the configuration from loading.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files::SecretRef;
use super::keys::{Keys, TABLES};
use super::problem::{Problems, nearest};
use super::url::HttpUrl;

/// A value and where it was written; no span means that it is the default.
#[derive(Debug, Clone)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) span: Option<Range<usize>>,
}

impl<T> Written<T> {
    /// The built-in default.
    pub(super) fn default_of(value: T) -> Self {
        Self { value, span: None }
    }

    pub(super) fn at(value: T, span: &Range<usize>) -> Self {
        Self {
            value,
            span: Some(span.clone()),
        }
    }
}

/// A value of a table whose keys are the user's own.
#[derive(Debug, Clone)]
pub(super) enum Scalar {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// A value that is not what its key takes.
#[derive(Debug)]
pub(super) struct Wrong {
    /// What is wrong with it, after "`key`: ".
    pub(super) what: String,
    /// What to write instead.
    pub(super) instead: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            instead: instead.into(),
        }
    }
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
    keys: &'static Keys,
    problems: &'a Problems,
}

impl<'a> Reader<'a> {
    /// Opens a table and records each key that it should not have.
    pub(super) fn open(
        table: &'a DeTable<'a>,
        span: Range<usize>,
        keys: &'static Keys,
        problems: &'a Problems,
    ) -> Self {
        for key in table.keys() {
            refuse_stranger(key, keys, problems);
        }
        Self {
            table,
            span,
            keys,
            problems,
        }
    }

    /// Where the table was written.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Whether the key is written at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// An optional string, read by `parse`.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Written<T>> {
        let (value, span) = self.value(key)?;
        let text = self.string(key, value, &span)?;
        let value = self.accepted(key, &span, parse(text))?;
        Some(Written::at(value, &span))
    }

    /// A string with a default, read by `parse`.
    pub(super) fn parsed_or<T>(
        &self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Written<T> {
        self.parsed(key, parse).unwrap_or(Written::default_of(default))
    }

    /// A string that must be there; `example` is what to write. The stand-in is never used.
    pub(super) fn required<T>(
        &self,
        key: &str,
        example: &str,
        stand_in: T,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Written<T> {
        self.demand(key, example);
        self.parsed_or(key, stand_in, parse)
    }

    /// Records that `key` is missing, if it is.
    pub(super) fn demand(&self, key: &str, example: &str) {
        if !self.has(key) {
            let title = format!("`{}` is missing", self.keys.path_of(key));
            self.problems
                .add(Some(&self.span), title, format!("write {key} = {example}"));
        }
    }

    /// A `true` or `false` with a default.
    pub(super) fn flag(&self, key: &str, default: bool) -> Written<bool> {
        let Some((value, span)) = self.value(key) else {
            return Written::default_of(default);
        };
        match value.as_bool() {
            Some(flag) => Written::at(flag, &span),
            None => {
                self.wrong_type(key, value, &span, "true or false");
                Written::at(default, &span)
            }
        }
    }

    /// A whole number of at least one, with a default.
    pub(super) fn count(&self, key: &str, default: u32) -> Written<u32> {
        let Some((value, span)) = self.value(key) else {
            return Written::default_of(default);
        };
        let Some(written) = value.as_integer() else {
            self.wrong_type(key, value, &span, &format!("a whole number such as {default}"));
            return Written::at(default, &span);
        };
        let number = u32::from_str_radix(written.as_str(), written.radix());
        match number.ok().filter(|number| *number > 0) {
            Some(number) => Written::at(number, &span),
            None => {
                let what = format!("{written} is out of range");
                let instead = format!("write a number from 1 to {}, such as {default}", u32::MAX);
                self.wrong(key, &Wrong::new(what, instead));
                Written::at(default, &span)
            }
        }
    }

    /// A whole number, zero included, if it is written.
    pub(super) fn number(&self, key: &str, example: u64) -> Option<Written<u64>> {
        let (value, span) = self.value(key)?;
        let Some(written) = value.as_integer() else {
            self.wrong_type(key, value, &span, &format!("a whole number such as {example}"));
            return None;
        };
        if let Ok(number) = u32::from_str_radix(written.as_str(), written.radix()) {
            return Some(Written::at(number.into(), &span));
        }
        let instead = format!("write a number from 0 to {}, such as {example}", u32::MAX);
        self.wrong(key, &Wrong::new(format!("{written} is out of range"), instead));
        None
    }

    /// A list of strings, each read by `parse`; none if the key is not written.
    pub(super) fn list<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<Written<T>>> {
        let (value, span) = self.value(key)?;
        let Some(items) = value.as_array() else {
            self.wrong_type(key, value, &span, &format!("a list such as {example}"));
            return None;
        };
        let read = |item: &'a Spanned<DeValue<'a>>| {
            let text = self.string(key, item.get_ref(), &item.span())?;
            let value = self.accepted(key, &item.span(), parse(text))?;
            Some(Written::at(value, &item.span()))
        };
        Some(items.iter().filter_map(read).collect())
    }

    /// A table whose keys are the user's own, all strings, such as `required_claims`.
    pub(super) fn dictionary(&self, key: &str, example: &str) -> Vec<(String, Written<String>)> {
        let Some((value, span)) = self.value(key) else {
            return Vec::new();
        };
        let Some(table) = value.as_table() else {
            self.wrong_type(key, value, &span, &format!("a table such as {example}"));
            return Vec::new();
        };
        let read = |(name, item): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let text = self.string(key, item.get_ref(), &item.span())?;
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Some((
                name.clone().into_owned(),
                Written::at(text.to_owned(), &item.span()),
            ))
        };
        table.iter().filter_map(read).collect()
    }

    /// A table whose keys are the user's own: strings, whole numbers, true and false.
    pub(super) fn settings(&self, key: &str, example: &str) -> Vec<(Written<String>, Written<Scalar>)> {
        let Some((value, span)) = self.value(key) else {
            return Vec::new();
        };
        let Some(table) = value.as_table() else {
            self.wrong_type(key, value, &span, &format!("a table such as {example}"));
            return Vec::new();
        };
        let read = |(name, item): (&Spanned<std::borrow::Cow<'_, str>>, &'a Spanned<DeValue<'a>>)| {
            let value = item.get_ref();
            let number = value
                .as_integer()
                .and_then(|written| i64::from_str_radix(written.as_str(), written.radix()).ok());
            let scalar = value
                .as_str()
                .map(|text| Scalar::Text(text.to_owned()))
                .or(number.map(Scalar::Number))
                .or(value.as_bool().map(Scalar::Flag));
            let Some(scalar) = scalar else {
                // `spark.a.b = 1` without quotes is a table in a table.
                let instead = "its key in quotes, and text, a whole number, true or false";
                self.wrong_type(key, value, &item.span(), instead);
                return None;
            };
            let name = Written::at(name.get_ref().clone().into_owned(), &name.span());
            Some((name, Written::at(scalar, &item.span())))
        };
        table.iter().filter_map(read).collect()
    }

    /// The table `key`, if it is written.
    pub(super) fn table(&self, key: &str, keys: &'static Keys) -> Option<Self> {
        let (value, span) = self.value(key)?;
        let Some(table) = value.as_table() else {
            self.wrong_type(key, value, &span, "a table");
            return None;
        };
        Some(Self::open(table, span, keys, self.problems))
    }

    /// All tables `[[key]]`; a single `[key]` is a list of one.
    pub(super) fn tables(&self, key: &str, keys: &'static Keys) -> Vec<Self> {
        let Some((value, span)) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = value.as_array() else {
            return self.table(key, keys).into_iter().collect();
        };
        if items.is_empty() {
            self.wrong_type(
                key,
                value,
                &span,
                &format!("at least one [[{}]] table", self.keys.path_of(key)),
            );
        }
        let open = |item: &'a Spanned<DeValue<'a>>| match item.get_ref().as_table() {
            Some(table) => Some(Self::open(table, item.span(), keys, self.problems)),
            None => {
                self.wrong_type(key, item.get_ref(), &item.span(), "a table");
                None
            }
        };
        items.iter().filter_map(open).collect()
    }

    /// Whether the key is written as a list without elements.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let list = self.value(key).and_then(|(value, _)| value.as_array());
        list.is_some_and(|items| items.is_empty())
    }

    /// A URL. User information in it is refused and hidden in every report; `without` says where it belongs.
    pub(super) fn url(&self, key: &str, without: &str) -> Option<Written<HttpUrl>> {
        let (value, span) = self.value(key)?;
        if value.as_str().is_some_and(HttpUrl::has_user_info) {
            self.problems.mask(&span);
            self.wrong(
                key,
                &Wrong::new("the URL has a user name or password in it", without),
            );
            return None;
        }
        self.parsed(key, HttpUrl::parse)
    }

    /// A reference to a secret. What is no reference may be the secret itself and is hidden in every report.
    pub(super) fn secret(&self, key: &str) -> Option<Written<SecretRef>> {
        let (value, span) = self.value(key)?;
        let reference = value.as_str().map(SecretRef::parse);
        if !matches!(reference, Some(Ok(_))) {
            self.problems.mask(&span);
        }
        let reference = self.accepted(key, &span, reference.unwrap_or_else(|| Err(SecretRef::literal())))?;
        Some(Written::at(reference, &span))
    }

    /// Records that `key` has a value that it cannot have.
    pub(super) fn wrong(&self, key: &str, wrong: &Wrong) {
        let span = self
            .value(key)
            .map_or_else(|| self.span.clone(), |(_, span)| span);
        let title = format!("`{}`: {}", self.keys.path_of(key), wrong.what);
        self.problems.add(Some(&span), title, wrong.instead.as_str());
    }

    fn value(&self, key: &str) -> Option<(&'a DeValue<'a>, Range<usize>)> {
        debug_assert!(self.keys.known.contains(&key), "{key} is missing in `keys`");
        let value = self.table.get(key)?;
        Some((value.get_ref(), value.span()))
    }

    fn string(&self, key: &str, value: &'a DeValue<'a>, span: &Range<usize>) -> Option<&'a str> {
        let text = value.as_str();
        if text.is_none() {
            // A number where a unit belongs is the commonest case.
            self.wrong_type(key, value, span, "text in quotes, with its unit if it has one");
        }
        text
    }

    fn accepted<T>(&self, key: &str, span: &Range<usize>, parsed: Result<T, Wrong>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(wrong) => {
                let title = format!("`{}`: {}", self.keys.path_of(key), wrong.what);
                self.problems.add(Some(span), title, wrong.instead);
                None
            }
        }
    }

    fn wrong_type(&self, key: &str, value: &DeValue<'_>, span: &Range<usize>, instead: &str) {
        let title = format!(
            "`{}` cannot be a value of type {}",
            self.keys.path_of(key),
            value.type_str()
        );
        self.problems.add(Some(span), title, format!("write {instead}"));
    }
}

/// Records that a table should not have this key, unless it may.
fn refuse_stranger(key: &Spanned<std::borrow::Cow<'_, str>>, keys: &'static Keys, problems: &Problems) {
    let name: &str = key.get_ref();
    if keys.known.contains(&name) {
        return;
    }
    let path = keys.path_of(name);
    if keys.later.contains(&name) {
        let title = format!("`{path}` is not supported by this version yet; remove it");
        problems.add(Some(&key.span()), title, "");
        return;
    }
    let title = format!("`{path}` is no key of this file");
    let place = if keys.table.is_empty() {
        "the top of the file".to_owned()
    } else {
        format!("[{}]", keys.table)
    };
    let help = if let Some(near) = nearest(name, keys.known.iter().copied()) {
        format!("did you mean `{near}`?")
    } else if let Some(home) = home_of(name) {
        format!("`{name}` belongs to [{home}]; is it below the wrong header?")
    } else {
        format!("remove it; {place} has {}", keys.known.join(", "))
    };
    problems.add(Some(&key.span()), title, help);
}

/// The table that has this key.
fn home_of(name: &str) -> Option<&'static str> {
    let home = TABLES
        .iter()
        .find(|keys| !keys.table.is_empty() && keys.known.contains(&name))?;
    Some(home.table)
}
