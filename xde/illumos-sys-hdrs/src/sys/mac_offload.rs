// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac_provider.h`: capabilities of a link, and what a packet asks its link to do.
//!
//! Here are the shapes of mainline illumos. Some differ in the Oxide tree: see [`crate::oxide`].

use super::stream::mblk_t;
use super::types::{c_uint, size_t, t_uscalar_t};

/// A capability; one bit each.
pub type mac_capab_t = c_uint;
/// Fills in checksums; the structure is a `u32` of `HCKSUM_` flags, or
/// [`mac_capab_cso_t`](crate::oxide::mac_provider::mac_capab_cso_t) on kernels that have it.
pub const MAC_CAPAB_HCKSUM: mac_capab_t = 0x1;
/// Cuts into segments; the structure is [`mac_capab_lso_t`].
pub const MAC_CAPAB_LSO: mac_capab_t = 0x8;
/// Has rings.
pub const MAC_CAPAB_RINGS: mac_capab_t = 0x10;
/// Carries an overlay network; no structure. Gives the link the soft rings of a fast device.
pub const MAC_CAPAB_OVERLAY: mac_capab_t = 0x0080_0000;

/// `lso_flags`: cuts TCP over IPv4.
pub const LSO_TX_BASIC_TCP_IPV4: t_uscalar_t = 0x1;
/// `lso_flags`: cuts TCP over IPv6.
pub const LSO_TX_BASIC_TCP_IPV6: t_uscalar_t = 0x2;

/// Segmentation of TCP over IPv4.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct lso_basic_tcp_ipv4_t {
    /// Longest payload, in bytes.
    pub lso_max: t_uscalar_t,
}

/// Segmentation of TCP over IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct lso_basic_tcp_ipv6_t {
    /// Longest payload, in bytes.
    pub lso_max: t_uscalar_t,
}

/// Segmentation, for [`MAC_CAPAB_LSO`]. The kernel brings the memory: newer kernels bring more of
/// it, and a driver writes what it knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct mac_capab_lso_t {
    /// `LSO_TX_` flags.
    pub lso_flags: t_uscalar_t,
    /// Over IPv4.
    pub lso_basic_tcp_ipv4: lso_basic_tcp_ipv4_t,
    /// Over IPv6.
    pub lso_basic_tcp_ipv6: lso_basic_tcp_ipv6_t,
}

/// Where the headers of a packet are. Mainline kernels changed this structure (the IP header's
/// length became two bytes) and the numbers of its flags between releases, and export nothing that
/// tells which ones they have; the function of the Oxide tree has the same name and other
/// arguments. So a driver does not ask a mainline kernel for it, and neither flags nor function are
/// declared: this shape, of 2024, is here for the sake of [the
/// other](crate::oxide::mac_provider::mac_ether_offload_info_t).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct mac_ether_offload_info_t {
    /// Which fields are known.
    pub meoi_flags: c_uint,
    /// Bytes of the packet.
    pub meoi_len: size_t,
    /// Bytes of the link header.
    pub meoi_l2hlen: u8,
    /// Type of the network layer.
    pub meoi_l3proto: u16,
    /// Bytes of the IP header.
    pub meoi_l3hlen: u8,
    /// Protocol of the transport layer.
    pub meoi_l4proto: u8,
    /// Bytes of the transport header.
    pub meoi_l4hlen: u8,
}

unsafe extern "C" {
    /// What checksums a message asks for: first byte summed, place of the sum, last byte (offsets
    /// from the IP header), value, `HCK_` flags; each pointer may be null. The message is the first
    /// block of a packet.
    ///
    /// Context: any. Source: mac_hcksum_get(9F).
    pub fn mac_hcksum_get(
        message: *const mblk_t,
        start: *mut u32,
        stuff: *mut u32,
        end: *mut u32,
        value: *mut u32,
        flags: *mut u32,
    );

    /// Asks for checksums, or with `HCK_..._OK` flags tells that they were found right; 0 takes it
    /// back. Arguments as for [`mac_hcksum_get`].
    ///
    /// Context: any; the message is the caller's alone. Source: mac_hcksum_get(9F).
    pub fn mac_hcksum_set(
        message: *mut mblk_t,
        start: u32,
        stuff: u32,
        end: u32,
        value: u32,
        flags: u32,
    );

    /// Copies what checksums a message asks for, and its wish for segmentation, to another.
    ///
    /// Context: user, kernel, interrupt; `to` is the caller's alone. Source: `sys/mac_provider.h`;
    /// no manual page.
    pub fn mac_hcksum_clone(from: *const mblk_t, to: *mut mblk_t);

    /// What segmentation a message asks for: length of a segment in bytes,
    /// [`HW_LSO`](super::pattr::HW_LSO) or 0. `flags` may be null.
    ///
    /// Context: user, kernel, interrupt. Source: mac_lso_get(9F).
    pub fn mac_lso_get(message: *mut mblk_t, mss: *mut u32, flags: *mut u32);
}
