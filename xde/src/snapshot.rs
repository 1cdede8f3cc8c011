// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! All that decides on this host, as one immutable snapshot with one number.
//!
//! A batch of packets loads it once, so a packet sees one generation of everything, also if it goes
//! from one guest of this host to another. A change prepares the next snapshot and puts it in place
//! with one store. Policies that the change does not concern are shared with the one before, and
//! keep the number of the change that made them.

use crate::host::{Moment, PortId};
use crate::multicast::Groups;
use crate::shared::Shared;
use crate::switch::{Device, Switch};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU64, Ordering};
use opte::host::{Host, Lock};
use opte::policy::{Generation, Policy};
use opte_api::{MacAddr, Vni};

/// A device, and the policy by which its packets are decided.
pub(crate) struct Place<'a, H: Host> {
    pub device: &'a Arc<Device<H>>,
    pub policy: &'a Policy,
}

impl<H: Host> Clone for Place<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Host> Copy for Place<'_, H> {}

/// All that decides on this host.
pub(crate) struct Snapshot<H: Host> {
    /// Number of the change that made it.
    pub generation: Generation,
    pub switch: Arc<Switch<H>>,
    /// Of the devices of the switch, in their order.
    pub policies: Vec<Arc<Policy>>,
    /// Who hears which multicast group.
    pub groups: Arc<Groups>,
    /// Addresses outside of which several ports borrow.
    pub shared: Arc<Shared>,
}

impl<H: Host> Snapshot<H> {
    /// Nothing is known yet.
    pub fn empty(seed: u64) -> Self {
        let switch = Arc::new(Switch::new(Vec::new(), seed));
        let (groups, shared) = Default::default();
        Self { generation: Generation::NONE, switch, policies: Vec::new(), groups, shared }
    }

    #[inline]
    fn place(&self, at: usize) -> Option<Place<'_, H>> {
        Some(Place { device: self.switch.at(at)?, policy: self.policies.get(at)? })
    }

    /// The device of this number.
    pub fn device(&self, id: PortId) -> Option<Place<'_, H>> {
        self.place(self.switch.find(id)?)
    }

    /// The device of the guest with these addresses in this VPC.
    #[inline]
    pub fn guest(&self, vni: Vni, mac: MacAddr, underlay_ip: Ipv6Addr) -> Option<Place<'_, H>> {
        self.place(self.switch.guest(vni, mac, underlay_ip)?)
    }
}

/// The snapshot in force.
pub(crate) struct Published<H: Host> {
    current: H::Lock<Arc<Snapshot<H>>>,
    /// When the next address that was taken away stands no longer, in milliseconds.
    deadline: AtomicU64,
}

impl<H: Host> Published<H> {
    /// This snapshot is in force.
    pub fn new(first: Snapshot<H>) -> Self {
        Self { current: H::Lock::new(Arc::new(first)), deadline: AtomicU64::new(u64::MAX) }
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot<H>> {
        self.current.with(|current| current.clone())
    }

    /// Puts another one in force.
    pub fn store(&self, next: Snapshot<H>) {
        let next = Arc::new(next);
        let old = self.current.with(|current| core::mem::replace(current, next));
        drop(old); // Outside of the lock.
    }

    /// Says when the next address that was taken away stands no longer.
    pub fn set_deadline(&self, at: Option<Moment>) {
        self.deadline.store(at.map_or(u64::MAX, Moment::as_millis), Ordering::Relaxed);
    }

    /// That time has come; true to one who asks.
    pub fn is_over(&self, now: Moment) -> bool {
        let at = self.deadline.load(Ordering::Relaxed);
        let relaxed = Ordering::Relaxed;
        at <= now.as_millis()
            && self.deadline.compare_exchange(at, u64::MAX, relaxed, relaxed).is_ok()
    }
}
