//! A whole gateway between a test and a simulated Livy, on a clock that the test moves.

// Named, because `providers` takes this file too, from another folder.
#[path = "rig/authority.rs"]
mod authority;
#[path = "rig/client.rs"]
mod client;
#[path = "rig/process.rs"]
mod process;
#[path = "rig/signers.rs"]
mod signers;
#[path = "rig/tokens.rs"]
mod tokens;

use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake_livy::{FakeLivy, Kind, Received};
use livy_gateway::app::App;
use livy_gateway::authn::hash_password;
use livy_gateway::clock::{Clock, ManualClock};
use livy_gateway::config;
use livy_gateway::livy::marker::Marker;
use livy_gateway::livy::operation::{BodyKind, JsonBody, Operation};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

pub(crate) use authority::{Authority, Badge, certificate};
pub(crate) use client::{Client, End, Reply};
pub(crate) use process::Process;
pub(crate) use signers::Signer;
pub(crate) use tokens::{HEADER, Issuer, NOW};

/// The password of alice and bob, and its hash; made for this run.
pub(crate) static PASSWORD: LazyLock<(String, String)> = LazyLock::new(new_password);

pub(crate) fn new_password() -> (String, String) {
    let password = uuid::Uuid::now_v7().simple().to_string();
    let hash = hash_password(password.as_bytes()).unwrap();
    (password, hash)
}

/// Tests ask faster than people, and on a clock that stands still.
const UNLIMITED: &str = "[limits]\nconcurrent_requests = 100000\n\
    create = { rate = \"100000/s\", burst = 1000000 }\nstatement = { rate = \"100000/s\", burst = 1000000 }\n\
    read = { rate = \"100000/s\", burst = 1000000 }\nupload = { rate = \"100000/s\", burst = 1000000 }\n";

