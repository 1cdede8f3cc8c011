// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the Linux process's probes cost while nobody watches.

use bench::measure::{BATCH, Plan, compare, timed};
use bench::report::{Report, Row};
use opte::drop_reason::DropReason;
use opte::event::{Dropped, RuleMatched, Traced};
use opte::flow_key::FlowKey;
use opte::host::Observer;
use opte_api::{Direction, Protocol};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use xde_linux::host::Log;

/// An event told, by kind; beside the loop alone.
pub fn run(plan: Plan, report: &mut Report) {
    report.begin("probes", "an event that nobody watches", "");
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let key = FlowKey::new(ip, ip, Protocol::UDP, [1, 2]);
    let key = black_box(&key);
    row(plan, report, "loop alone", || {
        black_box(key);
    });
    told(plan, report, "rule matched", || RuleMatched {
        rule: 7,
        port: 1,
        direction: 0,
        layer: 2,
        key: key.into(),
    });
    told(plan, report, "dropped", || {
        Dropped::new(1, Direction::Out, DropReason::FirewallRule, Some(key))
    });
}

fn told<E: Traced>(plan: Plan, report: &mut Report, name: &str, event: impl Fn() -> E) {
    row(plan, report, name, || black_box(&Log).tell(&event));
}

fn row(plan: Plan, report: &mut Report, name: &str, tell: impl Fn()) {
    let many = || (0..BATCH).for_each(|_| tell());
    let [figure] = compare(plan, [&mut || timed(many)]);
    let allocated = allocation_counter::measure(many).count_total;
    report.add(Row::new(name.to_owned(), None, figure).allocating(allocated as f64 / BATCH as f64));
}
