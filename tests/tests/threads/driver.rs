// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A port of a driver: guests and peers send, an operator changes everything and looks at it.
//!
//! What a packet must look like when it leaves depends on the configuration that is in force, and
//! on the external port that its connection has. The first is known while no change is under way;
//! the second is what the packets that left say, all of them together.

use crate::{Clock, Dice};
use opte::event::FlowEnd;
use opte::frame::{FlatFrame, Rewrite};
use opte::outer::Outer;
use opte::tcp::TcpFlags;
use opte_api::MacAddr;
use opte_api::frame::{HEADER_LEN, Header, MAX_RESPONSE, Request, decode_answer, encode_request};
use opte_tests::hypervisor::{Agreeable, Hypervisor, TestHost};
use opte_tests::packets::{Body, Packet, Tunnel, checksums};
use opte_tests::setting::{BOUNDARY, Guest, HOSTS, VPC, add_boundary, add_guest, outside, vni};
use oxide_vpc_api::config::{BOUNDARY_MAC, GATEWAY_MAC};
use oxide_vpc_api::request::{
    ClearUft, DumpCounters, DumpLayer, DumpTcpFlows, DumpUft, SetExternalIps, SetFwRules,
    SetPortSettings,
};
use oxide_vpc_api::{ExternalIps, GatewayMap, PortSettings, SnatRange};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use xde::Driver;
use xde::driver::DriverOptions;
use xde::host::{Egress, Moment, PortId, UnderlayShape};

const GUEST: Guest = Guest(5);
const THREADS: u64 = 3;
const STEPS: u64 = 6_000;
/// Steps of all others for each step of the operator.
const PACE: u64 = 8;
/// External ports of a family and protocol.
const PORTS: u16 = 12;
/// More than the ports of one kind, fewer than the flows of all kinds.
const FLOWS: u32 = 40;
/// To this port of theirs the guest may not send in every third configuration.
const CLOSED: u16 = 81;

/// What leaves, to the underlay or to the guest.
#[derive(Default)]
struct Exit(Vec<Vec<u8>>);

impl Egress<FlatFrame> for Exit {
    fn to_underlay(&mut self, frame: FlatFrame, rewrite: &Rewrite) {
        self.0.push(frame.rewritten(rewrite));
    }

    fn to_guest(&mut self, port: PortId, frame: FlatFrame, rewrite: &Rewrite) {
        assert_eq!(port, PortId(0));
        self.0.push(frame.rewritten(rewrite));
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {
        panic!("nothing is answered here");
    }

    fn reply(&mut self, _port: PortId, _bytes: Vec<u8>) {
        panic!("nothing is answered here");
    }
}

/// That packets of a connection had this port of the guest inside and this one outside.
type Binding = (IpAddr, bool, u16, u16);

/// What a thread has seen.
#[derive(Default)]
struct Seen {
    left: BTreeSet<Binding>,
    arrived: BTreeSet<Binding>,
    packets: u64,
}

struct World {
    driver: Driver<TestHost>,
    clock: Clock,
    /// Changes of the configuration that have begun, and that are done.
    begun: AtomicU64,
    done: AtomicU64,
    /// Steps of those who send.
    steps: AtomicU64,
}

fn snat(ipv4: bool) -> SnatRange {
    let range = GUEST.snat(ipv4);
    SnatRange { last_port: range.first_port + PORTS - 1, ..range }
}

/// The address that the guest has outside under configuration `number`.
fn external_ip(number: u64, ipv4: bool) -> IpAddr {
    if number % 3 == 1 { GUEST.floating(ipv4) } else { snat(ipv4).ip }
}

fn packet(dice: &mut Dice) -> Packet {
    let ipv4 = dice.roll(2) == 0;
    let ports = [dice.roll(8) as u16, dice.pick(&[80, CLOSED])];
    let flags = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN | TcpFlags::ACK, TcpFlags::RST];
    let numbers = [dice.roll(2) as u32 * 1000, 1];
    let body = match dice.roll(2) {
        0 => Body::Udp { ports, checksum: true },
        _ => Body::Tcp { ports, flags: dice.pick(&flags), numbers },
    };
    Packet::new(GUEST.macs(), [GUEST.ip(ipv4), outside(ipv4)], body)
}

fn with_ports(mut packet: Packet, new: [u16; 2]) -> Packet {
    match &mut packet.body {
        Body::Udp { ports, .. } | Body::Tcp { ports, .. } => *ports = new,
        _ => panic!("{packet:?}"),
    }
    packet
}

impl World {
    fn new() -> Self {
        let options = DriverOptions { flow_limit: FLOWS, ..DriverOptions::new(5) };
        let mut host = Hypervisor::new(options);
        add_guest(&mut host, GUEST, 0);
        add_boundary(&mut host);
        let mut settings = PortSettings::default();
        settings.continuity.tell = false;
        (settings.answers.per_second, settings.answers.burst) = (0, 0);
        host.request(&SetPortSettings { port: GUEST.port(), settings }).unwrap();
        let [begun, done, steps] = [const { AtomicU64::new(0) }; 3];
        let world = Self { driver: host.driver, clock: Clock::new(), begun, done, steps };
        world.configure(0);
        world
    }

