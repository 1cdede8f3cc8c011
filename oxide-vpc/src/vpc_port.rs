// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a port has been told, and the layers that follow from it.
//!
//! Every change is checked first and then made; a refused change leaves everything as it was.
//! Only the layer that a change concerns is made anew, of which one more or one less rule or route
//! shares almost everything; rules that stay keep their number and their counters.

mod routing;

use crate::gateways::{Denials, Gateways};
use crate::nat::Reach;
use crate::routes::Routes;
use crate::standing::{Service, Until};
use crate::{firewall, gateway, nat, overlay, router};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::net::IpAddr;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use opte::layer::Layer;
use opte::nat::{Claim, Holder};
use opte::rule::{Predicate, Rule, RuleId};
use opte::table::Table;
use opte_api::{Direction, Gather, IpCidr, OpteError};
use oxide_vpc_api::firewall::MAX_RULES;
use oxide_vpc_api::prefixes::check_family;
use oxide_vpc_api::request::Removal;
use oxide_vpc_api::saved::SavedPort;
use oxide_vpc_api::{
    Attachment, FirewallRule, GatewayMap, IpConfig, PortConfig, PortName, Prefixes, RouteInfo,
    Transit, WeightedRoute,
};
pub use routing::Routing;

/// Most external addresses that were taken away and stand for connections that they have, each
/// counted for each gateway. Of more, those that were taken away first stand no longer.
pub const MAX_RETIRED: usize = 1024;

/// The configuration of a port, and its layers.
#[derive(Clone)]
pub struct VpcPort {
    config: Arc<PortConfig>,
    gateways: GatewayMap,
    prefixes: Prefixes,
    /// Who owns what is on loan for it.
    holder: Arc<Holder>,
    /// External tuples that are the port's alone.
    claims: Arc<Vec<Claim>>,
    /// What was taken away and stands for connections that it has.
    retired: Vec<Service>,
    /// By what it is reached from outside; the same object while that is the same.
    reach: Arc<Reach>,
    /// By number.
    firewall: Vec<(Direction, Arc<Rule>)>,
    /// The same as they were told.
    rules: BTreeMap<RuleId, FirewallRule>,
    routes: Routes,
    /// For each family of the configuration.
    shares: Vec<Gateways>,
    denials: Denials,
    /// Number of the routes and addresses in force, if they were told together with one.
    revision: Option<u64>,
    layers: Layers,
    next_rule: u64,
}

/// In the order in which outbound packets pass them.
#[derive(Clone)]
struct Layers {
    gateway: Arc<Layer>,
    firewall: Arc<Layer>,
    router: Arc<Layer>,
    nat: Arc<Layer>,
    overlay: Arc<Layer>,
}

impl VpcPort {
    /// A port without rules, routes and gateway map. `holder` owns what is on loan for it.
    pub fn new(config: PortConfig, holder: Arc<Holder>) -> Result<Self, OpteError> {
        config.validate()?;
        let config = Arc::new(config);
        let mut next_rule = 0;
        let layers = Layers {
            gateway: Arc::new(gateway::layer(&config, &Prefixes::default())),
            firewall: Arc::new(firewall::empty()),
            router: Arc::new(router::empty(|| take_id(&mut next_rule))),
            nat: Arc::new(nat::empty()),
            overlay: Arc::new(overlay::layer(&config, &[], &holder)),
        };
        let mut port = Self {
            config,
            gateways: GatewayMap::new(),
            prefixes: Prefixes::default(),
            holder,
            claims: Arc::default(),
            retired: Vec::new(),
            reach: Arc::default(),
            firewall: Vec::new(),
            rules: BTreeMap::new(),
            routes: Routes::default(),
            shares: Vec::new(),
            denials: Denials::default(),
            revision: None,
            layers,
            next_rule,
        };
        let prepared = port.prepare(port.config.clone(), GatewayMap::new())?;
        port.put(prepared, None);
        Ok(port)
    }

    /// All that the port was told, to be carried elsewhere. Addresses that were taken away and
    /// stand for their connections are no part of it.
    pub fn saved(&self, name: &PortName) -> SavedPort {
        let weighted = |info: &RouteInfo| WeightedRoute { route: info.route, weight: info.weight };
        SavedPort {
            name: name.clone(),
            config: PortConfig::clone(&self.config),
            gateways: self.gateways.clone(),
            prefixes: self.prefixes.clone(),
            rules: self.rules.iter().map(|(id, rule)| (id.0, rule.clone())).collect(),
            routes: self.routes.list().iter().map(weighted).collect(),
            revision: self.revision,
        }
    }

