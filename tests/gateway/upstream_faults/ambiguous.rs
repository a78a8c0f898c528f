//! What is answered to a write by somebody between the gateway and Livy, and what Livy itself refuses.

use livy_gateway::ledger::Standing;
use livy_gateway::livy;

use super::*;

const PAGE: &str = "<html><h1>Gateway Time-out</h1></html>";
const HTML: (&str, &str) = ("Content-Type", "text/html");

/// Answers that are not Livy's: those of proxies, and Jetty's page for what Livy's own handler did not see.
fn somebody_elses() -> Vec<Canned> {
    vec![
        canned(502, &[HTML], PAGE),
        canned(503, &[HTML], PAGE),
        canned(504, &[HTML], PAGE),
        canned(504, &[JSON], r#"{"message":"Endpoint request timed out"}"#),
        canned(503, &[JSON], r#"{"msg":"try again"}"#),
        canned(500, &[HTML], PAGE),
        canned(500, &[JSON], r#"{"message":"Internal server error"}"#),
        canned(500, &[], ""),
        canned(
            500,
            &[JSON],
            r#"{"servlet":"x","message":"Server Error","url":"/sessions","status":"500"}"#,
        ),
    ]
}

/// Some of them: each creation that is looked up takes seconds.
fn some_of_them() -> impl Iterator<Item = Canned> {
    somebody_elses().into_iter().step_by(3)
}

async fn standings(rig: &Rig) -> Vec<Standing> {
    let places = rig.app().shared().ledger.all(livy::Kind::Session).await;
    places.iter().map(|place| place.standing).collect()
}

#[tokio::test]
async fn a_creation_that_a_proxy_answered_for_livy_is_looked_up_and_its_session_told() {
    for canned in some_of_them() {
        let rig = with_sessions().await;
        for (request, method, path) in writes().into_iter().filter(|(_, _, path)| creates(path)) {
            rig.livy().fault(Fault::answer_instead(canned.clone()));
            expect_found(&rig, &rig.ask(&request).await, path, true);
            assert_eq!(times(rig.livy(), method, path), 1, "{canned:?}");
        }
    }
}

#[tokio::test]
async fn a_creation_that_a_proxy_answered_and_that_is_not_there_is_in_doubt_and_never_5xx() {
    for canned in some_of_them() {
        let rig = Rig::start().await;
        rig.livy().fault(Fault::answer(canned.clone()));
        let reply = rig.ask(&post("/livy/sessions", CREATE)).await;
        reply.expect_refusal(409, "outcome_unknown");
        assert_eq!(standings(&rig).await, [Standing::InDoubt], "{canned:?}");
    }
}

#[tokio::test]
async fn every_other_write_that_a_proxy_answered_is_409_and_a_read_says_what_came() {
    for canned in somebody_elses() {
        let rig = with_sessions().await;
        for (request, method, path) in writes().into_iter().filter(|(_, _, path)| !creates(path)) {
            rig.livy().clear();
            rig.livy().fault(Fault::answer(canned.clone()));
            let reply = rig.ask(&request).await;
            reply.expect_refusal(409, "outcome_unknown");
            assert_eq!(times(rig.livy(), method, path), 1, "{canned:?}");
        }
        rig.livy().fault(Fault::answer(canned.clone()));
        let reply = rig.ask(&get("/livy/sessions/0/log")).await;
        reply.expect_status(canned.status);
    }
}

#[tokio::test]
async fn what_livy_itself_refuses_is_refused_in_its_words_and_holds_no_place() {
    let (word, object) = (
        r#""java.lang.IllegalStateException: no""#,
        r#"{"msg":"Rejected, Reason: no"}"#,
    );
    for (status, text) in [
        (400, object),
        (400, word),
        (500, word),
        (500, object),
        (403, "{}"),
    ] {
        let rig = Rig::start().await;
        rig.livy().fault(Fault::answer(canned(status, &[JSON], text)));
        let reply = rig.ask(&post("/livy/sessions", CREATE)).await;
        assert_eq!((reply.status, reply.text().as_str()), (status, text));
        let standings = standings(&rig).await;
        assert!(
            standings.iter().all(|standing| *standing == Standing::Gone),
            "{status} {text}: {standings:?}"
        );
    }
}

#[tokio::test]
async fn a_filter_in_front_of_livy_that_refuses_lets_nothing_through() {
    // Livy's CSRF filter, and a proxy that takes no such body: both answer before Livy could have created anything.
    for status in [400, 405, 413] {
        let rig = Rig::start().await;
        rig.livy().fault(Fault::answer(canned(status, &[HTML], PAGE)));
        let reply = rig.ask(&post("/livy/sessions", CREATE)).await;
        reply.expect_refusal(status, "upstream_error");
        let standings = standings(&rig).await;
        assert!(
            standings.iter().all(|standing| *standing == Standing::Gone),
            "{status}: {standings:?}"
        );
    }
}
