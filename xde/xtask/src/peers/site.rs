// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A place of one path: its machines, the links between them, and what runs on them.

use crate::lab::net::Net;
use crate::lab::processes::Daemon;
use crate::lab::sandbox::Sandbox;
use crate::shell::Cmd;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// MTU of guests.
pub const GUEST_MTU: u16 = 1500;
/// MTU between hypervisors.
pub const UNDERLAY_MTU: u16 = 9000;

/// Machines that make or take traffic, which is IPv4: nothing else shall come from them.
const ENDS: [&str; 3] = ["a", "b", "ext"];

/// Machines of one path, with a name of their own in the run.
pub struct Site {
    net: Net,
    name: String,
    folder: PathBuf,
    logs: PathBuf,
    programs: Vec<Daemon>,
    datapath: Vec<u32>,
}

/// One end of a link.
#[derive(Clone, Copy)]
pub struct End {
    /// The machine.
    pub on: &'static str,
    /// Name of the interface.
    pub link: &'static str,
}

/// The end of a link on a machine.
pub const fn end(on: &'static str, link: &'static str) -> End {
    End { on, link }
}

impl Site {
    /// With these machines and no links.
    pub fn new(sandbox: &Sandbox, name: &str, machines: &[&str]) -> Result<Self> {
        let folder = sandbox.scratch().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let site = Self {
            net: Net::new(&format!("{}-{name}", sandbox.run())),
            name: name.into(),
            folder,
            logs: sandbox.logs().into(),
            programs: Vec::new(),
            datapath: Vec::new(),
        };
        for machine in machines {
            Cmd::new("ip").args(["netns", "add", &site.net.netns(machine)]).run()?;
            if ENDS.contains(machine) {
                let off = |of: &str| format!("ipv6/conf/{of}/disable_ipv6");
                site.set(machine, &[(&off("all"), "1"), (&off("default"), "1")])?;
            }
            site.ip(machine, "link set lo up\n")?;
        }
        Ok(site)
    }

    /// Runs `ip` commands on a machine.
    pub fn ip(&self, on: &str, commands: &str) -> Result<()> {
        self.net.batch(on, commands)
    }

    /// A call of a program on a machine.
    pub fn exec(&self, on: &str, program: &str) -> Cmd {
        self.net.exec(on, program)
    }

    /// Sets kernel parameters, below `/proc/sys/net`.
    pub fn set(&self, on: &str, parameters: &[(&str, &str)]) -> Result<()> {
        for (name, value) in parameters {
            let path = format!("/proc/sys/net/{name}");
            self.exec(on, "sh").args(["-c", "echo $1 >$2", "sh", value, &path]).run()?;
        }
        Ok(())
    }

    /// Joins two machines by a veth pair, which is up at both ends.
    pub fn join(&self, one: End, other: End, mtu: u16) -> Result<()> {
        let netns = self.net.netns(other.on);
        let (link, peer) = (one.link, other.link);
        self.ip(
            one.on,
            &format!(
                "link add {link} mtu {mtu} type veth peer name {peer} mtu {mtu} netns {netns}\n\
                 link set {link} up\n"
            ),
        )?;
        self.ip(other.on, &format!("link set {peer} up\n"))
    }

    /// Moves a link to another machine.
    pub fn move_link(&self, from: End, to: &str) -> Result<()> {
        let netns = self.net.netns(to);
        self.ip(from.on, &format!("link set {} netns {netns}\n", from.link))
    }

    /// Starts a program on a machine; it ends with the site.
    pub fn start(&mut self, on: &str, what: &str, cmd: Cmd) -> Result<&mut Daemon> {
        let daemon = Daemon::start(&format!("{}-{on}-{what}", self.name), cmd, &self.logs)?;
        self.programs.push(daemon);
        self.programs.last_mut().context("it was just pushed")
    }

    /// Starts a program that moves packets, so that its CPU time is counted as the data path's.
    pub fn start_datapath(&mut self, on: &str, what: &str, cmd: Cmd) -> Result<&mut Daemon> {
        let pid = self.start(on, what, cmd)?.pid();
        self.datapath.push(pid);
        self.programs.last_mut().context("it was just pushed")
    }

    /// Processes that move packets.
    pub fn datapath(&self) -> &[u32] {
        &self.datapath
    }

    /// A file that goes with the site.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
