// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ICMP errors and source NAT (RFC 5508): those that follow a connection or are translated have right
//! checksums, their own and that of the quoted IPv4 header, or go no further; and so have those that
//! quote nothing that is translated.

use opte::checksum::Sum;
use opte::drop_reason::DropReason;
use opte::frame::{ChecksumState, FlatFrame, Frame, Offload, Rewrite};
use opte::outer::Outer;
use opte_api::Direction::{self, In, Out};
use opte_api::MacAddr;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::scenario::check;
use opte_tests::setting::{
    BOUNDARY, FAMILIES, Guest, HOSTS, VPC, add_boundary, add_guest, outside, vni,
};
use oxide_vpc_api::config::BOUNDARY_MAC;
use oxide_vpc_api::request::{SetExternalIps, SetFwRules};
use oxide_vpc_api::{ExternalIps, GatewayMap};
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::{Egress, PortId, UnderlayShape};

const GUEST: Guest = Guest(5);
const NEXT: Guest = Guest(6);
const PORTS: [u16; 2] = [1000, 53];

fn host(ipv4: bool) -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    add_boundary(&mut host);
    for guest in [GUEST, NEXT] {
        add_guest(&mut host, guest, 0);
        let rules = vec!["dir=in action=allow priority=1".parse().unwrap()];
        host.request(&SetFwRules { port: guest.port(), rules }).unwrap();
    }
    let own = |family| {
        let floating = vec![GUEST.floating(family)];
        Some(ExternalIps { floating, ..ExternalIps::default() })
    };
    let gateways = GatewayMap::new();
    let (port, [ipv4_ips, ipv6]) = (GUEST.port(), FAMILIES.map(own));
    host.request(&SetExternalIps { port, ipv4: ipv4_ips, ipv6, gateways }).unwrap();
    // A connection that both ends may complain of.
    let opening = packet([GUEST.ip(ipv4), outside(ipv4)], PORTS);
    assert_eq!(host.from_guest(PortId(0), FlatFrame::new(opening.bytes())).len(), 1);
    host
}

fn packet(ips: [IpAddr; 2], ports: [u16; 2]) -> Packet {
    let body = Body::Udp { ports, checksum: true };
    Packet { payload: vec![7; 40], ..Packet::new(GUEST.macs(), ips, body) }
}

/// What somebody outside says about the guest's packet, or the guest about the answer.
fn error(direction: Direction, ipv4: bool) -> Packet {
    let (own, other) = (GUEST.floating(ipv4), outside(ipv4));
    let [here, there] = PORTS;
    let (ips, quoted) = match direction {
        In => ([other, own], packet([own, other], PORTS)),
        Out => ([GUEST.ip(ipv4), other], packet([other, GUEST.ip(ipv4)], [there, here])),
    };
    Packet::unreachable(macs(direction), ips, &quoted.bytes())
}

fn macs(direction: Direction) -> [MacAddr; 2] {
    match direction {
        In => [BOUNDARY_MAC, GUEST.mac()],
        Out => GUEST.macs(),
    }
}

/// Offset of the ICMP message in an Ethernet frame.
fn message(ipv4: bool) -> usize {
    14 + if ipv4 { 20 } else { 40 }
}

fn send(host: &mut Hypervisor, direction: Direction, bytes: Vec<u8>) -> Result<(), DropReason> {
    let left = match direction {
        Out => host.from_guest(PortId(0), FlatFrame::new(bytes)),
        In => host.from_underlay(FlatFrame::new(wrapped(&bytes))),
    };
    match left.as_slice() {
        [Left::Underlay(_) | Left::Guest(..)] => Ok(()),
        [] => Err(host.drops()[0]),
        other => panic!("{other:?}"),
    }
}

fn wrapped(inner: &[u8]) -> Vec<u8> {
    let source_port = 0xc001;
    let tunnel =
        Tunnel { src: BOUNDARY, dst: HOSTS[0], source_port, vni: vni(VPC), options: Vec::new() };
    tunnel.external().around(inner)
}

