// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac_client_priv.h`: private parts of the MAC layer.
//!
//! Who changes a link does so in its perimeter: one thread at a time, which may enter again.

use super::mac::{link_state_t, mac_handle_t, mac_info_t};
use super::mac_client::mac_perim_handle_t;
use super::mac_offload::mac_capab_t;
use super::types::{boolean_t, c_char, c_int, c_void, datalink_id_t};

unsafe extern "C" {
    /// Enters the perimeter of a link; waits for it.
    ///
    /// Context: user, kernel; no lock held. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_perim_enter_by_mh(handle: mac_handle_t, entered: *mut mac_perim_handle_t);

    /// Enters the perimeter of a link by the name of its MAC; error number.
    ///
    /// Context: user, kernel; no lock held. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_perim_enter_by_macname(
        name: *const c_char,
        entered: *mut mac_perim_handle_t,
    ) -> c_int;

    /// Enters the perimeter of a link by its number; error number.
    ///
    /// Context: user, kernel; no lock held. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_perim_enter_by_linkid(
        link: datalink_id_t,
        entered: *mut mac_perim_handle_t,
    ) -> c_int;

    /// Leaves the perimeter.
    ///
    /// Context: the thread that entered. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_perim_exit(entered: mac_perim_handle_t);

    /// Whether this thread is in the perimeter. For assertions only.
    ///
    /// Context: user, kernel. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_perim_held(handle: mac_handle_t) -> boolean_t;

    /// Whether a link has a capability; fills in its structure, which must have the shape that this
    /// kernel knows.
    ///
    /// Context: user, kernel. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_capab_get(
        handle: mac_handle_t,
        capability: mac_capab_t,
        data: *mut c_void,
    ) -> boolean_t;

    /// What kind of link it is; valid as long as the link is open.
    ///
    /// Context: user, kernel. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_info(handle: mac_handle_t) -> *const mac_info_t;

    /// Whether a link is up.
    ///
    /// Context: user, kernel. Source: `sys/mac_client_priv.h`; no manual page.
    pub fn mac_link_get(handle: mac_handle_t) -> link_state_t;
}
