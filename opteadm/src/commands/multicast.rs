// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Multicast: which underlay group carries a group, where it is sent, and who hears it.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use clap::{Args, Subcommand};
use opte_api::Vni;
use oxide_vpc_api::multicast::{
    ForwardingEntry, M2pEntry, MULTICAST_VNI, NextHop, Replication, SourceFilter, check_group,
    check_underlay,
};
use oxide_vpc_api::request::{
    ClearM2p, ClearMulticastForwarding, DumpM2p, DumpMulticastForwarding,
    DumpMulticastSubscriptions, MulticastSubscribe, MulticastUnsubscribe, MulticastUnsubscribeAll,
    SetM2p, SetMulticastForwarding,
};
use std::net::{IpAddr, Ipv6Addr};

const SUBSCRIBE_EXAMPLES: &str = "\
Examples:
  opteadm mcast-subscribe -p opte0 239.1.1.1
  opteadm mcast-subscribe -p opte0 239.1.1.1 --filter include=172.30.0.6,172.30.0.7
  opteadm mcast-subscribe -p opte0 ff05::1:3 --filter exclude=fd12::6

Subscribing again replaces the filter.";

const FORWARD_EXAMPLES: &str = "\
Examples:
  opteadm set-mcast-fwd ff04::e001:101 fd00::2 underlay
  opteadm set-mcast-fwd ff04::e001:101 fd00:1::1 both --filter exclude=172.30.0.9";

/// Commands about multicast.
#[derive(Debug, Subcommand)]
pub enum MulticastCommand {
    /// Say which underlay group carries a group; replaces what was said before
    #[command(after_help = "Examples:\n  opteadm set-m2p 239.1.1.1 ff04::e001:101")]
    SetM2p(M2pArgs),
    /// Forget which underlay group carries a group; only if both agree
    #[command(after_help = "Examples:\n  opteadm clear-m2p 239.1.1.1 ff04::e001:101")]
    ClearM2p(M2pArgs),
    /// Show which underlay groups carry groups
    #[command(name = "dump-m2p")]
    DumpM2p,
    /// Add a next hop to an underlay group, or change one
    #[command(after_help = FORWARD_EXAMPLES)]
    SetMcastFwd(ForwardArgs),
    /// Take all next hops of an underlay group away
    #[command(after_help = "Examples:\n  opteadm clear-mcast-fwd ff04::e001:101")]
    ClearMcastFwd {
        /// Group of the underlay, within ff04::/16
        underlay: Ipv6Addr,
    },
    /// Show the next hops of all underlay groups
    DumpMcastFwd,
    /// Let a port hear a group, or change whom it hears there
    #[command(after_help = SUBSCRIBE_EXAMPLES)]
    McastSubscribe {
        #[command(flatten)]
        listener: ListenerArgs,
        /// Whom it hears: any, none, include=ADDRESS,... or exclude=ADDRESS,...
        #[arg(long, default_value_t)]
        filter: SourceFilter,
    },
    /// Let a port hear a group no longer
    #[command(after_help = "Examples:\n  opteadm mcast-unsubscribe -p opte0 239.1.1.1")]
    McastUnsubscribe(ListenerArgs),
    /// Let no port of this host hear a group any longer
    #[command(after_help = "Examples:\n  opteadm mcast-unsubscribe-all 239.1.1.1")]
    McastUnsubscribeAll {
        /// The group
        group: IpAddr,
    },
    /// Show which ports hear which groups
    DumpMcastSubs,
}

/// A group and what carries it.
#[derive(Args, Debug)]
pub struct M2pArgs {
    /// Group of the guests
    group: IpAddr,
    /// Group of the underlay, within ff04::/16
    underlay: Ipv6Addr,
}

/// A next hop.
#[derive(Args, Debug)]
pub struct ForwardArgs {
    /// Group of the underlay, within ff04::/16
    underlay: Ipv6Addr,
    /// Underlay address of the switch or host that passes packets on
    next_hop: Ipv6Addr,
    /// To whom it passes them on: external, underlay or both
    replication: Replication,
    /// Sources that somebody behind it hears: any, none, include=... or exclude=...
    #[arg(long, default_value_t)]
    filter: SourceFilter,
}

/// A port and a group.
#[derive(Args, Debug)]
pub struct ListenerArgs {
    #[command(flatten)]
    on: OnPort,
    /// The group
    group: IpAddr,
}

impl MulticastCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::SetM2p(args) => console.ask(&SetM2p { entry: args.entry()? }),
            Self::ClearM2p(args) => console.ask(&ClearM2p { entry: args.entry()? }),
            Self::DumpM2p => console.ask(&DumpM2p {}),
            Self::SetMcastFwd(args) => console.ask(&args.into_request()?),
            Self::ClearMcastFwd { underlay } => {
                check_underlay(underlay)?;
                console.ask(&ClearMulticastForwarding { underlay })
            }
            Self::DumpMcastFwd => console.ask(&DumpMulticastForwarding {}),
            Self::McastSubscribe { listener, filter } => {
                check_group(listener.group)?;
                filter.validate()?;
                let ListenerArgs { on, group } = listener;
                console.ask(&MulticastSubscribe { port: on.port, group, filter })
            }
            Self::McastUnsubscribe(ListenerArgs { on, group }) => {
                check_group(group)?;
                console.ask(&MulticastUnsubscribe { port: on.port, group })
            }
            Self::McastUnsubscribeAll { group } => {
                check_group(group)?;
                console.ask(&MulticastUnsubscribeAll { group })
            }
            Self::DumpMcastSubs => console.ask(&DumpMulticastSubscriptions {}),
        }
    }
}

impl M2pArgs {
    fn entry(&self) -> anyhow::Result<M2pEntry> {
        let entry = M2pEntry { group: self.group, underlay: self.underlay };
        entry.validate()?;
        Ok(entry)
    }
}

impl ForwardArgs {
    fn into_request(self) -> anyhow::Result<SetMulticastForwarding> {
        check_underlay(self.underlay)?;
        let hop = NextHop {
            addr: self.next_hop,
            vni: Vni::new(MULTICAST_VNI)?,
            replication: self.replication,
            filter: self.filter,
        };
        hop.validate()?;
        let entry = ForwardingEntry { underlay: self.underlay, next_hops: vec![hop] };
        Ok(SetMulticastForwarding { entry })
    }
}
