// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The project's own helper: `cargo xtask` builds, tests, measures and shows it.
//!
//! Every command installs what it needs (Debian packages) when that is missing and this process
//! may. Nothing here is part of what the project ships.

mod binaries;
mod commands;
mod inject;
mod kmod;
mod lab;
mod load;
mod peers;
mod setup;
mod shell;
mod sites;
mod tracing;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Build, test, measure and show the project
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show two hypervisors, a boundary and the outside world at work, check by check (as root)
    Demo {
        /// Leave everything up at the end, and tell how to enter it
        #[arg(long)]
        keep: bool,
        /// Folder for the captures, one for each link [default: the run's folder in target/lab]
        #[arg(long, value_name = "DIR")]
        pcap_dir: Option<PathBuf>,
        /// Run only this check and those that it needs; repeatable
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Folder with xde and opteadm to run, instead of building them
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
    },
    /// Boot a virtual machine on a port of the lab: DHCP, ping and a transfer (as root)
    Vm {
        /// Folder with xde and opteadm to run, instead of building them
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
    },
    /// Run every test: unit, property, scenario, vectors, cores for a bare target, kernel module, lab
    Test {
        /// Leave the lab out
        #[arg(long)]
        no_lab: bool,
    },
    /// Play a folder of recorded packet scenarios: DIR [--area AREA] [--name NAME] [--verbose]
    #[command(disable_help_flag = true)]
    Vectors {
        /// Arguments of the player; --help tells more
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Feed random frames and requests to the engine
    Fuzz {
        /// How long for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Measure: nanoseconds per packet, how cost grows, and with --lab Gbit/s between guests
    Bench(commands::bench::Options),
    /// Measure the data path beside those of the kernel and of Open vSwitch (as root)
    Peers(peers::Options),
    /// Write what tracers know of the engine's events: dtrace/lib
    Dtrace {
        /// Only say whether it is up to date
        #[arg(long)]
        check: bool,
    },
    /// Build the illumos kernel module and check that the kernel's loader would take it
    Kmod,
    /// Build the kernel module and run it in ring 0 of an emulated machine
    KmodRing0 {
        /// How many packets it gets
        #[arg(long, default_value_t = kmod::ring0::PACKETS)]
        packets: u64,
    },
    /// Run the illumos kernel module in a process of Linux, over a kernel of the project's own making
    KmodRun {
        /// Only cases whose name begins like this; repeatable
        #[arg(long, value_name = "CASE")]
        only: Vec<String>,
        /// Count instructions of a packet instead
        #[arg(long)]
        measure: bool,
    },
    /// Build the kernel module and what goes with it, and make a package of it
    Package,
    /// Handle labs that were left up
    Lab {
        #[command(subcommand)]
        command: LabCommand,
    },
    /// Format, lint and test, as a machine does before changes are taken
    Ci,
    /// Make load, or take it, inside a namespace
    #[command(hide = true)]
    Load {
        #[command(subcommand)]
        load: load::Load,
    },
    /// Send nonsense from inside a lab
    #[command(hide = true)]
    Inject { kind: String, target: String, count: u32 },
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Remove every lab that no running process looks after
    Clean,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether all went well.
fn run(command: Command) -> Result<bool> {
    if !matches!(command, Command::Inject { .. } | Command::Load { .. }) {
        shell::catch_signals()?;
    }
    match command {
        Command::Demo { keep, pcap_dir, only, bin_dir } => {
            commands::demo::run(lab::scenario::Options { keep, pcap_dir, only }, bin_dir)
        }
        Command::Vm { bin_dir } => {
            let only = vec![lab::checks::MACHINE.to_owned()];
            let options = lab::scenario::Options { only, ..Default::default() };
            commands::demo::run(options, bin_dir)
        }
        Command::Test { no_lab } => commands::test::run(!no_lab),
        Command::Vectors { args } => commands::vectors(&args),
        Command::Fuzz { seconds } => commands::fuzz(seconds),
        Command::Bench(options) => commands::bench::run(&options),
        Command::Lab { command: LabCommand::Clean } => commands::demo::clean(),
        Command::Ci => commands::ci(),
        Command::Dtrace { check } => tracing::run(check),
        Command::Kmod => commands::kmod(),
        Command::KmodRing0 { packets } => kmod::ring0::run(packets),
        Command::KmodRun { only: _, measure: true } => kmod::harness::measure(),
        Command::KmodRun { only, measure: false } => kmod::harness::run(&only),
        Command::Package => commands::package(),
        Command::Peers(options) => commands::peers::run(&options),
        Command::Load { load } => load::run(load).map(|()| true),
        Command::Inject { kind, target, count } => {
            inject::run(&kind, &target, count).map(|()| true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
