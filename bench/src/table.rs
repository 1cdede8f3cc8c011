// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Figures as lines under one head, printed as soon as they are known.

use crate::measure::Figure;

const WHAT: usize = 46;

/// One line.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Live connections.
    pub flows: Option<usize>,
    /// The figure.
    pub figure: Figure,
    /// The limit loop on the same packets in the same run.
    pub limit: Option<Figure>,
    /// Allocations for each packet.
    pub allocations: Option<f64>,
}

/// Prints the head of a section.
pub fn section(title: &str) {
    println!();
    println!(
        "{title:WHAT$} {:>9} {:>9} {:>9} {:>9} {:>8} {:>6} {:>7}",
        "flows", "min ns", "median", "max", "limit", "ratio", "allocs"
    );
}

/// Prints a line.
pub fn print(row: &Row) {
    let Row { what, flows, figure, limit, allocations } = row;
    let flows = flows.map(|count| count.to_string()).unwrap_or_default();
    let (limit, ratio) = match limit {
        Some(limit) => {
            (format!("{:.1}", limit.median), format!("{:.1}", figure.median / limit.median))
        }
        None => Default::default(),
    };
    let allocations = allocations.map(|count| format!("{count:.2}")).unwrap_or_default();
    println!(
        "{what:WHAT$} {flows:>9} {:>9.1} {:>9.1} {:>9.1} {limit:>8} {ratio:>6} {allocations:>7}",
        figure.min, figure.median, figure.max
    );
}
