// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One file for each family of commands: what can be typed, and the request that it becomes.

pub mod boundary;
pub mod counters;
pub mod external;
pub mod filter;
pub mod firewall;
pub mod flow;
pub mod gateway;
pub mod layer;
pub mod life;
pub mod manual;
pub mod mapping;
pub mod multicast;
pub mod nat;
pub mod plan;
pub mod port;
pub mod prefix;
pub mod route;
pub mod saved;
pub mod settings;
pub mod trace;
pub mod underlay;

#[cfg(test)]
mod outputs;
#[cfg(test)]
mod tests;

use crate::cli::Command;
use crate::console::{Console, Xde};

/// Carries out one command.
pub fn run<X: Xde>(command: Command, console: &mut Console<'_, X>) -> anyhow::Result<()> {
    match command {
        Command::Plan(command) => command.run(console),
        Command::Port(command) => command.run(console),
        Command::Life(command) => command.run(console),
        Command::Saved(command) => command.run(console),
        Command::Settings(command) => command.run(console),
        Command::Underlay(command) => command.run(console),
        Command::Layer(command) => command.run(console),
        Command::Flow(command) => command.run(console),
        Command::Firewall(command) => command.run(console),
        Command::Route(command) => command.run(console),
        Command::Gateway(command) => command.run(console),
        Command::Multicast(command) => command.run(console),
        Command::Mapping(command) => command.run(console),
        Command::External(command) => command.run(console),
        Command::Nat(command) => command.run(console),
        Command::Prefix(command) => command.run(console),
        Command::Counter(command) => command.run(console),
        Command::Boundary(command) => command.run(console),
        Command::Trace(command) => command.run(console),
        Command::Manual(command) => command.run(console),
    }
}
