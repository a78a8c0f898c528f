//! What stands before the file: the boundary in the Content-Type, and the head of the one part.

use http::HeaderValue;

use crate::denial::{Denial, quotable};
use crate::livy::media_type::{Parameterized, is_token};
use crate::livy::operation::Resource;

/// The longest file name, in bytes: what HDFS and most file systems take.
const FILE_NAME_BYTES_MAX: usize = 255;

/// The head of a part that was found good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartHead {
    /// A base name: letters, digits, `.`, `_`, `-`, and it begins with none of the last two.
    pub(super) file_name: String,
}

impl PartHead {
    /// Reads everything up to the empty line that ends the head, the first boundary included.
    pub(super) fn parse(head: &[u8], delimiter: &[u8], resource: Resource) -> Result<Self, Denial> {
        // The line end before the first boundary may be missing, or be the whole preamble.
        let boundary = delimiter.strip_prefix(b"\r\n").unwrap_or(delimiter);
        let after = head
            .strip_prefix(delimiter)
            .or_else(|| head.strip_prefix(boundary))
            .ok_or_else(|| {
                invalid("The upload does not begin with the boundary that its Content-Type names.".to_owned())
            })?;
        let lines = after
            .strip_prefix(b"\r\n")
            .ok_or_else(|| invalid("The upload's first boundary is not followed by a part.".to_owned()))?;
        let lines = std::str::from_utf8(lines)
            .ok()
            .filter(|lines| lines.is_ascii())
            .ok_or_else(|| {
                invalid(format!(
                    "The head of the upload's part has other characters than ASCII. {RENAME}"
                ))
            })?;
        let mut file_name = None;
        let mut seen: Vec<String> = Vec::new();
        for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = header(line)?;
            match name.as_str() {
                "content-disposition" => file_name = Some(safe_file_name(value, resource)?),
                "content-type" => check_content_type(value)?,
                "content-transfer-encoding" => check_transfer_encoding(value)?,
                // Some clients add it; the boundary tells the end all the same.
                "content-length" => {}
                _ => {
                    return Err(invalid(format!(
                        "The upload's part has a header '{}' that does not belong there.",
                        quotable(&name)
                    )));
                }
            }
            if seen.contains(&name) {
                return Err(invalid(format!(
                    "The upload's part has '{}' twice.",
                    quotable(&name)
                )));
            }
            seen.push(name);
        }
        file_name.map(|file_name| Self { file_name }).ok_or_else(|| {
            invalid(format!(
                "The upload's part has no Content-Disposition. {}",
                how(resource)
            ))
        })
    }
}

/// The client's boundary.
pub(super) fn boundary_of(content_type: Option<&HeaderValue>, resource: Resource) -> Result<String, Denial> {
    let unsupported = |problem: &str| {
        Err(Denial::UnsupportedBody(
            format!(
                "An upload is one file as multipart/form-data{problem}. {}",
                how(resource)
            )
            .into(),
        ))
    };
    let Some(value) = content_type else {
        return unsupported(", and this one has no Content-Type");
    };
    let Ok(parsed) = Parameterized::parse(value.to_str().unwrap_or("")) else {
        return unsupported(", and this one's Content-Type cannot be read");
    };
    if parsed.value != "multipart/form-data" {
        return unsupported("");
    }
    if let Some(charset) = parsed.parameter("charset") {
        // It would steer how names are read; they are ASCII, which these have in common.
        let charset = charset.to_ascii_lowercase();
        if !matches!(charset.as_str(), "utf-8" | "us-ascii" | "iso-8859-1") {
            return unsupported(", and this one's Content-Type has a charset that is not taken");
        }
    }
    if parsed.names().any(|name| !matches!(name, "boundary" | "charset")) {
        return unsupported(", and this one's Content-Type has other parameters than a boundary");
    }
    match parsed.parameter("boundary") {
        Some(boundary) if is_boundary(boundary) => Ok(boundary.to_owned()),
        Some(_) => unsupported(", and this one's boundary is not as RFC 2046 has it"),
        None => unsupported(", and this one's Content-Type names no boundary"),
    }
}

// RFC 2046 §5.1.1: 1 to 70 of these, the last no space.
fn is_boundary(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    (1..=70).contains(&text.len()) && text.bytes().all(is_good) && !text.ends_with(' ')
}

fn header(line: &str) -> Result<(String, &str), Denial> {
    let is_text = line
        .bytes()
        .all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    line.split_once(':')
        .filter(|(name, _)| is_text && !name.is_empty() && name.bytes().all(is_token))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .ok_or_else(|| invalid("The head of the upload's part has a malformed line.".to_owned()))
}

fn safe_file_name(disposition: &str, resource: Resource) -> Result<String, Denial> {
    let parsed = Parameterized::parse(disposition)
        .map_err(|problem| invalid(format!("The Content-Disposition of the upload's part {problem}.")))?;
    let field = parsed.parameter("name").unwrap_or_default();
    if parsed.names().any(|name| name == "filename*") {
        return Err(invalid(format!(
            "The upload's file name is sent as 'filename*'. {RENAME}"
        )));
    }
    let has_others = parsed.names().any(|name| !matches!(name, "name" | "filename"));
    if parsed.value != "form-data" || has_others {
        return Err(invalid(format!(
            "The Content-Disposition of the upload's part is not a form's file. {}",
            how(resource)
        )));
    }
    let Some(file_name) = parsed.parameter("filename") else {
        return Err(invalid(format!(
            "The upload's part '{}' is a text field; an upload is one file and nothing else. {}",
            quotable(field),
            how(resource)
        )));
    };
    if field != resource.field() {
        return Err(invalid(format!(
            "The upload's file is in the field '{}'; here Livy looks for it in '{}'. {}",
            quotable(field),
            resource.field(),
            how(resource)
        )));
    }
    if file_name.contains(['/', '\\']) {
        return Err(invalid(
            "The upload's file name has a path. Send the base name only, as curl -F does by itself."
                .to_owned(),
        ));
    }
    let begins_well = file_name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    let goes_on_well = file_name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !(begins_well && goes_on_well && file_name.len() <= FILE_NAME_BYTES_MAX) {
        return Err(invalid(format!(
            "The upload's file name '{}' is not taken. {RENAME}",
            quotable(file_name)
        )));
    }
    Ok(file_name.to_owned())
}

// Livy gets application/octet-stream whatever it says; but a part of parts is no file.
fn check_content_type(value: &str) -> Result<(), Denial> {
    let is_multipart = value.trim_start().to_ascii_lowercase().starts_with("multipart/");
    if is_multipart {
        return Err(invalid(
            "The upload's part has parts of its own. Send one file.".to_owned(),
        ));
    }
    Ok(())
}

// RFC 7578 §4.7 deprecates it. These three mean "as it is"; Livy's Java client sends the first.
fn check_transfer_encoding(value: &str) -> Result<(), Denial> {
    match value.trim().to_ascii_lowercase().as_str() {
        "binary" | "8bit" | "7bit" => Ok(()),
        _ => Err(invalid(
            "The upload's part has a Content-Transfer-Encoding. Send the file as it is.".to_owned(),
        )),
    }
}

fn how(resource: Resource) -> String {
    format!("With curl: -F '{}=@name'.", resource.field())
}

fn invalid(message: String) -> Denial {
    Denial::InvalidBody(message.into())
}

const RENAME: &str = "Name the file with letters, digits, '.', '_' and '-' only, beginning with a letter, a digit or '_', at most 255.";
