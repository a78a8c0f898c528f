//! The record of what was received.

use fake_livy::FakeLivy;

use crate::client::Client;

#[tokio::test]
async fn a_request_is_kept_as_it_was_sent() {
    let livy = FakeLivy::builder().impersonation(true).start().await;
    let mut client = Client::connect(&livy);

    client.ask(
        "post /%73essions?doAs=al%69ce&doAs=b",
        &["X-B: 2", "x-a: 1", "X-B: 3"],
        r#"{"name":"n"}"#,
    );

    let received = livy.last();
    assert_eq!(received.method, "post");
    assert_eq!(received.target, "/%73essions?doAs=al%69ce&doAs=b");
    assert_eq!(received.path, "/sessions");
    assert_eq!(received.query_values("doAs"), ["alice", "b"]);
    let names: Vec<_> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "X-B", "x-a", "X-B", "Content-Length"]);
    assert_eq!(
        (received.header("x-b"), received.header_values("X-b")),
        (Some("2"), vec!["2", "3"])
    );
    assert_eq!(received.json()["name"], "n");
    assert_eq!(received.effective_method, "POST");
    assert_eq!(received.operation, Some("create_session"));
    assert_eq!(received.effective_user.as_deref(), Some("alice"));
    assert_eq!(
        (received.body_length, received.body_complete, received.status),
        (12, true, Some(201))
    );
}

#[tokio::test]
async fn connections_are_counted_and_requests_know_theirs() {
    let livy = FakeLivy::builder().start().await;
    let (mut first, mut second) = (Client::connect(&livy), Client::connect(&livy));
    first.get("/sessions");
    second.get("/sessions");
    first.get("/batches");

    let order: Vec<_> = livy
        .requests()
        .iter()
        .map(|received| received.connection)
        .collect();
    assert_eq!(order, [1, 2, 1]);
    assert_eq!((livy.connections(), livy.open_connections()), (2, 2));

    first.leave();
    livy.wait_until("one connection less", |livy| livy.open_connections() == 1)
        .await;
    livy.clear();
    assert!(livy.requests().is_empty());
    assert_eq!(livy.connections(), 2, "counts stay");
}

#[tokio::test]
async fn pipelined_and_chunked_requests_are_read_one_by_one() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.write(
        "POST /sessions HTTP/1.1\r\nHost: livy\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
         1;x=y\r\n{\r\n1\r\n}\r\n0\r\nX-Trailer: t\r\n\r\nGET /sessions/0/state HTTP/1.1\nHost: livy\n\n",
    );
    assert_eq!([client.reply().status, client.reply().status], [201, 200]);
    assert_eq!(livy.requests()[0].text(), "{}");
}

#[tokio::test]
async fn a_long_body_is_counted_whole_and_kept_in_part() {
    let livy = FakeLivy::builder().keep_body(4).start().await;
    let mut client = Client::connect(&livy);
    client.ask("POST /sessions", &[], "{\"name\":\"long\"}");
    assert_eq!(
        (livy.last().text(), livy.last().body_length),
        ("{\"na".to_owned(), 15)
    );
}

#[tokio::test]
async fn a_body_is_asked_for_where_the_client_waits_for_that() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client
        .write("POST /sessions HTTP/1.1\r\nHost: livy\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.reply().status, 100);
    client.write("{}");
    assert_eq!(client.reply().status, 201);
}

#[tokio::test]
async fn only_the_newest_requests_are_kept_when_that_is_asked() {
    let livy = FakeLivy::builder().keep_requests(2).start().await;
    let mut client = Client::connect(&livy);
    for target in ["/a", "/b", "/c"] {
        client.get(target);
    }
    let kept: Vec<_> = livy
        .requests()
        .into_iter()
        .map(|received| received.target)
        .collect();
    assert_eq!(kept, ["/b", "/c"]);
}

#[tokio::test(start_paused = true)]
async fn it_works_under_a_paused_clock() {
    let livy = FakeLivy::builder().start().await;
    let mut client = Client::connect(&livy);
    client.send("GET /sessions", &[], "");
    assert_eq!(livy.wait_for_requests(1).await.len(), 1);
}
