// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which port gets this packet?
//!
//! The switch is an immutable snapshot: packets load it once for a batch, and a new one takes
//! its place when a port comes or goes.

use crate::host::PortId;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use opte::host::Host;
use opte::port::Port;
use opte_api::{MacAddr, Vni};
use oxide_vpc_api::PortName;

/// A port and where it is found.
pub struct Device<H: Host> {
    /// Its number.
    pub id: PortId,
    /// Its name.
    pub name: PortName,
    /// Its VPC.
    pub vni: Vni,
    /// MAC address of its guest.
    pub mac: MacAddr,
    /// Outer source address of what it sends.
    pub underlay_ip: Ipv6Addr,
    /// The engine's port.
    pub port: Port<H>,
}

/// All devices of a host.
pub struct Switch<H: Host> {
    by_id: BTreeMap<PortId, Arc<Device<H>>>,
    /// Few, and asked for with each packet that leaves.
    underlay_ips: Vec<u128>,
    by_address: hashbrown::HashMap<(Vni, MacAddr), Arc<Device<H>>, foldhash::fast::FixedState>,
}

impl<H: Host> Switch<H> {
    /// A switch of these devices. Guests cannot choose what is looked up beyond 48 bits of MAC
    /// address, and the map never grows by their doing; `seed` is from the host's random source.
    pub fn new(devices: impl Iterator<Item = Arc<Device<H>>>, seed: u64) -> Self {
        let mut switch = Self {
            by_id: BTreeMap::new(),
            underlay_ips: Vec::new(),
            by_address: hashbrown::HashMap::with_hasher(foldhash::fast::FixedState::with_seed(
                seed,
            )),
        };
        for device in devices {
            switch.by_address.insert((device.vni, device.mac), device.clone());
            switch.underlay_ips.push(device.underlay_ip.to_bits());
            switch.by_id.insert(device.id, device);
        }
        switch.underlay_ips.sort_unstable();
        switch.underlay_ips.dedup();
        switch
    }

    /// The device of this number.
    pub fn device(&self, id: PortId) -> Option<&Arc<Device<H>>> {
        self.by_id.get(&id)
    }

    /// The device of the guest with this address in this VPC.
    pub fn guest(&self, vni: Vni, mac: MacAddr) -> Option<&Arc<Device<H>>> {
        self.by_address.get(&(vni, mac))
    }

    /// Guests of this host have this underlay address.
    #[inline]
    pub fn is_local(&self, underlay_ip: Ipv6Addr) -> bool {
        self.underlay_ips.binary_search(&underlay_ip.to_bits()).is_ok()
    }

    /// The devices from this number on, by number.
    pub fn devices_from(&self, first: PortId) -> impl Iterator<Item = &Arc<Device<H>>> {
        self.by_id.range(first..).map(|(_, device)| device)
    }
}
