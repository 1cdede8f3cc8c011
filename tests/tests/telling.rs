// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Both ends of a TCP connection that a change has ended are told, with sequence numbers that they
//! believe (RFC 5961, section 3.2); of any other who sends its next packet; and who gets no external
//! port.

use opte::drop_reason::DropReason;
use opte::event::Event;
use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::scenario::check;
use opte_tests::setting::{
    BOUNDARY, Guest, HOSTS, VPC, add_boundary, add_guest, add_peer, outside, vni,
};
use oxide_vpc_api::PortSettings;
use oxide_vpc_api::request::{DumpCounters, SetFwRules, SetPortSettings};
use std::net::IpAddr;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const LOCAL: Guest = Guest(6);

/// A host whose guest has a connection to `to`, and the peer's side of it.
struct Talk {
    host: Hypervisor,
    to: IpAddr,
    /// From the peer, as it comes.
    peer: Packet,
}

fn segment(flags: TcpFlags, numbers: [u32; 2], to: IpAddr) -> Packet {
    let body = Body::Tcp { ports: [1000, 80], flags, numbers };
    Packet { payload: Vec::new(), ..Packet::new(GUEST.macs(), [GUEST.ip(to.is_ipv4()), to], body) }
}

/// Ports, flags and numbers of a segment.
fn tcp(packet: &Packet) -> ([u16; 2], TcpFlags, [u32; 2]) {
    let Body::Tcp { ports, flags, numbers } = packet.body else { panic!("{packet:?}") };
    (ports, flags, numbers)
}

fn inner(left: &Left) -> Packet {
    let bytes = match left {
        Left::Underlay(bytes) | Left::Answer(bytes) => Tunnel::open(bytes).unwrap().1,
        Left::Guest(_, bytes) | Left::Reply(_, bytes) => bytes.clone(),
    };
    checksums::verify(&bytes).unwrap();
    Packet::read(&bytes).unwrap()
}

impl Talk {
    fn new(to: IpAddr) -> Self {
        let mut host = Hypervisor::new(DriverOptions { flow_limit: 100, ..DriverOptions::new(5) });
        add_boundary(&mut host);
        add_guest(&mut host, GUEST, 0);
        add_guest(&mut host, LOCAL, 0);
        add_peer(&mut host, Guest(7), 1);
        let rules = vec!["dir=in action=allow priority=1".parse().unwrap()];
        host.request(&SetFwRules { port: LOCAL.port(), rules }).unwrap();
        let syn = segment(TcpFlags::SYN, [10, 0], to);
        let left = host.from_guest(PortId(0), FlatFrame::new(syn.bytes()));
        let peer = Packet { payload: Vec::new(), ..inner(&left[0]).reply() };
        let mut talk = Self { host, to, peer };
        assert_eq!(talk.answer(TcpFlags::SYN | TcpFlags::ACK, [20, 11]).len(), 1);
        assert_eq!(talk.say([11, 21]).len(), 1);
        talk
    }

    /// A segment of the guest.
    fn say(&mut self, numbers: [u32; 2]) -> Vec<Left> {
        let packet = segment(TcpFlags::ACK, numbers, self.to);
        self.host.from_guest(PortId(0), FlatFrame::new(packet.bytes()))
    }

    /// A segment of the peer.
    fn answer(&mut self, flags: TcpFlags, numbers: [u32; 2]) -> Vec<Left> {
        let (ports, ..) = tcp(&self.peer);
        let body = Body::Tcp { ports, flags, numbers };
        let mut packet = Packet { body, ..self.peer.clone() };
        if self.to == LOCAL.ip(true) {
            packet.macs = LOCAL.macs();
            return self.host.from_guest(PortId(1), FlatFrame::new(packet.bytes()));
        }
        packet.macs[1] = GUEST.mac();
        let tunnel = Tunnel {
            src: BOUNDARY,
            dst: HOSTS[0],
            source_port: 0xc001,
            vni: vni(VPC),
            options: vec![],
        };
        let frame = tunnel.external().around(&packet.bytes());
        self.host.from_underlay(FlatFrame::new(frame))
    }

    fn forbid(&mut self) {
        let rules = vec!["dir=out action=deny priority=1 protocol=tcp".parse().unwrap()];
        self.host.request(&SetFwRules { port: GUEST.port(), rules }).unwrap();
    }

    fn count(&mut self, name: &str) -> u64 {
        let sets = self.host.request(&DumpCounters { port: Some(GUEST.port()) }).unwrap();
        sets[0].counters.iter().find(|counter| counter.name == name).unwrap().value
    }
}

