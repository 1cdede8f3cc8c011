// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Figures: printed as soon as they are known, kept for machines to read.

use crate::measure::Figure;
use crate::summary;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

const WHAT: usize = 44;

/// One figure.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// The section that measured it.
    pub section: String,
    /// What was measured.
    pub name: String,
    /// Size of what the section is about: flows, rules, ports, bytes.
    pub at: Option<usize>,
    /// Unit of the figure and of the limit.
    pub unit: String,
    /// The figure.
    #[serde(flatten)]
    pub figure: Figure,
    /// The limit loop's median on the same packets in the same run.
    pub limit: Option<f64>,
    /// The figure's median over the limit.
    pub ratio: Option<f64>,
    /// Allocations for each packet.
    pub allocations: Option<f64>,
}

impl Row {
    /// A row of nanoseconds for each packet.
    pub fn new(name: impl Into<String>, at: impl Into<Option<usize>>, figure: Figure) -> Self {
        let (name, at) = (name.into(), at.into());
        Self { name, at, figure, unit: "ns".into(), ..Self::default() }
    }

    /// In another unit.
    pub fn unit(self, unit: &str) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// Beside a limit.
    pub fn beside(self, limit: Figure) -> Self {
        let ratio = Some(self.figure.median / limit.median);
        Self { limit: Some(limit.median), ratio, ..self }
    }

    /// With allocations for each packet.
    pub fn allocating(self, count: f64) -> Self {
        Self { allocations: Some(count), ..self }
    }
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// The figures.
    pub rows: Vec<Row>,
    /// What follows from them (see [`summary`]): numbers that hardly depend on the machine.
    #[serde(default)]
    pub summary: BTreeMap<String, f64>,
    #[serde(skip)]
    section: &'static str,
}

impl Report {
    /// Begins a section, whose figures are about so many `axis`; prints its head.
    pub fn begin(&mut self, section: &'static str, title: &str, axis: &str) {
        self.section = section;
        println!();
        println!(
            "{title:WHAT$} {axis:>9} {:>9} {:>9} {:>9}      {:>8} {:>6} {:>7}",
            "min", "median", "max", "limit", "ratio", "allocs"
        );
    }

    /// Takes a figure in and prints it.
    pub fn add(&mut self, row: Row) {
        let row = Row { section: self.section.into(), ..row };
        let text = |value: Option<f64>, digits: usize| {
            value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
        };
        let Row { name, at, unit, figure: Figure { min, median, max }, .. } = &row;
        let at = at.map(|at| at.to_string()).unwrap_or_default();
        let digits = if ["x", "us"].contains(&unit.as_str()) { 2 } else { 1 };
        let line = format!(
            "{name:WHAT$} {at:>9} {min:>9.digits$} {median:>9.digits$} {max:>9.digits$} {unit:4} \
             {:>8} {:>6} {:>7}",
            text(row.limit, 1),
            text(row.ratio, 1),
            text(row.allocations, 2),
        );
        println!("{}", line.trim_end());
        self.rows.push(row);
    }

    /// The figure of this name.
    pub fn find(&self, section: &str, name: &str, at: Option<usize>) -> Option<&Row> {
        let same = |row: &&Row| row.section == section && row.name == name && row.at == at;
        self.rows.iter().find(same)
    }

    /// Writes all figures and what follows from them to a file.
    pub fn write(&mut self, path: &Path) -> io::Result<()> {
        self.summary = summary::of(self);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Where a run leaves its figures: `bench/results.json` in the folder where cargo builds.
pub fn results_path(tmp_dir: &str) -> PathBuf {
    Path::new(tmp_dir).join("../bench/results.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_can_be_read_back() {
        let mut report = Report::default();
        report.begin("hit", "a title", "flows");
        let figure = |median| Figure { min: 1.0, median, max: 3.0 };
        report.add(Row::new("out", 1, figure(2.0)).beside(figure(4.0)).allocating(0.5));
        report.add(Row::new("call", None, figure(2.5)).unit("us"));
        let text = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(read.rows, report.rows);
        let row = read.find("hit", "out", Some(1)).unwrap();
        assert_eq!((row.ratio, row.limit, row.unit.as_str()), (Some(0.5), Some(4.0), "ns"));
        assert_eq!(read.find("hit", "out", None), None);
    }
}
