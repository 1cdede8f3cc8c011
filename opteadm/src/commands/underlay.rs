// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The underlay: the links towards the other hosts.

use crate::console::{Console, Xde};
use clap::Subcommand;
use oxide_vpc_api::request::{ClearUnderlay, SetUnderlay, ShowUnderlay};

/// Commands about the underlay.
#[derive(Debug, Subcommand)]
pub enum UnderlayCommand {
    /// Name the links towards the other hosts
    #[command(
        name = "set-xde-underlay",
        after_help = "Examples:\n  opteadm set-xde-underlay net0 net1"
    )]
    Set {
        /// Interface names
        #[arg(required = true, value_name = "INTERFACE")]
        links: Vec<String>,
    },
    /// Take the underlay away; refused while ports exist
    #[command(name = "clear-xde-underlay")]
    Clear,
    /// Show the links of the underlay
    #[command(name = "show-xde-underlay")]
    Show,
}

impl UnderlayCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::Set { links } => console.ask(&SetUnderlay { links }),
            Self::Clear => console.ask(&ClearUnderlay {}),
            Self::Show => console.ask(&ShowUnderlay {}),
        }
    }
}
