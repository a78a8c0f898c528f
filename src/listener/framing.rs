//! Reads the framing of HTTP/1.1 more strictly than the HTTP library does, before the library sees a byte.
//!
//! hyper lets through what two parsers may read differently: bare line feeds, both lengths at once, two Host
//! headers, chunk extensions. [`Scanner`] walks over the bytes of a connection, knows where each head ends and each
//! body begins, and stops at the first byte that RFC 9112 does not allow or that this gateway has no use for. It
//! decides nothing else: what passes is parsed by hyper, and judged again from the parsed request.

use memchr::memchr3;

use crate::denial::Denial;
use crate::livy::media_type::is_token;

/// Where the scanner stopped in what it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// All of it is well-formed.
    All,
    /// Well-formed up to here; a head begins here that is not complete yet.
    HeadUnfinished(usize),
    /// Well-formed up to here; what follows is refused.
    Refused(usize, Denial),
    /// Well-formed up to here; the body that is being received is malformed.
    BodyMalformed(usize),
}

/// Follows the framing of one connection.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    heads: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body { left: u64 },
    Chunk(Chunk),
}

/// Where in a chunked body (RFC 9112 §7.1). Extensions and trailers are refused: nothing here reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size { digits: u8, size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    EndCr,
    EndLf,
}

/// The most bytes of a request line and headers together.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of one header line; an Authorization header may carry a token of 16 KiB.
const HEADER_BYTES_MAX: usize = 17 * 1024;
/// The most headers.
pub(super) const HEADERS_MAX: usize = 100;
/// The most bytes of a request target.
const TARGET_BYTES_MAX: usize = 8 * 1024;

impl Scanner {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Head,
            heads: 0,
        }
    }

    /// How many complete heads have passed.
    pub(super) const fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a request's body is still to come.
    pub(super) const fn is_in_body(&self) -> bool {
        match self.state {
            State::Head => false,
            State::Body { .. } | State::Chunk(_) => true,
        }
    }

    /// Walks over the next bytes of the connection. What it did not accept must be given again, with more behind it.
    pub(super) fn scan(&mut self, input: &[u8]) -> Scanned {
        let mut at = 0;
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            match self.state {
                State::Head => match read_head(rest) {
                    Ok(Some((length, body))) => {
                        at += length;
                        self.heads += 1;
                        self.state = body;
                    }
                    Ok(None) => return Scanned::HeadUnfinished(at),
                    Err(denial) => return Scanned::Refused(at, denial),
                },
                State::Body { left } => {
                    let taken = left.min(rest.len() as u64);
                    at += usize::try_from(taken).unwrap_or(rest.len());
                    self.state = after_body(left - taken);
                }
                State::Chunk(chunk) => match read_chunk(chunk, rest) {
                    Some((taken, next)) => {
                        at += taken;
                        self.state = next;
                    }
                    None => return Scanned::BodyMalformed(at),
                },
            }
        }
        Scanned::All
    }
}

const fn after_body(left: u64) -> State {
    if left == 0 {
        State::Head
    } else {
        State::Body { left }
    }
}

/// One step through a chunked body: how many bytes it took and where that leads.
fn read_chunk(chunk: Chunk, rest: &[u8]) -> Option<(usize, State)> {
    let first = *rest.first()?;
    let next = match chunk {
        Chunk::Size { digits, size } => match (first as char).to_digit(16) {
            // Fifteen digits are a petabyte; no overflow can happen below sixteen.
            Some(digit) if digits < 15 => Chunk::Size {
                digits: digits + 1,
                size: size * 16 + u64::from(digit),
            },
            None if first == b'\r' && digits > 0 => Chunk::SizeLf { size },
            Some(_) | None => return None,
        },
        Chunk::SizeLf { size } if first == b'\n' => {
            if size == 0 {
                Chunk::EndCr
            } else {
                Chunk::Data { left: size }
            }
        }
        Chunk::Data { left } => {
            let taken = left.min(rest.len() as u64);
            let next = if taken == left {
                Chunk::DataCr
            } else {
                Chunk::Data { left: left - taken }
            };
            return Some((usize::try_from(taken).ok()?, State::Chunk(next)));
        }
        Chunk::DataCr if first == b'\r' => Chunk::DataLf,
        Chunk::DataLf if first == b'\n' => Chunk::Size { digits: 0, size: 0 },
        Chunk::EndCr if first == b'\r' => Chunk::EndLf,
        Chunk::EndLf if first == b'\n' => return Some((1, State::Head)),
        Chunk::SizeLf { .. } | Chunk::DataCr | Chunk::DataLf | Chunk::EndCr | Chunk::EndLf => return None,
    };
    Some((1, State::Chunk(next)))
}

