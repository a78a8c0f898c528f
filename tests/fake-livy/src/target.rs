//! How a request target is read: by Jetty, which picks the servlet from a decoded and cleaned path, and by
//! Scalatra, which matches its routes on the raw one. That they disagree is the trap this file keeps.

use crate::Version;

/// What is before and after the `?` of a request target, and Jetty's reading of the path.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The path as it came, parameters and escapes included.
    pub(crate) raw_path: String,
    /// What follows the first `?`, up to a `#`.
    pub(crate) query: Option<String>,
    /// Jetty's path: parameters stripped, escapes decoded, dot segments resolved.
    pub(crate) decoded: String,
}

/// Jetty's servlets, in Livy's mapping (`LivyServer.scala`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Servlet {
    Sessions,
    Batches,
    Version,
    Metrics,
    Ui,
    Root,
    Nothing,
}

impl Servlet {
    /// The class that Jetty's error pages name.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Sessions => "org.apache.livy.server.interactive.InteractiveSessionServlet",
            Self::Batches => "org.apache.livy.server.batch.BatchSessionServlet",
            Self::Metrics => "com.codahale.metrics.servlets.AdminServlet",
            Self::Version | Self::Ui | Self::Root | Self::Nothing => "org.scalatra.ScalatraServlet",
        }
    }
}

impl Target {
    /// Reads a target as Jetty does; the error is Jetty's reason for "Bad Message 400".
    pub(crate) fn parse(target: &str, version: Version) -> Result<Self, &'static str> {
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let raw_path = match path.split_once("://") {
            Some((_, rest)) if !path.starts_with('/') => match rest.find('/') {
                Some(at) => rest[at..].to_owned(),
                None => "/".to_owned(),
            },
            Some(_) | None => path.to_owned(),
        };
        if !raw_path.starts_with('/') && raw_path != "*" {
            return Err("Bad URI");
        }
        let decoded = decode_path(&raw_path, version)?;
        Ok(Self {
            raw_path,
            query,
            decoded,
        })
    }

    /// The servlet that Jetty picks, and the length of its path.
    pub(crate) fn servlet(&self) -> (Servlet, usize) {
        let mounts = [
            ("/sessions", Servlet::Sessions),
            ("/batches", Servlet::Batches),
            ("/version", Servlet::Version),
            ("/metrics", Servlet::Metrics),
            ("/ui", Servlet::Ui),
        ];
        for (mount, servlet) in mounts {
            if let Some(rest) = self.decoded.strip_prefix(mount)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return (servlet, mount.len());
            }
        }
        (
            if self.decoded == "/" {
                Servlet::Root
            } else {
                Servlet::Nothing
            },
            0,
        )
    }

    /// What Jetty calls the path info: the decoded path behind the servlet's own.
    pub(crate) fn path_info(&self) -> &str {
        let (_, length) = self.servlet();
        &self.decoded[length..]
    }

    /// The path that Scalatra's routes see, or nothing where Scalatra runs past its end.
    pub(crate) fn route_path(&self, version: Version) -> Option<String> {
        let (_, length) = self.servlet();
        let cut = |path: &str| path.split(';').next().unwrap_or_default().to_owned();
        let behind = |path: String| {
            let rest: String = path.chars().skip(length).collect();
            (path.chars().count() >= length).then_some(if rest.is_empty() { "/".to_owned() } else { rest })
        };
        match version {
            Version::V0_7_1 => behind(first_step(&self.raw_path)).map(|path| cut(&path)),
            Version::V0_9_0 => behind(first_step(&cut(&self.raw_path))),
        }
    }
}

