//! Directories that are slow, broken or hostile, and what must not come of that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::ldap::{by_name, by_search, create, creators, list, plain, setup};
use crate::rig::{eventually, new_password};
use crate::slapd::{Slapd, person};

const SHORT: &str = "timeouts = { connect = \"500ms\", operation = \"500ms\" }";

/// Answers the first thing that each connection says, and then nothing more.
async fn answering(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut question = [0; 4096];
                let _ = stream.read(&mut question).await;
                let _ = stream.write_all(&answer).await;
                sleep(Duration::from_secs(30)).await;
            });
        }
    });
    format!("[\"ldap://127.0.0.1:{port}\"]")
}

/// So many sequences in each other.
fn nested(depth: usize) -> Vec<u8> {
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..depth {
        let length = u32::try_from(reversed.len()).unwrap();
        if length < 128 {
            reversed.push(u8::try_from(length).unwrap());
        } else {
            reversed.extend(length.to_be_bytes().iter().rev());
            reversed.push(0x84);
        }
        reversed.push(0x30);
    }
    reversed.reverse();
    reversed
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_endless_and_malformed_answers_end_in_503_and_not_the_process() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let mut endless = vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff];
    endless.resize(8 << 20, 0);
    for answer in [
        nested(20_000),
        endless,
        vec![0x30, 0x05, 0x02, 0x01, 0x01, 0x61, 0x00],
        vec![0x30, 0x05, 0x02, 0x01, 0x01, 0x78, 0x00],
        vec![0x30, 0x00],
        vec![0x30, 0x02, 0xa0, 0x00],
    ] {
        for more in ["", "start_tls = true\nca_file = \"ca.pem\""] {
            let urls = answering(answer.clone()).await;
            let rig = setup(
                &slapd,
                &password,
                &by_name(&urls, &format!("{SHORT}\n{more}")),
                "",
            )
            .start()
            .await;
            let reply = rig.ask(list("alice", &password)).await;
            reply.expect_refusal(503, "login_unavailable");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_users_file_is_not_another_way_in_through_the_directory() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let entry = person("people", "local", &password);
    slapd.modify(&entry.replacen("\nobjectClass", "\nchangetype: add\nobjectClass", 1));
    for ldap in [by_name(&plain(&slapd), ""), by_search(&plain(&slapd), "")] {
        let rig = setup(&slapd, &password, &ldap, "[roles]\nadmin = [\"user:local\"]\n")
            .start()
            .await;
        for typed in ["local", "LOCAL", "local ", "Local"] {
            let reply = rig.ask(create(typed, &password)).await;
            reply.expect_refusal(401, "invalid_credentials");
        }
        rig.ask(create("alice", &password)).await.expect_status(201);
        assert_eq!(creators(&rig), BTreeSet::from(["alice".to_owned()]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_makes_room_for_the_next_one() {
    let (password, _) = new_password();
    let (first, second) = (Slapd::start(&password), Slapd::start(&password));
    let urls = format!(
        "[\"ldap://127.0.0.1:{}\", \"ldap://127.0.0.1:{}\"]",
        first.port, second.port
    );
    first.signal("STOP");
    for ldap in [by_name(&urls, SHORT), by_search(&urls, SHORT)] {
        let rig = setup(&first, &password, &ldap, "").start().await;
        rig.ask(list("alice", &password))
            .await
            .expect_refusal(503, "login_unavailable");
        rig.ask(list("alice", &password)).await.expect_status(200);
        rig.ask(list("bob", &password)).await.expect_status(200);
    }
    assert_eq!(second.binds("uid=bob"), 2);
    first.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_hangs_and_strangers_try_known_people_go_on() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    for ldap in [by_name(&plain(&slapd), ""), by_search(&plain(&slapd), "")] {
        let rig = setup(&slapd, &password, &ldap, "").start().await;
        rig.ask(list("alice", &password)).await.expect_status(200);
        slapd.signal("STOP");
        rig.clock.advance(Duration::from_secs(301));
        let strangers =
            join_all((0..60).map(|number| rig.ask(list(&format!("stranger{number}"), &password))));
        let alice = async {
            sleep(Duration::from_millis(200)).await;
            rig.ask(list("alice", &password)).await
        };
        let (strangers, alice) = tokio::join!(strangers, alice);
        alice.expect_status(200);
        assert!(strangers.iter().all(|reply| matches!(reply.status, 503 | 429)));
        slapd.signal("CONT");
        rig.clock.advance(Duration::from_secs(60));
        rig.ask(list("bob", &password)).await.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_about_for_a_client_that_has_left() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = format!("[\"ldap://127.0.0.1:{}\"]", front.local_addr().unwrap().port());
    let (open, opened) = watch::channel(false);
    let back = slapd.port;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = front.accept().await {
            let mut opened = opened.clone();
            tokio::spawn(async move {
                let _ = opened.wait_for(|is_open| *is_open).await;
                let mut server = TcpStream::connect(("127.0.0.1", back)).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    let rig = setup(
        &slapd,
        &password,
        &by_name(&urls, "timeouts = { operation = \"5s\" }"),
        "",
    )
    .start()
    .await;
    let left = join_all((0..60).map(|number| {
        let asked = rig.ask(list(&format!("gone{number}"), "x"));
        timeout(Duration::from_millis(500), asked)
    }));
    assert!(left.await.iter().all(Result::is_err));
    open.send(true).unwrap();
    rig.ask(list("alice", &password)).await.expect_status(200);
    // Those whose bind was under way, eight at once, and a few whose leaving was not seen yet.
    assert!(slapd.binds("uid=gone") <= 30, "{}", slapd.binds("uid=gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_account_is_not_locked_by_strangers_logins() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let rig = setup(&slapd, "the old one", &by_search(&plain(&slapd), ""), "")
        .start()
        .await;
    for number in 0..20 {
        let reply = rig.ask(list(&format!("stranger{number}"), &password)).await;
        reply.expect_refusal(503, "login_unavailable");
    }
    assert_eq!(slapd.binds("cn=gateway"), 1);
    rig.clock.advance(Duration::from_secs(31));
    rig.ask(list("alice", &password)).await.expect_status(503);
    assert_eq!(slapd.binds("cn=gateway"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_way_forgot_costs_one_login_at_most() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = format!("[\"ldap://127.0.0.1:{}\"]", front.local_addr().unwrap().port());
    let (cut, cutting) = watch::channel(0_u32);
    let back = slapd.port;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = front.accept().await {
            let mut cutting = cutting.clone();
            cutting.mark_unchanged();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", back)).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut stream, &mut server) => {}
                    // As a firewall does that forgets: nothing passes, nobody is told.
                    _ = cutting.changed() => sleep(Duration::from_secs(60)).await,
                }
            });
        }
    });
    let rig = setup(&slapd, &password, &by_search(&urls, SHORT), "")
        .start()
        .await;
    rig.ask(list("alice", &password)).await.expect_status(200);
    cut.send(1).unwrap();
    rig.ask(list("bob", &password)).await.expect_status(503);
    rig.ask(list("bob", &password)).await.expect_status(200);
    // One that lay idle for long is not tried at all.
    cut.send(2).unwrap();
    rig.clock.advance(Duration::from_secs(61));
    rig.ask(list("zeppelin", &password)).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_account_is_refused_however_its_directory_says_so() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    for (result, status) in [(19, 401), (50, 401), (53, 401), (1, 503)] {
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let urls = format!("[\"ldap://127.0.0.1:{}\"]", front.local_addr().unwrap().port());
        let (back, locked) = (slapd.port, Arc::new(AtomicBool::new(false)));
        let is_locked = Arc::clone(&locked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = front.accept().await {
                if is_locked.load(Ordering::SeqCst) {
                    let mut question = [0; 4096];
                    let _ = stream.read(&mut question).await;
                    let says = [
                        0x30, 0x0c, 0x02, 1, 1, 0x61, 0x07, 0x0a, 1, result, 0x04, 0, 0x04, 0,
                    ];
                    let _ = stream.write_all(&says).await;
                } else {
                    let mut server = TcpStream::connect(("127.0.0.1", back)).await.unwrap();
                    tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
                }
            }
        });
        let rig = setup(&slapd, &password, &by_name(&urls, ""), "").start().await;
        rig.ask(list("alice", &password)).await.expect_status(200);
        locked.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            // The cache is over, what holds while it is down is not: but it is not down.
            rig.clock.advance(Duration::from_secs(301));
            rig.ask(list("alice", &password)).await.expect_status(status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_added_to_the_file_ends_what_the_directory_proved() {
    let (password, _) = new_password();
    let slapd = Slapd::start(&password);
    let (stage, process) = setup(&slapd, &password, &by_name(&plain(&slapd), ""), "")
        .spawn()
        .await;
    let ask = async || {
        let mut client = crate::rig::Client::connect(process.address).await;
        client.send(list("alice", &password)).await;
        client.reply().await.status
    };
    assert_eq!(ask().await, 200);
    let (_, hash) = new_password();
    stage.write("users", &format!("local:{hash}\nalice:{hash}\n"));
    eventually("alice is the file's", async || ask().await == 401).await;
}
