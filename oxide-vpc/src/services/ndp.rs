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
