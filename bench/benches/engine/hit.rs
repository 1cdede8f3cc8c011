// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets of connections that are under way, beside the limit loop.

use bench::buffer::Buffer;
use bench::flows::{Flows, Remote, Traffic};
use bench::limit::{Ipv4, Ipv6, Layout, Limit};
use bench::measure::{BATCH, Dice, Figure, Plan, compare, timed};
use bench::packet::{Family, Shape, Transport};
use bench::path::pass;
use bench::table::{Row, print, section};
use bench::world::World;
use opte::counters::Tally;
use opte_api::Direction;

/// Every shape and direction with one connection.
pub fn run(plan: Plan) {
    section("hit, one flow");
    for transport in [Transport::Udp, Transport::Tcp] {
        for family in [Family::V4, Family::V6] {
            for shape in [Shape::small(family, transport), Shape::large(family, transport)] {
                both_ways(plan, shape, 1);
            }
        }
    }
}

/// More and more connections in random order.
pub fn run_flows(plan: Plan) {
    section("hit, random order");
    let counts: &[usize] =
        if plan.batches > 2 { &[1, 1_000, 64_000, 1_000_000] } else { &[1, 1_000] };
    for transport in [Transport::Udp, Transport::Tcp] {
        for count in counts {
            both_ways(plan, Shape::small(Family::V4, transport), *count);
        }
    }
}

fn both_ways(plan: Plan, shape: Shape, count: usize) {
    let world = World::new(1 << 20);
    let flows = Flows::open(&world, Traffic { shape, remote: Remote::Outside }, count);
    for direction in Direction::BOTH {
        let mut hit = Hit::new(&world, &flows, direction, shape);
        let (figure, limit) = match shape.family {
            Family::V4 => hit.beside::<Ipv4>(plan),
            Family::V6 => hit.beside::<Ipv6>(plan),
        };
        let allocations = hit.allocations();
        print(&Row {
            what: format!("{direction} {shape}"),
            flows: Some(count),
            figure,
            limit: Some(limit),
            allocations: Some(allocations),
        });
    }
}

struct Hit<'a> {
    world: &'a World,
    flows: &'a Flows,
    direction: Direction,
    shape: Shape,
}

/// A batch of frames of random connections.
pub struct Frames {
    /// The frames.
    pub frames: Vec<Buffer>,
    bytes: Vec<u8>,
    dice: Dice,
}

impl Frames {
    /// Frames without bytes. Those with another seed choose other connections, which matters where
    /// several take turns on one table: what one has touched is in the caches of the next.
    pub fn new(seed: u64) -> Self {
        let frames = (0..BATCH).map(|_| Buffer::default()).collect();
        Self { frames, bytes: Vec::new(), dice: Dice::new(seed) }
    }

    /// Makes them packets of a connection that is under way, each of another.
    pub fn fill(&mut self, flows: &Flows, direction: Direction) {
        for frame in &mut self.frames {
            self.bytes.clear();
            flows.write(direction, self.dice.below(flows.count()), &mut self.bytes);
            frame.fill(&self.bytes);
        }
    }
}

impl<'a> Hit<'a> {
    const fn new(world: &'a World, flows: &'a Flows, direction: Direction, shape: Shape) -> Self {
        Self { world, flows, direction, shape }
    }

    /// The engine's figure and the limit loop's, on the same packets in turns.
    fn beside<L: Layout>(&mut self, plan: Plan) -> (Figure, Figure) {
        let mut limit = self.limit::<L>();
        let (mut ours, mut theirs) = (Frames::new(1), Frames::new(2));
        let transport = self.shape.transport;
        let mut engine = || {
            ours.fill(self.flows, self.direction);
            timed(|| self.run(&mut ours.frames))
        };
        let mut least = || {
            theirs.fill(self.flows, self.direction);
            timed(|| {
                for frame in &mut theirs.frames {
                    assert!(limit.pass(frame, transport, self.world.now.as_millis()));
                }
            })
        };
        let [engine, least] = compare(plan, [&mut engine, &mut least]);
        (engine, least)
    }

    fn run(&self, frames: &mut [Buffer]) {
        let mut tally = Tally::default();
        for frame in frames {
            assert!(pass(self.world, self.direction, frame, &mut tally));
        }
        let side = *tally.side(self.direction);
        assert_eq!((side.hits, side.misses), (BATCH as u64, 0));
        self.world.device.port.counters().add(&tally);
    }

    /// The limit loop, knowing all flows.
    fn limit<L: Layout>(&self) -> Limit<L> {
        let mut limit = Limit::new(self.direction);
        let (mut bytes, mut frame) = (Vec::new(), Buffer::default());
        let mut tally = Tally::default();
        for index in 0..self.flows.count() {
            bytes.clear();
            self.flows.write(self.direction, index, &mut bytes);
            frame.fill(&bytes);
            assert!(pass(self.world, self.direction, &mut frame, &mut tally));
            limit.learn(&bytes, frame.bytes());
        }
        limit
    }

    fn allocations(&self) -> f64 {
        let mut frames = Frames::new(3);
        frames.fill(self.flows, self.direction);
        let info = allocation_counter::measure(|| self.run(&mut frames.frames));
        info.count_total as f64 / BATCH as f64
    }
}