/// Reads one head: its length and how its body is framed, or nothing while it is incomplete.
fn read_head(input: &[u8]) -> Result<Option<(usize, State)>, Denial> {
    let mut head = Head::default();
    let mut at = 0;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        let Some(line) = read_line(rest, head.lines == 0)? else {
            return if input.len() > HEAD_BYTES_MAX {
                Err(Denial::HeadTooLarge)
            } else {
                Ok(None)
            };
        };
        at += line.len() + 2;
        if at > HEAD_BYTES_MAX {
            return Err(Denial::HeadTooLarge);
        }
        if head.lines == 0 {
            head.read_request_line(line)?;
        } else if line.is_empty() {
            return head.framing().map(|body| Some((at, body)));
        } else {
            head.read_header(line)?;
        }
        head.lines += 1;
    }
}

/// The next line without its CRLF, or nothing while it is incomplete.
fn read_line(rest: &[u8], is_request_line: bool) -> Result<Option<&[u8]>, Denial> {
    let end = memchr3(b'\r', b'\n', 0, rest);
    let length = end.unwrap_or(rest.len());
    if is_request_line && length > TARGET_BYTES_MAX + 32 {
        return Err(Denial::TargetTooLong);
    }
    if length > HEADER_BYTES_MAX {
        return Err(Denial::HeadTooLarge);
    }
    match end.map(|end| (rest.get(end), rest.get(end + 1))) {
        None | Some((Some(b'\r'), None)) => Ok(None),
        Some((Some(b'\r'), Some(b'\n'))) => Ok(rest.get(..length)),
        Some((Some(b'\r'), Some(_))) => Err(Denial::BadFraming("a bare carriage return stands in the head")),
        Some((Some(b'\n'), _)) => Err(Denial::BadFraming("a line ends with a bare line feed")),
        Some(_) => Err(Denial::BadFraming("a NUL byte stands in the head")),
    }
}

/// What no two readers of a target disagree about.
const fn is_undisputed(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') & !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`')
}

/// What the lines of a head said so far.
#[derive(Debug, Default)]
struct Head {
    lines: usize,
    is_http_10: bool,
    hosts: usize,
    content_length: Option<u64>,
    is_chunked: bool,
}

