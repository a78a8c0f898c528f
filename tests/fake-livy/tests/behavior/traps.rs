//! Livy's leniency, where a gateway that forwards too much is breached.

use fake_livy::{Auth, FakeLivy, Version};

use crate::client::{Client, End};

/// Who a creation with this body runs as, `-` if it is refused.
async fn runs_as(body: &[u8], headers: &str) -> String {
    let livy = FakeLivy::builder().impersonation(true).start().await;
    let mut client = Client::connect(&livy);
    let head = format!(
        "POST /sessions HTTP/1.1\r\nHost: livy\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.write([head.as_bytes(), body].concat());
    let reply = client.reply();
    if reply.status == 201 {
        reply.json()["proxyUser"].as_str().unwrap_or("nobody").to_owned()
    } else {
        "-".to_owned()
    }
}

#[tokio::test]
async fn a_proxy_user_is_found_in_every_disguise() {
    let utf16: Vec<u8> = r#"{"proxyUser":"bob"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: [(&str, &[u8]); 8] = [
        ("plain", br#"{"proxyUser":"bob"}"#),
        ("the last of two", br#"{"proxyUser":"alice","proxyUser":"bob"}"#),
        ("an escaped key", br#"{"proxy\u0055ser":"bob"}"#),
        ("an over-long key", b"{\"proxy\xC1\x95ser\":\"bob\"}"),
        ("text behind", br#"{"proxyUser":"bob"}{"proxyUser":"alice"}"#),
        ("garbage behind", b"{\"proxyUser\":\"bob\"}\xFF\xFF"),
        ("UTF-16", &utf16),
        ("a byte order mark", b"\xEF\xBB\xBF{\"proxyUser\":\"bob\"}"),
    ];
    for (why, body) in bodies {
        assert_eq!(runs_as(body, "").await, "bob", "{why}");
    }
    assert_eq!(
        runs_as(br#"{"proxyUser":1001}"#, "").await,
        "1001",
        "a number is a name"
    );
    assert_eq!(
        runs_as(br#"{"proxyUser":"alice","proxyUser":null}"#, "").await,
        "nobody",
        "null unsets"
    );
    assert_eq!(
        runs_as(br#"{"proxyuser":"bob"}"#, "").await,
        "-",
        "another case is an unknown key"
    );
    assert_eq!(
        runs_as(br#"{"proxyUser":"bob"}"#, "Content-Type: text/plain\r\n").await,
        "bob",
        "no type matters"
    );
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(
        runs_as(br#"{"proxyUser":"bob"}"#, form).await,
        "-",
        "but a form is eaten"
    );
}

#[tokio::test]
async fn do_as_outranks_the_body_and_its_first_value_wins() {
    let livy = FakeLivy::builder().impersonation(true).start().await;
    let mut client = Client::connect(&livy);
    for (query, user) in [
        ("doAs=alice", "alice"),
        ("doAs=alice&doAs=bob", "alice"),
        ("do%41s=alice", "alice"),
        ("doas=alice", "bob"),
        ("doAs[]=alice", "bob"),
        ("doAs=", ""),
        ("x=1;doAs=alice", "bob"),
        ("x=1#&doAs=alice", "bob"),
    ] {
        let reply = client.post(&format!("/sessions?{query}"), r#"{"proxyUser":"bob"}"#);
        assert_eq!(reply.json()["proxyUser"], user, "{query}");
    }
}

#[tokio::test]
async fn an_override_turns_a_post_into_another_method() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    for (query, header) in [
        ("?_method=GET", "X-A: 1"),
        ("?_method[]=get", "X-A: 1"),
        ("", "x-http-method: GET"),
    ] {
        let reply = client.ask(&format!("POST /sessions{query}"), &[header], "{}");
        assert_eq!(
            (reply.status, livy.last().operation),
            (200, Some("list_sessions")),
            "{query} {header}"
        );
        assert_eq!(livy.last().effective_method, "GET");
    }
    assert!(livy.sessions().is_empty());
}

#[tokio::test]
async fn two_parsers_read_one_path() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.post("/sessions", r#"{"name":"a/b"}"#);
    for (target, operation) in [
        ("/sessions;x/5", Some("list_sessions")),
        ("/sessions/0;/../../sessions", Some("get_session")),
        ("/AAAAAAAA/0;/../../sessions", Some("get_session")),
        ("/sessions/%EF%BC%90/state", Some("get_session_state")),
        ("/sessions/a%252Fb/state", Some("get_session_state")),
        ("http://evil/sessions/0/log", Some("get_session_log")),
        ("//sessions", None),
        ("/sessions/../sessions", None),
    ] {
        client.get(target);
        assert_eq!(livy.last().operation, operation, "{target}");
    }
}

#[tokio::test]
async fn framing_that_jetty_refuses_ends_the_connection() {
    let livy = FakeLivy::builder().start().await;
    for (count, (why, headers)) in [
        (
            "two lengths",
            "Host: l\r\nContent-Length: 2\r\nContent-Length: 2\r\n",
        ),
        (
            "both framings",
            "Host: l\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "chunked not last",
            "Host: l\r\nTransfer-Encoding: chunked, gzip\r\n",
        ),
        ("a folded line", "Host: l\r\nX-A: 1\r\n 2\r\n"),
        ("a blank before the colon", "Host: l\r\nX-A : 1\r\n"),
        ("no host", "X-A: 1\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(&livy);
        client.write(format!("POST /sessions HTTP/1.1\r\n{headers}\r\n{{}}"));
        let reply = client.reply();
        assert_eq!(reply.status, 400, "{why}");
        assert!(reply.text().starts_with("<h1>Bad Message 400</h1>"), "{why}");
        assert_eq!(client.rest(), (Vec::new(), End::Closed), "{why}");
        assert_eq!(livy.bad_messages(), count as u64 + 1, "{why}");
    }
    assert!(livy.sessions().is_empty());
}

#[tokio::test]
async fn a_0_7_answer_has_no_length_and_a_0_9_answer_hides_its_coding_when_it_is_empty() {
    let old = FakeLivy::builder().version(Version::V0_7_1).start().await;
    let reply = Client::connect(&old).get("/sessions");
    assert_eq!(
        (reply.header("transfer-encoding"), reply.header("content-length")),
        (Some("chunked"), None)
    );
    assert_eq!(reply.json()["total"], 0);

    let new = FakeLivy::builder().start().await;
    let reply = Client::connect(&new).ask("PUT /sessions", &["Accept-Encoding: gzip"], "");
    assert_eq!(
        (reply.status, reply.header("content-encoding"), reply.body.len()),
        (405, None, 20)
    );
}

#[tokio::test]
async fn a_signed_cookie_replaces_the_login_until_a_restart() {
    let livy = FakeLivy::builder()
        .auth(Auth::Pseudo)
        .superuser("gw")
        .start()
        .await;
    let mut client = Client::connect(&livy);
    assert_eq!(client.get("/sessions").status, 401);
    let reply = client.get("/sessions?user.name=gw");
    let cookie = reply
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();

    let with_cookie =
        |client: &mut Client| client.ask("GET /sessions?user.name=bob", &[&format!("Cookie: {cookie}")], "");
    assert_eq!(with_cookie(&mut client).header("set-cookie"), None);
    assert_eq!(livy.last().remote_user.as_deref(), Some("gw"));

    livy.restart();
    with_cookie(&mut Client::connect(&livy));
    assert_eq!(livy.last().remote_user.as_deref(), Some("bob"));
}

#[tokio::test]
async fn basic_is_challenged_without_a_realm_and_wrong_passwords_are_403() {
    let livy = FakeLivy::builder()
        .auth(Auth::Basic {
            user: "gw".to_owned(),
            password: "p:w".to_owned(),
        })
        .start()
        .await;
    let mut client = Client::connect(&livy);
    let challenged = client.get("/sessions");
    assert_eq!(
        (challenged.status, challenged.header("www-authenticate")),
        (401, Some("Basic"))
    );
    assert_eq!(
        client
            .ask("GET /sessions", &["Authorization: Basic Z3c6cDp3"], "")
            .status,
        200
    );
    assert_eq!(livy.last().remote_user.as_deref(), Some("gw"));
    assert_eq!(
        client
            .ask("GET /sessions", &["Authorization: Basic Z3c6eA=="], "")
            .status,
        403
    );
}

#[tokio::test]
async fn an_upload_keeps_its_file_name_as_sent_and_ignores_other_fields() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.post("/sessions", "{}");
    let body = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; \
                name=\"file\"; filename=\"../../x.py\"\r\n\r\nhello\r\n--b--\r\n";
    let kind = ["Content-Type: multipart/form-data; boundary=b"];
    assert_eq!(
        client.ask("POST /sessions/0/upload-pyfile", &kind, body).status,
        200
    );
    let upload = livy.sessions()[0].uploads[0].clone();
    assert_eq!(
        (upload.route.as_str(), upload.file_name.as_str(), upload.length),
        ("upload-pyfile", "../../x.py", 5)
    );
    assert_eq!(
        client.ask("POST /sessions/0/upload-jar", &kind, body).text(),
        "\"No jar sent!\""
    );
}
