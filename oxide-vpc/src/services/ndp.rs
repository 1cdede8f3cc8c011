// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Neighbour discovery (RFC 4861): the gateway is the only router and the only neighbour.
//!
//! The advertisement of the router sends the guest to DHCPv6 for its address and names no prefix:
//! nothing is on the link but the gateway. No message of neighbour discovery leaves the port.

use super::packet::{self, Inbound};
use super::{Answer, Checksum};
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use opte_api::MacAddr;
use oxide_vpc_api::PortConfig;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr, NdiscRouterFlags, RawHardwareAddress,
};

const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const REDIRECT: u8 = 137;
/// What every valid message has, and every message of ours (RFC 4861, sections 6.1 and 7.1).
const HOP_LIMIT: u8 = 255;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// Options of one message that are looked at.
const MAX_OPTIONS: usize = 32;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// The longest that a router may claim to serve (RFC 4861, section 6.2.1).
const ROUTER_LIFETIME: Duration = Duration::from_secs(9000);

/// Answers solicitations for the gateway and denies everything else of neighbour discovery.
pub fn respond(config: &PortConfig, frame: &[u8], checksum: Checksum) -> Answer {
    let Some(inbound) = Inbound::parse(frame) else { return Answer::Pass };
    let IpRepr::Ipv6(ip) = inbound.ip else { return Answer::Pass };
    let Some(kind) = inbound.payload.first().copied() else { return Answer::Pass };
    if ip.next_header != IpProtocol::Icmpv6 || !(ROUTER_SOLICITATION..=REDIRECT).contains(&kind) {
        return Answer::Pass;
    }
    let answer = check(config, &inbound, ip, checksum).and_then(|()| match kind {
        ROUTER_SOLICITATION => advertise_router(config, &inbound, ip),
        NEIGHBOUR_SOLICITATION => advertise_gateway(config, &inbound, ip),
        _ => Err("neighbour discovery that is no solicitation"),
    });
    match answer {
        Ok(reply) => Answer::Reply(reply),
        Err(why) => Answer::Deny(why),
    }
}

/// What both solicitations must meet (RFC 4861, sections 6.1.1 and 7.1.1).
fn check(
    config: &PortConfig,
    inbound: &Inbound<'_>,
    ip: Ipv6Repr,
    checksum: Checksum,
) -> Result<(), &'static str> {
    let Some(ipv6) = &config.ipv6 else {
        return Err("neighbour discovery on a port without IPv6");
    };
    if inbound.source_mac != config.mac {
        return Err("neighbour discovery from a MAC address that is not the guest's");
    }
    let source = ip.src_addr;
    if !(source.is_unspecified() || source.is_unicast_link_local() || ipv6.private_ip == source) {
        return Err("neighbour discovery from an address that is not the guest's");
    }
    if inbound.extended {
        return Err("neighbour discovery behind extension headers");
    }
    if ip.hop_limit != HOP_LIMIT {
        return Err("neighbour discovery that came through a router");
    }
    if checksum == Checksum::Complete && !packet::icmp_intact(&inbound.ip, inbound.payload) {
        return Err("neighbour discovery with a wrong checksum");
    }
    if inbound.payload.get(1) != Some(&0) {
        return Err("neighbour discovery with an unknown code");
    }
    Ok(())
}

/// Answers a router solicitation (RFC 4861, section 6.2.6).
fn advertise_router(
    config: &PortConfig,
    inbound: &Inbound<'_>,
    ip: Ipv6Repr,
) -> Result<Vec<u8>, &'static str> {
    let Some((_, options)) = inbound.payload.split_at_checked(8) else {
        return Err("truncated router solicitation");
    };
    if !is_addressed(config, inbound, ip.dst_addr, ALL_ROUTERS) {
        return Err("router solicitation to another router");
    }
    if has_source_option(options)? && ip.src_addr.is_unspecified() {
        return Err("router solicitation with a MAC address for no address");
    }
    let advertisement = NdiscRepr::RouterAdvert {
        hop_limit: 255,
        flags: NdiscRouterFlags::MANAGED,
        router_lifetime: ROUTER_LIFETIME,
        reachable_time: Duration::ZERO,
        retrans_time: Duration::ZERO,
        lladdr: Some(mac_option(config)),
        mtu: Some(config.mtu.into()),
        prefix_info: None,
    };
    Ok(advertise(config, ip.src_addr, &advertisement))
}

