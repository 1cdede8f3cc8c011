// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Flows: the connections of a port.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use clap::Subcommand;
use oxide_vpc_api::request::{ClearUft, DumpTcpFlows, DumpUft};

/// Commands about flows.
#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// Show all flows of a port, one line for each direction
    #[command(after_help = "Examples:\n  opteadm dump-uft -p opte0")]
    DumpUft {
        #[command(flatten)]
        on: OnPort,
    },
    /// Remove all flows of a port; later packets are decided anew
    #[command(after_help = "Examples:\n  opteadm clear-uft -p opte0")]
    ClearUft {
        #[command(flatten)]
        on: OnPort,
    },
    /// Show the TCP connections of a port
    #[command(after_help = "Examples:\n  opteadm dump-tcp-flows -p opte0")]
    DumpTcpFlows {
        #[command(flatten)]
        on: OnPort,
    },
}

impl FlowCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::DumpUft { on } => console.ask(&DumpUft { port: on.port }),
            Self::ClearUft { on } => console.ask(&ClearUft { port: on.port }),
            Self::DumpTcpFlows { on } => console.ask(&DumpTcpFlows { port: on.port }),
        }
    }
}
