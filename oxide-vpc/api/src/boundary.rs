// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The NAT table of a boundary host: whose external tuple is it?

use alloc::format;
use core::net::{IpAddr, Ipv6Addr};
use opte_api::{MacAddr, OpteError, Vni};
use serde::{Deserialize, Serialize};

/// One entry: packets from outside to (`ip`, `first_port`..=`last_port`) go to a guest.
/// Ports are TCP and UDP destination ports and echo identifiers; an entry for all of
/// 0 to 65535 takes every protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct BoundaryNat {
    /// External address.
    pub ip: IpAddr,
    /// First port, inclusive.
    pub first_port: u16,
    /// Last port, inclusive.
    pub last_port: u16,
    /// Underlay address of the guest's host.
    pub underlay_ip: Ipv6Addr,
    /// The guest's VPC.
    pub vni: Vni,
    /// The guest's MAC address.
    pub mac: MacAddr,
}

impl BoundaryNat {
    /// Checks the range and the addresses.
    pub fn validate(&self) -> Result<(), OpteError> {
        if self.first_port > self.last_port {
            let text = format!("{}-{} is no range", self.first_port, self.last_port);
            return Err(OpteError::invalid("port range", text));
        }
        if self.ip.is_multicast() || self.ip.is_unspecified() || self.ip.is_loopback() {
            let why = format!("{} cannot be used outside", self.ip);
            return Err(OpteError::invalid("external address", why));
        }
        if self.underlay_ip.is_multicast() || self.underlay_ip.is_unspecified() {
            return Err(OpteError::invalid("underlay address", "it must be a unicast address"));
        }
        Ok(())
    }

    /// Shares an external tuple with `other`.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.ip == other.ip
            && self.first_port <= other.last_port
            && other.first_port <= self.last_port
    }
}
