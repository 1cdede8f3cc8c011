// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Measuring, and what is made of the figures: pictures, and a comparison with those in the tree.

mod check;
mod draw;
mod plots;

use crate::binaries::{Binaries, Profile};
use crate::commands::succeeds;
use crate::lab::bench as lab_bench;
use crate::setup;
use crate::workspace::{cargo, root, target_dir};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Has glibc ask for huge pages (glibc manual, "Memory Allocation Tunables").
pub const LARGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// What to measure, and what to do with it.
#[derive(Debug, Args)]
pub struct Options {
    /// Measure between guests of a lab as well (as root)
    #[arg(long)]
    lab: bool,
    /// Measure in the lab only (as root)
    #[arg(long, conflicts_with_all = ["lab", "plots", "check", "save", "last"])]
    only_lab: bool,
    /// Draw how cost grows into bench/plots
    #[arg(long)]
    plots: bool,
    /// Compare with bench/summary.json; fail if anything has moved by more than 15 %
    #[arg(long)]
    check: bool,
    /// Write bench/summary.json anew
    #[arg(long)]
    save: bool,
    /// Take the figures of the last run instead of measuring
    #[arg(long)]
    last: bool,
    /// Ratios to other programs as `cargo xtask peers --json FILE` writes them, for --check and
    /// --save
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Sections to measure, all if none is named
    #[arg(conflicts_with_all = ["check", "save"])]
    sections: Vec<String>,
}

/// One figure of a run.
#[derive(Debug, Deserialize)]
struct Row {
    section: String,
    name: String,
    at: Option<u64>,
    median: f64,
    limit: Option<f64>,
}

/// What a run leaves behind.
#[derive(Debug, Deserialize)]
struct Results {
    rows: Vec<Row>,
    summary: BTreeMap<String, f64>,
}

/// Measures the engine alone, guests of a lab, or takes what was measured, and goes on from there.
pub fn run(options: &Options) -> Result<bool> {
    if options.lab || options.only_lab {
        ensure!(
            setup::is_root(),
            "the lab needs root: sudo -E env \"PATH=$PATH\" cargo xtask bench"
        );
        setup::install(&[setup::LAB, setup::LAB_BENCH])?;
    }
    if !options.only_lab && !options.last {
        // Large pages for the heap, as the unit file of the process asks for, too.
        let (name, value) = LARGE_PAGES;
        let measure = cargo().args(["bench", "-p", "bench", "--"]).args(&options.sections);
        let measure = measure.env(name, value);
        if !succeeds(measure)? {
            return Ok(false);
        }
    }
    let mut well = true;
    if options.plots || options.check || options.save {
        let results = results()?;
        if options.plots {
            plots::draw(&results, &root().join("bench/plots"))?;
        }
        let path = root().join("bench/summary.json");
        let fresh = check::Summary::new(results.summary, options.peers.as_deref())?;
        if options.check {
            well = fresh.check(&path)?;
        }
        if options.save {
            fresh.save(&path)?;
            println!("wrote {}", path.display());
        }
    }
    if options.lab || options.only_lab {
        lab_bench::run(Binaries::build(Profile::Release)?)?;
    }
    Ok(well)
}

fn results() -> Result<Results> {
    let path = target_dir()?.join("bench/results.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => bail!("{}: {error}: measure without --last first", path.display()),
    };
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
