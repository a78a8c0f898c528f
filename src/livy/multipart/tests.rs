use proptest::prelude::*;

use super::*;

const OURS: &str = "gateway-0123";
const LIMIT: u64 = 1 << 20;

fn rewriter(content_type: &str, resource: Resource) -> Result<MultipartRewriter, Denial> {
    let value = HeaderValue::from_bytes(content_type.as_bytes()).unwrap();
    MultipartRewriter::new(Some(&value), resource, LIMIT, OURS.to_owned())
}

fn rewrite_in(resource: Resource, pieces: &[&[u8]]) -> Result<Vec<u8>, Denial> {
    let mut rewriter = rewriter("multipart/form-data; boundary=b", resource)?;
    let mut out = Vec::new();
    for piece in pieces {
        rewriter.push(Bytes::copy_from_slice(piece), &mut out)?;
    }
    rewriter.finish(&mut out)?;
    Ok(out.concat())
}

fn rewrite(body: &[u8]) -> Result<Vec<u8>, Denial> {
    rewrite_in(Resource::File, &[body])
}

fn refusal(body: &[u8]) -> String {
    match rewrite(body) {
        Err(Denial::InvalidBody(message)) => {
            assert!(message.ends_with('.') && message.len() < 300, "{message}");
            message.into_owned()
        }
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(body)),
    }
}

fn upload(disposition: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: {disposition}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n--b--\r\n"].concat()
}

fn for_livy(field: &str, file_name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{OURS}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file_name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, format!("\r\n--{OURS}--\r\n").as_bytes()].concat()
}

const GOOD: &str = "form-data; name=\"file\"; filename=\"x.py\"";

#[test]
fn what_real_clients_send_becomes_one_canonical_body() {
    let curl = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.py\"\r\nContent-Type: application/octet-stream\r\n\r\nprint(1)\r\n--b--\r\n";
    let requests = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.py\"\r\n\r\nprint(1)\r\n--b--\r\n";
    let bare = "--b\r\ncontent-disposition:form-data;name=file;filename=x.py\r\nContent-Length: 8\r\n\r\nprint(1)\r\n--b--";
    let preamble = format!("\r\n{curl}");
    for body in [curl, requests, bare, &preamble] {
        assert_eq!(
            rewrite(body.as_bytes()),
            Ok(for_livy("file", "x.py", b"print(1)")),
            "{body}"
        );
    }
    let java = "--b\r\nContent-Disposition: form-data; name=\"jar\"; filename=\"a-1.0.jar\"\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\nPK\r\n--b--\r\n";
    assert_eq!(
        rewrite_in(Resource::Jar, &[java.as_bytes()]),
        Ok(for_livy("jar", "a-1.0.jar", b"PK"))
    );
}

#[test]
fn livy_gets_our_boundary() {
    let rewriter = rewriter("multipart/form-data; boundary=theirs", Resource::Jar).unwrap();
    assert_eq!(
        rewriter.content_type(),
        "multipart/form-data; boundary=gateway-0123"
    );
}

#[test]
fn boundaries_are_those_of_rfc_2046_quoted_or_not() {
    let longest = "x".repeat(70);
    for boundary in [
        "b",
        "\"b\"",
        "----WebKitFormBoundary7MA4",
        "\"gc0p4Jq0M2Yt08jU534c0p=?:\"",
        "\"a b\"",
        &longest,
    ] {
        assert!(
            rewriter(
                &format!("Multipart/Form-Data; Boundary={boundary}"),
                Resource::Jar
            )
            .is_ok(),
            "{boundary}"
        );
    }
    assert!(rewriter("multipart/form-data; charset=UTF-8; boundary=b", Resource::Jar).is_ok());
    let too_long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=a*b",
        "multipart/form-data; boundary=\"a\\\"b\"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; x=y",
        "multipart/mixed; boundary=b",
        "multipart/form-data; boundary=b; charset=utf-7",
        "application/octet-stream",
        "application/json",
        "",
        &too_long,
    ] {
        assert!(
            matches!(
                rewriter(content_type, Resource::Jar),
                Err(Denial::UnsupportedBody(_))
            ),
            "{content_type}"
        );
    }
    let none = MultipartRewriter::new(None, Resource::Jar, LIMIT, OURS.to_owned());
    assert!(matches!(none, Err(Denial::UnsupportedBody(_))));
}

#[test]
fn a_text_field_never_passes_before_the_file_or_after_it() {
    for name in ["doAs", "_method", "proxyUser", "_charset_", "file"] {
        let message = refusal(&upload(&format!("form-data; name=\"{name}\""), b"bob"));
        assert!(message.contains("text field"), "{message}");
    }
    let second = "\r\n--b\r\nContent-Disposition: form-data; name=\"doAs\"\r\n\r\nbob";
    assert!(refusal(&upload(GOOD, second.as_bytes())).contains("more than one part"));
}

