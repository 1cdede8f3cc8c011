// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The life of a port: its states, and what may be changed while it runs.

use super::port::DhcpArgs;
use crate::cli::OnPort;
use crate::console::{Console, Xde};
use clap::{Args, Subcommand};
use oxide_vpc_api::PortName;
use oxide_vpc_api::request::{
    PausePort, ResetPort, SetDhcp, SetMtu, SetUnderlayAddress, StartPort,
};
use std::net::Ipv6Addr;

const DHCP_EXAMPLES: &str = "\
Examples:
  opteadm set-dhcp -p opte0 --hostname web --dns 1.1.1.1,2606:4700::1111
  opteadm set-dhcp -p opte0

What is not named is no longer told.";

/// Commands about the life of a port.
#[derive(Debug, Subcommand)]
pub enum LifeCommand {
    /// Let a port take packets; a new port does at once
    #[command(after_help = "Examples:\n  opteadm start-port opte0")]
    StartPort {
        /// Name of the port
        name: PortName,
    },
    /// Let a running port take no packets, and keep its flows as they are
    #[command(after_help = "Examples:\n  opteadm pause-port opte0")]
    PausePort {
        /// Name of the port
        name: PortName,
    },
    /// Stop a port and remove its flows; rules, routes and addresses stay
    #[command(after_help = "Examples:\n  opteadm reset-port opte0")]
    ResetPort {
        /// Name of the port
        name: PortName,
    },
    /// Change the MTU of a port and of its device; its flows stay
    #[command(after_help = "Examples:\n  opteadm set-mtu -p opte0 8500")]
    SetMtu {
        #[command(flatten)]
        on: OnPort,
        /// Largest IP packet of the guest's link, in bytes
        mtu: u16,
    },
    /// Replace what DHCP and DHCPv6 tell the guest
    #[command(after_help = DHCP_EXAMPLES)]
    SetDhcp(Box<DhcpOnPort>),
    /// Change the underlay address of a port; its flows stay, other hosts must be told
    #[command(after_help = "Examples:\n  opteadm set-underlay-address -p opte0 fd00:1::2")]
    SetUnderlayAddress {
        #[command(flatten)]
        on: OnPort,
        /// The new address, one of this host's
        address: Ipv6Addr,
    },
}

/// What DHCP tells the guest of a port.
#[derive(Args, Debug)]
pub struct DhcpOnPort {
    #[command(flatten)]
    on: OnPort,
    #[command(flatten)]
    dhcp: DhcpArgs,
}

impl LifeCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::StartPort { name } => console.ask(&StartPort { port: name }),
            Self::PausePort { name } => console.ask(&PausePort { port: name }),
            Self::ResetPort { name } => console.ask(&ResetPort { port: name }),
            Self::SetMtu { on, mtu } => console.ask(&SetMtu { port: on.port, mtu }),
            Self::SetDhcp(args) => {
                console.ask(&SetDhcp { port: args.on.port, dhcp: args.dhcp.into_config() })
            }
            Self::SetUnderlayAddress { on, address } => {
                console.ask(&SetUnderlayAddress { port: on.port, underlay_ip: address })
            }
        }
    }
}
