//! A value with parameters: `multipart/form-data; boundary=x`, `form-data; name="jar"; filename="x.jar"`.

/// The common shape of Content-Type (RFC 9110 §8.3.1) and Content-Disposition (RFC 6266 §4.1, RFC 7578 §4.2).
///
/// Quoted values end at the next quotation mark and backslashes stay as they are, since browsers write file names
/// so. Whoever uses a value must therefore accept a known alphabet only, one without backslashes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameterized {
    /// What stands before the parameters, in lower case.
    pub(crate) value: String,
    parameters: Vec<(String, String)>,
}

impl Parameterized {
    /// Reads a header's value, or says what is wrong with it, as the end of a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text
            .chars()
            .all(|c| c == '\t' || c.is_ascii_graphic() || c == ' ')
        {
            return Err("has bytes other than printable ASCII");
        }
        let (value, mut rest) = text.split_once(';').unwrap_or((text, ""));
        let value = value.trim_matches(is_blank).to_ascii_lowercase();
        if value.is_empty() || !value.bytes().all(|byte| is_token(byte) || byte == b'/') {
            return Err("is malformed");
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            // RFC 9110 §5.6.6 allows empty parameters, and some clients end the line with a semicolon.
            rest = rest.trim_start_matches(|c| is_blank(c) || c == ';');
            if rest.is_empty() {
                return Ok(Self { value, parameters });
            }
            let (name, after) = rest.split_once('=').ok_or("has a parameter without a value")?;
            let name = name.to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err("has a malformed parameter");
            }
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err("has a parameter twice");
            }
            let parameter;
            (parameter, rest) = match after.strip_prefix('"') {
                Some(quoted) => {
                    let (value, rest) = quoted
                        .split_once('"')
                        .ok_or("has a quotation mark that is not closed")?;
                    let rest = rest.trim_start_matches(is_blank);
                    if !rest.is_empty() && !rest.starts_with(';') {
                        return Err("has a malformed parameter");
                    }
                    (value, rest)
                }
                None => {
                    let (value, rest) = after.split_once(';').unwrap_or((after, ""));
                    let value = value.trim_end_matches(is_blank);
                    if value.is_empty() || value.contains(|c| is_blank(c) || c == '"') {
                        return Err("has a malformed parameter");
                    }
                    (value, rest)
                }
            };
            parameters.push((name, parameter.to_owned()));
        }
    }

    /// A parameter by its name in lower case.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The names of its parameters, in lower case.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }
}

/// RFC 9110 §5.6.2.
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

const fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_the_value_are_compared_without_case_and_quotes_are_taken_off() {
        let parsed = Parameterized::parse("Multipart/Form-Data ;\tBOUNDARY=\"a; b\" ; x=Y ;").unwrap();
        assert_eq!(parsed.value, "multipart/form-data");
        assert_eq!(parsed.parameter("boundary"), Some("a; b"));
        assert_eq!(parsed.parameter("x"), Some("Y"));
        assert_eq!(parsed.names().collect::<Vec<_>>(), ["boundary", "x"]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            ";",
            "a b",
            "a, b",
            "a;x",
            "a;=1",
            "a;x=",
            "a;x=1 2",
            "a;x=\"1",
            "a;x=\"1\"2",
            "a;x=1;X=2",
            "a;x =1",
            "a;x=1\"",
            "a;x=\"1\"y=2",
            "a;é=1",
            "a\n;x=1",
            "a\u{7f}",
        ] {
            assert!(Parameterized::parse(text).is_err(), "{text:?}");
        }
    }
}
