// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! From what a host has been told to the snapshot that packets are decided by.
//!
//! Everything is prepared before anything is put in force, and nothing that can fail comes after:
//! so a change that fails has changed nothing. What a change says again publishes nothing.
//! Connections are judged behind the publication, by their next packet or by the sweep of
//! [`Driver::upkeep`](crate::Driver::upkeep), so publishing takes as long with a million flows as
//! with none.

use crate::host::Moment;
use crate::management::{Managed, Management};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::switch::Switch;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::host::Host;
use opte::policy::{Policy, PolicyRules};
use oxide_vpc::settings::{answer_policy, idle_limits, shared_addresses};
use oxide_vpc::{Mappings, VpcPort};
use oxide_vpc_api::PortName;

/// What decides for a port.
pub(crate) fn rules(vpc: &VpcPort, maps: &Arc<Mappings>) -> PolicyRules {
    PolicyRules {
        layers: vpc.layers(),
        host_tables: maps.clone(),
        idle: idle_limits(&vpc.config().settings),
        pick_up: vpc.config().settings.tcp.pick_up,
        answers: answer_policy(vpc.config()),
        shared: shared_addresses(vpc.config(), vpc.holder().space()),
    }
}

impl<H: Host> Management<H> {
    /// Puts in force what one port has been told.
    pub fn publish_port(&self, name: &PortName) {
        let switch = self.published.load().switch.clone();
        self.publish(&switch, |managed| managed.device.name == *name);
    }

    /// Puts in force what the host has been told.
    pub fn publish_all(&self) {
        let switch = self.published.load().switch.clone();
        self.publish(&switch, |_| true);
    }

    /// Puts in force who hears which multicast group, of which no policy knows.
    pub fn publish_groups(&self) {
        let switch = self.published.load().switch.clone();
        self.publish(&switch, |_| false);
    }

    /// The same when a port has come or gone.
    pub fn publish_switch(&self) {
        let devices = self.ports.values().map(|managed| managed.device.clone()).collect();
        self.publish(&Arc::new(Switch::new(devices, self.seed)), |_| true);
    }

    /// Puts in force what the ports have been told that a change may concern.
    fn publish(&self, switch: &Arc<Switch<H>>, concerns: impl Fn(&Managed<H>) -> bool) {
        let current = self.published.load();
        let generation = current.generation.next();
        let mut policies: Vec<Arc<Policy>> = match Arc::ptr_eq(switch, &current.switch) {
            true => current.policies.clone(),
            false => switch.devices().iter().map(|device| device.port.policy()).collect(),
        };
        let mut changed = Vec::new();
        for managed in self.ports.values().filter(|managed| concerns(managed)) {
            let place = switch.find(managed.device.id).and_then(|at| policies.get_mut(at));
            let Some(policy) = place else { continue };
            let rules = rules(&managed.vpc, &self.maps);
            if !policy.rules.is_same(&rules) {
                *policy = Arc::new(policy.next(generation, rules));
                changed.push((managed, policy.clone()));
            }
        }
        let (groups, shared) = (self.groups.clone(), self.shared(&current));
        let same_groups = Arc::ptr_eq(&groups, &current.groups);
        let same = same_groups && Arc::ptr_eq(&shared, &current.shared);
        if changed.is_empty() && Arc::ptr_eq(switch, &current.switch) && same {
            return;
        }
        let switch = switch.clone();
        self.published.store(Snapshot { generation, switch, policies, groups, shared });
        for (managed, policy) in changed {
            managed.device.port.publish(policy);
            managed.vpc.came_into_force();
        }
    }

    /// Addresses outside of which several ports borrow.
    fn shared(&self, current: &Snapshot<H>) -> Arc<Shared> {
        let ports = self.ports.values();
        let ports = ports.map(|m| (m.device.id, m.vpc.holder(), m.vpc.reach()));
        current.shared.next(&self.space, ports)
    }

    /// Lets addresses that were taken away stand no longer than was said.
    pub fn end_drains(&mut self, now: Moment) {
        for managed in self.ports.values_mut() {
            managed.vpc.end_drains(now);
        }
        self.set_deadline();
        self.publish_all();
    }

    /// Notes when to do so next.
    pub fn set_deadline(&self) {
        let next = self.ports.values().filter_map(|managed| managed.vpc.next_deadline()).min();
        self.published.set_deadline(next);
    }
}
