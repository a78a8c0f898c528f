//! The configuration changes while the gateway runs: at once for the next request, or not at all.

use std::fs;
use std::sync::Arc;

use livy_gateway::clock::Clock;
use livy_gateway::config;
use livy_gateway::reload::Reloader;
use livy_gateway::telemetry::metrics;
use rustls::version::TLS13;

use crate::rig::{
    Client, PASSWORD, Reply, Rig, Setup, basic_with, certificate, eventually, get, new_password,
};
use crate::tls::trusting;

/// What `operate` does when a file has changed and when SIGHUP comes.
fn reloader(rig: &Rig) -> Reloader {
    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    Reloader::new(&rig.stage.config(), Arc::clone(rig.app().policy()), clock)
}

async fn ask_as(rig: &Rig, user: &str, password: &str) -> Reply {
    let credentials = basic_with(user, password);
    rig.ask(&format!(
        "GET /livy/version HTTP/1.1\r\nHost: gw\r\n{credentials}\r\n"
    ))
    .await
}

#[tokio::test]
async fn a_new_password_holds_at_once_the_old_one_no_more_and_others_stay_logged_in() {
    let rig = Rig::start().await;
    let mut reloader = reloader(&rig);
    ask_as(&rig, "alice", &PASSWORD.0).await.expect_status(200);
    ask_as(&rig, "bob", &PASSWORD.0).await.expect_status(200);
    let cached = rig.app().shared().logins.stats();

    let (password, hash) = new_password();
    rig.stage
        .write("users", &format!("alice:{hash}\nbob:{}\n", PASSWORD.1));
    reloader.look(&rig.app().shared().logins, &rig.app().shared().users);
    ask_as(&rig, "alice", &PASSWORD.0).await.expect_status(200);
    // The second look finds the file at rest.
    reloader.look(&rig.app().shared().logins, &rig.app().shared().users);

    ask_as(&rig, "alice", &PASSWORD.0)
        .await
        .expect_refusal(401, "invalid_credentials");
    ask_as(&rig, "alice", &password).await.expect_status(200);
    let before = rig.app().shared().logins.stats();
    ask_as(&rig, "bob", &PASSWORD.0).await.expect_status(200);
    let after = rig.app().shared().logins.stats();
    assert_eq!(
        (after.hits, after.misses),
        (before.hits + 1, before.misses),
        "bob is hashed no second time: {cached:?}"
    );
}

