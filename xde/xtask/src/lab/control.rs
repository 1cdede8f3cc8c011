// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Calls of `opteadm`.

use crate::lab::Lab;
use crate::lab::topology::{
    BOUNDARY, BOUNDARY_VNI, DNS, EMPTY_GATEWAY, GATEWAY4, GATEWAY6, GUEST_MTU, GUESTS, Guest,
    SNAT_PORTS, SUBNET4, SUBNET6, TAGGED_GATEWAY, UNDERLAY_LINK, VNI, web,
};
use crate::shell::Cmd;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Connections that every guest takes, from anybody of its VPC.
const OPEN_TO_THE_VPC: [&str; 3] = ["protocol=icmp", "protocol=icmp6", "protocol=tcp port=80"];

impl Lab {
    /// A call of opteadm for one host.
    pub fn opteadm(&self, host: &str, args: &[&str]) -> Cmd {
        Cmd::new(&self.binaries.opteadm).arg("--socket").arg(self.socket(host)).args(args)
    }

    /// Runs opteadm, which must succeed.
    pub fn tell(&self, host: &str, args: &[&str]) -> Result<String> {
        self.opteadm(host, args).run()
    }

    /// Runs opteadm for programs.
    pub fn ask(&self, host: &str, args: &[&str]) -> Result<Value> {
        let text = self.opteadm(host, &["--json"]).args(args).run()?;
        serde_json::from_str(&text).with_context(|| format!("{args:?} gave no JSON:\n{text}"))
    }

    /// A counter of a guest's port; one that was never shown is 0.
    pub fn counter(&self, guest: &Guest, name: &str) -> Result<u64> {
        let sets = self.ask(guest.host.name, &["stats", "-p", guest.name])?;
        let counters = sets
            .as_array()
            .and_then(|sets| sets.iter().find(|set| set["port"] == guest.name))
            .and_then(|set| set["counters"].as_array())
            .with_context(|| format!("no counters of {}: {sets}", guest.name))?;
        let found = counters.iter().find(|counter| counter["name"] == name);
        let found = found.with_context(|| format!("no counter {name}"))?;
        found["value"].as_u64().with_context(|| format!("counter {name} has no value"))
    }

    /// Runs `action`, which must make a counter of the guest's port grow; answers by how much.
    pub fn counting(
        &self,
        guest: &Guest,
        name: &str,
        action: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        let before = self.counter(guest, name)?;
        action()?;
        let after = self.counter(guest, name)?;
        ensure!(after > before, "counter {name} of {} stays at {before}", guest.name);
        Ok(after - before)
    }

    /// Names the underlay's link and tells the host where everybody is.
    pub fn configure_host(&self, host: &str) -> Result<()> {
        self.tell(host, &["set-xde-underlay", UNDERLAY_LINK])?;
        for guest in &GUESTS {
            for ip in [guest.ip4, guest.ip6] {
                self.tell(host, &["set-v2p", ip, guest.mac, guest.host.underlay, VNI])?;
            }
        }
        let endpoint = format!("{},vni={BOUNDARY_VNI}", BOUNDARY.underlay);
        for prefix in ["0.0.0.0/0", "::/0"] {
            self.tell(host, &["set-v2b", prefix, &endpoint])?;
        }
        Ok(())
    }

    /// Makes the guest's port.
    pub fn create_port(&self, guest: &Guest) -> Result<()> {
        let options = [
            ("--mac", guest.mac),
            ("--vni", VNI),
            ("--underlay-ip", guest.host.underlay),
            ("--private-ip4", guest.ip4),
            ("--subnet4", SUBNET4),
            ("--gateway-ip4", GATEWAY4),
            ("--private-ip6", guest.ip6),
            ("--subnet6", SUBNET6),
            ("--gateway-ip6", GATEWAY6),
            ("--mtu", GUEST_MTU),
            ("--dns", DNS[0]),
            ("--dns", DNS[1]),
        ];
        let args: Vec<&str> = options.iter().flat_map(|(name, value)| [*name, *value]).collect();
        self.opteadm(guest.host.name, &["create-xde", guest.name]).args(args).run().map(drop)
    }

