use std::collections::BTreeSet;

use super::*;

#[test]
fn every_code_is_its_own() {
    let codes: Vec<_> = Denial::samples()
        .iter()
        .map(|denial| denial.answer().code)
        .collect();
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
}

#[test]
fn every_status_is_an_error_and_carries_its_headers() {
    for denial in Denial::samples() {
        let answer = denial.answer();
        assert!(
            answer.status.is_client_error() || answer.status.is_server_error(),
            "{denial:?}"
        );
        assert_eq!(answer.status == 401, answer.hint == Hint::Challenge, "{denial:?}");
        if matches!(answer.status.as_u16(), 429 | 503) {
            assert!(
                matches!(answer.hint, Hint::RetryAfter(_) | Hint::RateLimit(_)),
                "{denial:?} must say when to come back"
            );
        }
        assert_eq!(
            answer.status == 405,
            matches!(answer.hint, Hint::Allow(_)),
            "{denial:?}"
        );
    }
}

#[test]
fn every_reason_is_short_ascii_and_every_message_a_sentence() {
    for denial in Denial::samples() {
        let answer = denial.answer();
        assert!(
            answer.reason.is_ascii() && answer.reason.len() <= 60,
            "{denial:?}"
        );
        let livys_own_words = matches!(denial, Denial::InvalidParameter(_) | Denial::NameTaken { .. });
        assert!(
            livys_own_words || answer.message.ends_with(['.', '?']),
            "{denial:?}: {}",
            answer.message
        );
    }
}

#[test]
fn a_write_whose_bytes_left_is_never_answered_5xx_by_the_gateways_own_judgement() {
    for denial in [
        Denial::OutcomeUnknown {
            look: "List your sessions",
        },
        Denial::UpstreamLoginFailed { read: false },
        Denial::UpstreamNotSuperuser { read: false },
        Denial::UpstreamUnexpected { read: false },
    ] {
        assert!(denial.answer().status.is_client_error(), "{denial:?}");
    }
}

#[test]
fn what_a_client_wrote_is_shortened_and_escaped() {
    assert_eq!(quotable("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
    assert_eq!(quotable(&"x".repeat(100)).chars().count(), 65);
}

#[test]
fn a_value_that_may_be_a_secret_is_hidden() {
    for (key, value) in [
        ("spark.hadoop.fs.azure.account.key.x", "abc"),
        ("spark.ssl.keyStorePassword", "abc"),
        (
            "spark.driver.extraJavaOptions",
            "-Djavax.net.ssl.keyStorePassword=abc",
        ),
        ("livy.uri.x", "https://alice:abc@host/livy"),
        ("spark.authenticate.secret", "abc"),
    ] {
        assert_eq!(shown_value(key, value), "(hidden)", "{key}");
    }
    assert_eq!(shown_value("spark.master", "local[*]"), "local[*]");
    assert_eq!(shown_value("spark.yarn.queue", "a\nb"), "a\\nb");
}

#[test]
fn seconds_are_rounded_up_and_never_zero() {
    for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
        assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
    }
}
