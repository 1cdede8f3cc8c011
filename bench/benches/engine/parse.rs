// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Parsing alone.

use bench::buffer::Buffer;
use bench::flows::{Flows, Traffic};
use bench::measure::{BATCH, Plan, compare, timed};
use bench::packet::{Family, Transport};
use bench::path::parse;
use bench::report::{Report, Row};
use bench::world::World;
use opte_api::Direction;
use std::hint::black_box;

/// Parses frames of the guest, and frames of the underlay with their outer headers.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("parse", "parse", "");
    let world = World::new(1 << 16);
    for direction in Direction::BOTH {
        for family in [Family::V4, Family::V6] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let traffic = Traffic::outside(family, transport);
                let flows = Flows::open(&world, traffic, BATCH);
                let frames: Vec<Buffer> = (0..BATCH)
                    .map(|index| {
                        let mut bytes = Vec::new();
                        flows.write(direction, index, &mut bytes);
                        Buffer::new(&bytes)
                    })
                    .collect();
                let mut batch = || {
                    timed(|| {
                        for frame in &frames {
                            black_box(parse(direction, frame).expect("a good packet"));
                        }
                    })
                };
                let [figure] = compare(plan, [&mut batch]);
                report.add(Row::new(format!("{direction} {}", traffic.shape), None, figure));
            }
        }
    }
}
