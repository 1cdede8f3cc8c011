// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Flows of a port.

use super::filter::{OnFlows, PageArgs};
use crate::cli::OnPort;
use crate::console::{Console, Xde};
use anyhow::bail;
use clap::Subcommand;
use oxide_vpc_api::dump::{FlowTableDump, TcpFlowDump};
use oxide_vpc_api::request::{ClearLft, ClearUft, DumpTcpFlows, DumpUft, KillFlows};

const DUMP_EXAMPLES: &str = "\
Examples:
  opteadm dump-uft -p opte0
  opteadm dump-uft -p opte0 --proto tcp --dst 198.51.100.0/24 --port 443 --state established
  opteadm dump-uft -p opte0 --limit 100 --after 4711 --json";

const KILL_EXAMPLES: &str = "\
A later packet of such a connection is decided anew, and may open another one.

Examples:
  opteadm kill-flow -p opte0 --proto tcp --src 172.30.0.5 --dst 198.51.100.9 --port 443
  opteadm kill-flow -p opte0 --dst 203.0.113.7 --list 5";

/// Commands about flows.
#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// Show flows of a port, one line for each direction
    #[command(after_help = DUMP_EXAMPLES)]
    DumpUft {
        #[command(flatten)]
        on: OnFlows,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Remove all flows of a port; later packets are decided anew
    #[command(after_help = "Examples:\n  opteadm clear-uft -p opte0")]
    ClearUft {
        #[command(flatten)]
        on: OnPort,
    },
    /// Remove the flows of a port on which a layer decided; later packets are decided anew
    #[command(after_help = "Examples:\n  opteadm clear-lft -p opte0 nat")]
    ClearLft {
        #[command(flatten)]
        on: OnPort,
        /// Name of the layer, as list-layers shows it
        layer: String,
    },
    /// Show TCP connections of a port
    #[command(after_help = "Examples:\n  opteadm dump-tcp-flows -p opte0 --state time_wait")]
    DumpTcpFlows {
        #[command(flatten)]
        on: OnFlows,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Remove some flows of a port
    #[command(after_help = KILL_EXAMPLES)]
    KillFlow {
        #[command(flatten)]
        on: OnFlows,
        /// List at most this many of those that were removed
        #[arg(long, value_name = "N", default_value_t = 20)]
        list: u32,
    },
}

impl FlowCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::DumpUft { on, page } => {
                let (port, filter) = on.split()?;
                let (mut limit, mut count) = (0, 0);
                let (flows, next) = page.collect(|page| {
                    let (port, filter) = (port.clone(), filter.clone());
                    let dump = console.xde.request(&DumpUft { port, filter, page })?;
                    (limit, count) = (dump.limit, dump.count);
                    Ok((dump.flows, dump.next))
                })?;
                console.show(&FlowTableDump { limit, count, flows, next })
            }
            Self::ClearUft { on } => console.ask(&ClearUft { port: on.port }),
            Self::ClearLft { on, layer } => console.ask(&ClearLft { port: on.port, layer }),
            Self::DumpTcpFlows { on, page } => {
                let (port, filter) = on.split()?;
                let (flows, next) = page.collect(|page| {
                    let (port, filter) = (port.clone(), filter.clone());
                    let dump = console.xde.request(&DumpTcpFlows { port, filter, page })?;
                    Ok((dump.flows, dump.next))
                })?;
                console.show(&TcpFlowDump { flows, next })
            }
            Self::KillFlow { on, list } => {
                let (port, filter) = on.split()?;
                if filter.is_any() {
                    bail!("say which flows, as by --dst; clear-uft removes all flows of {port}");
                }
                console.ask(&KillFlows { port, filter, list })
            }
        }
    }
}
