// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The binary `xde`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xde_linux::boundary;
use xde_linux::hypervisor;
use xde_linux::settings::Options;

/// Runs virtual networks for guests of this host: each port is a TAP device, other hosts are
/// reached by Geneve over IPv6
///
/// Ports, addresses and rules come as requests over a Unix socket, as opteadm makes them. The
/// device of a port has the port's name and is made down. A container or other network namespace
/// takes it over with 'ip link set PORT netns NAME', gives it the guest's MAC address and sets it
/// up; a virtual machine's own TAP device is joined to it by a bridge.
///
/// Flags go before environment variables, these before the file of --config, and that before
/// defaults.
#[derive(Debug, Parser)]
#[command(name = "xde", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What else this program can be.
#[derive(Debug, Subcommand)]
enum Role {
    /// Runs a boundary: the host between the underlay and the world outside
    ///
    /// Takes packets from outside to the hypervisor hosts by its NAT table, which
    /// 'opteadm add-boundary-nat' fills, and sends theirs out by the routes of this host.
    Boundary(boundary::Args),
}

fn main() -> ExitCode {
    let Cli { options, role } = Cli::parse();
    let outcome = match role {
        None => options.settle().and_then(hypervisor::run),
        Some(Role::Boundary(args)) => boundary::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xde: {error:#}");
            ExitCode::FAILURE
        }
    }
}
