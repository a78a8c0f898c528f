//! Nobody takes all of Livy, and many users leave nothing behind.

use std::fmt::Write as _;
use std::time::Duration;

use fake_livy::{Fault, Kind, Received};
use serde_json::json;

use super::as_bob;
use crate::rig::{Client, HEADER, Issuer, Rig, Setup, eventually, get, plain, post};

const LIVY_OF_4: &str = "requests_at_once = 4";

fn is_alices(request: &Received) -> bool {
    request.query_values("doAs") == ["alice"]
}

fn at_livy(rig: &Rig) -> (usize, usize) {
    let traffic = rig.app().shared().traffic();
    (traffic.at_livy, traffic.waiting)
}

async fn asks(rig: &Rig, request: &str) -> Client {
    let mut client = rig.connect().await;
    client.send(request).await;
    client
}

#[tokio::test]
async fn a_stuck_user_waits_for_what_is_left_and_others_do_not() {
    let rig = Setup::new().livy_keys(LIVY_OF_4).start().await;
    let held = rig.livy().fault(Fault::hold_answer().when(is_alices).always());
    let mut stuck = [
        asks(&rig, &get("/livy/version")).await,
        asks(&rig, &get("/livy/version")).await,
    ];
    held.hit(2).await;
    let mut waiting = asks(&rig, &get("/livy/version")).await;
    let mut impatient = asks(&rig, &get("/livy/version")).await;
    eventually("two wait", async || at_livy(&rig) == (2, 2)).await;
    for _ in 0..20 {
        as_bob(&rig, "GET", "/livy/version", "").await.expect_status(200);
    }
    held.release_one();
    let (first, _) = rig
        .pass_until(Duration::ZERO, async {
            let [one, two] = &mut stuck;
            tokio::select! { reply = one.reply() => reply, reply = two.reply() => reply }
        })
        .await;
    first.expect_status(200);
    held.hit(3).await;
    assert_eq!(at_livy(&rig), (2, 1), "one for one");
    let ((), waited) = rig
        .pass_until(Duration::from_millis(500), async {
            tokio::select! {
                reply = waiting.reply() => drop(reply.expect_refusal(503, "overloaded")),
                reply = impatient.reply() => drop(reply.expect_refusal(503, "overloaded")),
            }
        })
        .await;
    assert!(waited <= Duration::from_millis(4000), "{waited:?}");
    held.release();
    eventually("nothing is left behind", async || at_livy(&rig) == (0, 0)).await;
}

#[tokio::test]
async fn deletions_that_livy_does_not_end_leave_room_for_everybody_else() {
    let rig = Setup::new()
        .livy_keys(LIVY_OF_4)
        .owned("alice", 6)
        .plant(Kind::Session)
        .start()
        .await;
    let held = rig.livy().fault(Fault::hold_answer().on("DELETE", "/").always());
    let mut clients = Vec::new();
    for id in 0..6 {
        clients.push(asks(&rig, &plain("DELETE", &format!("/livy/sessions/{id}"))).await);
    }
    held.hit(3).await;
    eventually("the others wait", async || at_livy(&rig) == (3, 3)).await;
    as_bob(&rig, "GET", "/livy/version", "").await.expect_status(200);
    // They wait longer than a read would, and are done when their turn comes.
    rig.clock.advance(Duration::from_secs(10));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(at_livy(&rig), (3, 3));
    held.release();
    for client in &mut clients {
        client.reply().await.expect_status(200);
    }
    assert_eq!(at_livy(&rig), (0, 0));
}

