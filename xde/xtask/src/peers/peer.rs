// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Who is measured, and on which route.

use crate::binaries::Binaries;
use crate::lab::sandbox::Sandbox;
use crate::peers::site::Site;
use crate::peers::{kernel, ours, ovs};
use crate::setup::{self, Tool};
use crate::shell::Cmd;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Where the client's packets go.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Route {
    /// To a guest on the other hypervisor.
    Inside,
    /// Through translation of sources to the outside.
    Outside,
}

impl Route {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// For a reader.
    pub fn title(self) -> &'static str {
        match self {
            Self::Inside => "guest to guest on the other hypervisor",
            Self::Outside => "guest to the outside, source NAT",
        }
    }

    /// In one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

/// A data path.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Peer {
    /// A cable: no path is faster.
    Veth,
    /// The kernel's bridge, VXLAN, nftables.
    Kernel,
    /// Open vSwitch in user space.
    Ovs,
    /// VPP.
    Vpp,
    /// This project.
    Ours,
}

impl Peer {
    /// All, in the order of the columns.
    pub const ALL: [Self; 5] = [Self::Veth, Self::Kernel, Self::Ovs, Self::Vpp, Self::Ours];

    /// What `--only` takes, and what columns are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Kernel => "kernel",
            Self::Ovs => "ovs",
            Self::Vpp => "vpp",
            Self::Ours => "ours",
        }
    }

    /// What it is made of on that route.
    pub fn parts(self, route: Route) -> &'static str {
        match (self, route) {
            (Self::Veth, _) => "one veth pair between two namespaces, no NAT: the ceiling",
            (Self::Kernel, Route::Inside) => "bridge, VXLAN over IPv6, nftables stateful firewall",
            (Self::Kernel, Route::Outside) => "nftables masquerade",
            (Self::Ovs, Route::Inside) => "Open vSwitch netdev, Geneve over IPv6, ct() rules",
            (Self::Ovs, Route::Outside) => "Open vSwitch netdev, ct(nat)",
            (Self::Vpp, Route::Inside) => "VPP, Geneve over IPv6",
            (Self::Vpp, Route::Outside) => "VPP nat44-ed",
            (Self::Ours, Route::Inside) => "two xde, Geneve over IPv6, stateful firewall",
            (Self::Ours, Route::Outside) => {
                "xde, Geneve over IPv6, xde boundary, firewall and SNAT"
            }
        }
    }

    /// What it needs on this machine, beside what all need.
    fn tools(self) -> &'static [Tool] {
        match self {
            Self::Kernel => setup::PEER_KERNEL,
            Self::Ovs => setup::PEER_OVS,
            Self::Vpp => setup::PEER_VPP,
            Self::Veth | Self::Ours => &[],
        }
    }

    /// Installs what is missing.
    fn install(self) -> Result<()> {
        let tools = self.tools();
        if setup::are_there(tools) {
            return Ok(());
        }
        if self == Self::Vpp && !setup::is_packaged("vpp") {
            bail!("not installable here: this system has no package vpp (apt-cache show vpp)");
        }
        setup::install(&[tools]).context("not installable here")?;
        if self == Self::Ovs && Path::new("/run/systemd/system").exists() {
            // The package starts a switch for the whole machine, which nobody has asked for.
            Cmd::new("systemctl").args(["disable", "--now", "openvswitch-switch"]).run()?;
        }
        Ok(())
    }

    /// Brings it up.
    pub fn build(self, route: Route, sandbox: &Sandbox, binaries: &Binaries) -> Result<Site> {
        self.install()?;
        let name = &format!("{}-{}", self.name(), route.word());
        match (self, route) {
            (Self::Veth, _) => kernel::veth(sandbox, name),
            (Self::Kernel, Route::Inside) => kernel::vxlan(sandbox, name),
            (Self::Kernel, Route::Outside) => kernel::masquerade(sandbox, name),
            (Self::Ovs, Route::Inside) => ovs::geneve(sandbox, name),
            (Self::Ovs, Route::Outside) => ovs::snat(sandbox, name),
            (Self::Vpp, _) => bail!("this command does not know how to set it up"),
            (Self::Ours, Route::Inside) => ours::inside(sandbox, name, binaries),
            (Self::Ours, Route::Outside) => ours::outside(sandbox, name, binaries),
        }
    }
}
