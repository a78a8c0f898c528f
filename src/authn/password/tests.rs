use super::*;

/// As cheap as argon2id may be: tests are not about its strength.
fn cheap_argon2id(password: &[u8]) -> String {
    let params = Params::new(8, 1, 1, None).unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password, b"salt of the test")
        .unwrap()
        .to_string()
}

fn problem(text: &str) -> String {
    StoredHash::parse(text).unwrap_err()
}

#[test]
fn a_new_hash_is_argon2id_with_the_recommended_cost_and_verifies() {
    let text = hash_password("pässword: with a colon".as_bytes()).unwrap();
    assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    let stored = StoredHash::parse(&text).unwrap();
    assert!(stored.matches("pässword: with a colon".as_bytes()));
    assert!(!stored.matches(b"password: with a colon"));
}

#[test]
fn the_same_password_never_gives_the_same_hash() {
    assert_ne!(hash_password(b"same").unwrap(), hash_password(b"same").unwrap());
}

#[test]
fn a_password_that_no_login_could_present_is_not_hashed() {
    for (password, expected) in [
        (&b""[..], PasswordProblem::Empty),
        (&[b'x'; 1025], PasswordProblem::TooLong),
        (b"a\0b", PasswordProblem::Unusable),
        (b"line\n", PasswordProblem::Unusable),
        (b"\xff", PasswordProblem::Unusable),
    ] {
        assert_eq!(hash_password(password), Err(expected));
    }
}

#[test]
fn the_three_prefixes_of_bcrypt_verify() {
    let made = bcrypt::hash("secret", 4).unwrap();
    for prefix in ["$2a$", "$2b$", "$2y$"] {
        let stored = StoredHash::parse(&made.replacen("$2b$", prefix, 1)).unwrap();
        assert!(stored.matches(b"secret"), "{prefix}");
        assert!(!stored.matches(b"Secret"), "{prefix}");
    }
}

#[test]
fn bcrypt_never_ignores_what_stands_behind_72_bytes() {
    let password = "x".repeat(72);
    let stored = StoredHash::parse(&bcrypt::hash(&password, 4).unwrap()).unwrap();
    assert!(stored.matches(password.as_bytes()));
    assert!(!stored.matches(format!("{password}y").as_bytes()));
    assert!(!stored.matches("x".repeat(71).as_bytes()));
}

