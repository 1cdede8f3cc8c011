// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets by hand, independent of the code under test: every sum is computed in full.

use super::*;

/// RFC 1071, the plain way.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IP packet of either family.
pub fn ip(src: &str, dst: &str, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (addr(src), addr(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let [high, low] = (20 + payload.len() as u16).to_be_bytes();
            bytes.extend([0x45, 0xb9, high, low, 0x12, 0x34, 0x40, 0, hops, protocol, 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            let sum = sum(&[&bytes]).to_be_bytes();
            bytes[10..12].copy_from_slice(&sum);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            bytes.extend([0x6b, 0x91, 0x23, 0x45, high, low, protocol, hops]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
        }
        _ => panic!("two families"),
    }
    bytes.extend(payload);
    bytes
}

/// The same with IPv4 fragment bits or an IPv6 fragment header. `offset` is in units of 8 bytes.
pub fn fragment(src: &str, dst: &str, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    if addr(src).is_ipv6() {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        let header = [17, 0, high, low, 0, 0, 0, 1];
        return ip(src, dst, 44, 64, &[&header, payload].concat());
    }
    let mut bytes = ip(src, dst, 17, 64, payload);
    bytes[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum = sum(&[&bytes[..20]]).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes
}

/// The front of a TCP or UDP header.
pub fn ports(src: u16, dst: u16) -> Vec<u8> {
    [&src.to_be_bytes()[..], &dst.to_be_bytes(), &[0, 8, 0, 0], b"data"].concat()
}

/// An ICMP message of either family, whose sum is not looked at.
pub fn icmp(kind: u8, id: u16, body: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    [&[kind, 0, 0, 0, high, low, 0, 1], body].concat()
}

/// ICMP's protocol number, echo request, echo reply and time exceeded of each family.
pub const ICMP: [[u8; 4]; 2] = [[1, 8, 0, 11], [58, 128, 129, 3]];

pub fn ether(dst: MacAddr, src: MacAddr, packet: &[u8]) -> Vec<u8> {
    let kind = if packet.first().is_some_and(|byte| byte >> 4 == 4) {
        ETHERTYPE_IPV4
    } else {
        ETHERTYPE_IPV6
    };
    [&dst.0[..], &src.0, &kind.to_be_bytes(), packet].concat()
}

/// What comes in on the outside link.
pub fn outside(packet: &[u8]) -> Vec<u8> {
    ether(OUTSIDE_MAC, PEER_MAC, packet)
}

/// What a hypervisor host sends: Geneve with these options.
pub fn geneve(options: &[u8], packet: &[u8]) -> Vec<u8> {
    let header = [options.len() as u8 / 4, 0, 0x65, 0x58, 0, 0, 99, 0];
    let inner = ether(Config::DEFAULT_INNER_MAC, GUEST_MAC, packet);
    [&header, options, &inner].concat()
}

/// The packet with one hop less and, in IPv4, its sum computed anew.
pub fn one_hop_less(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    if bytes[0] >> 4 == 6 {
        bytes[7] -= 1;
        return bytes;
    }
    let header_len = usize::from(bytes[0] & 0xf) * 4;
    bytes[8] -= 1;
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum = sum(&[&bytes[..header_len]]).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes
}