/// REQ-3.
#[test]
fn no_flipped_bit_gets_through() {
    for (direction, ipv4) in [In, Out].into_iter().flat_map(|way| FAMILIES.map(|f| (way, f))) {
        let mut host = host(ipv4);
        let right = error(direction, ipv4).bytes();
        assert_eq!(send(&mut host, direction, right.clone()), Ok(()));
        for bit in (message(ipv4) + 2) * 8..right.len() * 8 {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let seen = send(&mut host, direction, wrong);
            assert_eq!(seen, Err(DropReason::IcmpChecksum), "{direction} bit {bit}");
        }
        // Nobody's connection has suffered.
        assert_eq!(send(&mut host, direction, right), Ok(()));
    }
}

/// REQ-3a, and REQ-3c: what is quoted behind the IP header is not looked at.
#[test]
fn the_quoted_header_is_right_and_what_is_behind_may_be_anything() {
    for direction in [In, Out] {
        let mut host = host(true);
        for bit in 0..8 * 60 {
            let mut packet = error(direction, true);
            packet.payload[bit / 8] ^= 1 << (bit % 8);
            let seen = send(&mut host, direction, packet.bytes());
            let expected = match bit / 8 {
                // It is none of IPv4, or has another length, and so cannot be read.
                0 => continue,
                1..20 => Err(DropReason::QuoteChecksum),
                // Ports: somebody else's packet. Inbound the address is the guest's all the same.
                20..24 if direction == Out => Err(DropReason::IcmpUnrelated),
                _ => Ok(()),
            };
            assert_eq!(seen, expected, "{direction} bit {bit}");
        }
    }
}

/// A header with options is summed as far as it is there.
#[test]
fn a_quoted_header_that_is_cut_cannot_be_wrong() {
    let mut host = host(true);
    let (own, other) = (GUEST.floating(true), outside(true));
    let quoted = Packet { extras: 2, ..packet([own, other], PORTS) };
    let mut error = Packet::unreachable(macs(In), [other, own], &quoted.bytes());
    assert_eq!(send(&mut host, In, error.bytes()), Ok(()));
    error.payload[25] ^= 1;
    assert_eq!(send(&mut host, In, error.bytes()), Err(DropReason::QuoteChecksum));
    error.payload.truncate(26);
    assert_eq!(send(&mut host, In, error.bytes()), Ok(()));
}

#[test]
fn what_others_have_verified_or_complete_is_not_asked_again() {
    for (direction, ipv4) in [In, Out].into_iter().flat_map(|way| FAMILIES.map(|f| (way, f))) {
        let mut host = host(ipv4);
        let mut bytes = error(direction, ipv4).bytes();
        bytes[message(ipv4) + 2] ^= 1;
        let partial = ChecksumState::Partial { start: message(ipv4) as u16, offset: 2 };
        for checksum in [ChecksumState::Verified, partial] {
            let bytes = if direction == In { wrapped(&bytes) } else { bytes.clone() };
            let frame = FlatFrame { bytes, offload: Offload { checksum, segments: None } };
            let left = match direction {
                Out => host.from_guest(PortId(0), frame),
                In => host.from_underlay(frame),
            };
            assert_eq!(left.len(), 1, "{direction} {checksum:?}");
        }
    }
}

#[test]
fn between_guests_the_rules_decide_and_the_receiver_checks() {
    let mut host = host(true);
    let [own, next] = [GUEST, NEXT].map(|guest| guest.ip(true));
    let quoted = packet([next, own], PORTS);
    let mut bytes = Packet::unreachable(GUEST.macs(), [own, next], &quoted.bytes()).bytes();
    bytes[message(true) + 2] ^= 1;
    // Nothing is known of what it quotes.
    assert_eq!(send(&mut host, Out, bytes.clone()), Ok(()));
    // Now it is.
    let opening = Packet { macs: NEXT.macs(), ..quoted };
    assert_eq!(host.from_guest(PortId(1), FlatFrame::new(opening.bytes())).len(), 1);
    assert_eq!(send(&mut host, Out, bytes), Err(DropReason::IcmpChecksum));
}

