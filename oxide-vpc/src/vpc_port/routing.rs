// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes, external addresses and gateway map of a port: where its packets leave, and as whom.

use super::{MAX_RETIRED, VpcPort, same_addresses, take_id};
use crate::gateways::{self, Denials, Gateways};
use crate::nat::{self, Addresses};
use crate::router;
use crate::routes::{self, Regrouped, Routes};
use crate::standing::{Service, Until};
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::host::Moment;
use opte::nat::ReservationSpace;
use opte_api::OpteError;
use oxide_vpc_api::request::{Ensured, Removal};
use oxide_vpc_api::{ExternalIps, GatewayMap, PortConfig, RouteEntry, WeightedRoute};

/// Routes, external addresses and gateway map of a port, all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Routing {
    /// All routes.
    pub routes: Vec<WeightedRoute>,
    /// External addresses of IPv4 and IPv6; `None` means none.
    pub external: [Option<ExternalIps>; 2],
    /// Which gateways each address serves.
    pub gateways: GatewayMap,
}

impl VpcPort {
    /// Adds a route with its share, or changes the share of one that is there.
    pub fn add_route(
        &mut self,
        route: &WeightedRoute,
        space: &mut ReservationSpace,
    ) -> Result<(), OpteError> {
        self.routes.admits(route)?;
        self.put_route(route);
        self.follow_routes(space);
        Ok(())
    }

    fn put_route(&mut self, route: &WeightedRoute) {
        let next = &mut self.next_rule;
        let changed = self.routes.add(route, || take_id(next));
        changed.into_iter().for_each(|changed| self.regroup(&changed));
    }

    /// Removes a route, found by all of its fields.
    pub fn remove_route(&mut self, route: &RouteEntry, space: &mut ReservationSpace) -> Removal {
        let removal = self.drop_route(route);
        self.follow_routes(space);
        removal
    }

    fn drop_route(&mut self, route: &RouteEntry) -> Removal {
        let next = &mut self.next_rule;
        let changed = self.routes.remove(route, || take_id(next));
        changed.map_or(Removal::Absent, |changed| {
            self.regroup(&changed);
            Removal::Removed
        })
    }

    fn regroup(&mut self, Regrouped { key, old, members }: &Regrouped) {
        let layer = router::with_change(&self.layers.router, |table| {
            if let Some(old) = old {
                table.remove(key.0, *old);
            }
            if let Some((id, members)) = members {
                table.insert(key.0, Arc::new(router::compile(*id, *key, members)));
            }
        });
        self.layers.router = Arc::new(layer);
    }

    /// Gateways that routes lead to have a count in the NAT layer.
    fn follow_routes(&mut self, space: &mut ReservationSpace) {
        if !self.denials.are_of(self.routes.gateways().keys()) {
            self.rebuild_nat(space);
        }
    }

    /// The routes.
    pub const fn routes(&self) -> &Routes {
        &self.routes
    }

    /// How the external addresses of each family are shared out.
    pub fn shares(&self) -> &[Gateways] {
        &self.shares
    }

    /// How many packets each gateway had no address for.
    pub const fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Replaces the external addresses of both families and the gateways they serve. Connections
    /// on addresses that stay eligible are not touched, nor are their leases; those on others end,
    /// or go on as long as `until` says.
    pub fn set_external_ips(
        &mut self,
        ipv4: Option<ExternalIps>,
        ipv6: Option<ExternalIps>,
        gateways: GatewayMap,
        until: Option<Until>,
        space: &mut ReservationSpace,
    ) -> Result<(), OpteError> {
        let config = self.with_external([ipv4, ipv6], &gateways)?;
        if !self.has_external(&config, &gateways) {
            self.put_external(config, gateways, until, space);
        }
        Ok(())
    }

    /// The configuration with other external addresses, if it may have them.
    fn with_external(
        &self,
        [ipv4, ipv6]: [Option<ExternalIps>; 2],
        gateways: &GatewayMap,
    ) -> Result<PortConfig, OpteError> {
        let mut config = PortConfig::clone(&self.config);
        for (family, given, is_ipv4) in
            [(&mut config.ipv4, ipv4, true), (&mut config.ipv6, ipv6, false)]
        {
            let given = given.unwrap_or_default();
            given.validate(is_ipv4)?;
            match family {
                Some(family) => family.external = given,
                None if given == ExternalIps::default() => {}
                None => {
                    let name = if is_ipv4 { "IPv4" } else { "IPv6" };
                    let why = alloc::format!("the port has no {name} address");
                    return Err(OpteError::invalid("external address", why));
                }
            }
        }
        gateways::check(gateways, config.families().map(|family| &family.external))?;
        Ok(config)
    }

