//! Connections to Livy: kept, closed, broken off, and logged in to.

use super::*;

// --- The connection dies.

#[tokio::test]
async fn a_new_connection_that_dies_before_the_whole_head_is_502_for_a_read_and_409_for_a_write() {
    let half_a_head = || Fault::answer_raw("HTTP/1.1 200 OK\r\nContent-Le");
    for (fault, is_done) in [
        (Fault::reset_before_body(), false),
        (Fault::reset_after_request(), false),
        (Fault::lose_answer(), true),
        (half_a_head(), false),
    ] {
        let rig = with_sessions().await;
        rig.livy().fault(fault.clone());
        rig.ask(&get("/livy/version"))
            .await
            .expect_refusal(502, "upstream_lost");
        assert_eq!(
            times(rig.livy(), "GET", "/version"),
            1,
            "a new connection is no stale one: {fault:?}"
        );
        for (request, method, path) in writes() {
            // Each over a new connection: the one before it died.
            rig.livy().clear();
            rig.livy().fault(fault.clone());
            expect_lost(&rig, &rig.ask(&request).await, path, is_done);
            assert_eq!(times(rig.livy(), method, path), 1, "{fault:?} {method} {path}");
            assert_eq!(rig.livy().requests().len(), 1, "{fault:?} {method} {path}");
        }
    }
}

/// What is told of a write whose answer was lost: of a creation, what Livy's list says.
#[track_caller]
fn expect_lost(rig: &Rig, reply: &Reply, path: &str, is_done: bool) {
    if creates(path) {
        expect_found(rig, reply, path, is_done);
    } else {
        reply.expect_refusal(409, "outcome_unknown");
    }
}

#[tokio::test]
async fn a_kept_connection_that_dies_shows_in_no_read_and_sends_no_write_again() {
    let half_a_head = || Fault::answer_raw("HTTP/1.1 200 OK\r\nContent-Le");
    for (fault, is_done) in [
        (Fault::reset_after_request(), false),
        (Fault::lose_answer(), true),
        (half_a_head(), false),
    ] {
        let rig = with_sessions().await;
        for method in ["GET", "HEAD"] {
            rig.ask(&get("/livy/version")).await.expect_status(200);
            rig.livy().clear();
            rig.livy().fault(fault.clone());
            let mut client = rig.connect().await;
            client.send(plain(method, "/livy/version")).await;
            client.any_reply(method == "HEAD").await.expect_status(200);
            assert_eq!(
                times(rig.livy(), method, "/version"),
                2,
                "{fault:?}: once more, over a new connection"
            );
        }
        for (request, method, path) in writes() {
            rig.ask(&get("/livy/version")).await.expect_status(200);
            let kept = rig.livy().last().connection;
            rig.livy().clear();
            rig.livy().fault(fault.clone());
            expect_lost(&rig, &rig.ask(&request).await, path, is_done);
            assert_eq!(times(rig.livy(), method, path), 1, "{fault:?} {method} {path}");
            assert_eq!(rig.livy().requests().len(), 1, "{fault:?} {method} {path}");
            assert_eq!(
                rig.livy().last().connection,
                kept,
                "it went over the kept connection"
            );
        }
    }
}

#[tokio::test]
async fn a_read_goes_a_second_time_and_no_third() {
    let rig = Rig::start().await;
    rig.ask(&get("/livy/version")).await.expect_status(200);
    rig.livy().clear();
    rig.livy()
        .fault(Fault::reset_after_request().on("GET", "/version").always());
    rig.ask(&get("/livy/version"))
        .await
        .expect_refusal(502, "upstream_lost");
    assert_eq!(times(rig.livy(), "GET", "/version"), 2);
}

#[tokio::test]
async fn a_connection_that_livy_closed_is_not_used_for_a_write() {
    let rig = with_sessions().await;
    for (request, method, path) in writes() {
        rig.livy().clear();
        rig.livy()
            .fault(Fault::close_after_answer().on("GET", "/version"));
        rig.ask(&get("/livy/version")).await.expect_status(200);
        rig.livy()
            .wait_until("Livy closed it", |livy| livy.open_connections() == 0)
            .await;
        let reply = rig.ask(&request).await;
        assert!(reply.status < 300, "{method} {path}: {}", reply.text());
        assert_eq!(times(rig.livy(), method, path), 1);
    }
}

#[tokio::test]
async fn connections_that_livy_closes_after_each_answer_never_show() {
    let rig = Rig::start().await;
    rig.livy().fault(Fault::close_after_answer().always());
    for _ in 0..50 {
        rig.ask(&get("/livy/version")).await.expect_status(200);
    }
}

