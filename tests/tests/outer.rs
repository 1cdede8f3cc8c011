// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Outer headers: what of the inner ones can be seen in them, and what comes back from them.

use opte::frame::FlatFrame;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::setting::{
    BOUNDARY, FAMILIES, Guest, HOSTS, add_boundary, add_guest, add_peer, boundary, everywhere,
    outside,
};
use oxide_vpc_api::request::{ClearV2b, SetFwRules, SetPortSettings};
use oxide_vpc_api::{PortSettings, V2bEntry};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const PEER: Guest = Guest(7);
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    add_guest(&mut host, GUEST, 0);
    add_peer(&mut host, PEER, 1);
    add_boundary(&mut host);
    let rules = vec!["dir=in action=allow priority=1".parse().unwrap()];
    host.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
    host
}

/// A datagram to the peer, or to somebody outside.
fn out(host: &mut Hypervisor, ipv4: bool, inside: bool, ports: [u16; 2], class: u8) -> Vec<u8> {
    let dst = if inside { PEER.ip(ipv4) } else { outside(ipv4) };
    let body = Body::Udp { ports, checksum: true };
    let packet = Packet { class, ..Packet::new(GUEST.macs(), [GUEST.ip(ipv4), dst], body) };
    match host.from_guest(PortId(0), FlatFrame::new(packet.bytes())).pop() {
        Some(Left::Underlay(bytes)) => bytes,
        other => panic!("{other:?}: {:?}", host.drops()),
    }
}

/// Traffic class and flow label of the outer IPv6 header.
fn outer(frame: &[u8]) -> (u8, u32) {
    let first = u32::from_be_bytes(frame[14..18].try_into().unwrap());
    assert_eq!(first >> 28, 6);
    ((first >> 20) as u8, first & 0xf_ffff)
}

#[test]
fn congestion_marks_are_seen_outside_with_each_packet() {
    let mut host = host();
    for ipv4 in FAMILIES {
        for inside in [true, false] {
            // The first packet of the flow, and those that run its stored transform.
            for class in [NOT_ECT, ECT_0, CE, ECT_1, NOT_ECT, 0xb8 | CE] {
                let frame = out(&mut host, ipv4, inside, [1000, 80], class);
                assert_eq!(outer(&frame).0, class & 3, "{class:#x}");
                let (_, inner) = Tunnel::open(&frame).unwrap();
                assert_eq!(Packet::read(&inner).unwrap().class, class);
            }
        }
    }
}

#[test]
fn code_points_are_seen_outside_if_they_may_be() {
    let mut host = host();
    let mut settings = PortSettings::default();
    settings.way.copy_dscp = true;
    host.request(&SetPortSettings { port: GUEST.port(), settings }).unwrap();
    for ipv4 in FAMILIES {
        for class in [0, 0xb8, 0xb8 | CE, 0x2a] {
            assert_eq!(outer(&out(&mut host, ipv4, true, [1, 2], class)).0, class);
        }
    }
}

#[test]
fn congestion_in_the_underlay_reaches_the_guest() {
    let mut host = host();
    let tunnel = Tunnel::new(&HOSTS[1].to_string(), &HOSTS[0].to_string(), 100);
    // By RFC 6040, figure 4: inner field, outer field, what the guest gets.
    let table = [
        (NOT_ECT, ECT_0, Some(NOT_ECT)),
        (NOT_ECT, ECT_1, Some(NOT_ECT)),
        (NOT_ECT, CE, None),
        (ECT_0, NOT_ECT, Some(ECT_0)),
        (ECT_0, ECT_1, Some(ECT_1)),
        (ECT_0, CE, Some(CE)),
        (ECT_1, ECT_0, Some(ECT_1)),
        (ECT_1, CE, Some(CE)),
        (CE, NOT_ECT, Some(CE)),
    ];
    for ipv4 in FAMILIES {
        for (inner, outer, expected) in table {
            let body = Body::Udp { ports: [1, 2], checksum: true };
            let ips = [PEER.ip(ipv4), GUEST.ip(ipv4)];
            let packet = Packet::new([PEER.mac(), GUEST.mac()], ips, body);
            let packet = Packet { class: 0x28 | inner, ..packet };
            let mut frame = tunnel.around(&packet.bytes());
            frame[15] |= outer << 4;
            let seen = match host.from_underlay(FlatFrame::new(frame)).pop() {
                Some(Left::Guest(_, bytes)) => {
                    checksums::verify(&bytes).unwrap();
                    Some(Packet::read(&bytes).unwrap().class)
                }
                _ => None,
            };
            assert_eq!(seen, expected.map(|ecn| 0x28 | ecn), "{inner:02b} in {outer:02b}");
        }
    }
}