    /// A port that was told the same, with the same numbers of firewall rules.
    #[inline(never)]
    pub fn restored(saved: Box<SavedPort>, holder: Arc<Holder>) -> Result<Self, OpteError> {
        let mut port = Self::new(saved.config, holder)?;
        if saved.rules.len() > MAX_RULES {
            return Err(too_many_rules());
        }
        for (id, rule) in saved.rules {
            rule.validate()?;
            // The last number is for nobody, so that there is always a next one.
            let next = id.checked_add(1).filter(|_| !port.rules.contains_key(&RuleId(id)));
            let why = "two firewall rules have one number, or one has none";
            let next = next.ok_or_else(|| OpteError::invalid("saved port", why))?;
            port.next_rule = port.next_rule.max(next);
            let compiled = Arc::new(firewall::compile(RuleId(id), &rule));
            port.firewall.push((rule.direction, compiled));
            port.rules.insert(RuleId(id), rule);
        }
        port.firewall.sort_unstable_by_key(|(_, rule)| rule.id);
        port.layers.firewall =
            Arc::new(firewall::with_rules(&port.layers.firewall, &port.firewall));
        port.set_prefixes(saved.prefixes)?;
        let external = |family: &Option<IpConfig>| family.as_ref().map(|f| f.external.clone());
        let external = [external(&port.config.ipv4), external(&port.config.ipv6)];
        let routing = Routing { routes: saved.routes, external, gateways: saved.gateways };
        port.set_routing(saved.revision, routing, None)?;
        Ok(port)
    }

    /// The configuration.
    pub fn config(&self) -> &PortConfig {
        &self.config
    }

    /// Changes the configuration. Layers that may depend on it are made anew. Connections that are
    /// translated as before are not touched; those on external addresses that are gone end, or go
    /// on as long as `until` says.
    pub fn reconfigure(
        &mut self,
        until: Option<Until>,
        change: impl FnOnce(&mut PortConfig),
    ) -> Result<(), OpteError> {
        let mut config = self.config.clone();
        change(Arc::make_mut(&mut config));
        config.validate()?;
        if config == self.config {
            return Ok(());
        }
        let prepared = self.prepare(config, self.gateways.clone())?;
        self.put(prepared, until);
        self.layers.gateway = Arc::new(gateway::layer(&self.config, &self.prefixes));
        self.rebuild_overlay();
        Ok(())
    }

    /// Which gateways each external address serves.
    pub const fn gateways(&self) -> &GatewayMap {
        &self.gateways
    }

    /// What the guest may use besides its own addresses.
    pub const fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// The layers for a policy.
    pub fn layers(&self) -> Vec<Arc<Layer>> {
        let Layers { gateway, firewall, router, nat, overlay } = &self.layers;
        [gateway, firewall, router, nat, overlay].map(Arc::clone).into()
    }

    const fn next_id(&mut self) -> RuleId {
        take_id(&mut self.next_rule)
    }

    /// A firewall rule as it was told.
    pub fn firewall_rule(&self, id: RuleId) -> Option<&FirewallRule> {
        self.rules.get(&id)
    }

    /// Adds a firewall rule.
    pub fn add_firewall_rule(&mut self, rule: FirewallRule) -> Result<RuleId, OpteError> {
        rule.validate()?;
        if self.firewall.len() >= MAX_RULES {
            return Err(too_many_rules());
        }
        let id = self.next_id();
        let compiled = Arc::new(firewall::compile(id, &rule));
        self.change_firewall(rule.direction, |table| table.with_rule(compiled.clone()));
        self.firewall.push((rule.direction, compiled));
        self.rules.insert(id, rule);
        Ok(id)
    }

    /// Removes a firewall rule.
    pub fn remove_firewall_rule(&mut self, direction: Direction, id: RuleId) -> Removal {
        let at = self.firewall.binary_search_by_key(&id, |(_, rule)| rule.id);
        let at = at.ok().filter(|at| self.firewall.get(*at).is_some_and(|at| at.0 == direction));
        let Some(at) = at else { return Removal::Absent };
        let (_, rule) = self.firewall.remove(at);
        self.rules.remove(&id);
        self.change_firewall(direction, |table| table.without_rule(&rule));
        Removal::Removed
    }

    fn change_firewall(&mut self, direction: Direction, change: impl FnOnce(&Table) -> Table) {
        let layer = &self.layers.firewall;
        let table = change(&layer.side(direction).table);
        self.layers.firewall = Arc::new(layer.with_table(direction, table));
    }

    /// Replaces all firewall rules. Those that were there already keep number and counters.
    pub fn set_firewall_rules(&mut self, rules: Vec<FirewallRule>) -> Result<(), OpteError> {
        if rules.len() > MAX_RULES {
            return Err(too_many_rules());
        }
        rules.iter().try_for_each(FirewallRule::validate)?;
        let mut known = Known::new(&self.firewall);
        let numbered = |text: FirewallRule| {
            let predicates = firewall::predicates(&text);
            let rule = known.take(&text, &predicates).unwrap_or_else(|| {
                let (id, action) = (take_id(&mut self.next_rule), firewall::action(text.action));
                Arc::new(Rule::new(id, text.priority, predicates, action))
            });
            (rule, text)
        };
        let mut next: Vec<_> = rules.into_iter().map(numbered).collect();
        next.sort_unstable_by_key(|(rule, _)| rule.id);
        let compiled = next.iter().map(|(rule, text)| (text.direction, rule.clone())).collect();
        let before: Vec<_> = core::mem::replace(&mut self.firewall, compiled);
        self.rules = next.into_iter().map(|(rule, text)| (rule.id, text)).gather();
        let same = |(a, b): (&(_, Arc<Rule>), &(_, Arc<Rule>))| Arc::ptr_eq(&a.1, &b.1);
        if before.len() == self.firewall.len() && before.iter().zip(&self.firewall).all(same) {
            return Ok(());
        }
        self.layers.firewall =
            Arc::new(firewall::with_rules(&self.layers.firewall, &self.firewall));
        Ok(())
    }