#[tokio::test]
async fn whoever_has_filled_livy_can_still_create_cancel_and_delete_and_be_helped() {
    let rig = Setup::new()
        .livy_keys(LIVY_OF_4)
        .owned("alice", 2)
        .rest("[roles]\noperator = [\"user:bob\"]")
        .start()
        .await;
    let held = rig
        .livy()
        .fault(Fault::hold_answer().on("GET", "/version").always());
    let _stuck = [
        asks(&rig, &get("/livy/version")).await,
        asks(&rig, &get("/livy/version")).await,
    ];
    held.hit(2).await;
    rig.ask(plain("POST", "/livy/sessions/0/statements/0/cancel"))
        .await
        .expect_status(200);
    rig.ask(post("/livy/sessions", r#"{"kind":"spark"}"#))
        .await
        .expect_status(201);
    rig.ask(plain("DELETE", "/livy/sessions/0"))
        .await
        .expect_status(200);
    // What an operator does to her session is counted as the operator's.
    let deleting = rig.livy().fault(Fault::hold_answer().on("DELETE", "/sessions/"));
    let _ending = asks(&rig, &plain("DELETE", "/livy/sessions/2")).await;
    deleting.hit(1).await;
    as_bob(&rig, "DELETE", "/livy/sessions/1", "")
        .await
        .expect_status(200);
}

#[tokio::test]
async fn what_its_client_gave_up_holds_its_part_as_long_as_livy_works_at_it() {
    let rig = Setup::new().livy_keys(LIVY_OF_4).start().await;
    let held = rig.livy().fault(Fault::hold_answer().when(is_alices).always());
    for times in 1..=2 {
        let client = asks(&rig, &get("/livy/version")).await;
        held.hit(times).await;
        drop(client);
    }
    eventually("nobody is under way", async || {
        rig.app().shared().users.current().busiest(1)[0].under_way == 0
    })
    .await;
    assert_eq!(at_livy(&rig), (2, 0), "Livy does not notice");
    let mut third = asks(&rig, &get("/livy/version")).await;
    let (reply, _) = rig.pass_until(Duration::from_millis(500), third.reply()).await;
    reply.expect_refusal(503, "overloaded");
    held.release();
    eventually("Livy has answered, and it is given back", async || {
        at_livy(&rig) == (0, 0)
    })
    .await;
    rig.ask(get("/livy/version")).await.expect_status(200);
}

#[tokio::test]
async fn a_number_that_means_a_strangers_session_when_there_is_room_at_last_is_not_used() {
    let rig = Setup::new().livy_keys(LIVY_OF_4).owned("alice", 1).start().await;
    let held = rig.livy().fault(Fault::hold_answer().when(is_alices).always());
    let mut stuck = Vec::new();
    for _ in 0..2 {
        stuck.push(asks(&rig, &get("/livy/version")).await);
    }
    held.hit(2).await;
    let mut reading = asks(&rig, &get("/livy/sessions/0/log")).await;
    let mut writing = asks(&rig, &post("/livy/sessions/0/statements", r#"{"code":"1"}"#)).await;
    eventually("both wait", async || at_livy(&rig) == (2, 2)).await;
    rig.livy().restart();
    rig.livy().plant(Kind::Session, None, Some("bob"), Some("bob"));
    rig.livy().clear();
    rig.clock.advance(Duration::from_secs(2));
    held.disarm();
    let (reply, _) = rig.pass_until(Duration::from_millis(100), reading.reply()).await;
    assert!(matches!(reply.status, 404 | 503), "{reply:?}");
    let (reply, _) = rig.pass_until(Duration::from_millis(100), writing.reply()).await;
    assert!(matches!(reply.status, 404 | 503 | 429), "{reply:?}");
    let to_bobs = rig.livy().requests();
    assert!(
        to_bobs.iter().all(|asked| !asked.path.starts_with("/sessions/0")),
        "{to_bobs:?}"
    );
}

#[tokio::test]
async fn a_write_that_finds_no_room_is_429_since_clients_post_again_whatever_is_5xx() {
    let rig = Setup::new()
        .livy_keys("requests_at_once = 1")
        .plant(Kind::Session)
        .start()
        .await;
    let held = rig.livy().fault(Fault::hold_answer().on("GET", "/version"));
    let mut reading = asks(&rig, &get("/livy/version")).await;
    held.hit(1).await;
    let mut writing = asks(&rig, &post("/livy/sessions/0/statements", r#"{"code":"1"}"#)).await;
    let (reply, _) = rig.pass_until(Duration::from_millis(500), writing.reply()).await;
    reply.expect_refusal(429, "overloaded");
    held.release();
    reading.reply().await.expect_status(200);
}

#[tokio::test]
async fn ten_thousand_users_leave_ten_names_in_the_metrics() {
    const USERS: usize = 10_000;
    let issuer = Issuer::new();
    let identity = "[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n\
        [limits]\nper_address = { rate = \"100000/s\", burst = 100000 }\n";
    let (_stage, process) = issuer.trusted_by(Setup::new(), identity).spawn().await;
    let mut client = Client::connect(process.address).await;
    // Fewer round trips: as many at once as a connection carries.
    for batch in 0..USERS / 100 {
        let mut requests = String::new();
        for user in 0..100 {
            let mut claims = Issuer::claims(&format!("user-{}", batch * 100 + user));
            claims["iat"] = json!(0);
            claims["exp"] = json!(4_000_000_000_u64);
            let token = issuer.sign(HEADER, &claims.to_string());
            write!(
                requests,
                "GET /livy/sessions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\n\r\n"
            )
            .unwrap();
        }
        client.send(requests).await;
        for _ in 0..100 {
            client.reply().await.expect_status(200);
        }
    }
    let mut admin = Client::connect(process.admin).await;
    admin.send("GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").await;
    let text = admin.reply().await.text();
    assert!(text.contains(&format!("livy_gateway_users {USERS}\n")), "{text}");
    let named = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(named("livy_gateway_user_requests_total{"), 10);
    assert_eq!(named("livy_gateway_user_refusals_total{"), 10);
    assert_eq!(named("livy_gateway_user_upstream_requests{"), 10);
    assert_eq!(named("livy_gateway_user_held{"), 40);
    assert_eq!(named("livy_gateway_user_quota{"), 40);
    assert_eq!(text.matches("user-").count(), 110, "and in nothing else");
    assert!(text.lines().count() < 3000, "{}", text.lines().count());
}
