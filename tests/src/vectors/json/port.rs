// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A port as it stands in a file.

use super::nullable;
use crate::vectors::model::{AttachedSubnet, PortDescription, TransitPrefix};
use opte_api::{DomainName, IpCidr, MacAddr, Vni};
use oxide_vpc_api::settings::IdleSettings;
use oxide_vpc_api::{DhcpConfig, ExternalIps, IpConfig, PortConfig, PortSettings, SnatRange};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The times after which the recorded engine forgot flows; the time steps keep clear of them.
const RECORDED_IDLE: IdleSettings = IdleSettings {
    udp: 60,
    icmp: 60,
    other: 60,
    tcp_opening: 60,
    tcp_established: 8_000,
    tcp_half_closed: 120,
    tcp_closing: 120,
    tcp_time_wait: 120,
    tcp_closed: 120,
    short: true,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPort {
    mac: MacAddr,
    gateway_mac: MacAddr,
    vni: Vni,
    underlay_ip: Ipv6Addr,
    mtu: u16,
    #[serde(deserialize_with = "nullable")]
    ipv4: Option<RawFamily>,
    #[serde(deserialize_with = "nullable")]
    ipv6: Option<RawFamily>,
    boundary: RawBoundary,
    dhcp: RawDhcp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFamily {
    private_ip: IpAddr,
    subnet: IpCidr,
    gateway_ip: IpAddr,
    external: RawExternal,
    attached_subnets: Vec<RawAttached>,
    transit_ips: Vec<RawTransit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBoundary {
    inner_mac: MacAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDhcp {
    #[serde(deserialize_with = "nullable")]
    hostname: Option<DomainName>,
    #[serde(deserialize_with = "nullable")]
    host_domain: Option<DomainName>,
    domain_search: Vec<DomainName>,
    dns4: Vec<Ipv4Addr>,
    dns6: Vec<Ipv6Addr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttached {
    subnet: IpCidr,
    external: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTransit {
    subnet: IpCidr,
    allow_in: bool,
    allow_out: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExternal {
    floating: Vec<IpAddr>,
    #[serde(deserialize_with = "nullable")]
    ephemeral: Option<IpAddr>,
    #[serde(deserialize_with = "nullable")]
    snat: Option<RawSnat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSnat {
    ip: IpAddr,
    first_port: u16,
    last_port: u16,
}

impl RawPort {
    pub(super) fn convert(self) -> PortDescription {
        let families = || self.ipv4.iter().chain(&self.ipv6);
        let attached = families().flat_map(|family| &family.attached_subnets);
        let transit = families().flat_map(|family| &family.transit_ips);
        let attached_subnets = attached.map(RawAttached::convert).collect();
        let transit = transit
            .map(|&RawTransit { subnet, allow_in, allow_out }| TransitPrefix {
                subnet,
                allow_in,
                allow_out,
            })
            .collect();
        let RawDhcp { hostname, host_domain, domain_search, dns4, dns6 } = self.dhcp;
        let config = PortConfig {
            mac: self.mac,
            gateway_mac: self.gateway_mac,
            boundary_mac: self.boundary.inner_mac,
            vni: self.vni,
            underlay_ip: self.underlay_ip,
            mtu: self.mtu,
            ipv4: self.ipv4.map(RawFamily::convert),
            ipv6: self.ipv6.map(RawFamily::convert),
            dhcp: DhcpConfig { hostname, host_domain, domain_search, dns4, dns6 },
            settings: PortSettings { idle: RECORDED_IDLE, ..PortSettings::default() },
        };
        PortDescription { config, attached_subnets, transit }
    }
}

impl RawFamily {
    fn convert(self) -> IpConfig {
        IpConfig {
            private_ip: self.private_ip,
            subnet: self.subnet,
            gateway_ip: self.gateway_ip,
            external: self.external.convert(),
        }
    }
}

impl RawAttached {
    fn convert(&self) -> AttachedSubnet {
        AttachedSubnet { subnet: self.subnet, external: self.external }
    }
}

impl RawExternal {
    pub(super) fn convert(self) -> ExternalIps {
        let range = |RawSnat { ip, first_port, last_port }| SnatRange { ip, first_port, last_port };
        ExternalIps {
            floating: self.floating,
            ephemeral: self.ephemeral,
            snat: self.snat.into_iter().map(range).collect(),
        }
    }
}
