// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! DHCPv6 (RFC 8415): the gateway leases the port's one IPv6 address to the guest, for ever.
//!
//! Solicit gets an advertisement, or the lease at once if the client offers rapid commit;
//! request, renew and rebind get the lease; confirm learns whether its addresses are right;
//! release and decline are acknowledged and change nothing; information requests get names and
//! servers. The first identity association for addresses gets the address, others are told that
//! there is none. A client that asks by unicast, which we never offer, is told to use multicast.
//! `message` reads and writes bytes, `reply` decides what an answer holds.

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

/// Answers what the guest's DHCPv6 client sends to the server groups, or to the gateway itself.
pub fn respond(config: &PortConfig, frame: &[u8], checksum: Checksum) -> Answer {
    let Some(inbound) = Inbound::parse(frame) else { return Answer::Pass };
    let (Some(udp), IpRepr::Ipv6(ip)) = (inbound.udp(), &inbound.ip) else { return Answer::Pass };
    let to_group = GROUPS.contains(&ip.dst_addr)
        && inbound.destination_mac == MacAddr::from_ipv6_group(ip.dst_addr);
    let to_gateway = ip.dst_addr == config.gateway_mac.link_local()
        && inbound.destination_mac == config.gateway_mac;
    let for_server = inbound.source_mac == config.mac
        && udp.dst_port() == SERVER_PORT
        && (to_group || to_gateway);
    if !for_server {
        return Answer::Pass;
    }
    match answer(config, &inbound, ip, &udp, checksum) {
        Ok(reply) => Answer::Reply(reply),
        Err(why) => Answer::Deny(why),
    }
}

