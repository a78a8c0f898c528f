//! What real clients send, oddities included. All of it passes.

use livy_gateway::livy::operation::{Method, Operation};

use super::{Case, Ends};
use crate::rig::sample_body;

const JSON: &str = "Content-Type: application/json\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in Operation::one_of_each() {
        let (lines, body) = sample_body(&operation);
        let method = operation.method();
        let target = format!("/livy{operation}");
        cases.push(Case::of(
            method.as_str(),
            &target,
            lines,
            body,
            reaches(method, &format!("{operation}")),
        ));
        if method == Method::Get {
            cases.push(Case::of(
                "HEAD",
                &target,
                "",
                "",
                reaches(Method::Head, &format!("{operation}")),
            ));
        }
    }
    // By name, and at the ends of ranges.
    for path in [
        "/sessions/etl",
        "/sessions/a",
        "/sessions/Prod-ETL_1.0/state",
        "/batches/nightly.2026-01-01/log",
        "/sessions/0",
        "/sessions/2147483647",
        "/sessions/5/statements/2147483647",
        "/sessions/sessions",
        "/batches/log/log",
    ] {
        cases.push(Case::of(
            "GET",
            &format!("/livy{path}"),
            "",
            "",
            reaches(Method::Get, path),
        ));
    }
    for (target, reached) in [
        ("/sessions?from=0&size=100", "/sessions?doAs=USER&from=0&size=100"),
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

fn reaches(method: Method, path: &str) -> Ends {
    Ends::Reaches(method.as_str(), format!("{path}?doAs=USER"))
}
