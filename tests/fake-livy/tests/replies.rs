//! Holds the simulated Livy to the replies recorded from real servers (`replies/README.md`): every exchange
//! is sent again, in order, byte for byte, and status, headers and body are compared.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use fake_livy::{Auth, FakeLivy, Progress, Version};
use serde::Deserialize;
use serde_json::Value;

/// What is known to differ. Each entry must in fact differ, so that the list cannot outlive its reasons.
const NOT_REPRODUCED: [(Version, &str, &str); 1] = [(
    Version::V0_9_0,
    "list, bob as alice",
    "the page carries a Java stack trace of 150 lines; title, table and first cause are the same",
)];

#[derive(Debug, Deserialize)]
struct Exchange {
    server: String,
    why: String,
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
    status: u16,
    reply_headers: Vec<(String, String)>,
    reply_body: String,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[tokio::test]
async fn livy_0_7_1_answers_as_it_was_recorded() {
    replay(Version::V0_7_1, "livy-0.7.1.jsonl").await;
}

#[tokio::test]
async fn livy_0_9_0_answers_as_it_was_recorded() {
    replay(Version::V0_9_0, "livy-0.9.0.jsonl").await;
}

async fn replay(version: Version, file: &str) {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("replies").join(file)).unwrap();
    let exchanges: Vec<Exchange> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(exchanges.len(), 224, "the recording is complete");

    let mut servers = BTreeMap::new();
    for name in ["open", "impersonating", "plain"] {
        servers.insert(name, server(version, name).await);
    }
    let mut problems = Vec::new();
    for exchange in &exchanges {
        let livy = &servers[exchange.server.as_str()];
        prepare(livy, exchange);
        let found = differences(exchange, &send(livy.port(), exchange));
        let listed = NOT_REPRODUCED
            .iter()
            .any(|(v, why, _)| *v == version && *why == exchange.why);
        match (found.as_slice(), listed) {
            ([], false) => {}
            // Only the body may differ, and only behind what is told of it.
            ([body], true) if body.starts_with("  body") => {}
            ([], true) => problems.push(format!("{} is listed as not reproduced, but it is", exchange.why)),
            (_, _) => problems.push(format!(
                "[{}] {}: {} {}\n{}",
                exchange.server,
                exchange.why,
                exchange.method,
                exchange.target,
                found.join("\n")
            )),
        }
    }
    assert!(
        problems.is_empty(),
        "{} of {} differ:\n{}",
        problems.len(),
        exchanges.len(),
        problems.join("\n\n")
    );
}

async fn server(version: Version, name: &str) -> FakeLivy {
    let base = FakeLivy::builder()
        .version(version)
        .progress(Progress::WhenTold)
        .local_files("/livy-files");
    let secured = |base: fake_livy::Builder| base.auth(Auth::Pseudo).superuser("gw").access_control(true);
    match name {
        "open" => base,
        "impersonating" => secured(base).impersonation(true).csrf_protection(true),
        _ => secured(base),
    }
    .start()
    .await
}

/// Makes up for what was not kept: waiting for states, and the batches that the overrides delete.
fn prepare(livy: &FakeLivy, exchange: &Exchange) {
    if exchange.why != "too early" {
        livy.advance();
    }
    let overrides = ["_method", "%5Fmethod", "X-", "a GET is not overridden"];
    if exchange.server == "open" && overrides.iter().any(|start| exchange.why.starts_with(start)) {
        let request = "POST /batches HTTP/1.1\r\nHost: livy\r\nConnection: close\r\nContent-Length: 29\r\n\r\n{\"file\":\"/livy-files/job.py\"}";
        assert_eq!(talk(livy.port(), request.as_bytes(), false).status, 201);
        let id = livy.batches().last().unwrap().id.to_string();
        assert!(
            exchange.target.contains(&id),
            "ids went as recorded: {id} for {}",
            exchange.target
        );
        livy.advance();
    }
}

fn send(port: u16, exchange: &Exchange) -> Reply {
    let body = match (&exchange.body, &exchange.body_base64) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Some(text)) => Some(decode_base64(text)),
        (None, None) => None,
    };
    let mut request = format!(
        "{} {} HTTP/1.1\r\nHost: livy\r\n",
        exchange.method, exchange.target
    );
    for (name, value) in &exchange.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = &body {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("Connection: close\r\n\r\n");
    let bytes = [request.into_bytes(), body.unwrap_or_default()].concat();
    talk(port, &bytes, exchange.method == "HEAD")
}

fn talk(port: u16, request: &[u8], head_only: bool) -> Reply {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(request).unwrap();
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .unwrap()
        })
        .collect();
    let body = bytes[end + 4..].to_vec();
    let length = headers.iter().find(|(name, _)| name == "Content-Length");
    if let (Some((_, length)), false) = (length, head_only) {
        assert_eq!(
            length.parse::<usize>().unwrap(),
            body.len(),
            "Content-Length is the body's"
        );
    }
    Reply {
        status,
        headers,
        body,
    }
}

