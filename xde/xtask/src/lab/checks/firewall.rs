// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port lets through and what it does not.

use super::{Check, curl, curl_fails};
use crate::lab::Lab;
use crate::lab::topology::{VNI, guest};
use anyhow::{Result, ensure};

const GROUP: &str = "Protection";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "spoofed",
        title: "spoofed source dropped and counted",
        needs: &["dhcp4", "dhcp6", "router"],
        run: spoofed,
    },
    Check {
        group: GROUP,
        name: "default-deny",
        title: "inbound denied by default, allowed by a rule",
        needs: &["dhcp4"],
        run: default_deny,
    },
];

/// Addresses of the VPC's subnets that are not the guest's.
const FALSE_SOURCES: [(&str, &str); 2] = [("10.0.0.77", "/32"), ("fd00:100::77", "/128")];

fn spoofed(lab: &mut Lab) -> Result<String> {
    let [from, to] = [guest("g1"), guest("g3")];
    let mut dropped = 0;
    for ((source, len), target) in FALSE_SOURCES.into_iter().zip(super::both(to)) {
        let address = format!("{source}{len} dev {}", from.name);
        let nodad = if source.contains(':') { " nodad" } else { "" };
        lab.net.batch(from.name, &format!("addr add {address}{nodad}\n"))?;
        let counted = lab.counting(from, "out_drop_spoofed", || {
            let args = ["-n", "-c", "2", "-i", "0.1", "-W", "1", "-I", source, target];
            let output = lab.attempt(from.name, "ping", &args)?;
            ensure!(output.stdout.contains("100% packet loss"), "not lost:\n{}", output.stdout);
            Ok(())
        });
        lab.net.batch(from.name, &format!("addr del {address}\n"))?;
        dropped += counted?;
    }
    let seen = lab
        .capture(to.name)?
        .find("ip.src == 10.0.0.77 || ipv6.src == fd00:100::77", &["frame.number"])?;
    ensure!(seen.is_empty(), "{} got {} of the packets", to.name, seen.len());
    Ok(format!(
        "ping from {} and {}: out_drop_spoofed +{dropped}",
        FALSE_SOURCES[0].0, FALSE_SOURCES[1].0
    ))
}

fn default_deny(lab: &mut Lab) -> Result<String> {
    let [from, to] = [guest("g1"), guest("g3")];
    if lab.web("g3-8080").is_err() {
        lab.start_web("g3-8080", to.name, 8080)?;
    }
    let url = format!("http://{}:8080/", to.ip4);
    let denied =
        lab.counting(to, "in_drop_firewall_default", || curl_fails(lab, from.name, &url))?;
    let id = lab.allow(to, 500, &format!("hosts=vni={VNI} protocol=tcp port=8080"))?;
    let page = curl(lab, from.name, &url);
    lab.disallow(to, &id)?;
    ensure!(page? == "g3-8080", "another server answered");
    lab.counting(to, "in_drop_firewall_default", || curl_fails(lab, from.name, &url))?;
    Ok(format!("TCP 8080: in_drop_firewall_default +{denied}; open with the rule, closed without"))
}
