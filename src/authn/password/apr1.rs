//! `$apr1$`: what Apache's `htpasswd -m` writes. A thousand rounds of MD5 over password and salt.

use aws_lc_rs::constant_time;
use md5::{Digest, Md5};

/// Whether `stored` has the form of such a hash: a salt of 1 to 8 characters, and 22 of output.
pub(super) fn is_whole(stored: &str) -> bool {
    parts(stored).is_some_and(|(salt, output)| {
        (1..=8).contains(&salt.len())
            && output.len() == 22
            && [salt, output].iter().all(|part| part.bytes().all(is_of_alphabet))
    })
}

/// Whether it is the hash of `password`.
pub(super) fn verify(password: &[u8], stored: &str) -> bool {
    parts(stored).is_some_and(|(salt, output)| {
        let made = hash(password, salt.as_bytes());
        constant_time::verify_slices_are_equal(&made, output.as_bytes()).is_ok()
    })
}

fn parts(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(PREFIX)?.split_once('$')
}

fn is_of_alphabet(byte: u8) -> bool {
    ALPHABET.contains(&byte)
}

fn hash(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut state: [u8; 16] = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize()
        .into();
    let mut first = Md5::new()
        .chain_update(password)
        .chain_update(PREFIX)
        .chain_update(salt);
    for piece in password.chunks(state.len()) {
        first.update(state.get(..piece.len()).unwrap_or(&state));
    }
    let mut bits = password.len();
    while bits > 0 {
        // For each bit of the length: a zero byte, or the password's first one.
        let piece = if bits & 1 == 1 {
            Some(&[0][..])
        } else {
            password.get(..1)
        };
        first.update(piece.unwrap_or_default());
        bits >>= 1;
    }
    state = first.finalize().into();
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        let (before, after): (&[u8], &[u8]) = if round % 2 == 1 {
            (password, &state)
        } else {
            (&state, password)
        };
        next.update(before);
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(after);
        state = next.finalize().into();
    }
    encode(state)
}

/// Six bits a character, lowest first, of the bytes in an order of its own.
fn encode(state: [u8; 16]) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = state;
    let triples = [(a, g, m), (b, h, n), (c, i, o), (d, j, p), (e, k, f)];
    let four = triples.map(|(high, middle, low)| (u32::from_be_bytes([0, high, middle, low]), 4));
    let mut text = Vec::with_capacity(22);
    for (mut bits, length) in four.into_iter().chain([(u32::from(l), 2)]) {
        for _ in 0..length {
            let at = usize::try_from(bits & 0x3f).unwrap_or_default();
            text.extend(ALPHABET.get(at));
            bits >>= 6;
        }
    }
    text
}

const PREFIX: &str = "$apr1$";
const ROUNDS: u32 = 1000;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Apache's htpasswd 2.4: passwords shorter and longer than a block of MD5, and beyond ASCII.
    const MADE_BY_APACHE: &[(&str, &str)] = &[
        ("a", "$apr1$Frz.xBr2$dh7nnlEH7ALsqtx1XgPHR/"),
        ("secret", "$apr1$kv9QP7CP$Hk5s910FQNegclZVnc7Ro1"),
        ("0123456789abcdef", "$apr1$Pu2LZJHy$ylWzc398fRqacPebUx1cX/"),
        (
            "a longer one than sixteen bytes",
            "$apr1$oApcpgEc$tILpdNZN6sgMy1xU4nkpy/",
        ),
        ("pässwörd", "$apr1$yY4RvDX8$Yr43dhEpLxdKpXqyO4B4r."),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "$apr1$lNZ9l6Yy$d6Nd7JQLXAWtlPM9SihOn0",
        ),
    ];

    #[test]
    fn what_apache_made_verifies_with_its_own_password_alone() {
        for (password, stored) in MADE_BY_APACHE {
            assert!(is_whole(stored), "{stored}");
            assert!(verify(password.as_bytes(), stored), "{password}");
            assert!(!verify(format!("{password}x").as_bytes(), stored), "{password}");
            assert!(!verify(b"", stored), "{password}");
        }
    }

    #[test]
    fn a_damaged_hash_has_not_the_form() {
        let (_, good) = MADE_BY_APACHE[0];
        for damaged in [
            good.get(..good.len() - 1).unwrap(),
            &format!("{good}x"),
            &good.replacen("$apr1$", "$apr1$$", 1),
            &good.replacen("$apr1$", "$apr1$toolong89", 1),
            &good.replace('.', "é"),
            "$apr1$",
            "$apr1$salt",
        ] {
            assert!(damaged == good || !is_whole(damaged), "{damaged}");
        }
    }
}
