// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/mac_client.h` of the Oxide tree: siphons.

use super::Export;
use crate::sys::mac_client::mac_client_handle_t;
use crate::sys::stream::mblk_t;
use crate::sys::types::{c_uint, c_void, size_t};

/// Looks at what comes in for a client before anybody else: own argument, chain. It keeps what it
/// wants and gives back the rest: as its answer the first message or null, and through the
/// pointers, each of which may be null, the last message, how many there are, and their bytes.
/// Context: interrupt or kernel (polling); must not wait long.
pub type mac_siphon_t = unsafe extern "C" fn(
    *mut c_void,
    *mut mblk_t,
    *mut *mut mblk_t,
    *mut c_uint,
    *mut size_t,
) -> *mut mblk_t;

/// Puts a siphon on a client.
pub const MAC_SIPHON_SET: Export = Export::of(c"misc/mac", c"mac_siphon_set");
/// Type of [`MAC_SIPHON_SET`]: client, siphon, its argument. Context: user, kernel.
pub type mac_siphon_set_t = unsafe extern "C" fn(mac_client_handle_t, mac_siphon_t, *mut c_void);

/// Takes the siphon off a client. Siphons may still run: wait with
/// [`mac_rx_barrier`](crate::sys::mac_client::mac_rx_barrier).
pub const MAC_SIPHON_CLEAR: Export = Export::of(c"misc/mac", c"mac_siphon_clear");
/// Type of [`MAC_SIPHON_CLEAR`]: client. Context: user, kernel.
pub type mac_siphon_clear_t = unsafe extern "C" fn(mac_client_handle_t);
