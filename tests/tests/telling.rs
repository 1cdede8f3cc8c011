// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Both ends of a TCP connection that a change has ended are told, with sequence numbers that they
//! believe (RFC 5961, section 3.2).

use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use opte_tests::hypervisor::{Hypervisor, Left};
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
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
