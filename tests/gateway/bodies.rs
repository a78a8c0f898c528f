//! Bodies: what is taken, what is refused, and that what is taken reaches Livy to the byte.

mod uploads;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::rig::{Client, Reply, Rig, Setup, basic, lists_only, multipart, post, request, without_marker};

const CREATE: &str = r#"{"kind":"spark"}"#;
const PARTS: &str = "Content-Type: multipart/form-data; boundary=cut\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

/// A gateway before a Livy that takes any number of sessions, with sessions and batches 0 to 2 of alice's.
async fn roomy() -> Rig {
    with_limits("").await
}

async fn with_limits(rest: &str) -> Rig {
    Setup::new().roomy().owned("alice", 3).rest(rest).start().await
}

async fn send(rig: &Rig, path: &str, lines: &str, body: impl AsRef<[u8]>) -> Reply {
    let headers = format!("{}{lines}", basic("alice"));
    rig.ask(request("POST", &format!("/livy{path}"), &headers, body))
        .await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `text` in UTF-16 or UTF-32, big end first.
fn wide(text: &str, bytes: usize) -> Vec<u8> {
    text.bytes()
        .flat_map(|byte| std::iter::repeat_n(0, bytes - 1).chain([byte]))
        .collect()
}

// --- What reaches Livy.

#[tokio::test]
async fn values_reach_livy_as_the_client_wrote_them() {
    let rig = roomy().await;
    for (path, sent, received) in [
        (
            "/sessions",
            r#"{ "kind" : "spark" }"#,
            r#"{"kind":"spark","name":"livy-session-gw","proxyUser":"alice"}"#,
        ),
        (
            "/sessions",
            "{}",
            r#"{"name":"livy-session-gw","proxyUser":"alice"}"#,
        ),
        (
            "/sessions",
            "\n\t {} \r\n",
            r#"{"name":"livy-session-gw","proxyUser":"alice"}"#,
        ),
        (
            "/sessions",
            r#"{"proxyUser":"alice","name":"a\u002db","conf":{"spark.z":"1","spark.a":"\u00e9 / \/ é","spark.b":1.10,"spark.c":12345678901234567890123}}"#,
            r#"{"name":"a-b-gw","conf":{"spark.z":"1","spark.a":"\u00e9 / \/ é","spark.b":1.10,"spark.c":12345678901234567890123},"proxyUser":"alice"}"#,
        ),
        (
            "/sessions",
            r#"{"n\u0061me":null,"jars":null,"heartbeatTimeoutInSecond":-0,"ttl":"8h","idleTimeout":"1h"}"#,
            r#"{"heartbeatTimeoutInSecond":-0,"ttl":"8h","idleTimeout":"1h","name":"livy-session-gw","proxyUser":"alice"}"#,
        ),
        (
            "/batches",
            r#"{"file":"hdfs:///a.jar","args":["--date","2026-01-01",", ","é",""],"numExecutors":2147483647,"jars":["hdfs:///x%20y.jar"]}"#,
            r#"{"file":"hdfs:///a.jar","args":["--date","2026-01-01",", ","é",""],"numExecutors":2147483647,"jars":["hdfs:///x%20y.jar"],"name":"livy-batch-gw","proxyUser":"alice"}"#,
        ),
        (
            "/sessions/0/statements",
            r#"{"code":"println(\"\u0000\ud83d\ude00\")\n// 😀 \/","kind":"spark"}"#,
            r#"{"code":"println(\"\u0000\ud83d\ude00\")\n// 😀 \/","kind":"spark"}"#,
        ),
        (
            "/sessions/0/completion",
            r#"{"code":"x","kind":"spark","cursor":"1"}"#,
            r#"{"code":"x","kind":"spark","cursor":"1"}"#,
        ),
        (
            "/sessions/0/submit-job",
            r#"{"job":"AA+/==","jobType":"spark"}"#,
            r#"{"job":"AA+/==","jobType":"spark"}"#,
        ),
        (
            "/sessions/0/add-jar",
            r#"{"uri":"hdfs:///a.jar"}"#,
            r#"{"uri":"hdfs:///a.jar"}"#,
        ),
    ] {
        let reply = send(&rig, path, JSON, sent).await;
        let livy = rig.livy().last();
        if matches!(path, "/sessions" | "/batches") {
            assert_eq!(without_marker(&livy), received, "{path} {sent}: {}", reply.text());
            let own = sent.contains(r"a\u002db").then_some("a-b");
            assert_eq!(
                reply.json()["name"],
                serde_json::json!(own),
                "the client's own name"
            );
        } else {
            assert_eq!(livy.text(), received, "{path} {sent}: {}", reply.text());
        }
        assert_eq!(livy.header("content-type"), Some("application/json"));
        assert_eq!(
            livy.header("content-length"),
            Some(livy.text().len().to_string().as_str())
        );
        assert_eq!(Some(reply.status), livy.status, "{path} {sent}");
    }
}

#[tokio::test]
async fn a_body_that_is_compressed_or_said_to_be_utf8_reaches_livy_plain() {
    let rig = roomy().await;
    for (line, body) in [
        ("Content-Encoding: UTF-8\r\n", CREATE.as_bytes().to_vec()),
        ("Content-Encoding: identity\r\n", CREATE.into()),
        ("Content-Encoding: gzip\r\n", gzip(CREATE.as_bytes())),
        ("Content-Encoding: GZIP\r\n", gzip(CREATE.as_bytes())),
    ] {
        rig.livy().clear();
        send(&rig, "/sessions", &format!("{JSON}{line}"), body)
            .await
            .expect_status(201);
        let received = rig.livy().last();
        assert_eq!(
            without_marker(&received),
            r#"{"kind":"spark","name":"livy-session-gw","proxyUser":"alice"}"#,
            "{line}"
        );
        assert_eq!(received.header("content-encoding"), None);
    }
}

#[tokio::test]
async fn a_body_whose_coding_is_not_what_its_header_says_is_refused() {
    let rig = roomy().await;
    let whole = gzip(CREATE.as_bytes());
    let bomb = gzip(&[b"{\"kind\":\"".as_slice(), &vec![b' '; 64 << 20], b"\"}"].concat());
    for (line, body, status, code) in [
        (
            "Content-Encoding: gzip\r\n",
            CREATE.as_bytes().to_vec(),
            400,
            "invalid_body",
        ),
        (
            "Content-Encoding: gzip\r\n",
            whole[..whole.len() - 3].to_vec(),
            400,
            "invalid_body",
        ),
        (
            "Content-Encoding: gzip\r\n",
            [whole.clone(), whole.clone()].concat(),
            400,
            "invalid_body",
        ),
        (
            "Content-Encoding: gzip\r\n",
            [whole.clone(), b"x".to_vec()].concat(),
            400,
            "invalid_body",
        ),
        ("Content-Encoding: gzip\r\n", gzip(&whole), 400, "invalid_body"),
        ("Content-Encoding: gzip\r\n", bomb, 413, "body_too_large"),
        ("", whole.clone(), 400, "invalid_body"),
        (
            "Content-Encoding: identity\r\n",
            whole.clone(),
            400,
            "invalid_body",
        ),
        (
            "Content-Encoding: deflate\r\n",
            whole.clone(),
            415,
            "unsupported_body",
        ),
        ("Content-Encoding: br\r\n", whole.clone(), 415, "unsupported_body"),
        (
            "Content-Encoding: gzip, gzip\r\n",
            gzip(&whole),
            415,
            "unsupported_body",
        ),
        (
            "Content-Encoding: gzip\r\nContent-Encoding: identity\r\n",
            whole,
            415,
            "unsupported_body",
        ),
    ] {
        let reply = send(&rig, "/sessions", &format!("{JSON}{line}"), body).await;
        assert_eq!(
            reply.outcome(),
            (status, code.to_owned()),
            "{line}: {}",
            reply.text()
        );
        reply.expect_refusal(status, code);
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn the_content_type_is_json_or_absent_or_a_programs_text() {
    let rig = roomy().await;
    for taken in [
        "",
        "Content-Type: application/json\r\n",
        "content-type: APPLICATION/JSON; Charset=\"UTF-8\"\r\n",
        "Content-Type: application/json;charset=utf-8\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json\r\nOrigin: http://gw\r\nSec-Fetch-Site: same-origin\r\n",
    ] {
        rig.livy().clear();
        send(&rig, "/sessions", taken, CREATE).await.expect_status(201);
        assert_eq!(
            rig.livy().last().header_values("content-type"),
            ["application/json"],
            "{taken}"
        );
    }
    rig.livy().clear();
    for refused in [
        "Content-Type: application/json;charset=utf-16\r\n",
        "Content-Type: application/json; charset=latin1\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: multipart/mixed; boundary=x\r\n",
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type:\r\n",
        "Content-Type: application/json\r\nContent-Type: application/json\r\n",
        "Content-Type: text/xml\r\n",
        "Content-Type: text/plain\r\nOrigin: http://gw\r\n",
        "Content-Type: text/plain\r\nSec-Fetch-Site: same-origin\r\n",
    ] {
        let reply = send(&rig, "/sessions", refused, CREATE).await;
        assert_eq!(reply.outcome(), (415, "unsupported_body".to_owned()), "{refused}");
        reply.expect_refusal(415, "unsupported_body");
    }
    assert!(rig.livy().requests().is_empty());
}

// --- Strictness.

#[tokio::test]
async fn what_two_readers_of_json_could_take_differently_is_refused() {
    let rig = roomy().await;
    let nested = |levels: usize| format!("{{\"conf\":{}{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let members = |count: usize| {
        let all: Vec<_> = (0..count).map(|n| format!("\"spark.k{n}\":1")).collect();
        format!("{{\"conf\":{{{}}}}}", all.join(","))
    };
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        "[]",
        "7",
        "\"x\"",
        "true",
        "{",
        "}",
        "{}{}",
        "{} x",
        "{}\u{0}",
        "{}\u{a0}",
        "{,}",
        r#"{"kind":"spark",}"#,
        r#"{'kind':'spark'}"#,
        r#"{kind:"spark"}"#,
        r#"{"kind":"spark"}/**/"#,
        r#"{/**/"kind":"spark"}"#,
        r#"{"driverCores":01}"#,
        r#"{"driverCores":+1}"#,
        r#"{"driverCores":NaN}"#,
        r#"{"driverCores":.5}"#,
        r#"{"driverCores":2.0}"#,
        r#"{"driverCores":1e3}"#,
        r#"{"driverCores":"2"}"#,
        r#"{"driverCores":2147483648}"#,
        r#"{"driverCores":true}"#,
        r#"{"kind":1}"#,
        r#"{"kind":["spark"]}"#,
        r#"{"jars":"a.jar"}"#,
        r#"{"jars":[1]}"#,
        r#"{"jars":[null]}"#,
        r#"{"jars":["a,b"]}"#,
        r#"{"jars":["a b"]}"#,
        r#"{"kind":"a","kind":"a"}"#,
        r#"{"kind":"a","\u006bind":"b"}"#,
        r#"{"conf":{"spark.a":1,"spark.a":1}}"#,
        r#"{"conf":{"spark.a":1,"spark.\u0061":1}}"#,
        r#"{"conf":[]}"#,
        r#"{"conf":"x"}"#,
        r#"{"conf":{"spark.a":{}}}"#,
        r#"{"conf":{"spark.a":"x\ny"}}"#,
        r#"{"name":"a\u0000b"}"#,
        r#"{"name":"\ud800"}"#,
        r#"{"name":""}"#,
        r#"{"name":"17"}"#,
        r#"{"name":"٥"}"#,
        "{\"name\":\"a\nb\"}",
        "\u{feff}{}",
        "{\"kind\":\"spark\"",
    ]
    .into_iter()
    .map(Into::into)
    .collect();
    bodies.extend([
        wide(CREATE, 2),
        wide(CREATE, 4),
        [b"\xFE\xFF".to_vec(), wide(CREATE, 2)].concat(),
        CREATE.bytes().flat_map(|byte| [byte, 0]).collect(),
        b"{\"name\":\"\xFF\"}".to_vec(),
        b"{\"kind\xC1\x95\":\"spark\"}".to_vec(),
        b"{\"name\":\"\xED\xA0\x80\"}".to_vec(),
        nested(16).into(),
        nested(127).into(),
        nested(100_000).into(),
        members(1025).into(),
    ]);
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let reply = send(&rig, "/sessions", JSON, &body).await;
        assert_eq!(
            reply.outcome(),
            (400, "invalid_body".to_owned()),
            "{shown}: {}",
            reply.text()
        );
        reply.expect_refusal(400, "invalid_body");
    }
    assert!(rig.livy().requests().is_empty());
    send(&rig, "/sessions", JSON, members(1024))
        .await
        .expect_status(201);
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_nearest_one_that_exists() {
    let rig = roomy().await;
    for (path, body, field, nearest) in [
        ("/sessions", r#"{"Kind":"spark"}"#, "Kind", Some("kind")),
        (
            "/sessions",
            r#"{"driver_memory":"1g"}"#,
            "driver_memory",
            Some("driverMemory"),
        ),
        ("/sessions", r#"{"confs":{}}"#, "confs", Some("conf")),
        ("/sessions", r#"{"doAs":"alice"}"#, "doAs", Some("proxyUser")),
        ("/sessions", r#"{"xyz":null}"#, "xyz", None),
        (
            "/batches",
            r#"{"file":"hdfs:///a","classname":"x"}"#,
            "classname",
            Some("className"),
        ),
        ("/batches", r#"{"file":"hdfs:///a","ttl":"1h"}"#, "ttl", None),
        (
            "/sessions/0/statements",
            r#"{"code":"1","kid":"spark"}"#,
            "kid",
            Some("kind"),
        ),
        (
            "/sessions/0/run-job",
            r#"{"job":"AA==","jobtype":"x"}"#,
            "jobtype",
            Some("jobType"),
        ),
        (
            "/sessions/0/add-file",
            r#"{"url":"hdfs:///a"}"#,
            "url",
            Some("uri"),
        ),
    ] {
        let reply = send(&rig, path, JSON, body).await;
        reply.expect_refusal(400, "unknown_field");
        let text = reply.text();
        assert!(text.contains(&format!("'{field}'")), "{text}");
        match nearest {
            Some(nearest) => assert!(text.contains(&format!("Did you mean '{nearest}'?")), "{text}"),
            None => assert!(!text.contains("Did you mean"), "{text}"),
        }
    }
    for (path, body) in [
        ("/batches", "{}"),
        ("/sessions/0/statements", "{}"),
        ("/sessions/0/statements", r#"{"code":null}"#),
        ("/sessions/0/submit-job", "{}"),
        ("/sessions/0/add-jar", "{}"),
    ] {
        send(&rig, path, JSON, body)
            .await
            .expect_refusal(400, "invalid_body");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn a_key_that_the_operator_admits_passes_but_never_one_that_names_a_user() {
    let rig = with_limits("[requests]\nextra_fields = [\"someNewKey\"]").await;
    send(&rig, "/sessions", JSON, r#"{"someNewKey":[1,{"a":2.50}]}"#).await;
    assert_eq!(
        without_marker(&rig.livy().last()),
        r#"{"someNewKey":[1,{"a":2.50}],"name":"livy-session-gw","proxyUser":"alice"}"#
    );
    rig.livy().clear();
    for body in [r#"{"somenewkey":1}"#, r#"{"proxyuser":"alice"}"#] {
        send(&rig, "/sessions", JSON, body)
            .await
            .expect_refusal(400, "unknown_field");
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn what_takes_no_body_takes_none_or_an_empty_object_and_livy_gets_none() {
    let rig = roomy().await;
    let places = [
        ("GET", "/sessions"),
        ("GET", "/version"),
        ("POST", "/sessions/0/connect"),
        ("POST", "/sessions/0/statements/0/cancel"),
        ("POST", "/sessions/0/interrupt"),
        ("DELETE", "/batches/0"),
    ];
    for (method, path) in places {
        for body in ["x", "{\"a\":1}", "[]", "null", "{}{}", "doAs=bob", "\u{0}"] {
            let headers = format!("{}{JSON}", basic("alice"));
            let reply = rig
                .ask(request(method, &format!("/livy{path}"), &headers, body))
                .await;
            assert_eq!(
                reply.outcome(),
                (400, "invalid_body".to_owned()),
                "{method} {path} {body}"
            );
        }
    }
    assert!(rig.livy().requests().is_empty());
    for (method, path) in places {
        for (number, body) in ["", "{}", " { } \n"].into_iter().enumerate() {
            rig.livy().clear();
            // What is deleted is not there a second time.
            let path = &if method == "DELETE" {
                format!("/batches/{number}")
            } else {
                path.to_owned()
            };
            // Livy's Java client says this of its GETs too.
            let headers = format!("{}{JSON}Content-Encoding: UTF-8\r\n", basic("alice"));
            let reply = rig
                .ask(request(method, &format!("/livy{path}"), &headers, body))
                .await;
            if path == "/sessions" {
                assert_eq!(lists_only(&reply, "alice"), [0, 1, 2]);
                assert!(rig.livy().requests().is_empty());
                continue;
            }
            let received = rig.livy().last();
            assert_eq!(
                (received.method.as_str(), received.path.as_str()),
                (method, path.as_str())
            );
            assert_eq!(
                (received.body_length, received.header("content-type")),
                (0, None),
                "{method} {path} {body}"
            );
            assert_eq!(Some(reply.status), received.status);
        }
    }
}

// --- Sizes.

#[tokio::test]
async fn a_body_may_be_as_large_as_configured_and_not_a_byte_larger() {
    let rig = with_limits("[requests]\nmax_body = \"4 KiB\"\nmax_upload = \"8 KiB\"").await;
    let code = |length: usize| format!("{{\"code\":\"{}\"}}", "x".repeat(length - 11));
    for (length, fits) in [(4096, true), (4097, false), (2 << 20, false)] {
        rig.livy().clear();
        let body = code(length);
        assert_eq!(body.len(), length);
        let chunked = format!(
            "POST /livy/sessions/0/statements HTTP/1.1\r\nHost: gw\r\n{}{JSON}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n",
            basic("alice")
        );
        let packed = send(
            &rig,
            "/sessions/0/statements",
            &format!("{JSON}Content-Encoding: gzip\r\n"),
            gzip(body.as_bytes()),
        )
        .await;
        let plain = send_large(&rig, &post("/livy/sessions/0/statements", &body)).await;
        for reply in [packed, plain, send_large(&rig, &chunked).await] {
            if fits {
                reply.expect_status(201);
            } else {
                reply.expect_refusal(413, "body_too_large");
            }
        }
        assert_eq!(rig.livy().requests().len(), if fits { 3 } else { 0 }, "{length}");
    }
    rig.livy().clear();
    let lines = "Content-Type: multipart/form-data; boundary=cut\r\n";
    let file = |length| multipart("file", &"x".repeat(length));
    send(&rig, "/sessions/0/upload-file", lines, file(8192))
        .await
        .expect_status(200);
    send(&rig, "/sessions/0/upload-file", lines, file(8193))
        .await
        .expect_refusal(413, "body_too_large");
    assert!(
        rig.livy().sessions()[0]
            .uploads
            .iter()
            .all(|upload| upload.length == 8192)
    );
}

/// Sends what may be refused before it is all taken.
async fn send_large(rig: &Rig, request: &str) -> Reply {
    let mut client = rig.connect().await;
    let _ = client.try_send(request).await;
    client.reply().await
}

// --- Expect.

#[tokio::test]
async fn an_upload_and_a_job_that_wait_for_100_are_told_to_go_on_and_livy_is_not_asked_to_wait() {
    let rig = roomy().await;
    for (path, line, body) in [
        ("/sessions/0/upload-file", PARTS, multipart("file", "content")),
        (
            "/sessions/0/submit-job",
            JSON,
            r#"{"job":"AAAA","jobType":"spark"}"#.to_owned(),
        ),
    ] {
        rig.livy().clear();
        let mut client: Client = rig.connect().await;
        client
            .send(format!(
                "POST /livy{path} HTTP/1.1\r\nHost: gw\r\n{}{line}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                basic("alice"),
                body.len()
            ))
            .await;
        assert_eq!(client.any_reply(false).await.status, 100, "{path}");
        assert!(rig.livy().requests().is_empty(), "Livy hears of it with its body");
        client.send(&body).await;
        let reply = client.any_reply(false).await;
        assert!(matches!(reply.status, 200 | 201), "{path}: {}", reply.text());
        assert_eq!(rig.livy().last().header("expect"), None);
    }
}