/// A frame of which only the front lies in one piece.
#[derive(Clone)]
struct Split {
    whole: FlatFrame,
    front: usize,
    /// The host looks behind the front.
    sums: bool,
}

impl Frame for Split {
    fn head(&self) -> &[u8] {
        &self.whole.bytes[..self.front]
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.whole.bytes[..self.front]
    }

    fn len(&self) -> usize {
        self.whole.len()
    }

    fn offload(&self) -> Offload {
        self.whole.offload()
    }

    fn sum(&self, at: usize) -> Option<Sum> {
        self.sums.then(|| self.whole.sum(at)).flatten()
    }

    fn copy(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// Counts what gets to guests.
#[derive(Default)]
struct Receiver(usize);

impl Egress<Split> for Receiver {
    fn to_underlay(&mut self, _frame: Split, _rewrite: &Rewrite) {
        panic!("it is for a guest");
    }

    fn to_guest(&mut self, _port: PortId, _frame: Split, _rewrite: &Rewrite) {
        self.0 += 1;
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {
        panic!("errors are not answered");
    }

    fn reply(&mut self, _port: PortId, _bytes: Vec<u8>) {
        panic!("errors are not answered");
    }
}

/// A long error is checked to its end, if the host can. Otherwise who gets it does.
#[test]
fn a_long_error_is_checked_behind_the_front() {
    for ipv4 in FAMILIES {
        let host = host(ipv4);
        let mut long = error(In, ipv4);
        long.payload.resize(1200, 9);
        let right = wrapped(&long.bytes());
        let mut wrong = right.clone();
        *wrong.last_mut().unwrap() ^= 1;
        for (bytes, sums, passes) in [
            (&right, true, true),
            (&wrong, true, false),
            (&right, false, true),
            (&wrong, false, true),
        ] {
            let whole = FlatFrame::new(bytes.clone());
            let mut frames = vec![Split { whole, front: 512, sums }];
            let mut receiver = Receiver::default();
            let shape = UnderlayShape::Ethernet;
            host.driver.from_underlay(shape, &mut frames, host.now, &mut receiver);
            assert_eq!(receiver.0 == 1, passes, "sums {sums}");
        }
        assert_eq!(host.drops(), [DropReason::IcmpChecksum]);
    }
}

#[test]
fn errors_neither_end_nor_refresh_what_they_are_about() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         out -> g5.snat error => g5 about g5:1000
         out2 -> g5.snat error => g5 from out2 about g5:1000
         flows g5 = 1
         out -> g5.snat udp 80:$p => g5 to g5:1000
         wait 200s
         out -> g5.snat error => g5 about g5:1000
         wait 101s
         flows g5 = 0
         leases g5 = 0",
    );
}

#[test]
fn errors_about_nothing_are_dropped() {
    check(
        "g5 -> out udp 1000:80 => out from g5.snat:$p
         wait 301s
         out -> g5.snat error => drop firewall_default
         external g6 = floating
         rules g6 = dir=in action=allow priority=1
         out -> g6.floating udp 80:9 => g6 to g6:9
         g6 -> out error => out from g6.floating about out:80
         wait 301s
         g6 -> out error => drop icmp_unrelated
         count g6 out_drop_icmp_unrelated = 1
         # Nor does one get in that is about somebody else's packet.
         g6 -> out udp 9:80 => out from g6.floating
         external g5 = ephemeral
         rules g5 = dir=in action=allow priority=1
         out -> g5.ephemeral error => drop icmp_unrelated
         out -> g6.floating error => g6 about g6:9
         # Inside the VPC nothing is translated, and the rules have their say alone.
         g5 -> g6 udp 1:2 => g6
         wait 301s
         g6 -> g5 error => g5 about g5:1",
    );
}
