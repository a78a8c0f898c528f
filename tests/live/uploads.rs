//! Files that pass through the gateway arrive whole, and where Livy means them to be.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;

use crate::support::{Content, Gateway, Livy, Spark, releases};

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension != "crc") {
            found.push(path);
        }
    }
    found
}

fn file(field: &'static str, name: &'static str, bytes: Bytes) -> Content {
    Content::File { field, name, bytes }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_file_arrives_whole() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let alice = gateway.as_user("alice");
        let id = alice
            .post("/sessions", json!({ "kind": "pyspark" }))
            .await
            .expect(201)
            .id();
        alice.until_state(&format!("/sessions/{id}"), "idle").await;

        // Longer than any buffer on the way, and with the boundary's own characters in it.
        let content: Bytes = b"\r\n--betwee\r\n\0\xff--"
            .iter()
            .copied()
            .cycle()
            .take(9_000_001)
            .collect();
        for (kind, field, name) in [
            ("jar", "jar", "library.jar"),
            ("pyfile", "file", "module.py"),
            ("file", "file", "table.bin"),
        ] {
            let path = format!("/sessions/{id}/upload-{kind}");
            let reply = alice.ask("POST", &path, file(field, name, content.clone())).await;
            reply.expect(200);
            let staged = files_below(&livy.staging());
            let staged = staged.iter().find(|path| path.ends_with(name));
            let staged = staged.unwrap_or_else(|| panic!("{name} is not in Livy's staging directory"));
            assert!(
                std::fs::read(staged).expect("readable") == content,
                "{name} is not what was sent"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_name_cannot_leave_livys_staging_directory() {
    for release in releases() {
        let livy = Livy::start(&release, Spark::Fake).await;
        let gateway = Gateway::start(&livy).await;
        let alice = gateway.as_user("alice");
        let created = alice.post("/sessions", json!({ "kind": "pyspark" })).await;
        let path = format!("/sessions/{}", created.expect(201).id());
        alice.until_state(&path, "idle").await;
        let upload = format!("{path}/upload-file");
        let above = livy.staging().parent().expect("a directory").to_owned();
        let outside = || {
            let all = files_below(&above).into_iter();
            all.filter(|path| path.ends_with("escaped.bin") && !path.starts_with(livy.staging()))
                .collect::<Vec<_>>()
        };
        let evil = || file("file", "../../escaped.bin", Bytes::from_static(b"evil"));

        let refused = alice.ask("POST", &upload, evil()).await.expect(400);
        assert_eq!(refused.json()["code"], "invalid_body", "{refused:?}");
        assert_eq!(outside(), [] as [PathBuf; 0]);

        // It is the gateway that keeps it in: 0.7.1 writes the file first and judges its place then.
        if release.is_0_7() {
            livy.direct_as("alice").ask("POST", &upload, evil()).await;
            assert_eq!(outside(), [above.join("escaped.bin")]);
        }
    }
}
