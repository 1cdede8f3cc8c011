// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Puts TCP segments that came together back into one super-frame.
//!
//! The kernel receives a run of equal datagrams in one piece. [`split`] takes it apart into the
//! frames in it, and joins neighbouring segments of one TCP connection, so that the engine judges
//! and rewrites them once and the guest's kernel takes them in one call.
//!
//! Joined are only segments that lose nothing by it: same Geneve header and options, same inner
//! headers but for lengths, checksums, identification and sequence number, no flag but ACK (and
//! PSH, which ends the frame), sequence numbers that follow on, and **checksums that hold**: the
//! joined frame's is filled in by whoever cuts it again, which would hide a damaged payload.

use crate::inner::{Family, Layout, TCP, TCP_MIN_LEN};
use crate::packet::{Packet, Pool};
use crate::sum;
use opte::checksum::Sum;
use opte::frame::{ChecksumState, Offload, SegmentKind, Segmentation};
use std::ops::Range;

/// Length of a Geneve header without options (RFC 8926, section 3.4).
const GENEVE_LEN: usize = 8;
const MAX_IP_LEN: usize = 65_535;
const IPV6_LEN: usize = 40;
/// Flag of IPv4, in the byte where it stands.
const DONT_FRAGMENT: u8 = 0x40;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;

/// Takes apart a piece of several datagrams of `run_of` bytes each (the last may be shorter) into
/// frames that still have their Geneve headers. Answers how many datagrams were joined to others.
pub fn split(mut piece: Packet, run_of: usize, pool: &Pool, out: &mut Vec<Packet>) -> usize {
    let datagrams = piece.bytes().len().div_ceil(run_of.max(1));
    if datagrams <= 1 {
        out.push(piece);
        return 0;
    }
    let joined = join(piece.bytes_mut(), run_of);
    let merged = datagrams - joined.len();
    // The first frame keeps the buffer, the others are copied out of it.
    let mut rest = joined.into_iter();
    let Some(first) = rest.next() else { return 0 };
    let others: Vec<Packet> = rest
        .map(|other| {
            let bytes = piece.bytes().get(other.range.clone()).unwrap_or_default();
            let mut packet = pool.packet_of(bytes);
            packet.set_offload(other.offload());
            packet
        })
        .collect();
    piece.set_len(first.range.len());
    piece.set_offload(first.offload());
    out.push(piece);
    out.extend(others);
    merged
}