    /// Attaches a subnet, or attaches it in another way.
    pub fn attach_subnet(&mut self, subnet: IpCidr, how: Attachment) -> Result<(), OpteError> {
        let mut prefixes = self.prefixes.clone();
        prefixes.attached.insert(subnet, how);
        self.set_prefixes(prefixes)
    }

    /// Detaches a subnet.
    pub fn detach_subnet(&mut self, subnet: IpCidr) -> Result<Removal, OpteError> {
        check_family(subnet, self.addresses())?;
        let mut prefixes = self.prefixes.clone();
        match prefixes.attached.remove(&subnet) {
            Some(_) => self.set_prefixes(prefixes).map(|()| Removal::Removed),
            None => Ok(Removal::Absent),
        }
    }

    /// Lets the guest use a prefix in one direction, or in both.
    pub fn allow_cidr(
        &mut self,
        prefix: IpCidr,
        direction: Option<Direction>,
    ) -> Result<(), OpteError> {
        let mut prefixes = self.prefixes.clone();
        let transit = prefixes.transit.entry(prefix).or_default();
        *transit = transit.with(direction, true);
        self.set_prefixes(prefixes)
    }

    /// Takes that back. A subnet that is attached as well stays in use.
    pub fn remove_cidr(
        &mut self,
        prefix: IpCidr,
        direction: Option<Direction>,
    ) -> Result<Removal, OpteError> {
        check_family(prefix, self.addresses())?;
        let known = self.prefixes.transit.get(&prefix).copied().unwrap_or_default();
        let left = known.with(direction, false);
        if left == known {
            return Ok(Removal::Absent);
        }
        let mut prefixes = self.prefixes.clone();
        if left == Transit::default() {
            prefixes.transit.remove(&prefix);
        } else {
            prefixes.transit.insert(prefix, left);
        }
        self.set_prefixes(prefixes).map(|()| Removal::Removed)
    }

    /// Replaces all that the guest may use besides its own addresses.
    pub fn set_prefixes(&mut self, prefixes: Prefixes) -> Result<(), OpteError> {
        prefixes.validate(self.addresses())?;
        self.layers.gateway = Arc::new(gateway::layer(&self.config, &prefixes));
        self.prefixes = prefixes;
        Ok(())
    }

    /// Of the guest and of its gateway.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> + Clone {
        self.config.families().flat_map(|family| [family.private_ip, family.gateway_ip])
    }
}

const fn take_id(next: &mut u64) -> RuleId {
    *next += 1;
    RuleId(*next - 1)
}

/// Rules that a port has, by what they say.
struct Known<'a> {
    rules: &'a [(Direction, Arc<Rule>)],
    /// Hash and place of those that are not taken yet.
    places: HashTable<(u64, usize)>,
}

impl<'a> Known<'a> {
    fn new(rules: &'a [(Direction, Arc<Rule>)]) -> Self {
        let mut places = HashTable::with_capacity(rules.len());
        for (at, (_, rule)) in rules.iter().enumerate() {
            let hash = Self::hash(rule.priority, &rule.predicates);
            places.insert_unique(hash, (hash, at), |(hash, _)| *hash);
        }
        Self { rules, places }
    }

    /// Whoever configures a port does it no harm, so the hash needs no secret.
    fn hash(priority: u16, predicates: &[Predicate]) -> u64 {
        FixedState::default().hash_one((priority, predicates))
    }

    /// Takes a rule out that says the same.
    fn take(&mut self, text: &FirewallRule, predicates: &[Predicate]) -> Option<Arc<Rule>> {
        let rules = self.rules;
        let same = |(_, at): &(u64, usize)| {
            rules.get(*at).is_some_and(|(direction, rule)| {
                *direction == text.direction && firewall::is_same(rule, text, predicates)
            })
        };
        let found = self.places.find_entry(Self::hash(text.priority, predicates), same).ok()?;
        let ((_, at), _) = found.remove();
        rules.get(at).map(|(_, rule)| rule.clone())
    }
}

/// Both say the same of external addresses; in which order they say it is of no meaning.
fn same_addresses(a: &PortConfig, b: &PortConfig) -> bool {
    let normal = |config: &PortConfig| {
        let families = [&config.ipv4, &config.ipv6];
        families.map(|family| {
            let mut external = family.as_ref().map(|family| family.external.clone());
            if let Some(external) = &mut external {
                external.floating.sort_unstable();
                external.snat.sort_unstable();
            }
            external
        })
    };
    normal(a) == normal(b)
}

fn too_many_rules() -> OpteError {
    OpteError::Limit { what: "firewall rules".into(), limit: MAX_RULES as u64 }
}
