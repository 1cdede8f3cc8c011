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
use opte::host::{Host, Lock};
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
    /// Outer source address of what it sends. It may change; a new switch follows.
    pub(crate) underlay_ip: H::Lock<Ipv6Addr>,
    /// The engine's port.
    pub port: Port<H>,
}

impl<H: Host> Device<H> {
    /// Outer source address of what it sends.
    pub fn underlay_ip(&self) -> Ipv6Addr {
        self.underlay_ip.with(|ip| *ip)
    }

    /// Changes that.
    pub(crate) fn set_underlay_ip(&self, underlay_ip: Ipv6Addr) {
        self.underlay_ip.with(|ip| *ip = underlay_ip);
    }
}

/// A device, and the underlay address that it had when the switch was made.
struct Place<H: Host> {
    device: Arc<Device<H>>,
    underlay_ip: Ipv6Addr,
}

/// All devices of a host.
pub struct Switch<H: Host> {
    by_id: BTreeMap<PortId, Arc<Device<H>>>,
    /// Few, and asked for with each packet that leaves.
    underlay_ips: Vec<u128>,
    by_address: hashbrown::HashMap<(Vni, MacAddr), Place<H>, foldhash::fast::FixedState>,
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
            let underlay_ip = device.underlay_ip();
            let place = Place { device: device.clone(), underlay_ip };
            switch.by_address.insert((device.vni, device.mac), place);
            switch.underlay_ips.push(underlay_ip.to_bits());
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

    /// The device of the guest with this address in this VPC, if this is its underlay address.
    #[inline]
    pub fn guest(&self, vni: Vni, mac: MacAddr, underlay_ip: Ipv6Addr) -> Option<&Arc<Device<H>>> {
        let place = self.by_address.get(&(vni, mac))?;
        (place.underlay_ip == underlay_ip).then_some(&place.device)
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
