//! Query strings: which parameters a request has, and what Livy would make of them.
//!
//! A query is split at `&` alone and decoded once, as Livy's web server does, and never copied: what Livy gets is
//! written anew from the values read here.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::target::named;
use crate::denial::{Denial, quotable};

/// Which part of a list is asked for. What is absent is not sent: Livy's defaults differ by operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Page {
    /// The first item. Livy 0.9: negative values count as 0 for the start, but not for the end; for logs, the tail.
    pub from: Option<i32>,
    /// How many items. Livy 0.9: nothing for zero or less; for logs, all for less than zero.
    pub size: Option<i32>,
    /// The order of statements.
    pub order: Option<Order>,
}

/// The order of a list of statements (Livy 0.8 and later; earlier ones always ascend).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    Desc,
    /// The oldest first: Livy's default, and what it makes of any other word than `desc`.
    Asc,
}

impl Order {
    /// As Livy 0.9 reads it: blanks around the word and its case do not matter.
    fn read(text: &str) -> Self {
        if text.trim_matches(' ').eq_ignore_ascii_case("desc") {
            Self::Desc
        } else {
            Self::Asc
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Desc => "desc",
            Self::Asc => "asc",
        }
    }
}

impl Page {
    /// Whether nothing is asked for in particular.
    pub const fn is_empty(&self) -> bool {
        self.from.is_none() && self.size.is_none() && self.order.is_none()
    }

    /// Appends the parameters as Livy gets them, `from=5&size=10`: canonical integers in a fixed order.
    pub fn write_query(&self, out: &mut String) {
        let mut separator = "";
        for (name, number) in [("from", self.from), ("size", self.size)] {
            if let Some(number) = number {
                // Writing to a String cannot fail.
                let _ = write!(out, "{separator}{name}={number}");
                separator = "&";
            }
        }
        if let Some(order) = self.order {
            let _ = write!(out, "{separator}order={}", order.as_str());
        }
    }
}

/// The most parameters that are looked at.
const MAX_PARAMETERS: usize = 100;

/// Refuses a query that could be read in two ways, or that would replace the method of the request.
pub(super) fn check(query: &str) -> Result<(), Denial> {
    if let Some(byte) = query.bytes().find(|byte| is_disputed(*byte)) {
        return Err(Denial::AmbiguousTarget(
            format!("its query has {}", named(byte)).into(),
        ));
    }
    for (index, parameter) in parameters(query).enumerate() {
        if index == MAX_PARAMETERS {
            return Err(Denial::AmbiguousTarget(
                "it has more than 100 query parameters".into(),
            ));
        }
        let (name, _) = parameter?;
        if is_spelled(&name, "_method") {
            return Err(Denial::MethodOverride("The query parameter _method"));
        }
    }
    Ok(())
}

/// What a query asks for: a page, as far as its parameters are `known`, and perhaps whom the client wants to act as.
pub(super) fn read(query: &str, known: &'static [&'static str]) -> Result<(Page, Option<String>), Denial> {
    let mut page = Page::default();
    let mut do_as = None;
    let mut proxy_user = None;
    for parameter in parameters(query) {
        let (name, value) = parameter?;
        if is_spelled(&name, "doAs") {
            set(&mut do_as, "doAs", value.into_owned())?;
            continue;
        }
        if is_spelled(&name, "proxyUser") {
            set(&mut proxy_user, "proxyUser", value.into_owned())?;
            continue;
        }
        match known.iter().copied().find(|known| *known == name) {
            Some("from") => set(&mut page.from, "from", integer(&value)?)?,
            Some("size") => set(&mut page.size, "size", integer(&value)?)?,
            Some("order") => set(&mut page.order, "order", Order::read(&value))?,
            Some(_) | None => {
                return Err(Denial::UnknownParameter {
                    name: quotable(&name),
                    known,
                });
            }
        }
    }
    Ok((page, one_user(do_as, proxy_user)?))
}

