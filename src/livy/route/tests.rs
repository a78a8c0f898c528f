use http::request::Parts;
use proptest::prelude::*;

use super::*;
use crate::livy::query::Order;
use crate::livy::session_ref::{SessionId, SessionName};
use crate::livy::target::BasePaths;

fn head(method: &str, target: &str) -> Parts {
    http::Request::builder()
        .method(method)
        .uri(target)
        .body(())
        .unwrap()
        .into_parts()
        .0
}

fn bases() -> BasePaths {
    BasePaths::new(&["/livy".into(), "/gateway/default/livy/v1".into()]).unwrap()
}

fn routed(method: &str, target: &str) -> Result<Routed, Denial> {
    let (head, bases) = (head(method, target), bases());
    route(&head.method, &Target::normalize(&head, &bases)?)
}

fn called(method: &str, target: &str) -> Call {
    match routed(method, target) {
        Ok(Routed::Call(call)) => call,
        other => panic!("{method} {target}: {other:?}"),
    }
}

fn session(id: u32) -> SessionRef {
    SessionRef::by_id(Kind::Session, SessionId::new(id).unwrap())
}

fn batch(name: &str) -> SessionRef {
    SessionRef::by_name(Kind::Batch, SessionName::new(name).unwrap())
}

/// Livy's whole API: the operation, its path, and the methods of that path.
fn table() -> Vec<(Operation, &'static str, &'static str)> {
    const GET: &str = "GET, HEAD, OPTIONS";
    const GET_POST: &str = "GET, HEAD, POST, OPTIONS";
    const GET_DELETE: &str = "GET, HEAD, DELETE, OPTIONS";
    const POST: &str = "POST, OPTIONS";
    let on = |action| Operation::On(session(7), action);
    let of = |action| Operation::On(batch("etl-x8.f3_A"), action);
    vec![
        (Operation::Version, "/version", GET),
        (Operation::List(Kind::Session), "/sessions", GET_POST),
        (Operation::Create(Kind::Session), "/sessions", GET_POST),
        (on(Action::Read), "/sessions/7", GET_DELETE),
        (on(Action::Delete), "/sessions/7", GET_DELETE),
        (on(Action::State), "/sessions/7/state", GET),
        (on(Action::Log), "/sessions/7/log", GET),
        (on(Action::Stop), "/sessions/7/stop", POST),
        (on(Action::Interrupt), "/sessions/7/interrupt", POST),
        (on(Action::Connect), "/sessions/7/connect", POST),
        (on(Action::ListStatements), "/sessions/7/statements", GET_POST),
        (on(Action::RunStatement), "/sessions/7/statements", GET_POST),
        (on(Action::ReadStatement(0)), "/sessions/7/statements/0", GET),
        (
            on(Action::CancelStatement(12)),
            "/sessions/7/statements/12/cancel",
            POST,
        ),
        (on(Action::Complete), "/sessions/7/completion", POST),
        (on(Action::SubmitJob), "/sessions/7/submit-job", POST),
        (on(Action::RunJob), "/sessions/7/run-job", POST),
        (
            on(Action::ReadJob(2_147_483_647)),
            "/sessions/7/jobs/2147483647",
            GET,
        ),
        (on(Action::CancelJob(3)), "/sessions/7/jobs/3/cancel", POST),
        (on(Action::Upload(Resource::Jar)), "/sessions/7/upload-jar", POST),
        (
            on(Action::Upload(Resource::PyFile)),
            "/sessions/7/upload-pyfile",
            POST,
        ),
        (
            on(Action::Upload(Resource::File)),
            "/sessions/7/upload-file",
            POST,
        ),
        (on(Action::Add(Resource::Jar)), "/sessions/7/add-jar", POST),
        (on(Action::Add(Resource::PyFile)), "/sessions/7/add-pyfile", POST),
        (on(Action::Add(Resource::File)), "/sessions/7/add-file", POST),
        (Operation::List(Kind::Batch), "/batches", GET_POST),
        (Operation::Create(Kind::Batch), "/batches", GET_POST),
        (of(Action::Read), "/batches/etl-x8.f3_A", GET_DELETE),
        (of(Action::Delete), "/batches/etl-x8.f3_A", GET_DELETE),
        (of(Action::State), "/batches/etl-x8.f3_A/state", GET),
        (of(Action::Log), "/batches/etl-x8.f3_A/log", GET),
    ]
}

