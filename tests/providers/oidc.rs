//! Tokens of a certified OpenID provider: found, told apart, rotated under load, and held on to while it is gone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::rig::{Client, Process, Reply, Setup, Signer, Stage, eventually, program, request};

/// The provider of `idp/`, a process of its own. Dropped, it is killed.
struct Idp {
    program: PathBuf,
    port: u16,
    secret: String,
    keys: TempDir,
    child: Child,
    /// The path of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Idp {
    async fn start(kids: &[&str]) -> Self {
        let installed = Command::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/providers/idp/install"
        ))
        .output()
        .await
        .unwrap();
        let said = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "the provider cannot be had: {said}");
        let folder = String::from_utf8(installed.stdout).unwrap();
        let mut secret = [0; 24];
        aws_lc_rs::rand::fill(&mut secret).unwrap();
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let (program, keys) = (PathBuf::from(folder.trim()), tempfile::tempdir().unwrap());
        let asked = Arc::default();
        let child = run(&program, port, &keys, kids, &secret, &asked).await;
        Self {
            program,
            port,
            secret,
            keys,
            child,
            asked,
        }
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it and starts it again in its place: it signs with the first of these keys and publishes all.
    async fn restart(&mut self, kids: &[&str]) {
        self.kill().await;
        let Self {
            program,
            port,
            keys,
            secret,
            asked,
            ..
        } = self;
        self.child = run(program, *port, keys, kids, secret, asked).await;
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// An access token of the service `robot`.
    async fn token(&self) -> String {
        let pair = STANDARD.encode(format!("robot:{}", self.secret));
        let headers =
            format!("Authorization: Basic {pair}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        let body = "grant_type=client_credentials&scope=livy";
        let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).await;
        client.send(request("POST", "/token", &headers, body)).await;
        let reply = client.reply().await;
        reply.expect_status(200);
        text_of(&reply.json(), "access_token")
    }

    /// What the client `portal` gets when this user has signed in with a browser.
    async fn sign_in(&self, user: &str) -> Value {
        let script = self.program.join("login.mjs");
        let output = Command::new("node")
            .arg(script)
            .args([&self.issuer(), user])
            .env("CLIENT_SECRET", &self.secret)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no tokens: {said}"))
    }

    /// How often its keys were asked for.
    fn times_asked_for_keys(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|path| *path == "/jwks").count()
    }
}

async fn run(
    program: &std::path::Path,
    port: u16,
    keys: &TempDir,
    kids: &[&str],
    secret: &str,
    asked: &Arc<Mutex<Vec<String>>>,
) -> Child {
    let mut child = Command::new("node")
        .arg(program.join("idp.mjs"))
        .arg(port.to_string())
        .arg(keys.path())
        .args(kids)
        .env("CLIENT_SECRET", secret)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = timeout(Duration::from_secs(60), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == "ready" {
                return true;
            }
        }
        false
    });
    assert!(ready.await.unwrap_or(false), "the provider does not start");
    let asked = Arc::clone(asked);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            asked.lock().unwrap().push(line);
        }
    });
    child
}

fn text_of(json: &Value, member: &str) -> String {
    let text = json[member].as_str();
    text.unwrap_or_else(|| panic!("no {member} in {json}")).to_owned()
}

/// The real gateway, which trusts the provider. `keys` says where its keys are, `more` are further keys of the table.
async fn gateway(idp: &Idp, keys: &str, more: &str) -> (Stage, Process) {
    let issuer = idp.issuer();
    let keys = keys.replace("ISSUER", &issuer);
    let tables = format!(
        "[[jwt]]\nname = \"corp\"\nissuer = \"{issuer}\"\naudience = [\"livy-gateway\", \"portal\"]\n\
         algorithms = [\"RS256\"]\nkeys = {keys}\ngroups_claim = \"groups\"\nrequired_claims = {{ iss = \"{issuer}\" }}\n\
         {more}\n[[identity.map]]\nfrom = \"jwt:corp\"\nsubject = \"robot\"\nlivy_user = \"svc-robot\"\n\
         [[identity.map]]\nfrom = \"any\"\nlivy_user = \"${{subject}}\"\n\
         [limits]\nper_address = {{ rate = \"10000/s\", burst = 10000 }}\n"
    );
    Setup::new().rest(&tables).spawn().await
}

const DISCOVERY: &str = "{ discovery = true }";

