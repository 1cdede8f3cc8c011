// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Programs that listen to a multicast group, on the sender's host and on another.

use super::Check;
use crate::lab::Lab;
use crate::lab::processes::Daemon;
use crate::lab::topology::{Guest, guest};
use crate::shell::wait_until;
use anyhow::{Result, ensure};
use std::time::Duration;

const GROUP: &str = "Inside the VPC";

pub const CHECKS: &[Check] = &[Check {
    group: GROUP,
    name: "multicast",
    title: "a group is heard once on each of two hosts",
    needs: &["dhcp4", "dhcp6", "router"],
    run: heard_once,
}];

/// A group of guests and the group of the underlay that carries it, for each family.
const GROUPS: [[&str; 2]; 2] = [["239.1.2.3", "ff04::e001:203"], ["ff05::1:3", "ff04::77:1:3"]];
const PORT: &str = "45000";
/// Datagrams that count, and one that shows that all before it have arrived.
const SENT: [&str; 6] = ["1", "2", "3", "4", "5", "end"];

fn heard_once(lab: &mut Lab) -> Result<String> {
    let sender = guest("g1");
    let listeners = [guest("g2"), guest("g3")];
    let mut rules = Vec::new();
    for listener in listeners {
        rules.push((listener, lab.allow(listener, 900, &format!("protocol=udp port={PORT}"))?));
    }
    let mut heard = Vec::new();
    for [group, underlay] in GROUPS {
        tell_hosts(lab, sender, listeners, group, underlay)?;
        let result = listen(lab, sender, listeners, group);
        forget(lab, sender, listeners, group, underlay)?;
        heard.push(result?);
    }
    for (listener, id) in rules {
        lab.disallow(listener, &id)?;
    }
    let count = SENT.len() - 1;
    Ok(format!("{count} datagrams of {} to {}: {}", sender.name, GROUPS[0][0], heard.join(", ")))
}

/// The hosts carry the group, the sender's host sends it on, and the listeners hear it.
fn tell_hosts(
    lab: &Lab,
    sender: &Guest,
    listeners: [&Guest; 2],
    group: &str,
    underlay: &str,
) -> Result<()> {
    for listener in listeners {
        let host = listener.host.name;
        lab.tell(host, &["set-m2p", group, underlay])?;
        lab.tell(host, &["mcast-subscribe", "-p", listener.name, group])?;
        if host != sender.host.name {
            let hop = ["set-mcast-fwd", underlay, listener.host.underlay, "underlay"];
            lab.tell(sender.host.name, &hop)?;
        }
    }
    Ok(())
}

fn forget(
    lab: &Lab,
    sender: &Guest,
    listeners: [&Guest; 2],
    group: &str,
    underlay: &str,
) -> Result<()> {
    for listener in listeners {
        let host = listener.host.name;
        lab.tell(host, &["mcast-unsubscribe", "-p", listener.name, group])?;
        lab.tell(host, &["clear-m2p", group, underlay])?;
    }
    lab.tell(sender.host.name, &["clear-mcast-fwd", underlay]).map(drop)
}

fn listen(lab: &Lab, sender: &Guest, listeners: [&Guest; 2], group: &str) -> Result<String> {
    let mut daemons = Vec::new();
    for listener in listeners {
        daemons.push((listener, listener_of(lab, listener, group)?));
    }
    for text in SENT {
        let cmd = lab.net.exec(sender.name, "socat").args(["-u", "-", &to(sender, group)]);
        cmd.input(format!("{text}\n")).run()?;
    }
    let expected = SENT.map(|text| format!("{text}\n")).concat();
    let mut names = Vec::new();
    for (listener, daemon) in &mut daemons {
        let all = || Ok(daemon.log().contains("end\n").then_some(()));
        wait_until(&format!("what {} hears", listener.name), Duration::from_secs(5), all)?;
        let heard = daemon.log();
        ensure!(heard == expected, "{} hears {heard:?} of {group}", listener.name);
        daemon.stop()?;
        names.push(format!("{} on {}", listener.name, listener.host.name));
    }
    Ok(names.join(" and "))
}

fn to(sender: &Guest, group: &str) -> String {
    if group.contains(':') {
        format!("UDP6-DATAGRAM:[{group}]:{PORT}")
    } else {
        format!("UDP4-DATAGRAM:{group}:{PORT},ip-multicast-if={}", sender.ip4)
    }
}

/// A program that shows what it hears of the group.
fn listener_of(lab: &Lab, listener: &Guest, group: &str) -> Result<Daemon> {
    let name = listener.name;
    let from = if group.contains(':') {
        format!("UDP6-RECV:{PORT},ipv6-join-group=[{group}]:{name}")
    } else {
        format!("UDP4-RECV:{PORT},ip-add-membership={group}:{name}")
    };
    let cmd = lab.net.exec(name, "socat").args(["-u", &from, "STDOUT"]);
    let mut daemon = Daemon::start(&format!("socat-{name}"), cmd, lab.logs())?;
    daemon.wait_ready("listens", |_| {
        let text = lab.on(name, "ip", &["maddr", "show", "dev", name])?;
        Ok(text.contains(group))
    })?;
    Ok(daemon)
}
