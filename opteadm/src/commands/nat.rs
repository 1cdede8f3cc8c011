// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Shared external addresses: who has what of them.

use crate::console::{Console, Xde};
use clap::Subcommand;
use oxide_vpc_api::PortName;
use oxide_vpc_api::pools::{MAX_LEASE_PAGE, NatLeaseInfo};
use oxide_vpc_api::request::{DumpNatLeases, DumpNatPools};

/// Commands about NAT.
#[derive(Debug, Subcommand)]
pub enum NatCommand {
    /// Look at shared external addresses
    #[command(subcommand)]
    Nat(NatLook),
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub enum NatLook {
    /// Show ranges with what is used (by all who share them), free and waiting, guests, and failures by
    /// cause
    #[command(after_help = "Examples:\n  opteadm nat pools\n  opteadm nat pools -p opte0 --json")]
    Pools {
        /// Only this port
        #[arg(short, long, value_name = "NAME")]
        port: Option<PortName>,
    },
    /// Show which external tuples are on loan, and to whom
    #[command(after_help = "Examples:\n  opteadm nat leases -p opte0")]
    Leases {
        /// Name of the port
        #[arg(short, long, value_name = "NAME")]
        port: PortName,
    },
}

impl NatCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let Self::Nat(look) = self;
        match look {
            NatLook::Pools { port } => console.ask(&DumpNatPools { port }),
            NatLook::Leases { port } => {
                let leases = all_leases(console.xde, &port)?;
                console.show(&leases)
            }
        }
    }
}

/// Asks for one page after the other.
fn all_leases<X: Xde>(xde: &mut X, port: &PortName) -> anyhow::Result<Vec<NatLeaseInfo>> {
    let mut all: Vec<NatLeaseInfo> = Vec::new();
    loop {
        let after = all.last().map(|lease| lease.place);
        let ask = DumpNatLeases { port: port.clone(), after, limit: MAX_LEASE_PAGE };
        let page = xde.request(&ask)?;
        let is_last = !page.more || page.leases.is_empty();
        all.extend(page.leases);
        if is_last {
            return Ok(all);
        }
    }
}