#[test]
fn the_file_must_be_in_livys_field() {
    assert!(refusal(&upload("form-data; name=\"jar\"; filename=\"x.py\"", b"")).contains("'file'"));
    assert!(refusal(&upload("form-data; filename=\"x.py\"", b"")).contains("'file'"));
}

#[test]
fn a_file_name_is_a_base_name_of_a_safe_alphabet() {
    for name in ["x.py", "_", "0", "a-b_c.1.tar.gz", &"x".repeat(255)] {
        let body = upload(&format!("form-data; name=file; filename=\"{name}\""), b"1");
        assert_eq!(rewrite(&body), Ok(for_livy("file", name, b"1")));
    }
    for name in ["../x", "/etc/x", "a/b", "..\\x", "C:\\x.py", "hdfs://evil/x"] {
        let message = refusal(&upload(
            &format!("form-data; name=file; filename=\"{name}\""),
            b"1",
        ));
        assert!(message.contains("base name"), "{message}");
    }
    for name in [
        "",
        ".",
        "..",
        ".hidden",
        "-x",
        "a b",
        "a;b",
        "a%2Fb",
        "a:b",
        "a\tb",
        "é.py",
        "a,b",
        &"x".repeat(256),
    ] {
        refusal(&upload(
            &format!("form-data; name=file; filename=\"{name}\""),
            b"1",
        ));
    }
    for disposition in [
        "form-data; name=file; filename*=UTF-8''x.py",
        "form-data; name=file; filename=x.py; filename*=UTF-8''..%2Fx",
        "form-data; name=file; filename=x.py; filename=y.py",
        "form-data; name=file; name=doAs; filename=x.py",
        "form-data; name=file; filename=x.py; size=1",
        "attachment; name=file; filename=x.py",
        "form-data; name=file; filename=\"x\\\".py\"",
        "form-data; name=file; filename=\"x.py",
        "form-data, name=file; filename=x.py",
    ] {
        refusal(&upload(disposition, b"1"));
    }
}

#[test]
fn odd_part_headers_are_refused() {
    for lines in [
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Type: multipart/mixed; boundary=x",
        "Content-Type: text/plain\r\nContent-Type: text/html",
        "Content-Disposition: form-data; name=\"doAs\"; filename=\"y\"",
        "X-HTTP-Method-Override: DELETE",
        "Content-Encoding: gzip",
        "no colon",
        " folded: 1",
        "Content-Type : text/plain",
        ": x",
        "Content-Type: a\nb",
        "Content-Type: a\rb",
        "Content-Type: \0",
    ] {
        refusal(format!("--b\r\nContent-Disposition: {GOOD}\r\n{lines}\r\n\r\nx\r\n--b--\r\n").as_bytes());
    }
}

#[test]
fn nothing_may_stand_before_between_or_after() {
    for body in [
        "",
        "\r\n",
        "x",
        "--b--\r\n",
        "--b",
        "--b\r\n\r\n\r\n--b--",
        "--b \r\nContent-Disposition: form-data\r\n\r\n",
        "--bb\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n1\r\n--bb--\r\n",
        "junk\r\n--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n1\r\n--b--\r\n",
        "\r\n\r\n--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n1\r\n--b--\r\n",
        "--b\nContent-Disposition: form-data; name=file; filename=x\n\n1\n--b--\n",
        "{\"file\":\"x\"}",
    ] {
        refusal(body.as_bytes());
    }
    let good = String::from_utf8(upload(GOOD, b"1")).unwrap();
    for end in ["x", "\r\n", "\0", "--b\r\n"] {
        assert!(
            refusal(format!("{good}{end}").as_bytes()).contains("after the end"),
            "{end:?}"
        );
    }
    for cut in 0..good.len() - "\r\n".len() {
        refusal(&good.as_bytes()[..cut]);
    }
    refusal(&good.as_bytes()[..good.len() - 1]);
}

#[test]
fn a_line_that_begins_like_the_boundary_is_neither_content_nor_end() {
    for line in ["\r\n--bb", "\r\n--b-", "\r\n--b \r\n", "\r\n--b\n"] {
        refusal(&upload(GOOD, line.as_bytes()));
    }
}

#[test]
fn content_that_only_looks_like_a_boundary_stays_content() {
    for content in [
        "",
        "\r",
        "\n",
        "\r\n",
        "\r\n-",
        "\r\n--",
        "--b",
        "\n--b",
        "\r--b",
        "\r\r\n-\r\n--\r\n--c",
        "\r\n\r\n\r\n",
    ] {
        let body = upload(GOOD, content.as_bytes());
        assert_eq!(
            rewrite(&body),
            Ok(for_livy("file", "x.py", content.as_bytes())),
            "{content:?}"
        );
    }
}

