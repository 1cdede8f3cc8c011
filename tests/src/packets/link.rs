// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a guest says to its gateway: ARP, DHCP, router solicitation.

use super::{Body, Packet};
use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacket, PacketBuilder};
use opte_api::MacAddr;
use std::net::{IpAddr, Ipv4Addr};

/// Who has `target`? From the guest with this MAC and address.
pub fn arp_request(mac: MacAddr, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let packet = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: mac.0,
        sender_ipv4: ip.octets(),
        target_mac: [0; 6],
        target_ipv4: target.octets(),
    };
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(mac.0, [0xff; 6])
        .arp(ArpPacket::from(packet))
        .write(&mut bytes)
        .expect("an ARP packet fits");
    bytes
}

/// A DHCP discover (RFC 2131, section 4.4.1), from `src` to `dst`.
pub fn dhcp_discover(mac: MacAddr, [src, dst]: [Ipv4Addr; 2]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef];
    message.resize(28, 0);
    message.extend_from_slice(&mac.0);
    message.resize(236, 0);
    // Cookie, message type, end.
    message.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
    let body = Body::Udp { ports: [68, 67], checksum: true };
    let ips = [src, dst].map(IpAddr::from);
    Packet { payload: message, ..Packet::new([mac, MacAddr::BROADCAST], ips, body) }.bytes()
}

/// A router solicitation (RFC 4861, section 4.1).
pub fn router_solicitation(mac: MacAddr) -> Vec<u8> {
    let all_routers = "ff02::2".parse().expect("an address");
    let macs = [mac, MacAddr::from_ipv6_group(all_routers)];
    let body = Body::Icmp { kind: [133, 0], rest: [0; 4] };
    let ips = [mac.link_local(), all_routers].map(IpAddr::from);
    let mut bytes = Packet { payload: Vec::new(), ..Packet::new(macs, ips, body) }.bytes();
    // Hop limit 255 (section 6.1.1); it is in no checksum.
    bytes[14 + 7] = 255;
    bytes
}
