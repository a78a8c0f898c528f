//! Each operation of Livy's API, asked through the gateway and of Livy itself, has the same outcome.

use livy_gateway::livy::operation::Operation;

use crate::conversation::everything;
use crate::support::{Gateway, Livy, Reply, Spark, difference, releases};

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_the_outcome_that_livy_itself_gives() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;

        let direct = everything(&livy.direct_as("alice"), 1, livy.files()).await;
        let through = everything(&gateway.as_user("alice"), 2, livy.files()).await;

        let mut refusals = Vec::new();
        let mut differences = Vec::new();
        for (direct, through) in direct.iter().zip(&through) {
            let asked = through
                .asked
                .replace(&livy.files().display().to_string(), "FILES");
            if is_denial(&through.reply) {
                assert_eq!(through.reply.status, direct.reply.status, "{asked}");
                refusals.push((asked, through.reply.status));
            } else if let Some(difference) = outcomes(&direct.reply, &through.reply) {
                differences.push(format!("{asked}, Livy and gateway: {difference}"));
            }
        }
        assert_eq!(differences, [""; 0]);
        assert_eq!(direct.len(), through.len());
        // What the gateway refuses by itself Livy refuses too, in other words.
        let refusals: Vec<_> = refusals
            .iter()
            .map(|(asked, status)| (asked.as_str(), *status))
            .collect();
        assert_eq!(refusals, REFUSED_BEFORE_LIVY);

        let metrics = gateway.metrics().await;
        for operation in Operation::one_of_each() {
            let counted = format!("livy_gateway_requests_total{{operation=\"{}\"", operation.label());
            assert!(metrics.contains(&counted), "not asked: {}", operation.label());
        }
    }
}

/// The gateway's own answers say so by their request id.
fn is_denial(reply: &Reply) -> bool {
    serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok_and(|body| body["request_id"].is_string())
}

/// In what the outcomes differ, headers that clients read included.
fn outcomes(direct: &Reply, through: &Reply) -> Option<String> {
    let location = |reply: &Reply, base: &str| {
        let path = reply.header("location")?.strip_prefix(base)?.to_owned();
        Some(path.replace(|letter: char| letter.is_ascii_digit(), ""))
    };
    let (ours, livys) = (location(through, "/livy"), location(direct, ""));
    if ours != livys {
        return Some(format!("Location {livys:?} and {ours:?}"));
    }
    let (ours, livys) = (through.header("content-type"), direct.header("content-type"));
    if ours != livys && !direct.body.is_empty() {
        return Some(format!("Content-Type {livys:?} and {ours:?}"));
    }
    difference(direct, through)
}

const REFUSED_BEFORE_LIVY: [(&str, u16); 3] = [
    ("GET /sessions?from=abc", 400),
    (r#"POST /sessions {"kind":"pyspark","name":"talk-2"}"#, 400),
    (r#"POST /batches {"file":"FILES/job.py","name":"talk-2"}"#, 400),
];
