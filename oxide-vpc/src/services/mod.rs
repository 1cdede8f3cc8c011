// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the gateway answers by itself: ARP, echo, neighbour discovery, DHCP and DHCPv6.
//!
//! Every service is a pure function of the port's configuration and one frame from the guest.
//! Nothing is remembered between frames: a port has one address of each family, for ever, so a
//! lease is a fact of the configuration.
//!
//! Guarantees, for any bytes whatever:
//! * no service panics, and its work is linear in the length of the frame;
//! * a reply is a whole Ethernet frame from the gateway with complete and correct checksums;
//! * a reply is at most as long as the port's MTU and 1500 bytes of IP allow, except that an echo
//!   reply is as long as its request;
//! * a frame that another MAC address than the guest's sent is never answered.

pub mod arp;
pub mod dhcp4;
pub mod dhcp6;
pub mod icmp;
pub mod ndp;
mod packet;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

/// What a service makes of a frame from the guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A whole Ethernet frame, back to the guest.
    Reply(Vec<u8>),
    /// The frame is for this service, or must never leave, and gets no answer. The text says why.
    Deny(&'static str),
    /// The frame is not for this service.
    Pass,
}

/// How far the checksum of the transport header (TCP, UDP, ICMP) can be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Checksum {
    /// The guest wrote it: it must be right.
    Complete,
    /// The guest left it to the device (offload): it is not verified.
    Partial,
}
