// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What follows from the figures of one run: numbers that hardly depend on the machine.
//!
//! Nearly all are ratios of two figures of the same run. Figures that should be alike (UDP and
//! TCP, out and in) go in by their geometric mean, for their noise is less together than alone.

use crate::report::{Report, Row};
use std::collections::BTreeMap;

const WAYS: [&str; 4] = ["out UDP", "in UDP", "out TCP", "in TCP"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const MODES: [(&str, &str); 2] = [("one by one", ""), ("by 32", ", by 32")];
/// Numbers of flows that hits are summed up for.
pub const FLOWS: [usize; 3] = [1, 64_000, 1_000_000];

/// What follows from as much as was measured.
pub fn of(report: &Report) -> BTreeMap<String, f64> {
    let mut summary = BTreeMap::new();
    hits(report, &mut summary);
    first_packets(report, &mut summary);
    changes(report, &mut summary);
    for row in report.rows.iter().filter(|row| row.section == "threads" && row.unit == "x") {
        let flows = row.at.unwrap_or_default();
        let name = if flows == 0 { row.name.clone() } else { format!("{}, {flows}", row.name) };
        summary.insert(format!("two threads to one: {name}"), row.figure.median);
    }
    let medians = |section: &str, part: &str| -> Vec<f64> {
        let of = |row: &&Row| row.section == section && row.name.contains(part);
        report.rows.iter().filter(of).map(|row| row.figure.median).collect()
    };
    keep(&mut summary, "memory of a flow, bytes, worst", greatest(medians("memory", "")));
    let allocations = |section: &str| {
        let rows = report.rows.iter().filter(|row| row.section == section);
        greatest(rows.filter_map(|row| row.allocations).collect())
    };
    keep(&mut summary, "allocations of a hit", allocations("hit"));
    keep(&mut summary, "allocations of a first packet", allocations("first"));
    summary
}

/// The mean of all kinds of hit: of figures, or of their ratios to the limit loop.
pub fn hit(
    report: &Report,
    family: &str,
    suffix: &str,
    flows: usize,
    get: fn(&Row) -> Option<f64>,
) -> Option<f64> {
    let name = |way: &&str| format!("{way} {family}{suffix}");
    let rows = WAYS.iter().map(|way| report.find("hit", &name(way), Some(flows)).and_then(get));
    mean(rows.collect::<Option<Vec<f64>>>()?)
}

fn median(row: &Row) -> Option<f64> {
    Some(row.figure.median)
}

/// The median of a figure.
pub fn figure(report: &Report, section: &str, name: &str, at: usize) -> Option<f64> {
    report.find(section, name, Some(at)).map(|row| row.figure.median)
}

/// First packets of UDP and TCP together.
pub fn first(report: &Report, alive: usize) -> Option<f64> {
    let name = |transport: &str| format!("{transport} IPv4 SNAT");
    let of = |transport| figure(report, "first", &name(transport), alive);
    mean(vec![of("UDP")?, of("TCP")?])
}

fn hits(report: &Report, summary: &mut BTreeMap<String, f64>) {
    for family in FAMILIES {
        for (mode, suffix) in MODES {
            let of = |flows, get| hit(report, family, suffix, flows, get);
            for flows in FLOWS {
                let name = format!("hit to limit loop: {family}, {mode}, {flows}");
                keep(summary, &name, of(flows, |row| row.ratio));
            }
            for flows in &FLOWS[1..] {
                let name = format!("hit with many flows to one: {family}, {mode}, {flows}");
                keep(summary, &name, quotient(of(*flows, median), of(1, median)));
            }
        }
    }
    for flows in FLOWS {
        let of = |family| hit(report, family, "", flows, median);
        keep(summary, &format!("hit, IPv6 to IPv4: {flows}"), quotient(of("IPv6"), of("IPv4")));
    }
    for direction in ["out", "in"] {
        let of = |bytes| figure(report, "size", &format!("{direction} UDP IPv4"), bytes);
        let name = format!("hit of 1514 bytes to 42: {direction}");
        keep(summary, &name, quotient(of(1_514), of(42)));
        let of = |ports| figure(report, "ports", &format!("{direction} UDP IPv4, by 32"), ports);
        let name = format!("hit with 1024 ports to one: {direction}");
        keep(summary, &name, quotient(of(1_024), of(1)));
    }
}

fn first_packets(report: &Report, summary: &mut BTreeMap<String, f64>) {
    let hit = hit(report, "IPv4", "", 1, median);
    keep(summary, "first packet to hit", quotient(first(report, 0), hit));
    for alive in &FLOWS[1..] {
        let name = format!("first packet with many alive to none: {alive}");
        keep(summary, &name, quotient(first(report, *alive), first(report, 0)));
    }
    for (section, counts, base) in
        [("rules", &[10, 1_000, 10_000][..], 0), ("routes", &[4_000, 100_000][..], 1)]
    {
        for count in counts {
            let of = |count| figure(report, section, "UDP IPv4 SNAT", count);
            let name = format!("first packet with {section} to {base}: {count}");
            keep(summary, &name, quotient(of(*count), of(base)));
        }
    }
    for transport in ["UDP", "TCP"] {
        let name = format!("{transport} IPv4 SNAT, another gives way");
        let full = figure(report, "full", &name, 64_000);
        let name = format!("first packet, table full, to not full: {transport}");
        keep(summary, &name, quotient(full, first(report, 64_000)));
    }
}

fn changes(report: &Report, summary: &mut BTreeMap<String, f64>) {
    let hit = hit(report, "IPv4", "", 1, median);
    for transport in ["UDP", "TCP"] {
        let name = |step| format!("{transport} IPv4 1000 rules, one differs: {step}");
        let of = |step| figure(report, "change", &name(step), 8_000);
        let call = of("the call").map(|micros| micros * 1000.0);
        keep(summary, &format!("1000 rules replaced to hit: {transport}"), quotient(call, hit));
        let judged = of("then first out");
        let name = format!("first packet after a change to hit: {transport}");
        keep(summary, &name, quotient(judged, hit));
        keep(summary, &format!("flows kept by a change, percent: {transport}"), of("flows kept"));
    }
    let of = |changes| figure(report, "generations", "then first out", changes);
    keep(summary, "first packet after 100 changes to 1", quotient(of(100), of(1)));
}

fn keep(summary: &mut BTreeMap<String, f64>, name: &str, value: Option<f64>) {
    if let Some(value) = value.filter(|value| value.is_finite()) {
        // More digits would say more than is known.
        summary.insert(name.into(), (value * 1000.0).round() / 1000.0);
    }
}

/// One figure over another, if both were measured.
pub fn quotient(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b?)
}

