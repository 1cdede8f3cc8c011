// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The tables of a run.

use crate::peers::peer::{Peer, Route};
use crate::peers::results::Results;
use crate::peers::rows::{Better, Figure, Row};
use crate::peers::targets::targets;
use tabled::builder::Builder;
use tabled::settings::object::{Columns, Object, Rows};
use tabled::settings::{Alignment, Style};

/// What stands where there is no figure.
const NONE: &str = "-";

/// Figures and ratios of each route, and why some are missing.
pub fn all(results: &Results, routes: &[Route], peers: &[Peer], rows: &[Row]) -> String {
    let mut text = String::new();
    for &route in routes {
        text += &format!("\n## {}\n\n", title(route.title()));
        for peer in peers {
            text += &format!("* {}: {}\n", peer.name(), peer.parts(route));
        }
        text += &format!("\n{}\n", absolute(results, route, peers, rows));
        if peers.contains(&Peer::Ours) {
            text += "\nours / peer (< or >: which way is better):\n\n";
            text += &format!("{}\n", ratios(results, route, peers, rows));
        }
    }
    for ((route, peer), why) in results.absences() {
        text += &format!("\n{}, {}: {why}", peer.name(), route.word());
    }
    for ((route, peer), row, why) in results.failures() {
        text += &format!("\n{}, {}, {}: {why}", peer.name(), route.word(), row.name());
    }
    text
}

fn title(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

fn figures(rows: &[Row]) -> impl Iterator<Item = Figure> {
    rows.iter().flat_map(|row| row.figures())
}

fn absolute(results: &Results, route: Route, peers: &[Peer], rows: &[Row]) -> String {
    let mut table = Builder::new();
    table.push_record(["".to_owned()].into_iter().chain(names(peers)));
    for figure in figures(rows) {
        let cells = peers
            .iter()
            .map(|peer| results.median((route, *peer), figure).map_or(NONE.into(), three_digits));
        table.push_record([figure.to_string()].into_iter().chain(cells));
    }
    finish(table)
}

fn ratios(results: &Results, route: Route, peers: &[Peer], rows: &[Row]) -> String {
    let others: Vec<Peer> = peers.iter().copied().filter(|peer| *peer != Peer::Ours).collect();
    let mut table = Builder::new();
    let head = ["".to_owned(), "".to_owned()].into_iter().chain(names(&others));
    table.push_record(head.chain(["targets".to_owned()]));
    for figure in figures(rows).filter(|figure| figure.better.is_some()) {
        let ratio = |peer: Peer| results.ratio(route, peer, figure);
        let cells = others
            .iter()
            .map(|peer| ratio(*peer).map_or(NONE.into(), |ratio| format!("{ratio:.2}")));
        let sign = if figure.better == Some(Better::High) { ">" } else { "<" };
        let first = [figure.to_string(), sign.to_owned()];
        let verdicts = verdicts(route, figure, ratio);
        table.push_record(first.into_iter().chain(cells).chain([verdicts]));
    }
    finish(table)
}

/// `ovs ok, kernel 1.5 MISSED`.
fn verdicts(route: Route, figure: Figure, ratio: impl Fn(Peer) -> Option<f64>) -> String {
    let words = targets(route, figure).into_iter().filter_map(|target| {
        let met = target.is_met(ratio(target.peer)?);
        let word = if met { "ok" } else { "MISSED" };
        Some(format!("{} {} {word}", target.peer.name(), target.ratio))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn names(peers: &[Peer]) -> impl Iterator<Item = String> {
    peers.iter().map(|peer| peer.name().to_owned())
}

fn finish(table: Builder) -> String {
    let mut table = table.build();
    table.with(Style::markdown());
    table.modify(Columns::new(1..).intersect(Rows::new(0..)), Alignment::right());
    table.to_string()
}

fn three_digits(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_shown() {
        let mut results = Results::default();
        results.note((Route::Inside, Peer::Kernel), Row::Tcp1, &[10.0, 0.0]);
        results.note((Route::Inside, Peer::Ours), Row::Tcp1, &[7.0, 1.0]);
        results.absent((Route::Inside, Peer::Vpp), "no package".into());
        let text = all(&results, &[Route::Inside], &Peer::ALL, &[Row::Tcp1]);
        println!("{text}");
        assert!(text.contains(" 0.70 |"), "{text}");
        assert!(text.contains("kernel 0.65 ok"), "{text}");
        assert!(text.contains("vpp, inside: no package"), "{text}");
    }
}