#[test]
fn both_ends_get_a_reset_that_they_believe() {
    for ipv4 in [true, false] {
        for guest_speaks in [true, false] {
            let mut talk = Talk::new(outside(ipv4));
            talk.forbid();
            // More was said meanwhile than the handshake.
            let left = match guest_speaks {
                true => talk.say([5000, 7000]),
                false => talk.answer(TcpFlags::ACK, [7000, 5000]),
            };
            assert_eq!(left.len(), 2, "{left:?}");
            let (guest, peer): (Vec<_>, Vec<_>) =
                left.iter().partition(|left| matches!(left, Left::Reply(PortId(0), _)));
            let (guest, peer) = (inner(guest[0]), inner(peer[0]));
            assert_eq!((guest.src, guest.dst), (outside(ipv4), GUEST.ip(ipv4)));
            assert_eq!(tcp(&guest), ([80, 1000], TcpFlags::RST, [7000, 0]));
            // As the guest is known there.
            assert_eq!((peer.src, peer.dst), (talk.peer.dst, talk.peer.src));
            let (ports, ..) = tcp(&talk.peer);
            assert_eq!(tcp(&peer), ([ports[1], ports[0]], TcpFlags::RST, [5000, 0]));
            assert_eq!((talk.count("cut_rule_denies"), talk.count("answers_sent")), (1, 2));
        }
    }
}

#[test]
fn a_guest_of_the_same_host_is_told_too() {
    let mut talk = Talk::new(LOCAL.ip(true));
    talk.forbid();
    let left = talk.say([5000, 7000]);
    let told: Vec<_> = left
        .iter()
        .map(|left| match left {
            Left::Reply(port, _) => (*port, tcp(&inner(left)).2[0]),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(PortId(0), 7000), (PortId(1), 5000)]);
}

#[test]
fn who_opens_another_connection_is_not_told() {
    let mut talk = Talk::new(outside(true));
    talk.forbid();
    let syn = segment(TcpFlags::SYN, [90, 0], talk.to);
    assert_eq!(talk.host.from_guest(PortId(0), FlatFrame::new(syn.bytes())), []);
    assert_eq!(talk.count("out_drop_firewall_rule"), 1);
}

#[test]
fn telling_can_be_switched_off_and_has_a_rate() {
    let with = |change: fn(&mut PortSettings)| {
        let mut talk = Talk::new(outside(true));
        let mut settings = PortSettings::default();
        change(&mut settings);
        talk.host.request(&SetPortSettings { port: GUEST.port(), settings }).unwrap();
        talk.forbid();
        assert_eq!(talk.say([5000, 7000]), []);
        talk
    };
    let mut off = with(|settings| settings.continuity.tell = false);
    assert_eq!((off.count("out_drop_firewall_rule"), off.count("answers_sent")), (1, 0));
    let mut limited = with(|settings| {
        (settings.answers.per_second, settings.answers.burst) = (0, 0);
    });
    assert_eq!(
        (limited.count("out_drop_connection_cut"), limited.count("answers_limited")),
        (1, 2)
    );
}

#[test]
fn who_sends_the_next_packet_is_told_by_icmp() {
    check(
        "rules g7 = dir=in action=allow priority=1
         g5 -> out udp 1:80 => out from g5.snat:$p
         g5 -> out udp 2:80 => out from g5.snat:$q
         g5 -> g7 udp6 3:80 => g7
         g5 -> g7 ping 9 => g7
         rules g5 = dir=out action=deny priority=1
         g5 -> out udp 1:80 => refuse firewall_rule reply is 3.13 from gw about g5:1
         out -> g5.snat udp 80:$q => refuse firewall_default out is 3.13 from g5.snat about out:80
         g7 -> g5 udp6 80:3 => refuse firewall_default g7 is 1.1 from g5 about g7:80
         g5 -> g7 ping 9 => refuse firewall_rule reply is 3.13 from gw
         count g5 cut_rule_denies = 4
         count g5 answers_sent = 4
         # There is no connection any more.
         g5 -> out udp 1:80 => drop firewall_rule
         out -> g5.snat udp 80:$q => drop firewall_default",
    );
}

#[test]
fn who_opens_another_connection_by_it_is_told_nothing() {
    check(
        "external g5 = snat/2
         g5 -> out udp 1:80 => out from g5.snat:$p
         external g5 = floating
         g5 -> out udp 1:80 => out from g5.floating:1
         # Nor does the next packet to be dropped tell of it.
         g5 -> g77 udp 1:80 => drop no_mapping
         count g5 answers_sent = 0",
    );
}

