// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/dld_impl.h` of the Oxide tree: openers of a link without a stream.

use super::Export;
use crate::sys::dld_impl::dld_str_t;
use crate::sys::mac_client::mac_client_handle_t;

/// Makes an opener without a stream, for [`dls_open`](crate::sys::dls::dls_open).
pub const DLD_STR_CREATE_DETACHED: Export = Export::of(c"drv/dld", c"dld_str_create_detached");
/// Type of [`DLD_STR_CREATE_DETACHED`]: null when that failed. Context: user, kernel.
pub type dld_str_create_detached_t = unsafe extern "C" fn() -> *mut dld_str_t;

/// Ends an opener, after [`dls_close`](crate::sys::dls::dls_close).
pub const DLD_STR_DESTROY_DETACHED: Export = Export::of(c"drv/dld", c"dld_str_destroy_detached");
/// Type of [`DLD_STR_DESTROY_DETACHED`]: opener. Context: user, kernel.
pub type dld_str_destroy_detached_t = unsafe extern "C" fn(*mut dld_str_t);

/// Tells the client of the link that an opener uses.
pub const DLD_STR_MAC_CLIENT_HANDLE: Export = Export::of(c"drv/dld", c"dld_str_mac_client_handle");
/// Type of [`DLD_STR_MAC_CLIENT_HANDLE`]: opener. Context: user, kernel, interrupt.
pub type dld_str_mac_client_handle_t = unsafe extern "C" fn(*mut dld_str_t) -> mac_client_handle_t;
