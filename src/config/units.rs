//! Durations and sizes as people write them, always with their unit, and back.
//!
//! A bare number is refused: whoever reads `30` cannot know whether it means seconds or milliseconds.

use std::time::Duration;

/// Reads `"500ms"`, `"30s"`, `"10m"`, `"12h"`, `"1d"`; the error says what is wrong.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let factor = scale(unit, DURATIONS, "ms, s, m, h or d")?;
    let millis = number.checked_mul(factor).ok_or_else(|| too_large(text))?;
    Ok(Duration::from_millis(millis))
}

/// Reads `"512 KiB"`, `"16 MiB"`, `"1 GiB"`, `"2 TiB"` and their decimal sisters, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let factor = scale(unit, SIZES, "B, KiB, MiB, GiB or TiB")?;
    number.checked_mul(factor).ok_or_else(|| too_large(text))
}

/// Writes a duration in the largest unit that needs no fraction.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = largest(millis, DURATIONS).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / factor)
}

/// Writes a size in the largest binary unit that needs no fraction.
pub(super) fn show_size(bytes: u64) -> String {
    let binary = SIZES.get(..BINARY_SIZES).unwrap_or(SIZES);
    let (unit, factor) = largest(bytes, binary).unwrap_or(("B", 1));
    format!("{} {unit}", bytes / factor)
}

/// The number in front and the unit behind it.
fn split(text: &str) -> Result<(u64, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let unit = unit.trim_start();
    if number.is_empty() {
        return Err(format!("{text:?} does not begin with a whole number"));
    }
    if unit.is_empty() {
        return Err(format!("{text:?} has no unit"));
    }
    Ok((whole(number)?, unit))
}

fn whole(number: &str) -> Result<u64, String> {
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{number:?} is not a whole number"));
    }
    number.parse().map_err(|_| too_large(number))
}

fn scale(unit: &str, units: &[(&str, u64)], known: &str) -> Result<u64, String> {
    let found = units.iter().find(|(name, _)| *name == unit);
    found
        .map(|(_, factor)| *factor)
        .ok_or_else(|| format!("{unit:?} is no unit here; there are {known}"))
}

/// The first unit that divides `amount`, of a list with the largest first.
fn largest(amount: u64, units: &'static [(&'static str, u64)]) -> Option<(&'static str, u64)> {
    units
        .iter()
        .find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor))
        .copied()
}

fn too_large(text: &str) -> String {
    format!("{text:?} is too large")
}

/// In milliseconds, largest first.
const DURATIONS: &[(&str, u64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
/// In bytes; the binary ones come first, largest first.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];
const BINARY_SIZES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back_alike() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("12h", 43_200_000),
            ("1d", 86_400_000),
        ] {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(show_duration(read), text);
        }
        assert_eq!(duration("30 s"), Ok(Duration::from_secs(30)));
        assert_eq!(show_duration(Duration::ZERO), "0ms");
    }

    #[test]
    fn sizes_are_read_and_written_back_alike() {
        for (text, bytes) in [
            ("1 B", 1),
            ("512 KiB", 512 << 10),
            ("16 MiB", 16 << 20),
            ("2 GiB", 2 << 30),
            ("3 TiB", 3 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size("2 MB"), Ok(2_000_000));
    }

    #[test]
    fn what_has_no_unit_or_a_strange_one_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "3 weeks",
            "30S",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["16", "16 mib", "16 M", "-1 B", "18446744073709551615 GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
