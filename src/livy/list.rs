//! Livy's lists of sessions and batches: read whole, cut into rows that stay the text that Livy wrote, and put
//! together again for one user.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::query::Page;
use super::session_ref::SessionId;

/// A whole list of one kind, at one moment.
#[derive(Debug, Clone)]
pub struct Listing {
    body: Bytes,
    rows: Vec<Row>,
}

/// One session or batch in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: SessionId,
    /// Its name at Livy.
    pub name: Option<Box<str>>,
    /// The user whom Livy says it runs as.
    pub proxy_user: Option<Box<str>>,
    /// Its state.
    pub state: Box<str>,
    /// The cluster's name for it, once there is one.
    pub app_id: Option<Box<str>>,
    has_log: bool,
    text: Range<usize>,
}

impl Row {
    /// Whether it holds no resources any more. Of an `error` the driver may still be alive (Livy 0.9).
    pub fn is_finished(&self) -> bool {
        is_finished(&self.state)
    }

    /// Whether Livy has not begun to start it. It lists a batch before that, and one that it refuses for ever: `starting`,
    /// without a line of a log, while a driver's log has its two headings from the first moment (Livy 0.7.1 and 0.9.0).
    pub fn is_unstarted(&self) -> bool {
        &*self.state == "starting" && self.app_id.is_none() && !self.has_log
    }
}

/// The states in which a session or batch holds no resources any more.
pub fn is_finished(state: &str) -> bool {
    matches!(state, "success" | "dead" | "killed")
}

impl Listing {
    /// Reads Livy's answer. The error says why it is not a whole list; nothing may be concluded from such a one.
    pub fn parse(body: Bytes) -> Result<Self, &'static str> {
        let whole: Whole<'_> = serde_json::from_slice(&body).map_err(|_| "it is not Livy's list in JSON")?;
        if whole.from != 0 || whole.total != whole.sessions.len() as u64 {
            return Err("it is not complete");
        }
        let mut ids = HashSet::with_capacity(whole.sessions.len());
        let mut rows = Vec::with_capacity(whole.sessions.len());
        for text in &whole.sessions {
            let row = read_row(text, place(&body, text.get())).ok_or("it has a row that is no session")?;
            if !ids.insert(row.id) {
                return Err("it has a session twice");
            }
            rows.push(row);
        }
        Ok(Self { body, rows })
    }

    /// The rows, in Livy's order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What Livy wrote of a row of this list.
    pub fn text(&self, row: &Row) -> &str {
        self.body
            .get(row.text.clone())
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or("{}")
    }
}

/// Reads one session object, such as the answer to a creation.
pub fn read_object(text: &str) -> Option<Row> {
    read_row(serde_json::from_str(text).ok()?, 0..text.len())
}

fn read_row(text: &RawValue, place: Range<usize>) -> Option<Row> {
    let fields: Fields<'_> = serde_json::from_str(text.get()).ok()?;
    Some(Row {
        id: SessionId::new(fields.id)?,
        name: fields.name.map(|name| name.into_owned().into()),
        proxy_user: fields.proxy_user.map(|user| user.into_owned().into()),
        state: fields.state.into_owned().into(),
        app_id: fields.app_id.map(|id| id.into_owned().into()),
        // Whatever else it is says nothing of a batch that was not started.
        has_log: fields.log.is_none_or(|log| log.get() != "[]"),
        text: place,
    })
}

/// Where `part` stands in `whole`, of which it is a slice.
fn place(whole: &[u8], part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start.saturating_add(part.len())
}

/// One page of somebody's own rows, as Livy 0.9 pages (`SessionServlet.scala`): from 0 and 100 rows unless asked
/// otherwise, a negative `from` shortening the page, the `from` that was asked for told back, and nothing where the
/// sum of both is beyond an `int`.
pub fn render(page: &Page, rows: &[impl AsRef<str>]) -> String {
    let shown = rows.get(window(page, rows.len())).unwrap_or_default();
    render_window(page, rows.len(), shown)
}

/// Which of `total` rows a page shows.
pub fn window(page: &Page, total: usize) -> Range<usize> {
    let (from, size) = (page.from.unwrap_or(0), page.size.unwrap_or(DEFAULT_SIZE));
    let until = usize::try_from(from.wrapping_add(size)).unwrap_or(0).min(total);
    let start = usize::try_from(from).unwrap_or(0);
    if start <= until { start..until } else { 0..0 }
}

/// A page with the rows of its [`window`].
pub fn render_window(page: &Page, total: usize, shown: &[impl AsRef<str>]) -> String {
    let from = page.from.unwrap_or(0);
    let length: usize = shown.iter().map(|row| row.as_ref().len() + 1).sum();
    let mut text = String::with_capacity(length + 64);
    // Writing to a String cannot fail.
    let _ = write!(text, "{{\"from\":{from},\"total\":{total},\"sessions\":[");
    for (position, row) in shown.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str(row.as_ref());
    }
    text.push_str("]}");
    text
}

