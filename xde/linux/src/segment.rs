// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Cuts super-frames into segments, and finishes checksums: what a network card would do.
//!
//! A guest's kernel hands over up to 64 KiB of one TCP stream, or several equal UDP datagrams, as
//! one frame with one header. It travels so through the engine and is cut as late as possible:
//! [`Cutter`] writes the header of each segment and says which bytes of the frame follow it. No
//! payload is copied.

use crate::inner::{Family, Layout, TCP, UDP};
use crate::sum;
use opte::checksum::Sum;
use opte::frame::{SegmentKind, Segmentation};
use std::ops::Range;

/// Segments that one frame may become: 64 KiB in the smallest segments that Linux sends.
pub const MAX_SEGMENTS: usize = 1400;

const TCP_SEQ: Range<usize> = 4..8;
const TCP_FLAGS: usize = 13;
/// Flags that only the last segment keeps: FIN, PSH (RFC 9293, section 3.10.4).
const ONLY_LAST: u8 = 0x01 | 0x08;
/// Flag that only the first segment keeps: CWR, said once (RFC 3168, section 6.1.2).
const ONLY_FIRST: u8 = 0x80;

/// Why a frame cannot be cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CutError {
    /// It is not what its segmentation says.
    #[error("the frame is not of the kind that is to be cut")]
    Kind,
    /// Segments would be empty, too many, or too large.
    #[error("the segment size does not fit the frame")]
    Size,
}

/// A frame that can be cut.
#[derive(Clone, Copy, Debug)]
pub struct Cutter<'a> {
    frame: &'a [u8],
    layout: Layout,
    /// Where the payload begins.
    payload: usize,
    size: usize,
    /// Sum of the pseudo-header without the length.
    pseudo: Sum,
}

impl<'a> Cutter<'a> {
    /// Checks that `frame` can be cut. Then nothing else of a cutter fails.
    pub fn new(frame: &'a [u8], segments: Segmentation) -> Result<Self, CutError> {
        let layout = Layout::of(frame).ok_or(CutError::Kind)?;
        let payload = layout.payload(frame).ok_or(CutError::Kind)?;
        let protocol = match segments.kind {
            SegmentKind::Tcp => TCP,
            SegmentKind::Udp => UDP,
        };
        if layout.protocol != protocol {
            return Err(CutError::Kind);
        }
        let size = usize::from(segments.size);
        let fits = size > 0
            && payload + size <= usize::from(u16::MAX)
            && (frame.len() - payload).div_ceil(size) <= MAX_SEGMENTS;
        if !fits {
            return Err(CutError::Size);
        }
        let pseudo = Sum::default().bytes(layout.addresses(frame)).word(protocol.into());
        Ok(Self { frame, layout, payload, size, pseudo })
    }

    /// Number of segments, at least one.
    pub fn count(&self) -> usize {
        (self.frame.len() - self.payload).div_ceil(self.size).max(1)
    }

    /// Length of each segment's headers.
    pub fn header_len(&self) -> usize {
        self.payload
    }

    /// Where the payload of a segment is in the frame.
    pub fn body(&self, index: usize) -> Range<usize> {
        let start = (self.payload + index * self.size).min(self.frame.len());
        start..(start + self.size).min(self.frame.len())
    }

    /// Appends the headers of a segment, complete with lengths and checksums.
    pub fn write_header(&self, index: usize, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(self.frame.get(..self.payload).unwrap_or_default());
        let Some(header) = out.get_mut(at..) else { return };
        let body = self.frame.get(self.body(index)).unwrap_or_default();
        let Some((ip, transport)) = header
            .split_at_mut_checked(self.layout.transport)
            .and_then(|(front, transport)| Some((front.get_mut(Layout::IP..)?, transport)))
        else {
            return;
        };
        let transport_len = transport.len() + body.len();
        self.write_ip(index, ip, transport_len);
        self.write_transport(index, transport, body);
    }