impl Head {
    fn read_request_line(&mut self, line: &[u8]) -> Result<(), Denial> {
        const SHAPE: Denial = Denial::BadFraming("the request line is not METHOD TARGET HTTP/1.1");
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SHAPE);
        };
        if method.is_empty() || target.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(SHAPE);
        }
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.is_http_10 = true,
            _ => return Err(Denial::BadFraming("the protocol is not HTTP/1.1")),
        }
        if target.len() > TARGET_BYTES_MAX {
            return Err(Denial::TargetTooLong);
        }
        // Most targets are beyond doubt, and this one look at them is cheap.
        if target.first() == Some(&b'/') && target.iter().fold(true, |good, byte| good & is_undisputed(*byte))
        {
            return Ok(());
        }
        // hyper would cut a fragment off and take raw UTF-8; here they are seen as they were sent.
        if target.contains(&b'#') {
            return Err(Denial::AmbiguousTarget("it has a '#'".into()));
        }
        if !target.iter().all(u8::is_ascii_graphic) {
            return Err(Denial::AmbiguousTarget(
                "it has a byte that is not printable ASCII".into(),
            ));
        }
        // RFC 3986 has none of them, and hyper would answer by itself, with an empty body.
        if target
            .iter()
            .any(|byte| matches!(byte, b'"' | b'<' | b'>' | b'`'))
        {
            return Err(Denial::AmbiguousTarget(
                "it has a quote, an angle bracket or a backtick; write them as %XX".into(),
            ));
        }
        if target.first() != Some(&b'/') && http::Uri::try_from(target).is_err() {
            return Err(Denial::AmbiguousTarget("it is no URL".into()));
        }
        Ok(())
    }

    fn read_header(&mut self, line: &[u8]) -> Result<(), Denial> {
        if self.lines > HEADERS_MAX {
            return Err(Denial::HeadTooLarge);
        }
        if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
            return Err(Denial::BadFraming("a header goes on over a second line"));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = colon
            .and_then(|colon| line.split_at_checked(colon))
            .ok_or(Denial::BadFraming("a header line has no colon"))?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Denial::BadFraming(
                "a header's name has a character that names do not have",
            ));
        }
        // Not `any`: without a way out in the middle this runs over many bytes at once.
        if value.iter().fold(false, |bad, byte| {
            bad | (byte.is_ascii_control() & (*byte != b'\t'))
        }) {
            return Err(Denial::BadFraming("a header's value has a control character"));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.read_content_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.read_transfer_encoding(value)
        } else if name.eq_ignore_ascii_case(b"host") {
            self.read_host(value)
        } else {
            Ok(())
        }
    }

    fn read_content_length(&mut self, value: &[u8]) -> Result<(), Denial> {
        const SHAPE: Denial = Denial::BadFraming("Content-Length is not one plain number");
        let is_plain = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        if !is_plain || self.content_length.is_some() {
            return Err(SHAPE);
        }
        let digits = std::str::from_utf8(value).map_err(|_| SHAPE)?;
        self.content_length = Some(digits.parse().map_err(|_| SHAPE)?);
        Ok(())
    }

    fn read_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Denial> {
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Denial::BadFraming(
                "Transfer-Encoding is not the one word chunked",
            ));
        }
        self.is_chunked = true;
        Ok(())
    }

    fn read_host(&mut self, value: &[u8]) -> Result<(), Denial> {
        self.hosts += 1;
        let is_plain = value.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        });
        if !is_plain || value.is_empty() {
            return Err(Denial::BadFraming("Host is not a name or an address"));
        }
        Ok(())
    }

    fn framing(&self) -> Result<State, Denial> {
        if self.hosts > 1 || (self.hosts == 0 && !self.is_http_10) {
            return Err(Denial::BadFraming("there must be exactly one Host header"));
        }
        match (self.content_length, self.is_chunked) {
            (Some(_), true) => Err(Denial::BadFraming(
                "both Content-Length and Transfer-Encoding are given",
            )),
            (None, true) if self.is_http_10 => Err(Denial::BadFraming("HTTP/1.0 has no Transfer-Encoding")),
            (None, true) => Ok(State::Chunk(Chunk::Size { digits: 0, size: 0 })),
            (length, false) => Ok(after_body(length.unwrap_or(0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: &str = "GET /livy/sessions HTTP/1.1\r\nHost: gw\r\n\r\n";

    fn scan(input: &str) -> Scanned {
        Scanner::new().scan(input.as_bytes())
    }

    fn is_refused(input: &str) -> bool {
        matches!(scan(input), Scanned::Refused(0, _))
    }

    #[test]
    fn what_real_clients_send_passes() {
        for input in [
            GET.to_owned(),
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            "POST /sessions HTTP/1.1\r\nHost: gw:8443\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            "POST /sessions HTTP/1.1\r\nhost: [::1]:8443\r\ntransfer-encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(),
            format!("{GET}{GET}"),
            "GET / HTTP/1.1\r\nHost:gw\r\nX-Empty:\r\nUser-Agent: caf\u{e9} \t x\r\n\r\n".to_owned(),
        ] {
            assert_eq!(scan(&input), Scanned::All, "{input:?}");
        }
    }

    #[test]
    fn a_head_that_two_parsers_may_read_differently_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: gw\n\n",
            "GET / HTTP/1.1\r\nHost: gw\n\r\n",
            "GET / HTTP/1.1\r\nHost: gw\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: gw\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : gw\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: gw\r\nX\0: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: gw\r\n: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: gw\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: gw\r\nX: a\u{b}b\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET /sessions#x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /sessions/\u{665} HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(is_refused(head), "{head:?} gave {:?}", scan(head));
        }
    }

    #[test]
    fn a_body_has_exactly_one_length() {
        for headers in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3, 3",
            "Content-Length: +3",
            "Content-Length: -1",
            "Content-Length: 0x3",
            "Content-Length: 3 ,",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
            assert!(is_refused(&head), "{head:?} gave {:?}", scan(&head));
        }
        assert!(is_refused(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
    }

    #[test]
    fn chunks_have_plain_sizes_and_nothing_else() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "2;x=y\r\n{}\r\n0\r\n\r\n",
            "+2\r\n{}\r\n0\r\n\r\n",
            "0x2\r\n{}\r\n0\r\n\r\n",
            " 2\r\n{}\r\n0\r\n\r\n",
            "2 \r\n{}\r\n0\r\n\r\n",
            "2\n{}\r\n0\r\n\r\n",
            "2\r\n{}\n0\r\n\r\n",
            "2\r\n{}XX0\r\n\r\n",
            "\r\n",
            "10000000000000000\r\n",
            "0\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
        ] {
            let scanned = scan(&format!("{head}{body}"));
            assert!(
                matches!(scanned, Scanned::BodyMalformed(at) if at >= head.len()),
                "{body:?} gave {scanned:?}"
            );
        }
    }

    #[test]
    fn too_much_is_told_from_malformed() {
        let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9_000));
        assert_eq!(scan(&long_target), Scanned::Refused(0, Denial::TargetTooLong));
        let unfinished_target = format!("GET /{}", "a".repeat(9_000));
        assert_eq!(
            scan(&unfinished_target),
            Scanned::Refused(0, Denial::TargetTooLong)
        );
        let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
        assert_eq!(
            scan(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
            Scanned::Refused(0, Denial::HeadTooLarge)
        );
        let big: String = (0..5)
            .map(|n| format!("X-{n}: {}\r\n", "y".repeat(16_000)))
            .collect();
        assert_eq!(
            scan(&format!("GET / HTTP/1.1\r\nHost: a\r\n{big}\r\n")),
            Scanned::Refused(0, Denial::HeadTooLarge)
        );
        let one = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(20_000));
        assert_eq!(scan(&one), Scanned::Refused(0, Denial::HeadTooLarge));
    }

    #[test]
    fn what_hyper_would_refuse_by_itself_is_refused_before_it() {
        for target in [
            "/sessions<",
            "/sessions?a=>",
            "/sessions?a=\"",
            "/a`b",
            "http://",
            "http://a:b:c/sessions",
            "a@/x",
            "[::1",
        ] {
            let scanned = scan(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert!(
                matches!(scanned, Scanned::Refused(0, Denial::AmbiguousTarget(_))),
                "{target} gave {scanned:?}"
            );
        }
    }

    #[test]
    fn a_target_that_passes_is_one_that_hyper_can_read() {
        for byte in 0x21..=0x7e_u8 {
            for target in [format!("/a{}b", byte as char), format!("/a?b{}c", byte as char)] {
                let passes = scan(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")) == Scanned::All;
                assert!(!passes || http::Uri::try_from(&target).is_ok(), "{target}");
            }
        }
    }

    #[test]
    fn a_refusal_spares_the_requests_before_it() {
        let input = format!("{GET}GET / HTTP/1.1\nHost: a\n\n");
        assert!(matches!(scan(&input), Scanned::Refused(at, _) if at == GET.len()));
    }

    proptest! {
        #[test]
        fn pieces_are_read_like_the_whole(cut in 0usize..400, body in "[a-z]{0,40}") {
            let whole = format!(
                "{GET}POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}!\r\n0\r\n\r\n{GET}",
                body.len(), body.len() + 1,
            );
            let cut = cut.min(whole.len());
            let mut scanner = Scanner::new();
            let held = match scanner.scan(&whole.as_bytes()[..cut]) {
                Scanned::All => cut,
                Scanned::HeadUnfinished(at) => at,
                other @ (Scanned::Refused(..) | Scanned::BodyMalformed(_)) => panic!("{other:?}"),
            };
            prop_assert_eq!(scanner.scan(&whole.as_bytes()[held..]), Scanned::All);
            prop_assert_eq!(scanner.heads(), 4);
        }

        #[test]
        fn no_input_makes_it_panic(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Scanner::new().scan(&input);
        }
    }
}
