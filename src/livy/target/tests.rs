use proptest::prelude::*;

use super::*;

fn head(target: &str) -> Parts {
    http::Request::builder()
        .uri(target)
        .body(())
        .unwrap()
        .into_parts()
        .0
}

fn bases(paths: &[&str]) -> BasePaths {
    let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
    BasePaths::new(&paths).unwrap()
}

/// Base path and path below it, by a gateway with these base paths.
fn read(paths: &[&str], target: &str) -> Result<(String, String), Denial> {
    let (head, bases) = (head(target), bases(paths));
    let target = Target::normalize(&head, &bases)?;
    Ok((target.base().to_owned(), target.path().to_owned()))
}

#[test]
fn the_slashes_that_real_clients_send_too_many_of_are_folded() {
    for target in [
        "/livy/sessions",
        "/livy/sessions/",
        "/livy//sessions",
        "/livy//sessions/",
        "//livy/sessions",
        "///livy////sessions/",
    ] {
        assert_eq!(
            read(&["/livy"], target),
            Ok(("/livy".into(), "/sessions".into())),
            "{target}"
        );
    }
    for target in ["/sessions", "/sessions/", "//sessions", "///sessions/"] {
        assert_eq!(
            read(&["/"], target),
            Ok((String::new(), "/sessions".into())),
            "{target}"
        );
    }
    for target in ["/livy/batches/", "/livy/version/"] {
        assert!(!read(&["/livy"], target).unwrap().1.ends_with('/'), "{target}");
    }
    for target in ["/livy", "/livy/", "//livy//"] {
        assert_eq!(
            read(&["/livy"], target),
            Ok(("/livy".into(), "/".into())),
            "{target}"
        );
    }
}

