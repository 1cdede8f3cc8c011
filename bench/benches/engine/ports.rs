// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A host with more and more guests, which share one number of connections.

use bench::flows::{Flows, Traffic};
use bench::measure::{BATCH, Dice, Figure, Plan, compare, timed};
use bench::packet::{Family, Transport};
use bench::path::{Hose, TOGETHER};
use bench::report::{Report, Row};
use bench::world::World;
use opte_api::Direction;
use xde::host::Moment;

/// Hits, and the upkeep of a host where nothing expires.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("ports", "hosts with more guests, as many flows", "ports");
    let all = plan.choose(65_536, 256);
    for guests in plan.choose(&[1, 64, 1_024][..], &[1, 8]) {
        let world = World::with_guests(1 << 20, *guests);
        let traffic = Traffic::outside(Family::V4, Transport::Udp);
        let open = |guest| Flows::open(&world, Traffic { guest, ..traffic }, all / guests);
        let flows: Vec<Flows> = (0..*guests).map(open).collect();
        for direction in Direction::BOTH {
            let [figure] = compare(plan, [&mut hits(&world, &flows, direction)]);
            let name = format!("{direction} {}, by 32", traffic.shape);
            report.add(Row::new(name, *guests, figure));
        }
        report.add(Row::new("a call of poll()", *guests, poll(plan, &world)).unit("us"));
    }
}

/// What a guest sends comes by 32. From the underlay each packet is for any guest.
fn hits(
    world: &World,
    flows: &[Flows],
    direction: Direction,
) -> impl FnMut() -> std::time::Duration {
    let mut hoses: Vec<Hose> = (0..BATCH / TOGETHER).map(|_| Hose::default()).collect();
    let (mut frames, mut bytes, mut dice) = (Vec::new(), Vec::new(), Dice::new(1));
    frames.resize_with(BATCH, bench::buffer::Buffer::default);
    move || {
        let mut guests = Vec::new();
        for hose in &mut hoses {
            let from = dice.below(flows.len());
            let mut batch = frames.split_off(frames.len() - TOGETHER);
            for frame in &mut batch {
                let guest = match direction {
                    Direction::Out => from,
                    Direction::In => dice.below(flows.len()),
                };
                bytes.clear();
                let flows = &flows[guest];
                flows.write(direction, dice.below(flows.count()), &mut bytes);
                frame.fill(&bytes);
            }
            guests.push(from);
            hose.load(&mut batch);
        }
        let time = timed(|| {
            for (hose, guest) in hoses.iter_mut().zip(&guests) {
                hose.run(world, world.devices[*guest].id, direction, world.now);
            }
        });
        hoses.iter_mut().for_each(|hose| hose.unload(&mut frames));
        assert_eq!(frames.len(), BATCH);
        time
    }
}

/// Microseconds of a call while all flows are young, the clock going on.
fn poll(plan: Plan, world: &World) -> Figure {
    let calls = plan.choose(21, 1);
    let mut now = world.now.as_millis();
    let times = (0..calls).map(|_| {
        now += 250;
        let time = timed(|| world.driver.poll(Moment::from_millis(now)));
        time.as_nanos() as f64 / 1000.0
    });
    Figure::of(times.collect())
}
