//! The real program, as an operator runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// A running `livy-gateway serve`. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    log: Option<Lines<BufReader<ChildStderr>>>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Process {
    pub(crate) async fn start(config: &Path) -> Self {
        let mut child = Command::new(super::program())
            .args(["serve", "--config"])
            .arg(config)
            .env_remove("LIVY_GATEWAY_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = line_with(&mut log, "\"message\":\"ready\"").await;
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let address =
            |text: &serde_json::Value| text.as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
        Self {
            address: address(&ready["addresses"]),
            admin: address(&ready["admin"]),
            child,
            log: Some(log),
        }
    }

    /// Reads its log from now on, so that nothing of it is lost, and keeps the lines for a test that fails.
    pub(crate) fn keep_log(&mut self, kept: Arc<Mutex<Vec<String>>>) {
        let mut log = self.log.take().expect("it is kept once");
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                kept.lock().unwrap().push(line);
            }
        });
    }

    /// Waits for a line of its log with this in it.
    pub(crate) async fn logs(&mut self, what: &str) -> String {
        line_with(self.log.as_mut().expect("it is not kept"), what).await
    }

    /// Sends a signal, by the name that kill(1) knows.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; the exit code, nothing if a signal ended it.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let ended = timeout(Duration::from_secs(60), self.child.wait());
        ended.await.expect("it ends").unwrap().code()
    }
}

async fn line_with(log: &mut Lines<BufReader<ChildStderr>>, what: &str) -> String {
    let mut seen = Vec::new();
    let found = timeout(Duration::from_secs(60), async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains(what) {
                return Some(line);
            }
            seen.push(line);
        }
        None
    });
    found
        .await
        .ok()
        .flatten()
        .unwrap_or_else(|| panic!("the log has no {what}: {seen:#?}"))
}
