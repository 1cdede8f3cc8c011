// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Why a policy ends a connection. Every cut has one of these names, and every name a counter.

use crate::drop_reason::DropReason;

crate::named! {
    /// Why a policy ends a connection that one before it has let be.
    pub enum CutReason {
        /// The external address of the connection is not the port's any more.
        AddressGone = "address_gone",
        /// The external address is still the port's, but not this port or identifier of it.
        PoolShrunk = "pool_shrunk",
        /// Source NAT through this gateway uses other addresses now.
        PoolMoved = "pool_moved",
        /// The external address serves other gateways than the one that the route names.
        GatewayChanged = "gateway_changed",
        /// The address is used in another way, or the connection is to be translated and was not.
        TranslatedOtherwise = "translated_otherwise",
        /// The port forward by which the connection came in is not there any more.
        ForwardRemoved = "forward_removed",
        /// The time is over for which connections on an address that went away were let be.
        DrainOver = "drain_over",
        /// A firewall rule denies it, or none lets it be any more.
        RuleDenies = "rule_denies",
        /// Its route leads nowhere, or elsewhere.
        RouteChanged = "route_changed",
        /// No guest or boundary is known any more at its far end.
        PeerGone = "peer_gone",
        /// The port has another private address or MAC address.
        PortChanged = "port_changed",
        /// The port was deleted.
        PortGone = "port_gone",
    }
}

impl CutReason {
    /// Why a connection ends whose opening packet would now be dropped for `reason`, unless who
    /// dropped it knows better (see [`crate::walk::Walk::cut`]).
    pub const fn of(reason: DropReason) -> Self {
        match reason {
            DropReason::FirewallRule | DropReason::FirewallDefault => Self::RuleDenies,
            DropReason::NoExternalAddress => Self::AddressGone,
            DropReason::UntranslatedOutside => Self::TranslatedOtherwise,
            DropReason::NoMapping | DropReason::NoBoundary => Self::PeerGone,
            DropReason::Spoofed | DropReason::NotForGuest | DropReason::GatewayDeny => {
                Self::PortChanged
            }
            _ => Self::RouteChanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_order() {
        for (index, reason) in CutReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            let same = CutReason::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1, "{}", reason.name());
        }
    }
}
