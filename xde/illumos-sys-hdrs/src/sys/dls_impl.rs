// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/dls_impl.h`: private parts of data links.

use super::mac::{mac_handle_t, mac_info_t, mac_notify_handle_t};
use super::mac_client::{mac_client_handle_t, mac_unicast_handle_t};
use super::param::MAXNAMELEN;
use super::types::{c_char, c_int, c_uint, c_void, zoneid_t};

/// What all openers of a link share.
#[repr(C)]
pub struct dls_link_t {
    pub(crate) dl_name: [c_char; MAXNAMELEN],
    pub(crate) dl_ddi_instance: c_uint,
    /// The link.
    pub dl_mh: mac_handle_t,
    /// Its client.
    pub dl_mch: mac_client_handle_t,
    pub(crate) dl_mah: mac_unicast_handle_t,
    pub(crate) dl_mnh: mac_notify_handle_t,
    pub(crate) dl_mip: *const mac_info_t,
    pub(crate) dl_ref: c_uint,
    pub(crate) dl_str_hash: *mut c_void,
    pub(crate) dl_impl_count: c_uint,
    pub(crate) dl_nactive: c_uint,
    pub(crate) dl_unknowns: u32,
    pub(crate) dl_zid: zoneid_t,
    pub(crate) dl_zone_ref: c_uint,
    pub(crate) dl_tagmode: c_uint,
    pub(crate) dl_nonip_cnt: c_uint,
}

unsafe extern "C" {
    /// Holds what openers of a link share, by the name of its MAC; error number.
    ///
    /// Context: user, kernel; in the perimeter. Source: `sys/dls_impl.h`; no manual page.
    pub fn dls_link_hold(name: *const c_char, link: *mut *mut dls_link_t) -> c_int;

    /// Lets go of it.
    ///
    /// Context: user, kernel; in the perimeter. Source: `sys/dls_impl.h`; no manual page.
    pub fn dls_link_rele(link: *mut dls_link_t);
}
