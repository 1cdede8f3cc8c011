// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! From hypervisor hosts to the outside.

use super::build::*;
use super::*;

pub fn send(boundary: &Boundary<TestHost>, from: &str, datagram: &mut [u8]) -> Verdict {
    boundary.from_underlay((from.parse().unwrap(), 0), datagram, now())
}

/// Sends `packet` out from `host` and checks what leaves.
pub fn leaves(boundary: &Boundary<TestHost>, host: &str, options: &[u8], packet: &[u8]) {
    let mut datagram = geneve(options, packet);
    let verdict = send(boundary, host, &mut datagram);
    let Verdict::Route { destination, packet: range } = verdict else { panic!("{verdict:?}") };
    let [peer4, peer6] = PEER.map(addr);
    assert_eq!(destination, if packet[0] >> 4 == 4 { peer4 } else { peer6 });
    assert_eq!(datagram[range], one_hop_less(packet));
}

#[test]
fn hosts_send_from_what_they_own() {
    let boundary = boundary();
    for family in [0, 1] {
        let (peer, shared, floating) = (PEER[family], SHARED[family], FLOATING[family]);
        let [icmp_protocol, request, _, unreachable] = ICMP[family];
        let udp = |src, port| ip(src, peer, 17, 64, &ports(port, 53));
        leaves(&boundary, HOST, &[], &udp(shared, 1024));
        leaves(&boundary, HOST, &[1, 0x29, 2, 1, 0, 0, 5, 0xa0], &udp(floating, 7));
        leaves(&boundary, OTHER_HOST, &[0xff, 0xff, 0x7f, 0], &udp(shared, 3071));
        let echo = |id| ip(shared, peer, icmp_protocol, 2, &icmp(request, id, b""));
        leaves(&boundary, HOST, &[], &echo(1999));
        // A guest says that a port is closed: the quote shows whose port.
        let quote = ip(peer, shared, 17, 60, &ports(53, 1500));
        let error = ip(shared, peer, icmp_protocol, 64, &icmp(unreachable, 0, &quote));
        leaves(&boundary, HOST, &[], &error);
        leaves(&boundary, HOST, &[], &ip(floating, peer, 50, 64, &[1; 9]));

        for (host, packet, reason) in [
            (OTHER_HOST, udp(shared, 1024), BoundaryDrop::ForeignSource),
            (HOST, udp(shared, 2048), BoundaryDrop::ForeignSource),
            (HOST, udp(shared, 1), BoundaryDrop::ForeignSource),
            (HOST, udp(peer, 1024), BoundaryDrop::ForeignSource),
            (HOST, ip(OWN[family], peer, 50, 64, &[]), BoundaryDrop::ForeignSource),
            ("fd00::3", udp(floating, 7), BoundaryDrop::ForeignSource),
            (OTHER_HOST, echo(1999), BoundaryDrop::ForeignSource),
            (OTHER_HOST, error.clone(), BoundaryDrop::ForeignSource),
            (HOST, ip(shared, peer, 50, 64, &[]), BoundaryDrop::NoPorts),
        ] {
            expect_drop(&boundary, reason, || send(&boundary, host, &mut geneve(&[], &packet)));
        }
    }
}

#[test]
fn congestion_in_the_underlay_is_told_outside() {
    let boundary = boundary();
    for family in [0, 1] {
        // The packets that `ip` builds are marked as capable.
        let packet = ip(FLOATING[family], PEER[family], 50, 64, &[1; 9]);
        let mut datagram = geneve(&[], &packet);
        let from = (HOST.parse().unwrap(), 3);
        let verdict = boundary.from_underlay(from, &mut datagram, now());
        let Verdict::Route { packet: range, .. } = verdict else { panic!("{verdict:?}") };
        let seen = &datagram[range];
        let class = if family == 0 { seen[1] } else { seen[0] << 4 | seen[1] >> 4 };
        assert_eq!(class & 3, 3);
        let mut incapable = packet.clone();
        if family == 0 {
            incapable[1] &= 0xfc;
            incapable[10..12].fill(0);
            let sum = sum(&[&incapable[..20]]).to_be_bytes();
            incapable[10..12].copy_from_slice(&sum);
        } else {
            incapable[1] &= 0xcf;
        }
        expect_drop(&boundary, BoundaryDrop::Congestion, || {
            boundary.from_underlay(from, &mut geneve(&[], &incapable), now())
        });
    }
}

