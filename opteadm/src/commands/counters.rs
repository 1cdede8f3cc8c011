// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counters of the host and its ports.

use crate::console::{Console, Xde};
use clap::Subcommand;
use oxide_vpc_api::PortName;

const EXAMPLES: &str = "\
Examples:
  opteadm stats --nonzero
  opteadm stats -p opte0";

/// Commands about counters.
#[derive(Debug, Subcommand)]
pub enum CounterCommand {
    /// Show counters: those of the host and of every port, or of one port
    #[command(after_help = EXAMPLES)]
    Stats {
        /// Only this port
        #[arg(short, long, value_name = "NAME")]
        port: Option<PortName>,
        /// Leave out what never happened
        #[arg(long)]
        nonzero: bool,
    },
}

impl CounterCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let Self::Stats { port, nonzero } = self;
        let mut sets = console.xde.counters(port)?;
        if nonzero {
            for set in &mut sets {
                set.counters.retain(|counter| counter.value != 0);
            }
        }
        console.show(&sets)
    }
}
