// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ARP (RFC 826): the gateway owns its IPv4 address and no other. No ARP packet leaves the port.

use super::Answer;
use alloc::vec;
use core::net::IpAddr;
use opte_api::MacAddr;
use oxide_vpc_api::PortConfig;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr,
};

/// Answers a request for the gateway's address, by broadcast or, as a check that the gateway
/// still lives, by unicast (RFC 1122, section 2.3.2.1).
pub fn respond(config: &PortConfig, frame: &[u8]) -> Answer {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return Answer::Pass };
    if ethernet.ethertype() != EthernetProtocol::Arp {
        return Answer::Pass;
    }
    let destination = MacAddr(ethernet.dst_addr().0);
    if destination != MacAddr::BROADCAST && destination != config.gateway_mac {
        return Answer::Deny("ARP to another machine");
    }
    if ethernet.src_addr().0 != config.mac.0 {
        return Answer::Deny("ARP from a MAC address that is not the guest's");
    }
    let Some(ipv4) = &config.ipv4 else { return Answer::Deny("ARP on a port without IPv4") };
    // Ethernet and IPv4 are the only types that this accepts.
    let packet = ArpPacket::new_checked(ethernet.payload());
    let Ok(ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    }) = packet.and_then(|packet| ArpRepr::parse(&packet))
    else {
        return Answer::Deny("not an ARP request for an IPv4 address");
    };
    if IpAddr::V4(target_protocol_addr) != ipv4.gateway_ip {
        return Answer::Deny("ARP request for an address that is not the gateway's");
    }
    reply(
        config,
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(config.gateway_mac.0),
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        },
    )
}

fn reply(config: &PortConfig, arp: ArpRepr) -> Answer {
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(config.gateway_mac.0),
        dst_addr: EthernetAddress(config.mac.0),
        ethertype: EthernetProtocol::Arp,
    };
    let mut reply = vec![0; ethernet.buffer_len() + arp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(reply.as_mut_slice());
    ethernet.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    Answer::Reply(reply)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use alloc::vec::Vec;

    /// Destination and source MAC, type of hardware, operation, and the four addresses.
    fn frame(to: MacAddr, from: MacAddr, kind: [u8; 2], addresses: [&[u8]; 4]) -> Vec<u8> {
        let [hardware, operation] = kind;
        let head = [8, 6, 0, hardware, 8, 0, 6, 4, 0, operation];
        [&to.0, &from.0, head.as_slice(), &addresses.concat()].concat()
    }

    fn request(target: [u8; 4]) -> [Vec<u8>; 4] {
        [GUEST.0.to_vec(), GUEST_V4.octets().to_vec(), [0; 6].to_vec(), target.to_vec()]
    }

    #[test]
    fn the_gateway_is_found_by_broadcast_and_by_unicast() {
        let [a, b, c, d] = request(GATEWAY_V4.octets());
        for to in [MacAddr::BROADCAST, GATEWAY] {
            let answer = respond(&config(), &frame(to, GUEST, [1, 1], [&a, &b, &c, &d]));
            let addresses =
                [GATEWAY.0.as_slice(), &GATEWAY_V4.octets(), &GUEST.0, &GUEST_V4.octets()];
            assert_eq!(answer, Answer::Reply(frame(GUEST, GATEWAY, [1, 2], addresses)));
        }
    }

    #[test]
    fn everything_else_of_arp_is_denied() {
        let [a, b, c, d] = request(GATEWAY_V4.octets());
        let good: [&[u8]; 4] = [&a, &b, &c, &d];
        let [.., own] = request(GUEST_V4.octets());
        let mut ipv6_only = config();
        ipv6_only.ipv4 = None;
        for (config, frame) in [
            (config(), frame(MacAddr::BROADCAST, GUEST, [1, 1], [&a, &b, &c, &own])),
            (config(), frame(MacAddr::BROADCAST, GUEST, [1, 2], good)),
            (config(), frame(MacAddr::BROADCAST, GUEST, [6, 1], good)),
            (config(), frame(MacAddr::BROADCAST, STRANGER, [1, 1], good)),
            (config(), frame(STRANGER, GUEST, [1, 1], good)),
            (ipv6_only, frame(MacAddr::BROADCAST, GUEST, [1, 1], good)),
        ] {
            assert!(matches!(respond(&config, &frame), Answer::Deny(_)), "{frame:x?}");
        }
    }
}