    fn write_ip(&self, index: usize, ip: &mut [u8], transport_len: usize) {
        match self.layout.family {
            Family::V4 => {
                put(ip, 2, ip.len() + transport_len);
                // Each segment is a datagram of its own, so each needs its own identification
                // (RFC 791, section 3.1); the guest has left room for them.
                let id = ip
                    .get(4..6)
                    .and_then(|b| b.first_chunk())
                    .map_or(0, |b| u16::from_be_bytes(*b));
                put(ip, 4, usize::from(id.wrapping_add(index as u16)));
                put(ip, 10, 0);
                let sum = Sum::default().bytes(ip).complement();
                put(ip, 10, usize::from(sum));
            }
            // Extension headers count as payload (RFC 8200, section 3).
            Family::V6 => put(ip, 4, ip.len() - 40 + transport_len),
        }
    }

    fn write_transport(&self, index: usize, transport: &mut [u8], body: &[u8]) {
        let len = transport.len() + body.len();
        let checksum_at = self.layout.checksum_offset().unwrap_or(0);
        if self.layout.protocol == TCP {
            self.write_tcp(index, transport);
        } else {
            put(transport, 4, len);
        }
        put(transport, checksum_at, 0);
        // Headers have an even length, so sums of the parts add up.
        let sum =
            self.pseudo.word(len as u16).bytes(transport).word(sum::of(body).folded()).complement();
        // A UDP checksum of zero would mean that there is none (RFC 768).
        let sum = if sum == 0 && self.layout.protocol == UDP { u16::MAX } else { sum };
        put(transport, checksum_at, usize::from(sum));
    }

    fn write_tcp(&self, index: usize, tcp: &mut [u8]) {
        if let Some(field) = tcp.get_mut(TCP_SEQ).and_then(|b| b.first_chunk_mut()) {
            let offset = (index * self.size) as u32;
            *field = u32::from_be_bytes(*field).wrapping_add(offset).to_be_bytes();
        }
        if let Some(flags) = tcp.get_mut(TCP_FLAGS) {
            if index > 0 {
                *flags &= !ONLY_FIRST;
            }
            if index + 1 < self.count() {
                *flags &= !ONLY_LAST;
            }
        }
    }
}

