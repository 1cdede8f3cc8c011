// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ARP and neighbour discovery on the outside link.

use super::build::*;
use super::*;

fn arp(operation: u8, sender: &str, target: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<core::net::Ipv4Addr>().unwrap().octets();
    let ether = [&MacAddr::BROADCAST.0[..], &PEER_MAC.0, &[8, 6]].concat();
    let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
    let sender = [&PEER_MAC.0[..], &octets(sender)].concat();
    [&ether[..], &fixed, &sender, &[0; 6], &octets(target), &[0; 18]].concat()
}

#[test]
fn arp_is_answered_for_addresses_of_the_table() {
    let boundary = boundary();
    for (sender, target) in [(OWN[0], FLOATING[0]), (PEER[0], SHARED[0]), ("0.0.0.0", FLOATING[0])]
    {
        let verdict = boundary.from_outside(&mut arp(1, sender, target), now());
        let Verdict::Answer(Answer::Frame(reply)) = verdict else { panic!("{verdict:?}") };
        let mut expected = arp(2, target, sender)[..42].to_vec();
        expected[0..12].copy_from_slice(&[PEER_MAC.0, OUTSIDE_MAC.0].concat());
        expected[22..28].copy_from_slice(&OUTSIDE_MAC.0);
        expected[32..38].copy_from_slice(&PEER_MAC.0);
        assert_eq!(reply, expected);
    }
    for mut other in [arp(1, PEER[0], OWN[0]), arp(2, PEER[0], FLOATING[0]), vec![0xff; 20]] {
        assert_eq!(boundary.from_outside(&mut other, now()), Verdict::Ignore);
    }
    let mut from_a_group = arp(1, PEER[0], FLOATING[0]);
    from_a_group[22] |= 1;
    for mut bad in [arp(1, FLOATING[0], FLOATING[0]), from_a_group] {
        expect_drop(&boundary, BoundaryDrop::BadNeighbour, || {
            boundary.from_outside(&mut bad, now())
        });
    }
}

struct Solicitation {
    src: &'static str,
    dst: &'static str,
    mac: MacAddr,
    hops: u8,
    code: u8,
    options: &'static [u8],
}

const LINK_ADDRESS: &[u8] = &[1, 1, 2, 0, 0, 0, 0, 9];
const GROUP: &str = "ff02::1:ff00:10";

impl Solicitation {
    const GOOD: Self = Self {
        src: PEER[1],
        dst: GROUP,
        mac: MacAddr([0x33, 0x33, 0xff, 0, 0, 0x10]),
        hops: 255,
        code: 0,
        options: LINK_ADDRESS,
    };

    fn frame(&self, target: &str) -> Vec<u8> {
        let target = target.parse::<core::net::Ipv6Addr>().unwrap().octets();
        let mut message = [&[135, self.code, 0, 0, 0, 0, 0, 0], &target[..], self.options].concat();
        let len = (message.len() as u16).to_be_bytes();
        let packet = ip(self.src, self.dst, 58, self.hops, &message);
        let sum = sum(&[&packet[8..40], &len, &[0, 58], &message]).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        ether(self.mac, PEER_MAC, &ip(self.src, self.dst, 58, self.hops, &message))
    }
}

fn check_advertisement(reply: &[u8], dst_mac: MacAddr, dst: &str, flags: u8) {
    assert_eq!(reply[..12], [dst_mac.0, OUTSIDE_MAC.0].concat());
    let packet = &reply[14..];
    assert_eq!((packet[6], packet[7], packet.len()), (58, 255, 40 + 32));
    assert_eq!(sum(&[&packet[8..40], &[0, 32], &[0, 58], &packet[40..]]), 0);
    let octets = |text: &str| text.parse::<core::net::Ipv6Addr>().unwrap().octets();
    assert_eq!(packet[8..24], octets(FLOATING[1]));
    assert_eq!(packet[24..40], octets(dst));
    assert_eq!(packet[40..42], [136, 0]);
    assert_eq!(packet[44], flags);
    assert_eq!(packet[48..64], octets(FLOATING[1]));
    assert_eq!(packet[64..], [2, 1, 2, 0, 0, 0, 0, 1]);
}

#[test]
fn solicitations_are_answered_for_addresses_of_the_table() {
    let boundary = boundary();
    let good = Solicitation::GOOD;
    let alone = Solicitation { dst: FLOATING[1], mac: OUTSIDE_MAC, options: &[], ..good };
    let link_local = Solicitation { src: "fe80::7", ..good };
    let probe = Solicitation { src: "::", options: &[], ..good };
    let group_mac = Solicitation { options: &[1, 1, 3, 0, 0, 0, 0, 9], ..good };
    let all_nodes = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    for (asked, dst_mac, dst, flags) in [
        (&good, PEER_MAC, PEER[1], 0x60),
        (&alone, PEER_MAC, PEER[1], 0x60),
        (&link_local, PEER_MAC, "fe80::7", 0x60),
        (&group_mac, PEER_MAC, PEER[1], 0x60),
        (&probe, all_nodes, "ff02::1", 0x20),
    ] {
        let verdict = boundary.from_outside(&mut asked.frame(FLOATING[1]), now());
        let Verdict::Answer(Answer::Frame(reply)) = verdict else { panic!("{verdict:?}") };
        check_advertisement(&reply, dst_mac, dst, flags);
    }
    assert_eq!(boundary.from_outside(&mut good.frame(OWN[1]), now()), Verdict::Ignore);
    assert_eq!(boundary.counters().events(BoundaryEvent::Advertised), 5);
}

#[test]
fn invalid_solicitations_are_dropped() {
    let boundary = boundary();
    let good = Solicitation::GOOD;
    for bad in [
        Solicitation { hops: 254, ..good },
        Solicitation { code: 1, ..good },
        Solicitation { src: "ff02::7", ..good },
        Solicitation { dst: "ff02::1:ff00:11", ..good },
        Solicitation { src: "::", ..good },
        Solicitation { options: &[1, 0, 2, 0, 0, 0, 0, 9], ..good },
        Solicitation { options: &[1, 2, 2, 0, 0, 0, 0, 9], ..good },
    ] {
        expect_drop(&boundary, BoundaryDrop::BadNeighbour, || {
            boundary.from_outside(&mut bad.frame(FLOATING[1]), now())
        });
    }
    let mut wrong_sum = good.frame(FLOATING[1]);
    wrong_sum[57] ^= 1;
    expect_drop(&boundary, BoundaryDrop::BadNeighbour, || {
        boundary.from_outside(&mut wrong_sum, now())
    });
}
