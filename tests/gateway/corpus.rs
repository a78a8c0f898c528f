//! Several hundred hostile requests, and harmless ones beside them, sent by each kind of login to a Livy that records.
//!
//! Each case says how it ends. Whatever it is, the gateway never fails over it, and whatever reaches Livy is a canonical
//! request that acts as the user who logged in.

mod benign;
mod framing;
mod hostile;
mod logins;
mod targets;

use std::collections::BTreeSet;

use fake_livy::{Kind, Received, State};

use crate::operations::HEADERS;
use crate::rig::{Client, Issuer, Reply, Rig, Setup, basic, get, lists_only, marker, request};

/// Stands in a request for the lines of whoever sends it.
const LOGIN: &str = "@LOGIN@";

/// One request, and how it ends.
struct Case {
    bytes: Vec<u8>,
    ends: Ends,
}

#[derive(Clone)]
enum Ends {
    /// Refused: Livy receives nothing.
    Refused(u16, &'static str),
    /// Refused, and as the answer to a HEAD without a body: Livy receives nothing.
    BodilessRefusal(u16),
    /// Refused in Livy's own words for a session that is not there; Livy receives nothing.
    NoSession,
    /// Livy receives exactly this method and target; `USER` stands for who logged in.
    Reaches(&'static str, String),
    /// A list of what whoever logged in owns, empty or not; Livy receives nothing.
    Lists(bool),
}

impl Case {
    fn new(bytes: impl Into<Vec<u8>>, ends: Ends) -> Self {
        let bytes = bytes.into();
        Self { bytes, ends }
    }

    /// A request of the logged-in user.
    fn of(method: &str, target: &str, lines: &str, body: impl AsRef<[u8]>, ends: Ends) -> Self {
        Self::new(request(method, target, &format!("{LOGIN}{lines}"), body), ends)
    }

    fn by(&self, login: &str) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(at) = bytes
            .windows(LOGIN.len())
            .position(|window| window == LOGIN.as_bytes())
        {
            bytes.splice(at..at + LOGIN.len(), login.bytes());
        }
        bytes
    }

    fn shown(&self) -> String {
        self.bytes[..self.bytes.len().min(400)].escape_ascii().to_string()
    }
}

/// A gateway that trusts passwords and tokens, slows nobody down, and has a Livy with sessions and batches 0 to 39 of
/// this user's, some that have a name, and some of others'.
async fn field(issuer: &Issuer, user: &'static str) -> Rig {
    let limits = "[limits]\nper_address = { rate = \"10000/s\", burst = 10000 }\n\
        failed_logins = { per_address = \"10000/s\", per_address_and_account = \"10000/s\" }\n";
    let mapping = "[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n";
    let setup = benign::NAMED
        .into_iter()
        .fold(Setup::new().roomy().owned(user, 40), |setup, (kind, name)| {
            setup.named(kind, name, user)
        })
        .owned("mallory", 3);
    issuer
        .trusted_by(setup, &format!("{mapping}{limits}"))
        .start()
        .await
}

async fn run(rig: &Rig, cases: &[Case], login: &str, user: &str) {
    for session in rig.livy().sessions() {
        rig.livy().set_state(Kind::Session, session.id, State::Idle);
    }
    let mut ending = Vec::new();
    for case in cases {
        rig.livy().clear();
        let mut client = rig.connect().await;
        // A refusal may come before everything was taken.
        let _ = client.try_send(case.by(login)).await;
        let reply = answer(&mut client, case).await;
        let received = rig.livy().requests();
        check(case, &reply, &received, user);
        if reply.outcome().1 == "bad_framing" {
            ending.push(client);
        }
    }
    // What lies behind bad framing is never read as a request, and nothing that was refused comes late.
    for mut client in ending {
        client.end().await;
    }
    rig.livy().clear();
    rig.ask(get("/livy/version")).await.expect_status(200);
    assert_eq!(rig.livy().requests().len(), 1);
}

async fn answer(client: &mut Client, case: &Case) -> Reply {
    if case.bytes.starts_with(b"HEAD ") {
        client.reply_to_head().await
    } else {
        client.reply().await
    }
}

#[track_caller]
fn check(case: &Case, reply: &Reply, received: &[Received], user: &str) {
    let shown = case.shown();
    assert!(reply.status < 500, "{shown}\n{}", reply.text());
    match &case.ends {
        Ends::Refused(status, code) => {
            assert!(received.is_empty(), "{shown}\nreached Livy: {received:#?}");
            assert_eq!(
                reply.outcome(),
                (*status, (*code).to_owned()),
                "{shown}\n{}",
                reply.text()
            );
            reply.expect_refusal(*status, code);
        }
        Ends::BodilessRefusal(status) => {
            assert!(received.is_empty(), "{shown}\nreached Livy: {received:#?}");
            assert_eq!(reply.status, *status, "{shown}");
        }
        Ends::NoSession => {
            assert!(received.is_empty(), "{shown}\nreached Livy: {received:#?}");
            assert_eq!(reply.status, 404, "{shown}\n{}", reply.text());
            let keys: Vec<_> = reply.json().as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys, ["msg"], "{shown}");
        }
        Ends::Reaches(method, target) => {
            assert_eq!(received.len(), 1, "{shown}\n{}", reply.text());
            let expected = (*method, target.replace("USER", user));
            let actual = (received[0].method.as_str(), received[0].target.clone());
            assert_eq!(actual, expected, "{shown}");
            assert_eq!(
                Some(reply.status),
                received[0].status,
                "{shown}\n{}",
                reply.text()
            );
        }
        Ends::Lists(shows) => {
            assert!(received.is_empty(), "{shown}\nreached Livy: {received:#?}");
            assert_eq!(reply.status, 200, "{shown}\n{}", reply.text());
            if !case.bytes.starts_with(b"HEAD ") {
                assert_eq!(!lists_only(reply, user).is_empty(), *shows, "{shown}");
            }
        }
    }
    for received in received {
        assert_eq!(received.query_values("doAs"), [user], "{shown}");
        assert_eq!(received.method, received.effective_method, "{shown}");
        for (name, value) in &received.headers {
            let name = name.to_ascii_lowercase();
            assert!(HEADERS.contains(&name.as_str()), "{shown}\n{name}: {value}");
        }
        assert_eq!(
            received.header("traceparent"),
            None,
            "{shown}: none in here is well-formed"
        );
        assert_eq!(
            received.header("x-request-id"),
            reply.header("x-request-id"),
            "{shown}"
        );
        let is_creation = received.operation.is_some_and(|name| name.starts_with("create"));
        let users: Vec<_> = received
            .text()
            .match_indices("proxyUser")
            .map(|(at, _)| at)
            .collect();
        assert_eq!(users.len(), usize::from(is_creation), "{shown}");
        if is_creation {
            assert_eq!(received.json()["proxyUser"], user, "{shown}");
            marker(received);
        }
        if received.operation.is_some_and(|name| name != "version") {
            assert_eq!(received.effective_user.as_deref(), Some(user), "{shown}");
        }
    }
}

