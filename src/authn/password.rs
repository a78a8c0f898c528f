//! Stored passwords: which hashes are good enough, how much one may cost, and the check itself.
//!
//! Everything that a hash asks of the processor and of memory is bounded when it is loaded, because each login pays it.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha_crypt::ShaCrypt;
use zeroize::Zeroizing;

mod apr1;

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

/// How a password is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RFC 9106.
    Argon2id,
    /// `$2a$`, `$2b$`, `$2y$`: what Apache's `htpasswd -B` writes.
    Bcrypt,
    /// `$5$`, as `htpasswd -2` and the system's own crypt write it.
    Sha256Crypt,
    /// `$6$`, as `htpasswd -5` and the system's own crypt write it.
    Sha512Crypt,
    /// `$apr1$`, as `htpasswd -m` writes it.
    Apr1,
    /// `{SHA}`: one SHA-1 without salt, as `htpasswd -s` writes it.
    Sha1,
    /// The password itself, as `htpasswd -p` writes it.
    PlainText,
}

impl Scheme {
    /// Whether who has read the file has the passwords as well, or within seconds: loaded only where that is allowed.
    pub const fn is_weak(self) -> bool {
        match self {
            Self::Argon2id | Self::Bcrypt | Self::Sha256Crypt | Self::Sha512Crypt | Self::Apr1 => false,
            Self::Sha1 | Self::PlainText => true,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id => "argon2id",
            Self::Bcrypt => "bcrypt",
            Self::Sha256Crypt => "sha256-crypt",
            Self::Sha512Crypt => "sha512-crypt",
            Self::Apr1 => "apr1",
            Self::Sha1 => "{SHA}",
            Self::PlainText => "plain text",
        })
    }
}

/// A stored password that was found good when it was loaded. Never shown.
pub(super) struct StoredHash {
    scheme: Scheme,
    text: Zeroizing<String>,
    cost_micros: u64,
}

impl StoredHash {
    /// Reads what a line stores, weak schemes too: whether they may be is the caller's to ask. The error says what to
    /// do, and holds nothing of a password or of salt and output.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, cost_micros) = match scheme_label(text) {
            Some("$argon2id$") => (Scheme::Argon2id, argon2id_cost(text)?),
            Some("$2a$" | "$2b$" | "$2y$") => (Scheme::Bcrypt, bcrypt_cost(text)?),
            Some("$5$") => (Scheme::Sha256Crypt, sha_crypt_cost(text, 43, SHA256_CRYPT_NANOS)?),
            Some("$6$") => (Scheme::Sha512Crypt, sha_crypt_cost(text, 86, SHA512_CRYPT_NANOS)?),
            Some("$apr1$") if apr1::is_whole(text) => (Scheme::Apr1, APR1_MICROS),
            Some("{SHA}") if sha1_of(text).is_some() => (Scheme::Sha1, 1),
            Some(label @ ("$apr1$" | "{SHA}")) => {
                return Err(format!("the {label} hash is damaged; {SET_ANEW}"));
            }
            Some(label) => return Err(format!("{label} hashes are not supported; {SET_ANEW}")),
            None => (Scheme::PlainText, plain_text_cost(text)?),
        };
        Ok(Self {
            scheme,
            text: Zeroizing::new(text.to_owned()),
            cost_micros,
        })
    }

    /// Whether it is the hash of `password`, in constant time. Wrong lengths cost the same as wrong passwords.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        // Past what a scheme looks at anything would do, or cost what it likes. The hash is made all the same, or a
        // quick refusal would tell who is in the file.
        let limit = match self.scheme {
            Scheme::Bcrypt => BCRYPT_BYTES_MAX,
            Scheme::Sha256Crypt | Scheme::Sha512Crypt | Scheme::Apr1 => CRYPT_BYTES_MAX,
            Scheme::Argon2id | Scheme::Sha1 | Scheme::PlainText => PASSWORD_BYTES_MAX,
        };
        let seen = password.get(..limit).unwrap_or(password);
        let is_right = match self.scheme {
            Scheme::Argon2id => PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(seen, &hash).is_ok()),
            Scheme::Bcrypt => bcrypt::verify(seen, &self.text).unwrap_or(false),
            Scheme::Sha256Crypt | Scheme::Sha512Crypt => ShaCrypt::default()
                .verify_password(seen, self.text.as_str())
                .is_ok(),
            Scheme::Apr1 => apr1::verify(seen, &self.text),
            Scheme::Sha1 => sha1_of(&self.text).is_some_and(|stored| {
                let made = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, seen);
                constant_time::verify_slices_are_equal(made.as_ref(), &stored).is_ok()
            }),
            // Of digests, so that the time does not tell the length.
            Scheme::PlainText => {
                let [made, stored] =
                    [seen, self.text.as_bytes()].map(|text| digest::digest(&digest::SHA256, text));
                constant_time::verify_slices_are_equal(made.as_ref(), stored.as_ref()).is_ok()
            }
        };
        is_right && seen.len() == password.len()
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// About how long one check takes.
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

