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
mod net;
mod pcap;
mod processes;
pub mod report;
pub mod scenario;
mod set_up;
pub mod topology;
mod web;

use crate::binaries::Binaries;
use crate::shell;
use anyhow::{Context, Result};
use net::Net;
use pcap::Capture;
use processes::Daemon;
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
    run: String,
    logs: PathBuf,
    pcaps: PathBuf,
    scratch: PathBuf,
    hosts: BTreeMap<&'static str, Daemon>,
    webs: BTreeMap<String, WebServer>,
    captures: BTreeMap<String, Capture>,
    kept: bool,
}

impl Lab {
    /// Makes the lab's directories and nothing else.
    pub fn new(binaries: Binaries, pcap_dir: Option<&Path>) -> Result<Self> {
        let run = format!("{PREFIX}{}", std::process::id());
        let labs = crate::workspace::target_dir()?.join("lab");
        clean::forget_old_runs(&labs)?;
        let logs = labs.join(&run);
        let pcaps = pcap_dir.map_or_else(|| logs.clone(), Path::to_path_buf);
        // Sockets are here too: their paths must be short (unix(7): 108 bytes).
        let scratch = scratch_dir(&run);
        for dir in [&logs, &pcaps, &scratch] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        shell::start_journal(&logs.join("commands.log"))?;
        Ok(Self {
            net: Net::new(&run),
            binaries,
            run,
            logs,
            pcaps: fs::canonicalize(pcaps)?,
            scratch,
            hosts: BTreeMap::new(),
            webs: BTreeMap::new(),
            captures: BTreeMap::new(),
            kept: false,
        })
    }

    /// Where logs are.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Where captures are.
    pub fn pcaps(&self) -> &Path {
        &self.pcaps
    }

    /// A file that goes when the lab goes.
    fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
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
        self.kept = true;
        self.hosts.values_mut().for_each(Daemon::leave_running);
        self.webs.values_mut().for_each(WebServer::leave_running);
        self.captures.values_mut().for_each(Capture::leave_running);
        println!("{}", drawing::how_to_enter(&self));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.captures.clear();
        self.webs.clear();
        self.hosts.clear();
        if let Err(error) = clean::remove(&self.run) {
            eprintln!("warning: the lab is not all gone ({error:#}); try `cargo xtask lab clean`");
        }
    }
}

fn scratch_dir(run: &str) -> PathBuf {
    Path::new("/tmp").join(run)
}
