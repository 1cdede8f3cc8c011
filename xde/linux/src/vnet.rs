// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The virtio-net header in front of each frame of a TAP device (virtio 1.2, section 5.1.6), and
//! the offload facts that it stands for.
//!
//! What a guest wrote there is a claim. [`Header::check`] turns it into facts: afterwards, a
//! partial checksum is where the parsed transport header has one, and a super-frame is one that
//! can be cut. A checksum anywhere else is finished at once, before anybody judges the frame: if
//! it were left for later, a guest could have bytes changed that a firewall has already seen.

use crate::inner::{Family, Layout, TCP, UDP};
use crate::segment::{self, Cutter};
use opte::frame::{ChecksumState, Offload, SegmentKind, Segmentation};

/// Length of the header, with the field that only merged receive buffers use.
pub const HEADER_LEN: usize = 12;

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_VERIFIED: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Flag beside a TCP kind: the frame has CWR set.
const GSO_ECN: u8 = 0x80;
const TCP_FLAGS: usize = 13;
const TCP_CWR: u8 = 0x80;

/// The header's claim does not fit the frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the virtio-net header does not fit the frame")]
pub struct BadHeader;

/// A decoded header. Numbers are in the host's byte order, as TAP devices have them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Header {
    flags: u8,
    gso: u8,
    header_len: u16,
    segment_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl Header {
    /// Reads a header.
    pub fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [flags, gso, h0, h1, s0, s1, c0, c1, o0, o1, _, _] = bytes;
        Self {
            flags,
            gso,
            header_len: u16::from_ne_bytes([h0, h1]),
            segment_size: u16::from_ne_bytes([s0, s1]),
            checksum_start: u16::from_ne_bytes([c0, c1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// The header as it travels.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [s0, s1] = self.segment_size.to_ne_bytes();
        let [c0, c1] = self.checksum_start.to_ne_bytes();
        let [o0, o1] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso, h0, h1, s0, s1, c0, c1, o0, o1, 0, 0]
    }

    /// Holds the header against the frame that a guest sent behind it. May finish the frame's
    /// checksum.
    pub fn check(self, frame: &mut [u8]) -> Result<Offload, BadHeader> {
        let needs_checksum = self.flags & NEEDS_CHECKSUM != 0;
        if self.gso != GSO_NONE {
            let segments = Some(self.segmentation(frame)?);
            let checksum = self.partial(frame).filter(|_| needs_checksum).ok_or(BadHeader)?;
            return Ok(Offload { checksum, segments });
        }
        // A guest's word that a checksum has been verified counts for nothing.
        let mut checksum = ChecksumState::Complete;
        if needs_checksum {
            match self.partial(frame) {
                Some(partial) => checksum = partial,
                None => segment::finish_checksum(
                    frame,
                    usize::from(self.checksum_start),
                    usize::from(self.checksum_offset),
                )
                .ok_or(BadHeader)?,
            }
        }
        Ok(Offload { checksum, segments: None })
    }

    /// The partial checksum, if it is the one of the frame's TCP or UDP header.
    fn partial(self, frame: &[u8]) -> Option<ChecksumState> {
        let layout = Layout::of(frame)?;
        layout.payload(frame)?;
        let is_there = layout.transport == usize::from(self.checksum_start)
            && layout.checksum_offset() == Some(usize::from(self.checksum_offset));
        is_there.then_some(ChecksumState::Partial {
            start: self.checksum_start,
            offset: self.checksum_offset,
        })
    }

    fn segmentation(self, frame: &[u8]) -> Result<Segmentation, BadHeader> {
        let family = Layout::of(frame).ok_or(BadHeader)?.family;
        let kind = match (self.gso & !GSO_ECN, family) {
            (GSO_TCPV4, Family::V4) | (GSO_TCPV6, Family::V6) => SegmentKind::Tcp,
            (GSO_UDP, _) => SegmentKind::Udp,
            _ => return Err(BadHeader),
        };
        let segments = Segmentation { kind, size: self.segment_size };
        Cutter::new(frame, segments).map_err(|_| BadHeader)?;
        Ok(segments)
    }

    /// The header for a frame that goes to a guest. Facts that do not fit the frame are left out.
    pub fn for_guest(offload: Offload, frame: &[u8]) -> Self {
        let mut header = Self::default();
        match offload.checksum {
            ChecksumState::Complete => {}
            ChecksumState::Verified => header.flags = CHECKSUM_VERIFIED,
            ChecksumState::Partial { start, offset } => {
                header.flags = NEEDS_CHECKSUM;
                header.checksum_start = start;
                header.checksum_offset = offset;
            }
        }
        if let Some(segments) = offload.segments {
            header.set_segments(segments, frame);
        }
        header
    }

    fn set_segments(&mut self, segments: Segmentation, frame: &[u8]) {
        let Some(layout) = Layout::of(frame) else { return };
        let Some(payload) = layout.payload(frame) else { return };
        let flags = frame.get(layout.transport + TCP_FLAGS).copied().unwrap_or(0);
        self.gso = match (layout.protocol, layout.family) {
            (UDP, _) => GSO_UDP,
            (TCP, Family::V4) => GSO_TCPV4 | if flags & TCP_CWR != 0 { GSO_ECN } else { 0 },
            (TCP, Family::V6) => GSO_TCPV6 | if flags & TCP_CWR != 0 { GSO_ECN } else { 0 },
            _ => return,
        };
        self.header_len = u16::try_from(payload).unwrap_or(u16::MAX);
        self.segment_size = segments.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inner::samples;
    use opte::checksum::Sum;
    use proptest::prelude::*;

    fn header(flags: u8, gso: u8, size: u16, start: u16, offset: u16) -> Header {
        let checksum = (start, offset);
        Header {
            flags,
            gso,
            header_len: 0,
            segment_size: size,
            checksum_start: checksum.0,
            checksum_offset: checksum.1,
        }
    }

    #[test]
    fn facts_pass_through_both_ways() {
        let payload = [7; 3000];
        for (family, gso, start) in [(Family::V4, GSO_TCPV4, 34), (Family::V6, GSO_TCPV6, 54)] {
            let mut frame = samples::ip(family, TCP, &samples::tcp(0, 0, &payload));
            let claim = header(NEEDS_CHECKSUM, gso, 1000, start, 16);
            let offload = claim.check(&mut frame).unwrap();
            assert_eq!(offload.checksum, ChecksumState::Partial { start, offset: 16 });
            assert_eq!(offload.segments, Some(Segmentation { kind: SegmentKind::Tcp, size: 1000 }));
            let back = Header::for_guest(offload, &frame);
            assert_eq!(back, Header { header_len: start + 32, ..claim });
            assert_eq!(Header::from_bytes(back.to_bytes()), back);
        }
    }

    #[test]
    fn claims_that_do_not_fit_are_refused() {
        let frame = samples::ip(Family::V4, TCP, &samples::tcp(0, 0, &[7; 3000]));
        for (claim, why) in [
            (header(0, GSO_TCPV4, 1000, 34, 16), "cut without a checksum to fill in"),
            (header(1, GSO_TCPV6, 1000, 34, 16), "other family"),
            (header(1, GSO_UDP, 1000, 34, 16), "other transport"),
            (header(1, 3, 1000, 34, 16), "fragmentation offload, which is never offered"),
            (header(1, GSO_TCPV4, 0, 34, 16), "segments of nothing"),
            (header(1, GSO_TCPV4, 1000, 33, 16), "checksum elsewhere"),
            (header(1, GSO_NONE, 0, 3066, 0), "checksum behind the end"),
            (header(1, GSO_NONE, 0, 3060, 5), "checksum across the end"),
            (header(1, GSO_NONE, 0, u16::MAX, u16::MAX), "checksum far away"),
        ] {
            assert_eq!(claim.check(&mut frame.clone()), Err(BadHeader), "{why}");
        }
    }

    #[test]
    fn a_checksum_in_another_place_is_finished_at_once() {
        // An SCTP-like claim: protocol 50, a 16-bit field at 2.
        let mut frame = samples::ip(Family::V4, 50, &[1, 2, 0, 0, 5, 6, 7, 8]);
        let offload = header(1, GSO_NONE, 0, 34, 2).check(&mut frame).unwrap();
        assert_eq!(offload, Offload::default());
        assert_eq!(Sum::default().bytes(&frame[34..]).folded(), 0xffff);
    }

    proptest! {
        #[test]
        fn any_header_before_any_frame_is_safe(
            head in any::<[u8; HEADER_LEN]>(),
            mut frame in proptest::collection::vec(any::<u8>(), 0..200),
            proto in prop::sample::select(vec![[8u8, 0], [0x86, 0xdd]]),
        ) {
            if let Some(ethertype) = frame.get_mut(12..14) {
                ethertype.copy_from_slice(&proto);
            }
            let before = frame.clone();
            if let Ok(offload) = Header::from_bytes(head).check(&mut frame)
                && let ChecksumState::Partial { start, offset } = offload.checksum
            {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= frame.len());
                prop_assert_eq!(before, frame);
            }
        }
    }
}
