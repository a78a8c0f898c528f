//! Stands between a server and the library that reads its answers.
//!
//! The library takes answers of any length, and follows nested values as deep as they go, which ends in an overflow of the
//! stack and so of the process. So only whole, well-formed, bounded messages (RFC 4511 §4.1.1, X.690 §8.1) reach it.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;

/// The other end of a guarded connection, for the library. Whoever breaks a bound is cut off. At most `bytes_max` are let
/// through in all; a connection that is kept is opened anew then.
pub(super) fn guarded<S>(server: S, bytes_max: usize) -> io::Result<StdUnixStream>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (inner, outer) = UnixStream::pair()?;
    tokio::spawn(async move {
        let (mut from_server, mut to_server) = split(server);
        let (mut from_library, to_library) = inner.into_split();
        let questions = async {
            let _ = copy(&mut from_library, &mut to_server).await;
            let _ = to_server.shutdown().await;
        };
        tokio::select! {
            _ = answers(&mut from_server, to_library, bytes_max) => {}
            () = questions => {}
        }
    });
    outer.into_std()
}

async fn answers<R: AsyncRead + Unpin>(
    server: &mut R,
    mut library: OwnedWriteHalf,
    bytes_max: usize,
) -> io::Result<()> {
    let mut left = bytes_max;
    loop {
        let message = read_message(server, MESSAGE_BYTES_MAX.min(left)).await?;
        left = left.saturating_sub(message.len());
        library.write_all(&message).await?;
    }
}

/// One whole message, header included.
pub(super) async fn read_message<R: AsyncRead + Unpin>(
    server: &mut R,
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut message = vec![0; 2];
    server.read_exact(&mut message).await?;
    let more = match message.as_slice() {
        [SEQUENCE, length] if *length >= LONG_FORM => usize::from(*length & !LONG_FORM),
        [SEQUENCE, _] => 0,
        _ => return Err(refused("what was sent is no LDAP message")),
    };
    if more > LENGTH_BYTES_MAX {
        return Err(refused("an LDAP message with a length of more than four bytes"));
    }
    message.resize(2 + more, 0);
    if let Some(rest) = message.get_mut(2..) {
        server.read_exact(rest).await?;
    }
    let head = message.len();
    let Some(length) = read_head(&message).map(|head| head.length) else {
        return Err(refused("an LDAP message without a length"));
    };
    if length > bytes_max.saturating_sub(head) {
        return Err(refused("an LDAP message that is longer than any answer may be"));
    }
    message.resize(head + length, 0);
    if let Some(rest) = message.get_mut(head..) {
        server.read_exact(rest).await?;
    }
    if is_well_formed(&message) {
        Ok(message)
    } else {
        Err(refused("an LDAP message that is malformed or nested too deep"))
    }
}

struct Head {
    is_constructed: bool,
    /// Of itself.
    bytes: usize,
    /// Of what follows.
    length: usize,
}

/// The beginning of a value. None for what LDAP does not use: tags of several bytes, lengths that are not definite.
fn read_head(bytes: &[u8]) -> Option<Head> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    if tag & TAG_NUMBER == TAG_NUMBER {
        return None;
    }
    let (more, length) = if *first < LONG_FORM {
        (0, usize::from(*first))
    } else {
        let more = usize::from(*first & !LONG_FORM);
        if more == 0 || more > LENGTH_BYTES_MAX {
            return None;
        }
        let length = rest
            .get(..more)?
            .iter()
            .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        (more, length)
    };
    Some(Head {
        is_constructed: tag & CONSTRUCTED != 0,
        bytes: 2 + more,
        length,
    })
}

/// Whether every value ends where the one around it does at the latest, and none lies too deep.
fn is_well_formed(message: &[u8]) -> bool {
    let mut ends = vec![message.len()];
    let mut at = 0;
    while let Some(end) = ends.last().copied() {
        if at == end {
            ends.pop();
            continue;
        }
        let Some(head) = message.get(at..end).and_then(read_head) else {
            return false;
        };
        at += head.bytes;
        let Some(value_ends) = at
            .checked_add(head.length)
            .filter(|value_ends| *value_ends <= end)
        else {
            return false;
        };
        if head.is_constructed {
            if ends.len() > DEPTH_MAX {
                return false;
            }
            ends.push(value_ends);
        } else {
            at = value_ends;
        }
    }
    true
}

const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;
const TAG_NUMBER: u8 = 0x1f;
const LONG_FORM: u8 = 0x80;
const LENGTH_BYTES_MAX: usize = 4;
/// An entry with a thousand groups has some 100 KB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// A search's entry has six.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<usize, io::ErrorKind> {
        let mut server = bytes;
        read_message(&mut server, MESSAGE_BYTES_MAX)
            .await
            .map(|message| message.len())
            .map_err(|error| error.kind())
    }

    /// So many sequences in each other.
    fn nested(depth: usize) -> Vec<u8> {
        let mut message = Vec::new();
        for _ in 0..depth {
            let mut around = vec![0x30, 0x82];
            around.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
            around.extend(&message);
            message = around;
        }
        message
    }

    #[tokio::test]
    async fn whole_messages_pass_to_the_byte() {
        let bind = [
            0x30, 0x0c, 0x02, 0x01, 0x01, 0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00,
        ];
        assert_eq!(read(&bind).await, Ok(bind.len()));
        assert_eq!(
            read(&[&bind[..], &bind[..]].concat()).await,
            Ok(bind.len()),
            "one at a time"
        );
        assert!(read(&nested(16)).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_too_deep_too_long_or_malformed_does_not_pass() {
        let invalid = Err(io::ErrorKind::InvalidData);
        assert_eq!(read(&nested(17)).await, invalid);
        assert_eq!(read(&nested(10_000)).await, invalid);
        for odd in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            &[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 0, 0, 0, 0, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x03, 0x1f, 0x81, 0x00],
            // What is inside ends after what is around it.
            &[0x30, 0x03, 0x04, 0x05, 0x00],
            &[0x30, 0x04, 0x30, 0x03, 0x02, 0x01],
        ] {
            assert_eq!(read(odd).await, invalid, "{odd:?}");
        }
        assert_eq!(read(&[0x30, 0x05, 0x02]).await, Err(io::ErrorKind::UnexpectedEof));
    }
}
