//! An orderly end: of the real program by its signals.

use std::time::Duration;

use fake_livy::Fault;
use tokio::net::TcpStream;

use crate::rig::{Client, End, Process, Rig, Setup, Stage, eventually, get, plain, post, times};

#[tokio::test]
async fn sigterm_lets_requests_finish_closes_idle_connections_takes_no_new_ones_and_exits_with_0() {
    let (stage, mut process) = Setup::new().spawn().await;
    let mut idle = Client::connect(process.address).await;
    idle.send(get("/livy/version")).await;
    idle.reply().await.expect_status(200);
    let held = stage.livy.fault(Fault::hold_answer().on("GET", "/version"));
    let mut silent = Client::connect(process.address).await;
    let mut busy = Client::connect(process.address).await;
    busy.send(get("/livy/version")).await;
    held.hit(1).await;

    process.signal("TERM").await;

    assert_eq!(idle.end().await, End::Closed);
    assert_eq!(silent.end().await, End::Closed);
    eventually("new connections are refused", async || {
        TcpStream::connect(process.address).await.is_err()
    })
    .await;
    held.release();
    let reply = busy.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert_eq!(busy.end().await, End::Closed);
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test]
async fn operators_are_answered_while_requests_end() {
    let (stage, process, held, _busy) = draining().await;
    let ready = ask_admin(&process, "/ready").await;
    assert_eq!(ready, (503, "draining\n".to_owned()));
    assert_eq!(ask_admin(&process, "/live").await.0, 200);
    held.release();
    drop(stage);
}

#[tokio::test]
async fn a_creation_in_flight_is_waited_for_though_its_client_left() {
    let (stage, mut process) = Setup::new().spawn().await;
    let held = stage.livy.fault(Fault::hold_answer().on("POST", "/sessions"));
    let mut client = Client::connect(process.address).await;
    client.send(post("/livy/sessions", "{}")).await;
    held.hit(1).await;
    drop(client);
    process.signal("TERM").await;
    eventually("new connections are refused", async || {
        TcpStream::connect(process.address).await.is_err()
    })
    .await;
    assert_eq!(ask_admin(&process, "/live").await.0, 200, "it has not ended");
    held.release();
    process.logs("ran to its end after its client had left").await;
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_sigterm_ends_the_process_at_once() {
    let (stage, mut process, held, mut busy) = draining().await;
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    assert_eq!(busy.rest().await, "", "nobody says that it was done");
    held.release();
    drop(stage);
}

#[tokio::test]
async fn sigint_ends_it_too() {
    let (_stage, mut process) = Setup::new().spawn().await;
    process.signal("INT").await;
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_taken_port_is_told_and_the_exit_code_is_not_0() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let stage = Setup::new()
        .listen(&format!("[listen]\naddress = \"{address}\"\n"))
        .stage()
        .await;
    let output = tokio::process::Command::new(crate::rig::program())
        .args(["serve", "--config"])
        .arg(stage.config())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("cannot listen on {address}")), "{told}");
}

#[tokio::test]
async fn a_request_that_follows_on_a_draining_connection_is_answered_before_it_closes() {
    let mut rig = Rig::start().await;
    let held = rig.livy().fault(Fault::hold_answer().on("GET", "/version"));
    let mut client = rig.connect().await;
    client.send(get("/livy/version")).await;
    held.hit(1).await;
    let ended = rig.end();
    held.release();
    client.reply().await.expect_status(200);
    assert_eq!(client.end().await, End::Closed);
    tokio::task::spawn_blocking(move || ended.join().unwrap())
        .await
        .unwrap();
    assert_eq!(times(rig.livy(), "GET", "/version"), 1);
}

/// A process that was told to end while a request is held.
async fn draining() -> (Stage, Process, fake_livy::FaultHandle, Client) {
    let (stage, process) = Setup::new().plant(fake_livy::Kind::Session).spawn().await;
    let held = stage.livy.fault(Fault::hold_answer().on("DELETE", "/sessions/0"));
    let mut busy = Client::connect(process.address).await;
    busy.send(plain("DELETE", "/livy/sessions/0")).await;
    held.hit(1).await;
    process.signal("TERM").await;
    eventually("it drains", async || ask_admin(&process, "/ready").await.0 == 503).await;
    (stage, process, held, busy)
}

async fn ask_admin(process: &Process, path: &str) -> (u16, String) {
    let mut client = Client::connect(process.admin).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"))
        .await;
    let reply = tokio::time::timeout(Duration::from_secs(20), client.reply())
        .await
        .unwrap();
    (reply.status, reply.text())
}
