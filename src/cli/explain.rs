//! `explain`: the path of one request, told instead of gone.
//!
//! It calls the same functions as the gateway does, in the same order, so that it cannot say anything else.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::{ArgGroup, Args};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Uri};

use super::password;
use crate::access;
use crate::authn::personal::PREFIX;
use crate::authn::{Source, Subject, TokenUse};
use crate::body_policy;
use crate::config::{self, Loaded};
use crate::denial::Denial;
use crate::identity::{Acting, Matched, Principal};
use crate::livy::operation::BodyKind;
use crate::livy::route::{Call, Routed, route};
use crate::livy::target::Target;
use crate::livy::{Inquiry, Topic};
use crate::policy::Policy;
use crate::rewrite::{self, Payload, Trail};

mod certificate;
mod login;
mod means;
mod token;

/// `explain`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).args(["user", "jwt", "basic", "certificate"]))]
pub(super) struct Explain {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// As if this user had logged in: a name of the users file (or basic:NAME), ldap:NAME, certificate:NAME, jwt:ENTRY:NAME for one with a
    /// token, or token:NAME for one with a personal token
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// As if the user had this group too; may be repeated
    #[arg(long, value_name = "GROUP", requires = "user")]
    group: Vec<String>,
    /// With this user name and a password, which is asked for, or read from standard input, and checked
    #[arg(long, value_name = "NAME")]
    basic: Option<String>,
    /// With this token
    #[arg(long, value_name = "TOKEN")]
    jwt: Option<String>,
    /// With this client certificate, in PEM, its authorities after it if they are needed
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// A file with the request's JSON body
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The method, such as GET
    #[arg(value_name = "METHOD")]
    method: String,
    /// The path and query as the client sends them, such as /livy/sessions/7
    #[arg(value_name = "TARGET")]
    target: String,
}

/// Why the story ends early.
enum End {
    /// The gateway would answer with this.
    Refused(Denial),
    /// The gateway would answer itself, and well.
    Answered,
    /// It cannot be told.
    Unknown(anyhow::Error),
}

impl From<Denial> for End {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        Self::Unknown(error)
    }
}

