// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The flow table alone, with leases.

use crate::{Clock, Dice};
use opte::flow::{Flow, NewFlow, Opening};
use opte::flow_key::FlowKey;
use opte::flow_table::{Budget, FlowTable, InsertError};
use opte::geneve::Mark;
use opte::headers::MacPair;
use opte::host::Moment;
use opte::nat::{ByProtocol, Dependence, NatOptions, NatPool, Range, Realm, ReservationSpace};
use opte::policy::{Generation, IdleLimits};
use opte::tcp::{Segment, SeqNumber, TcpFlags, Tracker};
use opte_api::{Direction, Protocol};
use opte_tests::hypervisor::TestHost;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;

const THREADS: u64 = 4;
const STEPS: u64 = 30_000;
const ROUNDS: u64 = 5;
/// Fewer than the flows that are wanted at a time, so that ports go from hand to hand.
const PORTS: std::ops::RangeInclusive<u16> = 2000..=2031;
const PEER: u16 = 80;
const GUEST_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
const PEER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const EXTERNAL_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

type TestFlow = Arc<Flow<TestHost>>;

struct World {
    table: FlowTable<TestHost>,
    pool: NatPool,
    clock: Clock,
    limits: IdleLimits,
    evicts: bool,
}

/// What a thread has done.
#[derive(Default)]
struct Done {
    opened: u64,
    ended: u64,
    hits: u64,
    /// Flows that it has entered and that nobody may take out but itself.
    own: Vec<TestFlow>,
}

fn key(src: IpAddr, port: u16, protocol: Protocol) -> FlowKey {
    FlowKey::new(src, PEER_IP, protocol, [port, PEER])
}

fn flow(new: NewFlow) -> TestFlow {
    Arc::new(Flow::new(new))
}

fn new_flow(key: FlowKey, far_key: FlowKey) -> NewFlow {
    NewFlow {
        opening: Opening { direction: Direction::Out, macs: MacPair::default(), mark: Mark::GUEST },
        key,
        far_key,
        binding: None,
        way: None,
        lease: None,
        allowed_by: None,
        tracker: None,
        generation: Generation::NONE,
    }
}

/// An established connection. It lives for 8 000 s, which is longer than the test.
fn lasting(port: u16) -> TestFlow {
    let ack = Segment { flags: TcpFlags::ACK, ..Segment::default() };
    let tracker = Some(Tracker::open(Direction::Out, &ack).unwrap());
    let key = key(GUEST_IP, port, Protocol::TCP);
    flow(NewFlow { tracker, ..new_flow(key, key) })
}

impl World {
    fn new(limit: u32, seed: u64, evicts: bool) -> Self {
        // A port for each flow.
        let mapping = ByProtocol { udp: Dependence::AddressAndPort, ..ByProtocol::default() };
        let options = NatOptions { mapping, ..NatOptions::default() };
        let holder = ReservationSpace::new::<TestHost>(seed).holder("guest");
        let ranges = vec![Range::of(EXTERNAL_IP, PORTS)];
        let pool = NatPool::new(holder, Realm::OUTSIDE, ranges, options);
        // Short, so that flows expire between two packets.
        let limits = IdleLimits { udp: 400, ..IdleLimits::default() };
        let clock = Clock::new();
        Self { table: FlowTable::new(limit, seed), pool, clock, limits, evicts }
    }

    /// A flow of this port of the guest, with an external port of its own.
    fn translated(&self, port: u16, random: u64) -> Option<TestFlow> {
        let key = key(GUEST_IP, port, Protocol::UDP);
        let lease = self.pool.lease(&key, random).ok()?;
        let binding = lease.binding();
        let far_key = self::key(EXTERNAL_IP, lease.port(), Protocol::UDP);
        Some(flow(NewFlow { binding: Some(binding), lease: Some(lease), ..new_flow(key, far_key) }))
    }

    fn enter(&self, flow: &TestFlow, now: Moment, done: &mut Done) -> bool {
        match self.table.insert(flow, None, &self.limits, now) {
            Ok(()) => done.opened += 1,
            Err(InsertError::Exists(other)) => {
                assert!(Direction::BOTH.iter().any(|way| other.key(*way) == flow.key(*way)));
                return false;
            }
            Err(InsertError::Full) => {
                assert!(self.evicts, "there is room for all");
                let evicted = self.table.evict(now.as_millis() as u32, &self.limits, now);
                done.ended += u64::from(evicted.is_some());
                return false;
            }
        }
        true
    }

    /// A packet; whatever it finds must be its flow.
    fn look(&self, key: &FlowKey, way: Direction, now: Moment, done: &mut Done) {
        let cell = self.table.candidate(key, way);
        cell.into_iter().for_each(|cell| self.table.glance(cell));
        let hit = cell.and_then(|cell| {
            self.table.at(cell, key, |slot| {
                assert!(slot.is_for(key) && slot.flow.key(way) == key);
                let packets = slot.packets;
                slot.touch(now, 1);
                assert_eq!(slot.packets, packets + 1, "nobody else counts meanwhile");
            })
        });
        done.hits += u64::from(hit.is_some());
        if let Some(flow) = self.table.find(key, way) {
            assert_eq!(flow.key(way), key);
        }
    }

