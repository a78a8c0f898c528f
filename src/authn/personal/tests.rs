use base64::Engine;

use super::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn made(user: &str) -> NewToken {
    NewToken::make(user, "airflow on host 7", NOW, DAY).unwrap()
}

fn loaded(tokens: &[&NewToken]) -> PersonalTokens {
    let lines: Vec<_> = tokens.iter().map(|token| token.line.as_str()).collect();
    PersonalTokens::parse(&lines.join("\n")).unwrap()
}

fn reason(tokens: &PersonalTokens, text: &str) -> &'static str {
    match tokens.verify(text, NOW) {
        PersonalVerdict::Invalid(reason) => reason,
        found @ (PersonalVerdict::Good(_) | PersonalVerdict::Expired(_)) => panic!("{found:?}"),
    }
}

#[test]
fn a_made_token_has_the_documented_form_and_verifies_until_it_expires() {
    let token = made("alice");
    let form = regex::Regex::new("^lgwt_[0-9A-Za-z]{10}_[0-9A-Za-z]{33}$").unwrap();
    assert!(form.is_match(&token.text), "{:?}", token.id);
    assert!(token.text.contains(&token.id));
    let tokens = loaded(&[&made("bob"), &token]);
    let PersonalVerdict::Good(found) = tokens.verify(&token.text, NOW + DAY - Duration::from_secs(1)) else {
        panic!("it is good");
    };
    assert_eq!(
        (found.user(), found.label(), found.line()),
        ("alice", "airflow on host 7", 2)
    );
    assert_eq!((found.created(), found.expires()), (NOW, NOW + DAY));
    let subject = found.subject();
    assert_eq!(subject.to_string(), "token:alice");
    assert_eq!(
        subject.credential(),
        Some(format!("{} airflow on host 7", token.id).as_str())
    );
    assert!(matches!(
        tokens.verify(&token.text, NOW + DAY),
        PersonalVerdict::Expired(_)
    ));
}

#[test]
fn no_two_tokens_are_alike_and_no_file_line_holds_one() {
    let (one, other) = (made("alice"), made("alice"));
    assert_ne!(one.text, other.text);
    assert_ne!(one.id, other.id);
    let secret = one.text.rsplit_once('_').unwrap().1;
    assert!(!one.line.contains(secret) && !format!("{one:?}").contains(secret));
}

#[test]
fn every_single_changed_character_is_seen_before_any_look_up() {
    let token = made("alice");
    let tokens = loaded(&[&token]);
    for at in PREFIX.len()..token.text.len() {
        let mut changed = token.text.to_string();
        let other = if changed.get(at..=at) == Some("x") {
            "y"
        } else {
            "x"
        };
        changed.replace_range(at..=at, other);
        let reason = reason(&tokens, &changed);
        assert!(
            reason.contains("checksum") || reason.contains("form"),
            "{at}: {reason}"
        );
    }
    for odd in [
        "lgwt_",
        token.text.get(..48).unwrap(),
        &format!("{}x", *token.text),
        &format!("{} ", *token.text),
        &token.text.replacen('_', "__", 1),
    ] {
        assert!(reason(&tokens, odd).contains("form"), "{odd}");
    }
    assert!(has_form(&token.text), "not vacuous");
}

#[test]
fn an_unknown_id_and_another_secret_are_refused() {
    let (known, unknown) = (made("alice"), made("alice"));
    let tokens = loaded(&[&known]);
    assert!(reason(&tokens, &unknown.text).contains("no token has its id"));
    let mut forged = format!("{}{}_{}", PREFIX, known.id, unknown.text.get(16..43).unwrap());
    forged.push_str(&checksum_of(&forged));
    assert!(reason(&tokens, &forged).contains("another secret"));
    assert!(reason(&PersonalTokens::default(), &known.text).contains("no token has its id"));
}

#[test]
fn the_checksum_is_crc_32_in_base_62() {
    // The check value of CRC-32/ISO-HDLC is 0xcbf43926 = 3 421 780 262 = 3·62⁵ + 45·62⁴ + …
    let digits = checksum_of("123456789");
    let value = digits.bytes().fold(0_u64, |value, digit| {
        let at = ALPHABET.iter().position(|known| *known == digit).unwrap();
        value * 62 + u64::try_from(at).unwrap()
    });
    assert_eq!((value, digits.len()), (0xcbf4_3926, 6));
}

