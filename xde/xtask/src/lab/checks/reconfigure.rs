// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Configuration that is sent again and changed all the time, while guests talk to the outside.

use super::{Check, in_url};
use crate::lab::Lab;
use crate::lab::pcap::Row;
use crate::lab::processes::Daemon;
use crate::lab::topology::{Guest, SNAT_PORTS, TAGGED_GATEWAY, VNI, guest, web};
use crate::load::OBSERVER;
use crate::load::hold::Held;
use crate::shell::{this_program, wait_until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const GROUP: &str = "Reconfiguration";
const ADDRESSES: &[&str] = &["dhcp4", "dhcp6", "router"];
/// The capture on the link to the outside.
const OUTSIDE: &str = "outside";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "reconfigure",
        title: "1000 changes under traffic: nothing breaks",
        needs: ADDRESSES,
        run: reconfigure,
    },
    Check {
        group: GROUP,
        name: "address-removed",
        title: "who uses an address that goes is reset by its next packet",
        needs: ADDRESSES,
        run: address_removed,
    },
];

/// Changes, at the least.
const CHANGES: usize = 1000;
/// Downloads at the same time, each at this rate, of this size.
const DOWNLOADS: usize = 200;
const RATE: &str = "12K";
const SIZE: u64 = 240 << 10;
/// How long the measured streams go on; the changes take less on an idle machine.
const SECONDS: u64 = 20;
/// How long all may take together.
const TIMEOUT: Duration = Duration::from_secs(240);
/// Port of iperf3.
const IPERF: &str = "5201";

fn reconfigure(lab: &mut Lab) -> Result<String> {
    let from = guest("g1");
    let server = web("web1");
    let url = lab.add_file(server.name, "slow", SIZE)?;
    let mut iperf_server =
        start(lab, server.name, "iperf3-server", "iperf3", &["-s", "-p", IPERF, "--forceflush"])?;
    iperf_server.wait_ready("listens", |daemon| Ok(daemon.log().contains("listening")))?;
    let mut echo = start(lab, server.name, "observer", &this_program(), &["load", "serve"])?;
    echo.wait_ready("listens", |daemon| Ok(daemon.log().contains("ready")))?;

    let (seconds, millis) = (SECONDS.to_string(), (SECONDS * 1000).to_string());
    let to = server.addresses[0];
    let iperf = ["-c", to, "-p", IPERF, "-t", &seconds, "-b", "20M", "-J"];
    let mut iperf = start(lab, from.name, "iperf3", "iperf3", &iperf)?;
    let hold = ["load", "hold", to, "--millis", &millis];
    let mut hold = start(lab, from.name, "hold", &this_program(), &hold)?;
    let urls: Vec<String> = (0..DOWNLOADS)
        .map(|n| format!("http://{}{url}?{n}", in_url(server.addresses[n % 2])))
        .collect();
    let parallel = DOWNLOADS.to_string();
    let limits = ["--limit-rate", RATE, "--max-time", "180"];
    let mut args =
        ["-sS", "-g", "-Z", "--parallel-immediate", "--parallel-max", &parallel].to_vec();
    args.extend(limits);
    args.extend(["-w", "done %{http_code} %{size_download}\\n"]);
    args.extend(urls.iter().flat_map(|url| ["-o", "/dev/null", url]));
    let mut curl = start(lab, from.name, "downloads", "curl", &args)?;

    let begin = Instant::now();
    let mut changes = 0;
    while changes < CHANGES || is_running(&mut [&mut iperf, &mut hold, &mut curl])? {
        ensure!(begin.elapsed() < TIMEOUT, "{changes} changes, and the traffic does not end");
        change(lab, from, changes).with_context(|| format!("change {changes}"))?;
        changes += 1;
    }
    lab.set_external(from)?;

    let report: Value = serde_json::from_str(&iperf.log()).context("iperf3's report")?;
    ensure!(report["error"].is_null(), "iperf3: {}", report["error"]);
    let sent = report["end"]["sum_received"]["bytes"].as_u64().context("no bytes")?;
    let log = curl.log();
    let done = log.lines().filter(|line| *line == format!("done 200 {SIZE}")).count();
    ensure!(done == DOWNLOADS, "{done} of {DOWNLOADS} downloads are whole:\n{log}");
    let log = hold.log();
    let held: Held = serde_json::from_str(log.trim()).with_context(|| format!("hold: {log}"))?;
    ensure!(
        (held.broken, held.moved, held.foreign) == (0, 0, 0),
        "UDP conversations were not left alone: {held:?}"
    );
    let tuples = external_tuples(lab, from)?;
    Ok(format!(
        "{changes} changes; iperf3 {} MB; {done} downloads; {} UDP answers; {tuples} external tuples, each of one owner",
        sent / 1_000_000,
        held.answered
    ))
}

fn start(lab: &Lab, on: &str, name: &str, program: &str, args: &[&str]) -> Result<Daemon> {
    Daemon::start(name, lab.net.exec(on, program).args(args), lab.logs())
}

/// One of them has not ended; fails if one ended badly.
fn is_running(daemons: &mut [&mut Daemon]) -> Result<bool> {
    let mut running = false;
    for daemon in daemons {
        match daemon.ended()? {
            None => running = true,
            Some(status) => ensure!(status.success(), "{status}:\n{}", daemon.log()),
        }
    }
    Ok(running)
}

