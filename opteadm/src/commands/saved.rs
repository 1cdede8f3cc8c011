// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports that move: saved to a file here, restored from it there.

use crate::console::{Console, Xde};
use anyhow::Context;
use clap::{Args, Subcommand};
use oxide_vpc_api::PortName;
use oxide_vpc_api::request::{RestorePort, SavePort, StageRestore, StartPort};
use oxide_vpc_api::saved::{STAGE_BYTES, decode};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

const SAVE_EXAMPLES: &str = "\
Examples:
  opteadm save-port opte0 opte0.saved
  opteadm save-port opte0 opte0.saved --resume

A running port is paused, and stays so unless --resume is given.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  opteadm restore-port opte0.saved --underlay-ip fd00:1::2 --start
  opteadm restore-port opte0.saved --as opte7

The port takes packets when it is started, with --start or by start-port. Other hosts must be told
where it is now (set-v2p), boundaries too (add-boundary-nat).";

/// Commands about ports that move.
#[derive(Debug, Subcommand)]
pub enum SavedCommand {
    /// Save a port with its flows, leases and TCP states to a file
    #[command(after_help = SAVE_EXAMPLES)]
    SavePort(SaveArgs),
    /// Make a port of a file that save-port has written, here or on another host
    #[command(after_help = RESTORE_EXAMPLES)]
    RestorePort(RestoreArgs),
}

/// Which port, and where to.
#[derive(Args, Debug)]
pub struct SaveArgs {
    /// Name of the port
    name: PortName,
    /// The file; one of that name is replaced when all is written
    file: PathBuf,
    /// Let the port take packets again when it is saved
    #[arg(long)]
    resume: bool,
}

/// Where from, and how.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The file
    file: PathBuf,
    /// Another name for the port
    #[arg(long = "as", value_name = "NAME")]
    name: Option<PortName>,
    /// Underlay address of this host, if it is another one than where the port was
    #[arg(long, value_name = "IPV6")]
    underlay_ip: Option<Ipv6Addr>,
    /// Let the port take packets at once
    #[arg(long)]
    start: bool,
}

impl SavedCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::SavePort(args) => args.run(console),
            Self::RestorePort(args) => args.run(console),
        }
    }
}

impl SaveArgs {
    fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let mut part = OsString::from(&self.file);
        part.push(".part");
        let part = PathBuf::from(part);
        let written = save(&self.name, &part, console).and_then(|()| {
            std::fs::rename(&part, &self.file).with_context(|| self.file.display().to_string())
        });
        if let Err(error) = written {
            // Nothing but this command has made it.
            let _ = std::fs::remove_file(&part);
            return Err(error);
        }
        if self.resume {
            console.xde.request(&StartPort { port: self.name })?;
        }
        console.show(&())
    }
}

fn save<X: Xde>(port: &PortName, path: &Path, console: &mut Console<'_, X>) -> anyhow::Result<()> {
    let name = || path.display().to_string();
    let file = File::create(path).with_context(name)?;
    let mut out = BufWriter::new(&file);
    let mut from = None;
    loop {
        let part = console.xde.request(&SavePort { port: port.clone(), from })?;
        out.write_all(&part.bytes).with_context(name)?;
        from = part.next;
        if from.is_none() {
            break;
        }
    }
    out.flush().with_context(name)?;
    drop(out);
    file.sync_all().with_context(name)
}

impl RestoreArgs {
    fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let name = || self.file.display().to_string();
        let bytes = std::fs::read(&self.file).with_context(name)?;
        // A damaged file is told before anybody is asked.
        decode(&bytes).with_context(name)?;
        let mut offset = 0;
        for part in bytes.chunks(STAGE_BYTES) {
            offset = console.xde.request(&StageRestore { offset, bytes: part.to_vec() })?;
        }
        let request = RestorePort { name: self.name, underlay_ip: self.underlay_ip, bytes: offset };
        let restored = console.xde.request(&request)?;
        if self.start {
            console.xde.request(&StartPort { port: restored.port.clone() })?;
        }
        console.show(&restored)
    }
}