#[test]
fn every_operation_of_livy_is_found_by_its_method_and_path_and_written_back_the_same() {
    for (operation, path, _) in table() {
        let method = operation.method();
        let call = called(method.as_str(), &format!("/livy{path}"));
        assert_eq!(call.operation, operation);
        assert_eq!(call.method, method);
        assert_eq!(operation.to_string(), path);
    }
}

#[test]
fn a_method_that_a_path_does_not_have_is_answered_with_those_it_has() {
    let methods = [
        "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH", "TRACE", "CONNECT", "get", "Post",
        "delete", "head", "options", "PROPFIND",
    ];
    for (_, path, allow) in table() {
        for method in methods {
            let answer = routed(method, &format!("/livy{path}"));
            if method == "OPTIONS" {
                assert_eq!(answer, Ok(Routed::Options { allow }), "{path}");
            } else if allow.split(", ").any(|allowed| allowed == method) {
                assert!(answer.is_ok(), "{method} {path}: {answer:?}");
            } else {
                assert_eq!(answer, Err(Denial::MethodNotAllowed { allow }), "{method} {path}");
            }
        }
    }
}

#[test]
fn what_is_asked_of_the_gateway_itself_is_no_operation_and_is_only_read() {
    for (base, topic) in [
        ("/livy", Topic::Me),
        ("/livy", Topic::AllSessions),
        ("/gateway/default/livy/v1", Topic::Me),
    ] {
        let path = format!("{base}/gateway/{}", topic.word());
        for method in [Method::Get, Method::Head] {
            let asked = Inquiry {
                topic,
                method,
                page: Page::default(),
                requested_user: None,
            };
            assert_eq!(routed(method.as_str(), &path), Ok(Routed::Inquiry(asked)));
        }
        let allow = "GET, HEAD, OPTIONS";
        assert_eq!(routed("OPTIONS", &path), Ok(Routed::Options { allow }));
        for method in ["POST", "DELETE", "PUT", "get"] {
            assert_eq!(routed(method, &path), Err(Denial::MethodNotAllowed { allow }));
        }
    }
    for path in [
        "",
        "/mee",
        "/me/",
        "/me/x",
        "/sessions/7",
        "/Me",
        "/default/livy/v1",
    ] {
        let answer = routed("GET", &format!("/livy/gateway{path}"));
        let Err(denial) = answer else {
            panic!("{path}: {answer:?}")
        };
        assert!(
            matches!(&denial, Denial::UnknownOperation(hint) if hint.contains("/livy/gateway/me"))
                || matches!(&denial, Denial::AmbiguousTarget(_)) && path == "/me/",
            "{path}: {denial:?}"
        );
    }
}

#[test]
fn only_the_list_of_all_sessions_has_pages_and_both_questions_may_name_a_user() {
    let Ok(Routed::Inquiry(asked)) = routed("GET", "/livy/gateway/sessions?from=2&size=3&doAs=carol") else {
        panic!("it is one")
    };
    assert_eq!((asked.page.from, asked.page.size), (Some(2), Some(3)));
    assert_eq!(asked.requested_user.as_deref(), Some("carol"));
    for (path, parameter) in [("me", "from=1"), ("sessions", "order=desc"), ("me", "user=bob")] {
        let answer = routed("GET", &format!("/livy/gateway/{path}?{parameter}"));
        assert!(
            matches!(answer, Err(Denial::UnknownParameter { .. })),
            "{path} {parameter}: {answer:?}"
        );
    }
}

