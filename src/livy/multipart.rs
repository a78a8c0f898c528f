//! An upload on its way to Livy: one file in `multipart/form-data` (RFC 7578, RFC 2046 §5.1), rewritten as it streams.
//!
//! Livy takes text parts for request parameters (`doAs`, `_method`) and a part's file name for a path below its
//! staging directory. So nothing of the client's framing reaches it: the part's head is read, judged and written
//! anew, under a boundary of the gateway's own, and only the file's bytes pass as they are, without being copied.

mod head;

use bytes::{Buf, Bytes};
use http::HeaderValue;

use self::head::{PartHead, boundary_of};
use super::operation::Resource;
use crate::denial::Denial;

/// How many bytes the part's head may have, the first boundary included.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Takes a client's multipart body in pieces of any size, and gives out the one that Livy gets.
///
/// It holds back the part's head until it is complete, and after that no bytes at all: the start of a boundary
/// that a piece ends in is remembered as a number. The end of the body is given out only when the client's was
/// read and found good, so Livy never sees a refused upload as complete.
#[derive(Debug)]
pub struct MultipartRewriter {
    state: State,
    // The line end before a boundary belongs to the boundary. No CR occurs but at the start.
    delimiter: Bytes,
    resource: Resource,
    content_bytes: u64,
    content_bytes_max: u64,
    own_boundary: String,
    content_type: HeaderValue,
}

#[derive(Debug)]
enum State {
    Head {
        held: Vec<u8>,
    },
    Content {
        /// How many bytes of the delimiter the content so far ends in.
        matched: usize,
    },
    Epilogue {
        /// How many bytes of [`EPILOGUE`] have come.
        seen: usize,
    },
    Finished,
    Refused(Denial),
}

impl MultipartRewriter {
    /// Begins with the client's Content-Type. `limit` counts the file's bytes. `boundary` is for the rewritten body
    /// and must not be foreseeable: a file that contains it would end early.
    pub fn new(
        content_type: Option<&HeaderValue>,
        resource: Resource,
        limit: u64,
        boundary: String,
    ) -> Result<Self, Denial> {
        let theirs = boundary_of(content_type, resource)?;
        let content_type = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"))
            .map_err(|_| Denial::Internal)?;
        Ok(Self {
            state: State::Head { held: Vec::new() },
            delimiter: Bytes::from(format!("\r\n--{theirs}")),
            resource,
            content_bytes: 0,
            content_bytes_max: limit,
            own_boundary: boundary,
            content_type,
        })
    }

    /// The Content-Type of the rewritten body.
    pub fn content_type(&self) -> HeaderValue {
        self.content_type.clone()
    }

    /// Whether the part's head was read and found good. Before that there is nothing to connect to Livy for.
    pub fn is_accepted(&self) -> bool {
        match self.state {
            State::Head { .. } | State::Refused(_) => false,
            State::Content { .. } | State::Epilogue { .. } | State::Finished => true,
        }
    }

    /// Takes the next bytes of the client's body. After a refusal there is no way back.
    pub fn push(&mut self, mut input: Bytes, out: &mut Vec<Bytes>) -> Result<(), Denial> {
        while !input.is_empty() {
            let step = match &mut self.state {
                State::Head { held } => {
                    let held = std::mem::take(held);
                    self.read_head(held, &mut input, out)
                }
                State::Content { matched } => {
                    let matched = *matched;
                    self.read_content(matched, &mut input, out)
                }
                State::Epilogue { seen } => read_epilogue(*seen, &mut input),
                State::Finished => Err(invalid("There is something after the end of the upload.")),
                State::Refused(denial) => Err(denial.clone()),
            };
            self.state = self.or_refused(step)?;
        }
        Ok(())
    }

