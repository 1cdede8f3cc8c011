// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A path that is up: a client, a server, a data path between them.

use crate::binaries::Binaries;
use crate::lab::sandbox::Sandbox;
use crate::load::serve::READY;
use crate::peers::addresses::{INSIDE, OUTSIDE};
use crate::peers::cpu;
use crate::peers::peer::{Peer, Route};
use crate::peers::site::Site;
use crate::shell::{this_program, wait_until};
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Of iperf3.
const IPERF_PORT: &str = "5201";
/// How long a client may take beyond its measurement.
const SPARE: Duration = Duration::from_secs(20);

/// A path, with its servers running.
pub struct Path {
    /// Whose it is.
    pub peer: Peer,
    /// Where it leads.
    pub route: Route,
    site: Site,
    to: &'static str,
    server: u32,
}

/// CPU time of what takes part but for the sender, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Spent {
    /// The data path's processes.
    pub datapath: u64,
    /// The receiver, and the kernel's threads for packets.
    pub others: u64,
}

impl Path {
    /// Brings it up, and looks whether a packet passes.
    pub fn build(peer: Peer, route: Route, sandbox: &Sandbox, binaries: &Binaries) -> Result<Self> {
        let mut site = peer.build(route, sandbox, binaries)?;
        let (on, to) = match (peer, route) {
            (Peer::Veth, _) | (_, Route::Inside) => ("b", INSIDE.ip),
            (_, Route::Outside) => ("ext", OUTSIDE.ip),
        };
        let cmd = site.exec(on, &this_program()).args(["load", "serve"]);
        let server = site.start(on, "serve", cmd)?;
        server.wait_ready("is ready", |server| Ok(server.log().contains(READY)))?;
        let pid = server.pid();
        let cmd = site.exec(on, "iperf3").args(["-s", "-p", IPERF_PORT, "--forceflush"]);
        let iperf = site.start(on, "iperf3", cmd)?;
        iperf.wait_ready("listens", |iperf| Ok(iperf.log().contains("listening")))?;
        let path = Self { peer, route, site, to, server: pid };
        path.ping().with_context(|| format!("{} does not pass packets", peer.name()))?;
        Ok(path)
    }

    /// Waits for an answer: the first packets may be lost while addresses are learnt.
    fn ping(&self) -> Result<()> {
        wait_until("an answer to ping", Duration::from_secs(6), || {
            let once = ["-c", "1", "-W", "1", self.to];
            let tried = self.site.exec("a", "ping").args(once).output()?;
            Ok(tried.status.success().then_some(()))
        })
    }

    /// Runs a hidden command at the client, which measures for `millis`.
    pub fn load<T: DeserializeOwned>(
        &self,
        name: &str,
        millis: u64,
        options: &[&str],
    ) -> Result<T> {
        let text = self
            .site
            .exec("a", &this_program())
            .args(["load", name, self.to, "--millis", &millis.to_string()])
            .args(options)
            .timeout(Duration::from_millis(millis) + SPARE)
            .run()?;
        serde_json::from_str(&text).with_context(|| format!("{name} answered: {text}"))
    }

    /// TCP from the client to the server, in Gbit/s.
    pub fn iperf(&self, streams: u8, seconds: u8) -> Result<f64> {
        let text = self
            .site
            .exec("a", "iperf3")
            .args(["-c", self.to, "-p", IPERF_PORT, "-J", "--connect-timeout", "2000"])
            .args(["-t", &seconds.to_string(), "-P", &streams.to_string()])
            .output()?
            .stdout;
        let report: Value = serde_json::from_str(&text).context("iperf3 answered no JSON")?;
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
        let rate = rate.with_context(|| format!("iperf3: {}", report["error"]))?;
        Ok(rate / 1e9)
    }

    /// CPU time so far.
    pub fn spent(&self) -> Spent {
        let mut others = cpu::softirq_threads();
        others.push(self.server);
        Spent {
            datapath: cpu::of_processes(self.site.datapath()),
            others: cpu::of_processes(&others),
        }
    }
}
