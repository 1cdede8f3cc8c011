// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where guests and the outside live on the underlay.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use opte_api::{IpCidr, MacAddr, Vni};
use serde::{Deserialize, Serialize};

/// VNI of boundary services, unless told otherwise.
pub const BOUNDARY_VNI: u32 = 99;

/// Where a guest is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct GuestLocation {
    /// MAC address of the guest.
    pub mac: MacAddr,
    /// Underlay address of its host.
    pub underlay_ip: Ipv6Addr,
}

/// One mapping from virtual to physical.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct V2pEntry {
    /// The VPC.
    pub vni: Vni,
    /// Address of the guest inside the VPC.
    pub ip: IpAddr,
    /// Where the guest is.
    pub location: GuestLocation,
}

/// A way out: a boundary host and the VNI it expects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct BoundaryEndpoint {
    /// Underlay address of the boundary host.
    pub underlay_ip: Ipv6Addr,
    /// VNI of boundary traffic.
    pub vni: Vni,
}

/// The ways out towards one prefix.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct V2bEntry {
    /// Destinations outside.
    pub prefix: IpCidr,
    /// Any of these serves; one is chosen for each flow.
    pub endpoints: Vec<BoundaryEndpoint>,
}
