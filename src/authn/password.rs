//! Stored passwords: which hashes are good enough, how much one may cost, and the check itself.
//!
//! Everything that a hash asks of the processor and of memory is bounded when it is loaded, because each login pays it.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use zeroize::Zeroizing;

/// Why a new password cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// No password is no protection.
    #[error("the password is empty")]
    Empty,
    /// Longer than any login accepts.
    #[error("the password is longer than 1024 bytes")]
    TooLong,
    /// No login could present it: Basic is read as UTF-8 without control characters.
    #[error("the password is not UTF-8, or holds control characters")]
    Unusable,
    /// The system gave no randomness or no memory.
    #[error("the password could not be hashed: no randomness or not enough memory")]
    Unhashed,
}

/// Hashes a new password: argon2id, 19 MiB, 2 passes, 1 lane (what OWASP recommends), as a PHC string.
pub fn hash_password(password: &[u8]) -> Result<String, PasswordProblem> {
    if password.is_empty() {
        return Err(PasswordProblem::Empty);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordProblem::TooLong);
    }
    let text = std::str::from_utf8(password).map_err(|_| PasswordProblem::Unusable)?;
    if text.chars().any(char::is_control) {
        return Err(PasswordProblem::Unusable);
    }
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| PasswordProblem::Unhashed)?;
    let params = Params::new(NEW_MEMORY_KIB, NEW_PASSES, 1, None).map_err(|_| PasswordProblem::Unhashed)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password, &salt)
        .map(|hash| hash.to_string())
        .map_err(|_| PasswordProblem::Unhashed)
}

/// How a stored hash was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 9106.
    Argon2id,
    /// `$2a$`, `$2b$`, `$2y$`: what Apache's `htpasswd -B` writes.
    Bcrypt,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id => "argon2id",
            Self::Bcrypt => "bcrypt",
        })
    }
}

/// A stored hash that was found good when it was loaded. Never shown.
pub(super) struct StoredHash {
    scheme: Scheme,
    text: Zeroizing<String>,
    cost_micros: u64,
}

impl StoredHash {
    /// Reads the text of a hash. The error says what to do, and holds nothing of a password or of salt and output.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, cost_micros) = match scheme_label(text) {
            Some("$argon2id$") => (Scheme::Argon2id, argon2id_cost(text)?),
            Some("$2a$" | "$2b$" | "$2y$") => (Scheme::Bcrypt, bcrypt_cost(text)?),
            Some(label) => return Err(format!("{label} hashes are not supported; {SET_ANEW}")),
            None => {
                return Err(format!(
                    "what follows the name is not an argon2id or bcrypt hash; {SET_ANEW}"
                ));
            }
        };
        Ok(Self {
            scheme,
            text: Zeroizing::new(text.to_owned()),
            cost_micros,
        })
    }

    /// Whether it is the hash of `password`, in constant time. Wrong lengths cost the same as wrong passwords.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        match self.scheme {
            Scheme::Argon2id => PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Scheme::Bcrypt => {
                // bcrypt looks at 72 bytes: past them anything would do. The hash is made all the same, or a quick
                // refusal would tell who is in the file.
                let seen = password.get(..BCRYPT_BYTES_MAX).unwrap_or(password);
                bcrypt::verify(seen, &self.text).unwrap_or(false) && seen.len() == password.len()
            }
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// About how long one check takes, to tell the dearest hash of a file.
    pub(super) fn cost_micros(&self) -> u64 {
        self.cost_micros
    }

    /// The stored text, for fingerprints.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.scheme)
    }
}

// `$name$` or `{NAME}`, when it surely is the name of a scheme and no piece of a password.
fn scheme_label(text: &str) -> Option<&str> {
    let (open, close) = match text.as_bytes().first() {
        Some(b'$') => ('$', '$'),
        Some(b'{') => ('{', '}'),
        _ => return None,
    };
    let (name, _) = text.strip_prefix(open)?.split_once(close)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!name.is_empty() && name.len() <= 12 && name.bytes().all(plain))
        .then(|| text.get(..name.len().saturating_add(2)))
        .flatten()
}

fn argon2id_cost(text: &str) -> Result<u64, String> {
    let malformed = || format!("the $argon2id$ hash is damaged; {SET_ANEW}");
    let hash = PasswordHash::new(text).map_err(|_| malformed())?;
    let params = Params::try_from(&hash).map_err(|_| malformed())?;
    let salt = hash.salt.as_ref().map_or(0, |salt| salt.len());
    let output = hash.hash.as_ref().map_or(0, |output| output.len());
    if hash.version != Some(ARGON2_VERSION) || salt < 8 || output < 16 {
        return Err(format!(
            "the $argon2id$ hash needs v=19, a salt of 8 bytes or more and an output of 16 or more; {SET_ANEW}"
        ));
    }
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > LANES_MAX {
        return Err(format!(
            "the $argon2id$ hash costs m={},t={},p={}; each login would pay that, so at most \
             m={MEMORY_KIB_MAX},t={PASSES_MAX},p={LANES_MAX} is accepted; {SET_ANEW}",
            params.m_cost(),
            params.t_cost(),
            params.p_cost()
        ));
    }
    // Measured: about 0.6 µs for each KiB and pass.
    Ok(u64::from(params.m_cost()) * u64::from(params.t_cost()) * 6 / 10)
}

fn bcrypt_cost(text: &str) -> Result<u64, String> {
    let parts: bcrypt::HashParts = text
        .parse()
        .map_err(|_| format!("the bcrypt hash is damaged; {SET_ANEW}"))?;
    let cost = parts.get_cost();
    if !BCRYPT_COSTS.contains(&cost) {
        return Err(format!(
            "the bcrypt hash has cost {cost}; {} to {} is accepted, because each login pays it; {SET_ANEW}",
            BCRYPT_COSTS.start(),
            BCRYPT_COSTS.end()
        ));
    }
    // Measured: about 50 µs, doubled by each step of the cost.
    Ok(50_u64 << cost)
}