#[test]
fn the_longest_base_path_wins_and_only_on_a_segment_boundary_in_exact_case() {
    let paths = ["/livy", "/livy/v1", ""];
    for (target, base, path) in [
        ("/livy/sessions", "/livy", "/sessions"),
        ("/livy/v1/sessions", "/livy/v1", "/sessions"),
        ("/livy/v1", "/livy/v1", "/"),
        ("/livy/v12/sessions", "/livy", "/v12/sessions"),
        ("/livyx/sessions", "", "/livyx/sessions"),
        ("/LIVY/sessions", "", "/LIVY/sessions"),
        ("/sessions", "", "/sessions"),
    ] {
        assert_eq!(read(&paths, target), Ok((base.into(), path.into())), "{target}");
    }
    for target in [
        "/livyx/sessions",
        "/LIVY/sessions",
        "/sessions",
        "/",
        "/liv",
        "/x/livy/sessions",
    ] {
        match read(&["/livy", "/gateway/livy"], target) {
            Err(Denial::UnknownOperation(hint)) => {
                assert!(
                    hint.contains("/livy/sessions and ") || hint.contains(" and /livy/sessions"),
                    "{hint}"
                );
            }
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[test]
fn a_slash_too_many_that_could_lead_to_another_base_path_is_refused() {
    let refused = read(&["/livy", "/livy/v1"], "/livy//v1/sessions");
    assert!(matches!(refused, Err(Denial::AmbiguousTarget(_))), "{refused:?}");
}

#[test]
fn a_path_that_two_readers_could_take_differently_is_refused_and_the_reason_named() {
    for (path, says) in [
        // Livy's web server cuts a segment at ';', its router the whole path.
        ("/sessions;/5/log", "a ';'"),
        ("/sessions/;/5", "a ';'"),
        ("/sessions;/5/statements", "a ';'"),
        ("/sessions/7;/statements/0", "a ';'"),
        ("/sessions/5;x/statements", "a ';'"),
        ("/sessions/5;doAs=bob/log", "a ';'"),
        ("/sessions/5;/../../sessions", "a ';'"),
        ("/AAAAAAAA/5;/../../sessions", "a ';'"),
        ("/sessions/..;/batches", "a ';'"),
        // Escapes: of route words, digits, separators, dots, controls; doubled; broken; not UTF-8.
        ("/%73essions", "a '%'"),
        ("/sessions/%31%37", "a '%'"),
        ("/sessions/5/l%6Fg", "a '%'"),
        ("/sessions/%D9%A5", "a '%'"),
        ("/sessions/5%2Flog", "a '%'"),
        ("/sessions/5%2flog", "a '%'"),
        ("/sessions/5%252Flog", "a '%'"),
        ("/sessions/a%3Bb", "a '%'"),
        ("/sessions/a%3Fb", "a '%'"),
        ("/sessions/a%23b", "a '%'"),
        ("/sessions/5%3FdoAs=bob", "a '%'"),
        ("/sessions/%2e%2e/batches", "a '%'"),
        ("/sessions/15/%2E%2E/17/log", "a '%'"),
        ("/sessions/%5C..%5Cbatches", "a '%'"),
        ("/sessions/5%00", "a '%'"),
        ("/sessions/5%0d%0aX:1", "a '%'"),
        ("/sessions/5%20", "a '%'"),
        ("/sessions/%u0035", "a '%'"),
        ("/sessions/%", "a '%'"),
        ("/sessions/%zz", "a '%'"),
        ("/sessions/%FF", "a '%'"),
        ("/sessions/%2B5", "a '%'"),
        // Dot segments, and everything that begins like one.
        ("/sessions/../batches/5", "begins with '.'"),
        ("/sessions/./5", "begins with '.'"),
        ("/sessions/15/../17/log", "begins with '.'"),
        ("/../livy/sessions", "begins with '.'"),
        ("/..", "begins with '.'"),
        ("/.", "begins with '.'"),
        ("/sessions/..", "begins with '.'"),
        ("/sessions/...", "begins with '.'"),
        ("/sessions/.hidden", "begins with '.'"),
        ("//../sessions", "begins with '.'"),
        // Other bytes.
        ("/sessions\\5", "a '\\'"),
        ("/sessions/..\\batches", "a '\\'"),
        ("/sessions/+5", "a '+'"),
        ("/sessions/~bob", "a '~'"),
        ("/sessions/*", "a '*'"),
        ("/sessions/5:6", "a ':'"),
        ("/sessions/5,6", "a ','"),
        ("/sessions/a=b", "a '='"),
        ("/sessions/a&b", "a '&'"),
        ("/@evil/", "a '@'"),
        ("/sessions/{id}", "a '{'"),
        ("/sessions/\"5\"", "a '\"'"),
        ("/sessions/٥", "the byte 0xD9"),
        ("/sessions/５", "the byte 0xEF"),
        ("/sessions/é", "the byte 0xC3"),
        // Slashes that no client needs.
        ("/sessions//5", "is empty"),
        ("/sessions//", "is empty"),
        ("/sessions/5/", "is empty"),
        ("/sessions/5/state/", "is empty"),
        ("/sessions/5//state", "is empty"),
    ] {
        let target = format!("/livy{path}");
        match read(&["/livy"], &target) {
            Err(Denial::AmbiguousTarget(what)) => assert!(what.contains(says), "{target}: {what}"),
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[test]
fn a_fault_outside_the_base_path_is_named_too() {
    for target in [
        "/healthz/../sessions",
        "/a//livy/sessions",
        "/%6Civy/sessions",
        "/livy;/sessions",
        "//a//b",
    ] {
        let refused = read(&["/livy"], target);
        assert!(
            matches!(refused, Err(Denial::AmbiguousTarget(_))),
            "{target}: {refused:?}"
        );
    }
}

#[test]
fn only_the_origin_form_is_taken_and_the_asterisk_for_options() {
    for target in [
        "http://evil/livy/sessions",
        "http://livy:8998/livy/sessions",
        "https://evil",
        "evil:80",
        "word",
        "*",
    ] {
        let refused = read(&["/livy"], target);
        assert!(
            matches!(refused, Err(Denial::AmbiguousTarget(_))),
            "{target}: {refused:?}"
        );
    }
    let mut options = head("*");
    options.method = Method::OPTIONS;
    let bases = bases(&["/livy"]);
    assert_eq!(
        Target::normalize(&options, &bases).map(|target| target.path()),
        Ok("*")
    );
    let mut tunnel = head("livy:8998");
    tunnel.method = Method::CONNECT;
    assert!(matches!(
        Target::normalize(&tunnel, &bases),
        Err(Denial::AmbiguousTarget(_))
    ));
}

#[test]
fn a_double_slash_is_never_read_as_a_host() {
    let refused = read(&["/livy"], "//evil/livy/sessions");
    assert!(matches!(refused, Err(Denial::UnknownOperation(_))), "{refused:?}");
}

#[test]
fn whatever_would_replace_the_method_is_refused_for_every_method() {
    let bases = bases(&["/livy"]);
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        for header in [
            "X-HTTP-Method-Override",
            "x-http-method-override",
            "X-Http-Method",
            "X-METHOD-OVERRIDE",
        ] {
            let request = http::Request::builder()
                .method(method)
                .uri("/livy/sessions")
                .header(header, "GET");
            let head = request.body(()).unwrap().into_parts().0;
            match Target::normalize(&head, &bases) {
                Err(Denial::MethodOverride(what)) => {
                    assert_eq!(
                        what.to_ascii_lowercase(),
                        format!("the header {}", header.to_ascii_lowercase())
                    );
                }
                other => panic!("{method} {header}: {other:?}"),
            }
        }
    }
    // Livy does not know these, and they are not sent to it.
    let other = http::Request::builder()
        .uri("/livy/sessions")
        .header("X_HTTP_Method_Override", "GET");
    assert!(Target::normalize(&other.body(()).unwrap().into_parts().0, &bases).is_ok());
}

#[test]
fn a_target_has_at_most_8_kib() {
    let fits = format!("/livy/{}", "s".repeat(Target::MAX_BYTES - 6));
    assert!(read(&["/livy"], &fits).is_ok());
    for long in [
        format!("{fits}s"),
        format!("/livy/sessions?{}", "&".repeat(Target::MAX_BYTES)),
    ] {
        assert_eq!(read(&["/livy"], &long), Err(Denial::TargetTooLong));
    }
}

#[test]
fn an_empty_query_is_none() {
    let (head, bases) = (head("/livy/sessions?"), bases(&["/livy"]));
    assert_eq!(Target::normalize(&head, &bases).unwrap().query(), None);
}

#[test]
fn a_base_path_that_clients_could_not_reach_is_refused_with_what_to_write() {
    for (paths, says) in [
        (&[][..], "there is no base path"),
        (&["livy"], "\"livy\" does not begin with '/'"),
        (&["/livy/"], "\"/livy/\" ends with '/'"),
        (&["//"], "ends with '/'"),
        (&["/a//b"], "two slashes"),
        (&["/a/../b"], "begins with '.'"),
        (&["/.well-known"], "begins with '.'"),
        (&["/li vy"], "other than"),
        (&["/livy%20"], "other than"),
        (&["/é"], "other than"),
        (&["/livy", "/livy"], "written twice"),
        (&["", "/"], "written twice"),
        (
            &["/livy", "/livy/sessions"],
            "\"/livy/sessions\" hides sessions below base path \"/livy\"",
        ),
        (&["/batches/x", "/"], "hides batches"),
        (&["/", "/gateway"], "hides gateway"),
        (&["/livy", "/livy/gateway/me"], "hides gateway"),
        (&["/", "/gateway/sessions/v1"], "hides gateway"),
    ] {
        let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
        let refused = BasePaths::new(&paths).unwrap_err();
        assert!(refused.contains(says), "{paths:?}: {refused}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn normalizing_never_panics_and_a_second_time_changes_nothing(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "/", "//", "a", "b", "/a", "/b", "/a/b", "/sessions", "/7", ".", "..", "-", "_", ";", "%2f", "?", "x=1",
        ]), 0..10),
        set in proptest::sample::select(vec![
            vec!["/a"], vec![""], vec!["/a", "/a/b"], vec!["", "/a", "/a/b"], vec!["/a/b", "/b"],
        ]),
    ) {
        let bases = bases(&set);
        let Ok(uri) = Uri::try_from(format!("/{}", pieces.concat())) else { return Ok(()) };
        let mut first = head("/");
        first.uri = uri;
        let Ok(once) = Target::normalize(&first, &bases) else { return Ok(()) };
        let second = head(&format!("{}{}", once.base(), once.path()));
        let twice = Target::normalize(&second, &bases).unwrap();
        prop_assert_eq!((twice.base(), twice.path()), (once.base(), once.path()));
    }

    #[test]
    fn arbitrary_bytes_give_a_plain_path_or_a_refusal(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), b'-'..=b'z'], 0..12),
    ) {
        let Ok(uri) = Uri::try_from([b"/", &bytes[..]].concat()) else { return Ok(()) };
        let mut given = head("/");
        given.uri = uri;
        let bases = bases(&[""]);
        if let Ok(target) = Target::normalize(&given, &bases) {
            prop_assert!(target.path().starts_with('/') && target.path().bytes().all(is_plain));
            prop_assert!(!target.path().contains("//") && !target.path().contains("/."));
        }
    }
}
