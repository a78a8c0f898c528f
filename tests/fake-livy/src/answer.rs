//! The shapes of Livy's answers: JSON of its own, Jetty's error pages, and the headers of each version.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde::Serialize;

use crate::Version;
use crate::target::Servlet;
use crate::wire::Head;

const JSON: &str = "application/json;charset=utf-8";
const HTML: &str = "text/html;charset=utf-8";
const JETTY_7: &str = "Jetty(9.3.24.v20180605)";

/// One answer before it is framed.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Instead of the status's own phrase.
    pub(crate) reason: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    /// Headers that Jetty 9.3 writes behind the framing ones.
    pub(crate) last_headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Whether Content-Length frames the body; else chunks do, or the end of the connection.
    pub(crate) sized: bool,
    /// Whether even a known length is not said.
    pub(crate) hides_length: bool,
    /// One of Jetty's own pages: never compressed, never chunked.
    pub(crate) page: bool,
    /// Whether the security headers are absent, because Jetty answered before any filter.
    pub(crate) bare: bool,
    /// Whether the connection ends with this answer.
    pub(crate) closes: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            reason: None,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            last_headers: Vec::new(),
            body: body.into(),
            sized: true,
            hides_length: false,
            page: false,
            bare: false,
            closes: false,
        }
    }

    /// A JSON body in Livy's own type.
    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("what this crate answers is serializable");
        Self::new(status, JSON, body)
    }

    /// `{"msg": …}`, Livy's usual refusal and some of its successes.
    pub(crate) fn message(status: u16, message: &str) -> Self {
        #[derive(Serialize)]
        struct Message<'a> {
            msg: &'a str,
        }
        Self::json(status, &Message { msg: message })
    }

    /// A bare JSON string: Jackson's messages and the text of unexpected exceptions.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::json(status, &text)
    }

    /// Livy's JSON type with nothing in it.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, JSON, Bytes::new())
    }

    /// What the servlet mapped to `/*` says of an unknown path.
    pub(crate) fn html(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, HTML, body)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Jetty's answer to what it cannot read.
    pub(crate) fn bad_message(status: u16, reason: &str, version: Version) -> Self {
        let mut answer = match version {
            Version::V0_9_0 => Self::new(
                status,
                "text/html;charset=iso-8859-1",
                format!("<h1>Bad Message {status}</h1><pre>reason: {reason}</pre>"),
            ),
            Version::V0_7_1 => Self {
                headers: Vec::new(),
                ..Self::empty(status)
            },
        };
        answer.page = true;
        answer.bare = true;
        answer.closes = true;
        answer
    }

    /// Jetty's error page, as JSON where version and client allow that.
    pub(crate) fn page(status: u16, message: &str, causes: &str, request: Page<'_>) -> Self {
        let Page {
            version,
            path,
            servlet,
            accepts_json,
        } = request;
        let safe = escape(message);
        let (content_type, body) = match version {
            Version::V0_9_0 if accepts_json => (
                "application/json",
                format!(
                    "{{\n\"servlet\":\"{}\",\n\"message\":\"{message}\",\n\"url\":\"{path}\",\n\"status\":\"{status}\"\n}}\n",
                    servlet.class()
                ),
            ),
            Version::V0_9_0 => (
                "text/html;charset=iso-8859-1",
                format!(
                    "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n\
                     <title>Error {status} {safe}</title>\n</head>\n<body><h2>HTTP ERROR {status} {safe}</h2>\n<table>\n\
                     <tr><th>URI:</th><td>{}</td></tr>\n<tr><th>STATUS:</th><td>{status}</td></tr>\n\
                     <tr><th>MESSAGE:</th><td>{safe}</td></tr>\n<tr><th>SERVLET:</th><td>{}</td></tr>\n{causes}\
                     </table>\n\n</body>\n</html>\n",
                    escape(path),
                    servlet.class()
                ),
            ),
            Version::V0_7_1 => (
                "text/html;charset=iso-8859-1",
                format!(
                    "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n\
                     <title>Error {status} </title>\n</head>\n<body>\n<h2>HTTP ERROR: {status}</h2>\n\
                     <p>Problem accessing {}. Reason:\n<pre>    {safe}</pre></p>\n\
                     <hr /><a href=\"http://eclipse.org/jetty\">Powered by Jetty:// 9.3.24.v20180605</a><hr/>\n\
                     </body>\n</html>\n",
                    escape(path)
                ),
            ),
        };
        let mut answer = Self::new(status, content_type, body);
        answer.headers.insert(
            0,
            (
                "Cache-Control".to_owned(),
                "must-revalidate,no-cache,no-store".to_owned(),
            ),
        );
        answer.page = true;
        answer
    }

    /// Adds what each version adds to every answer, compression included.
    pub(crate) fn dressed(mut self, version: Version, head: &Head) -> Self {
        if !self.page {
            self.compress(version, head);
        }
        match version {
            Version::V0_9_0 => {
                self.sized = self.sized && (self.page || self.body.len() <= 32 * 1024);
                if !self.bare {
                    self.headers.splice(
                        0..0,
                        SECURITY.map(|(name, value)| (name.to_owned(), value.to_owned())),
                    );
                }
            }
            Version::V0_7_1 => {
                self.sized = self.page;
                self.last_headers.push(("Server".to_owned(), JETTY_7.to_owned()));
            }
        }
        self
    }

    /// Livy's filter for answers: any mention of gzip or deflate counts, `q=0` too, and 0.9 does not label
    /// what it made of an empty body.
    fn compress(&mut self, version: Version, head: &Head) {
        let accepted = head
            .header("accept-encoding")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let coding = if accepted.contains("gzip") {
            "gzip"
        } else if accepted.contains("deflate") && version == Version::V0_9_0 {
            "deflate"
        } else {
            return;
        };
        if self.status == 204 {
            return;
        }
        let labeled = !self.body.is_empty() || version == Version::V0_7_1;
        self.body = pack(&self.body, coding).into();
        if labeled {
            self.headers
                .push(("Content-Encoding".to_owned(), coding.to_owned()));
            self.sized = false;
        }
    }
}

/// What Jetty's error pages tell about the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) version: Version,
    pub(crate) path: &'a str,
    pub(crate) servlet: Servlet,
    pub(crate) accepts_json: bool,
}

/// The headers that Livy 0.9 adds to every answer (LIVY-785).
const SECURITY: [(&str, &str); 4] = [
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-XSS-Protection", "1; mode=block"),
    (
        "Content-Security-Policy",
        "default-src 'self'; script-src 'self' 'unsafe-inline'; img-src 'self'; frame-src 'self';",
    ),
    ("X-Content-Type-Options", "nosniff"),
];

fn pack(body: &[u8], coding: &str) -> Vec<u8> {
    let packed = if coding == "gzip" {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).and_then(|()| encoder.finish())
    } else {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).and_then(|()| encoder.finish())
    };
    packed.expect("writing into memory succeeds")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&apos;")
}