fn answer(
    config: &PortConfig,
    inbound: &Inbound<'_>,
    ip: &Ipv6Repr,
    udp: &UdpPacket<&[u8]>,
    checksum: Checksum,
) -> Result<Vec<u8>, &'static str> {
    let Some(IpAddr::V6(lease)) = config.ipv6.as_ref().map(|ipv6| ipv6.private_ip) else {
        return Err("DHCPv6 on a port without IPv6");
    };
    let client = ip.src_addr;
    if !client.is_unicast_link_local() {
        return Err("DHCPv6 from an address that is not link-local");
    }
    if !inbound.udp_intact(udp, checksum) {
        return Err("DHCPv6 with a wrong checksum");
    }
    let message = Message::parse(udp.payload()).ok_or("malformed DHCPv6 message")?;
    check(config, &message)?;
    let limit = packet::longest_reply(config).saturating_sub(OVERHEAD);
    let message = if GROUPS.contains(&ip.dst_addr) {
        reply::write(config, lease, &message, limit)?
    } else {
        reply::refuse_unicast(config, &message, limit)?
    };
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

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use message::push_option;

    const FOR_EVER: [u8; 4] = [0xff; 4];
    const NO_MORE: [u8; 4] = [0; 4];
    const ID: [u8; 4] = [0, 0, 15, 247];

    fn option(code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_option(&mut bytes, code, value);
        bytes
    }

    fn address(address: Ipv6Addr, lifetime: [u8; 4]) -> Vec<u8> {
        let value = [address.octets().as_slice(), &lifetime, &lifetime].concat();
        option(code::IA_ADDRESS, &value)
    }

    /// An identity association with these times and options.
    fn association(time: [u8; 4], options: &[u8]) -> Vec<u8> {
        option(code::IA_NA, &[ID.as_slice(), &time, &time, options].concat())
    }

    fn leased() -> Vec<u8> {
        association(FOR_EVER, &address(GUEST_V6, FOR_EVER))
    }

    fn from_us() -> Vec<u8> {
        option(code::SERVER_ID, &server_id(&config()))
    }

    fn ask(kind: u8, options: &[Vec<u8>]) -> Answer {
        let frame = dhcp6_frame(&dhcp6_message(kind, &options.concat()));
        respond(&config(), &frame, Checksum::Complete)
    }

    /// Checks type and identifiers of a reply and returns the rest of its options.
    fn rest_of(answer: Answer, kind: u8) -> Vec<u8> {
        let (ip, datagram) = reply_of(answer);
        assert_eq!(IpAddr::from(ip.dst_addr()), GUEST_LOCAL);
        assert_eq!(datagram[..4], [2, 35, 2, 34]);
        let head = [[kind, 1, 2, 3].to_vec(), from_us(), option(code::CLIENT_ID, &[9; 3])];
        let options = datagram[8..].strip_prefix(head.concat().as_slice());
        options.expect("type, transaction and both identifiers").to_vec()
    }

    /// What a client hears that wants to know servers and names, as `dhcp6_message` does.
    fn names() -> Vec<u8> {
        let mut name = [3].to_vec();
        name.extend(b"\x07guest-5\x03lab\x07example\x03com\0");
        let server: Ipv6Addr = "2001:db8::53".parse().unwrap();
        [option(code::NAME_SERVERS, &server.octets()), option(code::CLIENT_FQDN, &name)].concat()
    }

    #[test]
    fn every_way_to_the_lease() {
        let empty = || association([0, 0, 14, 16], &[]);
        let preference = option(code::PREFERENCE, &[255]);
        let rapid = option(code::RAPID_COMMIT, &[]);
        for (kind, options, reply, extra) in [
            (kind::SOLICIT, [empty(), [].into()], kind::ADVERTISE, preference),
            (kind::SOLICIT, [empty(), rapid.clone()], kind::REPLY, rapid),
            (kind::REQUEST, [empty(), from_us()], kind::REPLY, [].into()),
            (kind::RENEW, [leased(), from_us()], kind::REPLY, [].into()),
            (kind::REBIND, [leased(), [].into()], kind::REPLY, [].into()),
        ] {
            let rest = rest_of(ask(kind, &options), reply);
            assert_eq!(rest, [extra, leased(), names()].concat(), "message {kind}");
        }
    }

    #[test]
    fn addresses_of_others_are_withdrawn() {
        let foreign = "fd00::6".parse().unwrap();
        let asked = association([0; 4], &address(foreign, FOR_EVER));
        let told = [address(GUEST_V6, FOR_EVER), address(foreign, NO_MORE)].concat();
        let rest = rest_of(ask(kind::REBIND, &[asked]), kind::REPLY);
        assert_eq!(rest, [association(FOR_EVER, &told), names()].concat());
    }

    #[test]
    fn there_is_one_address_and_no_prefix() {
        let temporary = option(code::IA_TA, &[7; 4]);
        let prefix = option(code::IA_PD, &[8; 12]);
        let rest = rest_of(
            ask(kind::REBIND, &[leased(), leased(), temporary.clone(), prefix.clone()]),
            kind::REPLY,
        );
        let no_binding = option(code::STATUS, &[0, 3]);
        let refused = |code, head: &[u8], status: &[u8]| option(code, &[head, status].concat());
        let second = [ID.as_slice(), &[0; 8]].concat();
        let expected = [
            leased(),
            refused(code::IA_NA, &second, &no_binding),
            refused(code::IA_TA, &[7; 4], &no_binding),
            refused(code::IA_PD, &[8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0], &no_binding),
            names(),
        ];
        assert_eq!(rest, expected.concat());
        let rest = rest_of(ask(kind::SOLICIT, &[temporary, prefix]), kind::ADVERTISE);
        let expected = [
            option(code::PREFERENCE, &[255]),
            refused(code::IA_TA, &[7; 4], &option(code::STATUS, &[0, 2])),
            refused(
                code::IA_PD,
                &[8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0],
                &option(code::STATUS, &[0, 6]),
            ),
            names(),
        ];
        assert_eq!(rest, expected.concat());
    }

    #[test]
    fn confirm_release_decline_and_information() {
        let other = association([0; 4], &address("fd00::6".parse().unwrap(), FOR_EVER));
        for (kind, options, expected) in [
            (kind::CONFIRM, [leased()].as_slice(), option(code::STATUS, &[0, 0])),
            (kind::CONFIRM, &[leased(), other], option(code::STATUS, &[0, 4])),
            (kind::RELEASE, &[leased(), from_us()], option(code::STATUS, &[0, 0])),
            (kind::DECLINE, &[leased(), from_us()], option(code::STATUS, &[0, 0])),
            (kind::INFORMATION_REQUEST, &[], names()),
        ] {
            assert_eq!(rest_of(ask(kind, options), kind::REPLY), expected, "message {kind}");
        }
    }

    /// What a client gives back that it never had is named; what it had is not.
    #[test]
    fn release_of_what_was_never_given() {
        let foreign = association([0; 4], &address("fd00::6".parse().unwrap(), FOR_EVER));
        let temporary = option(code::IA_TA, &[7; 4]);
        for kind in [kind::RELEASE, kind::DECLINE] {
            let rest = rest_of(
                ask(kind, &[leased(), foreign.clone(), temporary.clone(), from_us()]),
                kind::REPLY,
            );
            let no_binding = option(code::STATUS, &[0, 3]);
            let expected = [
                option(code::STATUS, &[0, 0]),
                association([0; 4], &no_binding),
                option(code::IA_TA, &[[7; 4].as_slice(), &no_binding].concat()),
            ];
            assert_eq!(rest, expected.concat(), "message {kind}");
        }
        let answer = ask(kind::RELEASE, &[option(code::IA_NA, &[0; 3]), from_us()]);
        assert!(matches!(answer, Answer::Deny(_)), "{answer:?}");
    }

    #[test]
    fn unicast_is_refused_by_name() {
        let ask = |kind: u8, options: &[Vec<u8>]| {
            let message = dhcp6_message(kind, &options.concat());
            let header = ip(GUEST_LOCAL, GATEWAY_LOCAL, IpProtocol::Udp);
            let ports = UdpRepr { src_port: 546, dst_port: 547 };
            let frame = packet::udp_frame(GATEWAY, GUEST, header, ports, &message);
            respond(&config(), &frame, Checksum::Complete)
        };
        for kind in [kind::REQUEST, kind::RENEW, kind::RELEASE, kind::DECLINE] {
            let rest = rest_of(ask(kind, &[leased(), from_us()]), kind::REPLY);
            assert_eq!(rest, option(code::STATUS, &[0, 5]), "message {kind}");
        }
        for kind in [kind::SOLICIT, kind::CONFIRM, kind::REBIND, kind::INFORMATION_REQUEST] {
            let answer = ask(kind, &[]);
            assert!(matches!(answer, Answer::Deny(_)), "message {kind}: {answer:?}");
        }
    }

    /// Options in options: two levels are looked at, whatever a message holds.
    #[test]
    fn deep_nesting_costs_nothing() {
        let mut nested = Vec::new();
        for _ in 0..300 {
            nested = option(code::IA_NA, &[ID.as_slice(), &[0; 8], &nested].concat());
            if nested.len() > 1000 {
                break;
            }
        }
        let rest = rest_of(ask(kind::SOLICIT, &[nested]), kind::ADVERTISE);
        assert_eq!(rest, [option(code::PREFERENCE, &[255]), leased(), names()].concat());
    }

    #[test]
    fn the_name_obeys_the_flags_of_the_client() {
        for (asked, told) in [(0, 3), (1, 1), (4, 3)] {
            let rest = rest_of(
                ask(kind::INFORMATION_REQUEST, &[option(code::CLIENT_FQDN, &[asked])]),
                kind::REPLY,
            );
            let options = Options::parse(&rest).unwrap();
            assert_eq!(options.get(code::CLIENT_FQDN).unwrap()[0], told);
        }
    }

    #[test]
    fn silence() {
        let other_server = option(code::SERVER_ID, &[0, 3, 0, 1, 1, 2, 3, 4, 5, 6]);
        for (kind, options) in [
            (kind::SOLICIT, [leased(), from_us()].as_slice()),
            (kind::REQUEST, &[leased()]),
            (kind::REQUEST, &[leased(), other_server.clone()]),
            (kind::CONFIRM, &[leased(), from_us()]),
            (kind::CONFIRM, &[association([0; 4], &[])]),
            (kind::CONFIRM, &[association([0; 4], &[0, 5, 0, 24, 1])]),
            (kind::SOLICIT, &[option(code::IA_NA, &[0; 11])]),
            (kind::RENEW, &[leased(), other_server.clone()]),
            (kind::REBIND, &[leased(), from_us()]),
            (kind::INFORMATION_REQUEST, &[leased()]),
            (kind::INFORMATION_REQUEST, &[other_server]),
            (kind::ADVERTISE, &[leased(), from_us()]),
            (12, &[leased()]),
        ] {
            let answer = ask(kind, options);
            assert!(matches!(answer, Answer::Deny(_)), "message {kind}: {answer:?}");
        }
        for message in [
            [1, 1, 2, 3, 0, 8, 0, 2, 0, 0].as_slice(), // No client identifier.
            &[1, 1, 2, 3, 0, 1, 0, 3, 9, 9, 9],        // No elapsed time.
            &[1, 1, 2, 3, 0, 1, 0, 2, 9, 9, 0, 8, 0, 2, 0, 0], // Too short an identifier.
            &[1, 1, 2],
        ] {
            let answer = respond(&config(), &dhcp6_frame(message), Checksum::Complete);
            assert!(matches!(answer, Answer::Deny(_)), "{message:?}: {answer:?}");
        }
    }
}
