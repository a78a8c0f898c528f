//! Lists: each one's own and nothing of others, paged as Livy pages, and read from Livy once for everybody.

use fake_livy::{FakeLivy, Kind};

use crate::rig::{Client, Reply, Rig, Setup, basic, request};

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
