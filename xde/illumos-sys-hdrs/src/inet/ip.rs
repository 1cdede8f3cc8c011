// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `inet/ip.h`: routes.

use super::ip_ill::ill_t;
use super::ip_ndp::nce_t;
use crate::netinet::in_::in6_addr_t;
use crate::sys::mutex::kmutex_t;
use crate::sys::types::{boolean_t, c_int, c_uchar, c_uint, c_ushort, c_void, time_t, zoneid_t};

opaque! {
    /// State of IP in one stack.
    ip_stack_t;
    /// A security label.
    ts_label_t;
}

/// `ire_type`: to the link of an interface that has no link addresses.
pub const IRE_IF_NORESOLVER: c_ushort = 0x40;
/// `ire_type`: to the link of an interface.
pub const IRE_IF_RESOLVER: c_ushort = 0x80;
/// `ire_type`: to one neighbour on the link of an interface.
pub const IRE_IF_CLONE: c_ushort = 0x400;
/// `ire_type`: nowhere.
pub const IRE_NOROUTE: c_ushort = 0x1000;
/// `ire_type`: a multicast address.
pub const IRE_MULTICAST: c_ushort = 0x800;

/// Addresses of an IPv6 route.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ire6_t {
    /// Mask.
    pub ire6_mask: in6_addr_t,
    /// Destination.
    pub ire6_addr: in6_addr_t,
    /// Gateway; all zeros for a route to the link itself.
    pub ire6_gateway_addr: in6_addr_t,
    /// Source to use.
    pub ire6_setsrc_addr: in6_addr_t,
}

/// Addresses of a route; this crate asks for IPv6 alone.
#[repr(C)]
#[derive(Clone, Copy)]
pub union ire_addr_u_t {
    /// IPv6.
    pub ire6_u: ire6_t,
}

/// A route. Held by whoever looked it up; give it back with
/// [`ire_refrele`](super::ip_ire::ire_refrele).
#[repr(C)]
pub struct ire_t {
    pub(crate) ire_next: *mut ire_t,
    pub(crate) ire_ptpn: *mut *mut ire_t,
    pub(crate) ire_refcnt: c_uint,
    /// Interface; null for a route that reaches its gateway by another route.
    pub ire_ill: *mut ill_t,
    pub(crate) ire_identical_ref: u32,
    /// 4 or 6.
    pub ire_ipversion: c_uchar,
    /// `IRE_` kind.
    pub ire_type: c_ushort,
    pub(crate) ire_generation: c_uint,
    pub(crate) ire_ib_pkt_count: c_uint,
    pub(crate) ire_ob_pkt_count: c_uint,
    pub(crate) ire_create_time: time_t,
    /// `RTF_` flags of [`route`](crate::net::route).
    pub ire_flags: u32,
    pub(crate) ire_testhidden: boolean_t,
    pub(crate) ire_recvfn: *mut c_void,
    pub(crate) ire_sendfn: *mut c_void,
    pub(crate) ire_postfragfn: *mut c_void,
    pub(crate) ire_masklen: c_uint,
    /// Addresses.
    pub ire_u: ire_addr_u_t,
    pub(crate) ire_bucket: *mut c_void,
    pub(crate) ire_lock: kmutex_t,
    pub(crate) ire_last_used_time: time_t,
    pub(crate) ire_gw_secattr: *mut c_void,
    pub(crate) ire_zoneid: zoneid_t,
    pub(crate) ire_nce_cache: *mut nce_t,
    pub(crate) ire_nce_capable: boolean_t,
    pub(crate) ire_dep_parent: *mut ire_t,
    pub(crate) ire_dep_children: *mut ire_t,
    pub(crate) ire_dep_sib_next: *mut ire_t,
    pub(crate) ire_dep_sib_ptpn: *mut *mut ire_t,
    pub(crate) ire_dep_parent_generation: c_uint,
    pub(crate) ire_badcnt: c_uint,
    pub(crate) ire_last_badcnt: time_t,
    pub(crate) ire_defense_count: c_uint,
    pub(crate) ire_defense_time: c_uint,
    pub(crate) ire_trace_disable: c_int,
    pub(crate) ire_ipst: *mut ip_stack_t,
    pub(crate) ire_metrics: [u64; 6],
    pub(crate) ire_unbound: boolean_t,
}
