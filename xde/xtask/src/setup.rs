// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the machine must have: programs, and the Debian packages that bring them.

use crate::shell::{Cmd, find_program};
use anyhow::{Result, bail};
use std::path::Path;
use std::time::Duration;

/// A program that is needed, and the Debian package that it comes with.
pub struct Tool {
    /// Name of the program, or a file with its whole path.
    pub program: &'static str,
    /// Debian package.
    pub package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What the lab runs.
pub const LAB: &[Tool] = &[
    tool("ip", "iproute2"),
    tool("tcpdump", "tcpdump"),
    tool("tshark", "tshark"),
    tool("busybox", "busybox"),
    tool("udhcpc", "udhcpc"),
    tool("dhclient", "isc-dhcp-client"),
    tool("dhcpcd", "dhcpcd-base"),
    tool("rdisc6", "ndisc6"),
    tool("ndisc6", "ndisc6"),
    tool("arping", "iputils-arping"),
    tool("mtr", "mtr-tiny"),
    tool("ss", "iproute2"),
    tool("ping", "iputils-ping"),
    tool("traceroute", "traceroute"),
    tool("curl", "curl"),
    tool("bpftrace", "bpftrace"),
    tool("socat", "socat"),
    tool("iperf3", "iperf3"),
];

/// What the lab's measurements run.
pub const LAB_BENCH: &[Tool] = &[tool("iperf3", "iperf3"), tool("ethtool", "ethtool")];

/// What measurements beside peers run, whoever the peer is.
pub const PEERS: &[Tool] =
    &[tool("ip", "iproute2"), tool("ping", "iputils-ping"), tool("iperf3", "iperf3")];

/// What the kernel's own data path needs.
pub const PEER_KERNEL: &[Tool] = &[tool("nft", "nftables")];

/// What Open vSwitch needs.
pub const PEER_OVS: &[Tool] = &[
    tool("ovs-vswitchd", "openvswitch-switch"),
    tool("ovs-vsctl", "openvswitch-common"),
    tool("ethtool", "ethtool"),
];

/// What VPP needs; no release of Debian has it yet.
pub const PEER_VPP: &[Tool] = &[tool("vpp", "vpp")];

/// What checks the cores for a bare target: a compiler with the source of its own `core`.
pub const BARE_TARGET: &[Tool] = &[
    tool("/usr/bin/rustc", "rustc-web"),
    tool("/usr/lib/rustlib/src/rust/library/Cargo.lock", "rust-web-src"),
];

/// What builds the illumos kernel module.
pub const KERNEL_MODULE: &[Tool] = &[
    tool("/usr/bin/rustc", "rustc-web"),
    tool("/usr/bin/cargo", "cargo-web"),
    tool("/usr/lib/rustlib/src/rust/library/Cargo.lock", "rust-web-src"),
    tool("ld", "binutils"),
];

/// What watches the memory of a process and counts its instructions.
pub const VALGRIND: &[Tool] = &[tool("valgrind", "valgrind")];

/// Whether this process may do everything on this machine.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Installs the packages of those tools that are not there.
pub fn install(tools: &[&[Tool]]) -> Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    let list = packages.join(" ");
    if !may_install() {
        bail!("please install these packages first: {list}");
    }
    println!("installing {list}");
    // Lists may be missing or too old to download from.
    apt_get(&["update", "-qq"])?;
    // Nothing that the user has may be removed to make room.
    let options = ["install", "-y", "-qq", "--no-install-recommends", "--no-remove"];
    apt_get(&[&options[..], &packages].concat())?;
    match missing.iter().find(|tool| !is_there(tool)) {
        Some(tool) => bail!("package {} did not bring {}", tool.package, tool.program),
        None => Ok(()),
    }
}

/// Whether [`install`] has nothing to do, or may do it.
pub fn can_install(tools: &[&[Tool]]) -> bool {
    may_install() || missing(tools).is_empty()
}

/// The packages of these tools.
pub fn packages(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.package).collect::<Vec<_>>().join(", ")
}

/// Whether nothing of that is missing.
pub fn are_there(tools: &[Tool]) -> bool {
    missing(&[tools]).is_empty()
}

/// Whether the system's lists have the package.
pub fn is_packaged(package: &str) -> bool {
    Cmd::new("apt-cache").args(["show", package]).run().is_ok()
}

fn may_install() -> bool {
    is_root() && find_program("apt-get").is_some()
}

fn missing<'a>(tools: &[&'a [Tool]]) -> Vec<&'a Tool> {
    tools.iter().copied().flatten().filter(|tool| !is_there(tool)).collect()
}

fn is_there(tool: &Tool) -> bool {
    if tool.program.starts_with('/') {
        Path::new(tool.program).exists()
    } else {
        find_program(tool.program).is_some()
    }
}

fn apt_get(args: &[&str]) -> Result<()> {
    Cmd::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .timeout(Duration::from_secs(900))
        .run()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_found_by_name_and_by_path() {
        assert!(is_there(&tool("sh", "dash")));
        assert!(is_there(&tool("/bin/sh", "dash")));
        assert!(!is_there(&tool("no-such-program", "none")));
        assert!(!is_there(&tool("/no/such/file", "none")));
    }

    #[test]
    fn nothing_is_installed_when_nothing_is_missing() {
        install(&[&[tool("sh", "no-such-package")]]).unwrap();
    }
}
