use std::sync::LazyLock;

use super::*;
use crate::authn::hash_password;
use crate::config;
use crate::livy::marker::Marker;
use crate::quota::Resources;

/// Policies by what `[livy]` and `[identity]` say beside the least.
fn policy(livy: &str) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    let users = format!("alice:{}:analysts\nzeppelin:{}\n", *HASH, *HASH);
    std::fs::write(folder.path().join("users.htpasswd"), users).unwrap();
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\n[livy]\nurl = \"http://127.0.0.1:8998\"\n{livy}\n\
         [basic]\nusers_file = \"users.htpasswd\"\n[[quota.for]]\ngroup = \"analysts\"\ncores = 500\n\
         [[identity.map]]\nfrom = \"basic\"\nlivy_user = \"${{subject}}\"\n\
         [[identity.delegate]]\nservice = \"basic:zeppelin\"\nfor = [\"user:*\"]\n"
    );
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path, 1).unwrap_or_else(|report| panic!("{report}"))
}

static HASH: LazyLock<String> = LazyLock::new(|| hash_password(b"a password of this test").unwrap());
static REQUIRED: LazyLock<Policy> = LazyLock::new(|| policy(""));
static OFF: LazyLock<Policy> =
    LazyLock::new(|| policy("impersonation = \"off\"\nallow_shared_livy_user = true"));

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn id(number: u32) -> SessionId {
    SessionId::new(number).unwrap()
}

fn instance(number: u8) -> Instance {
    Instance::new([number; 5])
}

/// The marker of this number, made by this gateway for alice.
fn marker(number: u8) -> Marker {
    Marker::new("etl", instance(1), "basic:alice", [number; 8])
}

fn key(number: u8) -> PlaceKey {
    PlaceKey::Marker(marker(number))
}

fn found(number: u32) -> PlaceKey {
    PlaceKey::Found(Kind::Session, id(number))
}

fn owned(number: u32) -> Standing {
    Standing::Owned {
        id: id(number),
        is_finished: false,
    }
}

/// A place of alice's that last changed then.
fn place(key: PlaceKey, standing: Standing, changed: u64) -> Place {
    Place {
        key,
        kind: Kind::Session,
        owner: LivyUser::from_record("alice"),
        created_by: None,
        name: None,
        charge: Resources::default(),
        scopes: Vec::new(),
        standing,
        changed: at(changed),
        idempotency: None,
    }
}

/// A row of Livy's: number, name, proxy user, state; with a log unless the state is followed by `, no log`.
type Line<'a> = (u32, Option<&'a str>, Option<&'a str>, &'a str);

