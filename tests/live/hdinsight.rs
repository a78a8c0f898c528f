//! In HDInsight's place: the calls of its published pages, made by curl over TLS.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::{Gateway, Livy, Spark, releases};

#[tokio::test(flavor = "multi_thread")]
async fn the_published_calls_work_as_they_are_written() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start_with_tls(&livy).await;

        let made = Command::new(CALLS)
            .arg(format!("https://localhost:{}", gateway.port()))
            .env("LIVY_USER", "alice")
            .env("LIVY_PASSWORD", gateway.password("alice"))
            .env("CACERT", gateway.ca_file())
            .env("STORAGE", livy.files())
            .env("CODE", "sum([1, 2, 3])")
            .env("RESULT", "6")
            .env_remove("https_proxy")
            .env("NO_PROXY", "localhost")
            .stdin(Stdio::null())
            .output()
            .await
            .expect("deploy/hdinsight/calls.sh");

        let said = String::from_utf8_lossy(&made.stdout);
        let complained = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}{complained}");
        assert!(said.ends_with("All answers were as expected.\n"), "{said}");
    }
}

const CALLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/hdinsight/calls.sh");
