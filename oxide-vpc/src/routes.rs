// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The routes of a port, as they were told.
//!
//! Routes with one prefix and class are one group, which becomes one rule of the router layer. A
//! route keeps its number for as long as it is there, whatever comes and goes beside it: by that
//! number connections stay on it.

use crate::choice::choose_by_weight;
use crate::meta::GatewayId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use opte::rule::RuleId;
use opte::walk::Way;
use opte_api::{Gather, IpCidr, OpteError};
use oxide_vpc_api::config::MAX_GATEWAYS;
use oxide_vpc_api::router::MAX_EQUAL_ROUTES;
use oxide_vpc_api::{RouteEntry, RouteInfo, RouterClass, RouterTarget, WeightedRoute};

/// Most routes of one port.
pub const MAX_ROUTES: usize = 200_000;

/// What the routes of a group have in common.
pub type GroupKey = (IpCidr, RouterClass);

/// A route of a group.
pub struct Member {
    id: RuleId,
    /// Where it leads.
    pub target: RouterTarget,
    /// Its share.
    pub weight: u16,
    hits: Arc<AtomicU64>,
}

impl Member {
    /// What connections remember it by.
    pub const fn way(&self) -> Way {
        Way(self.id.0 as u32)
    }

    /// Counts a packet that it let open a connection, or ended.
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// The route of a new connection.
    pub fn choose(members: &[Arc<Self>], hash: u64) -> Option<&Arc<Self>> {
        match members {
            [only] => Some(only),
            _ => choose_by_weight(members, hash, |m| name(&m.target), |m| m.weight),
        }
    }
}

/// Tells targets apart for hashing; the same on every host.
fn name(target: &RouterTarget) -> u64 {
    let (kind, bits): (u64, u128) = match target {
        RouterTarget::Drop | RouterTarget::Blackhole => (1, 0),
        RouterTarget::InternetGateway(uuid) => (2, uuid.unwrap_or_default().as_u128()),
        RouterTarget::Ip(ip) => (3, IpCidr::host(*ip).left_aligned_bits()),
        RouterTarget::Subnet(subnet) => (4, subnet.left_aligned_bits()),
    };
    (bits as u64 ^ (bits >> 64) as u64).wrapping_add(kind << 56)
}

/// The gateway that a target names.
pub fn gateway_of(target: &RouterTarget) -> Option<GatewayId> {
    match target {
        RouterTarget::InternetGateway(uuid) => Some(GatewayId(*uuid)),
        _ => None,
    }
}

/// Routes with one prefix and class.
#[derive(Clone)]
pub struct Group {
    /// The rule that they are.
    pub rule: RuleId,
    /// By target.
    pub members: Arc<[Arc<Member>]>,
}

/// All routes of a port.
#[derive(Clone, Default)]
pub struct Routes {
    groups: BTreeMap<GroupKey, Group>,
    /// How many routes lead to each gateway.
    gateways: BTreeMap<GatewayId, u32>,
    len: usize,
}

/// A group that is to be put in the place of another, or of none.
pub struct Regrouped {
    /// Which group.
    pub key: GroupKey,
    /// The rule that goes.
    pub old: Option<RuleId>,
    /// What comes, if anything is left.
    pub members: Option<(RuleId, Arc<[Arc<Member>]>)>,
}

