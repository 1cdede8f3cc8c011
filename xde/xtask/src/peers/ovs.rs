// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Open vSwitch with its data path in user space (`datapath_type=netdev`).
//!
//! Each hypervisor runs a database and a switch of its own. Its tunnels need a bridge that has the
//! underlay's link and address, because the switch sends tunnel packets by itself. It cannot cut
//! segments, so guests must not leave that to it.

use crate::lab::sandbox::Sandbox;
use crate::peers::addresses::{
    CLIENT, EXTERNAL, EXTERNAL_PORTS, GATEWAY, GATEWAY_MAC, HOSTS, INSIDE, OUTSIDE,
};
use crate::peers::kernel::client;
use crate::peers::site::{GUEST_MTU, Site, UNDERLAY_MTU, end};
use crate::shell::{Cmd, wait_until};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// What the guests may open, and what belongs to it.
const FIREWALL: &str = "\
table=0,priority=10,arp,actions=NORMAL
table=0,priority=10,ip,actions=ct(table=1,zone=1)
table=1,priority=10,ct_state=+trk+est,ip,actions=NORMAL
table=1,priority=10,ct_state=+trk+rel,ip,actions=NORMAL
table=1,priority=9,ct_state=+trk+new,ip,nw_src=10.0.0.0/24,nw_dst=10.0.0.0/24,actions=ct(commit,zone=1),NORMAL
table=1,priority=1,ip,actions=drop
";

/// A bridge on each hypervisor, with the guest and Geneve over IPv6.
pub fn geneve(sandbox: &Sandbox, name: &str) -> Result<Site> {
    let mut site = Site::new(sandbox, name, &["a", "h1", "h2", "b"])?;
    site.join(end("h1", "ul0"), end("h2", "ul0"), UNDERLAY_MTU)?;
    for (at, (host, guest)) in [("h1", ("a", &CLIENT)), ("h2", ("b", &INSIDE))].iter().enumerate() {
        let (guest, who) = guest;
        site.join(end(guest, "eth0"), end(host, "guest"), GUEST_MTU)?;
        site.ip(guest, &who.interface("eth0"))?;
        whole_packets(&site, guest)?;
        start(&mut site, host)?;
        tunnel(&site, host, HOSTS[at], HOSTS[1 - at])?;
        flows(&site, host, FIREWALL)?;
    }
    for (host, there, peer) in [("h1", HOSTS[1], "h2"), ("h2", HOSTS[0], "h1")] {
        let mac = site.exec(peer, "cat").arg("/sys/class/net/br-ul/address").run()?;
        control(&site, host, &["tnl/neigh/set", "br-ul", there, mac.trim()])?;
    }
    Ok(site)
}

/// A switch that translates sources between a guest and the outside.
pub fn snat(sandbox: &Sandbox, name: &str) -> Result<Site> {
    let mut site = Site::new(sandbox, name, &["a", "h1", "ext"])?;
    site.join(end("a", "eth0"), end("h1", "guest"), GUEST_MTU)?;
    site.join(end("ext", "eth0"), end("h1", "ext0"), GUEST_MTU)?;
    client(&site, end("a", "eth0"))?;
    site.ip("a", &format!("neigh add {GATEWAY} lladdr {GATEWAY_MAC} dev eth0\n"))?;
    site.ip("ext", &OUTSIDE.interface("eth0"))?;
    site.ip("ext", &format!("neigh add {EXTERNAL} lladdr {GATEWAY_MAC} dev eth0\n"))?;
    for end in ["a", "ext"] {
        whole_packets(&site, end)?;
    }
    start(&mut site, "h1")?;
    bridge(&site, "h1", "br0", &[])?;
    configure(&site, "h1", &["add-port", "br0", "guest"])?;
    configure(&site, "h1", &["add-port", "br0", "ext0"])?;
    let nat = format!("nat(src={EXTERNAL}:{EXTERNAL_PORTS})");
    let to =
        |mac: &str, port: &str| format!("mod_dl_src:{GATEWAY_MAC},mod_dl_dst:{mac},output:{port}");
    let (out, back) = (to(OUTSIDE.mac, "ext0"), to(CLIENT.mac, "guest"));
    let rules = format!(
        "table=0,priority=10,ip,in_port=guest,actions=ct(table=1,zone=1,nat)\n\
         table=0,priority=10,ip,in_port=ext0,actions=ct(table=2,zone=1,nat)\n\
         table=1,priority=10,ct_state=+trk+new,ip,actions=ct(commit,zone=1,{nat}),{out}\n\
         table=1,priority=10,ct_state=+trk+est,ip,actions={out}\n\
         table=2,priority=10,ct_state=+trk+est,ip,actions={back}\n\
         table=2,priority=10,ct_state=+trk+rel,ip,actions={back}\n"
    );
    flows(&site, "h1", &rules)?;
    Ok(site)
}