#[test]
fn head_is_the_get_of_the_same_path_and_stays_head() {
    let call = called("HEAD", "/livy/sessions/7/log?from=0");
    assert_eq!(call.operation, Operation::On(session(7), Action::Log));
    assert_eq!(call.method, Method::Head);
    assert_eq!(call.page.from, Some(0));
}

#[test]
fn options_of_the_whole_server_names_all_methods() {
    let all = "GET, HEAD, POST, DELETE, OPTIONS";
    assert_eq!(routed("OPTIONS", "*"), Ok(Routed::Options { allow: all }));
}

#[test]
fn each_operation_takes_its_own_parameters_and_no_others() {
    for (operation, path, _) in table() {
        for parameter in [
            "from=1",
            "size=2",
            "order=desc",
            "id=3",
            "user.name=x",
            "delegation=x",
        ] {
            let answer = routed(operation.method().as_str(), &format!("/livy{path}?{parameter}"));
            let name = parameter.split('=').next().unwrap();
            if operation.parameters().contains(&name) {
                assert!(answer.is_ok(), "{operation} {parameter}: {answer:?}");
            } else {
                let known = operation.parameters();
                assert_eq!(
                    answer,
                    Err(Denial::UnknownParameter {
                        name: name.into(),
                        known
                    })
                );
            }
        }
    }
}

#[test]
fn the_page_and_the_user_that_a_client_asked_for_come_with_the_call() {
    let call = called(
        "GET",
        "/livy/sessions/7/statements?size=5&order=desc&DOAS=al%69ce&from=-1",
    );
    let page = Page {
        from: Some(-1),
        size: Some(5),
        order: Some(Order::Desc),
    };
    assert_eq!((call.page, call.requested_user.as_deref()), (page, Some("alice")));
}

