// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Layers: what a port does, and how often it did it.

use super::filter::{OnFlows, PageArgs};
use crate::cli::OnPort;
use crate::console::{Console, Xde};
use clap::Subcommand;
use oxide_vpc_api::dump::LayerDump;
use oxide_vpc_api::request::{DumpLayer, ListLayers};

/// Commands about layers.
#[derive(Debug, Subcommand)]
pub enum LayerCommand {
    /// List the layers of a port, in the order of outbound packets
    #[command(after_help = "Examples:\n  opteadm list-layers -p opte0")]
    ListLayers {
        #[command(flatten)]
        on: OnPort,
    },
    /// Show the rules of a layer, and flows on which it decided
    #[command(after_help = "Examples:\n  opteadm dump-layer -p opte0 firewall\n  \
                      opteadm dump-layer -p opte0 nat --proto udp --port 53")]
    DumpLayer {
        #[command(flatten)]
        on: OnFlows,
        /// Name of the layer, as list-layers shows it
        layer: String,
        #[command(flatten)]
        page: PageArgs,
    },
}

impl LayerCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::ListLayers { on } => console.ask(&ListLayers { port: on.port }),
            Self::DumpLayer { on, layer, page } => {
                let (port, filter) = on.split()?;
                let mut whole: Option<LayerDump> = None;
                let (flows, next) = page.collect(|page| {
                    let (port, layer, filter) = (port.clone(), layer.clone(), filter.clone());
                    let mut dump = console.xde.request(&DumpLayer { port, layer, filter, page })?;
                    let answer = (std::mem::take(&mut dump.flows), dump.next);
                    // The rules stand on the first page.
                    whole.get_or_insert(dump);
                    Ok(answer)
                })?;
                let Some(whole) = whole else { return Ok(()) };
                console.show(&LayerDump { flows, next, ..whole })
            }
        }
    }
}