/// Guests make packets that need no more work: the switch does none.
fn whole_packets(site: &Site, guest: &str) -> Result<()> {
    let off = ["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"];
    site.exec(guest, "ethtool").args(off).run().map(drop)
}

/// The database and the switch of a hypervisor.
fn start(site: &mut Site, host: &str) -> Result<()> {
    let folder = site.file(host);
    std::fs::create_dir_all(&folder)?;
    let database = folder.join("conf.db");
    Cmd::new("ovsdb-tool").arg("create").args([&database, Path::new(SCHEMA)]).run()?;
    let socket = folder.join("db.sock");
    let server = in_folder(site.exec(host, "ovsdb-server"), &folder)
        .arg(&database)
        .arg(format!("--remote=punix:{}", socket.display()))
        .arg(format!("--unixctl={}", folder.join("db.ctl").display()))
        .args(["--verbose=ANY:syslog:off", "--verbose=ANY:file:off"]);
    site.start(host, "ovsdb", server)?.wait_ready("listens", |_| Ok(socket.exists()))?;
    configure(site, host, &["init"])?;
    let ctl = folder.join("switch.ctl");
    let switch = in_folder(site.exec(host, "ovs-vswitchd"), &folder)
        .arg(format!("unix:{}", socket.display()))
        .arg(format!("--unixctl={}", ctl.display()))
        .args(["--verbose=ANY:syslog:off", "--verbose=ANY:file:off"]);
    site.start_datapath(host, "ovs", switch)?.wait_ready("listens", |_| Ok(ctl.exists()))
}

fn in_folder(cmd: Cmd, folder: &Path) -> Cmd {
    cmd.env("OVS_RUNDIR", folder).env("OVS_LOGDIR", folder).env("OVS_DBDIR", folder)
}

/// Changes the database, and waits until the switch has followed.
fn configure(site: &Site, host: &str, args: &[&str]) -> Result<()> {
    let socket = format!("--db=unix:{}", site.file(host).join("db.sock").display());
    let wait: &[&str] = if args == ["init"] { &["--no-wait"] } else { &["--timeout=10"] };
    site.exec(host, "ovs-vsctl").arg(socket).args(wait).args(args).run().map(drop)
}

fn control(site: &Site, host: &str, args: &[&str]) -> Result<String> {
    let ctl = site.file(host).join("switch.ctl");
    site.exec(host, "ovs-appctl").arg("-t").arg(ctl).args(args).run()
}

fn bridge(site: &Site, host: &str, name: &str, options: &[&str]) -> Result<()> {
    let kind = ["add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"];
    configure(site, host, &[&kind, options].concat())?;
    site.ip(host, &format!("link set {name} up\n"))
}

/// The bridge to the guest, and the one that has the underlay.
fn tunnel(site: &Site, host: &str, here: &str, there: &str) -> Result<()> {
    bridge(site, host, "br-ul", &[])?;
    configure(site, host, &["add-port", "br-ul", "ul0"])?;
    site.ip(
        host,
        &format!("link set br-ul mtu {UNDERLAY_MTU}\naddr add {here}/64 dev br-ul nodad\n"),
    )?;
    bridge(site, host, "br0", &[])?;
    configure(site, host, &["add-port", "br0", "guest"])?;
    let (local, remote) =
        (format!("options:local_ip={here}"), format!("options:remote_ip={there}"));
    let port = ["add-port", "br0", "gnv0", "--", "set", "interface", "gnv0", "type=geneve"];
    configure(site, host, &[&port[..], &["options:key=100", &local, &remote]].concat())?;
    // The switch reads the kernel's routes, some time after they are made.
    wait_until("route of the tunnel", Duration::from_secs(5), || {
        let routes = control(site, host, &["ovs/route/show"])?;
        Ok(routes.contains("fd00:1::/64").then_some(()))
    })
    .context("ovs-vswitchd")
}

fn flows(site: &Site, host: &str, rules: &str) -> Result<()> {
    let file = site.file(&format!("{host}.flows"));
    std::fs::write(&file, rules)?;
    let socket = format!("unix:{}", site.file(host).join("br0.mgmt").display());
    let replace = ["-O", "OpenFlow13", "replace-flows"];
    site.exec(host, "ovs-ofctl").args(replace).arg(socket).arg(file).run().map(drop)
}
