// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `inet/ip.h`: interfaces.

use crate::sys::mutex::kmutex_t;
use crate::sys::rwlock::krwlock_t;
use crate::sys::stream::{mblk_t, queue_t};
use crate::sys::types::{c_char, c_int, c_uchar, c_uint, c_ushort, c_void, t_uscalar_t};

/// An interface. Only the first fields are declared; the kernel makes all there are. Whoever holds
/// a route of the interface may read it.
#[repr(C, align(8))]
pub struct ill_t {
    pub(crate) ill_inputfn: *mut c_void,
    pub(crate) ill_ifptr: *mut c_void,
    pub(crate) ill_rq: *mut queue_t,
    pub(crate) ill_wq: *mut queue_t,
    pub(crate) ill_error: c_int,
    pub(crate) ill_ipif: *mut c_void,
    pub(crate) ill_ipif_up_count: c_uint,
    pub(crate) ill_max_frag: c_uint,
    pub(crate) ill_current_frag: c_uint,
    /// Largest packet, in bytes.
    pub ill_mtu: c_uint,
    pub(crate) ill_mc_mtu: c_uint,
    pub(crate) ill_metric: c_uint,
    /// Name with its closing NUL.
    pub ill_name: *mut c_char,
    pub(crate) ill_ipif_dup_count: c_uint,
    pub(crate) ill_name_length: c_uint,
    pub(crate) ill_net_type: c_uint,
    /// Number of the interface among those of its driver.
    pub ill_ppa: c_uint,
    pub(crate) ill_sap: t_uscalar_t,
    pub(crate) ill_sap_length: c_uint,
    /// Bytes of the link address.
    pub ill_phys_addr_length: c_uint,
    pub(crate) ill_bcast_addr_length: c_uint,
    pub(crate) ill_mactype: c_uint,
    pub(crate) ill_frag_ptr: *mut c_void,
    pub(crate) ill_frag_timer_id: *mut c_void,
    pub(crate) ill_frag_hash_tbl: *mut c_void,
    pub(crate) ill_mcast_lock: krwlock_t,
    pub(crate) ill_mcast_serializer: kmutex_t,
    pub(crate) ill_ilm: *mut c_void,
    pub(crate) ill_global_timer: c_uint,
    pub(crate) ill_mcast_type: c_uint,
    pub(crate) ill_mcast_v1_time: c_ushort,
    pub(crate) ill_mcast_v2_time: c_ushort,
    pub(crate) ill_mcast_v1_tset: c_uchar,
    pub(crate) ill_mcast_v2_tset: c_uchar,
    pub(crate) ill_mcast_rv: c_uchar,
    pub(crate) ill_mcast_qi: c_uint,
    pub(crate) ill_bcast_mp: *mut mblk_t,
    pub(crate) ill_unbind_mp: *mut mblk_t,
    pub(crate) ill_promiscoff_mp: *mut mblk_t,
    pub(crate) ill_dlpi_deferred: *mut mblk_t,
    pub(crate) ill_dest_addr_mp: *mut mblk_t,
    pub(crate) ill_replumb_mp: *mut mblk_t,
    pub(crate) ill_phys_addr_mp: *mut mblk_t,
    pub(crate) ill_mcast_deferred: *mut c_void,
    pub(crate) ill_credp: *mut c_void,
    /// Link address; null while it is not known.
    pub ill_phys_addr: *mut c_uchar,
    pub(crate) ill_dest_addr: *mut c_void,
    pub(crate) ill_state_flags: c_uint,
    pub(crate) _rest: [u8; 864 - 284],
}
