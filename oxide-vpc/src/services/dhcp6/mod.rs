// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! DHCPv6 (RFC 8415): the gateway leases the port's one IPv6 address to the guest, for ever.
//!
//! Solicit gets an advertisement, or the lease at once if the client offers rapid commit;
//! request, renew and rebind get the lease; confirm learns whether its addresses are right;
//! release and decline are acknowledged and change nothing; information requests get names and
//! servers. The first identity association for addresses gets the address, others are told that
//! there is none. `message` reads and writes bytes, `reply` decides what an answer holds.

mod message;
mod reply;

use super::packet::{self, HOP_LIMIT, Inbound};
use super::{Answer, Checksum};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use message::{Message, Options, code, kind};
use opte_api::MacAddr;
use oxide_vpc_api::PortConfig;
use smoltcp::wire::{IpProtocol, IpRepr, Ipv6Repr, UdpPacket, UdpRepr};

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// IPv6 and UDP headers.
const OVERHEAD: usize = 40 + 8;
/// All_DHCP_Relay_Agents_and_Servers and All_DHCP_Servers (RFC 8415, section 7.1).
const GROUPS: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3)];
/// A DUID has a type of two bytes and at most 128 more (RFC 8415, section 11.1).
const DUID_LENGTHS: core::ops::RangeInclusive<usize> = 3..=130;

/// Answers what the guest's DHCPv6 client sends to the server groups.
pub fn respond(config: &PortConfig, frame: &[u8], checksum: Checksum) -> Answer {
    let Some(inbound) = Inbound::parse(frame) else { return Answer::Pass };
    let (Some(udp), IpRepr::Ipv6(ip)) = (inbound.udp(), &inbound.ip) else { return Answer::Pass };
    let for_server = inbound.source_mac == config.mac
        && udp.dst_port() == SERVER_PORT
        && GROUPS.contains(&ip.dst_addr)
        && inbound.destination_mac == MacAddr::from_ipv6_group(ip.dst_addr);
    if !for_server {
        return Answer::Pass;
    }
    match answer(config, &inbound, ip.src_addr, &udp, checksum) {
        Ok(reply) => Answer::Reply(reply),
        Err(why) => Answer::Deny(why),
    }
}

fn answer(
    config: &PortConfig,
    inbound: &Inbound<'_>,
    client: Ipv6Addr,
    udp: &UdpPacket<&[u8]>,
    checksum: Checksum,
) -> Result<Vec<u8>, &'static str> {
    let Some(IpAddr::V6(lease)) = config.ipv6.as_ref().map(|ipv6| ipv6.private_ip) else {
        return Err("DHCPv6 on a port without IPv6");
    };
    if !client.is_unicast_link_local() {
        return Err("DHCPv6 from an address that is not link-local");
    }
    if !inbound.udp_intact(udp, checksum) {
        return Err("DHCPv6 with a wrong checksum");
    }
    let message = Message::parse(udp.payload()).ok_or("malformed DHCPv6 message")?;
    check(config, &message)?;
    let limit = packet::longest_reply(config).saturating_sub(OVERHEAD);
    let message = reply::write(config, lease, &message, limit)?;
    let ip = Ipv6Repr {
        src_addr: config.gateway_mac.link_local(),
        dst_addr: client,
        next_header: IpProtocol::Udp,
        payload_len: 0,
        hop_limit: HOP_LIMIT,
    };
    let ports = UdpRepr { src_port: SERVER_PORT, dst_port: CLIENT_PORT };
    Ok(packet::udp_frame(config.mac, config.gateway_mac, IpRepr::Ipv6(ip), ports, &message))
}

/// Which identifiers each message must and must not have (RFC 8415, section 16).
fn check(config: &PortConfig, message: &Message<'_>) -> Result<(), &'static str> {
    let options = message.options;
    let server = options.get(code::SERVER_ID);
    let for_us = server.is_some_and(|id| id == server_id(config));
    let server_fits = match message.kind {
        kind::SOLICIT | kind::CONFIRM | kind::REBIND => server.is_none(),
        kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => for_us,
        kind::INFORMATION_REQUEST => server.is_none() || for_us,
        _ => return Err("DHCPv6 message that no client sends"),
    };
    if !server_fits {
        return Err("DHCPv6 message with a wrong server identifier");
    }
    let client_fits = match options.get(code::CLIENT_ID) {
        Some(id) => DUID_LENGTHS.contains(&id.len()),
        None => message.kind == kind::INFORMATION_REQUEST,
    };
    if !client_fits {
        return Err("DHCPv6 message without a client identifier");
    }
    // Each message of a client tells how long it has tried (RFC 8415, section 21.9).
    if options.get(code::ELAPSED_TIME).is_none_or(|time| time.len() != 2) {
        return Err("DHCPv6 message without an elapsed time");
    }
    let has_association = [code::IA_NA, code::IA_TA, code::IA_PD].iter().any(|c| options.has(*c));
    if message.kind == kind::INFORMATION_REQUEST && has_association {
        return Err("DHCPv6 information request for an address");
    }
    Ok(())
}

/// The gateway's DUID, of the type link-layer address (RFC 8415, section 11.4).
fn server_id(config: &PortConfig) -> [u8; 10] {
    let [a, b, c, d, e, f] = config.gateway_mac.0;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// Addresses that the client names in the value of an identity association, which has a head of
/// `head` bytes.
fn named_addresses(association: &[u8], head: usize) -> Option<Vec<Ipv6Addr>> {
    let options = Options::parse(association.get(head..)?)?;
    let addresses = options.iter().filter(|(code, _)| *code == code::IA_ADDRESS);
    // Address and two lifetimes (RFC 8415, section 21.6).
    addresses
        .map(|(_, value)| {
            let (address, _) = value.split_first_chunk::<16>().filter(|(_, r)| r.len() >= 8)?;
            Some(Ipv6Addr::from_octets(*address))
        })
        .collect()
}