fn differences(exchange: &Exchange, reply: &Reply) -> Vec<String> {
    let mut found = Vec::new();
    if reply.status != exchange.status {
        found.push(format!(
            "  status: recorded {}, answered {}",
            exchange.status, reply.status
        ));
    }
    let (wanted, got) = (headers(&exchange.reply_headers), headers(&reply.headers));
    if wanted != got {
        found.push(format!(
            "  headers:\n    recorded {wanted:?}\n    answered {got:?}"
        ));
    }
    let answered = String::from_utf8_lossy(&reply.body).into_owned();
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let same = match (json(&exchange.reply_body), json(&answered)) {
        (Some(wanted), Some(got)) => {
            let created = exchange.method.eq_ignore_ascii_case("POST") && exchange.status == 201;
            let same = alike("", &wanted, &got, created);
            // Whether a statement's output is there when its creation is answered is a race.
            let raced = created && exchange.target.contains("/statements");
            same && (raced || keys(&exchange.reply_body) == keys(&answered))
        }
        _ => exchange.reply_body == answered,
    };
    if !same {
        found.push(format!(
            "  body:\n    recorded {}\n    answered {answered}",
            exchange.reply_body
        ));
    }
    found
}

/// Headers to compare: in no order, without what frames or dates them, secrets and times left out.
fn headers(headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| !["Content-Length", "Connection"].contains(&name.as_str()))
        .map(|(name, value)| {
            (
                name.clone(),
                if name == "Set-Cookie" {
                    cookie(value)
                } else {
                    value.clone()
                },
            )
        })
        .collect();
    // The length itself varies with logs and times; whether it is said does not.
    let sized = headers.iter().any(|(name, _)| name == "Content-Length");
    kept.push(("Content-Length".to_owned(), sized.to_string()));
    kept.sort();
    kept
}

fn cookie(value: &str) -> String {
    let mut parts: Vec<String> = value.split("; ").map(str::to_owned).collect();
    if parts[0] != "hadoop.auth=" {
        parts[0] = "hadoop.auth=signed".to_owned();
    }
    for part in &mut parts {
        if part.starts_with("Expires=") && !part.contains("1970") {
            *part = "Expires=later".to_owned();
        }
    }
    parts.join("; ")
}

/// Whether two JSON values are the same but for what differs from run to run.
fn alike(key: &str, wanted: &Value, got: &Value, created: bool) -> bool {
    match (key, wanted, got) {
        // Who built it, and where from.
        ("url" | "user", _, _) => true,
        // The stand-in's lines differ from ours; whether they are shown does not.
        ("log", Value::Array(wanted), Value::Array(got)) => wanted.is_empty() == got.is_empty(),
        ("traceback", Value::Array(wanted), Value::Array(got)) => wanted.last() == got.last(),
        // A driver may have been quicker or slower to start or to run.
        ("state", Value::String(wanted), Value::String(got)) => {
            wanted == got || (races(wanted) && races(got))
        }
        ("output" | "progress" | "started" | "completed", _, _) if created => true,
        ("started" | "completed", wanted, got) => (wanted == 0) == (got == 0),
        (_, Value::Object(wanted), Value::Object(got)) => {
            let is_log = wanted.contains_key("log") && wanted.contains_key("total");
            wanted.len() == got.len()
                && wanted.iter().all(|(key, value)| {
                    (is_log && key == "total")
                        || got.get(key).is_some_and(|got| alike(key, value, got, created))
                })
        }
        (_, Value::Array(wanted), Value::Array(got)) => {
            wanted.len() == got.len()
                && wanted
                    .iter()
                    .zip(got)
                    .all(|(wanted, got)| alike(key, wanted, got, created))
        }
        (_, Value::String(wanted), Value::String(got)) => columns(wanted) == columns(got),
        _ => wanted == got,
    }
}

fn races(state: &str) -> bool {
    ["starting", "idle", "running", "success", "waiting", "available"].contains(&state)
}

/// Jackson's columns count the paths that were replaced in the recording.
fn columns(text: &str) -> String {
    let mut pieces = text.split("column: ");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str("column: ");
        out.push_str(piece.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// Every key of a JSON text, in order: strict clients and eyes see the order too.
fn keys(text: &str) -> Vec<String> {
    let (mut keys, mut current, mut inside, mut escaped) = (Vec::new(), String::new(), false, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => {
                inside = !inside;
                if inside {
                    current.clear();
                } else if characters.peek() == Some(&':') {
                    keys.push(current.clone());
                }
            }
            c if inside => current.push(c),
            _ => {}
        }
    }
    keys
}

fn decode_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|known| *known == byte).expect("base64") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}
