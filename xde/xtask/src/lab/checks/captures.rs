// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What another reader makes of all packets so far. It stands before those checks that send
//! nonsense on purpose.

use super::Check;
use crate::lab::Lab;
use anyhow::{Result, ensure};

pub const CHECKS: &[Check] = &[Check {
    group: "Operating",
    name: "malformed",
    title: "tshark finds no malformed packet",
    needs: &[],
    run: malformed,
}];

/// Frames that tshark calls malformed in a protocol that xde writes or rewrites. What guests say inside of
/// UDP is theirs, and a random port of source NAT may be one for which tshark expects some language.
const OURS: &str = "_ws.malformed && frame.protocols matches \
    \":(eth|ethertype|ip|ipv6|tcp|udp|icmp|icmpv6|arp|geneve|dhcp|dhcpv6|igmp|data)$\"";

fn malformed(lab: &mut Lab) -> Result<String> {
    let fields = ["frame.number", "frame.protocols", "_ws.expert.message"];
    for (name, capture) in &lab.captures {
        let found = capture.find(OURS, &fields)?;
        ensure!(found.is_empty(), "{name}: {} malformed, such as {:?}", found.len(), found.first());
    }
    Ok(format!("{} captures", lab.captures.len()))
}
