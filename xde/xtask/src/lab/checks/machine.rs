// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A virtual machine on a port: a real kernel with a virtio card behind QEMU.

use super::{Check, curl};
use crate::lab::Lab;
use crate::lab::machine::{self, Machine};
use crate::lab::topology::{
    BOUNDARY, DNS, GATEWAY4, GATEWAY6, GUEST_MTU, HYPERVISORS, MACHINE, VNI, guest, web,
};
use crate::shell::Cmd;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

/// Name of the check.
pub const NAME: &str = "machine";

pub const CHECKS: &[Check] = &[Check {
    group: "A virtual machine",
    name: NAME,
    title: "QEMU boots Linux on a port: DHCP, ping, TCP",
    needs: &["dhcp4"],
    run,
}];

/// Why the check cannot be made here.
pub fn unavailable() -> Option<String> {
    machine::fetch().err().map(|error| format!("no machine to be had: {error:#}"))
}

/// Device of QEMU, and the bridge that joins it to the port's.
const TAP: &str = "q-vm1";
const BRIDGE: &str = "br-vm1";
/// Size of the transfer, in megabytes.
const TRANSFER_MB: usize = 20;
/// What both servers call the page that the machine asks for.
const PAGE: &str = "to-the-machine";
/// How long each step may take where the machine is emulated and shares its processor.
const STEP: Duration = Duration::from_secs(120);

fn run(lab: &mut Lab) -> Result<String> {
    lab.create_port(&MACHINE)?;
    let seen = attach(lab).and_then(|()| live(lab));
    let gone = take_away(lab);
    seen.and_then(|detail| gone.map(|()| detail))
}

/// Routes, rules, addresses and mappings of the port, and the bridge to QEMU's device.
fn attach(lab: &Lab) -> Result<()> {
    lab.configure_port(&MACHINE)?;
    lab.configure_external(&MACHINE)?;
    for host in &HYPERVISORS {
        let entry = [MACHINE.ip4, MACHINE.mac, MACHINE.host.underlay, VNI];
        lab.opteadm(host.name, &["set-v2p"]).args(entry).run()?;
    }
    let (host, port) = (MACHINE.host.name, MACHINE.name);
    let devices = format!(
        "link add {BRIDGE} type bridge mcast_snooping 0\n\
         tuntap add dev {TAP} mode tap vnet_hdr\n"
    );
    lab.net.batch(host, &devices)?;
    // The host has no business on the guest's link.
    let quiet = format!(
        "for device in {BRIDGE} {TAP} {port}; do \
         echo 1 >/proc/sys/net/ipv6/conf/$device/disable_ipv6; done"
    );
    lab.net.exec(host, "sh").args(["-c", &quiet]).run()?;
    let up = [BRIDGE, TAP, port].map(|device| format!("link set {device} up\n")).concat();
    let joined = [TAP, port].map(|device| format!("link set {device} master {BRIDGE}\n")).concat();
    lab.net.batch(host, &(joined + &up))
}

fn live(lab: &mut Lab) -> Result<String> {
    let peer = guest("g3");
    let server = web("web1");
    let file = lab.web_root(peer.name).join(PAGE);
    let script = format!("head -c {TRANSFER_MB}000000 /dev/urandom > \"$0\"; sha256sum < \"$0\"");
    let sent = Cmd::new("sh").args(["-c", &script]).arg(&file).run()?;
    let url = lab.add_page(server.name, PAGE)?;
    let variables = format!(
        "GATEWAY4={GATEWAY4} GATEWAY6={GATEWAY6} PEER={} OUTSIDE={} PAGE={PAGE}",
        peer.ip4, server.addresses[0]
    );
    let parts = machine::fetch()?;
    let folders = (lab.scratch("machine"), lab.logs().to_owned());
    let exec = |program: &str| lab.net.exec(MACHINE.host.name, program);
    let card = (TAP, MACHINE.mac);
    let mut machine = Machine::start(&parts, exec, card, &variables, (&folders.0, &folders.1))?;
    let lease = machine.hear("lease", STEP)?;
    let expected = format!("{} {GATEWAY4} {GUEST_MTU} {}", MACHINE.ip4, DNS[0]);
    ensure!(lease == expected, "the lease is '{lease}', not '{expected}'");
    machine.hear("pings", STEP)?;
    let received = machine.hear("transfer", STEP)?;
    fs::remove_file(&file)?;
    let sent = sent.split_whitespace().next().context("no checksum")?;
    ensure!(received == sent, "sent {sent}, received {received}");
    let outside = machine.hear("outside", STEP)?;
    ensure!(outside == server.name, "from outside it got '{outside}'");
    let own = MACHINE.external.floating.context("it has no floating address")?[0];
    let visit = lab.web(server.name)?.visit(&url)?;
    ensure!(visit.address == own.parse::<IpAddr>()?, "the server saw {}", visit.address);
    machine.hear("serves", STEP)?;
    let page = curl(lab, "g1", &format!("http://{}/", MACHINE.ip4))?;
    ensure!(page == "virtual", "it serves '{page}'");
    let kernel = machine.hear("up", STEP)?;
    Ok(format!(
        "Linux {kernel} by {}: lease {}, both gateways answer, {TRANSFER_MB} MB from g3, \
         outside as {own}, serves g1",
        machine.accelerator, MACHINE.ip4
    ))
}

/// Puts everything back, whatever went wrong before.
fn take_away(lab: &Lab) -> Result<()> {
    for device in [TAP, BRIDGE] {
        // It may not have been made.
        let _ = lab.net.batch(MACHINE.host.name, &format!("link del {device}\n"));
    }
    for host in &HYPERVISORS {
        let entry = [MACHINE.ip4, MACHINE.mac, MACHINE.host.underlay, VNI];
        lab.opteadm(host.name, &["clear-v2p"]).args(entry).run()?;
    }
    for ip in MACHINE.external.floating.into_iter().flatten() {
        let entry = [ip, MACHINE.host.underlay, VNI, MACHINE.mac];
        lab.opteadm(BOUNDARY.name, &["rm-boundary-nat"]).args(entry).run()?;
    }
    lab.tell(MACHINE.host.name, &["delete-xde", MACHINE.name]).map(drop)
}
