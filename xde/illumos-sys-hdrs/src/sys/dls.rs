// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/dls.h`: data links: the names that administrators give to MACs.

use super::dld_impl::dld_str_t;
use super::dls_impl::dls_link_t;
use super::mac::mac_handle_t;
use super::types::{boolean_t, c_char, c_int, datalink_id_t, zoneid_t};

opaque! {
    /// What stands behind a [`dls_dl_handle_t`].
    dls_devnet_s;
}

/// A held data link.
pub type dls_dl_handle_t = *mut dls_devnet_s;

unsafe extern "C" {
    /// Makes a data link of this number for a MAC, visible in a zone; error number. The number
    /// comes from dlmgmtd(8).
    ///
    /// Context: user, kernel; not in the perimeter. Source: `sys/dls.h`; no manual page.
    pub fn dls_devnet_create(mac: mac_handle_t, link: datalink_id_t, zone: zoneid_t) -> c_int;

    /// Ends the data link of a MAC and tells its number; error number.
    /// `EBUSY` while it is held, and, unless it may `wait`, while dlmgmtd(8) reads the properties
    /// of a data link that has just been made.
    ///
    /// Context: user, kernel; not in the perimeter. Source: `sys/dls.h`; no manual page.
    pub fn dls_devnet_destroy(
        mac: mac_handle_t,
        link: *mut datalink_id_t,
        wait: boolean_t,
    ) -> c_int;

    /// Holds a data link; error number.
    ///
    /// Context: user, kernel; in the perimeter. Source: `sys/dls.h`; no manual page.
    pub fn dls_devnet_hold(link: datalink_id_t, held: *mut dls_dl_handle_t) -> c_int;

    /// Lets go of a data link.
    ///
    /// Context: user, kernel; in the perimeter. Source: `sys/dls.h`; no manual page.
    pub fn dls_devnet_rele(held: dls_dl_handle_t);

    /// Name of the MAC of a data link, closed by NUL, valid while held.
    ///
    /// Context: user, kernel. Source: `sys/dls.h`; no manual page.
    pub fn dls_devnet_mac(held: dls_dl_handle_t) -> *const c_char;

    /// Number of a data link by its name; error number. Asks a process outside of the kernel.
    ///
    /// Context: user, kernel; no lock held, not in the perimeter. Source: `sys/dls.h`; no manual
    /// page.
    pub fn dls_mgmt_get_linkid(name: *const c_char, link: *mut datalink_id_t) -> c_int;

    /// Makes `opener`, fresh, an opener of the link; error number. On success the opener owns both
    /// holds.
    ///
    /// Context: user, kernel; in the perimeter. Source: `sys/dls.h`; no manual page.
    pub fn dls_open(link: *mut dls_link_t, held: dls_dl_handle_t, opener: *mut dld_str_t) -> c_int;

    /// Undoes [`dls_open`] and lets go of both holds.
    ///
    /// Context: user, kernel; in the perimeter. Source: `sys/dls.h`; no manual page.
    pub fn dls_close(opener: *mut dld_str_t);
}