#[tokio::test]
async fn a_removed_user_is_out() {
    let rig = Rig::start().await;
    let mut reloader = reloader(&rig);
    ask_as(&rig, "bob", &PASSWORD.0).await.expect_status(200);
    rig.stage.write("users", &format!("alice:{}\n", PASSWORD.1));
    reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
    ask_as(&rig, "bob", &PASSWORD.0)
        .await
        .expect_refusal(401, "invalid_credentials");
    ask_as(&rig, "alice", &PASSWORD.0).await.expect_status(200);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_a_metric_says_so_until_a_good_one_comes() {
    metrics::install().unwrap();
    let rig = Rig::start().await;
    let mut reloader = reloader(&rig);
    let good = rig.stage.read("gateway.toml");
    for (name, bad) in [
        ("gateway.toml", "[listen\n"),
        ("gateway.toml", "[listen]\nadress = \"127.0.0.1:0\"\n"),
        ("users", "alice\n"),
    ] {
        let generation = rig.app().policy().current().generation;
        let before = rig.stage.read(name);
        rig.stage.write(name, bad);
        reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
        assert_eq!(rig.app().policy().current().generation, generation, "{bad:?}");
        ask_as(&rig, "alice", &PASSWORD.0).await.expect_status(200);
        rig.stage.write(name, &before);
    }
    fs::remove_file(rig.stage.path("users")).unwrap();
    reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
    ask_as(&rig, "alice", &PASSWORD.0).await.expect_status(200);

    rig.stage.write("users", &format!("alice:{}\n", PASSWORD.1));
    rig.stage.write(
        "gateway.toml",
        &good.replace("[listen]", "[requests]\nmax_body = \"1 KiB\"\n[listen]"),
    );
    reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
    assert_eq!(rig.app().policy().current().requests.max_body, 1024);
}

#[tokio::test]
async fn a_refused_file_is_not_tried_again_until_it_changes() {
    let rig = Rig::start().await;
    let mut reloader = reloader(&rig);
    let logins = &rig.app().shared().logins;
    let users = &rig.app().shared().users;
    rig.stage.write("users", "alice\n");
    for _ in 0..3 {
        reloader.look(logins, users);
    }
    rig.stage.write("users", &format!("carol:{}\n", PASSWORD.1));
    reloader.look(logins, users);
    reloader.look(logins, users);
    ask_as(&rig, "carol", &PASSWORD.0).await.expect_status(200);
}

#[tokio::test]
async fn what_needs_new_sockets_or_a_new_log_is_refused_and_the_old_configuration_stays() {
    let rig = Rig::start().await;
    let mut reloader = reloader(&rig);
    let good = rig.stage.read("gateway.toml");
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\n";
    for (from, to) in [
        (listen, "[listen]\naddress = \"127.0.0.1:1\"\n"),
        (
            listen,
            "[listen]\naddress = \"127.0.0.1:0\"\nmax_connections = 7\n",
        ),
        (
            listen,
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n",
        ),
        (
            "[admin]\naddress = \"127.0.0.1:0\"",
            "[admin]\naddress = \"127.0.0.1:1\"",
        ),
        (
            listen,
            "[log]\nformat = \"text\"\n[listen]\naddress = \"127.0.0.1:0\"\n",
        ),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        rig.stage.write("gateway.toml", &changed);
        config::load(&rig.stage.config(), 2)
            .unwrap_or_else(|report| panic!("it is good in itself: {report}"));
        reloader.reload(&rig.app().shared().logins, &rig.app().shared().users);
        assert_eq!(rig.app().policy().current().generation, 1, "{to}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_connection_and_the_old_ones_go_on() {
    let listen = "[listen]\naddress = \"127.0.0.1:0\"\ntls = { certificate_file = \"tls.crt\", key_file = \"tls.key\" }\n";
    let (chain, key, old) = certificate();
    let rig = Setup::new()
        .listen(listen)
        .file("tls.crt", &chain)
        .file("tls.key", &key)
        .start()
        .await;
    let mut reloader = reloader(&rig);
    let logins = &rig.app().shared().logins;
    let users = &rig.app().shared().users;
    let mut client = Client::connect_tls(rig.address(), trusting(&old, &[&TLS13], &[]))
        .await
        .unwrap();
    client.send(get("/livy/version")).await;
    client.reply().await.expect_status(200);

    let (chain, key, new) = certificate();
    rig.stage.write("tls.crt", &chain);
    reloader.reload(logins, users);
    assert_eq!(
        rig.app().policy().current().generation,
        1,
        "the key does not fit yet"
    );
    rig.stage.write("tls.key", &key);
    reloader.reload(logins, users);

    client.send(get("/livy/version")).await;
    client.reply().await.expect_status(200);
    assert!(
        Client::connect_tls(rig.address(), trusting(&old, &[&TLS13], &[]))
            .await
            .is_err()
    );
    let mut client = Client::connect_tls(rig.address(), trusting(&new, &[&TLS13], &[]))
        .await
        .unwrap();
    client.send(get("/livy/version")).await;
    client.reply().await.expect_status(200);
}

#[tokio::test]
async fn the_program_notices_changed_files_and_sighup_and_says_which_key_cannot_change() {
    let (stage, mut process) = Setup::new().spawn().await;
    let (password, hash) = new_password();
    stage.write("users", &format!("carol:{hash}\n"));
    process.logs("the configuration is in force").await;
    let request = format!(
        "GET /livy/version HTTP/1.1\r\nHost: gw\r\n{}\r\n",
        basic_with("carol", &password)
    );
    let ask = async || {
        let mut client = Client::connect(process.address).await;
        client.send(&request).await;
        client.reply().await.status
    };
    assert_eq!(ask().await, 200);

    let good = stage.read("gateway.toml");
    stage.write("gateway.toml", &good.replacen("127.0.0.1:0", "127.0.0.1:1", 1));
    process.signal("HUP").await;
    let told = process.logs("the old one stays").await;
    assert!(
        told.contains("listen.address cannot change while running; restart"),
        "{told}"
    );
    let metric = async |value: &str| {
        let mut client = Client::connect(process.admin).await;
        client.send("GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").await;
        client
            .reply()
            .await
            .text()
            .contains(&format!("livy_gateway_config_last_reload_successful {value}\n"))
    };
    assert!(metric("0").await);
    stage.write("gateway.toml", &good);
    process.signal("HUP").await;
    eventually("the good one is in force", async || metric("1").await).await;
}

#[tokio::test]
async fn the_level_of_the_log_and_the_limits_change_while_it_runs() {
    let (stage, mut process) = Setup::new().rest("[log]\nlevel = \"info\"\n").spawn().await;
    let address = process.address;
    let ask = async |path: &str| {
        let mut client = Client::connect(address).await;
        client.send(get(path)).await;
        client.reply().await
    };
    ask("/livy/version").await.expect_status(200);
    process.logs("\"operation\":\"version\"").await;
    let told = stage.read("gateway.toml");
    let quiet = told.replace("level = \"info\"", "level = \"warn\"").replace(
        "read = { rate = \"100000/s\", burst = 1000000 }",
        "read = { rate = \"1/h\", burst = 1, delay = \"0s\" }",
    );
    assert_ne!(quiet, told);
    stage.write("gateway.toml", &quiet);
    process.signal("HUP").await;
    eventually("the new limit holds", async || {
        ask("/livy/version").await.status == 429
    })
    .await;
    stage.write(
        "gateway.toml",
        &told.replace("level = \"info\"", "level = \"debug\""),
    );
    process.signal("HUP").await;
    process.logs("\"the level of the log\"").await;
    // Of the requests between, no line was written; of this one there is.
    ask("/livy/sessions").await.expect_status(200);
    let first = process.logs("\"message\":\"request\"").await;
    assert!(first.contains("\"operation\":\"list_sessions\""), "{first}");
}

#[tokio::test]
async fn a_warning_that_comes_again_and_again_is_counted() {
    let (stage, mut process) = Setup::new().spawn().await;
    stage.livy.stop();
    let mut client = Client::connect(process.address).await;
    for _ in 0..50 {
        client.send(get("/livy/version")).await;
        client.reply().await.expect_status(503);
    }
    let left_out = process.logs("lines like one above were left out").await;
    assert!(left_out.contains("src/upstream.rs"), "{left_out}");
}
