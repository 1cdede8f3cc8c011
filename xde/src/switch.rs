// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which port gets this packet?
//!
//! The switch is a part of the snapshot that packets load once for a batch; a new one takes its
//! place when a port comes or goes.

use crate::host::PortId;
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
    /// Inner destination MAC address of what goes to a boundary.
    pub boundary_mac: MacAddr,
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

/// All devices of a host. Each has a place, by which what belongs to it is found elsewhere.
pub struct Switch<H: Host> {
    /// By number.
    devices: Vec<Arc<Device<H>>>,
    /// Few, and asked for with each packet that leaves.
    underlay_ips: Vec<u128>,
    /// The place of each, and the underlay address that it had when the switch was made.
    by_address: hashbrown::HashMap<(Vni, MacAddr), (u32, Ipv6Addr), foldhash::fast::FixedState>,
}

impl<H: Host> Switch<H> {
    /// A switch of these devices. Guests cannot choose what is looked up beyond 48 bits of MAC
    /// address, and the map never grows by their doing; `seed` is from the host's random source.
    pub fn new(mut devices: Vec<Arc<Device<H>>>, seed: u64) -> Self {
        devices.sort_unstable_by_key(|device| device.id);
        let mut underlay_ips = Vec::with_capacity(devices.len());
        let hasher = foldhash::fast::FixedState::with_seed(seed);
        let mut by_address = hashbrown::HashMap::with_hasher(hasher);
        for (at, device) in (0..).zip(&devices) {
            let underlay_ip = device.underlay_ip();
            by_address.insert((device.vni, device.mac), (at, underlay_ip));
            underlay_ips.push(underlay_ip.to_bits());
        }
        underlay_ips.sort_unstable();
        underlay_ips.dedup();
        Self { devices, underlay_ips, by_address }
    }

    /// The devices by number, each in its place.
    pub fn devices(&self) -> &[Arc<Device<H>>] {
        &self.devices
    }

    /// The device in a place.
    #[inline]
    pub fn at(&self, place: usize) -> Option<&Arc<Device<H>>> {
        self.devices.get(place)
    }

    /// The place of the device of this number.
    pub fn find(&self, id: PortId) -> Option<usize> {
        self.devices.binary_search_by_key(&id, |device| device.id).ok()
    }

    /// The place of the device of the guest with this address in this VPC, if this is its underlay
    /// address.
    #[inline]
    pub fn guest(&self, vni: Vni, mac: MacAddr, underlay_ip: Ipv6Addr) -> Option<usize> {
        let (place, known) = self.by_address.get(&(vni, mac))?;
        (*known == underlay_ip).then_some(*place as usize)
    }

    /// Guests of this host have this underlay address.
    #[inline]
    pub fn is_local(&self, underlay_ip: Ipv6Addr) -> bool {
        self.underlay_ips.binary_search(&underlay_ip.to_bits()).is_ok()
    }

    /// The devices from this number on, by number.
    pub fn devices_from(&self, first: PortId) -> impl Iterator<Item = &Arc<Device<H>>> {
        let from = self.devices.partition_point(|device| device.id < first);
        self.devices.get(from..).unwrap_or_default().iter()
    }
}
