// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Devices and sockets, made and removed as requests want it.
//!
//! All that may take long happens on the thread of the request; the packet thread is only handed
//! the result.

use crate::check;
use crate::counters::Counters;
use crate::crew::Crew;
use crate::port::link::Link;
use crate::port::tap::Tap;
use crate::port::{GuestOffloads, PortKind};
use crate::sys::link;
use crate::underlay::udp::UdpUnderlay;
use opte_api::{MacAddr, OpteError};
use oxide_vpc_api::PortName;
use std::io;
use std::sync::Arc;
use xde::host::{Platform, PortId};

/// The host side of requests.
#[derive(Debug)]
pub struct LinuxPlatform {
    crew: Crew,
    ports: PortKind,
    offloads: GuestOffloads,
    counters: Arc<Counters>,
}

impl LinuxPlatform {
    /// The platform of these workers.
    pub fn new(
        crew: Crew,
        ports: PortKind,
        offloads: GuestOffloads,
        counters: Arc<Counters>,
    ) -> Self {
        Self { crew, ports, offloads, counters }
    }

    fn make_tap(&self, port: PortId, name: &PortName, mtu: u16) -> Result<(), OpteError> {
        let queues = Tap::create(name.as_str(), mtu, self.offloads, self.crew.size());
        let queues = queues.map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => OpteError::exists("network device", name),
            Some(libc::EPERM | libc::EACCES) => {
                refused("making a TAP device needs CAP_NET_ADMIN", &error)
            }
            _ => refused("making a TAP device", &error),
        })?;
        let added = self.crew.add_port(port, queues);
        added.map_err(|error| refused("taking a TAP device into use", &error))
    }

    fn open_link(&self, port: PortId, name: &PortName, mtu: u16) -> Result<(), OpteError> {
        let queues = Link::open(name.as_str(), mtu, self.crew.size());
        let queues = queues.map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => OpteError::not_found("link", name),
            Some(libc::EPERM | libc::EACCES) => {
                refused("using a link needs CAP_NET_RAW and CAP_NET_ADMIN", &error)
            }
            _ => refused("opening a link", &error),
        })?;
        let added = self.crew.add_port(port, queues);
        added.map_err(|error| refused("taking a link into use", &error))
    }
}

impl Platform for LinuxPlatform {
    /// The device gets no MAC address from us: the guest's is that of its own interface.
    fn create_device(
        &mut self,
        port: PortId,
        name: &PortName,
        _mac: MacAddr,
        mtu: u16,
    ) -> Result<(), OpteError> {
        match self.ports {
            PortKind::Tap => self.make_tap(port, name, mtu),
            PortKind::Link => self.open_link(port, name, mtu),
        }
    }

    fn delete_device(&mut self, port: PortId, _name: &PortName) -> Result<(), OpteError> {
        let removed = self.crew.remove_port(port);
        removed.map_err(|error| refused("closing a port's device", &error))
    }

    fn set_mtu(&mut self, name: &PortName, mtu: u16) -> Result<(), OpteError> {
        link::set_mtu(name.as_str(), mtu)
            .map_err(|error| refused("setting the MTU of a port's device", &error))
    }

    fn set_underlay(&mut self, links: &[String]) -> Result<(), OpteError> {
        let indices = links.iter().map(|name| index(name)).collect::<Result<Vec<_>, _>>()?;
        let underlays = UdpUnderlay::open(&indices, check::joining(), self.crew.size());
        let underlays = underlays.map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRINUSE) => OpteError::BadState(
                "another process of this network namespace uses UDP port 6081".into(),
            ),
            _ => refused("opening the underlay's sockets", &error),
        })?;
        let set = self.crew.set_underlay(underlays);
        set.map_err(|error| refused("using the underlay", &error))
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        let cleared = self.crew.clear_underlay();
        cleared.map_err(|error| refused("closing the underlay", &error))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.all()
    }
}

fn index(name: &str) -> Result<u32, OpteError> {
    link::index(name).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV) => OpteError::not_found("link", name),
        _ => OpteError::invalid("link name", error),
    })
}

fn refused(what: &str, error: &io::Error) -> OpteError {
    OpteError::System(format!("{what}: {error}"))
}
