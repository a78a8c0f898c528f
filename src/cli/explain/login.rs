//! A login by user name and password, told step by step: who checks it, and what that says.

use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::{End, step, token};
use crate::authn::personal::PREFIX;
use crate::authn::{Authn, Checker, Find, Ldap, PersonalVerdict, Source, Subject, TokenUse};
use crate::clock::{Clock, SystemClock};
use crate::denial::{Denial, LoginSource};
use crate::directory::{self, Verdict};
use crate::policy::Policy;

/// Whom this pair proves. The password is checked as a request's would be; it is in no cache, and no limit counts it.
pub(super) fn password(
    policy: &Policy,
    user: &str,
    password: &[u8],
    wish: TokenUse,
    story: &mut String,
) -> Result<Subject, End> {
    let authn = &policy.authn;
    let typed = std::str::from_utf8(password)
        .map_err(|_| Denial::MalformedCredentials("the password is not UTF-8"))?;
    if typed.is_empty() || user.is_empty() {
        step(
            story,
            "login",
            format_args!("refused: an empty user or password is asked of nobody"),
        );
        return Err(Denial::InvalidCredentials.into());
    }
    if typed.starts_with(PREFIX) {
        return personal_token(authn, Some(user), typed, story);
    }
    if authn.is_password_token(typed) {
        let verify = |now| authn.verify_password_token(typed, now, wish);
        let subject = token::subject(policy, verify, story)?;
        let named = policy.identities.resolve(&Arc::new(subject.clone()));
        let is_livy_user = named.is_ok_and(|principal| principal.livy_user().as_str() == user);
        if user != subject.name() && !is_livy_user {
            step(
                story,
                "login",
                format_args!(
                    "refused: the user name beside the token is neither its subject nor its Livy user"
                ),
            );
            return Err(Denial::InvalidCredentials.into());
        }
        return Ok(subject);
    }
    match authn.checker_of(user) {
        None => {
            step(
                story,
                "login",
                format_args!("refused: there is neither [basic] nor [ldap] to check a password"),
            );
            Err(Denial::InvalidCredentials.into())
        }
        Some(Checker::Users) => in_users_file(authn, user, password, story),
        Some(Checker::Ldap(ldap)) => {
            let servers: Vec<_> = ldap
                .settings()
                .servers
                .iter()
                .map(|server| server.url.as_str())
                .collect();
            step(
                story,
                "checked by",
                format_args!("the directory: {}", servers.join(", ")),
            );
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let verdict = directory::check_once(Arc::clone(ldap), user, typed, clock);
            match verdict.map_err(anyhow::Error::from)? {
                Verdict::Proven(subject) if authn.is_of_users_file(subject.name()) => {
                    let name = subject.name();
                    step(
                        story,
                        "login",
                        format_args!("refused: the directory finds {name}, a name that the users file has"),
                    );
                    Err(Denial::InvalidCredentials.into())
                }
                Verdict::Proven(subject) => Ok(subject),
                Verdict::Refused(why) => {
                    if let Find::ByName(template) = &ldap.settings().find {
                        step(story, "bound as", format_args!("{}", Ldap::dn_of(template, user)));
                    }
                    step(
                        story,
                        "login",
                        format_args!("refused: {why} (the client is not told)"),
                    );
                    Err(Denial::InvalidCredentials.into())
                }
                Verdict::Unavailable(why) | Verdict::Unusable(why) => {
                    step(
                        story,
                        "login",
                        format_args!("not checked: {why} (the client is not told)"),
                    );
                    Err(Denial::LoginUnavailable(LoginSource::Directory).into())
                }
                Verdict::Busy => Err(End::Unknown(anyhow!("the directory was not asked"))),
            }
        }
    }
}

fn in_users_file(authn: &Authn, user: &str, password: &[u8], story: &mut String) -> Result<Subject, End> {
    let users = authn.users.as_ref().ok_or(Denial::InvalidCredentials)?;
    match users.get(user) {
        Some(line) => step(
            story,
            "checked by",
            format_args!("the users file, line {}, {}", line.line(), line.scheme()),
        ),
        None => step(
            story,
            "checked by",
            format_args!("the users file, which does not have the name"),
        ),
    }
    users.verify(user, password).ok_or_else(|| {
        step(
            story,
            "login",
            format_args!("refused: the password is not that of {user} (the client is not told)"),
        );
        Denial::InvalidCredentials.into()
    })
}

/// Who a name of the directory would be after a login.
pub(super) fn in_directory(authn: &Authn, name: &str, story: &mut String) -> anyhow::Result<Option<Subject>> {
    let ldap = authn
        .ldap
        .as_ref()
        .ok_or_else(|| anyhow!("there is no [ldap]; leave ldap: out"))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    match directory::look_up_once(Arc::clone(ldap), name, clock) {
        Ok(Some(subject)) => {
            step(
                story,
                "looked up",
                format_args!("in the directory: its entry is named {}", subject.name()),
            );
            Ok(Some(subject))
        }
        Ok(None) => {
            step(
                story,
                "looked up",
                format_args!("{name} is not in the directory, or not once: a real login would be refused"),
            );
            Ok(None)
        }
        Err(why) => {
            step(
                story,
                "looked up",
                format_args!("not in the directory: {why}; groups are those of --group alone"),
            );
            Ok(None)
        }
    }
}

/// Whom a text that begins as a personal token proves, with the Basic user name beside it if there is one.
pub(super) fn personal_token(
    authn: &Authn,
    beside: Option<&str>,
    text: &str,
    story: &mut String,
) -> Result<Subject, End> {
    let is_its_own = |user: &str| beside.is_none_or(|beside| beside == user);
    let why = match authn.verify_personal_token(text, SystemClock::new().wall()) {
        PersonalVerdict::Good(token) if is_its_own(token.user()) => {
            step(
                story,
                "checked by",
                format_args!(
                    "the tokens file, line {}: {} {}",
                    token.line(),
                    token.id(),
                    token.label()
                ),
            );
            return Ok(token.subject());
        }
        PersonalVerdict::Expired(token) if is_its_own(token.user()) => {
            return Err(Denial::ExpiredToken.into());
        }
        PersonalVerdict::Good(_) | PersonalVerdict::Expired(_) => "the user name beside it is another",
        PersonalVerdict::Invalid(why) => why,
    };
    step(
        story,
        "token",
        format_args!("a personal token, refused: {why} (the client is not told)"),
    );
    Err(Denial::InvalidCredentials.into())
}

/// Who it would be with a personal token of that user's.
pub(super) fn supposed_token(authn: &Authn, name: &str, story: &mut String) -> anyhow::Result<Subject> {
    let tokens = authn
        .tokens
        .as_ref()
        .context("there is no [tokens], so nobody can log in with a personal token")?;
    let now = SystemClock::new().wall();
    if !tokens
        .iter()
        .any(|token| token.user() == name && now < token.expires())
    {
        step(
            story,
            "login",
            format_args!("no token that is good is {name}'s: a real login would be refused"),
        );
    }
    Ok(Subject::proven(Source::Token, name, Vec::new()))
}
