// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The engine under test: a hypervisor host with one port.

use super::contract::{Change, Outcome, Refusal, Subject};
use super::model::{AttachedSubnet, PortDescription, TransitPrefix};
use crate::hypervisor::{Hypervisor, Left, Played};
use crate::packets::{Packet, Tunnel};
use opte::frame::FlatFrame;
use opte_api::frame::Request;
use opte_api::{Direction, OpteError, Vni};
use oxide_vpc_api::multicast::{
    ForwardingEntry, M2pEntry, MULTICAST_VNI, NextHop, Replication, SourceFilter,
};
use oxide_vpc_api::request::{
    AddFwRule, AddRoute, AllowCidr, AttachSubnet, ClearM2p, ClearV2b, ClearV2p, CreatePort,
    DelRoute, DetachSubnet, DumpM2p, MulticastSubscribe, RemoveCidr, SetExternalIps, SetFwRules,
    SetM2p, SetMulticastForwarding, SetV2b, SetV2p,
};
use oxide_vpc_api::{Attachment, PortName};
use std::net::{IpAddr, Ipv6Addr};
use xde::driver::DriverOptions;
use xde::host::PortId;

const PORT: PortId = PortId(0);
const NEXT_HOP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x5417, 0, 0, 0, 0, 0, 1);
const UNDERLAY_GROUP: Ipv6Addr = Ipv6Addr::new(0xff04, 0, 0, 0, 0, 0, 0, 1);

/// Makes the engine for a fresh port.
pub fn make(port: &PortDescription) -> Result<Box<dyn Subject>, Refusal> {
    make_on(Hypervisor::new(DriverOptions::new(0x5eed)), port)
}

/// Makes a port, the first, on a host that has an underlay.
pub fn make_on<H: Played + 'static>(
    mut host: H,
    port: &PortDescription,
) -> Result<Box<dyn Subject>, Refusal> {
    let name: PortName = "port".parse().expect("a good name");
    host.request(&CreatePort { name: name.clone(), config: port.config.clone() })
        .map_err(refused)?;
    let mut subject = OnePort { host, port: name };
    port.attached_subnets.iter().try_for_each(|attached| subject.attach(*attached))?;
    for TransitPrefix { subnet, allow_in, allow_out } in &port.transit {
        for (direction, allowed) in [(Direction::In, allow_in), (Direction::Out, allow_out)] {
            if *allowed {
                let port = subject.port.clone();
                let direction = Some(direction);
                subject.request(AllowCidr { port, cidr: *subnet, direction })?;
            }
        }
    }
    Ok(Box::new(subject))
}

fn refused(error: OpteError) -> Refusal {
    Refusal::Refused(error.to_string())
}

struct OnePort<H> {
    host: H,
    port: PortName,
}

impl<H: Played> OnePort<H> {
    fn request<R: Request>(&mut self, request: R) -> Result<(), Refusal> {
        self.host.request(&request).map(drop).map_err(refused)
    }

    fn attach(
        &mut self,
        AttachedSubnet { subnet, external }: AttachedSubnet,
    ) -> Result<(), Refusal> {
        let attachment = if external { Attachment::External } else { Attachment::Internal };
        self.request(AttachSubnet { port: self.port.clone(), subnet, attachment })
    }
}

impl<H: Played> OnePort<H> {
    /// The recorded engine had no say in who hears which group: the port hears all.
    fn hear(&mut self, outer: &[u8]) {
        let inner = Tunnel::open(outer).and_then(|(_, inner)| Packet::read(&inner));
        let Some(group) = inner.map(|packet| packet.dst).filter(IpAddr::is_multicast) else {
            return;
        };
        let entry = M2pEntry { group, underlay: UNDERLAY_GROUP };
        let (port, filter) = (self.port.clone(), SourceFilter::default());
        for done in [
            self.request(SetM2p { entry }),
            self.request(MulticastSubscribe { port, group, filter }),
        ] {
            done.expect("a good group");
        }
    }
}

fn multicast_vni() -> Vni {
    Vni::new(MULTICAST_VNI).expect("24 bits")
}

impl<H: Played> Subject for OnePort<H> {
    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let port = self.port.clone();
        match change.clone() {
            Change::SetV2p(entry) => self.request(SetV2p { entry }),
            Change::ClearV2p(entry) => self.request(ClearV2p { entry }),
            Change::SetV2b(entry) => self.request(SetV2b { entry }),
            Change::ClearV2b(entry) => self.request(ClearV2b { entry }),
            Change::AddRoute(route) => self.request(AddRoute { port, route }),
            Change::DelRoute(route) => self.request(DelRoute { port, route }),
            Change::SetFirewallRules(rules) => self.request(SetFwRules { port, rules }),
            Change::AddFirewallRule(rule) => self.request(AddFwRule { port, rule }),
            Change::SetExternalIps { ipv4, ipv6, gateways } => {
                self.request(SetExternalIps { port, ipv4, ipv6, gateways })
            }
            Change::AttachSubnet(attached) => self.attach(attached),
            Change::DetachSubnet(subnet) => self.request(DetachSubnet { port, subnet }),
            Change::AllowCidr { subnet: cidr, direction } => {
                self.request(AllowCidr { port, cidr, direction: Some(direction) })
            }
            Change::RemoveCidr { subnet: cidr, direction } => {
                self.request(RemoveCidr { port, cidr, direction: Some(direction) })
            }
            Change::SetM2p { group, underlay_group: underlay } => {
                self.request(SetM2p { entry: M2pEntry { group, underlay } })?;
                // Somebody must listen, or nothing leaves.
                let filter = SourceFilter::default();
                let replication = Replication::External;
                let hop = NextHop { addr: NEXT_HOP, vni: multicast_vni(), replication, filter };
                let entry = ForwardingEntry { underlay, next_hops: vec![hop] };
                self.request(SetMulticastForwarding { entry })
            }
            Change::ClearM2p { group, underlay_group } => {
                let known = self.host.request(&DumpM2p {}).map_err(refused)?;
                let is_it = |entry: &M2pEntry| {
                    entry.group == group && underlay_group.is_none_or(|ip| ip == entry.underlay)
                };
                match known.into_iter().find(is_it) {
                    Some(entry) => self.request(ClearM2p { entry }),
                    None => Ok(()),
                }
            }
        }
    }

    fn advance(&mut self, ms: u64) {
        self.host.advance(ms);
    }

    fn expire(&mut self) {
        self.host.expire();
    }

    fn packet(&mut self, direction: Direction, bytes: &[u8]) -> Outcome {
        let left = match direction {
            Direction::Out => self.host.guest_sends(PORT, FlatFrame::new(bytes)),
            Direction::In => {
                self.hear(bytes);
                self.host.underlay_brings(FlatFrame::new(bytes))
            }
        };
        let reasons: Vec<_> = self.host.drops().iter().map(|reason| reason.name()).collect();
        match left.into_iter().next() {
            Some(Left::Underlay(bytes) | Left::Guest(_, bytes)) => Outcome::Forward(bytes),
            Some(Left::Reply(_, bytes)) if reasons.is_empty() => Outcome::Reply(bytes),
            Some(Left::Reply(..) | Left::Answer(_)) | None => Outcome::Drop(reasons.join(", ")),
        }
    }
}
