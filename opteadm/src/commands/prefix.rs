// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Prefixes that a guest may use besides its own addresses.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use clap::{Args, Subcommand};
use opte_api::{Direction, IpCidr};
use oxide_vpc_api::Attachment;
use oxide_vpc_api::request::{AllowCidr, AttachSubnet, DetachSubnet, ListPrefixes, RemoveCidr};

const ALLOW_EXAMPLES: &str = "\
A guest that is a router or a VPN gateway sends from and receives for addresses of others. Towards
the outside they are translated as its own address is. Connections that were opened stay.

Examples:
  opteadm allow-cidr -p opte0 10.200.0.0/16
  opteadm allow-cidr -p opte0 fd77::/32 --dir out";

const REMOVE_EXAMPLES: &str = "\
Connections that need the prefix end with their next packet. A subnet that is attached as well
stays in use. What is not there is reported as absent and is no error.

Examples:
  opteadm remove-cidr -p opte0 10.200.0.0/16
  opteadm remove-cidr -p opte0 fd77::/32 --dir in";

const ATTACH_EXAMPLES: &str = "\
The addresses of an external subnet are known outside: they leave untranslated, and cannot reach
guests of the VPC. Those of other subnets are known inside the VPC, once other ports have a route
for them, and are translated towards the outside. Attaching a subnet again changes how.

Examples:
  opteadm attach-subnet -p opte0 10.44.0.0/24
  opteadm attach-subnet -p opte0 203.0.113.0/28 --external";

/// Commands about prefixes.
#[derive(Debug, Subcommand)]
pub enum PrefixCommand {
    /// Let a guest use a prefix as source (out), as destination (in), or as both
    #[command(after_help = ALLOW_EXAMPLES)]
    AllowCidr(TransitArgs),
    /// Take the use of a prefix back
    #[command(after_help = REMOVE_EXAMPLES)]
    RemoveCidr(TransitArgs),
    /// Attach a subnet to a guest
    #[command(after_help = ATTACH_EXAMPLES)]
    AttachSubnet {
        #[command(flatten)]
        on: OnPort,
        /// The subnet
        subnet: IpCidr,
        /// Its addresses are known outside and are not translated
        #[arg(short, long)]
        external: bool,
    },
    /// Detach a subnet from a guest
    #[command(after_help = "Examples:\n  opteadm detach-subnet -p opte0 203.0.113.0/28")]
    DetachSubnet {
        #[command(flatten)]
        on: OnPort,
        /// The subnet
        subnet: IpCidr,
    },
    /// Show what a guest may use besides its own addresses
    #[command(after_help = "Examples:\n  opteadm list-prefixes -p opte0")]
    ListPrefixes {
        #[command(flatten)]
        on: OnPort,
    },
}

/// A prefix and a direction.
#[derive(Args, Debug)]
pub struct TransitArgs {
    #[command(flatten)]
    on: OnPort,
    /// The prefix
    cidr: IpCidr,
    /// Only this direction: in or out [default: both]
    #[arg(long = "dir", value_name = "DIRECTION")]
    direction: Option<Direction>,
}

impl PrefixCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::AllowCidr(TransitArgs { on, cidr, direction }) => {
                console.ask(&AllowCidr { port: on.port, cidr, direction })
            }
            Self::RemoveCidr(TransitArgs { on, cidr, direction }) => {
                console.ask(&RemoveCidr { port: on.port, cidr, direction })
            }
            Self::AttachSubnet { on, subnet, external } => {
                let attachment = if external { Attachment::External } else { Attachment::Internal };
                console.ask(&AttachSubnet { port: on.port, subnet, attachment })
            }
            Self::DetachSubnet { on, subnet } => {
                console.ask(&DetachSubnet { port: on.port, subnet })
            }
            Self::ListPrefixes { on } => console.ask(&ListPrefixes { port: on.port }),
        }
    }
}
