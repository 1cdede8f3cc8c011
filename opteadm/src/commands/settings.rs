// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What may be set for a port while it runs.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use oxide_vpc_api::PortSettings;
use oxide_vpc_api::request::{SetPortSettings, ShowPortSettings};
use serde_json::Value;
use std::path::PathBuf;

const SET_EXAMPLES: &str = "\
Examples:
  opteadm set-port-settings -p opte0 idle.udp=180 flows.limit=4096
  opteadm set-port-settings -p opte0 idle.short=true idle.tcp_closed=5
  opteadm set-port-settings -p opte0 nat.rates.guest.per_second=100 nat.rates.guest.burst=500
  opteadm set-port-settings -p opte0 --default idle.udp=120
  opteadm set-port-settings -p opte0 --file settings.json

Names and values are those that show-port-settings shows. A value is JSON, or else text.";

/// Commands about the settings of a port.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Change what is set for a port; its flows stay, and go by it at once
    #[command(after_help = SET_EXAMPLES)]
    SetPortSettings(SetArgs),
    /// Show what is set for a port
    ShowPortSettings {
        #[command(flatten)]
        on: OnPort,
    },
}

/// Which settings.
#[derive(Args, Debug)]
pub struct SetArgs {
    #[command(flatten)]
    on: OnPort,
    /// Begin with the defaults, not with what is set now
    #[arg(long, conflicts_with = "file")]
    default: bool,
    /// Begin with this JSON file ('-': standard input); what it leaves out has its default
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What to set, as show-port-settings names it
    #[arg(value_name = "NAME=VALUE", required_unless_present_any = ["default", "file"])]
    changes: Vec<String>,
}

impl SettingsCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::ShowPortSettings { on } => console.ask(&ShowPortSettings { port: on.port }),
            Self::SetPortSettings(args) => args.run(console),
        }
    }
}

impl SetArgs {
    fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let changes = self.changes.iter().map(|change| parse(change));
        let changes = changes.collect::<anyhow::Result<Vec<_>>>()?;
        // A wrong name or value is told before anybody is asked.
        changed(&PortSettings::default(), &changes)?;
        let port = self.on.port;
        let start = match self.file {
            Some(path) => read(&path, console)?,
            None if self.default => PortSettings::default(),
            None => console.xde.request(&ShowPortSettings { port: port.clone() })?,
        };
        let settings = changed(&start, &changes)?;
        settings.validate()?;
        console.ask(&SetPortSettings { port, settings })
    }
}

fn read<X: Xde>(path: &PathBuf, console: &mut Console<'_, X>) -> anyhow::Result<PortSettings> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        console.input.read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    }
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// The path of a setting, and its value.
fn parse(change: &str) -> anyhow::Result<(&str, Value)> {
    let Some((name, value)) = change.split_once('=') else {
        bail!("'{change}' is no NAME=VALUE");
    };
    Ok((name, serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
}

fn changed(start: &PortSettings, changes: &[(&str, Value)]) -> anyhow::Result<PortSettings> {
    let mut tree = serde_json::to_value(start)?;
    for (name, value) in changes {
        let pointer = format!("/{}", name.replace('.', "/"));
        let Some(place) = tree.pointer_mut(&pointer) else {
            bail!("there is no setting '{name}': see show-port-settings");
        };
        *place = value.clone();
        // One at a time, so that the error can say which.
        serde_json::from_value::<PortSettings>(tree.clone())
            .with_context(|| (*name).to_string())?;
    }
    Ok(serde_json::from_value(tree)?)
}