#[test]
fn the_limit_counts_the_files_bytes_and_none_beyond_it_leave() {
    let limited = |content: &[u8]| {
        let value = HeaderValue::from_static("multipart/form-data; boundary=b");
        let mut rewriter = MultipartRewriter::new(Some(&value), Resource::File, 4, OURS.to_owned()).unwrap();
        let mut out = Vec::new();
        rewriter.push(upload(GOOD, content).into(), &mut out)?;
        rewriter.finish(&mut out)
    };
    assert_eq!(limited(b"1234"), Ok(()));
    assert_eq!(limited(b"12345"), Err(Denial::BodyTooLarge { limit: 4 }));
    assert_eq!(limited(b"\r\n--\r"), Err(Denial::BodyTooLarge { limit: 4 }));
}

#[test]
fn a_head_has_at_most_8_kib_in_however_many_pieces() {
    let head = format!("--b\r\nContent-Disposition: {GOOD}\r\nContent-Type: ");
    let padded = |bytes: usize| format!("{head}{}\r\n\r\n", "x".repeat(bytes - head.len() - 4));
    let fits = format!("{}1\r\n--b--\r\n", padded(HEAD_BYTES_MAX));
    assert!(rewrite(fits.as_bytes()).is_ok());
    let too_long = format!("{}1\r\n--b--\r\n", padded(HEAD_BYTES_MAX + 2));
    let pieces: Vec<&[u8]> = too_long.as_bytes().chunks(7).collect();
    assert_eq!(rewrite_in(Resource::File, &pieces), rewrite(too_long.as_bytes()));
    assert!(refusal(too_long.as_bytes()).contains("8 KiB"));
}

#[test]
fn a_head_is_accepted_when_it_is_complete_and_no_refusal_is_forgotten() {
    let mut rewriter = rewriter("multipart/form-data; boundary=b", Resource::File).unwrap();
    let mut out = Vec::new();
    let body = Bytes::from(upload(GOOD, b"1"));
    let head_bytes = body.len() - b"1\r\n--b--\r\n".len();
    rewriter.push(body.slice(..head_bytes - 1), &mut out).unwrap();
    assert!(!rewriter.is_accepted() && out.is_empty());
    rewriter
        .push(body.slice(head_bytes - 1..head_bytes), &mut out)
        .unwrap();
    assert!(rewriter.is_accepted());
    rewriter.push(body.slice(head_bytes..), &mut out).unwrap();
    let refused = rewriter.push(Bytes::from_static(b"x"), &mut out);
    assert!(refused.is_err() && !rewriter.is_accepted());
    assert_eq!(rewriter.push(Bytes::from_static(b"y"), &mut out), refused);
    assert_eq!(rewriter.finish(&mut out), refused);
}

#[test]
fn content_is_passed_on_without_being_copied() {
    let mut rewriter = rewriter("multipart/form-data; boundary=b", Resource::File).unwrap();
    let mut out = Vec::new();
    rewriter
        .push(upload(GOOD, b"").into_iter().take(70).collect(), &mut out)
        .unwrap();
    out.clear();
    let piece = Bytes::from(vec![b'\r'; 4096]);
    rewriter.push(piece.clone(), &mut out).unwrap();
    let passed = out.iter().max_by_key(|bytes| bytes.len()).unwrap();
    assert!(passed.len() > 4000 && piece.as_ptr_range().contains(&passed.as_ptr()));
}

// Content made of what boundaries are made of, so that false starts are common.
fn any_content() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"\r\r\n-bx\0".to_vec()), 0..48)
}

fn pieces<'a>(body: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    ends.push(body.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| &body[std::mem::replace(&mut start, end)..end])
        .collect()
}

proptest! {
    #[test]
    fn however_a_body_is_cut_the_outcome_is_the_same(
        content in any_content(),
        junk in any_content(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let body = [upload(GOOD, &content), junk].concat();
        let whole = rewrite(&body);
        prop_assert_eq!(rewrite_in(Resource::File, &pieces(&body, &cuts)), whole.clone());
        prop_assert_eq!(rewrite_in(Resource::File, &body.chunks(1).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn an_accepted_file_arrives_byte_for_byte(content in any_content()) {
        let has_boundary = content.windows(5).any(|bytes| bytes == b"\r\n--b")
            || [content.as_slice(), b"\r\n--b"].concat().windows(5).position(|bytes| bytes == b"\r\n--b") != Some(content.len());
        match rewrite(&upload(GOOD, &content)) {
            Ok(body) => prop_assert_eq!(body, for_livy("file", "x.py", &content)),
            Err(_) => prop_assert!(has_boundary),
        }
    }

    #[test]
    fn whatever_the_bytes_it_never_panics_and_never_gives_out_more_than_one_part(
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(body) = rewrite(&body) {
            prop_assert_eq!(body.windows(OURS.len()).filter(|bytes| *bytes == OURS.as_bytes()).count(), 2);
        }
    }
}