const SET_ANEW: &str = "set the password anew with `livy-gateway users add`";

/// Past it no login is checked: a longer password protects nobody better, and hashing it costs the gateway.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;
const BCRYPT_BYTES_MAX: usize = 72;

const NEW_MEMORY_KIB: u32 = 19 * 1024;
const NEW_PASSES: u32 = 2;

const ARGON2_VERSION: u32 = 19;
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 8;
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;

#[cfg(test)]
mod tests {
    use super::*;

    /// As cheap as argon2id may be: tests are not about its strength.
    fn cheap_argon2id(password: &[u8]) -> String {
        let params = Params::new(8, 1, 1, None).unwrap();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_with_salt(password, b"salt of the test")
            .unwrap()
            .to_string()
    }

    fn problem(text: &str) -> String {
        StoredHash::parse(text).unwrap_err()
    }

    #[test]
    fn a_new_hash_is_argon2id_with_the_recommended_cost_and_verifies() {
        let text = hash_password("pässword: with a colon".as_bytes()).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let stored = StoredHash::parse(&text).unwrap();
        assert!(stored.matches("pässword: with a colon".as_bytes()));
        assert!(!stored.matches(b"password: with a colon"));
    }

    #[test]
    fn the_same_password_never_gives_the_same_hash() {
        assert_ne!(hash_password(b"same").unwrap(), hash_password(b"same").unwrap());
    }

    #[test]
    fn a_password_that_no_login_could_present_is_not_hashed() {
        for (password, expected) in [
            (&b""[..], PasswordProblem::Empty),
            (&[b'x'; 1025], PasswordProblem::TooLong),
            (b"a\0b", PasswordProblem::Unusable),
            (b"line\n", PasswordProblem::Unusable),
            (b"\xff", PasswordProblem::Unusable),
        ] {
            assert_eq!(hash_password(password), Err(expected));
        }
    }

    #[test]
    fn the_three_prefixes_of_bcrypt_verify() {
        let made = bcrypt::hash("secret", 4).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let stored = StoredHash::parse(&made.replacen("$2b$", prefix, 1)).unwrap();
            assert!(stored.matches(b"secret"), "{prefix}");
            assert!(!stored.matches(b"Secret"), "{prefix}");
        }
    }

    #[test]
    fn bcrypt_never_ignores_what_stands_behind_72_bytes() {
        let password = "x".repeat(72);
        let stored = StoredHash::parse(&bcrypt::hash(&password, 4).unwrap()).unwrap();
        assert!(stored.matches(password.as_bytes()));
        assert!(!stored.matches(format!("{password}y").as_bytes()));
        assert!(!stored.matches("x".repeat(71).as_bytes()));
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        for (text, label) in [
            ("$apr1$rounds$hash", "$apr1$"),
            ("$1$salt$hash", "$1$"),
            ("$5$salt$hash", "$5$"),
            ("$6$rounds=5000$salt$hash", "$6$"),
            ("$y$j9T$salt$hash", "$y$"),
            ("$2x$05$hash", "$2x$"),
            ("$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$argon2i$"),
            ("$argon2d$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$argon2d$"),
            ("{SHA}hash", "{SHA}"),
        ] {
            assert_eq!(
                problem(text),
                format!(
                    "{label} hashes are not supported; set the password anew with `livy-gateway users add`"
                )
            );
        }
    }

    #[test]
    fn plain_text_is_refused_and_not_repeated() {
        for text in [
            "hunter2",
            "",
            "$hunter2",
            "{hunter2",
            "$hunter 2$x",
            "$hunter2hunter2$x",
        ] {
            let problem = problem(text);
            assert!(problem.contains("not an argon2id or bcrypt hash"), "{problem}");
            assert!(!problem.contains("hunter"), "{problem}");
        }
    }

    #[test]
    fn what_costs_more_than_a_login_may_cost_is_refused() {
        let good = cheap_argon2id(b"secret");
        for (cheap, dear) in [("m=8,", "m=65537,"), ("t=1,", "t=11,"), ("p=1$", "p=9$")] {
            let problem = problem(&good.replacen(cheap, dear, 1).replacen("m=8,", "m=256,", 1));
            assert!(problem.contains("each login would pay"), "{dear}: {problem}");
        }
        let good = bcrypt::hash("secret", 4).unwrap();
        for cost in ["03", "15", "31"] {
            let problem = problem(&good.replacen("$04$", &format!("${cost}$"), 1));
            assert!(problem.contains("each login pays it"), "{cost}: {problem}");
        }
    }

    #[test]
    fn a_damaged_hash_is_refused() {
        let argon2id = cheap_argon2id(b"secret");
        let bcrypt = bcrypt::hash("secret", 4).unwrap();
        for damaged in [
            argon2id.rsplit_once('$').unwrap().0,
            &argon2id.replacen("v=19", "v=16", 1),
            &argon2id.replacen("v=19$", "", 1),
            &argon2id
                .replacen("p=1", "p=1,keyid=AAAA", 1)
                .replacen("m=8", "m=x", 1),
            bcrypt.get(..59).unwrap(),
            &format!("{bcrypt} "),
            &format!("{}é", bcrypt.get(..58).unwrap()),
        ] {
            assert!(StoredHash::parse(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn debug_output_shows_no_hash() {
        let text = cheap_argon2id(b"secret");
        let stored = StoredHash::parse(&text).unwrap();
        assert_eq!(format!("{stored:?}"), "argon2id(..)");
    }
}
