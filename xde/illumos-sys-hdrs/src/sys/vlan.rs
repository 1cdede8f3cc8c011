// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/vlan.h`: the Ethernet header with a VLAN tag.

use super::ethernet::ETHERADDRL;

/// Bytes of a tag.
pub const VLAN_TAGSZ: u32 = 4;

/// A header with a VLAN tag. Numbers are in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ether_vlan_header {
    /// Destination.
    pub ether_dhost: [u8; ETHERADDRL],
    /// Source.
    pub ether_shost: [u8; ETHERADDRL],
    /// 0x8100.
    pub ether_tpid: u16,
    /// Priority and VLAN.
    pub ether_tci: u16,
    /// What follows.
    pub ether_type: u16,
}
