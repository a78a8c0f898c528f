//! Thousands of creations race for a few places while everything fails: answers are lost, clients leave, Livy refuses,
//! creates late and restarts, and the gateway is killed. At no instant does more live than anybody may hold, and in the
//! end no place is lost, nothing was made twice, and nobody was told a lie.
//!
//! `RACE_CREATIONS` says how many (10 000 unless given). `RACE_SEED` repeats the choices of a run, as far as the order of
//! events allows. `RACE_LOG` names a file for the gateway's log of a run that fails.

mod census;
mod customers;
mod trouble;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_livy::{FakeLivy, Kind, Progress};
use livy_gateway::ledger::{FileLedger, IfSpoiled, Ledger, PlaceKey};
use livy_gateway::livy::Kind as LedgerKind;

use census::{Census, limit};
use customers::{Customer, Told, sweep};
use trouble::{Dice, arm};

use crate::rig::{PASSWORD, Process, Setup, Stage, eventually};

/// Of each user, of the members of the pot together, and of everybody together.
const LIMITS: [(usize, usize); 3] = [(4, 3), (20, 14), (42, 28)];
/// Those of the pot first.
const USERS: [&str; 16] = [
    "ann", "ben", "cid", "dot", "eve", "fay", "gus", "hal", "ida", "jim", "kay", "leo", "mia", "ned", "ora",
    "pam",
];
const POT: usize = 8;
const CUSTOMERS_OF_EACH: usize = 20;
/// How long a place stays in doubt: longer than a creation is looked for in Livy's lists, or nothing would be in doubt.
const HOLD: Duration = Duration::from_secs(7);
/// After what time Livy makes nothing of a request any more. It is counted from when the request came; a place is in
/// doubt later than that, so what comes late always finds it.
const LATEST: Duration = Duration::from_millis(6500);
/// How long the gateway waits for a creation.
const PATIENCE: &str = "1s";

