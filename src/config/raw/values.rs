//! What one value of the file can be, each with the words for what it cannot be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::problem::nearest;
use crate::config::reader::{Reader, Written, Wrong};
use crate::config::units;
use crate::identity::LivyUser;

/// A time within bounds, with a default.
pub(super) fn timeout(
    table: &Reader<'_>,
    key: &str,
    default: Duration,
    longest: Duration,
) -> Written<Duration> {
    table.parsed_or(key, default, |text| {
        let example = format!(
            "write a time from 100ms to {}, such as \"{}\"",
            units::show_duration(longest),
            units::show_duration(default)
        );
        let time = units::duration(text).map_err(|what| Wrong::new(what, example.as_str()))?;
        if time < SHORTEST_TIMEOUT || time > longest {
            return Err(Wrong::new(format!("{text:?} is out of range"), example));
        }
        Ok(time)
    })
}

/// A size within bounds, with a default.
pub(super) fn size(table: &Reader<'_>, key: &str, default: u64, largest: u64) -> Written<u64> {
    table.parsed_or(key, default, |text| {
        let example = format!(
            "write a size from 1 KiB to {}, such as \"{}\"",
            units::show_size(largest),
            units::show_size(default)
        );
        let size = units::size(text).map_err(|what| Wrong::new(what, example.as_str()))?;
        if size < SMALLEST_SIZE || size > largest {
            return Err(Wrong::new(format!("{text:?} is out of range"), example));
        }
        Ok(size)
    })
}

/// One of several words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words = || choices.iter().map(|(word, _)| *word);
    let instead = match nearest(text, words()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!(
            "write one of {}",
            words()
                .map(|word| format!("{word:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    Err(Wrong::new(format!("{text:?} is not possible here"), instead))
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        Wrong::new(
            format!("{text:?} is no address with a port"),
            "write an IP address and a port, such as \"127.0.0.1:8443\", \"0.0.0.0:8443\" or \"[::]:8443\"",
        )
    })
}

pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::new("the path is empty", "write the path of a file"));
    }
    if text.starts_with("file:") || text.starts_with("env:") {
        return Err(Wrong::new(
            format!("{text:?} is a reference to a secret, not a path"),
            "write the path alone, without \"file:\"",
        ));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn not_empty(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() {
        return Err(Wrong::new("the text is empty", "write at least one character"));
    }
    if text.chars().any(char::is_control) {
        return Err(Wrong::new(
            "the text has a control character",
            "write printable characters only",
        ));
    }
    Ok(text.to_owned())
}

/// A name that Livy may be told as the user.
pub(super) fn livy_user(text: &str) -> Result<String, Wrong> {
    if LivyUser::is_legal(text) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{text:?} can be no Livy user"),
        "write the name that Livy is told: up to 128 letters, digits and . _ @ -",
    ))
}

/// A realm is written between quotes in a header (RFC 9110 §11.5).
pub(super) fn realm(text: &str) -> Result<String, Wrong> {
    let fits = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && byte != b'"' && byte != b'\\';
    if text.is_empty() || !text.bytes().all(fits) {
        return Err(Wrong::new(
            format!("{text:?} cannot stand in a header"),
            "write printable ASCII without quotes and backslashes, such as \"livy\"",
        ));
    }
    Ok(text.to_owned())
}

/// The name is used in rules (`jwt:corp`), logs and metric labels.
pub(super) fn issuer_name(text: &str) -> Result<String, Wrong> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if text.is_empty() || text.len() > 32 || !text.bytes().all(fits) {
        return Err(Wrong::new(
            format!("{text:?} cannot name an issuer"),
            "write up to 32 of a-z, 0-9, - and _, such as \"corp\"",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn claim_path(text: &str) -> Result<String, Wrong> {
    if text.split('.').any(str::is_empty) {
        return Err(Wrong::new(
            format!("{text:?} names no claim"),
            "write a claim's name, or a.b.c for one inside others",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn field_name(text: &str) -> Result<String, Wrong> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.is_empty() || !text.bytes().all(fits) {
        return Err(Wrong::new(
            format!("{text:?} is no key of a creation"),
            "write the key's bare name, such as \"ttl\"",
        ));
    }
    // Who a session runs as is decided by the gateway alone; that key it always knows.
    if text.eq_ignore_ascii_case("proxyUser") || text.eq_ignore_ascii_case("doAs") {
        return Err(Wrong::new(
            format!("{text:?} says for whom Livy acts, which the gateway alone decides"),
            "remove it",
        ));
    }
    Ok(text.to_owned())
}

/// The scheme of a file's address (RFC 3986 §3.1), in lower case.
pub(super) fn scheme(text: &str) -> Result<String, Wrong> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic());
    if !starts_well || !text.bytes().all(fits) {
        return Err(Wrong::new(
            format!("{text:?} is no scheme"),
            "write the scheme alone, without \"://\", such as \"hdfs\"",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
/// In bytes.
const SMALLEST_SIZE: u64 = 1 << 10;