#[test]
fn destinations_of_one_host_or_link_are_refused() {
    let boundary = boundary();
    for (family, bad) in [
        (0, "127.0.0.1"),
        (0, "0.0.0.0"),
        (0, "255.255.255.255"),
        (0, "224.0.0.1"),
        (0, "169.254.169.254"),
        (1, "::1"),
        (1, "::"),
        (1, "ff02::1"),
        (1, "fe80::1"),
        (1, "::ffff:127.0.0.1"),
    ] {
        let packet = ip(FLOATING[family], bad, 17, 64, &ports(7, 7));
        expect_drop(&boundary, BoundaryDrop::BadDestination, || {
            send(&boundary, HOST, &mut geneve(&[], &packet))
        });
    }
}

#[test]
fn ill_formed_datagrams_have_a_named_end() {
    let boundary = boundary();
    let packet = ip(FLOATING[0], PEER[0], 17, 64, &ports(7, 53));
    let good = geneve(&[], &packet);
    let change = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (mut datagram, reason) in [
        (good[..7].to_vec(), BoundaryDrop::Truncated),
        (good[..20].to_vec(), BoundaryDrop::Truncated),
        (change(0, 0x40), BoundaryDrop::GeneveHeader),
        (change(1, 0x80), BoundaryDrop::GeneveHeader),
        (change(3, 0x59), BoundaryDrop::GeneveHeader),
        (change(0, 0x3f), BoundaryDrop::Truncated),
        (change(6, 98), BoundaryDrop::WrongVni),
        (change(8, 0xaa), BoundaryDrop::WrongInnerMac),
        (change(20, 0x88), BoundaryDrop::EtherType),
        (change(21, 0x06), BoundaryDrop::EtherType),
        (change(22, 0x65), BoundaryDrop::IpVersion),
        (geneve(&[0xff, 0xff, 0x80, 0], &packet), BoundaryDrop::GeneveCritical),
        (geneve(&[0x01, 0x29, 0x83, 0], &packet), BoundaryDrop::GeneveCritical),
        (geneve(&[0x01, 0x29, 0, 1], &packet), BoundaryDrop::GeneveOptions),
        (vec![], BoundaryDrop::Truncated),
    ] {
        expect_drop(&boundary, reason, || send(&boundary, HOST, &mut datagram));
    }
}

#[test]
fn guests_reach_each_other_by_their_external_addresses() {
    let boundary = boundary();
    for family in [0, 1] {
        let packet = ip(FLOATING[family], SHARED[family], 17, 64, &ports(7, 2500));
        let mut datagram = geneve(&[1, 0x29, 2, 1, 0, 0, 5, 0xa0], &packet);
        let verdict = send(&boundary, HOST, &mut datagram);
        let Verdict::Encapsulate { outer, inner } = verdict else { panic!("{verdict:?}") };
        assert_eq!(outer.dst, OTHER_HOST.parse::<core::net::Ipv6Addr>().unwrap());
        assert_eq!(outer.options.as_slice(), &[1, 0x29, 0, 0]);
        let expected = ether(GUEST_MAC, Config::DEFAULT_INNER_MAC, &one_hop_less(&packet));
        assert_eq!(datagram[inner], expected);
        let closed = ip(FLOATING[family], SHARED[family], 17, 64, &ports(7, 1));
        expect_drop(&boundary, BoundaryDrop::NoEntry, || {
            send(&boundary, HOST, &mut geneve(&[], &closed))
        });
    }
    assert_eq!(boundary.counters().events(BoundaryEvent::Hairpinned), 2);
}
