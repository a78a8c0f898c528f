//! Edits a tokens file: makes personal tokens, and revokes them.
//!
//! What a line may be is decided by [`PersonalTokens`]; what other lines say is not touched, comments included.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::authn::personal::NewToken;
use crate::authn::{PersonalTokens, UsersProblem};
use crate::safe_edit::{EditError, at, edit, joined};

/// Why a tokens file could not be edited or listed.
#[derive(Debug, thiserror::Error)]
pub enum TokensFileError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] EditError),
    /// Such a token cannot be made.
    #[error("{0}")]
    Token(String),
    /// The file does not load; every problem.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    File(Vec<UsersProblem>),
}

/// Which tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one with this id.
    Id(&'a str),
    /// All of this user's.
    Of(&'a str),
}

/// Makes a token and adds its line. A file that is not there is created, for its owner alone.
pub fn add(
    path: &Path,
    user: &str,
    label: &str,
    now_wall: Duration,
    lifetime: Duration,
) -> Result<NewToken, TokensFileError> {
    let token = NewToken::make(user, label, now_wall, lifetime).map_err(TokensFileError::Token)?;
    edit(path, |text| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.push(&token.line);
        Ok::<_, TokensFileError>(((), Some(joined(&lines))))
    })?;
    Ok(token)
}

/// Takes tokens out, and gives back their ids; if there are none, nothing is written.
pub fn revoke(path: &Path, which: Which<'_>) -> Result<Vec<String>, TokensFileError> {
    edit(path, |text| {
        let mut revoked = Vec::new();
        let mut kept = Vec::new();
        for line in text.lines() {
            match revoked_by(line, which) {
                Some(id) => revoked.push(id.to_owned()),
                None => kept.push(line),
            }
        }
        let changed = (!revoked.is_empty()).then(|| joined(&kept));
        Ok((revoked, changed))
    })
}

/// The file's tokens, if it loads.
pub fn list(path: &Path) -> Result<PersonalTokens, TokensFileError> {
    let text = fs::read_to_string(path).map_err(at(path))?;
    PersonalTokens::parse(&text).map_err(TokensFileError::File)
}

fn revoked_by<'a>(line: &'a str, which: Which<'_>) -> Option<&'a str> {
    let mut fields = line.split(' ');
    let (id, user) = (fields.next()?, fields.nth(1)?);
    let is_meant = match which {
        Which::Id(meant) => id == meant,
        Which::Of(meant) => user == meant,
    };
    (is_meant && !line.starts_with('#')).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn tokens_are_added_listed_and_revoked_and_everything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let made = |user| add(&path, user, "etl", NOW, DAY).unwrap();
        let first = made("alice");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, format!("# x y alice\n\n{}\n", first.line)).unwrap();
        let (second, third, fourth) = (made("bob"), made("alice"), made("al"));
        assert_eq!(list(&path).unwrap().len(), 4);

        assert_eq!(
            revoke(&path, Which::Id(&second.id)).unwrap(),
            [second.id.as_str()]
        );
        assert_eq!(revoke(&path, Which::Id(&second.id)).unwrap(), [""; 0]);
        assert_eq!(
            revoke(&path, Which::Of("alice")).unwrap(),
            [first.id.as_str(), &third.id]
        );
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("# x y alice\n\n{}\n", fourth.line)
        );
    }

    #[test]
    fn a_token_that_would_not_load_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        for (user, label) in [("hdfs", "x"), ("a b", "x"), ("alice", ""), ("alice", "a\nb")] {
            let refused = add(&path, user, label, NOW, DAY).unwrap_err();
            assert!(matches!(refused, TokensFileError::Token(_)), "{refused}");
        }
        assert!(!path.exists());
        fs::write(&path, "damaged\n").unwrap();
        assert!(list(&path).unwrap_err().to_string().starts_with("line 1: "));
    }
}
