// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The goals, and what was reached.
//!
//! Goals in nanoseconds are for a machine on which the limit loop takes what stands beside them
//! in parentheses; so does the limit loop of the run beside what was reached.

use crate::report::{Report, Row};
use crate::summary::{FLOWS, figure, greatest, hit, quotient};

const FLOW_TEXTS: [&str; 3] = ["1 flow", "64 000 flows, random order", "1 000 000 flows"];
const HIT_GOALS: [&str; 3] = [
    "35 ns (limit 12)",
    "80 ns (limit 30), in batches of 32: 60 ns (limit 23)",
    "200 ns (limit 105), in batches of 32: 110 ns (limit 60)",
];

/// A table in Markdown. What was not measured is a dash.
pub fn table(report: &Report) -> String {
    let mut lines = vec!["| what | goal | reached |".into(), "|---|---|---|".into()];
    let mut line = |what: &str, goal: &str, reached: Option<String>| {
        let reached = reached.unwrap_or_else(|| "–".into());
        lines.push(format!("| {what} | {goal} | {reached} |"));
    };
    for ((flows, text), goal) in FLOWS.into_iter().zip(FLOW_TEXTS).zip(HIT_GOALS) {
        let what = format!("hit, IPv4, {text}: UDP out, in, TCP out, in");
        line(&what, goal, hits(report, flows));
    }
    line("IPv6 as IPv4: 1, 64 000, 1 000 000 flows", "within 15 %", families(report));
    let first = "first packet, SNAT, 0, 64 000, 1 000 000 flows alive";
    line(&format!("{first}: UDP; TCP"), "700 ns, flat", firsts(report));
    let rules = sizes(report, "rules", 0, &[10, 1_000, 10_000]);
    line("first packet with 10, 1 000, 10 000 firewall rules", "2 times without", rules);
    let routes = sizes(report, "routes", 1, &[4_000, 100_000]);
    line("first packet with 4 000, 100 000 routes", "1.3 times with 1", routes);
    let what = "1 000 rules replaced, 8 000 flows: the call; then each flow's first packet";
    line(what, "300 us; 350 ns", change(report));
    let what = "new flow, table full: UDP, TCP; TCP where all are established";
    line(what, "1 us", full(report));
    let what =
        "p99.99 of single packets during upkeep, upkeep() in the same thread; poll() in another";
    line(what, "20 us", upkeep(report));
    let what = "two threads on one port: 1 flow each way, 8 000 flows, new flows";
    line(what, "1.6, 1.9, 1.8 times one thread", threads(report, ONE_PORT));
    let what = "two threads on two ports: the same";
    line(what, "", threads(report, TWO_PORTS));
    let bytes = rows(report, "memory").map(|row| row.figure.median).collect();
    let bytes = greatest(bytes).map(|bytes| format!("{bytes:.0} bytes"));
    line("memory of a flow, both directions, at the worst number", "512 bytes", bytes);
    let counts = ["hit", "first"].map(|section| {
        let counts = greatest(rows(report, section).filter_map(|row| row.allocations).collect());
        counts.map_or("–".into(), |count| format!("{count:.2}"))
    });
    line("allocations of a hit; of a first packet", "0; 2", Some(counts.join("; ")));
    lines.join("\n") + "\n"
}

const ONE_PORT: [(&str, usize); 3] =
    [("one port, each way", 1), ("one port, each way", 8_000), ("new flows, one port", 0)];
const TWO_PORTS: [(&str, usize); 3] =
    [("two ports, both out", 1), ("two ports, both out", 8_000), ("new flows, two ports", 0)];

fn rows<'a>(report: &'a Report, section: &'a str) -> impl Iterator<Item = &'a Row> {
    report.rows.iter().filter(move |row| row.section == section)
}

/// Texts of all, with commas between; a dash for each that is missing, nothing if all are.
fn list(texts: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let texts: Vec<Option<String>> = texts.into_iter().collect();
    texts.iter().any(Option::is_some).then(|| {
        let dashed = texts.into_iter().map(|text| text.unwrap_or_else(|| "–".into()));
        dashed.collect::<Vec<_>>().join(", ")
    })
}