    /// An external port is at no time that of two endpoints. One whose connection has just ended
    /// may have begun another with it.
    fn owners(&self) {
        let flows = self.table.flows();
        let bindings: Vec<_> = flows.iter().filter_map(|flow| flow.binding()).collect();
        let ports: BTreeSet<_> = bindings.iter().map(|binding| binding.external_port).collect();
        let both = bindings.iter().map(|binding| (binding.external_port, binding.private_port));
        assert_eq!(ports.len(), both.collect::<BTreeSet<_>>().len());
        assert!(self.table.count() <= self.table.limit());
    }

    fn step(&self, dice: &mut Dice, done: &mut Done, own: u16) {
        let now = self.clock.step(dice.roll(12));
        let port = dice.roll(40) as u16;
        match dice.roll(100) {
            0..25 => {
                if let Some(flow) = self.translated(port, dice.roll(u64::MAX)) {
                    self.enter(&flow, now, done);
                }
            }
            25..45 => {
                self.look(&key(GUEST_IP, port, Protocol::UDP), Direction::Out, now, done);
            }
            45..65 => {
                let port = PORTS.start() + dice.roll(PORTS.len() as u64) as u16;
                let way = Direction::In;
                self.look(&key(EXTERNAL_IP, port, Protocol::UDP).mirror(), way, now, done);
            }
            65..75 => {
                let key = key(GUEST_IP, port, Protocol::UDP);
                if let Some(flow) = self.table.find(&key, Direction::Out) {
                    done.ended += u64::from(self.table.remove(&flow));
                    assert!(!self.table.remove(&flow));
                }
            }
            75..80 => {
                let (limits, mut few) = (&self.limits, Budget { looks: 4, moves: 8 });
                self.table.expire(limits, now, &mut few, |_| done.ended += 1);
            }
            80 => self.owners(),
            81..90 if !self.evicts => self.lasting(dice, done, own, now),
            _ => {
                if let Some(flow) = done.own.get(dice.roll(1 + done.own.len() as u64) as usize) {
                    let segment =
                        Segment { seq: SeqNumber(9), flags: TcpFlags::ACK, ..Segment::default() };
                    flow.step(Direction::In, &segment);
                    self.table.refresh(flow, &self.limits, now);
                }
            }
        }
    }

    /// Flows that are only this thread's: they are in the table from when it enters them until it
    /// takes them out, whatever others do to the same shards.
    fn lasting(&self, dice: &mut Dice, done: &mut Done, own: u16, now: Moment) {
        if dice.roll(3) == 0 && !done.own.is_empty() {
            let at = dice.roll(done.own.len() as u64) as usize;
            let flow = done.own.swap_remove(at);
            assert!(self.table.remove(&flow), "nobody else takes it out");
            done.ended += 1;
        } else {
            let flow = lasting(own + dice.roll(200) as u16);
            let known =
                done.own.iter().any(|known| known.key(Direction::Out) == flow.key(Direction::Out));
            assert_eq!(self.enter(&flow, now, done), !known);
            if !known {
                done.own.push(flow);
            }
        }
        for flow in &done.own {
            for way in Direction::BOTH {
                let found = self.table.find(flow.key(way), way);
                assert!(found.is_some_and(|found| Arc::ptr_eq(&found, flow)));
            }
        }
    }

    fn run(&self, seed: u64) {
        let done: Vec<Done> = thread::scope(|scope| {
            let work = |thread| {
                let (mut dice, mut done) = (Dice(seed << 8 | thread), Done::default());
                let own = 1000 * (thread as u16 + 1);
                (0..STEPS).for_each(|_| self.step(&mut dice, &mut done, own));
                done
            };
            let threads: Vec<_> = (0..THREADS).map(|t| scope.spawn(move || work(t))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let sum = |f: fn(&Done) -> u64| done.iter().map(f).sum::<u64>();
        let (opened, mut ended, hits) = (sum(|d| d.opened), sum(|d| d.ended), sum(|d| d.hits));
        assert!(hits > STEPS / 10 && opened > STEPS / 10, "{hits} hits, {opened} flows");
        assert_eq!(u64::from(self.table.count()), opened - ended);
        assert_eq!(self.table.flows().len() as u64, opened - ended);
        self.owners();
        drop(done);
        let now = self.clock.step(0);
        assert!(now.as_millis() < 8_000_000);
        let late = now.plus_millis(20_000_000);
        let mut budget = Budget::ALL;
        self.table.expire(&self.limits, late, &mut budget, |_| ended += 1);
        assert_eq!((self.table.count(), opened), (0, ended));
        self.everything_is_free(late);
    }

    fn everything_is_free(&self, now: Moment) {
        let all: Vec<_> = PORTS.map_while(|port| self.translated(port, 7)).collect();
        assert_eq!(all.len(), PORTS.len());
        assert!(self.translated(1, 7).is_none());
        let mut done = Done::default();
        for port in 0..self.table.limit() as u16 {
            assert!(self.enter(&lasting(port), now, &mut done), "all numbers are free");
        }
        let more = self.table.insert(&lasting(60_000), None, &self.limits, now);
        assert!(matches!(more, Err(InsertError::Full)));
    }
}

/// In many shards, whose parts of the index grow meanwhile.
#[test]
fn flows_come_and_go() {
    (0..ROUNDS).for_each(|seed| World::new(2048, seed, false).run(seed));
}

#[test]
fn flows_come_and_go_in_a_table_that_is_full() {
    (0..ROUNDS).for_each(|seed| World::new(20, seed, true).run(seed));
}
