// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! External addresses: how a guest is known outside.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use crate::values;
use anyhow::bail;
use clap::{ArgGroup, Args, Subcommand};
use oxide_vpc_api::request::SetExternalIps;
use oxide_vpc_api::{ExternalIps, GatewayMap, SnatRange};
use std::net::IpAddr;
use uuid::Uuid;

const SET_EXAMPLES: &str = "\
The family of an address is that of its text; a family without any address loses what it had.
An address that serves no gateway by name serves the routes that name none.

Examples:
  opteadm set-external-ips -p opte0 --snat 203.0.113.7:16384-32767 --snat [2001:db8::7]:1024-2047
  opteadm set-external-ips -p opte0 --floating-ip 203.0.113.8 --ephemeral-ip 203.0.113.9 \\
      --gateway 203.0.113.8=6ba7b810-9dad-11d1-80b4-00c04fd430c8";

/// Commands about external addresses.
#[derive(Debug, Subcommand)]
pub enum ExternalCommand {
    /// Replace all external addresses of a port, and the gateways they serve
    #[command(after_help = SET_EXAMPLES)]
    SetExternalIps(SetArgs),
    /// Take all external addresses of a port away
    #[command(after_help = "Examples:\n  opteadm clear-external-ips -p opte0")]
    ClearExternalIps {
        #[command(flatten)]
        on: OnPort,
    },
}

/// All that a port is known by outside.
#[derive(Args, Debug)]
#[command(group(
    ArgGroup::new("address").required(true).multiple(true).args(["floating", "ephemeral", "snat"])
))]
pub struct SetArgs {
    #[command(flatten)]
    on: OnPort,
    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    served: ServedArgs,
}

/// Which gateways the addresses serve.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "External addresses")]
pub struct ServedArgs {
    /// An internet gateway that this address serves, or none at all; repeatable, also for one
    /// address
    #[arg(long = "gateway", value_name = "ADDRESS=UUID|none", value_parser = values::gateway)]
    gateways: Vec<(IpAddr, Option<Uuid>)>,
}

/// External addresses of both families.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "External addresses")]
pub struct ExternalArgs {
    /// Address that is the guest's alone, in both directions; repeatable
    #[arg(long = "floating-ip", value_name = "ADDRESS")]
    floating: Vec<IpAddr>,
    /// Address that is the guest's alone for now; one for each family
    #[arg(long = "ephemeral-ip", value_name = "ADDRESS")]
    ephemeral: Vec<IpAddr>,
    /// Shared address and the ports of it that are the guest's, IPv6 in brackets; repeatable. Ports
    /// of one VPC on one host may have the very same range, from which all of them borrow
    #[arg(long, value_name = "IP:FIRST-LAST", value_parser = values::snat)]
    snat: Vec<SnatRange>,
}

impl ExternalCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        console.ask(&match self {
            Self::SetExternalIps(args) => args.into_request()?,
            Self::ClearExternalIps { on } => SetExternalIps {
                port: on.port,
                ipv4: None,
                ipv6: None,
                gateways: GatewayMap::new(),
            },
        })
    }
}

impl SetArgs {
    fn into_request(self) -> anyhow::Result<SetExternalIps> {
        let (ipv4, ipv6) = self.external.families()?;
        let gateways = self.served.into_map(ipv4.iter().chain(&ipv6))?;
        Ok(SetExternalIps { port: self.on.port, ipv4, ipv6, gateways })
    }
}

impl ServedArgs {
    /// The map, for a port with these addresses.
    pub fn into_map<'a>(
        self,
        external: impl Iterator<Item = &'a ExternalIps>,
    ) -> anyhow::Result<GatewayMap> {
        let ours: Vec<IpAddr> = external.flat_map(ExternalIps::addresses).collect();
        let mut gateways = GatewayMap::new();
        for (address, gateway) in self.gateways {
            if !ours.contains(&address) {
                bail!(
                    "{address} serves a gateway but is no external address of the port: give it \
                     with --floating-ip, --ephemeral-ip or --snat too"
                );
            }
            gateways.entry(address).or_default().extend(gateway);
        }
        Ok(gateways)
    }
}

impl ExternalArgs {
    /// IPv4 and IPv6, where there is any.
    pub fn families(&self) -> anyhow::Result<(Option<ExternalIps>, Option<ExternalIps>)> {
        let family = |ipv4: bool| -> anyhow::Result<Option<ExternalIps>> {
            let external = self.of_family(ipv4)?;
            external.validate(ipv4)?;
            Ok(Some(external).filter(|external| *external != ExternalIps::default()))
        };
        Ok((family(true)?, family(false)?))
    }

    /// Those of one family.
    pub fn of_family(&self, ipv4: bool) -> anyhow::Result<ExternalIps> {
        let of_family = |ip: &IpAddr| ip.is_ipv4() == ipv4;
        let mut ephemeral = self.ephemeral.iter().copied().filter(of_family);
        let first = ephemeral.next();
        if let Some((first, second)) = first.zip(ephemeral.next()) {
            bail!("{first} and {second} are both ephemeral: give one for each family");
        }
        Ok(ExternalIps {
            floating: self.floating.iter().copied().filter(of_family).collect(),
            ephemeral: first,
            snat: self.snat.iter().copied().filter(|range| of_family(&range.ip)).collect(),
        })
    }
}
