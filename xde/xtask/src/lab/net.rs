// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Network namespaces, links, addresses and routes.

use crate::lab::topology::{
    BOUNDARY, BOUNDARY_OUTSIDE, GUESTS, OUTSIDE_LINK, ROUTER, SWITCH, UNDERLAY_LINK, UNDERLAY_MTU,
    WEBS, namespaces, underlay_hosts,
};
use crate::shell::Cmd;
use anyhow::Result;
use std::fmt::Write;

/// Prefix lengths on the link between boundary and router.
const OUTSIDE_PREFIX: [u8; 2] = [24, 64];
/// Prefix lengths on a web server's link.
const WEB_PREFIX: [u8; 2] = [29, 64];

/// The namespaces of one run.
pub struct Net {
    run: String,
}

impl Net {
    /// For the run with that name; nothing is made yet.
    pub fn new(run: &str) -> Self {
        Self { run: run.into() }
    }

    /// Full name of a namespace.
    pub fn netns(&self, name: &str) -> String {
        format!("{}-{name}", self.run)
    }

    /// A call of `program` inside a namespace.
    pub fn exec(&self, name: &str, program: &str) -> Cmd {
        Cmd::new("ip").args(["netns", "exec", &self.netns(name), program])
    }

    /// Makes everything but the guests' devices, which come with their ports.
    pub fn create(&self) -> Result<()> {
        for name in namespaces() {
            Cmd::new("ip").args(["netns", "add", &self.netns(name)]).run()?;
            self.exec(name, "sh").args(["-c", &settings(name)]).run()?;
        }
        self.batch(SWITCH, &self.underlay())?;
        self.batch(ROUTER.name, &self.outside())?;
        for host in underlay_hosts() {
            self.batch(host.name, &host_side(host.underlay))?;
        }
        let outside = end(OUTSIDE_LINK, &BOUNDARY_OUTSIDE, OUTSIDE_PREFIX, &ROUTER.addresses);
        self.batch(BOUNDARY.name, &outside)?;
        for web in &WEBS {
            self.batch(web.name, &end("eth0", &web.addresses, WEB_PREFIX, &web.router))?;
        }
        Ok(())
    }

    /// Runs `ip` commands inside a namespace, all or up to the first that fails.
    pub fn batch(&self, name: &str, commands: &str) -> Result<()> {
        Cmd::new("ip")
            .args(["-netns", &self.netns(name), "-batch", "-"])
            .input(commands)
            .run()
            .map(drop)
    }

    /// The switch with one link to each host.
    fn underlay(&self) -> String {
        let mut text = format!(
            "link add br0 mtu {UNDERLAY_MTU} type bridge mcast_snooping 0\nlink set br0 up\n"
        );
        for host in underlay_hosts() {
            let (name, netns) = (host.name, self.netns(host.name));
            writeln!(text, "link add {name} mtu {UNDERLAY_MTU} type veth peer name {UNDERLAY_LINK} mtu {UNDERLAY_MTU} netns {netns}").ok();
            writeln!(text, "link set {name} master br0 up").ok();
        }
        text
    }

    /// The router with its links to the boundary and to the web servers.
    fn outside(&self) -> String {
        let mut text = "link set lo up\n".to_owned();
        let netns = self.netns(BOUNDARY.name);
        writeln!(text, "link add {OUTSIDE_LINK} type veth peer name {OUTSIDE_LINK} netns {netns}")
            .ok();
        text += &interface(OUTSIDE_LINK, &ROUTER.addresses, OUTSIDE_PREFIX);
        for web in &WEBS {
            let netns = self.netns(web.name);
            writeln!(text, "link add {} type veth peer name eth0 netns {netns}", web.name).ok();
            text += &interface(web.name, &web.router, WEB_PREFIX);
        }
        text
    }
}

/// Kernel settings of a namespace, as a shell script.
fn settings(name: &str) -> String {
    let sysctls: &[(&str, u8)] = if name == SWITCH {
        // It only passes frames on.
        &[("ipv6/conf/all/disable_ipv6", 1), ("ipv6/conf/default/disable_ipv6", 1)]
    } else if GUESTS.iter().any(|guest| guest.name == name) {
        // As a machine that was just installed: it detects duplicates, it hears routers.
        &[("ipv6/conf/default/accept_ra", 1)]
    } else if name == ROUTER.name {
        // Traceroute asks more often than a router answers by default.
        &[
            ("ipv4/ip_forward", 1),
            ("ipv6/conf/all/forwarding", 1),
            ("ipv4/icmp_ratelimit", 0),
            ("ipv6/icmp/ratelimit", 0),
        ]
    } else {
        &[
            ("ipv6/conf/default/accept_ra", 0),
            ("ipv4/icmp_ratelimit", 0),
            ("ipv6/icmp/ratelimit", 0),
        ]
    };
    let lines = sysctls.iter().map(|(key, value)| format!("echo {value} >/proc/sys/net/{key}\n"));
    ["set -e\n".to_owned()].into_iter().chain(lines).collect()
}

fn host_side(address: &str) -> String {
    format!(
        "link set lo up\nlink set {UNDERLAY_LINK} up\n\
         addr add {address}/64 dev {UNDERLAY_LINK} nodad\n"
    )
}

/// An end of the network: one interface, everything else behind `router`.
fn end(link: &str, addresses: &[&str; 2], prefix_len: [u8; 2], router: &[&str; 2]) -> String {
    let mut text = "link set lo up\n".to_owned() + &interface(link, addresses, prefix_len);
    for router in router {
        writeln!(text, "route add default via {router} dev {link}").ok();
    }
    text
}

fn interface(link: &str, addresses: &[&str; 2], prefix_len: [u8; 2]) -> String {
    let mut text = format!("link set {link} up\n");
    for (address, len) in addresses.iter().zip(prefix_len) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        writeln!(text, "addr add {address}/{len} dev {link}{nodad}").ok();
    }
    text
}