/// A session object with the name that its owner gave it (or none) in the place of the marker by which Livy knows it.
/// Nothing else in it is touched; an object of another name stays as it is.
pub fn with_own_name(object: &str, marker: &str, own: Option<&str>) -> String {
    let named: Option<Named<'_>> = serde_json::from_str(object).ok();
    let Some(value) = named.and_then(|named| named.name) else {
        return object.to_owned();
    };
    if serde_json::from_str::<String>(value.get()).ok().as_deref() != Some(marker) {
        return object.to_owned();
    }
    let place = place(object.as_bytes(), value.get());
    let own = own.map_or_else(
        || "null".to_owned(),
        |own| serde_json::Value::from(own).to_string(),
    );
    let mut text = object.to_owned();
    if object.get(place.clone()).is_some() {
        text.replace_range(place, &own);
    }
    text
}

#[derive(Deserialize)]
struct Whole<'a> {
    from: i64,
    total: u64,
    #[serde(borrow)]
    sessions: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    id: u32,
    #[serde(borrow, default)]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default, rename = "proxyUser")]
    proxy_user: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    state: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, rename = "appId")]
    app_id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    log: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

/// Livy 0.9, `SessionServlet.scala`.
const DEFAULT_SIZE: i32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &'static str) -> Result<Listing, &'static str> {
        Listing::parse(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn rows_stay_the_text_that_livy_wrote() {
        let text = r#"{"from":0,"total":2,"sessions":[{"id":3,"name":"caf\u00e9","proxyUser":"alice","state":"idle","x":1.10},{"id":7,"name":null,"proxyUser":null,"state":"dead"}]}"#;
        let listing = listing(text).unwrap();
        let [first, second] = listing.rows() else {
            panic!("two rows")
        };
        assert_eq!((first.id.get(), first.name.as_deref()), (3, Some("café")));
        assert_eq!(first.proxy_user.as_deref(), Some("alice"));
        assert!(!first.is_finished() && second.is_finished());
        assert_eq!(
            listing.text(second),
            r#"{"id":7,"name":null,"proxyUser":null,"state":"dead"}"#
        );
        assert!(listing.text(first).ends_with(r#""x":1.10}"#));
    }

    #[test]
    fn a_list_that_is_not_whole_proves_nothing() {
        for text in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"from":0,"total":2,"sessions":[]}"#,
            r#"{"from":1,"total":0,"sessions":[]}"#,
            r#"{"from":0,"total":1,"sessions":[{}]}"#,
            r#"{"from":0,"total":1,"sessions":[{"id":-1,"state":"idle"}]}"#,
            r#"{"from":0,"total":1,"sessions":[{"id":1,"state":null}]}"#,
            r#"{"from":0,"total":1,"sessions":[{"id":1,"state":"idle","proxyUser":7}]}"#,
            r#"{"from":0,"total":2,"sessions":[{"id":1,"state":"idle"},{"id":1,"state":"idle"}]}"#,
            r#"{"from":0,"total":0,"sessions":[]}{}"#,
        ] {
            assert!(listing(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pages_are_cut_as_livy_cuts_them() {
        let rows: Vec<String> = (0..120).map(|n| n.to_string()).collect();
        let page = |from: Option<i32>, size: Option<i32>| {
            let text = render(
                &Page {
                    from,
                    size,
                    order: None,
                },
                &rows,
            );
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["total"], 120);
            let shown: Vec<u64> = value["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row.as_u64().unwrap())
                .collect();
            (
                value["from"].as_i64().unwrap(),
                shown.first().copied(),
                shown.len(),
            )
        };
        assert_eq!(page(None, None), (0, Some(0), 100));
        assert_eq!(page(Some(100), None), (100, Some(100), 20));
        assert_eq!(page(Some(5), Some(3)), (5, Some(5), 3));
        assert_eq!(page(Some(-5), Some(7)), (-5, Some(0), 2));
        assert_eq!(page(Some(-5), Some(5)), (-5, None, 0));
        assert_eq!(page(Some(0), Some(0)), (0, None, 0));
        assert_eq!(page(Some(0), Some(-1)), (0, None, 0));
        assert_eq!(page(Some(500), None), (500, None, 0));
        assert_eq!(page(None, Some(i32::MAX)), (0, Some(0), 120));
        assert_eq!(page(Some(1), Some(i32::MAX)), (1, None, 0), "the sum is no int");
        assert_eq!(
            page(Some(i32::MIN), Some(-1)),
            (i64::from(i32::MIN), Some(0), 120),
            "as an int it wraps round"
        );
    }

    #[test]
    fn ones_own_name_replaces_the_marker_and_nothing_else() {
        let object = r#"{"id":1,"name": "m-gw1" ,"log":["m-gw1"],"conf":{"name":"m-gw1"}}"#;
        assert_eq!(
            with_own_name(object, "m-gw1", Some("etl")),
            r#"{"id":1,"name": "etl" ,"log":["m-gw1"],"conf":{"name":"m-gw1"}}"#
        );
        assert!(with_own_name(object, "m-gw1", None).contains(r#""name": null ,"#));
        for other in [
            r#"{"id":1,"name":"else"}"#,
            r#"{"id":1,"name":null}"#,
            r#"{"id":1}"#,
            "[]",
        ] {
            assert_eq!(with_own_name(other, "m-gw1", Some("etl")), other);
        }
    }
}
