//! Pages of lists and logs, as clients write them and as Livy reads them.

use super::{furnished, only};
use crate::rig::{Client, Setup, get, lists_only};

/// Odd pages of sessions, as Livy reads them, and how many of 8 it shows.
const PAGES: [(&str, &str, Option<usize>); 12] = [
    ("size=2147483647", "&size=2147483647", Some(8)),
    ("size=-1", "&size=-1", Some(0)),
    ("size=0", "&size=0", Some(0)),
    ("size=%2B3", "&size=3", Some(3)),
    ("size=003", "&size=3", Some(3)),
    ("size=3&from=6", "&from=6&size=3", Some(2)),
    ("%66rom=6&s%69ze=%33", "&from=6&size=3", Some(2)),
    ("from=-5&size=2", "&from=-5&size=2", None),
    (
        "from=2147483647&size=2147483647",
        "&from=2147483647&size=2147483647",
        None,
    ),
    ("from=-2147483648", "&from=-2147483648", None),
    ("&&from=7&", "&from=7", Some(1)),
    ("", "", Some(8)),
];

#[tokio::test]
async fn odd_pages_of_a_list_mean_what_livy_makes_of_them_and_never_reach_it() {
    let rig = furnished().await;
    for (query, written, shown) in PAGES {
        let mut livy = Client::connect(([127, 0, 0, 1], rig.livy().port()).into()).await;
        livy.send(format!(
            "GET /sessions?doAs=alice{written} HTTP/1.1\r\nHost: livy\r\n\r\n"
        ))
        .await;
        let livys = livy.reply().await;
        livys.expect_status(200);
        rig.livy().clear();
        let reply = rig.ask(get(&format!("/livy/sessions?{query}"))).await;
        reply.expect_status(200);
        assert_eq!(reply.json(), livys.json(), "{query}");
        assert!(rig.livy().requests().is_empty(), "{query}");
        if let Some(count) = shown {
            assert_eq!(lists_only(&reply, "alice").len(), count, "{query}");
        }
    }
}

#[tokio::test]
async fn a_page_counts_ones_own_sessions_only() {
    // 0 and 1 are bob's, 2 to 4 alice's, 5 is carol's, 6 and 7 are alice's.
    let setup = Setup::new().owned("bob", 2).owned("alice", 3);
    let rig = setup.owned("carol", 1).owned("alice", 2).start().await;
    for collection in ["sessions", "batches"] {
        for (query, shown) in [
            ("", [2, 3, 4, 6, 7].as_slice()),
            ("size=2", &[2, 3]),
            ("from=2&size=2", &[4, 6]),
            ("from=4", &[7]),
            ("from=5", &[]),
            ("from=-1&size=3", &[2, 3]),
            ("from=2147483647&size=2147483647", &[]),
            ("size=2147483647", &[2, 3, 4, 6, 7]),
            ("from=0&size=2147483647", &[2, 3, 4, 6, 7]),
        ] {
            let reply = rig.ask(get(&format!("/livy/{collection}?{query}"))).await;
            assert_eq!(lists_only(&reply, "alice"), shown, "{query}");
            assert_eq!(reply.json()["total"], 5, "{query}");
        }
    }
    assert!(rig.livy().requests().is_empty());
}

#[tokio::test]
async fn odd_pages_of_what_livy_pages_itself_are_written_anew() {
    let rig = furnished().await;
    for (query, written, _) in PAGES {
        rig.livy().clear();
        let reply = rig.ask(get(&format!("/livy/sessions/0/log?{query}"))).await;
        let received = only(rig.livy());
        assert_eq!(
            received.target,
            format!("/sessions/0/log?doAs=alice{written}"),
            "{query}"
        );
        assert_eq!(Some(reply.status), received.status, "{query}");
    }
}

#[tokio::test]
async fn a_page_that_livy_could_not_read_is_refused_in_livys_words() {
    let rig = furnished().await;
    for (value, quoted) in [
        ("abc", "abc"),
        ("", ""),
        ("1.5", "1.5"),
        ("2147483648", "2147483648"),
        ("+1", " 1"),
        ("0x10", "0x10"),
    ] {
        let reply = rig.ask(get(&format!("/livy/sessions/0/log?size={value}"))).await;
        reply.expect_refusal(400, "invalid_parameter");
        assert_eq!(reply.json()["msg"], format!("For input string: \"{quoted}\""));
    }
    assert!(rig.livy().requests().is_empty());
}
