// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where guests are (virtual to physical) and where the outside is (virtual to boundary).

use super::filter::PageArgs;
use crate::console::{Console, Xde};
use crate::values;
use clap::{Args, Subcommand};
use opte_api::{IpCidr, MacAddr, Vni};
use oxide_vpc_api::dump::{V2bDump, V2pDump};
use oxide_vpc_api::filter::MappingFilter;
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
    /// Show where guests are
    #[command(after_help = "Examples:\n  opteadm dump-v2p --vni 100 --within 172.30.0.0/24")]
    DumpV2p {
        /// Only guests of this VPC
        #[arg(long)]
        vni: Option<Vni>,
        /// Only addresses in this prefix
        #[arg(long, value_name = "PREFIX", value_parser = values::prefix)]
        within: Option<IpCidr>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Add boundary hosts that lead towards a prefix outside
    #[command(after_help = "Examples:\n  opteadm set-v2b 0.0.0.0/0 fd00:b::1 fd00:b::2\n  \
                      opteadm set-v2b ::/0 fd00:b::1,vni=77")]
    SetV2b(V2bArgs),
    /// Remove boundary hosts that lead towards a prefix outside
    #[command(after_help = "Examples:\n  opteadm clear-v2b 0.0.0.0/0 fd00:b::2")]
    ClearV2b(V2bArgs),
    /// Show which boundary hosts lead where
    #[command(after_help = "Examples:\n  opteadm dump-v2b --within 198.51.100.9")]
    DumpV2b {
        /// Only prefixes that hold this one, or lie in it
        #[arg(long, value_name = "PREFIX", value_parser = values::prefix)]
        within: Option<IpCidr>,
        #[command(flatten)]
        page: PageArgs,
    },
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
            Self::DumpV2p { vni, within, page } => {
                let filter = MappingFilter { vni, within };
                let (entries, next) = page.collect(|page| {
                    let dump = console.xde.request(&DumpV2p { filter, page })?;
                    Ok((dump.entries, dump.next))
                })?;
                console.show(&V2pDump { entries, next })
            }
            Self::SetV2b(args) => console.ask(&SetV2b { entry: args.into_entry() }),
            Self::ClearV2b(args) => console.ask(&ClearV2b { entry: args.into_entry() }),
            Self::DumpV2b { within, page } => {
                let filter = MappingFilter { vni: None, within };
                let (entries, next) = page.collect(|page| {
                    let dump = console.xde.request(&DumpV2b { filter, page })?;
                    Ok((dump.entries, dump.next))
                })?;
                console.show(&V2bDump { entries, next })
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
