// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Routes, external addresses and gateway map of a port: where its packets leave, and as whom.

use super::{MAX_RETIRED, VpcPort, same_addresses, take_id};
use crate::gateways::{self, Denials, Gateways};
use crate::nat::{self, NatPlan, Reach};
use crate::overlay;
use crate::router;
use crate::routes::{self, Regrouped, Routes};
use crate::standing::{Service, Until};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::host::Moment;
use opte::nat::{Claim, Holder};
use opte_api::OpteError;
use oxide_vpc_api::request::{Ensured, Removal};
use oxide_vpc_api::settings::AddressGone;
use oxide_vpc_api::{ExternalIps, GatewayMap, IpConfig, PortConfig, RouteEntry, WeightedRoute};

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
    pub fn add_route(&mut self, route: &WeightedRoute) -> Result<(), OpteError> {
        self.routes.admits(route)?;
        self.put_route(route);
        self.follow_routes();
        Ok(())
    }

    fn put_route(&mut self, route: &WeightedRoute) {
        let next = &mut self.next_rule;
        let changed = self.routes.add(route, || take_id(next));
        changed.into_iter().for_each(|changed| self.regroup(&changed));
    }

    /// Removes a route, found by all of its fields.
    pub fn remove_route(&mut self, route: &RouteEntry) -> Removal {
        let removal = self.drop_route(route);
        self.follow_routes();
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
    fn follow_routes(&mut self) {
        if !self.denials.are_of(self.routes.gateways().keys()) {
            self.rebuild_known_nat();
        }
    }

    /// What fitted together when it was told does so now.
    fn rebuild_known_nat(&mut self) {
        if let Ok(plan) = self.nat_plan() {
            self.rebuild_nat(&plan);
        }
    }

    /// What the port translates to, all put together.
    pub fn nat_plan(&self) -> Result<NatPlan, OpteError> {
        NatPlan::new(&self.config, &self.gateways, &self.holder)
    }

    /// Who owns what is on loan for the port.
    pub const fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Takes note that what the port was told is in force: what comes back from now on waits as
    /// long as that says.
    pub fn came_into_force(&self) {
        self.holder.set_hold(nat::hold(&self.config.settings.nat));
    }

    /// Everything that may be refused of a change of configuration and gateway map.
    pub(super) fn prepare(
        &self,
        config: Arc<PortConfig>,
        gateways: GatewayMap,
    ) -> Result<Prepared, OpteError> {
        let plan = NatPlan::new(&config, &gateways, &self.holder)?;
        let claims = plan.claim()?;
        Ok(Prepared { config, gateways, plan, claims })
    }

    /// Carries the change out.
    pub(super) fn put(&mut self, prepared: Prepared, until: Option<Until>) {
        let Prepared { config, gateways, plan, claims } = prepared;
        self.retire(&plan.services(), until);
        (self.config, self.gateways) = (config, gateways);
        // What was claimed before and is again stays claimed all the time.
        self.claims = Arc::new(claims);
        self.rebuild_nat(&plan);
        if !self.config.settings.gateways.clamp_mss.is_empty() {
            self.rebuild_overlay();
        }
    }

    pub(super) fn rebuild_overlay(&mut self) {
        let layer = overlay::layer(&self.config, &self.shares, &self.holder);
        self.layers.overlay = Arc::new(layer);
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
    ) -> Result<(), OpteError> {
        let config = self.with_external([ipv4, ipv6], &gateways)?;
        if !self.has_external(&config, &gateways) {
            let prepared = self.prepare(config, gateways)?;
            self.put(prepared, until);
        }
        Ok(())
    }

    /// The configuration with other external addresses, if it may have them.
    fn with_external(
        &self,
        [ipv4, ipv6]: [Option<ExternalIps>; 2],
        gateways: &GatewayMap,
    ) -> Result<Arc<PortConfig>, OpteError> {
        let mut config = self.config.clone();
        let next = Arc::make_mut(&mut config);
        for (family, given, is_ipv4) in
            [(&mut next.ipv4, ipv4, true), (&mut next.ipv6, ipv6, false)]
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
        let external = config.families().map(|family| &family.external);
        gateways::check(gateways, external, config.settings.nat.addresses())?;
        Ok(config)
    }

    fn has_external(&self, config: &PortConfig, gateways: &GatewayMap) -> bool {
        same_addresses(&self.config, config) && self.gateways == *gateways
    }

    /// Replaces routes, external addresses and gateway map in one step. What is there already is
    /// not touched: routes keep their number and connections, addresses their leases.
    pub fn set_routing(
        &mut self,
        revision: Option<u64>,
        routing: Routing,
        until: Option<Until>,
    ) -> Result<Ensured, OpteError> {
        let Routing { routes, external, gateways } = routing;
        let wanted = routes::check_all(&routes)?;
        let config = self.with_external(external, &gateways)?;
        let gone = self.routes.others(&wanted);
        let same_external = self.has_external(&config, &gateways);
        let mut other = routes.iter().filter(|r| self.routes.weight(&r.route) != Some(r.weight));
        let is_same = gone.is_empty() && same_external && other.next().is_none();
        self.check_revision(revision, is_same)?;
        let external = match same_external {
            true => None,
            false => Some(self.prepare(config, gateways)?),
        };
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
        match external {
            None => self.follow_routes(),
            Some(prepared) => self.put(prepared, until),
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

    /// How long external addresses that go away now stand for the connections that they have.
    pub fn until(&self, now: Moment) -> Option<Until> {
        match self.config.settings.continuity.address_gone {
            AddressGone::Cut => None,
            AddressGone::Drain(seconds) => Some(Until::Time(now.plus_millis(seconds * 1000))),
            AddressGone::Keep => Some(Until::Ended),
        }
    }

    /// Takes external addresses away; they stand for the connections that they have.
    pub fn retire_addresses(
        &mut self,
        addresses: &[IpAddr],
        until: Until,
    ) -> Result<(), OpteError> {
        let known = |ip: &IpAddr| {
            self.config.families().any(|family| family.external.addresses().any(|own| own == *ip))
        };
        if let Some(ip) = addresses.iter().find(|ip| !known(ip)) {
            return Err(OpteError::not_found("external address of the port", ip));
        }
        let left = |family: &Option<IpConfig>| {
            let mut external = family.as_ref()?.external.clone();
            external.floating.retain(|ip| !addresses.contains(ip));
            external.ephemeral = external.ephemeral.filter(|ip| !addresses.contains(ip));
            external.snat.retain(|range| !addresses.contains(&range.ip));
            Some(external)
        };
        let (ipv4, ipv6) = (left(&self.config.ipv4), left(&self.config.ipv6));
        let mut gateways = self.gateways.clone();
        gateways.retain(|ip, _| !addresses.contains(ip));
        self.set_external_ips(ipv4, ipv6, gateways, Some(until))
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
    pub fn end_drains(&mut self, now: Moment) {
        if self.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        for service in &mut self.retired {
            if matches!(service.until, Some(Until::Time(at)) if at <= now) {
                service.until = Some(Until::Over);
            }
        }
        self.rebuild_known_nat();
    }

    /// Notes what of the port's external addresses stands no longer but for connections that it
    /// has.
    fn retire(&mut self, next: &[Service], until: Option<Until>) {
        let is_next = |service: &Service| next.iter().any(|known| known.is_like(service));
        // Who was to be told of what is over has been told.
        let is_over = |service: &Service| service.until == Some(Until::Over);
        self.retired.retain(|service| !is_next(service) && !is_over(service));
        if until.is_none() {
            return;
        }
        let before = self.nat_plan().map(|plan| plan.services()).unwrap_or_default();
        for service in before {
            if !is_next(&service) && !self.retired.iter().any(|known| known.is_like(&service)) {
                self.retired.push(Service { until, ..service });
            }
        }
        let too_many = self.retired.len().saturating_sub(MAX_RETIRED);
        self.retired.drain(..too_many);
    }

    fn rebuild_nat(&mut self, plan: &NatPlan) {
        self.shares = shares(&self.config, &self.gateways);
        self.denials = self.denials.of(self.routes.gateways().keys().copied());
        let next = &mut self.next_rule;
        let (denials, retired) = (&self.denials, &self.retired);
        let layer = nat::with_plan(&self.layers.nat, plan, denials, retired, || take_id(next));
        self.layers.nat = Arc::new(layer);
        let reach = Reach::new(plan.services().into_iter().chain(self.retired.iter().copied()));
        if *self.reach != reach {
            self.reach = Arc::new(reach);
        }
    }

    /// By which external tuples the port is reached; the same object while they are the same.
    pub const fn reach(&self) -> &Arc<Reach> {
        &self.reach
    }
}

/// A change that was checked, and that has what it needs.
pub(super) struct Prepared {
    config: Arc<PortConfig>,
    gateways: GatewayMap,
    plan: NatPlan,
    claims: Vec<Claim>,
}

/// How the external addresses of each family are shared out.
fn shares(config: &PortConfig, gateways: &GatewayMap) -> Vec<Gateways> {
    let share = |external| Gateways::new(external, gateways, &config.settings.gateways);
    config.families().map(|family| share(&family.external)).collect()
}