/// The name of a scheme that a text begins with. Known ones alone: anything else may be a piece of a password, which no
/// message may show.
fn scheme_label(text: &str) -> Option<&'static str> {
    LABELS.into_iter().find(|label| text.starts_with(label))
}

/// Whether a text begins as a stored hash does; else it may be a password itself.
pub(crate) fn begins_as_hash(text: &str) -> bool {
    scheme_label(text).is_some()
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

/// `$5$[rounds=N$]salt$output`, with so many characters of output.
fn sha_crypt_cost(text: &str, output_length: usize, round_nanos: u64) -> Result<u64, String> {
    let damaged = || format!("the sha-crypt hash is damaged; {SET_ANEW}");
    let fields: Vec<&str> = text.split('$').skip(2).collect();
    let (rounds, salt, output) = match fields.as_slice() {
        [salt, output] => (SHA_CRYPT_ROUNDS, salt, output),
        [rounds, salt, output] => {
            let rounds = rounds.strip_prefix("rounds=").ok_or_else(damaged)?;
            (rounds.parse().map_err(|_| damaged())?, salt, output)
        }
        _ => return Err(damaged()),
    };
    let of_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let is_whole = (1..=16).contains(&salt.len())
        && output.len() == output_length
        && [salt, output].iter().all(|part| part.bytes().all(of_alphabet));
    if !is_whole {
        return Err(damaged());
    }
    if !SHA_CRYPT_ROUNDS_ACCEPTED.contains(&rounds) {
        return Err(format!(
            "the sha-crypt hash has {rounds} rounds; {} to {} are accepted, because each login pays for them; {SET_ANEW}",
            SHA_CRYPT_ROUNDS_ACCEPTED.start(),
            SHA_CRYPT_ROUNDS_ACCEPTED.end()
        ));
    }
    Ok(rounds.saturating_mul(round_nanos) / 1000)
}

fn sha1_of(text: &str) -> Option<[u8; 20]> {
    let decoded = STANDARD.decode(text.strip_prefix("{SHA}")?).ok()?;
    decoded.try_into().ok()
}

/// What looks like a hash must not become a password: who has seen the file could log in with it.
fn plain_text_cost(text: &str) -> Result<u64, String> {
    let is_of_crypt = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    if text.is_empty() {
        return Err(format!("there is no hash; {SET_ANEW}"));
    }
    if text.len() == DES_CRYPT_LENGTH && text.bytes().all(is_of_crypt) {
        return Err(format!(
            "what follows the name is a DES crypt hash (htpasswd -d), or looks like one; these are not supported; {SET_ANEW}"
        ));
    }
    if text.starts_with(['$', '{']) || text.len() > PASSWORD_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "what follows the name is no hash that is known; {SET_ANEW}"
        ));
    }
    let is_of_bsdi = text.len() == 20
        && text
            .strip_prefix('_')
            .is_some_and(|rest| rest.bytes().all(is_of_crypt));
    let has_lost_its_beginning = text.contains("$v=") || text.contains("$m=");
    if is_of_bsdi || has_lost_its_beginning {
        return Err(format!(
            "what follows the name is a hash that is not supported, or looks like one; {SET_ANEW}"
        ));
    }
    Ok(1)
}

const LABELS: [&str; 27] = [
    "$argon2id$",
    "$2a$",
    "$2b$",
    "$2y$",
    "$5$",
    "$6$",
    "$apr1$",
    "{SHA}",
    "$1$",
    "$2$",
    "$2x$",
    "$7$",
    "$y$",
    "$gy$",
    "$md5$",
    "$sha1$",
    "$argon2i$",
    "$argon2d$",
    "$scrypt$",
    "$pbkdf2$",
    "$pbkdf2-sha256$",
    "$pbkdf2-sha512$",
    "{SSHA}",
    "{SSHA512}",
    "{MD5}",
    "{SMD5}",
    "{CRYPT}",
];

pub(super) const SET_ANEW: &str = "set the password anew with `livy-gateway users add`";

/// Past it no login is checked: a longer password protects nobody better, and hashing it costs the gateway.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;
const BCRYPT_BYTES_MAX: usize = 72;
/// The crypts take longer for a longer password; `htpasswd` takes 255 bytes.
const CRYPT_BYTES_MAX: usize = 256;

const NEW_MEMORY_KIB: u32 = 19 * 1024;
const NEW_PASSES: u32 = 2;

const ARGON2_VERSION: u32 = 19;
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 8;
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// What holds where a hash names no number.
const SHA_CRYPT_ROUNDS: u64 = 5_000;
const SHA_CRYPT_ROUNDS_ACCEPTED: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
// Measured, for passwords of the usual length.
const SHA256_CRYPT_NANOS: u64 = 160;
const SHA512_CRYPT_NANOS: u64 = 330;
const APR1_MICROS: u64 = 200;
const DES_CRYPT_LENGTH: usize = 13;

#[cfg(test)]
mod tests;
