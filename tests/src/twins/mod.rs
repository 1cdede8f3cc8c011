// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Twins: two hosts that live the same history, one with stored transforms and one that decides
//! about every packet anew. Whatever can be seen of them must be the same, but for the counters
//! of hits and misses, those of rules, and what is told of packets that ran no stored transform.

mod apply;
mod changes;
mod frames;
mod settings;
mod steps;

pub use changes::{Change, GUESTS, REMOTE, gateway_id};
pub use steps::{Step, steps};

use crate::hypervisor::{Hypervisor, Left};
use crate::packets::checksums;
use crate::setting::{add_boundary, add_guest, add_peer};
use frames::Frame;
use opte::event::Event;
use opte::port::Caching;
use opte_api::OpteError;
use oxide_vpc_api::FirewallRule;
use oxide_vpc_api::change::Fate;
use oxide_vpc_api::dump::{
    Counter, CounterSet, FlowTableDump, LayerFlow, LayerInfo, PortInfo, TcpFlowDump,
};
use oxide_vpc_api::pools::{MAX_LEASE_PAGE, NatLeasePage, NatPoolInfo};
use oxide_vpc_api::request::{
    DumpCounters, DumpLayer, DumpNatLeases, DumpNatPools, DumpTcpFlows, DumpUft, ListLayers,
    ListPorts, SetFwRules,
};
use std::collections::VecDeque;
use std::fmt::Debug;
use xde::driver::DriverOptions;
use xde::host::PortId;

/// Frames of either way that are remembered.
const MEMORY: usize = 16;

/// The twins, and what they have in common.
pub struct Twins {
    hosts: [Hypervisor; 2],
    ports: [PortId; 2],
    next_port: u32,
    options: DriverOptions,
    /// All that the hosts have been told.
    told: Vec<Change>,
    came: VecDeque<Frame>,
    left: VecDeque<Left>,
    /// How often a stored transform was run.
    pub hits: u64,
    /// Changes of several things that came into force, and connections that they ended.
    pub applied: [u64; 2],
}

/// Everything that one can see of a port without disturbing it.
#[derive(Debug, PartialEq)]
struct PortView {
    flows: FlowTableDump,
    tcp: TcpFlowDump,
    layers: Vec<LayerInfo>,
    allowed: Vec<LayerFlow>,
    pools: Vec<NatPoolInfo>,
    leases: NatLeasePage,
}

/// Everything that one can see of a host without disturbing it.
#[derive(Debug, PartialEq)]
struct View {
    counters: Vec<CounterSet>,
    list: Vec<PortInfo>,
    ports: Vec<PortView>,
}

impl Twins {
    /// Twins with two ports each, whose firewalls have these rules.
    pub fn new(seed: u64, flow_limit: u32, rules: &[FirewallRule]) -> Self {
        let told = (0..GUESTS.len()).map(|at| Change::SetRules(at, rules.to_vec())).collect();
        let hosts = [Caching::Stored, Caching::Never].map(|caching| {
            let options = DriverOptions { flow_limit, caching, ..DriverOptions::new(seed) };
            let mut host = Hypervisor::new(options);
            add_boundary(&mut host);
            add_peer(&mut host, REMOTE, 1);
            for guest in GUESTS {
                add_guest(&mut host, guest, 0);
                let request = SetFwRules { port: guest.port(), rules: rules.to_vec() };
                host.request(&request).expect("good rules");
            }
            host
        });
        Self {
            hosts,
            ports: [PortId(0), PortId(1)],
            next_port: 2,
            options: DriverOptions { flow_limit, ..DriverOptions::new(seed) },
            told,
            came: VecDeque::new(),
            left: VecDeque::new(),
            hits: 0,
            applied: [0; 2],
        }
    }

