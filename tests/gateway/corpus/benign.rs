//! What real clients send, oddities included. All of it passes.

use fake_livy::Kind;
use livy_gateway::livy::operation::{Action, Method, Operation};

use super::{Case, Ends};
use crate::rig::sample_body;

const JSON: &str = "Content-Type: application/json\r\n";

/// What the field has beside its numbers: sessions 40 to 43, batches 40 and 41. Those after them are mallory's.
pub(super) const NAMED: [(Kind, &str); 6] = [
    (Kind::Session, "etl"),
    (Kind::Session, "a"),
    (Kind::Session, "Prod-ETL_1.0"),
    (Kind::Session, "sessions"),
    (Kind::Batch, "nightly.2026-01-01"),
    (Kind::Batch, "log"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // What ends a session comes last, or nothing would be left for the others.
    let mut all = Operation::one_of_each();
    all.sort_by_key(|operation| match operation {
        Operation::On(_, Action::Delete) => 2,
        // Livy stops a session too when it is told to interrupt it.
        Operation::On(_, Action::Stop | Action::Interrupt) => 1,
        Operation::Version | Operation::List(_) | Operation::Create(_) | Operation::On(..) => 0,
    });
    for operation in all {
        let (lines, body) = sample_body(&operation);
        let method = operation.method();
        let target = format!("/livy{operation}");
        cases.push(Case::of(
            method.as_str(),
            &target,
            lines,
            body,
            passes(&operation, method),
        ));
        if method == Method::Get {
            cases.push(Case::of(
                "HEAD",
                &target,
                "",
                "",
                passes(&operation, Method::Head),
            ));
        }
    }
    // By name, which Livy hears as the number of what it was found to mean, and at the ends of ranges.
    for (path, reached) in [
        ("/sessions/etl", "/sessions/40"),
        ("/sessions/a", "/sessions/41"),
        ("/sessions/Prod-ETL_1.0/state", "/sessions/42/state"),
        ("/sessions/sessions", "/sessions/43"),
        ("/batches/nightly.2026-01-01/log", "/batches/40/log"),
        ("/batches/log/log", "/batches/41/log"),
        ("/sessions/0", "/sessions/0"),
        (
            "/sessions/5/statements/2147483647",
            "/sessions/5/statements/2147483647",
        ),
    ] {
        cases.push(Case::of(
            "GET",
            &format!("/livy{path}"),
            "",
            "",
            reaches(Method::Get, reached),
        ));
    }
    // As absent as what is mallory's.
    for path in [
        "/sessions/2147483647",
        "/sessions/44",
        "/batches/42/log",
        "/sessions/nobodys",
    ] {
        cases.push(Case::of("GET", &format!("/livy{path}"), "", "", Ends::NoSession));
    }
    for (target, shows) in [
        ("/sessions?from=0&size=100", true),
        ("/batches?size=1", true),
        ("/batches?from=-1&size=3", true),
        ("/sessions?size=-1", false),
        ("/sessions?from=1000000", false),
    ] {
        cases.push(Case::of(
            "GET",
            &format!("/livy{target}"),
            "",
            "",
            Ends::Lists(shows),
        ));
    }
    for (target, reached) in [
        (
            "/batches/5/log?from=100&size=100",
            "/batches/5/log?doAs=USER&from=100&size=100",
        ),
        ("/sessions/5/log?size=-1", "/sessions/5/log?doAs=USER&size=-1"),
        (
            "/batches/5/log?size=2147483647",
            "/batches/5/log?doAs=USER&size=2147483647",
        ),
        (
            "/sessions/5/statements?order=desc&size=1",
            "/sessions/5/statements?doAs=USER&size=1&order=desc",
        ),
    ] {
        let ends = Ends::Reaches("GET", reached.into());
        cases.push(Case::of("GET", &format!("/livy{target}"), "", "", ends));
    }
    let session = || reaches(Method::Post, "/sessions");
    for body in [
        r#"{"kind":"pyspark","heartbeatTimeoutInSecond":60,"conf":{"spark.dynamicAllocation.enabled":false}}"#,
        r#"{"kind":"sql","conf":{}}"#,
        r#"{"conf":{"livy.uri":"https://gw/livy","livy.client.http.connection.timeout":"10s"}}"#,
        r#"{"proxyUser":null,"kind":"spark"}"#,
        r#"{"kind":"sparkr","jars":[],"pyFiles":["hdfs:///x.py"],"archives":["hdfs:///e.tgz#env"],"queue":"default"}"#,
        r#"{"driverMemory":"1g","driverCores":1,"executorMemory":"1g","executorCores":1,"numExecutors":2}"#,
    ] {
        cases.push(Case::of("POST", "/livy/sessions", JSON, body, session()));
    }
    for lines in [
        "",
        "Content-Type: application/json; charset=UTF-8\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json\r\nContent-Encoding: UTF-8\r\nX-Requested-By: livy\r\nUser-Agent: livy-client-http\r\n",
        "Content-Type: application/json\r\nX-Requested-By: ambari\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n",
        "Content-Type: application/json\r\nOrigin: http://gw\r\nSec-Fetch-Site: same-origin\r\n",
        "Content-Type: application/json\r\nExpect: 100-continue\r\n",
    ] {
        cases.push(Case::of(
            "POST",
            "/livy/sessions/",
            lines,
            r#"{"kind":"spark"}"#,
            session(),
        ));
    }
    for (path, body) in [
        ("/sessions/5/statements/0/cancel", "{}"),
        ("/sessions/5/connect", ""),
        ("/sessions/5/stop", " {} "),
    ] {
        cases.push(Case::of(
            "POST",
            &format!("/livy{path}"),
            JSON,
            body,
            reaches(Method::Post, path),
        ));
    }
    cases
}

fn passes(operation: &Operation, method: Method) -> Ends {
    match operation {
        Operation::List(_) => Ends::Lists(true),
        Operation::Version | Operation::Create(_) | Operation::On(..) => {
            reaches(method, &operation.to_string())
        }
    }
}

fn reaches(method: Method, path: &str) -> Ends {
    Ends::Reaches(method.as_str(), format!("{path}?doAs=USER"))
}
