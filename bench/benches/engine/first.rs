// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets that open a connection: all layers, a lease, both keys entered.

use bench::buffer::Buffer;
use bench::flows::{Flows, Remote, Traffic};
use bench::measure::{BATCH, Plan, compare, timed};
use bench::opener::Opener;
use bench::packet::{Family, Stage, Transport};
use bench::path::pass;
use bench::report::{Report, Row};
use bench::world::World;
use opte::port::Batch;
use opte_api::Direction;

/// By kind of packet and number of live connections.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("first", "first packet", "alive");
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let counts = match family {
                Family::V4 => plan.choose(&[0, 8_000, 64_000, 1_000_000][..], &[0]),
                Family::V6 => plan.choose(&[0, 64_000][..], &[0]),
            };
            for alive in counts {
                let world = World::new(1 << 21);
                let traffic = Traffic::outside(family, transport);
                report.add(row(plan, &world, traffic, *alive, &format!("{} SNAT", traffic.shape)));
            }
        }
    }
    for alive in plan.choose(&[0, 64_000][..], &[0]) {
        let traffic = Traffic::outside(Family::V4, Transport::Udp);
        let traffic = Traffic { remote: Remote::Peer, ..traffic };
        let name = format!("{} to a guest", traffic.shape);
        report.add(row(plan, &World::new(1 << 21), traffic, *alive, &name));
    }
}

/// The figure of a first packet while `alive` others are.
pub fn row(plan: Plan, world: &World, traffic: Traffic, alive: usize, name: &str) -> Row {
    let mut opener = Opener::new(world, traffic, alive);
    let mut batch = || {
        opener.fill();
        let time = timed(|| opener.open());
        opener.end();
        time
    };
    let [figure] = compare(plan.shorter(2), [&mut batch]);
    opener.fill();
    let info = allocation_counter::measure(|| opener.open());
    Row::new(name, alive, figure).allocating(info.count_total as f64 / BATCH as f64)
}

/// Where there is no room for another connection.
pub fn run_full(plan: Plan, report: &mut Report) {
    report.begin("full", "first packet, table full", "alive");
    let limit = plan.choose(64_000, 1_000);
    for transport in [Transport::Udp, Transport::Tcp] {
        let world = World::new(limit as u32);
        let traffic = Traffic::outside(Family::V4, transport);
        let name = format!("{} SNAT, another gives way", traffic.shape);
        report.add(full(plan, &world, traffic, limit, limit, &name));
    }
    // Nothing may be given up for it: it is dropped.
    let world = World::new(limit as u32);
    let traffic = Traffic::outside(Family::V4, Transport::Tcp);
    Flows::open(&world, traffic, limit);
    let name = format!("{} SNAT, all others established", traffic.shape);
    report.add(full(plan, &world, traffic, limit, 0, &name));
}

/// First packets while `limit` connections are alive, of which `open` are still to be opened.
fn full(plan: Plan, world: &World, traffic: Traffic, limit: usize, open: usize, name: &str) -> Row {
    let mut next = limit - open;
    let mut frames = vec![Buffer::default(); BATCH];
    let mut batch = |count: usize| {
        let mut bytes = Vec::new();
        for (index, frame) in (next..).zip(&mut frames) {
            bytes.clear();
            traffic.write_out(index, Stage::Syn, &mut bytes);
            frame.fill(&bytes);
        }
        next += count;
        let (mut batch, policy) = (Batch::default(), world.port().policy());
        timed(|| {
            for frame in frames.iter_mut().take(count) {
                // Whether it is let or dropped: both are answers of a full table.
                pass(world.port(), &policy, world.now, Direction::Out, frame, &mut batch);
            }
        })
    };
    for opened in (0..open).step_by(BATCH) {
        batch(BATCH.min(open - opened));
    }
    let [figure] = compare(plan.shorter(2), [&mut || batch(BATCH)]);
    let info = allocation_counter::measure(|| {
        batch(0);
    });
    let idle = info.count_total;
    let info = allocation_counter::measure(|| {
        batch(BATCH);
    });
    Row::new(name, limit, figure).allocating((info.count_total - idle) as f64 / BATCH as f64)
}
