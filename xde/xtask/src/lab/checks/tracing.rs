// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every question that `dtrace/` answers, asked by bpftrace while real packets pass.

use super::{Check, curl, in_url};
use crate::lab::Lab;
use crate::lab::processes::Daemon;
use crate::lab::report::CannotRun;
use crate::lab::topology::{guest, web};
use crate::shell::{Cmd, wait_until};
use crate::workspace::root;
use anyhow::{Result, ensure};
use std::time::Duration;

pub const CHECKS: &[Check] = &[Check {
    group: "Operating",
    name: "tracing",
    title: "every bpftrace script sees what happens",
    needs: &["dhcp4"],
    run: tracing,
}];

/// How long all scripts may take to be compiled and to see something.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Scripts, and what they must have said: those that tell as things happen, and those that count
/// and tell in the end.
const LIVE: &[(&str, &[&str])] = &[
    ("drops", &["port 0 out "]),
    ("rules", &["layer firewall rule", "layer overlay rule"]),
    ("flows", &["opened out rule", "ended flows_cleared"]),
    ("tcp", &["SYN_SENT to ESTABLISHED"]),
    ("next-hop", &["vni 99 to fd00:1::99"]),
    ("metadata", &["out gateway", "out target"]),
    ("leases", &["takes ::ffff:203.0.113.", "leaves ::ffff:203.0.113."]),
    ("generations", &["generation "]),
    ("requests", &["ListPorts served", "ClearUft refused"]),
];
const COUNTING: &[(&str, &[&str])] =
    &[("layers", &["@decided[0, out, firewall"]), ("latency", &["@decided[out]", "@batch[1]"])];

fn tracing(lab: &mut Lab) -> Result<String> {
    let program = Cmd::new("bpftrace").args(["-e", "BEGIN { exit(); }"]).output()?;
    if !program.status.success() {
        return Err(CannotRun("this machine lets nobody trace").into());
    }
    let from = guest("g1");
    let pid = lab.hosts[from.host.name].pid().to_string();
    let start = |(name, _): &(&str, _)| {
        let cmd = Cmd::new(root().join("dtrace/opte-trace")).arg(name).env("XDE_PID", &pid);
        Daemon::start(&format!("trace-{name}"), cmd, lab.logs())
    };
    let mut live = LIVE.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut counting = COUNTING.iter().map(start).collect::<Result<Vec<_>>>()?;
    wait_until("what the scripts say", TIMEOUT, || {
        live.iter_mut().chain(&mut counting).try_for_each(Daemon::check_running)?;
        make_events(lab)?;
        let attached = counting.iter().all(|script| script.log().contains("Attaching"));
        let seen = live.iter().zip(LIVE).all(|(script, (_, words))| says(script, words));
        Ok((attached && seen).then_some(()))
    })?;
    // Those that count have been attached by now for as long as the others needed to see all this.
    make_events(lab)?;
    for (script, (name, words)) in counting.iter_mut().zip(COUNTING) {
        script.stop()?;
        ensure!(says(script, words), "{name} said:\n{}", script.log());
    }
    live.iter_mut().try_for_each(|script| script.stop().map(drop))?;
    let sites = crate::sites::check(lab.xde())?;
    let scripts = LIVE.len() + COUNTING.len();
    Ok(format!("{scripts} scripts; {sites} sites, nothing done at any that is not watched"))
}

fn says(script: &Daemon, words: &[&str]) -> bool {
    let log = script.log();
    words.iter().all(|word| log.contains(word))
}

/// A connection to the outside, a spoofed packet, a published policy, a refused request, an end.
fn make_events(lab: &Lab) -> Result<()> {
    let from = guest("g1");
    curl(lab, from.name, &format!("http://{}/", in_url(web("web1").addresses[0])))?;
    // Nobody has this address.
    super::curl_fails(lab, from.name, "http://10.0.0.77/")?;
    lab.tell(from.host.name, &["clear-uft", "-p", from.name])?;
    let id = lab.allow(from, 900, "protocol=udp port=7")?;
    lab.disallow(from, &id)?;
    lab.tell(from.host.name, &["list-ports"])?;
    let refused = lab.opteadm(from.host.name, &["clear-uft", "-p", "nobody"]).output()?;
    ensure!(!refused.status.success(), "there is no port 'nobody'");
    Ok(())
}
