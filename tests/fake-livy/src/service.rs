//! From a request that was read to Livy's answer: filters, method override, routing, servlets.

use bytes::Bytes;
use serde::Serialize;

use crate::access::{self, Signer};
use crate::answer::{Answer, Page};
use crate::model::{Kind, Model};
use crate::params::{BadParams, Params};
use crate::routing::{Routed, route};
use crate::target::{Servlet, Target};
use crate::wire::Head;
use crate::{Version, servlets};

/// What a fault changes about the handling of one request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Twist {
    /// Refuse the creation, keep what it registered.
    pub(crate) ghost: bool,
    /// Take impersonation for switched off.
    pub(crate) no_impersonation: bool,
    /// Only begin the deletion: the session shows as `shutting_down`.
    pub(crate) begin_delete: bool,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) effective_method: String,
    pub(crate) operation: Option<&'static str>,
    pub(crate) remote_user: Option<String>,
    pub(crate) effective_user: Option<String>,
}

/// Handles one request whose body is read.
pub(crate) fn handle(model: &mut Model, signer: &Signer, head: &Head, body: &[u8], twist: Twist) -> Outcome {
    let version = model.settings.version;
    let mut outcome = Outcome {
        answer: Answer::empty(404),
        effective_method: head.method.to_ascii_uppercase(),
        operation: None,
        remote_user: None,
        effective_user: None,
    };
    outcome.answer = match Target::parse(&head.target, version) {
        Ok(target) => filtered(
            model,
            signer,
            &Exchange {
                head,
                body,
                target: &target,
                twist,
            },
            &mut outcome,
        ),
        Err(reason) => Answer::bad_message(400, reason, version),
    };
    let mut answer = std::mem::replace(&mut outcome.answer, Answer::empty(404)).dressed(version, head);
    answer.hides_length = answer.hides_length || (head.method.eq_ignore_ascii_case("HEAD") && !answer.sized);
    outcome.answer = answer;
    outcome
}

/// One request on its way through the filters.
pub(crate) struct Exchange<'a> {
    pub(crate) head: &'a Head,
    pub(crate) body: &'a [u8],
    pub(crate) target: &'a Target,
    pub(crate) twist: Twist,
}

impl Exchange<'_> {
    /// Jetty's error page for this request.
    pub(crate) fn page(&self, version: Version, status: u16, message: &str, causes: &str) -> Answer {
        let accepts_json = self
            .head
            .header("accept")
            .is_some_and(|accept| accept.contains("application/json"));
        let (servlet, _) = self.target.servlet();
        Answer::page(
            status,
            message,
            causes,
            Page {
                version,
                path: &self.target.raw_path,
                servlet,
                accepts_json,
            },
        )
    }
}

