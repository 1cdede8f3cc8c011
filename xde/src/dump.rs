// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What one sees on looking at a host.

use crate::driver::Driver;
use crate::flow_dump::{self, FlowPage};
use crate::host::Platform;
use crate::management::{Managed, Management};
use crate::switch::Device;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::counters::Counters;
use opte::flow::Flow;
use opte::flow_table::Traffic;
use opte::host::{Host, Lock};
use opte::layer::Layer;
use opte::rule::Rule;
use opte_api::{Direction, OpteError};
use oxide_vpc::{Mappings, firewall, nat};
use oxide_vpc_api::dump::{
    Counter, CounterSet, LayerDump, LayerFlow, LayerInfo, PortInfo, RuleInfo, V2bDump, V2pDump,
};
use oxide_vpc_api::filter::{MAX_LOOKED_AT, Page};
use oxide_vpc_api::request::{DumpCounters, DumpLayer, DumpV2b, DumpV2p};
use oxide_vpc_api::{ExternalIps, FirewallRule, SnatRange, V2bEntry, V2pEntry};

pub(crate) fn port<H: Host>(managed: &Managed<H>) -> PortInfo {
    let config = managed.vpc.config();
    let external = || config.families().map(|family| &family.external);
    PortInfo {
        name: managed.device.name.clone(),
        state: managed.state,
        mac: config.mac,
        vni: config.vni,
        mtu: config.mtu,
        underlay_ip: config.underlay_ip,
        private_ips: config.families().map(|family| family.private_ip).collect(),
        floating: external().flat_map(|ips| ips.floating.iter().copied()).collect(),
        ephemeral: external().filter_map(|ips| ips.ephemeral).collect(),
        snat: external().flat_map(snat_ranges).collect(),
        generation: managed.device.port.generation().0,
    }
}

fn snat_ranges(ips: &ExternalIps) -> impl Iterator<Item = String> + '_ {
    ips.snat.iter().map(|SnatRange { ip, first_port, last_port }| {
        if ip.is_ipv4() {
            format!("{ip}:{first_port}-{last_port}")
        } else {
            format!("[{ip}]:{first_port}-{last_port}")
        }
    })
}

pub(crate) fn layers<H: Host>(managed: &Managed<H>) -> Vec<LayerInfo> {
    let flows = managed.device.port.flows().flows();
    let layers = &managed.device.port.policy().rules.layers;
    let info = |layer: &Arc<Layer>| LayerInfo {
        name: layer.name.into(),
        rules: count_rules(layer),
        default: defaults(layer),
        flows: flows.iter().filter(|flow| decision(layer, flow).is_some()).count() as u32,
    };
    layers.iter().map(info).collect()
}

fn count_rules(layer: &Layer) -> [u32; 2] {
    Direction::BOTH.map(|direction| layer.side(direction).table.rules().count() as u32)
}

fn defaults(layer: &Layer) -> [String; 2] {
    Direction::BOTH.map(|direction| layer.side(direction).default.to_string())
}

/// What `layer` decided for the whole of a connection.
pub(crate) fn decision<H: Host>(layer: &Layer, flow: &Flow<H>) -> Option<String> {
    match layer.name {
        firewall::NAME => Some(match flow.allowed_by() {
            Some(rule) => format!("allowed by rule {}", rule.0),
            None => "allowed by default".into(),
        }),
        nat::NAME => flow.binding().map(|binding| binding.to_string()),
        _ => None,
    }
}

/// The layer of this name.
pub(crate) fn find_layer<'a>(
    layers: &'a [Arc<Layer>],
    name: &str,
) -> Result<&'a Arc<Layer>, OpteError> {
    layers.iter().find(|layer| layer.name == name).ok_or_else(|| {
        let names: Vec<&str> = layers.iter().map(|layer| layer.name).collect();
        OpteError::invalid("layer", format!("'{name}' is none of {}", names.join(", ")))
    })
}

pub(crate) fn layer<H: Host>(
    managed: &Managed<H>,
    request: &DumpLayer,
) -> Result<LayerDump, OpteError> {
    let name = request.layer.as_str();
    let policy = managed.device.port.policy();
    let layer = find_layer(&policy.rules.layers, name)?;
    let shown = |flow: &Arc<Flow<H>>| {
        Some(LayerFlow {
            flow: flow.opening_key().id(),
            opened: flow.opening.direction,
            decision: decision(layer, flow)?,
        })
    };
    let FlowPage { flows, next } = flow_dump::page(managed, &request.filter, request.page, shown)?;
    // Each flow is looked at for it, so it is told once.
    let told = layer.name == firewall::NAME && request.page.after.is_none();
    let traffic = match told {
        true => managed.device.port.flows().traffic(),
        false => BTreeMap::new(),
    };
    let shown_rule = |it: &Arc<Rule>| {
        let told = managed.vpc.firewall_rule(it.id).filter(|_| layer.name == firewall::NAME);
        rule(it, traffic.get(&it.id).copied().unwrap_or_default(), told)
    };
    Ok(LayerDump {
        name: layer.name.into(),
        rules: Direction::BOTH
            .map(|direction| layer.side(direction).table.rules().map(shown_rule).collect()),
        default: defaults(layer),
        default_hits: Direction::BOTH.map(|direction| layer.side(direction).default_hits()),
        flows,
        next,
    })
}