#[test]
fn a_session_number_that_can_be_read_in_two_ways_is_refused_with_what_to_write() {
    for (target, says) in [
        (
            "/livy/sessions/007/state",
            "'007' is a number with leading zeros; write 7",
        ),
        ("/livy/batches/00", "write 0"),
        ("/livy/sessions/7/statements/01", "write 1"),
        ("/livy/sessions/7/jobs/000/cancel", "write 0"),
        ("/livy/sessions/-1", "'-1' is neither a number nor a plain name"),
        ("/livy/sessions/5.0", "reached by its number"),
        ("/livy/sessions/0x5/state", "'0x5' is neither"),
        ("/livy/sessions/5_0", "'5_0' is neither"),
        ("/livy/batches/_etl", "'_etl' is neither"),
    ] {
        match routed("GET", target) {
            Err(Denial::AmbiguousTarget(what)) => assert!(what.contains(says), "{target}: {what}"),
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[test]
fn a_session_number_beyond_livys_range_is_a_session_that_is_not_there() {
    for number in [
        "2147483648",
        "4294967303",
        "18446744073709551623",
        "99999999999999999999999",
    ] {
        for path in [
            "/livy/sessions/N",
            "/livy/sessions/N/statements/0",
            "/livy/batches/N/log",
        ] {
            assert_eq!(
                routed("GET", &path.replace('N', number)),
                Err(Denial::NotFound {
                    session: number.into()
                })
            );
        }
    }
}

#[test]
fn a_statement_or_job_that_is_no_number_of_livys_is_answered_in_livys_words() {
    for (method, target, words) in [
        ("GET", "/livy/sessions/0/statements/x", "For input string: \"x\""),
        (
            "POST",
            "/livy/sessions/0/statements/1e3/cancel",
            "For input string: \"1e3\"",
        ),
        (
            "GET",
            "/livy/sessions/0/statements/2147483648",
            "For input string: \"2147483648\"",
        ),
        ("GET", "/livy/sessions/0/jobs/-1", "For input string: \"-1\""),
    ] {
        assert_eq!(
            routed(method, target),
            Err(Denial::InvalidParameter(words.into())),
            "{target}"
        );
    }
}

#[test]
fn a_path_that_livy_does_not_have_is_answered_with_what_was_probably_meant() {
    for (target, says) in [
        ("/livy/sessions/7/logs", "Did you mean /log?"),
        ("/livy/batches/7/logs", "Did you mean /log?"),
        ("/livy/sessions/7/status", "Did you mean /state?"),
        ("/livy/sessions/7/statement", "Did you mean /statements?"),
        ("/livy/sessions/7/completions", "Did you mean /completion?"),
        ("/livy/sessions/7/upload_jar", "Did you mean /upload-jar?"),
        ("/livy/sessions/7/Log", "Did you mean /log?"),
        ("/livy/sessions/7/inspect", "one of: state, log, stop"),
        ("/livy/sessions/7/kill", "one of: state, log, stop"),
        ("/livy/sessions/7/upload-", "Did you mean /upload-jar?"),
        ("/livy/sessions/7/jobs", "/jobs/{number}"),
        (
            "/livy/sessions/7/statements/0/result",
            "After /statements and a number comes /cancel",
        ),
        (
            "/livy/sessions/7/statements/0/cancel/now",
            "After /statements and a number comes /cancel",
        ),
        ("/livy/sessions/7/state/x", "Nothing follows /state"),
        ("/livy/sessions/7/state/x/y/z", "Nothing follows /state"),
        ("/livy/batches/7/statements", "A batch has no /statements"),
        ("/livy/batches/7/jobs/0", "A batch has no /jobs"),
        ("/livy/batches/7/stop", "A batch has no /stop"),
        ("/livy/session", "Did you mean /livy/sessions?"),
        ("/livy/Sessions", "Did you mean /livy/sessions?"),
        ("/livy/batch/7", "Did you mean /livy/batches?"),
        ("/livy/version/x", "Did you mean /livy/version?"),
        ("/livy/statements", "Its paths begin with /livy/sessions"),
        ("/livy/sessionsx", "Did you mean /livy/sessions?"),
        (
            "/livy/livy/batches",
            "The base path /livy seems to be there twice",
        ),
        (
            "/livy//livy/batches/3/state",
            "The base path /livy seems to be there twice",
        ),
        ("/livy", "the API begins at /livy/sessions"),
        ("/livy/", "the API begins at /livy/sessions"),
        ("/livy/ui", "web pages are not served"),
        ("/livy/ui/", "web pages are not served"),
        ("/livy/ui/session/7", "web pages are not served"),
        ("/livy/static/js/all-sessions.js", "web pages are not served"),
        ("/livy/metrics", "metrics and Thrift pages are not served"),
        ("/livy/metrics/threads", "metrics and Thrift pages are not served"),
        (
            "/livy/thriftserver/sessions",
            "metrics and Thrift pages are not served",
        ),
        ("/livy/ping", "Its paths begin with"),
        (
            "/gateway/default/livy/v1/batch",
            "Did you mean /gateway/default/livy/v1/batches?",
        ),
    ] {
        for method in ["GET", "POST", "OPTIONS", "get"] {
            match routed(method, target) {
                Err(Denial::UnknownOperation(hint)) => assert!(hint.contains(says), "{target}: {hint}"),
                other => panic!("{method} {target}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_very_long_wrong_word_is_refused_without_looking_for_a_likeness() {
    let target = format!("/livy/{}", "s".repeat(8_000));
    assert!(matches!(routed("GET", &target), Err(Denial::UnknownOperation(_))));
}

fn any_session(kind: Kind) -> impl Strategy<Value = SessionRef> {
    prop_oneof![
        (0..=SessionId::MAX).prop_map(move |id| SessionRef::by_id(kind, SessionId::new(id).unwrap())),
        "[A-Za-z][A-Za-z0-9._-]{0,127}"
            .prop_map(move |name| SessionRef::by_name(kind, SessionName::new(&name).unwrap())),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    let fixed: Vec<_> = table()
        .into_iter()
        .filter_map(|(operation, ..)| match operation {
            Operation::On(session, action) if session.kind() == Kind::Session => Some(action),
            Operation::On(..) | Operation::Version | Operation::List(_) | Operation::Create(_) => None,
        })
        .collect();
    let number = 0..=SessionId::MAX;
    prop_oneof![
        proptest::sample::select(fixed),
        number.clone().prop_map(Action::ReadStatement),
        number.clone().prop_map(Action::CancelStatement),
        number.clone().prop_map(Action::ReadJob),
        number.prop_map(Action::CancelJob),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let of_batch = proptest::sample::select(vec![Action::Read, Action::Delete, Action::State, Action::Log]);
    prop_oneof![
        1 => Just(Operation::Version),
        1 => proptest::sample::select(Kind::ALL.to_vec()).prop_map(Operation::List),
        1 => proptest::sample::select(Kind::ALL.to_vec()).prop_map(Operation::Create),
        8 => (any_session(Kind::Session), any_action()).prop_map(|(on, action)| Operation::On(on, action)),
        2 => (any_session(Kind::Batch), of_batch).prop_map(|(on, action)| Operation::On(on, action)),
    ]
}

fn any_page(operation: &Operation) -> impl Strategy<Value = Page> + use<> {
    let known = operation.parameters();
    let order = proptest::sample::select(vec![Order::Desc, Order::Asc]);
    let keep = move |name: &str| known.contains(&name);
    (
        any::<Option<i32>>(),
        any::<Option<i32>>(),
        proptest::option::of(order),
    )
        .prop_map(move |(from, size, order)| Page {
            from: from.filter(|_| keep("from")),
            size: size.filter(|_| keep("size")),
            order: order.filter(|_| keep("order")),
        })
}

/// The target of some operation with up to two pieces, harmless or hostile, put in anywhere.
fn any_target() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "/",
        "//",
        "/",
        "0",
        "7",
        "x",
        "-",
        "_",
        "/.",
        "..",
        ";",
        ";x",
        "%2F",
        "%2e",
        "%",
        "%31",
        "+",
        "~",
        "*",
        "\\",
        "é",
        "٥",
        "?",
        "?from=1",
        "?size=2&from=3",
        "?doAs=bob",
        "?_method=GET",
        "#",
        "@",
        ":",
        "/livy",
        "/log",
        "/state",
        "/sessions",
    ]);
    let edits = proptest::collection::vec((any::<proptest::sample::Index>(), pieces), 0..3);
    (any_operation(), edits).prop_map(|(operation, edits)| {
        let mut target: Vec<char> = format!("/livy{operation}").chars().collect();
        for (place, piece) in edits {
            let place = place.index(target.len() + 1);
            target.splice(place..place, piece.chars());
        }
        target.into_iter().collect()
    })
}

fn any_method() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "get", "CONNECT",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_operation_written_and_read_again_is_the_same(
        (operation, page) in any_operation().prop_flat_map(|operation| {
            let page = any_page(&operation);
            (Just(operation), page)
        })
    ) {
        let mut query = String::new();
        page.write_query(&mut query);
        let call = called(operation.method().as_str(), &format!("/livy{operation}?{query}"));
        prop_assert_eq!(call.operation, operation);
        prop_assert_eq!(call.page, page);
        prop_assert_eq!(call.requested_user, None);
    }

    #[test]
    fn whatever_is_accepted_goes_out_as_the_path_that_was_read(
        method in any_method(), target in any_target()
    ) {
        let Ok(uri) = http::Uri::try_from(target.as_str()) else { return Ok(()) };
        let mut head = head(method, "/");
        head.uri = uri;
        let bases = bases();
        let Ok(read) = Target::normalize(&head, &bases) else { return Ok(()) };
        let Ok(Routed::Call(call)) = route(&head.method, &read) else { return Ok(()) };
        let rendered = call.operation.to_string();
        prop_assert_eq!(&rendered, read.path());
        // Nothing but slashes was added or taken away on the way.
        let bare = |path: &str| path.replace('/', " ").split_whitespace().collect::<Vec<_>>().join("/");
        prop_assert_eq!(bare(&format!("{}{rendered}", read.base())), bare(head.uri.path()));
        prop_assert_eq!(call.method.as_str(), method);
    }
}
