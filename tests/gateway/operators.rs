//! The operators' socket of the real program, asked by the real commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use fake_livy::Fault;
use serde_json::Value;
use tokio::process::Command;

use crate::rig::{Client, Process, Setup, Stage, basic, eventually, post, program, request, times};

const STATE: &str = "[state]\ndirectory = \"state\"\nreconcile = \"1s\"\n";
const SESSION: &str = r#"{"kind":"spark","name":"etl"}"#;

/// What a command printed, and its exit code.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(stage: &Stage, arguments: &[&str]) -> Said {
    let config = stage.config();
    let (command, rest) = arguments.split_first().unwrap();
    let output: Output = Command::new(program())
        .args([command, "--config"])
        .arg(&config)
        .args(rest)
        .output()
        .await
        .unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn ask(process: &Process, request: impl AsRef<[u8]>) -> crate::rig::Reply {
    let mut client = Client::connect(process.address).await;
    client.send(request).await;
    client.reply().await
}

async fn held(stage: &Stage) -> Value {
    let said = run(stage, &["sessions", "--json"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn operators_see_who_holds_what_for_themselves_and_for_scripts() {
    let (stage, mut process) = Setup::new().rest(STATE).spawn().await;
    assert_eq!(mode(&stage.path("state/control.sock")), 0o600);
    assert_eq!(mode(&stage.path("state")), 0o700);
    let nothing = run(&stage, &["sessions"]).await;
    assert!(nothing.out.starts_with("nothing is held\n"), "{}", nothing.out);
    ask(&process, post("/livy/sessions", SESSION))
        .await
        .expect_status(201);
    let said = run(&stage, &["sessions"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let lines: Vec<_> = said.out.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]), ["WHO", "SESSIONS", "BATCHES", "CORES", "MEMORY"]);
    assert_eq!(words(lines[1])[..3], ["alice", "1", "0"]);
    assert_eq!(words(lines[2])[..3], ["everybody", "together", "1"]);
    let row = words(lines[5]);
    assert_eq!(row[..4], ["session", "0", "etl", "alice"]);
    assert!(row.last().unwrap().starts_with("etl-gw"), "{}", said.out);

    let held = held(&stage).await;
    assert_eq!(held["holders"][0]["name"], "alice");
    assert_eq!(held["sessions"][0]["created_by"], "basic:alice");
    assert_eq!(held["ledger_available"], true);
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    assert!(
        !stage.path("state/control.sock").exists(),
        "it goes with the process"
    );
    let nobody = run(&stage, &["sessions"]).await;
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.err.contains("no gateway answers there"), "{}", nobody.err);
}

#[tokio::test]
async fn who_has_no_dashboard_sees_who_asks_for_how_much_and_who_is_refused() {
    let limits = "[[limits.for]]\nuser = \"bob\"\nread = { rate = \"1/h\", burst = 1, delay = \"0s\" }\n";
    let (stage, process) = Setup::new().rest(&format!("{STATE}{limits}")).spawn().await;
    ask(&process, post("/livy/sessions", SESSION))
        .await
        .expect_status(201);
    let state = request("GET", "/livy/version", &basic("bob"), "");
    ask(&process, &state).await.expect_status(200);
    let load = async {
        let mut client = Client::connect(process.address).await;
        loop {
            client.send(&state).await;
            client.reply().await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let said = tokio::select! {
        said = run(&stage, &["top"]) => said,
        () = load => unreachable!("it has no end"),
    };
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(!said.out.contains('\u{1b}'), "it is no terminal: {}", said.out);
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines[0].contains("all is well"), "{}", said.out);
    assert!(lines[1].contains("(rate_limited "), "{}", said.out);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = lines[6..].iter().map(|line| words(line)).collect();
    assert_eq!(rows[0][..3], ["USER", "REQUESTS/S", "REFUSED/S"]);
    assert_eq!(rows[1][0], "bob", "the busiest first: {}", said.out);
    let [asked, refused] = [1, 2].map(|column| rows[1][column].parse::<u32>().unwrap());
    // One may be counted and not answered yet, at either look.
    assert!(asked > 5 && asked.abs_diff(refused) <= 2, "{}", said.out);
    assert_eq!(rows[2][..7], ["alice", "0", "0", "0", "1", "of", "6"]);
    let few = run(&stage, &["top", "--users", "1"]).await;
    assert_eq!(few.out.lines().count(), 8, "{}", few.out);
}

#[tokio::test]
async fn what_a_killed_process_left_behind_is_replaced_and_a_second_gateway_does_not_start() {
    let (stage, mut process) = Setup::new().rest(STATE).spawn().await;
    process.signal("KILL").await;
    process.exit_code().await;
    assert!(stage.path("state/control.sock").exists());
    let _again = Process::start(&stage.config()).await;
    assert_eq!(run(&stage, &["sessions"]).await.code, Some(0));
    let second = Command::new(program())
        .args(["serve", "--config"])
        .arg(stage.config())
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(
        run(&stage, &["sessions"]).await.code,
        Some(0),
        "it is still the first one's"
    );
}

#[tokio::test]
async fn a_place_in_doubt_is_given_back_by_hand_and_what_appears_after_all_is_not_overlooked() {
    let quota = "[quota]\nsessions = 1\n";
    let (stage, mut process) = Setup::new().rest(&format!("{STATE}{quota}")).spawn().await;
    let late = stage
        .livy
        .fault(Fault::act_after_disconnect().on("POST", "/sessions"));
    ask(&process, post("/livy/sessions", SESSION))
        .await
        .expect_refusal(409, "outcome_unknown");
    let held = held(&stage).await;
    let place = &held["sessions"][0];
    assert_eq!(
        (&place["standing"], &place["id"]),
        (&Value::from("in_doubt"), &Value::Null)
    );
    let marker = place["marker"].as_str().unwrap();
    let released = run(&stage, &["release", marker]).await;
    assert_eq!(released.code, Some(0), "{}", released.err);
    assert!(
        released
            .out
            .starts_with(&format!("released the session {marker} of alice: ")),
        "{}",
        released.out
    );
    let told = process.logs("\"event\":\"release\"").await;
    assert!(told.contains(marker), "{told}");
    let again = run(&stage, &["release", marker]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("nothing was released"), "{}", again.err);

    eventually("the place is free", async || {
        ask(&process, post("/livy/sessions", r#"{"kind":"spark"}"#))
            .await
            .status
            == 201
    })
    .await;

    late.release();
    eventually(
        "what Livy made after all is deleted, or counts again",
        async || {
            let held = self::held(&stage).await["sessions"].as_array().unwrap().len();
            times(&stage.livy, "POST", "/sessions") == 2 && held == stage.livy.sessions().len()
        },
    )
    .await;
}

#[tokio::test]
async fn what_livy_shows_is_not_released_and_what_it_shows_no_more_is() {
    let (stage, process) = Setup::new().rest(&STATE.replace("1s", "10m")).spawn().await;
    ask(&process, post("/livy/sessions", SESSION))
        .await
        .expect_status(201);
    let refused = run(&stage, &["release", "0"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("Livy lists it as number 0") && refused.err.contains("DELETE /sessions/0"),
        "{}",
        refused.err
    );
    let batch = run(&stage, &["release", "--batch", "0"]).await;
    assert!(batch.err.contains("holds no such place"), "{}", batch.err);
    stage.livy.restart();
    let released = run(&stage, &["release", "0"]).await;
    assert_eq!(released.code, Some(0), "{}", released.err);
    let headers = basic("alice");
    ask(&process, request("GET", "/livy/sessions/0", &headers, ""))
        .await
        .expect_status(404);
    assert_eq!(held(&stage).await["holders"], serde_json::json!([]));
}

#[tokio::test]
async fn a_reload_tells_what_is_wrong_and_a_file_that_is_being_mended_hides_nothing() {
    let (stage, _process) = Setup::new().rest(STATE).spawn().await;
    let good = stage.read("gateway.toml");
    let fine = run(&stage, &["reload"]).await;
    assert_eq!((fine.code, fine.err.as_str()), (Some(0), ""));
    assert!(
        fine.out.contains("gateway.toml is in force (load 2)"),
        "{}",
        fine.out
    );

    stage.write("gateway.toml", &format!("{good}[quota]\nsesions = 1\n"));
    let refused = run(&stage, &["reload"]).await;
    assert_eq!(refused.code, Some(1));
    for words in ["the old configuration stays", "quota.sesions", "sessions"] {
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }
    assert_eq!(run(&stage, &["sessions"]).await.code, Some(0));

    stage.write("gateway.toml", &good.replacen("127.0.0.1:0", "127.0.0.1:1", 1));
    let refused = run(&stage, &["reload"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("listen.address cannot change while running"),
        "{}",
        refused.err
    );
    // The ledger is about one Livy.
    let url = good.lines().find(|line| line.starts_with("url = ")).unwrap();
    stage.write(
        "gateway.toml",
        &good.replacen(url, "url = \"http://127.0.0.1:1\"", 1),
    );
    let refused = run(&stage, &["reload"]).await;
    assert!(
        refused.err.contains("livy.url cannot change while running"),
        "{}",
        refused.err
    );
    stage.write("gateway.toml", "[listen\n");
    let refused = run(&stage, &["reload"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("this is not TOML"), "{}", refused.err);
}

#[tokio::test]
async fn a_gateway_that_keeps_nothing_has_a_socket_only_where_a_directory_is_written() {
    let (stage, _process) = Setup::new().spawn().await;
    let none = run(&stage, &["sessions"]).await;
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("write a state.directory"), "{}", none.err);

    let memory = "[state]\nstore = \"memory\"\ndirectory = \"run\"\n";
    let (stage, _process) = Setup::new().rest(memory).spawn().await;
    assert_eq!(run(&stage, &["sessions"]).await.code, Some(0));
    let files: Vec<_> = fs::read_dir(stage.path("run"))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files, ["control.sock"]);
}

#[tokio::test]
async fn wrong_usage_is_2_and_whoever_says_nothing_or_nonsense_stops_nobody() {
    let (stage, _process) = Setup::new().rest(STATE).spawn().await;
    for arguments in [
        &["release"][..],
        &["release", "etl"],
        &["release", "-1"],
        &["sessions", "--all"],
        &["reload", "now"],
    ] {
        assert_eq!(run(&stage, arguments).await.code, Some(2), "{arguments:?}");
    }
    let path = stage.path("state/control.sock");
    let answer = async |line: &str| {
        let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let mut client = Client::over(stream);
        // It may have heard enough before all of it was said.
        let _ = client.try_send(line).await;
        client.rest().await
    };
    for line in [
        "\n",
        "{}\n",
        "{\"command\":\"stop\"}\n",
        &format!("{}\n", "x".repeat(5000)),
    ] {
        let said = answer(line).await;
        assert!(said.is_empty() || said.contains("\"refused\""), "{line}: {said}");
    }
    // The next one waits for a silent one no longer than its time.
    let silent = tokio::net::UnixStream::connect(&path).await.unwrap();
    assert_eq!(run(&stage, &["sessions"]).await.code, Some(0));
    drop(silent);
}
