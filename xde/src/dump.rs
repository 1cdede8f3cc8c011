// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What one sees on looking at a host.

use crate::driver::Driver;
use crate::host::{Moment, Platform};
use crate::management::{Managed, Management};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::flow::Flow;
use opte::flow_table::SideSnapshot;
use opte::host::Host;
use opte::layer::Layer;
use opte::rule::Rule;
use opte_api::{Direction, OpteError, Protocol};
use oxide_vpc::{firewall, nat};
use oxide_vpc_api::dump::{
    Counter, CounterSet, FlowInfo, FlowSide, FlowTableDump, LayerDump, LayerFlow, LayerInfo,
    PortInfo, RuleInfo, TcpFlowInfo,
};
use oxide_vpc_api::request::DumpCounters;
use oxide_vpc_api::{ExternalIps, SnatRange};

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
fn decision<H: Host>(layer: &Layer, flow: &Flow<H>) -> Option<String> {
    match layer.name {
        firewall::NAME => Some(match flow.allowed_by() {
            Some(rule) => format!("allowed by rule {}", rule.0),
            None => "allowed by default".into(),
        }),
        nat::NAME => flow.binding().map(|binding| binding.to_string()),
        _ => None,
    }
}

pub(crate) fn layer<H: Host>(managed: &Managed<H>, name: &str) -> Result<LayerDump, OpteError> {
    let policy = managed.device.port.policy();
    let layers = &policy.rules.layers;
    let layer = layers.iter().find(|layer| layer.name == name).ok_or_else(|| {
        let names: Vec<&str> = layers.iter().map(|layer| layer.name).collect();
        OpteError::invalid("layer", format!("'{name}' is none of {}", names.join(", ")))
    })?;
    let flows = managed.device.port.flows().flows();
    let shown = |flow: &Arc<Flow<H>>| {
        Some(LayerFlow {
            flow: flow.opening_key().id(),
            opened: flow.opening.direction,
            decision: decision(layer, flow)?,
        })
    };
    Ok(LayerDump {
        name: layer.name.into(),
        rules: Direction::BOTH
            .map(|direction| layer.side(direction).table.rules().map(|r| rule(r)).collect()),
        default: defaults(layer),
        default_hits: Direction::BOTH.map(|direction| layer.side(direction).default_hits()),
        flows: flows.iter().filter_map(shown).collect(),
    })
}

fn rule(rule: &Rule) -> RuleInfo {
    RuleInfo {
        id: rule.id.0,
        priority: rule.priority,
        predicates: rule.predicates.iter().map(ToString::to_string).collect(),
        action: rule.action.describe(),
        hits: rule.hits(),
    }
}

/// Both sides of a flow; `None` if it has left the table meanwhile.
fn sides<H: Host>(managed: &Managed<H>, flow: &Arc<Flow<H>>) -> Option<[SideSnapshot; 2]> {
    let table = managed.device.port.flows();
    let [out, inbound] = Direction::BOTH.map(|direction| table.snapshot(flow, direction));
    Some([out?, inbound?])
}

pub(crate) fn flows<H: Host>(managed: &Managed<H>, now: Moment) -> FlowTableDump {
    let table = managed.device.port.flows();
    let shown = |flow: &Arc<Flow<H>>| {
        let [out, inbound] = sides(managed, flow)?;
        Some(FlowInfo {
            opened: flow.opening.direction,
            out: side(flow, Direction::Out, &out),
            inbound: side(flow, Direction::In, &inbound),
            nat: flow.binding().map(|binding| binding.to_string()),
            tcp: flow.tcp_state().map(|state| state.to_string()),
            judged: flow.judged(managed.device.port.generation()).0,
            idle_ms: now.since(out.last.max(inbound.last)),
        })
    };
    FlowTableDump { limit: table.limit(), flows: table.flows().iter().filter_map(shown).collect() }
}

fn side<H: Host>(flow: &Flow<H>, direction: Direction, side: &SideSnapshot) -> FlowSide {
    FlowSide {
        flow: flow.key(direction).id(),
        packets: side.packets,
        bytes: side.bytes,
        generation: side.stored.as_ref().map_or(0, |stored| stored.generation.0),
        transform: side
            .stored
            .as_ref()
            .map_or(String::new(), |stored| stored.transform.to_string()),
    }
}

pub(crate) fn tcp_flows<H: Host>(managed: &Managed<H>) -> Vec<TcpFlowInfo> {
    let shown = |flow: &Arc<Flow<H>>| {
        let key = flow.key(Direction::Out);
        let state = flow.tcp_state().filter(|_| key.protocol() == Protocol::TCP)?;
        let [out, inbound] = sides(managed, flow)?;
        Some(TcpFlowInfo {
            flow: key.id(),
            state: state.to_string(),
            segments: [out.packets, inbound.packets],
            bytes: [out.bytes, inbound.bytes],
        })
    };
    managed.device.port.flows().flows().iter().filter_map(shown).collect()
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
    let own = driver.counters.list().into_iter();
    let system = platform.counters().into_iter().map(|(name, value)| (name.into(), value));
    let counters = own.chain(system).map(|(name, value)| Counter { name, value });
    let mut sets = Vec::from([CounterSet { port: None, counters: counters.collect() }]);
    sets.extend(management.ports.values().map(port_counters));
    Ok(sets)
}

fn port_counters<H: Host>(managed: &Managed<H>) -> CounterSet {
    let port = &managed.device.port;
    let gauges = BTreeMap::from([
        ("flows", u64::from(port.flows().count())),
        ("flow_limit", u64::from(port.flows().limit())),
        ("generation", port.generation().0),
        ("paths_unshared", port.unshared_paths()),
    ]);
    let gauges = gauges.into_iter().map(|(name, value)| (name.into(), value));
    let counters = port.counters().list().into_iter().chain(gauges);
    CounterSet {
        port: Some(managed.device.name.clone()),
        counters: counters.map(|(name, value)| Counter { name, value }).collect(),
    }
}
