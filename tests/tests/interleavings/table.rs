// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The flow table alone.

use crate::{IDLE, ModelHost, NOW, SLACK, in_all_orders, in_many_orders, race};
use opte::flow::{Flow, NewFlow, Opening};
use opte::flow_key::FlowKey;
use opte::flow_table::{Budget, FlowTable, InsertError};
use opte::geneve::Mark;
use opte::headers::MacPair;
use opte::host::Moment;
use opte::policy::{Generation, IdleLimits};
use opte::tcp::{Segment, SeqNumber, TcpFlags, TcpState, Tracker};
use opte_api::{Direction, Protocol};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

type ModelFlow = Arc<Flow<ModelHost>>;
type Table = FlowTable<ModelHost>;

/// Ports of a flow: of the guest, of its peer, and the guest's as the peer sees it.
type Ports = [u16; 3];

fn flow([guest, peer, seen]: Ports, protocol: Protocol) -> ModelFlow {
    let ips = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
    let key = |near| FlowKey::new(ips[0], ips[1], protocol, [near, peer]);
    let ack = Segment { flags: TcpFlags::ACK, ..Segment::default() };
    let is_tcp = protocol == Protocol::TCP;
    Arc::new(Flow::new(NewFlow {
        opening: Opening { direction: Direction::Out, macs: MacPair::default(), mark: Mark::GUEST },
        key: key(guest),
        far_key: key(seen),
        binding: None,
        way: None,
        lease: None,
        allowed_by: None,
        tracker: is_tcp.then(|| Tracker::open(Direction::Out, &ack).unwrap()),
        generation: Generation::NONE,
    }))
}

fn udp(ports: Ports) -> ModelFlow {
    flow(ports, Protocol::UDP)
}

#[derive(Debug, Eq, PartialEq)]
enum Entered {
    Yes,
    Exists,
    Full,
}

fn insert(table: &Table, flow: &ModelFlow, now: Moment) -> Entered {
    match table.insert(flow, None, &IdleLimits::default(), now) {
        Ok(()) => Entered::Yes,
        Err(InsertError::Exists(_)) => Entered::Exists,
        Err(InsertError::Full) => Entered::Full,
    }
}

fn expire(table: &Table, now: Moment) -> Vec<FlowKey> {
    let mut ended = Vec::new();
    let (limits, mut budget) = (IdleLimits::default(), Budget::ALL);
    table.expire(&limits, now, &mut budget, |flow| ended.push(*flow.opening_key()));
    ended
}

fn is_in(table: &Table, flow: &ModelFlow) -> bool {
    let found = Direction::BOTH.map(|way| table.find(flow.key(way), way));
    let own = found.map(|found| found.is_some_and(|found| Arc::ptr_eq(&found, flow)));
    assert_eq!(own[0], own[1], "under both keys or not at all");
    own[0]
}

/// Looks at all that holds while nobody works on the table: `flows` are in it and no others, and
/// each of them is looked at in time, `idle` milliseconds after `last`. Nothing is left behind.
fn settle(table: &Table, flows: &[&ModelFlow], last: Moment, idle: u64) {
    assert!(flows.iter().all(|flow| is_in(table, flow)));
    assert_eq!((table.count() as usize, table.flows().len()), (flows.len(), flows.len()));
    assert_eq!(expire(table, last.plus_millis(idle - 1)), []);
    assert_eq!(expire(table, last.plus_millis(idle + SLACK)).len(), flows.len());
    assert!(!flows.iter().any(|flow| is_in(table, flow)));
    assert_eq!((table.count(), table.flows().len()), (0, 0));
    let numbers = 0..table.limit() as u16;
    for at in numbers {
        assert_eq!(insert(table, &udp([100 + at, 7, 100 + at]), NOW), Entered::Yes);
    }
    assert_eq!(insert(table, &udp([99, 7, 99]), NOW), Entered::Full);
}

/// A table of so many flows with the flows in it.
fn table(limit: u32, flows: &[&ModelFlow]) -> Arc<Table> {
    let table = Arc::new(Table::new(limit, 1));
    for flow in flows {
        assert_eq!(insert(&table, flow, NOW), Entered::Yes);
    }
    table
}

