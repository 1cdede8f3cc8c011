// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Guests get their addresses and find their gateway.

use super::{Check, ping};
use crate::lab::Lab;
use crate::lab::guests::Lease;
use crate::lab::topology::{DNS, GATEWAY4, GATEWAY6, GUEST_MTU, GUESTS, Guest, guest};
use anyhow::{Context, Result, ensure};

const GROUP: &str = "Addresses";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "dhcp4",
        title: "DHCPv4 lease for every guest (udhcpc)",
        needs: &[],
        run: dhcp4,
    },
    Check {
        group: GROUP,
        name: "dhcp6",
        title: "DHCPv6 address for every guest (dhclient)",
        needs: &[],
        run: dhcp6,
    },
    Check {
        group: GROUP,
        name: "router",
        title: "router solicitation answered (rdisc6)",
        needs: &[],
        run: router,
    },
    Check {
        group: GROUP,
        name: "ping-gateway4",
        title: "ping of the gateway, IPv4",
        needs: &["dhcp4"],
        run: |lab| ping(lab, "g1", GATEWAY4),
    },
    Check {
        group: GROUP,
        name: "ping-gateway6",
        title: "ping of the gateway, IPv6",
        needs: &["dhcp6", "router"],
        run: |lab| ping(lab, "g1", &format!("{GATEWAY6}%g1")),
    },
];

fn dhcp4(lab: &mut Lab) -> Result<String> {
    for guest in &GUESTS {
        let lease = lab.dhcp4(guest)?;
        expect(guest, &lease, "ip", guest.ip4)?;
        expect(guest, &lease, "router", GATEWAY4)?;
        expect(guest, &lease, "mtu", GUEST_MTU)?;
        expect(guest, &lease, "dns", DNS[0])?;
    }
    Ok(format!("{}..., router {GATEWAY4}, MTU {GUEST_MTU}, DNS {}", GUESTS[0].ip4, DNS[0]))
}

fn dhcp6(lab: &mut Lab) -> Result<String> {
    for guest in &GUESTS {
        let lease = lab.dhcp6(guest)?;
        expect(guest, &lease, "new_ip6_address", guest.ip6)?;
        expect(guest, &lease, "new_dhcp6_name_servers", DNS[1])?;
    }
    Ok(format!("{}..., DNS {}", GUESTS[0].ip6, DNS[1]))
}

fn expect(guest: &Guest, lease: &Lease, name: &str, value: &str) -> Result<()> {
    let seen =
        lease.get(name).with_context(|| format!("{}: no {name} in {lease:?}", guest.name))?;
    ensure!(seen == value, "{}: {name} is {seen}, not {value}", guest.name);
    Ok(())
}

fn router(lab: &mut Lab) -> Result<String> {
    let guest = guest("g1");
    let text = lab.on(guest.name, "rdisc6", &["-1", "-r", "3", "-w", "1000", guest.name])?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
        value.with_context(|| format!("no '{name}' in the advertisement:\n{text}"))
    };
    ensure!(text.contains(GATEWAY6), "not from {GATEWAY6}:\n{text}");
    let managed = field("Stateful address conf")?;
    ensure!(managed == "Yes", "'stateful address conf.' is {managed}: DHCPv6 would not be asked");
    let mtu = field("MTU")?;
    ensure!(mtu.starts_with(GUEST_MTU), "MTU is {mtu}");
    for guest in &GUESTS {
        let route = lab.wait_default_route6(guest.name)?;
        ensure!(route.contains(GATEWAY6), "the kernel of {} took {route}", guest.name);
    }
    Ok(format!("from {GATEWAY6}, managed, MTU {GUEST_MTU}; default routes taken"))
}
