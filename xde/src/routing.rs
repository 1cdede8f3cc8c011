// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Requests about the routes, external addresses and gateways of one port.

use crate::dispatch::serve;
use crate::host::Moment;
use crate::management::{Managed, Management, unknown};
use crate::port_life::CHANGE;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::flow::Flow;
use opte::host::Host;
use opte_api::frame::Request;
use opte_api::{Direction, Gather, OpteError, Vni};
use oxide_vpc::meta::GatewayId;
use oxide_vpc::{Gateways, Routing, VpcPort};
use oxide_vpc_api::gateway::{AddressKind, GatewayAddress};
use oxide_vpc_api::request::*;
use oxide_vpc_api::{ExternalIps, GatewayInfo, PortName};

impl<H: Host> Management<H> {
    /// Serves one request.
    pub fn serve_routing(&mut self, now: Moment, code: u16, body: &[u8]) -> Vec<u8> {
        match code {
            AddRoute::CODE => serve(body, |r: AddRoute| self.add_route(&r.port, r.route.into())),
            AddWeightedRoute::CODE => {
                serve(body, |r: AddWeightedRoute| self.add_route(&r.port, r.route))
            }
            DelRoute::CODE => serve(body, |r: DelRoute| {
                self.change(&r.port, |vpc| Ok(vpc.remove_route(&r.route)))
            }),
            ListRoutes::CODE => {
                serve(body, |r: ListRoutes| self.look(&r.port, |port| port.vpc.routes().list()))
            }
            SetExternalIps::CODE => serve(body, |r: SetExternalIps| {
                let vni = self.port(&r.port)?.device.vni;
                let who = (Some(&r.port), vni);
                self.check_external(who, r.ipv4.iter().chain(&r.ipv6), None)?;
                self.change(&r.port, |vpc| {
                    let until = vpc.until(now);
                    vpc.set_external_ips(r.ipv4, r.ipv6, r.gateways, until)
                })?;
                self.set_deadline();
                self.space.tidy();
                Ok(())
            }),
            SetRouting::CODE => serve(body, |r| self.set_routing(now, r)),
            DumpGateways::CODE => serve(body, |r: DumpGateways| self.look(&r.port, gateways)),
            code => unknown(code),
        }
    }

    fn add_route(
        &mut self,
        port: &PortName,
        route: oxide_vpc_api::WeightedRoute,
    ) -> Result<(), OpteError> {
        self.change(port, |vpc| vpc.add_route(&route))
    }

    /// These external addresses are no other port's: `name` may have them, or a new port if it is
    /// `None`. An address of source NAT may be shared as long as no port of it is, or as ports of
    /// this VPC have the very same range. Ports of a `draft` have what they have there.
    pub fn check_external<'a>(
        &self,
        (name, vni): (Option<&PortName>, Vni),
        external: impl Iterator<Item = &'a ExternalIps>,
        draft: Option<&BTreeMap<PortName, Box<VpcPort>>>,
    ) -> Result<(), OpteError> {
        let uses = |ips: &'a ExternalIps| by_preference(ips).map(|(_, ip, ports)| (ip, ports));
        let wanted: BTreeMap<IpAddr, Vec<Option<(u16, u16)>>> =
            external.flat_map(uses).fold(BTreeMap::new(), |mut wanted, (ip, ports)| {
                wanted.entry(ip).or_insert_with(Vec::new).push(ports);
                wanted
            });
        for (other, managed) in self.ports.iter().filter(|(other, _)| Some(*other) != name) {
            let vpc = draft.and_then(|draft| draft.get(other)).unwrap_or(&managed.vpc);
            let families = vpc.config().families();
            for (_, ip, theirs) in families.flat_map(|family| by_preference(&family.external)) {
                let mut ours = wanted.get(&ip).into_iter().flatten().copied();
                let shares = |ours: Option<(u16, u16)>| {
                    managed.device.vni == vni && ours == theirs && ours.is_some()
                };
                let clash = ours.find(|ours| overlap(*ours, theirs) && !shares(*ours));
                if let Some(ours) = clash {
                    return Err(OpteError::invalid(
                        "external address",
                        in_use(ip, other, ours, theirs),
                    ));
                }
            }
        }
        Ok(())
    }

    fn set_routing(&mut self, now: Moment, request: SetRouting) -> Result<Ensured, OpteError> {
        let SetRouting { port, revision, routes, ipv4, ipv6, gateways } = request;
        self.permit(&port, "change it", CHANGE)?;
        let vni = self.port(&port)?.device.vni;
        self.check_external((Some(&port), vni), ipv4.iter().chain(&ipv6), None)?;
        let routing = Routing { routes, external: [ipv4, ipv6], gateways };
        let managed = self.ports.get_mut(&port);
        let managed = managed.ok_or_else(|| OpteError::not_found("port", &port))?;
        let until = managed.vpc.until(now);
        let ensured = managed.vpc.set_routing(revision, routing, until)?;
        self.set_deadline();
        if ensured == Ensured::Changed {
            self.publish_port(&port);
            self.space.tidy();
        }
        Ok(ensured)
    }
}