// The two names may agree; a client that contradicts itself is not helped by choosing for it.
fn one_user(do_as: Option<String>, proxy_user: Option<String>) -> Result<Option<String>, Denial> {
    match (do_as, proxy_user) {
        (Some(one), Some(other)) if one != other => {
            Err(Denial::RepeatedParameter("doAs (as proxyUser)".into()))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn set<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), Denial> {
    match slot.replace(value) {
        Some(_) => Err(Denial::RepeatedParameter(name.into())),
        None => Ok(()),
    }
}

/// A number as Java's `Integer.parseInt` reads it: a sign or none, digits, 32 bits. Only ASCII digits are taken.
fn integer(text: &str) -> Result<i32, Denial> {
    text.parse().map_err(|_| not_a_number(text))
}

/// Livy's own words for it.
pub(super) fn not_a_number(text: &str) -> Denial {
    Denial::InvalidParameter(format!("For input string: \"{}\"", quotable(text)))
}

/// Whether a decoded name is `word` in any case. Scalatra reads `word[]` as `word`, and other readers ignore case.
fn is_spelled(name: &str, word: &str) -> bool {
    name.strip_suffix("[]").unwrap_or(name).eq_ignore_ascii_case(word)
}

type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Each parameter, decoded. Nothing between two `&` is no parameter; one without `=` has the empty value.
fn parameters(query: &str) -> impl Iterator<Item = Result<Parameter<'_>, Denial>> {
    query.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        Ok((decode(name)?, decode(value)?))
    })
}

/// Decodes once: `%41` is `A`, `+` is a space.
fn decode(text: &str) -> Result<Cow<'_, str>, Denial> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    if !escapes_are_whole(text) {
        return Err(Denial::AmbiguousTarget(
            "its query has a '%' that begins no escape".into(),
        ));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| Denial::AmbiguousTarget("its query is not UTF-8 once decoded".into()))?;
    if decoded.contains(char::is_control) {
        return Err(Denial::AmbiguousTarget(
            "its query has an escaped control character".into(),
        ));
    }
    Ok(Cow::Owned(decoded.into_owned()))
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let mut digits = after.bytes().take(2).filter(u8::is_ascii_hexdigit);
        digits.next().is_some() && digits.next().is_some()
    })
}

