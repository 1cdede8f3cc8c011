// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! From outside to hypervisor hosts.

use super::build::*;
use super::*;

/// Sends `packet` in and checks that it arrives, one hop older, behind the entry's host.
pub fn arrives(boundary: &Boundary<TestHost>, packet: &[u8], host: &str) {
    let mut frame = outside(packet);
    // Short frames are padded on the link; none of that may travel on.
    frame.extend([0xaa; 9]);
    let verdict = boundary.from_outside(&mut frame, now());
    let Verdict::Encapsulate { outer, inner } = verdict else { panic!("{verdict:?}") };
    assert_eq!(outer.dst, host.parse::<core::net::Ipv6Addr>().unwrap());
    assert_eq!(outer.src, BOUNDARY.parse::<core::net::Ipv6Addr>().unwrap());
    assert_eq!((outer.vni.get(), outer.options.as_slice()), (1234, &[1, 0x29, 0, 0][..]));
    // As it was inside, so that the underlay can tell of congestion.
    assert_eq!(outer.traffic_class, 0xb9);
    assert!(outer.source_port >= 0xc000);
    let expected = ether(GUEST_MAC, Config::DEFAULT_INNER_MAC, &one_hop_less(packet));
    assert_eq!(frame[inner], expected);
}

#[test]
fn ports_choose_the_entry() {
    let boundary = boundary();
    for family in [0, 1] {
        let (peer, shared, floating) = (PEER[family], SHARED[family], FLOATING[family]);
        let [icmp_protocol, request, reply, _] = ICMP[family];
        for protocol in [6, 17] {
            arrives(&boundary, &ip(peer, shared, protocol, 64, &ports(53, 1024)), HOST);
            arrives(&boundary, &ip(peer, shared, protocol, 2, &ports(53, 2047)), HOST);
            arrives(&boundary, &ip(peer, shared, protocol, 64, &ports(53, 2048)), OTHER_HOST);
            arrives(&boundary, &ip(peer, floating, protocol, 255, &ports(9, 0)), HOST);
            for port in [0, 1023, 3072, 65535] {
                let packet = ip(peer, shared, protocol, 64, &ports(1500, port));
                expect_drop(&boundary, BoundaryDrop::NoEntry, || {
                    boundary.from_outside(&mut outside(&packet), now())
                });
            }
        }
        for kind in [request, reply] {
            let echo = |id| ip(peer, shared, icmp_protocol, 64, &icmp(kind, id, b"ping"));
            arrives(&boundary, &echo(1500), HOST);
            arrives(&boundary, &echo(2500), OTHER_HOST);
        }
    }
}

#[test]
fn protocols_without_ports_go_to_whoever_has_all_of_the_address() {
    let boundary = boundary();
    for family in [0, 1] {
        let esp = |dst| ip(PEER[family], dst, 50, 64, &[0, 0, 0, 7, 0, 0, 0, 1]);
        arrives(&boundary, &esp(FLOATING[family]), HOST);
        expect_drop(&boundary, BoundaryDrop::NoPorts, || {
            boundary.from_outside(&mut outside(&esp(SHARED[family])), now())
        });
    }
}

#[test]
fn later_fragments_go_to_whoever_has_all_of_the_address() {
    let boundary = boundary();
    for family in [0, 1] {
        let part = |dst, offset| fragment(PEER[family], dst, offset, true, &ports(53, 1500));
        arrives(&boundary, &part(FLOATING[family], 185), HOST);
        arrives(&boundary, &part(FLOATING[family], 0), HOST);
        assert_eq!(boundary.waited(), None);
    }
}

#[test]
fn errors_follow_the_packet_that_they_quote() {
    let boundary = boundary();
    for family in [0, 1] {
        let [icmp_protocol, request, _, exceeded] = ICMP[family];
        let (router, shared) = (PEER[family], SHARED[family]);
        let far = ["203.0.113.5", "2001:db8:9::5"][family];
        let error = |quote: &[u8]| ip(router, shared, icmp_protocol, 64, &icmp(exceeded, 0, quote));
        // What the router saw: from the guest's external tuple, one hop left, or cut off after
        // eight bytes of the transport header.
        let udp = ip(shared, far, 17, 1, &ports(1500, 53));
        arrives(&boundary, &error(&udp), HOST);
        arrives(&boundary, &error(&udp[..udp.len() - 4]), HOST);
        let echo = ip(shared, far, icmp_protocol, 1, &icmp(request, 2500, b""));
        arrives(&boundary, &error(&echo), OTHER_HOST);
        for (bad, reason) in [
            (ip(far, shared, 17, 1, &ports(1500, 53)), BoundaryDrop::BadQuote),
            (ip(FLOATING[family], far, 17, 1, &ports(1500, 53)), BoundaryDrop::BadQuote),
            (error(&udp), BoundaryDrop::BadQuote),
            (ip(shared, far, icmp_protocol, 1, &icmp(exceeded, 0, &udp)), BoundaryDrop::BadQuote),
            (ip(shared, far, 17, 1, &ports(1023, 53)), BoundaryDrop::NoEntry),
            (ip(shared, far, 50, 1, &[0; 8]), BoundaryDrop::NoPorts),
            (udp[..19].to_vec(), BoundaryDrop::BadQuote),
            (vec![], BoundaryDrop::BadQuote),
        ] {
            expect_drop(&boundary, reason, || {
                boundary.from_outside(&mut outside(&error(&bad)), now())
            });
        }
    }
}

