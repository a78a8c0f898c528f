//! One conversation that has everything in it, for comparing who is talked to.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Caller, Content, Reply};

/// What was said, and what was answered.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// `POST /sessions/{}/stop`, with what tells it from others like it.
    pub(crate) asked: String,
    pub(crate) reply: Reply,
}

/// Who talks to Livy, and what they have said so far.
#[derive(Debug)]
struct Speaker<'a> {
    caller: &'a Caller,
    said: Vec<Exchange>,
}

impl Speaker<'_> {
    /// `{}` in the path is the session's id.
    async fn say(&mut self, method: &str, path: &str, id: u64, content: Content) -> Reply {
        let target = path.replace("{}", &id.to_string());
        let reply = self.caller.ask(method, &target, content.clone()).await;
        let body = match content {
            Content::Json(value) => format!(" {value}"),
            Content::None | Content::File { .. } => String::new(),
        };
        self.said.push(Exchange {
            asked: format!("{method} {path}{body}"),
            reply: reply.clone(),
        });
        reply
    }

    async fn get(&mut self, path: &str, id: u64) -> Reply {
        self.say("GET", path, id, Content::None).await
    }

    async fn post(&mut self, path: &str, id: u64, body: Value) -> Reply {
        self.say("POST", path, id, Content::Json(body)).await
    }

    async fn session(&mut self, body: Value) -> u64 {
        let id = self.post("/sessions", 0, body).await.expect(201).id();
        self.caller.until_state(&format!("/sessions/{id}"), "idle").await;
        id
    }

    /// Runs it to its end and reads what came out.
    async fn statement(&mut self, id: u64, body: Value) -> u64 {
        let number = self
            .post("/sessions/{}/statements", id, body)
            .await
            .expect(201)
            .id();
        let path = format!("/sessions/{{}}/statements/{number}");
        self.caller
            .until_state(&path.replace("{}", &id.to_string()), "available")
            .await;
        self.get(&path, id).await;
        number
    }
}

/// Uses every operation of Livy's API, and some wrongly. `number` tells one conversation's names from another's;
/// `files` is a directory that Livy may read.
pub(crate) async fn everything(caller: &Caller, number: u32, files: &Path) -> Vec<Exchange> {
    let mut speaker = Speaker {
        caller,
        said: Vec::new(),
    };
    speaker.get("/version", 0).await;
    session(&mut speaker, number, files).await;
    endings(&mut speaker).await;
    batches(&mut speaker, number, files).await;
    speaker.said
}

async fn session(speaker: &mut Speaker<'_>, number: u32, files: &Path) {
    let id = speaker
        .session(json!({ "kind": "pyspark", "name": format!("talk-{number}"), "conf": { "spark.x": "1" } }))
        .await;
    for path in [
        "/sessions",
        "/sessions?from=0&size=1",
        "/sessions?from=abc",
        "/sessions/{}",
        "/sessions/{}/state",
        "/sessions/{}/log",
        "/sessions/{}/log?from=0&size=1",
        "/sessions/{}/statements",
        "/sessions/999999",
        "/sessions/999999/statements",
    ] {
        speaker.get(path, id).await;
    }

    speaker.statement(id, json!({ "code": "1 + 1" })).await;
    for path in [
        "/sessions/{}/statements",
        "/sessions/{}/statements?from=0&size=1",
        "/sessions/{}/statements/99",
    ] {
        speaker.get(path, id).await;
    }
    speaker
        .post("/sessions/{}/statements/99/cancel", id, json!({}))
        .await;
    let completion = json!({ "code": "impo", "kind": "pyspark", "cursor": 4 });
    speaker.post("/sessions/{}/completion", id, completion).await;
    speaker
        .say("POST", "/sessions/{}/connect", id, Content::None)
        .await;

    for path in ["/sessions/{}/submit-job", "/sessions/{}/run-job"] {
        let job = json!({ "job": "am9i", "jobType": "spark" });
        let job = speaker.post(path, id, job).await.expect(201).id();
        speaker.get(&format!("/sessions/{{}}/jobs/{job}"), id).await;
        let cancel = format!("/sessions/{{}}/jobs/{job}/cancel");
        speaker.say("POST", &cancel, id, Content::None).await;
        speaker
            .post(path, id, json!({ "job": "", "jobType": "spark" }))
            .await;
    }
    speaker.get("/sessions/{}/jobs/99", id).await;

    for (path, field) in [("jar", "jar"), ("pyfile", "file"), ("file", "file")] {
        let file = Content::File {
            field,
            name: "part.bin",
            bytes: Bytes::from_static(b"content"),
        };
        speaker
            .say("POST", &format!("/sessions/{{}}/upload-{path}"), id, file)
            .await;
        std::fs::write(files.join("part.bin"), "content").expect("a file for Livy");
        let uri = files.join("part.bin").display().to_string();
        let added = format!("/sessions/{{}}/add-{path}");
        speaker.post(&added, id, json!({ "uri": uri })).await;
    }
    speaker
        .post("/sessions/{}/add-file", id, json!({ "uri": "/etc/hosts" }))
        .await;

    // The name is taken, and Livy says so.
    let taken = json!({ "kind": "pyspark", "name": format!("talk-{number}") });
    speaker.post("/sessions", 0, taken).await;
    speaker.post("/sessions", 0, json!({ "kind": "cobol" })).await;
    for path in ["/sessions/{}", "/sessions/{}", "/sessions/999999"] {
        speaker.say("DELETE", path, id, Content::None).await;
    }
    speaker.get("/sessions/{}", id).await;
}

/// Sessions that are stopped stay listed, as dead.
async fn endings(speaker: &mut Speaker<'_>) {
    for path in ["/sessions/{}/stop", "/sessions/{}/interrupt"] {
        let id = speaker.session(json!({ "kind": "sql" })).await;
        speaker.say("POST", path, id, Content::None).await;
        speaker
            .caller
            .until_state(&format!("/sessions/{id}"), "dead")
            .await;
        speaker.get("/sessions/{}/state", id).await;
        speaker
            .post("/sessions/{}/statements", id, json!({ "code": "1" }))
            .await;
        speaker.say("DELETE", "/sessions/{}", id, Content::None).await;
    }
}

async fn batches(speaker: &mut Speaker<'_>, number: u32, files: &Path) {
    let job = files.join("job.py");
    std::fs::write(&job, "print('answer', 42)\n").expect("a file for Livy");
    let name = format!("talk-{number}");
    let id = speaker
        .post("/batches", 0, json!({ "file": job, "name": name, "args": ["a"] }))
        .await
        .expect(201)
        .id();
    speaker
        .caller
        .until_state(&format!("/batches/{id}/state"), "success")
        .await;
    for path in [
        "/batches",
        "/batches/{}",
        "/batches/{}/state",
        "/batches/{}/log?from=0&size=2147483647",
        "/batches/999999",
    ] {
        speaker.get(path, id).await;
    }
    for refused in [
        json!({ "file": job, "name": name }),
        json!({ "file": "/etc/hosts" }),
    ] {
        speaker.post("/batches", 0, refused).await;
    }
    for path in ["/batches/{}", "/batches/{}"] {
        speaker.say("DELETE", path, id, Content::None).await;
    }
}
