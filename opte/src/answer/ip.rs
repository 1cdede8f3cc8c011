// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ethernet and IP headers of what the engine writes.

use super::header_len;
use crate::checksum::Sum;
use crate::headers::MacPair;
use crate::wire::{ETHER_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, Ipv4, Ipv6};
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::Protocol;
use zerocopy::IntoBytes;

/// The flag of an IPv4 header that forbids routers to cut the packet (RFC 791, section 3.1).
pub(super) const DO_NOT_FRAGMENT: u16 = 0x4000;
const HOP_LIMIT: u8 = 64;

/// An IP header. Packets are not to be cut, so over IPv4 none needs an identification (RFC 6864,
/// section 4.1).
pub(super) struct Header {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub protocol: Protocol,
    pub traffic_class: u8,
}

impl Header {
    /// The header of a packet with `payload` bytes behind it, and room for them. `None`: the
    /// addresses are of two families, or the packet is longer than a packet can be.
    pub fn start(&self, payload: usize) -> Option<Vec<u8>> {
        let ipv4 = self.src.is_ipv4();
        let mut packet = Vec::with_capacity(header_len(ipv4) + payload);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = Ipv4 {
                    version_ihl: 0x45,
                    tos: self.traffic_class,
                    total_len: u16::try_from(IPV4_LEN + payload).ok()?.into(),
                    id: 0.into(),
                    fragment: DO_NOT_FRAGMENT.into(),
                    ttl: HOP_LIMIT,
                    protocol: self.protocol.0,
                    checksum: 0.into(),
                    src: src.octets(),
                    dst: dst.octets(),
                };
                header.checksum = Sum::default().bytes(header.as_bytes()).complement().into();
                packet.extend_from_slice(header.as_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6 {
                    first: (6 << 28 | u32::from(self.traffic_class) << 20).into(),
                    payload_len: u16::try_from(payload).ok()?.into(),
                    next: self.protocol.0,
                    hop_limit: HOP_LIMIT,
                    src: src.octets(),
                    dst: dst.octets(),
                };
                packet.extend_from_slice(header.as_bytes());
            }
            _ => return None,
        }
        Some(packet)
    }
}

/// The sum of the pseudo-header of a transport (RFC 9293, section 3.1; RFC 8200, section 8.1).
pub(super) fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> Sum {
    let addresses = [src, dst].into_iter().fold(Sum::default(), |sum, addr| match addr {
        IpAddr::V4(addr) => sum.bytes(&addr.octets()),
        IpAddr::V6(addr) => sum.bytes(&addr.octets()),
    });
    addresses.word(len as u16).word(protocol.0.into())
}

/// The Ethernet frame of an IP packet.
pub(super) fn frame(macs: MacPair, packet: &[u8]) -> Vec<u8> {
    let ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let ether_type = if ipv4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let mut frame = Vec::with_capacity(ETHER_LEN + packet.len());
    frame.extend_from_slice(&macs.0);
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}

/// The address of one host that may be written to: not of a group, of all hosts, of this host, or
/// of nobody (RFC 1812, section 4.3.2.7; RFC 4443, section 2.4 e).
pub fn is_host(addr: IpAddr) -> bool {
    let always = !addr.is_multicast() && !addr.is_unspecified() && !addr.is_loopback();
    match addr {
        // "This network" and the reserved block, which ends with the broadcast address (RFC 1122,
        // section 3.2.1.3; RFC 1112, section 4).
        IpAddr::V4(addr) => {
            let [first, ..] = addr.octets();
            always && first != 0 && first < 240
        }
        IpAddr::V6(_) => always,
    }
}