#[tokio::test]
async fn whatever_fails_no_more_lives_than_anybody_may_hold_and_no_place_is_lost() {
    let seed = number("RACE_SEED").unwrap_or_else(|| rand_seed() % 1_000_000);
    let creations = number("RACE_CREATIONS").unwrap_or(10_000);
    println!("RACE_SEED={seed} RACE_CREATIONS={creations}");
    let storm = Storm::begin(Dice::new(seed)).await;

    let told = storm.rage(usize::try_from(creations).unwrap()).await;
    println!("{}", storm.census().summary(&told));
    storm.census().assert_honest(&told);

    storm.clean_up().await;
    storm.fill_every_place().await;
    storm.assert_that_the_ledger_holds_what_lives().await;
    storm.census().assert_within_limits();
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

fn rand_seed() -> u64 {
    u64::try_from(uuid::Uuid::now_v7().as_u128() & u128::from(u64::MAX)).unwrap()
}

/// What befalls the processes.
enum Blow {
    Kill,
    End,
    RestartLivy,
    KillAndRestartLivy,
}

const BLOWS: [Blow; 6] = [
    Blow::Kill,
    Blow::RestartLivy,
    Blow::Kill,
    Blow::End,
    Blow::KillAndRestartLivy,
    Blow::Kill,
];
const RESTARTS_OF_LIVY: usize = 2;

/// Livy, the gateway and whoever is after them.
pub(crate) struct Storm {
    stage: Stage,
    dice: Dice,
    census: Arc<Mutex<Census>>,
    gateway: tokio::sync::Mutex<Process>,
    address: Mutex<std::net::SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    asked: AtomicUsize,
}

impl Storm {
    async fn begin(dice: Dice) -> Arc<Self> {
        let census: Arc<Mutex<Census>> = Arc::default();
        let seen = Arc::clone(&census);
        let livy = FakeLivy::builder()
            .impersonation(true)
            .max_creation(100_000)
            .progress(Progress::WhenTold)
            .keep_requests(50)
            .watch(move |alive| seen.lock().unwrap().see(alive));
        let stage = Setup::new()
            .livy(livy)
            .with_its_lists()
            .file("users", &users())
            .livy_keys("creations_at_once = 32")
            .timeouts(&format!("create = \"{PATIENCE}\""))
            .rest(&settings())
            .stage()
            .await;
        let log = Arc::default();
        let gateway = start(&stage.config(), &log).await;
        let address = Mutex::new(gateway.address);
        Arc::new(Self {
            stage,
            dice,
            census,
            gateway: tokio::sync::Mutex::new(gateway),
            address,
            log,
            asked: AtomicUsize::new(0),
        })
    }

    fn livy(&self) -> &FakeLivy {
        &self.stage.livy
    }

    fn census(&self) -> std::sync::MutexGuard<'_, Census> {
        self.census.lock().unwrap()
    }

    fn address(&self) -> std::net::SocketAddr {
        *self.address.lock().unwrap()
    }

    /// So many creations, and all that can go wrong. What each customer was told.
    async fn rage(self: &Arc<Self>, creations: usize) -> Vec<Told> {
        let troubles = arm(self.livy(), &self.dice, LATEST);
        let sweepers: Vec<_> = USERS
            .into_iter()
            .map(|user| tokio::spawn(sweep(Arc::clone(self), user)))
            .collect();
        let share = creations.div_ceil(USERS.len() * CUSTOMERS_OF_EACH);
        let customers: Vec<_> = (0..USERS.len() * CUSTOMERS_OF_EACH)
            .map(|number| {
                let customer = Customer::new(Arc::clone(self), USERS[number % USERS.len()], number);
                tokio::spawn(customer.create(share))
            })
            .collect();
        let late = tokio::spawn(trouble::let_go_late(Arc::clone(self), troubles.clone()));
        self.disturb(creations).await;

        let mut told = Vec::new();
        for customer in customers {
            told.extend(customer.await.unwrap());
        }
        late.abort();
        for sweeper in sweepers {
            sweeper.abort();
        }
        println!("troubles were met {:?} times", troubles.met());
        self.livy().clear_faults();
        told
    }

    /// Strikes while creations are under way.
    async fn disturb(&self, creations: usize) {
        for (place, blow) in BLOWS.iter().enumerate() {
            let turn = creations * (place + 1) / (BLOWS.len() + 1) + self.dice.below(creations / 20);
            while self.asked.load(Ordering::SeqCst) < turn {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            match blow {
                Blow::Kill => self.restart("KILL", None, false).await,
                Blow::KillAndRestartLivy => self.restart("KILL", None, true).await,
                Blow::End => self.restart("TERM", Some(0), false).await,
                Blow::RestartLivy => self.livy().restart(),
            }
        }
    }

    async fn restart(&self, signal: &str, code: Option<i32>, and_livy: bool) {
        let mut gateway = self.gateway.lock().await;
        gateway.signal(signal).await;
        assert_eq!(gateway.exit_code().await, code);
        if and_livy {
            self.livy().restart();
        }
        *gateway = start(&self.stage.config(), &self.log).await;
        *self.address.lock().unwrap() = gateway.address;
    }

    /// Everybody deletes what they see, until Livy has nothing.
    async fn clean_up(self: &Arc<Self>) {
        eventually("everything can be seen by its owner and deleted", async || {
            for user in USERS {
                let mut customer = Customer::new(Arc::clone(self), user, 0);
                for (kind, id) in customer.own().await {
                    customer.delete(kind, id).await;
                }
            }
            self.livy().sessions().is_empty() && self.livy().batches().is_empty()
        })
        .await;
    }

    /// Takes whatever can be had: first those of the pot, then everybody. If a place were lost, fewer would live.
    async fn fill_every_place(self: &Arc<Self>) {
        for (users, scope) in [(&USERS[..POT], 1), (&USERS[..], 2)] {
            for kind in [Kind::Session, Kind::Batch] {
                let most = limit(LIMITS[scope], kind);
                // Each try takes as long as the next list, and what is in doubt has its time.
                for _ in 0..30 {
                    self.everybody_creates(users, kind).await;
                    if self.census().alive_of(users, kind) == most {
                        break;
                    }
                }
                assert_eq!(
                    self.census().alive_of(users, kind),
                    most,
                    "every place can be had"
                );
            }
        }
    }

    async fn everybody_creates(self: &Arc<Self>, users: &[&'static str], kind: Kind) {
        let tries: Vec<_> = users
            .iter()
            .flat_map(|user| std::iter::repeat_n(*user, limit(LIMITS[0], kind) + 1))
            .map(|user| {
                let mut customer = Customer::new(Arc::clone(self), user, 0);
                tokio::spawn(async move { customer.try_to_create(kind).await })
            })
            .collect();
        for one in tries {
            let status = one.await.unwrap();
            assert!(matches!(status, 201 | 429), "{status}");
        }
    }

    /// What the ledger's file counts is what lives at Livy, name by name.
    async fn assert_that_the_ledger_holds_what_lives(&self) {
        let mut gateway = self.gateway.lock().await;
        gateway.signal("TERM").await;
        assert_eq!(gateway.exit_code().await, Some(0));
        let (ledger, _) =
            FileLedger::open(&self.stage.path("state"), Duration::ZERO, IfSpoiled::Refuse).unwrap();
        let mut held = BTreeSet::new();
        for kind in LedgerKind::ALL {
            for place in ledger.all(kind).await {
                let PlaceKey::Marker(marker) = &place.key else {
                    continue;
                };
                assert!(
                    place.standing.counts() && place.standing.id().is_some(),
                    "{place:?}"
                );
                held.insert(marker.to_string());
            }
        }
        let names = |snapshots: Vec<fake_livy::Snapshot>| snapshots.into_iter().filter_map(|one| one.name);
        let livy = self.livy();
        let live: BTreeSet<_> = names(livy.sessions()).chain(names(livy.batches())).collect();
        assert_eq!(held, live);
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(file) = std::env::var("RACE_LOG")
        {
            let _ = std::fs::write(file, self.log.lock().unwrap().join("\n"));
        }
    }
}

async fn start(config: &Path, log: &Arc<Mutex<Vec<String>>>) -> Process {
    let mut process = Process::start(config).await;
    process.keep_log(Arc::clone(log));
    process
}

fn users() -> String {
    let hash = &PASSWORD.1;
    let line = |(place, user): (usize, &&str)| {
        let group = if place < POT { "pot" } else { "others" };
        format!("{user}:{hash}:{group}\n")
    };
    USERS.iter().enumerate().map(line).collect()
}

fn settings() -> String {
    let [
        (sessions, batches),
        (pot_sessions, pot_batches),
        (all_sessions, all_batches),
    ] = LIMITS;
    format!(
        "[state]\ndirectory = \"state\"\nreconcile = \"1s\"\nin_doubt_hold = \"{}s\"\n\
         [limits]\nper_address = {{ rate = \"10000/s\", burst = 10000 }}\n\
         [quota]\nsessions = {sessions}\nbatches = {batches}\ncores = 1000000\nmemory = \"1000 TiB\"\n\
         [[quota.for]]\ngroup = \"pot\"\nsessions = {pot_sessions}\nbatches = {pot_batches}\n\
         [[quota.for]]\neverybody = true\nsessions = {all_sessions}\nbatches = {all_batches}\n",
        HOLD.as_secs()
    )
}
