// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets that open a connection: all layers, a lease, both keys entered.

use bench::buffer::Buffer;
use bench::flows::{Flows, Remote, Traffic};
use bench::measure::{BATCH, Plan, compare, timed};
use bench::packet::{Family, Shape, Stage, Transport};
use bench::path::{parse, pass};
use bench::table::{Row, print, section};
use bench::world::World;
use opte::counters::Tally;
use opte_api::Direction;

/// Room for all that is measured here.
const ROOMY: u32 = 1 << 20;
const MANY: usize = 64_000;

/// By kind of packet and number of live connections.
pub fn run(plan: Plan) {
    section("first packet");
    let counts: &[usize] = if plan.batches > 2 { &[0, MANY] } else { &[0] };
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            for count in counts {
                let traffic = outside(family, transport);
                measure(plan, &World::new(ROOMY), traffic, *count, Afterwards::Remove, "SNAT");
            }
        }
    }
    for count in counts {
        let shape = Shape::small(Family::V4, Transport::Udp);
        let traffic = Traffic { shape, remote: Remote::Peer };
        measure(plan, &World::new(ROOMY), traffic, *count, Afterwards::Remove, "to a guest");
    }
    if plan.batches > 2 {
        let traffic = outside(Family::V4, Transport::Udp);
        let world = World::new(MANY as u32);
        measure(plan, &world, traffic, MANY, Afterwards::Leave, "SNAT, table full");
    }
}

/// By size of the configuration.
pub fn run_rules(plan: Plan) {
    section("first packet, SNAT, by configuration");
    let traffic = outside(Family::V4, Transport::Udp);
    for count in [0, 10, 1_000, 10_000] {
        let world = World::new(ROOMY);
        world.set_firewall(count);
        let plan = plan.shorter(1 + count / 500);
        let what = format!("{count} firewall rules");
        measure(plan, &world, traffic, 0, Afterwards::Remove, &what);
    }
    for count in [1, 4_000, 100_000] {
        let world = World::new(ROOMY);
        world.set_routes(count);
        let what = format!("{count} more routes");
        measure(plan, &world, traffic, 0, Afterwards::Remove, &what);
    }
}

/// What a connection takes once packets have gone both ways.
pub fn run_memory(plan: Plan) {
    println!();
    println!("memory of a connection, both ways       flows     bytes    allocs");
    for transport in [Transport::Udp, Transport::Tcp] {
        let world = World::new(ROOMY);
        let count = if plan.batches > 2 { MANY } else { 1_000 };
        let info = allocation_counter::measure(|| {
            let flows = Flows::open(&world, outside(Family::V4, transport), count);
            assert_eq!(flows.count(), count);
        });
        let each = |total: f64| total / count as f64;
        let bytes = each(info.bytes_current as f64);
        let allocations = each(info.count_total as f64);
        println!("{:36} {count:>9} {bytes:>9.0} {allocations:>9.2}", format!("{transport} SNAT"));
    }
}

fn outside(family: Family, transport: Transport) -> Traffic {
    Traffic { shape: Shape::small(family, transport), remote: Remote::Outside }
}

/// What becomes of connections that a batch has opened.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Afterwards {
    Remove,
    Leave,
}

fn measure(
    plan: Plan,
    world: &World,
    traffic: Traffic,
    live: usize,
    afterwards: Afterwards,
    what: &str,
) {
    Flows::open(world, traffic, live);
    let mut opener = Opener { world, traffic, next: live, frames: vec![Buffer::default(); BATCH] };
    let plan = plan.shorter(2);
    let mut batch = || {
        opener.fill();
        let time = timed(|| opener.open());
        if afterwards == Afterwards::Remove {
            opener.remove();
        }
        time
    };
    let [figure] = compare(plan, [&mut batch]);
    opener.fill();
    let info = allocation_counter::measure(|| opener.open());
    print(&Row {
        what: format!("out {}, {what}", traffic.shape),
        flows: Some(live),
        figure,
        allocations: Some(info.count_total as f64 / BATCH as f64),
        ..Row::default()
    });
}

struct Opener<'a> {
    world: &'a World,
    traffic: Traffic,
    next: usize,
    frames: Vec<Buffer>,
}

impl Opener<'_> {
    /// First packets of connections that there have not been yet.
    fn fill(&mut self) {
        let mut bytes = Vec::new();
        for (index, frame) in (self.next..).zip(&mut self.frames) {
            bytes.clear();
            self.traffic.write_out(index, Stage::Syn, &mut bytes);
            frame.fill(&bytes);
        }
        self.next += BATCH;
    }

    fn open(&mut self) {
        let mut tally = Tally::default();
        for frame in &mut self.frames {
            assert!(pass(self.world, Direction::Out, frame, &mut tally));
        }
        let side = *tally.side(Direction::Out);
        assert_eq!((side.hits, side.misses), (0, BATCH as u64));
    }

    /// Ends the connections of the last batch.
    fn remove(&self) {
        let flows = self.world.device.port.flows();
        let mut bytes = Vec::new();
        for index in self.next - BATCH..self.next {
            bytes.clear();
            self.traffic.write_out(index, Stage::Syn, &mut bytes);
            let headers = parse(Direction::Out, &Buffer::new(&bytes)).expect("a good packet");
            let key = headers.key().expect("an IP packet");
            let hash = flows.hash(key, Direction::Out);
            let flow = flows.with(key, Direction::Out, hash, |slot| slot.flow.clone());
            assert!(flow.is_some_and(|flow| flows.remove(&flow)), "a connection has gone");
        }
    }
}
