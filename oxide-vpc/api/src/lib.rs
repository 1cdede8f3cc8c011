// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The language in which a VPC is configured and looked at.
//!
//! [`config`] describes a port; [`firewall`] and [`router`] are the rule languages with their
//! text forms; [`prefixes`] says what else a guest may use, [`settings`] what may be set for a
//! port; [`change`] is many requests as one; [`mapping`] says where things live on the underlay;
//! [`boundary`] is the NAT table of a boundary host; [`saved`] is a port in a file; [`dump`] and
//! [`pools`] are what comes back when one looks, [`filter`] which part of it; [`request`] ties each
//! request to its command number and its answer, and [`older`] knows their forms of older versions.
//! No code here processes a packet.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod boundary;
pub mod change;
pub mod config;
pub mod dump;
pub mod filter;
pub mod firewall;
pub mod gateway;
pub mod mapping;
pub mod multicast;
pub mod older;
pub mod pools;
pub mod prefixes;
pub mod request;
pub mod router;
pub mod saved;
pub mod settings;
pub mod trace;

pub use boundary::BoundaryNat;
pub use change::{ChangeReport, DrainAddresses, Step};
pub use config::{
    DhcpConfig, ExternalIps, GatewayMap, IpConfig, PortConfig, PortName, PortState, SnatRange,
};
pub use firewall::{FirewallAction, FirewallRule, Hosts, IcmpFilter, PortRange, ProtocolFilter};
pub use gateway::GatewayInfo;
pub use mapping::{BoundaryEndpoint, GuestLocation, V2bEntry, V2pEntry};
pub use prefixes::{Attachment, Prefixes, Transit};
pub use router::{RouteEntry, RouteInfo, RouterClass, RouterTarget, WeightedRoute};
pub use settings::{
    NatDependence, NatDependences, NatDestination, NatLimits, NatPooling, NatRange, NatRate,
    NatRates, NatSettings, OneToOne, PortForward, PortSettings, Quarantine, Untranslated,
};