    /// The client's body has ended.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Denial> {
        let end = match &self.state {
            State::Epilogue { seen } if EPILOGUE_ENDS.contains(seen) => Ok(State::Finished),
            State::Head { held } if held.is_empty() => Err(invalid(
                "The upload is empty. Send one file as multipart/form-data, such as curl -F 'file=@name'.",
            )),
            State::Head { .. } => Err(invalid("The upload ends before its file begins.")),
            State::Content { .. } | State::Epilogue { .. } => Err(invalid(
                "The upload ends without its closing boundary, so the file may be incomplete. Send it again.",
            )),
            State::Finished => Err(Denial::Internal),
            State::Refused(denial) => Err(denial.clone()),
        };
        self.state = self.or_refused(end)?;
        out.push(Bytes::from(format!("\r\n--{}--\r\n", self.own_boundary)));
        Ok(())
    }

    fn or_refused(&mut self, step: Result<State, Denial>) -> Result<State, Denial> {
        if let Err(denial) = &step {
            self.state = State::Refused(denial.clone());
        }
        step
    }

    fn read_head(&self, mut held: Vec<u8>, input: &mut Bytes, out: &mut Vec<Bytes>) -> Result<State, Denial> {
        let before = held.len();
        let room = (HEAD_BYTES_MAX + 1).saturating_sub(before);
        held.extend(input.iter().take(room));
        // The end may have begun in an earlier piece.
        let unsearched = before.saturating_sub(HEAD_END.len() - 1);
        let found = held
            .get(unsearched..)
            .and_then(|rest| rest.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END));
        let Some(position) = found else {
            if held.len() > HEAD_BYTES_MAX {
                return Err(invalid(
                    "The upload's part has a head of more than 8 KiB, or no end of it.",
                ));
            }
            input.clear();
            return Ok(State::Head { held });
        };
        held.truncate(unsearched + position + HEAD_END.len());
        input.advance(held.len().saturating_sub(before).min(input.len()));
        let head = PartHead::parse(&held, &self.delimiter, self.resource)?;
        out.push(Bytes::from(format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            self.own_boundary,
            self.resource.field(),
            head.file_name,
        )));
        Ok(State::Content { matched: 0 })
    }

    fn read_content(
        &mut self,
        matched: usize,
        input: &mut Bytes,
        out: &mut Vec<Bytes>,
    ) -> Result<State, Denial> {
        if matched > 0 {
            let rest = self.delimiter.slice(matched..);
            let same = common_prefix(&rest, input);
            if same == rest.len() || same == input.len() {
                input.advance(same);
                return Ok(self.after_match(matched + same));
            }
            // It only looked like a boundary. The delimiter has a single CR, so no other can have begun within it.
            let held_back = self.delimiter.slice(..matched);
            self.give_out(held_back, out)?;
        }
        let (content_bytes, matched) = find_delimiter(input, &self.delimiter);
        let content = input.split_to(content_bytes);
        self.give_out(content, out)?;
        input.advance(matched);
        Ok(self.after_match(matched))
    }

    fn after_match(&self, matched: usize) -> State {
        if matched == self.delimiter.len() {
            State::Epilogue { seen: 0 }
        } else {
            State::Content { matched }
        }
    }

    fn give_out(&mut self, content: Bytes, out: &mut Vec<Bytes>) -> Result<(), Denial> {
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        self.content_bytes = self.content_bytes.saturating_add(length);
        if self.content_bytes > self.content_bytes_max {
            return Err(Denial::BodyTooLarge {
                limit: self.content_bytes_max,
            });
        }
        if !content.is_empty() {
            out.push(content);
        }
        Ok(())
    }
}

fn read_epilogue(seen: usize, input: &mut Bytes) -> Result<State, Denial> {
    let same = common_prefix(EPILOGUE.get(seen..).unwrap_or_default(), input);
    let next = input.get(same).copied();
    input.advance(same);
    match (seen + same, next) {
        (seen, None) => Ok(State::Epilogue { seen }),
        (0, Some(b'\r')) => Err(invalid(
            "The upload has more than one part. Send one file, and nothing else.",
        )),
        // RFC 2046 §5.1.1: a line that begins with the boundary is one, whatever follows. Another reader may differ.
        (0 | 1, Some(_)) => Err(invalid(
            "The upload's boundary occurs within the file. Choose another.",
        )),
        (_, Some(_)) => Err(invalid("There is something after the end of the upload.")),
    }
}

// Where content ends and the delimiter, or a beginning of it at the very end, starts; and how much of it is there.
fn find_delimiter(input: &[u8], delimiter: &[u8]) -> (usize, usize) {
    let mut from = 0;
    while let Some(rest) = input.get(from..) {
        let Some(position) = rest.iter().position(|byte| *byte == b'\r') else {
            break;
        };
        let start = from + position;
        let same = common_prefix(delimiter, input.get(start..).unwrap_or_default());
        if same == delimiter.len() || start + same == input.len() {
            return (start, same);
        }
        from = start + same;
    }
    (input.len(), 0)
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn invalid(message: &'static str) -> Denial {
    Denial::InvalidBody(message.into())
}

const HEAD_END: &[u8] = b"\r\n\r\n";

// After the last boundary. RFC 2046 allows blanks and any text there; no client sends them.
const EPILOGUE: &[u8] = b"--\r\n";
const EPILOGUE_ENDS: [usize; 2] = [2, 4];

#[cfg(test)]
mod tests;
