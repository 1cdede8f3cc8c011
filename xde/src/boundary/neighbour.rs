// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Who has this address? Answers of the boundary, on the outside link, for the addresses of its
//! table: ARP (RFC 826) and neighbour discovery (RFC 4861).

use super::counters::BoundaryDrop;
use super::table::NatTable;
use super::wire::{self, Arp, LinkAddress, Neighbour};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use opte::checksum::Sum;
use opte::wire::{ETHER_LEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ether, Ipv6};
use opte_api::{MacAddr, Protocol};
use zerocopy::IntoBytes;

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const ETHERNET: u16 = 1;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// Neighbour discovery has come from this link, for no router leaves this limit as it is.
const HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The reply to an ARP request for an address of the table; `None` if it asks for another.
pub(super) fn answer_arp(
    mac: MacAddr,
    table: &NatTable,
    payload: &[u8],
) -> Result<Option<Vec<u8>>, BoundaryDrop> {
    let Ok((request, _)) = wire::split::<Arp>(payload) else { return Ok(None) };
    let target = Ipv4Addr::from(request.target_ip);
    let shape = (request.hardware.get(), request.protocol.get());
    let lengths = (request.hardware_len, request.protocol_len);
    if shape != (ETHERNET, ETHERTYPE_IPV4)
        || lengths != (6, 4)
        || request.operation.get() != REQUEST
        || !table.has(target.into())
    {
        return Ok(None);
    }
    // Somebody else says that the address is his, or asks so that nobody can be answered.
    if request.sender_ip == request.target_ip || MacAddr(request.sender_mac).is_multicast() {
        return Err(BoundaryDrop::BadNeighbour);
    }
    let reply = Arp {
        operation: REPLY.into(),
        sender_mac: mac.0,
        sender_ip: request.target_ip,
        target_mac: request.sender_mac,
        target_ip: request.sender_ip,
        ..*request
    };
    let ether = Ether { dst: request.sender_mac, src: mac.0, ether_type: ETHERTYPE_ARP.into() };
    Ok(Some([ether.as_bytes(), reply.as_bytes()].concat()))
}

/// The advertisement for a solicitation of an address of the table; `None` if it is another
/// packet, or asks for another address. `frame` is of IPv6.
pub(super) fn answer_solicitation(
    mac: MacAddr,
    table: &NatTable,
    frame: &[u8],
) -> Result<Option<Vec<u8>>, BoundaryDrop> {
    let Some((ip, message)) = solicitation(frame) else { return Ok(None) };
    let Ok((asked, options)) = wire::split::<Neighbour>(message) else { return Ok(None) };
    let target = Ipv6Addr::from(asked.target);
    if !table.has(IpAddr::V6(target)) {
        return Ok(None);
    }
    let [src, dst] = [ip.src, ip.dst].map(Ipv6Addr::from);
    let link_address = source_link_address(options)?;
    let probe = src.is_unspecified();
    // RFC 4861, section 7.1.1.
    let valid = ip.hop_limit == HOP_LIMIT
        && asked.code == 0
        && transport_sum(ip, message).complement() == 0
        && (dst == target || dst == solicited_node(target))
        && !(probe && (dst == target || link_address.is_some()));
    if !valid || src.is_multicast() {
        return Err(BoundaryDrop::BadNeighbour);
    }
    // One who probes whether the address is free has none yet: all nodes are told (section 7.2.4).
    let (dst, dst_mac, flags) = if probe {
        (ALL_NODES, MacAddr::from_ipv6_group(ALL_NODES).0, OVERRIDE)
    } else {
        let (ether, _) = wire::split::<Ether>(frame)?;
        (src, link_address.unwrap_or(ether.src), SOLICITED | OVERRIDE)
    };
    let ether = Ether { dst: dst_mac, src: mac.0, ether_type: ETHERTYPE_IPV6.into() };
    Ok(Some(advertisement(ether, target, dst, flags)))
}

/// The group of those whose address ends like `ip` (RFC 4291, section 2.7.1).
fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | ip.to_bits() & 0xff_ffff)
}

fn solicitation(frame: &[u8]) -> Option<(&Ipv6, &[u8])> {
    let (ip, rest) = wire::split::<Ipv6>(frame.get(ETHER_LEN..)?).ok()?;
    let message = rest.get(..ip.payload_len.get().into())?;
    let is_one = ip.next == Protocol::ICMPV6.0 && message.first() == Some(&SOLICITATION);
    is_one.then_some((ip, message))
}

fn source_link_address(mut options: &[u8]) -> Result<Option<[u8; 6]>, BoundaryDrop> {
    let mut found = None;
    while let [kind, words, ..] = *options {
        let len = usize::from(words) * 8;
        if len == 0 {
            return Err(BoundaryDrop::BadNeighbour);
        }
        if kind == SOURCE_LINK_ADDRESS && words == 1 {
            found = Some(wire::split::<LinkAddress>(options)?.0.mac);
        }
        options = options.get(len..).ok_or(BoundaryDrop::BadNeighbour)?;
    }
    Ok(found.filter(|mac| !MacAddr(*mac).is_multicast()))
}

fn advertisement(ether: Ether, target: Ipv6Addr, dst: Ipv6Addr, flags: u32) -> Vec<u8> {
    let link = LinkAddress { kind: TARGET_LINK_ADDRESS, words: 1, mac: ether.src };
    let message_len = (size_of::<Neighbour>() + size_of::<LinkAddress>()) as u16;
    let mut message = Neighbour {
        kind: ADVERTISEMENT,
        code: 0,
        checksum: 0.into(),
        flags: flags.into(),
        target: target.octets(),
    };
    let ip = Ipv6 {
        first: (6 << 28).into(),
        payload_len: message_len.into(),
        next: Protocol::ICMPV6.0,
        hop_limit: HOP_LIMIT,
        src: target.octets(),
        dst: dst.octets(),
    };
    let sum = transport_sum(&ip, message.as_bytes()).bytes(link.as_bytes());
    message.checksum = sum.complement().into();
    [ether.as_bytes(), ip.as_bytes(), message.as_bytes(), link.as_bytes()].concat()
}

/// Sum of the pseudo-header of `ip` (RFC 8200, section 8.1) and of `message`.
fn transport_sum(ip: &Ipv6, message: &[u8]) -> Sum {
    let pseudo = Sum::default().bytes(&ip.src).bytes(&ip.dst).word(ip.payload_len.get());
    pseudo.word(ip.next.into()).bytes(message)
}
