//! Numbers, sizes and times as Spark and Livy read them in a creation.
//!
//! What they would refuse, or take for "unlimited", is none here: nobody can compare it with a limit.

use std::time::Duration;

/// A whole number, as Spark takes counts of cores and executors.
pub fn count(text: &str) -> Option<u64> {
    let digits = text.trim();
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten()
}

/// A size in bytes: a whole number and a unit of 1024 (`512m`, `16g`, `1GB`); case is nothing. Without a unit it
/// counts as `unitless` bytes, which differs from setting to setting. Source: `JavaUtils.byteStringAs` of Spark 3.5.
pub fn size(text: &str, unitless: u64) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&lower)?;
    let factor = match unit {
        "" => unitless,
        "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => MIB << 10,
        "t" | "tb" | "tib" => MIB << 20,
        "p" | "pb" | "pib" => MIB << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A time: a whole number and `us`, `ms`, `s`, `m`, `min`, `h` or `d`; milliseconds without a unit; case is nothing.
/// Source: `ClientConf.getTimeAsMs` of Livy 0.9.
pub fn time(text: &str) -> Option<Duration> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = split(&lower)?;
    let seconds_each = match unit {
        "us" => return Some(Duration::from_micros(number)),
        "" | "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds_each).map(Duration::from_secs)
}

/// A time as Livy reads it back, in seconds where they are whole.
pub fn livy_time(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}

/// The unit of a size in which most of Spark's memory settings count.
pub const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

// A bound that Java's `long` keeps too.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number = number.parse::<i64>().ok()?;
    Some((number.unsigned_abs(), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_spark_reads_them() {
        for (text, bytes) in [
            ("512m", 512 * MIB),
            ("16G", 16 << 30),
            (" 1gb ", 1 << 30),
            ("2048", 2048 * MIB),
            ("1k", 1024),
            ("7b", 7),
            ("1t", 1 << 40),
        ] {
            assert_eq!(size(text, MIB), Some(bytes), "{text}");
        }
        for text in [
            "",
            "g",
            "-1",
            "-1g",
            "1.5g",
            "1 g",
            "0x10",
            "infinity",
            "1gg",
            "99999999999p",
            "99999999999999999999",
            "\u{664}g",
        ] {
            assert_eq!(size(text, MIB), None, "{text}");
        }
    }

    #[test]
    fn counts_are_digits_alone() {
        assert_eq!(count(" 20 "), Some(20));
        for text in ["", "-1", "+1", "2.0", "1e3", "infinity", "\u{662}"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_as_livy_reads_them() {
        for (text, millis) in [
            ("10", 10),
            ("10ms", 10),
            ("5S", 5_000),
            ("2m", 120_000),
            ("2min", 120_000),
            ("1h", 3_600_000),
            ("999999d", 86_399_913_600_000),
            ("2000us", 2),
        ] {
            assert_eq!(time(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "1.5h", "forever", "1w", "99999999999999999999d"] {
            assert_eq!(time(text), None, "{text}");
        }
        for text in ["43200s", "1500ms", "0s"] {
            assert_eq!(livy_time(time(text).unwrap()), text);
        }
    }
}