#[test]
fn of_two_flows_with_one_key_one_is_entered() {
    // The same twice; the same key of the guest; the same key of the peer.
    for ports in [[1, 9, 1], [1, 9, 2], [2, 9, 1]] {
        in_all_orders(move || {
            let (a, b) = (udp([1, 9, 1]), udp(ports));
            let table = table(2, &[]);
            let first = a.clone();
            let results = race(&table, move |t| insert(t, &first, NOW), |t| insert(t, &b, NOW));
            match results {
                (Entered::Yes, Entered::Exists) => settle(&table, &[&a], NOW, IDLE),
                (Entered::Exists, Entered::Yes) => settle(&table, &[&b], NOW, IDLE),
                other => panic!("{other:?}"),
            }
        });
    }
}

/// A flow that the peer sees at port `seen`, and whose keys lie in these two of two shards.
fn lying(table: &Table, places: [u64; 2], seen: impl Fn(u16) -> u16) -> ModelFlow {
    let place = |flow: &ModelFlow, way| table.hash(flow.key(way), way) & 1;
    let mut flows = (1..1000).map(|guest| udp([guest, 9, seen(guest)]));
    let is_there = |flow: &ModelFlow| Direction::BOTH.map(|way| place(flow, way)) == places;
    flows.find(is_there).expect("there is one among so many")
}

/// Two shards, and each flow's outbound one is the other's inbound one.
#[test]
fn flows_that_lie_crosswise_are_both_entered_and_taken_out() {
    in_all_orders(|| {
        let table = table(128, &[]);
        let places = [[0, 1], [1, 0]];
        let [a, b] = places.map(|places| lying(&table, places, |guest| guest + 1000));
        let (first, second) = (a.clone(), b.clone());
        let results = race(&table, move |t| insert(t, &first, NOW), |t| insert(t, &second, NOW));
        assert_eq!(results, (Entered::Yes, Entered::Yes));
        settle(&table, &[&a, &b], NOW, IDLE);
    });
    in_many_orders(|| {
        let table = table(128, &[]);
        let places = [[0, 1], [1, 0]];
        let [a, b] = places.map(|places| lying(&table, places, |guest| guest + 1000));
        assert_eq!([&a, &b].map(|flow| insert(&table, flow, NOW)), [Entered::Yes, Entered::Yes]);
        assert_eq!(race(&table, move |t| t.remove(&a), |t| t.remove(&b)), (true, true));
        settle(&table, &[], NOW, IDLE);
    });
}

