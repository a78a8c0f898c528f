use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair,
    SanType, SerialNumber,
};

use super::testing::{Authority, NOW, at, client, named};
use super::*;

fn now() -> Duration {
    Duration::from_secs(NOW)
}

fn trusting(authority: &Authority, subject: CertificateName) -> Certificates {
    Certificates::new(
        vec![authority.certificate()],
        Vec::new(),
        ClientAuth::Optional,
        subject,
    )
    .unwrap()
}

/// The name that is proven now, or why none is.
fn judge(certificates: &Certificates, chain: &[CertificateDer<'_>]) -> Result<String, String> {
    let subject = certificates.subject_in(&certificates.vouch_for(chain, now())?)?;
    assert_eq!(*subject.source(), Source::Certificate);
    Ok(subject.name().to_owned())
}

/// The same for one certificate of an authority that is trusted.
fn name_in(subject: CertificateName, params: &CertificateParams) -> Result<String, String> {
    let authority = Authority::new("clients");
    judge(&trusting(&authority, subject), &[authority.signs(params)])
}

#[track_caller]
fn refused(outcome: Result<String, String>, because: &str) {
    let why = outcome.expect_err("it is no good");
    assert!(why.contains(because), "{why}");
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

fn with_names(names: Vec<SanType>) -> CertificateParams {
    let mut params = client("alice");
    params.subject_alt_names = names;
    params
}

#[test]
fn a_certificate_of_a_trusted_authority_proves_its_common_name() {
    assert_eq!(name_in(CertificateName::Cn, &client("alice")), Ok("alice".into()));
    let printable = DnValue::PrintableString(PrintableString::try_from("alice").unwrap());
    assert_eq!(
        name_in(CertificateName::Cn, &client(printable)),
        Ok("alice".into())
    );
    assert_eq!(
        name_in(CertificateName::Cn, &client(" Ａlice ")),
        Ok(" Ａlice ".into()),
        "neither trimmed nor folded"
    );
}

#[test]
fn nobody_but_a_configured_authority_can_vouch() {
    let ours = Authority::new("clients");
    let other = Authority::new("clients");
    let certificates = trusting(&ours, CertificateName::Cn);
    refused(
        judge(&certificates, &[other.signs(&client("alice"))]),
        "did not sign it",
    );
    let key = KeyPair::generate().unwrap();
    let by_itself = client("alice").self_signed(&key).unwrap();
    refused(
        judge(&certificates, &[by_itself.der().clone()]),
        "no authority of this listener",
    );
    refused(judge(&certificates, &[]), "no certificate");
    assert!(judge(&certificates, &[ours.certificate()]).is_err());
}

#[test]
fn an_authority_below_a_trusted_one_vouches_if_the_client_sends_it() {
    let root = Authority::new("root");
    let below = root.below("team");
    let alices = KeyPair::generate().unwrap();
    let own = below.signs_for(&alices, &client("alice"));
    let certificates = trusting(&root, CertificateName::Cn);
    assert_eq!(
        judge(&certificates, &[own.clone(), below.certificate()]),
        Ok("alice".into())
    );
    refused(
        judge(&certificates, std::slice::from_ref(&own)),
        "no authority of this listener",
    );

    // A client cannot vouch for another.
    let issuer = rcgen::Issuer::new(client("alice"), alices);
    let key = KeyPair::generate().unwrap();
    let forged = client("bob").signed_by(&key, &issuer).unwrap();
    refused(
        judge(&certificates, &[forged.der().clone(), own, below.certificate()]),
        "EndEntityUsedAsCa",
    );
}

#[test]
fn a_chain_is_as_long_as_a_path_may_be_and_no_longer() {
    let root = Authority::new("root");
    let certificates = trusting(&root, CertificateName::Cn);
    let mut authorities = vec![root.below("1")];
    for name in ["2", "3", "4"] {
        authorities.push(authorities.last().unwrap().below(name));
    }
    let own = authorities.last().unwrap().signs(&client("alice"));
    let mut chain = vec![own];
    chain.extend(authorities.iter().rev().map(Authority::certificate));
    assert_eq!(judge(&certificates, &chain), Ok("alice".into()));
    chain.push(root.certificate());
    refused(judge(&certificates, &chain), "more certificates were sent");

    // Few, and large: nothing of them is read.
    let padding = CertificateDer::from(vec![0; 16 * 1024]);
    let chain = [root.signs(&client("alice")), padding];
    refused(judge(&certificates, &chain), "more certificates were sent");
    let mut large = client("alice");
    large.subject_alt_names = vec![SanType::DnsName(ia5(&"a".repeat(250))); 70];
    refused(
        judge(&certificates, &[root.signs(&large)]),
        "more certificates were sent",
    );
    large.subject_alt_names.truncate(50);
    assert_eq!(judge(&certificates, &[root.signs(&large)]), Ok("alice".into()));
}

#[test]
fn it_holds_from_its_first_second_to_its_last() {
    let authority = Authority::new("clients");
    let certificates = trusting(&authority, CertificateName::Cn);
    let chain = [authority.signs(&client("alice"))];
    for (second, holds) in [
        (NOW - 3601, false),
        (NOW - 3600, true),
        (NOW + 3600, true),
        (NOW + 3601, false),
    ] {
        let leaf = certificates.vouch_for(&chain, Duration::from_secs(second));
        assert_eq!(leaf.is_ok(), holds, "{second}");
        if let Ok(leaf) = leaf {
            assert_eq!(leaf.expires, Duration::from_secs(NOW + 3601));
        }
    }
}

#[test]
fn a_certificate_for_servers_is_no_clients() {
    let mut server = client("alice");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert!(name_in(CertificateName::Cn, &server).is_err());
    server
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(name_in(CertificateName::Cn, &server), Ok("alice".into()));
}

#[test]
fn a_revoked_certificate_is_refused_and_so_is_what_cannot_be_known() {
    let root = Authority::new("root");
    let below = root.below("team");
    let with_lists = |lists| {
        Certificates::new(
            vec![root.certificate()],
            lists,
            ClientAuth::Optional,
            CertificateName::Cn,
        )
        .unwrap()
    };
    let mut params = client("alice");
    params.serial_number = Some(SerialNumber::from(7));
    let alice = root.signs(&params);
    params.serial_number = Some(SerialNumber::from(8));
    let other = root.signs(&params);
    let in_force = NOW + 60;

    let certificates = with_lists(vec![root.revokes(&[7], in_force)]);
    refused(judge(&certificates, &[alice]), "has revoked it");
    assert_eq!(
        judge(&certificates, std::slice::from_ref(&other)),
        Ok("alice".into())
    );

    let chain = [below.signs(&params), below.certificate()];
    refused(judge(&certificates, &chain), "has no list in client_crl_file");
    let both = vec![root.revokes(&[], in_force), below.revokes(&[7], in_force)];
    assert_eq!(judge(&with_lists(both), &chain), Ok("alice".into()));
    let both = vec![root.revokes(&[], in_force), below.revokes(&[8], in_force)];
    refused(judge(&with_lists(both), &chain), "has revoked it");

    let certificates = with_lists(vec![root.revokes(&[], NOW - 1)]);
    assert!(
        judge(&certificates, &[other]).is_err(),
        "a list that is out of date proves nothing"
    );
}

/// Why these cannot be configured together.
fn misconfigured(
    authorities: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> CertificatesProblem {
    Certificates::new(authorities, lists, ClientAuth::Optional, CertificateName::Cn)
        .expect_err("it cannot be used")
}

#[test]
fn a_list_must_be_there_for_each_authority_and_be_its_own() {
    let ours = Authority::new("clients");
    let other = Authority::new("others");
    let ours_alone = vec![ours.revokes(&[], NOW + 60)];
    let problem = misconfigured(vec![ours.certificate(), other.certificate()], ours_alone);
    let CertificatesProblem::Revocations(why) = problem else {
        panic!("one authority has no list")
    };
    assert!(why.contains("no list of CN=others"), "{why}");

    // A list that somebody else signed in the authority's name.
    let namesakes = vec![Authority::new("clients").revokes(&[], NOW + 60)];
    let CertificatesProblem::Revocations(why) = misconfigured(vec![ours.certificate()], namesakes) else {
        panic!("nobody would be taken")
    };
    assert!(why.contains("CN=clients is not signed with the key"), "{why}");
}

#[test]
fn a_list_that_was_changed_after_it_was_signed_is_not_taken() {
    let authority = Authority::new("clients");
    let list = authority.revokes(&[0x1234_5678], NOW + 60);
    let serial = [0x12, 0x34, 0x56, 0x78];
    let at = list.windows(4).position(|bytes| bytes == serial).unwrap();
    let mut changed = list.to_vec();
    changed[at] ^= 1;
    let problem = misconfigured(vec![authority.certificate()], vec![changed.into()]);
    assert!(matches!(problem, CertificatesProblem::Revocations(why) if why.contains("not signed")));
}

#[test]
fn an_authority_has_one_list() {
    let root = Authority::new("root");
    let below = root.below("team");
    let in_force = NOW + 60;
    // The new list was put behind the old one, of which the verifier would look at the first alone.
    for (lists, name) in [
        (
            vec![root.revokes(&[], in_force), root.revokes(&[7], in_force)],
            "root",
        ),
        (
            vec![
                root.revokes(&[], in_force),
                below.revokes(&[], in_force),
                below.revokes(&[7], in_force),
            ],
            "team",
        ),
    ] {
        let CertificatesProblem::Revocations(why) = misconfigured(vec![root.certificate()], lists) else {
            panic!("it is the lists")
        };
        assert!(why.contains(&format!("two lists of CN={name}")), "{why}");
    }
}

#[test]
fn with_lists_a_name_is_of_one_authority() {
    let (old, new) = (Authority::new("clients"), Authority::new("clients"));
    let both = vec![old.certificate(), new.certificate()];
    let problem = misconfigured(both.clone(), vec![old.revokes(&[], NOW + 60)]);
    let CertificatesProblem::Namesakes(why) = problem else {
        panic!("it is the authorities")
    };
    assert!(why.contains("CN=clients"), "{why}");
    // Without lists there is nothing to take for another's, nor where both have one key.
    let taken = |authorities, lists| {
        Certificates::new(authorities, lists, ClientAuth::Optional, CertificateName::Cn).unwrap()
    };
    let certificates = taken(both, Vec::new());
    for authority in [&old, &new] {
        let chain = [authority.signs(&client("alice"))];
        assert_eq!(judge(&certificates, &chain), Ok("alice".into()));
    }
    let certificates = taken(
        vec![old.certificate(), old.renewed_until("clients", NOW + 60)],
        vec![old.revokes(&[], NOW + 60)],
    );
    let chain = [old.signs(&client("alice"))];
    assert_eq!(judge(&certificates, &chain), Ok("alice".into()));
}

#[test]
fn what_has_ended_of_the_authorities_and_their_lists_is_told_from_its_end_on() {
    let authority = Authority::new("clients");
    let taken = |lists| {
        let authorities = vec![authority.renewed_until("clients", NOW + 60)];
        Certificates::new(authorities, lists, ClientAuth::Optional, CertificateName::Cn).unwrap()
    };
    let overdue = |certificates: &Certificates, second: u64| {
        certificates
            .overdue(Duration::from_secs(second))
            .collect::<Vec<_>>()
    };
    let certificates = taken(vec![authority.revokes(&[], NOW + 30)]);
    assert_eq!(overdue(&certificates, NOW + 30), [""; 0]);
    let list = "the revocation list of CN=clients in client_crl_file ended at 2027-01-15T08:00:31.000Z: \
                none of that authority's certificates is taken; put its newest list into the file";
    assert_eq!(overdue(&certificates, NOW + 31), [list]);
    assert_eq!(overdue(&certificates, NOW + 60), [list]);
    let said = overdue(&certificates, NOW + 61);
    assert!(
        said.len() == 2 && said[1].starts_with("the certificate of CN=clients in client_ca_file ended at "),
        "{said:?}"
    );

    // What is said is so.
    let chain = [authority.signs(&client("alice"))];
    let at = Duration::from_secs(NOW + 61);
    assert!(certificates.vouch_for(&chain, at).is_err());
    assert!(taken(Vec::new()).vouch_for(&chain, at).is_ok());
}

#[test]
fn more_certificates_than_a_path_has_are_not_looked_at() {
    let root = Authority::new("root");
    let certificates = trusting(&root, CertificateName::Cn);
    let own = root.signs(&client("alice"));
    let junk = |count: usize| -> Vec<_> {
        std::iter::once(own.clone())
            .chain((0..count).map(|_| Authority::new("junk").certificate()))
            .collect()
    };
    assert_eq!(judge(&certificates, &junk(4)), Ok("alice".into()));
    refused(
        judge(&certificates, &junk(5)),
        "more certificates were sent than a path has",
    );
    let large = CertificateDer::from(vec![0x30; 17 * 1024]);
    refused(
        judge(&certificates, &[own.clone(), large]),
        "more certificates were sent than a path has",
    );
}

#[test]
fn a_clients_certificate_is_no_authority() {
    let authority = Authority::new("clients");
    let outcome = Certificates::new(
        vec![authority.signs(&client("alice"))],
        Vec::new(),
        ClientAuth::Optional,
        CertificateName::Cn,
    );
    let Err(CertificatesProblem::Authority(why)) = outcome else {
        panic!("whoever holds its key could become anybody")
    };
    assert!(why.contains("CN=alice") && why.contains("CA:TRUE"), "{why}");
}

#[test]
fn two_common_names_or_none_name_nobody() {
    let mut twice = client("alice");
    // The common name's own number: rcgen holds one value for each type.
    twice
        .distinguished_name
        .push(DnType::CustomDnType(vec![2, 5, 4, 3]), "bob");
    refused(name_in(CertificateName::Cn, &twice), "more than one cn");
    let mut nameless = client("alice");
    nameless.distinguished_name = DistinguishedName::new();
    nameless
        .distinguished_name
        .push(DnType::OrganizationName, "CN=alice");
    refused(name_in(CertificateName::Cn, &nameless), "it has no cn");
}

#[test]
fn a_name_is_read_whole_or_not_at_all() {
    for odd in ["", "  ", "alice\0bob", "alice\n", "\u{1b}[2Jalice", "alice\u{85}"] {
        refused(name_in(CertificateName::Cn, &client(odd)), "its cn is empty");
    }
    refused(name_in(CertificateName::Cn, &client("a".repeat(257))), "too long");
    assert_eq!(
        name_in(CertificateName::Cn, &client("alice,CN=bob/CN=carol")),
        Ok("alice,CN=bob/CN=carol".into())
    );
}

#[test]
fn encodings_that_can_be_read_in_several_ways_are_refused() {
    let wide = DnValue::BmpString(BmpString::try_from("alice").unwrap());
    let teletex = DnValue::TeletexString(TeletexString::try_from("alice").unwrap());
    let ia5 = DnValue::Ia5String(ia5("alice"));
    for value in [wide, teletex, ia5] {
        refused(name_in(CertificateName::Cn, &client(value)), "odd encoding");
    }
}

#[test]
fn each_kind_of_alternative_name_is_its_own() {
    let names = vec![
        SanType::Rfc822Name(ia5("alice@example.org")),
        SanType::DnsName(ia5("alice.example.org")),
        SanType::URI(ia5("spiffe://example.org/alice")),
        SanType::IpAddress([10, 0, 0, 1].into()),
    ];
    let params = with_names(names);
    for (kind, expected) in [
        (CertificateName::Cn, "alice"),
        (CertificateName::SanEmail, "alice@example.org"),
        (CertificateName::SanDns, "alice.example.org"),
        (CertificateName::SanUri, "spiffe://example.org/alice"),
    ] {
        assert_eq!(name_in(kind, &params), Ok(expected.into()));
    }
}

#[test]
fn an_alternative_name_must_be_the_only_one_of_its_kind() {
    let uris = ["spiffe://example.org/alice", "spiffe://example.org/bob"];
    let params = with_names(uris.map(|uri| SanType::URI(ia5(uri))).to_vec());
    refused(name_in(CertificateName::SanUri, &params), "more than one san_uri");
    refused(name_in(CertificateName::SanDns, &params), "it has no san_dns");
    refused(
        name_in(CertificateName::SanDns, &client("alice")),
        "it has no san_dns",
    );
    assert_eq!(name_in(CertificateName::Cn, &params), Ok("alice".into()));
}

/// Alternative names as these bytes: `[tag] length content` each.
fn raw_names(entries: &[(u8, &[u8])]) -> CertificateParams {
    let entries: Vec<u8> = entries
        .iter()
        .flat_map(|(tag, content)| [&[0x80 | tag, u8::try_from(content.len()).unwrap()], *content].concat())
        .collect();
    san(&entries)
}

/// Alternative names with these bytes in their list.
fn san(entries: &[u8]) -> CertificateParams {
    let sequence = [&[0x30, u8::try_from(entries.len()).unwrap()], entries].concat();
    let mut params = client("alice");
    params
        .custom_extensions
        .push(CustomExtension::from_oid_content(&[2, 5, 29, 17], sequence));
    params
}

#[test]
fn an_alternative_name_that_is_no_plain_text_names_nobody() {
    for odd in [
        &b"alice\0.evil.example"[..],
        b"",
        b"alice\n",
        b"\xff\xfe",
        "ａlice".as_bytes(),
    ] {
        for (kind, tag) in [
            (CertificateName::SanEmail, 1),
            (CertificateName::SanDns, 2),
            (CertificateName::SanUri, 6),
        ] {
            assert!(
                name_in(kind, &raw_names(&[(tag, odd)])).is_err(),
                "{kind:?} {odd:?}"
            );
            // Nor does it hide beside a good one.
            let both = raw_names(&[(tag, odd), (tag, b"alice")]);
            assert!(name_in(kind, &both).is_err(), "{kind:?} {odd:?}");
        }
    }
    assert_eq!(
        name_in(CertificateName::SanUri, &raw_names(&[(6, b"spiffe://x/alice")])),
        Ok("spiffe://x/alice".into())
    );
}

#[test]
fn a_name_in_a_form_that_der_does_not_have_names_nobody() {
    for (kind, tag) in [
        (CertificateName::SanEmail, 1),
        (CertificateName::SanDns, 2),
        (CertificateName::SanUri, 6),
    ] {
        // Marked as made of parts, which strings are not in DER.
        let parts = (0x20 | tag, &b"alice"[..]);
        refused(name_in(kind, &raw_names(&[parts])), "odd encoding");
        // The tag in two bytes where one is enough.
        let longer: &[u8] = &[&[5], &b"alice"[..]].concat();
        let two_bytes = san(&[&[0x9f, tag], longer].concat());
        assert!(name_in(kind, &two_bytes).is_err(), "{kind:?}");
        // Nor does it hide beside a good one, or change what another kind says.
        let good = (tag, &b"bob"[..]);
        refused(name_in(kind, &raw_names(&[parts, good])), "more than one");
        refused(name_in(kind, &raw_names(&[good, parts])), "more than one");
        assert_eq!(
            name_in(CertificateName::Cn, &raw_names(&[parts])),
            Ok("alice".into())
        );
    }
}

#[test]
fn alternative_names_that_are_no_list_of_names_name_nobody() {
    for odd in [
        &[0x30][..],
        // A name outside of a list, or not of the kinds that a list has.
        &[0x82, 1, b'a'],
        &[0x30, 3, 0x0c, 1, b'a'],
        // Something behind the list, or a name that goes on behind its end.
        &[0x30, 3, 0x82, 1, b'a', 0],
        &[0x30, 3, 0x82, 2, b'a', b'b'],
        // A list that is a string.
        &[0x10, 3, 0x82, 1, b'a'],
    ] {
        let mut params = client("alice");
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(&[2, 5, 29, 17], odd.to_vec()));
        for kind in [CertificateName::SanDns, CertificateName::Cn] {
            assert!(name_in(kind, &params).is_err(), "{kind:?} {odd:02x?}");
        }
    }
}

#[test]
fn a_common_name_that_is_made_of_parts_names_nobody() {
    let authority = Authority::new("clients");
    let good = authority.signs(&client("alice"));
    assert!(Leaf::read(&good).unwrap().only(CertificateName::Cn).is_ok());
    let plain = b"\x0c\x05alice";
    let at = good
        .windows(plain.len())
        .position(|bytes| bytes == plain)
        .unwrap();
    let mut odd = good.to_vec();
    odd[at] |= 0x20;
    refused(
        Leaf::read(&odd).and_then(|leaf| leaf.only(CertificateName::Cn).map(str::to_owned)),
        "odd encoding",
    );
}

#[test]
fn what_is_no_certificate_proves_nothing() {
    let authority = Authority::new("clients");
    let certificates = trusting(&authority, CertificateName::Cn);
    let good = authority.signs(&client("alice"));
    let longer = [good.as_ref(), b"x"].concat();
    for bytes in [&b""[..], b"alice", &good[..good.len() - 1], &longer] {
        assert!(judge(&certificates, &[CertificateDer::from(bytes.to_vec())]).is_err());
    }
}

#[test]
fn a_certificate_is_described_without_control_characters() {
    let mut params = with_names(vec![SanType::DnsName(ia5("alice.example.org"))]);
    params.distinguished_name = named("al\u{1b}[2Jice");
    params.not_after = at(NOW);
    let leaf = Leaf::read(&Authority::new("clients").signs(&params)).unwrap();
    assert_eq!(leaf.subject, "CN=al\\u{1b}[2Jice");
    assert_eq!(leaf.issuer, "CN=clients");
    assert_eq!(leaf.expires, Duration::from_secs(NOW + 1));
    let names: Vec<_> = leaf.names().collect();
    assert_eq!(
        names,
        [
            (CertificateName::Cn, "al\\u{1b}[2Jice".to_owned()),
            (CertificateName::SanDns, "alice.example.org".to_owned())
        ]
    );
}