    fn has_external(&self, config: &PortConfig, gateways: &GatewayMap) -> bool {
        same_addresses(&self.config, config) && self.gateways == *gateways
    }

    fn put_external(
        &mut self,
        config: PortConfig,
        gateways: GatewayMap,
        until: Option<Until>,
        space: &mut ReservationSpace,
    ) {
        self.retire(&shares(&config, &gateways), until);
        self.config = Arc::new(config);
        self.gateways = gateways;
        self.rebuild_nat(space);
    }

    /// Replaces routes, external addresses and gateway map in one step. What is there already is
    /// not touched: routes keep their number and connections, addresses their leases.
    pub fn set_routing(
        &mut self,
        revision: Option<u64>,
        routing: Routing,
        space: &mut ReservationSpace,
    ) -> Result<Ensured, OpteError> {
        let Routing { routes, external, gateways } = routing;
        let wanted = routes::check_all(&routes)?;
        let config = self.with_external(external, &gateways)?;
        let gone = self.routes.others(&wanted);
        let same_external = self.has_external(&config, &gateways);
        let mut other = routes.iter().filter(|r| self.routes.weight(&r.route) != Some(r.weight));
        let is_same = gone.is_empty() && same_external && other.next().is_none();
        self.check_revision(revision, is_same)?;
        self.revision = revision.or(self.revision);
        if is_same {
            return Ok(Ensured::Unchanged);
        }
        for route in &gone {
            self.drop_route(route);
        }
        for route in &routes {
            self.put_route(route);
        }
        if same_external {
            self.follow_routes(space);
        } else {
            self.put_external(config, gateways, None, space);
        }
        Ok(Ensured::Changed)
    }

    /// Content is as new as its number says, not as the request that brings it.
    fn check_revision(&self, given: Option<u64>, is_same: bool) -> Result<(), OpteError> {
        let Some((given, last)) = given.zip(self.revision) else { return Ok(()) };
        if given < last {
            let why = alloc::format!("revision {given} is older than {last}, which is in force");
            return Err(OpteError::BadState(why));
        }
        if given == last && !is_same {
            let why = alloc::format!("revision {given} is in force with other content");
            return Err(OpteError::BadState(why));
        }
        Ok(())
    }

    /// When what was taken away stands no longer.
    pub fn next_deadline(&self) -> Option<Moment> {
        let time = |service: &Service| match service.until {
            Some(Until::Time(at)) => Some(at),
            _ => None,
        };
        self.retired.iter().filter_map(time).min()
    }

    /// Lets that stand no longer whose time is over.
    pub fn end_drains(&mut self, now: Moment, space: &mut ReservationSpace) {
        if self.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        for service in &mut self.retired {
            if matches!(service.until, Some(Until::Time(at)) if at <= now) {
                service.until = Some(Until::Over);
            }
        }
        self.rebuild_nat(space);
    }

    /// Notes what of the port's external addresses stands no longer but for connections that it
    /// has.
    fn retire(&mut self, next: &[Gateways], until: Option<Until>) {
        let next: Vec<Service> = nat::services(next).collect();
        let is_next = |service: &Service| next.iter().any(|known| known.is_like(service));
        // Who was to be told of what is over has been told.
        let is_over = |service: &Service| service.until == Some(Until::Over);
        self.retired.retain(|service| !is_next(service) && !is_over(service));
        if until.is_none() {
            return;
        }
        for service in nat::services(&self.shares) {
            if !is_next(&service) && !self.retired.iter().any(|known| known.is_like(&service)) {
                self.retired.push(Service { until, ..service });
            }
        }
        let too_many = self.retired.len().saturating_sub(MAX_RETIRED);
        self.retired.drain(..too_many);
    }

    pub(super) fn rebuild_nat(&mut self, space: &mut ReservationSpace) {
        self.shares = shares(&self.config, &self.gateways);
        self.denials = self.denials.of(self.routes.gateways().keys().copied());
        let addresses = Addresses {
            config: &self.config,
            shares: &self.shares,
            denials: &self.denials,
            retired: &self.retired,
        };
        let next = &mut self.next_rule;
        let layer = nat::with_addresses(&self.layers.nat, addresses, space, || take_id(next));
        self.layers.nat = Arc::new(layer);
    }
}

/// How the external addresses of each family are shared out.
fn shares(config: &PortConfig, gateways: &GatewayMap) -> Vec<Gateways> {
    let share = |external| Gateways::new(external, gateways, &config.settings.gateways);
    config.families().map(|family| share(&family.external)).collect()
}
