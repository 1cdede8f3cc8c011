// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How much of a frame must lie in one piece, and whether it is for us.
//!
//! The engine reads and edits headers where they lie. Most frames have them all in their first
//! block, which is then left as it is; others get a block of their own for [`HEAD_LEN`] bytes. A
//! wrong answer here costs a copy, or the engine finds the frame truncated; it never makes it read
//! what is not there.

use opte::frame::HEAD_LEN;
use opte::outer::GENEVE_PORT;

const ETHER: usize = 14;
const IPV6: usize = 40;
const UDP: usize = 8;
const GENEVE: usize = 8;
/// Protocol number of UDP.
const UDP_NUMBER: u8 = 17;
/// The extension header of a part of a datagram (RFC 8200, section 4.5).
const FRAGMENT: u8 = 44;
/// Extension headers of IPv6 that may stand in front of UDP: hop-by-hop options, routing, fragment,
/// destination options.
const EXTENSIONS: [u8; 4] = [0, 43, FRAGMENT, 60];
/// Bytes that [`is_answered_whole`] reads: with the longest IPv4 header.
pub const FRONT: usize = ETHER + 60 + 4;
/// Bytes that [`is_geneve`] reads.
pub const OUTER_LOOK: usize = ETHER + IPV6 + UDP;
/// UDP ports below are those of services (RFC 6335, section 6): what the gateway answers is among
/// them, and it reads more than headers.
const SERVICES: u16 = 1024;

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|two| two.first_chunk()).map(|two| u16::from_be_bytes(*two))
}

/// Bytes of a guest's frame that must lie in one piece, of which `first` is the first block: where
/// the transport header ends. `None` for what is not plain TCP or UDP, see [`is_answered_whole`].
pub fn inner(frame: &[u8]) -> Option<usize> {
    let (protocol, at) = match word(frame, 12)? {
        0x0800 => {
            let (first, protocol) = (*frame.get(ETHER)?, *frame.get(ETHER + 9)?);
            (protocol, ETHER + usize::from(first & 0xf) * 4)
        }
        0x86dd => (*frame.get(ETHER + 6)?, ETHER + IPV6),
        _ => return None,
    };
    match protocol {
        6 => {
            let flags = *frame.get(at + 13)?;
            // A connection that opens may be answered or followed by its options: rare, so copied
            // whole.
            let len = usize::from(*frame.get(at + 12)? >> 4) * 4;
            (flags & 0x02 == 0).then_some(at + len)
        }
        17 => (word(frame, at + 2)? >= SERVICES).then_some(at + UDP),
        _ => None,
    }
}

/// Whether the gateway may answer this frame of a guest with all that is in it, or look at all of
/// it: echo requests and neighbour discovery, DHCP. Then all of it must lie in one piece. `front` is
/// its first [`FRONT`] bytes, or all.
pub fn is_answered_whole(front: &[u8]) -> bool {
    let byte = |at: usize| front.get(at).copied().unwrap_or_default();
    let port = |at| word(front, at + 2);
    match word(front, 12) {
        Some(0x0800) => match byte(ETHER + 9) {
            1 => true,
            UDP_NUMBER => port(ETHER + usize::from(byte(ETHER) & 0xf) * 4) == Some(67),
            _ => false,
        },
        Some(0x86dd) => match byte(ETHER + 6) {
            58 => true,
            UDP_NUMBER => port(ETHER + IPV6) == Some(547),
            next => EXTENSIONS.contains(&next),
        },
        _ => false,
    }
}

/// What the first bytes of a frame of the underlay say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Is {
    /// A Geneve packet.
    Ours,
    /// Something else.
    Else,
    /// An IPv6 packet with extension headers: more of it tells, see [`is_geneve_behind`].
    Unclear,
}

/// What `front` says, the first [`OUTER_LOOK`] bytes of a frame, or all.
pub fn is_geneve(front: &[u8]) -> Is {
    let is_ipv6 = word(front, 12) == Some(0x86dd);
    match front.get(ETHER + 6).filter(|_| is_ipv6) {
        Some(&UDP_NUMBER) if word(front, ETHER + IPV6 + 2) == Some(GENEVE_PORT) => Is::Ours,
        Some(next) if EXTENSIONS.contains(next) => Is::Unclear,
        _ => Is::Else,
    }
}

/// Whether an IPv6 packet with extension headers is a Geneve packet. `head` is its first
/// [`HEAD_LEN`] bytes, or all. Parts of a datagram are for IP to put together.
#[cold]
#[inline(never)]
pub fn is_geneve_behind(head: &[u8]) -> bool {
    let (mut next, mut at) = (head.get(ETHER + 6).copied(), ETHER + IPV6);
    // Each header is 8 bytes at least, so the walk ends with the head.
    loop {
        let len = match next {
            Some(UDP_NUMBER) => return word(head, at + 2) == Some(GENEVE_PORT),
            Some(FRAGMENT) if word(head, at + 2).is_none_or(|it| it & 0xfff9 != 0) => return false,
            Some(FRAGMENT) => 8,
            Some(kind) if EXTENSIONS.contains(&kind) => {
                let Some(units) = head.get(at + 1) else { return false };
                (usize::from(*units) + 1) * 8
            }
            _ => return false,
        };
        next = head.get(at).copied();
        at += len;
    }
}

