// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All figures of a run, and their medians.

use crate::peers::peer::{Peer, Route};
use crate::peers::rows::{Figure, Row};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One data path on one route.
pub type Who = (Route, Peer);

/// Figures of a run.
#[derive(Default)]
pub struct Results {
    figures: BTreeMap<(Who, Figure), Vec<f64>>,
    /// Why a path could not be brought up.
    absent: BTreeMap<Who, String>,
    /// Why a row of a path has no figure, or fewer than others.
    failed: BTreeMap<(Who, Row), String>,
}

impl Results {
    /// Notes what a row gave.
    pub fn note(&mut self, who: Who, row: Row, values: &[f64]) {
        for (figure, value) in row.figures().into_iter().zip(values) {
            self.figures.entry((who, figure)).or_default().push(*value);
        }
    }

    /// Notes that a row gave nothing.
    pub fn failed(&mut self, who: Who, row: Row, why: String) {
        self.failed.insert((who, row), why);
    }

    /// Notes that a path is not there.
    pub fn absent(&mut self, who: Who, why: String) {
        self.absent.insert(who, why);
    }

    /// The median, if there is a figure.
    pub fn median(&self, who: Who, figure: Figure) -> Option<f64> {
        self.figures.get(&(who, figure)).and_then(|values| median(values))
    }

    /// Ours to a peer's, of the medians.
    pub fn ratio(&self, route: Route, peer: Peer, figure: Figure) -> Option<f64> {
        let ours = self.median((route, Peer::Ours), figure)?;
        let theirs = self.median((route, peer), figure)?;
        (theirs > 0.0).then_some(ours / theirs)
    }

    /// The ratios to all peers of the figures that are better one way, by `route row part peer`.
    fn ratios(&self) -> BTreeMap<String, f64> {
        let compared = self
            .figures
            .keys()
            .filter(|((_, peer), figure)| *peer != Peer::Ours && figure.better.is_some());
        let named = compared.filter_map(|((route, peer), figure)| {
            let words = [route.word(), figure.row.name(), figure.part, peer.name()];
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            Some((words.join(" "), self.ratio(*route, *peer, *figure)?))
        });
        named.collect()
    }

    /// Why paths are not there.
    pub fn absences(&self) -> impl Iterator<Item = (Who, &str)> {
        self.absent.iter().map(|(who, why)| (*who, why.as_str()))
    }

    /// Why rows failed.
    pub fn failures(&self) -> impl Iterator<Item = (Who, Row, &str)> {
        self.failed.iter().map(|((who, row), why)| (*who, *row, why.as_str()))
    }

    /// Everything, for programs.
    pub fn to_json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|(((route, peer), figure), values)| {
                json!({
                    "route": route.word(),
                    "peer": peer.name(),
                    "row": figure.row.name(),
                    "part": figure.part,
                    "unit": figure.unit,
                    "median": median(values),
                    "values": values,
                })
            })
            .collect();
        let absent: Vec<Value> = self
            .absences()
            .map(|((route, peer), why)| {
                json!({ "route": route.word(), "peer": peer.name(), "why": why })
            })
            .collect();
        let failed: Vec<Value> = self
            .failures()
            .map(|((route, peer), row, why)| {
                json!({
                    "route": route.word(), "peer": peer.name(), "row": row.name(), "why": why
                })
            })
            .collect();
        let ratios = self.ratios();
        json!({ "ratios": ratios, "figures": figures, "absent": absent, "failed": failed })
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let [low, high] = [sorted.len().checked_sub(1)? / 2, sorted.len() / 2];
    Some(f64::midpoint(*sorted.get(low)?, *sorted.get(high)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 4.0, 2.0]), Some(3.0));
    }

    #[test]
    fn a_row_that_failed_once_keeps_its_other_figures() {
        let who = (Route::Inside, Peer::Ours);
        let mut results = Results::default();
        results.note(who, Row::Tcp1, &[4.0, 1.0]);
        results.failed(who, Row::Tcp1, "no route".into());
        results.note(who, Row::Tcp1, &[6.0, 1.0]);
        let figure = Row::Tcp1.figures()[0];
        assert_eq!(results.median(who, figure), Some(5.0));
        assert_eq!(results.to_json()["failed"][0]["why"], "no route");
        results.note((Route::Inside, Peer::Kernel), Row::Tcp1, &[10.0, 0.0]);
        assert_eq!(results.to_json()["ratios"], json!({ "inside tcp-1 kernel": 0.5 }));
    }
}