/// Mappings of this page, and where it ends if there may be more. They come in order, and only
/// those behind the cursor.
fn page<C: Copy, T>(
    wanted: Page<C>,
    mut entries: impl Iterator<Item = T>,
    is_meant: impl Fn(&T) -> bool,
    cursor: impl Fn(&T) -> C,
) -> (Vec<T>, Option<C>) {
    let (mut page, mut end) = (Vec::new(), None);
    for (entry, looked_at) in entries.by_ref().zip(1..) {
        end = Some(cursor(&entry));
        if is_meant(&entry) {
            page.push(entry);
        }
        if page.len() >= wanted.limit() || looked_at >= MAX_LOOKED_AT {
            break;
        }
    }
    (page, end.filter(|_| entries.next().is_some()))
}

pub(crate) fn guests(maps: &Mappings, DumpV2p { filter, page: wanted }: DumpV2p) -> V2pDump {
    let entries = maps.guests_after(wanted.after);
    let is_meant = |entry: &V2pEntry| filter.has_guest(entry.vni, entry.ip);
    let (entries, next) = page(wanted, entries, is_meant, |entry| (entry.vni, entry.ip));
    V2pDump { entries, next }
}

pub(crate) fn boundaries(maps: &Mappings, DumpV2b { filter, page: wanted }: DumpV2b) -> V2bDump {
    let entries = maps.boundaries_after(wanted.after);
    let is_meant = |entry: &V2bEntry| filter.has_prefix(entry.prefix);
    let (entries, next) = page(wanted, entries, is_meant, |entry| entry.prefix);
    V2bDump { entries, next }
}

fn rule(rule: &Rule, traffic: Traffic, told: Option<&FirewallRule>) -> RuleInfo {
    RuleInfo {
        id: rule.id.0,
        priority: rule.priority,
        predicates: rule.predicates.iter().map(ToString::to_string).collect(),
        action: rule.action.describe(),
        hits: rule.hits(),
        packets: traffic.packets,
        bytes: traffic.bytes,
        uuid: told.and_then(|told| told.uuid),
        comment: told.and_then(|told| told.comment.clone()),
    }
}

pub(crate) fn counters<H: Host>(
    management: &Management<H>,
    driver: &Driver<H>,
    platform: &dyn Platform,
    DumpCounters { port }: DumpCounters,
) -> Result<Vec<CounterSet>, OpteError> {
    if let Some(name) = port {
        return Ok([port_counters(management.port(&name)?)].into());
    }
    let system = platform.counters();
    let mut sets = Vec::from([CounterSet { port: None, counters: named(driver.counters(system)) }]);
    sets.extend(management.ports.values().map(port_counters));
    Ok(sets)
}

fn named(counters: Vec<(String, u64)>) -> Vec<Counter> {
    counters.into_iter().map(|(name, value)| Counter { name, value }).collect()
}

fn port_counters<H: Host>(managed: &Managed<H>) -> CounterSet {
    let device = &managed.device;
    CounterSet { port: Some(device.name.clone()), counters: named(device.counters()) }
}

impl<H: Host> Driver<H> {
    /// Names and values of the host's counters, in a fixed order, with those of the system.
    pub fn counters(&self, system: Vec<(&'static str, u64)>) -> Vec<(String, u64)> {
        let shelf = self.shelf.with(|shelf| shelf.counters());
        let packets = self.copies.list().chain(self.outside.list());
        let more = shelf.into_iter().chain(packets).chain(system);
        let more = more.map(|(name, value)| (name.into(), value));
        self.counters.list().into_iter().chain(more).collect()
    }
}

/// What of a port is counted elsewhere.
const GAUGES: [&str; 8] = [
    "cuts_forgotten",
    "flow_limit",
    "flows",
    "fragments_bytes_held",
    "fragments_evicted",
    "fragments_packets",
    "generation",
    "paths_unshared",
];

impl<H: Host> Device<H> {
    /// Names and values of the port's counters, in a fixed order.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let [packets, held, evicted] = self.port.fragments();
        let (limit, flows) = (self.port.flows().limit().into(), self.port.flows().count().into());
        let (generation, unshared) = (self.port.generation().0, self.port.unshared_paths());
        let forgotten = self.port.swept_forgotten();
        let values = [forgotten, limit, flows, held, evicted, packets, generation, unshared];
        let gauges = GAUGES.into_iter().map(Into::into).zip(values);
        self.port.counters().list().into_iter().chain(gauges).collect()
    }

    /// The names alone, of a port that may not be there yet.
    pub fn counter_names() -> Vec<String> {
        let counted = Counters::default().list().into_iter().map(|(name, _)| name);
        counted.chain(GAUGES.into_iter().map(Into::into)).collect()
    }
}
