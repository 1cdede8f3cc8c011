// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports: make, remove, list.

use super::external::ExternalArgs;
use crate::console::{Console, Xde};
use anyhow::bail;
use clap::{ArgGroup, Args, Subcommand};
use opte_api::{DomainName, IpCidr, MacAddr, Vni};
use oxide_vpc_api::config::{BOUNDARY_MAC, DEFAULT_MTU, GATEWAY_MAC};
use oxide_vpc_api::request::{CreatePort, DeletePort, ListPorts};
use oxide_vpc_api::{DhcpConfig, IpConfig, PortConfig, PortName, PortSettings};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const CREATE_EXAMPLES: &str = "\
Examples:
  opteadm create-xde opte0 --mac a8:40:25:f0:00:01 --vni 100 --underlay-ip fd00::1 \\
      --private-ip4 172.30.0.5 --subnet4 172.30.0.0/22 --gateway-ip4 172.30.0.1 \\
      --snat 203.0.113.7:16384-32767 --dns 1.1.1.1,9.9.9.9
  opteadm create-xde opte1 --mac a8:40:25:f0:00:02 --vni 100 --underlay-ip fd00::1 \\
      --private-ip6 fd12::5 --subnet6 fd12::/64 --snat [2001:db8::7]:16384-32767

The family of an external address or name server is that of the address.";

/// Commands about ports.
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Make a port and its network device
    #[command(after_help = CREATE_EXAMPLES)]
    CreateXde(Box<CreateXde>),
    /// Remove a port, its device, its flows and its leases
    DeleteXde {
        /// Name of the port
        name: PortName,
    },
    /// List the ports of this host
    ListPorts,
}

/// What a new port is told.
#[derive(Args, Debug)]
#[command(group(
    ArgGroup::new("family").required(true).multiple(true).args(["private_ip4", "private_ip6"])
))]
pub struct CreateXde {
    /// Name of the port and of its device: 1 to 15 letters, digits, '-' or '_'
    name: PortName,
    /// MAC address of the guest
    #[arg(long, value_name = "MAC")]
    mac: MacAddr,
    /// VNI of the VPC
    #[arg(long)]
    vni: Vni,
    /// Underlay address of this host
    #[arg(long, value_name = "IPV6")]
    underlay_ip: Ipv6Addr,
    /// Largest IP packet of the guest's link, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MTU)]
    mtu: u16,
    /// MAC address under which the gateway answers
    #[arg(long, value_name = "MAC", default_value_t = GATEWAY_MAC)]
    gateway_mac: MacAddr,
    /// Inner destination MAC address of packets to the boundary
    #[arg(long, value_name = "MAC", default_value_t = BOUNDARY_MAC)]
    boundary_mac: MacAddr,

    /// IPv4 address of the guest inside the VPC
    #[arg(long, value_name = "IPV4", requires_all = ["subnet4", "gateway_ip4"])]
    #[arg(help_heading = "Addresses inside the VPC (one family or both)")]
    private_ip4: Option<Ipv4Addr>,
    /// Subnet of that address
    #[arg(long, value_name = "PREFIX", requires = "private_ip4")]
    #[arg(help_heading = "Addresses inside the VPC (one family or both)")]
    subnet4: Option<IpCidr>,
    /// IPv4 address under which the gateway answers
    #[arg(long, value_name = "IPV4", requires = "private_ip4")]
    #[arg(help_heading = "Addresses inside the VPC (one family or both)")]
    gateway_ip4: Option<Ipv4Addr>,
    /// IPv6 address of the guest inside the VPC
    #[arg(long, value_name = "IPV6", requires = "subnet6")]
    #[arg(help_heading = "Addresses inside the VPC (one family or both)")]
    private_ip6: Option<Ipv6Addr>,
    /// Subnet of that address
    #[arg(long, value_name = "PREFIX", requires = "private_ip6")]
    #[arg(help_heading = "Addresses inside the VPC (one family or both)")]
    subnet6: Option<IpCidr>,
    /// IPv6 address of the gateway [default: link-local address of the gateway's MAC address]
    #[arg(long, value_name = "IPV6", requires = "private_ip6")]
    #[arg(help_heading = "Addresses inside the VPC (one family or both)")]
    gateway_ip6: Option<Ipv6Addr>,

    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    dhcp: DhcpArgs,
}