#[tokio::test]
async fn a_small_answer_that_breaks_off_is_502_for_a_read_and_409_for_a_write() {
    for bytes in [0, 5] {
        let rig = with_sessions().await;
        rig.livy().fault(Fault::reset_in_answer(bytes));
        rig.ask(&get("/livy/version"))
            .await
            .expect_refusal(502, "upstream_lost");
        for (request, method, path) in writes() {
            // An upload's answer has no body that could break off.
            if path.contains("upload") {
                continue;
            }
            rig.livy().clear();
            rig.livy().fault(Fault::reset_in_answer(bytes));
            expect_lost(&rig, &rig.ask(&request).await, path, true);
            assert_eq!(times(rig.livy(), method, path), 1, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_creation_is_201_and_the_session_is_there_once_and_usable() {
    let rig = with_sessions().await;
    rig.livy().fault(Fault::lose_answer());
    let reply = rig.ask(&post("/livy/sessions", CREATE)).await;
    expect_found(&rig, &reply, "/sessions", true);
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 1);
    assert_eq!(rig.ask(&get("/livy/sessions")).await.json()["total"], 2);
    rig.ask(&get("/livy/sessions/1/state")).await.expect_status(200);
    let path = rig.livy().last().path;
    assert!(
        path.starts_with("/sessions/livy-session-gw") && path.ends_with("/state"),
        "{path}"
    );
}

#[tokio::test]
async fn a_creation_that_livy_lost_is_409_and_keeps_its_place_and_nothing_is_listed() {
    let rig = Rig::start().await;
    rig.livy().fault(Fault::reset_after_request());
    let reply = rig.ask(&post("/livy/sessions", CREATE)).await;
    reply.expect_refusal(409, "outcome_unknown");
    assert!(reply.text().contains("List your sessions"), "{}", reply.text());
    assert_eq!(times(rig.livy(), "POST", "/sessions"), 1);
    assert_eq!(rig.livy().sessions().len(), 0);
    assert_eq!(rig.ask(&get("/livy/sessions")).await.json()["total"], 0);
    let places = rig
        .app()
        .shared()
        .ledger
        .all(livy_gateway::livy::Kind::Session)
        .await;
    let standings: Vec<_> = places.iter().map(|place| place.standing).collect();
    assert_eq!(standings, [livy_gateway::ledger::Standing::InDoubt]);
}

// --- Connections are kept.

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let rig = with_sessions().await;
    for _ in 0..10 {
        rig.ask(&get("/livy/sessions/0")).await.expect_status(200);
        rig.ask(&post("/livy/sessions/0/statements", STATEMENT))
            .await
            .expect_status(201);
        rig.ask(&get("/livy/sessions/99")).await.expect_status(404);
    }
    assert_eq!(rig.livy().connections(), 1);
}

#[tokio::test]
async fn a_connection_is_free_for_others_only_when_its_answer_was_read_to_the_end() {
    let rig = Rig::start().await;
    let held = rig.livy().fault(Fault::hold_answer_body(5).on("GET", "/version"));
    let mut first = rig.connect().await;
    first.send(get("/livy/version")).await;
    held.hit(1).await;
    rig.ask(&get("/livy/version")).await.expect_status(200);
    assert_eq!(rig.livy().last().connection, 2);
    held.release();
    let reply = first.reply().await;
    assert!(reply.is_whole && reply.json()["version"].is_string(), "{reply:?}");
    rig.ask(&get("/livy/version")).await.expect_status(200);
    assert_eq!(rig.livy().connections(), 2);
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys_answer() {
    let ok = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let url = raw_livy(move |_| format!("{}{}", ok("{}"), ok(r#"{"secret":"bob's"}"#)).into_bytes()).await;
    let rig = Setup::new().livy_url(&url).start().await;
    for _ in 0..20 {
        let reply = rig.ask(&get("/livy/version")).await;
        assert!(!reply.text().contains("secret"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_connection_is_given_up_before_livy_closes_it() {
    let rig = Rig::start().await;
    rig.ask(&get("/livy/version")).await.expect_status(200);
    rig.clock.advance(Duration::from_secs(21));
    rig.ask(&get("/livy/version")).await.expect_status(200);
    assert_eq!(
        rig.livy().last().connection,
        2,
        "Jetty closes what is idle for 30 s"
    );
}

// --- The gateway's own login.

#[tokio::test]
async fn the_gateway_logs_in_to_livy_as_configured_and_never_with_what_the_client_sent() {
    let (secret, _) = crate::rig::new_password();
    let (kind, auth) = (
        "basic".to_owned(),
        Auth::Basic {
            user: "gw".to_owned(),
            password: secret.clone(),
        },
    );
    let livy = |auth: Auth| FakeLivy::builder().impersonation(true).superuser("gw").auth(auth);
    let cases = [
        ("{ kind = \"none\" }".to_owned(), Auth::None, None),
        (
            format!("{{ kind = \"{kind}\", user = \"gw\", password = \"file:livy.password\" }}"),
            auth,
            Some("gw"),
        ),
        (
            "{ kind = \"simple\", user = \"gw\" }".to_owned(),
            Auth::Pseudo,
            Some("gw"),
        ),
    ];
    for (authenticate, auth, who) in cases {
        let rig = Setup::new()
            .livy(livy(auth))
            .livy_keys(&format!("authenticate = {authenticate}"))
            .file("livy.password", &secret)
            .start()
            .await;
        rig.ask(&post("/livy/sessions", CREATE)).await.expect_status(201);
        rig.ask(&get("/livy/sessions/0")).await.expect_status(200);
        for received in rig.livy().requests() {
            assert_eq!(received.remote_user.as_deref(), who, "{authenticate}");
            assert_eq!(received.effective_user.as_deref(), Some("alice"));
            let all = format!("{received:?}");
            assert!(!all.contains(crate::rig::basic("alice").trim_end()), "{all}");
            assert_eq!(
                received.header_values("authorization").len(),
                usize::from(authenticate.contains("basic"))
            );
            assert_eq!(received.header("cookie"), None);
        }
    }
}

#[tokio::test]
async fn a_livy_that_accepts_connections_and_never_speaks_tls_is_unreachable() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let (_, _, authority) = crate::rig::certificate();
    let rig = Setup::new()
        .livy_url(&url)
        .livy_keys("ca_file = \"ca.pem\"")
        .timeouts("connect = \"1s\"")
        .file("ca.pem", &authority)
        .start()
        .await;
    rig.ask(&post("/livy/sessions", CREATE))
        .await
        .expect_refusal(503, "upstream_unreachable");
    rig.ask(&get("/livy/version"))
        .await
        .expect_refusal(503, "upstream_unreachable");
}

#[tokio::test]
async fn a_read_that_its_client_gave_up_ends_when_livy_answers_and_at_the_latest_after_its_time() {
    let livy = SilentLivy::start().await;
    let rig = Setup::new().livy_url(&livy.url()).start().await;
    for is_answered in [true, false] {
        let mut client = rig.connect().await;
        client.send(get("/livy/version")).await;
        let mut asked = livy.is_asked("").await;
        drop(client);
        eventually("the gateway has noticed", async || {
            let counters = rig.app().shared().users.current();
            counters.busiest(1).iter().all(|user| user.under_way == 0)
        })
        .await;
        assert_eq!(rig.app().shared().traffic().at_livy, 1, "Livy has not");
        if is_answered {
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
            tokio::io::AsyncWriteExt::write_all(&mut asked.0, answer.as_bytes())
                .await
                .unwrap();
        }
        let step = if is_answered {
            Duration::ZERO
        } else {
            Duration::from_secs(5)
        };
        let ((), took) = rig.pass_until(step, asked.ends()).await;
        assert!(took <= Duration::from_secs(40), "{took:?}");
        eventually("its part is free", async || {
            rig.app().shared().traffic().at_livy == 0
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_its_client_no_longer_reads_ends_its_connection_to_livy() {
    let livy = SilentLivy::start().await;
    let rig = Setup::new().livy_url(&livy.url()).start().await;
    let mut client = rig.connect().await;
    client.send(get("/livy/version")).await;
    let half = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{";
    let asked = livy.is_asked(half).await;
    drop(client);
    asked.ends().await;
}

#[tokio::test]
async fn a_connection_whose_answer_did_not_come_in_time_is_given_up() {
    let livy = SilentLivy::start().await;
    let rig = Setup::new().livy_url(&livy.url()).start().await;
    let request = get("/livy/version");
    let asked = async { tokio::join!(rig.ask(&request), livy.is_asked("")) };
    let ((reply, asked), _) = rig.pass_until(Duration::from_secs(5), asked).await;
    reply.expect_refusal(504, "upstream_timeout");
    // Livy goes on with it, and has its part of the gateway's requests for as long again.
    let ((), took) = rig.pass_until(Duration::from_secs(5), asked.ends()).await;
    assert!(took <= Duration::from_secs(40), "{took:?}");
}