impl Routes {
    /// The groups, by prefix.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupKey, &Group)> {
        self.groups.iter()
    }

    /// How many routes lead to each gateway.
    pub const fn gateways(&self) -> &BTreeMap<GatewayId, u32> {
        &self.gateways
    }

    /// The share of a route, if it is there.
    pub fn weight(&self, route: &RouteEntry) -> Option<u16> {
        let group = self.groups.get(&(route.dest, route.class))?;
        let member = group.members.iter().find(|member| member.target == route.target);
        member.map(|member| member.weight)
    }

    /// The gateway of the route by this number.
    pub fn by_way(&self) -> BTreeMap<u32, GatewayId> {
        let members = self.groups.values().flat_map(|group| group.members.iter());
        members.filter_map(|m| Some((m.way().0, gateway_of(&m.target)?))).gather()
    }

    /// All routes with what they came to.
    pub fn list(&self) -> Vec<RouteInfo> {
        let mut list = Vec::with_capacity(self.len);
        for ((dest, class), group) in &self.groups {
            let is_behind = *class == RouterClass::System
                && self.groups.contains_key(&(*dest, RouterClass::Custom));
            let has = |target| group.members.iter().any(|member| member.target == target);
            let ends = [RouterTarget::Drop, RouterTarget::Blackhole].into_iter().find(|t| has(*t));
            list.extend(group.members.iter().map(|member| RouteInfo {
                route: RouteEntry { dest: *dest, target: member.target, class: *class },
                weight: member.weight,
                in_use: !is_behind && ends.is_none_or(|ends| member.target == ends),
                hits: member.hits.load(Ordering::Relaxed),
            }));
        }
        list
    }

    /// Whether a route may be added.
    pub fn admits(&self, route: &WeightedRoute) -> Result<(), OpteError> {
        route.validate()?;
        let RouteEntry { dest, target, class } = route.route;
        if self.weight(&route.route).is_some() {
            return Ok(());
        }
        let equals = self.groups.get(&(dest, class)).map_or(0, |group| group.members.len());
        let gateway = gateway_of(&target).filter(|id| !self.gateways.contains_key(id));
        check(self.len + 1, equals + 1, self.gateways.len() + usize::from(gateway.is_some()))
    }

    /// Adds a route, or changes its share. `None`: it is there already, as it is to be.
    pub fn add(
        &mut self,
        route: &WeightedRoute,
        mut next_id: impl FnMut() -> RuleId,
    ) -> Option<Regrouped> {
        let RouteEntry { dest, target, class } = route.route;
        let known = self.groups.get(&(dest, class)).map(|group| group.members.clone());
        let mut members: Vec<Arc<Member>> = known.iter().flat_map(|m| m.iter()).cloned().collect();
        let (id, hits) = match members.iter().position(|member| member.target == target) {
            Some(at) => {
                let old = members.swap_remove(at);
                if old.weight == route.weight {
                    return None;
                }
                (old.id, old.hits.clone())
            }
            None => {
                self.len += 1;
                if let Some(gateway) = gateway_of(&target) {
                    *self.gateways.entry(gateway).or_default() += 1;
                }
                (next_id(), Arc::default())
            }
        };
        members.push(Arc::new(Member { id, target, weight: route.weight, hits }));
        Some(self.regroup((dest, class), members, next_id))
    }

    /// Removes a route. `None`: it was not there.
    pub fn remove(
        &mut self,
        route: &RouteEntry,
        next_id: impl FnMut() -> RuleId,
    ) -> Option<Regrouped> {
        self.weight(route)?;
        let key = (route.dest, route.class);
        let members = self.groups.get(&key)?.members.iter();
        let members = members.filter(|member| member.target != route.target).cloned().collect();
        self.len -= 1;
        if let Some(gateway) = gateway_of(&route.target)
            && let Some(count) = self.gateways.get_mut(&gateway)
        {
            *count -= 1;
            if *count == 0 {
                self.gateways.remove(&gateway);
            }
        }
        Some(self.regroup(key, members, next_id))
    }

    fn regroup(
        &mut self,
        key: GroupKey,
        mut members: Vec<Arc<Member>>,
        mut next_id: impl FnMut() -> RuleId,
    ) -> Regrouped {
        let old = self.groups.get(&key).map(|group| group.rule);
        if members.is_empty() {
            self.groups.remove(&key);
            return Regrouped { key, old, members: None };
        }
        members.sort_unstable_by_key(|member| member.target);
        let (rule, members): (_, Arc<[_]>) = (next_id(), members.into());
        self.groups.insert(key, Group { rule, members: members.clone() });
        Regrouped { key, old, members: Some((rule, members)) }
    }

    /// Those of these routes that are not among `wanted`.
    pub fn others(&self, wanted: &BTreeSet<RouteEntry>) -> Vec<RouteEntry> {
        let all = self.groups.iter().flat_map(|((dest, class), group)| {
            let entry = |target| RouteEntry { dest: *dest, target, class: *class };
            group.members.iter().map(move |member| entry(member.target))
        });
        all.filter(|route| !wanted.contains(route)).collect()
    }
}

/// Whether these may be all routes of a port; answers them as a set.
pub fn check_all(routes: &[WeightedRoute]) -> Result<BTreeSet<RouteEntry>, OpteError> {
    let mut seen = BTreeSet::new();
    let mut gateways = BTreeSet::new();
    let mut equals: BTreeMap<GroupKey, usize> = BTreeMap::new();
    let mut most = 0;
    for route in routes {
        route.validate()?;
        let RouteEntry { dest, target, class } = route.route;
        if !seen.insert(route.route) {
            let why = alloc::format!("{dest} {target} {class} is listed twice");
            return Err(OpteError::invalid("route", why));
        }
        gateways.extend(gateway_of(&target));
        let count = equals.entry((dest, class)).or_default();
        *count += 1;
        most = most.max(*count);
    }
    check(routes.len(), most, gateways.len()).map(|()| seen)
}

fn check(routes: usize, equals: usize, gateways: usize) -> Result<(), OpteError> {
    for (count, limit, what) in [
        (routes, MAX_ROUTES, "routes"),
        (equals, MAX_EQUAL_ROUTES, "routes of one prefix and class"),
        (gateways, MAX_GATEWAYS, "gateways of routes"),
    ] {
        if count > limit {
            return Err(OpteError::Limit { what: what.into(), limit: limit as u64 });
        }
    }
    Ok(())
}
