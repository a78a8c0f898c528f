//! A real Livy, started and stopped by the demo's launcher.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use super::http::Caller;

/// A Livy to test with.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    dist: String,
}

impl Release {
    /// 0.7.1, the newest there.
    pub(crate) fn from_maven_central() -> Self {
        Self { dist: String::new() }
    }

    /// The distribution in a directory.
    pub(crate) fn given(dist: String) -> Self {
        Self { dist }
    }

    /// Whether it is 0.7.1.
    pub(crate) fn is_0_7(&self) -> bool {
        self.dist.is_empty()
    }
}

/// What computes behind Livy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spark {
    /// PySpark; one at a time, as it takes two cores and a gigabyte.
    Real,
    /// Plain Python: sessions are idle after two seconds.
    Fake,
}

/// A running Livy. Dropped, it is stopped with all that it started.
#[derive(Debug)]
pub(crate) struct Livy {
    port: u16,
    options: Vec<String>,
    home: PathBuf,
    files: TempDir,
    _one_spark: Option<MutexGuard<'static, ()>>,
}

/// The gateway's account at Livy.
pub(crate) const GATEWAY_ACCOUNT: &str = "gw";

impl Livy {
    /// As the gateway wants it: with a login, impersonation, access control, and the gateway a superuser.
    pub(crate) async fn start(release: &Release, spark: Spark) -> Self {
        let settings = [
            "--auth",
            "pseudo",
            "--superuser",
            GATEWAY_ACCOUNT,
            "--impersonation",
        ];
        Self::start_with(release, spark, &settings).await
    }

    /// With the launcher's options.
    pub(crate) async fn start_with(release: &Release, spark: Spark, settings: &[&str]) -> Self {
        let one_spark = match spark {
            Spark::Real => Some(SPARK.lock().await),
            Spark::Fake => None,
        };
        let files = tempfile::tempdir().expect("a directory for Livy's files");
        let mut options = vec![
            format!("--dist={}", release.dist),
            format!("--files={}", files.path().display()),
        ];
        if spark == Spark::Fake {
            options.push("--fake-spark".to_owned());
        }
        options.extend(settings.iter().map(|&setting| setting.to_owned()));
        let port = launch(0, &options);
        Self {
            port,
            options,
            home: home(),
            files,
            _one_spark: one_spark,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A directory whose files Livy may read.
    pub(crate) fn files(&self) -> &Path {
        self.files.path()
    }

    /// Puts a file where Livy may read it; returns its path.
    pub(crate) fn put_file(&self, name: &str, content: &str) -> String {
        let path = self.files().join(name);
        std::fs::write(&path, content).expect("a file for Livy");
        path.display().to_string()
    }

    /// The directory into which Livy puts what is uploaded.
    pub(crate) fn staging(&self) -> PathBuf {
        self.home.join("run").join(self.port.to_string()).join("staging")
    }

    /// Asks Livy past the gateway, as the gateway's account for nobody else.
    pub(crate) fn direct(&self) -> Caller {
        self.direct_query(&format!("user.name={GATEWAY_ACCOUNT}"))
    }

    /// Asks Livy past the gateway as the gateway would for this user.
    pub(crate) fn direct_as(&self, user: &str) -> Caller {
        self.direct_query(&format!("user.name={GATEWAY_ACCOUNT}&doAs={user}"))
    }

    pub(crate) fn direct_query(&self, query: &str) -> Caller {
        Caller::new(self.port, "", query)
    }

    /// Ends the server, and all sessions with it.
    pub(crate) fn stop(&self) {
        let done = self.launcher("stop");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "{LAUNCHER} stop --port {}: {said}",
            self.port
        );
    }

    fn launcher(&self, command: &str) -> Output {
        Command::new(LAUNCHER)
            .args([command, "--port", &self.port.to_string()])
            .output()
            .unwrap_or_else(|error| panic!("{LAUNCHER} could not be run: {error}"))
    }

    /// Starts it again where it was, with the same settings.
    pub(crate) fn start_again(&self) {
        launch(self.port, &self.options);
    }
}

impl Drop for Livy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of Livy's log:");
            let log = self.launcher("logs").stdout;
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(20)..] {
                eprintln!("    {line}");
            }
        }
        let done = self.launcher("stop");
        if !done.status.success() {
            eprintln!(
                "{LAUNCHER} stop --port {}: {}",
                self.port,
                String::from_utf8_lossy(&done.stderr)
            );
        }
    }
}

/// Starts a server, on a free port for 0; returns the port.
fn launch(port: u16, options: &[String]) -> u16 {
    let started = Command::new(LAUNCHER)
        .args(["start", "--port", &port.to_string()])
        .args(options)
        .output()
        .unwrap_or_else(|error| panic!("{LAUNCHER} could not be run: {error}"));
    let said = String::from_utf8_lossy(&started.stderr);
    match started.status.code() {
        Some(0) => {}
        Some(MISSING) => panic!("what a real Livy needs is missing:\n{said}"),
        code => panic!("{LAUNCHER} start {options:?} ended with {code:?}:\n{said}"),
    }
    let url = String::from_utf8_lossy(&started.stdout);
    let port = url.trim().rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("{LAUNCHER} printed no URL: {url}"))
}

/// Where the launcher keeps everything, unless told otherwise.
fn home() -> PathBuf {
    match std::env::var_os("LIVY_DEMO_HOME").filter(|home| !home.is_empty()) {
        Some(home) => home.into(),
        None => Path::new(&std::env::var_os("HOME").expect("HOME is set")).join(".cache/livy-gateway"),
    }
}

static SPARK: Mutex<()> = Mutex::const_new(());
const LAUNCHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/demo/livy");
/// The launcher's exit code when something that it needs cannot be had (`EX_UNAVAILABLE`).
const MISSING: i32 = 69;