/// The whole corpus of requests, which anybody may send.
fn everything() -> Vec<Case> {
    targets::cases()
        .into_iter()
        .chain(framing::cases())
        .chain(hostile::cases())
        .collect()
}

/// Each kind of login that alice has.
fn kinds_of_login(issuer: &Issuer) -> [String; 3] {
    [
        basic("alice"),
        issuer.bearer("alice"),
        issuer.as_password("alice", "alice"),
    ]
}

#[tokio::test]
async fn a_hostile_request_never_reaches_livy_but_as_the_harmless_one_of_whoever_sent_it() {
    let issuer = Issuer::new();
    let rig = field(&issuer, "alice").await;
    let cases = everything();
    assert!(cases.len() > 1500, "{}", cases.len());
    for login in kinds_of_login(&issuer) {
        run(&rig, &cases, &login, "alice").await;
    }
    assert_eq!(rig.livy().bad_messages(), 0);
}

#[tokio::test]
async fn a_hostile_request_without_a_login_reaches_livy_in_no_form() {
    let issuer = Issuer::new();
    let rig = field(&issuer, "alice").await;
    for case in everything() {
        let mut client = rig.connect().await;
        let _ = client.try_send(case.by("")).await;
        let reply = answer(&mut client, &case).await;
        let (status, code) = reply.outcome();
        assert!((400..500).contains(&status), "{}\n{}", case.shown(), reply.text());
        match case.ends {
            Ends::BodilessRefusal(_) => {}
            Ends::NoSession => assert!(code.is_empty(), "{}", case.shown()),
            Ends::Refused(..) | Ends::Reaches(..) | Ends::Lists(_) => {
                reply.expect_refusal(status, &code);
            }
        }
    }
    assert!(rig.livy().requests().is_empty(), "{:#?}", rig.livy().requests());
}

