// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets of connections that are under way, beside the limit loop.

use bench::buffer::Buffer;
use bench::flows::{Flows, Frames, Traffic};
use bench::limit::Limit;
use bench::limit::layout::{Ipv4, Ipv6, Layout};
use bench::measure::{BATCH, Figure, Plan, compare, timed};
use bench::packet::{Family, Shape, Transport};
use bench::path::{Hose, pass};
use bench::report::{Report, Row};
use bench::world::World;
use opte::port::Batch;
use opte_api::Direction;

/// Room for all that is measured here.
const ROOMY: u32 = 1 << 20;

/// One connection, then more and more in random order.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("hit", "hit", "flows");
    for family in [Family::V4, Family::V6] {
        let counts = match family {
            Family::V4 => plan.choose(&[1, 1_000, 8_000, 64_000, 1_000_000][..], &[1, 1_000]),
            Family::V6 => plan.choose(&[1, 64_000, 1_000_000][..], &[1]),
        };
        for transport in [Transport::Udp, Transport::Tcp] {
            for count in counts {
                let world = World::new(ROOMY);
                let flows = Flows::open(&world, Traffic::outside(family, transport), *count);
                // With many flows a batch takes ten times as long.
                let plan = if *count > 10_000 { plan.shorter(3) } else { plan };
                for direction in Direction::BOTH {
                    let hit = Hit { world: &world, flows: &flows, direction };
                    let [one, all] = hit.measure(plan);
                    let name = format!("{direction} {}", flows.shape());
                    report.add(
                        Row::new(&name, *count, one.ours)
                            .beside(one.limit)
                            .allocating(hit.allocations()),
                    );
                    let name = format!("{name}, by 32");
                    report.add(Row::new(name, *count, all.ours).beside(all.limit));
                }
            }
        }
    }
}

/// One connection whose packets are longer and longer.
pub fn run_sizes(plan: Plan, report: &mut Report) {
    report.begin("size", "hit, by length of the frame", "bytes");
    for ip_len in [0, 114, 498, 1_010, 1_500, 8_900] {
        let world = World::new(ROOMY);
        let traffic = Traffic::outside(Family::V4, Transport::Udp);
        let shape = Shape { ip_len, ..traffic.shape };
        let flows = Flows::open(&world, Traffic { shape, ..traffic }, 1);
        // Long packets take long to be written.
        let plan = plan.shorter(2 + ip_len / 400);
        for direction in Direction::BOTH {
            let [one, _] = Hit { world: &world, flows: &flows, direction }.measure(plan);
            let name = format!("{direction} {shape}");
            report.add(Row::new(name, shape.frame_len(), one.ours).beside(one.limit));
        }
    }
}

struct Hit<'a> {
    world: &'a World,
    flows: &'a Flows,
    direction: Direction,
}

/// The engine's figure and the limit loop's.
struct Pair {
    ours: Figure,
    limit: Figure,
}

impl Hit<'_> {
    /// Packet by packet, and by batches of 32.
    fn measure(&self, plan: Plan) -> [Pair; 2] {
        match self.flows.shape().family {
            Family::V4 => self.beside::<Ipv4>(plan),
            Family::V6 => self.beside::<Ipv6>(plan),
        }
    }

    fn beside<L: Layout>(&self, plan: Plan) -> [Pair; 2] {
        let mut limit = self.limit::<L>();
        let mut frames = Frames::new(1);
        let now = self.world.now.as_millis();
        let one = {
            let (mut ours, mut theirs) = (Frames::new(1), Frames::new(2));
            let mut engine = || {
                ours.fill(self.flows, self.direction);
                timed(|| self.run(&mut ours.frames))
            };
            let mut least = || {
                theirs.fill(self.flows, self.direction);
                timed(|| {
                    for frame in &mut theirs.frames {
                        assert!(limit.pass(frame, now));
                    }
                })
            };
            compare(plan, [&mut engine, &mut least])
        };
        let mut theirs = Frames::new(2);
        let mut hose = Hose::default();
        let mut engine = || {
            frames.fill(self.flows, self.direction);
            hose.load(&mut frames.frames);
            let guest = self.world.devices[0].id;
            let time = timed(|| hose.run(self.world, guest, self.direction, self.world.now));
            hose.unload(&mut frames.frames);
            assert_eq!(frames.frames.len(), BATCH);
            time
        };
        let mut least = || {
            theirs.fill(self.flows, self.direction);
            timed(|| assert!(limit.pass_all(&mut theirs.frames, now)))
        };
        let all = compare(plan, [&mut engine, &mut least]);
        [one, all].map(|[ours, limit]| Pair { ours, limit })
    }

    fn run(&self, frames: &mut [Buffer]) {
        let mut batch = Batch::default();
        let (port, policy) = (self.world.port(), self.world.port().policy());
        for frame in frames {
            assert!(pass(port, &policy, self.world.now, self.direction, frame, &mut batch));
        }
        let side = *batch.tally.side(self.direction);
        assert_eq!((side.hits, side.misses), (BATCH as u64, 0));
        port.finish(&mut batch);
    }

    /// The limit loop, knowing all flows.
    fn limit<L: Layout>(&self) -> Limit<L> {
        let transport = self.flows.shape().transport;
        let mut limit = Limit::new(self.direction, transport, self.flows.count());
        let (mut bytes, mut frame) = (Vec::new(), Buffer::default());
        let mut batch = Batch::default();
        for index in 0..self.flows.count() {
            bytes.clear();
            self.flows.write(self.direction, index, &mut bytes);
            frame.fill(&bytes);
            let (port, now) = (self.world.port(), self.world.now);
            assert!(pass(port, &port.policy(), now, self.direction, &mut frame, &mut batch));
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
