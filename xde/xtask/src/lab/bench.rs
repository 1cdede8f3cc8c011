// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How fast guests of a lab are: TCP across hosts, with and without offloads.

use crate::binaries::Binaries;
use crate::lab::Lab;
use crate::lab::processes::Daemon;
use crate::lab::set_up;
use crate::lab::topology::{Guest, VNI, guest};
use crate::shell::interrupted;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Port of iperf3.
const PORT: &str = "5201";
/// Length of one measurement.
const SECONDS: &str = "5";

/// Brings a lab up and prints a line for each measurement.
pub fn run(binaries: Binaries) -> Result<()> {
    let mut lab = Lab::new(binaries, None)?;
    for (title, step) in set_up::STEPS {
        if interrupted() {
            bail!("interrupted");
        }
        step(&mut lab).context(*title)?;
    }
    let [from, to] = [guest("g1"), guest("g3")];
    for guest in [from, to] {
        lab.dhcp4(guest)?;
    }
    lab.allow(to, 500, &format!("hosts=vni={VNI} protocol=tcp port={PORT}"))?;
    println!("\n{} to {}, across hosts, TCP, MTU 1500, {SECONDS} s each", from.name, to.name);
    println!("{:12} {:>8} {:>10} {:>12}", "offloads", "streams", "Gbit/s", "retransmits");
    for offloads in ["on", "off"] {
        for guest in [from, to] {
            set_offloads(&lab, guest, offloads)?;
        }
        for streams in ["1", "8"] {
            let (rate, retransmits) = measure(&lab, from, to, streams)?;
            println!("{offloads:12} {streams:>8} {rate:>10.2} {retransmits:>12}");
        }
    }
    Ok(())
}

fn set_offloads(lab: &Lab, guest: &Guest, state: &str) -> Result<()> {
    let features = ["tso", "gso", "gro", "tx"].map(|feature| [feature, state]).concat();
    lab.on(guest.name, "ethtool", &[&["-K", guest.name], &features[..]].concat()).map(drop)
}

fn measure(lab: &Lab, from: &Guest, to: &Guest, streams: &str) -> Result<(f64, u64)> {
    let cmd = lab.net.exec(to.name, "iperf3").args(["-s", "-1", "-p", PORT, "--forceflush"]);
    let mut server = Daemon::start("iperf3", cmd, lab.logs())?;
    server.wait_ready("listens", |server| Ok(server.log().contains("listening")))?;
    let args = ["-c", to.ip4, "-p", PORT, "-t", SECONDS, "-P", streams, "-J"];
    let text = lab.on(from.name, "iperf3", &args)?;
    let report: Value = serde_json::from_str(&text)?;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().context("no rate")?;
    let retransmits = report["end"]["sum_sent"]["retransmits"].as_u64().unwrap_or_default();
    Ok((rate / 1e9, retransmits))
}
