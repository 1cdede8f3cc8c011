// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Runs the cases: `xde-illumos-harness MODULE [--only CASE] [--plain]`.

use anyhow::Result;
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use xde_illumos_harness::cases::measure::{self, Way};
use xde_illumos_harness::{cases, process};

/// Runs the illumos kernel module in this process, and shows what it does.
#[derive(Parser)]
struct Arguments {
    /// The module, as it is shipped
    module: PathBuf,
    /// Only cases whose name begins like this; repeatable
    #[arg(long)]
    only: Vec<String>,
    /// For a checker of memory around this process: no guards, and fewer rounds
    #[arg(long)]
    plain: bool,
    /// Only send packets of one flow this way, for a counter of instructions around this process
    #[arg(long)]
    measure: Option<Way>,
    /// How many of them
    #[arg(long, default_value_t = 1000)]
    packets: u32,
    /// In chains of so many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    chain: u32,
    /// Show the kernel's console
    #[arg(long)]
    console: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    process::become_machine(arguments.console);
    if let Some(way) = arguments.measure {
        return measure::run(&arguments.module, way, arguments.packets, arguments.chain)
            .map(|()| true);
    }
    cases::run(&arguments.module, &arguments.only, arguments.plain)
}
