// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Captures: one file for each link, and questions to them.

use crate::lab::processes::Daemon;
use crate::shell::{Cmd, wait_until};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes kept of each packet: all headers and some payload.
const SNAP_LEN: &str = "384";

/// A running capture.
pub struct Capture {
    file: PathBuf,
    daemon: Daemon,
}

/// One packet: the fields that were asked for.
pub type Row = Vec<String>;

impl Capture {
    /// Captures on `link` into `name.pcap` of a folder; `exec` calls tcpdump where the link is.
    pub fn start(name: &str, link: &str, exec: Cmd, pcaps: &Path, logs: &Path) -> Result<Self> {
        let file = pcaps.join(format!("{name}.pcap"));
        let cmd = exec
            .args(["-i", link, "-s", SNAP_LEN, "-U", "--immediate-mode", "-n", "-Z", "root", "-w"])
            .arg(&file);
        let mut daemon = Daemon::start(&format!("tcpdump-{name}"), cmd, logs)?;
        daemon.wait_ready("listens", |daemon| Ok(daemon.log().contains("listening on")))?;
        Ok(Self { file, daemon })
    }

    /// Fields of the packets that pass `filter`; waits until there is one.
    pub fn expect(&self, filter: &str, fields: &[&str]) -> Result<Vec<Row>> {
        let what = format!("a packet with `{filter}` in {}", self.file.display());
        wait_until(&what, Duration::from_secs(5), || {
            let rows = self.find(filter, fields)?;
            Ok((!rows.is_empty()).then_some(rows))
        })
    }

    /// Fields of the packets so far that pass `filter`.
    pub fn find(&self, filter: &str, fields: &[&str]) -> Result<Vec<Row>> {
        // The last packet may be half written while tshark reads; tshark then shows all others
        // and exits with an error, so its status alone says nothing.
        let output = Cmd::new("tshark")
            .args(["-n", "-r"])
            .arg(&self.file)
            .args(["-Y", filter, "-T", "fields"])
            .args(fields.iter().flat_map(|field| ["-e", field]))
            .timeout(Duration::from_secs(300))
            .output()?;
        if output.stdout.is_empty() && !output.stderr.contains("cut short") {
            return output.success().map(|_| Vec::new()).context("tshark");
        }
        Ok(output.stdout.lines().map(|line| line.split('\t').map(String::from).collect()).collect())
    }

    /// Lets the capture outlive this value.
    pub fn leave_running(&mut self) {
        self.daemon.leave_running();
    }
}
