// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What we tell the client (RFC 2132; RFC 3397; RFC 3442).
//!
//! The guest is told that it is alone on its link: its mask has all bits, and its routes lead to
//! the gateway, then through the gateway. Options stand in order of importance; one that does
//! not fit into what the client takes is left out whole.

use super::super::packet;
use super::Lease;
use super::request::Request;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use oxide_vpc_api::PortConfig;
use smoltcp::wire::DhcpMessageType;

const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN_NAME: u8 = 15;
const INTERFACE_MTU: u8 = 26;
pub(super) const REQUESTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
pub(super) const MESSAGE_TYPE: u8 = 53;
pub(super) const SERVER_ID: u8 = 54;
pub(super) const PARAMETERS: u8 = 55;
const MESSAGE: u8 = 56;
pub(super) const MAX_SIZE: u8 = 57;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
pub(super) const CLIENT_ID: u8 = 61;
const DOMAIN_SEARCH: u8 = 119;
const CLASSLESS_ROUTES: u8 = 121;
/// The same under the code that some clients asked for before there was an RFC.
const EARLY_CLASSLESS_ROUTES: u8 = 249;

/// Seconds; the lease never ends, but a client that asks now and then notices a new host name.
const LEASE_SECONDS: u32 = 86_400;
/// When a client asks the server again, and when anybody (RFC 2131, section 4.4.5): what it would
/// choose by itself, said to those that do not.
const RENEWAL_SECONDS: u32 = LEASE_SECONDS / 2;
const REBINDING_SECONDS: u32 = LEASE_SECONDS / 8 * 7;
/// What every client takes (RFC 2132, section 9.10).
const SMALLEST_MAX_SIZE: u16 = 576;
/// IPv4 and UDP headers, the fixed part of the message, its type and its end mark.
const OVERHEAD: usize = 20 + 8 + 240 + 3 + 1;
/// Longest value of one option.
const LONGEST_VALUE: usize = 255;

/// Options as code and value, after the message type.
pub(super) fn for_reply(
    config: &PortConfig,
    lease: Lease,
    request: &Request<'_>,
    kind: DhcpMessageType,
) -> Vec<(u8, Vec<u8>)> {
    let limit = request.max_size.map_or(usize::MAX, |size| size.max(SMALLEST_MAX_SIZE).into());
    let room = packet::longest_reply(config).min(limit).saturating_sub(OVERHEAD);
    let mut options = Options { list: Vec::new(), room };
    options.push(SERVER_ID, lease.gateway.octets());
    if let Some(id) = request.client_id {
        options.push(CLIENT_ID, id);
    }
    if kind == DhcpMessageType::Nak {
        options.push(MESSAGE, *b"the address is not this port's");
        return options.list;
    }
    if request.kind != DhcpMessageType::Inform {
        options.push(LEASE_TIME, LEASE_SECONDS.to_be_bytes());
        options.push(RENEWAL_TIME, RENEWAL_SECONDS.to_be_bytes());
        options.push(REBINDING_TIME, REBINDING_SECONDS.to_be_bytes());
    }
    options.push(SUBNET_MASK, Ipv4Addr::BROADCAST.octets());
    options.push(ROUTER, lease.gateway.octets());
    options.push(CLASSLESS_ROUTES, routes(lease.gateway));
    if request.parameters.contains(&EARLY_CLASSLESS_ROUTES) {
        options.push(EARLY_CLASSLESS_ROUTES, routes(lease.gateway));
    }
    if request.parameters.contains(&INTERFACE_MTU) {
        options.push(INTERFACE_MTU, config.mtu.to_be_bytes());
    }
    push_names(config, &mut options);
    options.list
}

fn push_names(config: &PortConfig, options: &mut Options) {
    let dhcp = &config.dhcp;
    let servers = dhcp.dns4.iter().take(LONGEST_VALUE / 4);
    options.push_unless_empty(NAME_SERVERS, servers.flat_map(Ipv4Addr::octets).collect());
    for (code, name) in [(HOST_NAME, &dhcp.hostname), (DOMAIN_NAME, &dhcp.host_domain)] {
        if let Some(name) = name {
            options.push(code, name.as_str());
        }
    }
    // A list that is longer than one option goes on in the next of the same code (RFC 3397,
    // section 2; RFC 3396); names that do not fit are left out.
    let room = options.room / (LONGEST_VALUE + 2) * LONGEST_VALUE
        + (options.room % (LONGEST_VALUE + 2)).saturating_sub(2);
    let names = packet::names_that_fit(&dhcp.domain_search, room);
    for part in names.chunks(LONGEST_VALUE) {
        options.push(DOMAIN_SEARCH, part);
    }
}

/// The gateway is on the link; everything else is behind it (RFC 3442).
fn routes(gateway: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = gateway.octets();
    let to_gateway = [32, a, b, c, d, 0, 0, 0, 0];
    let to_all = [0, a, b, c, d];
    [to_gateway.as_slice(), &to_all].concat()
}

struct Options {
    list: Vec<(u8, Vec<u8>)>,
    room: usize,
}

