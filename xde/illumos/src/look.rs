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
/// Bytes that [`is_geneve`] reads.
pub const OUTER_LOOK: usize = ETHER + IPV6 + UDP;
/// UDP ports below are those of services (RFC 6335, section 6): what the gateway answers is among
/// them, and it reads more than headers.
const SERVICES: u16 = 1024;

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|two| two.first_chunk()).map(|two| u16::from_be_bytes(*two))
}

/// Bytes of a guest's frame that must lie in one piece, of which `first` is the first block.
pub fn inner(first: &[u8]) -> usize {
    headers(first).unwrap_or(HEAD_LEN)
}

/// Where the transport header ends; `None` for what is not plain TCP or UDP.
fn headers(frame: &[u8]) -> Option<usize> {
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

/// The frame is a Geneve packet over plain IPv6 and UDP. `front` is its first [`OUTER_LOOK`] bytes,
/// or all.
pub fn is_geneve(front: &[u8]) -> bool {
    word(front, 12) == Some(0x86dd)
        && front.get(ETHER + 6) == Some(&17)
        && word(front, ETHER + IPV6 + 2) == Some(GENEVE_PORT)
}

/// Bytes of a Geneve packet that must lie in one piece, of which `first` is the first block.
pub fn outer(first: &[u8]) -> usize {
    let options = first.get(OUTER_LOOK).map_or(0, |byte| usize::from(byte & 0x3f) * 4);
    let at = OUTER_LOOK + GENEVE + options;
    at + inner(first.get(at..).unwrap_or_default())
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
        assert_eq!(inner(&ipv4(6, &tcp)), 14 + 24 + 32);
        tcp[13] = 0x02;
        assert_eq!(inner(&ipv4(6, &tcp)), HEAD_LEN);
        assert_eq!(inner(&ipv4(17, &[0, 9, 0x17, 0xc1, 0, 8, 0, 0])), 14 + 24 + 8);
        assert_eq!(inner(&ipv4(17, &[0, 68, 0, 67, 0, 8, 0, 0])), HEAD_LEN);
        assert_eq!(inner(&ipv4(1, &[8, 0, 0, 0, 0, 0, 0, 0])), HEAD_LEN);
        assert_eq!(inner(&[0; 13]), HEAD_LEN);
        let mut ipv6 = std::vec![0; 12];
        ipv6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
        ipv6.extend([0; 32]);
        ipv6.extend([0, 9, 0x17, 0xc1, 0, 8, 0, 0]);
        assert_eq!(inner(&ipv6), 14 + 40 + 8);
        (0..ipv6.len()).for_each(|len| assert!(inner(&ipv6[..len]) > len));
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
        assert!(is_geneve(&frame[..OUTER_LOOK]) && !is_geneve(&frame[..OUTER_LOOK - 5]));
        assert_eq!(outer(&frame), outer_headers.len() + inner(&inner_frame));
        frame[OUTER_LOOK - 5] ^= 1;
        assert!(!is_geneve(&frame));
        assert!(!is_geneve(&inner_frame));
    }
}
