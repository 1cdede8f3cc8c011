// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Plays a folder of recorded packet scenarios.

use anyhow::Result;
use clap::Parser;
use opte_tests::vectors::report::{Tally, lines};
use opte_tests::vectors::{json, play, subject};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Plays a folder of recorded packet scenarios: one line for each step that fails, then the
/// counts. The exit status is 1 if a step failed or a file could not be read.
#[derive(Parser)]
struct Arguments {
    /// Folder with *.json files
    dir: PathBuf,
    /// Only scenarios of this area
    #[arg(long)]
    area: Option<String>,
    /// Only the scenario of this name
    #[arg(long)]
    name: Option<String>,
    /// One line for every step, and the bytes of packets that were answered otherwise
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    match play_folder(&Arguments::parse()) {
        Ok(tally) if tally.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play_folder(arguments: &Arguments) -> Result<Tally> {
    let wanted =
        |filter: &Option<String>, value: &str| filter.as_deref().is_none_or(|it| it == value);
    let mut tally = Tally::default();
    let mut played_any = false;
    let mut out = std::io::stdout().lock();
    for scenario in json::read_folder(&arguments.dir)? {
        if wanted(&arguments.area, &scenario.area) && wanted(&arguments.name, &scenario.name) {
            let played = play::play(&scenario, &subject::make);
            for line in lines(&scenario, &played, arguments.verbose) {
                writeln!(out, "{line}")?;
            }
            tally.add(&played);
            played_any = true;
        }
    }
    anyhow::ensure!(played_any, "no scenario has this area and name");
    writeln!(out, "{tally}")?;
    Ok(tally)
}
