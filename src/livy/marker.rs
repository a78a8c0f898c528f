//! The name that Livy is given for everything the gateway creates: unique for ever, so that it can be found again.
//!
//! Livy's own names are one namespace for all tenants, and its ids begin at 0 again after a restart. A marker is
//! neither guessed nor reused: by it a lost answer or an orphan is found in Livy's list, and by it, not by the id, Livy
//! is addressed.
//!
//! Its form is `STEM-gwIIIIIIIICCCCCCCCRRRRRRRRRRRRR`: what a person recognizes it by, then the gateway's instance, who
//! created it, and what is random, each in lower case base 32.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use super::session_ref::{Kind, SessionName};

/// One gateway, or one set of gateways that share a ledger: part of each marker, so that what another gateway created
/// on the same Livy is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance([u8; INSTANCE]);

impl Instance {
    /// An instance of its own, from five random bytes.
    pub fn new(random: [u8; 5]) -> Self {
        let mut text = [0; INSTANCE];
        base32(&random, &mut text);
        Self(text)
    }

    /// As it was written down.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; INSTANCE] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| is_base32(*byte)).then_some(Self(bytes))
    }

    /// For writing it down.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The unique name of one session or batch at Livy.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Marker(Box<str>);

impl Marker {
    /// A new one: `stem` is what people recognize it by, `creator` is who asked for it (a subject with its source).
    pub fn new(stem: &str, instance: Instance, creator: &str, random: [u8; 8]) -> Self {
        let mut text = plain_stem(stem);
        text.push_str(TAG);
        text.push_str(instance.as_str());
        text.push_str(&creator_code(instance, creator));
        let mut unique = [0; RANDOM];
        base32(&random, &mut unique);
        text.extend(unique.iter().map(|byte| char::from(*byte)));
        Self(text.into())
    }

    /// Reads a name that Livy shows; none if no gateway gave it.
    pub fn parse(name: &str) -> Option<Self> {
        let at = name.len().checked_sub(TAIL)?;
        let (stem, tail) = name.split_at_checked(at)?;
        let is_marked = tail.strip_prefix(TAG)?.bytes().all(is_base32);
        (is_marked && SessionName::new(name).is_some() && !stem.is_empty()).then(|| Self(name.into()))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole name, as a path has it.
    pub fn name(&self) -> Option<SessionName> {
        SessionName::new(&self.0)
    }

    /// Whose gateway made it.
    pub fn instance(&self) -> Option<Instance> {
        let at = self.0.len().checked_sub(TAIL - TAG.len())?;
        Instance::parse(self.0.get(at..at + INSTANCE)?)
    }

    /// Whether this creator asked for it. What is known of a creator in a marker is a digest.
    pub fn is_by(&self, creator: &str) -> bool {
        let at = self.0.len().saturating_sub(CREATOR + RANDOM);
        let code = self.0.get(at..at + CREATOR);
        self.instance()
            .is_some_and(|instance| code == Some(creator_code(instance, creator).as_str()))
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// What a new session is called where nobody gave it a name.
pub const fn default_stem(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "livy-session",
        Kind::Batch => "livy-batch",
    }
}

/// Of the alphabet of session names, beginning with a letter, and short enough for the rest.
fn plain_stem(stem: &str) -> String {
    let plain: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .take(STEM_MAX)
        .collect();
    if plain.starts_with(|first: char| first.is_ascii_alphabetic()) {
        plain
    } else {
        let mut text = String::from("s");
        text.push_str(plain.get(..plain.len().min(STEM_MAX - 1)).unwrap_or_default());
        text
    }
}

fn creator_code(instance: Instance, creator: &str) -> String {
    let digest = digest(&SHA256, format!("{} {creator}", instance.as_str()).as_bytes());
    let mut code = [0; CREATOR];
    base32(digest.as_ref().get(..5).unwrap_or_default(), &mut code);
    code.iter().map(|byte| char::from(*byte)).collect()
}

/// RFC 4648 §6 in lower case and without padding, as far as there is room.
fn base32(bytes: &[u8], out: &mut [u8]) {
    let bit = |at: usize| {
        bytes
            .get(at / 8)
            .is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
    };
    for (place, digit) in out.iter_mut().enumerate() {
        let value = (0..5).fold(0_u8, |value, offset| {
            value << 1 | u8::from(bit(place * 5 + offset))
        });
        *digit = if value < 26 {
            b'a' + value
        } else {
            b'2' + value - 26
        };
    }
}

const fn is_base32(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

const TAG: &str = "-gw";
const INSTANCE: usize = 8;
const CREATOR: usize = 8;
const RANDOM: usize = 13;
const TAIL: usize = TAG.len() + INSTANCE + CREATOR + RANDOM;
/// What is left of a name's 128 bytes.
const STEM_MAX: usize = SessionName::MAX_BYTES - TAIL;

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(stem: &str) -> Marker {
        Marker::new(stem, Instance::new([1, 2, 3, 4, 5]), "basic:alice", [7; 8])
    }

    #[test]
    fn a_marker_is_read_again_with_its_instance_and_its_creator() {
        let made = marker("etl-daily");
        assert!(made.as_str().starts_with("etl-daily-gw"), "{made}");
        let read = Marker::parse(made.as_str()).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.instance(), Some(Instance::new([1, 2, 3, 4, 5])));
        assert!(read.is_by("basic:alice"));
        assert!(!read.is_by("basic:bob"));
    }

    #[test]
    fn whatever_the_stem_a_marker_is_a_legal_name() {
        for stem in [
            "",
            "7",
            "é",
            "a b/c",
            "..",
            "-x",
            &"x".repeat(500),
            "0".repeat(200).as_str(),
        ] {
            let made = marker(stem);
            assert!(made.name().is_some(), "{made}");
            assert_eq!(Marker::parse(made.as_str()), Some(made.clone()), "{made}");
        }
    }

    #[test]
    fn other_names_are_no_markers() {
        let made = marker("x");
        let cut = made.as_str().get(1..).unwrap();
        let spoiled = made.as_str().replace("-gw", "-GW");
        for name in [
            "",
            "etl",
            "x-gw",
            cut,
            &spoiled,
            &format!("{made}8"),
            &format!("{made} "),
        ] {
            assert_eq!(Marker::parse(name), None, "{name}");
        }
    }

    #[test]
    fn an_instance_is_written_and_read() {
        let instance = Instance::new([0xff; 5]);
        assert_eq!(Instance::parse(instance.as_str()), Some(instance));
        for text in ["", "abc", "ABCDEFGH", "abcdefg1"] {
            assert_eq!(Instance::parse(text), None, "{text}");
        }
    }
}