/// Joins what can be joined, in place. The frames' ranges are in order; the first begins at 0.
fn join(bytes: &mut [u8], run_of: usize) -> Vec<Joined> {
    let mut frames: Vec<Joined> = Vec::new();
    let len = bytes.len();
    for at in (0..len).step_by(run_of) {
        let range = at..(at + run_of).min(len);
        let segment = Segment::of(bytes, range.clone());
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

/// A TCP segment in a datagram that may be joined: all of its checksums hold.
#[derive(Clone, Debug)]
struct Segment {
    /// The datagram.
    datagram: Range<usize>,
    /// Length of the Geneve header.
    geneve: usize,
    /// Where the inner headers are, from the inner Ethernet header.
    layout: Layout,
    /// Length of all headers, Geneve to TCP.
    headers: usize,
}

impl Segment {
    fn of(bytes: &[u8], datagram: Range<usize>) -> Option<Self> {
        let whole = bytes.get(datagram.clone())?;
        let geneve = GENEVE_LEN + usize::from(whole.first()? & 0x3f) * 4;
        let frame = whole.get(geneve..)?;
        let layout = Layout::of(frame)?;
        let payload = layout.payload(frame)?;
        let ip_len = layout.transport - Layout::IP;
        let plain = layout.protocol == TCP
            && layout.end == frame.len()
            && payload < frame.len()
            && frame.get(layout.transport + TCP_FLAGS)? & !PSH == ACK
            && ip_len == if layout.family == Family::V4 { 20 } else { IPV6_LEN };
        let holds = || {
            let ip = frame.get(Layout::IP..layout.transport).unwrap_or_default();
            let ip_holds =
                layout.family == Family::V6 || Sum::default().bytes(ip).folded() == 0xffff;
            let transport = frame.get(layout.transport..).unwrap_or_default();
            ip_holds
                && pseudo(&layout, frame, transport.len())
                    .word(sum::of(transport).folded())
                    .folded()
                    == 0xffff
        };
        (plain && holds()).then(|| Self { datagram, geneve, layout, headers: geneve + payload })
    }

    fn payload(&self) -> Range<usize> {
        self.datagram.start + self.headers..self.datagram.end
    }

    /// A number in the TCP header.
    fn seq(&self, bytes: &[u8]) -> u32 {
        let at = self.datagram.start + self.geneve + self.layout.transport + 4;
        bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
    }

    /// Whether an IPv4 identification that is `steps` after the first is told by the first: it
    /// follows on, or the packet is never fragmented, and then it means nothing (RFC 6864,
    /// section 4.1).
    fn identification_follows(&self, other: &Self, steps: usize, bytes: &[u8]) -> bool {
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

    fn has_push(&self, bytes: &[u8]) -> bool {
        let at = self.datagram.start + self.geneve + self.layout.transport + TCP_FLAGS;
        bytes.get(at).is_some_and(|flags| flags & PSH != 0)
    }

    /// Whether the headers agree in all that stays when two segments are joined.
    fn agrees(&self, other: &Self, bytes: &[u8]) -> bool {
        let shape = (self.geneve, self.layout.family, self.headers);
        if shape != (other.geneve, other.layout.family, other.headers) {
            return false;
        }
        let (Some(a), Some(b)) = (
            bytes.get(self.datagram.start..).and_then(|b| b.get(..self.headers)),
            bytes.get(other.datagram.start..).and_then(|b| b.get(..other.headers)),
        ) else {
            return false;
        };
        let ip = self.geneve + Layout::IP;
        let tcp = self.geneve + self.layout.transport;
        // What may differ: IPv4 length, identification and checksum; IPv6 length; then sequence
        // number, PSH and checksum of TCP.
        let different: [Range<usize>; 2] = match self.layout.family {
            Family::V4 => [ip + 2..ip + 6, ip + 10..ip + 12],
            Family::V6 => [ip + 4..ip + 6, ip + 6..ip + 6],
        };
        let [length, checksum] = different;
        let parts = [
            0..length.start,
            length.end..checksum.start,
            checksum.end..tcp + 4,
            tcp + 8..tcp + TCP_FLAGS,
            tcp + TCP_FLAGS + 1..tcp + TCP_CHECKSUM,
            tcp + TCP_CHECKSUM + 2..self.headers,
        ];
        parts.into_iter().all(|part| a.get(part.clone()) == b.get(part))
    }
}

fn pseudo(layout: &Layout, frame: &[u8], len: usize) -> Sum {
    Sum::default().bytes(layout.addresses(frame)).word(TCP.into()).word(len as u16)
}

/// A frame in the making.
struct Joined {
    /// Its bytes in the piece.
    range: Range<usize>,
    /// Its first segment; `None` if it cannot be joined to anything.
    head: Option<Segment>,
    /// Segments in it.
    count: usize,
    /// The next sequence number.
    next: u32,
    /// A segment shorter than the first, or one with PSH, was the last.
    closed: bool,
    pushed: bool,
}

impl Joined {
    fn new(range: Range<usize>, head: Option<Segment>) -> Self {
        Self { range, head, count: 1, next: 0, closed: false, pushed: false }
    }

    /// Length of each segment's payload.
    fn size(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.payload().len())
    }

    /// Appends `next` if it belongs here.
    fn take(&mut self, next: &Segment, bytes: &mut [u8]) -> bool {
        let Some(head) = &self.head else { return false };
        if self.count == 1 {
            self.next = head.seq(bytes).wrapping_add(head.payload().len() as u32);
            self.closed = head.has_push(bytes);
        }
        let payload = next.payload();
        let fits = !self.closed
            && payload.len() <= self.size()
            && self.range.len() + payload.len() - head.geneve - Layout::IP <= MAX_IP_LEN
            && next.seq(bytes) == self.next
            && head.identification_follows(next, self.count, bytes)
            && head.agrees(next, bytes);
        if !fits {
            return false;
        }
        self.pushed = next.has_push(bytes);
        self.closed = self.pushed || payload.len() < self.size();
        self.next = self.next.wrapping_add(payload.len() as u32);
        // Segments only ever move towards the front, over headers that are no longer needed.
        let end = self.range.end + payload.len();
        bytes.copy_within(payload, self.range.end);
        self.range.end = end;
        self.count += 1;
        true
    }

    /// Writes the lengths and sums of a frame that has grown.
    fn finish(&self, bytes: &mut [u8]) {
        let (Some(head), true) = (&self.head, self.count > 1) else { return };
        let layout = head.layout;
        let start = self.range.start + head.geneve;
        let Some(frame) = bytes.get_mut(start..self.range.end) else { return };
        let pseudo = pseudo(&layout, frame, frame.len() - layout.transport).folded();
        let ip_len = frame.len() - Layout::IP;
        let Some((front, tcp)) = frame.split_at_mut_checked(layout.transport) else { return };
        let Some(ip) = front.get_mut(Layout::IP..) else { return };
        match layout.family {
            Family::V4 => {
                put(ip, 2, ip_len as u16);
                put(ip, 10, 0);
                put(ip, 10, Sum::default().bytes(ip).complement());
            }
            Family::V6 => put(ip, 4, (ip_len - IPV6_LEN) as u16),
        }
        put(tcp, TCP_CHECKSUM, pseudo);
        if let (Some(flags), true) = (tcp.get_mut(TCP_FLAGS), self.pushed) {
            *flags |= PSH;
        }
    }

    fn offload(&self) -> Offload {
        let Some(head) = &self.head else { return Offload::default() };
        if self.count == 1 {
            return Offload { checksum: ChecksumState::Verified, segments: None };
        }
        Offload {
            checksum: ChecksumState::Partial {
                start: head.layout.transport as u16,
                offset: TCP_CHECKSUM as u16,
            },
            segments: Some(Segmentation { kind: SegmentKind::Tcp, size: self.size() as u16 }),
        }
    }
}

fn put(bytes: &mut [u8], at: usize, number: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&number.to_be_bytes());
    }
}