    /// Lets both live through `step`. The error says how they differ.
    pub fn play(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Wait(ms) => self.hosts.iter_mut().for_each(|host| {
                host.advance(*ms);
                host.expire();
            }),
            Step::Idle(ms) => self.hosts.iter_mut().for_each(|host| host.advance(*ms)),
            Step::Change(change) => self.change(change)?,
            Step::Apply(changes) => self.apply(changes)?,
            step => {
                if let Some(frame) = self.frame(step) {
                    self.send(frame)?;
                }
            }
        }
        self.compare()
    }

    fn frame(&self, step: &Step) -> Option<Frame> {
        Some(match step {
            Step::Out { port, talk, oddity } => Frame::outbound(*port, talk).odd(*oddity),
            Step::In { port, talk, to, from, oddity } => {
                Frame::inbound(*port, talk, *to, *from).odd(*oddity)
            }
            Step::Answer { at, how, oddity } => {
                let left = self.left.get(at % self.left.len().max(1))?;
                Frame::answer(left, self.ports, *how)?.odd(*oddity)
            }
            Step::Again { at, oddity } => {
                self.came.get(at % self.came.len().max(1))?.clone().odd(*oddity)
            }
            Step::Link { port, call } => Frame::link(*port, *call),
            Step::Noise { port, bytes } => Frame::noise(*port, bytes),
            Step::Wait(_) | Step::Idle(_) | Step::Change(_) | Step::Apply(_) => return None,
        })
    }

    fn send(&mut self, frame: Frame) -> Result<(), String> {
        let port = self.ports[frame.guest];
        let built = frame.build();
        let [stored, never] = self.hosts.each_mut().map(|host| match frame.tunnel {
            None => host.from_guest(port, built.clone()),
            Some(_) => host.from_underlay(built.clone()),
        });
        same("what left", &stored, &never)?;
        if frame.is_right() {
            stored
                .iter()
                .try_for_each(is_right)
                .map_err(|error| format!("{error} in {frame:?}"))?;
        }
        remember(&mut self.came, [frame]);
        remember(&mut self.left, stored);
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), String> {
        let answers: [Result<(), OpteError>; 2] =
            self.hosts.each_mut().map(|host| change.make(host));
        same("the answer", &answers[0], &answers[1])?;
        if answers[0].is_ok() {
            self.told.push(change.clone());
        }
        if let Change::Again(at) = change {
            self.ports[*at] = PortId(self.next_port);
            self.next_port += 1;
        }
        Ok(())
    }

    /// Several changes as one, as far as they can be.
    fn apply(&mut self, changes: &[Change]) -> Result<(), String> {
        let (changes, steps): (Vec<&Change>, Vec<_>) =
            changes.iter().filter_map(|change| Some((change, change.step()?))).unzip();
        let [stored, never] = self.hosts.each_mut().map(|host| apply::apply(host, &steps));
        let (stored, never) = (stored?, never?);
        same("the report", &stored, &never)?;
        if let Ok(report) = stored {
            let fates = report.ports.iter().flat_map(|port| &port.flows);
            let cut =
                fates.filter(|fate| fate.fate == Fate::Cut).map(|fate| fate.count).sum::<u64>();
            self.applied = [self.applied[0] + 1, self.applied[1] + cut];
            self.told.extend(changes.into_iter().cloned());
            apply::nothing_was_cut_in_vain(&report, self.options, &self.told)?;
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), String> {
        let events: [Vec<Event>; 2] = self.hosts.each_ref().map(Hypervisor::events);
        let [stored, never] = events.map(|events| {
            let events = events.into_iter().filter(|event| !is_of_deciding(event));
            events.map(|event| format!("{event:?}")).collect::<Vec<_>>()
        });
        same("events", &stored, &never)?;
        let [stored, never] = self.hosts.each_mut().map(view);
        self.hits = stored.1;
        same("hits without a store", &never.1, &0)?;
        same("counters", &stored.0.counters, &never.0.counters)?;
        same("ports", &stored.0, &never.0)
    }
}

/// This tells how a packet was decided about that ran no stored transform.
const fn is_of_deciding(event: &Event) -> bool {
    matches!(
        event,
        Event::RuleMatched(_)
            | Event::Stamped(_)
            | Event::NextHop(_)
            | Event::DecideBegun(_)
            | Event::DecideEnded(_)
    )
}

fn is_right(left: &Left) -> Result<(), String> {
    let (Left::Underlay(bytes)
    | Left::Answer(bytes)
    | Left::Guest(_, bytes)
    | Left::Reply(_, bytes)) = left;
    checksums::verify(bytes).and_then(|()| checksums::verify_quote(bytes))
}

fn remember<T>(memory: &mut VecDeque<T>, new: impl IntoIterator<Item = T>) {
    for item in new {
        if memory.len() == MEMORY {
            memory.pop_front();
        }
        memory.push_back(item);
    }
}

fn same<T: Debug + PartialEq>(what: &str, stored: &T, never: &T) -> Result<(), String> {
    if stored == never {
        return Ok(());
    }
    Err(format!("{what} differ\nwith stored transforms:\n{stored:#?}\nwithout:\n{never:#?}"))
}

/// What one sees of a host; and apart from it, how many stored transforms it ran.
fn view(host: &mut Hypervisor) -> (View, u64) {
    let list = host.request(&ListPorts {}).expect("a list");
    let mut counters = host.request(&DumpCounters { port: None }).expect("counters");
    let is_hit = |counter: &Counter| counter.name.ends_with("_hits");
    let is_cache = |counter: &Counter| is_hit(counter) || counter.name.ends_with("_misses");
    let all = counters.iter().flat_map(|set| &set.counters);
    let hits = all.filter(|counter| is_hit(counter)).map(|counter| counter.value).sum();
    for set in &mut counters {
        set.counters.retain(|counter| !is_cache(counter));
    }
    let ports = GUESTS.iter().map(|guest| port_view(host, guest.port())).collect();
    (View { counters, list, ports }, hits)
}

fn port_view(host: &mut Hypervisor, port: oxide_vpc_api::PortName) -> PortView {
    let layer = DumpLayer::of(port.clone(), "firewall");
    PortView {
        flows: host.request(&DumpUft::of(port.clone())).expect("flows"),
        tcp: host.request(&DumpTcpFlows::of(port.clone())).expect("flows"),
        layers: host.request(&ListLayers { port: port.clone() }).expect("layers"),
        allowed: host.request(&layer).expect("a layer").flows,
        pools: host.request(&DumpNatPools { port: Some(port.clone()) }).expect("a pool"),
        leases: host
            .request(&DumpNatLeases { port, after: None, limit: MAX_LEASE_PAGE })
            .expect("leases"),
    }
}
