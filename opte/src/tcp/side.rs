// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What one side of a connection has said.

use super::{Segment, SeqNumber};

/// What one side has said. Numbers mean nothing until their bit of [`Side::known`] is set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Side {
    /// Sequence number of its SYN.
    pub start: SeqNumber,
    /// After the last octet it sent; after its FIN, once there is one.
    pub end: SeqNumber,
    /// What it expects next.
    pub ack: SeqNumber,
    /// Bits of what is known.
    pub known: u8,
}

impl Side {
    /// [`Side::start`] is known.
    pub const START: u8 = 1;
    /// [`Side::end`] is known.
    pub const END: u8 = 1 << 1;
    /// [`Side::ack`] is known.
    pub const ACK: u8 = 1 << 2;
    /// It has sent a FIN.
    pub const FIN: u8 = 1 << 3;
    /// Its segments have been seen since the connection was established no longer, so that
    /// [`Side::end`] does not lag behind.
    pub const FRESH: u8 = 1 << 4;
    /// It has sent a SYN on a live connection, which the other side may take for a new one.
    pub const OFFER: u8 = 1 << 5;
    /// It is the one whose reset closed the connection.
    pub const RESET: u8 = 1 << 6;
    /// All bits that mean something.
    pub const ALL: u8 = (1 << 7) - 1;

    /// All of these bits are set.
    pub const fn has(&self, bits: u8) -> bool {
        self.known & bits == bits
    }

    /// Sets or clears bits.
    pub const fn set(&mut self, bits: u8, on: bool) {
        self.known = if on { self.known | bits } else { self.known & !bits };
    }

    /// What it expects next, if that is known.
    pub fn expects(&self) -> Option<SeqNumber> {
        self.has(Self::ACK).then_some(self.ack)
    }

    /// The number after the last octet it sent, if that is known.
    pub fn sent(&self) -> Option<SeqNumber> {
        self.has(Self::END).then_some(self.end)
    }

    /// Its SYN had this number.
    pub fn began_at(&self, seq: SeqNumber) -> bool {
        self.has(Self::START) && self.start == seq
    }

    /// A side that has sent a SYN with this number.
    pub const fn began(start: SeqNumber) -> Self {
        let (end, ack) = (start.add(1), SeqNumber(0));
        Self { start, end, ack, known: Self::START | Self::END }
    }

    /// Takes note of a segment that it sent.
    pub fn note(&mut self, segment: &Segment) {
        let flags = segment.flags;
        if flags.is_rst() {
            // Its numbers may be made up (RFC 9293, section 3.10.7.1).
            return;
        }
        if flags.is_syn() && !self.began_at(segment.seq) {
            *self = Self { start: segment.seq, known: Self::START, ..Self::default() };
        }
        if flags.is_fin() {
            // The last FIN counts: a forged one must not hide the true one that comes after.
            self.end = segment.end();
            self.set(Self::FIN, true);
        } else if !self.has(Self::FIN) {
            let end = segment.end();
            self.end = self.sent().map_or(end, |sent| sent.later(end));
        }
        self.set(Self::END, true);
        if flags.is_ack() {
            self.ack = self.expects().map_or(segment.ack, |ack| ack.later(segment.ack));
            self.set(Self::ACK, true);
        }
    }
}
