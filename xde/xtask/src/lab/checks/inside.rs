// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Guests of one VPC talk to each other.

use super::{Check, both, ping};
use crate::lab::Lab;
use crate::lab::topology::{BOUNDARY_VNI, Guest, VNI, guest};
use crate::shell::Cmd;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

const GROUP: &str = "Inside the VPC";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "ping-local",
        title: "guest to guest on one host, both families",
        needs: &["dhcp4", "dhcp6", "router"],
        run: ping_local,
    },
    Check {
        group: GROUP,
        name: "ping-across",
        title: "guest to guest across hosts, IPv4",
        needs: &["dhcp4"],
        run: |lab| across(lab, 0),
    },
    Check {
        group: GROUP,
        name: "ping-across6",
        title: "guest to guest across hosts, IPv6",
        needs: &["dhcp6", "router"],
        run: |lab| across(lab, 1),
    },
    Check {
        group: GROUP,
        name: "transfer",
        title: "200 MB by TCP across hosts, same checksum",
        needs: &["dhcp4"],
        run: transfer,
    },
];

/// Size of the transfer, in megabytes.
const TRANSFER_MB: usize = 200;

fn ping_local(lab: &mut Lab) -> Result<String> {
    let [from, to] = [guest("g1"), guest("g2")];
    let mut times = Vec::new();
    for address in both(to) {
        times.push(ping(lab, from.name, address)?);
        let inner = inner_filter(address);
        let leaked = lab.capture("underlay-h1")?.find(&format!("geneve && {inner}"), FIELDS)?;
        ensure!(leaked.is_empty(), "packets between guests of one host left it: {leaked:?}");
    }
    Ok(format!("{} to {}: {}, none on the underlay", from.name, to.name, times.join(", ")))
}

/// What tshark is asked about packets on the underlay.
const FIELDS: &[&str] = &["ipv6.src", "ipv6.dst", "geneve.vni", "eth.dst"];

fn across(lab: &mut Lab, family: usize) -> Result<String> {
    let [from, to] = [guest("g1"), guest("g3")];
    let address = both(to)[family];
    let time = ping(lab, from.name, address)?;
    let filter = format!("geneve && {} && icmp{}", inner_filter(address), ["", "v6"][family]);
    let rows = lab.capture("underlay-h1")?.expect(&filter, FIELDS)?;
    let vni = rows.iter().find(|row| goes(row, from, to)).map(|row| row[2].as_str());
    let vni = vni.with_context(|| format!("not between the hosts: {rows:?}"))?;
    ensure!(number(vni) == VNI.parse().ok(), "the VNI is {vni}, not {VNI}");
    ensure!(VNI != BOUNDARY_VNI, "the lab confuses its VNIs");
    let hosts = [from.host.underlay, to.host.underlay];
    Ok(format!("{time}; tshark: Geneve {} > {}, VNI {VNI}, inner {address}", hosts[0], hosts[1]))
}

/// Packets whose inner destination is `address`.
fn inner_filter(address: &str) -> String {
    format!("{} == {address}", if address.contains(':') { "ipv6.dst" } else { "ip.dst" })
}

/// The packet goes from host to host, and inside to the other guest. A field that is there twice
/// shows the outer value first.
fn goes(row: &[String], from: &Guest, to: &Guest) -> bool {
    let first = |at: usize| row.get(at).and_then(|values| values.split(',').next());
    let last = |at: usize| row.get(at).and_then(|values| values.split(',').next_back());
    first(0) == Some(from.host.underlay)
        && first(1) == Some(to.host.underlay)
        && last(3) == Some(to.mac)
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn transfer(lab: &mut Lab) -> Result<String> {
    let [from, to] = [guest("g1"), guest("g3")];
    let file = lab.web_root(to.name).join("transfer");
    let script = format!("head -c {TRANSFER_MB}000000 /dev/urandom > \"$0\"; sha256sum < \"$0\"");
    let sent = Cmd::new("sh").args(["-c", &script]).arg(&file).run()?;
    let begin = Instant::now();
    let script = format!("set -o pipefail; curl -sS http://{}/transfer | sha256sum", to.ip4);
    let exec = lab.net.exec(from.name, "bash").args(["-c", &script]);
    let received = exec.timeout(Duration::from_secs(120)).run();
    let seconds = begin.elapsed().as_secs_f64();
    fs::remove_file(&file)?;
    let (sent, received) = (sent.trim(), received?);
    ensure!(received.trim() == sent, "sent {sent}, received {received}");
    let rate = TRANSFER_MB as f64 * 8.0 / 1000.0 / seconds;
    Ok(format!("SHA-256 {}..., {rate:.1} Gbit/s while being captured", &sent[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_both_headers_are_told_apart() {
        let row = |src: &str, dst: &str, mac: &str| {
            [src, dst, "0x000064", mac].map(String::from).to_vec()
        };
        let [from, to] = [guest("g1"), guest("g3")];
        let mac = format!("aa:bb:cc:dd:ee:ff,{}", to.mac);
        let v4 = row("fd00:1::1", "fd00:1::2", &mac);
        assert!(goes(&v4, from, to));
        assert!(goes(&row("fd00:1::1,fd00:100::11", "fd00:1::2,fd00:100::13", &mac), from, to));
        assert!(!goes(&row("fd00:1::2", "fd00:1::1", &mac), from, to));
        assert!(!goes(&row("fd00:1::1", "fd00:1::2", "aa:bb:cc:dd:ee:ff"), from, to));
        assert_eq!(number("0x000064"), Some(100));
        assert_eq!(number("100"), Some(100));
    }
}