/// Adds up the bytes of `frame` from `start` on, where the field at `start + offset` holds what
/// goes before them, and stores the checksum in that field. `None`, and nothing happens, if the
/// field is not inside the frame.
pub fn finish_checksum(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let covered = frame.get_mut(start..)?;
    let field = offset..offset.checked_add(2)?;
    covered.get(field.clone())?;
    let sum = sum::of(covered).complement();
    // Zero would say "no checksum" in UDP; in TCP, minus zero means the same as zero.
    let sum = if sum == 0 { u16::MAX } else { sum };
    covered.get_mut(field)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Stores a number in 16 bits at `at`; nothing happens outside of `bytes`.
fn put(bytes: &mut [u8], at: usize, number: usize) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&(number as u16).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inner::samples;
    use proptest::prelude::*;

    /// Whether the transport checksum of a frame (and the header checksum of IPv4) is right.
    fn checksums_hold(frame: &[u8]) -> bool {
        let layout = Layout::of(frame).unwrap();
        let transport = &frame[layout.transport..];
        let sum = Sum::default()
            .bytes(layout.addresses(frame))
            .word(layout.protocol.into())
            .word(transport.len() as u16)
            .bytes(transport);
        let ip_sum = Sum::default().bytes(&frame[Layout::IP..layout.transport]);
        sum.folded() == 0xffff && (layout.family == Family::V6 || ip_sum.folded() == 0xffff)
    }

    fn cut(frame: &[u8], segments: Segmentation) -> Vec<Vec<u8>> {
        let cutter = Cutter::new(frame, segments).unwrap();
        let segment = |index| {
            let mut bytes = Vec::new();
            cutter.write_header(index, &mut bytes);
            bytes.extend_from_slice(&frame[cutter.body(index)]);
            bytes
        };
        (0..cutter.count()).map(segment).collect()
    }

    proptest! {
        #[test]
        fn segments_carry_the_payload_in_order(
            v6 in any::<bool>(),
            kind in prop::sample::select(vec![SegmentKind::Tcp, SegmentKind::Udp]),
            payload in proptest::collection::vec(any::<u8>(), 0..5000),
            size in 50u16..2000,
            seq in any::<u32>(),
            flags in any::<u8>(),
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let frame = match kind {
                SegmentKind::Tcp => samples::ip(family, TCP, &samples::tcp(seq, flags, &payload)),
                SegmentKind::Udp => samples::ip(family, UDP, &samples::udp(&payload)),
            };
            let pieces = cut(&frame, Segmentation { kind, size });
            let mut seen = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                let layout = Layout::of(piece).unwrap();
                prop_assert_eq!(layout.end, piece.len());
                prop_assert!(checksums_hold(piece));
                let body = &piece[layout.payload(piece).unwrap()..];
                prop_assert!(body.len() == usize::from(size) || index + 1 == pieces.len());
                let transport = &piece[layout.transport..];
                if kind == SegmentKind::Tcp {
                    let want = seq.wrapping_add(seen.len() as u32);
                    prop_assert_eq!(&transport[TCP_SEQ], want.to_be_bytes());
                    let (first, last) = (index == 0, index + 1 == pieces.len());
                    let gone = if first { 0 } else { ONLY_FIRST } | if last { 0 } else { ONLY_LAST };
                    prop_assert_eq!(transport[TCP_FLAGS], (0x10 | flags) & !gone);
                } else {
                    prop_assert_eq!(&transport[4..6], (transport.len() as u16).to_be_bytes());
                }
                if !v6 {
                    let id = 0xfffeu16.wrapping_add(index as u16);
                    prop_assert_eq!(&piece[18..20], id.to_be_bytes());
                }
                seen.extend_from_slice(body);
            }
            prop_assert_eq!(seen, payload);
        }

        #[test]
        fn any_frame_is_safe_to_cut(
            mut frame in proptest::collection::vec(any::<u8>(), 14..300),
            v6: bool,
            udp: bool,
            size: u16,
        ) {
            let (ethertype, version) = if v6 { ([0x86, 0xdd], 0x60) } else { ([8, 0], 0x45) };
            frame[12..14].copy_from_slice(&ethertype);
            if let Some(byte) = frame.get_mut(14) {
                *byte = version;
            }
            let kind = if udp { SegmentKind::Udp } else { SegmentKind::Tcp };
            if let Some(byte) = frame.get_mut(if v6 { 20 } else { 23 }) {
                *byte = if udp { UDP } else { TCP };
            }
            if let Ok(cutter) = Cutter::new(&frame, Segmentation { kind, size }) {
                let mut bytes = Vec::new();
                let mut seen = cutter.header_len();
                for index in 0..cutter.count() {
                    prop_assert_eq!(cutter.body(index).start, seen);
                    seen = cutter.body(index).end;
                    cutter.write_header(index, &mut bytes);
                    prop_assert_eq!(bytes.len(), (index + 1) * cutter.header_len());
                }
                prop_assert_eq!(seen, frame.len());
            }
        }

        #[test]
        fn a_finished_checksum_holds(v6 in any::<bool>(), payload: Vec<u8>) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let mut frame = samples::ip(family, UDP, &samples::udp(&payload));
            let layout = Layout::of(&frame).unwrap();
            let len = frame.len() - layout.transport;
            let pseudo = Sum::default().bytes(layout.addresses(&frame)).word(17).word(len as u16);
            put(&mut frame, layout.transport + 6, usize::from(pseudo.folded()));
            finish_checksum(&mut frame, layout.transport, 6).unwrap();
            prop_assert!(checksums_hold(&frame));
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let tcp = samples::ip(Family::V4, TCP, &samples::tcp(0, 0, &[0; 3000]));
        let of = |kind, size| Cutter::new(&tcp, Segmentation { kind, size }).map(|c| c.count());
        assert_eq!(of(SegmentKind::Tcp, 1000), Ok(3));
        assert_eq!(of(SegmentKind::Tcp, 0), Err(CutError::Size));
        assert_eq!(of(SegmentKind::Tcp, 1), Err(CutError::Size));
        assert_eq!(of(SegmentKind::Tcp, u16::MAX), Err(CutError::Size));
        assert_eq!(of(SegmentKind::Udp, 1000), Err(CutError::Kind));
    }

    #[test]
    fn a_checksum_outside_the_frame_is_not_stored() {
        for (start, offset) in [(9, 0), (8, 1), (0, 9), (usize::MAX, 0), (0, usize::MAX), (11, 0)] {
            let mut frame = [1; 10];
            assert_eq!(finish_checksum(&mut frame, start, offset), None);
            assert_eq!(frame, [1; 10]);
        }
        assert_eq!(finish_checksum(&mut [1; 10], 8, 0), Some(()));
    }
}
