//! Lists: each one's own and nothing of others, paged as Livy pages, and read from Livy once for everybody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fake_livy::{FakeLivy, Kind, Received};
use livy_gateway::livy::marker::{Instance, Marker};
use tokio::time::Instant;

use crate::rig::{Client, Process, Reply, Rig, Setup, basic, is_the_gateways_list, request, times};

async fn ask(rig: &Rig, user: &str, method: &str, target: &str) -> Reply {
    let mut client = rig.connect().await;
    client.send(request(method, target, &basic(user), "")).await;
    if method == "HEAD" {
        client.reply_to_head().await
    } else {
        client.reply().await
    }
}

#[tokio::test]
async fn a_page_of_ones_own_is_what_livy_would_give_if_it_had_nothing_else() {
    let mut setup = Setup::new();
    for _ in 0..4 {
        setup = setup.owned("bob", 2).owned("alice", 3);
    }
    let rig = setup.owned("carol", 1).start().await;
    let alone = FakeLivy::builder().impersonation(true).start().await;
    for _ in 0..12 {
        alone.plant(Kind::Session, None, Some("alice"), Some("alice"));
    }
    // What alice's sessions are numbered at the Livy that they share.
    let numbers: Vec<_> = (0..4)
        .flat_map(|round| (0..3).map(move |one| 5 * round + 2 + one))
        .collect();
    let mut pages = vec![String::new()];
    let odd = [
        i32::MIN,
        -13,
        -12,
        -5,
        -1,
        0,
        1,
        5,
        11,
        12,
        13,
        100,
        i32::MAX - 3,
        i32::MAX,
    ];
    for from in odd {
        pages.push(format!("?from={from}"));
        pages.push(format!("?size={from}"));
        pages.extend(odd.map(|size| format!("?from={from}&size={size}")));
    }
    let mut livy = Client::connect(([127, 0, 0, 1], alone.port()).into()).await;
    let mut client = rig.connect().await;
    for page in &pages {
        livy.send(format!("GET /sessions{page} HTTP/1.1\r\nHost: livy\r\n\r\n"))
            .await;
        let mut expected = livy.reply().await.expect_status(200).json();
        for row in expected["sessions"].as_array_mut().unwrap() {
            let place = row["id"].as_u64().unwrap();
            row["id"] = numbers[usize::try_from(place).unwrap()].into();
        }
        client
            .send(request(
                "GET",
                &format!("/livy/sessions{page}"),
                &basic("alice"),
                "",
            ))
            .await;
        assert_eq!(client.reply().await.expect_status(200).json(), expected, "{page}");
    }
    for page in [
        "?order=desc",
        "?from=x",
        "?size=",
        "?from=2147483648",
        "?total=1",
        "?from=1&from=2",
    ] {
        let alices = ask(&rig, "alice", "GET", &format!("/livy/sessions{page}")).await;
        let nobodys = ask(&rig, "bob", "GET", &format!("/livy/batches{page}")).await;
        assert_eq!(
            (alices.status, alices.outcome()),
            (400, nobodys.outcome()),
            "{page}"
        );
    }
}

#[tokio::test]
async fn a_head_of_a_list_tells_the_length_of_ones_own_and_nothing_of_others() {
    let rig = Setup::new().owned("bob", 3).start().await;
    for path in ["/livy/sessions", "/livy/batches", "/livy/sessions?from=1"] {
        let body = ask(&rig, "alice", "GET", path).await;
        let head = ask(&rig, "alice", "HEAD", path).await;
        assert_eq!(
            head.header("content-length"),
            body.header("content-length"),
            "{path}"
        );
        assert_eq!(body.json()["total"], 0);
    }
}

/// Sessions of so many users, ten thousand together.
const USERS: u64 = 200;
const OF_EACH: u64 = 50;
const POLLERS: usize = 200;

#[tokio::test]
async fn however_many_poll_livy_is_asked_for_each_list_once_a_second_at_most() {
    let stage = Setup::new()
        .livy(FakeLivy::builder().impersonation(true).max_creation(100_000))
        .with_its_lists()
        .stage()
        .await;
    for number in 0..USERS * OF_EACH {
        let user = match number % USERS {
            0 => "alice".to_owned(),
            other => format!("user-{other}"),
        };
        let marker = Marker::new("etl", Instance::new([7; 5]), &user, number.to_be_bytes());
        stage
            .livy
            .plant(Kind::Session, Some(marker.as_str()), None, Some(&user));
    }
    let alices: BTreeSet<u64> = (0..OF_EACH).map(|round| round * USERS).collect();
    let process = Process::start(&stage.config()).await;
    let polls = Arc::new(AtomicUsize::new(0));
    let pollers: Vec<_> = (0..POLLERS)
        .map(|poller| {
            let id = *alices.iter().nth(poller % alices.len()).unwrap();
            let (expected, polls) = (alices.clone(), Arc::clone(&polls));
            tokio::spawn(poll(process.address, id, expected, polls))
        })
        .collect();
    // Now they are at it, the first list included.
    while polls.load(Ordering::SeqCst) < POLLERS {
        tokio::task::yield_now().await;
        assert!(!pollers.iter().any(tokio::task::JoinHandle::is_finished));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    stage.livy.clear();
    let began = Instant::now();
    let lists = |path: &str| {
        let is_one = |request: &&Received| request.path == path && is_the_gateways_list(request);
        stage.livy.requests().iter().filter(is_one).count()
    };
    while lists("/sessions") < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (sessions, batches, took) = (lists("/sessions"), lists("/batches"), began.elapsed());
    for poller in pollers {
        assert!(!poller.is_finished(), "{:?}", poller.await);
        poller.abort();
    }
    // One may have been on its way when the count began.
    let most = usize::try_from(took.as_secs()).unwrap() + 2;
    assert!(sessions <= most, "{sessions} lists in {took:?}");
    assert!(batches <= most, "{batches} lists in {took:?}");
    let polls = polls.load(Ordering::SeqCst);
    assert!(polls > 10 * sessions, "{polls} polls");
    assert_eq!(
        times(&stage.livy, "GET", "/sessions"),
        sessions,
        "and nobody else lists"
    );
}

/// Reads the list and a state, again and again, and looks at what comes.
async fn poll(address: std::net::SocketAddr, id: u64, expected: BTreeSet<u64>, polls: Arc<AtomicUsize>) {
    let mut client = Client::connect(address).await;
    let head = basic("alice");
    loop {
        client
            .send(request("GET", "/livy/sessions?size=1000", &head, ""))
            .await;
        let list = client.reply().await.expect_status(200).json();
        let rows = list["sessions"].as_array().unwrap();
        let shown: BTreeSet<u64> = rows.iter().map(|row| row["id"].as_u64().unwrap()).collect();
        assert_eq!((rows.len(), &shown), (expected.len(), &expected));
        assert_eq!(list["total"].as_u64(), Some(OF_EACH));
        client
            .send(request("GET", &format!("/livy/sessions/{id}/state"), &head, ""))
            .await;
        assert_eq!(client.reply().await.expect_status(200).json()["id"], id);
        polls.fetch_add(1, Ordering::SeqCst);
    }
}