/// Answers a neighbour solicitation for the gateway (RFC 4861, section 7.2.4).
fn advertise_gateway(
    config: &PortConfig,
    inbound: &Inbound<'_>,
    ip: Ipv6Repr,
) -> Result<Vec<u8>, &'static str> {
    let body = inbound.payload.get(8..).and_then(<[u8]>::split_first_chunk);
    let Some((target, options)) = body else { return Err("truncated neighbour solicitation") };
    let gateway = config.gateway_mac.link_local();
    if Ipv6Addr::from_octets(*target) != gateway {
        return Err("neighbour solicitation for an address that is not the gateway's");
    }
    let group = solicited_node(gateway);
    if !is_addressed(config, inbound, ip.dst_addr, group) {
        return Err("neighbour solicitation to another machine");
    }
    let has_source_option = has_source_option(options)?;
    if ip.src_addr.is_unspecified() && (has_source_option || ip.dst_addr != group) {
        return Err("malformed solicitation of duplicate address detection");
    }
    let mut flags = NdiscNeighborFlags::ROUTER | NdiscNeighborFlags::OVERRIDE;
    flags.set(NdiscNeighborFlags::SOLICITED, !ip.src_addr.is_unspecified());
    let advertisement =
        NdiscRepr::NeighborAdvert { flags, target_addr: gateway, lladdr: Some(mac_option(config)) };
    Ok(advertise(config, ip.src_addr, &advertisement))
}

/// The frame goes to the gateway itself or to a group that the gateway is in.
fn is_addressed(
    config: &PortConfig,
    inbound: &Inbound<'_>,
    destination: Ipv6Addr,
    group: Ipv6Addr,
) -> bool {
    let by_unicast = inbound.destination_mac == config.gateway_mac;
    let by_group = inbound.destination_mac == MacAddr::from_ipv6_group(group);
    (destination == group && (by_group || by_unicast))
        || (destination == config.gateway_mac.link_local() && by_unicast)
}

/// Looks for the sender's MAC address among the options. Fails if they are malformed: an option
/// of no length, or one that passes the end (RFC 4861, section 4.6).
fn has_source_option(mut options: &[u8]) -> Result<bool, &'static str> {
    let mut found = false;
    for _ in 0..MAX_OPTIONS {
        let [kind, units, ..] = *options else { break };
        let length = usize::from(units) * 8;
        options = options
            .get(length..)
            .filter(|_| length != 0)
            .ok_or("neighbour discovery with malformed options")?;
        found |= kind == SOURCE_LINK_LAYER_ADDRESS;
    }
    if options.is_empty() { Ok(found) } else { Err("neighbour discovery with malformed options") }
}

/// The group that a node with this address joins (RFC 4291, section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

fn mac_option(config: &PortConfig) -> RawHardwareAddress {
    EthernetAddress(config.gateway_mac.0).into()
}

