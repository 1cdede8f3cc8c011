// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How cost grows: which pictures there are, and the page that shows them.

use super::Results;
use super::draw::{Ink, Line, Picture, number};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// One picture and what it is made of.
struct Plot {
    file: &'static str,
    title: &'static str,
    sentence: &'static str,
    section: &'static str,
    places_are: &'static str,
    unit: &'static str,
    lines: &'static [Source],
}

/// Where a line's values are.
struct Source {
    name: &'static str,
    row: &'static str,
    ink: Ink,
    value: Value,
}

#[derive(Clone, Copy)]
enum Value {
    /// The median.
    Ours,
    /// The limit loop's.
    Limit,
    /// So many times the median at the first place, everywhere.
    Times(f64),
}

const fn source(name: &'static str, row: &'static str, ink: Ink, value: Value) -> Source {
    Source { name, row, ink, value }
}

const PER_PACKET: &str = "ns for each packet";

const PLOTS: &[Plot] = &[
    Plot {
        file: "flows",
        title: "A hit, by number of flows",
        sentence: "Packets of connections that are under way, in random order: more connections \
                   cost what their memory costs, and the limit loop pays for that, too.",
        section: "hit",
        places_are: "live connections (UDP over IPv4, out)",
        unit: PER_PACKET,
        lines: &[
            source("engine, one by one", "out UDP IPv4", Ink::First, Value::Ours),
            source("engine, by 32", "out UDP IPv4, by 32", Ink::Second, Value::Ours),
            source("limit loop, one by one", "out UDP IPv4", Ink::Limit, Value::Limit),
            source("limit loop, by 32", "out UDP IPv4, by 32", Ink::SecondLimit, Value::Limit),
        ],
    },
    Plot {
        file: "size",
        title: "A hit, by length of the packet",
        sentence: "Only headers are read and written, so the length of a packet does not matter.",
        section: "size",
        places_are: "bytes of the inner frame (UDP over IPv4, one connection)",
        unit: PER_PACKET,
        lines: &[
            source("out", "out UDP IPv4", Ink::First, Value::Ours),
            source("in", "in UDP IPv4", Ink::Second, Value::Ours),
            source("limit loop, out", "out UDP IPv4", Ink::Limit, Value::Limit),
        ],
    },
    Plot {
        file: "ports",
        title: "A hit, by number of ports of the host",
        sentence: "The same 65 536 connections, spread over more and more guests.",
        section: "ports",
        places_are: "ports (UDP over IPv4, by 32)",
        unit: PER_PACKET,
        lines: &[
            source("out", "out UDP IPv4, by 32", Ink::First, Value::Ours),
            source("in", "in UDP IPv4, by 32", Ink::Second, Value::Ours),
        ],
    },
    Plot {
        file: "first",
        title: "A first packet, by number of live flows",
        sentence: "Opening a connection with source NAT (all layers, a lease, both keys entered) \
                   while others are alive and expire.",
        section: "first",
        places_are: "live connections",
        unit: PER_PACKET,
        lines: &[
            source("UDP", "UDP IPv4 SNAT", Ink::First, Value::Ours),
            source("TCP", "TCP IPv4 SNAT", Ink::Second, Value::Ours),
        ],
    },
    Plot {
        file: "rules",
        title: "A first packet, by number of firewall rules",
        sentence: "Rules that are not about the packet; the goal is at most twice the cost \
                   without rules.",
        section: "rules",
        places_are: "firewall rules",
        unit: PER_PACKET,
        lines: &[
            source("engine", "UDP IPv4 SNAT", Ink::First, Value::Ours),
            source("twice without rules", "UDP IPv4 SNAT", Ink::SecondLimit, Value::Times(2.0)),
        ],
    },
    Plot {
        file: "routes",
        title: "A first packet, by number of routes",
        sentence: "Routes to elsewhere; the goal is at most 1.3 times the cost with one.",
        section: "routes",
        places_are: "other routes",
        unit: PER_PACKET,
        lines: &[
            source("engine", "UDP IPv4 SNAT", Ink::First, Value::Ours),
            source("1.3 times the first", "UDP IPv4 SNAT", Ink::SecondLimit, Value::Times(1.3)),
        ],
    },
    Plot {
        file: "generations",
        title: "Packets after changes of policy",
        sentence: "8 000 connections see the policy of today after so many changes in a row: the \
                   first packet of each is judged once, however many there were.",
        section: "generations",
        places_are: "changes in a row",
        unit: PER_PACKET,
        lines: &[
            source("first packet, judged", "then first out", Ink::First, Value::Ours),
            source("first packet back", "then first in", Ink::Second, Value::Ours),
            source("packets after that", "then out again", Ink::Limit, Value::Ours),
        ],
    },
];