/// What a gateway shall be like.
pub(crate) struct Setup {
    livy: fake_livy::Builder,
    overlooks: fn(&Received) -> bool,
    livy_url: Option<String>,
    listen: String,
    admin: String,
    livy_keys: String,
    timeouts: String,
    quota: &'static str,
    limits: &'static str,
    rest: String,
    files: Vec<(String, String)>,
    plants: Vec<(Kind, Option<&'static str>, &'static str)>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            livy: FakeLivy::builder().impersonation(true),
            overlooks: is_the_gateways_list,
            livy_url: None,
            listen: "[listen]\naddress = \"127.0.0.1:0\"\n".to_owned(),
            admin: String::new(),
            livy_keys: String::new(),
            timeouts: String::new(),
            quota: "",
            limits: UNLIMITED,
            rest: String::new(),
            files: Vec::new(),
            plants: Vec::new(),
        }
    }

    pub(crate) fn livy(mut self, livy: fake_livy::Builder) -> Self {
        self.livy = livy;
        self
    }

    /// The gateway's own lists are recorded and meet faults like any other request.
    pub(crate) fn with_its_lists(mut self) -> Self {
        self.overlooks = |_| false;
        self
    }

    /// Another server in Livy's place.
    pub(crate) fn livy_url(mut self, url: &str) -> Self {
        self.livy_url = Some(url.to_owned());
        self
    }

    /// The tables of the listeners.
    pub(crate) fn listen(mut self, tables: &str) -> Self {
        self.listen = tables.to_owned();
        self
    }

    /// Keys of `[admin]`.
    pub(crate) fn admin(mut self, keys: &str) -> Self {
        self.admin = format!("{keys}\n");
        self
    }

    /// Keys of `[livy]`.
    pub(crate) fn livy_keys(mut self, keys: &str) -> Self {
        self.livy_keys = format!("{keys}\n");
        self
    }

    /// Keys of `[livy.timeouts]`.
    pub(crate) fn timeouts(mut self, keys: &str) -> Self {
        self.timeouts = format!("[livy.timeouts]\n{keys}\n");
        self
    }

    /// More room for sessions and batches than any test fills, at Livy and by everybody's quota.
    pub(crate) fn roomy(mut self) -> Self {
        self.livy = self.livy.max_creation(100_000);
        self.quota =
            "[quota]\nsessions = 100000\nbatches = 100000\ncores = 4000000000\nmemory = \"8000000 TiB\"\n";
        self
    }

    /// The limits that hold where nothing is written, on a clock that may stand still.
    pub(crate) fn default_limits(mut self) -> Self {
        self.limits = "[limits]\n";
        self
    }

    /// So many sessions and batches of this user's, which are there before the gateway is.
    pub(crate) fn owned(mut self, user: &'static str, count: usize) -> Self {
        for kind in [Kind::Session, Kind::Batch] {
            self.plants.extend(std::iter::repeat_n((kind, None, user), count));
        }
        self
    }

    /// One of this user's with a name of its own, which is there before the gateway is.
    pub(crate) fn named(mut self, kind: Kind, name: &'static str, user: &'static str) -> Self {
        self.plants.push((kind, Some(name), user));
        self
    }

    /// Tables after all others.
    pub(crate) fn rest(mut self, tables: &str) -> Self {
        self.rest = format!("{tables}\n");
        self
    }

    /// A file beside the configuration.
    pub(crate) fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// An idle session or batch of alice's, which Livy has before the gateway starts.
    pub(crate) fn plant(mut self, kind: Kind) -> Self {
        self.plants.push((kind, None, "alice"));
        self
    }

    /// Livy and the folder, no gateway.
    pub(crate) async fn stage(self) -> Stage {
        let livy = self.livy.clone().overlook(self.overlooks).start().await;
        for (kind, name, user) in &self.plants {
            livy.plant(*kind, *name, Some(user), Some(user));
        }
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage { livy, folder };
        let url = self.livy_url.clone().unwrap_or_else(|| stage.livy.url());
        let hash = &PASSWORD.1;
        stage.write("users", &format!("alice:{hash}\nbob:{hash}\n"));
        for (name, content) in &self.files {
            stage.write(name, content);
        }
        let state = if self.rest.contains("[state]") {
            ""
        } else {
            "[state]\nstore = \"memory\"\n"
        };
        let Self {
            listen,
            admin,
            livy_keys,
            timeouts,
            quota,
            limits,
            rest,
            ..
        } = self;
        let (limits, rest) = if rest.contains("[limits]\n") {
            ("", rest.replacen("[limits]\n", limits, 1))
        } else {
            (limits, rest)
        };
        stage.write(
            "gateway.toml",
            &format!(
                "{listen}\n[admin]\naddress = \"127.0.0.1:0\"\n{admin}\n[livy]\nurl = \"{url}\"\n{livy_keys}\n{timeouts}\n\
                 [basic]\nusers_file = \"users\"\n{state}{quota}{limits}{rest}"
            ),
        );
        stage
    }

    /// A gateway in this process.
    pub(crate) async fn start(self) -> Rig {
        self.stage().await.start()
    }

    /// The real program, in a process of its own and on the machine's clock.
    pub(crate) async fn spawn(self) -> (Stage, Process) {
        let stage = self.stage().await;
        let process = Process::start(&stage.config()).await;
        (stage, process)
    }
}

/// A Livy, and a folder with a configuration that leads to it.
pub(crate) struct Stage {
    pub(crate) livy: FakeLivy,
    folder: TempDir,
}

impl Stage {
    /// A gateway in this process.
    pub(crate) fn start(self) -> Rig {
        let stage = self;
        let policy = config::load(&stage.config(), 1).unwrap_or_else(|report| panic!("{report}"));
        let clock = Arc::new(ManualClock::at(Duration::from_secs(NOW)));
        let app = App::start(policy, Arc::clone(&clock) as Arc<dyn Clock>, 1).unwrap();
        Rig {
            app: Some(app),
            stage,
            clock,
        }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("gateway.toml")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file there, whole at once.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// A running gateway. Dropped, it ends.
pub(crate) struct Rig {
    app: Option<App>,
    pub(crate) stage: Stage,
    pub(crate) clock: Arc<ManualClock>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Setup::new().start().await
    }

    pub(crate) fn livy(&self) -> &FakeLivy {
        &self.stage.livy
    }

    pub(crate) fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.app().addresses()[0]
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// One request over a connection of its own.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut client = self.connect().await;
        client.send(request).await;
        client.reply().await
    }

