// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! First packets by size of the configuration, none of which is about them.

use crate::first;
use bench::flows::Traffic;
use bench::measure::Plan;
use bench::packet::{Family, Transport};
use bench::report::{Report, Row};
use bench::world::World;

/// By number of firewall rules.
pub fn run_rules(plan: Plan, report: &mut Report) {
    report.begin("rules", "first packet, SNAT, by firewall rules", "rules");
    measure(plan, report, &[0, 10, 100, 1_000, 10_000], World::set_firewall);
}

/// By number of routes.
pub fn run_routes(plan: Plan, report: &mut Report) {
    report.begin("routes", "first packet, SNAT, by other routes", "routes");
    measure(plan, report, plan.choose(&[1, 100, 4_000, 100_000], &[1, 100]), World::set_routes);
}

fn measure(plan: Plan, report: &mut Report, counts: &[usize], set: impl Fn(&World, usize)) {
    for count in counts {
        let world = World::new(1 << 20);
        set(&world, *count);
        let traffic = Traffic::outside(Family::V4, Transport::Udp);
        let name = format!("{} SNAT", traffic.shape);
        let plan = if plan.is_full() && *count > 1_000 { plan.shorter(8) } else { plan };
        let row = first::row(plan, &world, traffic, 0, &name);
        report.add(Row { at: Some(*count), ..row });
    }
}
