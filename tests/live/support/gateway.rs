//! The gateway's own binary, with a configuration and secrets made for one test.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::http::{Caller, Reply};
use super::livy::{GATEWAY_ACCOUNT, Livy};

/// How the gateway logs in at Livy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LivyLogin<'a> {
    None,
    /// `?user.name=…`
    Simple(&'a str),
}

/// A running gateway with the users alice and bob. Dropped, it is stopped.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Child,
    directory: TempDir,
    port: u16,
    admin_port: u16,
    /// Not to be guessed: the port is open to everybody on this machine.
    passwords: [(&'static str, String); 2],
    personal_token: String,
}

impl Gateway {
    /// In front of a Livy that knows the gateway's account.
    pub(crate) async fn start(livy: &Livy) -> Self {
        Self::start_with(livy, LivyLogin::Simple(GATEWAY_ACCOUNT), "").await
    }

    /// The same, behind TLS: its certificate, in [`Gateway::ca_file`], names localhost.
    pub(crate) async fn start_with_tls(livy: &Livy) -> Self {
        let tls = "tls = { certificate_file = \"tls.crt\", key_file = \"tls.key\" }";
        Self::start_with(livy, LivyLogin::Simple(GATEWAY_ACCOUNT), tls).await
    }

    /// With a login at Livy, and lines for `[listen]`.
    pub(crate) async fn start_with(livy: &Livy, login: LivyLogin<'_>, listen: &str) -> Self {
        let keys = match login {
            LivyLogin::None => String::new(),
            LivyLogin::Simple(user) => format!("authenticate = {{ kind = \"simple\", user = \"{user}\" }}"),
        };
        Self::start_configured(&livy.url(), listen, &keys, "").await
    }

    /// In front of whatever is there, with tables of its own.
    pub(crate) async fn start_before(url: &str, tables: &str) -> Self {
        let keys = format!("authenticate = {{ kind = \"simple\", user = \"{GATEWAY_ACCOUNT}\" }}");
        Self::start_configured(url, "", &keys, tables).await
    }

    /// The same with keys of `[livy]`.
    pub(crate) async fn start_before_with(url: &str, keys: &str, tables: &str) -> Self {
        Self::start_configured(url, "", keys, tables).await
    }

    async fn start_configured(url: &str, listen: &str, keys: &str, tables: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the gateway's files");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect(name);
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect(name);
        };
        let configuration = CONFIGURATION
            .replace("LISTEN", listen)
            .replace("LIVY", url)
            .replace("[livy]", &format!("[livy]\n{keys}"));
        write("gateway.toml", &format!("{configuration}\n{tables}"));
        write("hmac.key", &secret());
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        write("tls.crt", &cert.pem());
        write("tls.key", &signing_key.serialize_pem());
        let passwords = ["alice", "bob"].map(|user| (user, secret()));
        for (user, password) in &passwords {
            add_user(&directory, user, password);
        }
        let personal_token = add_token(&directory, "alice");

        let log = std::fs::File::create(directory.path().join("log")).expect("a file for the log");
        let process = Command::new(BINARY)
            .arg("serve")
            .arg("--config")
            .arg(directory.path().join("gateway.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the gateway's binary");
        let mut gateway = Self {
            process,
            directory,
            port: 0,
            admin_port: 0,
            passwords,
            personal_token,
        };
        (gateway.port, gateway.admin_port) = gateway.ports().await;
        gateway
    }

    /// The ports that the kernel gave it, as its first log lines say.
    async fn ports(&mut self) -> (u16, u16) {
        eventually("the gateway is ready", Duration::from_secs(20), async || {
            if let Ok(Some(code)) = self.process.try_wait() {
                panic!("the gateway ended with {code}:\n{}", self.log());
            }
            self.log().lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                let port = |key: &str| {
                    let addresses = line[key].as_str()?.trim_matches(['[', ']']);
                    addresses.rsplit(':').next()?.parse().ok()
                };
                (line["message"] == "ready").then_some(())?;
                Some((port("addresses")?, port("admin")?))
            })
        })
        .await
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/livy", self.port)
    }

    pub(crate) fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// A file in its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The certificate to trust.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("tls.crt")
    }

    pub(crate) fn password(&self, user: &str) -> &str {
        let found = self.passwords.iter().find(|(name, _)| *name == user);
        &found.expect("alice or bob").1
    }

    /// A user with their password.
    pub(crate) fn as_user(&self, user: &str) -> Caller {
        self.anonymous().with_basic(user, self.password(user))
    }

    pub(crate) fn anonymous(&self) -> Caller {
        Caller::new(self.port, "/livy", "")
    }

    /// A token of the gateway's issuer.
    pub(crate) fn token(&self, subject: &str) -> String {
        let made = Command::new(BINARY)
            .args(["token", "--issuer", "tests", "--subject", subject, "--config"])
            .arg(self.directory.path().join("gateway.toml"))
            .output()
            .expect("the gateway's binary");
        assert!(made.status.success(), "no token: {made:?}");
        String::from_utf8(made.stdout).expect("text").trim().to_owned()
    }

    /// Alice's personal token.
    pub(crate) fn personal_token(&self) -> &str {
        &self.personal_token
    }

    /// What operators see.
    pub(crate) async fn metrics(&self) -> String {
        let reply: Reply = Caller::new(self.admin_port, "", "")
            .get("/metrics")
            .await
            .expect(200);
        String::from_utf8(reply.body.into()).expect("text")
    }

    /// Tells it to end, as an init system does, and waits until it did; returns its exit code.
    pub(crate) async fn end(&mut self) -> Option<i32> {
        self.terminate();
        eventually("the gateway ended", Duration::from_secs(20), async || {
            self.process.try_wait().expect("a child of ours")
        })
        .await
        .code()
    }

    fn terminate(&self) {
        let pid = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(
            told.is_ok_and(|status| status.success()),
            "kill could not reach {pid}"
        );
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut end = String::from("the end of the gateway's log:");
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(20)..] {
                let _ = write!(end, "\n    {line}");
            }
            eprintln!("{end}");
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn add_token(directory: &TempDir, user: &str) -> String {
    let made = Command::new(BINARY)
        .args([
            "tokens",
            "add",
            "--user",
            user,
            "--expires",
            "1d",
            "--label",
            "tests",
            "--file",
        ])
        .arg(directory.path().join("tokens"))
        .output()
        .expect("the gateway's binary");
    assert!(made.status.success(), "no token: {made:?}");
    String::from_utf8(made.stdout).expect("text").trim().to_owned()
}