    fn request<R: Request>(&self, request: &R) -> R::Response {
        let frame = encode_request(request).unwrap();
        let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
        let header = Header::from_bytes(*header, u32::MAX).unwrap();
        let now = self.clock.step(1);
        let answer = self.driver.control(&mut Agreeable, now, header, body);
        let (header, body) = answer.split_first_chunk().unwrap();
        decode_answer(Header::from_bytes(*header, MAX_RESPONSE).unwrap(), body).unwrap()
    }

    fn configure(&self, number: u64) {
        self.begun.store(number, Ordering::SeqCst);
        let rule = format!("dir=out action=deny priority=1 ports={CLOSED}");
        let rules = if number % 3 == 2 { vec![rule.parse().unwrap()] } else { Vec::new() };
        self.request(&SetFwRules { port: GUEST.port(), rules });
        let external = |ipv4| {
            Some(match number % 3 {
                1 => ExternalIps { floating: vec![GUEST.floating(ipv4)], ..ExternalIps::default() },
                _ => ExternalIps { snat: vec![snat(ipv4)], ..ExternalIps::default() },
            })
        };
        let (ipv4, ipv6, gateways) = (external(true), external(false), GatewayMap::new());
        self.request(&SetExternalIps { port: GUEST.port(), ipv4, ipv6, gateways });
        self.done.store(number, Ordering::SeqCst);
    }

    fn send(&self, packet: &Packet, count: usize) -> Vec<Packet> {
        let mut exit = Exit::default();
        let mut frames = vec![FlatFrame::new(packet.bytes()); count];
        self.driver.from_guest(PortId(0), &mut frames, self.clock.step(1), &mut exit);
        let inner = |bytes: &Vec<u8>| {
            let (tunnel, inner) = Tunnel::open(bytes).unwrap();
            assert_eq!((tunnel.src, tunnel.dst), (HOSTS[0], BOUNDARY));
            assert_eq!(checksums::verify(&inner), Ok(()));
            Packet::read(&inner).unwrap()
        };
        exit.0.iter().map(inner).collect()
    }

    fn arrive(&self, packet: &Packet, now: Moment) -> Option<Packet> {
        let tunnel = Tunnel::new(&BOUNDARY.to_string(), &HOSTS[0].to_string(), VPC).external();
        assert_eq!(tunnel.vni, vni(VPC));
        let mut exit = Exit::default();
        let mut frames = vec![FlatFrame::new(tunnel.around(&packet.bytes()))];
        let shape = UnderlayShape::Ethernet;
        self.driver.from_underlay(shape, &mut frames, now, &mut exit);
        let bytes = exit.0.pop()?;
        assert_eq!(checksums::verify(&bytes), Ok(()));
        Packet::read(&bytes)
    }