/// The greatest of some values.
pub fn greatest(values: Vec<f64>) -> Option<f64> {
    values.into_iter().reduce(f64::max)
}

fn mean(values: Vec<f64>) -> Option<f64> {
    let count = values.len() as f64;
    (count > 0.0).then(|| (values.iter().map(|value| value.ln()).sum::<f64>() / count).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Figure;

    fn row(section: &str, name: String, at: usize, median: f64) -> Row {
        let figure = Figure { min: median, median, max: median };
        let limit = Figure { min: 10.0, median: 10.0, max: 10.0 };
        Row { section: section.into(), ..Row::new(name, at, figure).beside(limit) }
    }

    #[test]
    fn ratios_are_of_one_run_and_only_of_what_was_measured() {
        let mut report = Report::default();
        for (way, factor) in WAYS.iter().zip([0.5, 2.0, 0.25, 4.0]) {
            report.rows.push(row("hit", format!("{way} IPv4"), 1, 50.0 * factor));
            report.rows.push(row("hit", format!("{way} IPv4"), 64_000, 200.0));
        }
        let summary = of(&report);
        assert_eq!(summary["hit to limit loop: IPv4, one by one, 1"], 5.0);
        assert_eq!(summary["hit with many flows to one: IPv4, one by one, 64000"], 4.0);
        assert_eq!(summary.len(), 3);
        report.rows.push(row("first", "UDP IPv4 SNAT".into(), 0, 500.0));
        report.rows.push(row("first", "TCP IPv4 SNAT".into(), 0, 500.0));
        assert_eq!(of(&report)["first packet to hit"], 10.0);
    }
}
