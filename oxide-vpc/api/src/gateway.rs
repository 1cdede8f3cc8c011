// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What one sees of the internet gateways of a port.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Kind of an external address, in the order of preference.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressKind {
    /// The guest's own, one of several.
    Floating,
    /// The guest's own, if there is no floating one.
    Ephemeral,
    /// Shared, by ranges of ports, if there is neither.
    Snat,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floating => "floating",
            Self::Ephemeral => "ephemeral",
            Self::Snat => "snat",
        })
    }
}

/// An address that is eligible for connections through a gateway.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct GatewayAddress {
    /// The address.
    pub ip: IpAddr,
    /// First and last port, of source NAT.
    pub ports: Option<(u16, u16)>,
    /// Its kind.
    pub kind: AddressKind,
    /// New connections may be given it: there is none of a better kind.
    pub is_first: bool,
    /// Connections that the guest opened through this gateway with this address.
    pub flows: u32,
    /// Connections that came to this address from outside; the same for all of its gateways.
    pub inbound_flows: u32,
}

/// A gateway of a port, as it is now.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct GatewayInfo {
    /// Its name; `None` is the one without.
    pub gateway: Option<Uuid>,
    /// Routes that lead to it.
    pub routes: u32,
    /// Addresses that are eligible, in the order of preference, IPv4 before IPv6.
    pub addresses: Vec<GatewayAddress>,
    /// Packets that it had no address for.
    pub denied: u64,
}
