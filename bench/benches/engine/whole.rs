// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The whole driver: batches in, batches out, as a host calls it.

use crate::hit::Frames;
use bench::buffer::Buffer;
use bench::flows::{Flows, Remote, Traffic};
use bench::measure::{BATCH, Plan, compare, timed};
use bench::packet::{Family, Shape, Transport};
use bench::table::{Row, print, section};
use bench::world::World;
use opte::frame::Rewrite;
use opte_api::Direction;
use xde::host::{Egress, PortId, UnderlayShape};

/// Both directions, with batches of 32 and 64.
pub fn run(plan: Plan) {
    section("driver, hit");
    let counts: &[usize] = if plan.batches > 2 { &[1, 64_000] } else { &[1] };
    for transport in [Transport::Udp, Transport::Tcp] {
        for count in counts {
            let shape = Shape::small(Family::V4, transport);
            let world = World::new(1 << 20);
            let flows = Flows::open(&world, Traffic { shape, remote: Remote::Outside }, *count);
            for direction in Direction::BOTH {
                for batch in [32, 64] {
                    measure(plan, &world, &flows, direction, batch);
                }
            }
        }
    }
}

fn measure(plan: Plan, world: &World, flows: &Flows, direction: Direction, batch: usize) {
    let mut source = Frames::new(1);
    let mut queue = Vec::with_capacity(batch);
    let mut outbox = Outbox { frames: Vec::with_capacity(BATCH) };
    let mut round = || {
        source.fill(flows, direction);
        let time = timed(|| {
            while !source.frames.is_empty() {
                let rest = source.frames.len() - batch;
                queue.extend(source.frames.drain(rest..));
                match direction {
                    Direction::Out => {
                        let guest = world.device.id;
                        world.driver.from_guest(guest, &mut queue, world.now, &mut outbox);
                    }
                    Direction::In => {
                        let shape = UnderlayShape::Ethernet;
                        world.driver.from_underlay(shape, &mut queue, world.now, &mut outbox);
                    }
                }
            }
        });
        assert_eq!(outbox.frames.len(), BATCH);
        source.frames.append(&mut outbox.frames);
        time
    };
    let [figure] = compare(plan, [&mut round]);
    let allocations = allocation_counter::measure(|| {
        round();
    });
    print(&Row {
        what: format!("{direction} {}, batches of {batch}", flows.shape()),
        flows: Some(flows.count()),
        figure,
        allocations: Some(allocations.count_total as f64 / BATCH as f64),
        ..Row::default()
    });
}

/// Rewrites frames and keeps them, as a queue of a device would.
struct Outbox {
    frames: Vec<Buffer>,
}

impl Egress<Buffer> for Outbox {
    #[inline]
    fn to_underlay(&mut self, mut frame: Buffer, rewrite: &Rewrite) {
        frame.rewrite(rewrite);
        self.frames.push(frame);
    }

    #[inline]
    fn to_guest(&mut self, _port: PortId, mut frame: Buffer, rewrite: &Rewrite) {
        frame.rewrite(rewrite);
        self.frames.push(frame);
    }

    fn reply(&mut self, _port: PortId, _bytes: Vec<u8>) {
        unreachable!("no measured packet is for the gateway");
    }
}
