//! Whose a rule is: what `[[quota.for]]` and `[[limits.for]]` have in common.

use std::ops::Range;

use super::values::not_empty;
use crate::config::problem::Problems;
use crate::config::reader::{Reader, Written, Wrong};

/// Exactly one of the four.
#[derive(Debug)]
pub(in crate::config) struct RawWhose {
    pub(in crate::config) span: Range<usize>,
    pub(in crate::config) user: Option<Written<String>>,
    pub(in crate::config) members_of: Option<Written<String>>,
    pub(in crate::config) group: Option<Written<String>>,
    pub(in crate::config) everybody: Written<bool>,
}

/// Reads whose the limits of `table` are; `name` is the table's own, and `limits` are the keys that set one.
pub(super) fn whose(table: &Reader<'_>, name: &str, limits: &[&str], problems: &Problems) -> RawWhose {
    let written = |keys: &[&str]| keys.iter().filter(|key| table.has(key)).count();
    let title = match written(&["user", "members_of", "group", "everybody"]) {
        0 => Some(format!("`{name}` names nobody")),
        1 => None,
        _ => Some(format!("`{name}` names more than one")),
    };
    if let Some(title) = title {
        problems.add(
            Some(table.span()),
            title,
            "write exactly one of user = \"airflow\", members_of = \"etl\" (each member by itself), group = \"etl\" (all together) and everybody = true (all together)",
        );
    }
    if written(limits) == 0 {
        let (last, others) = limits.split_last().unwrap_or((&"", &[]));
        problems.add(
            Some(table.span()),
            format!("`{name}` sets no limit"),
            format!(
                "write at least one of {} and {last}, or remove the table",
                others.join(", ")
            ),
        );
    }
    let everybody = table.flag("everybody", false);
    if everybody.span.is_some() && !everybody.value {
        let instead = "remove it, or write true for a limit on all users together";
        table.wrong("everybody", &Wrong::new("false names nobody", instead));
    }
    RawWhose {
        span: table.span().clone(),
        user: table.parsed("user", not_empty),
        members_of: table.parsed("members_of", not_empty),
        group: table.parsed("group", not_empty),
        everybody,
    }
}