/// Two shards, and only one of them is both flows'.
#[test]
fn of_two_flows_with_one_key_in_another_shard_one_is_entered() {
    for shared in [0, 1] {
        in_all_orders(move || {
            let table = table(128, &[]);
            let seen = lying(&table, [0, shared], |guest| guest).key(Direction::In).dst_port();
            let [a, b] = [0, 1].map(|own| lying(&table, [own, shared], |_| seen));
            let first = a.clone();
            let results = race(&table, move |t| insert(t, &first, NOW), |t| insert(t, &b, NOW));
            match results {
                (Entered::Yes, Entered::Exists) => settle(&table, &[&a], NOW, IDLE),
                (Entered::Exists, Entered::Yes) => settle(&table, &[&b], NOW, IDLE),
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn a_flow_ends_once() {
    in_many_orders(|| {
        let a = udp([1, 9, 1]);
        let table = table(1, &[&a]);
        let other = a.clone();
        let late = NOW.plus_millis(IDLE + SLACK);
        let (expired, removed) =
            race(&table, move |t| expire(t, late).len(), |t| usize::from(t.remove(&other)));
        assert_eq!(expired + removed, 1);
        settle(&table, &[], NOW, IDLE);
    });
}

#[test]
fn a_flow_that_takes_the_place_of_one_that_expires_lives_its_time() {
    in_many_orders(|| {
        let (old, new) = (udp([1, 9, 1]), udp([1, 9, 1]));
        let table = table(1, &[&old]);
        let late = NOW.plus_millis(IDLE + SLACK);
        let (entered, ended) = race(
            &table,
            {
                let new = new.clone();
                move |t| insert(t, &new, late)
            },
            |t| expire(t, late),
        );
        assert_eq!(ended, [*old.opening_key()]);
        match entered {
            Entered::Yes => settle(&table, &[&new], late, IDLE),
            Entered::Exists | Entered::Full => settle(&table, &[], late, IDLE),
        }
    });
}

#[test]
fn eviction_makes_room_for_one() {
    in_all_orders(|| {
        let (old, new) = (udp([1, 9, 1]), udp([2, 9, 2]));
        let table = table(1, &[&old]);
        let mine = new.clone();
        let (entered, evicted) = race(
            &table,
            move |t| insert(t, &mine, NOW),
            |t| t.evict(0, &IdleLimits::default(), NOW),
        );
        // It may be the new one that goes: it has come in between, and has the same number.
        let evicted = evicted.expect("there was one throughout");
        assert!(Arc::ptr_eq(&evicted, &old) || Arc::ptr_eq(&evicted, &new));
        let stays = entered == Entered::Yes && !Arc::ptr_eq(&evicted, &new);
        let new = [&new];
        settle(&table, if stays { &new } else { &[] }, NOW, IDLE);
    });
}

/// The number goes to another flow between the look-up and the lock: of the same key, or of
/// another one.
#[test]
fn a_packet_is_counted_for_a_flow_of_its_key() {
    for ports in [[1, 9, 1], [1, 9, 2], [2, 9, 1], [2, 9, 2]] {
        in_all_orders(move || {
            let (old, new) = (udp([1, 9, 1]), udp(ports));
            let table = table(1, &[&old]);
            let key = *old.key(Direction::In);
            let hit = move |t: &Table| {
                let cell = t.candidate(&key, Direction::In)?;
                t.at(cell, &key, |slot| {
                    slot.touch(NOW, 1);
                    (slot.flow.clone(), slot.packets)
                })
            };
            let (hit, ()) = race(&table, hit, |t| {
                assert!(t.remove(&old));
                assert_eq!(insert(t, &new, NOW), Entered::Yes);
            });
            let new_packets = table.snapshot(&new, Direction::In).unwrap().packets;
            match hit {
                Some((flow, 1)) if Arc::ptr_eq(&flow, &old) => assert_eq!(new_packets, 0),
                Some((flow, 1)) if Arc::ptr_eq(&flow, &new) => {
                    assert!(new_packets == 1 && *new.key(Direction::In) == key);
                }
                Some((_, packets)) => panic!("{packets} packets"),
                None => assert_eq!(new_packets, 0),
            }
            settle(&table, &[&new], NOW, IDLE);
        });
    }
}

/// Both directions of every slot know what the connection knows, and its end is looked for in time.
#[test]
fn of_two_steps_of_a_connection_the_last_is_known() {
    let segment =
        |flags| Segment { flags, seq: SeqNumber(5), ack: SeqNumber(5), ..Segment::default() };
    let fin = segment(TcpFlags::FIN | TcpFlags::ACK);
    for (out, inbound) in [(fin, fin), (fin, segment(TcpFlags::RST)), (segment(TcpFlags::RST), fin)]
    {
        in_many_orders(move || {
            let limits = IdleLimits::default();
            let tcp = flow([1, 9, 1], Protocol::TCP);
            let table = table(1, &[&tcp]);
            let step = move |t: &Table, flow: &ModelFlow, way, segment| {
                flow.step(way, &segment);
                t.refresh(flow, &IdleLimits::default(), NOW);
            };
            let other = tcp.clone();
            race(
                &table,
                move |t| step(t, &other, Direction::Out, out),
                |t| step(t, &tcp, Direction::In, inbound),
            );
            assert_ne!(tcp.tcp_state(), Some(TcpState::Established));
            for (way, flags) in (0..128).map(|at| (Direction::BOTH[at % 2], TcpFlags(at as u8 / 2)))
            {
                let known = table.with_side(&tcp, way, |slot| slot.is_plain(flags));
                assert_eq!(known, Some(tcp.is_plain(flags)), "{way} {flags}");
            }
            settle(&table, &[&tcp], NOW, tcp.idle_limit(&limits));
        });
    }
}

/// A connection changes while its number goes to another flow, whose time that is not.
#[test]
fn a_change_that_comes_late_leaves_the_successor_alone() {
    in_many_orders(|| {
        let (old, new) = (flow([1, 9, 1], Protocol::TCP), udp([2, 9, 2]));
        let table = table(1, &[&old]);
        let other = old.clone();
        let late = NOW.plus_millis(500_000);
        race(
            &table,
            move |t| t.refresh(&other, &IdleLimits::default(), late),
            |t| {
                assert!(t.remove(&old));
                assert_eq!(insert(t, &new, NOW), Entered::Yes);
            },
        );
        settle(&table, &[&new], NOW, IDLE);
    });
}
