//! Client certificates that `openssl` made, shown by `curl`.

use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;
use tokio::process::Command;

use crate::rig::{PASSWORD, Process, Setup, Stage, certificate};

/// What `openssl ca` needs to keep a list of what it signed.
const CA_SETTINGS: &str = "
[ca]
default_ca = own

[own]
certificate = ca.pem
private_key = ca.key
database = index
new_certs_dir = .
serial = serial
crlnumber = number
crl_extensions = list
default_md = sha256
default_days = 2
default_crl_days = 2
policy = any
unique_subject = no

[any]
organizationName = optional
commonName = supplied

[list]
authorityKeyIdentifier = keyid

[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth

[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
";

/// An authority in a folder of its own.
struct Authority(TempDir);

impl Authority {
    async fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        for (name, content) in [
            ("settings", CA_SETTINGS),
            ("index", ""),
            ("serial", "01\n"),
            ("number", "01\n"),
        ] {
            std::fs::write(authority.path(name), content).unwrap();
        }
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let root = [
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=Clients",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ];
        authority.openssl(&[&root[..], &new_key].concat()).await;
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    async fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .await;
        let done = done.expect("openssl is installed");
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// A key of this kind and a certificate for it, named like the file.
    async fn signs(&self, name: &str, new_key: &[&str], purpose: &str) {
        let (key, request, chain) = (
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.pem"),
        );
        let subject = format!("/O=Example/CN={name}");
        let ask = [
            "req", "-subj", &subject, "-nodes", "-keyout", &key, "-out", &request,
        ];
        self.openssl(&[&ask[..], new_key].concat()).await;
        let sign = [
            "ca",
            "-config",
            "settings",
            "-batch",
            "-notext",
            "-extensions",
            purpose,
        ];
        self.openssl(&[&sign[..], &["-in", &request, "-out", &chain]].concat())
            .await;
    }

    async fn lists(&self) -> String {
        self.openssl(&["ca", "-config", "settings", "-gencrl", "-out", "crl.pem"])
            .await;
        self.read("crl.pem")
    }

    async fn revokes(&self, name: &str) {
        let certificate = format!("{name}.pem");
        self.openssl(&["ca", "-config", "settings", "-revoke", &certificate])
            .await;
    }
}

const EC: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-newkey", "rsa:2048"];
const ED25519: &[&str] = &["-newkey", "ed25519"];

/// A gateway behind TLS with this authority's clients.
async fn setup(clients: &Authority) -> Setup {
    let (chain, key, server) = certificate();
    Setup::new()
        .listen(
            "[listen]\naddress = \"127.0.0.1:0\"\nclient_ca_file = \"clients.pem\"\nclient_crl_file = \"crl.pem\"\n\
             tls = { certificate_file = \"tls.crt\", key_file = \"tls.key\" }\n",
        )
        .file("tls.crt", &chain)
        .file("tls.key", &key)
        .file("server-ca.pem", &server)
        .file("clients.pem", &clients.read("ca.pem"))
        .file("crl.pem", &clients.lists().await)
        .rest("[log]\nlevel = \"debug\"\n[[identity.map]]\nfrom = \"any\"\nlivy_user = \"${subject}\"\n")
}

/// The real program.
async fn gateway(clients: &Authority) -> (Stage, Process) {
    setup(clients).await.spawn().await
}

/// Asks as a person would, with more options before the URL.
async fn curl(stage: &Stage, gateway: &Process, options: &[&str], path: &str) -> Output {
    let url = format!("https://{}{path}", gateway.address);
    let ran = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            "30",
            "--cacert",
        ])
        .arg(stage.path("server-ca.pem"))
        .args(["--write-out", "\n%{http_code}"])
        .args(options)
        .arg(url)
        .output()
        .await;
    ran.expect("curl is installed")
}

/// The options with which curl shows this certificate.
fn shows(authority: &Authority, name: &str) -> [String; 4] {
    let path = |end: &str| authority.path(&format!("{name}.{end}")).display().to_string();
    ["--cert".into(), path("pem"), "--key".into(), path("key")]
}

#[track_caller]
fn answered(output: &Output, status: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.ends_with(&format!("\n{status}")),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn curl_with_a_certificate_acts_as_its_name_whatever_its_key() {
    let clients = Authority::new().await;
    let (stage, mut gateway) = gateway(&clients).await;
    for (name, key) in [("alice", EC), ("bob", RSA), ("carol", ED25519)] {
        clients.signs(name, key, "client").await;
        let badge = shows(&clients, name);
        let badge = badge.each_ref().map(String::as_str);
        let create = ["--json", "{\"kind\":\"spark\"}"];
        let created = curl(
            &stage,
            &gateway,
            &[&badge[..], &create].concat(),
            "/livy/sessions",
        )
        .await;
        answered(&created, "201");
        let requests = stage.livy.requests();
        let last = requests.last().unwrap();
        assert_eq!(last.query_values("doAs"), [name]);
        assert_eq!(last.json()["proxyUser"], name);
        let line = gateway.logs("\"message\":\"request\"").await;
        assert!(
            line.contains(&format!("\"subject\":\"certificate:{name}\"")),
            "{line}"
        );
        assert!(line.contains(&format!("\"livy_user\":\"{name}\"")), "{line}");
    }
}

#[tokio::test]
async fn curl_with_a_header_is_whoever_the_header_says() {
    let clients = Authority::new().await;
    clients.signs("alice", EC, "client").await;
    let (stage, gateway) = gateway(&clients).await;
    answered(&curl(&stage, &gateway, &[], "/livy/version").await, "401");
    let badge = shows(&clients, "alice");
    let badge = badge.each_ref().map(String::as_str);
    let bob = format!("bob:{}", PASSWORD.0);
    answered(
        &curl(
            &stage,
            &gateway,
            &[&badge[..], &["--user", &bob]].concat(),
            "/livy/version",
        )
        .await,
        "200",
    );
    let requests = stage.livy.requests();
    assert_eq!(requests.last().unwrap().query_values("doAs"), ["bob"]);
    let wrong = curl(
        &stage,
        &gateway,
        &[&badge[..], &["--user", "alice:wrong"]].concat(),
        "/livy/version",
    )
    .await;
    answered(&wrong, "401");
    assert_eq!(stage.livy.requests().len(), requests.len());
}

#[tokio::test]
async fn what_is_revoked_foreign_or_a_servers_gets_no_connection() {
    let (clients, strangers) = (Authority::new().await, Authority::new().await);
    clients.signs("alice", EC, "client").await;
    clients.signs("server", EC, "server").await;
    strangers.signs("alice", EC, "client").await;
    let (stage, mut gateway) = gateway(&clients).await;
    for (authority, name) in [(&strangers, "alice"), (&clients, "server")] {
        let badge = shows(authority, name);
        let refused = curl(
            &stage,
            &gateway,
            &badge.each_ref().map(String::as_str),
            "/livy/version",
        )
        .await;
        assert!(!refused.status.success());
        answered(&refused, "000");
        gateway.logs("the TLS handshake failed").await;
    }
    assert!(stage.livy.requests().is_empty());

    let badge = shows(&clients, "alice");
    let badge = badge.each_ref().map(String::as_str);
    answered(&curl(&stage, &gateway, &badge, "/livy/version").await, "200");
    clients.revokes("alice").await;
    stage.write("crl.pem", &clients.lists().await);
    gateway.signal("HUP").await;
    gateway.logs("the configuration is in force").await;
    let asked = stage.livy.requests().len();
    answered(&curl(&stage, &gateway, &badge, "/livy/version").await, "000");
    let line = gateway.logs("the TLS handshake failed").await;
    assert!(line.contains("Revoked"), "{line}");
    assert_eq!(stage.livy.requests().len(), asked);

    explains(
        stage.config().as_path(),
        &clients.path("alice.pem"),
        "its authority has revoked it",
    )
    .await;
    explains(
        stage.config().as_path(),
        &strangers.path("alice.pem"),
        "did not sign it",
    )
    .await;
}

#[tokio::test]
async fn a_list_as_openssl_writes_it_untold_is_refused_with_what_to_tell_it() {
    let clients = Authority::new().await;
    let untold = CA_SETTINGS.replace("crlnumber = number\ncrl_extensions = list\n", "");
    std::fs::write(clients.path("settings"), untold).unwrap();
    let stage = setup(&clients).await.stage().await;
    let said = run(stage.config().as_path(), &["check"], &[]).await;
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(
        said.contains("CN=Clients is of version 1") && said.contains("crlnumber"),
        "{said}"
    );
}

/// `explain` says why, to whoever asks for the operator.
async fn explains(config: &Path, certificate: &Path, why: &str) {
    let certificate = certificate.to_str().unwrap();
    let asked = ["--certificate", certificate, "GET", "/livy/version"];
    let said = run(config, &["explain"], &asked).await;
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(said.contains(why), "{said}");
}

async fn run(config: &Path, command: &[&str], more: &[&str]) -> Output {
    let mut program = Command::new(crate::rig::program());
    program.args(command).arg("--config").arg(config).args(more);
    program.output().await.unwrap()
}
