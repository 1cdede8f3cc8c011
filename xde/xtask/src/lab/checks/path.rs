// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The path to the outside as guests see it: its hops, and how large packets may be on it.

use super::{Check, both};
use crate::lab::Lab;
use crate::lab::processes::Daemon;
use crate::lab::topology::{
    BOUNDARY, BOUNDARY_OUTSIDE, GATEWAY4, GATEWAY6, OUTSIDE_LINK, ROUTER, guest, web,
};
use crate::shell::{Cmd, wait_until};
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

const GROUP: &str = "The outside";
const ADDRESSES: &[&str] = &["dhcp4", "dhcp6", "router"];

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "mtr",
        title: "mtr to the outside, both families",
        needs: ADDRESSES,
        run: mtr,
    },
    Check {
        group: GROUP,
        name: "visible-hop",
        title: "the gateway is a hop, where that is set",
        needs: ADDRESSES,
        run: visible_hop,
    },
    Check {
        group: GROUP,
        name: "path-mtu",
        title: "a narrow uplink shrinks a transfer's packets",
        needs: ADDRESSES,
        run: path_mtu,
    },
];

fn mtr(lab: &mut Lab) -> Result<String> {
    for (family, target) in web("web1").addresses.into_iter().enumerate() {
        let args = ["-n", "-r", "-w", "-c", "3", "-i", "0.2", "-G", "1", target];
        let text = lab.on("g1", "mtr", &args)?;
        let hop =
            |line: &str| Some(line.split_once("|--")?.1.split_whitespace().next()?.to_owned());
        let hops: Vec<String> = text.lines().filter_map(hop).collect();
        let expected = [BOUNDARY_OUTSIDE[family], ROUTER.addresses[family], target];
        ensure!(hops == expected, "hops are not {expected:?}:\n{text}");
    }
    Ok("3 hops: the boundary, the outside's router, the server".into())
}

/// Sets a port's gateway as a hop, looks, and takes that back.
fn visible_hop(lab: &mut Lab) -> Result<String> {
    let [from, peer] = [guest("g1"), guest("g3")];
    let set = |value: bool| {
        let setting = format!("way.visible_hop={value}");
        lab.tell(from.host.name, &["set-port-settings", "-p", from.name, &setting])
    };
    let gateways = [GATEWAY4, GATEWAY6];
    let look = |visible: bool| {
        for (family, gateway) in gateways.into_iter().enumerate() {
            let (inside, outside) = (both(peer)[family], web("web1").addresses[family]);
            let way = [BOUNDARY_OUTSIDE[family], ROUTER.addresses[family], outside];
            for (target, beyond) in [(inside, &[inside][..]), (outside, &way)] {
                let first: &[&str] = if visible { &[gateway] } else { &[] };
                let expected = [first, beyond].concat();
                let hops = traced(lab, from.name, target)?;
                ensure!(hops == expected, "hops to {target} are {hops:?}, not {expected:?}");
            }
        }
        Ok(())
    };
    set(true)?;
    let seen = look(true);
    set(false)?;
    seen.and_then(|()| look(false))?;
    Ok(format!("{GATEWAY4} and {GATEWAY6} come first while it is set, inside and to the outside"))
}

/// The hops to an address, by echo requests, which every guest takes.
fn traced(lab: &Lab, from: &str, target: &str) -> Result<Vec<String>> {
    let text =
        lab.on(from, "traceroute", &["-n", "-I", "-q", "1", "-w", "1", "-m", "5", target])?;
    // A link-local address may have its interface behind it.
    let hop = |line: &str| {
        let word = line.split_whitespace().nth(1)?;
        Some(word.split('%').next().unwrap_or(word).to_owned())
    };
    Ok(text.lines().skip(1).filter_map(hop).collect())
}

/// MTU of the uplink while it is narrow. The ends do not know of it, so that only errors from
/// the middle tell them.
const NARROW: u32 = 1400;
const WIDE: u32 = 1500;
const TRANSFER: usize = 3_000_000;
const PORT: &str = "9000";

fn path_mtu(lab: &mut Lab) -> Result<String> {
    uplink(lab, NARROW)?;
    let seen = web("web1").addresses.into_iter().try_for_each(|address| shrink(lab, address));
    uplink(lab, WIDE)?;
    // What the guest has learnt must not outlive the reason.
    for family in ["-4", "-6"] {
        lab.on("g1", "ip", &[family, "route", "flush", "cache"])?;
    }
    seen?;
    Ok(format!(
        "uplink of {NARROW} bytes: {} MB each, whole; the guest knows",
        TRANSFER / 1_000_000
    ))
}

fn uplink(lab: &Lab, mtu: u32) -> Result<()> {
    let command = format!("link set {OUTSIDE_LINK} mtu {mtu}\n");
    [ROUTER.name, BOUNDARY.name].into_iter().try_for_each(|end| lab.net.batch(end, &command))
}

/// Sends a file from a guest to a server, and asks the guest what it has learnt.
fn shrink(lab: &Lab, address: &str) -> Result<()> {
    let (from, to) = (guest("g1"), web("web1"));
    let [sent, got] = ["path-mtu.sent", "path-mtu.got"].map(|name| lab.scratch(name));
    let make = format!("head -c {TRANSFER} /dev/urandom >\"$0\"; : >\"$1\"");
    Cmd::new("sh").args(["-c", &make]).arg(&sent).arg(&got).run()?;
    // A server without input would end the connection at once.
    let serve = format!("sleep 1000 | busybox nc -l -p {PORT} >\"$0\"");
    let cmd = lab.net.exec(to.name, "sh").args(["-c", &serve]).arg(&got);
    let mut server = Daemon::start("nc-server", cmd, lab.logs())?;
    let listens = format!("ss -Hltn 'sport = :{PORT}' | grep -q .");
    server.wait_ready("listens", |_| {
        Ok(lab.attempt(to.name, "sh", &["-c", &listens])?.status.success())
    })?;
    let send = format!("busybox nc {address} {PORT} <\"$0\"");
    let cmd = lab.net.exec(from.name, "sh").args(["-c", &send]).arg(&sent);
    let mut client = Daemon::start("nc-client", cmd, lab.logs())?;
    let size = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
    wait_until("the whole transfer", Duration::from_secs(20), || {
        Ok((size(&got) == TRANSFER as u64).then_some(()))
    })?;
    client.stop()?;
    server.stop()?;
    ensure!(fs::read(&sent)? == fs::read(&got)?, "what arrived is not what was sent");
    let route = lab.on(from.name, "ip", &["route", "get", address])?;
    ensure!(route.contains(&format!("mtu {NARROW}")), "the guest has not learnt:\n{route}");
    Ok(())
}