impl Explain {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let loaded = config::read(&self.config, 0)?;
        let mut story = String::new();
        let end = self.tell(&loaded, &mut story);
        super::print(&story)?;
        match end {
            Ok(()) | Err(End::Answered) => Ok(()),
            Err(End::Unknown(error)) => Err(error),
            Err(End::Refused(denial)) => {
                let answer = denial.answer();
                let code = answer.code;
                super::print(&format!(
                    "refused    {} {code}: {}\n",
                    answer.status.as_u16(),
                    answer.message
                ))?;
                bail!("the gateway would refuse this request; docs/denials.md explains {code}")
            }
        }
    }

    fn tell(&self, loaded: &Loaded, story: &mut String) -> Result<(), End> {
        let policy = loaded.policy();
        let head = self.head()?;
        let target = self.target(loaded, &head)?;
        step(
            story,
            "target",
            format_args!("{} below the base path {:?}", target.path(), target.base()),
        );

        let call = match route(&head.method, &target)? {
            Routed::Call(call) => call,
            Routed::Inquiry(inquiry) => return self.tell_inquiry(loaded, &inquiry, story),
            Routed::Options { allow } => {
                step(
                    story,
                    "answer",
                    format_args!("the gateway answers OPTIONS itself: Allow: {allow}"),
                );
                return Err(End::Answered);
            }
        };
        step(
            story,
            "operation",
            format_args!(
                "{}: {} {}",
                call.operation.label(),
                call.method.as_str(),
                call.operation
            ),
        );

        let (principal, acting) = self.who(loaded, call.requested_user.as_deref(), story)?;
        let grant = access::authorize(Arc::clone(&principal), acting, call.operation.clone());
        let (grant, payload) = self.payload(loaded, &call, &principal, grant, story)?;
        means::tell_role(story, policy, &principal);
        means::tell_limit(story, policy, &principal, &grant);
        means::tell_quota(story, policy, &principal, &grant);
        let trail = Trail {
            request_id: &HeaderValue::from_static("made-for-each-request"),
            traceparent: None,
        };
        let outbound = rewrite::outbound(
            &policy.livy.endpoint,
            &grant,
            call.method,
            &call.page,
            payload,
            trail,
        )?;
        let (head, payload) = outbound.into_parts();
        step(
            story,
            "Livy gets",
            format_args!("{} {}", head.method(), head.uri()),
        );
        for (name, value) in head.headers() {
            let value = if value.is_sensitive() {
                "(secret)".into()
            } else {
                String::from_utf8_lossy(value.as_bytes())
            };
            step(story, "", format_args!("{name}: {value}"));
        }
        match payload {
            Payload::Empty => {}
            Payload::Json(body) => step(story, "", format_args!("{}", String::from_utf8_lossy(&body))),
            Payload::Upload(_) => step(story, "", format_args!("(the file)")),
        }
        Ok(())
    }

    fn tell_inquiry(&self, loaded: &Loaded, inquiry: &Inquiry, story: &mut String) -> Result<(), End> {
        step(
            story,
            "operation",
            format_args!("{}: a question about the gateway itself", inquiry.topic.label()),
        );
        let (principal, acting) = self.who(loaded, inquiry.requested_user.as_deref(), story)?;
        let of_whom = match inquiry.topic {
            Topic::Me => format!("what {} is, holds and may hold", acting.livy_user()),
            Topic::AllSessions => {
                let role = access::authorize_overview(&principal, &acting, &loaded.policy().roles)?;
                format!(
                    "everybody's sessions and batches, as the role {} sees them",
                    role.word()
                )
            }
        };
        step(
            story,
            "answer",
            format_args!("the gateway answers itself: {of_whom}"),
        );
        Ok(())
    }

    /// Who it is, and as whom Livy would act.
    fn who(
        &self,
        loaded: &Loaded,
        asked: Option<&str>,
        story: &mut String,
    ) -> Result<(Arc<Principal>, Acting), End> {
        let policy = loaded.policy();
        let subject = Arc::new(self.subject(policy, story)?);
        step(story, "who", format_args!("{subject}"));

        let principal = self.principal(loaded, &subject, story)?;
        let groups: Vec<&str> = principal.groups().iter().map(AsRef::as_ref).collect();
        let groups = if groups.is_empty() {
            "none".to_owned()
        } else {
            groups.join(", ")
        };
        step(story, "groups", format_args!("{groups}"));
        let acting = policy
            .identities
            .acting(&principal, self.from, asked.as_slice())?;
        tell_acting(story, &acting, "the query", asked);
        Ok((principal, acting))
    }

    fn head(&self) -> anyhow::Result<Parts> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| anyhow!("{:?} is no method", self.method))?;
        let uri: Uri = self.target.parse().map_err(|_| {
            anyhow!(
                "{:?} is no request target; the gateway would answer 400",
                self.target
            )
        })?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        Ok(request.into_parts().0)
    }

    /// Read by the first listener that knows the path; if none does, by the first.
    fn target<'a>(&self, loaded: &'a Loaded, head: &'a Parts) -> Result<Target<'a>, Denial> {
        let mut readings = loaded
            .policy()
            .listeners
            .iter()
            .map(|listener| Target::normalize(head, &listener.base_paths));
        let first = readings.next().unwrap_or(Err(Denial::Internal));
        first.or_else(|denial| readings.find_map(Result::ok).ok_or(denial))
    }

    fn subject(&self, policy: &Policy, story: &mut String) -> Result<Subject, End> {
        if let Some(file) = &self.certificate {
            return certificate::subject(policy, file, story);
        }
        let authn = &policy.authn;
        let wish = match self.method.as_str() {
            "GET" | "HEAD" => TokenUse::Read,
            _ => TokenUse::Write,
        };
        if let Some(user) = &self.basic {
            return login::password(policy, user, &password::read_once(user)?, wish, story);
        }
        let Some(token) = &self.jwt else {
            return Ok(self.supposed(policy, story)?);
        };
        if token.starts_with(PREFIX) {
            return login::personal_token(authn, None, token, story);
        }
        token::subject(policy, |now| authn.verify_token(token, now, wish), story)
    }

    /// Who it would be after a login that succeeded.
    fn supposed(&self, policy: &Policy, story: &mut String) -> anyhow::Result<Subject> {
        let authn = &policy.authn;
        let user = self.user.as_deref().unwrap_or("");
        let mut groups: Vec<Arc<str>> = self.group.iter().map(|group| group.as_str().into()).collect();
        if let Some((entry, name)) = user.strip_prefix("jwt:").and_then(|rest| rest.split_once(':')) {
            let issuer = authn
                .issuer(entry)
                .with_context(|| format!("there is no [[jwt]] entry named {entry}"))?;
            step(
                story,
                "login",
                format_args!("a real token may bring groups; here they are those of --group"),
            );
            return Ok(Subject::proven(Source::Jwt(issuer.name().into()), name, groups));
        }
        if let Some(name) = user.strip_prefix("ldap:") {
            let found = login::in_directory(authn, name, story)?;
            let (name, of) = match &found {
                Some(subject) => (subject.name(), subject.groups()),
                None => (name, &[][..]),
            };
            groups.extend(of.iter().cloned());
            return Ok(Subject::proven(Source::Ldap, name, groups));
        }
        if let Some(name) = user.strip_prefix("token:") {
            return login::supposed_token(authn, name, story);
        }
        if let Some(name) = user.strip_prefix("certificate:") {
            certificate::is_asked_for(policy)?;
            return Ok(Subject::proven(Source::Certificate, name, groups));
        }
        let name = user.strip_prefix("basic:").unwrap_or(user);
        let users = authn.users.as_ref().context(
            "there is no [basic]; say the source: --user ldap:NAME, jwt:ENTRY:NAME, token:NAME or certificate:NAME",
        )?;
        match users.get(name) {
            Some(entry) => groups.extend(entry.groups().iter().cloned()),
            None if authn.ldap.is_some() => step(
                story,
                "login",
                format_args!(
                    "{name} is not in the users file: a real login would be put to the directory; use --user ldap:{name}"
                ),
            ),
            None => step(
                story,
                "login",
                format_args!("{name} is not in the users file: a real login would be refused"),
            ),
        }
        Ok(Subject::proven(Source::Basic, name, groups))
    }

    fn principal(
        &self,
        loaded: &Loaded,
        subject: &Arc<Subject>,
        story: &mut String,
    ) -> Result<Arc<Principal>, Denial> {
        let identities = &loaded.policy().identities;
        let (matched, passed_over) = identities.explain(subject);
        for (index, why) in passed_over.into_iter().enumerate() {
            let line = loaded.map_rule_line(index).unwrap_or(0);
            step(
                story,
                "not mapped",
                format_args!("by [[identity.map]] in line {line}: {why}"),
            );
        }
        let why = match matched {
            Matched::Rule(index) => {
                let line = loaded.map_rule_line(index).unwrap_or(0);
                format!("[[identity.map]] in line {line} of {}", self.config.display())
            }
            Matched::SameName if *subject.source() == Source::Token => {
                "a personal token names its Livy user itself".to_owned()
            }
            Matched::SameName => "the same name, since no [[identity.map]] is written".to_owned(),
            Matched::Nothing => "no [[identity.map]] matches".to_owned(),
        };
        let principal = identities.resolve(subject);
        match &principal {
            Ok(principal) => step(
                story,
                "mapped",
                format_args!("to the Livy user {}: {why}", principal.livy_user()),
            ),
            Err(_) if matched == Matched::Nothing => step(story, "mapped", format_args!("to nobody: {why}")),
            Err(_) => step(
                story,
                "mapped",
                format_args!(
                    "to nobody: {why} gives no legal Livy user, or a reserved one that is not written out"
                ),
            ),
        }
        principal.map(Arc::new)
    }

    fn payload(
        &self,
        loaded: &Loaded,
        call: &Call,
        principal: &Principal,
        grant: access::Grant,
        story: &mut String,
    ) -> Result<(access::Grant, Payload), End> {
        let policy = loaded.policy();
        let body = match &self.body {
            Some(path) => {
                fs::read(path).with_context(|| format!("the body {} cannot be read", path.display()))?
            }
            None => Vec::new(),
        };
        let kind = match call.operation.body() {
            BodyKind::Empty => {
                body_policy::check_empty(&body)?;
                return Ok((grant, Payload::Empty));
            }
            BodyKind::Upload(resource) => {
                let what = format!(
                    "one file of at most {} bytes in the multipart field {:?}",
                    policy.requests.max_upload,
                    resource.field()
                );
                step(
                    story,
                    "body",
                    format_args!("{what}; uploads are judged while they stream, not here"),
                );
                return Ok((
                    grant,
                    Payload::Upload(HeaderValue::from_static("multipart/form-data")),
                ));
            }
            BodyKind::Json(kind) => kind,
        };
        if self.body.is_none() {
            step(
                story,
                "body",
                format_args!("none is given, so none is judged; name one with --body FILE"),
            );
            return Ok((
                grant,
                Payload::Json(Bytes::from_static(b"(the body, once it is accepted)")),
            ));
        }
        if body.len() > policy.requests.max_body {
            let limit = u64::try_from(policy.requests.max_body).unwrap_or(u64::MAX);
            return Err(Denial::BodyTooLarge { limit }.into());
        }
        let mut checked = body_policy::check(&body, kind, &policy.requests.extra_fields)?;
        step(story, "body", format_args!("well-formed"));
        let in_body = checked.requested_user();
        let all: Vec<&str> = call
            .requested_user
            .as_deref()
            .into_iter()
            .chain(in_body)
            .collect();
        let acting = policy.identities.acting(principal, self.from, &all)?;
        tell_acting(story, &acting, "the body", in_body);
        let grant = grant.acting_as(acting);
        let written = checked.object().to_string();
        checked.apply_rules(&policy.requests.rules, &grant.who())?;
        let outcome = if written == checked.object().to_string() {
            "kept"
        } else {
            "kept; [requests] fills in what Livy gets, see below"
        };
        step(story, "rules", format_args!("{outcome}"));
        let rendered = checked.render(policy.livy.endpoint.proxy_user(grant.livy_user()), None);
        Ok((grant, Payload::Json(Bytes::from(rendered))))
    }
}

fn tell_acting(story: &mut String, acting: &Acting, place: &str, asked: Option<&str>) {
    let user = acting.livy_user();
    match (asked, acting.is_on_behalf()) {
        (None, _) => {}
        (Some(_), true) => step(
            story,
            "as whom",
            format_args!("{user}, whom {place} names: an [[identity.delegate]] allows it"),
        ),
        (Some(_), false) => step(story, "as whom", format_args!("{user}, whom {place} names too")),
    }
}

fn step(story: &mut String, name: &str, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(story, "{name:<10} {what}");
}
