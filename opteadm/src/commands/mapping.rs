// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where guests are (virtual to physical) and where the outside is (virtual to boundary).

use crate::console::{Console, Xde};
use crate::values;
use clap::{Args, Subcommand};
use opte_api::{IpCidr, MacAddr, Vni};
use oxide_vpc_api::request::{ClearV2b, ClearV2p, DumpV2b, DumpV2p, SetV2b, SetV2p};
use oxide_vpc_api::{BoundaryEndpoint, GuestLocation, V2bEntry, V2pEntry};
use std::net::{IpAddr, Ipv6Addr};

/// Commands about mappings.
#[derive(Debug, Subcommand)]
pub enum MappingCommand {
    /// Say on which host a guest is; replaces what was said before
    #[command(after_help = "Examples:\n  opteadm set-v2p 172.30.0.6 a8:40:25:f0:00:02 fd00::2 100")]
    SetV2p(V2pArgs),
    /// Forget where a guest is; only if all of the mapping agrees
    #[command(
        after_help = "Examples:\n  opteadm clear-v2p 172.30.0.6 a8:40:25:f0:00:02 fd00::2 100"
    )]
    ClearV2p(V2pArgs),
    /// Show where all guests are
    DumpV2p,
    /// Add boundary hosts that lead towards a prefix outside
    #[command(after_help = "Examples:\n  opteadm set-v2b 0.0.0.0/0 fd00:b::1 fd00:b::2\n  \
                      opteadm set-v2b ::/0 fd00:b::1,vni=77")]
    SetV2b(V2bArgs),
    /// Remove boundary hosts that lead towards a prefix outside
    #[command(after_help = "Examples:\n  opteadm clear-v2b 0.0.0.0/0 fd00:b::2")]
    ClearV2b(V2bArgs),
    /// Show which boundary hosts lead where
    DumpV2b,
}

/// One mapping from virtual to physical.
#[derive(Args, Debug)]
pub struct V2pArgs {
    /// Address of the guest inside the VPC
    ip: IpAddr,
    /// MAC address of the guest
    mac: MacAddr,
    /// Underlay address of the guest's host
    underlay_ip: Ipv6Addr,
    /// VNI of the VPC
    vni: Vni,
}

/// One prefix and its ways out.
#[derive(Args, Debug)]
pub struct V2bArgs {
    /// Destinations outside
    prefix: IpCidr,
    /// Underlay address of a boundary host, and its VNI if that is not 99
    #[arg(required = true, value_name = "IPV6[,vni=N]", value_parser = values::endpoint)]
    endpoints: Vec<BoundaryEndpoint>,
}

impl MappingCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::SetV2p(args) => console.ask(&SetV2p { entry: args.into_entry() }),
            Self::ClearV2p(args) => console.ask(&ClearV2p { entry: args.into_entry() }),
            Self::DumpV2p => {
                let mut entries = console.xde.request(&DumpV2p {})?;
                entries.sort();
                console.show(&entries)
            }
            Self::SetV2b(args) => console.ask(&SetV2b { entry: args.into_entry() }),
            Self::ClearV2b(args) => console.ask(&ClearV2b { entry: args.into_entry() }),
            Self::DumpV2b => {
                let mut entries = console.xde.request(&DumpV2b {})?;
                entries.sort_by_key(|entry| entry.prefix);
                console.show(&entries)
            }
        }
    }
}

impl V2pArgs {
    fn into_entry(self) -> V2pEntry {
        let location = GuestLocation { mac: self.mac, underlay_ip: self.underlay_ip };
        V2pEntry { vni: self.vni, ip: self.ip, location }
    }
}

impl V2bArgs {
    fn into_entry(self) -> V2bEntry {
        V2bEntry { prefix: self.prefix, endpoints: self.endpoints }
    }
}