fn listing(lines: &[Line<'_>]) -> Listing {
    let rows: Vec<_> = lines
        .iter()
        .map(|(id, name, user, state)| {
            let (state, log) = match state.strip_suffix(", no log") {
                Some(state) => (state, vec![]),
                None => (*state, vec!["stdout: ", "\nstderr: "]),
            };
            serde_json::json!({
                "id": id, "name": name, "proxyUser": user, "state": state, "appId": null, "log": log
            })
        })
        .collect();
    let list = serde_json::json!({"from": 0, "total": rows.len(), "sessions": rows});
    Listing::parse(Bytes::from(list.to_string())).unwrap()
}

/// What is known when a list is applied: it began at 10, and the one before at 5.
struct Scene {
    places: Vec<Place>,
    /// What the list before showed.
    before: Listing,
    missed: HashMap<PlaceKey, Duration>,
    policy: &'static Policy,
    untold: Untold,
    began: u64,
    kind: Kind,
}

impl Scene {
    fn of(places: Vec<Place>) -> Self {
        Self {
            places,
            before: listing(&[]),
            missed: HashMap::new(),
            policy: &REQUIRED,
            untold: Untold::default(),
            began: 10,
            kind: Kind::Session,
        }
    }

    fn list(&self, lines: &[Line<'_>]) -> Snapshot {
        Snapshot::new(self.kind, at(self.began), listing(lines))
    }

    fn decide<T>(&self, decide: impl FnOnce(&Known<'_>) -> T) -> T {
        let places = self.places.iter().cloned();
        let places = places.map(|place| (place.key.clone(), Arc::new(place))).collect();
        decide(&Known {
            kind: self.kind,
            began: at(self.began),
            places: &places,
            missed: &self.missed,
            before: Some(&Snapshot::new(self.kind, at(5), self.before.clone())),
            policy: self.policy,
            untold: &self.untold,
        })
    }

    fn changes(&self, lines: &[Line<'_>]) -> Vec<Change> {
        self.decide(|known| judge(&self.list(lines), known).changes)
    }

    /// Whether a list with these lines shows that Livy was restarted.
    fn shows_a_restart(&self, lines: &[Line<'_>]) -> bool {
        self.decide(|known| judge(&self.list(lines), known).is_restarted)
    }

    /// What the next list is told of this one.
    fn missing(&self, lines: &[Line<'_>]) -> HashMap<PlaceKey, Duration> {
        self.decide(|known| missing(&self.list(lines), known))
    }
}

fn adoption(changes: &[Change]) -> &Place {
    match changes {
        [Change::Adopt(place)] => place,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_two_whole_lists_do_not_show_is_free_and_what_one_does_not_show_is_not() {
    for key in [key(1), found(1)] {
        let mut scene = Scene::of(vec![place(key.clone(), owned(1), 3)]);
        let marker = marker(1);
        let name = matches!(key, PlaceKey::Marker(_)).then_some(marker.as_str());
        let line = (1, name, Some("alice"), "idle");
        assert_eq!(scene.missing(&[line]), HashMap::new());
        assert_eq!(scene.changes(&[]), []);
        scene.missed = scene.missing(&[]);
        scene.began = 20;
        assert_eq!(scene.changes(&[]), [Change::Free(key.clone(), Why::Unlisted)]);
        // Both must have begun after its last change: it may have been there between them.
        scene.places[0].changed = at(15);
        assert_eq!(scene.changes(&[]), []);
        assert_eq!(scene.missing(&[]), HashMap::from([(key, at(15))]));
    }
}

#[test]
fn a_list_that_began_before_a_change_says_nothing_of_it() {
    for standing in [owned(1), Standing::InDoubt, Standing::Gone] {
        for changed in [10, 11] {
            let mut scene = Scene::of(vec![place(key(1), standing, changed)]);
            scene.missed = HashMap::from([(key(1), at(3))]);
            let marker = marker(1);
            let line = (1, Some(marker.as_str()), Some("bob"), "dead");
            assert_eq!(scene.changes(&[line]), [], "{standing:?} listed");
            assert_eq!(scene.changes(&[]), [], "{standing:?} not listed");
            assert_eq!(scene.missing(&[]), HashMap::new());
        }
    }
}

#[test]
fn a_list_that_is_cut_short_is_none() {
    for text in [
        r#"{"from":0,"total":2,"sessions":[]}"#,
        r#"{"from":0,"total":0,"sessions":["#,
        r#"{"from":1,"total":0,"sessions":[]}"#,
        r#"{"sessions":[]}"#,
        "<html>",
    ] {
        assert!(
            Listing::parse(Bytes::from_static(text.as_bytes())).is_err(),
            "{text}"
        );
    }
}

#[test]
fn what_a_list_shows_is_taken_over() {
    let marker = marker(1);
    let line = |state| (1, Some(marker.as_str()), Some("alice"), state);
    let exists = |is_finished| vec![Change::Exists(key(1), id(1), is_finished)];
    for (standing, state, change) in [
        (owned(1), "idle", vec![]),
        (owned(1), "error", vec![]),
        (owned(1), "dead", exists(true)),
        (owned(1), "killed", exists(true)),
        (owned(1), "success", exists(true)),
        (owned(4), "idle", exists(false)),
        (Standing::InDoubt, "starting", exists(false)),
    ] {
        let scene = Scene::of(vec![place(key(1), standing, 3)]);
        assert_eq!(scene.changes(&[line(state)]), change, "{standing:?} {state}");
    }
}

#[test]
fn a_creation_under_way_is_its_creators_and_is_not_taken_up_as_somebody_elses() {
    let marker = marker(1);
    let scene = Scene::of(vec![place(key(1), Standing::Open, 3)]);
    for user in [Some("alice"), Some("bob"), None] {
        let line = (1, Some(marker.as_str()), user, "starting");
        assert_eq!(scene.changes(&[line]), []);
    }
    assert_eq!(scene.changes(&[]), [], "and its absence says nothing");
    assert_eq!(scene.missing(&[]), HashMap::new());
}

#[test]
fn what_is_in_doubt_is_kept_for_its_time_however_many_lists_do_not_show_it() {
    let mut scene = Scene::of(vec![place(key(1), Standing::InDoubt, 3)]);
    scene.missed = HashMap::from([(key(1), at(3))]);
    for (began, change) in [
        (10, vec![]),
        (602, vec![]),
        (603, vec![Change::Free(key(1), Why::DoubtOver)]),
    ] {
        scene.began = began;
        assert_eq!(scene.changes(&[]), change, "{began}");
        assert_eq!(scene.missing(&[]), HashMap::new());
    }
}

#[test]
fn a_number_that_means_another_session_than_in_the_list_before_shows_that_livy_was_restarted() {
    let (one, two) = (marker(1), marker(2));
    let was = (1, Some(one.as_str()), Some("alice"), "idle");
    let mut scene = Scene::of(vec![
        place(key(1), owned(1), 3),
        place(key(2), owned(1), 3),
        place(key(3), Standing::InDoubt, 4),
        place(key(4), Standing::InDoubt, 5),
    ]);
    scene.before = listing(&[was, (2, None, Some("alice"), "idle")]);
    for now in [
        (1, Some(two.as_str()), Some("alice"), "idle"),
        (1, None, Some("alice"), "idle"),
        (2, None, Some("bob"), "idle"),
    ] {
        let changes = scene.changes(&[now]);
        assert!(scene.shows_a_restart(&[now]), "{now:?}");
        assert!(
            changes.contains(&Change::Free(key(3), Why::Restarted)),
            "what was in doubt before the list before went to the Livy that is gone: {now:?} {changes:?}"
        );
        assert!(
            !changes.contains(&Change::Free(key(4), Why::Restarted)),
            "the other may be on its way: {now:?} {changes:?}"
        );
    }
    assert!(!scene.shows_a_restart(&[]));
    // Absence alone is no restart, nor is a number that nobody had, nor another state.
    assert_eq!(scene.changes(&[]), []);
    scene.places[1].standing = owned(3);
    assert_eq!(
        scene.changes(&[(3, Some(two.as_str()), Some("alice"), "idle")]),
        []
    );
    let same = (1, Some(one.as_str()), Some("alice"), "busy");
    assert_eq!(scene.changes(&[same]), []);
}

#[test]
fn a_restart_before_the_list_before_ends_no_creation_that_came_after_it() {
    // 1 was of the Livy before, which no list shows any more; what is in doubt went to the Livy of both lists.
    let other = marker(2);
    let line = (1, Some(other.as_str()), Some("alice"), "idle");
    let mut scene = Scene::of(vec![
        place(key(1), owned(1), 0),
        place(key(2), owned(1), 0),
        place(key(3), Standing::InDoubt, 0),
    ]);
    scene.missed = HashMap::from([(key(1), at(0))]);
    scene.before = listing(&[line]);
    let changes = scene.changes(&[line]);
    assert!(
        changes.contains(&Change::Free(key(1), Why::Unlisted)),
        "{changes:?}"
    );
    assert!(
        !changes.contains(&Change::Free(key(3), Why::Restarted)),
        "{changes:?}"
    );
}

#[test]
fn a_number_that_several_have_is_the_listed_ones() {
    let (one, two) = (marker(1), marker(2));
    let scene = Scene::of(vec![place(key(1), owned(1), 3), place(key(2), owned(1), 3)]);
    for (marker, key) in [(&one, key(1)), (&two, key(2))] {
        let line = (1, Some(marker.as_str()), Some("alice"), "idle");
        assert_eq!(scene.changes(&[line]), [Change::Exists(key, id(1), false)]);
    }
}

#[test]
fn a_found_number_that_belongs_to_another_now_is_another_session() {
    let alices = || place(found(1), owned(1), 3);
    let named = || Place {
        name: Some("mine".into()),
        ..alices()
    };
    for (before, line, is_same) in [
        (alices(), (1, None, Some("alice"), "idle"), true),
        (named(), (1, Some("mine"), Some("alice"), "idle"), true),
        (alices(), (1, None, Some("bob"), "idle"), false),
        (alices(), (1, None, None, "idle"), false),
        (alices(), (1, Some("mine"), Some("alice"), "idle"), false),
        (named(), (1, Some("other"), Some("alice"), "idle"), false),
        (
            place(found(1), Standing::Gone, 3),
            (1, None, Some("alice"), "idle"),
            false,
        ),
    ] {
        let changes = Scene::of(vec![before]).changes(&[line]);
        if is_same {
            assert_eq!(changes, [], "{line:?}");
            continue;
        }
        let [Change::Replaced(key), Change::Adopt(place)] = changes.as_slice() else {
            panic!("{line:?}: {changes:?}");
        };
        assert_eq!((key, &place.key), (&found(1), &found(1)));
        assert_eq!(place.owner.as_ref().map(LivyUser::as_str), line.2, "{line:?}");
    }
}

#[test]
fn what_was_created_around_the_gateway_is_its_proxy_users_and_is_charged() {
    let scene = Scene::of(Vec::new());
    let changes = scene.changes(&[(7, Some("mine"), Some("alice"), "idle")]);
    let place = adoption(&changes);
    assert_eq!(
        (&place.key, place.kind, place.standing, place.name.as_deref()),
        (&found(7), Kind::Session, owned(7), Some("mine"))
    );
    assert_eq!(place.owner.as_ref().map(LivyUser::as_str), Some("alice"));
    assert_eq!(place.charge, REQUIRED.quotas.charge_of_adopted());
    let alice = LivyUser::from_record("alice").unwrap();
    assert_eq!(
        place.scopes,
        [
            Scope::User(alice),
            Scope::Group("analysts".into()),
            Scope::Everybody
        ]
    );
    for user in [None, Some("")] {
        let changes = scene.changes(&[(7, None, user, "dead")]);
        let place = adoption(&changes);
        assert_eq!(
            (&place.owner, &place.scopes, place.standing.counts()),
            (&None, &Vec::new(), false)
        );
    }
}

#[test]
fn what_another_gateway_created_is_taken_up_with_its_creator_and_without_the_marker_as_a_name() {
    let strange = Marker::new("etl", instance(9), "basic:zeppelin", [1; 8]);
    let scene = Scene::of(Vec::new());
    let changes = scene.changes(&[(7, Some(strange.as_str()), Some("alice"), "idle")]);
    let place = adoption(&changes);
    assert_eq!(place.key, PlaceKey::Marker(strange));
    assert_eq!(
        (place.name.as_deref(), place.created_by.as_deref()),
        (None, Some("basic:zeppelin"))
    );
    assert_eq!(stranger(&place.key, instance(1)), Some(instance(9)), "it is told");
    let own = Marker::new("etl", instance(1), "basic:alice", [1; 8]);
    let changes = scene.changes(&[(7, Some(own.as_str()), Some("alice"), "idle")]);
    let place = adoption(&changes);
    assert_eq!(place.created_by, None, "no service");
    assert_eq!(stranger(&place.key, instance(1)), None);
    assert_eq!(stranger(&found(7), instance(1)), None);
}

#[test]
fn without_impersonation_what_livy_says_makes_nobody_an_owner() {
    let (known, unknown) = (marker(1), marker(2));
    let mut scene = Scene::of(vec![place(key(1), owned(1), 3)]);
    scene.policy = &OFF;
    for user in [None, Some("bob"), Some("alice")] {
        assert_eq!(
            scene.changes(&[(1, Some(known.as_str()), user, "idle")]),
            [],
            "the ledger alone knows"
        );
        for name in [None, Some("mine"), Some(unknown.as_str())] {
            let changes = scene.changes(&[(1, Some(known.as_str()), user, "idle"), (2, name, user, "idle")]);
            assert_eq!(adoption(&changes).owner, None, "{name:?} {user:?}");
        }
    }
}

#[test]
fn what_runs_as_somebody_else_than_livy_was_told_is_found_out() {
    let marker = marker(1);
    let new = Scene::of(vec![place(key(1), Standing::InDoubt, 3)]);
    let old = Scene::of(vec![place(key(1), owned(1), 3)]);
    for user in [None, Some("bob"), Some("Alice"), Some("")] {
        let line = (1, Some(marker.as_str()), user, "idle");
        assert_eq!(new.changes(&[line]), [Change::Disobeyed(key(1), id(1))]);
        // Somebody works with it, and may have been let to before Livy had to obey.
        let kept = [
            Change::RunsAsAnother(key(1), id(1)),
            Change::Exists(key(1), id(1), false),
        ];
        assert_eq!(old.changes(&[line]), kept);
    }
    // Nobody has told Livy anything about what belongs to nobody.
    let nobodys = Place {
        owner: None,
        ..place(key(1), owned(1), 3)
    };
    for user in [None, Some(""), Some("alice"), Some("Some One")] {
        let line = (1, Some(marker.as_str()), user, "idle");
        assert_eq!(Scene::of(vec![nobodys.clone()]).changes(&[line]), [], "{user:?}");
    }
}

#[test]
fn what_livy_created_though_nobody_was_told_is_unwanted() {
    let marker = marker(1);
    let line = (1, Some(marker.as_str()), Some("alice"), "starting");
    let scene = Scene::of(vec![place(key(1), Standing::InDoubt, 3)]);
    scene.untold.add(key(1));
    let changes = scene.changes(&[line]);
    assert!(
        matches!(changes.as_slice(), [Change::Unwanted(unwanted, _, _)] if *unwanted == key(1)),
        "it stays in doubt, and so counts, until it is deleted: {changes:?}"
    );
    // What Livy had refused or deleted, and lists.
    let scene = Scene::of(vec![place(key(1), Standing::Gone, 3)]);
    let changes = scene.changes(&[line]);
    assert!(
        matches!(changes.as_slice(), [Change::Unwanted(unwanted, _, _)] if *unwanted == key(1)),
        "{changes:?}"
    );
    assert_eq!(scene.changes(&[]), [], "and its absence is as it should be");
}

#[test]
fn a_found_number_that_is_listed_with_a_marker_is_another_session_at_once() {
    let marker = marker(1);
    let scene = Scene::of(vec![place(found(1), owned(1), 3), place(key(1), owned(1), 9)]);
    let changes = scene.changes(&[(1, Some(marker.as_str()), Some("alice"), "idle")]);
    assert!(
        changes.contains(&Change::Free(found(1), Why::Replaced)),
        "{changes:?}"
    );
}

#[test]
fn a_batch_in_doubt_that_livy_never_starts_is_one_that_it_refused() {
    let marker = marker(1);
    let line = |state| (1, Some(marker.as_str()), Some("alice"), state);
    let doubt = Place {
        kind: Kind::Batch,
        ..place(key(1), Standing::InDoubt, 3)
    };
    let mut scene = Scene::of(vec![doubt]);
    scene.kind = Kind::Batch;
    assert_eq!(
        scene.changes(&[line("starting, no log")]),
        [],
        "Livy may be about to start it"
    );
    scene.untold.add(key(1));
    assert_eq!(
        scene.changes(&[line("starting, no log")]),
        [],
        "deleted before it starts, it may start after that"
    );
    scene.untold = Untold::default();
    for begun in ["starting", "running, no log"] {
        assert_eq!(
            scene.changes(&[line(begun)]),
            [Change::Exists(key(1), id(1), false)]
        );
    }
    scene.began = 3 + scene.policy.state.in_doubt_hold.as_secs();
    assert_eq!(
        scene.changes(&[line("starting, no log")]),
        [Change::Unwanted(key(1), id(1), Ghost::Refused)]
    );
    scene.kind = Kind::Session;
    assert_eq!(
        scene.changes(&[line("starting, no log")]),
        [Change::Exists(key(1), id(1), false)],
        "a session is listed when it was created"
    );
}

#[test]
fn what_lists_did_not_show_for_a_while_is_its_owners_when_they_show_it_again() {
    let marker = marker(1);
    let line = (1, Some(marker.as_str()), Some("alice"), "idle");
    let scene = Scene::of(vec![place(key(1), Standing::Gone, 3)]);
    scene.untold.spare(Kind::Session, key(1));
    assert_eq!(scene.changes(&[line]), [Change::Exists(key(1), id(1), false)]);
    // Until it is refused or deleted after that.
    scene.untold.remove(&key(1));
    let changes = scene.changes(&[line]);
    assert!(
        matches!(changes.as_slice(), [Change::Unwanted(..)]),
        "{changes:?}"
    );
}

#[test]
fn what_was_freed_is_remembered_as_long_as_the_ledger_does() {
    let scene = Scene::of(vec![place(key(1), Standing::Gone, 3)]);
    scene.untold.spare(Kind::Session, key(1));
    scene.untold.spare(Kind::Batch, key(2));
    let places: HashMap<_, _> = scene
        .places
        .iter()
        .map(|place| (place.key.clone(), Arc::new(place.clone())))
        .collect();
    scene.untold.forget_spared(Kind::Session, &places);
    assert!(scene.untold.is_spared(&key(1)) && scene.untold.is_spared(&key(2)));
    scene.untold.forget_spared(Kind::Session, &HashMap::new());
    assert!(!scene.untold.is_spared(&key(1)) && scene.untold.is_spared(&key(2)));
}
