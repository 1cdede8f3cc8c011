// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Puts segments that came together back into one super-frame.
//!
//! The kernel receives a run of equal datagrams in one piece. [`split`] takes it apart into the
//! frames in it, and joins neighbouring segments of one TCP connection, or equal UDP datagrams of
//! one flow, so that the engine judges and rewrites them once and the guest's kernel takes them in
//! one call.
//!
//! Joined are only segments that lose nothing by it: same Geneve header and options, same inner
//! headers but for lengths, checksums, identification and sequence number; for TCP no flag but ACK
//! (and PSH, which ends the frame) and sequence numbers that follow on; and **checksums that
//! hold**: the joined frame's is filled in by whoever cuts it again, which would hide a damaged
//! payload. A UDP datagram without a checksum has none that holds.

mod segment;

use crate::inner::{Family, Layout, UDP};
use crate::packet::{Packet, Pool};
use crate::segment_size;
use opte::checksum::Sum;
use opte::frame::{ChecksumState, Offload, SegmentKind, Segmentation};
use segment::{IPV6_LEN, PSH, Segment, TCP_FLAGS, pseudo};
use std::ops::Range;

const MAX_IP_LEN: usize = 65_535;
/// Datagrams in one UDP super-frame (`UDP_MAX_SEGMENTS` of Linux before 6.9).
const MAX_DATAGRAMS: usize = 64;

/// Which transports are joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Joining {
    /// TCP alone: guests' devices do not take UDP super-frames (Linux before 6.2).
    Tcp,
    /// TCP and UDP.
    TcpAndUdp,
}

/// Takes apart a piece of several datagrams of `run_of` bytes each (the last may be shorter) into
/// frames that still have their Geneve headers. Answers how many datagrams were joined to others.
pub fn split(
    mut piece: Packet,
    run_of: usize,
    joining: Joining,
    pool: &Pool,
    out: &mut Vec<Packet>,
) -> usize {
    let datagrams = piece.bytes().len().div_ceil(run_of.max(1));
    if datagrams <= 1 && segment_size::told(piece.bytes()).is_none() {
        out.push(piece);
        return 0;
    }
    let joined = join(piece.bytes_mut(), run_of, joining);
    let Some((first, others)) = joined.split_first() else { return 0 };
    // The first frame keeps the buffer, the others are copied out of it.
    let at = out.len();
    out.push(piece);
    for other in others {
        let piece = out.get(at).map(Packet::bytes).unwrap_or_default();
        let mut packet = pool.packet_of(piece.get(other.range.clone()).unwrap_or_default());
        packet.set_offload(other.offload());
        out.push(packet);
    }
    if let Some(piece) = out.get_mut(at) {
        piece.set_len(first.range.len());
        piece.set_offload(first.offload());
    }
    datagrams - joined.len()
}

/// Joins what can be joined, in place. The frames' ranges are in order; the first begins at 0.
fn join(bytes: &mut [u8], run_of: usize, joining: Joining) -> Vec<Joined> {
    let mut frames: Vec<Joined> = Vec::new();
    let len = bytes.len();
    for at in (0..len).step_by(run_of) {
        let range = at..(at + run_of).min(len);
        let segment = Segment::of(bytes, range.clone())
            .filter(|segment| joining == Joining::TcpAndUdp || segment.layout.protocol != UDP);
        if let (Some(last), Some(segment)) = (frames.last_mut(), &segment)
            && last.take(segment, bytes)
        {
            continue;
        }
        frames.push(Joined::new(range, segment));
    }
    for frame in &frames {
        frame.finish(bytes);
    }
    frames
}

/// A frame in the making.
struct Joined {
    /// Its bytes in the piece.
    range: Range<usize>,
    /// Its first segment; `None` if it cannot be joined to anything.
    head: Option<Segment>,
    /// Segments in it.
    count: usize,
    /// The next sequence number, of TCP.
    next: Option<u32>,
    /// A segment shorter than the first, or one with PSH, was the last.
    closed: bool,
    pushed: bool,
}

impl Joined {
    fn new(range: Range<usize>, head: Option<Segment>) -> Self {
        Self { range, head, count: 1, next: None, closed: false, pushed: false }
    }

    fn is_super_frame(&self) -> bool {
        self.count > 1 || self.head.as_ref().is_some_and(|head| head.made_of.is_some())
    }

    /// Length of each segment's payload.
    fn size(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.payload().len())
    }

    /// Appends `next` if it belongs here.
    fn take(&mut self, next: &Segment, bytes: &mut [u8]) -> bool {
        let Some(head) = &self.head else { return false };
        if self.count == 1 {
            self.next = after(head.seq(bytes), head.payload().len());
            self.closed = head.has_push(bytes);
        }
        let payload = next.payload();
        let fits = !self.closed
            && payload.len() <= self.size()
            && (head.layout.protocol != UDP || self.count < MAX_DATAGRAMS)
            && self.range.len() + payload.len() - head.geneve - Layout::IP <= MAX_IP_LEN
            && next.seq(bytes) == self.next
            && head.identification_follows(next, self.count, bytes)
            && head.agrees(next, bytes);
        if !fits {
            return false;
        }
        self.pushed = next.has_push(bytes);
        self.closed = self.pushed || payload.len() < self.size();
        self.next = after(self.next, payload.len());
        // Segments only ever move towards the front, over headers that are no longer needed.
        let end = self.range.end + payload.len();
        bytes.copy_within(payload, self.range.end);
        self.range.end = end;
        self.count += 1;
        true
    }

    /// Writes the lengths and sums of a frame that has grown.
    fn finish(&self, bytes: &mut [u8]) {
        let (Some(head), true) = (&self.head, self.is_super_frame()) else { return };
        let layout = head.layout;
        let start = self.range.start + head.geneve;
        let Some(frame) = bytes.get_mut(start..self.range.end) else { return };
        let pseudo = pseudo(&layout, frame, frame.len() - layout.transport).folded();
        let ip_len = frame.len() - Layout::IP;
        let Some((front, transport)) = frame.split_at_mut_checked(layout.transport) else { return };
        let Some(ip) = front.get_mut(Layout::IP..) else { return };
        match layout.family {
            Family::V4 => {
                put(ip, 2, ip_len as u16);
                put(ip, 10, 0);
                put(ip, 10, Sum::default().bytes(ip).complement());
            }
            Family::V6 => put(ip, 4, (ip_len - IPV6_LEN) as u16),
        }
        if layout.protocol == UDP {
            put(transport, 4, transport.len() as u16);
        }
        put(transport, layout.checksum_offset().unwrap_or(0), pseudo);
        if let (Some(flags), true) = (transport.get_mut(TCP_FLAGS), self.pushed) {
            *flags |= PSH;
        }
    }

    fn offload(&self) -> Offload {
        let Some(head) = &self.head else { return Offload::default() };
        if !self.is_super_frame() {
            return Offload { checksum: ChecksumState::Verified, segments: None };
        }
        let is_udp = head.layout.protocol == UDP;
        let kind = if is_udp { SegmentKind::Udp } else { SegmentKind::Tcp };
        Offload {
            checksum: ChecksumState::Partial {
                start: head.layout.transport as u16,
                offset: head.layout.checksum_offset().unwrap_or(0) as u16,
            },
            segments: Some(Segmentation { kind, size: head.made_of.unwrap_or(self.size() as u16) }),
        }
    }
}

/// The sequence number `len` bytes later.
fn after(seq: Option<u32>, len: usize) -> Option<u32> {
    seq.map(|seq| seq.wrapping_add(len as u32))
}

fn put(bytes: &mut [u8], at: usize, number: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
