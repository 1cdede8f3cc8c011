// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Checksums summed up from scratch, word by word (RFC 1071): slow, and independent of the
//! engine's.

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |b| (*b).into()))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Where the transport header of an IP packet without options and extensions begins, and the sum
/// of its pseudo-header and everything behind it.
fn transport(packet: &[u8]) -> (usize, u8, u32) {
    let (at, protocol, addresses) = match packet[0] >> 4 {
        4 => (20, packet[9], &packet[12..20]),
        _ => (40, packet[6], &packet[8..40]),
    };
    let rest = &packet[at..];
    (at, protocol, sum(addresses) + u32::from(protocol) + rest.len() as u32 + sum(rest))
}

/// Fills in the checksums of an IP packet, whose fields are zero.
pub fn complete(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let header = !fold(sum(&packet[..20]));
        packet[10..12].copy_from_slice(&header.to_be_bytes());
    }
    let (at, protocol, total) = transport(packet);
    let field = at + if protocol == 6 { 16 } else { 6 };
    packet[field..field + 2].copy_from_slice(&(!fold(total)).to_be_bytes());
}

/// All checksums of an IP packet are right.
pub fn are_right(packet: &[u8]) -> bool {
    let header = packet[0] >> 4 != 4 || fold(sum(&packet[..20])) == 0xffff;
    header && fold(transport(packet).2) == 0xffff
}
