//! Random histories, crashes and full disks among them, against a model that is too simple to be wrong.
//!
//! The model is a list of places; it has no index and no running count, and looks at all of them each time.

use proptest::prelude::*;
use tempfile::TempDir;

use crate::identity::LivyUser;
use crate::ledger::store::Store;
use crate::ledger::testing::*;
use crate::ledger::*;
use crate::quota::Limits;

#[derive(Debug, Clone)]
enum Op {
    Reserve {
        owner: usize,
        kind: Kind,
        name: Option<usize>,
        idempotency: Option<u8>,
        cores: u64,
    },
    Settle {
        /// Which place, counted from the newest.
        which: usize,
        settlement: Settlement,
        /// How long ago the list began that shows it.
        list: Option<u64>,
    },
    Adopt {
        owner: usize,
        kind: Kind,
        number: u32,
    },
    ForgetGone {
        older_than: u64,
    },
    Disk(Fault),
    /// What is in memory only is lost.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(Kind::Session), Just(Kind::Batch)].boxed();
    let number = (0..4_u32).prop_map(id);
    let settlement = prop_oneof![
        3 => number.clone().prop_map(Settlement::Owned),
        2 => number.prop_map(Settlement::Finished),
        1 => Just(Settlement::InDoubt),
        3 => Just(Settlement::Gone),
    ];
    let reserve = (
        0..2_usize,
        kind.clone(),
        proptest::option::weighted(0.4, 0..2_usize),
        proptest::option::weighted(0.2, 0..2_u8),
        0..3_u64,
    );
    prop_oneof![
        8 => reserve.prop_map(|(owner, kind, name, idempotency, cores)| Op::Reserve {
            owner, kind, name, idempotency, cores
        }),
        8 => (0..6_usize, settlement, proptest::option::of(0..6_u64))
            .prop_map(|(which, settlement, list)| Op::Settle { which, settlement, list }),
        1 => (0..2_usize, kind, 0..4_u32)
            .prop_map(|(owner, kind, number)| Op::Adopt { owner, kind, number }),
        1 => (0..6_u64).prop_map(|older_than| Op::ForgetGone { older_than }),
        1 => prop_oneof![Just(Fault::Full), Just(Fault::None), Just(Fault::None)].prop_map(Op::Disk),
        1 => Just(Op::Crash),
    ]
}

fn user(index: usize) -> LivyUser {
    LivyUser::for_tests(["alice", "bob"][index])
}

const USER: Limits = Limits {
    sessions: Some(2),
    batches: Some(2),
    cores: None,
    memory: None,
};
const ALL: Limits = Limits {
    sessions: Some(3),
    batches: None,
    cores: Some(5),
    memory: None,
};

/// All places there are, and those that a crash would leave.
#[derive(Debug, Clone, Default)]
struct Model {
    places: Vec<Place>,
    durable: Vec<Place>,
}

impl Model {
    fn held(&self, scope: &Scope) -> Use {
        self.places
            .iter()
            .filter(|place| place.standing.counts() && place.scopes.contains(scope))
            .fold(Use::default(), |held, place| held.with(place.kind, place.charge))
    }

    fn reserve(&mut self, asked: &Reservation, is_full: bool, at: Duration) -> Result<(), NoPlace> {
        let there = || {
            self.places
                .iter()
                .filter(|place| place.standing != Standing::Gone)
        };
        if let Some(idempotency) = asked.idempotency
            && let Some(before) = there().find(|place| {
                place
                    .idempotency
                    .is_some_and(|other| other.key == idempotency.key)
            })
        {
            return Err(NoPlace::Before(Arc::new(before.clone())));
        }
        if let Some(other) = there().find(|place| {
            asked.name.is_some()
                && place.name == asked.name
                && place.owner.as_ref() == Some(&asked.owner)
                && place.kind == asked.kind
        }) {
            return Err(NoPlace::NameTaken {
                id: other.standing.id(),
            });
        }
        for allowance in &asked.allowances {
            let held = self.held(&allowance.scope);
            if let Err(exceeded) = allowance.limits.admits(&held, asked.kind, asked.charge) {
                return Err(NoPlace::Exceeded {
                    scope: allowance.scope.clone(),
                    exceeded,
                });
            }
        }
        if is_full {
            return Err(NoPlace::Unavailable(Unavailable(
                "no space left on device".to_owned(),
            )));
        }
        self.places.push(Place {
            key: PlaceKey::Marker(asked.marker.clone()),
            kind: asked.kind,
            owner: Some(asked.owner.clone()),
            created_by: Some(asked.created_by.clone()),
            name: asked.name.clone(),
            charge: asked.charge,
            scopes: asked
                .allowances
                .iter()
                .map(|allowance| allowance.scope.clone())
                .collect(),
            standing: Standing::Open,
            changed: at,
            idempotency: asked.idempotency,
        });
        Ok(())
    }

