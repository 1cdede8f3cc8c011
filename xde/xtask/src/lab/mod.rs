// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A small data centre on one machine: hypervisors, guests, a boundary and an outside network,
//! each in a network namespace of its own, with real `xde` processes between them.
//!
//! A [`Lab`] leaves nothing behind: when it is dropped (at the end, after an error, after Ctrl-C,
//! while panicking) its programs are ended and its namespaces removed. Only logs and captures
//! stay, below `target/lab`. What a killed run leaves, [`clean`](clean::clean) removes.

pub mod bench;
pub mod checks;
pub mod clean;
mod control;
mod drawing;
mod guests;
pub mod machine;
pub mod net;
mod pcap;
pub mod processes;
pub mod report;
pub mod sandbox;
pub mod scenario;
mod set_up;
pub mod topology;
mod web;

use crate::binaries::Binaries;
use anyhow::{Context, Result};
use net::Net;
use pcap::Capture;
use processes::Daemon;
use sandbox::Sandbox;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use web::WebServer;

/// What all names of labs begin with.
const PREFIX: &str = "opte-";

/// A running lab.
pub struct Lab {
    net: Net,
    binaries: Binaries,
    pcaps: PathBuf,
    // Dropped in this order: what the sandbox removes must have ended before.
    captures: BTreeMap<String, Capture>,
    webs: BTreeMap<String, WebServer>,
    hosts: BTreeMap<&'static str, Daemon>,
    sandbox: Sandbox,
}

impl Lab {
    /// Makes the lab's directories and nothing else.
    pub fn new(binaries: Binaries, pcap_dir: Option<&Path>) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let pcaps = pcap_dir.unwrap_or(sandbox.logs());
        fs::create_dir_all(pcaps).with_context(|| format!("cannot make {}", pcaps.display()))?;
        Ok(Self {
            net: Net::new(sandbox.run()),
            binaries,
            pcaps: fs::canonicalize(pcaps)?,
            hosts: BTreeMap::new(),
            webs: BTreeMap::new(),
            captures: BTreeMap::new(),
            sandbox,
        })
    }

    /// Where logs are.
    pub fn logs(&self) -> &Path {
        self.sandbox.logs()
    }

    /// The datapath process's program.
    pub fn xde(&self) -> &Path {
        &self.binaries.xde
    }

    /// Where captures are.
    pub fn pcaps(&self) -> &Path {
        &self.pcaps
    }

    /// A file that goes when the lab goes.
    fn scratch(&self, name: &str) -> PathBuf {
        self.sandbox.scratch().join(name)
    }

    /// The control socket of a host.
    fn socket(&self, host: &str) -> PathBuf {
        self.scratch(&format!("{host}.sock"))
    }

    /// The web server on `machine`, port 80, or the one with that name.
    fn web(&self, name: &str) -> Result<&WebServer> {
        self.webs.get(name).with_context(|| format!("no web server {name} runs"))
    }

    /// The capture with that name.
    fn capture(&self, name: &str) -> Result<&Capture> {
        self.captures.get(name).with_context(|| format!("no capture {name} runs"))
    }

    /// Lets everything run on after this process ends.
    pub fn keep(mut self) {
        self.sandbox.keep();
        self.hosts.values_mut().for_each(Daemon::leave_running);
        self.webs.values_mut().for_each(WebServer::leave_running);
        self.captures.values_mut().for_each(Capture::leave_running);
        println!("{}", drawing::how_to_enter(&self));
    }
}

fn scratch_dir(run: &str) -> PathBuf {
    Path::new("/tmp").join(run)
}
