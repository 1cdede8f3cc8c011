// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `inet/ip_ndp.h`: neighbours and their link addresses.

use super::ip::ip_stack_t;
use super::ip_ill::ill_t;
use crate::netinet::in_::in6_addr_t;
use crate::sys::list_impl::{list_node_t, list_t};
use crate::sys::mutex::kmutex_t;
use crate::sys::stream::mblk_t;
use crate::sys::types::{boolean_t, c_int, c_uchar, c_uint, c_void};

/// A neighbour as one interface sees it. Held by whoever looked it up; give it back with
/// [`nce_refrele`].
#[repr(C)]
pub struct nce_t {
    pub(crate) nce_node: list_node_t,
    pub(crate) nce_ill: *mut ill_t,
    pub(crate) nce_is_condemned: boolean_t,
    pub(crate) nce_addr: in6_addr_t,
    pub(crate) nce_dlur_mp: *mut mblk_t,
    pub(crate) nce_fp_mp: *mut mblk_t,
    /// What is known of the neighbour; never null.
    pub nce_common: *mut ncec_t,
    pub(crate) nce_lock: kmutex_t,
    pub(crate) nce_refcnt: c_uint,
    pub(crate) nce_ipif_cnt: c_uint,
}

/// What is known of a neighbour. Read with `ncec_lock` held.
#[repr(C)]
pub struct ncec_t {
    pub(crate) ncec_next: *mut ncec_t,
    pub(crate) ncec_ptpn: *mut *mut ncec_t,
    pub(crate) ncec_ill: *mut ill_t,
    pub(crate) ncec_flags: u16,
    /// Reachability, `ND_` of [`if_`](crate::net::if_).
    pub ncec_state: u16,
    pub(crate) ncec_pcnt: i16,
    pub(crate) ncec_rcnt: u16,
    pub(crate) ncec_addr: in6_addr_t,
    /// Link address; null while it is not known.
    pub ncec_lladdr: *mut c_uchar,
    pub(crate) ncec_qd_mp: *mut mblk_t,
    pub(crate) ncec_last: u64,
    pub(crate) ncec_refcnt: u32,
    /// Guards what is known.
    pub ncec_lock: kmutex_t,
    pub(crate) ncec_unsolicit_count: c_int,
    pub(crate) ncec_timeout_id: *mut c_void,
    pub(crate) ncec_ipversion: u8,
    pub(crate) ncec_defense_count: c_uint,
    pub(crate) ncec_last_time_defended: u64,
    pub(crate) ncec_init_time: u64,
    pub(crate) ncec_trace_disable: boolean_t,
    pub(crate) ncec_xmit_interval: i64,
    pub(crate) ncec_ipst: *mut ip_stack_t,
    pub(crate) ncec_cb: list_t,
    pub(crate) ncec_cb_walker_cnt: c_uint,
    pub(crate) ncec_nprobes: c_int,
    /// Bytes of the link address.
    pub ncec_lladdr_length: c_uint,
}

unsafe extern "C" {
    /// The neighbour of this address at this interface, held; null when there is none. Sends
    /// nothing.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: `inet/ip_ndp.h`; no manual page.
    pub fn nce_lookup_v6(interface: *mut ill_t, address: *const in6_addr_t) -> *mut nce_t;

    /// Lets go of a neighbour.
    ///
    /// Context: user, kernel, interrupt below lock level. Source: `inet/ip_ndp.h`; no manual page.
    pub fn nce_refrele(neighbour: *mut nce_t);
}