    fn settle(
        &mut self,
        key: &PlaceKey,
        settlement: Settlement,
        since: Option<Duration>,
        at: Duration,
    ) -> bool {
        let Some(place) = self.places.iter_mut().find(|place| place.key == *key) else {
            return false;
        };
        if since.is_some_and(|since| place.changed >= since) {
            return false;
        }
        let next = match settlement {
            Settlement::Owned(id) => Standing::Owned {
                id,
                is_finished: false,
            },
            Settlement::Finished(id) => Standing::Owned {
                id,
                is_finished: true,
            },
            Settlement::InDoubt => Standing::InDoubt,
            Settlement::Gone => Standing::Gone,
        };
        if place.standing == next {
            return true;
        }
        let exists = place.standing.id().is_some();
        let is_over = place.standing == Standing::Gone
            || (exists && !place.standing.counts() && place.standing.id() == next.id());
        let forgets = next == Standing::InDoubt && (exists || place.standing == Standing::Gone);
        let revives = is_over && next != Standing::Gone && since.is_none();
        if forgets || revives {
            return false;
        }
        place.standing = next;
        place.changed = at;
        true
    }

    fn write(&mut self) {
        self.durable = self
            .places
            .iter()
            .filter(|place| place.standing != Standing::Gone && matches!(place.key, PlaceKey::Marker(_)))
            .cloned()
            .collect();
        // In the order in which they are read again.
        self.durable.sort_by(|one, other| one.key.cmp(&other.key));
    }

    fn crash(&mut self, at: Duration) {
        self.places = self.durable.clone();
        for place in &mut self.places {
            place.changed = at;
            if place.standing == Standing::Open {
                place.standing = Standing::InDoubt;
            }
        }
    }
}

/// What a ledger is opened from.
enum Medium {
    Disk(Disk),
    /// Crashes cleanly and never fills.
    File(TempDir),
}

impl Medium {
    fn open(&self, at: Duration) -> DiskLedger {
        match self {
            Self::Disk(disk) => disk.ledger(at),
            Self::File(directory) => {
                let opened = file::open(directory.path(), at, IfSpoiled::BeginAnew).unwrap();
                assert_eq!(opened.set_aside, None);
                let journal = Box::new(opened.journal);
                DiskLedger(Store::with_journal(opened.places, at, journal, seconds(1)).unwrap())
            }
        }
    }
}

struct World {
    medium: Medium,
    ledger: Option<DiskLedger>,
    model: Model,
    is_full: bool,
    next: u64,
}

impl World {
    fn new(medium: Medium) -> Self {
        Self {
            ledger: Some(medium.open(seconds(0))),
            medium,
            model: Model::default(),
            is_full: false,
            next: 0,
        }
    }

    fn ledger(&self) -> &DiskLedger {
        self.ledger.as_ref().unwrap()
    }

