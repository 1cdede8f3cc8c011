// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How a frame travels to a host that is a device: one ioctl, whose argument says where request and
//! answer are.
//!
//! The argument is [`Exchange::LEN`] bytes in the byte order of the machine, the same for 32-bit
//! and 64-bit callers:
//!
//! ```text
//!  0        4         6        8          16         24          28         32         36
//!  +--------+---------+--------+----------+----------+-----------+----------+----------+-------+
//!  | magic  | version | zero   | request  | answer   | request   | room for | answer   | zero  |
//!  |        |         |        | address  | address  | bytes     | answer   | bytes    |       |
//!  +--------+---------+--------+----------+----------+-----------+----------+----------+-------+
//! ```
//!
//! Request and answer are whole frames ([`crate::frame`]). The host fills in `answer bytes`. If
//! there is not so much room, the answer waits on the host and is fetched
//! ([`crate::frame::Kept`]), so nothing is ever done twice. A caller brings at least [`MIN_ROOM`].

use crate::frame::{HEADER_LEN, MAGIC, MAX_REQUEST, MAX_RESPONSE};

/// The ioctl command: "OPT" and a number.
pub const COMMAND: i32 = 0x4f50_5401;
/// Version of the argument.
pub const VERSION: u16 = 1;
/// Least room for an answer, in bytes.
pub const MIN_ROOM: u32 = 64 << 10;

/// The argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// Where the request is.
    pub request: u64,
    /// Its bytes.
    pub request_len: u32,
    /// Where the answer goes.
    pub answer: u64,
    /// How much room is there, in bytes.
    pub room: u32,
    /// Bytes of the answer.
    pub answer_len: u32,
}

/// What is wrong with an argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wrong {
    /// It is no argument of this ioctl, or one of another version.
    Version,
    /// A length is out of bounds.
    Length,
}

impl Exchange {
    /// Bytes of the argument.
    pub const LEN: usize = 40;

    /// As it travels.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[4..6].copy_from_slice(&VERSION.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.request.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.answer.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.request_len.to_ne_bytes());
        bytes[28..32].copy_from_slice(&self.room.to_ne_bytes());
        bytes[32..36].copy_from_slice(&self.answer_len.to_ne_bytes());
        bytes
    }

    /// Reads an argument and holds its lengths to the limits of frames.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, Wrong> {
        let (magic, rest) = take4(bytes);
        let (version, rest) = take4(rest);
        let (request, rest) = take8(rest);
        let (answer, rest) = take8(rest);
        let (request_len, rest) = take4(rest);
        let (room, rest) = take4(rest);
        let (answer_len, _) = take4(rest);
        let [v0, v1, ..] = version;
        if u32::from_ne_bytes(magic) != MAGIC || u16::from_ne_bytes([v0, v1]) != VERSION {
            return Err(Wrong::Version);
        }
        let exchange = Self {
            request: u64::from_ne_bytes(request),
            request_len: u32::from_ne_bytes(request_len),
            answer: u64::from_ne_bytes(answer),
            room: u32::from_ne_bytes(room),
            answer_len: u32::from_ne_bytes(answer_len),
        };
        let header = HEADER_LEN as u32;
        let fits = (header..=header + MAX_REQUEST).contains(&exchange.request_len)
            && (MIN_ROOM..=header + MAX_RESPONSE).contains(&exchange.room);
        fits.then_some(exchange).ok_or(Wrong::Length)
    }
}

fn take4(bytes: &[u8]) -> ([u8; 4], &[u8]) {
    bytes.split_first_chunk().map_or(([0; 4], &[]), |(first, rest)| (*first, rest))
}

fn take8(bytes: &[u8]) -> ([u8; 8], &[u8]) {
    bytes.split_first_chunk().map_or(([0; 8], &[]), |(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_they_were_written_and_held_to_limits() {
        let good = Exchange {
            request: 1 << 40,
            request_len: 12,
            answer: 7,
            room: MIN_ROOM,
            answer_len: 5,
        };
        assert_eq!(Exchange::from_bytes(&good.to_bytes()), Ok(good));
        let read = |exchange: Exchange| Exchange::from_bytes(&exchange.to_bytes());
        assert_eq!(read(Exchange { request_len: 11, ..good }), Err(Wrong::Length));
        assert_eq!(read(Exchange { request_len: 13 + MAX_REQUEST, ..good }), Err(Wrong::Length));
        assert_eq!(read(Exchange { room: MIN_ROOM - 1, ..good }), Err(Wrong::Length));
        assert_eq!(read(Exchange { room: u32::MAX, ..good }), Err(Wrong::Length));
        for at in 0..6 {
            let mut bytes = good.to_bytes();
            bytes[at] ^= 1;
            assert_eq!(Exchange::from_bytes(&bytes), Err(Wrong::Version), "byte {at}");
        }
    }
}