fn add_user(directory: &TempDir, user: &str, password: &str) {
    let mut adding = Command::new(BINARY)
        .args(["users", "add", user, "--file"])
        .arg(directory.path().join("users.htpasswd"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the gateway's binary");
    let mut input = adding.stdin.take().expect("piped");
    input.write_all(password.as_bytes()).expect("it reads");
    drop(input);
    assert!(
        adding.wait().is_ok_and(|status| status.success()),
        "{user} was not added"
    );
}

fn secret() -> String {
    let mut random = [0_u8; 24];
    aws_lc_rs::rand::fill(&mut random).expect("randomness");
    random.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Ports of the kernel's choice; a password or a token, each with the user's own name at Livy.
const CONFIGURATION: &str = r#"
[listen]
address = "127.0.0.1:0"
LISTEN

[admin]
address = "127.0.0.1:0"

[livy]
url = "LIVY"

[state]
directory = "state"

[basic]
users_file = "users.htpasswd"

[[jwt]]
name = "tests"
issuer = "https://login.tests.example/"
audience = ["livy-gateway"]
algorithms = ["HS256"]
keys = { secret = "file:hmac.key" }
user_claim = "sub"
as_basic_password = true

[[identity.map]]
from = "basic"
livy_user = "${subject}"

[[identity.map]]
from = "jwt:tests"
livy_user = "${subject}"

[tokens]
file = "tokens"

# What published examples and clients ask for: HDInsight's first one 102 cores, livy-submit 204 and 1.8 TiB.
[quota]
cores = 256
memory = "2 TiB"

# The default file system of these Livys is their own disk, and Livy's Java client names it.
[requests]
file_schemes = ["hdfs", "file"]
"#;
const BINARY: &str = env!("CARGO_BIN_EXE_livy-gateway");
