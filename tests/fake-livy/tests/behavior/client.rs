//! A client that sends exactly what it is told and reads what comes, one step at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use fake_livy::FakeLivy;

/// One connection to the simulated Livy.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer, its body unframed.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn connect(livy: &FakeLivy) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", livy.port())).unwrap();
        // Only so that a broken server fails a test instead of hanging it.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request with a Host and, if there is a body, its length.
    pub(crate) fn send(&mut self, line: &str, headers: &[&str], body: &str) {
        let mut request = format!("{line} HTTP/1.1\r\nHost: livy\r\n");
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.write(format!("{request}\r\n{body}"));
    }

    /// Reads one answer, interim ones too.
    pub(crate) fn reply(&mut self) -> Reply {
        let head = self.until(b"\r\n\r\n");
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| {
                line.split_once(": ")
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .unwrap()
            })
            .collect();
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
        };
        if let Some(length) = reply.header("content-length") {
            let length = length.parse().unwrap();
            reply.body = self.exactly(length);
        } else if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = String::from_utf8(self.until(b"\r\n")).unwrap();
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                reply.body.extend(self.exactly(size));
                assert_eq!(self.exactly(2), b"\r\n");
                if size == 0 {
                    break;
                }
            }
        }
        reply
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, line: &str, headers: &[&str], body: &str) -> Reply {
        self.send(line, headers, body);
        self.reply()
    }

    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.ask(&format!("GET {target}"), &[], "")
    }

    /// Posts JSON.
    pub(crate) fn post(&mut self, target: &str, body: &str) -> Reply {
        self.ask(
            &format!("POST {target}"),
            &["Content-Type: application/json"],
            body,
        )
    }

    /// Reads what comes until the connection ends.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(end) => return (std::mem::take(&mut self.buffer), end),
            }
        }
    }

    pub(crate) fn leave(self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
    }

    /// The body bytes of an answer that does not end: what is there behind its head, at least so many.
    pub(crate) fn head_and(&mut self, length: usize) -> (String, Vec<u8>) {
        let head = String::from_utf8(self.until(b"\r\n\r\n")).unwrap();
        (head, self.exactly(length))
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            self.fill().unwrap();
        }
        self.buffer.drain(..length).collect()
    }

    fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return self.buffer.drain(..at + mark.len()).collect();
            }
            self.fill().unwrap();
        }
    }

    fn fill(&mut self) -> Result<(), End> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(End::Closed),
            Ok(read) => {
                self.buffer.extend(&bytes[..read]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => unreachable_end(&error),
        }
    }
}

fn unreachable_end(error: &std::io::Error) -> Result<(), End> {
    assert!(
        error.kind() == ErrorKind::Interrupted,
        "neither data nor an end: {error}"
    );
    Ok(())
}
