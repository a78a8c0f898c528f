//! Where a file of a creation lies: which addresses Hadoop and Spark read in one way only.
//!
//! Livy itself checks the exact scheme `file` and nothing else: `local:`, `FILE:` and `http:` pass it unread.

use std::borrow::Cow;

/// Whether an alias may follow, as in `hdfs:///env.tar.gz#env`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alias {
    /// For files and archives, which Spark unpacks under that name.
    Allowed,
    /// For everything else.
    Refused,
}

/// Checks one location: an absolute path on the default file system, or `scheme:/path` or `scheme://host/path` with
/// one of `schemes` (in lower case). The error says what is wrong, as the end of a sentence.
pub fn check<S: AsRef<str>>(text: &str, schemes: &[S], alias: Alias) -> Result<(), Cow<'static, str>> {
    if text.len() > BYTES_MAX {
        return Err(format!("it is longer than {BYTES_MAX} bytes").into());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\' || c == '?') {
        return Err("it has a blank, a control character, a backslash or a question mark".into());
    }
    let place = match text.split_once('#') {
        None => text,
        Some((place, name)) if alias == Alias::Allowed && is_alias(name) => place,
        Some(_) if alias == Alias::Allowed => {
            return Err("what follows '#' must be one plain name".into());
        }
        Some(_) => return Err("it has a '#', which only files and archives may have".into()),
    };
    let path = match scheme_of(place) {
        None => place,
        Some((scheme, rest)) => {
            let scheme = scheme.to_ascii_lowercase();
            if !schemes.iter().any(|known| known.as_ref() == scheme) {
                return Err(unknown_scheme(schemes));
            }
            match rest.strip_prefix("//") {
                None => rest,
                Some(rest) => {
                    let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
                    check_host(&scheme, host)?;
                    rest.get(host.len()..).unwrap_or("")
                }
            }
        }
    };
    check_path(path)
}

/// A location as it may be shown: without the user and password that stand before its host.
pub fn shown(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Cow::Borrowed(text);
    };
    let host_end = rest.find('/').unwrap_or(rest.len());
    match rest.get(..host_end).and_then(|host| host.rsplit_once('@')) {
        Some((user, _)) if user.contains(':') => {
            Cow::Owned(format!("{scheme}://***{}", rest.get(user.len()..).unwrap_or("")))
        }
        Some(_) | None => Cow::Borrowed(text),
    }
}

fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    // A colon behind the first slash is part of a path.
    (!scheme.contains('/')).then_some((scheme, rest))
}

fn unknown_scheme<S: AsRef<str>>(schemes: &[S]) -> Cow<'static, str> {
    let known: Vec<_> = schemes.iter().map(AsRef::as_ref).collect();
    if known.is_empty() {
        return "only absolute paths on the cluster's default file system are taken".into();
    }
    format!(
        "files are taken from {}, or as absolute paths on the cluster's default file system",
        known.join(", ")
    )
    .into()
}

// Azure writes container@account where others write user:password@host.
fn check_host(scheme: &str, host: &str) -> Result<(), Cow<'static, str>> {
    let is_azure = matches!(scheme, "wasb" | "wasbs" | "abfs" | "abfss");
    let host = match host.split_once('@') {
        Some((container, account)) if is_azure && container.bytes().all(is_container_byte) => account,
        Some(_) => return Err("it has a user name or password in it".into()),
        None => host,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.bytes().all(fits) {
        return Ok(());
    }
    Err("its host has a character that no host has".into())
}

fn check_path(path: &str) -> Result<(), Cow<'static, str>> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Err("it is no absolute path".into());
    }
    for segment in path.split('/') {
        if matches!(segment, "." | "..") {
            return Err("it has a '.' or '..' for a segment".into());
        }
    }
    let mut rest = path;
    while let Some((_, escaped)) = rest.split_once('%') {
        let byte = escaped.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        // Read once or twice, it must be the same path.
        if byte.is_none_or(|byte| byte.is_ascii_control() || b"%./\\#?;,:".contains(&byte)) {
            return Err("it has a percent escape that could be read in two ways".into());
        }
        rest = escaped;
    }
    Ok(())
}

fn is_alias(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(fits)
}

const fn is_container_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$')
}

/// HDFS takes no longer path.
const BYTES_MAX: usize = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [&str; 4] = ["hdfs", "s3a", "wasb", "abfss"];

    #[test]
    fn the_clusters_file_systems_are_taken() {
        for text in [
            "wasb:///example/jars/SparkSimpleTest.jar",
            "wasb://data@account.blob.core.windows.net/x.jar",
            "abfss://fs@account.dfs.core.windows.net/x/y.py",
            "hdfs://namenode:8020/a.jar",
            "HDFS:///a.jar",
            "hdfs:/a.jar",
            "s3a://my.bucket_1/a-b_c.jar",
            "/user/alice/x%20y.py",
            "/a:b/c",
            "hdfs:///libs/*.jar",
        ] {
            assert_eq!(check(text, &SCHEMES, Alias::Refused), Ok(()), "{text}");
        }
    }

    #[test]
    fn other_file_systems_and_ambiguous_paths_are_refused() {
        for text in [
            "",
            "a.jar",
            "./a.jar",
            "file:///etc/passwd",
            "FILE:/etc/passwd",
            "local:///x",
            "LoCaL:/x",
            "http://evil/x.jar",
            "ftp://evil/x",
            "hdfsx:///a",
            "hdfs",
            "hdfs:",
            "hdfs:a.jar",
            "hdfs://",
            "hdfs://host",
            "://x/y",
            ":/x",
            "//evil/a.jar",
            "/../etc/passwd",
            "hdfs:///a/../../b",
            "hdfs:///a/./b",
            "/a/%2e%2E/b",
            "/a/.%2e/b",
            "/a%2fb",
            "/a%252e",
            "/a%",
            "/a%zz",
            "/a%00",
            "hdfs:///a b",
            "hdfs:///a?x=1",
            "hdfs:////a",
            "/a\\b",
            "/a\n",
            "s3a://KEY:SECRET@bucket/x",
            "hdfs://bob@host/x",
            "wasb://a:b@account/x",
            "wasb://a@b@account/x",
            "hdfs://ho,st/x",
            "hdfs:///a#b",
        ] {
            assert!(check(text, &SCHEMES, Alias::Refused).is_err(), "{text}");
        }
        assert!(check(&format!("/{}", "x".repeat(8_000)), &SCHEMES, Alias::Refused).is_err());
    }

    #[test]
    fn an_alias_is_one_plain_name() {
        assert_eq!(check("hdfs:///env.tar.gz#env", &SCHEMES, Alias::Allowed), Ok(()));
        for text in ["/a#", "/a#..", "/a#b/c", "/a#b#c", "/a#.hidden", "/a#/etc", "#x"] {
            assert!(check(text, &SCHEMES, Alias::Allowed).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_location_is_not_shown() {
        assert_eq!(shown("s3a://KEY:SECRET@bucket/x"), "s3a://***@bucket/x");
        assert_eq!(shown("s3a://KEY:SEC@RET@bucket"), "s3a://***@bucket");
        assert_eq!(shown("wasb://data@account/x"), "wasb://data@account/x");
        assert_eq!(shown("/a"), "/a");
    }
}