const _: () = assert!(TCP_MIN_LEN > TCP_CHECKSUM + 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inner::samples;
    use crate::segment::Cutter;
    use proptest::prelude::*;

    const GENEVE: [u8; 12] = [1, 0, 0x65, 0x58, 0, 0, 99, 0, 1, 0x29, 0, 0];

    /// A super-frame as a guest would send it, cut into datagrams.
    fn datagrams(family: Family, seq: u32, flags: u8, payload: &[u8], size: u16) -> Vec<Vec<u8>> {
        let frame = samples::ip(family, TCP, &samples::tcp(seq, flags, payload));
        let cutter = Cutter::new(&frame, Segmentation { kind: SegmentKind::Tcp, size }).unwrap();
        let datagram = |index| {
            let mut bytes = GENEVE.to_vec();
            cutter.write_header(index, &mut bytes);
            bytes.extend_from_slice(&frame[cutter.body(index)]);
            bytes
        };
        (0..cutter.count()).map(datagram).collect()
    }

    fn split_all(datagrams: &[Vec<u8>]) -> (Vec<Packet>, usize) {
        let (pool, mut out) = (Pool::default(), Vec::new());
        let mut piece = pool.packet(crate::packet::MAX_LEN);
        let bytes = datagrams.concat();
        piece.room_mut()[..bytes.len()].copy_from_slice(&bytes);
        piece.set_len(bytes.len());
        let merged = split(piece, datagrams[0].len(), &pool, &mut out);
        (out, merged)
    }

    /// All frames, cut again where they are super-frames.
    fn cut_again(frames: &[Packet]) -> Vec<Vec<u8>> {
        use opte::frame::Frame;
        let mut all = Vec::new();
        for packet in frames {
            let (geneve, frame) = packet.bytes().split_at(GENEVE.len());
            let Some(segments) = packet.offload().segments else {
                all.push(packet.bytes().to_vec());
                continue;
            };
            let cutter = Cutter::new(frame, segments).unwrap();
            for index in 0..cutter.count() {
                let mut bytes = geneve.to_vec();
                cutter.write_header(index, &mut bytes);
                bytes.extend_from_slice(&frame[cutter.body(index)]);
                all.push(bytes);
            }
        }
        all
    }

    proptest! {
        #[test]
        fn joining_undoes_cutting(
            v6: bool,
            seq: u32,
            push: bool,
            payload in proptest::collection::vec(any::<u8>(), 1..9000),
            size in 60u16..1500,
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let sent = datagrams(family, seq, if push { PSH } else { 0 }, &payload, size);
            let (frames, merged) = split_all(&sent);
            prop_assert_eq!(frames.len(), 1);
            prop_assert_eq!(merged, sent.len() - 1);
            prop_assert_eq!(cut_again(&frames), sent);
        }

        #[test]
        fn a_changed_byte_is_never_lost(
            v6: bool,
            payload in proptest::collection::vec(any::<u8>(), 1000..2000),
            at in 0usize..4096,
            change in 1u8..,
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let mut sent = datagrams(family, 7, 0, &payload, 500);
            let which = at % sent.len();
            let place = at / sent.len() % sent[which].len();
            sent[which][place] ^= change;
            let (frames, _) = split_all(&sent);
            prop_assert_eq!(cut_again(&frames), sent);
        }

        #[test]
        fn any_bytes_are_safe_and_kept(
            bytes in proptest::collection::vec(any::<u8>(), 1..600),
            run_of in 1usize..200,
        ) {
            let pool = Pool::default();
            let mut out = Vec::new();
            split(pool.packet_of(&bytes), run_of, &pool, &mut out);
            let seen: Vec<u8> = out.iter().flat_map(|p| p.bytes().to_vec()).collect();
            prop_assert_eq!(seen, bytes);
        }
    }

    #[test]
    fn neighbours_that_differ_stay_apart() {
        let stream = |seq, flags| datagrams(Family::V4, seq, flags, &[7; 200], 100);
        let mut other = stream(200, 0);
        other[0][50] ^= 1; // A port; the checksum no longer holds.
        for (name, sent, frames) in [
            ("one stream", [stream(0, 0), stream(200, 0)].concat(), 1),
            ("a gap", [stream(0, 0), stream(201, 0)].concat(), 2),
            ("again", [stream(0, 0), stream(0, 0)].concat(), 2),
            ("PSH in the middle", [stream(0, PSH), stream(200, 0)].concat(), 2),
            ("FIN", [stream(0, 0), stream(200, 1)].concat(), 2),
            ("damage", [stream(0, 0), other].concat(), 3),
        ] {
            assert_eq!(split_all(&sent).0.len(), frames, "{name}");
        }
    }
}
