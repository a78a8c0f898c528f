//! Personal tokens: for clients that know a user name and a password, or a bearer token, and nothing else.
//!
//! `lgwt_IIIIIIIIII_SSSSSSSSSSSSSSSSSSSSSSSSSSSCCCCCC`: a prefix that scanners for leaked secrets find, an id, 160 random
//! bits, and a checksum by which a typing error and a made-up text are told from a token without a look-up. The regular
//! expression is `lgwt_[0-9A-Za-z]{10}_[0-9A-Za-z]{33}`.
//!
//! The file has one token a line, `ID SHA-256 USER CREATED EXPIRES LABEL` with single blanks; blank lines and lines that
//! begin with `#` are skipped, and one bad line refuses the whole file. A fast hash is enough: nobody goes through 160
//! random bits, however fast each is tried.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, rand};
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::users::UsersProblem;
use super::{Source, Subject};
use crate::clock::{from_rfc3339, rfc3339};
use crate::denial::quotable;
use crate::identity::{LivyUser, is_reserved};

/// One token, of which the text itself is nowhere kept.
pub struct PersonalToken {
    id: Arc<str>,
    hash: [u8; 32],
    user: Arc<str>,
    created: Duration,
    expires: Duration,
    label: Box<str>,
    line: usize,
    last_use: Arc<LastUse>,
}

/// When a token was used last, to the minute.
#[derive(Debug, Default)]
pub struct LastUse(AtomicU64);

/// A loaded tokens file.
#[derive(Debug, Default)]
pub struct PersonalTokens {
    by_id: HashMap<Arc<str>, PersonalToken>,
}

/// What came of checking a text that has the prefix of a personal token.
#[derive(Debug)]
pub enum PersonalVerdict<'a> {
    /// It is this token.
    Good(&'a PersonalToken),
    /// It was this token, and its time is over.
    Expired(&'a PersonalToken),
    /// It is none. The reason is for the log.
    Invalid(&'static str),
}

impl PersonalTokens {
    /// Reads the whole file, or says everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<UsersProblem>> {
        let mut by_id: HashMap<Arc<str>, PersonalToken> = HashMap::new();
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let read = PersonalToken::parse(number, line).and_then(|token| match by_id.get(&token.id) {
                Some(first) => Err(format!(
                    "the token {} stands on line {} already; take one of the two lines out",
                    token.id, first.line
                )),
                None => Ok(token),
            });
            match read {
                Ok(token) => drop(by_id.insert(Arc::clone(&token.id), token)),
                Err(message) => problems.push(UsersProblem {
                    line: number,
                    message,
                }),
            }
        }
        if problems.is_empty() {
            Ok(Self { by_id })
        } else {
            Err(problems)
        }
    }

    /// Checks a text that has the prefix. `now_wall` is the time since 1970.
    pub fn verify(&self, text: &str, now_wall: Duration) -> PersonalVerdict<'_> {
        if !has_form(text) {
            return PersonalVerdict::Invalid("it has not the form of a personal token");
        }
        if !has_right_checksum(text) {
            return PersonalVerdict::Invalid("its checksum is wrong: it was cut, mistyped or made up");
        }
        let Some(token) = id_in(text).and_then(|id| self.by_id.get(id)) else {
            return PersonalVerdict::Invalid("no token has its id: it was revoked, or is another gateway's");
        };
        if constant_time::verify_slices_are_equal(&hash_of(text), &token.hash).is_err() {
            return PersonalVerdict::Invalid("it has the id of a token and another secret");
        }
        if now_wall >= token.expires {
            PersonalVerdict::Expired(token)
        } else {
            PersonalVerdict::Good(token)
        }
    }

    /// Every token, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &PersonalToken> {
        let mut tokens: Vec<_> = self.by_id.values().collect();
        tokens.sort_by_key(|token| token.line);
        tokens.into_iter()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// That token.
    pub fn get(&self, id: &str) -> Option<&PersonalToken> {
        self.by_id.get(id)
    }

    /// Learns when tokens were used last from what the policy before knows.
    pub(crate) fn inherit_uses(&self, before: &Self) {
        for (id, token) in &self.by_id {
            if let Some(at) = before.get(id).and_then(|token| token.last_use.at()) {
                token.last_use.note(at);
            }
        }
    }
}

