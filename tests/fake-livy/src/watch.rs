//! A look at all that lives, after every change and under the lock that made it: what no test could see by asking.

use std::fmt;
use std::sync::Arc;

use crate::model::{Entry, Kind, Model};

/// A session or batch that is listed and not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alive<'a> {
    /// Session or batch.
    pub kind: Kind,
    /// Livy's number for it.
    pub id: i32,
    /// Its unique name, if it has one.
    pub name: Option<&'a str>,
    /// Whom it runs as.
    pub user: Option<&'a str>,
    /// Whether its creation was refused, so that it holds nothing but its name.
    pub ghost: bool,
}

/// Who is shown all that lives.
#[derive(Clone)]
pub(crate) struct Watch(pub(crate) Arc<Look>);

type Look = dyn Fn(&[Alive<'_>]) + Send + Sync;

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Model {
    /// Shows what lives now.
    pub(crate) fn show(&self) {
        let Some(Watch(watch)) = &self.watch else { return };
        let tables = [(Kind::Session, &self.sessions), (Kind::Batch, &self.batches)];
        let all = tables
            .into_iter()
            .flat_map(|(kind, table)| table.entries.iter().map(move |entry| (kind, entry)));
        let alive: Vec<_> = all.filter(|(_, entry)| entry.is_alive()).collect();
        let alive: Vec<_> = alive
            .into_iter()
            .map(|(kind, entry)| alive_as(kind, entry))
            .collect();
        watch(&alive);
    }
}

fn alive_as(kind: Kind, entry: &Entry) -> Alive<'_> {
    Alive {
        kind,
        id: entry.id,
        name: entry.name.as_deref(),
        user: entry.proxy_user.as_deref(),
        ghost: entry.ghost,
    }
}
