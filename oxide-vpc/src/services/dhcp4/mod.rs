// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! DHCP (RFC 2131): the gateway leases the port's one IPv4 address to the guest.
//!
//! Discover gets an offer; a request, by broadcast or as a renewal by unicast, gets an
//! acknowledgement, or a refusal if it names another address; inform gets the options without an
//! address. Requests that chose another server, declines and releases get silence: there is no
//! lease to take back. `request` reads messages and `options` writes what we tell.

mod options;
mod request;

use super::packet::{self, HOP_LIMIT, Inbound};
use super::{Answer, Checksum};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use opte_api::MacAddr;
use oxide_vpc_api::{IpConfig, PortConfig};
use request::Request;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress, IpProtocol, IpRepr,
    Ipv4Repr, UdpPacket, UdpRepr,
};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// Older clients and relays discard anything shorter (RFC 1542, section 2.1).
const SHORTEST_MESSAGE: usize = 300;

/// The two addresses of the exchange.
#[derive(Clone, Copy)]
struct Lease {
    guest: Ipv4Addr,
    gateway: Ipv4Addr,
}

impl Lease {
    fn of(ipv4: &IpConfig) -> Option<Self> {
        match (ipv4.private_ip, ipv4.gateway_ip) {
            (IpAddr::V4(guest), IpAddr::V4(gateway)) => Some(Self { guest, gateway }),
            _ => None,
        }
    }
}

/// Answers what the guest's DHCP client sends to the server port.
pub fn respond(config: &PortConfig, frame: &[u8], checksum: Checksum) -> Answer {
    let Some(inbound) = Inbound::parse(frame) else { return Answer::Pass };
    let Some(udp) = inbound.udp() else { return Answer::Pass };
    let lease = config.ipv4.as_ref().and_then(Lease::of);
    let for_server = inbound.source_mac == config.mac
        && udp.dst_port() == SERVER_PORT
        && is_to_server(config, lease, &inbound);
    if !for_server {
        return Answer::Pass;
    }
    let Some(lease) = lease else { return Answer::Deny("DHCP on a port without IPv4") };
    match answer(config, lease, &inbound, &udp, checksum) {
        Ok(reply) => Answer::Reply(reply),
        Err(why) => Answer::Deny(why),
    }
}

/// By broadcast, or by unicast to the gateway.
fn is_to_server(config: &PortConfig, lease: Option<Lease>, inbound: &Inbound<'_>) -> bool {
    let IpAddr::V4(destination) = inbound.destination() else { return false };
    match inbound.destination_mac {
        MacAddr::BROADCAST => destination.is_broadcast(),
        mac => mac == config.gateway_mac && lease.is_some_and(|l| l.gateway == destination),
    }
}

fn answer(
    config: &PortConfig,
    lease: Lease,
    inbound: &Inbound<'_>,
    udp: &UdpPacket<&[u8]>,
    checksum: Checksum,
) -> Result<Vec<u8>, &'static str> {
    if ![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(lease.guest)].contains(&inbound.source()) {
        return Err("DHCP from an address that is not the guest's");
    }
    if !inbound.udp_intact(udp, checksum) {
        return Err("DHCP with a wrong checksum");
    }
    let packet = DhcpPacket::new_checked(udp.payload()).map_err(|_| "truncated DHCP message")?;
    let request = Request::read(config.mac, &packet)?;
    let kind = judge(lease, &request)?;
    let message = write(config, lease, &request, kind).ok_or("DHCP reply does not fit")?;
    let (destination, mac) = destination(config, lease, &request, kind);
    let ip = Ipv4Repr {
        src_addr: lease.gateway,
        dst_addr: destination,
        next_header: IpProtocol::Udp,
        payload_len: 0,
        hop_limit: HOP_LIMIT,
    };
    let ports = UdpRepr { src_port: SERVER_PORT, dst_port: CLIENT_PORT };
    Ok(packet::udp_frame(mac, config.gateway_mac, IpRepr::Ipv4(ip), ports, &message))
}