impl PersonalToken {
    fn parse(number: usize, line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        let &[id, hash, user, created, expires, label] = fields.as_slice() else {
            return Err(format!(
                "there are fewer than six fields; lines are ID SHA-256 USER CREATED EXPIRES LABEL; {ADD}"
            ));
        };
        if id.len() != ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("'{}' cannot be a token's id; {ADD}", quotable(id)));
        }
        let wrong = |what: &str| format!("token {id}: {what}; {ADD}");
        check_user(user).map_err(|what| format!("token {id}: {what}"))?;
        let time =
            |text| from_rfc3339(text).ok_or_else(|| wrong("its times are not such as 2026-08-01T09:30:00Z"));
        check_label(label).map_err(wrong)?;
        Ok(Self {
            id: id.into(),
            hash: unhex(hash).ok_or_else(|| wrong("its hash is not 64 hexadecimal digits"))?,
            user: user.into(),
            created: time(created)?,
            expires: time(expires)?,
            label: label.into(),
            line: number,
            last_use: Arc::default(),
        })
    }

    /// By what it is listed, revoked and logged.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The Livy user whose it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What it is for, in its maker's words.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// When it was made, since 1970.
    pub fn created(&self) -> Duration {
        self.created
    }

    /// From when on it is refused, since 1970.
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// Its line in the file, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// When it was used last.
    pub fn last_use(&self) -> &Arc<LastUse> {
        &self.last_use
    }

    /// Whom it proves.
    pub(crate) fn subject(&self) -> Subject {
        let credential = format!("{} {}", self.id, self.label);
        Subject::proven(Source::Token, Arc::clone(&self.user), Vec::new()).by(credential)
    }
}

impl fmt::Debug for PersonalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.id, self.user)
    }
}

impl LastUse {
    /// It is used now. Costs a read, and a write once a minute.
    pub fn note(&self, now_wall: Duration) {
        let minute = now_wall.as_secs() / 60;
        if self.0.load(Ordering::Relaxed) < minute {
            self.0.fetch_max(minute, Ordering::Relaxed);
        }
    }

    /// The minute of its last use, since 1970; None for never.
    pub fn at(&self) -> Option<Duration> {
        let minute = self.0.load(Ordering::Relaxed);
        (minute > 0).then(|| Duration::from_secs(minute.saturating_mul(60)))
    }
}

/// A personal token that a request brought, right or wrong.
pub(crate) struct Carried<'a> {
    /// The Basic user name beside it.
    pub(crate) user: Option<&'a str>,
    pub(crate) text: &'a str,
}

impl<'a> Carried<'a> {
    /// What has the prefix is a personal token and nothing else: it is never tried as a password.
    pub(crate) fn by(credentials: &'a Credentials<'_>) -> Option<Self> {
        let (user, text) = match credentials {
            Credentials::Basic { user, password } => (Some(user.as_str()), password.as_str()),
            Credentials::Bearer(token) => (None, *token),
        };
        text.starts_with(PREFIX).then_some(Self { user, text })
    }

    /// The account under which a wrong one is counted.
    pub(crate) fn account(&self) -> &'a str {
        self.user.or_else(|| id_in(self.text)).unwrap_or_default()
    }
}

impl fmt::Debug for Carried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carried(..)")
    }
}

/// A token that was just made: its text is told once.
pub struct NewToken {
    /// What the client is given.
    pub text: Zeroizing<String>,
    /// By what it is listed and revoked.
    pub id: String,
    /// Its line for the file.
    pub line: String,
}

