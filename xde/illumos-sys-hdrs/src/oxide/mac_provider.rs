// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac_provider.h` of the Oxide tree: offloads of tunnelled packets.

use super::Export;
use crate::sys::mac_offload::{lso_basic_tcp_ipv4_t, lso_basic_tcp_ipv6_t};
use crate::sys::stream::mblk_t;
use crate::sys::types::{c_uint, t_uscalar_t};

/// Keeps facts about headers with a packet. Its presence tells that all of this module holds.
pub const MAC_ETHER_SET_PKTINFO: Export = Export::of(c"misc/mac", c"mac_ether_set_pktinfo");
/// Type of [`MAC_ETHER_SET_PKTINFO`]: message, facts of the outermost packet, facts of the packet
/// inside or null. The message is the caller's alone. The function came first with an `int` for an
/// answer, later without, so an answer is not looked at. Context: user, kernel, interrupt.
pub type mac_ether_set_pktinfo_t = unsafe extern "C" fn(
    *mut mblk_t,
    *const mac_ether_offload_info_t,
    *const mac_ether_offload_info_t,
);

/// `meoi_flags`: link header and type are known.
pub const MEOI_L2INFO_SET: c_uint = 1;
/// `meoi_flags`: length of the IP header, and protocol, are known.
pub const MEOI_L3INFO_SET: c_uint = 1 << 1;
/// `meoi_flags`: length of the transport header is known.
pub const MEOI_L4INFO_SET: c_uint = 1 << 2;
/// `meoi_flags`: length of the tunnel header is known; only with a `meoi_tuntype`.
pub const MEOI_TUNINFO_SET: c_uint = 1 << 3;
/// `meoi_flags`: there is a VLAN tag.
pub const MEOI_VLAN_TAGGED: c_uint = 1 << 4;

/// Kind of a tunnel.
pub type mac_ether_tun_type_t = c_uint;
/// None.
pub const METT_NONE: mac_ether_tun_type_t = 0;
/// Geneve, RFC 8926.
pub const METT_GENEVE: mac_ether_tun_type_t = 1;
/// VXLAN, RFC 7348.
pub const METT_VXLAN: mac_ether_tun_type_t = 2;

/// Where the headers of a packet are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct mac_ether_offload_info_t {
    /// `MEOI_` flags: which fields are known.
    pub meoi_flags: c_uint,
    /// Which tunnel it is.
    pub meoi_tuntype: mac_ether_tun_type_t,
    /// Bytes of the packet.
    pub meoi_len: u32,
    /// Bytes of the link header.
    pub meoi_l2hlen: u8,
    /// Type of the network layer.
    pub meoi_l3proto: u16,
    /// Bytes of the IP header, extension headers included.
    pub meoi_l3hlen: u16,
    /// Protocol of the transport layer.
    pub meoi_l4proto: u8,
    /// Bytes of the transport header.
    pub meoi_l4hlen: u8,
    /// Bytes of the tunnel header.
    pub meoi_tunhlen: u16,
}

/// `ct_types`, `tun_types`: Geneve.
pub const MAC_CAPAB_TUN_TYPE_GENEVE: u32 = 0x1;
/// `ct_types`, `tun_types`: VXLAN.
pub const MAC_CAPAB_TUN_TYPE_VXLAN: u32 = 0x2;

/// `ct_flags`: the checksum of the inner IPv4 header.
pub const MAC_CSO_TUN_INNER_IPHDR: u32 = 0x1;
/// `ct_flags`: that of inner TCP, which holds the sum of the pseudo-header.
pub const MAC_CSO_TUN_INNER_TCP_PARTIAL: u32 = 0x2;
/// `ct_flags`: that of inner TCP, pseudo-header included.
pub const MAC_CSO_TUN_INNER_TCP_FULL: u32 = 0x4;
/// `ct_flags`: that of inner UDP, which holds the sum of the pseudo-header.
pub const MAC_CSO_TUN_INNER_UDP_PARTIAL: u32 = 0x8;
/// `ct_flags`: that of inner UDP, pseudo-header included.
pub const MAC_CSO_TUN_INNER_UDP_FULL: u32 = 0x10;

/// Checksums of tunnelled packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct cso_tunnel_t {
    /// `MAC_CSO_TUN_` flags.
    pub ct_flags: u32,
    /// Longest outer headers, in bytes.
    pub ct_encap_max: u32,
    /// `MAC_CAPAB_TUN_TYPE_` flags.
    pub ct_types: u32,
}

/// Checksums that a link fills in, for `MAC_CAPAB_HCKSUM`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct mac_capab_cso_t {
    /// `HCKSUM_` flags: all that mainline has.
    pub cso_flags: u32,
    /// Of tunnelled packets.
    pub cso_tunnel: cso_tunnel_t,
}

/// `lso_flags`: cuts TCP inside of tunnels.
pub const LSO_TX_TUNNEL_TCP: t_uscalar_t = 0x4;
/// `tun_flags`: fills in the outer UDP checksum of each segment.
pub const LSO_TX_TUNNEL_OUTER_CSUM: u32 = 0x1;

/// Segmentation of TCP inside of tunnels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct lso_tunnel_tcp_t {
    /// Longest payload, in bytes.
    pub tun_pay_max: u32,
    /// Longest outer headers, in bytes.
    pub tun_encap_max: u32,
    /// `LSO_TX_TUNNEL_` flags.
    pub tun_flags: u32,
    /// `MAC_CAPAB_TUN_TYPE_` flags.
    pub tun_types: u32,
    pub(crate) tun_pad: [u32; 2],
}

/// Segmentation, for `MAC_CAPAB_LSO`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct mac_capab_lso_t {
    /// `LSO_TX_` flags.
    pub lso_flags: t_uscalar_t,
    /// Over IPv4.
    pub lso_basic_tcp_ipv4: lso_basic_tcp_ipv4_t,
    /// Over IPv6.
    pub lso_basic_tcp_ipv6: lso_basic_tcp_ipv6_t,
    /// Inside of tunnels.
    pub lso_tunnel_tcp: lso_tunnel_tcp_t,
}
