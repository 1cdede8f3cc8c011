// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of many things at once.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use anyhow::Context;
use clap::{Args, Subcommand};
use oxide_vpc_api::change::{DEFAULT_LISTED, DrainAddresses, Step};
use oxide_vpc_api::request::{Apply, Drain, Plan};
use std::net::IpAddr;
use std::path::PathBuf;

const PLAN_HELP: &str = "\
A change is a JSON list of steps. Each is a request that changes something, by its name:
  [{\"SetFwRules\": {\"port\": \"opte0\", \"rules\": []}},
   {\"DrainAddresses\": {\"port\": \"opte0\", \"addresses\": [\"203.0.113.5\"], \"seconds\": 600}}]
Requests are AddFwRule, RemFwRule, SetFwRules, AddRoute, AddWeightedRoute, DelRoute, SetRouting,
SetV2p, ClearV2p, SetV2b, ClearV2b, SetExternalIps, SetPortSettings, SetDhcp, AttachSubnet,
DetachSubnet, AllowCidr, RemoveCidr and DrainAddresses.

Examples:
  opteadm plan change.json
  opteadm plan --list 100 change.json
  opteadm apply --expect 7 change.json";

const DRAIN_EXAMPLES: &str = "\
Examples:
  opteadm drain -p opte0 --seconds 600 203.0.113.5";

/// Commands about changes.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Say what a change would do to connections, and do nothing
    #[command(after_help = PLAN_HELP)]
    Plan(ChangeArgs),
    /// Make a change as a whole or not at all, and say what it does to connections
    #[command(after_help = PLAN_HELP)]
    Apply {
        #[command(flatten)]
        change: ChangeArgs,
        /// Only if this generation is in force, as 'plan' has said
        #[arg(long, value_name = "GENERATION")]
        expect: Option<u64>,
    },
    /// Take external addresses away from a port, and let connections on them go on for a while
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain {
        #[command(flatten)]
        on: OnPort,
        /// For how long
        #[arg(long, value_name = "SECONDS")]
        seconds: u64,
        /// Most connections to list
        #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_LISTED)]
        list: u32,
        /// The addresses
        #[arg(value_name = "ADDRESS", required = true)]
        addresses: Vec<IpAddr>,
    },
}

/// Which change.
#[derive(Args, Debug)]
pub struct ChangeArgs {
    /// Most connections to list of each class
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_LISTED)]
    list: u32,
    /// JSON file with the change ('-': standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl PlanCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::Plan(args) => {
                let change = args.read(console)?;
                console.ask(&Plan { change, listed: args.list })
            }
            Self::Apply { change: args, expect } => {
                let change = args.read(console)?;
                console.ask(&Apply { change, expected: expect, listed: args.list })
            }
            Self::Drain { on, seconds, list, addresses } => {
                let step = DrainAddresses { port: on.port, addresses, seconds };
                console.ask(&Drain { step, listed: list })
            }
        }
    }
}

impl ChangeArgs {
    fn read<X: Xde>(&self, console: &mut Console<'_, X>) -> anyhow::Result<Vec<Step>> {
        let mut text = String::new();
        if self.file.as_os_str() == "-" {
            console.input.read_to_string(&mut text)?;
        } else {
            text = std::fs::read_to_string(&self.file).with_context(|| self.name())?;
        }
        serde_json::from_str(&text).with_context(|| self.name())
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }
}
