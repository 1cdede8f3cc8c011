// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a connection takes once packets have gone both ways.

use bench::flows::{Flows, Traffic};
use bench::measure::{Figure, Plan};
use bench::packet::{Family, Transport};
use bench::report::{Report, Row};
use bench::world::World;

/// Bytes that stay allocated, by number of connections: tables that grow by doubling look better
/// at some numbers than at others.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("memory", "memory of a connection, both ways, SNAT", "flows");
    let counts = plan.choose(&[40_000, 64_000, 70_000, 90_000, 1_000_000][..], &[1_000]);
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            for count in counts.iter().filter(|n| family == Family::V4 || **n < 1_000_000) {
                let world = World::new(1 << 20);
                let traffic = Traffic::outside(family, transport);
                let info = allocation_counter::measure(|| {
                    let flows = Flows::open(&world, traffic, *count);
                    assert_eq!(flows.count(), *count);
                    // What this program knows of them does not count.
                    drop(flows);
                });
                let bytes = info.bytes_current as f64 / *count as f64;
                let figure = Figure { min: bytes, median: bytes, max: bytes };
                let row = Row::new(traffic.shape.to_string(), *count, figure).unit("B");
                report.add(row);
            }
        }
    }
}
