// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes of a port.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use clap::{Args, Subcommand};
use opte_api::IpCidr;
use oxide_vpc_api::request::{AddRoute, DelRoute};
use oxide_vpc_api::{RouteEntry, RouterClass, RouterTarget};

const ADD_EXAMPLES: &str = "\
TARGET is one of
  drop           packets end here
  ig             outside, by the default internet gateway
  ig=UUID        outside, by this internet gateway
  ip=ADDRESS     the guest with this address
  subnet=PREFIX  whichever guest of the subnet has the destination address

Examples:
  opteadm add-router-entry -p opte0 172.30.0.0/22 subnet=172.30.0.0/22 system
  opteadm add-router-entry -p opte0 0.0.0.0/0 ig system
  opteadm add-router-entry -p opte0 198.51.100.0/24 ig=6ba7b810-9dad-11d1-80b4-00c04fd430c8 custom";

const DEL_EXAMPLES: &str = "\
A route is found by all three; what is not there is reported as absent and is no error.

Examples:
  opteadm del-router-entry -p opte0 0.0.0.0/0 ig system";

/// Commands about routes.
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Add a route; adding it again changes nothing
    #[command(after_help = ADD_EXAMPLES)]
    AddRouterEntry(RouteArgs),
    /// Remove a route
    #[command(after_help = DEL_EXAMPLES)]
    DelRouterEntry(RouteArgs),
}

/// One route.
#[derive(Args, Debug)]
pub struct RouteArgs {
    #[command(flatten)]
    on: OnPort,
    /// Destination prefix
    dest: IpCidr,
    /// Where it leads: drop, ig, ig=UUID, ip=ADDRESS or subnet=PREFIX
    target: RouterTarget,
    /// Who made it: system or custom; at equal prefix custom wins
    class: RouterClass,
}

impl RouteCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::AddRouterEntry(args) => {
                let route = args.route()?;
                console.ask(&AddRoute { port: args.on.port, route })
            }
            Self::DelRouterEntry(args) => {
                let route = args.route()?;
                console.ask(&DelRoute { port: args.on.port, route })
            }
        }
    }
}

impl RouteArgs {
    fn route(&self) -> anyhow::Result<RouteEntry> {
        let route = RouteEntry { dest: self.dest, target: self.target, class: self.class };
        route.validate()?;
        Ok(route)
    }
}