/// One change of many kinds, none of which touches what `from` uses: sent again as it is, other
/// rules, other gateways' addresses, a pool grown and shrunk elsewhere, other routes and mappings.
fn change(lab: &Lab, from: &Guest, number: usize) -> Result<()> {
    let (host, other) = (from.host.name, guest("g2"));
    let [first, last] = SNAT_PORTS;
    let shared = from.external.snat.context("no SNAT")?;
    let own = from.external.floating.context("no floating address")?;
    let ours = [format!("{}:{first}-{last}", shared[0]), format!("[{}]:{first}-{last}", shared[1])];
    let set = |more: &[&str]| {
        let snat = ours.iter().flat_map(|range| ["--snat", range.as_str()]);
        let cmd = lab.opteadm(host, &["set-external-ips", "-p", from.name]).args(snat);
        cmd.args(more).run().map(drop)
    };
    let gateways = own.map(|ip| format!("{ip}={TAGGED_GATEWAY}"));
    let floating = |ips: &[usize]| -> Vec<&str> {
        ips.iter()
            .flat_map(|at| ["--floating-ip", own[*at], "--gateway", gateways[*at].as_str()])
            .collect()
    };
    let number_text = (number % 250).to_string();
    match number % 8 {
        0 => set(&floating(&[0, 1])),
        1 => lab
            .allow(from, 3000, &format!("hosts=any protocol=udp port={}", 20000 + number % 999))
            .and_then(|id| lab.disallow(from, &id)),
        // Another gateway's addresses come and go.
        2 => set(&floating(&[0])),
        3 => set(&floating(&[0, 1])),
        // A pool elsewhere grows and shrinks.
        4 | 5 => {
            let last = if number % 8 == 4 { "9000" } else { "8500" };
            let range = format!("203.0.113.40:8000-{last}");
            let args = ["set-external-ips", "-p", other.name, "--snat", &range];
            lab.tell(host, &args).map(drop)
        }
        6 => {
            let dest = format!("172.20.{number_text}.0/24");
            lab.tell(host, &["add-router-entry", "-p", from.name, &dest, "drop", "custom"])?;
            lab.tell(host, &["del-router-entry", "-p", from.name, &dest, "drop", "custom"])
                .map(drop)
        }
        _ => {
            let ip = format!("10.0.0.{}", 50 + number % 100);
            lab.tell(host, &["set-v2p", &ip, "a8:40:25:f0:00:99", "fd00:1::9", VNI]).map(drop)
        }
    }
}

/// What owns what, as the captures tell: a SYN keeps its sequence number and a question its first
/// bytes on the way out, so that the packet inside is found for the packet outside. Answers how many
/// external tuples there were, each of which must have had one owner only.
fn external_tuples(lab: &Lab, from: &Guest) -> Result<usize> {
    let syn = "tcp.flags.syn == 1 && tcp.flags.ack == 0";
    let tcp = ["ip.src", "ipv6.src", "tcp.srcport", "tcp.dstport", "tcp.seq_raw"];
    let question = format!("udp.dstport == {OBSERVER}");
    let udp = ["ip.src", "ipv6.src", "udp.srcport", "udp.dstport", "data.data"];
    let mut owners: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (name, filter, fields) in [("TCP", syn, tcp), ("UDP", question.as_str(), udp)] {
        let inside = by_mark(lab.capture(from.name)?.find(filter, &fields)?);
        let outside = by_mark(lab.capture(OUTSIDE)?.find(filter, &fields)?);
        for (mark, tuples) in outside {
            let Some(inner) = inside.get(&mark) else { continue };
            for mut tuple in tuples {
                tuple.push(name.to_owned());
                owners.entry(tuple).or_default().extend(inner.iter().cloned());
            }
        }
    }
    ensure!(!owners.is_empty(), "nothing was captured");
    if let Some((tuple, inner)) = owners.iter().find(|(_, inner)| inner.len() > 1) {
        bail!("external {tuple:?} stood for {inner:?}");
    }
    Ok(owners.len())
}

/// Packets by what does not change on their way.
fn by_mark(rows: Vec<Row>) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let mut found: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| row.len() == 5) {
        let (tuple, mark) = row.split_at(3);
        found.entry(mark.to_vec()).or_default().insert(tuple.to_vec());
    }
    found
}

/// A download by a floating address that is then taken away.
fn address_removed(lab: &mut Lab) -> Result<String> {
    let from = guest("g3");
    let server = web("web1");
    let page = lab.add_file(server.name, "removed", 64 << 20)?;
    let url = format!("http://{}{page}", in_url(server.addresses[0]));
    let args = ["-sS", "-g", "--limit-rate", "500K", "--max-time", "60", "-o", "/dev/null", &url];
    let mut curl = start(lab, from.name, "removed", "curl", &args)?;
    lab.web(server.name)?.visit(&page)?;
    let other = ["set-external-ips", "-p", from.name, "--floating-ip", "203.0.113.31"];
    lab.tell(from.host.name, &other)?;
    let begin = Instant::now();
    let status = wait_until("the end of the download", Duration::from_secs(5), || curl.ended());
    lab.set_external(from)?;
    let status = status?;
    // 56: failure in receiving network data (curl(1), exit codes).
    ensure!(status.code() == Some(56), "curl ended with {status}: {}", curl.log());
    ensure!(curl.log().contains("reset by peer"), "curl says: {}", curl.log());
    let reset = lab
        .capture(OUTSIDE)?
        .expect("tcp.flags.reset == 1 && ip.src == 203.0.113.30", &["tcp.seq_raw"])?;
    ensure!(!reset.is_empty(), "the server was told nothing");
    Ok(format!("both ends reset within {} ms", begin.elapsed().as_millis()))
}
