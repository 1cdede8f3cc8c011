// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Requests about multicast.
//!
//! Each is checked first; then the groups that it concerns are made anew from all that was told,
//! and are put in force together.

use super::{Group, Groups, Hop, Member};
use crate::dispatch::serve;
use crate::management::{Management, unknown};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use opte::host::Host;
use opte_api::OpteError;
use opte_api::frame::Request;
use oxide_vpc::Mappings;
use oxide_vpc_api::PortName;
use oxide_vpc_api::multicast::{
    ForwardingEntry, MAX_GROUPS, MAX_NEXT_HOPS, MAX_SUBSCRIPTIONS, NextHop, SourceFilter,
    Subscriber, SubscriptionEntry, check_group, check_underlay,
};
use oxide_vpc_api::request::*;

/// What a host has been told of groups, beside their mappings.
#[derive(Default)]
pub(crate) struct Told {
    /// By underlay group, and by their address.
    forwarding: BTreeMap<Ipv6Addr, BTreeMap<Ipv6Addr, NextHop>>,
    /// By group.
    subscriptions: BTreeMap<IpAddr, BTreeMap<PortName, SourceFilter>>,
}

impl Told {
    /// Groups that a port hears.
    fn heard_by(&self, port: &PortName) -> Vec<IpAddr> {
        let heard = self.subscriptions.iter().filter(|(_, ports)| ports.contains_key(port));
        heard.map(|(group, _)| *group).collect()
    }

    fn unsubscribe(&mut self, group: IpAddr, port: &PortName) -> Removal {
        let Some(ports) = self.subscriptions.get_mut(&group) else { return Removal::Absent };
        if ports.remove(port).is_none() {
            return Removal::Absent;
        }
        if ports.is_empty() {
            self.subscriptions.remove(&group);
        }
        Removal::Removed
    }

    /// Adds next hops, or changes those that are there.
    fn forward(&mut self, entry: ForwardingEntry) -> Result<(), OpteError> {
        check_underlay(entry.underlay)?;
        entry.next_hops.iter().try_for_each(NextHop::validate)?;
        if entry.next_hops.is_empty() {
            return Err(OpteError::invalid("forwarding", "name at least one next hop"));
        }
        let mut hops = self.forwarding.get(&entry.underlay).cloned().unwrap_or_default();
        hops.extend(entry.next_hops.into_iter().map(|hop| (hop.addr, hop)));
        limit(hops.len(), MAX_NEXT_HOPS, "next hops of one underlay group")?;
        let is_new = !self.forwarding.contains_key(&entry.underlay);
        let count = self.forwarding.len() + usize::from(is_new);
        limit(count, MAX_GROUPS, "underlay groups with next hops")?;
        self.forwarding.insert(entry.underlay, hops);
        Ok(())
    }
}

fn limit(count: usize, limit: usize, what: &str) -> Result<(), OpteError> {
    if count <= limit {
        return Ok(());
    }
    Err(OpteError::Limit { what: what.into(), limit: limit as u64 })
}

impl<H: Host> Management<H> {
    /// Serves one request.
    #[inline(never)]
    pub fn serve_multicast(&mut self, code: u16, body: &[u8]) -> Vec<u8> {
        match code {
            SetM2p::CODE => serve(body, |SetM2p { entry }| {
                let known = self.maps.knows_group(&entry);
                let maps = self.maps.with_group(&entry)?;
                self.map_group(!known, maps, entry.group);
                Ok(())
            }),
            ClearM2p::CODE => serve(body, |ClearM2p { entry }| {
                let (maps, removal) = self.maps.without_group(&entry);
                self.map_group(removal == Removal::Removed, maps, entry.group);
                Ok(removal)
            }),
            DumpM2p::CODE => serve(body, |DumpM2p {}| Ok(self.maps.groups().collect())),
            SetMulticastForwarding::CODE => serve(body, |SetMulticastForwarding { entry }| {
                let underlay = entry.underlay;
                self.multicast.forward(entry)?;
                let carried = self.carried_by(underlay);
                self.publish_regrouped(&carried);
                Ok(())
            }),
            ClearMulticastForwarding::CODE => {
                serve(body, |ClearMulticastForwarding { underlay }| {
                    let gone = self.multicast.forwarding.remove(&underlay);
                    let carried = self.carried_by(underlay);
                    self.publish_regrouped(&carried);
                    Ok(gone.map_or(Removal::Absent, |_| Removal::Removed))
                })
            }
            DumpMulticastForwarding::CODE => {
                serve(body, |DumpMulticastForwarding {}| Ok(self.forwarding()))
            }
            _ => self.serve_subscription(code, body),
        }
    }

