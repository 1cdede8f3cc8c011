// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A packet that runs a stored transform allocates nothing and takes the lock of one cell and
//! no other. A batch takes one lock besides, to see which ports there are.

use opte::frame::{FlatFrame, Rewrite};
use opte::outer::Outer;
use opte::tcp::TcpFlags;
use opte_api::Direction;
use opte_tests::hypervisor::{Hypervisor, Left, locks_taken};
use opte_tests::packets::{Body, Packet, Tunnel};
use opte_tests::setting::{
    BOUNDARY, FAMILIES, Guest, HOSTS, VPC, add_boundary, add_guest, add_peer, outside, vni,
};
use oxide_vpc_api::request::{DumpCounters, SetFwRules};
use xde::driver::DriverOptions;
use xde::host::{Egress, PortId, UnderlayShape};

const NEAR: Guest = Guest(5);
const NEXT: Guest = Guest(6);
const FAR: Guest = Guest(7);
const BATCH: usize = 32;

/// Keeps what leaves, in room that is there already.
struct Outbox(Vec<(FlatFrame, Rewrite)>);

impl Egress<FlatFrame> for Outbox {
    fn to_underlay(&mut self, frame: FlatFrame, rewrite: &Rewrite) {
        self.0.push((frame, *rewrite));
    }

    fn to_guest(&mut self, _port: PortId, frame: FlatFrame, rewrite: &Rewrite) {
        self.0.push((frame, *rewrite));
    }

    fn answer(&mut self, _bytes: Vec<u8>, _outer: &Outer) {
        panic!("nothing is answered here");
    }

    fn reply(&mut self, _port: PortId, _bytes: Vec<u8>) {
        panic!("nothing is answered here");
    }
}

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    for guest in [NEAR, NEXT] {
        add_guest(&mut host, guest, 0);
        let rules = vec!["dir=in action=allow priority=1 hosts=vni=100".parse().unwrap()];
        host.request(&SetFwRules { port: guest.port(), rules }).unwrap();
    }
    add_peer(&mut host, FAR, 1);
    add_boundary(&mut host);
    host
}

fn hits(host: &mut Hypervisor) -> u64 {
    let sets = host.request(&DumpCounters { port: None }).unwrap();
    let all = sets.iter().flat_map(|set| &set.counters);
    all.filter(|counter| counter.name.ends_with("_hits")).map(|counter| counter.value).sum()
}

/// What a batch cost.
#[derive(Debug, PartialEq)]
struct Cost {
    left: usize,
    hits: u64,
    locks: u64,
    allocations: u64,
}

fn send(host: &mut Hypervisor, direction: Direction, frame: &[u8]) -> Cost {
    let mut frames = vec![FlatFrame::new(frame); BATCH];
    let mut exit = Outbox(Vec::with_capacity(BATCH));
    let before = (hits(host), locks_taken());
    let mut locks = 0;
    let (driver, now) = (&host.driver, host.now);
    let memory = allocation_counter::measure(|| {
        let first = locks_taken();
        match direction {
            Direction::Out => driver.from_guest(PortId(0), &mut frames, now, &mut exit),
            Direction::In => {
                driver.from_underlay(UnderlayShape::Ethernet, &mut frames, now, &mut exit);
            }
        }
        locks = locks_taken() - first;
    });
    assert!(locks_taken() > before.1, "locks are counted");
    let hits = hits(host) - before.0;
    Cost { left: exit.0.len(), hits, locks, allocations: memory.count_total }
}

/// `hits` of each packet.
fn free(hits: u64) -> Cost {
    let batch = BATCH as u64;
    Cost { left: BATCH, hits: batch * hits, locks: batch * hits + 1, allocations: 0 }
}

fn bodies() -> [Body; 2] {
    let ports = [1000, 80];
    [
        Body::Udp { ports, checksum: true },
        Body::Tcp { ports, flags: TcpFlags::ACK, numbers: [1, 1] },
    ]
}

#[test]
fn a_hit_takes_one_lock_and_no_memory() {
    for ipv4 in FAMILIES {
        for (body, peer) in
            bodies().into_iter().flat_map(|body| [(body, outside(ipv4)), (body, FAR.ip(ipv4))])
        {
            let mut host = host();
            let packet = Packet::new(NEAR.macs(), [NEAR.ip(ipv4), peer], body);
            let left = host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
            let [Left::Underlay(outer)] = left.as_slice() else { panic!("{left:?}") };
            let (tunnel, inner) = Tunnel::open(outer).unwrap();
            host.events();
            assert_eq!(send(&mut host, Direction::Out, &packet.bytes()), free(1));

            let outside = tunnel.dst == BOUNDARY;
            let back = Tunnel { src: tunnel.dst, dst: HOSTS[0], vni: vni(VPC), ..tunnel };
            let back = if outside { back.external() } else { back };
            let reply = back.around(&Packet::read(&inner).unwrap().reply().bytes());
            let first = host.from_underlay(FlatFrame::new(reply.clone()));
            assert!(matches!(first.as_slice(), [Left::Guest(..)]), "{first:?}");
            host.events();
            assert_eq!(send(&mut host, Direction::In, &reply), free(1));
            assert!(host.events().is_empty(), "nobody is told of hits");
        }
    }
}

#[test]
fn between_two_guests_of_a_host_it_is_two_hits() {
    for ipv4 in FAMILIES {
        let mut host = host();
        let [body, _] = bodies();
        let packet = Packet::new(NEAR.macs(), [NEAR.ip(ipv4), NEXT.ip(ipv4)], body).bytes();
        let left = host.from_guest(PortId(0), FlatFrame::new(packet.clone()));
        assert!(matches!(left.as_slice(), [Left::Guest(PortId(1), _)]), "{left:?}");
        assert_eq!(send(&mut host, Direction::Out, &packet), free(2));
    }
}

/// The measure measures.
#[test]
fn other_packets_cost_more() {
    let mut host = host();
    let [body, _] = bodies();
    let packet = Packet::new(NEAR.macs(), [NEAR.ip(true), outside(true)], body);
    let cost = send(&mut host, Direction::Out, &packet.bytes());
    assert_eq!((cost.left, cost.hits), (BATCH, BATCH as u64 - 1));
    assert!(cost.allocations > 0 && cost.locks > free(1).locks, "{cost:?}");
}
