// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What an engine must offer to be played.

use super::model::{AttachedSubnet, FrameKind, PortDescription};
use opte_api::{Direction, IpCidr};
use oxide_vpc_api::{ExternalIps, FirewallRule, GatewayMap, RouteEntry, V2bEntry, V2pEntry};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// One port of an engine under test, with all that it needs to know of the world.
pub trait Subject {
    /// Changes the configuration. A change that is refused changes nothing.
    fn change(&mut self, change: &Change) -> Result<(), Refusal>;

    /// Moves the clock.
    fn advance(&mut self, ms: u64);

    /// Removes flows that have been idle for too long.
    fn expire(&mut self);

    /// Takes a frame from the guest (`Out`) or an outer frame from the underlay (`In`).
    fn packet(&mut self, direction: Direction, bytes: &[u8]) -> Outcome;
}

/// Makes a subject for a fresh port.
pub type Factory<'a> = dyn Fn(&PortDescription) -> Result<Box<dyn Subject>, Refusal> + 'a;

/// Why a change or a port was not accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The subject does not know how to do this.
    Unsupported(String),
    /// It is not allowed.
    Refused(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(what) => write!(f, "unsupported: {what}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// What became of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It goes on its way: a full outer frame (`Out`) or the frame for the guest (`In`).
    Forward(Vec<u8>),
    /// The engine answers; the frame goes back to the guest.
    Reply(Vec<u8>),
    /// Nothing comes out, for this reason.
    Drop(String),
}

impl Outcome {
    /// A frame with its destination.
    pub fn frame(kind: FrameKind, bytes: Vec<u8>) -> Self {
        match kind {
            FrameKind::Forward => Self::Forward(bytes),
            FrameKind::Reply => Self::Reply(bytes),
        }
    }

    /// The frame and where it goes, if there is one.
    pub fn as_frame(&self) -> Option<(FrameKind, &[u8])> {
        match self {
            Self::Forward(bytes) => Some((FrameKind::Forward, bytes)),
            Self::Reply(bytes) => Some((FrameKind::Reply, bytes)),
            Self::Drop(_) => None,
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Reply => "reply",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(bytes) => write!(f, "forward of {} bytes", bytes.len()),
            Self::Reply(bytes) => write!(f, "reply of {} bytes", bytes.len()),
            Self::Drop(reason) => write!(f, "drop ({reason})"),
        }
    }
}

/// A change of the configuration.
#[derive(Clone, Debug)]
pub enum Change {
    /// Says where a guest is.
    SetV2p(V2pEntry),
    /// Forgets where a guest is.
    ClearV2p(V2pEntry),
    /// Says where a prefix outside is sent.
    SetV2b(V2bEntry),
    /// Forgets where a prefix outside is sent.
    ClearV2b(V2bEntry),
    /// Says which underlay group carries a group.
    SetM2p {
        /// Group of the guests.
        group: IpAddr,
        /// Group of the underlay.
        underlay_group: Ipv6Addr,
    },
    /// Forgets which underlay group carries a group.
    ClearM2p {
        /// Group of the guests.
        group: IpAddr,
        /// Group of the underlay, where it is named.
        underlay_group: Option<Ipv6Addr>,
    },
    /// Adds a route.
    AddRoute(RouteEntry),
    /// Removes a route.
    DelRoute(RouteEntry),
    /// Replaces all firewall rules.
    SetFirewallRules(Vec<FirewallRule>),
    /// Adds a firewall rule.
    AddFirewallRule(FirewallRule),
    /// Replaces the external addresses of both families.
    SetExternalIps {
        /// IPv4; `None` is none.
        ipv4: Option<ExternalIps>,
        /// IPv6; `None` is none.
        ipv6: Option<ExternalIps>,
        /// Which gateways each address serves.
        gateways: GatewayMap,
    },
    /// Attaches a subnet to the guest, or changes an attached one.
    AttachSubnet(AttachedSubnet),
    /// Detaches a subnet.
    DetachSubnet(IpCidr),
    /// Lets the guest use a prefix in one direction.
    AllowCidr {
        /// The prefix.
        subnet: IpCidr,
        /// The direction.
        direction: Direction,
    },
    /// Takes that back.
    RemoveCidr {
        /// The prefix.
        subnet: IpCidr,
        /// The direction.
        direction: Direction,
    },
}

impl Change {
    /// Name of the operation, as in the files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SetV2p(_) => "set_v2p",
            Self::ClearV2p(_) => "clear_v2p",
            Self::SetV2b(_) => "set_v2b",
            Self::ClearV2b(_) => "clear_v2b",
            Self::SetM2p { .. } => "set_m2p",
            Self::ClearM2p { .. } => "clear_m2p",
            Self::AddRoute(_) => "add_route",
            Self::DelRoute(_) => "del_route",
            Self::SetFirewallRules(_) => "set_firewall_rules",
            Self::AddFirewallRule(_) => "add_firewall_rule",
            Self::SetExternalIps { .. } => "set_external_ips",
            Self::AttachSubnet(_) => "attach_subnet",
            Self::DetachSubnet(_) => "detach_subnet",
            Self::AllowCidr { .. } => "allow_cidr",
            Self::RemoveCidr { .. } => "remove_cidr",
        }
    }
}
