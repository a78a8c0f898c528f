//! Distinguished names (RFC 4514), as far as two of them must be compared and one be named by its first part.

/// A name taken apart, the leaf first. Each part is its type and its value, unescaped; both fold case, as directories
/// do for the attributes that names are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dn(Vec<Part>);

#[derive(Debug, Clone)]
struct Part {
    attribute: String,
    /// As written.
    value: String,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.attribute == other.attribute && folded(&self.value) == folded(&other.value)
    }
}

impl Eq for Part {}

impl Dn {
    /// None for what is no such name, is empty, or has a form that no directory writes any more (values in quotes or
    /// in hexadecimal, several values in one part).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Option<Vec<Part>> = split(text)?.iter().map(|part| Part::parse(part)).collect();
        parts.filter(|parts| !parts.is_empty()).map(Self)
    }

    /// Whether it lies somewhere below `base`.
    pub(super) fn is_below(&self, base: &Self) -> bool {
        self.0.len() > base.0.len() && self.0.ends_with(&base.0)
    }

    /// The value of its own part: `analysts` of `cn=analysts,ou=groups,dc=example,dc=org`.
    pub(super) fn own_name(&self) -> &str {
        self.0.first().map_or("", |part| &part.value)
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let (attribute, value) = text.split_once('=')?;
        let attribute = attribute.trim_matches(' ');
        let in_attribute = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if attribute.is_empty() || !attribute.bytes().all(in_attribute) {
            return None;
        }
        Some(Self {
            attribute: attribute.to_ascii_lowercase(),
            value: unescaped(value)?,
        })
    }
}

/// At each comma that no backslash precedes.
fn split(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut is_escaped = false;
    for letter in text.chars() {
        if letter == ',' && !is_escaped {
            parts.push(String::new());
            continue;
        }
        is_escaped = letter == '\\' && !is_escaped;
        parts.last_mut()?.push(letter);
    }
    Some(parts)
}

fn unescaped(value: &str) -> Option<String> {
    // Blanks around a value are none of it, unless the last is escaped.
    let value = value.trim_start_matches(' ');
    let trimmed = value.trim_end_matches(' ');
    let value = if trimmed.ends_with('\\') && !trimmed.ends_with("\\\\") && trimmed.len() < value.len() {
        value.get(..=trimmed.len())?
    } else {
        trimmed
    };
    if value.is_empty() || value.starts_with(['"', '#']) {
        return None;
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => {
                let first = rest.next()?;
                match char::from(first).to_digit(16) {
                    Some(high) => {
                        let low = char::from(rest.next()?).to_digit(16)?;
                        bytes.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None => bytes.push(first),
                }
            }
            b'+' | b'"' | b';' | b'<' | b'>' => return None,
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn folded(value: &str) -> String {
    value
        .split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn a_name_is_read_as_directories_write_it() {
        for (text, own) in [
            ("cn=analysts,ou=groups,dc=example,dc=org", "analysts"),
            ("CN=Data Analysts, OU=Groups, DC=example, DC=org", "Data Analysts"),
            (r"cn=o'hara\, x,ou=groups", "o'hara, x"),
            (r"cn=o\27hara\2C x,ou=groups", "o'hara, x"),
            (r"cn=a\\,ou=groups", "a\\"),
            (r"cn=ends with a blank\ ,ou=groups", "ends with a blank "),
            (r"cn=\C3\A4pfel,ou=groups", "äpfel"),
            ("2.5.4.3=analysts", "analysts"),
        ] {
            assert_eq!(dn(text).own_name(), own, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_or_could_be_read_in_two_ways_is_none() {
        for text in [
            "",
            "analysts",
            "cn=",
            "=analysts",
            "cn=a,",
            ",cn=a",
            "cn=a,,dc=b",
            "cn=a+uid=b,dc=c",
            r#"cn="a, b",dc=c"#,
            "cn=#04024869",
            r"cn=a\",
            r"cn=a\4",
            r"cn=\ff,dc=c",
            "c n=a",
            "cn=a;dc=b",
        ] {
            assert_eq!(Dn::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn below_means_in_the_tree_and_not_in_the_text() {
        let base = dn("ou=groups,dc=example,dc=org");
        for below in [
            "cn=a,ou=groups,dc=example,dc=org",
            "cn=a,OU=Groups, DC=Example,DC=ORG",
            "cn=a,ou=inner,ou=groups,dc=example,dc=org",
        ] {
            assert!(dn(below).is_below(&base), "{below}");
        }
        for elsewhere in [
            "ou=groups,dc=example,dc=org",
            "cn=admins,ou=people,dc=example,dc=org",
            "cn=a,ou=my groups,dc=example,dc=org",
            r"cn=a\,ou=groups,dc=example,dc=org",
            "cn=a,ou=groups,dc=example,dc=org,dc=evil",
        ] {
            assert!(!dn(elsewhere).is_below(&base), "{elsewhere}");
        }
    }
}
