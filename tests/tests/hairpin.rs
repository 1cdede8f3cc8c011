// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Guests of one host reach each other by their external tuples, without a boundary that turns their
//! packets round: RFC 4787, REQ-9 and REQ-9a; RFC 5382, REQ-8; RFC 5508, REQ-7; RFC 6888, REQ-1. With one,
//! and between hosts, see `nat.rs`.

use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::setting::{BOUNDARY, FAMILIES, Guest, HOSTS, add_boundary, add_guest};
use oxide_vpc_api::request::{
    DumpCounters, DumpNatLeases, SetExternalIps, SetFwRules, SetPortSettings, ShowPortSettings,
};
use oxide_vpc_api::{ExternalIps, GatewayMap, NatSettings, OneToOne, PortForward, PortRange};
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUESTS: [Guest; 2] = [Guest(5), Guest(6)];

/// A host without a boundary; everybody is let in.
fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    for guest in GUESTS {
        add_guest(&mut host, guest, 0);
        rules(&mut host, guest, "dir=in action=allow priority=1");
    }
    host
}

fn rules(host: &mut Hypervisor, guest: Guest, rule: &str) {
    let rules = vec![rule.parse().unwrap()];
    host.request(&SetFwRules { port: guest.port(), rules }).unwrap();
}

fn external(host: &mut Hypervisor, guest: Guest, ips: impl Fn(bool) -> ExternalIps) {
    let [ipv4, ipv6] = FAMILIES.map(|ipv4| Some(ips(ipv4)));
    let (port, gateways) = (guest.port(), GatewayMap::new());
    host.request(&SetExternalIps { port, ipv4, ipv6, gateways }).unwrap();
}

fn floating(guest: Guest) -> impl Fn(bool) -> ExternalIps {
    move |ipv4| ExternalIps { floating: vec![guest.floating(ipv4)], ..ExternalIps::default() }
}

fn nat(host: &mut Hypervisor, guest: Guest, change: impl FnOnce(&mut NatSettings)) {
    let port = guest.port();
    let mut settings = host.request(&ShowPortSettings { port: port.clone() }).unwrap();
    change(&mut settings.nat);
    host.request(&SetPortSettings { port, settings }).unwrap();
}

fn udp(ports: [u16; 2]) -> Body {
    Body::Udp { ports, checksum: true }
}

/// The guest in this place sends; what comes of it.
fn send(host: &mut Hypervisor, from: usize, dst: IpAddr, body: Body) -> Vec<Left> {
    let src = GUESTS[from].ip(dst.is_ipv4());
    send_as_it_is(host, from, &Packet::new(GUESTS[from].macs(), [src, dst], body))
}

fn send_as_it_is(host: &mut Hypervisor, from: usize, packet: &Packet) -> Vec<Left> {
    host.from_guest(PortId(from as u32), FlatFrame::new(packet.bytes()))
}

/// The packet that the guest in this place gets, and nobody else gets anything.
#[track_caller]
fn got(host: &Hypervisor, left: &[Left], at: usize) -> Packet {
    let [Left::Guest(PortId(port), bytes) | Left::Reply(PortId(port), bytes)] = left else {
        panic!("{left:?}, {:?}", host.drops())
    };
    assert_eq!(*port, at as u32);
    checksums::verify(bytes).expect("right checksums");
    checksums::verify_quote(bytes).expect("right checksums in what is quoted");
    assert_eq!(bytes[..6], GUESTS[at].mac().0);
    Packet::read(bytes).expect("a packet")
}

fn count(host: &mut Hypervisor, name: &str) -> u64 {
    let sets = host.request(&DumpCounters { port: None }).unwrap();
    sets[0].counters.iter().find(|counter| counter.name == name).unwrap().value
}

