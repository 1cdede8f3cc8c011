// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! ICMP errors that a boundary, as a router, sends about packets (RFC 792, RFC 4443).

use super::counters::{BoundaryDrop, BoundaryEvent};
use super::packet::{End, Packet, Part, may_cross};
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::answer;

/// What an error is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Complaint {
    HopLimit,
    TooBig { mtu: u32 },
}

impl Complaint {
    /// Why the packet is dropped when no error can be sent.
    pub fn reason(self) -> BoundaryDrop {
        match self {
            Self::HopLimit => BoundaryDrop::HopLimit,
            Self::TooBig { .. } => BoundaryDrop::TooBig,
        }
    }

    /// What is counted when one is sent.
    pub fn event(self) -> BoundaryEvent {
        match self {
            Self::HopLimit => BoundaryEvent::TimeExceeded,
            Self::TooBig { .. } => BoundaryEvent::TooBigTold,
        }
    }

    /// Whether an error may be sent about this packet (RFC 1812, section 4.3.2.7; RFC 4443,
    /// section 2.4). An IPv4 packet that may be cut is not told of its size.
    pub fn may_answer(self, packet: &Packet, bytes: &[u8]) -> bool {
        may_cross(packet.addr(End::Source))
            && packet.part != Part::LaterFragment
            && !packet.is_icmp_error(bytes)
            && (self == Self::HopLimit || packet.atomic)
    }

    /// The error, from `from` to the source of `packet`, as an IP packet. `None`: the addresses
    /// are of two families.
    pub fn error(self, from: IpAddr, packet: &Packet, bytes: &[u8]) -> Option<Vec<u8>> {
        let complaint = match self {
            Self::HopLimit => answer::Complaint::HopLimit,
            Self::TooBig { mtu } => answer::Complaint::TooBig { mtu },
        };
        complaint.packet(from, packet.addr(End::Source), bytes.get(..packet.len)?)
    }
}
