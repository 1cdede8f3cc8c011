// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the kernel does by itself: a cable, a bridge with VXLAN, masquerade.

use crate::lab::sandbox::Sandbox;
use crate::peers::addresses::{CLIENT, EXTERNAL, GATEWAY, HOSTS, INSIDE, OUTSIDE};
use crate::peers::site::{End, GUEST_MTU, Site, UNDERLAY_MTU, end};
use anyhow::Result;

/// A firewall that lets what the guests may open, and what belongs to it. A bridge shows it IPv4
/// packets by `br_netfilter`.
const FIREWALL: &str = "\
table inet firewall {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct state new ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 meta l4proto { tcp, udp, icmp } accept
    }
}
";
/// Translation of sources.
const MASQUERADE: &str = "\
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname \"ext0\" masquerade
    }
}
";
/// VXLAN's port (RFC 7348, section 5).
const VXLAN: &str = "type vxlan id 100 dstport 4789";

/// Two guests and a cable.
pub fn veth(sandbox: &Sandbox, name: &str) -> Result<Site> {
    let site = Site::new(sandbox, name, &["a", "b"])?;
    site.join(end("a", "eth0"), end("b", "eth0"), GUEST_MTU)?;
    site.ip("a", &CLIENT.interface("eth0"))?;
    site.ip("b", &INSIDE.interface("eth0"))?;
    Ok(site)
}

/// A bridge on each hypervisor, with the guest and VXLAN over IPv6.
pub fn vxlan(sandbox: &Sandbox, name: &str) -> Result<Site> {
    let site = Site::new(sandbox, name, &["a", "h1", "h2", "b"])?;
    site.join(end("h1", "ul0"), end("h2", "ul0"), UNDERLAY_MTU)?;
    for (at, (host, guest)) in [("h1", ("a", &CLIENT)), ("h2", ("b", &INSIDE))].iter().enumerate() {
        let (guest, who) = guest;
        site.join(end(guest, "eth0"), end(host, "guest"), GUEST_MTU)?;
        site.ip(guest, &who.interface("eth0"))?;
        let [here, there] = [HOSTS[at], HOSTS[1 - at]];
        site.ip(
            host,
            &format!(
                "addr add {here}/64 dev ul0 nodad\n\
                 link add vx0 mtu {GUEST_MTU} {VXLAN} local {here} remote {there} dev ul0\n\
                 link add br0 type bridge\n\
                 link set guest master br0\nlink set vx0 master br0\n\
                 link set vx0 up\nlink set br0 up\n"
            ),
        )?;
        site.set(host, &[("bridge/bridge-nf-call-iptables", "1")])?;
        nft(&site, host, FIREWALL)?;
    }
    Ok(site)
}

/// A router that translates.
pub fn masquerade(sandbox: &Sandbox, name: &str) -> Result<Site> {
    let site = Site::new(sandbox, name, &["a", "h1", "ext"])?;
    site.join(end("a", "eth0"), end("h1", "guest"), GUEST_MTU)?;
    site.join(end("ext", "eth0"), end("h1", "ext0"), GUEST_MTU)?;
    client(&site, end("a", "eth0"))?;
    site.ip("ext", &OUTSIDE.interface("eth0"))?;
    site.ip("h1", &format!("addr add {GATEWAY}/24 dev guest\naddr add {EXTERNAL}/24 dev ext0\n"))?;
    site.set("h1", &[("ipv4/ip_forward", "1")])?;
    nft(&site, "h1", MASQUERADE)?;
    Ok(site)
}

/// A client with a way to the outside.
pub fn client(site: &Site, at: End) -> Result<()> {
    site.ip(at.on, &CLIENT.interface(at.link))?;
    site.ip(at.on, &format!("route add default via {GATEWAY}\n"))
}

fn nft(site: &Site, host: &str, rules: &str) -> Result<()> {
    site.exec(host, "nft").args(["-f", "-"]).input(rules).run().map(drop)
}