    async fn apply(&mut self, op: &Op, at: Duration) {
        match op {
            Op::Reserve {
                owner,
                kind,
                name,
                idempotency,
                cores,
            } => {
                self.next += 1;
                let asked = self.asked(*owner, *kind, *name, *idempotency, *cores);
                let expected = self.model.reserve(&asked, self.is_full, at);
                let outcome = self.ledger().reserve(asked.clone(), at).await;
                assert_eq!(outcome, expected, "{op:?}");
                if outcome.is_ok() {
                    self.assert_within_limits(&asked);
                }
            }
            Op::Settle {
                which,
                settlement,
                list,
            } => {
                let count = self.model.places.len();
                let Some(key) = count
                    .checked_sub(1 + which)
                    .map(|index| self.model.places[index].key.clone())
                else {
                    return;
                };
                let since = list.map(|ago| at.saturating_sub(seconds(ago)));
                let before = self.ledger().get(&key).await;
                let expected = self.model.settle(&key, *settlement, since, at);
                let is_applied = self.ledger().settle(&key, *settlement, since, at).await;
                assert_eq!(is_applied, expected, "{op:?} of {before:?}");
                let after = self.ledger().get(&key).await.unwrap();
                if let Some(id) = after.standing.id()
                    && since.is_none()
                    && Some(&after) != before.as_ref()
                {
                    let found = self.ledger().by_id(after.kind, id).await;
                    assert_eq!(found, Some(after), "Livy has just given it this number");
                }
            }
            Op::Adopt { owner, kind, number } => {
                let found = Place {
                    key: PlaceKey::Found(*kind, id(*number)),
                    kind: *kind,
                    owner: Some(user(*owner)),
                    scopes: vec![Scope::User(user(*owner)), Scope::Everybody],
                    changed: at,
                    ..place(u64::from(*number))
                };
                let is_new = self.model.places.iter().all(|place| place.key != found.key);
                assert_eq!(self.ledger().adopt(found.clone(), at).await, is_new);
                if is_new {
                    self.model.places.push(found);
                }
            }
            Op::ForgetGone { older_than } => {
                let before = at.saturating_sub(seconds(*older_than));
                self.model
                    .places
                    .retain(|place| place.standing != Standing::Gone || place.changed >= before);
                for kind in Kind::ALL {
                    self.ledger().forget_gone(kind, before, &HashSet::new()).await;
                }
            }
            Op::Disk(fault) => {
                if let Medium::Disk(disk) = &self.medium {
                    disk.set(*fault);
                    self.is_full = *fault == Fault::Full;
                }
            }
            Op::Crash => {
                let left = match &self.medium {
                    Medium::Disk(disk) => Some(Medium::Disk(disk.copy())),
                    Medium::File(_) => None,
                };
                self.ledger = None;
                if let Some(left) = left {
                    self.medium = left;
                }
                self.is_full = false;
                self.ledger = Some(self.medium.open(at));
                self.model.crash(at);
            }
        }
        // Whoever writes has done so before the next step, so that what a crash leaves is known.
        self.ledger().flush().await;
        if !self.is_full {
            self.model.write();
        }
    }

    fn asked(
        &self,
        owner: usize,
        kind: Kind,
        name: Option<usize>,
        idempotency: Option<u8>,
        cores: u64,
    ) -> Reservation {
        let allowance = |scope, limits| Allowance { scope, limits };
        Reservation {
            kind,
            owner: user(owner),
            name: name.map(|name| ["etl", "report"][name].into()),
            charge: Resources { cores, memory: 1 },
            allowances: vec![
                allowance(Scope::User(user(owner)), USER),
                allowance(Scope::Everybody, ALL),
            ],
            idempotency: idempotency.map(|key| Idempotency {
                key: [key; 32],
                body: [0; 32],
            }),
            ..reservation(self.next, 0)
        }
    }

    /// A reservation that was granted exceeds nothing that it asks for more of.
    fn assert_within_limits(&self, granted: &Reservation) {
        for allowance in &granted.allowances {
            let held = self.ledger().0.image().held(&allowance.scope);
            for dimension in crate::quota::Dimension::ALL {
                let adds = Use::default().with(granted.kind, granted.charge).of(dimension);
                if let Some(limit) = allowance.limits.of(dimension)
                    && adds > 0
                {
                    assert!(held.of(dimension) <= limit, "{held:?} of {allowance:?}");
                }
            }
        }
    }

    async fn assert_like_the_model(&self) {
        let ledger = self.ledger();
        ledger.0.image().assert_consistent();
        for scope in [
            Scope::User(user(0)),
            Scope::User(user(1)),
            Scope::Everybody,
            Scope::Group("nobody".into()),
        ] {
            assert_eq!(ledger.held(&scope).await, self.model.held(&scope), "{scope}");
        }
        for kind in Kind::ALL {
            let mut all: Vec<Place> = ledger
                .all(kind)
                .await
                .into_iter()
                .map(Arc::unwrap_or_clone)
                .collect();
            let mut expected: Vec<_> = self
                .model
                .places
                .iter()
                .filter(|place| place.kind == kind)
                .cloned()
                .collect();
            all.sort_by(|one, other| one.key.cmp(&other.key));
            expected.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(all, expected);
            for number in 0..4 {
                let claims = expected
                    .iter()
                    .any(|place| place.standing.id() == Some(id(number)));
                let found = ledger.by_id(kind, id(number)).await;
                assert!(found.is_none() || claims, "{found:?}");
            }
        }
    }
}

fn play(medium: Medium, ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(medium);
        for (op, at) in ops.iter().zip(1..) {
            world.apply(op, seconds(at)).await;
            world.assert_like_the_model().await;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_the_ledger_says_what_the_model_says(
        ops in proptest::collection::vec(op(), 1..60)
    ) {
        play(Medium::Disk(Disk::default()), &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn whatever_happens_the_file_says_what_the_model_says(
        ops in proptest::collection::vec(op(), 1..40)
    ) {
        play(Medium::File(tempfile::tempdir().unwrap()), &ops);
    }
}