/// Draws all pictures for which there are figures, and writes the page.
pub fn draw(results: &Results, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut page = String::from(
        "# How cost grows\n\nDrawn by `cargo xtask bench --plots` from the medians of one run. \
         Machines differ, so look at shapes\nand at the distance to the limit loop of the same \
         run (see [../README.md](../README.md)).\n",
    );
    for plot in PLOTS {
        let file = format!("{}.svg", plot.file);
        let path = folder.join(&file);
        if let Some(picture) = plot.picture(results) {
            fs::write(&path, picture.svg()?).with_context(|| path.display().to_string())?;
            println!("drew {}", path.display());
        } else if !path.exists() {
            continue;
        }
        let Plot { title, sentence, .. } = plot;
        write!(page, "\n## {title}\n\n{sentence}\n\n![{title}]({file})\n")?;
    }
    let path = folder.join("README.md");
    fs::write(&path, page).with_context(|| path.display().to_string())
}

impl Plot {
    /// The picture, unless it would be empty.
    fn picture(&self, results: &Results) -> Option<Picture<'_>> {
        let of_section = || results.rows.iter().filter(|row| row.section == self.section);
        let shown = |name: &str| self.lines.iter().any(|line| line.row == name);
        let mut places: Vec<u64> =
            of_section().filter(|row| shown(&row.name)).filter_map(|row| row.at).collect();
        places.sort_unstable();
        places.dedup();
        let lines = self.lines.iter().map(|line| {
            let find = |at: &u64| of_section().find(|r| r.name == line.row && r.at == Some(*at));
            let first = places.first().and_then(find).map(|row| row.median);
            let values = places.iter().map(|at| match line.value {
                Value::Ours => find(at).map(|row| row.median),
                Value::Limit => find(at).and_then(|row| row.limit),
                Value::Times(times) => first.map(|first| first * times),
            });
            Line { name: line.name, ink: line.ink, values: values.collect() }
        });
        let lines: Vec<Line> = lines.collect();
        let places: Vec<String> = places.iter().map(|at| number(*at as f64)).collect();
        let Self { title, places_are, unit, .. } = self;
        (places.len() > 1).then_some(Picture { title, places_are, unit, places, lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::Row;
    use std::collections::BTreeMap;

    #[test]
    fn only_what_was_measured_is_drawn() {
        let row = |at, median| Row {
            section: "rules".into(),
            name: "UDP IPv4 SNAT".into(),
            at: Some(at),
            median,
            limit: None,
        };
        let rows = vec![row(10, 6.0), row(0, 5.0)];
        let results = Results { rows, summary: BTreeMap::new() };
        let drawn: Vec<_> = PLOTS.iter().filter_map(|plot| plot.picture(&results)).collect();
        assert_eq!(drawn.len(), 1);
        assert_eq!(drawn[0].places, ["0", "10"]);
        assert_eq!(drawn[0].lines[0].values, [Some(5.0), Some(6.0)]);
        assert_eq!(drawn[0].lines[1].values, [Some(10.0), Some(10.0)]);
    }
}