#[test]
fn other_traffic_of_the_link_is_left_alone() {
    let boundary = boundary();
    let to = |dst| ip(PEER[0], dst, 17, 64, &ports(1, 2));
    for mut frame in [
        outside(&to(OWN[0])),
        outside(&to("192.0.2.99")),
        ether(PEER_MAC, OUTSIDE_MAC, &to(FLOATING[0])),
        ether(MacAddr::BROADCAST, PEER_MAC, &to(FLOATING[0])),
        outside(&[])[..12].to_vec(),
        [&OUTSIDE_MAC.0[..], &PEER_MAC.0, &[0x88, 0xcc], &[0; 40]].concat(),
        vec![],
    ] {
        let before = frame.clone();
        assert_eq!(boundary.from_outside(&mut frame, now()), Verdict::Ignore);
        assert_eq!(frame, before);
    }
    assert_eq!(boundary.counters().events(BoundaryEvent::Ignored), 7);
}

/// Five words of options, and a length that ends before them.
fn short_of_its_header() -> Vec<u8> {
    let mut bytes = ip(PEER[0], FLOATING[0], 17, 64, &[0; 20]);
    bytes[0] = 0x4a;
    bytes[2..4].copy_from_slice(&39u16.to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    let sum = sum(&[&bytes]).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes
}

#[test]
fn ill_formed_packets_have_a_named_end() {
    let boundary = boundary();
    let good4 = ip(PEER[0], FLOATING[0], 17, 64, &ports(1, 2));
    let good6 = ip(PEER[1], FLOATING[1], 17, 64, &ports(1, 2));
    let change = |packet: &[u8], at: usize, byte: u8| {
        let mut bytes = packet.to_vec();
        bytes[at] = byte;
        bytes
    };
    let extensions = [60u8, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    for (packet, reason) in [
        (good4[..good4.len() - 1].to_vec(), BoundaryDrop::Truncated),
        (good6[..good6.len() - 1].to_vec(), BoundaryDrop::Truncated),
        (change(&good4, 0, 0x44), BoundaryDrop::IpLength),
        (change(&good4, 0, 0x4f), BoundaryDrop::Truncated),
        (short_of_its_header(), BoundaryDrop::IpLength),
        (change(&good4, 8, 63), BoundaryDrop::IpChecksum),
        (change(&good6, 5, 200), BoundaryDrop::Truncated),
        (ip("127.0.0.1", FLOATING[0], 17, 64, &[]), BoundaryDrop::BadSource),
        (ip("169.254.7.7", FLOATING[0], 17, 64, &[]), BoundaryDrop::BadSource),
        (ip("fe80::7", FLOATING[1], 17, 64, &[]), BoundaryDrop::BadSource),
        (ip("::", FLOATING[1], 17, 64, &[]), BoundaryDrop::BadSource),
        (ip("ff02::1", FLOATING[1], 17, 64, &[]), BoundaryDrop::BadSource),
        (ip(PEER[0], FLOATING[0], 17, 64, &[1, 2, 3]), BoundaryDrop::Truncated),
        (ip(PEER[1], FLOATING[1], 58, 64, &[128, 0]), BoundaryDrop::Truncated),
        (ip(PEER[1], FLOATING[1], 60, 64, &extensions), BoundaryDrop::ExtensionHeaders),
        (ip(PEER[0], FLOATING[0], 1, 64, &icmp(5, 0, &good4)), BoundaryDrop::LinkOnly),
        (ip(PEER[1], FLOATING[1], 58, 64, &icmp(137, 0, &good6)), BoundaryDrop::LinkOnly),
    ] {
        expect_drop(&boundary, reason, || boundary.from_outside(&mut outside(&packet), now()));
    }
    let mut wrong_type = outside(&good4);
    wrong_type[14] = 0x65;
    expect_drop(&boundary, BoundaryDrop::IpVersion, || {
        boundary.from_outside(&mut wrong_type, now())
    });
    let mut longest = [&extensions[8..], &ports(1, 2)].concat();
    longest[7 * 8] = 17;
    arrives(&boundary, &ip(PEER[1], FLOATING[1], 60, 64, &longest), HOST);
}

#[test]
fn flows_spread_over_source_ports_and_fragments_do_not() {
    let boundary = boundary();
    let source_port = |packet: &[u8]| match boundary.from_outside(&mut outside(packet), now()) {
        Verdict::Encapsulate { outer, .. } => outer.source_port,
        other => panic!("{other:?}"),
    };
    let udp = |port| ip(PEER[0], FLOATING[0], 17, 64, &ports(port, 2000));
    let distinct: alloc::collections::BTreeSet<u16> =
        (0..64).map(|port| source_port(&udp(port))).collect();
    assert!(distinct.len() > 48, "{}", distinct.len());
    assert_eq!(source_port(&udp(7)), source_port(&udp(7)));
    let part = |offset| fragment(PEER[0], FLOATING[0], offset, true, &ports(9, 9));
    assert_eq!(source_port(&part(0)), source_port(&part(100)));
}
