// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One datagram of a run, seen as a segment that may be joined to its neighbours.

use crate::inner::{Family, Layout, TCP, TCP_MIN_LEN, UDP, UDP_LEN};
use crate::segment::MAX_SEGMENTS;
use crate::segment_size;
use crate::sum;
use opte::checksum::Sum;
use std::ops::Range;

/// Length of a Geneve header without options (RFC 8926, section 3.4).
const GENEVE_LEN: usize = 8;
/// Length of an IPv6 header without extensions.
pub const IPV6_LEN: usize = 40;
/// Flag of IPv4, in the byte where it stands.
const DONT_FRAGMENT: u8 = 0x40;
const ACK: u8 = 0x10;
/// Flag of TCP.
pub const PSH: u8 = 0x08;
/// Where TCP's flags are in its header.
pub const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// A TCP segment or UDP datagram that may be joined: all of its checksums hold.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The outer datagram.
    pub datagram: Range<usize>,
    /// Length of the Geneve header.
    pub geneve: usize,
    /// Where the inner headers are, from the inner Ethernet header.
    pub layout: Layout,
    /// Length of all headers, Geneve to TCP or UDP.
    headers: usize,
    /// The guest's segment size, if this piece of TCP is made of several of its segments.
    pub made_of: Option<u16>,
}

impl Segment {
    /// The segment in `datagram`, which begins with its Geneve header; `None` if it must stay alone.
    pub fn of(bytes: &[u8], datagram: Range<usize>) -> Option<Self> {
        let whole = bytes.get(datagram.clone())?;
        let geneve = GENEVE_LEN + usize::from(whole.first()? & 0x3f) * 4;
        let frame = whole.get(geneve..)?;
        let layout = Layout::of(frame)?;
        let payload = layout.payload(frame).filter(|payload| *payload <= frame.len())?;
        let ip_len = layout.transport - Layout::IP;
        let plain = layout.end == frame.len()
            && payload < frame.len()
            && ip_len == if layout.family == Family::V4 { 20 } else { IPV6_LEN }
            && is_plain(&layout, frame.get(layout.transport..)?);
        let made_of = segment_size::told(whole).filter(|size| {
            let count = (frame.len() - payload).div_ceil(usize::from(*size));
            layout.protocol == TCP && count > 1 && count <= MAX_SEGMENTS
        });
        let headers = geneve + payload;
        let holds = plain && holds(&layout, frame);
        holds.then_some(Self { datagram, geneve, layout, headers, made_of })
    }

    /// Where the payload is.
    pub fn payload(&self) -> Range<usize> {
        self.datagram.start + self.headers..self.datagram.end
    }

    /// The sequence number of a TCP segment; all UDP datagrams follow each other.
    pub fn seq(&self, bytes: &[u8]) -> Option<u32> {
        let at = self.datagram.start + self.geneve + self.layout.transport + 4;
        let number = bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u32::from_be_bytes(*b));
        number.filter(|_| self.layout.protocol == TCP)
    }

    /// Whether an IPv4 identification that is `steps` after the first is told by the first: it
    /// follows on, or the packet is never fragmented, and then it means nothing (RFC 6864,
    /// section 4.1).
    pub fn identification_follows(&self, other: &Self, steps: usize, bytes: &[u8]) -> bool {
        let field = |segment: &Self| {
            let at = segment.datagram.start + segment.geneve + Layout::IP + 4;
            bytes.get(at..).and_then(|b| b.first_chunk::<4>()).copied().unwrap_or_default()
        };
        let ([a, b, ..], [c, d, flags, _]) = (field(self), field(other));
        let expected = u16::from_be_bytes([a, b]).wrapping_add(steps as u16);
        self.layout.family == Family::V6
            || flags & DONT_FRAGMENT != 0
            || expected == u16::from_be_bytes([c, d])
    }

    /// Whether a TCP segment has PSH.
    pub fn has_push(&self, bytes: &[u8]) -> bool {
        let at = self.datagram.start + self.geneve + self.layout.transport + TCP_FLAGS;
        self.layout.protocol == TCP && bytes.get(at).is_some_and(|flags| flags & PSH != 0)
    }

    /// Whether the headers agree in all that stays when two segments are joined.
    pub fn agrees(&self, other: &Self, bytes: &[u8]) -> bool {
        let shape = (self.geneve, self.layout.family, self.layout.protocol, self.headers);
        if shape != (other.geneve, other.layout.family, other.layout.protocol, other.headers) {
            return false;
        }
        let (Some(a), Some(b)) = (
            bytes.get(self.datagram.start..).and_then(|b| b.get(..self.headers)),
            bytes.get(other.datagram.start..).and_then(|b| b.get(..other.headers)),
        ) else {
            return false;
        };
        let ip = self.geneve + Layout::IP;
        let transport = self.geneve + self.layout.transport;
        // What may differ: IPv4 length, identification and checksum; IPv6 length.
        let [length, checksum] = match self.layout.family {
            Family::V4 => [ip + 2..ip + 6, ip + 10..ip + 12],
            Family::V6 => [ip + 4..ip + 6, ip + 6..ip + 6],
        };
        // Then sequence number, PSH and checksum of TCP, or length and checksum of UDP.
        let [first, second, third] = if self.layout.protocol == TCP {
            [4..8, TCP_FLAGS..TCP_FLAGS + 1, TCP_CHECKSUM..TCP_CHECKSUM + 2]
        } else {
            [4..6, 6..6, UDP_CHECKSUM..UDP_CHECKSUM + 2]
        };
        let parts = [
            0..length.start,
            length.end..checksum.start,
            checksum.end..transport + first.start,
            transport + first.end..transport + second.start,
            transport + second.end..transport + third.start,
            transport + third.end..self.headers,
        ];
        parts.into_iter().all(|part| a.get(part.clone()) == b.get(part))
    }
}

/// Whether a transport header has nothing that joining would lose.
fn is_plain(layout: &Layout, transport: &[u8]) -> bool {
    match (layout.protocol, transport) {
        (TCP, _) => transport.get(TCP_FLAGS).is_some_and(|flags| flags & !PSH == ACK),
        (UDP, [_, _, _, _, l0, l1, c0, c1, ..]) => {
            usize::from(u16::from_be_bytes([*l0, *l1])) == transport.len() && [*c0, *c1] != [0, 0]
        }
        _ => false,
    }
}

/// Whether the checksums hold.
fn holds(layout: &Layout, frame: &[u8]) -> bool {
    let ip = frame.get(Layout::IP..layout.transport).unwrap_or_default();
    let transport = frame.get(layout.transport..).unwrap_or_default();
    let sum = || pseudo(layout, frame, transport.len()).word(sum::of(transport).folded());
    (layout.family == Family::V6 || Sum::default().bytes(ip).folded() == 0xffff)
        && sum().folded() == 0xffff
}

/// The sum of the pseudo-header of a transport of `len` bytes.
pub fn pseudo(layout: &Layout, frame: &[u8], len: usize) -> Sum {
    Sum::default().bytes(layout.addresses(frame)).word(layout.protocol.into()).word(len as u16)
}

const _: () = assert!(TCP_MIN_LEN > TCP_CHECKSUM + 1 && UDP_LEN > UDP_CHECKSUM + 1);