/// Builds the frame. A solicitation from the unspecified address is answered to all nodes.
fn advertise(config: &PortConfig, solicitor: Ipv6Addr, message: &NdiscRepr<'_>) -> Vec<u8> {
    let (dst_addr, mac) = if solicitor.is_unspecified() {
        (ALL_NODES, MacAddr::from_ipv6_group(ALL_NODES))
    } else {
        (solicitor, config.mac)
    };
    let ip = Ipv6Repr {
        src_addr: config.gateway_mac.link_local(),
        dst_addr,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    packet::frame(mac, config.gateway_mac, &IpRepr::Ipv6(ip), |payload| {
        Icmpv6Repr::Ndisc(*message).emit(
            &ip.src_addr,
            &ip.dst_addr,
            &mut Icmpv6Packet::new_unchecked(payload),
            &ChecksumCapabilities::default(),
        );
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const UNSPECIFIED: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

    /// Sends a message to an IPv6 destination: a group by its group MAC, else the gateway's.
    fn ask(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Answer {
        let group = to.is_multicast().then(|| MacAddr::from_ipv6_group(to));
        let header = ip(from, to, IpProtocol::Icmpv6);
        let frame = icmp_frame(group.unwrap_or(GATEWAY), header, message);
        respond(&config(), &frame, Checksum::Complete)
    }

    fn router_solicitation(options: &[u8]) -> Vec<u8> {
        [&[133, 0, 0, 0, 0, 0, 0, 0], options].concat()
    }

    fn neighbour(kind: u8, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
        [&[kind, 0, 0, 0, 0, 0, 0, 0], target.octets().as_slice(), options].concat()
    }

    #[test]
    fn router_advertisement() {
        let with_mac = [1, 1, 1, 2, 3, 4, 5, 6];
        for (from, to, options, receiver) in [
            (GUEST_LOCAL, ALL_ROUTERS, with_mac.as_slice(), GUEST_LOCAL),
            (STRANGER.link_local(), ALL_ROUTERS, &[], STRANGER.link_local()),
            (GUEST_V6, ALL_ROUTERS, &[], GUEST_V6),
            (GUEST_LOCAL, GATEWAY_LOCAL, &[], GUEST_LOCAL),
            (UNSPECIFIED, ALL_ROUTERS, &[], ALL_NODES),
        ] {
            let (ip, message) = reply_of(ask(from, to, &router_solicitation(options)));
            assert_eq!((ip.dst_addr(), ip.hop_limit()), (receiver.into(), 255));
            // Managed, 9000 seconds; our MAC; MTU 1500; nothing else.
            assert_eq!(message[4..16], [255, 0x80, 0x23, 0x28, 0, 0, 0, 0, 0, 0, 0, 0]);
            let options = [1, 1, 0xa8, 0x40, 0x25, 0xff, 0x77, 0x77, 5, 1, 0, 0, 0, 0, 5, 0xdc];
            assert_eq!(message[16..], options);
        }
    }

    #[test]
    fn neighbour_advertisement() {
        let group = solicited_node(GATEWAY_LOCAL);
        let solicitation = neighbour(135, GATEWAY_LOCAL, &[]);
        // Router and override; solicited too, except for duplicate address detection.
        for (from, to, receiver, flags) in [
            (GUEST_LOCAL, group, GUEST_LOCAL, 0xe0),
            (GUEST_LOCAL, GATEWAY_LOCAL, GUEST_LOCAL, 0xe0),
            (GUEST_V6, group, GUEST_V6, 0xe0),
            (UNSPECIFIED, group, ALL_NODES, 0xa0),
        ] {
            let (ip, message) = reply_of(ask(from, to, &solicitation));
            assert_eq!((ip.dst_addr(), ip.hop_limit()), (receiver.into(), 255));
            let mut expected = neighbour(136, GATEWAY_LOCAL, &[2, 1]);
            expected.extend(GATEWAY.0);
            expected[4] = flags;
            assert_eq!(message[4..], expected[4..]);
        }
    }

    #[test]
    fn everything_else_is_denied() {
        let group = solicited_node(GATEWAY_LOCAL);
        let other = STRANGER.link_local();
        let long = [[14, 1, 0, 0, 0, 0, 0, 0]; MAX_OPTIONS + 1].concat();
        for (from, to, message) in [
            (GUEST_LOCAL, group, neighbour(135, other, &[])),
            (GUEST_LOCAL, other, neighbour(135, GATEWAY_LOCAL, &[])),
            (GUEST_LOCAL, group, neighbour(136, GUEST_LOCAL, &[])),
            (GUEST_LOCAL, GATEWAY_LOCAL, neighbour(137, GUEST_LOCAL, &[0; 16])),
            (GUEST_LOCAL, ALL_NODES, [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0].into()),
            (UNSPECIFIED, GATEWAY_LOCAL, neighbour(135, GATEWAY_LOCAL, &[])),
            (UNSPECIFIED, group, neighbour(135, GATEWAY_LOCAL, &[1, 1, 0, 0, 0, 0, 0, 0])),
            (UNSPECIFIED, ALL_ROUTERS, router_solicitation(&[1, 1, 0, 0, 0, 0, 0, 0])),
            (GUEST_LOCAL, ALL_NODES, router_solicitation(&[])),
            (GUEST_LOCAL, ALL_ROUTERS, router_solicitation(&[1, 0, 0, 0, 0, 0, 0, 0])),
            (GUEST_LOCAL, ALL_ROUTERS, router_solicitation(&[1, 2, 0, 0, 0, 0, 0, 0])),
            (GUEST_LOCAL, ALL_ROUTERS, router_solicitation(&long)),
            (GUEST_LOCAL, ALL_ROUTERS, [133, 1, 0, 0, 0, 0, 0, 0].into()),
            ("fd00::9".parse().unwrap(), ALL_ROUTERS, router_solicitation(&[])),
        ] {
            let answer = ask(from, to, &message);
            assert!(matches!(answer, Answer::Deny(_)), "{message:x?}: {answer:?}");
        }
    }

    #[test]
    fn what_came_through_a_router_or_behind_extensions_is_denied() {
        let mut routed = ip(GUEST_LOCAL, ALL_ROUTERS, IpProtocol::Icmpv6);
        if let IpRepr::Ipv6(ip) = &mut routed {
            ip.hop_limit = 254;
        }
        let extended = ip(GUEST_LOCAL, ALL_ROUTERS, IpProtocol::Ipv6Opts);
        let behind = [[58, 0, 1, 4, 0, 0, 0, 0], [133, 0, 0, 0, 0, 0, 0, 0]].concat();
        let to = MacAddr::from_ipv6_group(ALL_ROUTERS);
        for (header, message, why) in [
            (routed, router_solicitation(&[]), "through a router"),
            (extended, behind, "extension headers"),
        ] {
            let mut header = header;
            header.set_payload_len(message.len());
            let frame = packet::frame(to, GUEST, &header, |p| p.copy_from_slice(&message));
            let answer = respond(&config(), &frame, Checksum::Partial);
            assert!(matches!(answer, Answer::Deny(text) if text.contains(why)), "{answer:?}");
        }
    }
}