fn hits(report: &Report, flows: usize) -> Option<String> {
    let part = |suffix: &str| {
        let ways = ["out UDP", "in UDP", "out TCP", "in TCP"];
        let find = |way| report.find("hit", &format!("{way} IPv4{suffix}"), Some(flows));
        let found = ways.map(find);
        let limit = greatest(found.iter().flatten().filter_map(|row| row.limit).collect())?;
        let texts = list(found.map(|row| row.map(|row| format!("{:.0}", row.figure.median))))?;
        let ratio = hit(report, "IPv4", suffix, flows, |row| row.ratio)?;
        Some(format!("{texts} ns (limit {limit:.0}; {ratio:.1} times)"))
    };
    Some(format!("{}; in batches of 32: {}", part("")?, part(", by 32")?))
}

fn families(report: &Report) -> Option<String> {
    list(FLOWS.map(|flows| {
        let of = |family| hit(report, family, "", flows, |row| Some(row.figure.median));
        let quotient = quotient(of("IPv6"), of("IPv4"))?;
        Some(format!("{:+.0} %", 100.0 * (quotient - 1.0)))
    }))
}

fn firsts(report: &Report) -> Option<String> {
    let of = |transport: &str| {
        let name = format!("{transport} IPv4 SNAT");
        let texts = [0, 64_000, 1_000_000]
            .map(|alive| Some(format!("{:.0}", figure(report, "first", &name, alive)?)));
        Some(list(texts)? + " ns")
    };
    Some(format!("{}; {}", of("UDP")?, of("TCP")?))
}

fn sizes(report: &Report, section: &str, base: usize, counts: &[usize]) -> Option<String> {
    let of = |count| figure(report, section, "UDP IPv4 SNAT", count);
    list(counts.iter().map(|count| {
        let times = quotient(of(*count), of(base))?;
        Some(format!("{times:.2} times"))
    }))
}

fn change(report: &Report) -> Option<String> {
    let of = |transport: &str| {
        let name = |step| format!("{transport} IPv4 1000 rules, one differs: {step}");
        let of = |step| figure(report, "change", &name(step), 8_000);
        let (call, packet) = (of("the call")?, of("then first out")?);
        Some(format!("{transport} {call:.0} us; {packet:.0} ns"))
    };
    list([of("UDP"), of("TCP")])
}

fn full(report: &Report) -> Option<String> {
    let names = [
        "UDP IPv4 SNAT, another gives way",
        "TCP IPv4 SNAT, another gives way",
        "TCP IPv4 SNAT, all others established",
    ];
    let of = |name| Some(format!("{:.2} us", figure(report, "full", name, 64_000)? / 1000.0));
    list(names.map(of))
}

fn upkeep(report: &Report) -> Option<String> {
    let of = |alive| {
        let of = |name: &str| figure(report, "upkeep", &format!("{name} p99.99"), alive);
        let here = of("upkeep() between packets, a packet,")?;
        let elsewhere = of("poll() by another thread, a packet,")?;
        let noise = of("the limit loop, 32 packets,")?;
        Some(format!("{alive} flows: {here:.1}; {elsewhere:.1} us (limit loop {noise:.1})"))
    };
    list([of(64_000), of(1_000_000)])
}

fn threads(report: &Report, names: [(&str, usize); 3]) -> Option<String> {
    list(names.map(|(name, flows)| {
        let row = report
            .rows
            .iter()
            .find(|row| row.section == "threads" && row.name == name && row.at == Some(flows))?;
        Some(format!("{:.2} (at best {:.2})", row.figure.median, row.figure.max))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Figure;

    #[test]
    fn the_table_has_a_line_for_each_goal_and_dashes_for_what_is_missing() {
        let mut report = Report::default();
        let empty = table(&report);
        assert_eq!(empty.lines().count(), 16);
        assert!(empty.lines().skip(2).all(|line| line.contains('–')), "{empty}");
        let figure = Figure { min: 1.0, median: 2.0, max: 3.0 };
        for at in [0, 10, 1_000] {
            let row = Row::new("UDP IPv4 SNAT", at, figure);
            report.rows.push(Row { section: "rules".into(), ..row });
        }
        assert!(table(&report).contains("| 1.00 times, 1.00 times, – |"), "{}", table(&report));
    }
}
