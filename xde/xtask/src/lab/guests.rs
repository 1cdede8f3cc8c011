// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What guests do for themselves: they come up, and real clients fetch their addresses.

use crate::lab::Lab;
use crate::lab::topology::Guest;
use crate::shell::{Cmd, Output, wait_until};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Variables that a DHCP client sets when it has a lease.
pub type Lease = BTreeMap<String, String>;

impl Lab {
    /// Moves the port's device into the guest's namespace and starts it there.
    pub fn boot(&self, guest: &Guest) -> Result<()> {
        let (name, mac) = (guest.name, guest.mac);
        let netns = self.net.netns(name);
        self.net.batch(guest.host.name, &format!("link set {name} netns {netns}\n"))?;
        self.net.batch(
            name,
            &format!(
                "link set lo up\nlink set {name} address {mac} addrgenmode eui64\n\
                 link set {name} up\n"
            ),
        )
    }

    /// Runs a program on the guest, whatever its exit status will be.
    pub fn attempt(&self, guest: &str, program: &str, args: &[&str]) -> Result<Output> {
        self.net.exec(guest, program).args(args).output()
    }

    /// Runs a program on the guest (or on any machine of the lab), which must succeed.
    pub fn on(&self, guest: &str, program: &str, args: &[&str]) -> Result<String> {
        self.net.exec(guest, program).args(args).run()
    }

    /// Waits until the guest's link-local address is known to be nobody else's.
    pub fn wait_link_local(&self, guest: &Guest) -> Result<()> {
        let name = guest.name;
        wait_until(&format!("link-local address of {name}"), Duration::from_secs(10), || {
            let text =
                self.on(name, "ip", &["-6", "addr", "show", "dev", name, "scope", "link"])?;
            ensure!(!text.contains("dadfailed"), "somebody else has the address:\n{text}");
            Ok((text.contains(guest.link_local) && !text.contains("tentative")).then_some(()))
        })
    }

    /// Fetches an IPv4 lease with udhcpc.
    pub fn dhcp4(&self, guest: &Guest) -> Result<Lease> {
        let args = ["-i", guest.name, "-f", "-q", "-n", "-t", "5", "-T", "1"];
        let script = self.dhcp_script()?;
        self.net
            .exec(guest.name, "udhcpc")
            .args(args)
            .args(["-O", "mtu", "-O", "staticroutes", "-O", "search", "-s", &script])
            .run()?;
        self.lease(guest, 4)
    }

    /// Fetches an IPv6 lease with dhclient, which then goes to the background.
    pub fn dhcp6(&self, guest: &Guest) -> Result<Lease> {
        self.dhclient(guest, 6)?.args(["-1", guest.name]).run()?;
        self.lease(guest, 6)
    }

    /// A call of dhclient, with files of its own for each guest and family.
    pub fn dhclient(&self, guest: &Guest, family: u8) -> Result<Cmd> {
        let program = self.scratch("dhclient");
        if !program.exists() {
            // AppArmor may confine the installed file to directories of the machine; a copy is
            // free to keep its leases here.
            let installed = crate::shell::find_program("dhclient").context("no dhclient")?;
            fs::copy(installed, &program)?;
        }
        let files =
            |ending: &str| self.scratch(&format!("{}-dhclient{family}.{ending}", guest.name));
        fs::write(files("conf"), "also request dhcp6.name-servers, dhcp6.domain-search;\n")?;
        Ok(self
            .net
            .exec(guest.name, &program.to_string_lossy())
            .args([&format!("-{family}"), "-sf", &self.dhcp_script()?])
            .arg("-cf")
            .arg(files("conf"))
            .arg("-lf")
            .arg(files("leases"))
            .arg("-pf")
            .arg(files("pid")))
    }

    /// Waits for the default route that the kernel takes from a router advertisement.
    pub fn wait_default_route6(&self, guest: &str) -> Result<String> {
        wait_until(&format!("IPv6 default route of {guest}"), Duration::from_secs(15), || {
            let text = self.on(guest, "ip", &["-6", "route", "show", "default"])?;
            Ok((!text.trim().is_empty()).then_some(text))
        })
    }

    fn lease(&self, guest: &Guest, family: u8) -> Result<Lease> {
        let file = self.scratch(&format!("{}.lease{family}", guest.name));
        let text = fs::read_to_string(&file).context("the client has not reported a lease")?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The program that puts a lease into force.
    pub fn dhcp_script(&self) -> Result<String> {
        let file = self.scratch("dhcp-event");
        if !file.exists() {
            fs::write(&file, include_str!("dhcp-event.sh"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        Ok(file.to_string_lossy().into_owned())
    }
}