    /// Moves the clock until the future is done, and says by how much.
    pub(crate) async fn pass_until<T>(
        &self,
        step: Duration,
        future: impl Future<Output = T>,
    ) -> (T, Duration) {
        let began = self.clock.monotonic();
        let mut future = pin!(future);
        for _ in 0..400 {
            // Longer than a tick of the gateway's deadlines, so that each step is looked at.
            tokio::select! {
                biased;
                done = &mut future => return (done, self.clock.monotonic() - began),
                () = tokio::time::sleep(Duration::from_millis(110)) => self.clock.advance(step),
            }
        }
        panic!("nothing came in {:?}", self.clock.monotonic() - began);
    }

    /// Ends the gateway; its requests may finish.
    pub(crate) fn end(&mut self) -> std::thread::JoinHandle<()> {
        let app = self.app.take().unwrap();
        std::thread::spawn(move || app.end(Duration::from_secs(20)))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.end(Duration::ZERO);
        }
    }
}

/// `Authorization` of a user with the common password.
pub(crate) fn basic(user: &str) -> String {
    basic_with(user, &PASSWORD.0)
}

pub(crate) fn basic_with(user: &str, password: &str) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        STANDARD.encode(format!("{user}:{password}"))
    )
}

/// A request as written: `headers` are whole lines, and a body brings its length along.
pub(crate) fn request(method: &str, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: gw\r\n{headers}");
    if !body.is_empty() {
        write!(bytes, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    bytes.push_str("\r\n");
    [bytes.as_bytes(), body].concat()
}

/// A body that the operation takes, and its Content-Type line.
pub(crate) fn sample_body(operation: &Operation) -> (&'static str, String) {
    let json = match operation.body() {
        BodyKind::Empty => return ("", String::new()),
        BodyKind::Upload(resource) => {
            let line = "Content-Type: multipart/form-data; boundary=cut\r\n";
            return (line, multipart(resource.field(), "content"));
        }
        BodyKind::Json(JsonBody::CreateSession) => r#"{"kind":"spark"}"#,
        BodyKind::Json(JsonBody::CreateBatch) => r#"{"file":"hdfs:///a.jar"}"#,
        BodyKind::Json(JsonBody::Statement) => r#"{"code":"1 + 1"}"#,
        BodyKind::Json(JsonBody::Completion) => r#"{"code":"x","kind":"spark","cursor":1}"#,
        BodyKind::Json(JsonBody::Job) => r#"{"job":"AAAA","jobType":"spark"}"#,
        BodyKind::Json(JsonBody::AddResource) => r#"{"uri":"hdfs:///a.jar"}"#,
    };
    ("Content-Type: application/json\r\n", json.to_owned())
}

/// A request of alice's without a body.
pub(crate) fn plain(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: gw\r\n{}\r\n", basic("alice"))
}

pub(crate) fn get(path: &str) -> String {
    plain("GET", path)
}

/// A request of alice's with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> String {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: gw\r\n{}", basic("alice"));
    let length = body.len();
    write!(
        request,
        "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    request
}

/// The multipart body of an upload.
pub(crate) fn multipart(field: &str, content: &str) -> String {
    format!(
        "--cut\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"a.jar\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n{content}\r\n--cut--\r\n"
    )
}

/// The head of an upload whose whole body has this length.
pub(crate) fn upload_head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gw\r\n{}Content-Type: multipart/form-data; boundary=cut\r\nContent-Length: {length}\r\n\r\n",
        basic("alice")
    )
}

