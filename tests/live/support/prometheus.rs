//! A real Prometheus with the project's own rules, started for one test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::http::Caller;

/// A running Prometheus that scrapes each second. Dropped, it is stopped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Prometheus {
    /// Scrapes these admin listeners. An alert fires as soon as its expression holds: how long it must hold before is
    /// what `promtool test rules` tests.
    pub(crate) async fn start(admin_ports: &[u16]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for Prometheus");
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).expect(name);
        };
        let read = |name: &str| std::fs::read_to_string(observability().join(name)).expect(name);
        write("recording.yml", &read("recording.yml"));
        let at_once: String = read("alerts.yml")
            .lines()
            .map(|line| match line.trim_start() {
                trimmed if trimmed.starts_with("for: ") => "        for: 0s\n".to_owned(),
                _ => format!("{line}\n"),
            })
            .collect();
        write("alerts.yml", &at_once);
        let targets: Vec<_> = admin_ports
            .iter()
            .map(|port| format!("\"127.0.0.1:{port}\""))
            .collect();
        let config = read("prometheus.yml")
            .replace("15s", "1s")
            .replace("\"127.0.0.1:9464\"", &targets.join(", "));
        write("prometheus.yml", &config);
        let port = free_port();
        let log = std::fs::File::create(directory.path().join("log")).expect("a file for the log");
        let process = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                directory.path().join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed: `make live` does that");
        let prometheus = Self {
            process,
            directory,
            port,
        };
        eventually("Prometheus is ready", Duration::from_secs(30), async || {
            let ready = prometheus.caller().try_get("/-/ready").await;
            (ready.ok()?.status == 200).then_some(())
        })
        .await;
        prometheus
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The names of the alerts that fire now.
    pub(crate) async fn firing(&self) -> Vec<String> {
        let reply = self.caller().get("/api/v1/alerts").await.expect(200).json();
        let alerts = reply["data"]["alerts"].as_array().expect("alerts").clone();
        let mut names: Vec<_> = alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .filter_map(|alert| Some(alert["labels"]["alertname"].as_str()?.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// What an instant query gives.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let form: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query?query={form}");
        let reply = self.caller().get(&path).await.expect(200).json();
        reply["data"]["result"].as_array().expect("a result").clone()
    }

    fn caller(&self) -> Caller {
        Caller::new(self.port, "", "")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(10)..].join("\n    ");
            eprintln!("the end of Prometheus' log:\n    {end}");
        }
    }
}

/// Where the rules are.
pub(crate) fn observability() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability")
}

/// Prometheus does not say which port the kernel gave it.
fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("bound").port()
}