#[test]
fn a_guest_reaches_another_by_its_own_address_outside() {
    let mut host = host();
    external(&mut host, GUESTS[1], floating(GUESTS[1]));
    for ipv4 in FAMILIES {
        let dst = GUESTS[1].floating(ipv4);
        let left = send(&mut host, 0, dst, udp([1000, 53]));
        let seen = got(&host, &left, 1);
        // As everybody outside sees the sender.
        let range = GUESTS[0].snat(ipv4);
        assert_eq!((seen.src, seen.dst), (range.ip, GUESTS[1].ip(ipv4)));
        let [port, _] = seen.ports();
        assert!((range.first_port..=range.last_port).contains(&port));
        // The answer, from the stored transforms, too.
        for _ in 0..2 {
            let left = send(&mut host, 1, range.ip, udp([53, port]));
            let back = got(&host, &left, 0);
            assert_eq!((back.src, back.dst), (dst, GUESTS[0].ip(ipv4)));
            assert_eq!(back.ports(), [53, 1000]);
            let left = send(&mut host, 0, dst, udp([1000, 53]));
            assert_eq!(got(&host, &left, 1).ports(), [port, 53]);
        }
        // An error about it.
        let Left::Guest(_, frame) = &left[0] else { panic!("{left:?}") };
        let error = Packet::unreachable(GUESTS[1].macs(), [GUESTS[1].ip(ipv4), range.ip], frame);
        let left = send_as_it_is(&mut host, 1, &error);
        let told = got(&host, &left, 0);
        assert_eq!((told.src, told.dst), (dst, GUESTS[0].ip(ipv4)));
        let mut quoted = vec![0; 12];
        quoted.extend(if ipv4 { [0x08, 0x00] } else { [0x86, 0xdd] });
        quoted.extend(&told.payload);
        let quoted = Packet::read(&quoted).unwrap();
        assert_eq!((quoted.src, quoted.dst), (GUESTS[0].ip(ipv4), dst));
        assert_eq!(quoted.ports(), [1000, 53]);
        // Queries, and a connection of TCP.
        let ping = Packet::echo(GUESTS[0].macs(), [GUESTS[0].ip(ipv4), dst], 7);
        let left = send_as_it_is(&mut host, 0, &ping);
        let pong = Packet { macs: GUESTS[1].macs(), ..got(&host, &left, 1).reply() };
        let left = send_as_it_is(&mut host, 1, &pong);
        assert_eq!(got(&host, &left, 0).ports()[0], 7);
        let syn = Body::Tcp { ports: [1, 22], flags: TcpFlags::SYN, numbers: [1, 0] };
        let left = send(&mut host, 0, dst, syn);
        let [port, _] = got(&host, &left, 1).ports();
        let syn_ack = Body::Tcp { ports: [22, port], flags: TcpFlags(0x12), numbers: [9, 2] };
        let left = send(&mut host, 1, range.ip, syn_ack);
        assert_eq!((got(&host, &left, 0).src, host.drops()), (dst, vec![]));
    }
    assert_eq!(count(&mut host, "hairpinned"), 20);
}

#[test]
fn forwards_prefixes_and_mappings_are_reached() {
    let mut host = host();
    let ip = GUESTS[0].snat(true).ip;
    nat(&mut host, GUESTS[1], |nat| {
        nat.forwards.push(PortForward {
            protocol: opte_api::Protocol::UDP,
            external_ip: ip,
            external_ports: PortRange { first: 9000, last: 9009 },
            first_port: 50,
        });
        nat.one_to_one.push(OneToOne {
            inside: "10.0.0.0/28".parse().unwrap(),
            external: "203.0.113.64/28".parse().unwrap(),
        });
    });
    let left = send(&mut host, 0, ip, udp([1000, 9003]));
    assert_eq!(got(&host, &left, 1).ports()[1], 53);
    let left = send(&mut host, 0, "203.0.113.70".parse().unwrap(), udp([1000, 77]));
    assert_eq!(got(&host, &left, 1).ports()[1], 77);
    // By a mapping, which the guest has towards anybody (RFC 4787, REQ-9a).
    let ask = DumpNatLeases { port: GUESTS[0].port(), after: None, limit: 9 };
    let lease = host.request(&ask).unwrap().leases[0].place;
    let left = send(&mut host, 1, ip, udp([2000, lease.external_port]));
    let seen = got(&host, &left, 0);
    assert_eq!((seen.src, seen.ports()[1]), ("203.0.113.70".parse().unwrap(), 1000));
    // What a guest sends to itself is the boundary's.
    let own = [(1, udp([3000, 9003])), (0, udp([3000, lease.external_port]))];
    for (at, body) in own {
        assert_eq!(send(&mut host, at, ip, body), []);
        assert_eq!(host.drops(), [DropReason::NoBoundary]);
    }
}

/// Two guests borrow from one range.
#[test]
fn sharers_of_a_range_reach_each_other() {
    let mut host = host();
    external(&mut host, GUESTS[1], |ipv4| GUESTS[0].external(ipv4));
    let ip = GUESTS[0].snat(true).ip;
    // Somebody outside is needed once: a mapping comes with a connection.
    add_boundary(&mut host);
    for at in 0..2 {
        send(&mut host, at, "198.51.100.7".parse().unwrap(), udp([1000, 53]));
    }
    let port = |host: &mut Hypervisor, at: usize| {
        let ask = DumpNatLeases { port: GUESTS[at].port(), after: None, limit: 9 };
        host.request(&ask).unwrap().leases[0].place.external_port
    };
    let ports = [port(&mut host, 0), port(&mut host, 1)];
    for at in 0..2 {
        let left = send(&mut host, at, ip, udp([1000, ports[1 - at]]));
        let seen = got(&host, &left, 1 - at);
        assert_eq!((seen.src, seen.ports()), (ip, [ports[at], 1000]));
    }
}

#[test]
fn what_does_not_pass_is_told_to_its_sender() {
    let mut host = host();
    external(&mut host, GUESTS[1], floating(GUESTS[1]));
    rules(&mut host, GUESTS[1], "dir=in action=reject priority=1");
    let left = send(&mut host, 0, GUESTS[1].floating(true), udp([1000, 53]));
    assert_eq!(host.drops(), [DropReason::FirewallReject]);
    let told = got(&host, &left, 0);
    assert_eq!((told.src, told.dst), (GUESTS[1].floating(true), GUESTS[0].ip(true)));
}