/// Flows of a port, by what was chosen for them.
#[derive(Default)]
struct Uses {
    /// Opened by the guest: gateway, address, external port if it is shared.
    opened: Vec<(GatewayId, IpAddr, Option<u16>)>,
    /// Opened from outside, by address.
    inbound: BTreeMap<IpAddr, u32>,
}

impl Uses {
    fn of<H: Host>(managed: &Managed<H>) -> Self {
        let gateways = managed.vpc.routes().by_way();
        let mut uses = Self::default();
        let flows: Vec<Arc<Flow<H>>> = managed.device.port.flows().flows();
        for flow in flows {
            let Some(binding) = flow.binding() else { continue };
            if flow.opening.direction == Direction::In {
                *uses.inbound.entry(binding.external_ip).or_default() += 1;
            } else if let Some(gateway) = flow.way().and_then(|way| gateways.get(&way.0)) {
                uses.opened.push((*gateway, binding.external_ip, binding.external_port));
            }
        }
        uses
    }

    fn count(&self, id: GatewayId, ip: IpAddr, ports: Option<(u16, u16)>) -> u32 {
        let fits = |port: Option<u16>| match (ports, port) {
            (None, None) => true,
            (Some((first, last)), Some(port)) => (first..=last).contains(&port),
            _ => false,
        };
        let uses = self.opened.iter().filter(|use_| use_.0 == id && use_.1 == ip && fits(use_.2));
        uses.count() as u32
    }
}

/// The gateways that routes lead to or addresses serve.
fn gateways<H: Host>(managed: &Managed<H>) -> Vec<GatewayInfo> {
    let vpc = &managed.vpc;
    let uses = Uses::of(managed);
    let served = vpc.shares().iter().flat_map(Gateways::named);
    // The one without a name is there even if it has nothing, which is not worth showing.
    let served = served.filter(|(_, external)| **external != ExternalIps::default());
    let ids: BTreeSet<GatewayId> =
        served.map(|(id, _)| id).chain(vpc.routes().gateways().keys().copied()).gather();
    let info = |id: GatewayId| GatewayInfo {
        gateway: id.0,
        routes: vpc.routes().gateways().get(&id).copied().unwrap_or(0),
        addresses: vpc.shares().iter().flat_map(|share| addresses(share, id, &uses)).collect(),
        denied: vpc.denials().read(id),
    };
    ids.into_iter().map(info).collect()
}

/// The addresses of one family that are eligible for a gateway.
fn addresses(share: &Gateways, id: GatewayId, uses: &Uses) -> Vec<GatewayAddress> {
    let (first, nothing) = (share.of(id), ExternalIps::default());
    // Connections may keep what comes last, for gateways that have something better, too.
    let last = if id.0.is_some() && first != share.rest() { share.rest() } else { &nothing };
    let mut list = Vec::new();
    let best = by_preference(first).map(|(kind, ..)| kind).next();
    for (ips, is_choice) in [(first, true), (last, false)] {
        list.extend(by_preference(ips).map(|(kind, ip, ports)| GatewayAddress {
            ip,
            ports,
            kind,
            is_first: is_choice && Some(kind) == best,
            flows: uses.count(id, ip, ports),
            inbound_flows: uses.inbound.get(&ip).copied().unwrap_or(0),
        }));
    }
    list
}

/// Why a port may not have an address, or these ports of it.
fn in_use(
    ip: IpAddr,
    other: &PortName,
    ours: Option<(u16, u16)>,
    theirs: Option<(u16, u16)>,
) -> String {
    let why = format!("{ip} is in use by port {other}: take it from there first");
    match ours.and(theirs) {
        Some((first, last)) => {
            format!("{why}, or, within one VPC, share its ports {first}-{last} and no others")
        }
        None => why,
    }
}

/// Two uses of one address: all of it, or some ports.
fn overlap(ours: Option<(u16, u16)>, theirs: Option<(u16, u16)>) -> bool {
    match (ours, theirs) {
        (Some((first, last)), Some((from, to))) => first <= to && from <= last,
        _ => true,
    }
}

fn by_preference(
    ips: &ExternalIps,
) -> impl Iterator<Item = (AddressKind, IpAddr, Option<(u16, u16)>)> + '_ {
    let floating = ips.floating.iter().map(|ip| (AddressKind::Floating, *ip, None));
    let ephemeral = ips.ephemeral.into_iter().map(|ip| (AddressKind::Ephemeral, ip, None));
    let range = |range: &oxide_vpc_api::SnatRange| {
        (AddressKind::Snat, range.ip, Some((range.first_port, range.last_port)))
    };
    floating.chain(ephemeral).chain(ips.snat.iter().map(range))
}