#[tokio::test]
async fn a_login_that_is_not_wholly_good_is_nobodys() {
    let issuer = Issuer::new();
    let rig = field(&issuer, "alice").await;
    let cases = logins::cases(&issuer);
    assert!(cases.len() > 90, "{}", cases.len());
    run(&rig, &cases, "", "alice").await;
}

#[tokio::test]
async fn a_harmless_request_passes_by_every_kind_of_login() {
    let issuer = Issuer::new();
    let cases = benign::cases();
    assert!(cases.len() > 60, "{}", cases.len());
    let mut runs: Vec<_> = kinds_of_login(&issuer).map(|login| (login, "alice")).into();
    // Another user's requests are that user's.
    runs.push((issuer.bearer("bob"), "bob"));
    // A fresh field for each, since some requests end sessions for good; and together, since each write to a number
    // waits for a list.
    let runs = runs
        .iter()
        .map(|(login, user)| run_harmless(&issuer, &cases, login, user));
    futures_util::future::join_all(runs).await;
}

async fn run_harmless(issuer: &Issuer, cases: &[Case], login: &str, user: &'static str) {
    let rig = field(issuer, user).await;
    for _ in 0..4 {
        // So that statement 3 and job 3 are there.
        for (path, body) in [
            ("statements", r#"{"code":"1"}"#),
            ("submit-job", r#"{"job":"AAAA","jobType":"spark"}"#),
        ] {
            let target = format!("/livy/sessions/7/{path}");
            let lines = format!("{login}Content-Type: application/json\r\n");
            let reply = rig.ask(request("POST", &target, &lines, body)).await;
            assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
        }
    }
    run(&rig, cases, login, user).await;
}

#[tokio::test]
async fn the_body_of_a_request_that_was_refused_is_never_read_as_the_next_one() {
    let rig = field(&Issuer::new(), "alice").await;
    let hidden = get("/livy/sessions/666");
    let (own, form) = (
        basic("alice"),
        "Content-Type: application/x-www-form-urlencoded\r\n",
    );
    let chunked = format!(
        "POST /livy/nothing HTTP/1.1\r\nHost: gw\r\n{own}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
        hidden.len()
    );
    for (bytes, status) in [
        (request("POST", "/livy/nothing", &own, &hidden), 404),
        (request("POST", "/livy/sessions", "", &hidden), 401),
        (request("PUT", "/livy/sessions", &own, &hidden), 405),
        (request("GET", "/livy/sessions", &own, &hidden), 400),
        (request("DELETE", "/livy/sessions/5?doAs=bob", &own, &hidden), 403),
        (
            request("POST", "/livy/sessions", &format!("{own}{form}"), &hidden),
            415,
        ),
        (request("POST", "/livy/sessions?_method=GET", &own, &hidden), 400),
        (request("POST", "/livy/sessions/5/upload-jar", &own, &hidden), 415),
        (request("OPTIONS", "/livy/sessions", "", &hidden), 204),
        (chunked.into_bytes(), 404),
    ] {
        rig.livy().clear();
        let shown = bytes.escape_ascii().to_string();
        let mut client = rig.connect().await;
        client.send(&bytes).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{shown}");
        if reply.header("connection") == Some("close") {
            client.end().await;
            assert!(rig.livy().requests().is_empty(), "{shown}");
        } else {
            client.send(get("/livy/version")).await;
            client.reply().await.expect_status(200);
            assert_eq!(rig.livy().requests().len(), 1, "{shown}");
            assert_eq!(rig.livy().last().path, "/version", "{shown}");
        }
    }
}

#[test]
fn no_case_is_there_twice() {
    let cases = everything();
    let different: BTreeSet<_> = cases.iter().map(|case| case.bytes.clone()).collect();
    assert_eq!(different.len(), cases.len());
}
