//! The binary, as the demonstration runs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn the_program_prints_its_url_serves_and_ends_on_sigterm() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fake-livy"))
        .args([
            "--port",
            "0",
            "--impersonation",
            "--auth",
            "pseudo",
            "--superuser",
            "gw",
            "--version",
            "0.7.1",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(program.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let address = url.trim().strip_prefix("http://").unwrap();

    let mut stream = TcpStream::connect(address).unwrap();
    let request = "POST /sessions?user.name=gw&doAs=alice HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 201 Created\r\n"), "{reply}");
    assert!(reply.contains(r#""owner":"gw","proxyUser":"alice""#), "{reply}");

    assert!(
        Command::new("kill")
            .arg(program.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    assert!(program.wait().unwrap().success(), "SIGTERM is an orderly end");
}

#[test]
fn the_program_refuses_what_it_does_not_know() {
    for words in [&["--prot", "1"][..], &["--auth", "ldap"], &["--port"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_fake-livy"))
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(words[0]),
            "{words:?}"
        );
    }
}
