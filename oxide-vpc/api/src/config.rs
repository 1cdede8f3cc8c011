// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port is told when it is created, and the checks that each part must pass.

use crate::settings::PortSettings;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use opte_api::{DomainName, IpCidr, MacAddr, OpteError, Vni};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// MAC address under which every port's gateway answers, unless told otherwise.
pub const GATEWAY_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xff, 0x77, 0x77]);
/// Inner destination MAC of packets that leave by the boundary, unless told otherwise.
pub const BOUNDARY_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0x77, 0x77, 0x77]);
/// MTU of a port, unless told otherwise.
pub const DEFAULT_MTU: u16 = 1500;
/// Smallest MTU of a port: what IPv6 demands of a link (RFC 8200, section 5).
pub const MIN_MTU: u16 = 1280;
/// Largest MTU of a port: leaves room for the outer headers within a 16-bit length.
pub const MAX_MTU: u16 = 65_000;
/// Longest port name: a Linux interface name (`IFNAMSIZ` less its final zero).
pub const MAX_PORT_NAME: usize = 15;

/// Most external addresses and ranges of one family of a port.
pub const MAX_EXTERNAL_IPS: usize = 256;
/// Most addresses in a gateway map, and most gateways that one of them serves.
pub const MAX_GATEWAYS: usize = 256;

/// The name of a port, which is also the name of its network device.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortName(String);

/// Not a port name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a port name has 1 to 15 letters, digits, '-' or '_', and begins with a letter")]
pub struct PortNameError;

impl PortName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PortName {
    type Err = PortNameError;

    fn from_str(text: &str) -> Result<Self, PortNameError> {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if first && text.len() <= MAX_PORT_NAME && text.bytes().all(letters) {
            Ok(Self(text.into()))
        } else {
            Err(PortNameError)
        }
    }
}

impl TryFrom<String> for PortName {
    type Error = PortNameError;

    fn try_from(text: String) -> Result<Self, PortNameError> {
        text.parse()
    }
}

impl From<PortName> for String {
    fn from(name: PortName) -> String {
        name.0
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a port takes packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// Has no flows, and takes no packets: after a reset.
    Ready,
    /// Takes packets.
    Running,
    /// Stopped for a while; flows are kept.
    Paused,
    /// Made of what was saved of another port, flows and all; not started.
    Restored,
}

impl fmt::Display for PortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restored => "restored",
        })
    }
}

/// A range of ports (and echo identifiers) of one external address for source NAT.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct SnatRange {
    /// The external address.
    pub ip: IpAddr,
    /// First port, inclusive.
    pub first_port: u16,
    /// Last port, inclusive.
    pub last_port: u16,
}

/// External addresses of one family. All empty: nothing of this family leaves the VPC.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct ExternalIps {
    /// Mapped one to one; taken first.
    pub floating: Vec<IpAddr>,
    /// Mapped one to one; taken when a gateway has no floating address.
    pub ephemeral: Option<IpAddr>,
    /// Shared addresses; taken last.
    pub snat: Vec<SnatRange>,
}

/// Which internet gateways an external address serves. An address without an entry serves only
/// routes that name no gateway.
pub type GatewayMap = BTreeMap<IpAddr, BTreeSet<Uuid>>;

/// One address family of a port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct IpConfig {
    /// The guest's address inside the VPC.
    pub private_ip: IpAddr,
    /// The subnet the address lies in.
    pub subnet: IpCidr,
    /// The address under which the gateway answers. For IPv6 the gateway answers on the
    /// link-local address of its MAC; this value is then informational.
    pub gateway_ip: IpAddr,
    /// How the guest is known outside.
    pub external: ExternalIps,
}

/// What DHCP and DHCPv6 tell the guest.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct DhcpConfig {
    /// Host name without domain.
    pub hostname: Option<DomainName>,
    /// Domain of the host.
    pub host_domain: Option<DomainName>,
    /// Search list.
    pub domain_search: Vec<DomainName>,
    /// Name servers for DHCPv4.
    pub dns4: Vec<Ipv4Addr>,
    /// Name servers for DHCPv6.
    pub dns6: Vec<Ipv6Addr>,
}

/// All that a port is told when it is created.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct PortConfig {
    /// MAC address of the guest.
    pub mac: MacAddr,
    /// MAC address under which the gateway answers.
    pub gateway_mac: MacAddr,
    /// Inner destination MAC of packets to the boundary.
    pub boundary_mac: MacAddr,
    /// The VPC.
    pub vni: Vni,
    /// Outer source address of what the port sends.
    pub underlay_ip: Ipv6Addr,
    /// Largest IP packet of the guest's link, in bytes.
    pub mtu: u16,
    /// IPv4, if the port speaks it.
    pub ipv4: Option<IpConfig>,
    /// IPv6, if the port speaks it.
    pub ipv6: Option<IpConfig>,
    /// What DHCP tells.
    pub dhcp: DhcpConfig,
    /// What may be set for the port, and changed while it runs.
    pub settings: PortSettings,
}

impl PortConfig {
    /// The families the port speaks.
    pub fn families(&self) -> impl Iterator<Item = &IpConfig> + Clone {
        self.ipv4.iter().chain(self.ipv6.iter())
    }