async fn ask(process: &Process, method: &str, path: &str, token: &str, body: &str) -> Reply {
    let mut headers = format!("Authorization: Bearer {token}\r\n");
    if !body.is_empty() {
        headers.push_str("Content-Type: application/json\r\n");
    }
    let mut client = Client::connect(process.address).await;
    client.send(request(method, path, &headers, body)).await;
    client.reply().await
}

async fn version(process: &Process, token: &str) -> Reply {
    ask(process, "GET", "/livy/version", token, "").await
}

/// The value of a metric, or nothing.
async fn metric(process: &Process, series: &str) -> Option<f64> {
    let mut client = Client::connect(process.admin).await;
    client.send(request("GET", "/metrics", "", "")).await;
    let text = client.reply().await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map(|value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_services_token_is_its_mapped_user_at_livy_by_discovery_and_by_url() {
    let idp = Idp::start(&["r1"]).await;
    let token = idp.token().await;
    for keys in [DISCOVERY, "{ url = \"ISSUER/jwks\" }"] {
        let (stage, process) = gateway(&idp, keys, "").await;
        let created = ask(&process, "POST", "/livy/sessions", &token, r#"{"kind":"spark"}"#).await;
        created.expect_status(201);
        let received = stage.livy.last();
        assert_eq!(received.query_values("doAs"), ["svc-robot"], "{keys}");
        assert_eq!(received.json()["proxyUser"], "svc-robot", "{keys}");
        assert!(!format!("{:?}", received.headers).contains(&token), "{keys}");
        let me = ask(&process, "GET", "/livy/gateway/me", &token, "").await.json();
        assert_eq!(me["subject"], "jwt:corp:robot");
        assert_eq!(me["groups"], serde_json::json!(["analysts", "etl"]));
        // The command line has the issuer's keys fetched, too.
        let explained = Command::new(program())
            .args(["explain", "--config"])
            .arg(stage.config())
            .args(["--jwt", &token, "GET", "/livy/sessions"])
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(explained.stdout).unwrap();
        assert!(explained.status.success(), "{said}");
        for words in [
            "keys       of jwt:corp fetched: 1",
            "who        jwt:corp:robot",
            "groups     analysts, etl",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}

#[tokio::test]
async fn a_users_access_token_logs_in_and_the_id_and_refresh_tokens_beside_it_do_not() {
    let idp = Idp::start(&["r1"]).await;
    let tokens = idp.sign_in("alice").await;
    let (access, id) = (text_of(&tokens, "access_token"), text_of(&tokens, "id_token"));
    let refresh = text_of(&tokens, "refresh_token");
    let (stage, process) = gateway(&idp, DISCOVERY, "").await;
    version(&process, &access).await.expect_status(200);
    assert_eq!(stage.livy.last().query_values("doAs"), ["alice"]);
    stage.livy.clear();
    for token in [&id, &refresh] {
        version(&process, token)
            .await
            .expect_refusal(401, "invalid_credentials");
    }
    assert!(stage.livy.requests().is_empty());
    // It is refused for what it is, and for nothing else: where ID tokens are let in, it is alice.
    let (stage, process) = gateway(&idp, DISCOVERY, "accept_id_tokens = true").await;
    version(&process, &id).await.expect_status(200);
    assert_eq!(stage.livy.last().query_values("doAs"), ["alice"]);
}

#[tokio::test]
async fn keys_change_under_load_and_no_token_of_a_published_key_is_refused() {
    let mut idp = Idp::start(&["r1"]).await;
    let (stage, process) = gateway(&idp, DISCOVERY, "").await;
    let first = idp.token().await;
    version(&process, &first).await.expect_status(200);
    let (newest, tokens) = watch::channel(first.clone());
    let ends = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = (0..12)
        .map(|number| {
            let (first, tokens) = (first.clone(), tokens.clone());
            let (ends, answered, refused) = (Arc::clone(&ends), Arc::clone(&answered), Arc::clone(&refused));
            let address = process.address;
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                while !ends.load(Ordering::SeqCst) {
                    let token = if number % 2 == 0 {
                        first.clone()
                    } else {
                        tokens.borrow().clone()
                    };
                    let headers = format!("Authorization: Bearer {token}\r\n");
                    client.send(request("GET", "/livy/version", &headers, "")).await;
                    let reply = client.reply().await;
                    answered.fetch_add(1, Ordering::SeqCst);
                    if reply.status != 200 {
                        refused.lock().unwrap().push((number, reply.outcome()));
                    }
                }
            })
        })
        .collect();
    for kids in [&["r2", "r1"][..], &["r3", "r2", "r1"], &["r4", "r3", "r1"]] {
        idp.restart(kids).await;
        let token = idp.token().await;
        newest.send_replace(token.clone());
        let asked = answered.load(Ordering::SeqCst);
        version(&process, &token).await.expect_status(200);
        eventually("the clients go on", async || {
            answered.load(Ordering::SeqCst) > asked + 200
        })
        .await;
    }
    ends.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let answered = answered.load(Ordering::SeqCst);
    assert_eq!(*refused.lock().unwrap(), [], "of {answered}");
    let users = stage.livy.requests();
    assert!(users.len() > 600, "{}", users.len());
    for received in users {
        assert_eq!(received.query_values("doAs"), ["svc-robot"]);
    }
}

#[tokio::test]
async fn a_provider_that_is_gone_locks_nobody_out_until_its_keys_are_too_old() {
    let mut idp = Idp::start(&["r1"]).await;
    let (stage, process) = gateway(&idp, DISCOVERY, "stale_keys = \"1m\"").await;
    let token = idp.token().await;
    version(&process, &token).await.expect_status(200);
    assert_eq!(
        metric(&process, "livy_gateway_signing_keys{issuer=\"corp\"}").await,
        Some(1.0)
    );
    idp.kill().await;
    // Somebody's token of an unknown key has the keys fetched again, which fails.
    let stranger = Signer::rsa().sign(
        r#"{"alg":"RS256","kid":"unknown"}"#,
        &format!(r#"{{"iss":"{}"}}"#, idp.issuer()),
    );
    // Nobody can say meanwhile whether its key is a new one.
    version(&process, &stranger)
        .await
        .expect_refusal(503, "login_unavailable");
    let failed = "livy_gateway_signing_keys_fetches_total{issuer=\"corp\",outcome=\"failed\"}";
    assert!(metric(&process, failed).await >= Some(1.0));
    assert_eq!(
        metric(&process, "livy_gateway_signing_keys_stale{issuer=\"corp\"}").await,
        Some(1.0)
    );
    version(&process, &token).await.expect_status(200);
    let closes = timeout(Duration::from_secs(120), async {
        while version(&process, &token).await.status == 200 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    closes.await.expect("its keys are too old after a minute");
    stage.livy.clear();
    version(&process, &token)
        .await
        .expect_refusal(503, "login_unavailable");
    assert!(stage.livy.requests().is_empty());
    assert_eq!(
        metric(&process, "livy_gateway_signing_keys{issuer=\"corp\"}").await,
        Some(0.0)
    );
    // It is back, and so is everybody.
    idp.restart(&["r1"]).await;
    let returns = timeout(Duration::from_secs(90), async {
        while version(&process, &token).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    returns.await.expect("the keys are fetched again");
    assert_eq!(
        metric(&process, "livy_gateway_signing_keys_stale{issuer=\"corp\"}").await,
        Some(0.0)
    );
}

#[tokio::test]
async fn a_thousand_made_up_kids_ask_the_provider_a_few_times() {
    let idp = Idp::start(&["r1"]).await;
    let (stage, process) = gateway(&idp, DISCOVERY, "").await;
    let token = idp.token().await;
    version(&process, &token).await.expect_status(200);
    stage.livy.clear();
    let before = idp.times_asked_for_keys();
    let began = tokio::time::Instant::now();
    // A genuine token in all but its header.
    let rest = token.split_once('.').unwrap().1;
    for batch in 0..20 {
        let made_up: Vec<_> = (0..50)
            .map(|number| {
                let header = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"k-{batch}-{number}"}}"#);
                format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
            })
            .collect();
        for reply in join_all(made_up.iter().map(|token| version(&process, token))).await {
            reply.expect_refusal(401, "invalid_credentials");
        }
    }
    let allowed = 3 + usize::try_from(began.elapsed().as_secs() / 30).unwrap() + 1;
    let asked = idp.times_asked_for_keys() - before;
    assert!(asked <= allowed, "{asked} times in {:?}", began.elapsed());
    assert!(stage.livy.requests().is_empty());
    version(&process, &token).await.expect_status(200);
}