fn decode_path(raw: &str, version: Version) -> Result<String, &'static str> {
    let mut segments: Vec<String> = Vec::new();
    for segment in raw.split('/') {
        let (plain, parameters) = match segment.split_once(';') {
            Some((plain, _)) => (plain, true),
            None => (segment, false),
        };
        let decoded = decode_jetty(plain, version)?;
        if parameters && version == Version::V0_9_0 && (decoded == "." || decoded == "..") {
            return Err("Ambiguous path parameters");
        }
        // An escaped slash makes segments of its own, as Jetty cleans the path after decoding.
        segments.extend(decoded.split('/').map(str::to_owned));
    }
    let mut clean: Vec<String> = Vec::new();
    let last = segments.len().saturating_sub(1);
    for (position, segment) in segments.into_iter().enumerate() {
        match segment.as_str() {
            "." | ".." => {
                if segment == ".." && (clean.len() < 2 || clean.pop().is_none()) {
                    return Err("Bad URI");
                }
                if position == last {
                    clean.push(String::new());
                }
            }
            _ => clean.push(segment),
        }
    }
    Ok(clean.join("/"))
}

fn decode_jetty(text: &str, version: Version) -> Result<String, &'static str> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'u') {
            let code = hex(bytes, at + 2, 4)
                .and_then(char::from_u32)
                .ok_or("Bad Request")?;
            out.extend(code.to_string().bytes());
            at += 6;
        } else {
            let byte = hex(bytes, at + 1, 2).ok_or("Bad Request")?;
            if byte == 0 && version == Version::V0_9_0 {
                return Err("Bad Request");
            }
            out.push(byte as u8);
            at += 3;
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Scalatra's first decoding: everything but `/`, `?` and `#`, which stay escaped; bad escapes stay too.
fn first_step(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at] == b'%').then(|| hex(bytes, at + 1, 2)).flatten() {
            Some(byte) if !b"/?#".contains(&(byte as u8)) => {
                out.push(byte as u8);
                at += 3;
            }
            Some(_) | None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Scalatra's second decoding, of captured values only and in capitals only.
pub(crate) fn second_step(text: &str) -> String {
    text.replace("%2F", "/").replace("%3F", "?").replace("%23", "#")
}

fn hex(bytes: &[u8], from: usize, length: usize) -> Option<u32> {
    let digits = bytes.get(from..from + length)?;
    digits.iter().try_fold(0, |value, digit| {
        Some(value * 16 + char::from(*digit).to_digit(16)?)
    })
}

/// Decodes a query or form as Jetty does: `&` alone separates, `+` is a space, the first `=` ends the name.
/// Nothing where an escape or its UTF-8 is broken.
pub(crate) fn decode_query(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decode_form(name)?, decode_form(value)?));
    }
    Some(pairs)
}

fn decode_form(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                out.push(hex(bytes, at + 1, 2)? as u8);
                at += 3;
            }
            byte => {
                out.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// Java's `Integer.parseInt`: a sign and decimal digits of any script, within 32 bits.
/// The error is the message of its `NumberFormatException`.
pub(crate) fn parse_int(text: &str) -> Result<i32, String> {
    let wrong = || format!("For input string: \"{text}\"");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() {
        return Err(wrong());
    }
    let mut value: i64 = 0;
    for digit in digits.chars() {
        value = value * 10 + i64::from(digit_value(digit).ok_or_else(wrong)?);
        if value > 1 << 31 {
            return Err(wrong());
        }
    }
    i32::try_from(if negative { -value } else { value }).map_err(|_| wrong())
}

/// Java's `Character.isDigit` for a whole string, as Livy asks whether a path names an id.
/// The empty string counts.
pub(crate) fn is_all_digits(text: &str) -> bool {
    text.chars().all(|c| digit_value(c).is_some())
}

fn digit_value(c: char) -> Option<u32> {
    let code = u32::from(c);
    ZEROS
        .iter()
        .find(|zero| (**zero..**zero + 10).contains(&code))
        .map(|zero| code - zero)
}

/// The zeros of Unicode's decimal digits (category Nd) in the basic plane.
const ZEROS: [u32; 37] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50,
    0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];
