// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! This project's data path on Linux beside its peers: same machine, same topology, same clients,
//! one run.
//!
//! All paths are up at once, and take turns within each row, so that a drift of the machine hits
//! all alike. What cannot be brought up is noted with its reason, and the others go on.

mod addresses;
mod cpu;
mod kernel;
mod ours;
mod ovs;
mod path;
mod peer;
mod priority;
mod results;
mod rows;
mod show;
mod site;
mod targets;

use crate::binaries::Binaries;
use crate::lab::sandbox::Sandbox;
use crate::shell::interrupted;
use anyhow::{Context, Result, bail, ensure};
use path::Path;
use peer::{Peer, Route};
use priority::Priority;
use results::Results;
use rows::{Lengths, Row};
use std::path::PathBuf;
use std::time::Instant;

/// What the user wants.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Measure only this peer (veth, kernel, ovs, vpp, ours); repeatable
    #[arg(long, value_name = "PEER")]
    only: Vec<String>,
    /// Measure only this row (tcp-1, tcp-8, udp-clean, udp-flat, ping-udp-pinned, ping-tcp-pinned,
    /// ping-udp, ping-tcp, connect, cpu); repeatable
    #[arg(long, value_name = "ROW")]
    row: Vec<String>,
    /// Measure only this route (inside, outside); repeatable
    #[arg(long, value_name = "ROUTE")]
    route: Vec<String>,
    /// How often each row is measured; medians are shown
    #[arg(long, default_value_t = 3, value_name = "N", conflicts_with = "quick")]
    repeat: u32,
    /// Measure once, and shorter
    #[arg(long)]
    quick: bool,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave other programs of this machine their share of the CPUs
    #[arg(long)]
    polite: bool,
    /// Folder with xde and opteadm to run, instead of building them
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

const USUAL: Lengths = Lengths { tcp: 3, other: 800, attempt: 200 };
const QUICK: Lengths = Lengths { tcp: 1, other: 500, attempt: 150 };

/// Measures, and shows the tables. Answers whether every row of every path that is up has a figure.
pub fn run(options: &Options, binaries: &Binaries) -> Result<bool> {
    let peers = choose(&options.only, &Peer::ALL, Peer::name)?;
    let rows = choose(&options.row, &Row::ALL, Row::name)?;
    let routes = choose(&options.route, &Route::ALL, Route::word)?;
    let sandbox = Sandbox::new()?;
    let mut results = Results::default();
    let begin = Instant::now();
    let paths = build(&sandbox, binaries, &peers, &routes, &mut results)?;
    let _priority = if options.polite { None } else { Priority::take() };
    let (repeat, lengths) = if options.quick { (1, QUICK) } else { (options.repeat, USUAL) };
    for round in 1..=repeat {
        for row in &rows {
            measure(&paths, *row, &lengths, &mut results)?;
        }
        println!("round {round} of {repeat}: {:.0} s", begin.elapsed().as_secs_f64());
    }
    println!("{}", show::all(&results, &routes, &peers, &rows));
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&results.to_json())?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    Ok(results.failures().next().is_none())
}

fn build(
    sandbox: &Sandbox,
    binaries: &Binaries,
    peers: &[Peer],
    routes: &[Route],
    results: &mut Results,
) -> Result<Vec<Path>> {
    let mut paths = Vec::new();
    for route in routes {
        for peer in peers {
            ensure!(!interrupted(), "interrupted");
            match Path::build(*peer, *route, sandbox, binaries) {
                Ok(path) => {
                    println!("up: {} {}", peer.name(), route.word());
                    paths.push(path);
                }
                Err(error) => {
                    println!("not up: {} {}: {error:#}", peer.name(), route.word());
                    results.absent((*route, *peer), format!("{error:#}"));
                }
            }
        }
    }
    if paths.is_empty() {
        bail!("nothing is up");
    }
    Ok(paths)
}

fn measure(paths: &[Path], row: Row, lengths: &Lengths, results: &mut Results) -> Result<()> {
    for path in paths {
        ensure!(!interrupted(), "interrupted");
        let who = (path.route, path.peer);
        let shown = match row.measure(path, lengths) {
            Ok(values) => {
                results.note(who, row, &values);
                values.iter().map(|value| format!(" {value:9.2}")).collect()
            }
            Err(error) => {
                results.failed(who, row, format!("{error:#}"));
                format!("  {error:#}")
            }
        };
        println!("  {:16} {:8} {:8}{shown}", row.name(), path.route.word(), path.peer.name());
    }
    Ok(())
}

/// Those with the names that the user gave; all when none was given.
fn choose<T: Copy>(
    names: &[String],
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<Vec<T>> {
    let known = || all.iter().map(|item| name_of(*item)).collect::<Vec<_>>();
    if let Some(name) = names.iter().find(|name| !known().contains(&name.as_str())) {
        bail!("there is no {name}; there are: {}", known().join(", "));
    }
    let wanted = |item: &T| names.is_empty() || names.iter().any(|name| name == name_of(*item));
    Ok(all.iter().copied().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_choose_in_the_usual_order() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            choose(&names, &Peer::ALL, Peer::name)
        };
        assert_eq!(names(&[]).unwrap(), Peer::ALL);
        assert_eq!(names(&["ours", "kernel"]).unwrap(), [Peer::Kernel, Peer::Ours]);
        let error = names(&["bridge"]).unwrap_err().to_string();
        assert!(error.contains("veth, kernel, ovs, vpp, ours"), "{error}");
    }

    #[test]
    fn rows_have_names_of_their_own() {
        let names: BTreeSet<&str> = Row::ALL.iter().map(|row| row.name()).collect();
        assert_eq!(names.len(), Row::ALL.len());
    }
}