#[test]
fn other_schemes_are_refused_by_name() {
    for (text, label) in [
        ("$1$salt$hash", "$1$"),
        ("$y$j9T$salt$hash", "$y$"),
        ("$2x$05$hash", "$2x$"),
        ("$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$argon2i$"),
        ("$argon2d$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "$argon2d$"),
        ("{SSHA}hash", "{SSHA}"),
    ] {
        assert_eq!(
            problem(text),
            format!("{label} hashes are not supported; set the password anew with `livy-gateway users add`")
        );
    }
    // 13 characters, as DES crypt has; which one it is nobody can tell.
    assert!(problem("85R86AiEs9YvA").contains("is a DES crypt hash (htpasswd -d)"));
}

#[test]
fn what_looks_like_a_hash_is_never_a_password() {
    for text in ["$hunter2", "{hunter2", "$hunter 2$x", "hunter2\u{7f}"] {
        let problem = problem(text);
        assert!(problem.contains("no hash that is known"), "{problem}");
        assert!(!problem.contains("hunter"), "{problem}");
    }
    assert!(problem("").contains("there is no hash"));
    assert_eq!(StoredHash::parse("hunter2").unwrap().scheme(), Scheme::PlainText);
}

/// Of the specification of sha-crypt, with and without a number of rounds: password and hash.
const SHA_CRYPTS: &[(&str, &str)] = &[
    (
        "Hello world!",
        "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    ),
    (
        "Hello world!",
        "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
    ),
    (
        "Hello world!",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    ),
    (
        "Hello world!",
        "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
    ),
];

#[test]
fn the_crypts_of_the_specification_verify_with_their_own_password_alone() {
    for (password, text) in SHA_CRYPTS {
        let stored = StoredHash::parse(text).unwrap();
        assert!(stored.matches(password.as_bytes()), "{text}");
        for wrong in ["Hello world", "hello world!", "Hello world!!", text] {
            assert!(!stored.matches(wrong.as_bytes()), "{text}");
        }
    }
}

#[test]
fn crypts_are_no_slower_for_a_longer_password_than_any_was_made_for() {
    let password = "x".repeat(256);
    let made = ShaCrypt::default();
    let hash =
        sha_crypt::PasswordHasher::hash_password_with_salt(&made, password.as_bytes(), b"salt").unwrap();
    let stored = StoredHash::parse(hash.as_str()).unwrap();
    assert!(stored.matches(password.as_bytes()));
    assert!(!stored.matches(format!("{password}y").as_bytes()));
}

#[test]
fn damaged_and_dear_crypts_are_refused() {
    let (_, good) = SHA_CRYPTS[1];
    for damaged in [
        &good.replacen("rounds=10000", "rounds=x", 1),
        &good.replacen("rounds=10000", "rounds=", 1),
        &good.replacen("rounds=10000$", "salt$", 1),
        &good.replacen("saltstringsaltst", "", 1),
        &good.replacen("saltstringsaltst", "saltstringsaltstr", 1),
        &good.replacen("saltstringsaltst", "salt string", 1),
        &good.replacen("$5$", "$6$", 1),
        &format!("{good}x"),
        &format!("{good}$"),
        "$5$",
        "$apr1$salt$short",
        "{SHA}short",
    ] {
        assert!(problem(damaged).contains("hash is damaged"), "{damaged}");
    }
    for rounds in ["999", "1000001", "999999999"] {
        let problem = problem(&good.replacen("10000", rounds, 1));
        assert!(
            problem.contains("each login pays for them"),
            "{rounds}: {problem}"
        );
    }
}

#[test]
fn what_costs_more_than_a_login_may_cost_is_refused() {
    let good = cheap_argon2id(b"secret");
    for (cheap, dear) in [("m=8,", "m=65537,"), ("t=1,", "t=11,"), ("p=1$", "p=9$")] {
        let problem = problem(&good.replacen(cheap, dear, 1).replacen("m=8,", "m=256,", 1));
        assert!(problem.contains("each login would pay"), "{dear}: {problem}");
    }
    let good = bcrypt::hash("secret", 4).unwrap();
    for cost in ["03", "15", "31"] {
        let problem = problem(&good.replacen("$04$", &format!("${cost}$"), 1));
        assert!(problem.contains("each login pays it"), "{cost}: {problem}");
    }
}

#[test]
fn a_damaged_hash_is_refused() {
    let argon2id = cheap_argon2id(b"secret");
    let bcrypt = bcrypt::hash("secret", 4).unwrap();
    for damaged in [
        argon2id.rsplit_once('$').unwrap().0,
        &argon2id.replacen("v=19", "v=16", 1),
        &argon2id.replacen("v=19$", "", 1),
        &argon2id
            .replacen("p=1", "p=1,keyid=AAAA", 1)
            .replacen("m=8", "m=x", 1),
        bcrypt.get(..59).unwrap(),
        &format!("{bcrypt} "),
        &format!("{}é", bcrypt.get(..58).unwrap()),
    ] {
        assert!(StoredHash::parse(damaged).is_err(), "{damaged}");
    }
}

#[test]
fn debug_output_shows_no_hash() {
    let text = cheap_argon2id(b"secret");
    let stored = StoredHash::parse(&text).unwrap();
    assert_eq!(format!("{stored:?}"), "argon2id(..)");
}

#[test]
fn no_piece_of_a_password_is_named_as_a_scheme() {
    for text in ["$ecretPass1$x", "{Tr0ub4dor3}x", "$Summer2026$"] {
        let told = StoredHash::parse(text).unwrap_err();
        let piece = text.trim_matches(['$', '{', '}', 'x']);
        assert!(!told.contains(piece), "{told}");
    }
    assert!(
        StoredHash::parse("$y$j9T$x")
            .unwrap_err()
            .contains("$y$ hashes are not supported")
    );
}

#[test]
fn a_hash_of_another_kind_is_no_password() {
    for text in [
        "_J9..CCCCXBrJUJV154M",
        "argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
    ] {
        assert!(StoredHash::parse(text).is_err(), "{text}");
    }
    assert!(StoredHash::parse("correct horse battery").is_ok());
}
