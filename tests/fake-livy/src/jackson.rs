//! JSON as Jackson reads it: any Unicode encoding, the first value only, over-long UTF-8, nothing else lax.

use crate::Version;

/// A JSON value; numbers keep their text, objects keep every member in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Reads the first value of a body. The error is Jackson's message without its place.
pub(crate) fn read(body: &[u8], version: Version) -> Result<Json, String> {
    let (text, broken) = decode(body);
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        ended: false,
        version,
    };
    reader.blanks();
    if reader.peek().is_none() {
        return Err(broken.unwrap_or_else(|| "No content to map due to end-of-input".to_owned()));
    }
    let value = reader.value();
    // Decoding goes along with parsing: bad bytes count only when the parser comes to them.
    value.map_err(|message| {
        let undecoded = broken.filter(|_| reader.ended);
        undecoded.unwrap_or_else(|| reader.placed(&message))
    })
}

/// What Jackson appends to most messages.
pub(crate) fn place(line: usize, column: usize) -> String {
    format!("\n at [Source: (org.eclipse.jetty.server.HttpInputOverHTTP); line: {line}, column: {column}]")
}

struct Reader {
    text: Vec<char>,
    at: usize,
    depth: usize,
    /// Whether more was wanted than there was.
    ended: bool,
    version: Version,
}

