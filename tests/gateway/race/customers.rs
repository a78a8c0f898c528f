//! Those who create, leave, ask again and delete.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_livy::Kind;
use tokio::net::TcpStream;

use super::Storm;
use crate::rig::{Client, Reply, basic};

/// What became of one creation, as its customer knows it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) tag: String,
    pub(crate) has_key: bool,
    /// An earlier answer was lost, or said that nobody knows.
    pub(crate) may_have_been_lost: bool,
    /// The last status and code, `nothing`, or `left`.
    pub(crate) outcome: String,
    /// The numbers of each session that was given for it.
    pub(crate) ids: BTreeSet<u64>,
}

impl Told {
    pub(crate) fn was_created(&self) -> bool {
        self.outcome.starts_with("201")
    }

    /// It was said that it was not created.
    pub(crate) fn was_refused(&self) -> bool {
        let is_unknown = ["201", "409", "nothing", "left"];
        !is_unknown.iter().any(|word| self.outcome.starts_with(word))
    }
}

/// One user's program, with a connection of its own.
pub(crate) struct Customer {
    storm: Arc<Storm>,
    user: &'static str,
    number: usize,
    connection: Option<Client>,
    /// What it has not deleted yet.
    kept: Option<(Kind, u64)>,
}

impl Customer {
    pub(crate) const fn new(storm: Arc<Storm>, user: &'static str, number: usize) -> Self {
        Self {
            storm,
            user,
            number,
            connection: None,
            kept: None,
        }
    }

    /// Creates so many, one after another, and deletes most of them.
    pub(crate) async fn create(mut self, count: usize) -> Vec<Told> {
        let mut told = Vec::new();
        for turn in 0..count {
            let kept = self.kept.take();
            let tag = format!("t{}x{turn}", self.number);
            told.push(self.create_one(tag).await);
            // Only now, so that places are scarce while one more is asked for.
            if let Some((kind, id)) = kept {
                self.delete(kind, id).await;
            }
        }
        if let Some((kind, id)) = self.kept.take() {
            self.delete(kind, id).await;
        }
        told
    }

    async fn create_one(&mut self, tag: String) -> Told {
        let dice = self.storm.dice.clone();
        let kind = if dice.hits(600) {
            Kind::Session
        } else {
            Kind::Batch
        };
        let has_key = dice.hits(250);
        let request = self.creation(kind, &tag, has_key);
        let mut told = Told {
            tag,
            has_key,
            may_have_been_lost: false,
            outcome: String::new(),
            ids: BTreeSet::new(),
        };
        for _ in 0..TRIES {
            if dice.hits(40) {
                self.send_and_leave(&request).await;
                "left".clone_into(&mut told.outcome);
            } else if let Some(reply) = self.ask(&request).await {
                let (status, code) = reply.outcome();
                told.outcome = format!("{status} {code}");
                if status == 201 {
                    let id = reply.json()["id"].as_u64().unwrap();
                    told.ids.insert(id);
                    self.use_it(kind, id).await;
                    break;
                }
            } else {
                "nothing".clone_into(&mut told.outcome);
            }
            if told.was_refused() {
                let status = told.outcome.as_str()[..3].parse().unwrap();
                if status >= 500 || !told.may_have_been_lost {
                    self.storm.census().was_denied(&told.tag, status);
                }
                // As clients do with 5xx, and only with that.
                if status < 500 {
                    break;
                }
            } else {
                told.may_have_been_lost = true;
                if !has_key {
                    break;
                }
            }
        }
        self.storm.asked.fetch_add(1, Ordering::SeqCst);
        told
    }

    /// Deletes it at once, or later, or stops it and leaves it lying about.
    async fn use_it(&mut self, kind: Kind, id: u64) {
        match self.storm.dice.below(10) {
            0..=3 => self.delete(kind, id).await,
            4 if kind == Kind::Session => {
                let stop = self.request("POST", &format!("/livy/sessions/{id}/stop"), "");
                self.ask(&stop).await;
            }
            4 if self.storm.dice.hits(300) => self.storm.livy().advance(),
            _ => self.kept = Some((kind, id)),
        }
    }

    pub(crate) async fn delete(&mut self, kind: Kind, id: u64) {
        let request = self.request("DELETE", &format!("/livy/{}/{id}", collection(kind)), "");
        for _ in 0..5 {
            if let Some(reply) = self.ask(&request).await
                && matches!(reply.status, 200 | 404)
            {
                return;
            }
        }
    }

    /// The status of one try.
    pub(crate) async fn try_to_create(&mut self, kind: Kind) -> u16 {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let tag = format!("f{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let request = self.creation(kind, &tag, false);
        self.ask(&request).await.map_or(0, |reply| reply.status)
    }

    /// What it sees of its own.
    pub(crate) async fn own(&mut self) -> Vec<(Kind, u64)> {
        let mut own = Vec::new();
        for kind in [Kind::Session, Kind::Batch] {
            let request = self.request("GET", &format!("/livy/{}", collection(kind)), "");
            if let Some(reply) = self.ask(&request).await
                && reply.status == 200
            {
                let list = reply.json();
                let rows = list["sessions"].as_array().unwrap();
                assert_eq!(list["total"].as_u64(), Some(rows.len() as u64));
                for row in rows {
                    assert_eq!(row["proxyUser"], self.user, "{list}");
                    own.push((kind, row["id"].as_u64().unwrap()));
                }
            }
        }
        own
    }

    async fn ask(&mut self, request: &str) -> Option<Reply> {
        let mut client = self.connected().await;
        client.try_send(request).await.ok()?;
        let reply = client.reply_if_any().await?;
        if reply.header("connection") != Some("close") {
            self.connection = Some(client);
        }
        Some(reply)
    }

    async fn send_and_leave(&mut self, request: &str) {
        let mut client = self.connected().await;
        let _ = client.try_send(request).await;
        for _ in 0..self.storm.dice.below(20) {
            tokio::task::yield_now().await;
        }
    }

    async fn connected(&mut self) -> Client {
        if let Some(client) = self.connection.take() {
            return client;
        }
        loop {
            if let Ok(stream) = TcpStream::connect(self.storm.address()).await {
                return Client::over(stream);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn creation(&self, kind: Kind, tag: &str, has_key: bool) -> String {
        let body = match kind {
            Kind::Session => format!(r#"{{"kind":"spark","name":"{tag}"}}"#),
            Kind::Batch => format!(r#"{{"file":"hdfs:///a.jar","name":"{tag}"}}"#),
        };
        let request = self.request("POST", &format!("/livy/{}", collection(kind)), &body);
        if has_key {
            request.replacen("\r\n", &format!("\r\nIdempotency-Key: {tag}\r\n"), 1)
        } else {
            request
        }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> String {
        let credentials = basic(self.user);
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: gw\r\n{credentials}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }
}

const fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "sessions",
        Kind::Batch => "batches",
    }
}

/// How often a creation is tried that nobody has refused for good.
const TRIES: usize = 6;

/// Deletes what a user has seen twice: nobody else may know of it any more.
pub(crate) async fn sweep(storm: Arc<Storm>, user: &'static str) {
    let mut customer = Customer::new(storm, user, 0);
    let mut before = BTreeSet::new();
    loop {
        let now: BTreeSet<_> = customer
            .own()
            .await
            .into_iter()
            .map(|(kind, id)| (collection(kind), id))
            .collect();
        for (collection, id) in now.intersection(&before) {
            let kind = if *collection == "sessions" {
                Kind::Session
            } else {
                Kind::Batch
            };
            customer.delete(kind, *id).await;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}
