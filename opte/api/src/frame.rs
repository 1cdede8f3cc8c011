// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The frame that carries a request to a host and its answer back, on an ioctl as on a socket.
//!
//! ```text
//!  0        4         6         8         12
//!  +--------+---------+---------+---------+---------------
//!  | magic  | version | code    | length  | postcard body
//!  +--------+---------+---------+---------+---------------
//! ```
//!
//! Numbers are big-endian. `code` is the command in a request, and [`Status`] in an answer: the
//! body is then the response, or an [`OpteError`]. A body is at most [`MAX_REQUEST`] or
//! [`MAX_RESPONSE`] bytes; a header that says more is refused before anything is read.

use crate::OpteError;
use alloc::format;
use alloc::vec::Vec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// "OPTE".
pub const MAGIC: u32 = 0x4f50_5445;
/// Version that this code speaks. [`Request::SINCE`] says for each command since which version
/// its request and its answer look as they do.
pub const API_VERSION: u16 = 2;
/// Oldest version that hosts serve.
pub const OLDEST_VERSION: u16 = 1;
/// Newest version that was ever released: no message of this or an older one changes any more.
/// What has another form since is of a newer version; `tests/data/wire` holds all of them to that.
pub const RELEASED_VERSION: u16 = 1;
/// Bytes in front of each body.
pub const HEADER_LEN: usize = 12;
/// Largest request body, in bytes.
pub const MAX_REQUEST: u32 = 4 << 20;
/// Largest response body, in bytes.
pub const MAX_RESPONSE: u32 = 256 << 20;

/// A typed request: one command number, one answer type.
pub trait Request: Serialize + DeserializeOwned {
    /// The command number.
    const CODE: u16;
    /// The command's name.
    const NAME: &'static str;
    /// The version in which request and answer got the form that they have.
    const SINCE: u16;
    /// What comes back on success.
    type Response: Serialize + DeserializeOwned;
}

/// First word of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Status {
    /// The body is the response.
    Done = 0,
    /// The body is an [`OpteError`].
    Refused = 1,
    /// The body is a [`Kept`]: the command was carried out, and its answer waits.
    Kept = 2,
}

/// The command by which an answer that waits is fetched; its body is a [`Fetch`]. It belongs to the
/// frame and is none of the commands that it serves.
pub const FETCH: u16 = 0;
/// Bytes of room that every caller must have for an answer: a [`Kept`] fits, and so does the refusal
/// of less.
pub const SMALLEST_ROOM: u32 = 64;

/// An answer did not fit in the caller's room.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Kept {
    /// By which it is fetched.
    pub ticket: u64,
    /// Bytes of its whole frame.
    pub len: u32,
}

/// Asks for an answer that did not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Fetch {
    /// What [`Kept`] said.
    pub ticket: u64,
}

/// A decoded header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Version the sender speaks.
    pub version: u16,
    /// Command or status.
    pub code: u16,
    /// Bytes of body that follow.
    pub len: u32,
}

impl Header {
    /// The header as it travels.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.version.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.code.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    /// Reads a header and holds its length to `limit`.
    pub fn from_bytes(bytes: [u8; HEADER_LEN], limit: u32) -> Result<Self, OpteError> {
        let [m0, m1, m2, m3, v0, v1, c0, c1, l0, l1, l2, l3] = bytes;
        if u32::from_be_bytes([m0, m1, m2, m3]) != MAGIC {
            return Err(OpteError::BadRequest("no OPTE frame: wrong magic number".into()));
        }
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if len > limit {
            return Err(OpteError::TooLarge { got: len, limit });
        }
        let version = u16::from_be_bytes([v0, v1]);
        Ok(Self { version, code: u16::from_be_bytes([c0, c1]), len })
    }
}

/// The whole frame of a request.
pub fn encode_request<R: Request>(request: &R) -> Result<Vec<u8>, OpteError> {
    encode(R::CODE, request, MAX_REQUEST)
}

/// The whole frame of an answer.
pub fn encode_answer<T: Serialize>(answer: &Result<T, OpteError>) -> Vec<u8> {
    let framed = match answer {
        Ok(response) => encode(Status::Done as u16, response, MAX_RESPONSE),
        Err(error) => Err(error.clone()),
    };
    framed.unwrap_or_else(|error| {
        // An error is a few short strings; if even that fails, an empty refusal still tells.
        encode(Status::Refused as u16, &error, MAX_RESPONSE).unwrap_or_else(|_| {
            Header { version: API_VERSION, code: Status::Refused as u16, len: 0 }.to_bytes().into()
        })
    })
}