/// Bytes that other readers take for a separator or an end, or that no URL may hold unescaped.
const fn is_disputed(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b';' | b'\\' | b'#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::operation::{Action, Operation};
    use super::super::session_ref::{Kind, SessionId, SessionRef};
    use super::*;

    fn statements() -> Operation {
        let session = SessionRef::by_id(Kind::Session, SessionId::new(0).unwrap());
        Operation::On(session, Action::ListStatements)
    }

    /// Both steps, as the target and the router take them.
    fn both(query: &str, operation: &Operation) -> Result<(Page, Option<String>), Denial> {
        check(query)?;
        read(query, operation.parameters())
    }

    fn page(query: &str) -> Result<Page, Denial> {
        both(query, &statements()).map(|(page, _)| page)
    }

    fn user(query: &str) -> Result<Option<String>, Denial> {
        both(query, &Operation::Version).map(|(_, user)| user)
    }

    #[test]
    fn odd_numbers_mean_what_livy_makes_of_them() {
        for (text, number) in [
            ("5", 5),
            ("-5", -5),
            ("-1", -1),
            ("%2B0", 0),
            ("-0", 0),
            ("007", 7),
            ("%35", 5),
            ("2147483647", i32::MAX),
            ("-2147483648", i32::MIN),
        ] {
            assert_eq!(
                page(&format!("from={text}")).unwrap().from,
                Some(number),
                "{text}"
            );
            assert_eq!(
                page(&format!("size={text}")).unwrap().size,
                Some(number),
                "{text}"
            );
        }
    }

    #[test]
    fn what_livy_cannot_read_as_a_number_is_refused_in_livys_words() {
        for (query, words) in [
            ("from=abc", "For input string: \"abc\""),
            ("from=", "For input string: \"\""),
            ("from", "For input string: \"\""),
            ("size=+0", "For input string: \" 0\""),
            ("size=%20", "For input string: \" \""),
            ("size=1.5", "For input string: \"1.5\""),
            ("size=0x10", "For input string: \"0x10\""),
            ("size=-", "For input string: \"-\""),
            ("size=%2B-1", "For input string: \"+-1\""),
            ("size=2147483648", "For input string: \"2147483648\""),
            ("from=-2147483649", "For input string: \"-2147483649\""),
            ("from=1%3Bsize=1", "For input string: \"1;size=1\""),
            ("from=1?size=1", "For input string: \"1?size=1\""),
            // Java reads the digits of every script; one reader of them is enough.
            ("from=%D9%A0", "For input string: \"\\u{660}\""),
        ] {
            assert_eq!(
                page(query),
                Err(Denial::InvalidParameter(words.into())),
                "{query}"
            );
        }
    }

    #[test]
    fn only_desc_reverses_the_order_whatever_its_case() {
        for (text, order) in [
            ("desc", Order::Desc),
            ("DESC", Order::Desc),
            ("+Desc%20", Order::Desc),
            ("asc", Order::Asc),
            ("descending", Order::Asc),
            ("", Order::Asc),
        ] {
            assert_eq!(
                page(&format!("order={text}")).unwrap().order,
                Some(order),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_query_that_two_readers_could_take_differently_is_refused() {
        for (query, says) in [
            ("size=1;from=1", "a ';'"),
            ("x=1;doAs=bob", "a ';'"),
            ("from=1\\", "a '\\'"),
            ("x=1#doAs=bob", "a '#'"),
            ("from=é", "the byte 0xC3"),
            ("from=1\t", "the byte 0x09"),
            ("from=1 ", "the byte 0x20"),
            ("from=1\u{7f}", "the byte 0x7F"),
            ("from=%zz", "begins no escape"),
            ("from=%", "begins no escape"),
            ("from=%4", "begins no escape"),
            ("from=%%41", "begins no escape"),
            ("%u0064oAs=bob", "begins no escape"),
            ("from=%FF", "not UTF-8"),
            ("do%C1%81s=bob", "not UTF-8"),
            ("from=%ED%A0%80", "not UTF-8"),
            ("doAs=bob%00", "control character"),
            ("doAs=bob%0d%0aX:1", "control character"),
            ("%00=1", "control character"),
            ("doAs=%C2%85", "control character"),
        ] {
            match both(query, &statements()) {
                Err(Denial::AmbiguousTarget(what)) => assert!(what.contains(says), "{query:?}: {what}"),
                other => panic!("{query:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_method_in_the_query_is_refused_in_any_spelling() {
        for query in [
            "_method=DELETE",
            "_method",
            "_METHOD=get",
            "%5Fmethod=DELETE",
            "%5fm%65thod=DELETE",
            "_method[]=GET",
            "_method%5B%5D=GET",
            "from=1&_Method[]=GET",
        ] {
            assert_eq!(
                check(query),
                Err(Denial::MethodOverride("The query parameter _method")),
                "{query}"
            );
        }
    }

    #[test]
    fn a_user_that_the_client_names_is_read_in_any_spelling() {
        for query in [
            "doAs=bob",
            "doas=bob",
            "DOAS=bob",
            "doAs[]=bob",
            "doAs%5B%5D=bob",
            "%64oAs=bob",
            "d%6FAs=b%6Fb",
            "proxyUser=bob",
            "proxyuser=bob",
            "PROXYUSER[]=bob",
            "&&doAs=bob&",
            "doAs=bob&proxyUser=bob",
        ] {
            assert_eq!(user(query), Ok(Some("bob".into())), "{query}");
        }
        for (query, name) in [
            ("doAs=", ""),
            ("doAs", ""),
            ("doAs=a%26doAs%3Db", "a&doAs=b"),
            ("doAs=a=b", "a=b"),
            ("doAs=a+b%2B", "a b+"),
            ("doAs=%2562ob", "%62ob"),
        ] {
            assert_eq!(user(query), Ok(Some(name.into())), "{query}");
        }
    }

    #[test]
    fn a_parameter_is_given_once() {
        for (query, name) in [
            ("from=1&from=1", "from"),
            ("size=1&from=1&s%69ze=1", "size"),
            ("order=desc&order=asc", "order"),
            ("doAs=alice&doAs=alice", "doAs"),
            ("doAs=alice&DOAS[]=bob", "doAs"),
            ("proxyUser=alice&proxyuser=alice", "proxyUser"),
            ("doAs=alice&proxyUser=bob", "doAs (as proxyUser)"),
            ("doAs=&proxyUser=bob", "doAs (as proxyUser)"),
        ] {
            assert_eq!(
                page(query),
                Err(Denial::RepeatedParameter(name.into())),
                "{query}"
            );
        }
    }

    #[test]
    fn a_parameter_that_the_operation_does_not_have_is_refused_by_name() {
        for (query, name) in [
            ("from[]=1", "from[]"),
            ("From=1", "From"),
            ("from%20=1", "from "),
            ("%2566rom=1", "%66rom"),
            ("%255Fmethod=GET", "%5Fmethod"),
            ("%2564oAs=bob", "%64oAs"),
            ("doAs[0]=bob", "doAs[0]"),
            ("user.name=root", "user.name"),
            ("?doAs=bob", "?doAs"),
            ("=1", ""),
            ("%F0%9F%92%A5", "\\u{1f4a5}"),
        ] {
            let known: &[_] = &["from", "size", "order"];
            assert_eq!(
                page(query),
                Err(Denial::UnknownParameter {
                    name: name.into(),
                    known
                }),
                "{query}"
            );
        }
        assert_eq!(
            user("from=1"),
            Err(Denial::UnknownParameter {
                name: "from".into(),
                known: &[]
            })
        );
    }

    #[test]
    fn a_hundred_parameters_are_looked_at_and_no_more() {
        assert_eq!(check(&["a=1"; 100].join("&")), Ok(()));
        assert!(matches!(
            check(&["a=1"; 101].join("&")),
            Err(Denial::AmbiguousTarget(_))
        ));
    }

    #[test]
    fn livy_gets_canonical_integers_in_a_fixed_order() {
        for (query, written) in [
            ("", ""),
            ("size=010&from=%2B5", "from=5&size=10"),
            ("order=DESC&size=2", "size=2&order=desc"),
            ("size=-0", "size=0"),
            ("from=-5", "from=-5"),
        ] {
            let mut out = String::new();
            page(query).unwrap().write_query(&mut out);
            assert_eq!(out, written, "{query}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn whatever_the_query_only_known_parameters_come_out(
            query in prop_oneof![
                "[!-~]{0,40}",
                "((from|size|order|doAs|proxyUser|_method|id)(\\[\\])?(=[0-9a-z+%&;-]{0,6})?&?){0,5}",
            ],
        ) {
            for operation in [Operation::Version, Operation::List(Kind::Batch), statements()] {
                let Ok((page, _)) = both(&query, &operation) else { continue };
                let mut out = String::new();
                page.write_query(&mut out);
                let mut names: Vec<_> =
                    out.split('&').filter(|piece| !piece.is_empty()).map(|piece| piece.split('=').next().unwrap()).collect();
                prop_assert!(names.iter().all(|name| operation.parameters().contains(name)), "{}", out);
                let written = names.len();
                names.sort_unstable();
                names.dedup();
                prop_assert_eq!(names.len(), written);
                prop_assert_eq!(both(&out, &operation), Ok((page, None)));
            }
        }
    }
}
