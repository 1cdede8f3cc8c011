// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Large segments between hosts, and the Geneve option that tells of which size they are made.
//!
//! A guest's super-frame must be cut for the underlay, but the underlay often takes more than a guest's
//! link does. So pieces are made of as many of the guest's segments as fit, and the segment size
//! travels in an option that the engine puts, empty, into each TCP packet between guests. The other
//! host hands the piece on as a super-frame of that size. Fewer pieces are fewer headers, sums and
//! packets on the wire.
//!
//! Only segments that mean the same in one piece: TCP with no flag but ACK and PSH, IPv4 that is
//! never fragmented, no IP options or extension headers.

use crate::inner::{Family, Layout, TCP};
use opte::frame::{SegmentKind, Segmentation};
use opte::outer::{GeneveOptions, Outer};
use oxide_vpc::overlay::{OPTION_CLASS, OPTION_SEGMENT_SIZE};

/// Length of a Geneve header without options (RFC 8926, section 3.4).
const GENEVE_LEN: usize = 8;
/// Length of the option's header.
const OPTION_LEN: usize = 4;
/// Of an option's type, the bit that says whether it must be understood.
const CRITICAL: u8 = 0x80;
/// Of an option's last header byte, its length in words.
const WORDS: u8 = 0x1f;
const DONT_FRAGMENT: u8 = 0x40;
const TCP_FLAGS: usize = 13;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// Segments that one piece may be made of.
const MAX_SEGMENTS: usize = 64;

/// How to cut `frame` so that each datagram has at most `largest` bytes from its Geneve header on,
/// and with which outer headers; `None` if it is to be cut as the guest wants it.
pub fn enlarge(
    frame: &[u8],
    segments: Segmentation,
    outer: &Outer,
    largest: usize,
) -> Option<(Segmentation, Outer)> {
    if segments.kind != SegmentKind::Tcp || told_by(outer.options.as_slice()) != Some(0) {
        return None;
    }
    let layout = Layout::of(frame)?;
    let headers = GENEVE_LEN + outer.options.as_slice().len() + layout.payload(frame)?;
    let many = largest.checked_sub(headers)?.checked_div(segments.size.into())?.min(MAX_SEGMENTS);
    if many < 2 || !keeps_its_meaning(&layout, frame) {
        return None;
    }
    let size = u16::try_from(many * usize::from(segments.size)).ok()?;
    let options = GeneveOptions::new(&option(segments.size))?;
    Some((Segmentation { kind: SegmentKind::Tcp, size }, Outer { options, ..*outer }))
}

fn keeps_its_meaning(layout: &Layout, frame: &[u8]) -> bool {
    let ip_len = layout.transport - Layout::IP;
    let plain_ip = match layout.family {
        Family::V4 => {
            ip_len == 20 && frame.get(Layout::IP + 6).is_some_and(|b| b & DONT_FRAGMENT != 0)
        }
        Family::V6 => ip_len == 40,
    };
    let flags = frame.get(layout.transport + TCP_FLAGS).copied().unwrap_or(0);
    plain_ip && layout.protocol == TCP && flags & !PSH == ACK
}

/// The option that tells of `size`.
fn option(size: u16) -> [u8; 8] {
    let ([c0, c1], [s0, s1]) = (OPTION_CLASS.to_be_bytes(), size.to_be_bytes());
    [c0, c1, OPTION_SEGMENT_SIZE, 1, 0, 0, s0, s1]
}

/// The segment size that the options of a Geneve header (that of a datagram which begins with it)
/// tell of, if it is one.
pub fn told(datagram: &[u8]) -> Option<u16> {
    let len = usize::from(datagram.first()? & 0x3f) * 4;
    let options = datagram.get(GENEVE_LEN..GENEVE_LEN + len)?;
    told_by(options).and_then(|size| u16::try_from(size).ok()).filter(|size| *size > 0)
}

fn told_by(mut options: &[u8]) -> Option<u32> {
    loop {
        let ([c0, c1, kind, words], rest) = options.split_first_chunk::<OPTION_LEN>()?;
        let (body, rest) = rest.split_at_checked(usize::from(words & WORDS) * 4)?;
        if u16::from_be_bytes([*c0, *c1]) == OPTION_CLASS && kind & !CRITICAL == OPTION_SEGMENT_SIZE
        {
            return body.try_into().ok().map(u32::from_be_bytes);
        }
        options = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inner::{UDP, samples};
    use crate::outbox::samples::outer;
    use proptest::prelude::*;

    fn empty() -> Outer {
        Outer { options: GeneveOptions::new(&option(0)).unwrap(), ..outer(2, 7) }
    }

    #[test]
    fn as_many_segments_as_fit_make_one_piece() {
        let segments = Segmentation { kind: SegmentKind::Tcp, size: 1448 };
        for (family, headers) in [(Family::V4, 16 + 66), (Family::V6, 16 + 86)] {
            let frame = samples::ip(family, TCP, &samples::tcp(0, PSH, &[7; 20_000]));
            let of = |largest| enlarge(&frame, segments, &empty(), largest);
            let (larger, told_in) = of(headers + 6 * 1448).unwrap();
            assert_eq!(larger, Segmentation { size: 6 * 1448, ..segments });
            assert_eq!(told(told_in.headers(0).geneve()), Some(1448));
            assert_eq!(of(headers + 6 * 1448 - 1).unwrap().0.size, 5 * 1448);
            assert_eq!(of(headers + 2 * 1448 - 1), None, "one fits");
            assert_eq!(of(0), None);
            assert_eq!(enlarge(&frame, segments, &outer(2, 7), 9000), None, "no such option");
        }
    }

    #[test]
    fn what_would_lose_its_meaning_is_left_alone() {
        let segments = Segmentation { kind: SegmentKind::Tcp, size: 100 };
        let fin = samples::ip(Family::V6, TCP, &samples::tcp(0, 1, &[7; 2000]));
        assert_eq!(enlarge(&fin, segments, &empty(), 9000), None);
        let mut fragments = samples::ip(Family::V4, TCP, &samples::tcp(0, 0, &[7; 2000]));
        fragments[20] = 0;
        assert_eq!(enlarge(&fragments, segments, &empty(), 9000), None);
        let udp = samples::ip(Family::V6, UDP, &samples::udp(&[7; 2000]));
        let segments = Segmentation { kind: SegmentKind::Udp, size: 100 };
        assert_eq!(enlarge(&udp, segments, &empty(), 9000), None);
    }

    proptest! {
        #[test]
        fn any_options_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (told(&bytes), told_by(&bytes));
        }
    }
}
