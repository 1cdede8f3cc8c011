// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The clients that real guests run: leases taken, renewed and given back; neighbours looked for.

use super::Check;
use crate::lab::Lab;
use crate::lab::processes::Daemon;
use crate::lab::topology::{GATEWAY4, GATEWAY6, Guest, guest};
use crate::shell::wait_until;
use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use std::time::Duration;

const GROUP: &str = "Clients";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "udhcpc",
        title: "udhcpc: lease, renewal by unicast, release",
        needs: &["dhcp4"],
        run: udhcpc,
    },
    Check {
        group: GROUP,
        name: "dhclient",
        title: "dhclient: lease and release, both families",
        needs: &["dhcp4", "dhcp6"],
        run: dhclient,
    },
    Check {
        group: GROUP,
        name: "dhcpcd",
        title: "dhcpcd: lease, rebind, release, both families",
        needs: &["dhcp4", "dhcp6"],
        run: dhcpcd,
    },
    Check {
        group: GROUP,
        name: "arping",
        title: "arping finds the gateway and nobody else",
        needs: &["dhcp4"],
        run: arping,
    },
    Check {
        group: GROUP,
        name: "ndisc6",
        title: "ndisc6 finds the gateway and nobody else",
        needs: &["dhcp6"],
        run: ndisc6,
    },
];

/// Whose clients these are.
const CLIENT: &str = "g2";
/// MAC address of every gateway.
const GATEWAY_MAC: &str = "a8:40:25:ff:77:77";

/// Waits for the program to say something so many times.
fn hear(daemon: &mut Daemon, what: &str, times: usize) -> Result<()> {
    let ready = format!("says '{what}' {times} times");
    daemon.wait_ready(&ready, |daemon| Ok(daemon.log().matches(what).count() >= times))
}

/// Waits until a program that was asked to end has done so.
fn ended(daemon: &mut Daemon) -> Result<()> {
    wait_until("end of a client", Duration::from_secs(10), || {
        Ok(daemon.check_running().is_err().then_some(()))
    })
}

/// The guest sent a message of this kind that passes `filter`.
fn was_sent(lab: &Lab, filter: &str) -> Result<()> {
    lab.capture(CLIENT)?.expect(filter, &["frame.number"]).map(drop)
}

fn udhcpc(lab: &mut Lab) -> Result<String> {
    let guest = guest(CLIENT);
    let options = ["-f", "-i", guest.name, "-O", "mtu", "-O", "staticroutes", "-s"];
    let cmd = lab.net.exec(guest.name, "udhcpc").args(options).arg(lab.dhcp_script()?);
    let mut client = Daemon::start("udhcpc", cmd, lab.logs())?;
    let obtained = format!("lease of {} obtained from {GATEWAY4}", guest.ip4);
    hear(&mut client, &obtained, 1)?;
    client.signal(Signal::SIGUSR1)?;
    hear(&mut client, &obtained, 2)?;
    client.signal(Signal::SIGUSR2)?;
    hear(&mut client, "entering released state", 1)?;
    client.stop()?;
    let unicast = format!("ip.src == {} && ip.dst == {GATEWAY4}", guest.ip4);
    for kind in [3, 7] {
        was_sent(lab, &format!("dhcp.option.dhcp == {kind} && {unicast}"))?;
    }
    lab.dhcp4(guest)?;
    Ok(format!("{} from {GATEWAY4}, renewed and released by unicast", guest.ip4))
}

fn dhclient(lab: &mut Lab) -> Result<String> {
    let guest = guest(CLIENT);
    let taken = lab.dhclient(guest, 4)?.args(["-1", "-v", guest.name]).output()?;
    let acknowledged = format!("DHCPACK of {} from {GATEWAY4}", guest.ip4);
    ensure!(taken.stderr.contains(&acknowledged), "no '{acknowledged}' in:\n{}", taken.stderr);
    let given_back = lab.dhclient(guest, 4)?.args(["-r", "-v", guest.name]).output()?;
    let released = format!("DHCPRELEASE of {}", guest.ip4);
    ensure!(given_back.stderr.contains(&released), "no '{released}' in:\n{}", given_back.stderr);
    // It has the IPv6 lease of an earlier check.
    release6(lab, guest)?;
    was_sent(lab, "dhcpv6.msgtype == 8")?;
    lab.dhcp6(guest)?;
    lab.dhcp4(guest)?;
    Ok(format!("{} and {}, released and leased again", guest.ip4, guest.ip6))
}

