// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/dld_impl.h`: private parts of the data-link driver: one opener of a link, `dld_str_t`.
//!
//! `dld` alone makes openers. A driver that wants to send past IP, as the holder of the link's own
//! address, needs one: kernels of the Oxide tree make it on request, see
//! [`dld_str_create_detached_t`](crate::oxide::dld_impl::dld_str_create_detached_t).

use super::condvar::kcondvar_t;
use super::dls::dls_dl_handle_t;
use super::dls_impl::dls_link_t;
use super::list_impl::list_node_t;
use super::mac::{mac_handle_t, mac_info_t, mac_notify_handle_t};
use super::mac_client::{mac_client_handle_t, mac_promisc_handle_t, mac_tx_cookie_t};
use super::mutex::kmutex_t;
use super::rwlock::krwlock_t;
use super::stream::{mblk_t, queue_t};
use super::types::{boolean_t, c_uint, c_void, major_t, minor_t, t_uscalar_t, uintptr_t};

/// One opener of a link.
#[repr(C)]
pub struct dld_str_t {
    pub(crate) ds_major: major_t,
    pub(crate) ds_minor: minor_t,
    pub(crate) ds_ppa: t_uscalar_t,
    pub(crate) ds_rq: *mut queue_t,
    pub(crate) ds_wq: *mut queue_t,
    pub(crate) ds_type: c_uint,
    pub(crate) ds_dlstate: t_uscalar_t,
    pub(crate) ds_style: t_uscalar_t,
    pub(crate) ds_sap: u16,
    /// The link; set by [`dls_open`](super::dls::dls_open).
    pub ds_mh: mac_handle_t,
    /// The link's client that openers share; set by [`dls_open`](super::dls::dls_open).
    pub ds_mch: mac_client_handle_t,
    pub(crate) ds_promisc: u32,
    pub(crate) ds_mph: mac_promisc_handle_t,
    pub(crate) ds_vlan_mph: mac_promisc_handle_t,
    pub(crate) ds_mip: *const mac_info_t,
    pub(crate) ds_pri: c_uint,
    pub(crate) ds_mnh: mac_notify_handle_t,
    pub(crate) ds_notifications: u32,
    pub(crate) ds_mode: c_uint,
    pub(crate) ds_native: boolean_t,
    pub(crate) ds_polling: boolean_t,
    pub(crate) ds_direct: boolean_t,
    pub(crate) ds_lso: boolean_t,
    pub(crate) ds_lso_max: u64,
    pub(crate) ds_passivestate: c_uint,
    pub(crate) ds_tx_flow_mp: *mut mblk_t,
    pub(crate) ds_lock: kmutex_t,
    pub(crate) ds_rw_lock: krwlock_t,
    pub(crate) ds_datathr_cv: kcondvar_t,
    pub(crate) ds_datathr_cnt: c_uint,
    pub(crate) ds_pending_head: *mut mblk_t,
    pub(crate) ds_pending_tail: *mut mblk_t,
    pub(crate) ds_dlpi_pending_cv: kcondvar_t,
    /// Bit-fields: see [`Self::ds_dlpi_pending`] and [`Self::ds_local`].
    pub(crate) ds_bits: u32,
    pub(crate) ds_dlp: *mut dls_link_t,
    pub(crate) ds_dmap: *mut c_void,
    pub(crate) ds_rx: *mut c_void,
    pub(crate) ds_rx_arg: *mut c_void,
    pub(crate) ds_nactive: c_uint,
    pub(crate) ds_next: *mut dld_str_t,
    pub(crate) ds_head: *mut c_void,
    pub(crate) ds_ddh: dls_dl_handle_t,
    pub(crate) ds_tqlist: list_node_t,
    pub(crate) ds_private: *mut c_void,
    pub(crate) ds_lowlink: boolean_t,
    pub(crate) ds_nonip: boolean_t,
}

impl dld_str_t {
    /// Bit 0: a request is under way.
    pub const fn ds_dlpi_pending(&self) -> bool {
        self.ds_bits & 1 != 0
    }

    /// Bit 1: opened by a program of this host.
    pub const fn ds_local(&self) -> bool {
        self.ds_bits >> 1 & 1 != 0
    }
}

unsafe extern "C" {
    /// Sends a chain as an opener of a link: [`mac_tx`](super::mac_client::mac_tx) with the
    /// opener's priority and VLAN. Headers are complete.
    ///
    /// Context: user, kernel, interrupt; the opener stays open. Source: `sys/dld_impl.h`; no manual
    /// page.
    pub fn str_mdata_fastpath_put(
        opener: *mut dld_str_t,
        chain: *mut mblk_t,
        hint: uintptr_t,
        flags: u16,
    ) -> mac_tx_cookie_t;
}