    /// Checks every rule that a configuration must meet by itself.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.families().next().is_none() {
            return Err(OpteError::invalid("port", "it needs an IPv4 or an IPv6 address"));
        }
        for (mac, what) in [(self.mac, "guest MAC"), (self.gateway_mac, "gateway MAC")] {
            if mac.is_multicast() || mac == MacAddr::default() {
                return Err(OpteError::invalid(what, format!("{mac} is no unicast address")));
            }
        }
        if self.mac == self.gateway_mac {
            return Err(OpteError::invalid("guest MAC", "it is the gateway's"));
        }
        if !(MIN_MTU..=MAX_MTU).contains(&self.mtu) {
            return Err(OpteError::invalid("MTU", format!("use {MIN_MTU} to {MAX_MTU}")));
        }
        if self.underlay_ip.is_multicast() || self.underlay_ip.is_unspecified() {
            return Err(OpteError::invalid("underlay address", "it must be a unicast address"));
        }
        for (config, ipv4) in [(&self.ipv4, true), (&self.ipv6, false)] {
            config.as_ref().map_or(Ok(()), |config| config.validate(ipv4))?;
        }
        self.settings.validate()
    }
}

impl IpConfig {
    fn validate(&self, ipv4: bool) -> Result<(), OpteError> {
        let family = if ipv4 { "IPv4" } else { "IPv6" };
        for (addr, what) in [
            (self.private_ip, "private address"),
            (self.gateway_ip, "gateway address"),
            (self.subnet.addr(), "subnet"),
        ] {
            if addr.is_ipv4() != ipv4 {
                return Err(OpteError::invalid(what, format!("{addr} is not {family}")));
            }
        }
        if self.private_ip.is_multicast() || self.private_ip.is_unspecified() {
            return Err(OpteError::invalid("private address", "it must be a unicast address"));
        }
        if !self.subnet.contains(self.private_ip) {
            let why = format!("{} is outside of {}", self.private_ip, self.subnet);
            return Err(OpteError::invalid("private address", why));
        }
        self.external.validate(ipv4)
    }
}

impl ExternalIps {
    /// Every address, with repeats.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let snat = self.snat.iter().map(|range| range.ip);
        self.floating.iter().copied().chain(self.ephemeral).chain(snat)
    }

    /// Checks number, family, usable addresses, duplicates and ranges.
    pub fn validate(&self, ipv4: bool) -> Result<(), OpteError> {
        let what = "external address";
        if self.addresses().count() > MAX_EXTERNAL_IPS {
            let what = "external addresses and ranges of one family".into();
            return Err(OpteError::Limit { what, limit: MAX_EXTERNAL_IPS as u64 });
        }
        let mut seen = BTreeSet::new();
        for addr in self.addresses() {
            if addr.is_ipv4() != ipv4 {
                let family = if ipv4 { "IPv4" } else { "IPv6" };
                return Err(OpteError::invalid(what, format!("{addr} is not {family}")));
            }
            if addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() {
                return Err(OpteError::invalid(what, format!("{addr} cannot be used outside")));
            }
        }
        for addr in self.floating.iter().copied().chain(self.ephemeral) {
            if !seen.insert(addr) {
                return Err(OpteError::invalid(what, format!("{addr} is listed twice")));
            }
        }
        for (at, range) in self.snat.iter().enumerate() {
            if range.first_port == 0 || range.first_port > range.last_port {
                let text = format!("{}-{} is no range", range.first_port, range.last_port);
                return Err(OpteError::invalid("SNAT port range", text));
            }
            if seen.contains(&range.ip) {
                let why = format!("{} is floating or ephemeral already", range.ip);
                return Err(OpteError::invalid("SNAT address", why));
            }
            let overlaps = |other: &SnatRange| {
                other.ip == range.ip
                    && other.first_port <= range.last_port
                    && range.first_port <= other.last_port
            };
            if self.snat.iter().skip(at + 1).any(overlaps) {
                let why = format!("two ranges of {} overlap", range.ip);
                return Err(OpteError::invalid("SNAT port range", why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names() {
        for good in ["opte0", "a", "guest-1_b"] {
            assert!(good.parse::<PortName>().is_ok(), "{good}");
        }
        for bad in ["", "0opte", "a b", "a/b", "abcdefghijklmnop"] {
            assert!(bad.parse::<PortName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn external_addresses_are_checked() {
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        let range = |first_port, last_port| SnatRange { ip, first_port, last_port };
        let with = |floating: &[IpAddr], snat: &[SnatRange]| ExternalIps {
            floating: floating.to_vec(),
            ephemeral: None,
            snat: snat.to_vec(),
        };
        assert!(with(&[ip], &[]).validate(true).is_ok());
        assert!(with(&[ip], &[]).validate(false).is_err());
        assert!(with(&[ip, ip], &[]).validate(true).is_err());
        assert!(with(&[ip], &[range(1, 2)]).validate(true).is_err());
        assert!(with(&[], &[range(0, 2)]).validate(true).is_err());
        assert!(with(&[], &[range(1, 5), range(5, 6)]).validate(true).is_err());
        assert!(with(&[], &[range(1, 5), range(6, 6)]).validate(true).is_ok());
    }
}