impl NewToken {
    /// Makes a token. The error says which of the values cannot be, and what to write instead.
    pub fn make(user: &str, label: &str, now_wall: Duration, lifetime: Duration) -> Result<Self, String> {
        check_user(user)?;
        check_label(label).map_err(|what| format!("{what}; write one with --label"))?;
        if lifetime.is_zero() || lifetime > LONGEST_LIFE {
            return Err("a token lives for at most 366d, and for a time; write --expires 90d".into());
        }
        let id = random_text(ID_LENGTH).ok_or("the system gave no random bytes")?;
        let secret = random_text(SECRET_LENGTH).ok_or("the system gave no random bytes")?;
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_LENGTH));
        for part in [PREFIX, &id, "_", &secret] {
            text.push_str(part);
        }
        let checksum = checksum_of(&text);
        text.push_str(&checksum);
        // Whole seconds: the file and the list write no parts of them.
        let created = Duration::from_secs(now_wall.as_secs());
        let hash = hash_of(&text).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let times = [created, created.saturating_add(lifetime)].map(written);
        Ok(Self {
            line: format!("{} {hash} {user} {} {label}", *id, times.join(" ")),
            id: id.to_string(),
            text,
        })
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewToken({}, ..)", self.id)
    }
}

/// A time as the file and the list write it: RFC 3339, to the second.
pub fn written(time: Duration) -> String {
    rfc3339(Duration::from_secs(time.as_secs())).replace(".000Z", "Z")
}

fn check_user(user: &str) -> Result<(), String> {
    if !LivyUser::is_legal(user) {
        return Err(format!(
            "'{}' cannot be a Livy user; names begin with a letter, a digit or _ and go on with these and . @ - up to \
             128 characters",
            quotable(user)
        ));
    }
    if is_reserved(user) {
        return Err(format!(
            "{user} is a reserved name, which no personal token gives; name a person or a service of its own"
        ));
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), &'static str> {
    let is_plain = label.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain && !label.is_empty() && label.len() <= LABEL_LENGTH_MAX && label.trim() == label {
        Ok(())
    } else {
        Err("a label is 1 to 64 printable ASCII characters that say what the token is for")
    }
}

fn id_in(text: &str) -> Option<&str> {
    text.strip_prefix(PREFIX)?.get(..ID_LENGTH)
}

fn has_form(text: &str) -> bool {
    let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(id, rest)| {
        id.len() == ID_LENGTH
            && rest.len() == SECRET_LENGTH.saturating_add(CHECKSUM_LENGTH)
            && [id, rest]
                .iter()
                .all(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    })
}

fn has_right_checksum(text: &str) -> bool {
    let split = text.len().saturating_sub(CHECKSUM_LENGTH);
    text.split_at_checked(split)
        .is_some_and(|(body, checksum)| checksum_of(body) == checksum)
}

/// CRC-32 of what stands before it, in base 62.
fn checksum_of(body: &str) -> String {
    let mut crc = flate2::Crc::new();
    crc.update(body.as_bytes());
    let mut rest = crc.sum();
    let mut text = [b'0'; CHECKSUM_LENGTH];
    for digit in text.iter_mut().rev() {
        let at = usize::try_from(rest % 62).unwrap_or_default();
        *digit = ALPHABET.get(at).copied().unwrap_or(b'0');
        rest /= 62;
    }
    text.iter().copied().map(char::from).collect()
}

fn hash_of(text: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 64 || !text.bytes().all(is_hex) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0_usize..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at.saturating_add(2))?, 16).ok()?;
    }
    Some(hash)
}

/// Each character alike likely. None where the system gives no random bytes.
fn random_text(length: usize) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(length));
    while text.len() < length {
        let mut byte = Zeroizing::new([0_u8; 1]);
        rand::fill(byte.as_mut_slice()).ok()?;
        // 4 × 62 of 256: the rest would make some characters likelier.
        let at = byte.iter().copied().map(usize::from).find(|at| *at < 248);
        text.extend(at.and_then(|at| ALPHABET.get(at % 62)).copied().map(char::from));
    }
    Some(text)
}

/// With what every personal token begins.
pub const PREFIX: &str = "lgwt_";
/// The longest life of a token: one that nobody ever renews is one that nobody knows any more.
pub const LONGEST_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);
const ID_LENGTH: usize = 10;
/// 62 to the 27th is more than 2 to the 160th.
const SECRET_LENGTH: usize = 27;
const CHECKSUM_LENGTH: usize = 6;
const TOKEN_LENGTH: usize = PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH;
const LABEL_LENGTH_MAX: usize = 64;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ADD: &str = "make a token with `livy-gateway tokens add`, which writes its line";

#[cfg(test)]
mod tests;
