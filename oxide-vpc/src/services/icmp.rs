// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Echo to the gateway (RFC 792; RFC 4443, section 4). The guest asks from one of its own
//! addresses; the gateway answers on its IPv4 address and on its IPv6 link-local address.

use super::packet::{self, HOP_LIMIT, Inbound};
use super::{Answer, Checksum};
use core::net::IpAddr;
use oxide_vpc_api::PortConfig;
use smoltcp::wire::{IpProtocol, IpRepr, Ipv4Repr, Ipv6Repr};

/// Type, code, checksum, identifier and number; the same in both families.
const HEADER: usize = 8;

/// Answers an echo request for the gateway with the same identifier, number and data.
pub fn respond(config: &PortConfig, frame: &[u8], checksum: Checksum) -> Answer {
    let Some(inbound) = Inbound::parse(frame) else { return Answer::Pass };
    let Some(reply_type) = reply_type(&inbound) else { return Answer::Pass };
    let for_gateway = inbound.source_mac == config.mac
        && inbound.destination_mac == config.gateway_mac
        && is_from_guest_to_gateway(config, inbound.source(), inbound.destination());
    if !for_gateway {
        return Answer::Pass;
    }
    if checksum == Checksum::Complete && !packet::icmp_intact(&inbound.ip, inbound.payload) {
        return Answer::Deny("echo request to the gateway with a wrong checksum");
    }
    let ip = turned(inbound.ip);
    Answer::Reply(packet::frame(config.mac, config.gateway_mac, &ip, |message| {
        message.copy_from_slice(inbound.payload);
        if let Some(kind) = message.first_mut() {
            *kind = reply_type;
        }
        packet::fill_icmp_checksum(&ip, message);
    }))
}

/// The type of the reply, if this is an echo request. The families differ in these numbers only.
fn reply_type(inbound: &Inbound<'_>) -> Option<u8> {
    let (request, reply) = match (&inbound.ip, inbound.ip.next_header()) {
        (IpRepr::Ipv4(_), IpProtocol::Icmp) => (8, 0),
        (IpRepr::Ipv6(_), IpProtocol::Icmpv6) => (128, 129),
        _ => return None,
    };
    let is_request = inbound.payload.starts_with(&[request, 0]);
    (is_request && inbound.payload.len() >= HEADER).then_some(reply)
}

fn is_from_guest_to_gateway(config: &PortConfig, source: IpAddr, destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(_) => config
            .ipv4
            .as_ref()
            .is_some_and(|ipv4| destination == ipv4.gateway_ip && source == ipv4.private_ip),
        IpAddr::V6(gateway) => config.ipv6.as_ref().is_some_and(|ipv6| {
            gateway == config.gateway_mac.link_local()
                && (source == ipv6.private_ip || source == config.mac.link_local())
        }),
    }
}

/// The header of the answer.
fn turned(ip: IpRepr) -> IpRepr {
    match ip {
        IpRepr::Ipv4(ip) => IpRepr::Ipv4(Ipv4Repr {
            src_addr: ip.dst_addr,
            dst_addr: ip.src_addr,
            hop_limit: HOP_LIMIT,
            ..ip
        }),
        IpRepr::Ipv6(ip) => IpRepr::Ipv6(Ipv6Repr {
            src_addr: ip.dst_addr,
            dst_addr: ip.src_addr,
            hop_limit: HOP_LIMIT,
            ..ip
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use opte_api::MacAddr;

    fn ask(to: MacAddr, from: impl Into<IpAddr>, dst: impl Into<IpAddr>, kind: u8) -> Answer {
        let dst = dst.into();
        let protocol = if dst.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
        let message = [kind, 0, 0, 0, 1, 2, 3, 4, b'd', b'a', b't'];
        let frame = icmp_frame(to, ip(from, dst, protocol), &message);
        respond(&config(), &frame, Checksum::Complete)
    }

    #[test]
    fn the_guests_addresses_get_an_echo() {
        for (answer, guest, kind) in [
            (ask(GATEWAY, GUEST_V4, GATEWAY_V4, 8), IpAddr::V4(GUEST_V4), 0),
            (ask(GATEWAY, GUEST_V6, GATEWAY_LOCAL, 128), IpAddr::V6(GUEST_V6), 129),
            (ask(GATEWAY, GUEST_LOCAL, GATEWAY_LOCAL, 128), IpAddr::V6(GUEST_LOCAL), 129),
        ] {
            let (ip, message) = reply_of(answer);
            assert_eq!(IpAddr::from(ip.dst_addr()), guest);
            assert_eq!(message[..2], [kind, 0]);
            assert_eq!(message[4..], [1, 2, 3, 4, b'd', b'a', b't']);
        }
    }

    #[test]
    fn near_misses_go_on() {
        let other_v4 = core::net::Ipv4Addr::new(172, 30, 0, 6);
        let configured_v6: IpAddr = "fd00::1".parse().unwrap();
        for answer in [
            ask(GATEWAY, GUEST_V4, GATEWAY_V4, 0),
            ask(GATEWAY, GUEST_V4, GATEWAY_V4, 13),
            ask(GATEWAY, GUEST_V4, other_v4, 8),
            ask(GATEWAY, other_v4, GATEWAY_V4, 8),
            ask(STRANGER, GUEST_V4, GATEWAY_V4, 8),
            ask(GATEWAY, GUEST_V6, configured_v6, 128),
            ask(GATEWAY, STRANGER.link_local(), GATEWAY_LOCAL, 128),
            ask(GATEWAY, GUEST_V6, STRANGER.link_local(), 128),
        ] {
            assert_eq!(answer, Answer::Pass);
        }
    }
}
