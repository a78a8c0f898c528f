//! Published clients, unchanged, run their main flow through the gateway, and Livy sees alice alone.
//!
//! `clients/install` has their versions; a script beside it is each one's main flow and prints what came of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{Gateway, Livy, Spark, releases};

#[tokio::test(flavor = "multi_thread")]
async fn pylivy_runs_a_session_and_a_batch() {
    let came = json!({ "answer": "42", "batch": "success", "counted": true });
    Client::in_python("pylivy", "pylivy_flow.py")
        .runs(Spark::Fake, came)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sparkmagic_runs_cells_of_python_and_sql() {
    let came = json!({ "ok": true, "answer": "(42, 'alice')", "frame": [42], "listed": ["idle"] });
    let sparkmagic = Client::in_python("sparkmagic", "sparkmagic_flow.py");
    sparkmagic.runs(Spark::Real, came).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn airflows_operator_submits_a_batch_and_reads_its_log() {
    let came = json!({ "succeeded": true, "counted": true });
    Client::in_python("airflow", "airflow_flow.py")
        .runs(Spark::Fake, came)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dbt_makes_a_model() {
    let dbt = Client::in_python("dbt-spark-livy", "dbt_flow.py");
    dbt.runs(Spark::Real, json!({ "made": true })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn livyc_runs_a_script_and_reads_a_variable() {
    let livyc = Client::in_python("livyc", "livyc_flow.py");
    livyc.runs(Spark::Real, json!({ "answer": 42 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn livy_submit_submits_a_file_and_brings_its_output() {
    let came = json!({ "answer": "42", "deleted": true, "none_left": true });
    let livy_submit = Client::in_python("livy-submit", "livy_submit_flow.py");
    livy_submit.runs(Spark::Fake, came).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn livy_uploads_runs_code_and_uploads_with_a_token() {
    let came = json!({ "answer": 42, "printed": "hello", "listed": ["uploads"] });
    let livy_uploads = Client::in_python("livy-uploads", "livy_uploads_flow.py");
    livy_uploads.runs(Spark::Fake, came).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_livy_client_runs_a_session_and_a_batch() {
    let came = json!({ "before": 0, "answer": "42", "killed": "deleted", "counted": true });
    Client::in_node("npm-livy-client", "npm_flow.js")
        .runs(Spark::Fake, came)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn livys_java_client_uploads_adds_and_submits_a_job() {
    let home = install("java-client");
    let java = Client {
        program: home.join("java"),
        arguments: vec![
            "-cp".into(),
            home.join("jars/*"),
            flow("java/JavaClientFlow.java"),
        ],
        modules: PathBuf::new(),
    };
    java.runs(Spark::Fake, json!({ "job_reached_driver": true }))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_runs_sessions_and_batches_in_three_habits() {
    let curl = Client {
        program: flow("curl_flow.sh"),
        arguments: Vec::new(),
        modules: PathBuf::new(),
    };
    curl.runs(Spark::Fake, json!({ "habits": 3 })).await;
}

/// How a client is run.
struct Client {
    program: PathBuf,
    arguments: Vec<PathBuf>,
    modules: PathBuf,
}

impl Client {
    fn in_python(name: &str, script: &str) -> Self {
        Self {
            program: install(name).join("bin/python"),
            arguments: vec![flow(script)],
            modules: PathBuf::new(),
        }
    }

    fn in_node(name: &str, script: &str) -> Self {
        Self {
            program: "node".into(),
            arguments: vec![flow(script)],
            modules: install(name).join("node_modules"),
        }
    }

    /// Runs it as alice. It must succeed and print `came` last, leave nothing behind, and Livy must have seen
    /// nobody but alice by the gateway's account.
    async fn runs(&self, spark: Spark, came: Value) {
        for release in releases() {
            let livy = Livy::start(&release, spark).await;
            for credential in Credential::of(spark) {
                // A new one for each, so that three people's work is not one person's in a minute.
                let mut gateway = Gateway::start(&livy).await;
                self.runs_with(&livy, &gateway, *credential, &came).await;
                gateway.end().await;
            }
        }
    }

    async fn runs_with(&self, livy: &Livy, gateway: &Gateway, credential: Credential, came: &Value) {
        let (name, (password, token)) = (credential.name(), credential.of_alice(gateway));
        let batch_file = livy.put_file("count.py", include_str!("../../deploy/demo/count.py"));
        let running = Command::new(&self.program)
            .args(&self.arguments)
            .env("GATEWAY", gateway.url())
            .env("LIVY_USER", "alice")
            .env("LIVY_PASSWORD", password)
            .env("TOKEN", token)
            .env("BATCH_FILE", batch_file)
            .env("NODE_PATH", &self.modules)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // requests would take another login from a ~/.netrc, and another way to the loopback from a proxy.
            .env("HOME", livy.files())
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();

        let mut seen = BTreeSet::new();
        let watched = async {
            tokio::pin!(running);
            loop {
                tokio::select! {
                    done = &mut running => break done.expect("the client's program"),
                    () = tokio::time::sleep(LOOK) => seen.extend(held(livy).await),
                }
            }
        };
        let done = timeout(LONGEST_FLOW, watched).await.expect("it ends in time");

        let said = String::from_utf8_lossy(&done.stdout);
        let complained = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "{name}, {}:\n{said}{complained}",
            done.status
        );
        let last = said.lines().last().unwrap_or_default();
        let result: Value =
            serde_json::from_str(last).unwrap_or_else(|_| panic!("{name}: no result: {said}"));
        assert_eq!(&result, came, "{name}: {said}{complained}");
        assert_eq!(
            seen,
            BTreeSet::from([("gw".to_owned(), "alice".to_owned())]),
            "{name}"
        );
        assert_eq!(held(livy).await, [], "{name}: something was left behind");
    }
}

/// What a client is given to log in with: as its password, and as its bearer token if it knows such. What a directory
/// checks is a password like any other to a client.
#[derive(Debug, Clone, Copy)]
enum Credential {
    PasswordAndJwt,
    JwtAndPersonalToken,
    PersonalTokenAsBoth,
}

impl Credential {
    /// Each that a client can send; on real Spark, where each run takes long, the first.
    const fn of(spark: Spark) -> &'static [Self] {
        match spark {
            Spark::Fake => &[
                Self::PasswordAndJwt,
                Self::JwtAndPersonalToken,
                Self::PersonalTokenAsBoth,
            ],
            Spark::Real => &[Self::PasswordAndJwt],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::PasswordAndJwt => "a password, a JWT",
            Self::JwtAndPersonalToken => "a JWT as the password, a personal token",
            Self::PersonalTokenAsBoth => "a personal token as the password, and as it is",
        }
    }

    fn of_alice(self, gateway: &Gateway) -> (String, String) {
        let personal = || gateway.personal_token().to_owned();
        match self {
            Self::PasswordAndJwt => (gateway.password("alice").to_owned(), gateway.token("alice")),
            Self::JwtAndPersonalToken => (gateway.token("alice"), personal()),
            Self::PersonalTokenAsBoth => (personal(), personal()),
        }
    }
}

/// Owner and proxy user of all that Livy holds.
async fn held(livy: &Livy) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for kind in ["/sessions", "/batches"] {
        let list = livy.direct().get(kind).await.expect(200).json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = list["sessions"].as_array().expect("a list");
        found.extend(
            rows.iter()
                .map(|row| (text(&row["owner"]), text(&row["proxyUser"]))),
        );
    }
    found
}

/// Has a client installed, unless it is; a client that cannot be had fails its test.
fn install(name: &str) -> PathBuf {
    let installed = std::process::Command::new(flow("install"))
        .arg(name)
        .output()
        .expect("tests/live/clients/install");
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(
        installed.status.success(),
        "{name} could not be installed:\n{said}"
    );
    String::from_utf8_lossy(&installed.stdout).trim().into()
}

fn flow(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/live/clients")
        .join(name)
}

/// How often Livy is looked at meanwhile: every session takes longer than this.
const LOOK: Duration = Duration::from_millis(150);
const LONGEST_FLOW: Duration = Duration::from_secs(300);
