// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! This project: `xde` on each hypervisor, and `xde boundary` to the outside.

use crate::binaries::Binaries;
use crate::lab::sandbox::Sandbox;
use crate::peers::addresses::{
    BOUNDARY, CLIENT, EXTERNAL, EXTERNAL_PORTS, GATEWAY, GATEWAY_MAC, Guest, HOSTS, INSIDE,
    OUTSIDE, SUBNET,
};
use crate::peers::site::{GUEST_MTU, Site, UNDERLAY_MTU, end};
use crate::shell::Cmd;
use anyhow::Result;
use std::path::Path;

/// The VPC.
const VNI: &str = "100";
/// Packets to and from the boundary.
const BOUNDARY_VNI: &str = "99";
/// The boundary's own address outside.
const BOUNDARY_OUTSIDE: &str = "203.0.113.1/24";

/// A machine with `xde`.
struct Host<'a> {
    site: &'a Site,
    name: &'static str,
    opteadm: &'a Path,
}

impl Host<'_> {
    fn tell(&self, args: &[&str]) -> Result<()> {
        let socket = self.site.file(&format!("{}.sock", self.name));
        Cmd::new(self.opteadm).arg("--socket").arg(socket).args(args).run().map(drop)
    }

    /// A port whose guest is the machine of that name.
    fn port(&self, on: &str, guest: &Guest, underlay: &str, options: &[&str]) -> Result<()> {
        let port = [
            ["create-xde", "eth0"],
            ["--mac", guest.mac],
            ["--vni", VNI],
            ["--underlay-ip", underlay],
            ["--private-ip4", guest.ip],
            ["--subnet4", SUBNET],
            ["--gateway-ip4", GATEWAY],
        ];
        self.tell(&[&port.concat(), options].concat())?;
        let subnet = format!("subnet={SUBNET}");
        self.tell(&["add-router-entry", "-p", "eth0", SUBNET, &subnet, "system"])?;
        self.tell(&["add-router-entry", "-p", "eth0", "0.0.0.0/0", "ig", "system"])?;
        let rule = format!("dir=in action=allow priority=1000 hosts=vni={VNI}");
        self.tell(&["add-fw-rule", "-p", "eth0", &rule])?;
        self.site.move_link(end(self.name, "eth0"), on)?;
        let (ip, mac) = (guest.ip, guest.mac);
        self.site.ip(
            on,
            &format!(
                "link set eth0 address {mac} mtu {GUEST_MTU} up\naddr add {ip}/32 dev eth0\n\
                 route add {GATEWAY} dev eth0\nroute add default via {GATEWAY}\n\
                 neigh add {GATEWAY} lladdr {GATEWAY_MAC} dev eth0\n"
            ),
        )
    }
}

fn start(site: &mut Site, name: &'static str, xde: &Path, args: &[&str]) -> Result<()> {
    let socket = site.file(&format!("{name}.sock"));
    let cmd = site.exec(name, &xde.to_string_lossy()).args(args).arg("--socket").arg(&socket);
    site.start_datapath(name, "xde", cmd)?.wait_ready("serves", |_| Ok(socket.exists()))
}

/// Two hypervisors, a guest on each.
pub fn inside(sandbox: &Sandbox, name: &str, binaries: &Binaries) -> Result<Site> {
    let mut site = Site::new(sandbox, name, &["a", "h1", "h2", "b"])?;
    site.join(end("h1", "ul0"), end("h2", "ul0"), UNDERLAY_MTU)?;
    let sides = [("h1", HOSTS[0], "a", &CLIENT), ("h2", HOSTS[1], "b", &INSIDE)];
    for (host, underlay, _, _) in sides {
        site.ip(host, &format!("addr add {underlay}/64 dev ul0 nodad\n"))?;
        start(&mut site, host, &binaries.xde, &["--underlay", "ul0"])?;
    }
    for (name, underlay, on, guest) in sides {
        let host = Host { site: &site, name, opteadm: &binaries.opteadm };
        for (_, underlay, _, guest) in sides {
            host.tell(&["set-v2p", guest.ip, guest.mac, underlay, VNI])?;
        }
        host.port(on, guest, underlay, &[])?;
    }
    Ok(site)
}

/// A hypervisor with a guest, and a boundary.
pub fn outside(sandbox: &Sandbox, name: &str, binaries: &Binaries) -> Result<Site> {
    let mut site = Site::new(sandbox, name, &["a", "h1", "bnd", "ext"])?;
    site.join(end("h1", "ul0"), end("bnd", "ul0"), UNDERLAY_MTU)?;
    site.join(end("ext", "eth0"), end("bnd", "ext0"), GUEST_MTU)?;
    let underlay = HOSTS[0];
    site.ip("h1", &format!("addr add {underlay}/128 dev ul0 nodad\n"))?;
    site.ip("h1", &format!("route add {BOUNDARY}/128 dev ul0\n"))?;
    site.ip("bnd", &format!("addr add {BOUNDARY}/128 dev ul0 nodad\n"))?;
    site.ip("bnd", &format!("route add {underlay}/128 dev ul0\n"))?;
    site.ip("bnd", &format!("addr add {BOUNDARY_OUTSIDE} dev ext0\n"))?;
    site.ip("ext", &OUTSIDE.interface("eth0"))?;
    start(&mut site, "h1", &binaries.xde, &["--underlay", "ul0"])?;
    let role = ["boundary", "--outside", "ext0", "--underlay-ip", BOUNDARY, "--vni", BOUNDARY_VNI];
    start(&mut site, "bnd", &binaries.xde, &role)?;
    let range = format!("{EXTERNAL}:{EXTERNAL_PORTS}");
    let host = Host { site: &site, name: "h1", opteadm: &binaries.opteadm };
    host.tell(&["set-v2b", "0.0.0.0/0", &format!("{BOUNDARY},vni={BOUNDARY_VNI}")])?;
    host.port("a", &CLIENT, underlay, &["--snat", &range])?;
    let boundary = Host { site: &site, name: "bnd", opteadm: &binaries.opteadm };
    boundary.tell(&["add-boundary-nat", &range, underlay, VNI, CLIENT.mac])?;
    Ok(site)
}
