//! Whose a rule is.

use std::sync::Arc;

use super::super::raw::RawWhose;
use super::Context;
use crate::identity::LivyUser;
use crate::quota::Whose;

/// Whose the rule of `table` is, if that can be said and no earlier one is for the same.
pub(super) fn whose<'a>(
    raw: &RawWhose,
    table: &str,
    mut earlier: impl Iterator<Item = &'a Whose>,
    context: &Context<'_>,
) -> Option<Whose> {
    let RawWhose {
        span,
        user,
        members_of,
        group,
        everybody,
    } = raw;
    let named = [
        ("user", user, Whose::User as fn(Arc<str>) -> Whose),
        ("members_of", members_of, Whose::MembersOf),
        ("group", group, Whose::Group),
    ];
    let named = named
        .into_iter()
        .find_map(|(key, written, whose)| Some((key, written.as_ref()?, whose)));
    // That it names nobody, or several, was said.
    let (key, at, whose) = match named {
        Some((key, written, whose)) => (key, &written.span, whose(written.value.as_str().into())),
        None if everybody.value => ("everybody", &everybody.span, Whose::Everybody),
        None => return None,
    };
    let at = at.as_ref().unwrap_or(span);
    if let Whose::User(name) = &whose
        && !LivyUser::is_legal(name)
    {
        let title =
            format!("`{table}.user`: {name:?} can be no Livy user, so the rule would hold for nobody");
        context.problems.add(
            Some(at),
            title,
            "write the name that Livy is told: up to 128 letters, digits and . _ @ -",
        );
        return None;
    }
    if earlier.any(|earlier| *earlier == whose) {
        let title = format!("`{table}.{key}`: another table is for the same already");
        context
            .problems
            .add(Some(at), title, "write all of its limits into one table");
        return None;
    }
    Some(whose)
}
