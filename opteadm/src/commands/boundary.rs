// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The NAT table of a boundary host.

use crate::console::{Console, Xde};
use crate::values;
use clap::{Args, Subcommand};
use opte_api::{MacAddr, Vni};
use oxide_vpc_api::request::{AddBoundaryNat, ListBoundaryNat, RemBoundaryNat};
use oxide_vpc_api::{BoundaryNat, PortRange};
use std::net::{IpAddr, Ipv6Addr};

/// All ports: the entry takes every protocol.
const ALL_PORTS: PortRange = PortRange { first: 0, last: u16::MAX };

const ADD_EXAMPLES: &str = "\
Without a range of ports the entry takes every protocol. IPv6 with a range stands in brackets.

Examples:
  opteadm add-boundary-nat 203.0.113.8 fd00::1 100 a8:40:25:f0:00:01
  opteadm add-boundary-nat 203.0.113.7:16384-32767 fd00::1 100 a8:40:25:f0:00:01
  opteadm add-boundary-nat [2001:db8::7]:1024-2047 fd00::1 100 a8:40:25:f0:00:01";

const RM_EXAMPLES: &str = "\
Examples:
  opteadm rm-boundary-nat 203.0.113.8 fd00::1 100 a8:40:25:f0:00:01";

/// Commands about the table; for the engine of a boundary host.
#[derive(Debug, Subcommand)]
pub enum BoundaryCommand {
    /// Boundary host: send packets to an external address to a guest
    #[command(name = "add-boundary-nat", after_help = ADD_EXAMPLES)]
    Add(NatArgs),
    /// Boundary host: remove an entry; only if all of it agrees
    #[command(name = "rm-boundary-nat", after_help = RM_EXAMPLES)]
    Remove(NatArgs),
    /// Boundary host: list all entries
    #[command(name = "list-boundary-nat")]
    List,
}

/// One entry.
#[derive(Args, Debug)]
pub struct NatArgs {
    /// External address, and the ports of it
    #[arg(value_name = "IP[:FIRST-LAST]", value_parser = values::address_and_ports)]
    external: (IpAddr, Option<PortRange>),
    /// Underlay address of the guest's host
    underlay_ip: Ipv6Addr,
    /// VNI of the guest's VPC
    vni: Vni,
    /// MAC address of the guest; of several that share the range on one host, that of any
    mac: MacAddr,
}

impl BoundaryCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::Add(args) => console.ask(&AddBoundaryNat { entry: args.into_entry()? }),
            Self::Remove(args) => console.ask(&RemBoundaryNat { entry: args.into_entry()? }),
            Self::List => {
                let mut entries = console.xde.request(&ListBoundaryNat {})?;
                entries.sort();
                console.show(&entries)
            }
        }
    }
}

impl NatArgs {
    fn into_entry(self) -> anyhow::Result<BoundaryNat> {
        let (ip, ports) = self.external;
        let PortRange { first, last } = ports.unwrap_or(ALL_PORTS);
        let entry = BoundaryNat {
            ip,
            first_port: first,
            last_port: last,
            underlay_ip: self.underlay_ip,
            vni: self.vni,
            mac: self.mac,
        };
        entry.validate()?;
        Ok(entry)
    }
}