/// What becomes of a datagram that the underlay host `src` brings, of the peer or from outside.
fn comes(
    host: &mut Hypervisor,
    src: std::net::Ipv6Addr,
    external: bool,
) -> Result<(), &'static str> {
    let from = if external { outside(true) } else { PEER.ip(true) };
    let body = Body::Udp { ports: [53, 1000], checksum: true };
    let packet = Packet::new([PEER.mac(), GUEST.mac()], [from, GUEST.ip(true)], body);
    let tunnel = Tunnel::new(&src.to_string(), &HOSTS[0].to_string(), 100);
    let tunnel = if external { tunnel.external() } else { tunnel };
    host.events();
    match host.from_underlay(FlatFrame::new(tunnel.around(&packet.bytes()))).pop() {
        Some(Left::Guest(..)) => Ok(()),
        _ => Err(host.drops()[0].name()),
    }
}

#[test]
fn packets_come_from_hosts_that_the_mappings_name_if_that_is_set() {
    const STRANGER: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 7, 7);
    let mut host = host();
    assert_eq!(comes(&mut host, STRANGER, false), Ok(()), "by default");
    assert_eq!(comes(&mut host, STRANGER, true), Ok(()), "by default");
    let mut settings = PortSettings::default();
    settings.way.known_senders = true;
    host.request(&SetPortSettings { port: GUEST.port(), settings }).unwrap();
    for (src, inside, from_outside) in [
        (STRANGER, Err("outer_source"), Err("outer_source")),
        (HOSTS[1], Ok(()), Err("outer_source")),
        (BOUNDARY, Err("outer_source"), Ok(())),
    ] {
        // The first time by the rules, then perhaps by a stored transform: each holds for the host
        // that was checked, and for no other.
        for _ in 0..2 {
            assert_eq!(comes(&mut host, src, false), inside, "{src}");
            assert_eq!(comes(&mut host, src, true), from_outside, "{src} from outside");
        }
    }
    // Stragglers of a guest that has moved end nothing.
    add_peer(&mut host, PEER, 0);
    assert_eq!(comes(&mut host, HOSTS[1], false), Err("outer_source"));
    assert_eq!(comes(&mut host, HOSTS[0], false), Ok(()));
    add_peer(&mut host, PEER, 1);
    assert_eq!(comes(&mut host, HOSTS[1], false), Ok(()));
    for ipv4 in FAMILIES {
        let entry = V2bEntry { prefix: everywhere(ipv4), endpoints: vec![boundary()] };
        assert_eq!(comes(&mut host, BOUNDARY, true), Ok(()));
        host.request(&ClearV2b { entry }).unwrap();
    }
    assert_eq!(comes(&mut host, BOUNDARY, true), Err("outer_source"));
}

#[test]
fn flows_can_be_told_apart_by_label_and_by_port() {
    let mut host = host();
    let mut seen = std::collections::BTreeSet::new();
    for port in 1000..1064 {
        let frame = out(&mut host, false, true, [port, 80], 0);
        let (_, label) = outer(&frame);
        let source_port = Tunnel::open(&frame).unwrap().0.source_port;
        assert_ne!(label, 0);
        let again = out(&mut host, false, true, [port, 80], 0);
        assert_eq!(outer(&again).1, label, "constant for the flow (RFC 6438, section 3)");
        seen.insert((label, source_port));
    }
    assert!(seen.len() > 56, "{} of 64", seen.len());
}