/// What kind of message answers the request (RFC 2131, section 4.3).
fn judge(lease: Lease, request: &Request<'_>) -> Result<DhcpMessageType, &'static str> {
    match request.kind {
        DhcpMessageType::Discover => Ok(DhcpMessageType::Offer),
        DhcpMessageType::Request => {
            if request.server.is_some_and(|server| server != lease.gateway) {
                return Err("DHCP request to another server");
            }
            // `ciaddr` when renewing, the option otherwise. Some clients name no address at all.
            let named = request.requested.into_iter().chain(request.client_address());
            let refused = named.into_iter().any(|address| address != lease.guest);
            Ok(if refused { DhcpMessageType::Nak } else { DhcpMessageType::Ack })
        }
        DhcpMessageType::Inform if request.client_address() == Some(lease.guest) => {
            Ok(DhcpMessageType::Ack)
        }
        DhcpMessageType::Inform => Err("DHCP inform for an address that is not the guest's"),
        DhcpMessageType::Decline => Err("DHCP decline; the address stays the guest's"),
        DhcpMessageType::Release => Err("DHCP release; the address stays the guest's"),
        _ => Err("DHCP message that no client sends"),
    }
}

/// Where the answer goes (RFC 2131, section 4.1).
fn destination(
    config: &PortConfig,
    lease: Lease,
    request: &Request<'_>,
    kind: DhcpMessageType,
) -> (Ipv4Addr, MacAddr) {
    let by_broadcast = request.broadcast && request.client_address().is_none();
    if by_broadcast || kind == DhcpMessageType::Nak {
        (Ipv4Addr::BROADCAST, MacAddr::BROADCAST)
    } else {
        (lease.guest, config.mac)
    }
}

/// Writes the message (RFC 2131, table 3).
fn write(
    config: &PortConfig,
    lease: Lease,
    request: &Request<'_>,
    kind: DhcpMessageType,
) -> Option<Vec<u8>> {
    let options = options::for_reply(config, lease, request, kind);
    let options: Vec<_> =
        options.iter().map(|(kind, data)| DhcpOption { kind: *kind, data }).collect();
    let gives_address = kind != DhcpMessageType::Nak && request.kind != DhcpMessageType::Inform;
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id: request.transaction,
        secs: 0,
        client_hardware_address: EthernetAddress(config.mac.0),
        client_ip: match kind {
            DhcpMessageType::Ack => request.client_ip,
            _ => Ipv4Addr::UNSPECIFIED,
        },
        your_ip: if gives_address { lease.guest } else { Ipv4Addr::UNSPECIFIED },
        server_ip: match kind {
            DhcpMessageType::Nak => Ipv4Addr::UNSPECIFIED,
            _ => lease.gateway,
        },
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &options,
    };
    let mut message = vec![0; repr.buffer_len().max(SHORTEST_MESSAGE)];
    repr.emit(&mut DhcpPacket::new_unchecked(message.as_mut_slice())).ok()?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use smoltcp::wire::DhcpFlags;

    const DISCOVER: &[u8] = &[53, 1, 1];
    const REQUEST: &[u8] = &[53, 1, 3];
    const WANT_GUEST: &[u8] = &[50, 4, 172, 30, 0, 5];
    const WANT_OTHER: &[u8] = &[50, 4, 172, 30, 0, 77];
    const FROM_US: &[u8] = &[54, 4, 172, 30, 0, 1];
    const FROM_OTHER: &[u8] = &[54, 4, 172, 30, 0, 254];

    fn ask(options: &[&[u8]]) -> Answer {
        let frame = dhcp4_frame(&dhcp4_message(&options.concat()));
        respond(&config(), &frame, Checksum::Complete)
    }

    /// Destination, type, `ciaddr` and `yiaddr` of a reply.
    fn summary(answer: Answer) -> (IpAddr, u8, Ipv4Addr, Ipv4Addr) {
        let (ip, datagram) = reply_of(answer);
        assert_eq!(datagram[..4], [0, 67, 0, 68]);
        let message = DhcpPacket::new_checked(&datagram[8..]).unwrap();
        assert_eq!(message.transaction_id(), 0xdead_beef);
        assert_eq!(message.client_hardware_address().0, GUEST.0);
        let kind = message.options().find(|o| o.kind == options::MESSAGE_TYPE).unwrap().data[0];
        (ip.dst_addr().into(), kind, message.client_ip(), message.your_ip())
    }

    #[test]
    fn discover_request_and_refusal() {
        let (guest, none) = (GUEST_V4, Ipv4Addr::UNSPECIFIED);
        let all = Ipv4Addr::BROADCAST;
        for (options, destination, kind, address) in [
            ([DISCOVER, &[], &[]], guest, 2, guest),
            ([DISCOVER, WANT_OTHER, &[]], guest, 2, guest),
            ([REQUEST, &[], &[]], guest, 5, guest),
            ([REQUEST, WANT_GUEST, FROM_US], guest, 5, guest),
            ([REQUEST, WANT_GUEST, &[]], guest, 5, guest),
            ([REQUEST, WANT_OTHER, FROM_US], all, 6, none),
            ([REQUEST, WANT_OTHER, &[]], all, 6, none),
        ] {
            assert_eq!(summary(ask(&options)), (destination.into(), kind, none, address));
        }
    }

    #[test]
    fn silence() {
        for options in [
            [REQUEST, WANT_GUEST, FROM_OTHER].as_slice(),
            &[&[53, 1, 4], WANT_GUEST, FROM_US],
            &[&[53, 1, 7], FROM_US],
            &[&[53, 1, 2]],
            &[&[53, 1, 8]],
            &[&[53, 1, 200]],
            &[&[53, 1]],
            &[],
        ] {
            assert!(matches!(ask(options), Answer::Deny(_)), "{options:?}");
        }
        for (at, value) in [(0, 2), (1, 6), (2, 16), (24, 10), (28, 0), (236, 0)] {
            let mut message = dhcp4_message(DISCOVER);
            message[at] = value;
            let answer = respond(&config(), &dhcp4_frame(&message), Checksum::Complete);
            assert!(matches!(answer, Answer::Deny(_)), "{at}: {answer:?}");
        }
    }

    /// A message with `ciaddr`, from the guest's address.
    fn ask_bound(to: Ipv4Addr, mac: MacAddr, kind: u8, client: Ipv4Addr) -> Answer {
        let mut message = dhcp4_message(&[53, 1, kind]);
        message[12..16].copy_from_slice(&client.octets());
        let header = ip(GUEST_V4, to, IpProtocol::Udp);
        let ports = UdpRepr { src_port: 68, dst_port: 67 };
        let frame = packet::udp_frame(mac, GUEST, header, ports, &message);
        respond(&config(), &frame, Checksum::Complete)
    }

    #[test]
    fn a_bound_client_renews_rebinds_and_informs() {
        let to_all = (Ipv4Addr::BROADCAST, MacAddr::BROADCAST);
        let guest = GUEST_V4;
        for ((to, mac), kind, address) in [
            ((GATEWAY_V4, GATEWAY), 3, guest),
            (to_all, 3, guest),
            (to_all, 8, Ipv4Addr::UNSPECIFIED),
        ] {
            let answer = ask_bound(to, mac, kind, guest);
            assert_eq!(summary(answer), (guest.into(), 5, guest, address));
        }
        let other = Ipv4Addr::new(172, 30, 0, 77);
        assert_eq!(summary(ask_bound(GATEWAY_V4, GATEWAY, 3, other)).1, 6);
        assert_eq!(ask_bound(other, GATEWAY, 3, guest), Answer::Pass);
        assert_eq!(ask_bound(GATEWAY_V4, STRANGER, 3, guest), Answer::Pass);
    }

    #[test]
    fn the_broadcast_flag_is_obeyed_and_copied() {
        let mut message = dhcp4_message(DISCOVER);
        message[10] = 0x80;
        let answer = respond(&config(), &dhcp4_frame(&message), Checksum::Complete);
        let (ip, datagram) = reply_of(answer.clone());
        assert_eq!(IpAddr::from(ip.dst_addr()), Ipv4Addr::BROADCAST);
        let reply = DhcpPacket::new_checked(&datagram[8..]).unwrap();
        assert!(reply.flags().contains(DhcpFlags::BROADCAST));
        assert!(matches!(answer, Answer::Reply(frame) if frame.starts_with(&[0xff; 6])));
    }

    #[test]
    fn a_port_without_ipv4_has_no_lease() {
        let mut config = config();
        config.ipv4 = None;
        let answer = respond(&config, &dhcp4_frame(&dhcp4_message(DISCOVER)), Checksum::Complete);
        assert!(matches!(answer, Answer::Deny(_)));
    }
}
