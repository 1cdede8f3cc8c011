// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What an operator sees.

use super::{Check, curl, in_url};
use crate::lab::Lab;
use crate::lab::topology::{GUESTS, guest, underlay_hosts, web};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

const GROUP: &str = "Operating";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "dump-uft",
        title: "opteadm dump-uft --json shows the flows",
        needs: &["dhcp4"],
        run: dump_uft,
    },
    Check {
        group: GROUP,
        name: "dumps",
        title: "every dump in JSON and as a table",
        needs: &[],
        run: dumps,
    },
    Check {
        group: GROUP,
        name: "shutdown",
        title: "xde ends cleanly and takes its device along",
        needs: &[],
        run: shutdown,
    },
];

fn dump_uft(lab: &mut Lab) -> Result<String> {
    let from = guest("g1");
    let server = web("web1").addresses[0];
    curl(lab, from.name, &format!("http://{}/", in_url(server)))?;
    let dump = lab.ask(from.host.name, &["dump-uft", "-p", from.name])?;
    let flows = dump["flows"].as_array().with_context(|| format!("no flows in {dump}"))?;
    let to_server = |flow: &&Value| {
        flow["out"]["flow"]["dst"] == server && flow["out"]["flow"]["protocol"] == 6
    };
    let flow = flows.iter().rfind(to_server).context("no TCP flow to the server")?;
    let mut counts = Vec::new();
    for direction in ["out", "in"] {
        let count = |what: &str| flow[direction][what].as_u64().filter(|count| *count > 0);
        let packets =
            count("packets").with_context(|| format!("no packets {direction}: {flow}"))?;
        let bytes = count("bytes").with_context(|| format!("no bytes {direction}: {flow}"))?;
        counts.push(format!("{packets} packets {bytes} bytes {direction}"));
    }
    Ok(format!("{} flows; curl's: {}", flows.len(), counts.join(", ")))
}

fn dumps(lab: &mut Lab) -> Result<String> {
    let port = guest("g1");
    let of_port = ["list-layers", "dump-uft", "dump-tcp-flows", "stats"];
    let of_host = ["list-ports", "dump-v2p", "dump-v2b"];
    let mut calls: Vec<Vec<&str>> = of_host.iter().map(|name| vec![*name]).collect();
    calls.extend(of_port.iter().map(|name| vec![*name, "-p", port.name]));
    let layers = lab.ask(port.host.name, &["list-layers", "-p", port.name])?;
    let layers = layers.as_array().context("list-layers gives no list")?;
    let layers: Vec<&str> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
    ensure!(layers.len() > 1, "list-layers shows {layers:?}");
    calls.extend(layers.iter().map(|layer| vec!["dump-layer", "-p", port.name, *layer]));
    for call in &calls {
        lab.ask(port.host.name, call)?;
        let table = lab.tell(port.host.name, call)?;
        ensure!(!table.trim().is_empty(), "{call:?} prints nothing");
    }
    Ok(format!("{} commands; layers {}", calls.len(), layers.join(", ")))
}

/// A process of its own, so that the lab can go on.
fn shutdown(lab: &mut Lab) -> Result<String> {
    let host = underlay_hosts().next().context("no hosts")?;
    let port = &GUESTS[0];
    let name = "passing";
    let mut daemon = lab.start_host(name, crate::lab::topology::SWITCH, &[])?;
    lab.tell(name, &["set-xde-underlay", "h1"])?;
    let args = ["--mac", port.mac, "--vni", "7", "--underlay-ip", host.underlay];
    let addresses = [
        ["--private-ip4", port.ip4],
        ["--subnet4", crate::lab::topology::SUBNET4],
        ["--gateway-ip4", crate::lab::topology::GATEWAY4],
    ];
    lab.opteadm(name, &["create-xde", name]).args(args).args(addresses.concat()).run()?;
    let links = || lab.on(crate::lab::topology::SWITCH, "ip", &["-o", "link"]);
    ensure!(links()?.contains(name), "create-xde made no device {name}");
    let status = daemon.stop()?;
    ensure!(status.success(), "xde ended with {status}:\n{}", daemon.log());
    ensure!(!links()?.contains(name), "device {name} is still there");
    ensure!(!lab.socket(name).exists(), "its socket is still there");
    Ok("SIGTERM: exit status 0, device and socket gone".into())
}
