//! Livy's filters and its `AccessManager`: who is connected, as whom they act, and what they may see.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use percent_encoding::percent_decode_str;

use crate::Version;
use crate::model::{Auth, Entry, Settings};
use crate::wire::Head;

/// What the authentication filter lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) remote_user: Option<String>,
    /// The cookie that a fresh pseudo login gets.
    pub(crate) set_cookie: Option<String>,
}

/// What the authentication filter stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) status: u16,
    pub(crate) message: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Signs `hadoop.auth` cookies with a key that lives as long as the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signer(RandomState);

impl Signer {
    fn sign(&self, token: &str) -> String {
        format!("{:016x}", self.0.hash_one(token))
    }

    fn user_of(&self, cookie: &str) -> Option<String> {
        let (token, signature) = cookie.trim_matches('"').rsplit_once("&s=")?;
        (self.sign(token) == signature)
            .then(|| token.split('&').find_map(|part| part.strip_prefix("u=")))?
            .map(str::to_owned)
    }
}

/// Livy's authentication filter.
pub(crate) fn login(
    settings: &Settings,
    signer: &Signer,
    head: &Head,
    query: Option<&str>,
) -> Result<Login, Stopped> {
    match &settings.auth {
        Auth::None => Ok(Login::default()),
        Auth::Pseudo => pseudo(settings.version, signer, head, query),
        Auth::Basic { user, password } => basic(user, password, head),
        Auth::Negotiate => Err(Stopped {
            status: 401,
            message: "Authentication required",
            headers: vec![
                ("WWW-Authenticate", "Negotiate".to_owned()),
                ("Set-Cookie", expired(settings.version)),
            ],
        }),
    }
}

fn pseudo(version: Version, signer: &Signer, head: &Head, query: Option<&str>) -> Result<Login, Stopped> {
    let cookies = head
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let known = cookies
        .flat_map(|(_, value)| value.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix("hadoop.auth="))
        .find_map(|cookie| signer.user_of(cookie));
    if known.is_some() {
        return Ok(Login {
            remote_user: known,
            set_cookie: None,
        });
    }
    // The handler reads the query text itself, not the servlet's parameters.
    let named = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("user.name="));
    let user = named.map(|name| {
        percent_decode_str(&name.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    });
    match user.filter(|user| !user.is_empty()) {
        Some(user) => {
            let token = format!("u={user}&p={user}&t=simple&e={EXPIRES}");
            let expires = match version {
                Version::V0_7_1 => "; Expires=Fri, 31-Dec-2049 23:59:59 GMT",
                Version::V0_9_0 => "",
            };
            let cookie = format!(
                "hadoop.auth=\"{token}&s={}\"{expires}; HttpOnly",
                signer.sign(&token)
            );
            Ok(Login {
                remote_user: Some(user),
                set_cookie: Some(cookie),
            })
        }
        None => Err(Stopped {
            status: 401,
            message: "Authentication required",
            headers: vec![
                ("WWW-Authenticate", "PseudoAuth".to_owned()),
                ("Set-Cookie", expired(version)),
            ],
        }),
    }
}

/// The end of 2049 in milliseconds: these cookies end with their server.
const EXPIRES: u64 = 2_524_607_999_000;

fn expired(version: Version) -> String {
    match version {
        Version::V0_7_1 => "hadoop.auth=; Expires=Thu, 01-Jan-1970 00:00:00 GMT; HttpOnly".to_owned(),
        Version::V0_9_0 => "hadoop.auth=; HttpOnly".to_owned(),
    }
}

fn basic(user: &str, password: &str, head: &Head) -> Result<Login, Stopped> {
    let stopped = |status, message| Stopped {
        status,
        message,
        headers: vec![("WWW-Authenticate", "Basic".to_owned())],
    };
    let given = head
        .header("authorization")
        .filter(|value| {
            value
                .get(..6)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "))
        })
        .ok_or_else(|| stopped(401, "Authentication required"))?;
    let pair = decode_base64(given[6..].trim()).ok_or_else(|| stopped(403, "Error validating LDAP user"))?;
    let pair = String::from_utf8_lossy(&pair);
    match pair.split_once(':') {
        Some((given, secret)) if given == user && secret == password => Ok(Login {
            remote_user: Some(user.to_owned()),
            set_cookie: None,
        }),
        Some(_) | None => Err(stopped(403, "Error validating LDAP user")),
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// `AccessManager.checkImpersonation`: whom a session runs as. The error is Livy's message.
///
/// Nobody is refused where nobody is known: without a remote user, everyone is a superuser.
pub(crate) fn impersonated(
    settings: &Settings,
    target: Option<&str>,
    remote: Option<&str>,
) -> Result<Option<String>, String> {
    if !settings.impersonation {
        return Ok(None);
    }
    match target {
        None => Ok(remote.map(str::to_owned)),
        Some(target) if remote.is_none_or(|user| user == target || is_superuser(settings, user)) => {
            Ok(Some(target.to_owned()))
        }
        Some(target) => Err(format!(
            "User '{}' not allowed to impersonate 'Some({target})'.",
            remote.unwrap_or("null")
        )),
    }
}

fn is_superuser(settings: &Settings, user: &str) -> bool {
    settings
        .superusers
        .iter()
        .any(|known| known == user || known == "*")
}

/// Whether an effective user may see a session's log and statements, and change it.
///
/// Livy compares with the proxy user *or the empty string*, so an empty user owns what has none.
pub(crate) fn may_use(settings: &Settings, user: Option<&str>, entry: &Entry) -> bool {
    let Some(user) = user else { return true };
    !settings.access_control
        || entry.owner.as_deref() == Some(user)
        || is_superuser(settings, user)
        || entry.proxy_user.as_deref().unwrap_or_default() == user
}