#[test]
fn each_bad_line_is_said_with_its_number_and_nothing_of_a_secret() {
    let good = made("alice");
    let other = made("alice");
    let text = format!(
        "# tokens\n\n{good}\n{good}\nshort\n{}\n{}\n{}\n{}\n{}\n{}",
        other.line.replacen(&other.id, "toolongid12", 1),
        other.line.replacen(" alice ", " al/ice ", 1),
        other.line.replacen(" alice ", " hdfs ", 1),
        other.line.replacen(" 2027-", " 2027/", 1),
        other.line.replacen(" airflow on host 7", " ", 1),
        other
            .line
            .replacen(other.line.split(' ').nth(1).unwrap(), "XX", 1),
        good = good.line
    );
    let id = &other.id;
    let said: Vec<_> = PersonalTokens::parse(&text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            format!(
                "line 4: the token {} stands on line 3 already; take one of the two lines out",
                good.id
            ),
            format!(
                "line 5: there are fewer than six fields; lines are ID SHA-256 USER CREATED EXPIRES LABEL; {ADD}"
            ),
            format!("line 6: 'toolongid12' cannot be a token's id; {ADD}"),
            format!(
                "line 7: token {id}: 'al/ice' cannot be a Livy user; names begin with a letter, a digit or _ and go on with these and . @ - up to 128 characters"
            ),
            format!(
                "line 8: token {id}: hdfs is a reserved name, which no personal token gives; name a person or a service of its own"
            ),
            format!("line 9: token {id}: its times are not such as 2026-08-01T09:30:00Z; {ADD}"),
            format!(
                "line 10: token {id}: a label is 1 to 64 printable ASCII characters that say what the token is for; {ADD}"
            ),
            format!("line 11: token {id}: its hash is not 64 hexadecimal digits; {ADD}"),
        ]
    );
}

#[test]
fn a_file_of_no_tokens_loads() {
    for text in ["", "\n# none yet\n"] {
        assert!(PersonalTokens::parse(text).unwrap().is_empty());
    }
}

#[test]
fn what_could_not_be_loaded_is_not_made() {
    let make = |user, label, lifetime| NewToken::make(user, label, NOW, lifetime).unwrap_err();
    for (user, words) in [
        ("", "cannot be a Livy user"),
        ("a b", "cannot be"),
        ("Root", "reserved"),
        ("hdfs@X", "reserved"),
    ] {
        assert!(make(user, "x", DAY).contains(words), "{user}");
    }
    let long = "x".repeat(65);
    for label in ["", " ", "a\nb", "é", " a", &long] {
        assert!(
            make("alice", label, DAY).contains("1 to 64 printable"),
            "{label:?}"
        );
    }
    for lifetime in [Duration::ZERO, LONGEST_LIFE + Duration::from_secs(1)] {
        assert!(make("alice", "x", lifetime).contains("at most 366d"));
    }
    assert!(NewToken::make("alice", "x", NOW, LONGEST_LIFE).is_ok());
}

#[test]
fn only_the_prefix_makes_a_personal_token() {
    let read = |value: String| {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        let credentials = Credentials::from_headers(&headers).unwrap();
        Carried::by(&credentials)
            .map(|carried| (carried.user.map(str::to_owned), carried.account().to_owned()))
    };
    let basic = |pair: &str| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        read(format!("Basic {encoded}"))
    };
    let id = "0123456789";
    assert_eq!(read(format!("Bearer lgwt_{id}_x")), Some((None, id.into())));
    assert_eq!(read("Bearer lgwt_x".into()), Some((None, String::new())));
    assert_eq!(
        basic("alice:lgwt_x"),
        Some((Some("alice".into()), "alice".into()))
    );
    for other in ["alice:secret", "lgwt_x:secret", "alice: lgwt_x", "alice:LGWT_x"] {
        assert_eq!(basic(other), None, "{other}");
    }
}

#[test]
fn the_last_use_goes_forward_only_and_by_minutes() {
    let last = LastUse::default();
    assert_eq!(last.at(), None);
    last.note(NOW + Duration::from_secs(61));
    last.note(NOW);
    assert_eq!(last.at(), Some(NOW + Duration::from_secs(60)));
    let token = made("alice");
    let (before, after) = (loaded(&[&token]), loaded(&[&token, &made("bob")]));
    before.get(&token.id).unwrap().last_use().note(NOW);
    after.inherit_uses(&before);
    assert_eq!(after.get(&token.id).unwrap().last_use().at(), Some(NOW));
}
