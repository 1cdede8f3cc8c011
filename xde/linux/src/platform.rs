// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Devices and sockets, made and removed as requests want it.
//!
//! All that may take long happens on the thread of the request; the packet thread is only handed
//! the result.

use crate::counters::Counters;
use crate::sys::link;
use crate::tap::{GuestOffloads, Tap};
use crate::underlay::udp::UdpUnderlay;
use crate::worker::{Command, Remote};
use opte_api::{MacAddr, OpteError};
use oxide_vpc_api::PortName;
use std::io;
use std::sync::Arc;
use xde::host::{Platform, PortId};

/// The host side of requests.
#[derive(Debug)]
pub struct LinuxPlatform {
    remote: Remote,
    offloads: GuestOffloads,
    counters: Arc<Counters>,
}

impl LinuxPlatform {
    /// The platform of the worker behind `remote`.
    pub fn new(remote: Remote, offloads: GuestOffloads, counters: Arc<Counters>) -> Self {
        Self { remote, offloads, counters }
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
        let tap = Tap::create(name.as_str(), mtu, self.offloads).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EBUSY) => OpteError::exists("network device", name),
                Some(libc::EPERM | libc::EACCES) => {
                    refused("making a TAP device needs CAP_NET_ADMIN", &error)
                }
                _ => refused("making a TAP device", &error),
            }
        })?;
        let added = self.remote.order(Command::AddPort(port, tap));
        added.map_err(|error| refused("taking a TAP device into use", &error))
    }

    fn delete_device(&mut self, port: PortId, _name: &PortName) -> Result<(), OpteError> {
        let removed = self.remote.order(Command::RemovePort(port));
        removed.map_err(|error| refused("closing a TAP device", &error))
    }

    fn set_underlay(&mut self, links: &[String]) -> Result<(), OpteError> {
        let indices = links.iter().map(|name| index(name)).collect::<Result<Vec<_>, _>>()?;
        let underlay = UdpUnderlay::open(indices).map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRINUSE) => OpteError::BadState(
                "another process of this network namespace uses UDP port 6081".into(),
            ),
            _ => refused("opening the underlay's sockets", &error),
        })?;
        let set = self.remote.order(Command::SetUnderlay(Box::new(underlay)));
        set.map_err(|error| refused("using the underlay", &error))
    }

    fn clear_underlay(&mut self) -> Result<(), OpteError> {
        let cleared = self.remote.order(Command::ClearUnderlay);
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
