// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the tests of the services share: a port, frames from its guest, and answers of all.

use super::packet::{self, Inbound};
use super::{Answer, Checksum, arp, dhcp4, dhcp6, icmp, ndp};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use opte_api::{MacAddr, Vni};
use oxide_vpc_api::{DhcpConfig, ExternalIps, IpConfig, PortConfig};
use smoltcp::wire::{IpProtocol, IpRepr, Ipv4Repr, Ipv6Repr, UdpRepr};

pub(super) const GUEST: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xfa, 0xfa, 0x37]);
pub(super) const GATEWAY: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xff, 0x77, 0x77]);
pub(super) const STRANGER: MacAddr = MacAddr([0xa8, 0x40, 0x25, 1, 2, 3]);
pub(super) const GUEST_V4: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 5);
pub(super) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
pub(super) const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);
pub(super) const GUEST_LOCAL: Ipv6Addr = GUEST.link_local();
pub(super) const GATEWAY_LOCAL: Ipv6Addr = GATEWAY.link_local();

pub(super) fn config() -> PortConfig {
    let ip = |private: &str, subnet: &str, gateway: &str| IpConfig {
        private_ip: private.parse().unwrap(),
        subnet: subnet.parse().unwrap(),
        gateway_ip: gateway.parse().unwrap(),
        external: ExternalIps::default(),
    };
    PortConfig {
        mac: GUEST,
        gateway_mac: GATEWAY,
        boundary_mac: oxide_vpc_api::config::BOUNDARY_MAC,
        vni: Vni::new(1_287_581).unwrap(),
        underlay_ip: "fd00:0:f7:101::1".parse().unwrap(),
        mtu: 1500,
        ipv4: Some(ip("172.30.0.5", "172.30.0.0/22", "172.30.0.1")),
        ipv6: Some(ip("fd00::5", "fd00::/64", "fd00::1")),
        dhcp: DhcpConfig {
            hostname: Some("guest-5".parse().unwrap()),
            host_domain: Some("lab.example.com".parse().unwrap()),
            domain_search: [].into(),
            dns4: [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(1, 1, 1, 1)].into(),
            dns6: ["2001:db8::53".parse().unwrap()].into(),
        },
        settings: oxide_vpc_api::PortSettings::default(),
    }
}

/// A port whose names and servers fit into no message, with the smallest MTU.
pub(super) fn crowded() -> PortConfig {
    let mut config = config();
    config.mtu = oxide_vpc_api::config::MIN_MTU;
    let label = "a-label-of-a-name-that-is-rather-long.example.com";
    config.dhcp.domain_search = (0..200).map(|_| label.parse().unwrap()).collect();
    config.dhcp.dns4 = (0..200).map(|n| Ipv4Addr::from_bits(n + 1)).collect();
    config.dhcp.dns6 = (0..200).map(|n| Ipv6Addr::from_bits(n + 1)).collect();
    config
}

/// An IP header. Both addresses are of one family.
pub(super) fn ip(from: impl Into<IpAddr>, to: impl Into<IpAddr>, proto: IpProtocol) -> IpRepr {
    match (from.into(), to.into()) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => IpRepr::Ipv4(Ipv4Repr {
            src_addr,
            dst_addr,
            next_header: proto,
            payload_len: 0,
            hop_limit: 255,
        }),
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => IpRepr::Ipv6(Ipv6Repr {
            src_addr,
            dst_addr,
            next_header: proto,
            payload_len: 0,
            hop_limit: 255,
        }),
        mixed => panic!("{mixed:?}"),
    }
}

/// A frame from the guest with this ICMP message, whose checksum is filled in.
pub(super) fn icmp_frame(to: MacAddr, mut ip: IpRepr, message: &[u8]) -> Vec<u8> {
    ip.set_payload_len(message.len());
    packet::frame(to, GUEST, &ip, |payload| {
        payload.copy_from_slice(message);
        packet::fill_icmp_checksum(&ip, payload);
    })
}

/// A frame from the guest to the DHCP server port, by broadcast.
pub(super) fn dhcp4_frame(message: &[u8]) -> Vec<u8> {
    let ip = ip(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, IpProtocol::Udp);
    let ports = UdpRepr { src_port: 68, dst_port: 67 };
    packet::udp_frame(MacAddr::BROADCAST, GUEST, ip, ports, message)
}

/// A frame from the guest to the DHCPv6 servers of the link.
pub(super) fn dhcp6_frame(message: &[u8]) -> Vec<u8> {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let ip = ip(GUEST_LOCAL, group, IpProtocol::Udp);
    let ports = UdpRepr { src_port: 546, dst_port: 547 };
    packet::udp_frame(MacAddr::from_ipv6_group(group), GUEST, ip, ports, message)
}

/// A message of the guest's DHCP client with these options.
pub(super) fn dhcp4_message(options: &[u8]) -> Vec<u8> {
    let mut message = [0; 240];
    message[..8].copy_from_slice(&[1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
    message[28..34].copy_from_slice(&GUEST.0);
    message[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    [message.as_slice(), options, &[255]].concat()
}

/// A message of the guest's DHCPv6 client with a client identifier, an elapsed time, a request
/// for names and servers, and these options.
pub(super) fn dhcp6_message(kind: u8, options: &[u8]) -> Vec<u8> {
    let head = [kind, 1, 2, 3, 0, 1, 0, 3, 9, 9, 9, 0, 8, 0, 2, 0, 0];
    let wanted = [0, 6, 0, 6, 0, 23, 0, 24, 0, 39];
    [head.as_slice(), &wanted, options].concat()
}

/// The one answer that is not `Pass`, if any service takes the frame.
pub(super) fn answer_of_all(config: &PortConfig, frame: &[u8], checksum: Checksum) -> Answer {
    let answers = [
        arp::respond(config, frame),
        icmp::respond(config, frame, checksum),
        ndp::respond(config, frame, checksum),
        dhcp4::respond(config, frame, checksum),
        dhcp6::respond(config, frame, checksum),
    ];
    let mut taken = answers.into_iter().filter(|answer| *answer != Answer::Pass);
    let answer = taken.next().unwrap_or(Answer::Pass);
    assert_eq!(taken.next(), None, "two services took one frame");
    answer
}

/// Checks what every IP reply must be and returns its IP header and transport message.
pub(super) fn reply_of(answer: Answer) -> (IpRepr, Vec<u8>) {
    let Answer::Reply(frame) = answer else { panic!("no reply: {answer:?}") };
    let inbound = Inbound::parse(&frame).expect("a reply is a whole IP packet");
    assert_eq!(inbound.source_mac, GATEWAY);
    match inbound.udp() {
        Some(udp) => {
            assert_ne!(udp.checksum(), 0);
            assert!(inbound.udp_intact(&udp, Checksum::Complete));
        }
        None => assert!(packet::icmp_intact(&inbound.ip, inbound.payload)),
    }
    let message = inbound.payload.to_vec();
    (inbound.ip, message)
}
