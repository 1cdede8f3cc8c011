// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The flow table against a list of flows.

use opte::flow::{Flow, NewFlow, Opening};
use opte::flow_key::FlowKey;
use opte::flow_table::{Budget, FlowTable, InsertError, PROTECTED_IDLE};
use opte::geneve::Mark;
use opte::headers::MacPair;
use opte::host::Moment;
use opte::policy::{Generation, IdleLimits};
use opte::tcp::{Segment, TcpFlags, TcpState, Tracker};
use opte_api::{Direction, Protocol};
use opte_tests::hypervisor::TestHost;
use opte_tests::setting::cases;
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A flow is looked at up to two ticks of 64 ms after it may end.
const SLACK: u64 = 128;

type TestFlow = Flow<TestHost>;

/// Ports of a flow: of the guest, of its peer, and the guest's as the peer sees it.
type Ports = [u8; 3];

#[derive(Clone, Debug)]
enum Step {
    Insert { ports: Ports, opened: Direction, established: bool },
    Remove(usize),
    Touch(usize, Direction),
    Find(u8, u8, Direction),
    Wait(u64),
    Expire,
    Evict(u32),
}

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Out), Just(Direction::In)]
}

fn steps() -> impl Strategy<Value = Step> {
    let ports = (0u8..6, 0u8..3, 0u8..6).prop_map(<[u8; 3]>::from);
    prop_oneof![
        8 => (ports, directions(), any::<bool>())
            .prop_map(|(ports, opened, established)| Step::Insert { ports, opened, established }),
        2 => any::<usize>().prop_map(Step::Remove),
        4 => (any::<usize>(), directions()).prop_map(|(at, way)| Step::Touch(at, way)),
        2 => (0u8..6, 0u8..3, directions()).prop_map(|(a, b, way)| Step::Find(a, b, way)),
        3 => prop_oneof![0u64..300, 1000u64..70_000, Just(7_990_000u64)].prop_map(Step::Wait),
        2 => Just(Step::Expire),
        2 => any::<u32>().prop_map(Step::Evict),
    ]
}

/// The key of packets between these two ports.
fn key(guest: u8, peer: u8, direction: Direction, tcp: bool) -> FlowKey {
    let protocol = if tcp { Protocol::TCP } else { Protocol::UDP };
    let ips = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
    let out = FlowKey::new(ips[0], ips[1], protocol, [guest.into(), peer.into()]);
    match direction {
        Direction::Out => out,
        Direction::In => out.mirror(),
    }
}

fn flow([guest, peer, seen]: Ports, opened: Direction, established: bool) -> Arc<TestFlow> {
    let (near, far) = match opened {
        Direction::Out => (guest, seen),
        Direction::In => (seen, guest),
    };
    let segment = Segment { flags: TcpFlags::ACK, ..Segment::default() };
    Arc::new(Flow::new(NewFlow {
        opening: Opening { direction: opened, macs: MacPair::default(), mark: Mark::GUEST },
        key: key(near, peer, opened, established),
        far_key: key(far, peer, opened, established),
        binding: None,
        way: None,
        lease: None,
        allowed_by: None,
        tracker: established.then(|| Tracker::open(opened, &segment).unwrap()),
        generation: Generation::NONE,
    }))
}

struct Known {
    flow: Arc<TestFlow>,
    last: Moment,
    /// Packets went out, and in.
    used: [bool; 2],
}

struct Model {
    table: FlowTable<TestHost>,
    flows: Vec<Known>,
    limits: IdleLimits,
    now: Moment,
}

impl Model {
    fn new(limit: u32, seed: u64) -> Self {
        Self {
            table: FlowTable::new(limit, seed),
            flows: Vec::new(),
            limits: IdleLimits::default(),
            now: Moment::from_millis(123_456),
        }
    }

    fn has(&self, key: &FlowKey, direction: Direction) -> Option<&Known> {
        self.flows.iter().find(|known| known.flow.key(direction) == key)
    }

    fn is_protected(&self, known: &Known) -> bool {
        known.flow.tcp_state() == Some(TcpState::Established)
            && known.used == [true; 2]
            && self.now.since(known.last) < PROTECTED_IDLE
    }

    fn insert(&mut self, flow: Arc<TestFlow>) {
        let result = self.table.insert(&flow, None, &self.limits, self.now);
        let mut holders =
            Direction::BOTH.iter().filter_map(|way| self.has(flow.key(*way), *way)).peekable();
        match result {
            Ok(()) => {
                assert!(holders.peek().is_none() && self.flows.len() < self.table.limit() as usize);
                self.flows.push(Known { flow, last: self.now, used: [false; 2] });
            }
            Err(InsertError::Full) => {
                assert_eq!(self.flows.len(), self.table.limit() as usize);
                assert!(holders.peek().is_none(), "no room is made for what is in already");
            }
            Err(InsertError::Exists(other)) => {
                assert!(holders.any(|known| Arc::ptr_eq(&known.flow, &other)));
            }
        }
    }

    fn remove(&mut self, at: usize) {
        if self.flows.is_empty() {
            return;
        }
        let known = self.flows.swap_remove(at % self.flows.len());
        assert!(self.table.remove(&known.flow));
        assert!(!self.table.remove(&known.flow), "it is out already");
    }

    fn touch(&mut self, at: usize, direction: Direction) {
        let (count, now) = (self.flows.len().max(1), self.now);
        if let Some(known) = self.flows.get_mut(at % count) {
            known.last = now;
            known.used[direction.index()] = true;
            let touched = self.table.with_side(&known.flow, direction, |slot| slot.touch(now, 1));
            assert_eq!(touched, Some(()));
        }
    }

