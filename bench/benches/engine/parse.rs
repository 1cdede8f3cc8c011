// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Parsing alone.

use bench::buffer::Buffer;
use bench::flows::{Flows, Remote, Traffic};
use bench::measure::{BATCH, Plan, compare, timed};
use bench::packet::{Family, Shape, Transport};
use bench::path::parse;
use bench::table::{Row, print, section};
use bench::world::World;
use opte_api::Direction;
use std::hint::black_box;

/// Parses frames of the guest, and frames of the underlay with their outer headers.
pub fn run(plan: Plan) {
    section("parse");
    let world = World::new(1 << 16);
    for direction in Direction::BOTH {
        for family in [Family::V4, Family::V6] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let shape = Shape::small(family, transport);
                let flows = Flows::open(&world, Traffic { shape, remote: Remote::Outside }, BATCH);
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
                print(&Row { what: format!("{direction} {shape}"), figure, ..Row::default() });
            }
        }
    }
}