/// What the gateway asks for itself, all the time, and most tests do not look at.
pub(crate) fn is_the_gateways_list(request: &Received) -> bool {
    request.method == "GET"
        && request.target.contains("from=0&size=2147483647")
        && request.header("x-request-id").is_none()
}

/// The marker that Livy was given as the name of what is created, and no other name.
#[track_caller]
pub(crate) fn marker(creation: &Received) -> String {
    let text = creation.text();
    assert_eq!(text.matches("\"name\":").count(), 1, "{text}");
    let json = creation.json();
    let name = json["name"].as_str().unwrap_or_else(|| panic!("a name: {text}"));
    assert!(Marker::parse(name).is_some(), "{name} is no marker");
    name.to_owned()
}

/// The body of a creation, of whose name what is random is cut off: `etl-gw` is left.
#[track_caller]
pub(crate) fn without_marker(creation: &Received) -> String {
    let marker = marker(creation);
    let (stem, _) = marker.rsplit_once("-gw").unwrap();
    creation.text().replace(&marker, &format!("{stem}-gw"))
}

/// It is a list, all that it shows is this user's; the ids.
#[track_caller]
pub(crate) fn lists_only(reply: &Reply, user: &str) -> Vec<u64> {
    reply.expect_status(200);
    let json = reply.json();
    let rows = json["sessions"].as_array().unwrap();
    for row in rows {
        assert_eq!(row["proxyUser"], user, "{json}");
    }
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

/// How many times Livy was asked this.
pub(crate) fn times(livy: &FakeLivy, method: &str, path: &str) -> usize {
    let is_it = |request: &&Received| request.method == method && request.path == path;
    livy.requests().iter().filter(is_it).count()
}

/// A server in Livy's place that answers each connection's requests with the bytes that `answer` gives for the number
/// of the request on that connection, and keeps the connection open. The gateway's own lists are answered for it.
/// Returns its URL.
pub(crate) async fn raw_livy(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> String {
    let livy = SilentLivy::start().await;
    let url = livy.url();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let mut asked = livy.asked().await;
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                for number in 0.. {
                    if asked.0.write_all(&answer(number)).await.is_err()
                        || raw_head(&mut asked.0).await.is_none()
                    {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// A server in Livy's place that lists nothing, takes requests and leaves the rest to the test.
pub(crate) struct SilentLivy {
    port: u16,
    asked: Mutex<mpsc::UnboundedReceiver<Asked>>,
}

/// A connection that brought a request.
pub(crate) struct Asked(pub(crate) TcpStream);

impl SilentLivy {
    pub(crate) async fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = socket.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    while let Some(head) = raw_head(&mut stream).await {
                        if !head.starts_with("GET /sessions?from=0&size=2147483647 ")
                            && !head.starts_with("GET /batches?from=0&size=2147483647 ")
                        {
                            let _ = sender.send(Asked(stream));
                            return;
                        }
                        if stream.write_all(EMPTY_LIST.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            port,
            asked: Mutex::new(receiver),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits for the next connection with a request.
    pub(crate) async fn asked(&self) -> Asked {
        self.asked.lock().await.recv().await.unwrap()
    }

    /// Takes a request and answers with these bytes.
    pub(crate) async fn is_asked(&self, answer: &str) -> Asked {
        let mut asked = self.asked().await;
        asked.0.write_all(answer.as_bytes()).await.unwrap();
        asked
    }
}

impl Asked {
    /// Waits until the gateway closes it.
    pub(crate) async fn ends(mut self) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(60), self.0.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection stays open");
        assert_eq!(rest, b"");
    }
}

/// The head of the next request, if one comes.
pub(crate) async fn raw_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

const EMPTY_LIST: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n\
                          {\"from\":0,\"total\":0,\"sessions\":[]}";

/// Looks again and again until it holds.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain: {what}");
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_livy-gateway"))
}
