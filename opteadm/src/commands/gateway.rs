// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Internet gateways of a port.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use clap::Subcommand;
use oxide_vpc_api::request::DumpGateways;

const DUMP_EXAMPLES: &str = "\
Addresses are in the order of preference. New connections get one of those marked with '*', of
which each has its own share; connections that came from outside keep the address they came to.

Examples:
  opteadm dump-gateways -p opte0";

/// Commands about gateways.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Show which external addresses serve each gateway, and what they are used for
    #[command(after_help = DUMP_EXAMPLES)]
    DumpGateways {
        #[command(flatten)]
        on: OnPort,
    },
}

impl GatewayCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let Self::DumpGateways { on } = self;
        console.ask(&DumpGateways { port: on.port })
    }
}