/// The whole frame of an answer that says where the real one waits.
pub fn encode_kept(kept: Kept) -> Vec<u8> {
    let framed = encode(Status::Kept as u16, &kept, MAX_RESPONSE);
    framed.unwrap_or_else(|error| encode_answer::<()>(&Err(error)))
}

/// The whole frame of a request for an answer that waits.
pub fn encode_fetch(fetch: Fetch) -> Result<Vec<u8>, OpteError> {
    encode(FETCH, &fetch, MAX_REQUEST)
}

/// The response inside an answer whose header is `header`.
pub fn decode_answer<T: DeserializeOwned>(header: Header, body: &[u8]) -> Result<T, OpteError> {
    if header.version != API_VERSION {
        return Err(OpteError::other_version(API_VERSION, header.version));
    }
    if header.code == Status::Done as u16 { decode(body) } else { Err(decode(body)?) }
}

/// An answer of which only the frame is at hand says that the request was served.
pub fn is_done(answer: &[u8]) -> bool {
    answer.get(6..8) == Some((Status::Done as u16).to_be_bytes().as_slice())
}

/// Decodes the body of a request. What this version does not know is refused by name.
pub fn decode_request<R: Request>(body: &[u8]) -> Result<R, OpteError> {
    decode_request_of(R::NAME, body)
}

/// Decodes the body of a request in any form that the command of this name has had.
pub fn decode_request_of<T: DeserializeOwned>(name: &str, body: &[u8]) -> Result<T, OpteError> {
    decode(body).map_err(|error| match error {
        OpteError::BadRequest(why) => OpteError::BadRequest(format!("{name}: {why}")),
        error => error,
    })
}

/// A frame that says another version in its header.
#[must_use]
pub fn with_version(mut frame: Vec<u8>, version: u16) -> Vec<u8> {
    if let Some(place) = frame.get_mut(4..6) {
        place.copy_from_slice(&version.to_be_bytes());
    }
    frame
}

/// Decodes a body that must be used up to its last byte.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, OpteError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => {
            let count = rest.len();
            let why = format!("{count} bytes follow the last field that is known");
            Err(OpteError::BadRequest(why))
        }
        Err(error) => Err(OpteError::BadRequest(format!("{error}"))),
    }
}

fn encode<T: Serialize>(code: u16, body: &T, limit: u32) -> Result<Vec<u8>, OpteError> {
    let header = Header { version: API_VERSION, code, len: 0 };
    let mut frame = postcard::to_extend(body, header.to_bytes().to_vec())
        .map_err(|error| OpteError::BadRequest(format!("{error}")))?;
    let body_len = frame.len() - HEADER_LEN;
    let len = u32::try_from(body_len).unwrap_or(u32::MAX);
    if len > limit {
        return Err(OpteError::TooLarge { got: len, limit });
    }
    frame[..HEADER_LEN].copy_from_slice(&Header { len, ..header }.to_bytes());
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(frame: &[u8]) -> (Header, &[u8]) {
        let (head, body) = frame.split_first_chunk().unwrap();
        (Header::from_bytes(*head, MAX_RESPONSE).unwrap(), body)
    }

    #[test]
    fn answers_round_trip() {
        let done = encode_answer(&Ok(7u32));
        let (header, body) = split(&done);
        assert_eq!(decode_answer::<u32>(header, body), Ok(7));

        let refused = encode_answer::<u32>(&Err(OpteError::UnknownCommand(9)));
        let (header, body) = split(&refused);
        assert_eq!(decode_answer::<u32>(header, body), Err(OpteError::UnknownCommand(9)));
    }

    #[test]
    fn length_is_bounded_and_body_used_up() {
        let header = Header { version: API_VERSION, code: 0, len: 100 }.to_bytes();
        assert_eq!(
            Header::from_bytes(header, 99),
            Err(OpteError::TooLarge { got: 100, limit: 99 })
        );
        assert!(Header::from_bytes([0; HEADER_LEN], 99).is_err());
        assert!(decode::<u8>(&[1, 2]).is_err());
        assert!(decode::<u8>(&[]).is_err());
    }
}