impl Options {
    fn push(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        let value = value.into();
        if value.len() > LONGEST_VALUE {
            return;
        }
        if let Some(room) = self.room.checked_sub(2 + value.len()) {
            self.room = room;
            self.list.push((code, value));
        }
    }

    fn push_unless_empty(&mut self, code: u8, value: Vec<u8>) {
        if !value.is_empty() {
            self.push(code, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::*;
    use super::*;
    use opte_api::MacAddr;
    use smoltcp::wire::DhcpPacket;

    fn written(config: &PortConfig, asked: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let message = dhcp4_message(&[&[53, 1, 1], asked].concat());
        let packet = DhcpPacket::new_checked(message.as_slice()).unwrap();
        let request = Request::read(MacAddr(GUEST.0), &packet).unwrap();
        let lease = Lease { guest: GUEST_V4, gateway: GATEWAY_V4 };
        for_reply(config, lease, &request, DhcpMessageType::Offer)
    }

    fn value(options: &[(u8, Vec<u8>)], code: u8) -> Option<&[u8]> {
        options.iter().find(|(found, _)| *found == code).map(|(_, value)| value.as_slice())
    }

    #[test]
    fn the_guest_learns_its_way_and_its_names() {
        let mut config = config();
        config.dhcp.domain_search = ["a.bc".parse().unwrap()].into();
        let options = written(&config, &[61, 3, 1, 2, 3]);
        for (code, expected) in [
            (SERVER_ID, [172, 30, 0, 1].as_slice()),
            (CLIENT_ID, &[1, 2, 3]),
            (LEASE_TIME, &[0, 1, 0x51, 0x80]),
            (RENEWAL_TIME, &[0, 0, 0xa8, 0xc0]),
            (REBINDING_TIME, &[0, 1, 0x27, 0x50]),
            (SUBNET_MASK, &[255; 4]),
            (ROUTER, &[172, 30, 0, 1]),
            (CLASSLESS_ROUTES, &[32, 172, 30, 0, 1, 0, 0, 0, 0, 0, 172, 30, 0, 1]),
            (NAME_SERVERS, &[8, 8, 8, 8, 1, 1, 1, 1]),
            (HOST_NAME, b"guest-5"),
            (DOMAIN_NAME, b"lab.example.com"),
            (DOMAIN_SEARCH, b"\x01a\x02bc\0"),
        ] {
            assert_eq!(value(&options, code), Some(expected), "option {code}");
        }
        assert_eq!(options.len(), 12);
    }

    #[test]
    fn routes_are_told_under_the_early_code_on_request() {
        let options = written(&config(), &[55, 2, 121, 249]);
        let early = value(&options, EARLY_CLASSLESS_ROUTES);
        assert_eq!(early, value(&options, CLASSLESS_ROUTES));
        assert_eq!(value(&written(&config(), &[55, 1, 121]), EARLY_CLASSLESS_ROUTES), None);
    }

    #[test]
    fn who_only_informs_itself_gets_no_times() {
        let message = dhcp4_message(&[53, 1, 8]);
        let packet = DhcpPacket::new_checked(message.as_slice()).unwrap();
        let request = Request::read(MacAddr(GUEST.0), &packet).unwrap();
        let lease = Lease { guest: GUEST_V4, gateway: GATEWAY_V4 };
        let options = for_reply(&config(), lease, &request, DhcpMessageType::Ack);
        for code in [LEASE_TIME, RENEWAL_TIME, REBINDING_TIME] {
            assert_eq!(value(&options, code), None, "option {code}");
        }
        assert!(value(&options, NAME_SERVERS).is_some());
    }

    #[test]
    fn the_mtu_is_told_on_request() {
        assert_eq!(value(&written(&config(), &[55, 1, 1]), INTERFACE_MTU), None);
        let options = written(&config(), &[55, 2, 1, 26]);
        assert_eq!(value(&options, INTERFACE_MTU), Some([5, 0xdc].as_slice()));
    }

    /// A search list of several options has whole names, all of which fit.
    #[test]
    fn a_client_that_takes_little_gets_less() {
        let mut config = crowded();
        config.mtu = 1500;
        let name = config.dhcp.domain_search[0].encode();
        config.dhcp.dns4.truncate(1);
        for (asked, limit) in [
            ([57, 2, 2, 0x40].as_slice(), 576),
            (&[57, 2, 0, 1], 576),
            (&[57, 2, 4, 0], 1024),
            (&[57, 2, 0xff, 0xff], 1500),
            (&[], 1500),
        ] {
            let options = written(&config, asked);
            let length: usize = options.iter().map(|(_, value)| 2 + value.len()).sum();
            assert!(OVERHEAD + length <= limit, "{asked:?}: {length}");
            assert!(OVERHEAD + length + name.len() + 4 > limit, "{asked:?}: {length}");
            let search: Vec<u8> = options
                .iter()
                .filter(|(code, _)| *code == DOMAIN_SEARCH)
                .flat_map(|(_, value)| value.clone())
                .collect();
            assert!(!search.is_empty() && search.len().is_multiple_of(name.len()));
        }
    }
}