fn filtered(model: &mut Model, signer: &Signer, exchange: &Exchange<'_>, outcome: &mut Outcome) -> Answer {
    let settings = model.settings.clone();
    let version = settings.version;
    let login = match access::login(&settings, signer, exchange.head, exchange.target.query.as_deref()) {
        Ok(login) => login,
        Err(stopped) => {
            let mut answer = exchange.page(version, stopped.status, stopped.message, "");
            let headers = stopped
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            answer.headers.splice(0..0, headers);
            return answer;
        }
    };
    outcome.remote_user.clone_from(&login.remote_user);
    // The filter compares the method as sent, in exact case, before any override.
    let reads = matches!(exchange.head.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    let mut answer = if settings.csrf_protection && !reads && exchange.head.header("x-requested-by").is_none()
    {
        exchange.page(version, 400, "Missing Required Header for CSRF protection.", "")
    } else {
        mounted(model, exchange, outcome)
    };
    if let Some(cookie) = login.set_cookie {
        answer.headers.insert(0, ("Set-Cookie".to_owned(), cookie));
    }
    answer
}

fn mounted(model: &mut Model, exchange: &Exchange<'_>, outcome: &mut Outcome) -> Answer {
    let version = model.settings.version;
    let Exchange { head, target, .. } = exchange;
    match target.servlet().0 {
        Servlet::Sessions => scalatra(model, Kind::Session, exchange, outcome),
        Servlet::Batches => scalatra(model, Kind::Batch, exchange, outcome),
        Servlet::Version => {
            outcome.operation = Some("version");
            Answer::json(200, &BuildInfo::of(version))
        }
        Servlet::Metrics => metrics(target.path_info()),
        Servlet::Ui => Answer::html(
            200,
            "<!DOCTYPE html>\n<html><head><title>Livy</title></head><body></body></html>\n",
        ),
        Servlet::Root => {
            let location = format!("http://{}/ui", head.header("host").unwrap_or_default());
            let mut answer = Answer::html(302, Bytes::new());
            answer.headers.insert(0, ("Location".to_owned(), location));
            answer
        }
        Servlet::Nothing => Answer::html(404, Bytes::new()),
    }
}

fn scalatra(model: &mut Model, kind: Kind, exchange: &Exchange<'_>, outcome: &mut Outcome) -> Answer {
    let version = model.settings.version;
    let Exchange {
        head, body, target, ..
    } = exchange;
    let sent = head.method.to_ascii_uppercase();
    let params = match Params::collect(target.query.as_deref(), head, &sent, body) {
        Ok(params) => params,
        Err(BadParams::Query) => {
            return Answer::html(
                500,
                "org.eclipse.jetty.http.BadMessageException: 400: Unable to parse URI query",
            );
        }
        Err(BadParams::Multipart) => {
            return exchange.page(
                version,
                500,
                "java.io.IOException: Missing initial multi part boundary",
                "",
            );
        }
        Err(BadParams::FormTooLarge) => {
            return exchange.page(version, 400, "Unable to parse form content", "");
        }
    };
    outcome.effective_method = overridden(version, &sent, &params, head);
    if let Some(message) = unknown_api_version(head) {
        return Answer::message(406, &message);
    }
    let Some(path) = target.route_path(version) else {
        return exchange.page(version, 500, "java.lang.StringIndexOutOfBoundsException", "");
    };
    let found = match route(kind, &outcome.effective_method, &path) {
        Routed::To(found) => found,
        Routed::Method(allowed) => return Answer::empty(405).with("Allow", allowed),
        Routed::Unknown => return Answer::empty(404),
    };
    outcome.operation = Some(found.action.label(kind));
    let bytes = if params.body_eaten {
        Bytes::new()
    } else {
        decoded_body(version, head, body)
    };
    servlets::run(
        model,
        kind,
        &found,
        &servlets::Call {
            exchange,
            params: &params,
            body: &bytes,
        },
        outcome,
    )
}

/// Scalatra's `MethodOverride`: a POST becomes what a parameter says, else what a header says.
fn overridden(version: Version, sent: &str, params: &Params, head: &Head) -> String {
    if sent != "POST" {
        return sent.to_owned();
    }
    let headers = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"];
    let said = params
        .scalatra("_method", version)
        .or_else(|| headers.iter().find_map(|name| head.header(name)));
    said.map_or_else(|| sent.to_owned(), str::to_ascii_uppercase)
}

/// Livy knows one version of its API, 0.1; asking for none is asking for that.
fn unknown_api_version(head: &Head) -> Option<String> {
    let accept = head.header("accept")?;
    let wanted = accept
        .strip_prefix("application/vnd.livy.v")?
        .split_once("+json")?
        .0;
    (wanted != "0.1").then(|| format!("No value found for '{wanted}'"))
}

/// 0.8 and later undo gzip and deflate; every other coding is taken for none.
fn decoded_body(version: Version, head: &Head, body: &[u8]) -> Bytes {
    use std::io::Read as _;
    let coding = head
        .header("content-encoding")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut out = Vec::new();
    let undone = match (version, coding.as_str()) {
        (Version::V0_9_0, "gzip") => flate2::read::MultiGzDecoder::new(body).read_to_end(&mut out),
        (Version::V0_9_0, "deflate") => flate2::read::ZlibDecoder::new(body).read_to_end(&mut out),
        _ => return Bytes::copy_from_slice(body),
    };
    // What is no gzip reaches Jackson as far as it could be read, and fails there.
    drop(undone);
    Bytes::from(out)
}

#[derive(Debug, Serialize)]
struct BuildInfo {
    url: &'static str,
    branch: &'static str,
    revision: &'static str,
    version: &'static str,
    date: &'static str,
    user: &'static str,
}

impl BuildInfo {
    const fn of(version: Version) -> Self {
        let (branch, revision, version, date) = match version {
            Version::V0_7_1 => (
                "branch-0.7",
                "972b600d72629884140aec315ea925858eb67884",
                "0.7.1-incubating",
                "2021-02-04T05:14:46Z",
            ),
            Version::V0_9_0 => (
                "HEAD",
                "7215f209b25b96488189567807eaded00953a492",
                "0.9.0-incubating",
                "2026-11-21T09:18:33Z",
            ),
        };
        Self {
            url: "simulated",
            branch,
            revision,
            version,
            date,
            user: "simulated",
        }
    }
}

/// Dropwizard's admin servlet: nothing here is meant for tenants.
fn metrics(path: &str) -> Answer {
    let uncached = |mut answer: Answer| {
        answer.headers.insert(
            0,
            (
                "Cache-Control".to_owned(),
                "must-revalidate,no-cache,no-store".to_owned(),
            ),
        );
        answer
    };
    let page = path.split('/').nth(1).unwrap_or_default();
    match page {
        "" => Answer::html(
            200,
            "<!DOCTYPE HTML>\n<html><head><title>Metrics</title></head><body><h1>Operational Menu</h1></body></html>\n",
        ),
        "ping" => uncached(Answer::new(200, "text/plain;charset=iso-8859-1", "pong\n")),
        "healthcheck" => uncached(Answer::new(501, "application/json", "{}")),
        "metrics" => uncached(Answer::new(
            200,
            "application/json",
            "{\"version\":\"4.0.0\",\"gauges\":{},\"counters\":{},\"histograms\":{},\"meters\":{},\"timers\":{}}",
        )),
        "threads" => uncached(Answer::new(
            200,
            "text/plain",
            "\"main\" id=1 state=WAITING\n    at java.lang.Object.wait(Native Method)\n",
        )),
        _ => Answer::html(404, Bytes::new()),
    }
}