    /// Gives the port its routes and firewall rules.
    pub fn configure_port(&self, guest: &Guest) -> Result<()> {
        let host = guest.host.name;
        let tagged = format!("ig={TAGGED_GATEWAY}");
        let empty = format!("ig={EMPTY_GATEWAY}");
        let subnets = [format!("subnet={SUBNET4}"), format!("subnet={SUBNET6}")];
        let [web2_v4, web2_v6] = web("web2").addresses;
        let [empty4, empty6] = EMPTY_DESTINATIONS;
        for (dest, target, class) in [
            (SUBNET4, subnets[0].as_str(), "system"),
            (SUBNET6, &subnets[1], "system"),
            ("0.0.0.0/0", "ig", "system"),
            ("::/0", "ig", "system"),
            (&format!("{web2_v4}/32"), &tagged, "custom"),
            (&format!("{web2_v6}/128"), &tagged, "custom"),
            (&format!("{empty4}/32"), &empty, "custom"),
            (&format!("{empty6}/128"), &empty, "custom"),
        ] {
            self.tell(host, &["add-router-entry", "-p", guest.name, dest, target, class])?;
        }
        for what in OPEN_TO_THE_VPC {
            self.allow(guest, 1000, &format!("hosts=vni={VNI} {what}"))?;
        }
        Ok(())
    }

    /// Lets connections in; answers the number of the rule.
    pub fn allow(&self, guest: &Guest, priority: u16, what: &str) -> Result<String> {
        let rule = format!("dir=in action=allow priority={priority} {what}");
        let args = ["add-fw-rule", "-p", guest.name, &rule];
        let added = self.ask(guest.host.name, &args)?;
        added["id"].as_u64().map(|id| id.to_string()).with_context(|| format!("no id in {added}"))
    }

    /// Takes such a rule away again.
    pub fn disallow(&self, guest: &Guest, id: &str) -> Result<()> {
        let args = ["rm-fw-rule", "-p", guest.name, "--dir", "in", id];
        self.tell(guest.host.name, &args).map(drop)
    }

    /// Gives the port its external addresses, and the boundary the way back to them.
    pub fn configure_external(&self, guest: &Guest) -> Result<()> {
        self.set_external(guest)?;
        for tuple in shared(guest).into_iter().chain(own(guest)) {
            let entry = [&tuple, guest.host.underlay, VNI, guest.mac];
            self.opteadm(BOUNDARY.name, &["add-boundary-nat"]).args(entry).run()?;
        }
        Ok(())
    }

    /// Gives the port its external addresses.
    pub fn set_external(&self, guest: &Guest) -> Result<()> {
        let mut args = Vec::new();
        for range in shared(guest) {
            args.extend(["--snat".to_owned(), range]);
        }
        for ip in own(guest) {
            args.extend(["--floating-ip".to_owned(), ip.clone()]);
            if let Some(gateway) = guest.external.gateway {
                args.extend(["--gateway".to_owned(), format!("{ip}={gateway}")]);
            }
        }
        if args.is_empty() {
            return Ok(());
        }
        let set = ["set-external-ips", "-p", guest.name];
        self.opteadm(guest.host.name, &set).args(args).run().map(drop)
    }
}

/// The ranges that the guest shares with others.
fn shared(guest: &Guest) -> Vec<String> {
    let [first, last] = SNAT_PORTS;
    let range = |ip: &str| {
        if ip.contains(':') {
            format!("[{ip}]:{first}-{last}")
        } else {
            format!("{ip}:{first}-{last}")
        }
    };
    guest.external.snat.into_iter().flatten().map(range).collect()
}

/// The addresses that are the guest's alone.
fn own(guest: &Guest) -> Vec<String> {
    guest.external.floating.into_iter().flatten().map(str::to_owned).collect()
}

/// Destinations outside whose gateway has no address for any guest.
pub const EMPTY_DESTINATIONS: [&str; 2] = ["198.51.100.66", "2001:db8:51::66"];
