//! How a path names a session or batch: its kind, and a number or a name.

use std::fmt;

/// Livy's two kinds of session. They have separate ids and separate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An interactive session, under `/sessions`.
    Session,
    /// A batch, under `/batches`.
    Batch,
}

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Session, Self::Batch];

    /// The path segment of the collection.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Session => "sessions",
            Self::Batch => "batches",
        }
    }

    /// The word for one of them in a sentence.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Batch => "batch",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun())
    }
}

/// A session's number: 0 to 2147483647 (Livy parses it as a Java `int`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u32);

impl SessionId {
    /// The largest id Livy can hold.
    pub const MAX: u32 = i32::MAX as u32;

    /// An id, if it is in Livy's range.
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A session's name, from a small safe alphabet: a letter, then letters, digits, `.`, `_`, `-`; 1 to 128 bytes.
///
/// Livy itself takes any string that is not all digits, slashes and control characters included. A name of
/// this alphabet can never be read as an id, a dot segment, an escape or a delimiter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(Box<str>);

impl SessionName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// A name, if it is of the alphabet.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let starts_well = bytes.next().is_some_and(|first| first.is_ascii_alphabetic());
        let goes_on_well =
            bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        (starts_well && goes_on_well && text.len() <= Self::MAX_BYTES).then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands in a path in the place of `{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SessionKey {
    /// A number.
    Id(SessionId),
    /// A name.
    Name(SessionName),
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name.as_str()),
        }
    }
}

/// One session or batch, as a path names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionRef {
    kind: Kind,
    key: SessionKey,
}

/// Why a path segment names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefError {
    /// A number that no session can have: beyond a Java `int`.
    OutOfRange,
    /// A number in another than its canonical spelling, such as `007`: two readers may disagree about it.
    NotCanonical,
    /// Neither a number nor a name of the safe alphabet.
    NotAName,
}

impl SessionRef {
    /// A reference by number.
    pub const fn by_id(kind: Kind, id: SessionId) -> Self {
        Self {
            kind,
            key: SessionKey::Id(id),
        }
    }

    /// A reference by name.
    pub const fn by_name(kind: Kind, name: SessionName) -> Self {
        Self {
            kind,
            key: SessionKey::Name(name),
        }
    }

    /// Reads one raw path segment.
    pub fn parse(kind: Kind, segment: &str) -> Result<Self, RefError> {
        if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = parse_number(segment)?;
            let id = SessionId::new(number).ok_or(RefError::OutOfRange)?;
            return Ok(Self::by_id(kind, id));
        }
        SessionName::new(segment)
            .map(|name| Self::by_name(kind, name))
            .ok_or(RefError::NotAName)
    }

    /// Session or batch.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Number or name.
    pub const fn key(&self) -> &SessionKey {
        &self.key
    }
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// A canonical decimal number below 2³¹: of a session, a statement or a job.
pub(crate) fn parse_number(digits: &str) -> Result<u32, RefError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RefError::NotAName);
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(RefError::NotCanonical);
    }
    digits
        .parse()
        .ok()
        .filter(|number| *number <= SessionId::MAX)
        .ok_or(RefError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_number_in_range_is_an_id() {
        for (text, number) in [("0", 0), ("7", 7), ("2147483647", 2_147_483_647)] {
            let parsed = SessionRef::parse(Kind::Session, text);
            assert_eq!(
                parsed,
                Ok(SessionRef::by_id(Kind::Session, SessionId::new(number).unwrap()))
            );
        }
    }

    #[test]
    fn numbers_that_two_readers_could_take_differently_are_refused() {
        assert_eq!(
            SessionRef::parse(Kind::Session, "007"),
            Err(RefError::NotCanonical)
        );
        assert_eq!(
            SessionRef::parse(Kind::Session, "2147483648"),
            Err(RefError::OutOfRange)
        );
        assert_eq!(
            SessionRef::parse(Kind::Session, "99999999999999999999"),
            Err(RefError::OutOfRange)
        );
        for odd in [
            "", "+5", "-1", "5 ", "0x5", "5.0", "٥", "５", "a/b", "..", ".hidden", "a%2Fb", "a;b", "_x", "é",
        ] {
            assert_eq!(
                SessionRef::parse(Kind::Batch, odd),
                Err(RefError::NotAName),
                "{odd:?}"
            );
        }
    }

    #[test]
    fn a_name_has_at_most_128_bytes() {
        assert!(SessionName::new(&"a".repeat(128)).is_some());
        assert!(SessionName::new(&"a".repeat(129)).is_none());
        assert!(SessionName::new("etl-daily_v1.2").is_some());
    }
}