impl Reader {
    fn placed(&self, message: &str) -> String {
        let read = &self.text[..self.at.min(self.text.len())];
        let line = read.iter().filter(|c| **c == '\n').count() + 1;
        let column = read.iter().rev().take_while(|c| **c != '\n').count() + 1;
        format!("{message}{}", place(line, column))
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        self.ended = c.is_none();
        c
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Json, String> {
        self.blanks();
        match self.next() {
            Some('{') => self.nested(Self::object),
            Some('[') => self.nested(Self::array),
            Some('"') => Ok(Json::Text(self.string()?)),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(c),
            Some(c) if c.is_ascii_alphabetic() => self.word(c),
            Some(c) => Err(unexpected(
                c,
                "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            )),
            None => Err("Unexpected end-of-input".to_owned()),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, String>) -> Result<Json, String> {
        self.depth += 1;
        // Jackson 2.15 stops here; older ones have no limit, but this process has a stack.
        if self.depth > 1000 {
            return Err("Document nesting depth (1001) exceeds the maximum allowed (1000, from `StreamReadConstraints.getMaxNestingDepth()`)".to_owned());
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Json, String> {
        let start = self.at;
        let end = |_: &Self| {
            format!(
                "Unexpected end-of-input: expected close marker for Object (start marker at [Source: (org.eclipse.jetty.server.HttpInputOverHTTP); line: 1, column: {start}])"
            )
        };
        let mut members = Vec::new();
        self.blanks();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            match self.next() {
                Some('"') => {}
                Some('/') => return Err(unexpected('/', COMMENT)),
                Some(c) => return Err(unexpected(c, "was expecting double-quote to start field name")),
                None => return Err(end(self)),
            }
            let name = self.string()?;
            self.blanks();
            match self.next() {
                Some(':') => {}
                Some(c) => {
                    return Err(unexpected(
                        c,
                        "was expecting a colon to separate field name and value",
                    ));
                }
                None => return Err(end(self)),
            }
            let value = self.value()?;
            members.push((name, value));
            self.blanks();
            match self.next() {
                Some(',') => {}
                Some('}') => return Ok(Json::Object(members)),
                Some(c) => {
                    return Err(unexpected(c, "was expecting comma to separate Object entries"));
                }
                None => return Err(end(self)),
            }
        }
    }

    fn array(&mut self) -> Result<Json, String> {
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.blanks();
            match self.next() {
                Some(',') => {}
                Some(']') => return Ok(Json::Array(items)),
                Some(c) => return Err(unexpected(c, "was expecting comma to separate Array entries")),
                None => return Err("Unexpected end-of-input: expected close marker for Array".to_owned()),
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let mut units: Vec<u16> = Vec::new();
        loop {
            match self.next() {
                Some('"') => return Ok(String::from_utf16_lossy(&units)),
                Some('\\') => units.push(self.escape()?),
                Some(c) if u32::from(c) < 0x20 => {
                    return Err(format!(
                        "Illegal unquoted character ((CTRL-CHAR, code {})): has to be escaped using backslash to be included in string value",
                        u32::from(c)
                    ));
                }
                Some(c) => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
                None => return Err("Unexpected end-of-input in VALUE_STRING".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Result<u16, String> {
        Ok(match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c as u16,
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => 10,
            Some('r') => 13,
            Some('t') => 9,
            Some('u') => {
                let mut value = 0;
                for _ in 0..4 {
                    let digit = self.next().and_then(|c| c.to_digit(16));
                    value = value * 16
                        + digit.ok_or(
                            "Unexpected character: expected a hex-digit for character escape sequence",
                        )?;
                }
                value as u16
            }
            Some(c) => {
                return Err(format!(
                    "Unrecognized character escape '{c}' (code {})",
                    u32::from(c)
                ));
            }
            None => return Err("Unexpected end-of-input in VALUE_STRING".to_owned()),
        })
    }

    fn number(&mut self, first: char) -> Result<Json, String> {
        let mut text = String::from(first);
        while let Some(c) = self
            .peek()
            .filter(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        {
            text.push(c);
            self.at += 1;
        }
        // The grammar of numbers is the same in serde_json: no leading zeros, digits around the dot.
        match serde_json::from_str::<Box<serde_json::value::RawValue>>(&text) {
            Ok(_) => Ok(Json::Number(text)),
            Err(_) => Err(format!("Invalid numeric value: {text}")),
        }
    }

    fn word(&mut self, first: char) -> Result<Json, String> {
        let mut word = String::from(first);
        while let Some(c) = self.peek().filter(char::is_ascii_alphanumeric) {
            word.push(c);
            self.at += 1;
        }
        match word.as_str() {
            "null" => Ok(Json::Null),
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            "NaN" | "Infinity" => {
                let feature = match self.version {
                    Version::V0_7_1 => "JsonParser.Feature.ALLOW_NON_NUMERIC_NUMBERS",
                    Version::V0_9_0 => "`JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS`",
                };
                Err(format!("Non-standard token '{word}': enable {feature} to allow"))
            }
            _ => Err(format!(
                "Unrecognized token '{word}': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
            )),
        }
    }
}

const COMMENT: &str = "maybe a (non-standard) comment? (not recognized as one since Feature 'ALLOW_COMMENTS' not enabled for parser)";

fn unexpected(c: char, wanted: &str) -> String {
    if u32::from(c) < 0x20 {
        return format!(
            "Illegal character ((CTRL-CHAR, code {})): only regular white space (\\r, \\n, \\t) is allowed between tokens",
            u32::from(c)
        );
    }
    format!("Unexpected character ('{c}' (code {})): {wanted}", u32::from(c))
}

/// Finds the encoding by byte order mark or by where the zero bytes are (RFC 4627 §3), as Jackson does.
fn decode(body: &[u8]) -> (Vec<char>, Option<String>) {
    let four = |skip: usize, big: bool| {
        body[skip..]
            .chunks_exact(4)
            .map(|b| {
                let bytes = [b[0], b[1], b[2], b[3]];
                let code = if big {
                    u32::from_be_bytes(bytes)
                } else {
                    u32::from_le_bytes(bytes)
                };
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            })
            .collect()
    };
    let two = |skip: usize, big: bool| {
        let units = body[skip..].chunks_exact(2).map(|b| {
            if big {
                u16::from_be_bytes([b[0], b[1]])
            } else {
                u16::from_le_bytes([b[0], b[1]])
            }
        });
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    let text = match body {
        [0, 0, 0xFE, 0xFF, ..] => four(4, true),
        [0xFF, 0xFE, 0, 0, ..] => four(4, false),
        [0xFE, 0xFF, ..] => two(2, true),
        [0xFF, 0xFE, ..] => two(2, false),
        [0xEF, 0xBB, 0xBF, rest @ ..] => return decode_utf8(rest),
        [0, 0, 0, _, ..] => four(0, true),
        [_, 0, 0, 0, ..] => four(0, false),
        [0, _, ..] => two(0, true),
        [_, 0, ..] => two(0, false),
        _ => return decode_utf8(body),
    };
    (text, None)
}

/// UTF-8 without the checks that Jackson does not make: over-long forms stand for what they spell.
/// Behind the first bytes that are no such thing, nothing is read, and the message says why.
fn decode_utf8(bytes: &[u8]) -> (Vec<char>, Option<String>) {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match decode_one(&bytes[at..]) {
            Ok((character, length)) => {
                out.push(character);
                at += length;
            }
            Err(message) => return (out, Some(format!("{message}{}", place(1, at + 1)))),
        }
    }
    (out, None)
}

fn decode_one(bytes: &[u8]) -> Result<(char, usize), String> {
    let first = u32::from(bytes[0]);
    let (length, start) = match first {
        0x00..=0x7F => (1, first),
        0xC0..=0xDF => (2, first & 0x1F),
        0xE0..=0xEF => (3, first & 0x0F),
        0xF0..=0xF7 => (4, first & 0x07),
        _ => return Err(format!("Invalid UTF-8 start byte 0x{first:x}")),
    };
    let mut code = start;
    for byte in (1..length).map(|offset| bytes.get(offset)) {
        match byte {
            Some(byte) if byte & 0xC0 == 0x80 => code = code << 6 | u32::from(byte & 0x3F),
            Some(byte) => return Err(format!("Invalid UTF-8 middle byte 0x{byte:x}")),
            None => return Err("Unexpected end-of-input".to_owned()),
        }
    }
    Ok((
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
        length,
    ))
}