    /// A packet goes out, and whatever leaves is answered.
    fn talk(&self, dice: &mut Dice, seen: &mut Seen) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let (packet, count) = (packet(dice), 1 + dice.roll(3) as usize);
        let before = self.done.load(Ordering::SeqCst);
        let left = self.send(&packet, count);
        let after = self.begun.load(Ordering::SeqCst);
        let (ipv4, [inside, peer]) = (packet.src.is_ipv4(), packet.ports());
        assert!(before != after || after % 3 != 2 || peer != CLOSED || left.is_empty());
        for out in left {
            if before == after {
                assert_eq!(out.src, external_ip(after, ipv4));
            }
            let outside = out.ports()[0];
            let expected = with_ports(packet.clone(), [outside, peer]);
            let macs = [GUEST.mac(), BOUNDARY_MAC];
            assert_eq!(out, Packet { macs, src: out.src, ..expected });
            let is_tcp = matches!(out.body, Body::Tcp { .. });
            if out.src == GUEST.floating(ipv4) {
                assert_eq!(outside, inside);
            } else {
                let SnatRange { ip, first_port, last_port } = snat(ipv4);
                assert!(out.src == ip && (first_port..=last_port).contains(&outside));
            }
            seen.packets += 1;
            seen.left.insert((out.src, is_tcp, inside, outside));
            self.answer(&out, seen);
        }
    }

    fn answer(&self, out: &Packet, seen: &mut Seen) {
        let answer = Packet { macs: [MacAddr([2; 6]), GUEST.mac()], ..out.reply() };
        let Some(arrived) = self.arrive(&answer, self.clock.step(1)) else { return };
        let inside = arrived.ports()[1];
        let expected = with_ports(answer, [out.ports()[1], inside]);
        let (macs, dst) = ([GATEWAY_MAC, GUEST.mac()], GUEST.ip(out.src.is_ipv4()));
        assert_eq!(arrived, Packet { macs, dst, ..expected });
        let is_tcp = matches!(out.body, Body::Tcp { .. });
        seen.arrived.insert((out.src, is_tcp, inside, out.ports()[0]));
    }

    fn operate(&self, dice: &mut Dice) {
        let port = GUEST.port();
        match dice.roll(12) {
            0 | 1 => self.configure(self.done.load(Ordering::SeqCst) + 1),
            2..5 => self.driver.poll(self.clock.step(dice.pick(&[10, 1000, 61_000]))),
            5 if dice.roll(4) == 0 => self.request(&ClearUft { port }),
            6 => drop(self.request(&DumpLayer::of(port, "nat"))),
            7 => drop(self.request(&DumpTcpFlows::of(port))),
            8 => drop(self.request(&DumpUft::of(port))),
            _ => self.owners(),
        }
    }

    /// An external tuple is at no time that of two endpoints.
    fn owners(&self) {
        let device = self.driver.device(PortId(0)).unwrap();
        let flows = device.port.flows().flows();
        let leased = flows.iter().filter_map(|flow| {
            let binding = flow.binding()?;
            let protocol = flow.opening_key().protocol();
            let tuple = (binding.external_ip, protocol, binding.external_port?);
            Some((tuple, (binding.private_ip, binding.private_port)))
        });
        let leased: BTreeSet<_> = leased.collect();
        let tuples: BTreeSet<_> = leased.iter().map(|(tuple, _)| *tuple).collect();
        assert_eq!(tuples.len(), leased.len());
        assert!(device.port.flows().count() <= FLOWS);
    }

    fn counter(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let sets = self.request(&DumpCounters { port: Some(GUEST.port()) });
        let counters = sets.iter().flat_map(|set| &set.counters);
        counters.filter(|counter| wanted(&counter.name)).map(|counter| counter.value).sum()
    }

    fn settle(&self) {
        self.owners();
        let device = self.driver.device(PortId(0)).unwrap();
        let flows = device.port.flows();
        assert_eq!(flows.flows().len(), flows.count() as usize);
        let ends = |name: &str| FlowEnd::ALL.iter().any(|end| end.name() == name);
        let (opened, ended) = (self.counter(|name| name == "flows_opened"), self.counter(ends));
        assert_eq!(opened, ended + u64::from(flows.count()));
    }

    /// Everything is free: each external port can be had once, and then no more of them.
    fn everything_is_free(&self) {
        self.request(&ClearUft { port: GUEST.port() });
        self.settle();
        assert_eq!(self.request(&DumpUft::of(GUEST.port())).flows, []);
        let open = |port: u16| {
            let body = Body::Udp { ports: [port, 80], checksum: true };
            let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), outside(true)], body);
            // The second one is a hit, and has the same bytes.
            let left = self.send(&packet, 2);
            assert!(left.is_empty() || left.len() == 2 && left[0] == left[1]);
            left.first().map(|out| out.ports()[0])
        };
        let ports: BTreeSet<u16> = (0..PORTS).map_while(open).collect();
        assert_eq!(ports.len(), usize::from(PORTS));
        assert_eq!(open(PORTS), None);
        self.settle();
    }
}

#[test]
fn a_port_in_many_hands() {
    let world = World::new();
    for round in 0..4 {
        let seen: Vec<Seen> = thread::scope(|scope| {
            let world = &world;
            let threads = (0..THREADS).map(|seed| {
                scope.spawn(move || {
                    let (mut dice, mut seen) = (Dice(seed << 8 | round), Seen::default());
                    (0..STEPS).for_each(|_| world.talk(&mut dice, &mut seen));
                    seen
                })
            });
            let threads: Vec<_> = threads.collect();
            let mut dice = Dice(99 << 8 | round);
            for at in 0..THREADS * STEPS / PACE {
                let due = round * THREADS * STEPS + at * PACE;
                while world.steps.load(Ordering::Relaxed) < due
                    && !threads.iter().all(|thread| thread.is_finished())
                {
                    thread::yield_now();
                }
                world.operate(&mut dice);
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        world.settle();
        let left: BTreeSet<_> = seen.iter().flat_map(|seen| &seen.left).collect();
        let arrived: BTreeSet<_> = seen.iter().flat_map(|seen| &seen.arrived).collect();
        assert!(arrived.is_subset(&left), "answers go to who was asked");
        assert!(!arrived.is_empty());
        assert!(seen.iter().all(|seen| seen.packets > STEPS / 4));
    }
    let ends = FlowEnd::ALL.iter().map(|end| end.name());
    for wanted in ends.chain(["out_hits", "in_hits"]) {
        assert!(world.counter(|name| name == wanted) > 0, "{wanted}");
    }
    let next = world.done.load(Ordering::SeqCst).next_multiple_of(3);
    world.configure(next);
    world.everything_is_free();
}