/// What DHCP and DHCPv6 tell the guest.
#[derive(Args, Debug)]
#[command(next_help_heading = "What DHCP tells the guest")]
pub struct DhcpArgs {
    /// Host name, without domain
    #[arg(long, value_name = "NAME")]
    hostname: Option<DomainName>,
    /// Domain of the host
    #[arg(long, value_name = "DOMAIN")]
    host_domain: Option<DomainName>,
    /// Search list, with commas
    #[arg(long, value_name = "DOMAIN,...", value_delimiter = ',')]
    domain_search: Vec<DomainName>,
    /// Name servers of either family, with commas
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    dns: Vec<IpAddr>,
}

impl PortCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::CreateXde(port) => console.ask(&port.into_request()?),
            Self::DeleteXde { name } => console.ask(&DeletePort { name }),
            Self::ListPorts => {
                let mut ports = console.xde.request(&ListPorts {})?;
                ports.sort_by(|a, b| name_order(&a.name).cmp(&name_order(&b.name)));
                console.show(&ports)
            }
        }
    }
}

impl CreateXde {
    fn into_request(self) -> anyhow::Result<CreatePort> {
        let gateway_ip6 = self.gateway_ip6.unwrap_or_else(|| self.gateway_mac.link_local());
        let config = PortConfig {
            mac: self.mac,
            gateway_mac: self.gateway_mac,
            boundary_mac: self.boundary_mac,
            vni: self.vni,
            underlay_ip: self.underlay_ip,
            mtu: self.mtu,
            ipv4: family(
                true,
                self.private_ip4.map(Into::into).zip(self.subnet4),
                self.gateway_ip4.map(Into::into),
                &self.external,
            )?,
            ipv6: family(
                false,
                self.private_ip6.map(Into::into).zip(self.subnet6),
                Some(gateway_ip6.into()),
                &self.external,
            )?,
            dhcp: self.dhcp.into_config(),
            settings: PortSettings::default(),
        };
        config.validate()?;
        Ok(CreatePort { name: self.name, config })
    }
}

/// One family's configuration, if the port speaks it.
fn family(
    ipv4: bool,
    inside: Option<(IpAddr, IpCidr)>,
    gateway: Option<IpAddr>,
    external: &ExternalArgs,
) -> anyhow::Result<Option<IpConfig>> {
    let external = external.of_family(ipv4)?;
    if let Some(((private_ip, subnet), gateway_ip)) = inside.zip(gateway) {
        return Ok(Some(IpConfig { private_ip, subnet, gateway_ip, external }));
    }
    if let Some(address) = external.addresses().next() {
        let flag = if ipv4 { "--private-ip4" } else { "--private-ip6" };
        bail!("the port does not speak the family of {address}: add {flag}, or leave it out");
    }
    Ok(None)
}

impl DhcpArgs {
    /// As the engine takes it.
    pub fn into_config(self) -> DhcpConfig {
        let mut config = DhcpConfig {
            hostname: self.hostname,
            host_domain: self.host_domain,
            domain_search: self.domain_search,
            ..DhcpConfig::default()
        };
        for server in self.dns {
            match server {
                IpAddr::V4(server) => config.dns4.push(server),
                IpAddr::V6(server) => config.dns6.push(server),
            }
        }
        config
    }
}

/// Orders opte2 before opte10.
fn name_order(name: &PortName) -> (&str, u64, &str) {
    let text = name.as_str();
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
    // A name has 15 characters at most, so its number fits.
    let number = text.strip_prefix(stem).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (stem, number, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_their_number() {
        let mut names: Vec<PortName> =
            ["opte10", "opte2", "web", "opte", "a3"].map(|name| name.parse().unwrap()).into();
        names.sort_by(|a, b| name_order(a).cmp(&name_order(b)));
        let names: Vec<&str> = names.iter().map(PortName::as_str).collect();
        assert_eq!(names, ["a3", "opte", "opte2", "opte10", "web"]);
    }
}