#[test]
fn telling_by_icmp_can_be_switched_off_and_has_the_same_rate() {
    check(
        "set g5 = continuity.tell=false
         g5 -> out udp 1:80 => out
         g5 -> out udp 2:80 => out
         rules g5 = dir=out action=deny priority=1
         g5 -> out udp 1:80 => drop firewall_rule
         set g5 = continuity.tell=true answers.per_second=0 answers.burst=0
         g5 -> out udp 2:80 => drop firewall_rule
         count g5 answers_limited = 1",
    );
}

/// RFC 6888, REQ-11 B; RFC 5508, REQ-8.
#[test]
fn who_gets_no_external_port_is_told() {
    check(
        "external g5 = snat/1
         g5 -> out udp 1:80 => out
         g5 -> out udp 2:80 => refuse nat_exhausted reply is 3.1 from gw about g5:2
         g5 -> out ping 1 => out
         g5 -> out ping 2 => refuse nat_exhausted reply is 3.13 from gw
         g5 -> out ping6 1 => out
         g5 -> out ping6 2 => refuse nat_exhausted reply is 1.1
         g5 -> out tcp6:S 1:80 => out
         g5 -> out tcp6:S 2:80 => refuse nat_exhausted reply is 1.3 about g5:2
         external g5 = snat
         set g5 = nat.limits.port=1
         g5 -> out udp 3:80 => refuse nat_limit reply is 3.1
         # What has one goes on.
         g5 -> out udp 1:81 => out
         set g5 = answers.per_second=0 answers.burst=0
         g5 -> out udp 3:80 => drop nat_limit",
    );
}

/// Also if nobody spoke until the sweep was there: by the numbers of the segment at hand.
#[test]
fn who_speaks_behind_the_sweep_is_told() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         g5 -> out udp 1000:53 => out from g5.snat:$u
         rules g5 = dir=out action=deny priority=1
         wait 1s
         flows g5 = 0
         out -> g5.snat tcp:A 80:$t seq=5000 ack=7000 => refuse firewall_default out is rst seq 7000
         g5 -> out tcp:A 1000:80 seq=6000 ack=5000 => refuse firewall_rule reply is rst seq 5000
         g5 -> out udp 1000:53 => refuse firewall_rule reply is 3.13
         out -> g5.snat udp 53:$u => refuse firewall_default out is 3.13
         # A reset is not answered, nor is what never was a connection.
         g5 -> out tcp:R 1000:80 => drop firewall_rule
         g5 -> out udp 1001:53 => drop firewall_rule
         out2 -> g5.snat tcp:A 80:$t => drop firewall_default
         wait 60s
         g5 -> out udp 1000:53 => drop firewall_rule
         out -> g5.snat tcp:A 80:$t => drop firewall_default
         count g5 cuts_forgotten = 0",
    );
    check(
        "set g5 = continuity.tell=false
         g5 -> out udp 1000:53 => out
         rules g5 = dir=out action=deny priority=1
         wait 1s
         g5 -> out udp 1000:53 => drop firewall_rule",
    );
}

/// RFC 6888, REQ-11 C.
#[test]
fn observers_learn_once_a_second_that_no_external_port_is_left() {
    let mut host = Hypervisor::new(DriverOptions { flow_limit: 100, ..DriverOptions::new(5) });
    add_boundary(&mut host);
    add_guest(&mut host, GUEST, 0);
    let mut settings = PortSettings::default();
    settings.nat.limits.port = 1;
    host.request(&SetPortSettings { port: GUEST.port(), settings }).unwrap();
    let send = |host: &mut Hypervisor, port| {
        let body = Body::Udp { ports: [port, 80], checksum: true };
        let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), outside(true)], body);
        host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
        let events = host.events();
        let told = |event: &Event| match event {
            Event::Exhausted(told) => Some((told.reason, told.key.src_port)),
            _ => None,
        };
        events.iter().filter_map(told).collect::<Vec<_>>()
    };
    let reason = DropReason::NatLimit as u8;
    assert_eq!(send(&mut host, 1), []);
    assert_eq!(send(&mut host, 2), [(reason, 2)]);
    assert_eq!(send(&mut host, 3), []);
    host.advance(1000);
    assert_eq!(send(&mut host, 4), [(reason, 4)]);
    assert_eq!(send(&mut host, 5), []);
}
