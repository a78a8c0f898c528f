//! How a place is written down: JSON with a version, in words of its own.
//!
//! What is written here is read by later versions, so it does not follow the types of the program by itself. A field
//! that is not known is refused: it would say something about the place that this gateway would ignore.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::identity::LivyUser;
use crate::ledger::{Idempotency, Place, PlaceKey, Standing};
use crate::livy::marker::Marker;
use crate::livy::{Kind, SessionId};
use crate::quota::{Resources, Scope};

/// The version of a record that this gateway writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;

/// Why a record is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer gateway wrote it.
    Newer(u32),
    /// It is spoiled.
    Spoiled(String),
}

/// For the store to keep under the place's marker.
pub(super) fn encode(place: &Place) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Record::of(place))
}

/// What was kept under `marker`, as it stands after a start at `at`: a creation that was under way is in doubt.
pub(super) fn decode(marker: &str, bytes: &[u8], at: Duration) -> Result<Place, Unreadable> {
    let spoiled = |error: serde_json::Error| Unreadable::Spoiled(error.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(spoiled)?;
    if version > VERSION {
        return Err(Unreadable::Newer(version));
    }
    let record: Record = serde_json::from_slice(bytes).map_err(spoiled)?;
    record
        .place(marker, at)
        .ok_or_else(|| Unreadable::Spoiled(format!("the record of {marker:?} has an illegal value")))
}

/// What every version of a record begins with.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    kind: KindWord,
    owner: Option<String>,
    created_by: Option<String>,
    name: Option<String>,
    charge: Charge,
    scopes: Vec<ScopeWord>,
    standing: StandingWord,
    idempotency: Option<Digests>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindWord {
    Session,
    Batch,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Charge {
    cores: u64,
    memory: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ScopeWord {
    User(String),
    Group(String),
    Everybody,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StandingWord {
    Open,
    InDoubt,
    Owned { id: u32, is_finished: bool },
    Gone,
}

/// In base 64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    key: String,
    body: String,
}

impl Record {
    fn of(place: &Place) -> Self {
        Self {
            version: VERSION,
            kind: match place.kind {
                Kind::Session => KindWord::Session,
                Kind::Batch => KindWord::Batch,
            },
            owner: place.owner.as_ref().map(ToString::to_string),
            created_by: place.created_by.as_ref().map(ToString::to_string),
            name: place.name.as_deref().map(str::to_owned),
            charge: Charge {
                cores: place.charge.cores,
                memory: place.charge.memory,
            },
            scopes: place
                .scopes
                .iter()
                .map(|scope| match scope {
                    Scope::User(user) => ScopeWord::User(user.to_string()),
                    Scope::Group(group) => ScopeWord::Group(group.to_string()),
                    Scope::Everybody => ScopeWord::Everybody,
                })
                .collect(),
            standing: match place.standing {
                Standing::Open => StandingWord::Open,
                Standing::InDoubt => StandingWord::InDoubt,
                Standing::Owned { id, is_finished } => StandingWord::Owned {
                    id: id.get(),
                    is_finished,
                },
                Standing::Gone => StandingWord::Gone,
            },
            idempotency: place.idempotency.map(|idempotency| Digests {
                key: STANDARD_NO_PAD.encode(idempotency.key),
                body: STANDARD_NO_PAD.encode(idempotency.body),
            }),
        }
    }

    /// None if a value is not legal.
    fn place(self, marker: &str, at: Duration) -> Option<Place> {
        Some(Place {
            key: PlaceKey::Marker(Marker::parse(marker)?),
            kind: match self.kind {
                KindWord::Session => Kind::Session,
                KindWord::Batch => Kind::Batch,
            },
            owner: all_or_none(self.owner, |name| LivyUser::from_record(&name))?,
            created_by: self.created_by.map(Into::into),
            name: self.name.map(Into::into),
            charge: Resources {
                cores: self.charge.cores,
                memory: self.charge.memory,
            },
            scopes: self
                .scopes
                .into_iter()
                .map(|scope| {
                    Some(match scope {
                        ScopeWord::User(user) => Scope::User(LivyUser::from_record(&user)?),
                        ScopeWord::Group(group) => Scope::Group(Arc::from(group)),
                        ScopeWord::Everybody => Scope::Everybody,
                    })
                })
                .collect::<Option<_>>()?,
            standing: match self.standing {
                StandingWord::Open | StandingWord::InDoubt => Standing::InDoubt,
                StandingWord::Owned { id, is_finished } => Standing::Owned {
                    id: SessionId::new(id)?,
                    is_finished,
                },
                StandingWord::Gone => Standing::Gone,
            },
            changed: at,
            idempotency: all_or_none(self.idempotency, |digests| {
                Some(Idempotency {
                    key: digest(&digests.key)?,
                    body: digest(&digests.body)?,
                })
            })?,
        })
    }
}

/// None only if there is a value and it is not legal.
#[expect(
    clippy::option_option,
    reason = "whether it is there and whether it is legal are two questions"
)]
fn all_or_none<T, U>(value: Option<T>, read: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match value {
        None => Some(None),
        Some(value) => read(value).map(Some),
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{alice, place};

    const START: Duration = Duration::from_secs(9);

    fn read(place: &Place, bytes: &[u8]) -> Result<Place, Unreadable> {
        let PlaceKey::Marker(marker) = &place.key else {
            panic!("written down by its marker")
        };
        decode(marker.as_str(), bytes, START)
    }

    #[test]
    fn what_is_written_is_read_again_and_what_was_open_is_in_doubt() {
        let id = SessionId::new(7).unwrap();
        for (written, after) in [
            (Standing::Open, Standing::InDoubt),
            (Standing::InDoubt, Standing::InDoubt),
            (
                Standing::Owned {
                    id,
                    is_finished: false,
                },
                Standing::Owned {
                    id,
                    is_finished: false,
                },
            ),
            (
                Standing::Owned {
                    id,
                    is_finished: true,
                },
                Standing::Owned {
                    id,
                    is_finished: true,
                },
            ),
            (Standing::Gone, Standing::Gone),
        ] {
            let mut place = place(1);
            place.standing = written;
            place.charge.memory = u64::MAX;
            place.scopes = vec![
                Scope::User(alice()),
                Scope::Group("data".into()),
                Scope::Everybody,
            ];
            place.idempotency = Some(Idempotency {
                key: [1; 32],
                body: [255; 32],
            });
            let read = read(&place, &encode(&place).unwrap()).unwrap();
            place.standing = after;
            place.changed = START;
            assert_eq!(read, place);
        }
    }

    #[test]
    fn a_record_of_a_newer_gateway_is_told_from_a_spoiled_one() {
        let place = place(1);
        let text = String::from_utf8(encode(&place).unwrap()).unwrap();
        let newer = text.replace("\"version\":1", "\"version\":2,\"color\":\"red\"");
        assert_eq!(read(&place, newer.as_bytes()), Err(Unreadable::Newer(2)));
        for spoiled in [
            text.replace("\"version\":1", "\"version\":1,\"color\":\"red\""),
            text.replace("\"alice\"", "\"al/ice\""),
            text.replace("session", "sessions"),
            text.replace("\"cores\"", "\"kernels\""),
            text.replace('}', ""),
            String::new(),
        ] {
            assert!(
                matches!(read(&place, spoiled.as_bytes()), Err(Unreadable::Spoiled(_))),
                "{spoiled}"
            );
        }
    }
}