/// Whose an address is, is asked for each packet; one that has left the host is reached outside.
#[test]
fn an_address_that_moves_is_followed() {
    let mut host = host();
    add_boundary(&mut host);
    external(&mut host, GUESTS[1], floating(GUESTS[1]));
    let dst = GUESTS[1].floating(true);
    let left = send(&mut host, 0, dst, udp([1000, 53]));
    got(&host, &left, 1);
    external(&mut host, GUESTS[1], |ipv4| GUESTS[1].external(ipv4));
    for port in [53, 54] {
        let left = send(&mut host, 0, dst, udp([1000, port]));
        let [Left::Underlay(bytes)] = left.as_slice() else { panic!("{left:?}") };
        let (outer, inner) = Tunnel::open(bytes).unwrap();
        assert_eq!((outer.src, outer.dst), (HOSTS[0], BOUNDARY));
        assert_eq!(outer.vni.get(), oxide_vpc_api::mapping::BOUNDARY_VNI);
        assert!(outer.options.is_empty());
        assert_eq!(inner[..6], oxide_vpc_api::config::BOUNDARY_MAC.0);
        assert_eq!(Packet::read(&inner).unwrap().dst, dst);
    }
    external(&mut host, GUESTS[1], floating(GUESTS[1]));
    let left = send(&mut host, 0, dst, udp([1000, 55]));
    got(&host, &left, 1);
}

#[test]
fn a_port_may_leave_it_to_the_boundary() {
    let mut host = host();
    add_boundary(&mut host);
    external(&mut host, GUESTS[1], floating(GUESTS[1]));
    nat(&mut host, GUESTS[0], |nat| nat.hairpin_outside = true);
    let left = send(&mut host, 0, GUESTS[1].floating(true), udp([1000, 53]));
    let [Left::Underlay(bytes)] = left.as_slice() else { panic!("{left:?}") };
    assert_eq!(Tunnel::open(bytes).unwrap().0.dst, BOUNDARY);
    assert_eq!(count(&mut host, "hairpinned"), 0);
}

/// A tuple of this host that waits after its loan is nobody's.
#[test]
fn what_nobody_has_is_dropped() {
    let mut host = host();
    external(&mut host, GUESTS[1], |ipv4| GUESTS[0].external(ipv4));
    add_boundary(&mut host);
    send(&mut host, 1, "198.51.100.7".parse().unwrap(), udp([1000, 53]));
    let ask = DumpNatLeases { port: GUESTS[1].port(), after: None, limit: 9 };
    let port = host.request(&ask).unwrap().leases[0].place.external_port;
    host.advance(301_000);
    host.expire();
    let ip = GUESTS[0].snat(true).ip;
    assert_eq!(send(&mut host, 0, ip, udp([1000, port])), []);
    assert_eq!(host.drops(), [DropReason::NatUnmapped]);
}

#[test]
fn fragments_are_turned_round_with_the_first() {
    let mut host = host();
    external(&mut host, GUESTS[1], floating(GUESTS[1]));
    let ips = [GUESTS[0].ip(true), GUESTS[1].floating(true)];
    let packet = Packet {
        payload: (0..1000u16).map(|n| n as u8).collect(),
        ..Packet::new(GUESTS[0].macs(), ips, udp([1000, 53]))
    };
    let bytes = packet.bytes();
    let (header, data) = bytes.split_at(34);
    let piece = |at: usize| {
        let part = &data[at * 400..data.len().min(at * 400 + 400)];
        let mut piece = [header, part].concat();
        piece[16..18].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        let field = (at * 50) as u16 | u16::from(at < 2) << 13;
        piece[20..22].copy_from_slice(&field.to_be_bytes());
        piece[24..26].fill(0);
        let sum = opte::checksum::Sum::default().bytes(&piece[14..34]).complement();
        piece[24..26].copy_from_slice(&sum.to_be_bytes());
        piece
    };
    let arrive = |at: usize| host.from_guest(PortId(0), FlatFrame::new(piece(at)));
    let left: Vec<Left> = [2, 0, 1].into_iter().flat_map(arrive).collect();
    assert_eq!(left.len(), 3, "{:?}", host.drops());
    let mut whole = vec![0; data.len()];
    for left in &left {
        let (Left::Guest(PortId(1), bytes) | Left::Reply(PortId(1), bytes)) = left else {
            panic!("{left:?}")
        };
        assert_eq!(bytes[30..34], [10, 0, 0, 6]);
        let at = usize::from(u16::from_be_bytes([bytes[20], bytes[21]]) & 0x1fff) * 8;
        whole[at..at + bytes.len() - 34].copy_from_slice(&bytes[34..]);
    }
    assert_eq!(whole[8..], data[8..]);
}