    fn serve_subscription(&mut self, code: u16, body: &[u8]) -> Vec<u8> {
        match code {
            MulticastSubscribe::CODE => serve(body, |r| self.subscribe(r)),
            MulticastUnsubscribe::CODE => serve(body, |MulticastUnsubscribe { port, group }| {
                self.port(&port)?;
                let removal = self.multicast.unsubscribe(group, &port);
                self.publish_regrouped(&[group]);
                Ok(removal)
            }),
            MulticastUnsubscribeAll::CODE => serve(body, |MulticastUnsubscribeAll { group }| {
                let gone = self.multicast.subscriptions.remove(&group);
                self.publish_regrouped(&[group]);
                Ok(gone.map_or(Removal::Absent, |_| Removal::Removed))
            }),
            DumpMulticastSubscriptions::CODE => {
                serve(body, |DumpMulticastSubscriptions {}| Ok(self.subscriptions()))
            }
            code => unknown(code),
        }
    }

    fn subscribe(
        &mut self,
        MulticastSubscribe { port, group, filter }: MulticastSubscribe,
    ) -> Result<(), OpteError> {
        self.port(&port)?;
        check_group(group)?;
        filter.validate()?;
        if filter.sources.iter().any(|source| source.is_ipv4() != group.is_ipv4()) {
            let why = format!("{group} has sources of its own address family only");
            return Err(OpteError::invalid("source filter", why));
        }
        if self.maps.group(group).is_none() {
            let why = format!("no underlay group carries {group}: use 'opteadm set-m2p' first");
            return Err(OpteError::BadState(why));
        }
        let heard = self.multicast.heard_by(&port);
        let count = heard.len() + usize::from(!heard.contains(&group));
        limit(count, MAX_SUBSCRIPTIONS, "groups that one port hears")?;
        let is_new = !self.multicast.subscriptions.contains_key(&group);
        let count = self.multicast.subscriptions.len() + usize::from(is_new);
        limit(count, MAX_GROUPS, "groups that are heard")?;
        self.multicast.subscriptions.entry(group).or_default().insert(port, filter);
        self.publish_regrouped(&[group]);
        Ok(())
    }

    /// A port that has gone hears nothing.
    pub fn forget_listener(&mut self, port: &PortName) {
        let heard = self.multicast.heard_by(port);
        for group in &heard {
            self.multicast.unsubscribe(*group, port);
        }
        self.regroup(&heard);
    }

    /// Groups that an underlay group carries.
    fn carried_by(&self, underlay: Ipv6Addr) -> Vec<IpAddr> {
        let mapped = self.maps.groups().filter(|entry| entry.underlay == underlay);
        mapped.map(|entry| entry.group).chain([underlay.into()]).collect()
    }

    /// Puts other mappings in force, if they say something new of a group.
    fn map_group(&mut self, new: bool, maps: Mappings, group: IpAddr) {
        if new {
            self.maps = Arc::new(maps);
            self.regroup(&[group]);
            self.publish_all();
        }
    }

    fn publish_regrouped(&mut self, changed: &[IpAddr]) {
        self.regroup(changed);
        self.publish_groups();
    }

    /// Makes groups anew.
    fn regroup(&mut self, changed: &[IpAddr]) {
        let next = |groups: Groups, ip: &IpAddr| groups.with(*ip, self.group(*ip));
        self.groups = Arc::new(changed.iter().fold(Groups::clone(&self.groups), next));
    }

    fn group(&self, ip: IpAddr) -> Option<Group> {
        let underlay = self.maps.group(ip)?;
        let ports = self.multicast.subscriptions.get(&ip).into_iter().flatten();
        let member = |(name, filter): (&PortName, &SourceFilter)| {
            let device = &self.ports.get(name)?.device;
            Some(Member { port: device.id, vni: device.vni, filter: filter.clone() })
        };
        let members: Vec<_> = ports.filter_map(member).collect();
        let hops = self.multicast.forwarding.get(&underlay).into_iter().flat_map(BTreeMap::values);
        let hops: Vec<_> = hops.map(Hop::new).collect();
        let is_used = !members.is_empty() || !hops.is_empty();
        is_used.then_some(Group { underlay, members, hops })
    }

    fn forwarding(&self) -> Vec<ForwardingEntry> {
        let entry = |(underlay, hops): (&Ipv6Addr, &BTreeMap<Ipv6Addr, NextHop>)| ForwardingEntry {
            underlay: *underlay,
            next_hops: hops.values().cloned().collect(),
        };
        self.multicast.forwarding.iter().map(entry).collect()
    }

    fn subscriptions(&self) -> Vec<SubscriptionEntry> {
        let subscriber = |(port, filter): (&PortName, &SourceFilter)| Subscriber {
            port: port.clone(),
            filter: filter.clone(),
        };
        let all = self.multicast.subscriptions.iter();
        all.map(|(group, ports)| SubscriptionEntry {
            group: *group,
            underlay: self.maps.group(*group),
            subscribers: ports.iter().map(subscriber).collect(),
        })
        .collect()
    }
}
