// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac.h`: what clients and providers of the MAC layer share.

use super::stream::mblk_t;
use super::types::{boolean_t, c_int, c_uint, c_void, datalink_id_t, size_t};

opaque! {
    /// What stands behind a [`mac_handle_t`].
    __mac_handle;
    /// What stands behind a [`mac_resource_handle_t`].
    __mac_resource_handle;
    /// What stands behind a [`mac_notify_handle_t`].
    __mac_notify_handle;
}

/// A link, as its provider registered it or a client opened it.
pub type mac_handle_t = *mut __mac_handle;
/// Where a packet came in; null is unknown.
pub type mac_resource_handle_t = *mut __mac_resource_handle;
/// Who is told of changes of a link.
pub type mac_notify_handle_t = *mut __mac_notify_handle;

/// No data link.
pub const DATALINK_INVALID_LINKID: datalink_id_t = 0;

/// Whether a link is up.
pub type link_state_t = c_int;
/// Nobody knows.
pub const LINK_STATE_UNKNOWN: link_state_t = -1;
/// Down.
pub const LINK_STATE_DOWN: link_state_t = 0;
/// Up.
pub const LINK_STATE_UP: link_state_t = 1;

/// A property of a link.
pub type mac_prop_id_t = c_uint;
/// Largest packet without link header, in bytes.
pub const MAC_PROP_MTU: mac_prop_id_t = 6;
/// Permission of a property: it may be read.
pub const MAC_PROP_PERM_READ: u8 = 1;

/// Statistic: bits per second. The first of the numbers that
/// [`mc_getstat`](super::mac_provider::mac_callbacks_t::mc_getstat) is asked for.
pub const MAC_STAT_IFSPEED: c_uint = 1000;
/// Statistic: packets that came in and were dropped.
pub const MAC_STAT_IERRORS: c_uint = 1006;
/// Statistic: bytes that came in.
pub const MAC_STAT_RBYTES: c_uint = 1011;
/// Statistic: packets that came in.
pub const MAC_STAT_IPACKETS: c_uint = 1012;
/// Statistic: bytes that went out.
pub const MAC_STAT_OBYTES: c_uint = 1013;
/// Statistic: packets that went out.
pub const MAC_STAT_OPACKETS: c_uint = 1014;

/// What [`mac_hw_emul`](super::mac_client::mac_hw_emul) is to do in software.
pub type mac_emul_t = c_uint;
/// Fill in transport checksums.
pub const MAC_HWCKSUM_EMUL: mac_emul_t = 1;
/// Fill in checksums of IPv4 headers.
pub const MAC_IPCKSUM_EMUL: mac_emul_t = 1 << 1;
/// Cut into segments.
pub const MAC_LSO_EMUL: mac_emul_t = 1 << 2;

/// Takes packets that came in: own argument, where, chain, whether the client sent them itself.
/// Context: interrupt or kernel; must not wait long. The chain is the callee's.
pub type mac_rx_t =
    unsafe extern "C" fn(*mut c_void, mac_resource_handle_t, *mut mblk_t, boolean_t);

/// What kind of link it is.
#[repr(C)]
pub struct mac_info_t {
    /// Kind of link towards clients, such as [`DL_ETHER`](super::dlpi::DL_ETHER).
    pub mi_media: c_uint,
    /// Kind of link that it really is.
    pub mi_nativemedia: c_uint,
    /// Bytes of an address.
    pub mi_addr_length: c_uint,
    /// The address.
    pub mi_unicst_addr: *mut u8,
    /// The address of all.
    pub mi_brdcst_addr: *mut u8,
}

/// A parsed link header.
#[repr(C)]
pub struct mac_header_info_t {
    /// Bytes of the header.
    pub mhi_hdrsize: size_t,
    /// Bytes of the packet, 0 for unknown.
    pub mhi_pktsize: size_t,
    /// Destination.
    pub mhi_daddr: *const u8,
    /// Source.
    pub mhi_saddr: *const u8,
    /// Type as the header has it.
    pub mhi_origsap: u32,
    /// Type that a client binds to.
    pub mhi_bindsap: u32,
    /// Unicast, multicast or broadcast.
    pub mhi_dsttype: c_uint,
    /// VLAN tag.
    pub mhi_tci: u16,
    /// Whether there is a tag.
    pub mhi_istagged: boolean_t,
    /// Whether the tag is that of the port.
    pub mhi_ispvid: boolean_t,
}