/// Ends the client that runs in the background since it has its lease.
fn release6(lab: &Lab, guest: &Guest) -> Result<()> {
    lab.dhclient(guest, 6)?.args(["-r", guest.name]).run().map(drop)
}

/// What dhcpcd is to do: both families, and nothing about this machine.
const DHCPCD_CONF: &str = "duid\\nnoipv4ll\\nnoarp\\nia_na\\n\
    option domain_name_servers, domain_search, classless_static_routes, interface_mtu\\n";

fn dhcpcd(lab: &mut Lab) -> Result<String> {
    let guest = guest(CLIENT);
    release6(lab, guest)?;
    // It keeps its state in folders of the machine; here these are its own.
    let script = format!(
        "mount -t tmpfs tmpfs /var/lib/dhcpcd && mount -t tmpfs tmpfs /run && \
         printf '{DHCPCD_CONF}' >/run/conf && exec dhcpcd -B -d -f /run/conf -c /bin/true {}",
        guest.name
    );
    let cmd = lab.net.exec(guest.name, "sh").args(["-c", &script]);
    let mut client = Daemon::start("dhcpcd", cmd, lab.logs())?;
    let leased = format!("leased {} for", guest.ip4);
    let added = format!("adding address {}", guest.ip6);
    hear(&mut client, &leased, 1)?;
    hear(&mut client, &added, 1)?;
    client.signal(Signal::SIGHUP)?;
    hear(&mut client, &leased, 2)?;
    hear(&mut client, &added, 2)?;
    client.signal(Signal::SIGALRM)?;
    ended(&mut client)?;
    ensure!(client.log().contains("releasing lease of"), "no release:\n{}", client.log());
    // Request and reply of a rebinding or confirmation, and the reply to a release.
    for filter in ["dhcpv6.msgtype == 4 || dhcpv6.msgtype == 6", "dhcpv6.msgtype == 8"] {
        was_sent(lab, filter)?;
    }
    lab.dhcp6(guest)?;
    lab.dhcp4(guest)?;
    hear_routers_again(lab, guest)?;
    Ok(format!("{} and {}, bound again and released", guest.ip4, guest.ip6))
}

/// dhcpcd hears routers by itself, and takes that from the kernel for good.
fn hear_routers_again(lab: &Lab, guest: &Guest) -> Result<()> {
    let name = guest.name;
    let hear = format!("echo 1 >/proc/sys/net/ipv6/conf/{name}/accept_ra");
    lab.on(name, "sh", &["-c", &hear])?;
    lab.on(name, "rdisc6", &["-1", "-r", "3", "-w", "1000", name])?;
    lab.wait_default_route6(name).map(drop)
}

fn arping(lab: &mut Lab) -> Result<String> {
    let [from, other] = [guest("g1"), guest("g2")];
    let ask = |count: &str, address: &str| {
        let args = ["-c", count, "-w", "3", "-I", from.name, address];
        lab.attempt(from.name, "arping", &args)
    };
    let found = ask("2", GATEWAY4)?.success()?.to_lowercase();
    ensure!(found.contains(GATEWAY_MAC), "not {GATEWAY_MAC}:\n{found}");
    let silent = ask("1", other.ip4)?;
    ensure!(!silent.status.success(), "{} answered:\n{}", other.name, silent.stdout);
    Ok(format!("{GATEWAY4} is at {GATEWAY_MAC}; {} does not answer", other.ip4))
}

fn ndisc6(lab: &mut Lab) -> Result<String> {
    let [from, other] = [guest("g1"), guest("g2")];
    let ask = |address: &str| {
        let args = ["-1", "-r", "2", "-w", "1000", address, from.name];
        lab.attempt(from.name, "ndisc6", &args)
    };
    let found = ask(GATEWAY6)?.success()?.to_lowercase();
    ensure!(found.contains(GATEWAY_MAC), "not {GATEWAY_MAC}:\n{found}");
    for address in [other.ip6, other.link_local] {
        let silent = ask(address)?;
        ensure!(!silent.status.success(), "{} answered:\n{}", other.name, silent.stdout);
    }
    Ok(format!("{GATEWAY6} is at {GATEWAY_MAC}; {} does not answer", other.ip6))
}
