// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What can be typed: the global flags, and all families of commands.

use crate::commands::boundary::BoundaryCommand;
use crate::commands::counters::CounterCommand;
use crate::commands::external::ExternalCommand;
use crate::commands::firewall::FirewallCommand;
use crate::commands::flow::FlowCommand;
use crate::commands::gateway::GatewayCommand;
use crate::commands::layer::LayerCommand;
use crate::commands::life::LifeCommand;
use crate::commands::manual::ManualCommand;
use crate::commands::mapping::MappingCommand;
use crate::commands::multicast::MulticastCommand;
use crate::commands::nat::NatCommand;
use crate::commands::plan::PlanCommand;
use crate::commands::port::PortCommand;
use crate::commands::prefix::PrefixCommand;
use crate::commands::route::RouteCommand;
use crate::commands::saved::SavedCommand;
use crate::commands::settings::SettingsCommand;
use crate::commands::trace::TraceCommand;
use crate::commands::underlay::UnderlayCommand;
use clap::{Args, Parser, Subcommand};
use opte_api::frame::API_VERSION;
use oxide_vpc_api::PortName;
use std::path::PathBuf;

/// Heading of the flags that every command has.
const GLOBAL: &str = "Global options";

const FOOT: &str = "\
Environment:
  XDE_SOCKET  Socket of the engine, unless --socket names one

Exit status:
  0  Done
  1  Refused or failed; standard error says why
  2  Wrong usage

Examples:
  opteadm list-ports
  opteadm dump-uft -p opte0 --json
  opteadm list-ports --watch 2
  opteadm --socket /tmp/hv1.sock stats --nonzero";

fn version() -> String {
    format!("{} (API version {API_VERSION})", env!("CARGO_PKG_VERSION"))
}

/// Look at and configure the packet transform engine of this host
#[derive(Debug, Parser)]
#[command(name = "opteadm", version = version(), after_help = FOOT, max_term_width = 100)]
pub struct Cli {
    /// Answer and complain in JSON, one object or list on one line
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Socket of the engine [default: $XDE_SOCKET, else /run/xde.sock]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Show it anew after so many seconds, until interrupted; in JSON one line each time
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "SECONDS")]
    #[arg(value_parser = seconds)]
    pub watch: Option<f64>,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Longest time between two looks.
const MAX_SECONDS: f64 = 86_400.0;

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok();
    let good = seconds.filter(|seconds| *seconds >= 0.1 && *seconds <= MAX_SECONDS);
    good.ok_or_else(|| "use 0.1 to 86400 seconds".into())
}

/// Beginnings of the names of commands that change nothing.
const SHOWING: &[&str] = &["list-", "show-", "dump-", "stats", "nat", "plan", "trace"];

/// A command of this name only shows something, and so may be watched.
pub fn shows(name: &str) -> bool {
    SHOWING.iter().any(|beginning| name.starts_with(beginning))
}

/// All commands, by family.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Plan(PlanCommand),
    #[command(flatten)]
    Port(PortCommand),
    #[command(flatten)]
    Life(LifeCommand),
    #[command(flatten)]
    Saved(SavedCommand),
    #[command(flatten)]
    Settings(SettingsCommand),
    #[command(flatten)]
    Underlay(UnderlayCommand),
    #[command(flatten)]
    Layer(LayerCommand),
    #[command(flatten)]
    Flow(FlowCommand),
    #[command(flatten)]
    Firewall(FirewallCommand),
    #[command(flatten)]
    Route(RouteCommand),
    #[command(flatten)]
    Gateway(GatewayCommand),
    #[command(flatten)]
    Multicast(MulticastCommand),
    #[command(flatten)]
    Mapping(MappingCommand),
    #[command(flatten)]
    External(ExternalCommand),
    #[command(flatten)]
    Nat(NatCommand),
    #[command(flatten)]
    Prefix(PrefixCommand),
    #[command(flatten)]
    Counter(CounterCommand),
    #[command(flatten)]
    Boundary(BoundaryCommand),
    #[command(flatten)]
    Trace(TraceCommand),
    #[command(flatten)]
    Manual(ManualCommand),
}

/// The port that a command is about.
#[derive(Args, Debug)]
pub struct OnPort {
    /// Name of the port
    #[arg(short, long, value_name = "NAME")]
    pub port: PortName,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_is_explained() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
            }
        }
    }

    /// The example commands of a help text, each as one line.
    fn examples(help: &str) -> Vec<String> {
        let joined = help.replace("\\\n", " ");
        let lines = joined.lines().filter(|line| line.starts_with("  opteadm "));
        lines.map(|line| line.split(" <").next().unwrap_or_default().to_string()).collect()
    }

    #[test]
    fn every_example_parses() {
        let root = Cli::command();
        let mut count = 0;
        for command in std::iter::once(&root).chain(root.get_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for example in examples(&help) {
                let words = example.split_whitespace().map(|word| word.trim_matches('\''));
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{example}\n{error}");
                }
                count += 1;
            }
        }
        assert!(count > 20, "only {count} examples were found");
    }
}
