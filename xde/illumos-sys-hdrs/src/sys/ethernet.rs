// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/ethernet.h`: the Ethernet header.

/// Bytes of an address.
pub const ETHERADDRL: usize = 6;

/// A header without VLAN tag. Numbers are in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ether_header {
    /// Destination.
    pub ether_dhost: [u8; ETHERADDRL],
    /// Source.
    pub ether_shost: [u8; ETHERADDRL],
    /// What follows.
    pub ether_type: u16,
}
