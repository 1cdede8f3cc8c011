// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Messages of DHCPv6 between client and server (RFC 8415, section 8) and their options
//! (section 21).
//!
//! Reading copies nothing. Options hold options; a caller descends one level by a call to
//! [`Options::parse`], so depth is what the callers write down (two levels), never what a packet
//! says. Each level has at most [`MAX_OPTIONS`] options.

use alloc::vec::Vec;

/// Options of one level that are accepted.
pub(super) const MAX_OPTIONS: usize = 64;
/// Code and length of an option (RFC 8415, section 21.1).
const OPTION_HEADER: usize = 4;

/// Message types (RFC 8415, section 7.3).
pub(super) mod kind {
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORMATION_REQUEST: u8 = 11;
}

/// Option codes (RFC 8415, section 21; RFC 3646; RFC 4704).
pub(super) mod code {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_TA: u16 = 4;
    pub const IA_ADDRESS: u16 = 5;
    pub const OPTION_REQUEST: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const ELAPSED_TIME: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const NAME_SERVERS: u16 = 23;
    pub const DOMAIN_LIST: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const CLIENT_FQDN: u16 = 39;
}

/// Status codes (RFC 8415, section 21.13).
#[derive(Clone, Copy)]
pub(super) enum Status {
    Success = 0,
    NoAddresses = 2,
    NoBinding = 3,
    NotOnLink = 4,
    UseMulticast = 5,
    NoPrefixes = 6,
}

impl Status {
    /// The value of the status option, without a text.
    pub fn encode(self) -> [u8; 2] {
        [0, self as u8]
    }
}

/// A message from a client.
pub(super) struct Message<'a> {
    pub kind: u8,
    pub transaction: [u8; 3],
    pub options: Options<'a>,
}

impl<'a> Message<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let ([kind, transaction @ ..], options) = bytes.split_first_chunk::<4>()?;
        let options = Options::parse(options)?;
        Some(Self { kind: *kind, transaction: *transaction, options })
    }
}

/// The options of one level, all of them whole.
#[derive(Clone, Copy)]
pub(super) struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        for _ in 0..MAX_OPTIONS {
            if rest.is_empty() {
                break;
            }
            (_, _, rest) = split_option(rest)?;
        }
        rest.is_empty().then_some(Self(bytes))
    }

    /// All options in order, as code and value.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (code, value, following) = split_option(rest)?;
            rest = following;
            Some((code, value))
        })
    }

    /// The value of the first option with this code.
    pub fn get(self, code: u16) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == code).map(|(_, value)| value)
    }

    pub fn has(self, code: u16) -> bool {
        self.get(code).is_some()
    }
}

fn split_option(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([a, b, c, d], rest) = bytes.split_first_chunk()?;
    let length = u16::from_be_bytes([*c, *d]);
    let (value, following) = rest.split_at_checked(length.into())?;
    Some((u16::from_be_bytes([*a, *b]), value, following))
}

/// A message that is being written, at most `limit` bytes long.
pub(super) struct Writer {
    bytes: Vec<u8>,
    limit: usize,
}

impl Writer {
    pub fn new(kind: u8, transaction: [u8; 3], limit: usize) -> Self {
        let [a, b, c] = transaction;
        Self { bytes: [kind, a, b, c].to_vec(), limit }
    }

    /// Appends an option; one that does not fit is left out whole.
    pub fn push(&mut self, code: u16, value: &[u8]) {
        if self.bytes.len() + OPTION_HEADER + value.len() <= self.limit {
            push_option(&mut self.bytes, code, value);
        }
    }

    /// Longest value that the next option can have.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len() + OPTION_HEADER)
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends an option to a message or to the value of another option. Values are far shorter than
/// the 65535 bytes that an option can hold; the rest of a longer one would be lost.
pub(super) fn push_option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    bytes.extend(code.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(value.iter().take(length.into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_whole_and_few() {
        let parse = |bytes: &[u8]| Options::parse(bytes).map(|options| options.iter().count());
        assert_eq!(parse(&[]), Some(0));
        assert_eq!(parse(&[0, 8, 0, 2, 0, 0, 0, 14, 0, 0]), Some(2));
        for bad in [[0, 8, 0].as_slice(), &[0, 8, 0, 2, 0], &[0, 8, 0, 2, 0, 0, 0]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse(&[0; 4 * MAX_OPTIONS]), Some(MAX_OPTIONS));
        assert_eq!(parse(&[0; 4 * (MAX_OPTIONS + 1)]), None);
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let mut writer = Writer::new(kind::REPLY, [1, 2, 3], 15);
        assert_eq!(writer.room(), 7);
        writer.push(code::STATUS, &[9; 8]);
        writer.push(code::RAPID_COMMIT, &[]);
        writer.push(code::ELAPSED_TIME, &[9; 3]);
        writer.push(code::RAPID_COMMIT, &[]);
        assert_eq!(writer.finish(), [7, 1, 2, 3, 0, 14, 0, 0, 0, 8, 0, 3, 9, 9, 9]);
    }
}
