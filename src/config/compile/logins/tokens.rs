//! The personal tokens, and that each names a Livy user that one may become by its own name.

use super::super::super::files::Secrecy;
use super::super::super::raw::RawTokens;
use super::super::super::reader::Wrong;
use super::super::Context;
use crate::authn::{Authn, PersonalTokens};
use crate::identity::Identities;

/// The tokens file; none of it if anything is wrong with it. One without tokens is fine.
pub(super) fn tokens(raw: &RawTokens, context: &Context<'_>) -> Option<PersonalTokens> {
    let RawTokens { file } = raw;
    file.span.as_ref()?;
    let path = context.files.resolve(&file.value);
    let make = format!(
        "make a token, and with it the file: livy-gateway tokens add --file {} --user NAME --expires 90d --label WHAT-FOR",
        path.display()
    );
    let content = context.files.read("tokens.file", file, Secrecy::Secret, &make)?;
    let Ok(text) = std::str::from_utf8(&content) else {
        let what = format!("{} is not UTF-8 text", path.display());
        let wrong = Wrong::new(
            what,
            "write the path of a file that `livy-gateway tokens add` made",
        );
        context.wrong("tokens.file", file, &wrong);
        return None;
    };
    match PersonalTokens::parse(text) {
        Ok(tokens) => Some(tokens),
        Err(found) => {
            for problem in found {
                context
                    .problems
                    .add_in(&path, Some(problem.line), problem.message, "");
            }
            None
        }
    }
}

/// Names that the configuration reserves are known only when its rules are compiled.
pub(super) fn refuse_reserved(
    raw: Option<&RawTokens>,
    authn: Option<&Authn>,
    identities: &Identities,
    context: &Context<'_>,
) {
    let Some((raw, tokens)) = raw.zip(authn.and_then(|authn| authn.tokens.as_ref())) else {
        return;
    };
    let path = context.files.resolve(&raw.file.value);
    for token in tokens.iter().filter(|token| identities.reserves(token.user())) {
        let (id, user) = (token.id(), token.user());
        let title = format!("token {id}: {user} is a reserved name, which no personal token gives");
        let help = format!(
            "revoke it, with: livy-gateway tokens revoke --file {} {id}",
            path.display()
        );
        context.problems.add_in(&path, Some(token.line()), title, help);
    }
}
