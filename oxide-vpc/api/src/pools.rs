// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What one sees on looking at shared external addresses: pools, and what is on loan.

use crate::PortName;
use crate::dump::Counter;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::{IpCidr, Protocol};
use serde::{Deserialize, Serialize};

/// Most leases in one answer.
pub const MAX_LEASE_PAGE: u32 = 4096;

/// How many ports, or query identifiers, of a range are what.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct NatUsage {
    /// On loan.
    pub used: u32,
    /// Free.
    pub free: u32,
    /// Given back, and not to be used again yet.
    pub quarantined: u32,
    /// Kept for port forwards, or for one guest alone.
    pub claimed: u32,
    /// Most on loan at a time, of all ranges of these addresses.
    pub high_water: u32,
}

/// A range of a pool. Of a prefix with more than one address, only addresses in use are counted.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct NatRangeInfo {
    /// The addresses.
    pub prefix: IpCidr,
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
    /// TCP ports.
    pub tcp: NatUsage,
    /// UDP ports.
    pub udp: NatUsage,
    /// Identifiers of ICMP queries.
    pub query: NatUsage,
}

/// What one guest has on loan.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct NatGuestInfo {
    /// Its address inside.
    pub ip: IpAddr,
    /// Mappings of TCP.
    pub tcp: u32,
    /// Mappings of UDP.
    pub udp: u32,
    /// Mappings of ICMP queries.
    pub query: u32,
    /// The external address that it is paired with.
    pub external_ip: Option<IpAddr>,
}

/// The pool of one port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct NatPoolInfo {
    /// The port.
    pub port: PortName,
    /// Mappings now.
    pub mappings: u32,
    /// Most mappings at a time.
    pub high_water: u32,
    /// How often there was no mapping for a connection, by cause.
    pub failures: Vec<Counter>,
    /// Its ranges.
    pub ranges: Vec<NatRangeInfo>,
    /// Its guests that have anything.
    pub guests: Vec<NatGuestInfo>,
}

/// Where a lease stands in the order of all: by protocol, external address and port, and endpoint.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct LeasePlace {
    /// TCP, UDP, ICMP or ICMPv6.
    pub protocol: Protocol,
    /// Address outside.
    pub external_ip: IpAddr,
    /// Port or identifier outside.
    pub external_port: u16,
    /// Address inside.
    pub ip: IpAddr,
    /// Port or identifier inside.
    pub port: u16,
}

/// An external tuple on loan.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct NatLeaseInfo {
    /// What it maps to what.
    pub place: LeasePlace,
    /// Connections that have a share in it.
    pub connections: u32,
    /// It is on loan to more than one endpoint, towards different destinations.
    pub shared: bool,
}

/// A part of all leases of a port, in order.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct NatLeasePage {
    /// Some leases.
    pub leases: Vec<NatLeaseInfo>,
    /// There are more behind the last of them.
    pub more: bool,
}
