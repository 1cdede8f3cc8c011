// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes of a port.

use super::external::{ExternalArgs, ServedArgs};
use crate::cli::OnPort;
use crate::console::{Console, Xde};
use anyhow::{anyhow, ensure};
use clap::{Args, Subcommand};
use opte_api::IpCidr;
use oxide_vpc_api::request::{AddRoute, AddWeightedRoute, DelRoute, ListRoutes, SetRouting};
use oxide_vpc_api::router::DEFAULT_WEIGHT;
use oxide_vpc_api::{RouteEntry, RouterClass, RouterTarget, WeightedRoute};
use std::io::{BufRead, Read};

const ADD_EXAMPLES: &str = "\
TARGET is one of
  drop           packets end here
  blackhole      packets end here, and the guest is told
  ig             outside, by the default internet gateway
  ig=UUID        outside, by this internet gateway
  ip=ADDRESS     the guest with this address
  subnet=PREFIX  whichever guest of the subnet has the destination address

Examples:
  opteadm add-router-entry -p opte0 172.30.0.0/22 subnet=172.30.0.0/22 system
  opteadm add-router-entry -p opte0 0.0.0.0/0 ig system
  opteadm add-router-entry -p opte0 198.51.100.0/24 ig=6ba7b810-9dad-11d1-80b4-00c04fd430c8 custom
  opteadm add-router-entry -p opte0 10.9.0.0/16 ip=172.30.0.8 custom --weight 3

Routes of one prefix and class share connections out by weight; a connection stays on its route for
as long as that is there.";

const SET_EXAMPLES: &str = "\
Each line of standard input is DEST TARGET CLASS, and a weight if it is not 1. Text after '#' and
empty lines are ignored. What was there before and is not named is removed; what stays is not
touched. If anything is wrong, nothing is changed.

Examples:
  opteadm set-routing -p opte0 --snat 203.0.113.7:1024-2047 < routes.txt
  opteadm set-routing -p opte0 --revision 12 --floating-ip 203.0.113.8 \\
      --gateway 203.0.113.8=6ba7b810-9dad-11d1-80b4-00c04fd430c8 < routes.txt";
/// Most bytes of standard input: what fits into one request.
const MAX_INPUT: usize = 4 << 20;

const DEL_EXAMPLES: &str = "\
A route is found by all three; what is not there is reported as absent and is no error.

Examples:
  opteadm del-router-entry -p opte0 0.0.0.0/0 ig system";

/// Commands about routes.
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Add a route; adding it again changes nothing but its weight
    #[command(after_help = ADD_EXAMPLES)]
    AddRouterEntry {
        #[command(flatten)]
        route: RouteArgs,
        /// Share among the routes of its prefix and class [default: 1]
        #[arg(long, value_name = "NUMBER")]
        weight: Option<u16>,
    },
    /// Remove a route
    #[command(after_help = DEL_EXAMPLES)]
    DelRouterEntry(RouteArgs),
    /// Show the routes of a port, with their targets
    #[command(after_help = "Examples:\n  opteadm list-routes -p opte0")]
    ListRoutes {
        #[command(flatten)]
        on: OnPort,
    },
    /// Replace routes, external addresses and gateway map of a port in one step
    #[command(after_help = SET_EXAMPLES)]
    SetRouting(SetArgs),
}

/// All external addresses; the routes come from standard input.
#[derive(Args, Debug)]
pub struct SetArgs {
    #[command(flatten)]
    on: OnPort,
    /// Number of this content: an older one than the last is refused
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    served: ServedArgs,
}

/// One route.
#[derive(Args, Debug)]
pub struct RouteArgs {
    #[command(flatten)]
    on: OnPort,
    /// Destination prefix
    dest: IpCidr,
    /// Where it leads: drop, blackhole, ig, ig=UUID, ip=ADDRESS or subnet=PREFIX
    target: RouterTarget,
    /// Who made it: system or custom; at equal prefix custom wins
    class: RouterClass,
}

impl RouteCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::AddRouterEntry { route: args, weight } => {
                let (port, route) = (args.on.port.clone(), args.route()?);
                match weight {
                    None => console.ask(&AddRoute { port, route }),
                    Some(weight) => {
                        let route = WeightedRoute { route, weight };
                        route.validate()?;
                        console.ask(&AddWeightedRoute { port, route })
                    }
                }
            }
            Self::ListRoutes { on } => console.ask(&ListRoutes { port: on.port }),
            Self::SetRouting(args) => {
                let request = args.into_request(console.input)?;
                console.ask(&request)
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

impl SetArgs {
    fn into_request(self, input: &mut dyn BufRead) -> anyhow::Result<SetRouting> {
        let (ipv4, ipv6) = self.external.families()?;
        let gateways = self.served.into_map(ipv4.iter().chain(&ipv6))?;
        let routes = read_routes(input)?;
        Ok(SetRouting { port: self.on.port, revision: self.revision, routes, ipv4, ipv6, gateways })
    }
}

fn read_routes(input: &mut dyn BufRead) -> anyhow::Result<Vec<WeightedRoute>> {
    let mut text = String::new();
    input.take(MAX_INPUT as u64 + 1).read_to_string(&mut text).map_err(|error| {
        anyhow!("standard input cannot be read ({error}): give one route a line")
    })?;
    ensure!(text.len() <= MAX_INPUT, "standard input is over {MAX_INPUT} bytes: give fewer routes");
    let mut routes = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let words: Vec<&str> =
            line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if !words.is_empty() {
            let wrong = |why| anyhow!("line {number}: {why}; nothing was changed");
            routes.push(read_route(&words).map_err(wrong)?);
        }
    }
    Ok(routes)
}

fn read_route(words: &[&str]) -> anyhow::Result<WeightedRoute> {
    let (dest, target, class, weight) = match words {
        [dest, target, class] => (dest, target, class, DEFAULT_WEIGHT),
        [dest, target, class, weight] => (
            dest,
            target,
            class,
            weight.parse().map_err(|_| anyhow!("'{weight}' is no weight from 1 to 65535"))?,
        ),
        _ => return Err(anyhow!("a route is DEST TARGET CLASS [WEIGHT]")),
    };
    let route = RouteEntry { dest: dest.parse()?, target: target.parse()?, class: class.parse()? };
    let route = WeightedRoute { route, weight };
    route.validate()?;
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, u16)>, String> {
        let routes = read_routes(&mut text.as_bytes()).map_err(|error| error.to_string())?;
        let show = |r: &WeightedRoute| (format!("{} {}", r.route.dest, r.route.target), r.weight);
        Ok(routes.iter().map(show).collect())
    }

    #[test]
    fn routes_are_read_by_lines() {
        let text = "# all\n0.0.0.0/0 ig system\n\n10.9.0.0/16 ip=172.30.0.8 custom 3 # heavy\n";
        let expected = [("0.0.0.0/0 ig", 1), ("10.9.0.0/16 ip=172.30.0.8", 3)];
        assert_eq!(read(text), Ok(expected.map(|(route, w)| (route.to_string(), w)).into()));
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn a_bad_line_is_told_by_its_number() {
        for (line, why) in [
            ("0.0.0.0/0 ig", "DEST TARGET CLASS"),
            ("0.0.0.0/0 ig system 0", "at least 1"),
            ("0.0.0.0/0 ig system x", "no weight"),
            ("::/0 ip=10.0.0.1 system", "one address family"),
        ] {
            let error = read(&format!("\n{line}")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(why), "{error}");
        }
    }
}