    fn find(&self, key: &FlowKey, direction: Direction) {
        let found = self.table.find(key, direction);
        let cell = self.table.candidate(key, direction);
        let quick = cell.and_then(|cell| self.table.at(cell, key, |slot| slot.flow.clone()));
        assert_eq!(quick.as_ref().map(Arc::as_ptr), found.as_ref().map(Arc::as_ptr));
        let expected = self.has(key, direction).map(|known| Arc::as_ptr(&known.flow));
        assert_eq!(found.as_ref().map(Arc::as_ptr), expected);
    }

    fn expire(&mut self) {
        let mut ended = Vec::new();
        let (limits, now, mut budget) = (self.limits, self.now, Budget::ALL);
        let all = |flow: &TestFlow| ended.push(*flow.opening_key());
        assert!(!self.table.expire(&limits, now, &mut budget, all));
        let idle = |known: &Known| now.since(known.last);
        self.flows.retain(|known| {
            let limit = known.flow.idle_limit(&limits);
            let Some(at) = ended.iter().position(|key| key == known.flow.opening_key()) else {
                assert!(idle(known) < limit + SLACK, "idle for {} ms", idle(known));
                return true;
            };
            assert!(idle(known) >= limit, "idle for {} ms only", idle(known));
            ended.swap_remove(at);
            false
        });
        assert!(ended.is_empty());
    }

    fn evict(&mut self, start: u32) {
        let protected = self.flows.iter().filter(|known| self.is_protected(known)).count();
        match self.table.evict(start, &self.limits, self.now) {
            Some(flow) => {
                let at = self.flows.iter().position(|known| Arc::ptr_eq(&known.flow, &flow));
                let known = self.flows.swap_remove(at.expect("a known flow"));
                assert!(!self.is_protected(&known));
            }
            // A few may stand in the way of others.
            None => assert!(protected >= 8 || protected == self.flows.len(), "{protected}"),
        }
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Insert { ports, opened, established } => {
                self.insert(flow(ports, opened, established));
            }
            Step::Remove(at) => self.remove(at),
            Step::Touch(at, direction) => self.touch(at, direction),
            Step::Find(guest, peer, direction) => {
                self.find(&key(guest, peer, direction, false), direction);
                self.find(&key(guest, peer, direction, true), direction);
            }
            Step::Wait(ms) => {
                self.now = self.now.plus_millis(ms);
                // Hosts look a few times a second.
                if ms >= 1000 {
                    self.expire();
                }
            }
            Step::Expire => self.expire(),
            Step::Evict(start) => self.evict(start),
        }
        assert_eq!(self.table.count() as usize, self.flows.len());
        let mut listed: Vec<_> = self.table.flows().iter().map(Arc::as_ptr).collect();
        let mut known: Vec<_> = self.flows.iter().map(|known| Arc::as_ptr(&known.flow)).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
        for Known { flow, last, .. } in &self.flows {
            let sides = Direction::BOTH.map(|way| self.table.snapshot(flow, way).unwrap().last);
            assert_eq!(sides[0].max(sides[1]), *last);
        }
    }
}

proptest! {
    #![proptest_config(cases(500))]

    /// One shard, so that eviction sees all flows.
    #[test]
    fn is_a_list(limit in 1u32..40, seed: u64, steps in vec(steps(), 0..200)) {
        let mut model = Model::new(limit, seed);
        steps.iter().for_each(|step| model.play(step));
    }

    /// Many shards: the two keys of a flow lie apart.
    #[test]
    fn is_a_list_in_many_parts(seed: u64, steps in vec(steps(), 0..200)) {
        let mut model = Model::new(64 * 64, seed);
        let steps = steps.iter().filter(|step| !matches!(step, Step::Evict(_)));
        steps.for_each(|step| model.play(step));
    }
}

#[test]
fn a_protected_connection_does_not_stand_in_the_way_of_others() {
    let mut model = Model::new(2, 1);
    model.insert(flow([1, 1, 1], Direction::Out, true));
    // It would be looked at in ten seconds, but it was used just now.
    model.now = model.now.plus_millis(IdleLimits::default().tcp.established_ms - 10_000);
    model.touch(0, Direction::Out);
    model.touch(0, Direction::In);
    model.insert(flow([2, 1, 2], Direction::Out, false));
    model.evict(0);
    assert_eq!(model.flows[0].flow.tcp_state(), Some(TcpState::Established));
    assert_eq!(model.flows.len(), 1);
}

#[test]
fn a_flood_of_one_sided_connections_gives_way_to_those_it_crowds() {
    let mut model = Model::new(40, 1);
    for guest in 0..20 {
        model.insert(flow([guest, 1, guest], Direction::Out, true));
    }
    // In use for as long as it takes for all to be looked at.
    for _ in 0..5 {
        model.now = model.now.plus_millis(30_000);
        for at in 0..20 {
            model.touch(at, Direction::Out);
            model.touch(at, Direction::In);
        }
        model.expire();
    }
    for guest in 20..40 {
        model.insert(flow([guest, 2, guest], Direction::In, true));
    }
    for left in (20..40u32).rev() {
        model.evict(left);
        assert_eq!(model.flows.len(), left as usize);
    }
    assert!(model.flows.iter().all(|known| known.used == [true; 2]));
}
