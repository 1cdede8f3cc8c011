// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A TCP connection as a middlebox sees it.
//!
//! [`Tracker::open`] takes the first segment of a flow, [`Tracker::step`] each later one. Both
//! are functions of their arguments. States are those of RFC 9293, section 3.3.2, seen from the
//! guest: a segment that goes in is taken to arrive, one that goes out was sent by the guest.
//! Read RFC 9293, sections 3.4 (sequence numbers), 3.5 (opening), 3.6 (closing) and 3.10.7
//! (segments that arrive) first.
//!
//! What holds:
//!
//! * Nothing here drops a segment. A tracker says what became of the connection; the two ends
//!   still judge each segment themselves.
//! * A plain segment ([`is_plain`]) leaves an established connection as it is. The caller may
//!   skip the tracker for it, so the numbers kept of either side may lag behind the traffic
//!   while the connection is established. No state change depends on those that lag.
//! * A FIN counts as acknowledged, and a SYN as answered, only by an acknowledgment that covers
//!   it, compared in sequence space. Neither direction nor wrap-around makes a difference.
//! * A reset closes only if its sequence number is the next one expected (RFC 5961, section 3.2),
//!   or, in answer to a SYN, if it acknowledges that SYN (RFC 9293, section 3.10.7.3). Where
//!   numbers lag behind, one that is not behind what is known will do; but a connection that was
//!   closed by a reset lives on, in the state it had, as soon as the side that is said to have sent
//!   it sends something else. So a forged reset ends nothing that is in use.
//! * A SYN on a live connection changes nothing (RFC 5961, section 4). If its receiver has the
//!   connection no longer and answers with a SYN, that begins another one in the same place; if it
//!   answers with an acknowledgment, the reset that follows closes this one.
//! * Data and acknowledgments, wherever their numbers are, change no state while the connection is
//!   established; the ends judge them (RFC 5961, section 5). Later they do only by acknowledging a
//!   SYN or a FIN with its very number.

mod seq;
mod side;
mod state;
#[cfg(test)]
mod table_tests;
mod tracker;
#[cfg(test)]
mod walk_tests;

pub use seq::SeqNumber;
pub use side::Side;
pub use state::{TcpState, Timeouts, idle_limit, is_plain};
pub use tracker::{Outcome, Step, TcpError, Tracker, TrackerParts};

use core::fmt;
use core::ops::BitOr;

/// The control bits of a segment, as they stand in its header (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number is valid.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(0x20);

    /// FIN is set.
    pub const fn is_fin(self) -> bool {
        self.has(Self::FIN)
    }

    /// SYN is set.
    pub const fn is_syn(self) -> bool {
        self.has(Self::SYN)
    }

    /// RST is set.
    pub const fn is_rst(self) -> bool {
        self.has(Self::RST)
    }

    /// PSH is set.
    pub const fn is_psh(self) -> bool {
        self.has(Self::PSH)
    }

    /// ACK is set.
    pub const fn is_ack(self) -> bool {
        self.has(Self::ACK)
    }

    /// URG is set.
    pub const fn is_urg(self) -> bool {
        self.has(Self::URG)
    }

    const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// As tcpdump shows them: `S.` is SYN and ACK, `none` is no flag at all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        let letters = ["F", "S", "R", "P", ".", "U", "E", "W"];
        for (bit, letter) in letters.into_iter().enumerate() {
            if self.0 >> bit & 1 == 1 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// What tracking needs of one segment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Segment {
    /// Control bits.
    pub flags: TcpFlags,
    /// Sequence number of the first octet; of the SYN, if there is one.
    pub seq: SeqNumber,
    /// Next sequence number the sender expects; means nothing without the ACK flag.
    pub ack: SeqNumber,
    /// Octets of data.
    pub payload_len: u32,
    /// The window field, not scaled.
    pub window: u16,
}

impl Segment {
    /// The first segment of a connection: a SYN that answers none.
    pub const fn is_opening(&self) -> bool {
        self.flags.is_syn() && !self.flags.is_ack() && !self.flags.is_rst()
    }

    /// The sequence number after this segment. SYN and FIN count as one octet each
    /// (RFC 9293, section 3.4).
    pub const fn end(&self) -> SeqNumber {
        let (syn, fin) = (self.flags.is_syn() as u32, self.flags.is_fin() as u32);
        self.seq.add(self.payload_len).add(syn).add(fin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate alloc;
    use alloc::string::ToString;

    #[test]
    fn flags_are_the_bits_of_the_header() {
        let syn_ack = TcpFlags::SYN | TcpFlags::ACK;
        assert_eq!(syn_ack, TcpFlags(0x12));
        assert!(syn_ack.is_syn() && syn_ack.is_ack());
        assert!(!(syn_ack.is_fin() || syn_ack.is_rst() || syn_ack.is_psh() || syn_ack.is_urg()));
        let others = TcpFlags(0x2d);
        assert!(others.is_fin() && others.is_rst() && others.is_psh() && others.is_urg());
        assert!(!others.is_syn() && !others.is_ack());
    }

    #[test]
    fn flags_read_as_in_tcpdump() {
        assert_eq!(TcpFlags::default().to_string(), "none");
        assert_eq!((TcpFlags::SYN | TcpFlags::ACK).to_string(), "S.");
        assert_eq!(TcpFlags(0xff).to_string(), "FSRP.UEW");
    }

    #[test]
    fn syn_and_fin_take_room_in_sequence_space() {
        let segment = |flags, payload_len| Segment {
            flags,
            seq: SeqNumber(u32::MAX),
            payload_len,
            ..Segment::default()
        };
        assert_eq!(segment(TcpFlags::ACK, 0).end(), SeqNumber(u32::MAX));
        assert_eq!(segment(TcpFlags::SYN, 0).end(), SeqNumber(0));
        assert_eq!(segment(TcpFlags::FIN | TcpFlags::ACK, 5).end(), SeqNumber(5));
    }
}