/// Bytes of a Geneve packet that must lie in one piece, of which `first` is the first block.
pub fn outer(first: &[u8]) -> usize {
    if first.get(ETHER + 6) != Some(&UDP_NUMBER) {
        return HEAD_LEN;
    }
    let options = first.get(OUTER_LOOK).map_or(0, |byte| usize::from(byte & 0x3f) * 4);
    let at = OUTER_LOOK + GENEVE + options;
    at + inner(first.get(at..).unwrap_or_default()).unwrap_or(HEAD_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opte::outer::{GeneveOptions, Outer};
    use std::vec::Vec;

    fn ipv4(protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut frame = std::vec![0; 12];
        frame.extend([0x08, 0, 0x46, 0, 0, 0, 0, 0, 0, 0, 64, protocol]);
        frame.extend([0; 14]);
        frame.extend(transport);
        frame
    }

    #[test]
    fn plain_transports_need_their_headers_and_others_all() {
        let mut tcp = [0; 32];
        (tcp[12], tcp[13]) = (0x80, 0x10);
        assert_eq!(inner(&ipv4(6, &tcp)), Some(14 + 24 + 32));
        tcp[13] = 0x02;
        assert_eq!(inner(&ipv4(6, &tcp)), None);
        assert_eq!(inner(&ipv4(17, &[0, 9, 0x17, 0xc1, 0, 8, 0, 0])), Some(14 + 24 + 8));
        assert_eq!(inner(&ipv4(17, &[0, 68, 0, 67, 0, 8, 0, 0])), None);
        assert_eq!(inner(&ipv4(1, &[8, 0, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(inner(&[0; 13]), None);
        let mut ipv6 = std::vec![0; 12];
        ipv6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
        ipv6.extend([0; 32]);
        ipv6.extend([0, 9, 0x17, 0xc1, 0, 8, 0, 0]);
        assert_eq!(inner(&ipv6), Some(14 + 40 + 8));
        (0..ipv6.len()).for_each(|len| assert!(inner(&ipv6[..len]).is_none_or(|it| it > len)));
    }

    #[test]
    fn outer_headers_are_known_by_the_engine_s_own() {
        let outer_headers = Outer {
            src: core::net::Ipv6Addr::LOCALHOST,
            dst: core::net::Ipv6Addr::LOCALHOST,
            source_port: 7,
            vni: opte_api::Vni::new(1).unwrap(),
            options: GeneveOptions::new(&[1, 0x29, 0, 0]).unwrap(),
            traffic_class: 0,
        };
        let inner_frame = ipv4(17, &[0, 9, 0x17, 0xc1, 0, 8, 0, 0]);
        let mut frame = outer_headers.headers(inner_frame.len()).as_slice().to_vec();
        frame.extend(&inner_frame);
        assert_eq!(is_geneve(&frame[..OUTER_LOOK]), Is::Ours);
        assert_eq!(is_geneve(&frame[..OUTER_LOOK - 5]), Is::Else);
        assert_eq!(outer(&frame), outer_headers.len() + inner(&inner_frame).unwrap());
        frame[OUTER_LOOK - 5] ^= 1;
        assert_eq!(is_geneve(&frame), Is::Else);
        assert_eq!(is_geneve(&inner_frame), Is::Else);
    }

    /// An IPv6 packet with these extension headers and UDP to this port.
    fn extended(first: u8, headers: &[u8], port: u16) -> Vec<u8> {
        let mut frame = std::vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, first, 64]);
        frame.extend([0; 32]);
        frame.extend(headers);
        frame.extend([0, 9]);
        frame.extend(port.to_be_bytes());
        frame.extend([0; 40]);
        frame
    }

    #[test]
    fn what_the_gateway_answers_is_looked_at_whole() {
        assert!(is_answered_whole(&ipv4(1, &[8, 0, 0, 0])));
        assert!(is_answered_whole(&ipv4(17, &[0, 68, 0, 67])));
        assert!(!is_answered_whole(&ipv4(17, &[0, 68, 1, 0xbb])));
        assert!(!is_answered_whole(&ipv4(6, &[0, 68, 0, 67])));
        let others: [(u8, &[u8], u16, bool); 4] = [
            (58, &[], 0, true),
            (17, &[], 547, true),
            (17, &[], 53, false),
            (60, &[0; 8], 53, true),
        ];
        for (first, headers, port, whole) in others {
            assert_eq!(
                is_answered_whole(&extended(first, headers, port)),
                whole,
                "{first}, {port}"
            );
        }
        assert!(!is_answered_whole(&[0xff; 13]));
    }

    #[test]
    fn geneve_is_found_behind_extension_headers() {
        let options = [17, 0, 1, 4, 0, 0, 0, 0];
        let two = [60, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
        let whole = [17, 0, 0, 0, 0, 0, 0, 7];
        let (part, last) = ([17, 0, 0, 1, 0, 0, 0, 7], [17, 0, 0, 8, 0, 0, 0, 7]);
        let others: [(u8, &[u8], bool); 6] = [
            (0, &options, true),
            (0, &two, true),
            (44, &whole, true),
            (44, &part, false),
            (44, &last, false),
            (60, &[6, 0, 1, 4, 0, 0, 0, 0], false),
        ];
        for (first, headers, ours) in others {
            let frame = extended(first, headers, GENEVE_PORT);
            assert_eq!((is_geneve(&frame), is_geneve_behind(&frame)), (Is::Unclear, ours));
            assert_eq!(outer(&frame), HEAD_LEN);
            assert!(!is_geneve_behind(&extended(first, headers, 53)));
            (0..frame.len() - 40).for_each(|len| assert!(!is_geneve_behind(&frame[..len])));
        }
    }
}
