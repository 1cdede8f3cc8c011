// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Configuration changes as they stand in a file.

use super::nullable;
use super::port::RawExternal;
use crate::vectors::contract::Change;
use crate::vectors::model::AttachedSubnet;
use anyhow::{Context, Error, Result, bail};
use opte_api::{Direction, IpCidr, MacAddr, Protocol, Vni};
use oxide_vpc_api::{
    BoundaryEndpoint, FirewallAction, FirewallRule, GatewayMap, GuestLocation, Hosts, IcmpFilter,
    PortRange, ProtocolFilter, RouteEntry, RouterClass, RouterTarget, V2bEntry, V2pEntry,
};
use serde::Deserialize;
use std::net::{IpAddr, Ipv6Addr};
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RawChange {
    SetV2p {
        ip: IpAddr,
        mac: MacAddr,
        underlay_ip: Ipv6Addr,
        vni: Vni,
    },
    ClearV2p {
        ip: IpAddr,
        mac: MacAddr,
        underlay_ip: Ipv6Addr,
        vni: Vni,
    },
    SetV2b {
        prefix: IpCidr,
        endpoints: Vec<RawEndpoint>,
    },
    ClearV2b {
        prefix: IpCidr,
        endpoints: Vec<RawEndpoint>,
    },
    SetM2p {
        group: IpAddr,
        underlay_group: Ipv6Addr,
    },
    ClearM2p {
        group: IpAddr,
        underlay_group: Option<Ipv6Addr>,
    },
    AddRoute {
        dest: IpCidr,
        target: RawTarget,
        class: RouterClass,
    },
    DelRoute {
        dest: IpCidr,
        target: RawTarget,
        class: RouterClass,
    },
    SetFirewallRules {
        rules: Vec<RawRule>,
    },
    AddFirewallRule {
        rule: RawRule,
    },
    SetExternalIps {
        #[serde(deserialize_with = "nullable")]
        ipv4: Option<RawExternal>,
        #[serde(deserialize_with = "nullable")]
        ipv6: Option<RawExternal>,
        #[serde(deserialize_with = "nullable")]
        gateways: Option<GatewayMap>,
    },
    AttachSubnet {
        subnet: IpCidr,
        external: bool,
    },
    DetachSubnet {
        subnet: IpCidr,
    },
    AllowCidr {
        subnet: IpCidr,
        direction: Direction,
    },
    RemoveCidr {
        subnet: IpCidr,
        direction: Direction,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEndpoint {
    underlay_ip: Ipv6Addr,
    vni: Vni,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RawTarget {
    Drop {},
    InternetGateway {
        #[serde(deserialize_with = "nullable")]
        gateway: Option<Uuid>,
    },
    Ip {
        ip: IpAddr,
    },
    Subnet {
        subnet: IpCidr,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    direction: Direction,
    action: FirewallAction,
    priority: u16,
    hosts: String,
    protocol: RawProtocol,
    #[serde(deserialize_with = "nullable")]
    ports: Option<Vec<u16>>,
    icmp_type: Option<u8>,
    icmp_codes: Option<(u8, u8)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawProtocol {
    Number(u8),
    Name(String),
}

impl TryFrom<RawChange> for Change {
    type Error = Error;

    fn try_from(raw: RawChange) -> Result<Self> {
        let v2p = |ip, mac, underlay_ip, vni| V2pEntry {
            vni,
            ip,
            location: GuestLocation { mac, underlay_ip },
        };
        Ok(match raw {
            RawChange::SetV2p { ip, mac, underlay_ip, vni } => {
                Self::SetV2p(v2p(ip, mac, underlay_ip, vni))
            }
            RawChange::ClearV2p { ip, mac, underlay_ip, vni } => {
                Self::ClearV2p(v2p(ip, mac, underlay_ip, vni))
            }
            RawChange::SetV2b { prefix, endpoints } => Self::SetV2b(v2b(prefix, endpoints)),
            RawChange::ClearV2b { prefix, endpoints } => Self::ClearV2b(v2b(prefix, endpoints)),
            RawChange::SetM2p { group, underlay_group } => Self::SetM2p { group, underlay_group },
            RawChange::ClearM2p { group, underlay_group } => {
                Self::ClearM2p { group, underlay_group }
            }
            RawChange::AddRoute { dest, target, class } => {
                Self::AddRoute(RouteEntry { dest, target: target.convert(), class })
            }
            RawChange::DelRoute { dest, target, class } => {
                Self::DelRoute(RouteEntry { dest, target: target.convert(), class })
            }
            RawChange::SetFirewallRules { rules } => {
                let rules: Result<_> = rules.into_iter().map(RawRule::convert).collect();
                Self::SetFirewallRules(rules?)
            }
            RawChange::AddFirewallRule { rule } => Self::AddFirewallRule(rule.convert()?),
            RawChange::SetExternalIps { ipv4, ipv6, gateways } => Self::SetExternalIps {
                ipv4: ipv4.map(RawExternal::convert),
                ipv6: ipv6.map(RawExternal::convert),
                gateways: gateways.unwrap_or_default(),
            },
            RawChange::AttachSubnet { subnet, external } => {
                Self::AttachSubnet(AttachedSubnet { subnet, external })
            }
            RawChange::DetachSubnet { subnet } => Self::DetachSubnet(subnet),
            RawChange::AllowCidr { subnet, direction } => Self::AllowCidr { subnet, direction },
            RawChange::RemoveCidr { subnet, direction } => Self::RemoveCidr { subnet, direction },
        })
    }
}

fn v2b(prefix: IpCidr, endpoints: Vec<RawEndpoint>) -> V2bEntry {
    let endpoint = |RawEndpoint { underlay_ip, vni }| BoundaryEndpoint { underlay_ip, vni };
    V2bEntry { prefix, endpoints: endpoints.into_iter().map(endpoint).collect() }
}

impl RawTarget {
    fn convert(self) -> RouterTarget {
        match self {
            Self::Drop {} => RouterTarget::Drop,
            Self::InternetGateway { gateway } => RouterTarget::InternetGateway(gateway),
            Self::Ip { ip } => RouterTarget::Ip(ip),
            Self::Subnet { subnet } => RouterTarget::Subnet(subnet),
        }
    }
}

impl RawRule {
    fn convert(self) -> Result<FirewallRule> {
        let icmp =
            IcmpFilter { kinds: self.icmp_type.map(|kind| (kind, kind)), codes: self.icmp_codes };
        let protocol = match &self.protocol {
            RawProtocol::Number(number) => ProtocolFilter::Number(Protocol(*number)),
            RawProtocol::Name(name) => match name.as_str() {
                "any" => ProtocolFilter::Any,
                "tcp" => ProtocolFilter::Number(Protocol::TCP),
                "udp" => ProtocolFilter::Number(Protocol::UDP),
                "icmp" => ProtocolFilter::Icmp(icmp),
                "icmpv6" => ProtocolFilter::Icmpv6(icmp),
                number => {
                    let number = number.parse().with_context(|| format!("protocol '{number}'"))?;
                    ProtocolFilter::Number(Protocol(number))
                }
            },
        };
        let takes_icmp = matches!(protocol, ProtocolFilter::Icmp(_) | ProtocolFilter::Icmpv6(_));
        if !takes_icmp && icmp != IcmpFilter::default() {
            bail!("ICMP type or codes in a rule for another protocol");
        }
        let one = |port| PortRange { first: port, last: port };
        Ok(FirewallRule {
            direction: self.direction,
            action: self.action,
            priority: self.priority,
            hosts: read_hosts(&self.hosts)?,
            protocol,
            ports: self.ports.unwrap_or_default().into_iter().map(one).collect(),
            uuid: None,
            comment: None,
        })
    }
}

fn read_hosts(text: &str) -> Result<Hosts> {
    Ok(match text.split_once(' ') {
        None if text == "any" => Hosts::Any,
        Some(("ip", ip)) => Hosts::Ip(ip.parse()?),
        Some(("subnet", subnet)) => Hosts::Subnet(subnet.parse()?),
        Some(("vni", vni)) => Hosts::Vni(vni.parse()?),
        _ => bail!("hosts '{text}' is none of any, ip, subnet and vni"),
    })
}
